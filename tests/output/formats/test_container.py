"""Picture files of every format: metadata goes in and out, and everything else stays where it is."""

import contextlib
import io
import struct
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import (
    picture,
    pixels,
    png_chunk,
    png_chunks,
    samples,
    saved,
    webp,
    webp_chunks,
    with_chunk,
    with_segment,
)

from imggen.errors import RequestError
from imggen.output.formats import carriers, container, exif, jpeg, png
from imggen.output.formats.carriers import Changes
from imggen.output.formats.container import CONTAINERS
from imggen.plan.schema.formats import FORMATS

PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
BLOCK = exif.merge(None, {"Software": "imggen", "UserComment": "a red apple 🍎"})

every_sample = pytest.mark.parametrize("name", list(samples()))
# A TIFF's Exif is not a block of its own, and an animated or turned AVIF shows Pillow another one.
BLOCKS = [name for name in samples() if not name.startswith("tiff") and name not in ("avif animated", "avif camera")]
TRAILED = [name for name in samples() if not name.startswith(("avif", "tiff"))]


def test_every_format_has_a_container_that_knows_its_files_alone():
    assert tuple(CONTAINERS) == tuple(FORMATS)
    for name, data in samples().items():
        assert container.format_of(data) == name.partition(" ")[0]
        assert sum(row.matches(data) for row in CONTAINERS.values()) == 1
    assert container.format_of(b"GIF89a") is None


@every_sample
def test_header_says_what_pillow_says(name):
    read = container.read(samples()[name])
    with Image.open(io.BytesIO(samples()[name])) as image:
        assert (read.width, read.height) == image.size
        assert read.format == image.format.lower()
        # Pages are not frames.
        assert read.animated == (getattr(image, "is_animated", False) and image.format != "TIFF")


@pytest.mark.parametrize("name", BLOCKS)
def test_metadata_that_went_in_comes_out_and_pillow_finds_it_too(name):
    data = container.replace(samples()[name], Changes(exif=BLOCK, xmp=PACKET))
    read = container.read(data)
    assert (read.carriers.exif, read.carriers.xmp) == (BLOCK, PACKET)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.info["exif"].removeprefix(b"Exif\0\0") == BLOCK
        assert image.info["xmp"] == PACKET


@every_sample
def test_pixels_and_the_bytes_that_hold_them_stay(name):
    before = samples()[name]
    after = container.replace(before, Changes(exif=BLOCK, xmp=PACKET, texts={"parameters": "x", "imggen": "{}"}))
    assert after != before
    assert pixels(after) == pixels(before)
    assert container.read(after).image_sha256 == container.read(before).image_sha256


@every_sample
def test_second_change_replaces_the_first_and_leaves_no_trace(name):
    first = container.replace(
        samples()[name], Changes(exif=BLOCK + b"longer", xmp=PACKET + b" ", texts={"imggen": "1"})
    )
    again = container.replace(first, Changes(exif=BLOCK, xmp=PACKET, texts={"imggen": "2"}))
    assert again == container.replace(samples()[name], Changes(exif=BLOCK, xmp=PACKET, texts={"imggen": "2"}))


@every_sample
def test_no_change_changes_no_byte(name):
    assert container.replace(samples()[name], Changes()) == samples()[name]
    assert container.replace(samples()[name], Changes(texts={"parameters": None})) == samples()[name]


@every_sample
def test_metadata_that_went_in_is_read_again(name):
    read = container.read(container.replace(samples()[name], Changes(exif=BLOCK, xmp=PACKET)))
    assert exif.read(read.carriers.exif).items() >= exif.read(BLOCK).items()
    assert read.carriers.xmp == PACKET
    assert not [each for each in read.notes if "pages" not in each and "turned" not in each]


@pytest.mark.parametrize("name", TRAILED)
def test_bytes_behind_the_picture_stay_behind_it(name):
    data = container.replace(samples()[name] + b"trailer", Changes(exif=BLOCK))
    assert data.endswith(b"trailer")
    assert container.read(data).carriers.exif == BLOCK


