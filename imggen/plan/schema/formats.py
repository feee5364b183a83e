"""The picture formats that are written, one row each: what is decided of them before there are pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

ImageFormat = Literal["png", "jpeg", "webp", "avif", "tiff"]
FULL_COLOUR_QUALITY: Final = 90
"""The quality from which JPEG and AVIF keep colours at full resolution."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format: files are named with the first of `suffixes`, and written with `quality` where none is asked for.

    A lossless format has no other quality. `longest_edge` is in pixels; `alpha` says whether transparency is kept.
    """

    title: str
    suffixes: tuple[str, ...]
    mime_type: str
    quality: int
    longest_edge: int = (1 << 31) - 1
    lossless: bool = False
    alpha: bool = True

    @property
    def suffix(self) -> str:
        """The suffix that files are named with."""
        return self.suffixes[0]


FORMATS: Final[dict[ImageFormat, Format]] = {
    "png": Format(title="PNG", suffixes=(".png",), mime_type="image/png", quality=100, lossless=True),
    "jpeg": Format(
        title="JPEG",
        suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"),
        mime_type="image/jpeg",
        quality=95,
        longest_edge=65_500,
        alpha=False,
    ),
    "webp": Format(title="WebP", suffixes=(".webp",), mime_type="image/webp", quality=90, longest_edge=16_383),
    # The longest edge that libavif decodes unless it is told to take more.
    "avif": Format(title="AVIF", suffixes=(".avif",), mime_type="image/avif", quality=80, longest_edge=16_384),
    "tiff": Format(title="TIFF", suffixes=(".tif", ".tiff"), mime_type="image/tiff", quality=100, lossless=True),
}
SUFFIXES: Final[dict[str, ImageFormat]] = {suffix: name for name, row in FORMATS.items() for suffix in row.suffixes}
PICTURE_SUFFIXES: Final = (*SUFFIXES, ".gif", ".bmp", ".ppm")
"""The suffixes of the files that are read as pictures."""


def either(words: Iterable[str], link: str = "or") -> str:
    """Return the words as a sentence lists them: `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} {link} {last}" if first else last


TITLES: Final = either(row.title for row in FORMATS.values())
