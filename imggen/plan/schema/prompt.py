"""Prompts with weights: the words, how much each of them counts, and where a new part begins.

The marks are those of AUTOMATIC1111's web UI: `(text)` counts 1.1 times, `[text]` 1.1 times less, `(text:1.3)` 1.3
times, what is nested is multiplied, `BREAK` begins a new part, and a backslash takes a mark as it stands.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, NoReturn

from imggen.errors import RequestError

Syntax = Literal["auto", "weights", "plain"]
"""How what was typed is read: with alternatives and weights, with weights alone, or as it stands."""

Reading = Literal["cut", "chunks", "weights"]
"""How a model reads words: as they stand up to its limit, as they stand and in chunks beyond it, or by their marks."""

AS_IT_STANDS: Final = "--prompt-syntax plain"

_STEP: Final = 1.1
_MOST: Final = 10.0
_DEEPEST: Final = 32
_SHOWN: Final = 36
# Products such as 1.1 / 1.1 are 1 only up to rounding.
_DIGITS: Final = 6
_MARKS: Final = re.compile(
    r"\\(?P<escaped>BREAK\b|[\\()\[\]{}|<>_:$])"
    r"|(?P<turn>\s*\bBREAK\b\s*)"
    r"|(?P<scale>:\s*(?P<number>[-+.,]*\d[-+.,\d]*)\s*(?P<end>[)\]]))"
    r"|(?P<opening>[(\[])"
    r"|(?P<closing>[)\]])"
    r"|(?P<bar>\|)"
    r"|(?P<text>\w+|\s+|.)",
    re.DOTALL,
)
_NUMBER: Final = re.compile(r"[-+]?(\d+(?:\.\d*)?|\.\d+)")
_SPECIAL: Final = re.compile(r"[\\()\[\]{}|]|_(?=_)|(?<=_)_|<(?=(?:lora|lyco|hypernet):)|\bBREAK\b")
_CLOSES: Final = {")": "(", "]": "["}


@dataclass(frozen=True, kw_only=True)
class PromptPart:
    """Some words, and how much they count: 1 is as the model has it."""

    text: str
    weight: float = 1.0


Part = tuple[PromptPart, ...]


def parts(text: str, name: str = "the prompt") -> tuple[Part, ...]:
    """Return the pieces of `text`, in parts that `BREAK` separates; never none.

    Raise RequestError for brackets that do not match, for weights beyond 10, and for what the web UI has besides and
    imggen has not: words that change from step to step. `name` is what messages call the text.
    """
    reader = _Held(text, name)
    for mark in _MARKS.finditer(text):
        reader.take(mark)
    return reader.parts()


def words(text: str) -> str:
    """Return `text` without its marks: what the encoder reads of it."""
    return plain(parts(text))


def plain(prompt_parts: Iterable[Part]) -> str:
    """Return the words of all parts."""
    return " ".join("".join(piece.text for piece in part) for part in prompt_parts)


def is_plain(prompt_parts: tuple[Part, ...]) -> bool:
    """Return whether all words count alike and stand in one part."""
    return len(prompt_parts) == 1 and all(piece.weight == 1 for piece in prompt_parts[0])


def escape(text: str) -> str:
    """Return `text` such that whatever reads its marks has it back as it stands."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def unweighted(text: str, family: str, name: str = "the prompt") -> str:
    """Return the words of `text` for a family whose encoder knows no weights: bare brackets are part of the words.

    Raise RequestError that names the `family` for a weight that is written out, and for `BREAK`.
    """
    depth, kept = 0, []
    for mark in _MARKS.finditer(text):
        kind = mark.lastgroup
        depth += (kind == "opening") - (kind == "closing" and depth > 0)
        weighs = kind == "scale" and depth and mark["end"] == ")" and _NUMBER.fullmatch(mark["number"])
        depth -= kind == "scale" and depth > 0
        if kind == "turn" or weighs:
            what = "BREAK" if kind == "turn" else f"the weight {mark['number']}"
            spot = Spot(text=text, at=mark.end() - len(mark[0].lstrip()), name=name)
            hint = f"leave it out, or {AS_IT_STANDS} for words as they stand"
            fault(f"{what} means nothing to {family}, whose encoder reads a prompt as a whole", spot, hint=hint)
        kept.append(mark["escaped"] or mark[0])
    return "".join(kept)


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A place in a text, for messages: `name` says which text it is."""

    text: str
    at: int
    name: str


def fault(message: str, spot: Spot, *, mark: str = "", hint: str | None = None) -> NoReturn:
    """Raise the RequestError that shows the place with a caret under it; for a `mark`, the hint is how to escape it."""
    if mark:
        hint = f"\\{mark} is the mark itself; {AS_IT_STANDS} takes all words as they stand"
    before, after = spot.text[: spot.at], spot.text[spot.at :]
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2])
    start, end = before.rpartition("\n")[2], after.partition("\n")[0]
    shown = ("…" + start[-_SHOWN:] if len(start) > _SHOWN else start, end[:_SHOWN] + "…" * (len(end) > _SHOWN))
    place = f"line {line}, column {column + 1}" if "\n" in spot.text else f"column {column + 1}"
    quoted = "".join(shown).replace("\t", " ")
    raise RequestError(f"{spot.name}, {place}: {message}\n  {quoted}\n  {' ' * len(shown[0])}^", hint=hint)


@dataclass(kw_only=True)
class _Item:
    """A piece that is still being weighed; `text` None is where a part ends."""

    text: str | None
    at: int
    weight: float = 1.0


class _Held:
    """What was read of a text so far, and which brackets are open."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._items: list[_Item] = []
        self._open: list[tuple[str, int, int]] = []

    def take(self, mark: re.Match[str]) -> None:
        at = mark.start()
        match mark.lastgroup:
            case "turn":
                self._items.append(_Item(text=None, at=at))
            case "opening":
                self._enter(mark[0], at)
            case "closing":
                self._leave(mark[0], at, _STEP if mark[0] == ")" else 1 / _STEP)
            case "scale":
                self._scale(mark)
            case "bar" if self._open and self._open[-1][0] == "[":
                self._refuse_steps(at)
            case _:
                self._items.append(_Item(text=mark["escaped"] or mark[0], at=at))

    def parts(self) -> tuple[Part, ...]:
        if self._open:
            bracket, at, _ = self._open[-1]
            self._fault(f"this {bracket} is never closed", at, bracket)
        return tuple(tuple(_merged(part)) for part in self._parted())

    def _enter(self, bracket: str, at: int) -> None:
        if len(self._open) == _DEEPEST:
            self._fault(f"brackets stand more than {_DEEPEST} deep", at, bracket)
        self._open.append((bracket, at, len(self._items)))

    def _leave(self, bracket: str, at: int, factor: float) -> None:
        if not self._open:
            self._fault(f"this {bracket} closes nothing", at, bracket)
        opening, _, first = self._open.pop()
        if opening != _CLOSES[bracket]:
            self._fault(f"this {bracket} closes a {opening}", at, bracket)
        for item in self._items[first:]:
            item.weight *= factor

    def _scale(self, mark: re.Match[str]) -> None:
        end, number, at = mark["end"], mark["number"], mark.start()
        inside = self._open[-1][0] if self._open else None
        if inside == "[" and end == "]":
            self._refuse_steps(at)
        if inside != "(" or end != ")":
            self._items.append(_Item(text=mark[0][:-1], at=at))
            self._leave(end, mark.start("end"), _STEP if end == ")" else 1 / _STEP)
            return
        if not _NUMBER.fullmatch(number):
            self._fault(f"{number} is not a weight; a weight looks like (text:1.3)", mark.start("number"), ":")
        self._leave(end, at, float(number))

    def _refuse_steps(self, at: int) -> None:
        steps = "words that change from step to step ([a:b:0.5], [a|b])"
        self._fault(f"{steps} are not supported; [text] makes words count less", at, "[")

    def _parted(self) -> Iterator[list[_Item]]:
        part: list[_Item] = []
        for item in self._items:
            # Also where it is none: 0 times a number too long to be one.
            if not abs(item.weight) <= _MOST:
                self._fault(f"a weight of {item.weight:g} is beyond {_MOST:g}", item.at, "(")
            if item.text is None:
                yield part
                part = []
            else:
                part.append(item)
        yield part

    def _fault(self, message: str, at: int, mark: str) -> NoReturn:
        fault(message, Spot(text=self._text, at=at, name=self._name), mark=mark)


def _merged(part: list[_Item]) -> Iterator[PromptPart]:
    for weight, pieces in groupby(part, key=lambda piece: round(piece.weight, _DIGITS)):
        yield PromptPart(text="".join(piece.text or "" for piece in pieces), weight=weight)
