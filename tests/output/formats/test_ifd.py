"""Directories of tags: what is written is read, and values turn with the byte order."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.output.formats import ifd
from imggen.output.formats.ifd import IfdEntry

ENTRIES = st.lists(
    st.builds(
        lambda tag, payload: IfdEntry(tag=tag, kind=ifd.UNDEFINED, count=len(payload), payload=payload),
        st.integers(0, 0xFFFF),
        st.binary(max_size=9),
    ),
    max_size=6,
    unique_by=lambda each: each.tag,
)


@given(entries=ENTRIES, order=st.sampled_from("<>"), following=st.integers(0, 0xFFFFFFFF))
def test_what_is_written_is_read(entries, order, following):
    at = ifd.HEADER_BYTES
    table, values = ifd.write(order, entries, following, at + 6 + ifd.ENTRY_BYTES * len(entries))
    data = bytes(at) + table + values
    read, link = ifd.read(data, order, at)
    assert link == following
    assert [(each.tag, ifd.raw(data, order, each)) for each in read] == sorted(
        (each.tag, each.payload) for each in entries
    )


@pytest.mark.parametrize(
    ("kind", "code", "numbers"),
    [
        (ifd.SHORT, "2H", (1, 0x1234)),
        (ifd.LONG, "I", (0x12345678,)),
        (ifd.RATIONAL, "2I", (1, 250)),
        (12, "d", (0.1,)),
        (ifd.ASCII, "4s", (b"text",)),
    ],
)
def test_numbers_keep_their_value_in_the_other_order_and_texts_their_letters(kind, code, numbers):
    entry = IfdEntry(tag=1, kind=kind, count=1, payload=struct.pack(">" + code, *numbers))
    assert struct.unpack("<" + code, ifd.turned(entry).payload) == numbers


@pytest.mark.parametrize("at", [0, 7, 9, 100])
def test_directory_that_is_not_whole_is_refused(at):
    with pytest.raises(RequestError, match=f"the Exif directory at byte {at}"):
        ifd.read(b"II*\0\x08\0\0\0\x05\0", "<", at)
