"""The size of a picture that is made from another one, and the canvas that the model computes."""

from dataclasses import dataclass

from imggen.errors import RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.sizing import sizes
from imggen.plan.sizing.sizes import Limits, Size


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What the pipeline computes, in pixels; the picture is its upper left part."""

    width: int
    height: int


def size(request: GenerateRequest, start: tuple[int, int], limits: Limits) -> Size:
    """Return the size of the picture: what `request` says, else that of the `start` one (width, height).

    One edge alone keeps the given picture's shape. Any whole number of pixels will do, since the canvas is larger where
    the model needs it; of a model that makes listed sizes only, it is the one of about the given shape. Raise
    RequestError for contradictions, and for edges that the model does not make.
    """
    sizes.refuse_contradictions(request)
    if limits.listed:
        return _listed(request, start, limits)
    result = _said(request, start, limits)
    edges = (result.width, result.height)
    if limits.smallest <= min(edges) and max(edges) <= limits.largest:
        return result
    makes = f"{limits.model} makes edges of {limits.smallest} to {limits.largest} px"
    message = f"{result.reason}: {result.width}x{result.height} px; {makes}"
    raise RequestError(message, hint=_within(edges, limits, request))


def _listed(request: GenerateRequest, start: tuple[int, int], limits: Limits) -> Size:
    if request.size is not None or request.aspect is not None or sizes.edges(request):
        return sizes.choose(request, limits)
    width, height = sizes.nearest_listed(start[0] / start[1], limits)
    return Size(width=width, height=height, reason="of the sizes that the model makes, the given picture's shape")


def canvas(picture: Size, limits: Limits) -> Canvas:
    """Return the smallest canvas for the picture whose edges are multiples that the model can make."""
    width, height = (-(-edge // limits.multiple_of) * limits.multiple_of for edge in (picture.width, picture.height))
    return Canvas(width=width, height=height)


def _said(request: GenerateRequest, start: tuple[int, int], limits: Limits) -> Size:
    width, height = start
    if request.size is not None:
        pair = sizes.parse_size(request.size, limits)
        return Size(width=pair[0], height=pair[1], reason=f"--size {request.size}")
    if request.aspect is not None:
        return _reshaped(request, start)
    if request.width is None and request.height is None:
        return Size(width=width, height=height, reason="the given picture's size")
    wide = request.width if request.width is not None else max(1, round(width * (request.height or 1) / height))
    tall = request.height if request.height is not None else max(1, round(height * wide / width))
    return Size(width=wide, height=tall, reason=" ".join(sizes.edges(request)))


def _reshaped(request: GenerateRequest, start: tuple[int, int]) -> Size:
    """Return the largest size within the start picture's with the aspect, or the aspect at the edge that is given."""
    ratio = sizes.parse_aspect(str(request.aspect))
    reason = " ".join([f"--aspect {request.aspect}", *sizes.edges(request)])
    if request.width is not None:
        return Size(width=request.width, height=max(1, round(request.width / ratio)), reason=reason)
    if request.height is not None:
        return Size(width=max(1, round(request.height * ratio)), height=request.height, reason=reason)
    width, height = start
    if width / height > ratio:
        return Size(width=max(1, round(height * ratio)), height=height, reason=reason)
    return Size(width=width, height=max(1, round(width / ratio)), reason=reason)


def _within(edges: tuple[int, int], limits: Limits, request: GenerateRequest) -> str:
    """Return the nearest size of the same shape that the model makes, as the options that the request has for it."""
    scale = limits.largest / max(edges) if max(edges) > limits.largest else limits.smallest / min(edges)
    step = limits.multiple_of
    width, height = (min(max(round(edge * scale / step) * step, limits.smallest), limits.largest) for edge in edges)
    return sizes.smaller(request, width, height)
