"""A visible label: a few letters on a plate in a corner of the picture."""

from typing import Final

from PIL import Image, ImageDraw, ImageFont

from imggen.errors import RequestError

# GB 45438-2025 asks for at least 5 % of the short edge; letters below eleven pixels are hard to read.
_SHARE: Final = 0.06
_SMALLEST: Final = 11
_MARGIN: Final = 0.5
_PADDING: Final = 0.35
_INK, _PLATE = (255, 255, 255), (0, 0, 0)


def check(size: tuple[int, int], text: str) -> None:
    """Raise RequestError where the label does not fit into a picture of that size (width, height)."""
    plate, margin = _plate(size, text)
    if plate.width + 2 * margin > size[0] or plate.height + 2 * margin > size[1]:
        raise RequestError(
            f"--label {text!r} takes {plate.width}x{plate.height} pixels, and the picture has {size[0]}x{size[1]}",
            hint="--label AI, or a larger picture",
        )


def draw(image: Image.Image, text: str) -> Image.Image:
    """Return a copy of the picture with the text in its lower right corner, white on an opaque black plate.

    The letters are 6 % of the short edge, at least 11 pixels, so they read on any ground. The font is the one that
    Pillow brings, which has the letters of ASCII. Grey pictures stay grey, and transparent ones are opaque where the
    plate is. Raises RequestError where the label does not fit into the picture.
    """
    check(image.size, text)
    plate, margin = _plate(image.size, text)
    labelled = image.copy()
    corner = (image.width - plate.width - margin, image.height - plate.height - margin)
    labelled.paste(plate.convert(image.mode), corner)
    return labelled


def _plate(size: tuple[int, int], text: str) -> tuple[Image.Image, int]:
    """Return the plate with the text on it (RGB), and how far from the edges it stands."""
    letters = max(_SMALLEST, round(min(size) * _SHARE))
    font = ImageFont.load_default(size=letters)
    left, top, right, bottom = font.getbbox(text)
    padding = round(letters * _PADDING)
    plate = Image.new("RGB", (round(right - left) + 2 * padding, round(bottom - top) + 2 * padding), _PLATE)
    ImageDraw.Draw(plate).text((padding - left, padding - top), text, fill=_INK, font=font)
    return plate, round(letters * _MARGIN)
