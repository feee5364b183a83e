from random import Random

import numpy as np
import pytest
from PIL import Image

from imggen.data import degradation
from imggen.data.degradation import Degradation
from imggen.plan.training import recipe
from imggen.plan.training.recipe import DegradationPlan

RANGES = DegradationPlan(kernels=("box", "lanczos"), clean=0.5, blur=0.6, quality=(40, 60), decoded=0.0)


@pytest.fixture
def picture():
    levels = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((96, 64), Image.Resampling.NEAREST)


def test_the_same_chance_draws_the_same_degradation():
    drawn = [degradation.draw(RANGES, Random(seed)) for seed in range(200)]
    assert drawn == [degradation.draw(RANGES, Random(seed)) for seed in range(200)]
    assert {each.kernel for each in drawn} == {"box", "lanczos"}
    clean = [each for each in drawn if not each.blur and each.quality is None]
    assert 100 <= len(clean) <= 170
    assert all(0 <= each.blur <= 0.6 and (each.quality is None or 40 <= each.quality <= 60) for each in drawn)


@pytest.mark.parametrize("kernel", recipe.KERNELS)
@pytest.mark.parametrize("scale", [2, 4])
def test_a_clean_picture_is_only_shrunk(picture, kernel, scale):
    made = degradation.apply(Degradation(kernel=kernel), picture, scale)
    wanted = picture.resize((96 // scale, 64 // scale), Image.Resampling[kernel.upper()])
    np.testing.assert_array_equal(np.asarray(made), np.asarray(wanted))


def test_blur_and_compression_take_more_away_the_stronger_they_are(picture):
    plain = np.asarray(degradation.apply(Degradation(kernel="box"), picture, 2), dtype=float)

    def worn(**how):
        return np.abs(np.asarray(degradation.apply(Degradation(kernel="box", **how), picture, 2)) - plain).mean()

    assert 0 < worn(blur=0.3) < worn(blur=1.0)
    assert 0 < worn(quality=95) < worn(quality=30) < worn(quality=30, subsampled=True)
