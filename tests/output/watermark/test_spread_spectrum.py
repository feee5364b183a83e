"""The signal under a watermark, each step against the formula that it stands for."""

from fractions import Fraction
from math import hypot, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imggen.output.watermark import convolutional_code, spread_spectrum
from imggen.output.watermark.spread_spectrum import KNOWN, TILE

BITS = convolutional_code.CODED_BITS
KEYED = spread_spectrum.pattern(b"key")
LINE = np.arange(-31, 32)
SCALES = [Fraction(scale) for scale in ("1", "1/2", "3/4", "2/3", "5/8", "5/4", "3/2", "2")]


def values_of(coded):
    """The waves' parts for coded bits of 1 and -1: known ones have a real part of 1 and no imaginary one."""
    return np.append(np.asarray(coded, np.float64), (1, 0))[KEYED.groups]


def square(strength=1.0, down=0.0, across=0.0, coded=None):
    """The waves of a tile in the square of all waves, moved by so many pixels; `strength` by wave."""
    values = values_of(np.ones(BITS) if coded is None else coded)
    half = len(values) // 2
    waves = (values[:half] + 1j * values[half:]) * KEYED.phases * strength
    waves = waves * np.exp(-2j * np.pi / TILE * (KEYED.rows * down + KEYED.columns * across))
    whole = np.zeros((63, 63), np.complex64)
    whole[KEYED.rows + 31, KEYED.columns + 31] = waves
    whole[31 - KEYED.rows, 31 - KEYED.columns] = waves.conj()
    return whole


def direct(field, scale):
    """The waves of a field from -31 to 31 cycles a tile, summed as the transform is defined."""
    rows, columns = (np.exp(-2j * np.pi / float(TILE * scale) * np.outer(LINE, np.arange(n))) for n in field.shape)
    return rows @ field @ columns.T


def test_a_pattern_deals_every_wave_of_the_band_out_once():
    dealt = list(zip(KEYED.rows.tolist(), KEYED.columns.tolist(), strict=True))
    band = {(u, v) for u in range(-31, 32) for v in range(2, 32) if abs(u) >= 2 and 10 <= hypot(u, v) <= 31}
    assert len(dealt) == len(band)
    assert set(dealt) == band
    assert set(KEYED.phases.tolist()) == {1, 1j, -1, -1j}
    # ring by ring of equal width, those of the outer edge in the last
    width = (31 - 10) / 5
    for band_number in range(5):
        radii = np.hypot(KEYED.rows, KEYED.columns)[KEYED.bands == band_number]
        assert radii.min() >= 10 + width * band_number
        assert radii.max() < 10 + width * (band_number + 1) or band_number == 4
    assert set(KEYED.bands.tolist()) == set(range(5))


def test_a_pattern_carries_every_bit_equally_often_and_knows_a_quarter():
    real, imaginary = np.split(KEYED.groups, 2)
    assert KEYED.carriers % BITS in (0, BITS // 2)
    assert np.bincount(KEYED.groups[KEYED.groups < KNOWN]).tolist() == [2 * KEYED.carriers // BITS] * BITS
    assert set(real[KEYED.carriers :].tolist()) == {KNOWN}
    assert set(imaginary[KEYED.carriers :].tolist()) == {KNOWN + 1}
    assert abs((len(real) - KEYED.carriers) / len(real) - 0.25) < 0.05
    assert not np.array_equal(KEYED.rows, spread_spectrum.pattern(b"kez").rows)


def test_a_tile_is_the_sum_of_its_waves():
    random = np.random.default_rng(1)
    coded = random.choice([-1.0, 1.0], BITS)
    tile = spread_spectrum.tile(KEYED, values_of(coded))
    assert (tile.shape, tile.dtype) == ((TILE, TILE), np.float32)
    assert np.array_equal(tile * 256, np.rint(tile * 256))
    assert np.square(tile, dtype=np.float64).mean() == pytest.approx(1, abs=1e-3)
    drawn = direct(tile.astype(np.float64), Fraction(1))
    expected = square(coded=coded)
    strength = np.vdot(expected, drawn).real / np.vdot(expected, expected).real
    assert np.allclose(drawn, strength * expected, atol=strength * 0.01)


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=30)
def test_a_surround_is_the_sum_and_the_variance_of_nine_by_nine(plane):
    sums, variance = spread_spectrum.surround(plane)
    padded = np.pad(plane.astype(np.int64), 4, mode="edge")
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (9, 9)).reshape(*plane.shape, 81)
    assert np.array_equal(sums, boxes.sum(axis=2))
    assert np.array_equal(variance, 81 * np.square(boxes).sum(axis=2) - boxes.sum(axis=2) ** 2)
    assert spread_spectrum.deviation(variance) == pytest.approx(81 * boxes.std(axis=2), abs=0.01)
    away = (plane - boxes.mean(axis=2)) / (boxes.std(axis=2) + 1)
    white = spread_spectrum.whiten(plane, (sums, variance))
    assert np.array_equal(white, np.rint(white))
    assert np.abs(white - 16 * np.clip(away, -3, 3)).max() <= 0.501


