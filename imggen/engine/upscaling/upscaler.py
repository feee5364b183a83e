"""Pictures made larger: by a network, tile by tile, as often as needed, and resampled to the exact size.

Neither torch nor diffusers: a network hands over an array for an array.
"""

from math import isqrt
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageFilter

from imggen.engine.upscaling import tiling as tiles
from imggen.engine.upscaling.tiling import Drawn, Grid, Pixels, Tile, Tiling
from imggen.plan.schema.progress import Progress, Report, ignore

if TYPE_CHECKING:
    from imggen.engine.upscaling.networks import Network


# The share of free memory that a tile's computation may take; the estimate is rough and others want memory too.
SHARE = 0.5
# From this alpha on a pixel's colour is its own; below, eight bits that were multiplied and divided tell little of it.
TELLING_ALPHA = 16
OPAQUE = (255, 255)


def lanczos(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return RGB or RGBA `image` resampled to `size` (width, height) by Lanczos, for all that alpha as it should be.

    Where a picture shrinks, colours are weighted by their alpha. Where it grows, that would give opaque edges a bright
    rim; there transparent pixels take the colours around them instead.
    """
    if image.mode == "RGB" or _is_opaque(image) or size[0] < image.width or size[1] < image.height:
        # Pillow itself multiplies colours by alpha before it resamples, and divides afterwards.
        return image.resize(size, Image.Resampling.LANCZOS)
    return _joined(filled(image), image.getchannel("A"), size)


def _is_opaque(image: Image.Image) -> bool:
    return image.getchannel("A").getextrema() == OPAQUE


def _joined(colours: Image.Image, alpha: Image.Image, size: tuple[int, int]) -> Image.Image:
    colours, alpha = (
        band if band.size == size else band.resize(size, Image.Resampling.LANCZOS) for band in (colours, alpha)
    )
    colours.putalpha(alpha)
    return colours


def enlarge(
    image: Image.Image,
    network: "Network",
    size: tuple[int, int],
    *,
    tiling: Tiling | None = None,
    on_event: Report = ignore,
) -> Image.Image:
    """Return RGB or RGBA `image` at `size` (width, height): drawn by `network` until large enough, then resampled once.

    A size that is nowhere larger than the picture is resampled alone. Grey stays grey, alpha is enlarged beside the
    colours, and what lies under transparent pixels shows nowhere. Raise RequestError for tiles that are too small,
    PictureError where the network's result is not made of numbers, MachineError where memory runs out.
    """
    times = passes(image.size, network.scale, size)
    if not times:
        return lanczos(image, size)
    tiling = tiling or Tiling(overlap=network.rules.overlap)
    sizes = [[edge * network.scale**number for edge in image.size] for number in range(times)]
    grids = [tiles.grid((width, height), tiling, network.rules) for width, height in sizes]
    if image.mode == "RGB" or _is_opaque(image):
        drawn = _drawn(image.convert("RGB"), network, grids, _Counter(on_event, grids))
        return _resampled(drawn, size, image.mode)
    report = _Counter(on_event, grids * 2)
    colours = _drawn(filled(image), network, grids, report)
    return _joined(colours, _drawn_alpha(image.getchannel("A"), network, grids, report), size)


def _resampled(drawn: Image.Image, size: tuple[int, int], mode: str) -> Image.Image:
    drawn = drawn if drawn.size == size else lanczos(drawn, size)
    if mode == "RGBA":
        drawn.putalpha(255)
    return drawn


def passes(size: tuple[int, int], scale: int, target: tuple[int, int]) -> int:
    """Return how often a network of `scale` must draw a picture of `size` until no edge is short of `target`."""
    times = 0
    while any(scale**times * edge < wanted for edge, wanted in zip(size, target, strict=True)):
        times += 1
    return times


def suggest_tile(network: "Network", *, free_bytes: int) -> Tiling:
    """Return tiles for `network` that leave room in `free_bytes`: as large as pays, which is 512 pixels."""
    rules = network.rules
    affordable = isqrt(max(0, int(free_bytes * SHARE)) // network.bytes_per_pixel)
    # A tile of one unit more than its overlap makes progress; one of twice as much does not waste most of its work.
    smallest = max(tiles.SMALLEST_TILE, rules.minimum, 2 * (rules.overlap + rules.unit - 1))
    edge = max(min(affordable, tiles.TILE), smallest)
    return Tiling(tile=-(-edge // rules.unit) * rules.unit, overlap=rules.overlap)


class _Counter:
    """Tells how many tiles are done, the beginning included."""

    def __init__(self, on_event: Report, grids: list[Grid]) -> None:
        self._on_event = on_event
        self._steps = sum(map(len, grids))
        self._step = -1
        self()

    def __call__(self) -> None:
        self._step += 1
        self._on_event(Progress(stage="enlarge", step=self._step, steps=self._steps))


def _drawn(image: Image.Image, network: "Network", grids: list[Grid], report: _Counter) -> Image.Image:
    def draw(pixels: Pixels, _: Tile) -> Drawn:
        drawn = network.draw(pixels)
        report()
        return drawn

    was_grey = is_grey(image)
    for grid in grids:
        image = tiles.assemble(image, grid, network.scale, draw)
    # Networks have only seen colours, and tint a little.
    return image.convert("L").convert("RGB") if was_grey else image


def _drawn_alpha(alpha: Image.Image, network: "Network", grids: list[Grid], report: _Counter) -> Image.Image:
    drawn = _drawn(Image.merge("RGB", (alpha, alpha, alpha)), network, grids, report).getchannel(0)
    # A network leaves noise of a level or two where nothing is; only edges are its to draw.
    nowhere = alpha.filter(ImageFilter.MaxFilter(3)).point(lambda level: 255 * (level == 0))
    everywhere = alpha.filter(ImageFilter.MinFilter(3)).point(lambda level: 255 * (level == 255))
    drawn.paste(0, mask=nowhere.resize(drawn.size, Image.Resampling.NEAREST))
    drawn.paste(255, mask=everywhere.resize(drawn.size, Image.Resampling.NEAREST))
    return drawn


def is_grey(image: Image.Image) -> bool:
    """Return whether RGB `image` has no colours."""
    red, green, blue = image.split()
    return ImageChops.difference(red, green).getbbox() is None and ImageChops.difference(red, blue).getbbox() is None


def filled(image: Image.Image) -> Image.Image:
    """Return RGBA `image` as RGB, where transparent pixels have the colours of the nearest visible ones.

    Colours are gathered in ever smaller copies and handed back to what had none (pull-push: Gortler and others, The
    Lumigraph, 1996).
    """
    levels = [image]
    while max(levels[-1].size) > 1 and _least(levels[-1].getchannel("A")) < TELLING_ALPHA:
        small = levels[-1].reduce(2)
        # A lone pixel would fade away with every halving.
        small.putalpha(small.getchannel("A").point(lambda level: min(255, 4 * level)))
        levels.append(small)
    colours = levels.pop().convert("RGB")
    for level in reversed(levels):
        around = colours.resize(level.size, Image.Resampling.BILINEAR)
        own = level.getchannel("A").point(lambda alpha: min(255, alpha * 255 // TELLING_ALPHA))
        colours = Image.composite(level.convert("RGB"), around, own)
    return colours


def _least(band: Image.Image) -> int:
    return next(level for level, count in enumerate(band.histogram()) if count)
