"""PNG files as chunks: what is read, what stays byte for byte, and what is refused."""

import io
import struct
import zlib

import pytest
from PIL import Image
from samples import picture, png_chunk, png_chunks, samples, saved, with_chunk

from imggen.errors import RequestError
from imggen.output.formats import carriers, png
from imggen.output.formats.carriers import Changes

PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
PLAIN = saved(picture(), "png")
HEADER = png_chunks(PLAIN)[0][1]


def xmp(text: bytes, flag: bytes = b"\0") -> tuple[bytes, bytes]:
    return b"iTXt", b"XML:com.adobe.xmp\0" + flag + b"\0\0\0" + text


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    data = PLAIN
    for chunk in reversed(chunks):
        data = with_chunk(data, *chunk)
    return data


def test_png_is_known_by_its_first_bytes_and_encoded_without_options():
    assert png.is_png(PLAIN)
    assert not png.is_png(PLAIN[1:])
    assert png.options(90, "RGB", 1) == {}


def test_everything_is_read_from_its_own_chunk():
    read = png.read(with_chunks(xmp(PACKET), (b"tEXt", b"Comment\0x"), (b"eXIf", b"MM\0*"), (b"caBX", b"c2pa")))
    assert (read.format, read.width, read.height, read.animated, read.signed) == ("png", 24, 18, False, True)
    assert (read.carriers.exif, read.carriers.xmp, read.carriers.texts) == (b"MM\0*", PACKET, (("Comment", "x"),))
    assert read.notes == ()
    bare = png.read(PLAIN)
    assert (bare.carriers.exif, bare.carriers.xmp, bare.carriers.texts, bare.signed) == (None, None, (), False)
    assert png.read(samples()["png animated"]).animated


def test_prefix_that_some_writers_put_in_is_taken_off():
    assert png.read(with_chunks((b"eXIf", b"Exif\0\0MM\0*"))).carriers.exif == b"MM\0*"


def test_repeated_metadata_is_told_and_the_first_is_read():
    doubled = [(b"eXIf", b"one"), (b"eXIf", b"two"), xmp(b"one"), xmp(b"two")]
    doubled += [(b"tEXt", keyword + b"\0x") for keyword in (b"parameters", b"imggen", b"prompt", b"Comment") * 2]
    read = png.read(with_chunks(*doubled))
    assert (read.carriers.exif, read.carriers.xmp) == (b"one", b"one")
    assert read.notes == (
        "the PNG has 2 Exif chunks; the first is read",
        "the PNG has 2 text chunks 'XML:com.adobe.xmp'; the first is read",
        "the PNG has 2 text chunks 'parameters'; the first is read",
        "the PNG has 2 text chunks 'imggen'; the first is read",
        "the PNG has 2 text chunks 'prompt'; the first is read",
    )


@pytest.mark.parametrize(
    ("name", "payload", "expected"),
    [
        (b"tEXt", b"Comment\0caf\xe9", "café"),
        (b"tEXt", b"Comment\0" + "café".encode(), "café"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"caf\xe9"), "café"),
        (b"iTXt", b"Comment\0\0\0de\0Kommentar\0" + "りんご".encode(), "りんご"),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress("りんご".encode()), "りんご"),
        (b"iTXt", b"Comment\0\0\0\0\0caf\xe9", "caf\ufffd"),
        (b"iTXt", b"Comment\0\0\0\0\0a\0b", "a\0b"),
        (b"comf", b"Comment\0{}", "{}"),
    ],
)
def test_every_kind_of_text_is_read(name, payload, expected):
    assert png.read(with_chunks((name, payload))).carriers.text("Comment") == expected


def test_text_behind_the_image_data_is_read():
    data = with_chunk(PLAIN, b"tEXt", b"parameters\0x", at=len(PLAIN) - 12)
    assert png.read(data).carriers.text("parameters") == "x"


