import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imggen.engine.sampling import style_transfer
from tests.engine import pipelines

SEEDS = st.integers(0, 1000)


def latents(seed, *, size=(6, 8), spread=2.0, shift=1.0):
    channels = torch.arange(1, 5).view(1, 4, 1, 1) / 2
    return torch.randn(1, 4, *size, generator=pipelines.generator(seed)) * spread * channels + shift


def statistics(tensor):
    return tensor.mean((2, 3)), tensor.std((2, 3), correction=0)


@given(SEEDS)
def test_matched_latents_have_the_styles_mean_and_deviation_in_every_channel(seed):
    style = latents(seed + 1, size=(5, 4), spread=0.3, shift=-2)
    for found, wanted in zip(statistics(style_transfer.match(latents(seed), style)), statistics(style), strict=True):
        torch.testing.assert_close(found, wanted)


@given(SEEDS)
def test_latents_matched_with_themselves_stay(seed):
    torch.testing.assert_close(style_transfer.match(latents(seed), latents(seed)), latents(seed))


def test_places_that_do_not_show_count_for_nothing():
    style = latents(2, size=(6, 5))
    beside = torch.cat([style, torch.full((1, 4, 6, 3), 9.0)], dim=3)
    cover = torch.ones(1, 1, 6, 8)
    cover[..., 5:] = 0
    torch.testing.assert_close(
        style_transfer.match(latents(1), beside, cover), style_transfer.match(latents(1), style), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(style_transfer.match(latents(1), beside, torch.zeros(1, 1, 6, 8)), latents(1))


def test_what_shows_of_a_picture_is_said_for_each_place_of_its_latents():
    picture = Image.new("RGBA", (64, 32), (9, 9, 9, 0))
    picture.paste((9, 9, 9, 255), (0, 0, 40, 32))
    shown = style_transfer.visible(picture, torch.zeros(1, 16, 4, 8))
    assert shown.shape == (1, 1, 4, 8)
    assert shown[0, 0].tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]] * 4
    assert style_transfer.visible(picture.convert("RGB"), torch.zeros(1, 16, 4, 8)) is None


def test_constant_latents_take_the_mean_and_no_more():
    content = torch.full((1, 4, 6, 8), 3.0)
    matched = style_transfer.match(content, latents(2))
    torch.testing.assert_close(matched, latents(2).mean((2, 3), keepdim=True).expand_as(matched))


def coloured(seed, *, size=(40, 30), low=70, high=190):
    """A picture whose channels are correlated, far enough from black and white that nothing is clamped."""
    generator = np.random.default_rng(seed)
    mixing = np.eye(3) + generator.uniform(0, 0.5, (3, 3))
    levels = generator.uniform(0, 1, (size[1], size[0], 3)) @ (mixing / mixing.sum(axis=0))
    return Image.fromarray((low + (high - low) * levels).round().astype(np.uint8))


def colour_statistics(image):
    rows = np.asarray(image.convert("RGB"), dtype=float).reshape(-1, 3)
    return rows.mean(axis=0), np.cov(rows, rowvar=False, bias=True)


@given(SEEDS)
def test_transferred_colours_have_the_styles_mean_and_covariance(seed):
    content, style = coloured(seed), coloured(seed + 1, size=(20, 50), low=90, high=160)
    mean, covariance = colour_statistics(style_transfer.transfer_colours(content, style))
    wanted_mean, wanted_covariance = colour_statistics(style)
    np.testing.assert_allclose(mean, wanted_mean, atol=0.3)
    # Rounding to whole levels adds a twelfth to each variance.
    np.testing.assert_allclose(covariance, wanted_covariance, atol=0.5 + 0.02 * wanted_covariance.max())


@given(SEEDS)
def test_a_pictures_own_colours_change_nothing(seed):
    picture = coloured(seed)
    moved = pipelines.pixels(style_transfer.transfer_colours(picture, picture))
    assert np.abs(moved - pipelines.pixels(picture)).max() <= 1


def test_a_flat_content_takes_the_mean_and_stays_flat():
    flat = Image.new("RGB", (16, 16), (200, 10, 90))
    moved = pipelines.pixels(style_transfer.transfer_colours(flat, coloured(3)))
    assert (moved == moved[0, 0]).all()
    np.testing.assert_allclose(moved[0, 0], colour_statistics(coloured(3))[0], atol=0.5)


def test_a_flat_style_leaves_one_colour():
    moved = pipelines.pixels(style_transfer.transfer_colours(coloured(3), Image.new("RGB", (4, 4), (200, 10, 90))))
    assert (moved == (200, 10, 90)).all()


def test_the_noise_of_a_nearly_flat_picture_is_not_blown_up():
    levels = np.random.default_rng(0).integers(127, 129, (64, 64, 3), dtype=np.uint8)
    black_and_white = Image.fromarray(np.random.default_rng(1).integers(0, 2, (64, 64, 1), np.uint8).repeat(3, 2) * 255)
    moved = pipelines.pixels(style_transfer.transfer_colours(Image.fromarray(levels), black_and_white))
    assert np.ptp(moved, axis=(0, 1)).max() <= 3 * style_transfer.MOST_GAIN


def test_a_grey_picture_stays_grey_under_a_grey_style():
    grey, other = coloured(5).convert("L").convert("RGB"), coloured(6, low=40).convert("L").convert("RGB")
    moved = pipelines.pixels(style_transfer.transfer_colours(grey, other))
    assert np.ptp(moved, axis=2).max() == 0
    assert moved.std() == pytest.approx(pipelines.pixels(other).std(), rel=0.02)


def test_alpha_stays_and_what_does_not_show_does_not_count():
    content, style = coloured(7).convert("RGBA"), coloured(8)
    ramp = Image.linear_gradient("L").resize(content.size)
    content.putalpha(ramp)
    moved = style_transfer.transfer_colours(content, style)
    np.testing.assert_array_equal(np.asarray(moved)[..., 3], np.asarray(ramp))
    beside = Image.new("RGBA", (style.width * 2, style.height), (255, 0, 255, 0))
    beside.paste(style, (0, 0))
    np.testing.assert_array_equal(style_transfer.transfer_colours(content, beside), moved)


def test_a_picture_that_does_not_show_at_all_moves_nothing():
    clear = Image.new("RGBA", (4, 4), (9, 9, 9, 0))
    np.testing.assert_array_equal(style_transfer.transfer_colours(coloured(1), clear), coloured(1))
    np.testing.assert_array_equal(style_transfer.transfer_colours(clear, coloured(1)), clear)
