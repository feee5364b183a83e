"""TIFF files: what is new stands at the end, nothing moves, and directories that lie are refused."""

import io
import struct
import time

import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from samples import FOREIGN, camera, picture, pixels, samples, saved

from imggen.errors import RequestError
from imggen.output.formats import carriers, container, density, exif, ifd, tiff
from imggen.output.formats.carriers import Changes

PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
WORDS = {"Software": "imggen", "ImageDescription": "An apple", "UserComment": "a red apple 🍎"}
BLOCK = exif.merge(None, WORDS)
BOTH = Changes(exif=BLOCK, xmp=PACKET)

TIFFS = [name for name in samples() if name.startswith("tiff")]
every_tiff = pytest.mark.parametrize("name", TIFFS)


def rows(data: bytes, at: int | None = None) -> dict[int, tuple[int, int, bytes]]:
    """Return the directory's rows by tag: type, count, and the four bytes."""
    order = ifd.order(data)
    at = struct.unpack_from(order + "I", data, 4)[0] if at is None else at
    return {each.tag: (each.kind, each.count, each.slot) for each in ifd.read(data, order, at)[0]}


def built(order: str, entries: list[tuple[int, int, int, int]], following: int = 0, picture: bytes = b"x" * 6) -> bytes:
    """A 2x1 picture by hand: header, six bytes of pixels, then a directory of the rows given."""
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 14)
    table = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        slot = struct.pack(
            order + ("HH" if kind == 3 and count == 1 else "I"), *((value, 0) if kind == 3 and count == 1 else (value,))
        )
        table += struct.pack(order + "HHI", tag, kind, count) + slot
    return header + picture + table + struct.pack(order + "I", following)


PLAIN = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 2)]


def changed(tag: int, kind: int, count: int, value: int) -> list[tuple[int, int, int, int]]:
    return sorted([each for each in PLAIN if each[0] != tag] + [(tag, kind, count, value)])


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read_and_changed(order):
    before = built(order, PLAIN)
    after = container.replace(before, BOTH)
    read = container.read(after)
    assert (read.width, read.height) == (2, 1)
    assert exif.read(read.carriers.exif).items() >= WORDS.items()
    assert pixels(after) == pixels(before)
    assert after[8:14] == before[8:14]


@every_tiff
def test_pillow_finds_what_went_in(name):
    with Image.open(io.BytesIO(container.replace(samples()[name], BOTH))) as image:
        assert image.tag_v2[700] == PACKET
        assert image.info["xmp"] == PACKET
        read = image.getexif()
        assert (read[0x0131], read[0x010E]) == ("imggen", "An apple")
        comment = read.get_ifd(0x8769)[0x9286]
        assert exif.comment(comment) == WORDS["UserComment"]
        # Strict readers want the text in the file's own order.
        assert comment[8:].decode("utf-16-le" if ifd.order(samples()[name]) == "<" else "utf-16-be").startswith("a red")


@every_tiff
def test_nothing_that_was_there_moves(name):
    before = samples()[name]
    after = container.replace(before, Changes(xmp=PACKET))
    own = struct.unpack_from(ifd.order(after) + "I", after, 4)[0]
    reached = min(own, len(before))
    assert after[8:reached] == before[8:reached]


@every_tiff
def test_size_of_a_file_does_not_depend_on_how_often_it_is_changed(name):
    once = container.replace(samples()[name], BOTH)
    data = once
    for more in (Changes(xmp=FOREIGN), Changes(exif=exif.merge(None, {"Artist": "A" * 500})), BOTH):
        data = container.replace(data, more)
    assert data == once


def test_words_that_are_replaced_leave_no_byte_behind():
    tags = ImageFileDirectory_v2()
    tags[0x010E], tags[0x0131], tags[700] = "a secret prompt", "Camera 1.0", FOREIGN
    before = saved(picture(), "tiff", tiffinfo=tags)
    assert b"a secret prompt" in before
    after = container.replace(before, BOTH)
    assert not [each for each in (b"a secret prompt", b"Camera 1.0", b"Vivid") if each in after]
    assert pixels(after) == pixels(before)


def test_words_that_the_picture_also_holds_are_not_blanked():
    # A description that is said to be the pixels themselves.
    before = built("<", changed(0x010E, 2, 6, 8))
    assert container.replace(before, BOTH)[8:14] == before[8:14]


