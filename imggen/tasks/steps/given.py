"""Pictures that a request starts from: found, read, decoded, and asked where they come from."""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from itertools import islice
from pathlib import Path
from typing import Final

from PIL import Image

from imggen.errors import RequestError
from imggen.inputs import kinds, pictures
from imggen.output import files
from imggen.output.formats import container
from imggen.output.metadata import metadata
from imggen.plan.schema.change import Role
from imggen.plan.schema.formats import PICTURE_SUFFIXES
from imggen.plan.schema.given import Given
from imggen.plan.schema.nearest import nearest_file
from imggen.store import paths

STDIN: Final = "-"
MAX_BYTES: Final = 256 << 20

_NAMES_LOOKED_AT = 10_000
_MOST_LISTED = 4


@dataclass(frozen=True, kw_only=True)
class OpenedPicture:
    """A given picture with its pixels (upright 8-bit sRGB, mode RGB or RGBA) and its file's bytes; `notes` name it."""

    given: Given
    image: Image.Image
    data: bytes
    notes: tuple[str, ...] = ()


def read(name: str, role: Role, *, frame: int | None = None) -> OpenedPicture:
    """Return the picture in the file `name` (`-`: the bytes of standard input, which can be read once), and its origin.

    `frame` counts from 1. Its own recipe counts only where the hash beside it says that the picture was not changed
    since; metadata that cannot be read is a note. Raises RequestError where there is no such file, where it cannot be
    read or has more than `MAX_BYTES`, and what `pictures.decode` raises.
    """
    data = load(name)
    decoded = _decoded(data, name, role, frame)
    width, height = decoded.image.size
    picture = Given(role=role, name=name, sha256=hashlib.sha256(data).hexdigest(), width=width, height=height)
    given, notes = _with_origin(picture, data)
    return OpenedPicture(given=given, image=decoded.image, data=data, notes=(*decoded.notes, *notes))


def _decoded(data: bytes, name: str, role: Role, frame: int | None) -> pictures.Decoded:
    try:
        return pictures.decode(data, name=name, frame=frame)
    except RequestError as error:
        # --frame is for what is changed, and not for what is looked at beside it.
        if error.hint != pictures.FIRST_FRAME or role in ("image", "parent"):
            raise
        first = "magick '-[0]' frame.png" if name == STDIN else f"magick {shlex.quote(f'{name}[0]')} frame.png"
        raise RequestError(error.message, hint=first) from error


def load(name: str) -> bytes:
    """Return the bytes of the file `name` (`-`: those of standard input, which can be read once).

    Raises RequestError where there is no such file, where it cannot be read or has more than `MAX_BYTES`.
    """
    return _from_stdin() if name == STDIN else _from_file(name)


