"""The known word that an unknown one is closest to."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, count: int = 1, likeness: float = 0.5) -> tuple[str, ...]:
    """Return the `known` words that are spelt most like `word`, best first: at most `count`, or none.

    `likeness` is the least that counts as near, from 0 (any word) to 1 (the same word).
    """
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(candidate.casefold(), candidate)
    matches = difflib.get_close_matches(word.casefold(), folded, n=count, cutoff=likeness)
    return tuple(folded[match] for match in matches)
