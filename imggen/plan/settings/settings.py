"""Layers of a request: command line, environment, preset and config, each checked, the higher one over the lower."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from imggen.errors import RequestError
from imggen.plan.case import COMMAND_LINE
from imggen.plan.schema import formats, strict, toml
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.schema.strict import KeyPath

ENVIRONMENT: Final = "environment"
PREFIX: Final = "IMGGEN_"
SEPARATOR: Final = ";"
"""Between the values of a variable that has several: neither a path nor a scale is likely to hold one."""
CONFIG_NAME: Final = "config.toml"
RUNNING: Final = ("preset", "as_json", "quiet", "verbose", "dry_run", "show_preview", "print0")
"""The options of a command that are not its request's: how it runs, and how results are shown."""

_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")
# Fields that only a person at the command line, a recipe or imggen itself fills.
_PRIVATE: Final = (
    *("origin", "vae_tile", "from_file", "task", "images", "frame", "mask", "mask_box", "pad", "weights", "like"),
    *("alt", "policy", "consent", "reading", "preprocessors"),
)
# A number is as good as its text for these: TOML writers leave the quotes out.
_NUMBERS_AS_TEXT: Final = ("seed", "size")


@dataclass(frozen=True, kw_only=True)
class SettingsLayer:
    """What one origin says: a request whose `origin` names it per field, and the preset that it asks for."""

    request: GenerateRequest
    preset: str | None = None


def names() -> tuple[str, ...]:
    """Return the names of the request's fields that the environment, a preset or the config may set."""
    return tuple(member.name for member in fields(GenerateRequest) if member.name not in _PRIVATE)


def choices(name: str) -> tuple[str, ...]:
    """Return the only values that the field `name` can have, none where there is no such list."""
    kind = _kind(name)
    return get_args(kind) if get_origin(kind) is Literal else ()


def from_command_line(options: Mapping[str, object]) -> GenerateRequest:
    """Return the request that `options` make (see `typed`).

    Raise RequestError for an empty model, which a script's unset variable makes: it does not ask for the built-in one.
    """
    values = typed(options, GenerateRequest)
    if values.get("model") == "":
        raise RequestError("--model is empty", hint="--model builtin, or leave it out")
    return _request(values, COMMAND_LINE)


def typed(options: Mapping[str, object], request: type) -> dict[str, object]:
    """Return the options that somebody typed, lists as tuples, by their fields of the dataclass `request`.

    Raise TypeError for an option that is neither one of its fields nor in `RUNNING`: it would be dropped in silence.
    """
    known = {member.name for member in fields(request)} - {"origin"}
    unknown = options.keys() - known - {*RUNNING}
    if unknown:
        raise TypeError(f"{request.__name__} has no field for {', '.join(sorted(unknown))}")
    # An option that may be repeated and was not is an empty list.
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if name in known and value is not None and value != []
    }


def from_environment(environ: Mapping[str, str]) -> SettingsLayer:
    """Return what the `IMGGEN_*` variables say; an empty one says nothing.

    Raise RequestError that names the variable for a value that its field cannot have.
    """
    values: dict[str, object] = {}
    for name in names():
        variable = PREFIX + name.upper()
        if environ.get(variable):
            place = KeyPath(subject=f"environment variable {variable}", limits={})
            values[name] = _parse(name, environ[variable], place)
    return SettingsLayer(request=_request(values, ENVIRONMENT), preset=environ.get(PREFIX + "PRESET") or None)


