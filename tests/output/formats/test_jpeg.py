"""JPEG files as segments: what is read, what stays byte for byte, and what is refused."""

import io
import struct
import time

import pytest
from PIL import Image
from samples import picture, pixels, samples, saved, with_segment

from imggen.errors import RequestError
from imggen.output.formats import carriers, exif, jpeg
from imggen.output.formats.carriers import Changes
from imggen.plan.schema.formats import FULL_COLOUR_QUALITY

PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
BLOCK = exif.merge(None, {"Software": "imggen"})
PLAIN = saved(picture(), "jpeg")
EXIF, XMP, EXTENDED = (0xE1, jpeg.EXIF_PREFIX), (0xE1, jpeg.XMP_PREFIX), (0xE1, b"http://ns.adobe.com/xmp/extension/\0")


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with these segments at its front, in this order."""
    data = PLAIN
    for marker, payload in reversed(segments):
        data = with_segment(data, marker, payload)
    return data


def front(data: bytes) -> list[tuple[int, bytes]]:
    """Return the application segments and comments, which stand before the picture's own."""
    segments, at = [], 2
    while data[at + 1] in (*range(0xE0, 0xF0), 0xFE):
        length = struct.unpack_from(">H", data, at + 2)[0]
        segments.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return segments


JFIF = front(PLAIN)[0]


def test_jpeg_is_known_by_its_first_bytes():
    assert jpeg.is_jpeg(PLAIN)
    assert not jpeg.is_jpeg(b"\xff\xd8\xfe")


@pytest.mark.parametrize(("quality", "count", "subsampling", "optimize"), [
    (FULL_COLOUR_QUALITY, 1 << 24, 0, True),
    (FULL_COLOUR_QUALITY - 1, (1 << 24) + 1, 2, False),
])  # fmt: skip
def test_colours_are_whole_at_high_quality_and_codes_are_best_for_small_pictures(quality, count, subsampling, optimize):
    options = {"quality": quality, "subsampling": subsampling, "optimize": optimize}
    assert jpeg.options(quality, "RGB", count) == options


