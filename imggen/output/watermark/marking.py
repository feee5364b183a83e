"""What is put into the pixels themselves: a visible label, and a watermark where one is wanted and can be carried."""

import hashlib
from dataclasses import dataclass, field, replace

from PIL import Image

from imggen.errors import PictureError, RequestError
from imggen.output.metadata import metadata, upscaled
from imggen.output.metadata.metadata import Particulars
from imggen.output.metadata.upscaled import Upscaled
from imggen.output.watermark import label, watermark
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.recipe import SCHEMA, Recipe

Origin = Recipe | Upscaled

_OFF = "--watermark off"
_NOT_DRAWN = "no model drew what it shows"
_UNREADABLE = "the mark could not be read back from it"


@dataclass(frozen=True, kw_only=True)
class MarkedPixels:
    """A picture as it will be encoded, what made it (a recipe tells the marks), and what is said beside that."""

    image: Image.Image
    origin: Origin
    particulars: Particulars


@dataclass(frozen=True, kw_only=True)
class MarkRequest:
    """What marks are wanted, and by whose means.

    `where` (mode L, the picture's size) is 0 at pixels that must come back bit for bit; a label is drawn all the same.
    `key` is an organisation's, which answers for the picture; without one the mark is public. `telling` says that the
    file tells the words that the picture was made from; else no name may be one by which they could be guessed.
    """

    plan: MarkingPlan = field(default_factory=MarkingPlan)
    where: Image.Image | None = None
    key: bytes | None = None
    organisation: str = ""
    telling: bool = True


def apply(image: Image.Image, origin: Origin, wish: MarkRequest) -> MarkedPixels:
    """Return the picture with its label and its watermark, and what to say of them.

    A mark counts only where it is read back from the pixels. Raises RequestError where the label does not fit, and
    PictureError where `--watermark on` cannot be kept.
    """
    labelled, wish = _labelled(image, origin, wish)
    drawn = None if wish.telling else hashlib.sha256(labelled.tobytes()).hexdigest()
    unmarked = _refusal(labelled, origin, wish)
    if not unmarked:
        marked = _watermarked(labelled, origin, wish, drawn)
        if marked is not None:
            return marked
        unmarked = _UNREADABLE
    if wish.plan.watermark == "on":
        raise PictureError(f"the watermark that was asked for is missing: {unmarked}", hint="--watermark auto")
    origin = _recorded(origin, wish, marked=False)
    return MarkedPixels(image=labelled, origin=origin, particulars=_particulars(origin, wish, drawn, unmarked=unmarked))


def _labelled(image: Image.Image, origin: Origin, wish: MarkRequest) -> tuple[Image.Image, MarkRequest]:
    """Return the picture with its label, and the wish with the label that is in the pixels."""
    present, text = upscaled.label(origin) if isinstance(origin, Upscaled) else "", wish.plan.label
    if present and text not in ("", present):
        raise RequestError(
            f"--label {text!r}: the picture that was enlarged carries the label {present!r} already",
            hint="leave --label out",
        )
    if present:
        return image, replace(wish, plan=replace(wish.plan, label=present))
    return (label.draw(image, text) if text else image), wish


def _refusal(image: Image.Image, origin: Origin, wish: MarkRequest) -> str:
    """Return why there is no watermark, empty where there is one."""
    if wish.plan.watermark == "off":
        return _OFF
    if wish.plan.watermark == "on":
        return ""
    if isinstance(origin, Upscaled) and not upscaled.is_generative(origin):
        return _NOT_DRAWN
    suited = watermark.suit(image, where=wish.where)
    return "" if suited.fits else suited.reason


def _watermarked(image: Image.Image, origin: Origin, wish: MarkRequest, drawn: str | None) -> MarkedPixels | None:
    origin = _recorded(origin, wish, marked=True)
    particulars = _particulars(origin, wish, drawn)
    key = wish.key or watermark.PUBLIC_KEY
    marked = watermark.embed(image, particulars.watermark, key=key, where=wish.where)
    if watermark.detect(marked, key=key).identity != particulars.watermark:
        return None
    return MarkedPixels(image=marked, origin=origin, particulars=particulars)


def _recorded(origin: Origin, wish: MarkRequest, *, marked: bool) -> Origin:
    if isinstance(origin, Upscaled):
        return origin
    return replace(origin, watermark=marked, label=wish.plan.label, schema=SCHEMA)


def _particulars(origin: Origin, wish: MarkRequest, drawn: str | None, *, unmarked: str = "") -> Particulars:
    """Return what is said of the picture beside its recipe, under its name."""
    # Anyone who guesses a recipe could tell by its name that the guess is right; to know pixels one has to draw them.
    guid = _guid(origin, wish.key) if drawn is None else metadata.named(f"pixels\n{drawn}", wish.key)
    return Particulars(
        guid=guid,
        watermark="" if unmarked else metadata.watermark_of(guid),
        unmarked=unmarked,
        label=wish.plan.label,
        organisation=wish.organisation,
        alt=wish.plan.alt,
        mining=wish.plan.mining,
        prompt=wish.plan.prompt,
    )


def _guid(origin: Origin, key: bytes | None) -> str:
    return upscaled.name(origin, key) if isinstance(origin, Upscaled) else metadata.identity(origin, key)
