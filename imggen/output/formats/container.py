"""Picture files of any format that imggen knows: which it is, what it carries, and how to change that."""

from collections.abc import Callable
from dataclasses import dataclass

from imggen.errors import RequestError
from imggen.output.formats import avif, jpeg, png, tiff, webp
from imggen.output.formats.carriers import Changes, Picture, check_text
from imggen.plan.schema.request import ImageFormat


@dataclass(frozen=True, kw_only=True)
class Container:
    """One file format: how to know it, read it, and replace metadata in it without touching the picture."""

    format: ImageFormat
    matches: Callable[[bytes], bool]
    read: Callable[[bytes], Picture]
    replace: Callable[[bytes, Changes], bytes]


CONTAINERS = (
    Container(format="png", matches=lambda data: data.startswith(png.SIGNATURE), read=png.read, replace=png.replace),
    Container(
        format="jpeg", matches=lambda data: data.startswith(jpeg.SIGNATURE), read=jpeg.read, replace=jpeg.replace
    ),
    Container(format="webp", matches=webp.is_webp, read=webp.read, replace=webp.replace),
    Container(format="avif", matches=avif.is_avif, read=avif.read, replace=avif.replace),
    Container(format="tiff", matches=tiff.is_tiff, read=tiff.read, replace=tiff.replace),
)
NAMES = "PNG, JPEG, WebP, AVIF or TIFF"

_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
)


def find(data: bytes) -> Container:
    """Return the container that the file's first bytes name; raise RequestError where it is none of ours."""
    found = next((container for container in CONTAINERS if container.matches(data)), None)
    if found:
        return found
    if not data:
        raise RequestError("the file is empty")
    other = next((name for magic, name in _OTHERS if data.startswith(magic)), None)
    if avif.is_heic(data):
        other = "a HEIC"
    what = f"{other}, not a {NAMES}" if other else f"no picture that imggen knows: not a {NAMES}"
    raise RequestError(f"the file is {what}")


def read(data: bytes) -> Picture:
    """Return what the file carries; raise RequestError where it is damaged or of another kind."""
    picture = find(data).read(data)
    check_text(picture.carriers)
    return picture


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with the changes made and the picture in it untouched, bit for bit."""
    return find(data).replace(data, changes)