def test_everything_is_read_from_its_own_segment():
    data = with_segments(
        (0xE1, jpeg.EXIF_PREFIX + BLOCK),
        (0xE1, jpeg.XMP_PREFIX + PACKET),
        (0xFE, b"one"),
        (0xFE, b"two"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04"),
        (0xEB, b"JP..c2pa"),
    )
    read = jpeg.read(data)
    assert (read.format, read.width, read.height, read.animated, read.signed) == ("jpeg", 24, 18, False, True)
    assert (read.carriers.exif, read.carriers.xmp, read.carriers.comments) == (BLOCK, PACKET, (b"one", b"two"))
    assert read.carriers.captions
    assert read.notes == ()
    bare = jpeg.read(PLAIN)
    assert (bare.carriers.exif, bare.carriers.xmp, bare.carriers.comments, bare.signed) == (None, None, (), False)


@pytest.mark.parametrize(("marker", "payload"), [(0xE2, b"8BIM\x04\x04"), (0xE2, b"c2pa"), (0xED, b"8BIM\x04\x05")])
def test_captions_and_manifests_are_those_of_their_own_markers(marker, payload):
    read = jpeg.read(with_segments((marker, payload)))
    assert (read.carriers.captions, read.signed) == (False, False)


def test_repeated_metadata_is_told_and_the_first_is_read():
    doubled = [(marker, prefix + text) for marker, prefix in (EXIF, XMP) for text in (b"one", b"two")]
    read = jpeg.read(with_segments(*doubled))
    assert (read.carriers.exif, read.carriers.xmp) == (b"one", b"one")
    assert read.notes == (
        "the JPEG has 2 Exif segments; the first is read",
        "the JPEG has 2 XMP segments; the first is read",
    )


@pytest.mark.parametrize(("changes", "expected"), [
    (Changes(exif=b"E", xmp=b"X"), [JFIF, "E", "X", "comment", "caption", "manifest", "extended"]),
    (Changes(exif=b"E"), [JFIF, "E", "old X", "comment", "caption", "manifest", "extended"]),
    (Changes(xmp=b"X"), [JFIF, "old E", "X", "comment", "caption", "manifest", "extended"]),
    (Changes(exif=b""), [JFIF, "old X", "comment", "caption", "manifest", "extended"]),
    (Changes(xmp=b""), [JFIF, "old E", "comment", "caption", "manifest"]),
    (Changes(dropped=frozenset(["comments"])), [JFIF, "old E", "old X", "caption", "manifest", "extended"]),
    (Changes(dropped=frozenset(["captions"])), [JFIF, "old E", "old X", "comment", "manifest", "extended"]),
    (Changes(dropped=frozenset(["manifest"])), [JFIF, "old E", "old X", "comment", "caption", "extended"]),
])  # fmt: skip
def test_metadata_stands_at_the_front_and_the_rest_in_its_order(changes, expected):
    named = {
        "old E": (0xE1, jpeg.EXIF_PREFIX + b"old"),
        "E": (0xE1, jpeg.EXIF_PREFIX + b"E"),
        "old X": (0xE1, jpeg.XMP_PREFIX + b"old"),
        "X": (0xE1, jpeg.XMP_PREFIX + b"X"),
        "comment": (0xFE, b"hello"),
        "caption": (0xED, b"any"),
        "manifest": (0xEB, b"JP any"),
        "extended": (0xE1, EXTENDED[1] + b"more"),
    }
    old = [named[name] for name in ("old E", "old X", "comment", "caption", "manifest", "extended")]
    bare = PLAIN[:2] + PLAIN[2 + 4 + len(JFIF[1]) :]
    data = bare
    for segment in reversed([JFIF, *old]):
        data = with_segment(data, *segment)
    changed = jpeg.replace(data + b"trailer", changes)
    assert front(changed) == [named.get(name, name) if isinstance(name, str) else name for name in expected]
    assert changed.endswith(bare[2:] + b"trailer")


def test_exif_stays_first_when_only_xmp_changes():
    data = jpeg.replace(samples()["jpeg camera"], Changes(xmp=PACKET))
    assert data.index(b"Exif\0\0") < data.index(jpeg.XMP_PREFIX)


def test_profile_and_comment_stay():
    data = jpeg.replace(samples()["jpeg camera"], Changes(exif=BLOCK, xmp=PACKET))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == b"profile" * 20
        assert image.info["comment"] == b"hello"


@pytest.mark.parametrize(
    ("changes", "what"),
    [(Changes(exif=b"x" * (jpeg.MAX_EXIF_BYTES + 1)), "Exif"), (Changes(xmp=b"x" * (jpeg.MAX_XMP_BYTES + 1)), "XMP")],
)
def test_block_larger_than_a_segment_is_refused_by_name(changes, what):
    with pytest.raises(RequestError, match=rf"the {what} would take 65,534 bytes; a JPEG holds 65,533") as caught:
        jpeg.replace(PLAIN, changes)
    assert caught.value.hint == "--format png"


def test_blocks_as_large_as_a_segment_fit():
    changes = Changes(exif=BLOCK.ljust(jpeg.MAX_EXIF_BYTES, b"\0"), xmp=PACKET.ljust(jpeg.MAX_XMP_BYTES))
    data = jpeg.replace(PLAIN, changes)
    assert jpeg.read(data).carriers.exif == changes.exif
    assert pixels(data) == pixels(PLAIN)


def test_fill_bytes_before_markers_are_passed_over_in_no_time():
    filled = PLAIN[:2] + b"\xff" * 3_000_000 + PLAIN[2:]
    start = time.process_time()
    assert jpeg.read(filled).width == 24
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\xff\xd8\xff\xd9", "no image data"),
        (b"\xff\xd8\xff\xe1\x00\x01", "0xe1 at byte 2 says 1 bytes"),
        (b"\xff\xd8\xff\xe1\xff\xff", "says 65,535 bytes"),
        (b"\xff\xd8\xff\xe1\x00\x03", "says 3 bytes, more than are there"),
        (b"\xff\xd8\xff\xe1\x00", "says 0 bytes"),
        (b"\xff\xd8\xff\xe1\x00\x02", "ends at byte 6, in the middle of the picture"),
        (b"\xff\xd8\xff\xd8\xff\xd9", "no segment at byte 2 but a marker 0xd8"),
        (b"\xff\xd8\xff\x00\xff\xd9", "no segment at byte 2 but a marker 0x00"),
        (b"\xff\xd8\xff\xfe\x00\x02xx", "no marker at byte 6"),
        (b"\xff\xd8\xff\xda\x00\x02data\xff\x00\xff\xd0", "in the middle of the picture"),
        (b"\xff\xd8\xff\xda\x00\x02data\xff\xd9", "no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x07\x08\0\1\0\1\xff\xda\x00\x02data\xff\xd9", "no frame header"),
        (b"\xff\xd8\xff\xc4\x00\x08\x08\0\1\0\1\1\xff\xda\x00\x02data\xff\xd9", "no frame header"),
        (b"\xff\xd8\xff\xc0\x00\x08\x08\0\0\0\1\1\xff\xda\x00\x02data\xff\xd9", "1x0"),
    ],
)
def test_jpeg_that_is_none_inside_is_refused(data, fault):
    with pytest.raises(RequestError, match=fault):
        jpeg.read(data)


