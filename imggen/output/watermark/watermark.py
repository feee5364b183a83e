"""An invisible watermark: 48 bits in a picture's pixels that outlive JPEG, halving and cropping.

It is a mark among people of good will: it survives handling, and no one who wants it gone. See docs/watermark.md.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from math import fsum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imggen.errors import RequestError
from imggen.output.watermark import convolutional_code, perceptual_mask, spread_spectrum, strips
from imggen.output.watermark.spread_spectrum import Bytes, Floats, Shorts, Sums

VERSION = 1
PUBLIC_KEY = b"imggen public watermark key 1"
"""The key that everyone has: with it anyone can detect a mark, but also forge one, and take one away."""
THRESHOLD = 7.5
"""The z from which a mark is there: fewer than one unmarked picture in a million gets there by chance."""
MIN_EDGE = 64
"""Pixels; nothing smaller is marked at all."""
GOOD_EDGE = 256
MAX_GROWTH = 0.2
"""Of a PNG, as estimated; of flat pictures the true one is up to half as much again."""

_TRIAL = "0123456789ab"
_GOOD_Z = 8.5

_MODES = ("L", "RGB", "RGBA")
_SCALES = tuple(Fraction(scale) for scale in ("1", "1/2", "3/4", "2/3", "5/8", "5/4", "3/2", "2"))
# What a unit of luminance is in red and green. Blue adds a tenth to luminance and as much as green to an error; left
# alone, it also shows what green would have been without the mark.
_RED, _GREEN = 0.689, 1.353
# In levels of luminance, for 40.3 dB: of colours as above, and where all of them move alike.
_MEAN_COLOUR, _MEAN_GREY = 2.8, 2.45
# From -255 to 255.
_RESTS = 511


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found: a mark where `z` is over the threshold, and its 12 hex digits where their checksum holds."""

    present: bool
    identity: str | None
    z: float


@dataclass(frozen=True, kw_only=True)
class Suitability:
    """Whether a picture is one to mark unasked, and why."""

    fits: bool
    reason: str


def embed(
    image: Image.Image, identity: str, *, key: bytes = PUBLIC_KEY, where: Image.Image | None = None
) -> Image.Image:
    """Return a copy of the picture with `identity`, 12 hex digits, hidden in it; the same for the same, everywhere.

    `where`, in mode L and of the picture's size, is 255 for a full mark and 0 for pixels to come back bit for bit, as
    transparent ones and the alpha channel do anyway. Raise RequestError for other modes and fewer than 64 x 64 pixels.
    """
    _check(image, identity, where)
    grey = _is_grey(image)
    # The last strip is kept, which of a small picture is all of it.
    look = lru_cache(maxsize=1)(partial(_view, image, where))
    whole, tiles = _surveyed(image, look)
    rule = perceptual_mask.rule(whole, _MEAN_GREY if grey else _MEAN_COLOUR)
    keyed, host = spread_spectrum.pattern(key), spread_spectrum.waves(tiles)
    through = _through(image, look, rule)
    enough = perceptual_mask.enough(host, through, keyed, whole)
    coded = convolutional_code.encode(bytes.fromhex(identity), VERSION)
    tile = spread_spectrum.tile(keyed, perceptual_mask.over_waves(host, through * enough, keyed, coded))
    marked = Image.new(image.mode, image.size)
    for rows in strips.over(image):
        strip = look(rows)
        level = perceptual_mask.over_pixels(strip.variance, strip.share, rule)
        mark = _repeated(tile, rows, image.width) * perceptual_mask.in_64ths(level * np.float32(enough))
        marked.paste(_add(strips.cut(image, rows), mark, grey=grey), (0, rows.start))
    return marked


def detect(image: Image.Image, *, key: bytes = PUBLIC_KEY) -> Detection:
    """Return what mark `key` finds in a picture of any scale tried, mirrored or turned by quarters as it may be."""
    keyed = spread_spectrum.pattern(key)
    if image.mode not in _MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    best = Detection(present=False, identity=None, z=0.0)
    for scale, waves in _scaled(image):
        place = spread_spectrum.search(waves, keyed, scale)
        present = place.z >= THRESHOLD
        data = convolutional_code.decode(place.soft, VERSION) if present else None
        seen = Detection(present=present, identity=data.hex() if data else None, z=place.z)
        if data:
            return seen
        best = max(best, seen, key=lambda detection: detection.z)
    return best


