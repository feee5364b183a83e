"""How large a picture shall become: what a person types, and the size that it means for one picture."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from imggen.errors import RequestError
from imggen.plan.schema.change import Fit
from imggen.plan.schema.nearest import nearest
from imggen.plan.sizing.sizes import NAMES

MAX_SCALE: Final = 16
MAX_PIXELS: Final = 1 << 30
"""The most pixels of a result; imggen believes no file that says more."""

_SCALE = re.compile(r"[xX×]?(-?[0-9]{1,4}(?:\.[0-9]{1,4})?)|(-?[0-9]{1,4}(?:\.[0-9]{1,4})?)[xX×]", re.ASCII)
_EDGES = re.compile(r"([0-9]{1,6})?\s*[xX×]\s*([0-9]{1,6})?", re.ASCII)
_EDGE = re.compile(r"[0-9]{1,6}", re.ASCII)
_EXAMPLES = "--to 1920x1080, --to 1920x, --to x1080 or a name such as 1080p"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was asked for: `scale` times the picture, or edges in pixels, one of which may follow from the other.

    `fit` says what happens where both edges are given and the picture has another shape. `option` is what was typed.
    """

    option: str
    scale: Fraction | None = None
    width: int | None = None
    height: int | None = None
    fit: Fit | None = None


@dataclass(frozen=True, kw_only=True)
class Sized:
    """What a target means for one picture, in pixels.

    (`width`, `height`) is the result; (`drawn_width`, `drawn_height`) is what the picture is enlarged to before it is
    cropped or padded to that. `scale` says how many times larger it is drawn, along the edge that grows more.
    """

    width: int
    height: int
    drawn_width: int
    drawn_height: int
    scale: float


def parse(scale: str | None, to: str | None, fit: Fit | None) -> Target:
    """Return the target that the options mean, twice as large where none is given; raise RequestError for nonsense."""
    if scale is not None and to is not None:
        raise RequestError(f"--scale {scale} and --to {to} contradict each other", hint="leave one of the two out")
    if to is not None:
        return _parse_edges(to, fit)
    if fit is not None:
        raise RequestError(f"--fit {fit} is for --to WxH; --scale keeps the picture's shape", hint="leave --fit out")
    typed = "2" if scale is None else scale
    return Target(option=f"--scale {typed}", scale=_parse_scale(typed))


def apply(target: Target, width: int, height: int) -> Sized:
    """Return what `target` means for a picture of `width` x `height` pixels.

    Raise RequestError where that would not be larger, or too large, or where nothing says what happens to its shape.
    """
    sized = _scaled(target, width, height) if target.scale is not None else _fitted(target, width, height)
    if sized.scale <= 1:
        message = f"the picture has {width}x{height} pixels already, and {target.option} would not make it larger"
        raise RequestError(message, hint="--scale 2")
    if sized.scale > MAX_SCALE:
        grown = f"{target.option} makes a {width}x{height} picture {sized.scale:.4g} times larger"
        raise RequestError(f"{grown}; at most {MAX_SCALE} times is done", hint=f"--scale {MAX_SCALE}")
    pixels = max(sized.width * sized.height, sized.drawn_width * sized.drawn_height)
    if pixels > MAX_PIXELS:
        room = (MAX_PIXELS / (width * height)) ** 0.5
        grown = f"{target.option} makes {sized.width}x{sized.height} = {pixels:,} pixels of a {width}x{height} picture"
        hint = f"--scale {int(room * 100) / 100:g}" if room > 1.01 else None
        raise RequestError(f"{grown}; at most {MAX_PIXELS:,} are made", hint=hint)
    return sized


def _parse_scale(text: str) -> Fraction:
    parsed = _SCALE.fullmatch(text.strip())
    if not parsed:
        raise RequestError(f"--scale {text!r} is not a scale", hint="--scale 2, --scale 4x or --scale 1.5")
    scale = Fraction(parsed[1] or parsed[2])
    if scale <= 1:
        raise RequestError(f"--scale {text} does not make a picture larger", hint="--scale 2")
    if scale > MAX_SCALE:
        raise RequestError(f"--scale {text} is too large; at most {MAX_SCALE} times", hint=f"--scale {MAX_SCALE}")
    return scale


def _parse_edges(text: str, fit: Fit | None) -> Target:
    """Return the edges that `--to` names, one of them None where the shape decides."""
    option = f"--to {text}"
    name = text.strip().lower()
    if name in NAMES:
        return Target(option=option, width=NAMES[name][0], height=NAMES[name][1], fit=fit)
    parsed = _EDGES.fullmatch(text.strip())
    edges = [int(edge) if edge else None for edge in parsed.groups()] if parsed else [None, None]
    if edges == [None, None]:
        raise _no_size(text)
    if 0 in edges:
        raise RequestError(f"{option} has an edge of 0 pixels", hint=_EXAMPLES)
    if fit is not None and None in edges:
        raise RequestError(f"--fit {fit} is for both edges; {option} keeps the picture's shape", hint="leave --fit out")
    return Target(option=option, width=edges[0], height=edges[1], fit=fit)


def _no_size(text: str) -> RequestError:
    if _EDGE.fullmatch(text.strip()):
        edge = text.strip()
        return RequestError(f"--to {text} does not say which edge", hint=f"--to {edge}x or --to x{edge}")
    guess = nearest(text.strip(), NAMES)
    hint = f"--to {guess[0]}; {_EXAMPLES}" if guess else _EXAMPLES
    return RequestError(f"--to {text!r} is not a size", hint=hint)


def _scaled(target: Target, width: int, height: int) -> Sized:
    scale = target.scale or Fraction(2)
    return _whole(_round(width * scale), _round(height * scale), scale)


def _fitted(target: Target, width: int, height: int) -> Sized:
    """Return the size for given edges, and what is drawn before it is cut or filled to them."""
    if target.width is None or target.height is None:
        scale = Fraction(target.width, width) if target.width else Fraction(target.height or height, height)
        return _whole(target.width or _round(width * scale), target.height or _round(height * scale), scale)
    scales = Fraction(target.width, width), Fraction(target.height, height)
    # The picture's own shape may be missed by a pixel of rounding along one of its edges.
    shape = Fraction(width, height)
    misses = target.width - target.height * shape, target.height - target.width / shape
    if target.fit == "stretch" or min(map(abs, misses)) <= 1:
        return _whole(target.width, target.height, max(scales))
    if target.fit is None:
        message = f"{target.option} has another shape than the picture's {width}x{height} pixels"
        raise RequestError(message, hint=f"--to {target.width}x to keep it, or --fit crop, --fit pad or --fit stretch")
    scale = max(scales) if target.fit == "crop" else min(scales)
    drawn = _whole(_round(width * scale), _round(height * scale), scale)
    return replace(drawn, width=target.width, height=target.height)


def _whole(width: int, height: int, scale: Fraction) -> Sized:
    return Sized(width=width, height=height, drawn_width=width, drawn_height=height, scale=float(scale))


def _round(edge: Fraction) -> int:
    return max(1, int(edge + Fraction(1, 2)))
