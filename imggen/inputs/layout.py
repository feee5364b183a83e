"""Pictures laid out for a model: fitted, masked, widened, and put back together."""

import math

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from imggen.errors import RequestError
from imggen.inputs import kinds
from imggen.inputs.pictures import MAX_PIXELS
from imggen.plan.schema.change import Fit
from imggen.plan.sizing.borders import MOST_PIXELS

MASK_SLACK = 24
"""How far from black or white, in levels of 255, compression takes what was drawn as such."""

_ROWS = 16
"""Rows that are worked on together, so that they stay in the processor's cache."""


def flatten(image: Image.Image, colour: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """Return the picture laid on a plain colour, as RGB."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = Image.new("RGB", image.size, colour)
    ground.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return ground


def fit(image: Image.Image, size: tuple[int, int], how: Fit) -> Image.Image:
    """Return the picture at `size` (width, height), scaled by Lanczos, transparent pixels without their colours.

    `crop` covers the size and cuts off what stands over on both sides alike. `pad` puts the whole picture in the middle
    and continues its edge pixels outwards, which models take for background rather than for a frame. `stretch` scales
    each edge by itself. A picture that has the size already comes back as it is; one that needs no scaling keeps its
    pixels exactly.
    """
    if image.size == size:
        return image
    if how == "stretch":
        return _scaled(image, size)
    across, down = size[0] / image.width, size[1] / image.height
    return _covering(image, size, max(across, down)) if how == "crop" else _within(image, size, min(across, down))


def shrunk(image: Image.Image, pixels: int) -> Image.Image:
    """Return the picture with at most about `pixels` pixels, its shape kept; one that has no more comes as it is."""
    scale = math.sqrt(pixels / (image.width * image.height))
    if scale >= 1:
        return image
    return _scaled(image, (max(round(image.width * scale), 1), max(round(image.height * scale), 1)))


def _covering(image: Image.Image, size: tuple[int, int], scale: float) -> Image.Image:
    if scale == 1:
        return _cut(image, ((image.width - size[0]) // 2, (image.height - size[1]) // 2), size)
    # At most the picture's own edges: a product that rounds up would reach beyond them.
    width, height = (min(edge / scale, own) for edge, own in zip(size, image.size, strict=True))
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return _scaled(image, size, (left, top, left + width, top + height))


def _within(image: Image.Image, size: tuple[int, int], scale: float) -> Image.Image:
    width, height = (min(max(round(own * scale), 1), edge) for own, edge in zip(image.size, size, strict=True))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    inner = image if scale == 1 else _scaled(image, (width, height))
    return _continued(inner, (top, size[0] - width - left, size[1] - height - top, left))


def _scaled(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    # Pillow multiplies by alpha first where there is one.
    return image.resize(size, Image.Resampling.LANCZOS, box)


def _cut(image: Image.Image, corner: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    # Not crop(), which warns of large pictures.
    part = Image.new(image.mode, size)
    part.paste(image, (-corner[0], -corner[1]))
    return part


def extend(image: Image.Image, canvas: tuple[int, int]) -> Image.Image:
    """Return the picture grown to `canvas` (width, height) at the right and the bottom by repeating its edge pixels.

    What was there keeps its place and its pixels, so cutting `image.size` out of the result gives the picture back.
    """
    right, bottom = canvas[0] - image.width, canvas[1] - image.height
    if right < 0 or bottom < 0:
        raise ValueError(f"{canvas} does not hold {image.size}")
    return _continued(image, (0, right, bottom, 0))


def _continued(image: Image.Image, pad: tuple[int, int, int, int]) -> Image.Image:
    """Return the picture with its edge pixels repeated outwards: top, right, bottom, left."""
    top, right, bottom, left = pad
    if not any(pad):
        return image
    width, height = image.width + left + right, image.height + top + bottom
    grown = Image.new(image.mode, (width, height))
    grown.paste(image, (left, top))
    # The columns first, so that the rows carry the corners along.
    for edge, at, thick in ((0, 0, left), (image.width - 1, left + image.width, right)):
        if thick:
            grown.paste(_repeated(image, (edge, 0, edge + 1, image.height), (thick, image.height)), (at, top))
    for edge, at, thick in ((top, 0, top), (top + image.height - 1, top + image.height, bottom)):
        if thick:
            grown.paste(_repeated(grown, (0, edge, width, edge + 1), (width, thick)), (0, at))
    return grown


def _repeated(image: Image.Image, line: tuple[int, int, int, int], size: tuple[int, int]) -> Image.Image:
    return image.resize(size, Image.Resampling.NEAREST, line)


def mask(image: Image.Image, size: tuple[int, int], *, name: str, invert: bool) -> Image.Image:
    """Return a mask picture as mode L, 255 where it says to repaint: its grey value, alpha laid on black.

    What is within `MASK_SLACK` levels of black or white is taken for it: a JPEG's black is seldom 0. Raises
    RequestError where it is not of the picture's `size` (width, height), and where nothing would be repainted.
    """
    shown = kinds.shown(name)
    if image.size != size:
        raise RequestError(
            f"the mask {shown} is {image.width}x{image.height} and the picture is {size[0]}x{size[1]}",
            hint=f"resize the mask to {size[0]}x{size[1]}, or name an area: --mask-box x,y,w,h",
        )
    grey = flatten(image, (0, 0, 0)).convert("L").point(_snapped)
    if grey.getextrema()[1] == 0 and not invert:
        raise RequestError(f"the mask {shown} is black all over, so nothing would be repainted", hint="--invert-mask")
    if invert and grey.getextrema()[0] == 255:
        raise RequestError(
            f"the mask {shown} is white all over, so with --invert-mask nothing would be repainted",
            hint="leave --invert-mask out",
        )
    return ImageChops.invert(grey) if invert else grey


def _snapped(level: int) -> int:
    if level <= MASK_SLACK:
        return 0
    return 255 if level >= 255 - MASK_SLACK else level


def box_mask(box: tuple[int, int, int, int], size: tuple[int, int], *, invert: bool) -> Image.Image:
    """Return a mask of `size` (width, height), mode L: 255 within the box (x, y, width, height), 0 outside.

    `invert` swaps the two; RequestError where nothing would be left to repaint.
    """
    x, y, width, height = box
    if invert and box == (0, 0, *size):
        raise RequestError(
            f"--mask-box {x},{y},{width},{height} is the whole picture: with --invert-mask nothing would be repainted",
            hint="leave --invert-mask out",
        )
    filled = Image.new("L", size, 255 if invert else 0)
    filled.paste(0 if invert else 255, (x, y, x + width, y + height))
    return filled


def feathered(mask: Image.Image, pixels: int) -> Image.Image:
    """Return the mask with an edge that runs out over `pixels` on its inside; what is 0 stays 0, and nothing grows.

    The value rises in a straight line with the distance to the nearest pixel that the mask leaves out; the border of
    the picture is no edge. Raises RequestError where the mask is too thin for any of it to keep its full value.
    """
    if pixels == 0:
        return mask
    values = np.asarray(mask)
    depth = _depth(values > 0, pixels + 1)
    deepest = float(depth.max(initial=0))
    if deepest < pixels + 1:
        fitting = max(math.floor(deepest) - 1, 0)
        raise RequestError(
            f"--feather {pixels} leaves nothing to repaint in full: no point of the mask is that far inside it",
            hint=f"--feather {fitting}" if fitting else "leave --feather out",
        )
    return Image.fromarray(np.rint(values * (depth / (pixels + 1))).astype(np.uint8))


def _depth(inside: np.ndarray, most: int) -> np.ndarray:
    """Return the distance in pixels to the nearest point that is not inside, at most `most`; 0 outside.

    Distances along columns first, then the least of their sums of squares along rows (Saito and Toriwaki 1994,
    10.1016/0031-3203(94)90133-3), looking no farther than `most`.
    """
    column = np.full(inside.shape, most, np.int32)
    for rows in (range(inside.shape[0]), range(inside.shape[0] - 1, -1, -1)):
        run = np.full(inside.shape[1], most)
        for row in rows:
            run = np.where(inside[row], np.minimum(run + 1, most), 0)
            column[row] = np.minimum(column[row], run)
    depth = np.empty(inside.shape, np.float32)
    for first in range(0, len(column), _ROWS):
        squares = column[first : first + _ROWS] ** 2
        edges = _columns_at_edges(squares, most)
        squares[:, edges] = _least_along_rows(squares[:, edges], most)
        depth[first : first + _ROWS] = np.sqrt(squares)
    return np.minimum(depth, most)


def _columns_at_edges(squares: np.ndarray, most: int) -> np.ndarray:
    """Return which columns can change: not those far inside, and none outside but the nearest.

    What is left out between two of them is so wide, or so near to the outside, that neither side sees the other.
    """
    columns: np.ndarray = _spread(np.any(squares > 0, axis=0), 1) & _spread(np.any(squares < most**2, axis=0), most)
    return columns


def _spread(chosen: np.ndarray, by: int) -> np.ndarray:
    near: np.ndarray = np.convolve(chosen, np.ones(2 * by + 1))[by:-by] > 0.5
    return near


def _least_along_rows(squares: np.ndarray, most: int) -> np.ndarray:
    """Return, for every place in a row, the least square plus the square of the way to it."""
    nearest = squares.copy()
    for step in range(1, min(most, squares.shape[1])):
        for here, there in ((nearest[:, step:], squares[:, :-step]), (nearest[:, :-step], squares[:, step:])):
            np.minimum(here, there + step**2, out=here)
    return nearest


def widen(image: Image.Image, pad: tuple[int, int, int, int]) -> tuple[Image.Image, Image.Image]:
    """Return the picture with borders added (top, right, bottom, left) and the mask, mode L, that is 255 on them.

    The borders continue the picture's edge pixels outwards, the more blurred the farther out: background goes on as
    background, and nothing is left that a model would take for detail. (Mirrored borders show ghosts of what stands in
    the middle.) The picture's own pixels stay as they are. Raises RequestError where the result would be too large.
    """
    top, right, bottom, left = pad
    width, height = image.width + left + right, image.height + top + bottom
    if max(width, height) > MOST_PIXELS or width * height > MAX_PIXELS:
        raise RequestError(
            f"--pad {top},{right},{bottom},{left} would make {width}x{height} pixels",
            hint=f"at most {MOST_PIXELS:,} pixels an edge and {MAX_PIXELS // 10**6} million in all",
        )
    if not any(pad):
        return image, Image.new("L", image.size)
    box = (left, top, left + image.width, top + image.height)
    canvas = _blurred_outwards(_continued(image, pad), box, max(pad))
    canvas.paste(image, box)
    return canvas, box_mask((left, top, *image.size), canvas.size, invert=True)


def _blurred_outwards(image: Image.Image, box: tuple[int, int, int, int], reach: int) -> Image.Image:
    """Return the picture ever more blurred with the distance to the box, up to a third of `reach` pixels."""
    blurred = image
    for share in (1 / 24, 1 / 8, 1 / 3):
        near, far = reach * share / 2, reach * share * 2
        blurred = Image.composite(_blurred(image, reach * share), blurred, _ramp(image.size, box, (near, far)))
    return blurred


def _blurred(image: Image.Image, radius: float) -> Image.Image:
    flat = image.convert("RGBa") if image.mode == "RGBA" else image
    return flat.filter(ImageFilter.GaussianBlur(radius)).convert(image.mode)


def _ramp(size: tuple[int, int], box: tuple[int, int, int, int], distances: tuple[float, float]) -> Image.Image:
    """Return a mask that rises from 0 to 255 between two distances to the box, in pixels."""
    x, y = np.arange(size[0]), np.arange(size[1])
    beside = np.maximum(np.maximum(box[0] - x, x - box[2] + 1), 0)
    above = np.maximum(np.maximum(box[1] - y, y - box[3] + 1), 0)
    distance = np.hypot(beside[None].astype(np.float32), above[:, None].astype(np.float32))
    near, far = distances
    return Image.fromarray(np.rint(((distance - near) / (far - near)).clip(0, 1) * 255).astype(np.uint8))


def paste(original: Image.Image, drawn: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `original` with `drawn` in it where the mask says so; all three are of one size.

    Where the mask is 0 the pixels are the original's, bit for bit, alpha and hidden colours too; where it is 255 they
    are the drawn ones, opaque; between, both are mixed by the light that they give. The mode is the original's.
    """
    if not original.size == drawn.size == mask.size:
        raise ValueError(f"{original.size}, {drawn.size} and {mask.size} differ")
    opaque = flatten(drawn)
    if original.mode != "RGBA":
        return Image.composite(opaque, original, mask)
    pasted = np.array(original)
    share, new = np.asarray(mask), np.asarray(opaque)
    pasted[share == 255] = np.pad(new[share == 255], ((0, 0), (0, 1)), constant_values=255)
    between = (share > 0) & (share < 255)
    pasted[between] = _mixed(pasted[between], new[between], share[between, None] / 255)
    return Image.fromarray(pasted)


def _mixed(old: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return RGBA pixels between `old` (n, 4) and opaque `new` (n, 3); transparent ones give no colour to the mix."""
    alpha = old[:, 3:] / 255 * (1 - share)
    light = (old[:, :3] * alpha + new * share) / (alpha + share)
    mixed: np.ndarray = np.rint(np.concatenate([light, (alpha + share) * 255], axis=1)).astype(np.uint8)
    return mixed
