"""How strong a watermark is at a pixel: more where the picture is rough, none on plain colour that is not needed."""

import numpy as np
import pytest

from imggen.output.watermark import perceptual_mask
from imggen.output.watermark.perceptual_mask import Rule

ROUGH = np.full((4, 6), 90_000, np.int64)
PLAIN = np.zeros((4, 6), np.int64)
HALF = np.concatenate([PLAIN, ROUGH])


def whole(variance, share=None):
    return perceptual_mask.tally(variance, share)


def test_tally_counts_what_is_plain_and_what_is_to_be_marked():
    counted = whole(HALF)
    assert (counted.pixels, counted.plain, counted.marked, counted.rough) == (48, 24, 48, 24)
    share = np.ones_like(HALF, np.float32)
    share[:6] = 0
    kept = whole(HALF, share)
    assert (kept.plain, kept.marked, kept.rough) == (24, 12, 12)


def test_strips_together_are_the_picture():
    strips = perceptual_mask.together([whole(HALF[:3]), whole(HALF[3:])])
    for name, value in vars(whole(HALF)).items():
        np.testing.assert_array_equal(getattr(strips, name), value)


def test_plain_colour_is_marked_only_where_the_rest_is_too_little():
    mostly_rough = np.concatenate([PLAIN[:1], ROUGH])
    assert perceptual_mask.rule(whole(HALF), 2.0).plain
    assert not perceptual_mask.rule(whole(mostly_rough), 2.0).plain


def test_rule_gives_the_mean_that_was_asked_for():
    levels = perceptual_mask.over_pixels(ROUGH, None, perceptual_mask.rule(whole(ROUGH), 2.0))
    assert levels == pytest.approx(2.0, abs=1 / 64)


@pytest.mark.parametrize(("plain", "expected"), [(True, [1.40625, 5.0]), (False, [0.0, 5.0])])
def test_levels_have_a_limit_of_their_own_on_plain_colour(plain, expected):
    levels = perceptual_mask.over_pixels(HALF, None, Rule(factor=1e6, plain=plain))
    assert [levels[0, 0], levels[-1, 0]] == expected


def test_pixels_that_must_stay_have_no_mark():
    share = np.zeros_like(HALF, np.float32)
    assert not perceptual_mask.over_pixels(HALF, share, Rule(factor=1e6, plain=True)).any()


def test_levels_are_whole_64ths():
    assert perceptual_mask.in_64ths(np.float32([0.01, 0.004, 1.4])).tolist() == [1 / 64, 0, 90 / 64]
