"""Control pictures made out of photographs without a model's help: what a ControlNet was trained to read."""

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image

from imggen.errors import MachineError

# The thresholds of the ControlNet paper's own examples (arXiv 2302.05543), of 255.
WEAK_EDGE: Final = 100
STRONG_EDGE: Final = 200
# How much smaller a picture is made before it is a guide for tiles: fine details are what is to be drawn again.
TILE_SHRINKING: Final = 4


def make(kind: str, image: Image.Image) -> Image.Image:
    """Return the control picture of `kind` (canny, tile) of a photograph: RGB, of the same size.

    Raise MachineError where the package that makes it is not installed.
    """
    return _MAKERS[kind](image.convert("RGB"))


def edges(image: Image.Image) -> Image.Image:
    """Return white lines on black where brightness changes (Canny, PAMI 1986)."""
    try:
        import cv2  # imported here because it is an extra of its own
    except ImportError as error:
        raise MachineError(
            "canny edges need OpenCV, which is not installed", hint="pip install 'imggen[control]'"
        ) from error
    detected = cv2.Canny(np.asarray(image), WEAK_EDGE, STRONG_EDGE)
    return Image.fromarray(np.asarray(detected, dtype=np.uint8)).convert("RGB")


def tile(image: Image.Image) -> Image.Image:
    """Return the picture without its fine details: shrunk to a quarter of its edges, and enlarged again."""
    small = (max(image.width // TILE_SHRINKING, 1), max(image.height // TILE_SHRINKING, 1))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)


_MAKERS: Final[dict[str, Callable[[Image.Image], Image.Image]]] = {"canny": edges, "tile": tile}
