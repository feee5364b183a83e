"""An invisible watermark: 48 bits in a picture's luminance that outlive JPEG, halving and cropping."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imggen.errors import RequestError
from imggen.output import convolution, spread

VERSION = 1
PUBLIC_KEY = b"imggen public watermark key 1"
"""The key that everyone has: with it anyone can detect a mark, forge one, and take one away."""
MIN_EDGE = 64
THRESHOLD = 7.0

_SCALES = ((1, 1), (1, 2), (3, 4), (2, 3), (3, 2), (2, 1))
_MODES = ("L", "RGB", "RGBA")
_STRENGTH = 2.1
_CAP = 5.0
_PLAIN = 1.2
_REACH = 2.5
_BETA = 0.8
_ENOUGH = 0.25


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found. `identity` is 12 hex digits, None where the checksum fails."""

    present: bool
    identity: str | None
    z: float


@dataclass(frozen=True, kw_only=True)
class Suitability:
    """Whether a picture is one to mark, and why."""

    fits: bool
    reason: str


def embed(
    image: Image.Image, identity: str, *, key: bytes = PUBLIC_KEY, where: Image.Image | None = None
) -> Image.Image:
    """Return the picture with `identity` in it."""
    check(image, identity, where)
    keyed = spread.pattern(key)
    luminance = np.asarray(image.convert("RGB").convert("L") if image.mode == "RGBA" else image.convert("L"))
    sums, variance = spread.surround(luminance)
    share = _share(image, where)
    strength = _strength(variance, share)
    wanted = spread.signs(keyed, convolution.encode(bytes.fromhex(identity), VERSION))
    waves = _informed(luminance, sums, variance, strength, keyed, wanted)
    tile = np.rint(spread.tile(keyed, waves) * 256).astype(np.float32) / np.float32(256)
    height, width = luminance.shape
    mark = np.tile(tile, (-(-height // spread.TILE), -(-width // spread.TILE)))[:height, :width] * strength
    delta = np.rint(mark).astype(np.int16)
    return _added(image, delta)


def check(image, identity, where):
    if image.mode not in _MODES:
        raise RequestError(f"a watermark goes into pictures of mode {', '.join(_MODES)}, not {image.mode}")
    if min(image.size) < MIN_EDGE:
        raise RequestError(f"{image.width}x{image.height} is smaller than the {MIN_EDGE}x{MIN_EDGE} that a mark needs")
    if where is not None and (where.size != image.size or where.mode != "L"):
        raise RequestError("bad where")


def _share(image, where):
    """Return how much of the mark each pixel takes, None = all of it."""
    share = None
    if where is not None:
        share = np.asarray(where).astype(np.float32) / np.float32(255)
    if image.mode == "RGBA":
        solid = (np.asarray(image.getchannel("A")) > 0).astype(np.float32)
        share = solid if share is None else share * solid
    return share


def _strength(variance, share):
    deviation = np.sqrt(variance.astype(np.float32)) / np.float32(81)
    plain = variance == 0
    shape = np.sqrt(deviation + 1)
    if share is not None:
        shape *= share
    busy = ~plain if share is None else ~plain & (share > 0)
    if busy.mean() > _ENOUGH:
        shape[plain] = 0
    power = float((shape * shape).sum(dtype=np.float64)) / max(1, np.count_nonzero(shape))
    shape *= np.float32(_STRENGTH / max(1e-9, power) ** 0.5)
    np.minimum(shape, np.where(plain, np.float32(_PLAIN), np.float32(_CAP)), out=shape)
    # to 1/64
    shape *= 64
    np.rint(shape, out=shape)
    shape /= 64
    return shape


def _informed(luminance, sums, variance, strength, keyed, wanted):
    host = spread.square(spread.fold(spread.whiten(luminance, sums, variance), spread.TILE), 1)
    held = host[keyed.rows + spread._OUTER, keyed.columns + spread._OUTER]
    deviation = np.sqrt(variance.astype(np.float32)) / np.float32(81) + 1
    through = float((strength / deviation).sum(dtype=np.float64)) * 16 / spread.TILE**2
    unit = spread.TILE**2 / np.sqrt(2 * len(keyed.rows))  # |coefficient| of a wave in a tile of mean square 1
    ratio = held * wanted.conj()  # along what is wanted
    # per real value
    ratio = held * keyed.phases.conj() / (unit * through)
    sign = wanted * keyed.phases.conj()
    out = np.empty_like(wanted)
    d, s = keyed.data, keyed.sync

    def boost(sgn, held, base):
        along = held * np.sign(sgn) / base
        return np.sign(sgn) * base * np.clip(1 - _BETA * along, 0.4, _REACH)

    h = np.float32(0.5**0.5)
    re = boost(sign[d].real, ratio[d].real, h)
    im = boost(sign[d].imag, ratio[d].imag, h)
    out[d] = re + 1j * im
    out[s] = boost(np.ones(len(sign[s])), ratio[s].real, 1.0)
    # to sixteenths
    out = (np.rint(out.real * 16) + 1j * np.rint(out.imag * 16)) / 16
    return (out * keyed.phases).astype(np.complex64)


def _added(image, delta):
    pixels = np.asarray(image)
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels[..., None]
    marked = np.clip(colours + delta[..., None], 0, 255).astype(np.uint8)
    if image.mode == "RGBA":
        marked = np.concatenate([marked, pixels[..., 3:]], axis=2)
    return Image.fromarray(marked[..., 0] if image.mode == "L" else marked)


def detect(image: Image.Image, *, key: bytes = PUBLIC_KEY) -> Detection:
    """Return what mark the key finds in the picture."""
    keyed = spread.pattern(key)
    luminance = np.asarray(image.convert("RGB").convert("L") if image.mode == "RGBA" else image.convert("L"))
    sums, variance = spread.surround(luminance)
    field = spread.whiten(luminance, sums, variance)
    if image.mode == "RGBA":
        field[np.asarray(image.getchannel("A")) == 0] = 0
    best = Detection(present=False, identity=None, z=0.0)
    for numerator, denominator in _SCALES:
        found = spread.search(field, keyed, numerator, denominator)
        data = convolution.decode(found.soft, VERSION) if found.z > 5 else None
        got = Detection(present=found.z >= THRESHOLD, identity=data.hex() if data else None, z=found.z)
        if got.present and data:
            return got
        if got.z > best.z:
            best = got
    return best


def suit(image: Image.Image, *, where: Image.Image | None = None) -> Suitability:
    """Return whether `--watermark auto` marks this picture."""
    if min(image.size) < 256:
        return Suitability(
            fits=False, reason=f"{image.width}x{image.height} is smaller than the 256x256 that a mark needs"
        )
    _, variance = spread.surround(np.asarray(image.convert("L")))
    plain = float((variance == 0).mean())
    if plain > 0.5:
        return Suitability(
            fits=False,
            reason=f"{plain:.0%} of it is plain colour, on which a mark would show and make a PNG larger",
        )
    return Suitability(fits=True, reason=f"{1 - plain:.0%} of it is textured")
