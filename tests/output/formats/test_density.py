"""Pixels per inch, from the places where files say them."""

import struct

import pytest
from samples import picture, samples, saved, with_chunk

from imggen.output.formats import container, density, exif
from imggen.output.formats.carriers import Changes


def read(data):
    return density.read(data, container.read(data))


def phys(x, y, unit):
    return with_chunk(samples()["png"], b"pHYs", struct.pack(">IIB", x, y, unit))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(picture(), "jpeg", dpi=(300, 200)), (300, 200)),
        (saved(picture(), "png", dpi=(300, 300)), (300, 300)),
        (saved(picture(), "tiff", dpi=(150, 150)), (150, 150)),
        (phys(5906, 3937, 1), (150, 100)),
        (samples()["jpeg"], None),
        (samples()["webp"], None),
    ],
)
def test_density_is_read_from_every_place(data, expected):
    assert read(data) == expected


def test_centimetres_are_inches_of_another_length():
    data = bytearray(saved(picture(), "jpeg", dpi=(100, 100)))
    assert data[13] == 1
    data[13] = 2
    assert read(bytes(data)) == (254, 254)
    data[13] = 0
    assert read(bytes(data)) is None


@pytest.mark.parametrize("data", [phys(5906, 5906, 0), phys(0, 5906, 1), phys(5906, 1, 1)])
def test_shape_without_a_size_is_no_density(data):
    assert read(data) is None


def test_chunk_behind_the_picture_does_not_count():
    data = samples()["png"]
    assert read(with_chunk(data, b"pHYs", struct.pack(">IIB", 5906, 5906, 1), at=len(data) - 12)) is None


def test_exif_comes_first_unless_it_says_that_it_does_not_know():
    jpeg = saved(picture(), "jpeg", dpi=(300, 300))
    for said, expected in ((200, (200, 200)), (72, (300, 300))):
        block = exif.merge(None, {"XResolution": said, "YResolution": said, "ResolutionUnit": 2})
        assert read(container.replace(jpeg, Changes(exif=block))) == expected
    assert density.of_exif(b"damaged") is None
    assert density.of_exif(None) is None
