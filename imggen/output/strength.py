"""How strong a watermark is in one picture: pixel by pixel as the eye allows, wave by wave as reading it asks."""

from dataclasses import dataclass

import numpy as np

from imggen.output import spread
from imggen.output.spread import KNOWN, TILE, Doubles, Floats, Pattern, Sums, Waves

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


def over_pixels(variance: Sums, share: Floats | None, mean: float) -> Floats:
    """Return the deviation of the mark at each pixel, in grey levels and whole 64ths.

    `variance` is that of `spread.surround`; `share`, from 0 to 1, is how much of the mark a pixel takes; `mean` is the
    root mean square to reach over the marked pixels.
    """
    plain = variance == 0
    level = np.sqrt(spread.deviation(variance) / np.float32(81) + 1)
    if share is not None:
        level *= share
    marked, busy = int(np.count_nonzero(level)), int(np.count_nonzero(~plain & (level > 0)))
    if busy >= min(_ENOUGH_PIXELS, _ENOUGH_SHARE * marked):
        level[plain] = 0
        marked = busy
    square = float(np.square(level).sum(dtype=np.float64)) / max(1, marked)
    level *= np.float32(mean / max(square, 1e-9) ** 0.5)
    np.minimum(level, np.where(plain, np.float32(_PLAIN), np.float32(_ROUGH)), out=level)
    if share is not None:
        np.minimum(level, share * np.float32(_ROUGH), out=level)
    return in_64ths(level)


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """What reading will see, a number a group: the picture's own part, and a mark's of strength 1."""

    own: Doubles
    gain: Doubles


def in_64ths(level: Floats) -> Floats:
    """Return levels that another machine's last bit cannot move."""
    steps: Floats = np.rint(level * np.float32(64))
    return steps / np.float32(64)


def enough(host: Waves, through: float, keyed: Pattern, variance: Sums) -> float:
    """Return the part of its full strength that a mark needs here, in 64ths.

    Judged by a piece of the picture of 256 x 256 pixels, in which the picture's own waves may have half the power of
    the mark's. A picture with plain colour in it needs all: JPEG and WebP wipe clean what is faint and alone.
    """
    if np.count_nonzero(variance == 0) > _PLAIN_SHARE * variance.size:
        return 1.0
    own = float(np.square(np.abs(spread.pick(host, keyed))).mean()) / (_size(through, keyed) ** 2 + 1e-9)
    needed = (2 * own * variance.size / _PIECE) ** 0.5
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
    view = _view(host, through, keyed, signs, unit)
    levels = np.zeros(KNOWN + 2)
    wanted = _KNOWN_Z * (known / 2) ** 0.5
    levels[KNOWN] = np.clip((wanted - view.own[KNOWN]) / view.gain[KNOWN], *_KNOWN_LIMITS)
    left = (len(keyed.rows) - known * levels[KNOWN] ** 2) / keyed.carriers * KNOWN
    levels[:KNOWN] = _shared(view, left)
    steps: Doubles = np.rint(levels * 16) / 16
    parts: Doubles = steps[keyed.groups] * signs * unit
    return parts


def _view(host: Waves, through: float, keyed: Pattern, signs: Doubles, unit: Doubles) -> _View:
    size = _size(through, keyed)
    held = spread.pick(host, keyed) * keyed.phases.conj()
    scale = 1 / np.sqrt(spread.pick(spread.power(host), keyed).real + size**2)
    scale *= np.minimum(1, spread.OUTLIER / np.maximum(np.abs(held) * scale, 1e-6))
    own = np.concatenate([held.real * scale, held.imag * scale]) * signs
    gain = np.concatenate([scale, scale]) * size * unit
    totals = [np.bincount(keyed.groups, each).astype(np.float64) for each in (own, gain)]
    return _View(own=totals[0], gain=totals[1] + 1e-9)


def _size(through: float, keyed: Pattern) -> float:
    """Return how large reading sees a wave of level 1 in a tile whose mean square is 1."""
    return float(TILE**2 / (2 * len(keyed.rows)) ** 0.5 * through)


def _shared(view: _View, squares: float) -> Doubles:
    """Return the levels of the coded bits, whose squares add up to `squares`, that bring all to the same height."""
    low, high = -1e3, 1e3
    levels = np.ones(KNOWN)
    for _ in range(_HALVINGS):
        height = (low + high) / 2
        levels = np.clip((height - view.own[:KNOWN]) / view.gain[:KNOWN], *_BIT_LIMITS)
        low, high = (low, height) if np.square(levels).sum() > squares else (height, high)
    return levels
