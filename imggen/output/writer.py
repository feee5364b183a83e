"""Pictures to files.

The order is a rule: pixels, then their encoding, then metadata in it, then what binds the bytes, then the name. A
watermark belongs before `encoder.encode`, a signature behind `metadata.embed`: nothing may change the file after it.
"""

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from PIL import Image

from imggen.errors import RequestError
from imggen.output import container, encoder, enlargement, files, metadata
from imggen.output.carriers import Picture
from imggen.output.enlargement import Enlargement
from imggen.output.files import Place
from imggen.output.metadata import Marked
from imggen.plan.recipe import Recipe
from imggen.plan.request import Metadata as Level
from imggen.plan.request import OutputPlan

Told = Recipe | Enlargement

_ATTEMPTS = 100
_JPEG_TEXT_BYTES = 60_000


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file: where it is, the hash and number of its bytes, what it says of its making, and what did not fit.

    `action` says whether the name was free (`new`), a picture of imggen's own or one given up by the policy was there
    (`replaced`), or the policy kept what was there (`kept`), whose hash and size these are.
    """

    path: Path
    sha256: str
    bytes: int
    marks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    action: Literal["new", "replaced", "kept"] = "new"


def check(
    paths: Sequence[Path],
    output: OutputPlan,
    *,
    size: tuple[int, int] | None = None,
    text: str = "",
    alpha: bool = False,
) -> tuple[Path | None, ...]:
    """Return where each picture will go, None for one that the policy skips; write nothing.

    To be called before any weights are loaded. `size` (width, height), `text` (all that was typed as prompt) and
    whether there is transparency (`alpha`) are held against what the format can take. Raises RequestError for a place
    that cannot be written, and for a file that may not be replaced.
    """
    if size is not None:
        encoder.check_size(*size, output.format)
    if alpha:
        encoder.check_alpha(output.format)
    if output.format == "jpeg" and output.metadata == "full":
        _check_text(text)
    settled: list[Path | None] = []
    taken: set[Path] = set()
    for path in paths:
        place = files.settle(path, output.if_exists, is_own=metadata.is_own, taken=taken)
        settled.append(place.path if place else None)
        taken |= {place.path} if place else set()
    return tuple(settled)


def encode(image: Image.Image, told: Told, output: OutputPlan, *, created: datetime | None = None) -> Marked:
    """Return the picture's file: pixels as the plan's format and quality say, and the metadata that it asks for.

    `told` is what made the picture: a recipe, or what enlarged another file's. PNG and WebP keep transparency, a JPEG
    refuses it. `created` is the time to record; without it, now or SOURCE_DATE_EPOCH.
    """
    data = encoder.encode(image, output.format, output.quality)
    if output.metadata == "none":
        return Marked(data=data, marks=())
    picture = container.read(data)
    created = created or metadata.now()
    if isinstance(told, Enlargement):
        return _enlarged(data, picture, told, output.metadata, created)
    said = metadata.compose(told, level=output.metadata, created=created, image_sha256=picture.image_sha256)
    return metadata.embed(data, said, picture=picture)


def _enlarged(data: bytes, picture: Picture, told: Enlargement, level: Level, created: datetime) -> Marked:
    said = enlargement.compose(told, level=level, created=created, picture=picture)
    try:
        return metadata.embed(data, said, picture=picture)
    except RequestError as error:
        # A stranger's words that do not fit must not cost the minutes that the pixels took.
        note = f"no more than --metadata minimal is written: {error.message}"
        said = enlargement.compose(told, level="minimal", created=created, picture=picture)
    return metadata.embed(data, replace(said, notes=(*said.notes, note)), picture=picture)


def write(
    image: Image.Image, told: Told, output: OutputPlan, path: Path, *, created: datetime | None = None
) -> Written:
    """Put the picture into a file, whole or not at all, under the plan's policy for names that are taken.

    Parents are created. `told` and `created` are as for `encode`. Raises RequestError where the place cannot be written
    or the policy forbids it, ImggenError where the disk is full.
    """
    marked = encode(image, told, output, created=created)
    for _ in range(_ATTEMPTS):
        place = files.settle(path, output.if_exists, is_own=metadata.is_own)
        if place is None:
            return _kept(path)
        try:
            files.write(place, marked.data)
        except FileExistsError:
            # Another process took the name in between: the policy decides again.
            continue
        return _written(place, marked)
    raise RequestError(f"cannot write {path}: other processes keep taking the name")


def _written(place: Place, marked: Marked) -> Written:
    return Written(
        path=place.path,
        sha256=hashlib.sha256(marked.data).hexdigest(),
        bytes=len(marked.data),
        marks=marked.marks,
        notes=marked.notes,
        action="replaced" if place.replaces else "new",
    )


def _kept(path: Path) -> Written:
    data = files.read(path)
    return Written(
        path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), marks=(), notes=(), action="kept"
    )


def _check_text(text: str) -> None:
    # The recipe stands in the XMP as JSON, where a letter beyond ASCII takes six bytes and a bracket is escaped.
    size_bytes = len(html.escape(json.dumps(text), quote=False))
    if size_bytes > _JPEG_TEXT_BYTES:
        raise RequestError(
            f"the prompt takes {size_bytes:,} bytes, more than a JPEG's metadata holds",
            hint="--format png, or --metadata minimal",
        )
