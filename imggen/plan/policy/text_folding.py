"""Prompts as a rule looks at them: plain letters, whole words.

Folding follows NFKC_Casefold of the Unicode Standard (section 3.13) without the characters that cannot be seen.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

# Unicode's stream-safe text (UAX 15) has at most 30 marks in a row; ordering longer runs takes quadratic time.
_MARKS: Final = 30
# Fillers that are drawn as nothing although they count as letters or symbols.
_UNSEEN: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# What people and word processors write for the quotes and dashes of ASCII.
_TYPED: Final = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u02bc\u0060\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
# `(apple:1.3)`, `[apple:0.5]` and `(apple)1.3`: what A1111's and compel's ways of writing add to a word.
_WEIGHTS: Final = re.compile(r"\s{0,9}:\s{0,9}[-+]?[\d.]{1,9}\s{0,9}(?=[)\]])|(?<=\))[-+]?[\d.]{1,9}")
# Scripts that leave no space between words: Thai, Lao, Myanmar, Khmer, kana and Han. Each character is a word.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)
# The rest reads outlines (see `_outline`), one sign a character.
_WORD: Final = re.compile("[LD][LDM]*|UM*")
_WORD_OR_SYMBOL: Final = re.compile("[LD][LDM]*|UM*|S")
_INSIDE: Final = re.compile("(?<=[LDM])[-S]+(?=[LD])")
_GAP: Final = re.compile("[- S]+")
_SPELT: Final = re.compile("(?<![LDM])LM*(?:[- S]+LM*(?![LDM])){2,}")


@dataclass(frozen=True, kw_only=True)
class Look:
    """One way of reading a prompt.

    `weighted` still has the numbers that weigh words; `bare` has no accents; `joined` has letters in one word that
    stand apart in the prompt.
    """

    text: str
    weighted: bool = False
    bare: bool = False
    joined: bool = False


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word, and where it stands in the text that it was found in."""

    text: str
    start: int
    end: int


def fold(text: str) -> str:
    """Return `text` in small letters of their plain form, without unseen characters, white space as single spaces.

    Quotes and dashes become those of ASCII; full-width, mathematical and other styled letters become the letters that
    they stand for; accents stay.
    """
    seen = "".join(_seen(text)).translate(_TYPED)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join("".join(_seen(folded)).translate(_TYPED).split())


def bare(text: str) -> str:
    """Return folded `text` without accents on Latin and Greek letters, and without what is stacked on any letter.

    Where a mark makes another letter of another script (Cyrillic short i, kana with a voice mark), it stays.
    """
    together = unicodedata.normalize("NFC", text)
    return "".join(_base(character) for character in together if unicodedata.category(character) != "Mn")


def looks(prompt: str) -> tuple[Look, ...]:
    """Return the ways in which a rule reads `prompt`, no two the same, the plainest first.

    They are: without the weights of A1111 and compel; with them; without accents; and, joined, with the punctuation
    inside words left out (`ap-ple`) or with letters that stand alone put together (`a p p l e`).
    """
    folded = fold(prompt)
    plain = _WEIGHTS.sub("", folded)
    plain_looks = [Look(text=plain), Look(text=folded, weighted=True), Look(text=bare(plain), bare=True)]
    joined = (replace(look, text=way(look.text), joined=True) for look in plain_looks[::2] for way in (_closed, _spelt))
    unique: dict[str, Look] = {}
    for look in (*plain_looks, *joined):
        unique.setdefault(look.text, look)
    return tuple(unique.values())


def words(text: str, *, symbols: bool = False) -> tuple[Word, ...]:
    """Return the words of folded `text`: letters and digits with their marks; punctuation and spaces part them.

    Each character of a script that leaves no spaces is a word, and so is, with `symbols`, each picture character.
    """
    matches = (_WORD_OR_SYMBOL if symbols else _WORD).finditer(_outline(text))
    spans = (match.span() for match in matches)
    return tuple(Word(text=text[first:last], start=first, end=last) for first, last in spans)


def has_symbols(text: str) -> bool:
    """Return whether picture characters such as emoji stand in `text`."""
    return any(unicodedata.category(character) == "So" for character in text)


def _seen(text: str) -> Iterator[str]:
    marks = 0
    for character in _SELECTORS.sub("", text):
        kind = unicodedata.category(character)
        if kind in {"Cf", "Cs"} or character in _UNSEEN or (kind == "Cc" and not character.isspace()):
            continue
        marks = marks + 1 if kind in {"Mn", "Mc", "Me"} else 0
        if marks <= _MARKS:
            yield character


def _base(letter: str) -> str:
    first = letter if letter.isascii() else unicodedata.normalize("NFD", letter)[0]
    return first if unicodedata.name(first, "").startswith(("LATIN", "GREEK")) else letter


def _outline(text: str) -> str:
    """Return a sign a character: Letter, Digit, Mark, letter of an Unspaced script, Symbol, space; `-` for others."""
    return "".join(map(_sign, text))


def _sign(character: str) -> str:
    if character.isspace():
        return " "
    kind = unicodedata.category(character)
    if kind[0] == "M":
        return "M"
    if _UNSPACED.match(character):
        return "U"
    if kind == "So":
        return "S"
    return {"L": "L", "N": "D"}.get(kind[0], "-")


def _closed(text: str) -> str:
    """Return `text` without the punctuation that has a letter or digit on either side."""
    return _without(text, (match.span() for match in _INSIDE.finditer(_outline(text))))


def _spelt(text: str) -> str:
    """Return `text` with letters that stand alone, three or more in a row, put together."""
    outline = _outline(text)
    runs = (match.span() for match in _SPELT.finditer(outline))
    return _without(text, (match.span() for run in runs for match in _GAP.finditer(outline, *run)))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    kept, end = [], 0
    for first, last in spans:
        kept.append(text[end:first])
        end = last
    return "".join((*kept, text[end:]))