def test_a_lonely_pixel_is_cut_to_three_deviations():
    plane = np.zeros((21, 21), np.uint8)
    plane[10, 10] = 255
    for image in (plane, 255 - plane):
        white = spread_spectrum.whiten(image, spread_spectrum.surround(image))
        assert abs(white[10, 10]) == np.abs(white).max() == 48


def test_there_is_a_sum_for_the_periods_of_all_scales():
    assert {period: sums.shape for period, sums in spread_spectrum.no_tiles().items()} == {
        256: (256, 256),
        192: (192, 192),
        160: (160, 160),
    }
    assert list(spread_spectrum.no_tiles(128)) == [128]


@pytest.mark.parametrize("scale", SCALES)
def test_waves_are_those_of_the_field_at_each_scale(scale):
    field = np.random.default_rng(2).integers(-48, 49, (300, 470)).astype(np.float32)
    tiles = spread_spectrum.no_tiles()
    spread_spectrum.add_tiles(tiles, field, 0)
    waves = spread_spectrum.waves(tiles, scale)
    assert waves.shape == (63, 63)
    assert np.allclose(waves, direct(field.astype(np.float64), scale), atol=0.1)


def test_power_is_the_mean_of_a_ring_within_the_band():
    random = np.random.default_rng(3)
    waves = (random.standard_normal((63, 63)) + 1j * random.standard_normal((63, 63))).astype(np.complex64)
    radius = np.hypot(LINE[:, None], LINE)
    inside = (radius >= 10) & (radius <= 31) & (abs(LINE) >= 2) & (abs(LINE[:, None]) >= 2)
    power = spread_spectrum.power(waves)
    evened = spread_spectrum.even(waves)
    assert not evened[~inside].any()
    for first in range(10, 32, 2):
        ring = inside & (radius >= first) & (radius < first + 2)
        mean = np.square(np.abs(waves[ring])).mean()
        assert power[ring] == pytest.approx(mean, rel=1e-5)
        size = np.abs(waves[ring]) / sqrt(mean)
        assert np.abs(evened[ring]) == pytest.approx(np.minimum(size, 2), rel=1e-4)
    assert np.allclose(np.angle(evened[inside]), np.angle(waves[inside]), atol=1e-4)


def test_waves_of_nothing_stay_nothing():
    assert not spread_spectrum.even(np.zeros((63, 63), np.complex64)).any()


def test_a_keys_waves_are_picked_in_its_order():
    numbers = (LINE[:, None] * 100 + LINE).astype(np.float32)
    picked = spread_spectrum.pick(numbers, KEYED)
    assert picked.dtype == np.complex128
    assert np.array_equal(picked, KEYED.rows * 100 + KEYED.columns)


