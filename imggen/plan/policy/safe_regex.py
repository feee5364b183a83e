"""Regular expressions whose cost is known before they are used: a part of what `re` knows, without its traps.

`re` backtracks, so one careless pattern can take years over one prompt (Davis et al., "The Impact of Regular Expression
Denial of Service (ReDoS) in Practice", 2018). Here nothing repeats without an upper bound, and all the ways in which a
match can be tried are counted when the pattern is read.
"""

import re
import warnings
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

from imggen.errors import RequestError

LONGEST: Final = 500
MOST_STEPS: Final = 2_000

_DEEPEST: Final = 20
_CLASSES: Final = frozenset("dDwWsS")
_EDGES: Final = frozenset("bB")
_COUNTS: Final = re.compile(r"\{(?:([0-9]{1,4})|([0-9]{0,4}),([0-9]{1,4}))\}")
_OPEN_COUNTS: Final = re.compile(r"\{[0-9]*,\}")
# Two of them in a row mean set arithmetic in other dialects, and may in a later `re`.
_ARITHMETIC: Final = ("--", "&&", "~~", "||")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a piece of a pattern may take at one place of a text, at the worst.

    `ways` is how often it can match there, `steps` how many characters are looked at for all of those; `least` is the
    length of its shortest match.
    """

    ways: int
    steps: int
    least: int


_NOTHING: Final = Cost(ways=1, steps=0, least=0)
_ONE: Final = Cost(ways=1, steps=1, least=1)
_EDGE: Final = Cost(ways=1, steps=1, least=0)


def compile(source: str) -> re.Pattern[str]:  # noqa: A001 - read with its module, as in `re`
    r"""Return the pattern of `source`, which takes at most `MOST_STEPS` steps at each place of a text.

    Case does not matter to it. It knows letters, `\` before punctuation, `\b` `\B` `\d` `\D` `\w` `\W` `\s` `\S`, `.`,
    `^`, `$`, `[classes]`, `(groups|alternatives)`, `?`, `{m}` and `{m,n}`. Raise RequestError for everything else, with
    what to write instead, for a pattern that is too costly, and for one that is found in any text.
    """
    if len(source) > LONGEST:
        raise RequestError(
            f"the pattern has {len(source)} characters; at most {LONGEST} are taken", hint="cut it in two"
        )
    cost = measure(source)
    if cost.steps > MOST_STEPS:
        raise RequestError(
            f"the pattern {source!r} may take more than {MOST_STEPS:,} steps at each place of a prompt",
            hint="lower the upper ends of its {m,n}, or cut it in two",
        )
    if not cost.least:
        raise RequestError(f"the pattern {source!r} is found in every text", hint="make it hold a letter at least")
    return _compiled(source)


def measure(source: str) -> Cost:
    """Return what the pattern costs; raise RequestError where it holds what `compile` does not know."""
    reader = _PatternReader(source)
    cost = reader.alternatives()
    if reader.place < len(source):
        raise reader.wrong("has a ) without its (", r"write \) for the character")
    return cost


class _PatternReader:
    """A pattern, and the place up to which it was read."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.place = 0
        self.depth = 0

    def alternatives(self) -> Cost:
        branches = [self._sequence()]
        while self._take("|"):
            branches.append(self._sequence())
        return Cost(
            ways=sum(branch.ways for branch in branches),
            steps=sum(each.steps for each in branches) + len(branches) - 1,
            least=min(each.least for each in branches),
        )

    def _sequence(self) -> Cost:
        pieces = [_NOTHING]
        while self.place < len(self.source) and self.source[self.place] not in "|)":
            pieces.append(self._repeated())
        return reduce(_then, pieces)

    def _repeated(self) -> Cost:
        piece = self._atom()
        counts = self._counts()
        if counts is None:
            return piece
        least, most = counts
        if most < least:
            raise self.wrong(f"has {{{least},{most}}}, which ends before it begins", f"write {{{most},{least}}}")
        if self._next() in ("?", "+", "*", "{"):
            raise self.wrong("repeats a repeat", "write one {m,n}, without ? or + behind it")
        return _times(piece, least, most)

    def _counts(self) -> tuple[int, int] | None:
        if self._take("?"):
            return 0, 1
        if self._next() in ("*", "+"):
            least = 0 if self._next() == "*" else 1
            raise self.wrong(f"repeats without end: {self._next()}", f"write {{{least},20}}")
        if self._next() != "{":
            return None
        found = _COUNTS.match(self.source, self.place)
        if found is None:
            endless = _OPEN_COUNTS.match(self.source, self.place)
            if endless:
                raise self.wrong(f"repeats without end: {endless[0]}", f"write {endless[0][:-1]}20}}")
            raise self.wrong("has a { that counts nothing", r"write {m,n}, or \{ for the character")
        self.place = found.end()
        if found[1] is not None:
            return int(found[1]), int(found[1])
        return int(found[2] or 0), int(found[3])

    def _atom(self) -> Cost:
        character = self.source[self.place]
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character in "?*+{":
            raise self.wrong(f"has a {character} with nothing before it", f"write \\{character} for the character")
        self.place += 1
        if character in "^$":
            return _EDGE
        if character in "]}":
            raise self.wrong(f"has a {character} without its beginning", f"write \\{character} for the character")
        return _ONE

    def _group(self) -> Cost:
        self.place += 1
        if self.source.startswith("?:", self.place):
            self.place += 2
        elif self._next() == "?":
            named = self.source[self.place - 1 : self.place + 3]
            raise self.wrong(
                f"has {named}, a look around, a flag or a named group", "write plain groups: (a|b) or (?:a|b)"
            )
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.wrong(f"has groups more than {_DEEPEST} deep", "cut it in two")
        cost = self.alternatives()
        self.depth -= 1
        if not self._take(")"):
            raise self.wrong("has a ( without its )", r"write \( for the character")
        return cost

    def _class(self) -> Cost:
        began = self.place
        self.place += 1
        self._take("^")
        first = self.place
        while self._next() != "]" or self.place == first:
            if self.place >= len(self.source) or self._next() == "]":
                raise self.wrong("has a [ without its ], or one with nothing in it", r"write \[ for the character")
            if self._next() == "[":
                raise self.wrong("has a [ inside of [ ]", r"write \[ for the character")
            if self.source[self.place : self.place + 2] in _ARITHMETIC:
                raise self.wrong(
                    f"has {self.source[self.place : self.place + 2]} inside of [ ]", "write the character once, with \\"
                )
            if self._next() == "\\":
                self._escape(inside=True)
            else:
                self.place += 1
        self.place += 1
        # `re` may go through what stands in a class one by one.
        return replace(_ONE, steps=1 + (self.place - began) // 16)

    def _escape(self, *, inside: bool = False) -> Cost:
        character = self.source[self.place + 1 : self.place + 2]
        self.place += 2
        if character in _CLASSES or (character and character.isascii() and not character.isalnum()):
            return _ONE
        if character in _EDGES and not inside:
            return _EDGE
        if character.isdigit():
            raise self.wrong(f"refers back to a group: \\{character}", "write out what it may be: (a|b)")
        known = " ".join(f"\\{each}" for each in sorted(_CLASSES | (frozenset() if inside else _EDGES)))
        raise self.wrong(
            f"has \\{character}", f"known: {known}, and \\ before punctuation; letters stand for themselves"
        )

    def _next(self) -> str:
        return self.source[self.place : self.place + 1]

    def _take(self, character: str) -> bool:
        found = self._next() == character
        self.place += found
        return found

    def wrong(self, what: str, hint: str) -> RequestError:
        return RequestError(f"the pattern {self.source!r} {what}", hint=hint)


def _then(first: Cost, second: Cost) -> Cost:
    return Cost(
        ways=first.ways * second.ways,
        steps=first.steps + first.ways * second.steps,
        least=first.least + second.least,
    )


def _times(piece: Cost, least: int, most: int) -> Cost:
    """Return the cost of `least` to `most` of the piece: each way through one of them tries the next."""
    ways = steps = 0
    reached = 1
    for count in range(most + 1):
        ways += reached if count >= least else 0
        steps += reached * (piece.steps + 1) if count < most else 0
        reached *= piece.ways
        if steps > MOST_STEPS or ways > MOST_STEPS:
            # Too much already; the numbers would only grow long.
            return Cost(ways=ways, steps=max(steps, MOST_STEPS + 1), least=piece.least * least)
    return Cost(ways=ways, steps=steps + ways, least=piece.least * least)


def _compiled(source: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(source, re.IGNORECASE)
    except (re.error, Warning, OverflowError) as error:
        raise RequestError(f"the pattern {source!r} is none: {error}") from error
