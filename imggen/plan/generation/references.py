"""Pictures that a model looks at while it draws another one: which sizes it takes, and how much more it then sees."""

import math

from imggen.errors import RequestError
from imggen.plan.case import Case
from imggen.plan.models import catalog
from imggen.plan.schema.change import Method
from imggen.plan.schema.family import Reference
from imggen.plan.sizing import sizes
from imggen.plan.sizing.sizes import Size


def seen(case: Case, method: Method | None, size: Size) -> tuple[int, ...]:
    """Return the pixels of each picture that the denoiser sees beside the one of `size` that it draws.

    Raise RequestError for a picture that the family's pipeline would refuse to look at, or would give back smaller.
    """
    reference = case.family.reference
    if reference is None or method not in ("reference", "inpainting"):
        return ()
    step = catalog.multiple_of(case.family, case.facts)
    canvas = (-(-size.width // step) * step, -(-size.height // step) * step)
    styles = [picture for picture in case.given if picture.role == "style"]
    if method == "inpainting" and math.prod(canvas) > reference.max_pixels:
        raise _too_large(case, canvas, reference.max_pixels)
    if method == "reference":
        _check_look(case, reference, ("the picture to be made", *canvas), "another --size")
        for style in styles:
            _check_look(case, reference, (style.name, style.width, style.height), f"crop or enlarge {style.name}")
    edges = (canvas, *((style.width, style.height) for style in styles))
    return tuple(min(max(math.prod(edge), reference.min_pixels), reference.max_pixels) for edge in edges)


def _too_large(case: Case, canvas: tuple[int, int], pixels: int) -> RequestError:
    step, scale = catalog.multiple_of(case.family, case.facts), math.sqrt(pixels / math.prod(canvas))
    width, height = (max(step, int(edge * scale) // step * step) for edge in canvas)
    drawn = f"{canvas[0]}x{canvas[1]} px are {math.prod(canvas):,}"
    message = f"{drawn}; {case.family.title} repaints pictures of at most {pixels:,}"
    return RequestError(message, hint=sizes.smaller(case.request, width, height))


def _check_look(case: Case, reference: Reference, picture: tuple[str, int, int], hint: str) -> None:
    name, width, height = picture
    short, long = sorted((width, height))
    if short < reference.min_size or long > reference.max_ratio * short:
        looks = f"{case.family.title} looks at pictures with edges of {reference.min_size} px and more"
        most = f"the longer at most {reference.max_ratio:g} times the shorter"
        raise RequestError(f"{name} has {width}x{height} px; {looks}, {most}", hint=hint)