@pytest.mark.parametrize("marker", [0xC0, 0xC2, 0xCF])
@pytest.mark.parametrize("alone", [b"", b"\xff\x01", b"\xff\xd0\xff\xd7"])
def test_every_kind_of_frame_says_the_size_and_markers_may_stand_alone(marker, alone):
    frame = b"\xff" + bytes([marker]) + b"\x00\x08\x08\1\0\0\2\1"
    read = jpeg.read(b"\xff\xd8" + alone + frame + b"\xff\xda\x00\x02data\xff\xd9")
    assert (read.width, read.height) == (2, 256)


def test_more_segments_than_any_honest_file_has_are_refused(monkeypatch):
    assert jpeg.MAX_PARTS == carriers.MAX_PARTS
    monkeypatch.setattr(jpeg, "MAX_PARTS", 10)
    rest = b"\xff\xc0\x00\x08\x08\0\1\0\2\1\xff\xda\x00\x02data\xff\xd9"
    assert jpeg.read(b"\xff\xd8" + 7 * b"\xff\xfe\x00\x02" + rest).width == 2
    with pytest.raises(RequestError, match="more than 10 segments"):
        jpeg.read(b"\xff\xd8" + 8 * b"\xff\xfe\x00\x02" + rest)


def test_metadata_between_a_picture_index_and_its_pictures_is_not_moved():
    index = (0xE2, b"MPF\0index")
    behind = with_segments(index, (0xE1, jpeg.EXIF_PREFIX + BLOCK))
    with pytest.raises(RequestError, match="behind its multi-picture index"):
        jpeg.replace(behind, Changes(exif=BLOCK))
    assert jpeg.read(jpeg.replace(behind, Changes(xmp=PACKET))).carriers.xmp == PACKET
    before = with_segments((0xE1, jpeg.EXIF_PREFIX + BLOCK), index)
    assert jpeg.read(jpeg.replace(before, Changes(exif=BLOCK))).carriers.exif == BLOCK


def test_hash_is_of_the_picture_and_of_how_its_colours_are_stored():
    first = jpeg.read(PLAIN).image_sha256
    for marker in (0xE1, 0xEF, 0xFE):
        assert jpeg.read(with_segments((marker, b"x"))).image_sha256 == first
    others = [with_segments((0xEE, b"Adobe")), saved(picture().rotate(180), "jpeg")]
    assert len({first, *(jpeg.read(data).image_sha256 for data in others)}) == 3
