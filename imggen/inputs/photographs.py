"""Whether a picture was taken by a camera, or looks so."""

import io
from contextlib import suppress
from typing import Final

import numpy as np
from PIL import ExifTags, Image

from imggen.inputs import layout

_EDGE: Final = 128
_SMALLEST: Final = 96
"""In pixels: what is smaller is an icon, in which every line is rough."""
_ROUGH: Final = 7
"""In grey levels. Of drawings, those of the built-in model with their patterns included, most pixels differ from their
neighbours by 5 or less; of photographs in focus by 8 and more."""
_OF_CAMERAS: Final = (ExifTags.Base.ExposureTime, ExifTags.Base.FNumber, ExifTags.Base.ISOSpeedRatings)


def is_photograph(image: Image.Image, data: bytes) -> bool:
    """Return whether a camera exposed the picture, as the Exif in `data`, its file's bytes, says, or it is that rough.

    It is rough where half of its pixels differ from the one above or to the left by 7 of 255 grey levels or more, once
    it is no larger than 128 pixels; smaller than 96 from the start it is an icon. Dark and blurred photographs without
    Exif pass for drawings.
    """
    return _is_exposed(data) or (min(image.size) >= _SMALLEST and roughness(image) >= _ROUGH)


def roughness(image: Image.Image) -> float:
    """Return by how many of 255 grey levels half of the pixels differ from their neighbours, at 128 pixels at most."""
    small = layout.flatten(image).convert("L")
    small.thumbnail((_EDGE, _EDGE), Image.Resampling.BOX)
    grey = np.asarray(small).astype(np.int16)
    if min(grey.shape) < 2:
        return 0.0
    down, across = np.abs(grey[1:, 1:] - grey[:-1, 1:]), np.abs(grey[1:, 1:] - grey[1:, :-1])
    return float(np.median(np.maximum(down, across)))


def _is_exposed(data: bytes) -> bool:
    # What is damaged in the Exif was told when the picture was read.
    with suppress(Exception), Image.open(io.BytesIO(data)) as opened:
        stated = opened.getexif().get_ifd(ExifTags.IFD.Exif)
        return any(tag in stated for tag in _OF_CAMERAS)
    return False
