"""The invisible watermark: what it outlives, what it leaves alone, and that an old one stays readable."""

import hashlib
import io
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from imggen.errors import RequestError
from imggen.output.watermark import convolutional_code, spread_spectrum, strips, watermark

IDENTITY = "0123456789ab"
PATTERN_SHA256 = "0199c2066e6dfbc83a44ab37b0b824440d6493519bdb06fa46d255a7ba00a394"
CODED_SHA256 = "5668a2eca5c7b562a491537ffd27f840868e8a01608bd6b25b960a3ff5a23d2f"
PIXELS_SHA256 = "dc4e862a65b61b11305cabd8ff3ce930fb29e8863626760667317c5d281c3506"
LARGE_PIXELS_SHA256 = "d782b2eedbae01a0ce09bb01cff97a67d01b6ff679e03cbfecc26d0cc2d87298"
"""What a mark of version 1 is made of, and what it makes of `whole_numbers()`, small and of several strips."""


def noise(height, width, seed):
    """Smooth noise of variance 1, as textures have it."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.standard_normal((height // 4 + 1, width // 4 + 1)).astype(np.float32))
    wide = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    return wide + 0.3 * random.standard_normal((height, width))


def textured(width=512, height=512, mode="RGB", seed=1):
    """A tinted texture of changing contrast on a gradient, with the named channels."""
    contrast = np.linspace(2, 25, width)
    light = 128 + contrast * noise(height, width, seed) + np.linspace(-40, 40, height)[:, None]
    colours = light[..., None] * np.array([0.9, 1.0, 0.7])
    return Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8)).convert(mode)


def flat(width=512, height=512):
    image = Image.new("RGB", (width, height), (246, 138, 24))
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=(124, 56, 178))
    return image


def whole_numbers(width=320, height=272):
    """A rough picture made by whole numbers alone, so that every machine has the same."""
    count = width * height * 3
    blocks = (hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(-(-count // 32)))
    rough = np.frombuffer(b"".join(blocks), np.uint8)[:count].reshape(height, width, 3).astype(np.int64)
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[:, None]
    return Image.fromarray((60 + rough // 12 + rows // 3 + columns // 8).astype(np.uint8))


def psnr(one, other):
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return 10 * np.log10(255**2 / np.square(difference).mean())


def saved(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return Image.open(buffer).convert(image.mode)


def png_bytes(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.tell()


def resized(image, factor):
    return image.resize(tuple(round(edge * factor) for edge in image.size), Image.Resampling.LANCZOS)


ATTACKS = {
    "nothing": lambda image: image,
    "jpeg 75": lambda image: saved(image, "JPEG", quality=75),
    "jpeg 50": lambda image: saved(image, "JPEG", quality=50),
    "webp 80": lambda image: saved(image, "WEBP", quality=80),
    "half size": lambda image: resized(image, 0.5),
    "three quarters": lambda image: resized(image, 0.75),
    "twice the size": lambda image: resized(image, 2),
    "middle quarter": lambda image: image.crop((128, 128, 384, 384)),
    "odd corner": lambda image: image.crop((37, 91, 337, 400)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "on its side": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "without colour": lambda image: image.convert("L"),
}


@pytest.fixture(scope="module")
def marked():
    return watermark.embed(textured(), IDENTITY)


@pytest.mark.parametrize("attack", ATTACKS)
def test_identity_outlives(marked, attack):
    found = watermark.detect(ATTACKS[attack](marked))
    assert (found.present, found.identity) == (True, IDENTITY)
    assert found.z > watermark.THRESHOLD


@pytest.mark.parametrize("size", [(256, 256), (300, 470), (800, 260), (1024, 1024)])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_mark_is_read_again_and_stays_under_40_db(size, mode):
    image = textured(*size, mode=mode)
    found = watermark.embed(image, IDENTITY)
    assert (found.mode, found.size) == (mode, size)
    assert psnr(image, found) >= 40
    assert watermark.detect(saved(found.convert("RGB"), "JPEG", quality=75)).identity == IDENTITY


@settings(max_examples=10, deadline=None)
@given(data=st.binary(min_size=6, max_size=6), key=st.binary(max_size=40))
def test_any_identity_is_read_with_its_key(data, key):
    image = watermark.embed(textured(256, 256), data.hex(), key=key)
    assert watermark.detect(image, key=key).identity == data.hex()
    assert not watermark.detect(image, key=key + b"!").present


def test_unmarked_picture_has_no_mark():
    for image in (textured(), flat(), whole_numbers(), Image.new("RGB", (300, 300)), Image.new("L", (1, 1))):
        found = watermark.detect(image)
        assert (found.present, found.identity) == (False, None)


@pytest.mark.parametrize("mode", ["P", "CMYK", "LA", "I", "1"])
def test_any_mode_is_looked_into(marked, mode):
    assert watermark.detect(marked.convert(mode)).z > 0


def test_input_is_left_alone():
    image = textured()
    before = image.tobytes()
    watermark.embed(image, IDENTITY)
    assert image.tobytes() == before


def test_grey_pictures_stay_grey():
    grey = textured(mode="L").convert("RGB")
    red, green, blue = watermark.embed(grey, IDENTITY).split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


def test_old_marks_stay_readable():
    """The pattern of a key, and what is written with it, are a format: a change needs a new VERSION."""
    keyed = spread_spectrum.pattern(watermark.PUBLIC_KEY)
    dealt = np.concatenate([keyed.rows, keyed.columns, keyed.phases.real, keyed.phases.imag, keyed.groups])
    pattern = hashlib.sha256(dealt.astype("<i4").tobytes()).hexdigest()
    coded = hashlib.sha256(convolutional_code.encode(bytes.fromhex(IDENTITY), 1).astype("<i4").tobytes()).hexdigest()
    assert watermark.VERSION == 1
    assert (pattern, coded) == (PATTERN_SHA256, CODED_SHA256)


def test_same_picture_gets_the_same_pixels():
    pixels = watermark.embed(whole_numbers(), IDENTITY).tobytes()
    assert pixels == watermark.embed(whole_numbers(), IDENTITY).tobytes()
    assert hashlib.sha256(pixels).hexdigest() == PIXELS_SHA256


def test_strips_leave_no_seams():
    """The hash was made in one piece, before there were strips."""
    pixels = watermark.embed(whole_numbers(1501, 1203), IDENTITY).tobytes()
    assert hashlib.sha256(pixels).hexdigest() == LARGE_PIXELS_SHA256


@settings(max_examples=20, deadline=None)
@given(cuts=st.sets(st.integers(1, 299), max_size=5), period=st.sampled_from([128, 160, 192, 256]))
def test_tiles_added_in_strips_are_the_sum_of_all_tiles(cuts, period):
    field = np.random.default_rng(2).integers(-48, 49, (300, 470)).astype(np.float32)
    tiles = spread_spectrum.no_tiles(period)
    for top, bottom in pairwise([0, *sorted(cuts), 300]):
        spread_spectrum.add_tiles(tiles, field[top:bottom], top)
    padded = np.pad(field, ((0, -300 % period), (0, -470 % period)))
    parts = padded.reshape(len(padded) // period, period, -1, period)
    assert np.array_equal(tiles[period], parts.sum(axis=(0, 2)))


def test_reading_in_strips_is_reading_in_one_piece():
    image = watermark.embed(textured(1200, 1000, mode="L"), IDENTITY)
    assert len(list(strips.over(image))) > 1
    plane, tiles = np.asarray(image), spread_spectrum.no_tiles()
    spread_spectrum.add_tiles(tiles, spread_spectrum.whiten(plane, spread_spectrum.surround(plane)), 0)
    found = spread_spectrum.search(
        spread_spectrum.even(spread_spectrum.waves(tiles)), spread_spectrum.pattern(watermark.PUBLIC_KEY)
    )
    assert watermark.detect(image) == watermark.Detection(present=True, identity=IDENTITY, z=found.z)


WORK = {
    "embed": lambda image, where: watermark.embed(image, IDENTITY, where=where),
    "suit": lambda image, where: watermark.suit(image, where=where),
    "detect": lambda image, _: watermark.detect(image),
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("size", [(1000, 1000), (3000, 2000)])
def test_memory_is_bounded_whatever_the_size(size, work):
    """Beside the picture and its marked copy, which Pillow holds: 48 bytes a pixel of one strip."""
    image = textured(500, 500, mode="RGBA").resize(size)
    where = Image.new("L", size, 255)
    tracemalloc.start()
    try:
        WORK[work](image, where)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * strips.PIXELS


def test_alpha_and_transparent_pixels_stay():
    image = textured(mode="RGBA")
    alpha = np.full((512, 512), 255, np.uint8)
    alpha[:, :200] = 0
    alpha[:, 200:300] = 90
    image.putalpha(Image.fromarray(alpha))
    marked = watermark.embed(image, IDENTITY)
    before, after = np.asarray(image), np.asarray(marked)
    assert np.array_equal(after[..., 3], alpha)
    assert np.array_equal(after[:, :200], before[:, :200])
    assert not np.array_equal(after[:, 200:300], before[:, 200:300])
    assert watermark.detect(marked).identity == IDENTITY


def test_pixels_outside_the_mask_come_back_bit_for_bit():
    image = textured()
    mask = np.zeros((512, 512), np.uint8)
    mask[100:400, 50:450] = 255
    marked = watermark.embed(image, IDENTITY, where=Image.fromarray(mask))
    before, after = np.asarray(image), np.asarray(marked)
    assert np.array_equal(after[mask == 0], before[mask == 0])
    assert watermark.detect(marked).identity == IDENTITY


def test_empty_mask_changes_nothing():
    image = textured(256, 256)
    assert watermark.embed(image, IDENTITY, where=Image.new("L", image.size)).tobytes() == image.tobytes()
    assert not watermark.suit(image, where=Image.new("L", image.size)).fits


def test_flat_picture_is_not_to_be_marked_unasked():
    judged = watermark.suit(flat())
    assert not judged.fits
    assert "PNG" in judged.reason
    assert "larger" in judged.reason


def test_flat_picture_is_marked_when_asked():
    image = flat()
    marked = watermark.embed(image, IDENTITY)
    assert psnr(image, marked) >= 40
    assert watermark.detect(saved(marked, "JPEG", quality=75)).identity == IDENTITY


def test_plain_colour_beside_enough_texture_stays_plain():
    image = textured()
    image.paste((246, 138, 24), (0, 0, 150, 512))
    plain = np.asarray(watermark.embed(image, IDENTITY))[:, :140]
    assert np.array_equal(plain, np.asarray(image)[:, :140])


@pytest.mark.parametrize("seed", range(3))
def test_png_of_a_picture_to_be_marked_grows_by_less_than_30_percent(seed):
    image = textured(400, 300, seed=seed)
    assert watermark.suit(image).fits
    assert png_bytes(watermark.embed(image, IDENTITY)) < 1.3 * png_bytes(image)


def test_small_picture_is_not_to_be_marked_unasked():
    judged = watermark.suit(textured(255, 400))
    assert not judged.fits
    assert judged.reason == "255x400 is smaller than the 256x256 that a mark needs"


def test_tiny_picture_is_refused_by_its_size():
    with pytest.raises(RequestError, match="63x200 is smaller than the 64x64"):
        watermark.embed(textured(63, 200), IDENTITY)


@pytest.mark.parametrize("identity", ["", "0123", "0123456789AB", "0123456789ag", "0123456789ab0", "0123456789ab\n"])
def test_other_than_12_digits_are_refused(identity):
    with pytest.raises(RequestError, match="12 digits"):
        watermark.embed(textured(256, 256), identity)


@pytest.mark.parametrize("mask", [Image.new("L", (255, 256)), Image.new("1", (256, 256))])
def test_mask_of_another_kind_is_refused(mask):
    with pytest.raises(RequestError, match="mask"):
        watermark.embed(textured(256, 256), IDENTITY, where=mask)


def test_other_modes_are_refused():
    with pytest.raises(RequestError, match="not P"):
        watermark.embed(textured(256, 256).convert("P"), IDENTITY)


def test_code_reads_through_noise_and_notices_what_it_cannot():
    random = np.random.default_rng(3)
    right = 0
    for _ in range(40):
        data = random.bytes(6)
        # Half of what a bit needs to be read alone.
        soft = convolutional_code.encode(data, 1) + 1.0 * random.standard_normal(convolutional_code.CODED_BITS)
        right += convolutional_code.decode(soft.astype(np.float32), 1) == data
    assert right >= 38
    noises = random.standard_normal((40, convolutional_code.CODED_BITS)).astype(np.float32)
    assert [convolutional_code.decode(each, 1) for each in noises] == [None] * 40


def test_version_guards_the_checksum():
    coded = convolutional_code.encode(bytes.fromhex(IDENTITY), 1)
    assert convolutional_code.decode(coded, 1) == bytes.fromhex(IDENTITY)
    assert convolutional_code.decode(coded, 2) is None
