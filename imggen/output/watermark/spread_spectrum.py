"""The signal under a watermark: a keyed sum of waves in a tile, and what a picture holds of it.

A tile of 128 x 128 pixels repeats over the picture. It is the sum of some 1,200 waves between 0.08 and 0.24 cycles a
pixel: low enough to outlive JPEG and halving, high enough to stand beside what pictures hold. The key deals the waves
out: a quarter is known and shows where the tile begins, the others carry bits by their signs.

Adding up all the tiles of a picture leaves 128 x 128 numbers, whatever its size, and one small Fourier transform tells
the waves apart. A picture of another scale only repeats with another period, so no scale asks for resampling, and
mirroring and quarter turns only change the places of the waves.

Spread spectrum: Cox et al., "Secure spread spectrum watermarking for multimedia", IEEE Trans. Image Proc. 6 (1997).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import hypot
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from imggen.output.watermark import convolutional_code

TILE = 128
KNOWN = convolutional_code.CODED_BITS
"""The number of the group of known waves; the groups before it are the coded bits, the one after it means nothing."""

# From 0.08 to 0.24 cycles a pixel; at half the size the last stands just under what pixels can show.
_INNER, _OUTER = 10, 31
_AXIS = 2
_KNOWN_SHARE = 0.25
_WINDOW = 9
MARGIN = _WINDOW // 2
"""Pixels around a strip on which `surround` of the strip depends."""
_LIMIT = 3.0
OUTLIER = 2.0
_BANDS = 5
_STEPS = np.arange(-0.5, 0.51, 0.25)
# In pixels: tiles of any scale that is tried repeat after one of these, too.
_PERIODS = (256, 192, 160)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Waves = NDArray[np.complex64]
Whole = NDArray[np.int64]
_Count = TypeVar("_Count", np.uint16, np.uint32)
Shorts = NDArray[np.uint16]
Sums = NDArray[np.uint32]
Tiles = dict[int, Floats]
"""The sum of all tiles of a field, for each of some periods."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """How one key deals out the waves: their frequencies in cycles a tile and the phases that they start from.

    The first `carriers` waves carry two bits each, one in the real part and one in the imaginary, the rest are known.
    `groups` says of all real parts, then of all imaginary ones, which coded bit they show, or `KNOWN`.
    """

    rows: Whole
    columns: Whole
    phases: Waves
    bands: Whole
    carriers: int
    groups: Whole


@dataclass(frozen=True, kw_only=True, eq=False)
class Peak:
    """The best place for a key's tile: by how many standard deviations it stands out, and a value a coded bit."""

    z: float
    soft: Floats


