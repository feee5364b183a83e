"""How strong a watermark is in one picture: pixel by pixel as the eye allows, wave by wave as reading it asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from imggen.output.watermark import spread_spectrum
from imggen.output.watermark.spread_spectrum import KNOWN, TILE, Doubles, Floats, Pattern, Sums, Waves

# In grey levels: the most in a rough place, and on plain colour.
_ROUGH = 5.0
_PLAIN = 1.4
# Plain colour stays as it is where this much else is there to carry a mark: pixels, or a share of all.
_ENOUGH_PIXELS = 90_000
_ENOUGH_SHARE = 0.75

# The least part of full strength, and how much plain colour forbids to go below full.
_LEAST = 0.7
_PLAIN_SHARE = 0.05
_PIECE = 256**2

# Levels of waves: known ones are to stand out by this z, within limits; those with bits have limits only.
_KNOWN_Z = 10.0
_KNOWN_LIMITS = (0.8, 1.6)
_BIT_LIMITS = (0.4, 2.5)
_HALVINGS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """What pixels there are, in a picture or a strip of it: all, plain ones, ones to mark, and of those the rough.

    `squares` and `rough_squares` are those of `_levels` over the pixels to mark, a number a row.
    """

    pixels: int
    plain: int
    marked: int
    rough: int
    squares: Doubles
    rough_squares: Doubles


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How strong a mark is throughout a picture: a factor, and whether plain colour takes it."""

    factor: float
    plain: bool


def tally(variance: Sums, share: Floats | None) -> Tally:
    """Return what a strip holds, by the variance of `spread.surround` and each pixel's share of the mark, 0 to 1."""
    level, plain = _levels(variance, share), variance == 0
    taken = level > 0
    squares = np.square(level)
    every: Doubles = squares.sum(axis=1, dtype=np.float64)
    squares[plain] = 0
    return Tally(
        pixels=variance.size,
        plain=int(np.count_nonzero(plain)),
        marked=int(np.count_nonzero(taken)),
        rough=int(np.count_nonzero(taken & ~plain)),
        squares=every,
        rough_squares=squares.sum(axis=1, dtype=np.float64),
    )


def together(strips: Sequence[Tally]) -> Tally:
    """Return what all strips of a picture hold."""
    return Tally(
        pixels=sum(strip.pixels for strip in strips),
        plain=sum(strip.plain for strip in strips),
        marked=sum(strip.marked for strip in strips),
        rough=sum(strip.rough for strip in strips),
        squares=np.concatenate([strip.squares for strip in strips]),
        rough_squares=np.concatenate([strip.rough_squares for strip in strips]),
    )


def rule(whole: Tally, mean: float) -> Rule:
    """Return what makes `mean`, in grey levels, the root mean square over the marked pixels of a whole picture."""
    plain = whole.rough < min(_ENOUGH_PIXELS, _ENOUGH_SHARE * whole.marked)
    count, squares = (whole.marked, whole.squares) if plain else (whole.rough, whole.rough_squares)
    # The same however the picture was cut: rows are never, and `fsum` rounds once.
    square = fsum(squares.tolist()) / max(1, count)
    return Rule(factor=mean / max(square, 1e-9) ** 0.5, plain=plain)


def over_pixels(variance: Sums, share: Floats | None, by: Rule) -> Floats:
    """Return the deviation of the mark at each pixel of a strip, in grey levels and whole 64ths."""
    level, plain = _levels(variance, share), variance == 0
    level *= np.float32(by.factor)
    np.minimum(level, np.where(plain, np.float32(_PLAIN if by.plain else 0), np.float32(_ROUGH)), out=level)
    if share is not None:
        np.minimum(level, share * np.float32(_ROUGH), out=level)
    return in_64ths(level)


def _levels(variance: Sums, share: Floats | None) -> Floats:
    level: Floats = np.sqrt(spread_spectrum.deviation(variance) / np.float32(81) + 1)
    return level if share is None else level * share


