"""Edges in pixels, as typed: the box that a mask covers, and the borders that a picture grows by."""

import re
from typing import Final

from imggen.errors import RequestError

MOST_PIXELS: Final = 16_384
"""The longest edge of a picture that is read or made."""

_NUMBER = re.compile(r"\s*(-?[0-9]{1,9})\s*", re.ASCII)


def parse_box(text: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return x, y, width and height of `x,y,w,h` in a picture of `size` (width, height), all in pixels.

    Raises RequestError for what is not four whole numbers, for a box without area, and for one that leaves the picture.
    """
    width, height = size
    middle = f"--mask-box {width // 4},{height // 4},{max(width // 2, 1)},{max(height // 2, 1)}"
    numbers = _numbers(text)
    if numbers is None or len(numbers) != 4:
        message = f"--mask-box {text!r} is not four whole numbers: x, y, width and height"
        raise RequestError(message, hint=f"{middle} is the middle of the picture")
    x, y, across, down = numbers
    if across < 1 or down < 1:
        raise RequestError(f"--mask-box {text} is {across}x{down} pixels, so it covers nothing", hint=middle)
    if x < 0 or y < 0 or x + across > width or y + down > height:
        covered = f"covers x {x} to {x + across} and y {y} to {y + down}"
        message = f"--mask-box {text} {covered}; the picture is {width}x{height}"
        raise RequestError(message, hint=_inside(numbers, size) or middle)
    return x, y, across, down


def parse_pad(text: str) -> tuple[int, int, int, int]:
    """Return the pixels to add at the top, right, bottom and left.

    The order and the short forms are those of CSS: one number is every side, two are top and bottom, right and left;
    three are top, right and left, bottom. Raises RequestError for anything else, for negative numbers, for nothing but
    zeros, and for a side of more than `MOST_PIXELS`.
    """
    numbers = _numbers(text)
    if numbers is None or not 1 <= len(numbers) <= 4:
        hint = "--pad 64,0,64,0 adds 64 at the top and at the bottom (top, right, bottom, left)"
        raise RequestError(f"--pad {text!r} is not one to four whole numbers of pixels", hint=hint)
    top, right, bottom, left = (numbers[at] for at in _SIDES[len(numbers)])
    if min(numbers) < 0:
        raise RequestError(f"--pad {text} has a negative side; it adds borders and cuts nothing off", hint="--pad 64")
    if max(numbers) == 0:
        raise RequestError(f"--pad {text} adds nothing", hint="--pad 64")
    if max(numbers) > MOST_PIXELS:
        raise RequestError(f"--pad {text}: at most {MOST_PIXELS:,} pixels a side are added", hint="--pad 64")
    return top, right, bottom, left


_SIDES = {1: (0, 0, 0, 0), 2: (0, 1, 0, 1), 3: (0, 1, 2, 1), 4: (0, 1, 2, 3)}
"""For every count of numbers, which of them is the top, the right, the bottom and the left."""


def _numbers(text: str) -> tuple[int, ...] | None:
    matches = [_NUMBER.fullmatch(number) for number in text.split(",")]
    return tuple(int(match[1]) for match in matches if match) if all(matches) else None


def _inside(box: tuple[int, ...], size: tuple[int, int]) -> str | None:
    """Return the part of the box that is in the picture, as the option that asks for it; None where there is none."""
    x, y, across, down = box
    left, top = max(x, 0), max(y, 0)
    across, down = min(x + across, size[0]) - left, min(y + down, size[1]) - top
    return f"--mask-box {left},{top},{across},{down}" if across > 0 and down > 0 else None
