"""What picture files say of their making."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imggen.errors import ImggenError, RequestError
from imggen.output import files
from imggen.output.formats import xmp
from imggen.output.metadata import infotext, metadata
from imggen.plan.schema.formats import ImageFormat
from imggen.plan.schema.recipe import Recipe

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One file's own words, and what can be said of them without believing them.

    `dialect` names the program whose way of writing was found, None where there was none. `fits` is False where the
    picture is not the one that the record was written for (edited, encoded again, or the record was copied here),
    True where it is, None where that was not recorded. Texts are a stranger's and may hold anything but are plain text.
    """

    path: Path
    format: ImageFormat
    width: int
    height: int
    bytes: int
    sha256: str
    animated: bool
    signed: bool
    dialect: str | None
    prompt: str
    negative_prompt: str
    settings: Mapping[str, str | int | float]
    recipe: Recipe | None
    fits: bool | None
    xmp: Mapping[str, xmp.Value]
    exif: Mapping[str, str | int]
    notes: tuple[str, ...]


def inspect(paths: Sequence[Path]) -> Iterator[Inspected]:
    """Yield what each file says; at the end, raise an error that names every file that could not be read.

    It is a RequestError where none could be read, an ImggenError where some of many could.
    """
    return _read(paths, _inspected)


def infotexts(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file and its infotext: its own, or else that of its recipe; at the end, raise as `inspect` does.

    A file without either is a RequestError.
    """
    return _read(paths, _infotext)


def _read(paths: Sequence[Path], read: Callable[[Path], Result]) -> Iterator[Result]:
    failures: list[RequestError] = []
    for path in paths:
        try:
            yield read(path)
        except RequestError as error:
            failures.append(error)
    raise_together(failures, len(paths))


def _infotext(path: Path) -> tuple[Path, str]:
    record = metadata.read(path).found
    if record is not None and record.infotext is not None:
        return path, record.infotext
    if record is None or record.recipe is None:
        raise RequestError(f"{path} holds no infotext", hint=f"imggen inspect {path}")
    return path, infotext.write(record.recipe)


def raise_together(failures: Sequence[RequestError], count: int) -> None:
    """Raise one error for all failures among `count` files; return where there are none.

    A RequestError says that the whole request came to nothing; where some files went well it is an ImggenError.
    """
    if not failures:
        return
    if count == 1:
        raise failures[0]
    listed = "\n".join(failure.message for failure in failures)
    kind = RequestError if len(failures) == count else ImggenError
    raise kind(f"{len(failures)} of {count} files failed:\n{listed}", hint=failures[0].hint)


def _inspected(path: Path) -> Inspected:
    """Return what the file says, as it is shown."""
    data = files.read(path)
    with files.blaming(path):
        facts = metadata.read(data)
    record = facts.found
    return Inspected(
        path=path,
        format=facts.picture.format,
        width=facts.picture.width,
        height=facts.picture.height,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        animated=facts.picture.animated,
        signed=facts.picture.signed,
        dialect=record.dialect if record else None,
        prompt=record.prompt if record else "",
        negative_prompt=record.negative_prompt if record else "",
        settings=record.settings if record else {},
        recipe=record.recipe if record else None,
        fits=facts.fits,
        xmp=facts.xmp,
        exif=facts.exif,
        notes=facts.notes,
    )
