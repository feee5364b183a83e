import math

import numpy as np
import pytest
from PIL import Image

from imggen.errors import RequestError
from imggen.evaluation import fidelity


def noisy(seed: int, size: tuple[int, int] = (32, 24)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_equal_pictures_are_perfect():
    picture = noisy(1)
    assert fidelity.psnr(picture, picture) == math.inf
    assert fidelity.ssim(picture, picture) == pytest.approx(1)


def test_psnr_is_that_of_the_definition():
    black, grey = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), (16, 16, 16))
    assert fidelity.psnr(black, grey) == pytest.approx(20 * math.log10(255 / 16))


def test_ssim_of_flat_pictures_is_the_likeness_of_their_means():
    low, high = Image.new("RGB", (16, 16), (100,) * 3), Image.new("RGB", (16, 16), (120,) * 3)
    c1 = (0.01 * 255) ** 2
    assert fidelity.ssim(low, high) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1))


def test_ssim_of_one_window_is_that_of_the_definition():
    x, y = (np.asarray(noisy(seed, (11, 11)), dtype=np.float64) for seed in (1, 2))
    at = np.arange(11) - 5
    one = np.exp(-(at**2) / (2 * 1.5**2))
    weights = np.outer(one, one)[..., None] / one.sum() ** 2
    mean_x, mean_y = ((weights * each).sum((0, 1)) for each in (x, y))
    var_x, var_y = (weights * (x - mean_x) ** 2).sum((0, 1)), (weights * (y - mean_y) ** 2).sum((0, 1))
    both = (weights * (x - mean_x) * (y - mean_y)).sum((0, 1))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    wanted = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    assert fidelity.ssim(noisy(1, (11, 11)), noisy(2, (11, 11))) == pytest.approx(wanted.mean())


def test_both_fall_as_a_picture_is_worn():
    picture = noisy(1).resize((128, 96), Image.Resampling.BICUBIC)
    worn = [picture.resize((128 // each, 96 // each)).resize((128, 96)) for each in (2, 4, 8)]
    for measure in (fidelity.psnr, fidelity.ssim):
        values = [measure(each, picture) for each in worn]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("measure", [fidelity.psnr, fidelity.ssim])
def test_pictures_that_cannot_be_compared_are_refused(measure):
    with pytest.raises(RequestError, match="not two RGB pictures of one size"):
        measure(noisy(1), noisy(1, (8, 8)))
    with pytest.raises(RequestError, match="not two RGB pictures of one size"):
        measure(noisy(1).convert("L"), noisy(1))


def test_a_picture_smaller_than_the_window_has_no_ssim():
    with pytest.raises(RequestError, match="11 pixels"):
        fidelity.ssim(noisy(1, (10, 40)), noisy(2, (10, 40)))
