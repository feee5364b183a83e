"""The signal under a watermark: a keyed pattern of waves in a tile, and what a picture holds of it.

A tile of 128 x 128 pixels repeats over the picture. It is the sum of some 850 waves between 0.05 and 0.2 cycles a
pixel: low enough to outlive JPEG and halving, high enough to stand beside what pictures hold. The key deals the waves
out: a quarter is known and shows where the tile begins, the others carry bits by their signs.

Adding up all the tiles of a picture leaves 128 x 128 numbers, whatever its size, and one small Fourier transform tells
the waves apart. A scaled picture only repeats with another period, so no scale asks for resampling; mirroring and
quarter turns only change the places of the waves.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import hypot

import numpy as np
from numpy.typing import NDArray

from imggen.output import convolution

TILE = 128
_INNER, _OUTER = 6, 26
_AXIS = 2
_SYNC_SHARE = 0.25
_WINDOW = 9
_LIMIT = 3.0
_BANDS = 5
_STEPS = np.arange(-0.5, 0.51, 0.25, dtype=np.float32)

Floats = NDArray[np.float32]
Waves = NDArray[np.complex64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """How one key deals out the waves: their frequencies in cycles a tile and the phases they start from.

    `sync` and `data` index `rows`, `columns`, `phases` (1, i, -1, -i) and `bands`; a wave of `data` carries two bits.
    `bits` is the coded bit of each of the values that the waves of `data` give, real parts first.
    """

    rows: Whole
    columns: Whole
    phases: Waves
    bands: Whole
    sync: slice
    data: slice
    bits: Whole


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best place for a tile in a picture: how many standard deviations it stands out, and what it says."""

    z: float
    soft: Floats


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A picture enlarged by `numerator / denominator` since it was marked."""

    numerator: int
    denominator: int

    @property
    def period(self) -> int:
        """Pixels after which the waves begin anew: `denominator` tiles."""
        return TILE * self.numerator * self.denominator // self.denominator


def _band() -> tuple[Whole, Whole]:
    places = [
        (row, column)
        for row in range(-_OUTER, _OUTER + 1)
        for column in range(_AXIS, _OUTER + 1)
        # Stripes, grids and JPEG's blocks have their waves on the axes.
        if abs(row) >= _AXIS and _INNER <= hypot(row, column) <= _OUTER
    ]
    rows, columns = zip(*places, strict=True)
    return np.array(rows), np.array(columns)


def _hashed(key: bytes, purpose: bytes, count: int) -> NDArray[np.uint64]:
    """Return 64-bit numbers from SHA-256 of the key and a counter, the same on every machine."""
    blocks = [
        hashlib.sha256(b"imggen watermark 1\0" + purpose + b"\0" + index.to_bytes(4, "big") + key).digest()
        for index in range(-(-count // 4))
    ]
    return np.frombuffer(b"".join(blocks), ">u8")[:count].astype(np.uint64)


@lru_cache(maxsize=16)
def pattern(key: bytes) -> Pattern:
    """Return the pattern of a key."""
    rows, columns = _band()
    order = np.argsort(_hashed(key, b"order", len(rows)), kind="stable")
    rows, columns = rows[order], columns[order]
    phases = np.array([1, 1j, -1, -1j], np.complex64)[(_hashed(key, b"phase", len(rows)) >> np.uint64(62)).astype(int)]
    repeats = int(2 * len(rows) * (1 - _SYNC_SHARE)) // convolution.CODED_BITS
    data = repeats * convolution.CODED_BITS // 2
    radius = np.hypot(rows, columns)
    bands = np.minimum(((radius - _INNER) * _BANDS / (_OUTER - _INNER)).astype(np.int64), _BANDS - 1)
    return Pattern(
        rows=rows,
        columns=columns,
        phases=phases,
        bands=bands,
        data=slice(0, data),
        sync=slice(data, len(rows)),
        bits=np.tile(np.arange(convolution.CODED_BITS), repeats),
    )


def signs(keyed: Pattern, coded: Floats) -> Waves:
    """Return what each wave is when it carries `coded`, at unit strength."""
    values = coded[keyed.bits]
    half = len(values) // 2
    waves = np.ones(len(keyed.rows), np.complex64)
    waves[keyed.data] = (values[:half] + 1j * values[half:]) * np.float32(0.5**0.5)
    return waves * keyed.phases


def tile(keyed: Pattern, waves: Waves) -> NDArray[np.float64]:
    """Return the sum of the waves as a TILE x TILE field whose mean square is 1."""
    spectrum = np.zeros((TILE, TILE // 2 + 1), np.complex128)
    spectrum[keyed.rows, keyed.columns] = waves
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    return field / np.sqrt((field**2).mean())


def surround(luminance: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return, for the 9 x 9 pixels around each, 81 times their mean, and 81 squared times their variance; exact."""
    padded = np.pad(luminance, _WINDOW // 2, mode="edge").astype(np.uint32)
    sums = _boxes(padded)
    return sums, _WINDOW**2 * _boxes(padded * padded) - sums * sums


def _boxes(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    for _ in range(2):
        eight = values
        for step in (1, 2, 4):
            eight = eight[:-step] + eight[step:]
        values = (eight[:-1] + values[8:]).T
    return values


def whiten(luminance: NDArray[np.uint8], sums: NDArray[np.uint32], spread: NDArray[np.uint32]) -> Floats:
    """Return how far each pixel is from its surround, in sixteenths of the deviation there, as whole numbers."""
    deviation = np.sqrt(spread.astype(np.float32)) + np.float32(_WINDOW**2)
    away = luminance.astype(np.float32) * np.float32(_WINDOW**2) - sums
    away /= deviation
    np.clip(away, -_LIMIT, _LIMIT, out=away)
    away *= 16
    return np.rint(away, out=away)


def fold(field: Floats, period: int) -> Floats:
    """Return the sum of all the `period` x `period` tiles of a field; a last one that is not whole counts as it is."""
    height, width = field.shape
    down, across = -(-height // period), -(-width // period)
    whole = np.zeros((down * period, across * period), np.float32)
    whole[:height, :width] = field
    rows = whole.reshape(down, period, across * period).sum(axis=0)
    return rows.reshape(period, across, period).sum(axis=1)


@lru_cache(maxsize=1)
def _grid() -> tuple[Whole, NDArray[np.bool_]]:
    """Return the ring that each frequency of the square -OUTER..OUTER lies in, and which are in the band."""
    line = np.arange(-_OUTER, _OUTER + 1)
    radius = np.hypot(line[:, None], line[None])
    used = (radius >= _INNER) & (radius <= _OUTER) & (abs(line[:, None]) >= _AXIS) & (abs(line[None]) >= _AXIS)
    return np.where(used, radius / 2, 0).astype(np.int64), used


def square(folded: Floats, multiple: int) -> Waves:
    """Return the waves from -OUTER to OUTER both ways, for a field that holds `multiple` tiles."""
    spectrum = np.fft.rfft2(folded).astype(np.complex64)
    line = multiple * np.arange(-_OUTER, _OUTER + 1)
    right = spectrum[line[:, None] % len(folded), line[None, _OUTER:]]
    return np.concatenate([right[::-1, :0:-1].conj(), right], axis=1)


def even(waves: Waves) -> Waves:
    """Return the waves with each ring brought to the same strength, and single strong ones cut down."""
    rings, used = _grid()
    power = waves.real**2 + waves.imag**2
    means = np.bincount(rings.ravel(), (power * used).ravel()) / np.maximum(1, np.bincount(rings.ravel(), used.ravel()))
    scale = 1 / np.sqrt(means + 1e-6)[rings] * used
    size = np.sqrt(power) * scale
    return (waves * (scale * np.minimum(1, 2 / np.maximum(size, 1e-6)))).astype(np.complex64)


def turns(waves: Waves) -> Iterator[Waves]:
    """Yield the waves of the picture as it is, mirrored, and in its quarter turns, with and without a mirror."""
    for turned in (waves, waves.T):
        yield turned
        yield turned[:, ::-1]
        yield turned[::-1]
        yield turned[::-1, ::-1]


def search(field: Floats, keyed: Pattern, numerator: int, denominator: int) -> Found:
    """Return the best place for the key's tile in a whitened field, at one scale, in all eight turns."""
    waves = even(square(fold(field, TILE * numerator // _gcd128(denominator)), denominator // _gcd128(denominator)))
    offset = 0.5 * denominator / numerator - 0.5
    line = np.exp(-2j * np.pi * offset / TILE * np.arange(-_OUTER, _OUTER + 1)).astype(np.complex64)
    waves = waves * line[:, None] * line[None]
    got = np.stack([turned[keyed.rows + _OUTER, keyed.columns + _OUTER] for turned in turns(waves)])
    got *= keyed.phases.conj()
    sync = got[:, keyed.sync]
    spectra = np.zeros((len(got), TILE, TILE // 2 + 1), np.complex64)
    spectra[:, keyed.rows[keyed.sync], keyed.columns[keyed.sync]] = sync
    heights = np.fft.irfft2(spectra, s=(TILE, TILE))
    heights *= np.float32(TILE * TILE / 2)
    noise = np.sqrt((sync.real**2 + sync.imag**2).sum(axis=1) / 2 + 1e-12)
    peaks = heights.reshape(len(got), -1).max(axis=1) / noise
    turn = int(peaks.argmax())
    place = np.unravel_index(int(heights[turn].argmax()), (TILE, TILE))
    z, aligned = _align(got[turn], keyed, place)
    return Found(z=z / float(noise[turn]), soft=_soft(aligned, keyed))


def _gcd128(denominator: int) -> int:
    return denominator & -denominator


def _align(got: Waves, keyed: Pattern, place: tuple[int, int]) -> tuple[float, Waves]:
    """Return the waves seen from the tile's corner, found to a quarter of a pixel, and the height there."""
    rows, columns = place[0] + _STEPS, place[1] + _STEPS
    turn = np.float32(2 * np.pi / TILE)
    down = np.exp(1j * turn * rows[:, None] * keyed.rows.astype(np.float32))
    across = np.exp(1j * turn * columns[:, None] * keyed.columns.astype(np.float32))
    sync = keyed.sync
    heights = ((down[:, sync] * got[sync]) @ across[:, sync].T).real
    row, column = np.unravel_index(int(heights.argmax()), heights.shape)
    return float(heights[row, column]), (got * down[row] * across[column]).astype(np.complex64)


def _soft(aligned: Waves, keyed: Pattern) -> Floats:
    """Return a value for each coded bit; bands whose known waves came through better count more."""
    known, bands = aligned[keyed.sync].real, keyed.bands
    trust = np.bincount(bands[keyed.sync], known, _BANDS) / np.bincount(bands[keyed.sync], minlength=_BANDS)
    trust = np.maximum(trust + 0.5 * trust.mean(), 0.05)
    data = aligned[keyed.data] * trust[bands[keyed.data]]
    values = np.concatenate([data.real, data.imag])
    return np.bincount(keyed.bits, values, convolution.CODED_BITS).astype(np.float32)
