"""Picture files of every format: metadata goes in and out, and everything else stays where it is."""

import contextlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from samples import (
    pixels,
    samples,
    with_segment,
)

from imggen.errors import RequestError
from imggen.output.formats import carriers, container, exif
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
