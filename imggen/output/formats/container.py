"""Picture files of the formats that imggen writes, one row each: how to know, read, change and encode them.

What is said of them without a file, suffixes and sizes, stands in `imggen.plan.schema.formats`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from imggen.errors import RequestError
from imggen.output.formats import avif, jpeg, png, tiff, webp
from imggen.output.formats.carriers import Changes, Picture, check_text
from imggen.plan.schema.formats import TITLES, ImageFormat


@dataclass(frozen=True, kw_only=True)
class Container:
    """One file format.

    `replace` changes metadata and leaves the picture as it is. Pillow encodes pictures of `modes` with the `options`
    for a quality, a mode and a number of pixels. `has_texts` is true of a format with text chunks, whose Exif then
    holds only what came with the file; `max_exif_bytes` and `max_xmp_bytes` are None where nothing bounds them, and
    `max_block_bytes` is the same limit with a block's prefix counted; `moves_exif` says that an Exif block is taken
    apart, so that offsets inside it do not hold.
    """

    matches: Callable[[bytes], bool]
    read: Callable[[bytes], Picture]
    replace: Callable[[bytes, Changes], bytes]
    modes: tuple[str, ...]
    options: Callable[[int, str, int], dict[str, Any]]
    has_texts: bool = False
    max_exif_bytes: int | None = None
    max_xmp_bytes: int | None = None
    max_block_bytes: int = 0
    moves_exif: bool = False


CONTAINERS: Final[dict[ImageFormat, Container]] = {
    "png": Container(
        matches=png.is_png,
        read=png.read,
        replace=png.replace,
        modes=("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        options=png.options,
        has_texts=True,
    ),
    "jpeg": Container(
        matches=jpeg.is_jpeg,
        read=jpeg.read,
        replace=jpeg.replace,
        modes=("L", "RGB", "CMYK"),
        options=jpeg.options,
        max_exif_bytes=jpeg.MAX_EXIF_BYTES,
        max_xmp_bytes=jpeg.MAX_XMP_BYTES,
        max_block_bytes=jpeg.MAX_PAYLOAD,
    ),
    "webp": Container(
        matches=webp.is_webp, read=webp.read, replace=webp.replace, modes=("RGB", "RGBA"), options=webp.options
    ),
    "avif": Container(
        matches=avif.is_avif, read=avif.read, replace=avif.replace, modes=("RGB", "RGBA"), options=avif.options
    ),
    "tiff": Container(
        matches=tiff.is_tiff,
        read=tiff.read,
        replace=tiff.replace,
        modes=("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
        options=tiff.options,
        moves_exif=True,
    ),
}

_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
)


def format_of(data: bytes) -> ImageFormat | None:
    """Return the format that the file's first bytes name, None where it is none of ours."""
    return next((name for name, container in CONTAINERS.items() if container.matches(data)), None)


def read(data: bytes) -> Picture:
    """Return what the file carries; raise RequestError where it is damaged or of another kind."""
    picture = _find(data).read(data)
    check_text(picture.carriers)
    return picture


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with the changes made and the picture in it untouched, bit for bit."""
    return _find(data).replace(data, changes)


def _find(data: bytes) -> Container:
    name = format_of(data)
    if name is not None:
        return CONTAINERS[name]
    if not data:
        raise RequestError("the file is empty")
    other = next((title for magic, title in _OTHERS if data.startswith(magic)), None)
    if avif.is_heic(data):
        other = "a HEIC"
    what = f"{other}, not a {TITLES}" if other else f"of an unknown kind, not a {TITLES}"
    raise RequestError(f"the file is {what}")