@every_sample
def test_file_cut_short_anywhere_is_refused(name):
    data = samples()[name]
    for end in range(len(data)):
        with pytest.raises(RequestError):
            container.read(data[:end])


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(samples())), edits=st.lists(st.tuples(st.integers(0), st.binary(max_size=3)), max_size=4)
)
def test_damaged_file_is_read_or_refused_and_never_more(name, edits):
    data = bytearray(container.replace(samples()[name], Changes(exif=BLOCK, xmp=PACKET)))
    for at, put in edits:
        start = at % len(data)
        data[start : start + len(put)] = put
    with contextlib.suppress(RequestError):
        container.read(bytes(data))
        container.replace(bytes(data), Changes(exif=BLOCK, xmp=PACKET, texts={"imggen": "{}"}))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "empty"),
        (b"hello", "unknown kind, not a PNG"),
        (b"GIF89a....", "a GIF"),
        (b"II+\0\10\0\0\0", "a BigTIFF"),
        (b"%PDF-1.7", "a PDF"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "a HEIC"),
    ],
)
def test_file_of_another_kind_is_called_by_its_kind(data, fault):
    with pytest.raises(RequestError, match=fault):
        container.read(data)


def png_of_size(width: int, height: int) -> bytes:
    chunks = png_chunks(samples()["png"])
    header = struct.pack(">II", width, height) + chunks[0][1][8:]
    return png.SIGNATURE + png_chunk(b"IHDR", header) + b"".join(png_chunk(*each) for each in chunks[1:])


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (60_000, 60_000), (2**31, 2**31)])
def test_dimensions_that_no_honest_file_has_are_refused(width, height):
    with pytest.raises(RequestError, match=f"{width}x{height}"):
        container.read(png_of_size(width, height))


def test_wrong_checksum_names_the_chunk_and_its_place():
    data = bytearray(samples()["png"])
    data[-20] ^= 1
    with pytest.raises(RequestError, match=r"'IDAT' at byte 33 has a wrong checksum"):
        container.read(bytes(data))


@pytest.mark.parametrize("length", [2**31 - 1, 2**32 - 1, 10_000])
def test_length_beyond_the_file_is_refused(length):
    data = samples()["png"]
    with pytest.raises(RequestError, match="more than are there"):
        container.read(data[:33] + struct.pack(">I", length) + data[37:])


def test_second_header_is_refused():
    header = png_chunks(samples()["png"])[0][1]
    with pytest.raises(RequestError, match="more than one header"):
        container.read(with_chunk(samples()["png"], b"IHDR", header))


@pytest.mark.parametrize("make", [
    lambda bomb: (b"zTXt", b"Comment\0\0" + bomb),
    lambda bomb: (b"iTXt", b"Comment\0\1\0\0\0" + bomb),
])  # fmt: skip
def test_compressed_text_is_unpacked_to_a_bound_and_no_further(make):
    bomb = zlib.compress(b"x" * (carriers.MAX_TEXT_BYTES + 1), 9)
    assert len(bomb) < 100_000
    with pytest.raises(RequestError, match="unpacks to more than"):
        container.read(with_chunk(samples()["png"], *make(bomb)))


def test_many_texts_share_one_bound():
    packed = b"Comment\0\0" + zlib.compress(b"x" * (carriers.MAX_TEXT_BYTES // 2 + 1), 9)
    data = with_chunk(with_chunk(samples()["png"], b"zTXt", packed), b"zTXt", packed)
    with pytest.raises(RequestError, match="more than"):
        container.read(data)


@pytest.mark.parametrize("packed", [b"", b"nonsense", zlib.compress(b"x" * 99)[:-6]])
def test_compressed_text_that_cannot_be_unpacked_is_refused(packed):
    with pytest.raises(RequestError, match="'Comment'"):
        container.read(with_chunk(samples()["png"], b"zTXt", b"Comment\0\0" + packed))


def test_text_that_ends_before_its_text_is_refused():
    with pytest.raises(RequestError, match="'Comment'"):
        container.read(with_chunk(samples()["png"], b"iTXt", b"Comment\0\0\0"))


def test_millions_of_empty_chunks_are_refused_before_they_fill_the_memory():
    many = png_chunk(b"tESt", b"") * (carriers.MAX_PARTS + 1)
    with pytest.raises(RequestError, match="chunks"):
        container.read(samples()["png"][:33] + many + samples()["png"][33:])


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        (b"tEXt", b"Comment\0caf\xe9", "café"),
        (b"tEXt", b"Comment\0" + "café".encode(), "café"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"caf\xe9"), "café"),
        (b"iTXt", b"Comment\0\0\0de\0Kommentar\0" + "りんご".encode(), "りんご"),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress("りんご".encode()), "りんご"),
        (b"comf", b"Comment\0{}", "{}"),
    ],
)
def test_every_kind_of_text_is_read(name, payload, expected):
    assert container.read(with_chunk(samples()["png"], name, payload)).carriers.text("Comment") == expected


