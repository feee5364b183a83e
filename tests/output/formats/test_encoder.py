"""Pixels to files: what quality does, what fits, and nothing that the picture came with."""

import io

import pytest
from PIL import Image
from samples import picture, pixels

from imggen.errors import RequestError
from imggen.output.formats import encoder
from imggen.plan.schema.formats import FORMATS


def test_quality_sets_size_and_colours():
    sizes = [len(encoder.encode(picture(size=(96, 96)), "jpeg", quality)) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes)
    for quality, halved in ((89, True), (90, False)):
        with Image.open(io.BytesIO(encoder.encode(picture(), "jpeg", quality))) as image:
            assert (image.layer[0][1] == 2) is halved
    sizes = [len(encoder.encode(picture(size=(96, 96)), "webp", quality)) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes)


def test_what_the_picture_came_with_does_not_leak_into_the_file():
    image = picture()
    image.info = {
        "exif": b"Exif\0\0secret",
        "comment": b"secret",
        "parameters": "secret",
        "dpi": (7, 7),
        "icc_profile": b"kept",
    }
    for file_format in ("png", "jpeg", "webp"):
        data = encoder.encode(image, file_format, 90)
        assert b"secret" not in data
        with Image.open(io.BytesIO(data)) as read:
            assert read.info.get("icc_profile") == b"kept"
            assert "dpi" not in read.info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "F", "I;16"])
@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_every_kind_of_picture_finds_a_file(mode, file_format):
    image = Image.new(mode, (4, 3))
    if mode in ("LA", "RGBA"):
        image.putalpha(255)
    assert pixels(encoder.encode(image, file_format, 90))[0][1] == (4, 3)


@pytest.mark.parametrize("file_format", ["webp", "png", "tiff"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_files_hold_the_very_pixels(mode, file_format):
    image = picture(mode)
    assert pixels(encoder.encode(image, file_format, 100)) == [(mode, image.size, image.tobytes())]


def test_avif_keeps_colours_at_full_resolution_from_90():
    red = Image.new("RGB", (64, 64), "white")
    for column in range(0, 64, 2):
        red.paste("red", (column, 0, column + 1, 64))
    errors = [abs(pixels(encoder.encode(red, "avif", quality))[0][2][1] - 0) for quality in (89, 90)]
    assert errors[0] > 2 * errors[1] + 20


@pytest.mark.parametrize("file_format", list(FORMATS))
def test_same_pixels_are_the_same_bytes(file_format):
    first, second = (encoder.encode(picture(size=(300, 200)), file_format, 80) for _ in range(2))
    assert first == second


def test_longest_edge_is_one_that_fits():
    encoder.check_size(16_383, 8, "webp")
    with pytest.raises(RequestError, match="16384x8") as caught:
        encoder.check_size(16_384, 8, "webp")
    assert caught.value.hint == "--format png"


def test_opaque_alpha_is_no_transparency():
    image = picture("RGB").convert("RGBA")
    assert pixels(encoder.encode(image, "jpeg", 90))[0][0] == "RGB"
    encoder.check_alpha("png")
    with pytest.raises(RequestError, match="a JPEG cannot hold"):
        encoder.check_alpha("jpeg")
