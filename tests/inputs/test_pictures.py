"""Strangers' pictures: every kind is read right or refused in words, and what is given back is what was asked for."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, features
from samples import png_chunk

from imggen.errors import RequestError
from imggen.inputs import layout, pictures
from tests.data.quadrants import pixels, quadrants

RAMP = (0, 300, 40000, 65535)
NEEDS_AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def saved(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(depth, colour, rows, width, *chunks):
    """A PNG by hand: bits a channel, colour type, rows as bytes, and chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in parts)


def decoded(data, frame=None):
    found = pictures.decode(data, name="a.png", frame=frame)
    measured = pictures.measure(data, name="a.png", frame=frame)
    assert (measured.width, measured.height) == found.image.size
    return found


def near(image, expected, tolerance):
    assert (image.mode, image.size) == (expected.mode, expected.size)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).max() <= tolerance


def exif(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return made


@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("JPEG", {"quality": 100, "subsampling": 0}, 8),
        ("WEBP", {"lossless": True}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        pytest.param("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 8, marks=NEEDS_AVIF),
    ],
)
def test_every_format_is_read(file_format, options, tolerance):
    read = decoded(saved(quadrants(), file_format, **options))
    near(read.image, quadrants(), tolerance)
    assert read.notes == ()


def test_a_header_says_which_format_and_what_will_be_refused():
    assert pictures.measure(saved(quadrants(), "WEBP"), name="a").kind == "WEBP"
    frames = saved(quadrants(), "GIF", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    for data, words in (
        (b"text", "not a picture"),
        (frames, "2 frames"),
        (saved(quadrants(), "PNG")[:20], "cut short"),
    ):
        with pytest.raises(RequestError) as caught:
            pictures.measure(data, name="a")
        assert words in f"{caught.value.message} {caught.value.hint}"


def test_a_gif_of_one_frame_is_a_still():
    near(decoded(saved(quadrants(), "GIF")).image, quadrants(), 0)
    near(decoded(saved(quadrants(), "GIF"), frame=1).image, quadrants(), 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG", pytest.param("AVIF", marks=NEEDS_AVIF)])
def test_pictures_are_turned_upright_once(file_format, orientation):
    turn = pictures._TURNS.get(orientation)
    # what the camera stored is the upright picture turned back
    inverse = {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    stored = quadrants((32, 24)) if turn is None else quadrants((32, 24)).transpose(inverse.get(turn, turn))
    data = saved(stored, file_format, exif=exif(orientation), **({"lossless": True} if file_format == "WEBP" else {}))
    made = decoded(data).image
    assert made.size == (32, 24)
    for at in ((8, 6), (24, 6), (8, 18), (24, 18)):
        assert np.abs(np.subtract(made.getpixel(at), quadrants((32, 24)).getpixel(at))).max() < 40


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_each_page_of_a_tiff_is_turned_by_its_own_orientation(compression):
    buffer = io.BytesIO()
    turned = quadrants((16, 12)).transpose(Image.Transpose.ROTATE_90)
    turned.save(
        buffer,
        "TIFF",
        compression=compression,
        exif=exif(6),
        save_all=True,
        append_images=[turned.copy(), turned.copy()],
    )
    near(decoded(buffer.getvalue(), frame=1).image, quadrants((16, 12)), 0)


def test_damaged_exif_is_a_note():
    read = decoded(saved(quadrants(), "PNG", exif=b"Exif\0\0nonsense"))
    assert read.image.size == (8, 6)
    assert read.notes == ("a.png: its Exif block cannot be read, so whether it stands upright is not known",)


def test_a_gamma_of_its_own_is_a_note():
    for gamma, notes in ((45455, ()), (100000, ("a.png: its gamma of 1 is not applied",))):
        data = png(8, 0, [bytes(4)], 4, (b"gAMA", struct.pack(">I", gamma)))
        assert decoded(data).notes == notes


def test_16_bit_grey_is_scaled_and_not_clipped():
    row = np.array(RAMP, ">u2").tobytes()
    read = decoded(png(16, 0, [row], 4))
    assert pixels(read.image) == [(0, 0, 0), (1, 1, 1), (156, 156, 156), (255, 255, 255)]
    assert read.notes == ("a.png: 16 bits a channel are read as 8",)


@pytest.mark.parametrize(
    "data",
    [
        b"P5 4 1 65535\n" + np.array(RAMP, ">u2").tobytes(),
        saved(Image.fromarray(np.array([RAMP], "<u2")), "TIFF"),
        saved(Image.fromarray(np.array([RAMP], "<u2")), "TIFF", compression="tiff_lzw"),
        saved(Image.fromarray(np.array([RAMP], ">u2")), "TIFF"),
        saved(Image.fromarray(np.array([RAMP], "<i4")), "TIFF"),
        png(16, 2, [np.repeat(np.array(RAMP, ">u2"), 3).tobytes()], 4),
        b"P6 4 1 65535\n" + np.repeat(np.array(RAMP, ">u2"), 3).tobytes(),
    ],
    ids=["pgm", "tiff", "tiff lzw", "tiff big-endian", "tiff 32", "png rgb", "ppm"],
)
def test_16_bits_are_scaled_and_noted_in_every_format(data):
    read = decoded(data)
    near(read.image, Image.fromarray(np.array([[[0] * 3, [1] * 3, [156] * 3, [255] * 3]], np.uint8)), 1)
    assert read.notes == ("a.png: 16 bits a channel are read as 8",)


def test_16_bits_with_alpha_keep_it():
    row = np.array(RAMP)
    grey = decoded(png(16, 4, [np.stack([row, row[::-1]], axis=1).astype(">u2").tobytes()], 4))
    assert pixels(grey.image) == [(0, 0, 0, 255), (1, 1, 1, 156), (156, 156, 156, 1), (255, 255, 255, 0)]
    assert grey.notes
    colour = decoded(png(16, 6, [np.stack([row, row, row, row[::-1]], axis=1).astype(">u2").tobytes()], 4))
    assert pixels(colour.image) == pixels(grey.image)


def test_a_tiff_whose_zero_is_white_is_inverted():
    data = bytearray(saved(Image.fromarray(np.array([RAMP], "<u2")), "TIFF"))
    entry = data.index(struct.pack("<HHIH", 262, 3, 1, 1))
    data[entry + 8] = 0
    assert pixels(decoded(bytes(data)).image) == [(255,) * 3, (254,) * 3, (99,) * 3, (0,) * 3]


def test_fractions_are_read_from_0_to_1_and_refused_beyond():
    values = np.array([[0, 0.25, 1]], "<f4")
    read = decoded(saved(Image.fromarray(values), "TIFF"))
    assert pixels(read.image) == [(0,) * 3, (64,) * 3, (255,) * 3]
    assert "1 as white" in read.notes[0]
    for bad in (values * 2, values - 1, values * np.nan):
        with pytest.raises(RequestError, match=r"^a\.png: its samples run from .* to "):
            decoded(saved(Image.fromarray(bad), "TIFF"))


@pytest.mark.parametrize("bad", [-1, 70000])
def test_numbers_that_do_not_say_what_is_white_are_refused(bad):
    with pytest.raises(RequestError, match="the file does not say which is white") as caught:
        decoded(saved(Image.fromarray(np.array([[0, bad]], "<i4")), "TIFF"))
    assert "8 or 16 bits" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "alpha"),
    [
        (png(1, 0, [b"\x50"], 4, (b"tRNS", b"\0\1")), [255, 0, 255, 0]),
        (png(2, 0, [b"\x1b"], 4, (b"tRNS", b"\0\1")), [255, 0, 255, 255]),
        (png(4, 0, [b"\x01\xef"], 4, (b"tRNS", b"\0\x0e")), [255, 255, 0, 255]),
        (png(8, 0, [bytes([0, 5, 200, 255])], 4, (b"tRNS", b"\0\5")), [255, 0, 255, 255]),
        (png(16, 0, [np.array(RAMP, ">u2").tobytes()], 4, (b"tRNS", struct.pack(">H", 300))), [255, 0, 255, 255]),
        (png(8, 2, [bytes(range(12))], 4, (b"tRNS", struct.pack(">HHH", 3, 4, 5))), [255, 0, 255, 255]),
        (
            png(
                16,
                2,
                [np.repeat(np.array(RAMP, ">u2"), 3).tobytes()],
                4,
                (b"tRNS", struct.pack(">HHH", 40000, 40000, 40000)),
            ),
            [255, 255, 0, 255],
        ),
        (png(8, 3, [bytes([0, 1, 2, 0])], 4, (b"PLTE", bytes(range(9))), (b"tRNS", b"\0\x80")), [0, 128, 255, 0]),
        (png(2, 3, [b"\x18"], 4, (b"PLTE", bytes(range(9))), (b"tRNS", b"\xff\0")), [255, 0, 255, 255]),
    ],
    ids=["grey 1", "grey 2", "grey 4", "grey 8", "grey 16", "rgb 8", "rgb 16", "palette 8", "palette 2"],
)
def test_transparent_colours_are_transparent_at_every_depth(data, alpha):
    image = decoded(data).image
    assert image.mode == "RGBA"
    assert list(np.asarray(image.getchannel("A"))[0]) == alpha


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_that_is_opaque_everywhere_is_none(mode):
    assert decoded(saved(quadrants().convert(mode), "PNG")).image.mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_and_palettes_become_rgb(mode):
    image = quadrants().convert(mode)
    near(decoded(saved(image, "PNG")).image, image.convert("RGB"), 0)


def test_hidden_colours_of_transparent_pixels_stay():
    image = Image.new("RGBA", (2, 1), (9, 8, 7, 0))
    assert pixels(decoded(saved(image, "PNG")).image) == [(9, 8, 7, 0)] * 2


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_inks_become_colours_with_a_note(file_format):
    # Pillow writes a CMYK JPEG as Adobe does, inverted
    read = decoded(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), file_format))
    near(read.image, Image.new("RGB", (8, 8), (255, 0, 0)), 4)
    assert read.notes == ("a.png: its inks (CMYK) have no colour profile, so its colours are approximate",)


