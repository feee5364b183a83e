"""The known word that an unknown one is closest to, or is a misspelling of."""

import difflib
from collections.abc import Iterable
from pathlib import PurePath

_SHORTEST = 4
_NEAR_FILE = 0.7


def nearest(word: str, known: Iterable[str], *, count: int = 1, likeness: float = 0.5) -> tuple[str, ...]:
    """Return the `known` words that are spelt most like `word`, best first: at most `count`, or none.

    `likeness` is the least that counts as near, from 0 (any word) to 1 (the same word).
    """
    # Of two that differ in case alone, the first.
    folded = {candidate.casefold(): candidate for candidate in reversed(list(known))}
    matches = difflib.get_close_matches(word.casefold(), folded, n=count, cutoff=likeness)
    return tuple(folded[match] for match in matches)


def misspelt(word: str, known: Iterable[str]) -> str | None:
    """Return the first of the `known` words that `word` is a likely misspelling of.

    One letter is missing, too many or wrong, or two stand in each other's place. The first letter is right, and short
    words are left alone: with another letter they are mostly other words, as `mouse` is beside `house`.
    """
    return next((other for other in known if _is_slip(word.casefold(), other.casefold())), None)


def nearest_file(name: str, names: Iterable[str]) -> str | None:
    """Return the file name among `names` that `name` was most likely meant to be: a suffix alone makes none alike."""
    by_stem: dict[str, str] = {}
    for other in names:
        by_stem.setdefault(PurePath(other).stem, other)
    near = nearest(PurePath(name).stem, by_stem, likeness=_NEAR_FILE)
    return by_stem[near[0]] if near else None


def _is_slip(word: str, other: str) -> bool:
    if min(len(word), len(other)) < _SHORTEST or word[0] != other[0]:
        return False
    if abs(len(word) - len(other)) == 1:
        shorter, longer = sorted((word, other), key=len)
        return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))
    differing = [at for at, (one, two) in enumerate(zip(word, other, strict=False)) if one != two]
    if len(word) != len(other) or not differing:
        return False
    if len(differing) == 1:
        return len(word) > _SHORTEST
    first, last = differing[0], differing[-1]
    return len(differing) == 2 and last == first + 1 and word[first : last + 1] == other[first : last + 1][::-1]
