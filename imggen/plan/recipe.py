"""The recipe: what a picture was made from, as strict JSON, and its hash."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NoReturn

from imggen.errors import RequestError
from imggen.plan.change import Axes, Change, Edit, Role
from imggen.plan.nearest import nearest

SCHEMA = 2
MAX_CHARACTERS = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A picture that went into another one.

    `sha256` is its file's, `weight` its share among the parents of a child. `source_type` is its own IPTC digital source
    type (a URI), None where it stated none; `recipe` what it was made from itself, where that is known.
    """

    role: Role
    sha256: str
    width: int
    height: int
    weight: float | None = None
    source_type: str | None = None
    recipe: "Recipe | None" = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one picture's pixels depend on, plus the versions that made them.

    One recipe makes one picture. `model` is the reference to ask for again; `model_hash` is the sha256 over the
    model's weight files (see `engine/store.py`); `versions` names imggen, torch and diffusers.
    """

    task: str
    prompt: str
    negative_prompt: str
    model: str
    model_revision: str | None
    model_hash: str
    family: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    sampler: str
    device: str
    dtype: str
    attention_slicing: str
    vae_tile: int
    offload: str
    versions: dict[str, str] = field(default_factory=dict)
    tile: Axes | None = None
    change: Change | None = None
    ingredients: tuple[Ingredient, ...] = ()
    edits: tuple[Edit, ...] = ()
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the recipe as one line of strict JSON: sorted keys, ASCII only, no NaN."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))

    def sha256(self) -> str:
        """Return the hex SHA-256 of the recipe's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def parse(text: str) -> Recipe:
    """Return the recipe that `text` holds; raise RequestError where it is none that this version can read.

    The schema number is looked at first, so that a newer imggen's recipe is called newer, not wrong. Unknown, missing
    and repeated keys, numbers that JSON does not know (NaN) and values of another type are refused by name.
    """
    values = _load(text)
    _check_schema(values.pop("schema", None))
    _check_keys(set(values))
    checked: dict[str, Any] = {name: _checked(name, value) for name, value in values.items()}
    return Recipe(**checked)


def _load(text: str) -> dict[str, object]:
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"the recipe has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        values = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the recipe is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise RequestError(f"the recipe is a JSON {type(values).__name__}, not an object")
    return values


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"the recipe gives {repeated!r} more than once")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(f"the recipe holds {name}, which is not a number")


def _check_schema(schema: object) -> None:
    if schema is None:
        raise RequestError("the recipe has no schema number")
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        raise RequestError(f"the recipe's schema is {schema!r}, not a number from 1 up")
    if schema > SCHEMA:
        raise RequestError(
            f"the recipe has schema {schema}; this imggen reads up to {SCHEMA}", hint="pip install --upgrade imggen"
        )


def _check_keys(names: set[str]) -> None:
    known = {each.name for each in fields(Recipe)} - {"schema"}
    unknown = sorted(names - known)
    if unknown:
        near = nearest(unknown[0], known)
        raise RequestError(
            f"the recipe has an unknown key {unknown[0]!r}",
            hint=f"the nearest known key is {near[0]}" if near else None,
        )
    missing = sorted(known - names - {"versions"})
    if missing:
        raise RequestError(f"the recipe lacks {', '.join(missing)}")


_LEAST = {"width": 1, "height": 1, "steps": 1, "seed": 0, "vae_tile": 0}


def _checked(name: str, value: object) -> object:
    kind = _KINDS[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise RequestError(f"the recipe's {name} is {_shortened(value)}, not {_called(kind)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"the recipe's {name} is not finite")
    if isinstance(value, int) and value < _LEAST[name]:
        raise RequestError(f"the recipe's {name} is {value}; the least is {_LEAST[name]}")
    if isinstance(value, dict) and not all(isinstance(each, str) for each in value.values()):
        raise RequestError(f"the recipe's {name} holds something that is not text")
    return value


_KINDS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "prompt": str,
    "negative_prompt": str,
    "model": str,
    "model_revision": (str, type(None)),
    "model_hash": str,
    "family": str,
    "width": int,
    "height": int,
    "steps": int,
    "guidance": float,
    "seed": int,
    "sampler": str,
    "device": str,
    "dtype": str,
    "attention_slicing": str,
    "vae_tile": int,
    "offload": str,
    "versions": dict,
}


def _called(kind: type | tuple[type, ...]) -> str:
    names = {str: "text", int: "a whole number", float: "a number", dict: "an object"}
    return "text or null" if isinstance(kind, tuple) else names[kind]


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
