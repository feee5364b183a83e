"""The given pictures of a request: read, laid out for a model, and put together with what it drew."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image

from imggen.errors import RequestError
from imggen.inputs import layout, preprocessing
from imggen.plan.adapters import controls, ip_adapters
from imggen.plan.generation import alteration
from imggen.plan.models import catalog
from imggen.plan.schema.change import Change, Fit, Role
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GeneratePlan, GenerateRequest
from imggen.tasks.steps import given
from imggen.tasks.steps.given import OpenedPicture

_OPAQUE: Final = 250
"""Of 255: from here on what a model drew is opaque, but for its autoencoder's rounding."""


@dataclass(frozen=True, kw_only=True)
class Laid:
    """The given pictures as a plan wants them.

    `images` (RGB, or RGBA where the model looks at their transparency) and `mask` (L) have the size of the plan's
    canvas; `style` (RGB, or RGBA where some of it does not show) has its own shape, and no more pixels than are of use,
    and so has `shown`; `controls` (RGB) have the canvas's size. `original` has the picture's own size and transparency;
    `kept` (L), of the same size, says how much of what was drawn shows: 0 none of it.
    """

    images: tuple[Image.Image, ...] = ()
    mask: Image.Image | None = None
    style: Image.Image | None = None
    controls: tuple[Image.Image, ...] = ()
    shown: Image.Image | None = None
    original: Image.Image | None = None
    kept: Image.Image | None = None


def read(request: GenerateRequest) -> tuple[OpenedPicture, ...]:
    """Return the pictures that `request` starts from, opened; raise RequestError for one that cannot be.

    Only one of them can come from standard input.
    """
    if request.task == "blend" and len(request.images) > alteration.MOST_PARENTS:
        raise RequestError(f"{len(request.images)} parents; blend takes 1 to {alteration.MOST_PARENTS}")
    names = list(_wanted(request))
    if [name for _, name in names].count(given.STDIN) > 1:
        raise RequestError("standard input holds one picture, and - stands for two", hint="name the other file")
    changed: tuple[Role, ...] = ("image", "parent")
    return tuple(given.read(name, role, frame=request.frame if role in changed else None) for role, name in names)


def _wanted(request: GenerateRequest) -> Iterator[tuple[Role, str]]:
    """Yield the role and the name of each picture that the request needs."""
    role: Role = "parent" if request.task == "blend" else "image"
    for name in request.images:
        yield role, name
    if request.task == "inpaint" and request.mask is not None:
        yield "mask", request.mask
    if request.task == "style":
        if request.like is None:
            raise RequestError("style needs a picture that has it", hint="--like painting.png")
        yield "style", request.like
    for control in controls.of(request):
        if control.image:
            yield "control", control.image
    picture = ip_adapters.image(request)
    if picture is not None:
        yield "shown", picture


def facts(opened: Sequence[OpenedPicture]) -> tuple[Given, ...]:
    """Return what a plan needs to know of the opened pictures."""
    return tuple(picture.given for picture in opened)


def lay(plan: GeneratePlan, opened: Sequence[OpenedPicture]) -> Laid:
    """Return the opened pictures as `plan` wants them; raise RequestError for a mask that does not fit its picture."""
    return replace(_lay_changed(plan, opened), controls=_controls(plan, opened), shown=_shown(plan, opened))


def _controls(plan: GeneratePlan, opened: Sequence[OpenedPicture]) -> tuple[Image.Image, ...]:
    """Return the control pictures as large as what is computed; those of photographs are made here.

    Of those that a model is needed for stands the photograph still, as large as the picture.
    """
    fit = (plan.change.fit if plan.change else None) or "crop"
    pairs = zip(_preprocessors(plan), _images(opened, "control"), strict=True)
    return tuple(_control(preprocessor, image, plan, fit) for preprocessor, image in pairs)


def _images(opened: Sequence[OpenedPicture], *roles: Role) -> list[Image.Image]:
    return [picture.image for picture in opened if picture.given.role in roles]


def _preprocessors(plan: GeneratePlan) -> list[str | None]:
    return [picture.preprocessor for picture in plan.given if picture.role == "control"]


def _control(preprocessor: str | None, image: Image.Image, plan: GeneratePlan, fit: Fit) -> Image.Image:
    # On black, which is where nothing is in edges, depths and poses alike.
    laid = layout.flatten(layout.fit(image, (plan.width, plan.height), fit), (0, 0, 0))
    if preprocessor in controls.MEASURED:
        return laid
    return layout.extend(laid if preprocessor is None else preprocessing.make(preprocessor, laid), plan.canvas)


def measured(plan: GeneratePlan, laid: Laid, measure: Callable[[list[Image.Image]], list[Image.Image]]) -> Laid:
    """Return the pictures with those that `measure` makes of the photographs that are left, a model's work."""
    left = [preprocessor in controls.MEASURED for preprocessor in _preprocessors(plan)]
    measured_images = iter(measure([image for image, is_left in zip(laid.controls, left, strict=True) if is_left]))
    images = (
        layout.extend(next(measured_images), plan.canvas) if is_left else image
        for image, is_left in zip(laid.controls, left, strict=True)
    )
    return replace(laid, controls=tuple(images))


def _shown(plan: GeneratePlan, opened: Sequence[OpenedPicture]) -> Image.Image | None:
    pixels = plan.canvas[0] * plan.canvas[1]
    return next((layout.shrunk(image, pixels) for image in _images(opened, "shown")), None)