def in_64ths(level: Floats) -> Floats:
    """Return levels that another machine's last bit cannot move."""
    steps: Floats = np.rint(level * np.float32(64))
    return steps / np.float32(64)


def enough(host: Waves, through: float, keyed: Pattern, whole: Tally) -> float:
    """Return the part of its full strength that a mark needs here, in 64ths.

    Judged by a piece of the picture of 256 x 256 pixels, in which the picture's own waves may have half the power of
    the mark's. A picture with plain colour in it needs all: JPEG and WebP wipe clean what is faint and alone.
    """
    if whole.plain > _PLAIN_SHARE * whole.pixels:
        return 1.0
    own = float(np.square(np.abs(spread_spectrum.pick(host, keyed))).mean()) / (_size(through, keyed) ** 2 + 1e-9)
    needed = (2 * own * whole.pixels / _PIECE) ** 0.5
    return float(round(64 * min(max(needed, _LEAST), 1.0)) / 64)


def over_waves(host: Waves, through: float, keyed: Pattern, coded: Floats) -> Doubles:
    """Return the real, then the imaginary parts of the waves that show `coded` beside the picture's own.

    `host` is what the picture holds and `through` how much a mark's pixel adds to it. A group that the picture already
    leans the right way needs little, and what is saved goes to those that it leans against, until all read alike:
    informed embedding, Malvar and Florencio, "Improved spread spectrum", IEEE Trans. Signal Processing 51 (2003).
    """
    signs = np.concatenate([coded, np.array([1, 0], np.float32)])[keyed.groups].astype(np.float64)
    known = len(keyed.rows) - keyed.carriers
    # A wave that carries two bits is as strong as a known one.
    unit = np.tile(np.concatenate([np.full(keyed.carriers, 0.5**0.5), np.ones(known)]), 2)
    own, gain = _seen(host, through, keyed, signs, unit)
    levels = np.zeros(KNOWN + 2)
    target = _KNOWN_Z * (known / 2) ** 0.5
    levels[KNOWN] = np.clip((target - own[KNOWN]) / gain[KNOWN], *_KNOWN_LIMITS)
    left = (len(keyed.rows) - known * levels[KNOWN] ** 2) / keyed.carriers * KNOWN
    levels[:KNOWN] = _shared(own, gain, left)
    steps: Doubles = np.rint(levels * 16) / 16
    parts: Doubles = steps[keyed.groups] * signs * unit
    return parts


def _seen(host: Waves, through: float, keyed: Pattern, signs: Doubles, unit: Doubles) -> tuple[Doubles, Doubles]:
    """Return what reading will see, a number a group: the picture's own part, and a mark's of strength 1."""
    size = _size(through, keyed)
    held = spread_spectrum.pick(host, keyed) * keyed.phases.conj()
    scale = 1 / np.sqrt(spread_spectrum.pick(spread_spectrum.power(host), keyed).real + size**2)
    scale *= np.minimum(1, spread_spectrum.OUTLIER / np.maximum(np.abs(held) * scale, 1e-6))
    own = np.concatenate([held.real * scale, held.imag * scale]) * signs
    gain = np.concatenate([scale, scale]) * size * unit
    own, gain = (np.bincount(keyed.groups, values).astype(np.float64) for values in (own, gain))
    return own, gain + 1e-9


def _size(through: float, keyed: Pattern) -> float:
    """Return how large reading sees a wave of level 1 in a tile whose mean square is 1."""
    return float(TILE**2 / (2 * len(keyed.rows)) ** 0.5 * through)


def _shared(own: Doubles, gain: Doubles, squares: float) -> Doubles:
    """Return the levels of the coded bits, whose squares add up to `squares`, that bring all to the same height."""
    low, high = -1e3, 1e3
    levels = np.ones(KNOWN)
    for _ in range(_HALVINGS):
        height = (low + high) / 2
        levels = np.clip((height - own[:KNOWN]) / gain[:KNOWN], *_BIT_LIMITS)
        low, high = (low, height) if np.square(levels).sum() > squares else (height, high)
    return levels