@pytest.mark.parametrize("make", [
    lambda text: (b"zTXt", b"Comment\0\0" + zlib.compress(text)),
    lambda text: (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(text)),
])  # fmt: skip
def test_compressed_text_is_unpacked_to_a_bound_and_no_further(make, monkeypatch):
    monkeypatch.setattr(png, "MAX_TEXT_BYTES", 10_000)
    assert png.read(with_chunks(make(b"x" * 10_000))).carriers.text("Comment") == "x" * 10_000
    with pytest.raises(RequestError, match="'Comment' unpacks to more than 10,000 bytes"):
        png.read(with_chunks(make(b"x" * 10_001)))


def test_texts_share_one_bound(monkeypatch):
    monkeypatch.setattr(png, "MAX_TEXT_BYTES", 1000)
    half = (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 500))
    assert len(png.read(with_chunks(half, half)).carriers.texts) == 2
    with pytest.raises(RequestError, match="unpacks to more than 1,000"):
        png.read(with_chunks(half, (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 501))))
    exact = b"C\0" + b"x" * 998
    assert png.read(with_chunks((b"tEXt", exact))).carriers.text("C")
    with pytest.raises(RequestError, match="text is longer than the 1,000 bytes"):
        png.read(with_chunks((b"tEXt", exact + b"x")))


@pytest.mark.parametrize(("packed", "fault"), [
    (b"", "'Comment' ends too early"),
    (b"nonsense", "'Comment' cannot be unpacked"),
    (zlib.compress(b"x" * 99)[:-6], "'Comment' ends too early"),
])  # fmt: skip
def test_compressed_text_that_cannot_be_unpacked_is_refused(packed, fault):
    with pytest.raises(RequestError, match=fault):
        png.read(with_chunks((b"zTXt", b"Comment\0\0" + packed)))


def test_text_that_ends_before_its_text_is_refused():
    with pytest.raises(RequestError, match="text chunk 'Comment' ends before its text"):
        png.read(with_chunks((b"iTXt", b"Comment\0\0\0\0")))
    assert png.read(with_chunks((b"iTXt", b"Comment\0\0\0\0\0"))).carriers.text("Comment") == ""


def test_changes_go_right_behind_the_header_and_the_rest_stays():
    data = with_chunks((b"tIME", bytes(7)), (b"tEXt", b"Comment\0stay"))
    changed = png.replace(data + b"trailer", Changes(exif=b"MM", xmp=PACKET, texts={"imggen": "{}"}))
    chunks = png_chunks(changed.removesuffix(b"trailer"))
    rest = png_chunks(data)[1:]
    assert changed.endswith(b"trailer")
    assert chunks == [(b"IHDR", HEADER), (b"iTXt", b"imggen\0\0\0\0\0{}"), xmp(PACKET), (b"eXIf", b"MM"), *rest]


def test_replaced_text_is_gone_in_all_its_copies_and_foreign_text_stays_byte_for_byte():
    foreign = (b"zTXt", b"Comment\0\0" + zlib.compress(b"stay", 1))
    data = with_chunks(foreign, (b"tEXt", b"parameters\0one"), (b"iTXt", b"parameters\0\0\0\0\0two"))
    chunks = png_chunks(png.replace(data, Changes(texts={"parameters": "new", "imggen": None})))
    assert foreign in chunks
    assert [payload for _, payload in chunks if payload.startswith(b"parameters")] == [b"parameters\0new"]


@pytest.mark.parametrize(("changes", "gone"), [
    (Changes(), set()),
    (Changes(exif=b""), {b"eXIf"}),
    (Changes(xmp=b""), {b"iTXt"}),
    (Changes(texts={"Comment": None}), {b"tEXt"}),
    (Changes(dropped=frozenset(["manifest"])), {b"caBX"}),
    (Changes(dropped=frozenset(["comments"])), set()),
])  # fmt: skip
def test_what_is_taken_out_is_that_alone(changes, gone):
    data = with_chunks((b"eXIf", b"MM"), xmp(PACKET), (b"tEXt", b"Comment\0x"), (b"caBX", b"c2pa"))
    names = {name for name, _ in png_chunks(png.replace(data, changes))}
    assert {name for name, _ in png_chunks(data)} - names == gone