def expand(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the files that names and globs (`*`, `?`, `[...]`, `**`) stand for, each once.

    The patterns keep their order; what one glob finds is in natural order (`shot2` before `shot10`). A file whose name
    looks like a glob is itself. `-` stays. Raises RequestError where one of them stands for no file.
    """
    names: dict[str, str] = {}
    for pattern in patterns:
        for name in _expanded(pattern):
            names.setdefault(name if name == STDIN else os.path.normcase(Path(name).absolute()), name)
    return tuple(names.values())


def _from_stdin() -> bytes:
    """Return the bytes of standard input; raise RequestError where there are none or too many."""
    hint = "imggen ... - < picture.png"
    if sys.stdin is None or sys.stdin.closed:
        raise RequestError("the picture is -, but standard input is closed", hint=hint)
    if sys.stdin.isatty():
        raise RequestError("the picture is -, but standard input is a terminal", hint=hint)
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise RequestError(f"the picture is -, but standard input cannot be read: {error.strerror}") from error
    if not data:
        raise RequestError("the picture is -, but standard input is empty", hint=hint)
    if len(data) > MAX_BYTES:
        raise RequestError(f"standard input has more than {MAX_BYTES:,} bytes, which is the most that is read")
    return data


def _from_file(name: str) -> bytes:
    path = paths.at_home(name)
    if not name or not os.path.lexists(path):
        raise _missing(name, path)
    if path.is_dir():
        raise RequestError(f"{name} is a folder, not a picture", hint=_some_picture(path))
    if path.exists() and not path.is_file():
        raise RequestError(f"{name} is not a regular file", hint="imggen ... - reads standard input")
    data = files.read(path)
    if len(data) > MAX_BYTES:
        raise RequestError(f"{name} has {len(data):,} bytes; at most {MAX_BYTES:,} are read")
    return data


def _missing(name: str, path: Path) -> RequestError:
    if "\0" in name or not name:
        return RequestError(f"{name!r} is not a name for a file")
    if name.startswith(("http://", "https://")):
        return RequestError(f"{name} is an address, and imggen reads files", hint=f"curl -LO {shlex.quote(name)}")
    if not path.parent.is_dir():
        return RequestError(f"there is no file {name}: there is no folder {path.parent}")
    names = _names(path.parent)
    near = nearest_file(path.name, names)
    return RequestError(
        f"there is no file {name}", hint=f"did you mean {path.parent / near}?" if near else _nearby(path.parent, names)
    )


def _nearby(folder: Path, names: Sequence[str]) -> str | None:
    """Return which pictures there are in the folder, None where there are none."""
    shown = [str(folder / name) for name in names if _is_picture(name)]
    more = len(shown) - _MOST_LISTED
    listed = ", ".join(shown[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
    return f"pictures that are there: {listed}" if shown else None


def _some_picture(folder: Path) -> str | None:
    return next((f"name one in it: {folder / name}" for name in _names(folder) if _is_picture(name)), None)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _NAMES_LOOKED_AT))
    except OSError:
        return []


def _with_origin(picture: Given, data: bytes) -> tuple[Given, tuple[str, ...]]:
    """Return the picture with what its metadata says of where it comes from, and notes on that."""
    if container.format_of(data) is None:
        return picture, ()
    shown_name = kinds.shown(picture.name)
    try:
        facts = metadata.read(data)
    except RequestError as error:
        return picture, (f"{shown_name}: where it comes from is not known: {error.message}",)
    stated = facts.xmp.get(metadata.SOURCE_TYPE)
    source_type = stated if isinstance(stated, str) and stated else None
    recipe = facts.found.recipe if facts.found and facts.fits else None
    known = replace(picture, source_type=source_type, recipe=recipe, guid=metadata.stated_guid(facts.xmp))
    return known, tuple(f"{shown_name}: {note}" for note in facts.notes)


def _expanded(pattern: str) -> Iterator[str]:
    """Return the files that `pattern` names, in natural order; raise RequestError where there are none."""
    path = paths.at_home(pattern)
    if pattern == STDIN:
        return iter((pattern,))
    if pattern and os.path.lexists(path):
        if path.is_dir():
            raise RequestError(f"{pattern} is a folder", hint=f"'{path / '*.png'}'")
        return iter((str(path),))
    if not has_magic(pattern) or "\0" in pattern:
        raise _missing(pattern, path)
    names = [name for name in glob(str(path), recursive=True) if not Path(name).is_dir()]  # noqa: PTH207
    if not names:
        raise RequestError(f"no file matches {pattern}", hint=_like(path))
    return iter(sorted(names, key=_natural))


def _like(path: Path) -> str | None:
    folder = next((parent for parent in path.parents if not has_magic(str(parent))), Path())
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return _some_picture(folder)


def _natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    pieces = re.split(r"([0-9]+)", name.casefold())
    # Every second piece is a number; as (value, digits) it is compared by value, the others as (0, text).
    return tuple((int(piece), piece) if at % 2 else (0, piece) for at, piece in enumerate(pieces)), name
