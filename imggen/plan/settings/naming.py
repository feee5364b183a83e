"""What the files are called: the `-o` template and its fields."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date as Date
from pathlib import PurePath
from string import Formatter
from typing import get_type_hints

from imggen.errors import RequestError
from imggen.plan.schema import formats
from imggen.plan.schema.formats import FORMATS, SUFFIXES, ImageFormat
from imggen.plan.schema.nearest import nearest

STDOUT = "-"
DEFAULT = "{prompt}-{seed}"
WORDLESS = "picture-{seed}"
SLUG_CHARACTERS = 60
SLUG_BYTES = 150

_FOREIGN_SUFFIXES = frozenset(
    (".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jxl", ".pdf", ".ppm", ".svg")
)
_SPECS = {int: r"(0[1-9]d?)?", float: "", str: r"(\.[1-9][0-9]?)?", Date: ""}
_FIELD = re.compile(r"\{[^{}]*\}")
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])")


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a template may say about a picture that words made: its fields are the ones that `expand` knows.

    `index` counts from 1 within the run; `date` is the day in UTC.
    """

    seed: int
    index: int
    prompt: str
    model: str
    width: int
    height: int
    steps: int
    sampler: str
    date: Date


@dataclass(frozen=True, kw_only=True)
class NamedAfter(Named):
    """What a template may say about a picture that words and a given picture made; `stem` is as of `stem()`."""

    stem: str


@dataclass(frozen=True, kw_only=True)
class NamedEnlarged:
    """What a template may say about a picture that is a larger one of a given picture.

    `stem` is as of `stem()`; `width` and `height` are the result's, `scale` says how many times larger it is; `index`
    counts from 1 within the run; `date` is the day in UTC.
    """

    stem: str
    index: int
    width: int
    height: int
    scale: float
    model: str
    date: Date


def format_of(template: str) -> ImageFormat | None:
    """Return the format that the template's suffix names, None where it names none; refuse one that is not written."""
    suffix = PurePath(template).suffix.lower()
    if suffix in _FOREIGN_SUFFIXES:
        written = formats.either(row.suffix for row in FORMATS.values())
        raise RequestError(f"imggen does not write {suffix} files", hint=f"use {written}")
    return SUFFIXES.get(suffix)


def suffixed(template: str, file_format: ImageFormat) -> str:
    """Return the template with the format's suffix where the name at its end has none; what a field says is none."""
    bare = _FIELD.sub("x", template)
    name = re.split(r"[/\\]", bare)[-1]
    return template + FORMATS[file_format].suffix if "." not in name and any(map(str.isalnum, name)) else template


def stem(name: str) -> str:
    """Return the name of a given picture without its folder and suffix; `stdin` for the one from standard input."""
    return "stdin" if name == STDOUT else PurePath(name).stem


def expand(
    template: str | None,
    pictures: Sequence[Named | NamedEnlarged],
    file_format: ImageFormat,
    *,
    folder: bool = False,
    default: str = DEFAULT,
) -> tuple[PurePath, ...]:
    """Return one path per picture.

    `template` is a file, a folder (it ends with a slash, or `folder` says that it is one that exists), or either with
    fields in braces: the names of the pictures' own fields, such as `{seed}` of one that words made, where whole
    numbers take a width (`{index:03}`) and texts a length (`{prompt:.20}`); `{{` is a brace. None is the name
    `default`, itself a template, in the current folder. Texts become slugs: lower-case words joined by `-`; only a stem
    stays as it is, but for what separates folders or commands terminals. Names that would repeat are numbered: three
    pictures of `cat.png` are `cat-1.png`, `cat-2.png`, `cat-3.png`. All pictures are of one type.
    Raises RequestError for unknown fields, and where a path would leave the folder that stands before the first field.
    """
    whole = _whole(template, default + FORMATS[file_format].suffix, folder=folder)
    parts = _parse(whole, _kinds(type(pictures[0]) if pictures else Named))
    _check_inside(whole, parts)
    filled = ["".join(part.literal + _value(part, picture) for part in parts) for picture in pictures]
    return tuple(_numbered([PurePath(name) for name in filled]))


