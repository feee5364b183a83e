"""Seeds: what a person types, and one number per picture."""

import re
from collections.abc import Callable
from typing import Final

from imggen.errors import RequestError

LIMIT: Final = 2**63
"""Seeds lie in [0, LIMIT).

torch takes up to 2**64 - 1, but the programs that read pictures' metadata keep a seed in a signed 64-bit number, where
a larger one would come back as another picture.
"""

DRAWN_LIMIT: Final = 2**32
"""Random seeds lie in [0, DRAWN_LIMIT): short enough to retype, and the range that the web UIs draw from."""

MOST: Final = 10_000
"""The most pictures that one command makes; more is nearly always a slip of the finger."""

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,20})\s*(?:-|\.\.)\s*([0-9]{1,20})", re.ASCII)
_EXAMPLES = "--seed 42, --seed 1,2,3, --seed 1-4 or --seed random"


def choose(text: str | None, count: int | None, *, draw: Callable[[int], int]) -> tuple[int, ...]:
    """Return one seed per picture, in order.

    One number and `count` give number, number + 1, ...; a list or a range is its own count. `random` and None draw the
    first number with `draw(limit)`, which returns a whole number in [0, limit). Raise RequestError for text that is no
    seed, seeds out of range or named twice, and a count that contradicts the list.
    """
    _check_count(count)
    pictures = count or 1
    if text is None or text.strip().lower() == "random":
        return _following(draw(DRAWN_LIMIT - pictures + 1), pictures)
    listed = parse(text)
    if count is None or count == len(listed):
        return listed
    if len(listed) > 1:
        message = f"--seed {text} lists {len(listed)} seeds, but --num-images asks for {count} pictures"
        raise RequestError(message, hint="leave one of the two out")
    return _following(listed[0], count)


def parse(text: str) -> tuple[int, ...]:
    """Return the seeds that `text` lists: numbers and `first-last` ranges with commas between; raise RequestError."""
    seeds: dict[int, None] = {}
    for part in text.split(","):
        for seed in _part(part.strip(), text):
            if seed in seeds:
                message = f"seed {seed} occurs twice in {text!r}"
                raise RequestError(message, hint="a seed makes one picture; name it once")
            seeds[seed] = None
        if len(seeds) > MOST:
            raise _too_many("--seed", len(seeds))
    return tuple(seeds)


def _part(part: str, text: str) -> range:
    """Return the seeds that one part between commas stands for: a number, or a range with both its ends."""
    bounds = _RANGE.fullmatch(part)
    if bounds:
        first, last = (_within(int(bound), text) for bound in bounds.groups())
        if last < first:
            raise RequestError(f"seed range {part!r} runs backwards", hint=f"--seed {last}-{first}")
        if last - first >= MOST:
            raise _too_many(f"seed range {part}", last - first + 1)
        return range(first, last + 1)
    if _NUMBER.fullmatch(part):
        seed = _within(int(part), text)
        return range(seed, seed + 1)
    raise RequestError(f"{text!r} is not a seed", hint=_EXAMPLES)


def _within(seed: int, text: str) -> int:
    if seed >= LIMIT:
        raise RequestError(f"seed {seed} in {text!r} is too large", hint=f"seeds go from 0 to {LIMIT - 1}")
    return seed


def _following(first: int, count: int) -> tuple[int, ...]:
    if first + count > LIMIT:
        message = f"{count} pictures from seed {first} on run past the largest seed"
        raise RequestError(message, hint=f"--seed {LIMIT - count} or lower")
    return tuple(range(first, first + count))


def _check_count(count: int | None) -> None:
    if count is not None and count < 1:
        raise RequestError(f"--num-images {count}: there is nothing to make", hint="--num-images 1")
    if count is not None and count > MOST:
        raise _too_many(f"--num-images {count}", count, f"--num-images {MOST}")


def _too_many(what: str, count: int, hint: str = f"ask for at most {MOST:,} at a time") -> RequestError:
    return RequestError(f"{what} asks for {count:,} pictures; one command makes at most {MOST:,}", hint=hint)
