"""Pictures fitted, masked, widened and put back together: what is given back is what was asked for."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from imggen.errors import RequestError
from imggen.inputs import layout
from tests.data.quadrants import pixels, quadrants


def test_flatten_lays_on_white():
    image = Image.new("RGBA", (1, 1), (255, 0, 0, 0))
    assert pixels(layout.flatten(image)) == [(255, 255, 255)]
    image.putalpha(255)
    assert pixels(layout.flatten(image)) == [(255, 0, 0)]
    assert pixels(layout.flatten(Image.new("RGBA", (1, 1)), (1, 2, 3))) == [(1, 2, 3)]


MODES = {"RGB": 3, "RGBA": 4}
SEEDS = st.integers(0, 9999)
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))


def noise(seed, shape):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@st.composite
def images(draw, modes=tuple(MODES)):
    (width, height), mode = draw(SIZES), draw(st.sampled_from(modes))
    return Image.fromarray(noise(draw(SEEDS), (height, width, MODES[mode]) if mode in MODES else (height, width)))


HOW = st.sampled_from(["crop", "pad", "stretch"])


@given(images(), SIZES, HOW)
def test_fit_makes_the_size_and_keeps_the_mode(image, size, how):
    made = layout.fit(image, size, how)
    assert (made.size, made.mode) == (size, image.mode)


@given(images(), HOW)
def test_a_picture_that_fits_keeps_its_pixels(image, how):
    assert layout.fit(image, image.size, how).tobytes() == image.tobytes()


@given(st.tuples(*[st.integers(0, 255)] * 3), SIZES, SIZES, HOW)
def test_a_plain_picture_stays_plain(colour, old, new, how):
    assert (np.asarray(layout.fit(Image.new("RGB", old, colour), new, how)) == colour).all()


@given(images(), st.integers(0, 10), st.integers(0, 10), st.booleans())
def test_crop_that_needs_no_scaling_cuts_the_middle_out(image, across, down, only_one):
    size = (max(image.width - across, 1), image.height) if only_one else (image.width, max(image.height - down, 1))
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    expected = image.crop((left, top, left + size[0], top + size[1]))
    assert layout.fit(image, size, "crop").tobytes() == expected.tobytes()


@given(images(), st.integers(0, 10))
def test_pad_that_needs_no_scaling_repeats_the_edges(image, more):
    size = (image.width + more, image.height)
    made = layout.fit(image, size, "pad")
    left = more // 2
    expected = np.pad(np.asarray(image), ((0, 0), (left, more - left), (0, 0)), mode="edge")
    assert np.array_equal(np.asarray(made), expected)


@pytest.mark.parametrize("size", [(300, 40), (40, 300), (1, 50), (50, 1)])
def test_pad_shows_the_whole_picture_and_crop_its_middle(size):
    image = quadrants((60, 40))
    corners = {(250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 240, 30)}
    if min(size) > 1:
        assert corners <= set(pixels(layout.fit(image, size, "pad")))
    middle = np.asarray(layout.fit(image, (40, 40), "crop"))
    assert np.array_equal(middle, np.asarray(image)[:, 10:50])


@given(images(), st.integers(1, 2000))
def test_a_shrunk_picture_keeps_its_shape_and_has_no_more_pixels(image, most):
    made = layout.shrunk(image, most)
    if image.width * image.height <= most:
        assert made is image
        return
    scale = (most / (image.width * image.height)) ** 0.5
    assert made.mode == image.mode
    # To the nearest pixel, of which there is at least one.
    assert abs(made.width - max(image.width * scale, 1)) <= 0.5
    assert abs(made.height - max(image.height * scale, 1)) <= 0.5


def test_transparent_pixels_give_no_colour_when_scaled():
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (4, 4, 12, 12))
    made = np.asarray(layout.fit(image, (11, 11), "stretch"))
    assert made[made[..., 3] > 0][:, 0].max() == 0


@given(images(modes=("RGB", "RGBA", "L")), st.integers(0, 20), st.integers(0, 20))
def test_extend_repeats_edges_and_cutting_back_gives_the_picture(image, right, bottom):
    made = layout.extend(image, (image.width + right, image.height + bottom))
    values = np.asarray(image)
    expected = np.pad(values, ((0, bottom), (0, right), *[(0, 0)] * (values.ndim - 2)), mode="edge")
    assert np.array_equal(np.asarray(made), expected)
    assert made.crop((0, 0, *image.size)).tobytes() == image.tobytes()


def test_extend_does_not_shrink():
    with pytest.raises(ValueError, match="does not hold"):
        layout.extend(Image.new("RGB", (8, 8)), (16, 7))


def test_masks_are_grey_with_alpha_laid_on_black():
    image = Image.new("RGBA", (3, 1), (255, 255, 255, 255))
    image.putpixel((1, 0), (255, 255, 255, 0))
    image.putpixel((2, 0), (128, 128, 128, 255))
    assert list(np.asarray(layout.mask(image, (3, 1), name="m.png", invert=False))[0]) == [255, 0, 128]
    assert list(np.asarray(layout.mask(image, (3, 1), name="m.png", invert=True))[0]) == [0, 255, 127]


def test_a_mask_of_another_size_is_refused_with_both():
    with pytest.raises(RequestError, match=r"the mask m\.png is 3x1 and the picture is 8x6") as caught:
        layout.mask(Image.new("RGB", (3, 1)), (8, 6), name="m.png", invert=False)
    assert "8x6" in caught.value.hint
    assert "--mask-box" in caught.value.hint


def test_a_mask_that_repaints_nothing_is_refused():
    black, white = Image.new("RGB", (2, 2)), Image.new("RGB", (2, 2), "white")
    with pytest.raises(RequestError, match=r"m\.png is black all over") as caught:
        layout.mask(black, (2, 2), name="m.png", invert=False)
    assert caught.value.hint == "--invert-mask"
    with pytest.raises(RequestError, match=r"m\.png is white all over"):
        layout.mask(white, (2, 2), name="m.png", invert=True)
    assert layout.mask(white, (2, 2), name="m.png", invert=False).getextrema() == (255, 255)
    assert layout.mask(black, (2, 2), name="m.png", invert=True).getextrema() == (255, 255)


def test_a_box_masks_what_is_in_it():
    made = np.asarray(layout.box_mask((1, 2, 3, 2), (6, 5), invert=False))
    expected = np.zeros((5, 6), np.uint8)
    expected[2:4, 1:4] = 255
    assert np.array_equal(made, expected)
    assert np.array_equal(np.asarray(layout.box_mask((1, 2, 3, 2), (6, 5), invert=True)), 255 - expected)
    with pytest.raises(RequestError, match="nothing would be repainted"):
        layout.box_mask((0, 0, 6, 5), (6, 5), invert=True)


@given(SEEDS, SIZES, st.integers(0, 40), st.integers(0, 5))
@example(0, (4, 4), 0, 5)
def test_a_feathered_mask_never_grows_and_runs_out_by_the_distance(seed, size, holes, width):
    random = np.random.default_rng(seed)
    values = random.choice([255, 90], size[::-1]).astype(np.uint8)
    values.flat[random.integers(0, values.size, holes)] = 0
    values[:, : random.integers(0, 24) // 2] = 0
    try:
        made = np.asarray(layout.feathered(Image.fromarray(values), width))
    except RequestError as error:
        hint = error.hint.split()
        assert hint[0] != "--feather" or layout.feathered(Image.fromarray(values), int(hint[1])).getextrema()[1] > 0
        return
    assert (made <= values).all()
    outside = np.argwhere(values == 0)
    for (y, x), value in np.ndenumerate(values):
        distance = np.hypot(*(outside - (y, x)).T).min() if len(outside) else np.inf
        share = min(distance, width + 1) / (width + 1)
        assert abs(made[y, x] - value * share) < 0.51


def test_a_mask_thinner_than_its_feather_is_refused_with_one_that_fits():
    thin = layout.box_mask((10, 0, 12, 40), (40, 40), invert=False)
    with pytest.raises(RequestError, match="--feather 32 leaves nothing to repaint in full") as caught:
        layout.feathered(thin, 32)
    assert caught.value.hint == "--feather 5"
    assert layout.feathered(thin, 5).getextrema() == (0, 255)


PADS = st.tuples(*[st.integers(0, 12)] * 4)


@given(images(), PADS)
def test_widen_keeps_the_picture_and_masks_the_rest(image, pad):
    made, mask = layout.widen(image, pad)
    top, right, bottom, left = pad
    assert made.size == mask.size == (image.width + left + right, image.height + top + bottom)
    assert made.mode == image.mode
    assert made.crop((left, top, left + image.width, top + image.height)).tobytes() == image.tobytes()
    kept = np.full(made.size[::-1], 255, np.uint8)
    kept[top : top + image.height, left : left + image.width] = 0
    assert np.array_equal(np.asarray(mask), kept)


def test_widen_goes_on_with_the_colours_at_the_edges():
    image = Image.new("RGB", (40, 40), (30, 90, 200))
    image.paste((255, 255, 0), (12, 12, 28, 28))
    made, _ = layout.widen(image, (16, 16, 16, 16))
    border = np.asarray(made).astype(int)[:8]
    assert np.abs(border - (30, 90, 200)).max() <= 12


def test_widening_beyond_the_limits_is_refused():
    with pytest.raises(RequestError, match="--pad 0,16384,0,0 would make 16392x6 pixels"):
        layout.widen(quadrants(), (0, 16384, 0, 0))


@given(images(), SEEDS)
def test_paste_keeps_what_the_mask_leaves_out_bit_for_bit(original, seed):
    shape = original.size[::-1]
    drawn = Image.fromarray(noise(seed, (*shape, 3)))
    share = np.random.default_rng(seed).choice([0, 1, 100, 254, 255], shape).astype(np.uint8)
    made = layout.paste(original, drawn, Image.fromarray(share))
    assert (made.mode, made.size) == (original.mode, original.size)
    old, new, values = np.asarray(original), np.asarray(drawn), np.asarray(made)
    assert np.array_equal(values[share == 0], old[share == 0])
    assert np.array_equal(values[share == 255][:, :3], new[share == 255])
    if original.mode == "RGBA":
        assert (values[share == 255][:, 3] == 255).all()
        assert (values[..., 3] >= old[..., 3]).all()
    else:
        weight = share[..., None] / 255
        assert np.abs(values - (old * (1 - weight) + new * weight)).max() <= 1


def test_paste_over_transparent_pixels_takes_no_colour_from_them():
    original = Image.new("RGBA", (1, 1), (255, 0, 0, 0))
    made = layout.paste(original, Image.new("RGB", (1, 1), (0, 0, 255)), Image.new("L", (1, 1), 51))
    assert pixels(made) == [(0, 0, 255, 51)]


def test_paste_wants_one_size():
    with pytest.raises(ValueError, match="differ"):
        layout.paste(Image.new("RGB", (2, 2)), Image.new("RGB", (2, 3)), Image.new("L", (2, 2)))