def suit(image: Image.Image, *, where: Image.Image | None = None) -> Suitability:
    """Return whether a picture is large and textured enough for a mark that stays unseen and can be read again."""
    if min(image.size) < GOOD_EDGE:
        needed = f"{GOOD_EDGE}x{GOOD_EDGE}"
        return Suitability(fits=False, reason=f"{_size(image)} is smaller than the {needed} that a mark needs")
    marked = embed(image, _TRIAL, where=where)
    growth = _bits(marked) / max(_bits(image), 1.0) - 1
    if growth > MAX_GROWTH:
        much = f"about {growth:.0%}" if growth < 2 else "several times"
        reason = f"it is so plain that a mark would show, and make a PNG {much} larger"
        return Suitability(fits=False, reason=reason)
    seen = detect(marked)
    if seen.identity != _TRIAL or seen.z < _GOOD_Z:
        reason = f"a mark of 40 dB would be hard to read in it: z {seen.z:.1f}, and its bits do not come through"
        if seen.identity:
            reason = f"a mark of 40 dB would be hard to read in it: z {seen.z:.1f} of the {_GOOD_Z} that it should have"
        return Suitability(fits=False, reason=reason)
    return Suitability(fits=True, reason=f"a mark reads well in it, z {seen.z:.1f}, and a PNG grows by {growth:.0%}")


def _check(image: Image.Image, identity: str, where: Image.Image | None) -> None:
    if not re.fullmatch("[0-9a-f]{12}", identity):
        raise RequestError(f"a watermark's identity is 12 digits of 0-9 and a-f, not {identity!r}")
    if image.mode not in _MODES:
        raise RequestError(f"a watermark goes into pictures of mode {', '.join(_MODES)}, not {image.mode}")
    if min(image.size) < MIN_EDGE:
        raise RequestError(f"{_size(image)} is smaller than the {MIN_EDGE}x{MIN_EDGE} that the faintest mark needs")
    if where is not None and (where.mode, where.size) != ("L", image.size):
        raise RequestError(f"the mask is {_size(where)} of mode {where.mode}, not {_size(image)} of mode L")


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Strip:
    """Rows of a plane, what `spread.surround` says of them, which rows beside them change too, and their alpha.

    `share` is how much of the mark the pixels take, where they are to be marked.
    """

    plane: Bytes
    sums: Shorts
    variance: Sums
    alpha: Bytes | None
    share: Floats | None = None


def _view(image: Image.Image, where: Image.Image | None, rows: range) -> _Strip:
    strip = _strip(image, rows, _luminance)
    return replace(strip, share=_share(where and strips.cut(where, rows), strip.alpha))


def _surveyed(
    image: Image.Image, look: Callable[[range], _Strip]
) -> tuple[perceptual_mask.Tally, spread_spectrum.Tiles]:
    tallies, tiles = [], spread_spectrum.no_tiles(spread_spectrum.TILE)
    for rows in strips.over(image):
        strip = look(rows)
        tallies.append(perceptual_mask.tally(strip.variance, strip.share))
        spread_spectrum.add_tiles(tiles, _field(strip), rows.start)
    return perceptual_mask.together(tallies), tiles


def _through(image: Image.Image, look: Callable[[range], _Strip], rule: perceptual_mask.Rule) -> float:
    """Return how many sixteenths of a deviation a pixel of the mark's tile is, as `whiten` sees it."""
    sums: list[float] = []
    for rows in strips.over(image):
        strip = look(rows)
        level = perceptual_mask.over_pixels(strip.variance, strip.share, rule)
        level /= spread_spectrum.deviation(strip.variance) / 81 + 1
        sums += level.sum(axis=1, dtype=np.float64).tolist()
    return 16 * fsum(sums) / spread_spectrum.TILE**2


def _is_grey(image: Image.Image) -> bool:
    return image.mode == "L" or all(_has_no_colour(strips.cut(image, rows)) for rows in strips.over(image))


def _has_no_colour(strip: Image.Image) -> bool:
    red, green, blue = strip.split()[:3]
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _luminance(image: Image.Image) -> Bytes:
    # By way of RGB: Pillow would else lay some modes with alpha on black.
    return np.asarray(image.convert("RGB").convert("L"))


def _share(where: Image.Image | None, alpha: Bytes | None) -> Floats | None:
    share = None if where is None else np.asarray(where).astype(np.float32) / np.float32(255)
    if alpha is None:
        return share
    drawn = (alpha > 0).astype(np.float32)
    return drawn if share is None else share * drawn


