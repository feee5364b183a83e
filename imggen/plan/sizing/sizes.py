"""Sizes: what a person types, and a width and height that the model can take."""

import math
import re
from dataclasses import dataclass
from typing import Final

from imggen.errors import RequestError
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.request import GenerateRequest

NAMES: Final[dict[str, tuple[int, int]]] = {
    "icon": (128, 128),
    "sd": (512, 512),
    "sdxl": (1024, 1024),
    "vga": (640, 480),
    "svga": (800, 600),
    "xga": (1024, 768),
    "720p": (1280, 720),
    "hd": (1280, 720),
    "1080p": (1920, 1080),
    "fhd": (1920, 1080),
    "1440p": (2560, 1440),
    "qhd": (2560, 1440),
    "4k": (3840, 2160),
    "uhd": (3840, 2160),
}
"""Names for sizes. `native` and `square` are the model's own, so they are not in the table."""

# By how much a listed size may miss the ratio that was asked for.
_NEAR: Final = math.log(1.1)
# As many as listed in a message.
_SHOWN: Final = 8
_NATIVE = ("native", "square")
_EDGES = re.compile(r"\s*([0-9]{1,6})\s*(?:[xX×*]\s*([0-9]{1,6})\s*)?", re.ASCII)
_RATIO = re.compile(r"\s*([0-9]{1,5}(?:\.[0-9]{1,4})?)\s*[:/xX]\s*([0-9]{1,5}(?:\.[0-9]{1,4})?)\s*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What sizes a model takes: `native` (width, height), edges in [`smallest`, `largest`], multiples of `multiple_of`.

    All in pixels. `listed` are the only sizes (width, height) that it makes, () for any. `model` is its name
    for messages.
    """

    model: str
    native: tuple[int, int]
    multiple_of: int
    smallest: int
    largest: int
    listed: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Size:
    """A width and a height in pixels, and why they are what they are."""

    width: int
    height: int
    reason: str


def choose(request: GenerateRequest, limits: Limits) -> Size:
    """Return the size that `request` means for a model with `limits`; raise RequestError where it makes no sense.

    A single edge keeps the other at the model's own; `aspect` keeps the model's native area, or the edge that was
    given. A size that the model cannot take is refused with the nearest one that it can.
    """
    refuse_contradictions(request)
    if request.size is not None:
        return _checked(*parse_size(request.size, limits), limits, f"--size {request.size}")
    if request.aspect is not None:
        return _from_aspect(request.aspect, request, limits)
    if request.width is None and request.height is None:
        return _checked(*limits.native, limits, "the model's own size")
    width = limits.native[0] if request.width is None else request.width
    height = limits.native[1] if request.height is None else request.height
    return _checked(width, height, limits, " ".join(edges(request)))


def parse_aspect(text: str) -> float:
    """Return width / height of `16:9`, `16/9` or `3:2`; raise RequestError for what is no ratio or an absurd one."""
    edges_written = _RATIO.fullmatch(text)
    width, height = (float(edge) for edge in edges_written.groups()) if edges_written else (0.0, 0.0)
    if width <= 0 or height <= 0:
        hint = "--aspect 16:9, --aspect 3:2 or --aspect 1:1"
        raise RequestError(f"--aspect {text!r} is not an aspect ratio", hint=hint)
    ratio = width / height
    if not 1 / 20 <= ratio <= 20:
        raise RequestError(f"--aspect {text} is too extreme: at most 20:1", hint="--aspect 16:9")
    return ratio


def refuse_contradictions(request: GenerateRequest) -> None:
    """Raise RequestError for a size that is said twice in different words."""
    typed = edges(request)
    aspect = [] if request.aspect is None else [f"--aspect {request.aspect}"]
    if request.size is not None and (aspect or typed):
        message = f"--size {request.size} and {(aspect or typed)[0]} contradict each other"
        raise RequestError(message, hint="leave one of the two out")
    if aspect and len(typed) == 2:
        message = f"{aspect[0]} and {' '.join(typed)} contradict each other"
        raise RequestError(message, hint="give the aspect with one edge, or both edges alone")


def edges(request: GenerateRequest) -> list[str]:
    """Return the edges that the request says, each as its option."""
    options = [("--width", request.width), ("--height", request.height)]
    return [f"{name} {value}" for name, value in options if value is not None]


def smaller(request: GenerateRequest, width: int, height: int) -> str:
    """Return the options that ask for a size instead of what `request` says, or how to come down to it by a border."""
    if request.task == "outpaint":
        return f"a smaller picture or less --pad: at most {width}x{height} in all"
    return option(said(request), width, height)


def option(said: str, width: int, height: int) -> str:
    """Return the options that ask for a size where the options in `said` do already: --size contradicts the others."""
    has_edges = "--width" in said or "--height" in said
    sized = f"--width {width} --height {height}" if has_edges else f"--size {width}x{height}"
    return f"{sized}, and no --aspect" if "--aspect" in said else sized


def said(request: GenerateRequest) -> str:
    """Return the options that say the size."""
    aspect = [] if request.aspect is None else [f"--aspect {request.aspect}"]
    return " ".join((*aspect, *edges(request)))


def parse_size(text: str, limits: Limits) -> tuple[int, int]:
    """Return the (width, height) that `512x768`, `512` or a name means; raise RequestError for what is not a size."""
    name = text.strip().lower()
    if name in _NATIVE:
        return limits.native
    if name in NAMES:
        return NAMES[name]
    written = _EDGES.fullmatch(text)
    if written:
        return int(written[1]), int(written[2] or written[1])
    guess = nearest(name, (*NAMES, *_NATIVE))
    hint = f"WIDTHxHEIGHT such as 512x768, or one of: {', '.join((*_NATIVE, *NAMES))}"
    raise RequestError(f"--size {text!r} is not a size", hint=f"--size {guess[0]}; {hint}" if guess else hint)


def _from_aspect(aspect: str, request: GenerateRequest, limits: Limits) -> Size:
    ratio = parse_aspect(aspect)
    if request.width is not None:
        height = _round(request.width / ratio, limits.multiple_of)
        return _checked(request.width, height, limits, f"--aspect {aspect} at --width {request.width}")
    if request.height is not None:
        width = _round(request.height * ratio, limits.multiple_of)
        return _checked(width, request.height, limits, f"--aspect {aspect} at --height {request.height}")
    native = "x".join(map(str, limits.native))
    return _checked(*_fit_area(ratio, limits), limits, f"--aspect {aspect} with the area of {native}")


def _fit_area(ratio: float, limits: Limits) -> tuple[int, int]:
    """Return the multiples whose area is close to the native one and whose ratio comes closest to `ratio`."""
    if limits.listed:
        return _listed(ratio, limits)
    step = limits.multiple_of
    ideal_width, ideal_height = _ideal(ratio, limits)
    candidates = [
        (width, height)
        for width in _around(ideal_width, step)
        for height in _around(ideal_height, step)
        if limits.smallest <= width <= limits.largest and limits.smallest <= height <= limits.largest
    ]

    def badness(size: tuple[int, int]) -> float:
        width, height = size
        return 2 * abs(math.log(width / height / ratio)) + abs(math.log(width / ideal_width * height / ideal_height))

    return min(candidates, key=badness, default=(_round(ideal_width, step), _round(ideal_height, step)))


def _listed(ratio: float, limits: Limits) -> tuple[int, int]:
    """Return the listed size of about that ratio, or one of that ratio that is not listed where none is near."""
    width, height = nearest_listed(ratio, limits)
    if abs(math.log(width / height / ratio)) <= _NEAR:
        return width, height
    ideal_width, ideal_height = _ideal(ratio, limits)
    return round(ideal_width), round(ideal_height)


def _ideal(ratio: float, limits: Limits) -> tuple[float, float]:
    """Return the edges of that ratio whose area is the native one."""
    area = limits.native[0] * limits.native[1]
    return math.sqrt(area * ratio), math.sqrt(area / ratio)


def nearest_listed(ratio: float, limits: Limits) -> tuple[int, int]:
    """Return the listed (width, height) whose ratio comes closest to `ratio`."""
    return min(limits.listed, key=lambda size: abs(math.log(size[0] / size[1] / ratio)))


def _around(edge: float, step: int) -> list[int]:
    below = int(edge // step) * step
    return [edge for edge in (below, below + step) if edge > 0]


def _round(edge: float, step: int) -> int:
    return max(step, int(edge / step + 0.5) * step)


def _checked(width: int, height: int, limits: Limits, reason: str) -> Size:
    """Return the size; raise RequestError with the nearest good one where the model cannot make it."""
    if limits.listed and (width, height) not in limits.listed:
        likest = nearest_listed(max(width, 1) / max(height, 1), limits)
        known = ", ".join(f"{wide}x{tall}" for wide, tall in limits.listed[:_SHOWN])
        known += f" and {len(limits.listed) - _SHOWN} more sizes" if limits.listed[_SHOWN:] else ""
        message = f"{reason}: {limits.model} makes pictures of {known}, not of {width}x{height}"
        raise RequestError(message, hint=option(reason, *likest))
    good = _nearest_good(width, limits), _nearest_good(height, limits)
    if good == (width, height):
        return Size(width=width, height=height, reason=reason)
    wrong, edge = ("width", width) if good[0] != width else ("height", height)
    problem = f"{edge} px is not a multiple of {limits.multiple_of}"
    if edge < limits.smallest or edge > limits.largest:
        problem = f"{limits.model} makes edges of {limits.smallest} to {limits.largest} px"
    raise RequestError(f"{reason}: {width}x{height} has a {wrong} of {edge} px; {problem}", hint=option(reason, *good))


def _nearest_good(edge: int, limits: Limits) -> int:
    step = limits.multiple_of
    lowest = -(-limits.smallest // step) * step
    highest = limits.largest // step * step
    return min(max(_round(edge, step), lowest), highest)
