"""Pixels to the bytes of a file without metadata."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from imggen.errors import RequestError
from imggen.plan.schema.request import ImageFormat

# For AVIF, what libavif decodes unless it is told to take more.
LONGEST_EDGE: dict[ImageFormat, int] = {
    "png": (1 << 31) - 1,
    "jpeg": 65_500,
    "webp": 16_383,
    "avif": 16_384,
    "tiff": (1 << 31) - 1,
}

_FULL_COLOUR_QUALITY = 90
_LOSSLESS_QUALITY = 100
_TWO_PASS_PIXELS = 1 << 24
_MODES: dict[ImageFormat, tuple[str, ...]] = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpeg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "avif": ("RGB", "RGBA"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
}
_PREDICTOR, _DIFFERENCES = 317, 2


def encode(image: Image.Image, file_format: ImageFormat, quality: int) -> bytes:
    """Return the picture as a file with nothing in it but pixels and a colour profile.

    `quality` is 1 to 100 for JPEG and AVIF (colours at full resolution from 90 up) and WebP (100 is lossless); PNG and
    TIFF are lossless and have none.
    Raises RequestError where the format cannot hold the picture: its size, or transparency in a JPEG.
    """
    check_size(image.width, image.height, file_format)
    options, profile = _options(file_format, quality), image.info.get("icc_profile")
    if file_format == "jpeg":
        # The best codes take a second pass, for which libjpeg holds six bytes per pixel; they save some hundredths.
        options["optimize"] = image.width * image.height <= _TWO_PASS_PIXELS
    buffer = io.BytesIO()
    with _bare(image):
        fitting = _fitting(image, file_format)
        if _colours(fitting) == _colours(image):
            options["icc_profile"] = profile
        if file_format == "tiff" and fitting.mode not in ("1", "P"):
            # Differences of neighbours take less room; there are none between bits or a palette's numbers.
            options["tiffinfo"] = {_PREDICTOR: _DIFFERENCES}
        fitting.save(buffer, file_format.upper(), **options)
    return buffer.getvalue()


@contextmanager
def _bare(image: Image.Image) -> Iterator[None]:
    """Take away what the picture came with, which Pillow would write: a copy without it may be a quarter GiB."""
    image.load()
    held = image.info
    image.info = {name: held[name] for name in ("transparency",) if name in held}
    try:
        yield
    finally:
        image.info = held


def _options(file_format: ImageFormat, quality: int) -> dict[str, Any]:
    if file_format == "png":
        return {}
    if file_format == "tiff":
        return {"compression": "tiff_adobe_deflate"}
    if file_format == "jpeg":
        return {"quality": quality, "subsampling": 0 if quality >= _FULL_COLOUR_QUALITY else 2}
    if file_format == "avif":
        # How many threads there are would change the bytes.
        subsampling = "4:4:4" if quality >= _FULL_COLOUR_QUALITY else "4:2:0"
        return {"quality": quality, "subsampling": subsampling, "max_threads": 1, "autotiling": False}
    if quality == _LOSSLESS_QUALITY:
        # Pillow's quality is the effort here; exact keeps the colours of transparent pixels.
        return {"lossless": True, "exact": True, "quality": 80}
    return {"quality": quality, "method": 4}


def _colours(image: Image.Image) -> tuple[str, ...]:
    return tuple(band for band in image.getbands() if band != "A")


def check_size(width: int, height: int, file_format: ImageFormat) -> None:
    """Raise RequestError where the format has no room for a picture of that size."""
    longest = LONGEST_EDGE[file_format]
    if max(width, height) > longest:
        raise RequestError(
            f"a {width}x{height} picture does not fit into {file_format}, whose longest edge is {longest:,}",
            hint="--format png",
        )


def check_alpha(file_format: ImageFormat) -> None:
    """Raise RequestError where the format has no room for transparency."""
    if file_format == "jpeg":
        raise _transparent()


def _transparent() -> RequestError:
    return RequestError("a JPEG cannot hold the picture's transparency", hint="-o x.png, or --format png")


def _fitting(image: Image.Image, file_format: ImageFormat) -> Image.Image:
    transparent = image.has_transparency_data
    if file_format == "jpeg" and transparent:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise _transparent()
        return image.convert("RGB")
    if image.mode in _MODES[file_format]:
        return image
    return image.convert("RGBA" if transparent else "RGB")
