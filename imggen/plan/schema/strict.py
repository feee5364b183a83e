"""JSON or TOML held against a dataclass: nothing unknown, nothing missing, nothing of another kind or range."""

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from imggen.errors import RequestError
from imggen.plan.schema.nearest import nearest

_Kind = TypeVar("_Kind")

# Whole numbers beyond it are not all of them floats.
_LARGEST_EXACT = 1 << 53
_CALLED: dict[object, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a value must be beyond its type: at least, above, at most, or, for a text, all of it matched by a pattern.

    `longest` is how many characters a text may have.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    longest: int | None = None
    pattern: str | None = None
    called: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyPath:
    """Where a value stands, for messages: `the recipe's change.strength`.

    `limits` are by the name of a field, whichever object it is in; `pad[2]` is for the third value of several.
    """

    subject: str
    limits: Mapping[str, Limit]
    path: str = ""

    def __str__(self) -> str:
        return f"{self.subject}'s {self.path}" if self.path else self.subject

    def member(self, name: str) -> "KeyPath":
        """Return the place of an object's field."""
        return replace(self, path=f"{self.path}.{name}" if self.path else name)

    def item(self, number: int) -> "KeyPath":
        """Return the place of one value of several."""
        return replace(self, path=f"{self.path}[{number}]")

    @property
    def limit(self) -> Limit:
        """What holds here; for one value of several, what holds for all of them unless it has its own."""
        name = self.path.rpartition(".")[2]
        return self.limits.get(name) or self.limits.get(name.partition("[")[0]) or Limit()


def check_schema(values: Mapping[str, object], place: KeyPath, newest: int) -> int:
    """Return the object's schema number; raise RequestError where it is none from 1 to `newest`.

    It is looked at first, so that a newer imggen's file is called newer, not wrong.
    """
    schema = values.get("schema")
    if schema is None:
        raise RequestError(f"{place} has no schema number", hint=f"schema = {newest}")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise RequestError(f"{place.member('schema')} is {_shortened(schema)}, not a whole number from 1 up")
    if schema > newest:
        message = f"{place} has schema {schema}; this imggen reads up to {newest}"
        raise RequestError(message, hint="pip install --upgrade imggen")
    return schema


def build(kind: type[_Kind], values: Mapping[str, object], place: KeyPath) -> _Kind:
    """Return the dataclass `kind` with the values; raise RequestError that names the first one that does not fit."""
    known = fields(kind)  # type: ignore[arg-type]  # callers pass dataclasses
    optional = [member.name for member in known if (member.default, member.default_factory) != (MISSING, MISSING)]
    check_keys(place, values, {member.name: member.name not in optional for member in known})
    hints = _hints(kind)  # type: ignore[arg-type]  # every class is hashable
    return kind(**{name: read(hints[name], value, place.member(name)) for name, value in values.items()})


def check_keys(place: KeyPath, values: Mapping[str, object], known: Mapping[str, bool]) -> None:
    """Raise RequestError for a key that is not `known`, and for a known one that is required and not there."""
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        near = nearest(unknown[0], known)
        message = f"{place} has an unknown key {_shortened(unknown[0])}"
        hint = f"the nearest known key is {near[0]}" if near else f"known keys: {', '.join(known)}"
        raise RequestError(message, hint=hint)
    missing = sorted(name for name, required in known.items() if required and name not in values)
    if missing:
        raise RequestError(f"{place} lacks {', '.join(missing)}")


def read(kind: Any, value: object, place: KeyPath) -> Any:
    """Return the value as the annotation `kind` has it: lists as tuples, objects as dataclasses."""
    if get_origin(kind) not in (Union, UnionType):
        return _present(kind, value, place, "")
    if value is None:
        return None
    (kind,) = (option for option in get_args(kind) if option is not NoneType)
    return _present(kind, value, place, " or null")


def _present(kind: Any, value: object, place: KeyPath, otherwise: str) -> Any:
    origin = get_origin(kind)
    if origin is Literal:
        return _one_of(get_args(kind), value, place)
    if origin is tuple:
        return _several(get_args(kind), value, place, otherwise)
    if is_dataclass(kind) or origin is dict:
        if not isinstance(value, dict):
            raise _wrong(place, value, "an object" + otherwise)
        return build(kind, value, place) if isinstance(kind, type) and is_dataclass(kind) else _texts(value, place)
    return _scalar(kind, value, place, otherwise)


def _one_of(allowed: tuple[str, ...], value: object, place: KeyPath) -> object:
    if value in allowed:
        return value
    near = nearest(value, allowed) if isinstance(value, str) else ()
    hint = "; ".join([*(f"the nearest known one is {name}" for name in near), f"known: {', '.join(allowed)}"])
    raise RequestError(f"{place} is {_shortened(value)}, which this imggen does not know", hint=hint)


def _several(kinds: tuple[Any, ...], value: object, place: KeyPath, otherwise: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _wrong(place, value, "a list" + otherwise)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise RequestError(f"{place} has {len(value)} values, not {len(kinds)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(read(kind, item, place.item(number)) for number, (kind, item) in pairs)


def _texts(value: dict[str, object], place: KeyPath) -> dict[str, object]:
    if not all(isinstance(text, str) for text in value.values()):
        raise RequestError(f"{place} holds something that is not text")
    return value


def _scalar(kind: type, value: object, place: KeyPath, otherwise: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_EXACT:
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise _wrong(place, value, _CALLED[kind] + otherwise)
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{place} is {value}, not a finite number")
    _check_limit(place, value, place.limit)
    return value


def _check_limit(place: KeyPath, value: object, limit: Limit) -> None:
    if isinstance(value, str) and limit.pattern is not None and not re.fullmatch(limit.pattern, value):
        raise _wrong(place, value, limit.called)
    if isinstance(value, str) and limit.longest is not None and len(value) > limit.longest:
        raise RequestError(f"{place} has {len(value):,} characters; at most {limit.longest:,} are read")
    if not isinstance(value, int | float):
        return
    if limit.least is not None and value < limit.least:
        raise RequestError(f"{place} is {value}; the least is {limit.least}")
    if limit.above is not None and value <= limit.above:
        raise RequestError(f"{place} is {value}, not above {limit.above}")
    if limit.most is not None and value > limit.most:
        raise RequestError(f"{place} is {value}; the most is {limit.most}")


# It takes longer than all that is done with it, and there may be hundreds of objects of a kind.
_hints = cache(get_type_hints)


def _wrong(place: KeyPath, value: object, kind: str) -> RequestError:
    return RequestError(f"{place} is {_shortened(value)}, not {kind}")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
