"""What a model says of itself: the `imggen.json` beside its `model_index.json`."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from imggen.errors import ModelError
from imggen.plan.schema.nearest import misspelt
from imggen.plan.schema.request import ModelFacts

FILE_NAME = "imggen.json"
SCHEMA = 1

_LONGEST_JOINING = 4
_MOST_LISTED = 8
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """A model's own defaults, limits (pixels) and words; None is what it does not say."""

    native_size: tuple[int, int] | None = None
    min_size: int | None = None
    max_size: int | None = None
    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    words: frozenset[str] = field(default_factory=frozenset)
    names: tuple[str, ...] = ()


def read(facts: ModelFacts) -> ModelRecord:
    """Return what the model's record says; raise ModelError for a newer schema and for values of a wrong type.

    Keys that say nothing to a plan (licence, title, figures) are left to whoever shows them.
    """
    values = facts.record
    if not values:
        return ModelRecord()
    schema = values.get("schema")
    if schema != SCHEMA:
        raise _wrong(facts, f"has schema {schema!r}; this imggen reads {SCHEMA}", "pip install --upgrade imggen")
    vocabulary = _vocabulary(facts)
    return ModelRecord(
        native_size=_size(facts),
        min_size=_whole(facts, "min_size"),
        max_size=_whole(facts, "max_size"),
        steps=_whole(facts, "steps"),
        guidance=_number(facts, "guidance"),
        sampler=_text(facts, "sampler"),
        words=frozenset(word for listed in vocabulary.values() for name in listed for word in _split(name)),
        names=tuple(dict.fromkeys(name for group, listed in vocabulary.items() if group != "words" for name in listed)),
    )


def unknown_words(prompt: str, record: ModelRecord, reference: str) -> tuple[str, ...]:
    """Return a note where the model `reference` was not taught all of `prompt`: which words it knows and which not."""
    said = tuple(dict.fromkeys(_split(prompt)))
    strange = [word for word in said if word not in record.words] if record.words else []
    if not strange:
        return ()
    known = _listed([word for word in said if word in record.words and _is_telling(word, record)])
    lacking = _listed([_with_spelling(word, record) for word in strange])
    knows = f"knows {known}, but not {lacking}" if known else f"was not taught {lacking}"
    return (
        f"{reference} {knows}; -m takes another model, `imggen models show {shlex.quote(reference)}` lists its words",
    )


def _is_telling(word: str, record: ModelRecord) -> bool:
    """Return whether a known word stands for something to see, and does not only join others."""
    in_names = {part for name in record.names for part in _split(name)}
    return len(word) > _LONGEST_JOINING or word in in_names or word.removesuffix("s") in in_names


def _with_spelling(word: str, record: ModelRecord) -> str:
    meant = misspelt(word, (*record.names, *sorted(record.words)))
    return f"{word} ({meant}?)" if meant else word


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _MOST_LISTED
    return ", ".join(words[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _split(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _vocabulary(facts: ModelFacts) -> dict[str, list[str]]:
    vocabulary = facts.record.get("vocabulary", {})
    if not isinstance(vocabulary, dict) or not all(_is_list_of_text(words) for words in vocabulary.values()):
        raise _wrong(facts, "has a vocabulary that is not lists of words")
    return vocabulary


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _size(facts: ModelFacts) -> tuple[int, int] | None:
    value = facts.record.get("native_size")
    edges = [value, value] if _is_whole(value) else value
    if edges is None:
        return None
    if not isinstance(edges, list) or len(edges) != 2 or not all(_is_whole(edge) for edge in edges):
        raise _wrong(facts, f"has native_size {value!r}, not a number or two")
    return edges[0], edges[1]


def _whole(facts: ModelFacts, key: str) -> int | None:
    value = facts.record.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or not _is_whole(value):
        raise _wrong(facts, f"has {key} {value!r}, not a number from 1 up")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _number(facts: ModelFacts, key: str) -> float | None:
    value = facts.record.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(facts, f"has {key} {value!r}, not a number")
    return float(value)


def _text(facts: ModelFacts, key: str) -> str | None:
    value = facts.record.get(key)
    if value is not None and not isinstance(value, str):
        raise _wrong(facts, f"has {key} {value!r}, not text")
    return value


def _wrong(facts: ModelFacts, problem: str, hint: str | None = None) -> ModelError:
    return ModelError(f"{facts.folder / FILE_NAME} {problem}", hint=hint)
