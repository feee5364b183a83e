"""Regular expressions whose search ends in time, whatever the pattern and the text.

A pattern that backtracks can take years over one prompt (Davis et al., "The Impact of Regular Expression Denial of
Service (ReDoS) in Practice", 2018). `re` cannot be stopped; the package `regex` reads the same dialect and takes a
time limit. It is the one package besides the standard library that `imggen.plan` uses.
"""

import re
import warnings
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import regex

from imggen.errors import RequestError

LONGEST: Final = 500
SECONDS: Final = 1.0
"""How long all matches of one pattern in one text may take to find."""

# An escape is read whole, so that the bracket in `\(?R` begins no call of a group.
_REFUSED: Final = re.compile(
    r"(?P<code>\\(?:[xuUN0]|[1-7][0-7]{2}))"
    r"|\\."
    r"|(?P<case>\(\?[a-zA-Z0-9]*-[a-zA-Z0-9]*i)"
    r"|(?P<call>\(\?(?:R|&|P>|[-+]?[0-9]))",
    re.DOTALL,
)
_REASONS: Final = {
    "code": ("names a character by its code", "write the character itself"),
    "case": ("turns case on, and prompts have none once they are folded", "leave out the flag"),
    "call": ("calls a group, which may never end", "write out what the group holds"),
}
# Rare letters, and places where no word begins or ends: what is found here without a letter is found anywhere.
_ANY_TEXTS: Final = ("", "ꙮ  ꙮ")


class UnfinishedError(Exception):
    """A search that took too long, or too much memory; `source` is its pattern."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source


def compile(source: str) -> Any:  # noqa: A001 - read with its module, as in `re`
    """Return the pattern of `source`, in the dialect of the package `regex`; case does not matter to it.

    Raise RequestError for what is no pattern, for one of more than `LONGEST` characters, for one that is found in any
    text, and for characters by their code, which might be one that no folded prompt has.
    """
    if len(source) > LONGEST:
        message = f"the pattern has {len(source)} characters; at most {LONGEST} are taken"
        raise RequestError(message, hint="cut it in two")
    for match in _REFUSED.finditer(source):
        if match.lastgroup:
            what, hint = _REASONS[match.lastgroup]
            raise RequestError(f"the pattern {source!r} has {match[0]}, which {what}", hint=hint)
    pattern = _compiled(source)
    if _matches_nothing(pattern):
        raise RequestError(f"the pattern {source!r} is found in every text", hint="make it hold at least one letter")
    return pattern


def spans(pattern: Any, text: str) -> Iterator[tuple[int, int]]:
    """Yield where matches of a compiled pattern begin and end; raise UnfinishedError after `SECONDS` in all."""
    try:
        for match in pattern.finditer(text, timeout=SECONDS):
            yield match.span()
    except (TimeoutError, MemoryError) as error:
        raise UnfinishedError(pattern.pattern) from error


def _compiled(source: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return regex.compile(source, regex.IGNORECASE)
    except RecursionError:
        _refuse(source, "it nests too deep")
    except (regex.error, Warning, OverflowError) as error:
        _refuse(source, str(error))


def _matches_nothing(pattern: Any) -> bool:
    try:
        return any(start == end for text in _ANY_TEXTS for start, end in spans(pattern, text))
    except UnfinishedError:
        _refuse(pattern.pattern, f"it takes more than {SECONDS:g} s over any text")


def _refuse(source: str, reason: str) -> NoReturn:
    raise RequestError(f"the pattern {source!r} is not a valid one: {reason}")
