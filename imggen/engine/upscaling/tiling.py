"""Pictures in tiles: where they lie, what is cut out, and how the drawn ones become one picture again."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imggen.errors import RequestError

Pixels = NDArray[Any]
Drawn = NDArray[np.float32]

TILE = 512
SMALLEST_TILE = 64


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a picture is cut: the edge of a tile and how far tiles overlap at least, in pixels of the small picture.

    A tile of 0 is the whole picture. Tiles overlap by twice the margin of what draws them in any case.
    """

    tile: int = TILE
    overlap: int = 0


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the tiles for a network obey, in pixels of the small picture.

    `margin` is how far from a pixel the network looks: the outer margin of a tile is thrown away. `blend` is by how
    much more tiles should overlap where the network looks further than that. Edges are multiples of `multiple_of`, at
    least `minimum`, and equal where tiles must be `square`. Tiles start at multiples of `window`, for networks that
    look at a picture through windows that lie side by side; those are never square.
    """

    margin: int = 0
    blend: int = 0
    minimum: int = 1
    multiple_of: int = 1
    window: int = 1
    square: bool = False

    @property
    def overlap(self) -> int:
        """How far tiles should overlap."""
        return 2 * self.margin + self.blend

    @property
    def unit(self) -> int:
        """What tiles start at multiples of."""
        return lcm(self.multiple_of, self.window)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of an axis: the network sees `start` to `stop`, and `first` to `last` of it is kept.

    The first `ramp` pixels of that run over from the piece before, the last `tail` into the piece after.
    """

    start: int
    stop: int
    first: int
    last: int
    ramp: int = 0
    tail: int = 0


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A part of a picture, as its pieces of both axes."""

    row: Segment
    column: Segment


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The tiles of a picture, row by row."""

    rows: tuple[Segment, ...]
    columns: tuple[Segment, ...]

    def __iter__(self) -> Iterator[Tile]:
        return (Tile(row=row, column=column) for row in self.rows for column in self.columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)


def grid(size: tuple[int, int], tiling: Tiling, rules: Rules) -> Grid:
    """Return the tiles of a picture of `size` (width, height); raise RequestError for a tile that is too small."""
    if rules.square:
        # Pieces that may not be shorter than the tile are all as long as it, along both axes.
        edge = min(tiling.tile or max(size), max(size))
        rules = replace(rules, minimum=max(rules.minimum, _up(edge, rules.multiple_of)))
    width, height = size
    return Grid(rows=lay_out(height, tiling, rules), columns=lay_out(width, tiling, rules))