def strange_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return a note per `IMGGEN_*` variable that imggen does not know, with the nearest one that it does."""
    known = {PREFIX + name.upper() for name in (*names(), "preset", "keys", "policy")}
    strange = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    guesses = [(name, nearest(name, known)) for name in strange]
    unknown = "is set, and imggen does not know it"
    return tuple(f"{name} {unknown}" + (f"; the nearest is {guess[0]}" if guess else "") for name, guess in guesses)


def from_file(path: Path, origin: str, *, extra: tuple[str, ...] = ()) -> tuple[GenerateRequest, dict[str, str]]:
    """Return what the TOML file `path` says, and the texts under the keys in `extra`.

    Raise RequestError that names the file for what is not TOML, for an unknown key (with the nearest known one) and for
    a value that its field cannot have.
    """
    table = toml.read(path)
    place = KeyPath(subject=str(path), limits={})
    strict.check_keys(place, table, dict.fromkeys((*names(), *extra), False))
    texts = {key: strict.read(str, table[key], place.member(key)) for key in extra if key in table}
    values = {key: _value(key, value, place.member(key)) for key, value in table.items() if key not in extra}
    return _request(values, origin), texts


def from_config(folder: Path) -> SettingsLayer:
    """Return what `config.toml` in the user's config folder says; nothing where there is none."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        return SettingsLayer(request=GenerateRequest())
    request, texts = from_file(path, f"config {path}", extra=("preset",))
    return SettingsLayer(request=request, preset=texts.get("preset"))


def layer(above: GenerateRequest, below: GenerateRequest) -> GenerateRequest:
    """Return `above` with its blanks filled from `below`.

    What `below` says gives way where it would contradict what `above` says in other words (a size and a width).
    """
    dropped = {*_dropped_sizes(above, below), *_dropped_seeds(above, below)}
    if above.output is not None and PurePath(above.output).suffix.lower() in formats.SUFFIXES:
        dropped.add("format")
    filled = {
        name: getattr(below, name)
        for name in names()
        if getattr(above, name) is None and getattr(below, name) is not None and name not in dropped
    }
    origin = above.origin | {name: below.origin[name] for name in filled if name in below.origin}
    return replace(above, **filled, origin=origin)


def _request(values: Mapping[str, object], origin: str) -> GenerateRequest:
    return GenerateRequest(**values, origin=dict.fromkeys(values, origin))  # type: ignore[arg-type]  # checked by name


def _dropped_sizes(above: GenerateRequest, below: GenerateRequest) -> tuple[str, ...]:
    edges = [name for name in ("width", "height") if getattr(above, name) is not None]
    if above.size is None and above.aspect is None and not edges:
        return ()
    if len(edges) == 1 and above.size is None and below.width is None and below.height is None:
        return ("size",)
    return ("size", "aspect", "width", "height")


def _dropped_seeds(above: GenerateRequest, below: GenerateRequest) -> tuple[str, ...]:
    dropped = ("num_images",) if _lists_many(above.seed) else ()
    return (*dropped, "seed") if above.num_images is not None and _lists_many(below.seed) else dropped


def _lists_many(seed: str | None) -> bool:
    return seed is not None and any(mark in seed for mark in (",", "-", ".."))


def _kind(name: str) -> Any:
    """Return what a field holds when it is not None: a type, or a Literal."""
    hint = get_type_hints(GenerateRequest)[name]
    return next(option for option in get_args(hint) if option is not type(None))


def _parse(name: str, written: str, place: KeyPath) -> object:
    """Return the value that a text means for the field `name`."""
    kind = _kind(name)
    if get_origin(kind) is tuple:
        return tuple(piece for part in written.split(SEPARATOR) if (piece := part.strip()))
    if kind is bool and written.lower() not in (*_TRUE, *_FALSE):
        raise RequestError(f"{place} is {written!r}, neither true nor false", hint="write true or false")
    if kind is bool:
        return written.lower() in _TRUE
    value: object = written
    if kind in (int, float):
        with suppress(ValueError):
            value = kind(written)
    return _value(name, value, place)


def _value(name: str, value: object, place: KeyPath) -> object:
    """Return what a file or a variable says of the field `name`; raise RequestError for another type than its own."""
    kind = _kind(name)
    if get_origin(kind) is tuple and isinstance(value, str):
        value = [value]
    if name in _NUMBERS_AS_TEXT and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return strict.read(kind, value, place)
