"""WebP files as chunks: what is read, what stays byte for byte, and what is refused."""

import struct

import pytest
from samples import picture, samples, saved, webp, webp_chunks

from imggen.errors import RequestError
from imggen.output.formats import carriers, exif
from imggen.output.formats import webp as files
from imggen.output.formats.carriers import Changes

PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
BLOCK = exif.merge(None, {"Software": "imggen"})
PLAIN = saved(picture(), "webp")
IMAGE = webp_chunks(PLAIN)[0]


def extended(flags: int = 0, width: int = 24, height: int = 18) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def lossless(width: int, height: int, alpha: int = 0) -> tuple[bytes, bytes]:
    return b"VP8L", b"\x2f" + (width - 1 | height - 1 << 14 | alpha << 28).to_bytes(4, "little")


def lossy(width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)


@pytest.mark.parametrize(("data", "expected"), [
    (PLAIN, True), (b"RIFF0000WEBP", True), (b"RIFF0000AVI ", False), (b"LIFF0000WEBP", False),
])  # fmt: skip
def test_webp_is_known_by_both_of_its_names(data, expected):
    assert files.is_webp(data) is expected


def test_the_best_quality_is_lossless_and_99_is_not():
    assert files.options(100, "RGB", 1) == {"lossless": True, "exact": True, "quality": 80}
    assert files.options(99, "RGB", 1) == {"quality": 99, "method": 4}


def test_everything_is_read_from_its_own_chunk():
    read = files.read(webp([extended(), IMAGE, (b"EXIF", BLOCK), (b"XMP ", PACKET), (b"C2PA", b"x")]))
    assert (read.format, read.width, read.height, read.animated, read.signed) == ("webp", 24, 18, False, True)
    assert (read.carriers.exif, read.carriers.xmp, read.notes) == (BLOCK, PACKET, ())
    bare = files.read(PLAIN)
    assert (bare.carriers.exif, bare.carriers.xmp, bare.signed) == (None, None, False)
    assert files.read(samples()["webp animated"]).animated


def test_repeated_metadata_is_told_and_the_first_is_read():
    doubled = [(name, text) for name in (b"EXIF", b"XMP ") for text in (b"one", b"two")]
    read = files.read(webp([extended(), IMAGE, *doubled]))
    assert (read.carriers.exif, read.carriers.xmp) == (b"one", b"one")
    assert read.notes == (
        "the WebP has 2 Exif chunks; the first is read",
        "the WebP has 2 XMP chunks; the first is read",
    )


def test_prefix_that_some_writers_put_in_is_taken_off():
    assert files.read(webp([extended(), IMAGE, (b"EXIF", b"Exif\0\0" + BLOCK)])).carriers.exif == BLOCK


@pytest.mark.parametrize(("chunks", "size"), [
    ([extended(0, 1, 16_384), IMAGE], (1, 16_384)),
    ([lossless(300, 7)], (300, 7)),
    ([lossless(1, 16_384, alpha=1)], (1, 16_384)),
    ([lossy(300, 7)], (300, 7)),
    ([lossy(300 | 0x4000, 7 | 0x8000)], (300, 7)),
])  # fmt: skip
def test_size_is_read_from_every_kind_of_header(chunks, size):
    read = files.read(webp(chunks))
    assert (read.width, read.height) == size


@pytest.mark.parametrize(("name", "alpha"), [("webp", 0), ("webp lossless", 0), ("webp lossless alpha", 0x10)])
def test_simple_webp_gets_the_extended_header_with_the_right_flags(name, alpha):
    assert webp_chunks(samples()[name])[0][0] in (b"VP8 ", b"VP8L")
    chunks = webp_chunks(files.replace(samples()[name], Changes(exif=BLOCK, xmp=PACKET)))
    assert [chunk[0] for chunk in chunks] == [b"VP8X", chunks[1][0], b"EXIF", b"XMP "]
    assert chunks[0] == extended(0x0C | alpha)