@lru_cache(maxsize=16)
def pattern(key: bytes) -> Pattern:
    """Return the pattern of a key, the same on every machine: SHA-256 in counter mode, no library's random numbers."""
    rows, columns = _band()
    order = np.argsort(_hashed(key, b"order", len(rows)), kind="stable")
    rows, columns = rows[order], columns[order]
    quarters = (_hashed(key, b"phase", len(rows)) >> np.uint64(62)).astype(np.int64)
    repeats = round(2 * len(rows) * (1 - _KNOWN_SHARE) / convolutional_code.CODED_BITS)
    carriers = repeats * convolutional_code.CODED_BITS // 2
    bits = np.tile(np.arange(convolutional_code.CODED_BITS), repeats)
    known = np.full(len(rows) - carriers, KNOWN)
    radius = np.hypot(rows, columns)
    return Pattern(
        rows=rows,
        columns=columns,
        phases=np.array([1, 1j, -1, -1j], np.complex64)[quarters],
        bands=np.minimum((radius - _INNER) * _BANDS // (_OUTER - _INNER), _BANDS - 1).astype(np.int64),
        carriers=carriers,
        groups=np.concatenate([bits[:carriers], known, bits[carriers:], known + 1]),
    )


def _band() -> tuple[Whole, Whole]:
    places = [
        (row, column)
        for row in range(-_OUTER, _OUTER + 1)
        for column in range(_AXIS, _OUTER + 1)
        # Stripes, grids and JPEG's blocks have their waves on the axes.
        if abs(row) >= _AXIS and _INNER <= hypot(row, column) <= _OUTER
    ]
    rows, columns = zip(*places, strict=True)
    return np.array(rows, np.int64), np.array(columns, np.int64)


def _hashed(key: bytes, purpose: bytes, count: int) -> NDArray[np.uint64]:
    start = b"imggen watermark 1\0" + purpose + b"\0"
    counters = (index.to_bytes(4, "big") for index in range(-(-count // 4)))
    blocks = b"".join(hashlib.sha256(start + counter + key).digest() for counter in counters)
    return np.frombuffer(blocks, ">u8")[:count].astype(np.uint64)


def tile(keyed: Pattern, values: Doubles) -> Floats:
    """Return the sum of the waves as TILE x TILE pixels of mean square 1, in whole 256ths.

    `values` are the waves' real parts, then their imaginary ones.
    """
    spectrum = np.zeros((TILE, TILE // 2 + 1), np.complex128)
    half = len(values) // 2
    spectrum[keyed.rows, keyed.columns] = (values[:half] + 1j * values[half:]) * keyed.phases
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    field *= 256 / np.sqrt((field**2).mean())
    # Whole numbers here and in what multiplies them: another machine's last bit must not become another pixel.
    return np.rint(field).astype(np.float32) / np.float32(256)


def surround(plane: Bytes) -> tuple[Shorts, Sums]:
    """Return the sum of the 9 x 9 pixels around each, and 81 squared times their variance; both exact."""
    padded = np.pad(plane, MARGIN, mode="edge").astype(np.uint16)
    sums: Shorts = _boxes(padded)
    wide = padded.astype(np.uint32)
    wide *= wide
    variance: Sums = _boxes(wide)
    variance *= np.uint32(_WINDOW**2)
    variance -= np.square(sums, dtype=np.uint32)
    return sums, variance


def _boxes(values: NDArray[_Count]) -> NDArray[_Count]:
    eight = values
    for step in (1, 2, 4):
        eight = eight[:-step] + eight[step:]
    columns = eight[:-1] + values[_WINDOW - 1 :]
    eight = columns
    for step in (1, 2, 4):
        eight = eight[:, :-step] + eight[:, step:]
    return eight[:, :-1] + columns[:, _WINDOW - 1 :]


def whiten(plane: Bytes, around: tuple[Shorts, Sums]) -> Floats:
    """Return how far each pixel is from its surround, in sixteenths of the deviation there, as whole numbers."""
    sums, variance = around
    away = plane.astype(np.float32)
    away *= _WINDOW**2
    away -= sums
    away /= deviation(variance) + np.float32(_WINDOW**2)
    np.clip(away, -_LIMIT, _LIMIT, out=away)
    away *= 16
    return np.rint(away, out=away)


def deviation(variance: Sums) -> Floats:
    """Return 81 times the standard deviation, of what `surround` returns."""
    return np.sqrt(variance.astype(np.float32))


def no_tiles(*periods: int) -> Tiles:
    """Return sums of no tiles yet, for `add_tiles` to add to; of all scales' periods where none are named."""
    return {period: np.zeros((period, period), np.float32) for period in periods or _PERIODS}


def add_tiles(tiles: Tiles, field: Floats, top: int) -> None:
    """Add all tiles of a strip of a field, which begins at row `top`, to the sums; parts of tiles add what they have.

    Whole numbers of `whiten`, so the sums are exact, in any order, up to gigapixels.
    """
    for period, folded in tiles.items():
        for up in range(-(top % period), len(field), period):
            rows = field[max(up, 0) : up + period]
            first = max(-up, 0)
            for left in range(0, field.shape[1], period):
                part = rows[:, left : left + period]
                folded[first : first + len(part), : part.shape[1]] += part


def waves(tiles: Tiles, scale: Fraction = Fraction(1)) -> Waves:
    """Return the waves of a field from -31 to 31 cycles a tile, both ways, at one scale, from its added tiles."""
    period = (TILE * scale).numerator
    wide = next(tile for tile in tiles if tile % period == 0)
    parts = tiles[wide].astype(np.float64).reshape(wide // period, period, wide // period, period)
    folded: Doubles = parts.sum(axis=(0, 2))
    spectrum = np.fft.rfft2(folded)
    line = (TILE * scale).denominator * np.arange(-_OUTER, _OUTER + 1)
    right = spectrum[line[:, None] % len(folded), line[None, _OUTER:]]
    return np.concatenate([right[::-1, :0:-1].conj(), right], axis=1).astype(np.complex64)


@lru_cache(maxsize=1)
def _rings() -> tuple[Whole, Floats, Floats]:
    """Return the ring that each wave of the square lies in, 1 where it is in the band, and the waves in each ring."""
    line = np.arange(-_OUTER, _OUTER + 1)
    radius = np.hypot(line[:, None], line[None])
    used = (radius >= _INNER) & (radius <= _OUTER) & (abs(line[:, None]) >= _AXIS) & (abs(line[None]) >= _AXIS)
    rings = np.where(used, radius / 2, 0).astype(np.int64)
    counts = np.bincount(rings.ravel(), used.ravel())
    return rings, used.astype(np.float32), np.maximum(counts, 1).astype(np.float32)


def power(spectrum: Waves) -> Floats:
    """Return the mean power of the waves as far from the middle as each."""
    rings, used, counts = _rings()
    powers = (spectrum.real**2 + spectrum.imag**2) * used
    means: Doubles = np.bincount(rings.ravel(), powers.ravel()) / counts
    return means[rings].astype(np.float32)


def even(spectrum: Waves) -> Waves:
    """Return the waves with each ring brought to the same strength, and single strong ones cut down."""
    _, used, _ = _rings()
    scale = used / np.sqrt(power(spectrum) + 1e-6)
    size = np.abs(spectrum) * scale
    evened: Waves = spectrum * (scale * np.minimum(1, OUTLIER / np.maximum(size, 1e-6))).astype(np.float32)
    return evened


def pick(spectrum: Waves | Floats, keyed: Pattern) -> NDArray[np.complex128]:
    """Return the waves of a key out of the square, in its order."""
    return spectrum[keyed.rows + _OUTER, keyed.columns + _OUTER].astype(np.complex128)


def _turns(spectrum: Waves) -> Iterator[Waves]:
    """Yield the waves of the picture as it is, mirrored, and in its quarter turns, with and without a mirror."""
    for turned in (spectrum, spectrum.T):
        yield turned
        yield turned[:, ::-1]
        yield turned[::-1]
        yield turned[::-1, ::-1]


def search(spectrum: Waves, keyed: Pattern, scale: Fraction = Fraction(1)) -> Peak:
    """Return the best place for the key's tile among evened waves of one scale, in all eight turns.

    Where the key is not in the picture, a place's z is a sum of known numbers with random signs, of variance 1: it
    passes t with a chance below exp(-t^2 / 2), whatever the picture (Hoeffding 1963).
    """
    # Pixels are squares: their centres, not their corners, move by the scale.
    shift = 0.5 / float(scale) - 0.5
    line = np.exp(-2j * np.pi * shift / TILE * np.arange(-_OUTER, _OUTER + 1))
    centred = (spectrum * line[:, None] * line).astype(np.complex64)
    places = keyed.rows + _OUTER, keyed.columns + _OUTER
    got = np.stack([turned[places] for turned in _turns(centred)]) * keyed.phases.conj()
    known = got[:, keyed.carriers :]
    spectra = np.zeros((len(got), TILE, TILE // 2 + 1), np.complex64)
    spectra[:, keyed.rows[keyed.carriers :], keyed.columns[keyed.carriers :]] = known
    heights = np.fft.irfft2(spectra, s=(TILE, TILE)).reshape(len(got), -1) * np.float32(TILE * TILE / 2)
    noise = np.sqrt((known.real**2 + known.imag**2).sum(axis=1) / 2 + 1e-9)
    turn = int((heights.max(axis=1) / noise).argmax())
    height, aligned = _align(got[turn], keyed, int(heights[turn].argmax()))
    return Peak(z=height / float(noise[turn]), soft=_soft(aligned, keyed))


def _align(got: Waves, keyed: Pattern, place: int) -> tuple[float, Waves]:
    """Return the height at the tile's corner, found to a quarter of a pixel, and the waves as seen from there."""
    rows, columns = (coordinate + _STEPS for coordinate in divmod(place, TILE))
    down = np.exp(2j * np.pi / TILE * rows[:, None] * keyed.rows)
    across = np.exp(2j * np.pi / TILE * columns[:, None] * keyed.columns)
    known = slice(keyed.carriers, None)
    heights = ((down[:, known] * got[known]) @ across[:, known].T).real
    row, column = divmod(int(heights.argmax()), len(columns))
    return float(heights[row, column]), (got * down[row] * across[column]).astype(np.complex64)


def _soft(aligned: Waves, keyed: Pattern) -> Floats:
    """Return a value a coded bit; bands whose known waves came through better count more."""
    known, bands = keyed.bands[keyed.carriers :], keyed.bands[: keyed.carriers]
    seen = np.bincount(known, aligned[keyed.carriers :].real, _BANDS) / np.bincount(known, minlength=_BANDS)
    trust = np.maximum(seen + 0.5 * seen.mean(), 0.05)[bands]
    values = aligned[: keyed.carriers] * trust
    parts = np.concatenate([values.real, values.imag])
    groups = keyed.groups[keyed.groups < KNOWN]
    return np.bincount(groups, parts, convolutional_code.CODED_BITS).astype(np.float32)