@pytest.mark.parametrize(
    ("stored", "colour"),
    [
        ((255, 0, 0), (255, 255, 255)),
        ((0, 0, 0), (0, 0, 0)),
        ((136, 80, 67), (255, 0, 0)),
        ((76, 68, 144), (0, 0, 255)),
    ],
)
def test_lab_is_read_with_signed_colours(stored, colour):
    # L* in 255ths, a* and b* as they are, 144 being -112
    data = saved(Image.new("LAB", (1, 1)), "TIFF")[:-3] + bytes(stored)
    near(decoded(data).image, Image.new("RGB", (1, 1), colour), 30)


def matrix_profile(colours, gamma):
    """A display's profile by hand (ICC.1:2010): three columns of XYZ under D50 and one power for all."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(each * 65536)) for each in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 9) + b"A screen\0" + b"\0" * 78
    text += b"\0" * (-len(text) % 4)
    tags = {b"desc": text, b"wtpt": xyz((0.9642, 1, 0.8249)), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= {name: xyz(values) for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colours, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061) + b"\0" * 48
    return header + struct.pack(">I", len(tags)) + table + body


SRGB_COLUMNS = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))


def test_the_colours_of_a_profile_are_converted_with_a_note():
    swapped = matrix_profile((SRGB_COLUMNS[1], SRGB_COLUMNS[0], SRGB_COLUMNS[2]), 2.2)
    read = decoded(saved(Image.new("RGB", (3, 3), (255, 0, 0)), "PNG", icc_profile=swapped))
    near(read.image, Image.new("RGB", (3, 3), (0, 255, 0)), 3)
    assert read.notes == ("a.png: its colours are converted to sRGB from A screen",)


def test_alpha_outlives_a_profile():
    swapped = matrix_profile((SRGB_COLUMNS[1], SRGB_COLUMNS[0], SRGB_COLUMNS[2]), 2.2)
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 77))
    near(decoded(saved(image, "PNG", icc_profile=swapped)).image, Image.new("RGBA", (2, 1), (0, 255, 0, 77)), 3)


def test_a_profile_that_is_srgb_changes_no_pixel():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.effect_noise((40, 40), 90).convert("RGB")
    read = decoded(saved(image, "PNG", icc_profile=profile))
    near(read.image, image, 0)
    assert read.notes == ()


def test_a_profile_for_grey_is_applied_to_grey():
    profile = matrix_profile(SRGB_COLUMNS, 1.0)
    grey = decoded(saved(Image.new("L", (1, 1), 55), "PNG", icc_profile=profile))
    assert abs(pixels(grey.image)[0][0] - 128) <= 3  # linear 55/255 in sRGB
    assert len(set(pixels(grey.image)[0])) == 1


@pytest.mark.parametrize("profile", [b"profile" * 20, b"", b"\0" * 200, matrix_profile(SRGB_COLUMNS, 2.2)[:300]])
def test_a_broken_profile_is_a_note_and_no_error(profile):
    read = decoded(saved(quadrants(), "PNG", icc_profile=profile))
    near(read.image, quadrants(), 0)
    assert [each.startswith("a.png: its colour profile is not applied: ") for each in read.notes] == [True] * bool(
        profile
    )


def test_a_profile_for_other_colours_is_a_note():
    read = decoded(saved(Image.new("CMYK", (8, 8)), "JPEG", icc_profile=matrix_profile(SRGB_COLUMNS, 2.2)))
    near(read.image, Image.new("RGB", (8, 8), (255, 255, 255)), 1)
    assert read.notes[0] == "a.png: its colour profile is not applied: it is for RGB and the picture is CMYK"


def test_nothing_of_the_file_travels_on_with_the_picture():
    profile = matrix_profile(SRGB_COLUMNS, 1.0)
    for image in (quadrants(), quadrants().convert("L"), quadrants().convert("RGBA"), quadrants().convert("P")):
        data = saved(image, "PNG", icc_profile=profile, exif=exif(6), dpi=(72, 72))
        made = decoded(data).image
        assert made.info == {}
        assert dict(made.getexif()) == {}


def animated(file_format):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if file_format == "WEBP" else {}
    return saved(frames[0], file_format, save_all=True, append_images=frames[1:], **options)


ANIMATED = ["GIF", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=NEEDS_AVIF)]


@pytest.mark.parametrize("file_format", ANIMATED)
def test_several_frames_are_refused_with_their_number(file_format):
    with pytest.raises(RequestError, match=r"^a\.png: it has 3 frames") as caught:
        decoded(animated(file_format))
    assert caught.value.hint == "--frame 1"


@pytest.mark.parametrize("file_format", ANIMATED)
@pytest.mark.parametrize(("frame", "colour"), [(1, (255, 0, 0)), (2, (0, 255, 0)), (3, (0, 0, 255))])
def test_frames_count_from_1(file_format, frame, colour):
    near(decoded(animated(file_format), frame).image, Image.new("RGB", (8, 6), colour), 4)


@pytest.mark.parametrize("file_format", ANIMATED)
@pytest.mark.parametrize(("frame", "hint"), [(0, "--frame 1"), (-1, "--frame 1"), (4, "--frame 3")])
def test_a_frame_that_is_not_there_is_refused_with_the_range(file_format, frame, hint):
    with pytest.raises(RequestError, match=f"--frame {frame}: it has frames 1 to 3") as caught:
        decoded(animated(file_format), frame)
    assert caught.value.hint == hint


def test_a_still_has_one_frame():
    with pytest.raises(RequestError, match="--frame 2: it has one frame") as caught:
        decoded(saved(quadrants(), "PNG"), 2)
    assert caught.value.hint == "--frame 1"


def test_a_cameras_jpeg_with_a_preview_behind_it_is_a_still():
    data = saved(quadrants(), "MPO", save_all=True, append_images=[Image.new("RGB", (4, 3))])
    read = decoded(data)
    assert read.image.size == (8, 6)
    assert read.notes == ("a.png: it holds 2 pictures; the first is taken",)
    assert decoded(data, 2).image.size == (4, 3)


def test_standard_input_is_called_so():
    with pytest.raises(RequestError, match=r"^standard input is text"):
        pictures.decode(b"hello", name="-")


@pytest.mark.parametrize(
    "data",
    [
        png(8, 2, [b"\0\0\0"], 16385),
        png(8, 2, [b"\0\0\0"] * 15, 1).replace(struct.pack(">II", 1, 15), struct.pack(">II", 16384, 16384)),
        b"P6 16384 16384 255\n",
        b"P6 99999 99999 255\n",
        saved(Image.new("P", (4, 4)), "GIF").replace(struct.pack("<HH", 4, 4), struct.pack("<HH", 65535, 65535), 1),
        saved(Image.new("RGB", (4, 4)), "BMP").replace(struct.pack("<ii", 4, 4), struct.pack("<ii", 30000, 30000)),
    ],
    ids=["png edge", "png area", "ppm area", "ppm more", "gif", "bmp"],
)
def test_bombs_are_refused_by_their_headers(data):
    # a PNG's header is under a checksum of its own
    if data.startswith(b"\x89PNG"):
        data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    with pytest.raises(RequestError) as caught:
        decoded(data)
    assert caught.value.message.startswith("a.png")
    assert "too large" in caught.value.message or "too many pixels" in caught.value.message
    assert "16,384 pixels an edge and 178 million in all" in caught.value.hint


@cache
def small_files():
    image = quadrants((12, 9))
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize((12, 9)))
    profile = matrix_profile(SRGB_COLUMNS, 1.8)
    files = {
        "png": saved(alpha, "PNG", icc_profile=profile, exif=exif(3)),
        "png 16": png(16, 0, [np.array(RAMP, ">u2").tobytes()] * 3, 4, (b"tRNS", b"\1\2")),
        "apng": animated("PNG"),
        "jpeg": saved(image, "JPEG", exif=exif(6), icc_profile=profile),
        "jpeg progressive": saved(image, "JPEG", progressive=True),
        "jpeg cmyk": saved(image.convert("CMYK"), "JPEG"),
        "mpo": saved(image, "MPO", save_all=True, append_images=[image]),
        "webp": saved(alpha, "WEBP", icc_profile=profile),
        "webp lossless": saved(image, "WEBP", lossless=True),
        "webp animated": animated("WEBP"),
        "gif": saved(image, "GIF"),
        "gif animated": animated("GIF"),
        "bmp": saved(image, "BMP"),
        "bmp palette": saved(image.convert("P"), "BMP"),
        "tiff": saved(image, "TIFF", icc_profile=profile, exif=exif(5)),
        "tiff lzw": saved(image, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": saved(image, "TIFF", compression="jpeg"),
        "tiff pages": animated("TIFF"),
        "ppm": saved(image, "PPM"),
        "ppm plain": b"P3 2 1 255\n255 0 0 0 0 255\n",
    }
    return files | ({"avif": saved(image, "AVIF", exif=exif(6))} if features.check("avif") else {})


@pytest.mark.parametrize("kind", small_files())
def test_a_file_cut_in_half_is_refused(kind):
    data, last = small_files()[kind], {"mpo": 2, "apng": 3, "gif animated": 3, "tiff pages": 3, "webp animated": 3}
    assert decoded(data, last.get(kind, 1)).image
    with pytest.raises(RequestError, match=r"^a\.png") as caught:
        decoded(data[: len(data) // 2], last.get(kind, 1))
    assert caught.value.hint


@settings(max_examples=250)
@given(st.data())
def test_whatever_the_bytes_only_a_request_error_comes_out(data):
    content = bytearray(small_files()[data.draw(st.sampled_from(sorted(small_files())))])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    frame = data.draw(st.sampled_from([None, 1, 2]))
    try:
        image = decoded(bytes(content[:end]), frame).image
    except RequestError as error:
        message = error.message
    else:
        assert image.tobytes()
        message = f"a.png {image.mode}"
        assert message in ("a.png RGB", "a.png RGBA")
    assert message.startswith("a.png")
    assert "object at 0x" not in message


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux alone")
def test_a_picture_that_memory_does_not_hold_is_not_called_damaged():
    data = png(8, 2, [b"\0" * 9], 3).replace(struct.pack(">II", 3, 1), struct.pack(">II", 13000, 13000))
    data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    # In a process of its own: the limit cannot be taken back. The picture alone would take 645 MiB.
    script = (
        "import resource, sys\n"
        "from imggen.inputs import pictures\n"
        "from imggen.errors import MachineError\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({1 << 29}, {1 << 29}))\n"
        "try:\n    pictures.decode(sys.stdin.buffer.read(), name='a.png')\n"
        "except MachineError as error:\n    print(error.message, error.hint, sep=' / ')"
    )
    found = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, timeout=60, check=True)
    said = "a.png does not fit into the memory that is left / free some memory, or make it smaller"
    assert found.stdout.decode().strip() == said


def test_large_pictures_bring_no_warning_from_pillow(monkeypatch):
    # as if a picture of 48 pixels were large
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    data = saved(quadrants(), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decoded(data).image
        for how in ("crop", "pad", "stretch"):
            layout.fit(image, (8, 5), how)
        layout.extend(image, (9, 9))
        layout.widen(image, (1, 1, 1, 1))