# What all known waves in step give: their number, by the square root of half of it.
PERFECT = sqrt(2 * (len(KEYED.rows) - KEYED.carriers))
TURNS = [
    lambda square: square,
    lambda square: square[:, ::-1],
    lambda square: square[::-1],
    lambda square: square[::-1, ::-1],
    lambda square: square.T,
    lambda square: square.T[:, ::-1],
    lambda square: square.T[::-1],
    lambda square: square.T[::-1, ::-1],
]


@pytest.mark.parametrize(("down", "across"), [(0, 0), (5, 90), (127, 1), (64.25, 3.75), (10.5, 127.5), (0.125, 0.125)])
def test_the_place_of_a_tile_is_found_to_a_quarter_of_a_pixel(down, across):
    coded = np.random.default_rng(4).choice([-1.0, 1.0], BITS)
    peak = spread_spectrum.search(square(down=down, across=across, coded=coded), KEYED)
    exact = (down * 4) % 1 == 0
    assert peak.z == pytest.approx(PERFECT, rel=1e-4 if exact else 0.05)
    assert np.array_equal(np.sign(peak.soft), coded)
    # every bit is read as often as it is carried; a band that is as strong as all counts one and a half times
    strength = 2 * KEYED.carriers // BITS * 1.5
    assert peak.soft == pytest.approx(coded * strength, rel=1e-3 if exact else 0.2)
    assert (peak.soft.shape, peak.soft.dtype) == ((BITS,), np.float32)


@pytest.mark.parametrize("turn", range(8))
def test_a_tile_is_found_in_every_turn(turn):
    coded = np.random.default_rng(5).choice([-1.0, 1.0], BITS)
    peak = spread_spectrum.search(TURNS[turn](square(down=7, across=20, coded=coded)), KEYED)
    assert peak.z == pytest.approx(PERFECT, rel=1e-4)
    assert np.array_equal(np.sign(peak.soft), coded)


@pytest.mark.parametrize("scale", SCALES)
def test_pixels_centres_move_by_the_scale_in_every_turn(scale):
    moved = np.exp(2j * np.pi / TILE * LINE * (0.5 / float(scale) - 0.5))
    for turn in TURNS:
        turned = turn(square()) * moved[:, None] * moved
        assert spread_spectrum.search(turned.astype(np.complex64), KEYED, scale).z == pytest.approx(PERFECT, rel=1e-4)


def test_how_strong_all_waves_are_does_not_matter_to_the_place():
    assert spread_spectrum.search(square(strength=0.01), KEYED).z == pytest.approx(PERFECT, rel=1e-3)
    assert spread_spectrum.search(np.zeros((63, 63), np.complex64), KEYED).z == 0


def test_bands_that_came_through_better_count_more():
    coded = np.random.default_rng(6).choice([-1.0, 1.0], BITS)
    strengths = np.array([0.0, 0.5, 1.0, 2.0, 1.5])
    peak = spread_spectrum.search(square(strength=strengths[KEYED.bands], coded=coded), KEYED)
    trust = strengths + strengths.mean() / 2
    weights = (strengths * trust)[KEYED.bands[: KEYED.carriers]]
    expected = np.bincount(KEYED.groups[KEYED.groups < KNOWN], np.concatenate([weights, weights]))
    assert peak.soft == pytest.approx(coded * expected, rel=1e-3)


def test_a_band_whose_known_waves_came_through_badly_still_counts_a_little():
    strength = np.where(KEYED.bands == 2, -1.0, 1.0)
    strength[: KEYED.carriers] = np.abs(strength[: KEYED.carriers])
    peak = spread_spectrum.search(square(strength=strength), KEYED)
    weights = np.where(KEYED.bands == 2, 0.05, 1 + 0.3)[: KEYED.carriers]
    expected = np.bincount(KEYED.groups[KEYED.groups < KNOWN], np.concatenate([weights, weights]))
    assert peak.soft == pytest.approx(expected, rel=1e-3)


def test_without_the_key_no_place_stands_out():
    peak = spread_spectrum.search(square(), spread_spectrum.pattern(b"another"))
    assert 0 < peak.z < PERFECT / 3