def slug(text: str, otherwise: str) -> str:
    """Return `text` as lower-case words joined by `-`, at most 60 characters; `otherwise` where nothing is left.

    Letters, digits and the marks on them stay, in any script. 60 letters of some scripts would be more bytes than a
    file's name may have, so bytes are bounded as well. A name that Windows keeps for a device gets a `-`.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    letters = "".join(character if unicodedata.category(character)[0] in "LNM" else " " for character in folded)
    joined = "-".join(word for word in letters.split() if any(map(str.isalnum, word)))
    if len(joined) > SLUG_CHARACTERS:
        joined = joined[: SLUG_CHARACTERS + 1].rpartition("-")[0] or joined[:SLUG_CHARACTERS]
    joined = joined.encode()[:SLUG_BYTES].decode(errors="ignore")
    if _DEVICE_NAMES.fullmatch(joined):
        return joined + "-"
    return joined or otherwise


def _whole(template: str | None, name: str, *, folder: bool) -> str:
    if template is None:
        return name
    if not template or "\0" in template:
        raise RequestError(f"{template!r} is not a name for a file", hint="-o apple.png")
    if template.endswith(("/", "\\")) or folder:
        return template.rstrip("/\\") + "/" + name if template.rstrip("/\\") else "/" + name
    return template


@dataclass(frozen=True, kw_only=True)
class _Part:
    literal: str
    field: str | None
    spec: str


def _kinds(named: type[Named | NamedEnlarged]) -> dict[str, type]:
    """Return the fields that pictures of that type have, and what each of them holds."""
    hints = get_type_hints(named)
    return {member.name: hints[member.name] for member in fields(named)}


def _parse(template: str, kinds: Mapping[str, type]) -> tuple[_Part, ...]:
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        message = f"the template {template!r} is not well formed: {error}"
        raise RequestError(message, hint="write {{ and }} for braces themselves") from error
    for _, field, spec, conversion in pieces:
        if field is not None:
            _check_field(template, kinds, field, f"!{conversion}" if conversion else f":{spec}" if spec else "")
    return tuple(_Part(literal=literal, field=field, spec=spec or "") for literal, field, spec, _ in pieces)


def _check_field(template: str, kinds: Mapping[str, type], field: str, written: str) -> None:
    """Raise RequestError for a field that is not known, or that is `written` in a way that could do harm."""
    if field not in kinds:
        near = nearest(field, kinds)
        known = " ".join(f"{{{name}}}" for name in kinds)
        message = f"the template {template!r} has an unknown field {{{field}}}"
        raise RequestError(message, hint=f"did you mean {{{near[0]}}}? Known: {known}" if near else f"known: {known}")
    if written and not (written.startswith(":") and re.fullmatch(_SPECS[kinds[field]], written[1:])):
        text = next(name for name, kind in kinds.items() if kind is str)
        message = f"the template {template!r} has {{{field}{written}}}"
        raise RequestError(message, hint=f"write {{index:03}} or {{{text}:.20}}, or the bare field")


def _check_inside(template: str, parts: tuple[_Part, ...]) -> None:
    first = next((at for at, part in enumerate(parts) if part.field), None)
    if first is None:
        return
    after = [part.literal for part in parts[first + 1 :]]
    if ".." in re.split(r"[/\\]", "\0".join(["", *after])):
        message = f"the template {template!r} leaves its own folder with '..' after a field"
        raise RequestError(message, hint="put '..' before the first field, or leave it out")


def _value(part: _Part, picture: Named | NamedEnlarged) -> str:
    if part.field is None:
        return ""
    value = getattr(picture, part.field)
    if part.field == "stem":
        return _harmless(format(value, part.spec))
    if part.field == "model":
        value = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if isinstance(value, str):
        return format(slug(value, part.field), part.spec)
    if isinstance(value, float):
        return f"{round(value, 2):g}"
    return value.isoformat() if isinstance(value, Date) else format(value, part.spec)


def _harmless(text: str) -> str:
    kept = "".join("-" if unicodedata.category(character) == "Cc" else character for character in text)
    kept = kept.replace("/", "-").replace("\\", "-")
    # Dots alone are a folder's name: this one, or the one above.
    return kept if kept.strip(".") else "picture"


def _numbered(paths: list[PurePath]) -> Iterator[PurePath]:
    taken = Counter(paths)
    count: Counter[PurePath] = Counter()
    for path in paths:
        free = path
        while taken[path] > 1 and free in taken:
            count[path] += 1
            free = path.with_name(f"{path.stem}-{count[path]}{path.suffix}")
        taken.setdefault(free, 1)
        yield free
