"""The known word that an unknown one is closest to."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, count: int = 1) -> tuple[str, ...]:
    """Return the `known` words that are spelt most like `word`, best first: at most `count`, or none."""
    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.casefold(), each)
    found = difflib.get_close_matches(word.casefold(), folded, n=count, cutoff=0.5)
    return tuple(folded[each] for each in found)
