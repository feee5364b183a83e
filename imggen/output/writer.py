"""Pictures to files.

The order is a rule: pixels (label, then watermark), then their encoding with metadata in it, then the signature, which
binds the bytes, then the name, and last the line in the audit log, which tells the file's hash.
"""

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from PIL import Image

from imggen.errors import PictureError, RequestError
from imggen.output import files
from imggen.output.files import WriteTarget
from imggen.output.formats import container, encoder
from imggen.output.formats.carriers import Picture
from imggen.output.formats.container import CONTAINERS
from imggen.output.governance import checker, means
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import metadata, upscaled
from imggen.output.metadata.metadata import Marked
from imggen.output.metadata.upscaled import Upscaled
from imggen.output.provenance import claims, signing
from imggen.output.provenance.keys import Identity
from imggen.output.provenance.signing import Statement
from imggen.output.watermark import label, marking
from imggen.output.watermark.marking import MarkedPixels, Origin
from imggen.plan.policy import policy
from imggen.plan.policy.policy import Refusal
from imggen.plan.schema.formats import FORMATS
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import Metadata as Level
from imggen.plan.schema.request import OutputPlan

_MAX_TEXT_BYTES: Final = 60_000
_UNNAMED: Final = "picture"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A picture's file as it will stand on disk: its bytes, what it says of its making, and what did not fit.

    `origin` is what made it, as the file records that: a recipe says whether the pixels carry a watermark. `watermark`
    is the id in them, else empty and `unmarked` says why. `guid` is the picture's URN.
    """

    data: bytes
    marks: tuple[str, ...]
    origin: Origin
    guid: str
    notes: tuple[str, ...] = ()
    watermark: str = ""
    unmarked: str = ""

    @property
    def sha256(self) -> str:
        """Return the file's hash."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file: where it is, the hash and number of its bytes, what it says of its making, and what did not fit.

    `action` says whether the name was free (`new`), a picture of imggen's own or one given up by the policy was there
    (`replaced`), or the policy kept what was there (`kept`), whose hash and size these are. `finished` is what was
    written, without its bytes; `replaced` is the recipe of the picture that was there, where it had one.
    """

    path: Path
    sha256: str
    bytes: int
    marks: tuple[str, ...]
    notes: tuple[str, ...] = ()
    action: Literal["new", "replaced", "kept"] = "new"
    finished: Finished | None = None
    replaced: Recipe | None = None


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
    if size is not None and output.marking.label:
        label.check(size, output.marking.label)
    if alpha:
        encoder.check_alpha(output.format)
    if CONTAINERS[output.format].max_xmp_bytes is not None and output.metadata == "full":
        _check_text(text, FORMATS[output.format].title)
    settled: list[Path | None] = []
    taken: set[Path] = set()
    for path in paths:
        place = files.settle(path, output.if_exists, is_own=metadata.is_own, taken=taken)
        settled.append(place.path if place else None)
        taken |= {place.path} if place else set()
    return tuple(settled)


def encode(
    image: Image.Image, origin: Origin, output: OutputPlan, *, by: WriteContext = means.NONE, title: str = _UNNAMED
) -> Finished:
    """Return the picture's file: marked as the plan says, with its metadata, and signed; nothing is written or logged.

    `origin` is what made the picture: a recipe, or what enlarged another file's. PNG, WebP, AVIF and TIFF keep
    transparency, a JPEG refuses it. Raises CheckError where the policy wants a mark that the picture cannot have, or
    where its checker says no.
    """
    created = by.created or metadata.now()
    pixels = _marked(image, origin, output, by)
    if by.policy is not None and by.policy.safety.image_checker:
        shown = encoder.encode(pixels.image, "png", 100)
        by.refuse(checker.check(shown, by.policy.safety.image_checker, folder=by.folder))
    data = encoder.encode(pixels.image, output.format, output.quality)
    marked = _with_metadata(data, pixels, output, created)
    if signs(output, by.identity):
        statement = claims.of_picture(pixels, output, title=title, created=created, parents=by.parents)
        marked = _signed(marked, output, statement, by.identity)
    particulars = pixels.particulars
    finished = Finished(
        data=marked.data,
        marks=(
            *marked.marks,
            *(["watermark"] if particulars.watermark else []),
            *(["label"] if particulars.label else []),
        ),
        notes=marked.notes,
        origin=pixels.origin,
        guid=particulars.guid,
        watermark=particulars.watermark,
        unmarked=particulars.unmarked,
    )
    if by.policy is not None:
        by.refuse(policy.check_marks(by.policy, finished.marks))
    return finished


def _marked(image: Image.Image, origin: Origin, output: OutputPlan, by: WriteContext) -> MarkedPixels:
    try:
        return marking.apply(image, origin, by.wish(output))
    except (PictureError, RequestError) as error:
        if by.policy is not None and "watermark" in by.policy.marking.require:
            by.refuse(Refusal(rule="marking.require", message=error.message))
        raise


def _with_metadata(data: bytes, pixels: MarkedPixels, output: OutputPlan, created: datetime) -> Marked:
    if output.metadata == "none":
        return Marked(data=data, marks=())
    picture = container.read(data)
    if isinstance(pixels.origin, Upscaled):
        return _enlarged(data, picture, pixels, output.metadata, created)
    level, particulars = output.metadata, pixels.particulars
    text = metadata.compose(
        pixels.origin, level=level, created=created, image_sha256=picture.image_sha256, particulars=particulars
    )
    return metadata.embed(data, text, picture=picture)


def _enlarged(data: bytes, picture: Picture, pixels: MarkedPixels, level: Level, created: datetime) -> Marked:
    origin, particulars = pixels.origin, pixels.particulars
    if not isinstance(origin, Upscaled):
        raise TypeError("only what was enlarged comes here")
    text = upscaled.compose(origin, level=level, created=created, picture=picture, particulars=particulars)
    try:
        return metadata.embed(data, text, picture=picture)
    except RequestError as error:
        # A stranger's words that do not fit must not cost the minutes that the pixels took.
        note = f"no more than --metadata minimal is written: {error.message}"
        text = upscaled.compose(origin, level="minimal", created=created, picture=picture, particulars=particulars)
    return metadata.embed(data, replace(text, notes=(*text.notes, note)), picture=picture)


def _signed(marked: Marked, output: OutputPlan, statement: Statement, identity: Identity | None) -> Marked:
    if identity is None:
        return marked
    data = signing.sign(marked.data, output.format, statement, identity)
    notes = tuple(note for note in marked.notes if note != upscaled.MANIFEST_LOST)
    return replace(marked, data=data, marks=(*marked.marks, "c2pa"), notes=notes)


def signs(output: OutputPlan, identity: Identity | None) -> bool:
    """Return whether a picture is signed; raise RequestError where it shall be and cannot.

    Without metadata nothing is signed unless it is asked for, because a signature says who made the picture.
    """
    if output.marking.sign == "on" and identity is None:
        raise RequestError("--sign on, and no key is set up", hint='imggen keys init --organisation "Example Ltd"')
    if output.marking.sign == "auto":
        return identity is not None and output.metadata != "none"
    return output.marking.sign == "on"


def write(
    image: Image.Image, origin: Origin, output: OutputPlan, path: Path, *, by: WriteContext = means.NONE
) -> Written:
    """Put the picture into a file, whole or not at all, under the plan's policy for names that are taken.

    Parents are created. `origin` and what is raised are as for `encode`. Raises RequestError where the place
    cannot be written or the policy forbids it, ImggenError where the disk is full.
    """
    finished = encode(image, origin, output, by=by, title=path.name)
    there = _recipe(path) if path.is_file() else None
    settled = partial(_log, by, finished) if by.journal else None
    place = files.put(path, finished.data, output.if_exists, is_own=metadata.is_own, settled=settled)
    if place is None:
        return _kept(path)
    return Written(
        path=place.path,
        sha256=finished.sha256,
        bytes=len(finished.data),
        marks=finished.marks,
        notes=finished.notes,
        action="replaced" if place.replaces else "new",
        finished=replace(finished, data=b""),
        replaced=there if place.replaces else None,
    )


def emit(image: Image.Image, origin: Origin, output: OutputPlan, *, by: WriteContext = means.NONE) -> Finished:
    """Return the picture's file as `encode` does, for standard output, with its line in the audit log."""
    finished = encode(image, origin, output, by=by)
    _log(by, finished, None)
    return finished


def _recipe(path: Path) -> Recipe | None:
    """Return what made the picture in the file, None where that is not to be read."""
    try:
        stated = metadata.read(path).found
    except RequestError:
        return None
    return stated.recipe if stated else None


def _log(by: WriteContext, finished: Finished, place: WriteTarget | None) -> None:
    picture = means.LoggedPicture(
        path=str(place.path) if place else "-",
        sha256=finished.sha256,
        guid=finished.guid,
        watermark=finished.watermark,
        marks=finished.marks,
        unmarked=finished.unmarked,
        recipe_sha256=finished.origin.sha256() if isinstance(finished.origin, Recipe) else None,
    )
    by.log(picture)


def _kept(path: Path) -> Written:
    data = files.read(path)
    return Written(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), marks=(), action="kept")


def _check_text(text: str, title: str) -> None:
    # The recipe stands in the XMP as JSON, where a letter beyond ASCII takes six bytes and a bracket is escaped.
    size_bytes = len(html.escape(json.dumps(text), quote=False))
    if size_bytes > _MAX_TEXT_BYTES:
        raise RequestError(
            f"the prompt takes {size_bytes:,} bytes, more than a {title}'s metadata holds",
            hint="--format png, or --metadata minimal",
        )
