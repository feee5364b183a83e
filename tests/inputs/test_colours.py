"""Pixels of every kind as 8-bit sRGB: what is scaled, what is noted and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from imggen.errors import RequestError
from imggen.inputs import colours
from tests.data.quadrants import pixels

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
APPROXIMATE = "its inks (CMYK) have no colour profile, so its colours are approximate"


def grey(*levels, dtype=np.uint8):
    return Image.fromarray(np.array([levels], dtype))


def converted(image, raw="RGB", **info):
    image.info.update(info)
    notes = []
    return colours.to_srgb(image, raw, notes), notes


@pytest.mark.parametrize(
    ("image", "raw", "levels", "notes"),
    [
        (grey(0, 300, 40000, 65535, dtype=np.uint16), "I;16", [0, 1, 156, 255], ["16 bits a channel are read as 8"]),
        (grey(0, 128, 129, 65535, dtype=np.uint16), "I;16", [0, 0, 1, 255], ["16 bits a channel are read as 8"]),
        (grey(0, 65535, dtype=np.int32), "I;32S", [0, 255], ["16 bits a channel are read as 8"]),
        (grey(0, 2048, 4095, dtype=np.uint16), "I;12", [0, 128, 255], ["12 bits a channel are read as 8"]),
        (
            grey(0, 0.25, 1, dtype=np.float32),
            "F;32F",
            [0, 64, 255],
            ["fractions are read as 8 bits a channel, 1 as white"],
        ),
        (grey(0, 7, 255), "L", [0, 7, 255], []),
        (grey(0, 7, 255), "L;16B", [0, 7, 255], ["16 bits a channel are read as 8"]),
    ],
)
def test_samples_of_every_depth_are_scaled_to_8_bits(image, raw, levels, notes):
    made, noted = converted(image, raw)
    assert made.mode == "RGB"
    assert pixels(made) == [(level,) * 3 for level in levels]
    assert noted == notes


@pytest.mark.parametrize(("samples", "dtype", "message"), [
    ((-1, 5), np.int32, "its samples run from -1 to 5, and the file does not say which is white"),
    ((0, 65536), np.int32, "its samples run from 0 to 65,536, and the file does not say which is white"),
    ((-0.5, 1), np.float32, "its samples run from -0.5 to 1; of fractions, only those from 0 to 1 are read"),
    ((0, 1.5), np.float32, "its samples run from 0 to 1.5; of fractions, only those from 0 to 1 are read"),
    ((0, np.nan), np.float32, "its samples run from nan to nan; of fractions"),
])  # fmt: skip
def test_samples_without_a_known_white_are_refused(samples, dtype, message):
    with pytest.raises(RequestError) as caught:
        converted(grey(*samples, dtype=dtype), "I")
    assert caught.value.message.startswith(message)
    assert caught.value.hint == "save it with 8 or 16 bits a channel"


@pytest.mark.parametrize(("photometric", "levels"), [(0, [255, 0]), (1, [0, 255])])
def test_a_tiff_whose_zero_is_white_is_inverted(photometric, levels):
    image = grey(0, 65535, dtype=np.uint16)
    image.tag_v2 = {262: photometric}
    assert pixels(converted(image, "I;16")[0]) == [(level,) * 3 for level in levels]


@pytest.mark.parametrize(("image", "raw", "key", "alpha"), [
    (grey(0, 300, dtype=np.uint16), "I;16", 300, [255, 0]),
    (grey(0, 85), "L;2", 1, [255, 0]),
    (grey(0, 17), "L;4", 1, [255, 0]),
    (grey(0, 1), "L", 1, [255, 0]),
    (Image.fromarray(np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)), "RGB;16B", (0x1FF, 0x200, 0x300), [255, 0]),
    (Image.fromarray(np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)), "RGB", (1, 2, 3), [255, 0]),
])  # fmt: skip
def test_a_transparent_colour_is_scaled_like_the_pixels(image, raw, key, alpha):
    made, _ = converted(image, raw, transparency=key)
    assert made.mode == "RGBA"
    assert list(np.asarray(made.getchannel("A"))[0]) == alpha


@pytest.mark.parametrize(("alpha", "mode"), [(255, "RGB"), (254, "RGBA"), (0, "RGBA")])
@pytest.mark.parametrize("kind", ["RGBA", "LA"])
def test_alpha_stays_where_a_pixel_is_not_opaque(kind, alpha, mode):
    image = Image.new("RGBA", (2, 1), (9, 9, 9, 255))
    image.putpixel((1, 0), (7, 7, 7, alpha))
    made, notes = converted(image.convert(kind), kind)
    assert (made.mode, notes) == (mode, [])
    assert pixels(made.convert("RGBA")) == [(9, 9, 9, 255), (7, 7, 7, alpha)]


@pytest.mark.parametrize(("gamma", "info", "notes"), [
    (1 / 2.2, {}, []),
    (1 / 2.2 + 0.009, {}, []),
    (1 / 2.2 + 0.02, {}, ["its gamma of 0.474545 is not applied"]),
    (1.0, {}, ["its gamma of 1 is not applied"]),
    (0.0, {}, []),
    (1.0, {"srgb": 0}, []),
    (1.0, {"icc_profile": SRGB}, []),
])  # fmt: skip
def test_a_gamma_that_is_not_the_usual_is_a_note(gamma, info, notes):
    assert converted(Image.new("RGB", (1, 1)), gamma=gamma, **info)[1] == notes


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV"])
def test_other_modes_become_rgb(mode):
    image = Image.new("RGB", (2, 2), (255, 0, 0)).convert(mode)
    made, notes = converted(image, mode)
    assert (pixels(made), notes) == (pixels(image.convert("RGB")), [])


def test_inks_without_a_profile_are_approximate():
    made, notes = converted(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "CMYK")
    assert (pixels(made), notes) == ([(255, 0, 0)], [APPROXIMATE])


def test_a_profile_that_is_srgb_changes_no_pixel_and_does_not_travel_on():
    image = Image.effect_noise((40, 40), 90).convert("RGB")
    made, notes = converted(image.copy(), icc_profile=SRGB, dpi=(72, 72))
    assert (made.tobytes(), made.info, notes) == (image.tobytes(), {}, [])


def test_lab_is_converted_by_itself():
    made, notes = converted(Image.new("LAB", (1, 1), (255, 128, 128)), "LAB")
    assert made.mode == "RGB"
    assert notes == []


@pytest.mark.parametrize(("image", "profile", "note"), [
    (Image.new("RGB", (1, 1)), b"nonsense", "its colour profile is not applied: "),
    (Image.new("CMYK", (1, 1)), SRGB, "its colour profile is not applied: it is for RGB and the picture is CMYK"),
    (
        Image.new("RGB", (1, 1)),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
        "its colour profile is not applied: it is for Lab and the picture is RGB",
    ),
])  # fmt: skip
def test_a_profile_that_cannot_be_applied_is_a_note(image, profile, note):
    made, notes = converted(image, image.mode, icc_profile=profile)
    assert notes[0].startswith(note)
    assert notes[1:] == ([APPROXIMATE] if image.mode == "CMYK" else [])
    assert made.tobytes() == image.convert("RGB").tobytes()


def profile_with_gamma(gamma: float) -> bytes:
    """Return sRGB's profile with a plain power in place of its curves, and every other byte as it was."""
    data = bytearray(SRGB)
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        at = data.index(name, 128)
        place = int.from_bytes(data[at + 4 : at + 8])
        data[place : place + 16] = b"para\0\0\0\0\0\0\0\0" + round(gamma * 65536).to_bytes(4)
    return bytes(data)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_colours_of_another_profile_are_converted_with_a_note(mode):
    image = Image.new(mode, (1, 1), 55 if mode == "L" else (55, 55, 55))
    made, notes = converted(image, mode, icc_profile=profile_with_gamma(1.0))
    # Linear 55/255, as sRGB has it.
    assert all(abs(level - 128) <= 3 for level in pixels(made)[0])
    assert [note.startswith("its colours are converted to sRGB from ") for note in notes] == [True]


def test_a_converted_picture_can_be_saved_without_its_old_profile():
    made, _ = converted(Image.new("RGB", (1, 1), (55, 55, 55)), icc_profile=profile_with_gamma(1.0))
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    assert "icc_profile" not in Image.open(buffer).info
