"""Prompts as a rule looks at them: plain letters, whole words.

Folding follows NFKC_Casefold of the Unicode Standard (section 3.13) without the characters that cannot be seen.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

# Unicode's stream-safe text (UAX 15) has at most 30 marks in a row; ordering longer runs takes quadratic time.
_MARKS: Final = 30
# Fillers that are drawn as nothing although they count as letters or symbols.
_UNSEEN: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# `(apple:1.3)`, `[apple:0.5]` and `(apple)1.3`: what A1111's and compel's ways of writing add to a word.
_WEIGHTS: Final = re.compile(r"\s{0,9}:\s{0,9}[-+]?[\d.]{1,12}\s{0,9}(?=[)\]])|(?<=\))[-+]?[\d.]{1,12}")
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
    """One way of reading a prompt. `joined` has letters in one word that stand apart in the prompt."""

    text: str
    joined: bool = False


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word, and where it stands in the text that it was found in."""

    text: str
    start: int
    end: int


def fold(text: str) -> str:
    """Return `text` in small letters of their plain form, without unseen characters, each white space as one space.

    Full-width, mathematical and other styled letters become the letters that they stand for; accents stay.
    """
    seen = "".join(_seen(text))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join("".join(_seen(folded)).split())


def bare(text: str) -> str:
    """Return folded `text` without the marks on its letters: accents, and whatever else was stacked on them."""
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(each for each in apart if unicodedata.category(each) != "Mn"))


def looks(prompt: str) -> tuple[Look, ...]:
    """Return the ways in which a rule reads `prompt`, no two the same, the plainest first.

    They are: folded; without the weights of A1111 and compel; without marks; and, joined, with the punctuation inside
    words left out (`ap-ple`) or with letters that stand alone put together (`a p p l e`).
    """
    folded = fold(prompt)
    plain = _WEIGHTS.sub("", folded)
    apart = tuple(dict.fromkeys((folded, plain, bare(plain))))
    joined = dict.fromkeys(way(each) for way in (_closed, _spelt) for each in apart)
    return (
        *(Look(text=each) for each in apart),
        *(Look(text=each, joined=True) for each in joined if each not in apart),
    )


def words(text: str, *, symbols: bool = False) -> tuple[Word, ...]:
    """Return the words of folded `text`: letters and digits with their marks; punctuation and spaces part them.

    Each character of a script that leaves no spaces is a word, and so is, with `symbols`, each picture character.
    """
    found = (_WORD_OR_SYMBOL if symbols else _WORD).finditer(_outline(text))
    return tuple(Word(text=text[each.start() : each.end()], start=each.start(), end=each.end()) for each in found)


def has_symbols(text: str) -> bool:
    """Return whether picture characters such as emoji stand in `text`."""
    return any(unicodedata.category(each) == "So" for each in text)


def _seen(text: str) -> Iterator[str]:
    marks = 0
    for each in _SELECTORS.sub("", text):
        kind = unicodedata.category(each)
        if kind in {"Cf", "Cs"} or each in _UNSEEN or (kind == "Cc" and not each.isspace()):
            continue
        marks = marks + 1 if kind in {"Mn", "Mc", "Me"} else 0
        if marks <= _MARKS:
            yield each


def _outline(text: str) -> str:
    """Return a sign for each character: Letter, Digit, Mark, letter of an Unspaced script, Symbol, space, `-` others."""
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
    return _without(text, (each.span() for each in _INSIDE.finditer(_outline(text))))


def _spelt(text: str) -> str:
    """Return `text` with letters that stand alone, three or more in a row, put together."""
    outline = _outline(text)
    runs = (each.span() for each in _SPELT.finditer(outline))
    return _without(text, (each.span() for run in runs for each in _GAP.finditer(outline, *run)))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    kept, end = [], 0
    for first, last in spans:
        kept.append(text[end:first])
        end = last
    return "".join((*kept, text[end:]))
