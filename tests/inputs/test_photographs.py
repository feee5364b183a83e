import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFilter

from imggen.inputs import photographs

GOLDEN = Path(__file__).parents[1] / "engine/golden"


@pytest.mark.parametrize("edge", [96, 500])
def test_a_picture_with_detail_all_over_is_a_photograph(edge):
    assert photographs.is_photograph(photograph(edge), b"")


def test_what_a_camera_exposed_is_a_photograph_however_smooth_it_is():
    sky = Image.new("RGB", (64, 64), (90, 140, 220))
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    assert photographs.is_photograph(sky, as_jpeg(sky, exif=exif))
    assert not photographs.is_photograph(sky, as_jpeg(sky))


@pytest.mark.parametrize("name", ["builtin.png", "builtin-x2.png", "builtin-x4.png"])
def test_pictures_of_the_builtin_networks_are_none(name):
    with Image.open(GOLDEN / name) as image:
        assert photographs.roughness(image.convert("RGB")) <= 5


@pytest.mark.parametrize("edge", [1, 40, 128, 700])
def test_flat_drawings_are_none_as_jpegs_too(edge):
    with Image.open(io.BytesIO(as_jpeg(drawing(edge), quality=70))) as image:
        assert not photographs.is_photograph(image, b"")


def test_a_damaged_file_is_judged_by_its_pixels():
    assert not photographs.is_photograph(drawing(64), b"\xff\xd8\xff\xe1\0\x08Exif")


def photograph(edge):
    """Return noise whose amplitude falls with its frequency, as it does in pictures of the world."""
    drawn = np.random.default_rng(3)
    layers = [
        Image.fromarray(drawn.normal(0, 1, (count, count)).astype(np.float32)).resize(
            (edge, edge), Image.Resampling.BICUBIC
        )
        for count in (4, 8, 16, 32, 64)
    ]
    total = sum(np.asarray(layer) * weight for layer, weight in zip(layers, (34, 30, 26, 22, 18), strict=True))
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8)).convert("RGB")


def drawing(edge):
    image = Image.new("RGB", (edge, edge), "white")
    draw = ImageDraw.Draw(image)
    for at in range(0, edge, max(1, edge // 8)):
        draw.line((0, at, edge, at), fill="teal", width=max(1, edge // 60))
    draw.ellipse((edge // 4, edge // 4, 3 * edge // 4, 3 * edge // 4), fill="red", outline="black")
    return image.filter(ImageFilter.SMOOTH)


def as_jpeg(image, **options):
    data = io.BytesIO()
    image.save(data, "JPEG", **options)
    return data.getvalue()