def _repeated(tile: Floats, rows: range, width: int) -> Floats:
    wide = np.tile(tile, (1, -(-width // spread_spectrum.TILE)))[:, :width]
    return wide[np.arange(rows.start, rows.stop) % spread_spectrum.TILE]


def _add(strip: Image.Image, mark: Floats, *, grey: bool) -> Image.Image:
    pixels = np.array(strip)
    channels = pixels[..., None] if strip.mode == "L" else pixels
    for channel, part in enumerate((1, 1, 1)[: channels.shape[2]] if grey else (_RED, _GREEN)):
        change = np.rint(mark * np.float32(part)).astype(np.int16)
        channels[..., channel] = np.clip(channels[..., channel] + change, 0, 255)
    return Image.fromarray(pixels)


def _scaled(image: Image.Image) -> Iterator[tuple[Fraction, spread_spectrum.Waves]]:
    """Yield the waves of the picture at each scale, first of its luminance, then of that and of its colours."""
    light = _tiles(image, _luminance)
    colour: spread_spectrum.Tiles | None = None
    grey = _is_grey(image)
    for scale in _SCALES:
        seen = spread_spectrum.even(spread_spectrum.waves(light, scale))
        yield scale, seen
        if grey:
            continue
        colour = _colour(image) if colour is None else colour
        yield scale, seen + spread_spectrum.even(spread_spectrum.waves(colour, scale))


def _colour(image: Image.Image) -> spread_spectrum.Tiles:
    """Return what green holds and blue does not: most of the mark, and little of the picture, whose colours agree."""
    green, blue = (_tiles(image, partial(_channel, name=name)) for name in "GB")
    return {period: green[period] - blue[period] for period in green}


def _channel(image: Image.Image, name: str) -> Bytes:
    return np.asarray(image.getchannel(name))


def _tiles(image: Image.Image, plane: Callable[[Image.Image], Bytes]) -> spread_spectrum.Tiles:
    tiles = spread_spectrum.no_tiles()
    for rows in strips.over(image):
        spread_spectrum.add_tiles(tiles, _field(_strip(image, rows, plane)), rows.start)
    return tiles


def _strip(image: Image.Image, rows: range, plane: Callable[[Image.Image], Bytes]) -> _Strip:
    wide, inner = strips.widened(rows, spread_spectrum.MARGIN, image)
    part = strips.cut(image, wide)
    values = plane(part)
    sums, variance = spread_spectrum.surround(values)
    alpha = np.asarray(part.getchannel("A"))[inner] if part.mode == "RGBA" else None
    return _Strip(plane=values[inner], sums=sums[inner], variance=variance[inner], alpha=alpha)


def _field(strip: _Strip) -> Floats:
    field = spread_spectrum.whiten(strip.plane, (strip.sums, strip.variance))
    if strip.alpha is not None:
        field[strip.alpha == 0] = 0
    return field


def _bits(image: Image.Image) -> float:
    """Return about how many bits a PNG takes: the entropy of each pixel beside its neighbours, of every fourth row.

    Where the neighbours are alike counts apart: there a PNG costs next to nothing. No library's packer is asked, since
    the next one packs differently, and the answer decides about pixels.
    """
    # Of the three channels, as told by the pixel at the left and by the one above, where alike and where not.
    counts = np.zeros((3, 2, 2, _RESTS), np.int64)
    for rows in strips.over(image):
        pixels = np.asarray(strips.cut(image, rows).convert("RGB")).astype(np.int16)
        counts += np.stack([_counted(channel) for channel in pixels.transpose(2, 0, 1)])
    sizes = np.abs(np.arange(_RESTS) - 255)
    cheapest = [min(channel, key=lambda counted: int((counted.sum(axis=0) * sizes).sum())) for channel in counts]
    return sum(_entropy(alike) + _entropy(rest) for alike, rest in cheapest)


def _counted(plane: NDArray[np.int16]) -> NDArray[np.int64]:
    pixels, left, corner, above = plane[1::4, 1:], plane[1::4, :-1], plane[:-1:4, :-1], plane[:-1:4, 1:]
    unlike = ((left != corner) | (corner != above)) * np.int16(_RESTS) + np.int16(255)
    counts = [np.bincount((pixels - neighbour + unlike).ravel(), minlength=2 * _RESTS) for neighbour in (left, above)]
    return np.stack(counts).reshape(2, 2, _RESTS)


def _entropy(counts: NDArray[np.int64]) -> float:
    counts = counts[counts > 0]
    return float((counts * np.log2(counts.sum() / counts)).sum())
