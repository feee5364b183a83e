"""What the files are called: the `-o` template and its fields."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date as Date
from pathlib import PurePath
from string import Formatter
from typing import get_type_hints

from imggen.errors import RequestError
from imggen.plan.nearest import nearest
from imggen.plan.request import ImageFormat

STDOUT = "-"
DEFAULT = "{prompt}-{seed}"
SLUG_CHARACTERS = 60
SLUG_BYTES = 150

SUFFIXES: dict[str, ImageFormat] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
}
_FOREIGN_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jp2", ".jxl", ".pdf", ".ppm", ".svg", ".tif", ".tiff")
)
_SUFFIX_OF: dict[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_SPECS = {int: re.compile(r"(0[1-9]d?)?"), str: re.compile(r"(\.[1-9][0-9]?)?"), Date: re.compile("")}
_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])")


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a template may say about one picture. `index` counts from 1 within the run; `date` is the day in UTC."""

    seed: int
    index: int
    prompt: str
    model: str
    width: int
    height: int
    steps: int
    sampler: str
    date: Date


def format_of(template: str) -> ImageFormat | None:
    """Return the format that the template's suffix names, None where it names none; refuse one that is not written."""
    suffix = PurePath(template).suffix.lower()
    if suffix in _FOREIGN_SUFFIXES:
        raise RequestError(f"imggen does not write {suffix} files", hint="use .png, .jpg or .webp")
    return SUFFIXES.get(suffix)


def expand(
    template: str | None, pictures: Sequence[Named], file_format: ImageFormat, *, folder: bool = False
) -> tuple[PurePath, ...]:
    """Return one path per picture.

    `template` is a file, a folder (it ends with a slash, or `folder` says that it is one that exists), or either with
    fields in braces: `{seed} {index} {prompt} {model} {width} {height} {steps} {sampler} {date}`, where numbers take a
    width (`{index:03}`) and texts a length (`{prompt:.20}`); `{{` is a brace. None is the default name in the current
    folder. Texts become slugs: lower-case words joined by `-`. Names that would repeat are numbered: three pictures of
    `cat.png` are `cat-1.png`, `cat-2.png`, `cat-3.png`.
    Raises RequestError for unknown fields, and where a path would leave the folder that stands before the first field.
    """
    whole = _whole(template, file_format, folder=folder)
    parts = _parse(whole)
    _check_inside(whole, parts)
    return tuple(_numbered([PurePath(_filled(parts, each)) for each in pictures]))


def slug(text: str, otherwise: str) -> str:
    """Return `text` as lower-case words joined by `-`, at most 60 characters; `otherwise` where nothing is left.

    Letters, digits and the marks on them stay, in any script. 60 letters of some scripts would be more bytes than a
    file's name may have, so bytes are bounded as well. A name that Windows keeps for a device gets a `-`.
    """
    letters = "".join(each if unicodedata.category(each)[0] in "LNM" else " " for each in _folded(text))
    joined = "-".join(word for word in letters.split() if any(each.isalnum() for each in word))
    if len(joined) > SLUG_CHARACTERS:
        joined = joined[: SLUG_CHARACTERS + 1].rpartition("-")[0] or joined[:SLUG_CHARACTERS]
    joined = joined.encode()[:SLUG_BYTES].decode(errors="ignore")
    if _DEVICE_NAMES.fullmatch(joined):
        return joined + "-"
    return joined or otherwise


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _whole(template: str | None, file_format: ImageFormat, *, folder: bool) -> str:
    name = DEFAULT + _SUFFIX_OF[file_format]
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


def _parse(template: str) -> tuple[_Part, ...]:
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise RequestError(
            f"the template {template!r} is not well formed: {error}", hint="write {{ and }} for braces themselves"
        ) from error
    return tuple(_part(template, *piece) for piece in pieces)


def _part(template: str, literal: str, field: str | None, spec: str | None, conversion: str | None) -> _Part:
    if field is None:
        return _Part(literal=literal, field=None, spec="")
    kinds = get_type_hints(Named)
    if field not in kinds:
        near = nearest(field, kinds)
        known = " ".join(f"{{{name}}}" for name in kinds)
        raise RequestError(
            f"the template {template!r} has an unknown field {{{field}}}",
            hint=f"did you mean {{{near[0]}}}? Known: {known}" if near else f"known: {known}",
        )
    if conversion or not _SPECS[kinds[field]].fullmatch(spec or ""):
        written = f"!{conversion}" if conversion else f":{spec}"
        raise RequestError(
            f"the template {template!r} has {{{field}{written}}}",
            hint="write {index:03} or {prompt:.20}, or the bare field",
        )
    return _Part(literal=literal, field=field, spec=spec or "")


def _check_inside(template: str, parts: tuple[_Part, ...]) -> None:
    first = next((at for at, part in enumerate(parts) if part.field), None)
    if first is None:
        return
    after = [part.literal for part in parts[first + 1 :]]
    if any(piece == ".." for piece in re.split(r"[/\\]", "\0".join(["", *after]))):
        raise RequestError(
            f"the template {template!r} leaves its own folder with '..' after a field",
            hint="put '..' before the first field, or leave it out",
        )


def _filled(parts: Iterable[_Part], picture: Named) -> str:
    return "".join(part.literal + _value(part, picture) for part in parts)


def _value(part: _Part, picture: Named) -> str:
    if part.field is None:
        return ""
    value = getattr(picture, part.field)
    if part.field == "model":
        value = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if isinstance(value, str):
        return format(slug(value, part.field), part.spec)
    return value.isoformat() if isinstance(value, Date) else format(value, part.spec)


def _numbered(paths: list[PurePath]) -> Iterator[PurePath]:
    taken = Counter(paths)
    count: Counter[PurePath] = Counter()
    for path in paths:
        if taken[path] == 1:
            yield path
            continue
        yield _free(path, count, taken)


def _free(path: PurePath, count: Counter[PurePath], taken: Counter[PurePath]) -> PurePath:
    while True:
        count[path] += 1
        numbered = path.with_name(f"{path.stem}-{count[path]}{path.suffix}")
        if numbered not in taken:
            taken[numbered] = 1
            return numbered
