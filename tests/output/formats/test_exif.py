"""Exif: our own block, strangers' blocks, and ours added to theirs without moving a byte."""

import contextlib
import io
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from samples import camera, pillow

from imggen.errors import RequestError
from imggen.output.formats import exif

OURS = {"Software": "imggen 0.1.0", "UserComment": "a red apple 🍎, りんご\nSteps: 20"}


def with_thumbnail(block: bytes) -> bytes:
    """The block with a second directory behind the first, which points to a thumbnail."""
    order = ">" if block.startswith(b"MM") else "<"
    first = struct.unpack_from(order + "I", block, 4)[0]
    link = first + 2 + 12 * struct.unpack_from(order + "H", block, first)[0]
    at = len(block)
    rows = struct.pack(order + "HHHIIHHII", 2, 0x0201, 4, 1, at + 30, 0x0202, 4, 1, 5) + b"\0" * 4
    return block[:link] + struct.pack(order + "I", at) + block[link + 4 :] + rows + b"thumb"


def test_new_block_is_the_one_that_every_reader_takes():
    block = exif.merge(None, OURS)
    assert block.startswith(b"MM\0*\0\0\0\x08")
    read = pillow(block)
    assert read[0x0131] == "imggen 0.1.0"
    comment = read.get_ifd(0x8769)
    assert comment[0x9286] == b"UNICODE\0" + OURS["UserComment"].encode("utf-16-be")
    assert comment[0x9000] == b"0232"
    tag_and_type = struct.pack(">HH", 0x9286, 7)
    assert block.count(tag_and_type) == 1


def test_entries_stand_in_the_order_of_their_tags():
    block = exif.merge(None, {**OURS, "Artist": "A", "Copyright": "C", "ImageDescription": "D", "ColorSpace": 1})
    parsed = exif._parse(block)
    for entries in (parsed.main, parsed.exif):
        assert [each.tag for each in entries] == sorted(each.tag for each in entries)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"]), max_size=12))
@example("\ufffe")
def test_any_comment_with_settings_comes_back(text):
    # Without letters of some European language, nobody can tell the byte order of what others wrote.
    comment = f"{text}\nSteps: 20, Seed: 42"
    assert exif.read(exif.merge(None, {"UserComment": comment, "Artist": text}))["UserComment"] == comment


@pytest.mark.parametrize("number", [1, 65_535, 65_536])
def test_numbers_are_numbers(number):
    assert exif.read(exif.merge(None, {"ExifImageWidth": number}))["ExifImageWidth"] == number


@pytest.mark.parametrize("order", ["MM", "II"])
@pytest.mark.parametrize("thumbnail", [False, True])
def test_camera_keeps_every_byte_and_gains_ours(order, thumbnail):
    before = camera(order)
    before = with_thumbnail(before) if thumbnail else before
    after = exif.merge(before, {**OURS, "Artist": "A. B."})
    # What is replaced leaves no trace; every other byte stays where it was.
    changed = {at for at in range(8, len(before)) if after[at] != before[at]}
    assert all(after[at] == 0 for at in changed)
    assert bytes(before[at] for at in sorted(changed)) == b"Firmware 1.0"
    read = pillow(after)
    assert (read[0x010F], read[0x0112], read[0x0131], read[0x013B]) == ("Maker", 6, "imggen 0.1.0", "A. B.")
    assert read.get_ifd(0x8769)[0x927C] == b"note" * 30
    assert read.get_ifd(0x8769)[0x9003] == "2026:11:21 12:00:00"
    assert read.get_ifd(0x8825)[1] == "N"
    assert exif.read(after)["UserComment"] == OURS["UserComment"]
    if thumbnail:
        assert read.get_ifd(ExifTags.IFD.IFD1)[0x0202] == 5
        assert after[read.get_ifd(ExifTags.IFD.IFD1)[0x0201] :].startswith(b"thumb")


@pytest.mark.parametrize("start", [None, camera(), camera("II"), with_thumbnail(camera())])
def test_block_does_not_grow_with_every_change(start):
    block = exif.merge(start, {**OURS, "Artist": "first"})
    for number in range(5):
        again = exif.merge(block, {**OURS, "Artist": f"later {number}"})
        assert len(again) <= len(block) + 4
    assert exif.read(again)["Artist"] == "later 4"
    assert exif.read(again)["UserComment"] == OURS["UserComment"]
    assert exif.merge(again, {**OURS, "Artist": "first"}) == block