def test_text_behind_the_image_data_is_read():
    data = with_chunk(samples()["png"], b"tEXt", b"parameters\0x", at=len(samples()["png"]) - 12)
    assert container.read(data).carriers.text("parameters") == "x"


def test_prefix_that_some_writers_put_into_a_png_is_taken_off():
    data = with_chunk(samples()["png"], b"eXIf", b"Exif\0\0" + BLOCK)
    assert container.read(data).carriers.exif == BLOCK


def test_repeated_text_is_told():
    data = with_chunk(with_chunk(samples()["png"], b"tEXt", b"parameters\0one"), b"tEXt", b"parameters\0two")
    read = container.read(data)
    assert read.carriers.text("parameters") == "two"
    assert "'parameters'" in read.notes[0]


def test_replaced_text_is_gone_in_all_its_copies_and_foreign_text_stays_byte_for_byte():
    foreign = b"Comment\0\0" + zlib.compress(b"stay", 1)
    data = samples()["png"]
    for chunk in ((b"zTXt", foreign), (b"tEXt", b"parameters\0one"), (b"iTXt", b"parameters\0\0\0\0\0two")):
        data = with_chunk(data, *chunk)
    chunks = png_chunks(container.replace(data, Changes(texts={"parameters": "new", "imggen": None})))
    assert (b"zTXt", foreign) in chunks
    assert [payload for _, payload in chunks if payload.startswith(b"parameters")] == [b"parameters\0new"]


def test_parameters_beyond_ascii_are_utf8_so_that_no_reader_guesses():
    data = container.replace(samples()["png"], Changes(texts={"parameters": "café 🍎"}))
    assert (b"iTXt", b"parameters\0\0\0\0\0" + "café 🍎".encode()) in png_chunks(data)
    with Image.open(io.BytesIO(data)) as image:
        assert image.text["parameters"] == "café 🍎"


def test_exif_stays_first_in_a_jpeg_when_only_xmp_changes():
    data = container.replace(samples()["jpeg camera"], Changes(xmp=PACKET))
    assert data.index(b"Exif\0\0") < data.index(jpeg.XMP_PREFIX)


def test_profile_and_comment_of_a_jpeg_stay():
    data = container.replace(samples()["jpeg camera"], Changes(exif=BLOCK, xmp=PACKET))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == b"profile" * 20
        assert image.info["comment"] == b"hello"


@pytest.mark.parametrize(
    ("changes", "what"),
    [(Changes(exif=b"x" * (jpeg.MAX_EXIF_BYTES + 1)), "Exif"), (Changes(xmp=b"x" * (jpeg.MAX_XMP_BYTES + 1)), "XMP")],
)
def test_block_larger_than_a_segment_is_refused_by_name(changes, what):
    with pytest.raises(RequestError, match=rf"the {what} would take 65,534 bytes; a JPEG holds 65,533"):
        container.replace(samples()["jpeg"], changes)


def test_blocks_as_large_as_a_segment_fit():
    changes = Changes(exif=BLOCK.ljust(jpeg.MAX_EXIF_BYTES, b"\0"), xmp=PACKET.ljust(jpeg.MAX_XMP_BYTES))
    data = container.replace(samples()["jpeg"], changes)
    assert container.read(data).carriers.exif == changes.exif
    assert pixels(data) == pixels(samples()["jpeg"])


def test_fill_bytes_before_markers_are_passed_over_in_no_time():
    data = samples()["jpeg"]
    filled = data[:2] + b"\xff" * 3_000_000 + data[2:]
    start = time.process_time()
    assert container.read(filled).width == 24
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\xff\xd8\xff\xd9", "no image data"),
        (b"\xff\xd8\xff\xe1\x00\x01", "says 1 bytes"),
        (b"\xff\xd8\xff\xe1\xff\xff", "says 65,535 bytes"),
        (b"\xff\xd8\xff\xd8\xff\xd9", "a marker 0xd8"),
        (b"\xff\xd8\xff\xfe\x00\x02xx", "no marker"),
    ],
)
def test_jpeg_that_is_none_inside_is_refused(data, fault):
    with pytest.raises(RequestError, match=fault):
        container.read(data)