def lay_out(length: int, tiling: Tiling, rules: Rules) -> tuple[Segment, ...]:
    """Return the pieces that cover an axis of `length` pixels: evenly spread and equally long, but for the last.

    That one may reach past the end, where the rules ask for it; what is missing there has to be made up. Neighbours
    overlap by the tiling's overlap at least; what is left of it without the margins becomes their ramp, as far as no
    more than two pieces meet. Raise RequestError for a tile that has nothing left between its overlaps.
    """
    whole = max(_up(length, rules.multiple_of), _up(rules.minimum, rules.multiple_of))
    unit = rules.unit
    # A last piece that ends with the picture is shorter than the others by less than a unit.
    least = _units(rules.minimum + (unit - rules.multiple_of), unit)
    units, tile = _units(whole, unit), max(tiling.tile // unit, least)
    if not tiling.tile or tile * unit >= whole:
        return (Segment(start=0, stop=whole, first=0, last=whole),)
    overlap = _units(max(tiling.overlap, 2 * rules.margin), unit)
    if tile <= overlap:
        raise RequestError(
            f"tiles of {tiling.tile} px are too small: they overlap by {overlap * unit} px",
            hint=f"--tile-size {_up(2 * overlap * unit, SMALLEST_TILE)}",
        )
    count = _units(units - overlap, tile - overlap)
    edge = max(_units(units + (count - 1) * overlap, count), least)
    starts = [(units - edge) * number // (count - 1) * unit for number in range(count)]
    pieces = _pieces(starts, edge * unit, overlap * unit - 2 * rules.margin, unit)
    return (*pieces[:-1], replace(pieces[-1], stop=whole, last=whole))


def _units(length: int, unit: int) -> int:
    return -(-length // unit)


def _up(length: int, unit: int) -> int:
    return _units(length, unit) * unit


def _pieces(starts: list[int], edge: int, spare: int, unit: int) -> tuple[Segment, ...]:
    """Return pieces of length `edge` that begin at `starts`, with ramps of at most `spare` pixels."""
    # Strides differ by one unit at most, so ramps this wide never reach into each other.
    ramp = max(0, min(spare, min(after - before for before, after in pairwise(starts)) - unit))
    # Half of what two neighbours share beside the ramp belongs to each.
    cuts = [(after + before + edge - ramp) // 2 for before, after in pairwise(starts)]
    return tuple(
        Segment(
            start=start,
            stop=start + edge,
            first=before or 0,
            last=start + edge if after is None else after + ramp,
            ramp=0 if before is None else ramp,
            tail=0 if after is None else ramp,
        )
        for start, before, after in zip(starts, [None, *cuts], [*cuts, None], strict=True)
    )


def cut(image: Image.Image, tile: Tile) -> Pixels:
    """Return `tile` of RGB `image`: uint8 of shape (height, width, 3), mirrored where the picture ends before it."""
    row, column = tile.row, tile.column
    box = (column.start, row.start, min(column.stop, image.width), min(row.stop, image.height))
    pixels = np.asarray(image.crop(box))
    below = row.stop - row.start - pixels.shape[0]
    right = column.stop - column.start - pixels.shape[1]
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="reflect") if below or right else pixels


def assemble(image: Image.Image, tiles: Grid, scale: int, draw: Callable[[Pixels, Tile], Drawn]) -> Image.Image:
    """Return RGB `image` enlarged `scale` times: each tile drawn by `draw`, one after the other, ramps mixed linearly.

    `draw` takes a tile's pixels (uint8, height x width x 3) and returns float32 in 0..1, `scale` times as large, which
    is overwritten here. Beside the result itself no more than a tile and a row of ramps is kept.
    """
    assembly = _Assembly(image.size, scale, width=tiles.columns[-1].last * scale)
    for tile in tiles:
        assembly.add(draw(cut(image, tile), tile), tile)
    return assembly.picture


class _Assembly:
    """A picture under way: what is finished in 8 bits, and as floats only the ramps that wait for their neighbour.

    Ramps to the right are mixed first, so what waits for the row below is finished along the row.
    """

    def __init__(self, size: tuple[int, int], scale: int, *, width: int) -> None:
        self.picture = Image.new("RGB", (size[0] * scale, size[1] * scale))
        self._scale = scale
        self._width = width
        self._left = np.empty((0, 0, 3), np.float32)
        self._above = self._below = np.empty((0, width, 3), np.float32)

    def add(self, drawn: Drawn, tile: Tile) -> None:
        if not tile.column.first:
            self._above, self._below = self._below, np.empty((tile.row.tail * self._scale, self._width, 3), np.float32)
        row, column = _scaled(tile.row, self._scale), _scaled(tile.column, self._scale)
        pixels = drawn[row.first - row.start : row.last - row.start, column.first - column.start :]
        _mix(pixels[:, : column.ramp], self._left, axis=1)
        end = column.last - column.tail
        self._left = pixels[:, end - column.first : column.last - column.first].copy()
        pixels = pixels[:, : end - column.first]
        _mix(pixels[: row.ramp], self._above[:, column.first : end], axis=0)
        ready = row.last - row.tail - row.first
        self._below[:, column.first : end] = pixels[ready:]
        self._write(pixels[:ready], column.first, row.first)

    def _write(self, pixels: Drawn, left: int, top: int) -> None:
        pixels = pixels[: self.picture.height - top, : self.picture.width - left]
        self.picture.paste(Image.fromarray(np.rint(pixels * 255).astype(np.uint8)), (left, top))


def _scaled(piece: Segment, scale: int) -> Segment:
    return Segment(**{edge: pixels * scale for edge, pixels in asdict(piece).items()})


def _mix(later: Drawn, earlier: Drawn, *, axis: int) -> None:
    """Let `earlier` run out into `later`, in place, over their whole length along `axis`."""
    length = later.shape[axis]
    if length:
        share = np.arange(length, 0, -1, dtype=np.float32) / (length + 1)
        later += (earlier - later) * share.reshape((-1, 1) if axis else (-1, 1, 1))