def test_field_goes_away_and_the_rest_stays():
    block = exif.merge(exif.merge(camera(), {**OURS, "Artist": "A. B."}), {"Artist": None, "UserComment": None})
    read = exif.read(block)
    assert "Artist" not in read
    assert "UserComment" not in read
    assert read["Make"] == "Maker"
    assert read["Software"] == "imggen 0.1.0"


def test_camera_is_read_by_standard_names():
    read = exif.read(camera("II"))
    assert read == {
        "Make": "Maker",
        "Model": "Model 1",
        "Orientation": 6,
        "Software": "Firmware 1.0",
        "DateTimeOriginal": "2026:11:21 12:00:00",
    }


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"UNICODE\0" + "apple".encode("utf-16-be"), "apple"),
        (b"UNICODE\0" + "apple".encode("utf-16-le"), "apple"),
        (b"UNICODE\0" + "apple".encode("utf-16"), "apple"),
        (b"ASCII\0\0\0apple", "apple"),
        (b"ASCII\0\0\0" + "café 🍎".encode(), "café 🍎"),
        (b"\0" * 8 + b"apple", "apple"),
        (b"\0" * 8, ""),
        (b"", ""),
        (b'{"c": 1}', '{"c": 1}'),
        (b"caf\xe9 au lait", "café au lait"),
        (b"UNICODE\0odd", "潤\ufffd"),
    ],
)
def test_comment_is_read_the_way_that_writers_fill_it(raw, expected):
    assert exif.comment(raw) == expected


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif",
        b"MM\0*",
        b"MM\0*\0\0\0\0",
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\xff\xff\xff\xff\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x31\0\x02\xff\xff\xff\xff\0\0\0\x08\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\6\0\0\6\0\0\0\x08\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x00\0\0\xff\xff",
    ],
)
def test_lying_block_is_refused_by_reading_and_by_adding(block):
    with pytest.raises(RequestError, match="Exif"):
        exif.read(block)
    if block:
        with pytest.raises(RequestError, match="Exif"):
            exif.merge(block, {"UserComment": "x"})


@pytest.mark.parametrize("order", ["MM", "II"])
def test_block_for_new_pixels_is_upright_and_keeps_every_other_byte(order):
    before = exif.merge(camera(order), {"ExifImageWidth": 24, "ColorSpace": 65_535, "ImageWidth": 24})
    after = exif.resized(before, 70_000, 5)
    assert after[8 : len(camera(order))] == before[8 : len(camera(order))]
    assert exif.read(after) == {
        **exif.read(before),
        "Orientation": 1,
        "ColorSpace": 1,
        "ExifImageWidth": 70_000,
        "ImageWidth": 70_000,
    }
    assert pillow(after).get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("order", ["MM", "II"])
def test_block_for_new_pixels_has_no_thumbnail(order):
    before = with_thumbnail(camera(order))
    after = exif.resized(before, 96, 72)
    assert b"thumb" in before
    assert b"thumb" not in after
    assert pillow(after).get_ifd(ExifTags.IFD.IFD1) == {}
    assert exif.read(after)["Make"] == "Maker"


def test_thumbnail_that_lies_about_its_place_takes_nothing_with_it():
    block = bytearray(with_thumbnail(camera()))
    block[-25:-21] = struct.pack(">I", 8)
    block[-13:-9] = struct.pack(">I", 60)
    assert exif.read(bytes(block))["Make"] == "Maker"
    with pytest.raises(RequestError, match="thumbnail"):
        exif.resized(bytes(block), 96, 72)


def test_directory_that_points_to_itself_ends():
    block = b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08"
    assert exif.read(block) == {}
    assert exif.read(exif.merge(block, {"Software": "x"}))["Software"] == "x"


@settings(deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=4)), max_size=4), little=st.booleans())
def test_damaged_block_is_read_or_refused_and_never_more(edits, little):
    block = bytearray(with_thumbnail(exif.merge(camera("II" if little else "MM"), OURS)))
    for at, put in edits:
        start = at % len(block)
        block[start : start + len(put)] = put
    with contextlib.suppress(RequestError):
        read = exif.read(bytes(block))
        with contextlib.suppress(RequestError):
            kept = exif.read(exif.resized(bytes(block), 96, 72))
            assert kept.get("Make") == read.get("Make")
        merged = exif.merge(bytes(block), {"Software": "imggen", "UserComment": "new"})
        assert exif.read(merged)["UserComment"] == "new"


def test_pillow_writes_what_we_read():
    made = Image.Exif()
    made.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "apple".encode("utf-16-be")
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "JPEG", exif=made)
    with Image.open(buffer) as image:
        assert exif.read(image.info["exif"].removeprefix(b"Exif\0\0"))["UserComment"] == "apple"