def test_metadata_between_a_picture_index_and_its_pictures_is_not_moved():
    plain = container.replace(samples()["jpeg"], Changes(exif=BLOCK))
    indexed = with_segment(plain, 0xE2, b"MPF\0index")
    with pytest.raises(RequestError, match="multi-picture"):
        container.replace(indexed, Changes(exif=BLOCK))
    before = with_segment(with_segment(samples()["jpeg"], 0xE2, b"MPF\0index"), 0xE1, b"Exif\0\0" + BLOCK)
    assert container.read(container.replace(before, Changes(exif=BLOCK))).carriers.exif == BLOCK


def test_simple_webp_gets_the_extended_header_with_the_right_flags():
    for name, alpha in (("webp", 0), ("webp lossless", 0), ("webp lossless alpha", 0x10)):
        assert webp_chunks(samples()[name])[0][0] in (b"VP8 ", b"VP8L")
        chunks = webp_chunks(container.replace(samples()[name], Changes(exif=BLOCK, xmp=PACKET)))
        assert [each[0] for each in chunks] == [b"VP8X", chunks[1][0], b"EXIF", b"XMP "]
        assert chunks[0][1][0] == 0x0C | alpha
        assert chunks[0][1][4:] == (23).to_bytes(3, "little") + (17).to_bytes(3, "little")


def test_flags_of_an_extended_webp_keep_what_they_say_and_gain_what_is_new():
    before = webp_chunks(samples()["webp animated"])[0][1][0]
    after = webp_chunks(container.replace(samples()["webp animated"], Changes(xmp=PACKET)))[0][1][0]
    assert after == before | 0x04


def test_unknown_webp_chunks_stay():
    chunks = webp_chunks(container.replace(samples()["webp"], Changes(xmp=PACKET)))
    odd = webp([*chunks, (b"ABCD", b"odd")])
    assert (b"ABCD", b"odd") in webp_chunks(container.replace(odd, Changes(exif=BLOCK)))


def test_prefix_that_some_writers_put_into_a_webp_is_taken_off():
    chunks = webp_chunks(container.replace(samples()["webp"], Changes(exif=BLOCK)))
    prefixed = webp([(name, b"Exif\0\0" + payload if name == b"EXIF" else payload) for name, payload in chunks])
    assert container.read(prefixed).carriers.exif == BLOCK
    assert (b"EXIF", BLOCK) in chunks


@pytest.mark.parametrize(
    ("chunks", "fault"),
    [
        ([], "no image data"),
        ([(b"ANMF", b"")], "begins with a chunk 'ANMF'"),
        ([(b"VP8 ", b"short")], "'VP8 ' is damaged"),
        ([(b"VP8L", b"\x00\x00\x00\x00\x00")], "'VP8L' is damaged"),
        ([(b"VP8X", b"short"), (b"VP8 ", b"")], "'VP8X' is damaged"),
        ([(b"VP8X", b"\0" * 10), (b"VP8X", b"\0" * 10), (b"VP8 ", b"")], "more than one header"),
        ([(b"VP8X", b"\0" * 4 + b"\xff" * 6), (b"VP8 ", b"")], "16777216x16777216"),
    ],
)
def test_webp_that_is_none_inside_is_refused(chunks, fault):
    with pytest.raises(RequestError, match=fault):
        container.read(webp(chunks))


def test_hash_is_of_the_picture_and_of_nothing_else():
    first = container.read(samples()["png"]).image_sha256
    assert container.read(with_chunk(samples()["png"], b"tIME", b"\0" * 7)).image_sha256 == first
    assert container.read(saved(picture().rotate(180), "png")).image_sha256 != first


@pytest.mark.parametrize("name", ["png", "webp", "jpeg"])
def test_more_metadata_than_any_honest_file_has_is_refused(name):
    if name == "jpeg":
        data = samples()[name]
        for _ in range(carriers.MAX_TEXT_BYTES // 65_000 + 1):
            data = with_segment(data, 0xFE, bytes(65_000))
    else:
        data = container.replace(samples()[name], Changes(exif=BLOCK + bytes(carriers.MAX_TEXT_BYTES)))
    with pytest.raises(RequestError, match="at most 16,777,216 are read"):
        container.read(data)
