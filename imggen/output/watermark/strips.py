"""A picture a strip of rows at a time, so that work on a huge one takes no more memory than on a large one."""

from collections.abc import Iterator

from PIL import Image

PIXELS = 2**19
"""Of a strip, at most, unless it has only 16 rows; temporary numbers of these many pixels stay in caches, too."""

_LEAST_ROWS = 16


def over(image: Image.Image) -> Iterator[range]:
    """Yield the rows of each strip from top to bottom; all begin at a multiple of 16."""
    rows = max(_LEAST_ROWS, PIXELS // image.width // _LEAST_ROWS * _LEAST_ROWS)
    return (range(top, min(top + rows, image.height)) for top in range(0, image.height, rows))


def cut(image: Image.Image, rows: range) -> Image.Image:
    """Return these rows as a picture of their own."""
    return image.crop((0, rows.start, image.width, rows.stop))


def widened(rows: range, by: int, image: Image.Image) -> tuple[range, slice]:
    """Return the rows and up to `by` more on both sides, as far as there are any, and where the rows are in them."""
    wide = range(max(0, rows.start - by), min(image.height, rows.stop + by))
    return wide, slice(rows.start - wide.start, rows.stop - wide.start)