def test_what_is_not_replaced_stays():
    before = samples()["tiff camera"]
    after = container.replace(before, Changes(xmp=PACKET))
    with Image.open(io.BytesIO(after)) as image:
        assert image.tag_v2[0x0131] == "Camera 1.0"
        assert image.info["dpi"] == (300, 300)
        assert image.info["icc_profile"] == b"profile" * 20
    after = container.replace(after, Changes(exif=exif.merge(None, {"Artist": "A"})))
    assert container.read(after).carriers.xmp == PACKET


def test_density_is_read_and_written():
    read = container.read(samples()["tiff camera"])
    assert density.read(samples()["tiff camera"], read) == (300, 300)
    block = exif.merge(read.carriers.exif, {"XResolution": 96, "YResolution": 96, "ResolutionUnit": 2})
    after = container.replace(samples()["tiff camera"], Changes(exif=block))
    with Image.open(io.BytesIO(after)) as image:
        assert image.info["dpi"] == (96, 96)


def test_orientation_is_the_pictures_and_not_the_blocks():
    tags = ImageFileDirectory_v2()
    tags[0x0112] = 6
    before = saved(picture(), "tiff", tiffinfo=tags)
    after = container.replace(before, Changes(exif=exif.merge(None, {"Orientation": 3, "Software": "x"})))
    assert pixels(after) == pixels(before)
    assert exif.read(container.read(after).carriers.exif)["Orientation"] == 6


@pytest.mark.parametrize("order", ["MM", "II"])
def test_camera_block_of_either_order_comes_over_but_for_the_makers_note(order):
    after = container.replace(samples()["tiff"], Changes(exif=camera(order)))
    with Image.open(io.BytesIO(after)) as image:
        read = image.getexif()
        assert (read[0x010F], read[0x0110]) == ("Maker", "Model 1")
        assert read.get_ifd(0x8769)[0x9003] == "2026:11:21 12:00:00"
        assert 0x927C not in read.get_ifd(0x8769)
        assert read.get_ifd(0x8825)[1] == "N"


def test_makers_note_of_the_file_keeps_its_place():
    note = b"note" * 30
    inner = struct.pack("<H", 1) + struct.pack("<HHII", 0x927C, 7, len(note), 0) + bytes(4)
    data = built("<", [*PLAIN, (0x8769, 4, 1, 0)])
    at = len(data)
    data = data.replace(struct.pack("<HHII", 0x8769, 4, 1, 0), struct.pack("<HHII", 0x8769, 4, 1, at))
    data += inner.replace(struct.pack("<II", len(note), 0), struct.pack("<II", len(note), at + len(inner))) + note
    once = container.replace(data, BOTH)
    assert once[at + len(inner) : at + len(inner) + len(note)] == note
    pointer = struct.unpack("<I", rows(once)[0x8769][2])[0]
    assert rows(once, pointer)[0x927C] == (7, len(note), struct.pack("<I", at + len(inner)))
    assert container.replace(once, BOTH) == once


def test_hash_is_of_all_pages_and_of_nothing_else():
    pages = samples()["tiff pages"]
    first = container.read(pages)
    assert first.notes == ("the TIFF has 3 pages; the first one's metadata is read",)
    second = rows(pages, ifd.read(pages, "<", 8)[1])
    place = struct.unpack("<I", second[273][2])[0]
    other = pages[:place] + bytes([pages[place] ^ 1]) + pages[place + 1 :]
    assert container.read(other).image_sha256 != first.image_sha256
    assert pixels(container.replace(pages, BOTH)) == pixels(pages)
    assert container.read(saved(picture(), "tiff")).image_sha256 != first.image_sha256


def test_hash_knows_how_the_data_is_decoded():
    hashes = {container.read(built("<", changed(262, 3, 1, number))).image_sha256 for number in (0, 1)}
    assert len(hashes) == 2


def test_word_for_upright_is_no_change_of_the_picture():
    upright = exif.merge(None, {"Orientation": 1, "Software": "x"})
    after = container.replace(samples()["tiff"], Changes(exif=upright))
    assert exif.read(container.read(after).carriers.exif)["Orientation"] == 1
    assert container.read(after).image_sha256 == container.read(samples()["tiff"]).image_sha256