def _lay_changed(plan: GeneratePlan, opened: Sequence[OpenedPicture]) -> Laid:
    """Return the pictures that are changed, their mask and their style, fitted to the plan's size."""
    change = plan.change
    changed = _images(opened, "image", "parent")
    if change is None or not changed:
        return Laid()
    mask = _mask(change, changed[0], opened)
    if change.pad is not None:
        widened, mask = layout.widen(changed[0], change.pad)
        changed = [widened]
    size, fit = (plan.width, plan.height), change.fit or "crop"
    fitted = [layout.fit(image, size, fit) for image in changed]
    opaque = fitted if _is_seen_through(plan) else [layout.flatten(image) for image in fitted]
    images = tuple(layout.extend(image, plan.canvas) for image in opaque)
    style = next((layout.shrunk(image, _most_pixels(plan, change)) for image in _images(opened, "style")), None)
    if mask is None:
        return Laid(images=images, style=style)
    mask = layout.fit(mask, size, fit)
    if mask.getextrema()[1] == 0:
        message = f"--fit {fit} to {plan.width}x{plan.height} cuts off all that the mask marks"
        raise RequestError(message, hint="--fit pad, or its own size")
    kept_mask = layout.feathered(mask, change.feather)
    computed_mask = _in_cells(layout.extend(mask, plan.canvas), catalog.cell(plan.family, plan.model))
    return Laid(images=images, mask=computed_mask, original=fitted[0], kept=kept_mask)


def _is_seen_through(plan: GeneratePlan) -> bool:
    """Return whether the model looks at what is transparent in the given pictures."""
    reference = plan.family.reference
    is_looked_at = plan.change is not None and plan.change.method == "reference"
    return is_looked_at and reference is not None and reference.transparent


def _in_cells(mask: Image.Image, cell: int) -> Image.Image:
    """Return the mask grown to whole cells of `cell` pixels, of which the model repaints all or nothing.

    Pipelines shrink a mask by taking one pixel of each cell, and would lose what is thinner.
    """
    values = np.asarray(mask)
    rows, columns = (edge // cell for edge in values.shape)
    touched = values.reshape(rows, cell, columns, cell).max(axis=(1, 3)) > 0
    return Image.fromarray(np.where(touched, 255, 0).astype(np.uint8).repeat(cell, 0).repeat(cell, 1))


def _most_pixels(plan: GeneratePlan, change: Change) -> int:
    """Return how many pixels of a style picture are of use: those that a model looks at, or as many as are drawn."""
    reference = plan.family.reference
    if reference is not None and change.method == "reference":
        return reference.max_pixels
    return plan.canvas[0] * plan.canvas[1]


def _mask(change: Change, image: Image.Image, opened: Sequence[OpenedPicture]) -> Image.Image | None:
    if change.mask_box is not None:
        return layout.box_mask(change.mask_box, image.size, invert=change.invert_mask)
    for picture in opened:
        if picture.given.role == "mask":
            return layout.mask(picture.image, image.size, name=picture.given.name, invert=change.invert_mask)
    return None


def finish(plan: GeneratePlan, laid: Laid, drawn: Image.Image) -> Image.Image:
    """Return the picture: what was drawn, cut to its size, with what the mask leaves out as it was given."""
    cut = drawn.crop((0, 0, plan.width, plan.height)) if drawn.size != (plan.width, plan.height) else drawn
    if laid.original is None or laid.kept is None or plan.change is None or not plan.change.paste:
        return cut
    return layout.paste(laid.original, cut, laid.kept)


def opaque(drawn: Image.Image, file_format: ImageFormat) -> tuple[Image.Image, tuple[str, ...]]:
    """Return what a model drew as a file of the format can hold it, and a note where transparency is lost.

    Where a model draws transparency, nothing is quite opaque: what cannot be told from it has none.
    """
    if drawn.mode != "RGBA":
        return drawn, ()
    if np.asarray(drawn.getchannel("A")).min() >= _OPAQUE:
        return drawn.convert("RGB"), ()
    written = FORMATS[file_format]
    if written.alpha:
        return drawn, ()
    note = f"a {written.title} holds no transparency, so what is transparent was laid on white"
    return layout.flatten(drawn), (note,)


def notes(plan: GeneratePlan, opened: Sequence[OpenedPicture]) -> tuple[str, ...]:
    """Return what the user should know of the opened pictures."""
    lines = [note for picture in opened for note in picture.notes]
    for picture in opened:
        fate = _transparency(plan, picture.given.role) if picture.image.mode == "RGBA" else None
        if fate:
            lines.append(f"{picture.given.name}: what is transparent in it {fate}")
        if picture.given.role == "control":
            lines.extend(_control_notes(plan, picture.given))
    return tuple(lines)


def _control_notes(plan: GeneratePlan, given: Given) -> Iterator[str]:
    shapes = (given.width * plan.height, given.height * plan.width)
    how = (plan.change.fit if plan.change else None) or "crop"
    if abs(shapes[0] - shapes[1]) > max(plan.width, plan.height):
        fitted = "what does not fit is cut off" if how == "crop" else f"it is fitted by --fit {how}"
        shape = f"{given.width}x{given.height}"
        yield f"{given.name} is {shape}, another aspect ratio than {plan.width}x{plan.height}: {fitted}"


def _transparency(plan: GeneratePlan, role: Role) -> str | None:
    """Return what becomes of a picture's transparent pixels where they do not stay."""
    change = plan.change
    if _is_seen_through(plan):
        return None
    if role == "style" and change is not None and change.method == "statistics":
        return "counts as little as it shows"
    if role == "control":
        return "was laid on black"
    repaints = role == "image" and change is not None and change.method in ("inpainting", "latent-blending")
    kept = repaints and change is not None and change.paste
    return None if role == "mask" or kept else "was laid on white"
