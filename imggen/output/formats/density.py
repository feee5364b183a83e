"""How many pixels of a picture fill an inch of paper, as its file says."""

import re
import struct

from imggen.errors import RequestError
from imggen.output.formats import exif
from imggen.output.formats.carriers import Picture

Density = tuple[int, int]

_UNKNOWN = (72, 72)
_INCHES_PER_METRE = 0.0254
# The segment that opens a JFIF file: version, unit, both densities.
_JFIF = re.compile(rb"\xff\xd8\xff\xe0..JFIF\0..(.)(..)(..)", re.DOTALL)
_PER_INCH = {b"\1": 1.0, b"\2": 2.54}
_PHYS = struct.Struct(">4sIIB")


def read(data: bytes, picture: Picture) -> Density | None:
    """Return the pixels per inch along both axes, rounded, that the file `data` with that structure says.

    Exif comes first, then JFIF or a PNG's pHYs chunk. None where none of them knows: 72 is Exif's word for that.
    """
    for density in (of_exif(picture.carriers.exif), _jfif(data), _phys(data)):
        if density is not None and density != _UNKNOWN:
            return density
    return None


def of_exif(block: bytes | None) -> Density | None:
    """Return what an Exif block says, None where there is none, or a damaged one."""
    try:
        return exif.density(block) if block else None
    except RequestError:
        return None


def _jfif(data: bytes) -> Density | None:
    header = _JFIF.match(data)
    per_inch = _PER_INCH.get(header[1]) if header else None
    if header is None or per_inch is None:
        return None
    return _whole(*(int.from_bytes(header[group]) * per_inch for group in (2, 3)))


def _phys(data: bytes) -> Density | None:
    at = data.find(b"\0\0\0\x09pHYs", 0, max(0, data.find(b"IDAT"))) if data.startswith(b"\x89PNG") else -1
    if at < 0 or at + 4 + _PHYS.size > len(data):
        return None
    _, x, y, unit = _PHYS.unpack_from(data, at + 4)
    return _whole(x * _INCHES_PER_METRE, y * _INCHES_PER_METRE) if unit == 1 else None


def _whole(x: float, y: float) -> Density | None:
    return (round(x), round(y)) if round(x) and round(y) else None