def test_parameters_beyond_ascii_are_utf8_so_that_no_reader_guesses():
    data = png.replace(PLAIN, Changes(texts={"parameters": "café 🍎"}))
    assert (b"iTXt", b"parameters\0\0\0\0\0" + "café 🍎".encode()) in png_chunks(data)
    with Image.open(io.BytesIO(data)) as image:
        assert image.text["parameters"] == "café 🍎"


def with_header(payload: bytes) -> bytes:
    rest = b"".join(png_chunk(*chunk) for chunk in png_chunks(PLAIN)[1:])
    return png.SIGNATURE + png_chunk(b"IHDR", payload) + rest


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (60_000, 60_000), (2**31, 2**31)])
def test_dimensions_that_no_honest_file_has_are_refused(width, height):
    with pytest.raises(RequestError, match=f"{width}x{height}"):
        png.read(with_header(struct.pack(">II", width, height) + HEADER[8:]))


def test_wrong_checksum_names_the_chunk_and_its_place():
    data = bytearray(PLAIN)
    data[-20] ^= 1
    with pytest.raises(RequestError, match=r"'IDAT' at byte 33 has a wrong checksum"):
        png.read(bytes(data))


LEFT = len(PLAIN) - 33 - 12


@pytest.mark.parametrize("length", [2**31, 2**32 - 1, 10_000, LEFT + 1])
def test_length_beyond_the_file_is_refused(length):
    with pytest.raises(RequestError, match=f"'IDAT' at byte 33 says {length:,} bytes, more than are there"):
        png.read(PLAIN[:33] + struct.pack(">I", length) + PLAIN[37:])


def test_length_up_to_the_end_of_the_file_is_only_wrong_in_its_checksum():
    with pytest.raises(RequestError, match="'IDAT' at byte 33 has a wrong checksum"):
        png.read(PLAIN[:33] + struct.pack(">I", LEFT) + PLAIN[37:])


@pytest.mark.parametrize(("data", "fault"), [
    (PLAIN[:-1], f"ends at byte {len(PLAIN) - 1:,}, before its last chunk"),
    (png.SIGNATURE, "ends at byte 8, before its last chunk"),
    (with_chunks((b"IHDR", HEADER)), "more than one header"),
    (with_header(HEADER + b"\0"), "begins with a chunk 'IHDR' of 14 bytes, not its header"),
    (png.SIGNATURE + png_chunk(b"IDAT", bytes(13)) + PLAIN[33:], "begins with a chunk 'IDAT' of 13 bytes"),
    (PLAIN[:33] + png_chunk(b"IEND", b""), "has no image data"),
    (with_chunks((b"t1ME", b"")), "has no chunk at byte 33 but 't1ME'"),
])  # fmt: skip
def test_png_that_is_none_inside_is_refused(data, fault):
    with pytest.raises(RequestError) as caught:
        png.read(data)
    assert fault in caught.value.message


def test_millions_of_empty_chunks_are_refused_before_they_fill_the_memory(monkeypatch):
    assert png.MAX_PARTS == carriers.MAX_PARTS
    monkeypatch.setattr(png, "MAX_PARTS", 10)
    own = len(png_chunks(PLAIN))
    assert png.read(with_chunks(*[(b"tESt", b"")] * (10 - own))).width == 24
    with pytest.raises(RequestError, match="more than 10 chunks"):
        png.read(with_chunks(*[(b"tESt", b"")] * (11 - own)))


def test_hash_is_of_the_picture_however_its_data_is_cut_and_of_nothing_else():
    first = png.read(PLAIN).image_sha256
    assert png.read(with_chunks((b"tIME", bytes(7)))).image_sha256 == first
    header, (_, pixels), end = png_chunks(PLAIN)
    cut = [header, (b"IDAT", pixels[:9]), (b"IDAT", pixels[9:]), end]
    assert png.read(png.SIGNATURE + b"".join(png_chunk(*chunk) for chunk in cut)).image_sha256 == first
    others = [with_chunks((b"tRNS", bytes(6))), with_chunks((b"PLTE", bytes(3))), saved(picture().rotate(180), "png")]
    assert len({first, *(png.read(data).image_sha256 for data in others)}) == 4
