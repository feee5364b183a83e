"""An invisible watermark: 48 bits in a picture's pixels that outlive JPEG, halving and cropping.

It is a mark among people of good will: it survives handling, and no one who wants it gone. See docs/watermark.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imggen.errors import RequestError
from imggen.output import convolution, spread, strength
from imggen.output.spread import Bytes, Floats, Sums

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
_SCALES = tuple(Fraction(each) for each in ("1", "1/2", "3/4", "2/3", "5/8", "5/4", "3/2", "2"))
# What a unit of luminance is in red and green. Blue adds a tenth to luminance and as much as green to an error; left
# alone, it also shows what green would have been without the mark.
_RED, _GREEN = 0.689, 1.353
# In levels of luminance, for 40.3 dB: of colours as above, and where all of them move alike.
_MEAN_COLOUR, _MEAN_GREY = 2.8, 2.45


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
    plane = _luminance(image)
    around = spread.surround(plane)
    level = strength.over_pixels(around[1], _share(image, where), _MEAN_GREY if grey else _MEAN_COLOUR)
    keyed = spread.pattern(key)
    host = spread.waves(_field(image, plane, around))
    # As `whiten` sees it, a pixel of the mark is this many sixteenths of a deviation.
    through = 16 * float((level / (spread.deviation(around[1]) / 81 + 1)).sum(dtype=np.float64)) / spread.TILE**2
    enough = strength.enough(host, through, keyed, around[1])
    level = strength.in_64ths(level * np.float32(enough))
    through *= enough
    coded = convolution.encode(bytes.fromhex(identity), VERSION)
    tile = spread.tile(keyed, strength.over_waves(host, through, keyed, coded))
    return _add(image, _repeated(tile, plane.shape) * level, grey=grey)


def detect(image: Image.Image, *, key: bytes = PUBLIC_KEY) -> Detection:
    """Return what mark `key` finds in a picture of any scale tried, mirrored or turned by quarters as it may be."""
    keyed = spread.pattern(key)
    if image.mode not in _MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    best = Detection(present=False, identity=None, z=0.0)
    for scale, found in _views(image):
        place = spread.search(found, keyed, scale)
        present = place.z >= THRESHOLD
        data = convolution.decode(place.soft, VERSION) if present else None
        seen = Detection(present=present, identity=data.hex() if data else None, z=place.z)
        if data:
            return seen
        best = max(best, seen, key=lambda each: each.z)
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


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    red, green, blue = image.split()[:3]
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _luminance(image: Image.Image) -> Bytes:
    # By way of RGB: Pillow would else lay some modes with alpha on black.
    return np.asarray(image.convert("RGB").convert("L"))


def _share(image: Image.Image, where: Image.Image | None) -> Floats | None:
    parts: list[Floats] = []
    if where is not None:
        parts.append(np.asarray(where).astype(np.float32) / np.float32(255))
    if image.mode == "RGBA":
        parts.append((np.asarray(image.getchannel("A")) > 0).astype(np.float32))
    return None if not parts else parts[0] if len(parts) == 1 else parts[0] * parts[1]


def _repeated(tile: Floats, shape: tuple[int, ...]) -> Floats:
    height, width = shape
    return np.tile(tile, (-(-height // len(tile)), -(-width // len(tile))))[:height, :width]


def _add(image: Image.Image, mark: Floats, *, grey: bool) -> Image.Image:
    pixels = np.array(image)
    channels = pixels[..., None] if image.mode == "L" else pixels
    for channel, part in enumerate((1, 1, 1)[: channels.shape[2]] if grey else (_RED, _GREEN)):
        change = np.rint(mark * np.float32(part)).astype(np.int16)
        channels[..., channel] = np.clip(channels[..., channel] + change, 0, 255)
    return Image.fromarray(pixels)


def _views(image: Image.Image) -> Iterator[tuple[Fraction, spread.Waves]]:
    """Yield the waves of the picture at each scale, first of its luminance, then of that and of its colours."""
    light = _field(image, _luminance(image))
    colour: Floats | None = None
    grey = _is_grey(image)
    for scale in _SCALES:
        seen = spread.even(spread.waves(light, scale))
        yield scale, seen
        if grey:
            continue
        colour = _colour(image) if colour is None else colour
        yield scale, seen + spread.even(spread.waves(colour, scale))


def _colour(image: Image.Image) -> Floats:
    """Return what green holds and blue does not: most of the mark, and little of the picture, whose colours agree."""
    green, blue = (_field(image, np.asarray(image.getchannel(each))) for each in "GB")
    return green - blue


def _field(image: Image.Image, plane: Bytes, around: tuple[Sums, Sums] | None = None) -> Floats:
    field = spread.whiten(plane, around)
    if image.mode == "RGBA":
        field[np.asarray(image.getchannel("A")) == 0] = 0
    return field


def _bits(image: Image.Image) -> float:
    """Return about how many bits a PNG takes: the entropy of each pixel beside its neighbours, of every fourth row.

    Where the neighbours are alike counts apart: there a PNG costs next to nothing. No library's packer is asked, since
    the next one packs differently, and the answer decides about pixels.
    """
    total = 0.0
    for plane in np.asarray(image.convert("RGB")).astype(np.int16).transpose(2, 0, 1):
        pixels, left, corner, above = plane[1::4, 1:], plane[1::4, :-1], plane[:-1:4, :-1], plane[:-1:4, 1:]
        alike = (left == corner) & (corner == above)
        rests = min(pixels - left, pixels - above, key=lambda rest: int(np.abs(rest).sum()))
        total += _entropy(rests[alike]) + _entropy(rests[~alike])
    return total


def _entropy(rests: NDArray[np.int16]) -> float:
    counts = np.bincount(rests + 255)
    counts = counts[counts > 0]
    return float((counts * np.log2(rests.size / counts)).sum())
