"""Metadata into files that exist, their pictures untouched."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imggen.errors import RequestError
from imggen.output import fields, files, metadata
from imggen.output.files import Place
from imggen.output.metadata import Marked, Metadata
from imggen.plan import naming
from imggen.plan.request import IfExists, ImageFormat
from imggen.tasks.inspect import raise_together


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Which files, and what to say in them.

    `source` is a picture whose record is copied. `pairs` are `KEY=VALUE` of `--set`, in order, and are applied after
    it. `output` None changes the targets themselves; otherwise it is the one target's new file, or a folder for all of
    them (it ends with a slash, exists, or there is more than one target), and the targets stay as they are.
    """

    targets: tuple[Path, ...]
    source: Path | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    output: str | None = None
    if_exists: IfExists = "auto"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """One file that was written, or was right already (`changed` False): its hash, its size, what did not fit."""

    path: Path
    target: Path
    sha256: str
    bytes: int
    marks: tuple[str, ...]
    changed: bool
    notes: tuple[str, ...] = ()


def embed(request: EmbedRequest) -> Iterator[Embedded]:
    """Yield one fact per file written; at the end, raise an error that names every file that could not be.

    Every file is written whole or not at all: one that fails is left as it was, bit for bit. Wrong fields, a source
    without a record and an output that cannot take all targets are refused before anything is touched. The error is a
    RequestError where nothing could be written, an ImggenError where some of many could.
    """
    told = _told(request)
    _check_output(request)
    failures: list[RequestError] = []
    for target in request.targets:
        try:
            yield _embedded(request, target, told)
        except RequestError as error:
            failures.append(error)
    raise_together(failures, len(request.targets))


def pair(text: str) -> tuple[str, str]:
    """Return the name and value of `KEY=VALUE`; raise RequestError where there is no `=`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"{text!r} is not KEY=VALUE", hint='--set artist="A. B."')
    return name.strip(), value


def _told(request: EmbedRequest) -> tuple[Metadata, ...]:
    if not request.targets:
        raise RequestError("no file is named to embed metadata into")
    if request.source is None and not request.pairs:
        raise RequestError("nothing is named to embed", hint='--from apple.png, or --set artist="A. B."')
    told = []
    if request.source is not None:
        facts = metadata.read(request.source)
        with files.blaming(request.source):
            told.append(metadata.copied(facts))
    if request.pairs:
        told.append(fields.assign(request.pairs))
    return tuple(told)


def _check_output(request: EmbedRequest) -> None:
    if request.output is None:
        return
    named = naming.format_of(request.output) if _names_file(request.output) else None
    if len(request.targets) == 1:
        return
    if named:
        raise RequestError(
            f"{request.output} is the name of one file, and there are {len(request.targets)}", hint="-o marked/"
        )
    first: dict[str, Path] = {}
    for target in request.targets:
        other = first.setdefault(os.path.normcase(target.name), target)
        if other is not target and request.if_exists != "number":
            raise RequestError(
                f"{other} and {target} would both be {Path(request.output) / target.name}", hint="--if-exists number"
            )


def _names_file(output: str) -> bool:
    return not output.endswith(("/", "\\")) and not Path(output).is_dir()


def _embedded(request: EmbedRequest, target: Path, told: tuple[Metadata, ...]) -> Embedded:
    data = files.read(target)
    with files.blaming(target):
        marked = _marked(data, told)
        notes = (*marked.notes, *_fit_notes(marked, request))
    path = _destination(request, target)
    if request.output is not None and path == Path(request.output):
        _check_format(path, metadata.read(data).picture.format, target)
    changed = marked.data != data or path is not None
    place = _place(request, target, path)
    if changed and place is not None:
        _write(place, marked, target)
    return Embedded(
        path=place.path if place else path or target,
        target=target,
        sha256=hashlib.sha256(marked.data).hexdigest(),
        bytes=len(marked.data),
        marks=marked.marks,
        changed=changed and place is not None,
        notes=notes,
    )


def _marked(data: bytes, told: tuple[Metadata, ...]) -> Marked:
    marked = Marked(data=data, marks=())
    for each in told:
        more = metadata.embed(marked.data, each)
        marks = tuple(dict.fromkeys((*marked.marks, *more.marks)))
        marked = Marked(data=more.data, marks=marks, notes=(*marked.notes, *more.notes))
    return marked


def _fit_notes(marked: Marked, request: EmbedRequest) -> tuple[str, ...]:
    if request.source is None or metadata.read(marked.data).fits is not False:
        return ()
    return (f"the record belongs to other image data, that of {request.source} or what it was made from",)


def _destination(request: EmbedRequest, target: Path) -> Path | None:
    if request.output is None:
        return None
    output = Path(request.output)
    if not _names_file(request.output) or len(request.targets) > 1:
        return output / target.name
    return output


def _check_format(path: Path, held: ImageFormat, target: Path) -> None:
    named = naming.format_of(path.name)
    if named and named != held:
        suffix = next(suffix for suffix, kind in naming.SUFFIXES.items() if kind == held)
        raise RequestError(
            f"{path} is the name of a {named} file and {target} is {held}, which is not converted",
            hint=f"-o {path.with_suffix(suffix)}",
        )


def _place(request: EmbedRequest, target: Path, path: Path | None) -> Place | None:
    if path is None:
        return files.settle(target, "overwrite", is_own=metadata.is_own)
    return files.settle(path, request.if_exists, is_own=metadata.is_own)


def _write(place: Place, marked: Marked, target: Path) -> None:
    try:
        files.write(place, marked.data, like=target)
    except FileExistsError as error:
        raise RequestError(f"{place.path} exists now; another program wrote it", hint="run the line again") from error
