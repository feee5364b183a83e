"""Pixels to the bytes of a file without metadata."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from imggen.errors import RequestError
from imggen.output.formats.container import CONTAINERS
from imggen.plan.schema.formats import FORMATS, ImageFormat


def encode(image: Image.Image, file_format: ImageFormat, quality: int) -> bytes:
    """Return the picture as a file with nothing in it but pixels and a colour profile.

    `quality` is 1 to 100 for JPEG and AVIF (colours at full resolution from 90 up) and WebP (100 is lossless); PNG and
    TIFF are lossless and have none.
    Raises RequestError where the format cannot hold the picture: its size, or transparency in a JPEG.
    """
    check_size(image.width, image.height, file_format)
    profile = image.info.get("icc_profile")
    buffer = io.BytesIO()
    with _bare(image):
        fitting = _fitting(image, file_format)
        options = CONTAINERS[file_format].options(quality, fitting.mode, image.width * image.height)
        if _colours(fitting) == _colours(image):
            options["icc_profile"] = profile
        # The formats are named as Pillow names them, in small letters.
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


def _colours(image: Image.Image) -> tuple[str, ...]:
    return tuple(band for band in image.getbands() if band != "A")


def check_size(width: int, height: int, file_format: ImageFormat) -> None:
    """Raise RequestError where the format has no room for a picture of that size."""
    longest = FORMATS[file_format].longest_edge
    if max(width, height) > longest:
        raise RequestError(
            f"a {width}x{height} picture does not fit into {file_format}, whose longest edge is {longest:,}",
            hint="--format png",
        )


def check_alpha(file_format: ImageFormat) -> None:
    """Raise RequestError where the format has no room for transparency."""
    if not FORMATS[file_format].alpha:
        raise RequestError(
            f"a {FORMATS[file_format].title} cannot hold the picture's transparency", hint="-o x.png, or --format png"
        )


def _fitting(image: Image.Image, file_format: ImageFormat) -> Image.Image:
    """Return the picture in a mode that the format holds; RequestError where transparency would be lost."""
    transparent = image.has_transparency_data
    if transparent and not FORMATS[file_format].alpha:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            check_alpha(file_format)
        return image.convert("RGB")
    if image.mode in CONTAINERS[file_format].modes:
        return image
    return image.convert("RGBA" if transparent else "RGB")
