"""Boxes: where they begin and end, and which sizes are refused."""

import struct
from typing import Self

import pytest

from imggen.errors import RequestError
from imggen.output.formats import isobmff
from imggen.output.formats.carriers import MAX_PARTS

TWO = isobmff.frame(b"free", b"abc") + isobmff.frame(b"mdat", b"x", b"yz")


def box(data: bytes) -> isobmff.Box:
    (only,) = isobmff.split(data, 0, len(data))
    return only


def cursor(payload: bytes) -> isobmff.Cursor:
    # What follows the box is none of it.
    data = isobmff.frame(b"free", payload) + b"behind\0"
    return isobmff.Cursor(data, box(data[:-7]))


def test_boxes_fill_the_bytes_from_start_to_end():
    assert struct.pack(">I4s", 11, b"free") + b"abc" + struct.pack(">I4s", 11, b"mdat") + b"xyz" == TWO
    first, second = isobmff.split(TWO, 0, len(TWO))
    assert (first.name, first.start, first.body, first.end, first.payload(TWO)) == (b"free", 0, 8, 11, b"abc")
    assert (second.start, second.payload(TWO), second.whole(TWO)) == (11, b"xyz", TWO[11:])
    assert isobmff.split(TWO, 11, len(TWO)) == (second,)
    assert isobmff.split(TWO, 11, 11) == ()
    assert second.shown == "'mdat'"


def test_boxes_in_a_box_begin_behind_what_is_its_own():
    outer = isobmff.frame(b"meta", bytes(4), TWO)
    names = [inner.name for inner in isobmff.inside(outer, box(outer), skip=4)]
    assert names == [b"free", b"mdat"]
    assert len(isobmff.inside(isobmff.frame(b"iprp", TWO), box(isobmff.frame(b"iprp", TWO)))) == 2


def test_a_large_size_stands_behind_the_name():
    large = box(struct.pack(">I4sQ", 1, b"mdat", 19) + b"abc")
    assert (large.body, large.end) == (16, 19)
    assert box(struct.pack(">I4sQ", 1, b"mdat", 16)).body == 16


def test_an_open_size_reaches_to_the_end_of_the_file_and_of_nothing_else():
    opened = struct.pack(">I4s", 0, b"mdat") + b"abc"
    assert box(opened).end == 11
    with pytest.raises(RequestError, match="'mdat' at byte 0 says 0 bytes"):
        isobmff.split(opened, 0, 10)


@pytest.mark.parametrize(("data", "fault"), [
    (b"\0\0\0\x08fre", "last box at byte 0 has no room for its header"),
    (struct.pack(">I4s", 7, b"free"), "box 'free' at byte 0 says 7 bytes, more than are there"),
    (struct.pack(">I4s", 9, b"free"), "box 'free' at byte 0 says 9 bytes, more than are there"),
    (struct.pack(">I4sQ", 1, b"free", 15), "says 15 bytes"),
    (struct.pack(">I4sQ", 1, b"free", 17), "says 17 bytes"),
    (struct.pack(">I4sQ", 1, b"free", 16)[:-1], "says 0 bytes"),
    (struct.pack(">I4s", 8, b"free") + struct.pack(">I4s", 1009, b"mdat"), "'mdat' at byte 8 says 1,009 bytes"),
])  # fmt: skip
def test_a_box_that_does_not_fit_is_named_with_its_place(data, fault):
    with pytest.raises(RequestError) as caught:
        isobmff.split(data, 0, len(data))
    assert fault in caught.value.message


def test_as_many_boxes_as_there_may_be_are_read_and_no_more():
    data = isobmff.frame(b"free") * (MAX_PARTS + 1)
    assert len(isobmff.split(data, 8, len(data))) == MAX_PARTS
    with pytest.raises(RequestError, match=f"more than {MAX_PARTS:,} boxes"):
        isobmff.split(data, 0, len(data))


class Long(bytes):
    """Bytes that say to be as many as would fill the memory."""

    def __new__(cls, length: int) -> Self:
        made = super().__new__(cls)
        made.length = length
        return made

    def __len__(self) -> int:
        return self.length


def test_a_box_of_4_gib_is_refused():
    with pytest.raises(RequestError, match="'mdat' would be larger than 4 GiB"):
        isobmff.frame(b"mdat", Long((1 << 32) - 8))
    assert isobmff.frame(b"mdat", Long((1 << 32) - 9)).startswith(b"\xff\xff\xff\xffmdat")


def test_numbers_are_read_one_behind_the_other_up_to_the_end_of_the_box():
    place = cursor(b"\1\0\0\7\0\5\xff")
    assert [place.number(size) for size in (1, 3, 2, 0, 1)] == [1, 7, 5, 0, 255]
    assert place.number(0) == 0
    with pytest.raises(RequestError, match="box 'free' at byte 0 ends too early"):
        place.number(1)


def test_a_full_box_begins_with_its_version_and_flags():
    data = b"\0\0\0\x10free\1\0\0\7rest"
    box = isobmff.split(data, 0, len(data))[0]
    place, version, flags = isobmff.full(data, box)
    assert (version, flags, place.number(4)) == (1, 7, int.from_bytes(b"rest"))


def test_texts_end_at_a_zero_or_with_the_box():
    place = cursor(b"one\0\0two")
    assert [place.text() for _ in range(4)] == [b"one", b"", b"two", b""]
    assert place.at == 16


def test_boxes_fill_the_rest_of_a_box():
    place = cursor(bytes(4) + TWO)
    assert (place.number(1), place.number(3)) == (0, 0)
    assert [inner.name for inner in place.boxes()] == [b"free", b"mdat"]