@pytest.mark.parametrize(("changes", "names", "flags"), [
    (Changes(exif=b"E"), [b"VP8X", b"VP8 ", b"XMP ", b"C2PA", b"EXIF"], 0x2C),
    (Changes(xmp=b"X"), [b"VP8X", b"VP8 ", b"EXIF", b"C2PA", b"XMP "], 0x2C),
    (Changes(exif=b""), [b"VP8X", b"VP8 ", b"XMP ", b"C2PA"], 0x24),
    (Changes(xmp=b""), [b"VP8X", b"VP8 ", b"EXIF", b"C2PA"], 0x28),
    (Changes(dropped=frozenset(["manifest"])), [b"VP8X", b"VP8 ", b"EXIF", b"XMP "], 0x2C),
])  # fmt: skip
def test_new_metadata_comes_last_and_flags_keep_what_they_say(changes, names, flags):
    data = webp([extended(0x2C), IMAGE, (b"EXIF", b"old"), (b"XMP ", b"old"), (b"C2PA", b"x")])
    chunks = webp_chunks(files.replace(data, changes))
    assert [name for name, _ in chunks] == names
    assert chunks[0] == extended(flags)


@pytest.mark.parametrize("changes", [Changes(), Changes(dropped=frozenset(["manifest"])), Changes(texts={"a": "b"})])
def test_without_a_change_the_simple_form_stays(changes):
    assert files.replace(PLAIN, changes) == PLAIN


def test_unknown_chunks_and_what_is_behind_stay():
    data = webp([extended(), IMAGE, (b"ABCD", b"odd")])
    after = files.replace(data + b"trailer", Changes(exif=BLOCK))
    assert after.endswith(b"trailer")
    assert (b"ABCD", b"odd") in webp_chunks(after.removesuffix(b"trailer"))


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ([], "no image data"),
        ([extended(), (b"EXIF", b"")], "no image data"),
        ([(b"ANMF", b"")], "begins with a chunk 'ANMF'"),
        ([(b"VP8 ", b"short")], "'VP8 ' is damaged"),
        ([(b"VP8 ", b"\0\0\0\x9d\x01\x2b" + bytes(4))], "'VP8 ' is damaged"),
        ([(b"VP8 ", lossy(9, 9)[1][:-1])], "'VP8 ' is damaged"),
        ([(b"VP8L", b"\x00\x00\x00\x00\x00")], "'VP8L' is damaged"),
        ([(b"VP8L", b"\x2f\x00\x00\x00")], "'VP8L' is damaged"),
        ([(b"VP8X", b"short"), (b"VP8 ", b"")], "'VP8X' is damaged"),
        ([(b"VP8X", b"\0" * 9), (b"VP8 ", b"")], "'VP8X' is damaged"),
        ([(b"VP8X", b"\0" * 10), (b"VP8X", b"\0" * 10), (b"VP8 ", b"")], "more than one header"),
        ([(b"VP8X", b"\0" * 4 + b"\xff" * 6), (b"VP8 ", b"")], "16777216x16777216"),
        ([lossy(0, 9)], "0x9"),
    ],
)
def test_webp_that_is_none_inside_is_refused(chunks, fault):
    with pytest.raises(RequestError, match=fault):
        files.read(webp(chunks))


def test_sizes_beyond_the_file_are_refused_with_both():
    with pytest.raises(RequestError, match=f"says {len(PLAIN):,} bytes; {len(PLAIN) - 1:,} are there"):
        files.read(PLAIN[:-1])
    data = webp([lossy(9, 9)])
    for size, is_read in ((10, True), (11, False)):
        lying = data[:16] + struct.pack("<I", size) + data[20:]
        if is_read:
            assert files.read(lying).width == 9
        else:
            with pytest.raises(RequestError, match="'VP8 ' at byte 12 says 11 bytes, more than are there"):
                files.read(lying)


def test_more_chunks_than_any_honest_file_has_are_refused(monkeypatch):
    assert files.MAX_PARTS == carriers.MAX_PARTS
    monkeypatch.setattr(files, "MAX_PARTS", 10)
    assert files.read(webp([extended(), IMAGE, *[(b"ABCD", b"")] * 8])).width == 24
    with pytest.raises(RequestError, match="more than 10 chunks"):
        files.read(webp([extended(), IMAGE, *[(b"ABCD", b"")] * 9]))


def test_hash_is_of_the_picture_and_of_nothing_else():
    first = files.read(PLAIN).image_sha256
    assert files.read(files.replace(PLAIN, Changes(exif=BLOCK, xmp=PACKET))).image_sha256 == first
    others = [webp([extended(), IMAGE, (name, b"")]) for name in (b"ALPH", b"ANIM", b"ANMF")]
    assert len({first, *(files.read(data).image_sha256 for data in others)}) == 4