def test_manifest_and_captions_are_told():
    signed = container.read(built("<", changed(0xCD41, 7, 4, 0)))
    assert signed.signed
    assert container.read(built("<", changed(0x83BB, 4, 1, 0))).carriers.captions
    assert not container.read(built("<", PLAIN)).signed


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (built("<", PLAIN, following=14), "lead back"),
        (built("<", PLAIN, following=9_999), "at byte 9,999 does not fit"),
        (built("<", changed(256, 3, 1, 0)), "0x1 pixels"),
        (built("<", changed(256, 4, 1, 0x7FFFFFFF)), "2147483647x1"),
        (built("<", changed(256, 2, 1, 2)), "of type 2, not a whole number"),
        (built("<", changed(256, 3, 0, 2)), "its width"),
        (built("<", [each for each in PLAIN if each[0] != 257]), "its height"),
        (built("<", [each for each in PLAIN if each[0] not in (273, 279)]), "no image data"),
        (built("<", [each for each in PLAIN if each[0] != 279]), "how long each piece"),
        (built("<", changed(273, 4, 1, 9_999)), "beyond the end of the file"),
        (built("<", changed(273, 4, 0x3FFFFFFF, 8)), "how long each piece"),
        (built("<", changed(258, 3, 0xFFFFFFFF, 8)), "0x0102 says 8,589,934,590 bytes"),
        (built("<", changed(700, 1, 0xFFFFFFFF, 8)), "0x02bc says 4,294,967,295 bytes"),
        (built("<", PLAIN)[:-2], "in its directory"),
        (b"II+\0\x08\0\0\0" + bytes(20), "BigTIFF"),
        (b"MM\0+\0\x08\0\0" + bytes(20), "BigTIFF"),
    ],
)
def test_tiff_that_is_none_inside_is_refused(data, fault):
    with pytest.raises(RequestError, match=fault):
        container.read(data)


def test_damaged_exif_is_told_and_not_written_over():
    data = built("<", changed(0x8769, 4, 1, 9_999))
    read = container.read(data)
    assert read.carriers.exif is None
    assert "9,999" in read.notes[0]
    with pytest.raises(RequestError, match="9,999"):
        container.replace(data, BOTH)


def test_endless_pages_are_refused_before_they_fill_the_memory():
    header = b"II*\0" + struct.pack("<I", 8)
    pages = (struct.pack("<HI", 0, 8 + 6 * number) for number in range(1, carriers.MAX_PARTS + 2))
    with pytest.raises(RequestError, match="more than 100,000 tags"):
        container.read(header + b"".join(pages))


def test_pages_that_all_hold_the_whole_file_are_refused_in_no_time():
    count = 4_000
    data = bytearray(b"II*\0" + struct.pack("<I", 8))
    size = count * (2 + 12 * len(PLAIN) + 4)
    for number in range(count):
        own = [each for each in PLAIN if each[0] not in (273, 279)] + [
            (273, 4, 1, 8 + number),
            (279, 4, 1, size - number),
        ]
        following = 8 + (number + 1) * (2 + 12 * len(own) + 4) if number + 1 < count else 0
        data += built("<", own, following)[14:]
    start = time.process_time()
    with pytest.raises(RequestError, match="strips or tiles overlap"):
        container.read(bytes(data))
    assert time.process_time() - start < 3


def test_metadata_of_more_than_is_read_is_refused():
    data = container.replace(samples()["tiff"], Changes(xmp=bytes(carriers.MAX_TEXT_BYTES + 1)))
    with pytest.raises(RequestError, match="longer than"):
        container.read(data)


def test_large_and_small_tiffs_are_known_by_their_header():
    assert all(tiff.is_tiff(each + bytes(4)) for each in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
    assert not tiff.is_tiff(b"II*\0")


@pytest.mark.parametrize("behind", [0, 1])
def test_pages_in_a_circle_are_refused(behind):
    directories = [8 + 18 * number for number in range(2)]
    pages = [struct.pack("<HHHIII", 1, 256, 4, 1, 24, directories[behind if number else 1]) for number in range(2)]
    data = b"II*\0" + struct.pack("<I", 8) + b"".join(pages)
    start = time.process_time()
    with pytest.raises(RequestError, match="lead back"):
        container.read(data)
    assert time.process_time() - start < 3
