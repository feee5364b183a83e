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


def draw(image: Image.Image, text: str) -> Image.Image:
    """Return a copy of the picture with the text in its lower right corner, white on an opaque black plate.

    The letters are 6 % of the short edge, at least 11 pixels, so they read on any ground. The font is the one that
    Pillow brings, which has the letters of ASCII. Grey pictures stay grey, and transparent ones are opaque where the
    plate is. Raises RequestError where the label does not fit into the picture.
    """
    letters = max(_SMALLEST, round(min(image.size) * _SHARE))
    font = ImageFont.load_default(size=letters)
    left, top, right, bottom = font.getbbox(text)
    padding, margin = round(letters * _PADDING), round(letters * _MARGIN)
    width, height = round(right - left) + 2 * padding, round(bottom - top) + 2 * padding
    if width + 2 * margin > image.width or height + 2 * margin > image.height:
        raise RequestError(
            f"--label {text!r} takes {width}x{height} pixels, and the picture has {image.width}x{image.height}",
            hint="--label AI, or a larger picture",
        )
    plate = Image.new("RGB", (width, height), _PLATE)
    ImageDraw.Draw(plate).text((padding - left, padding - top), text, fill=_INK, font=font)
    labelled = image.copy()
    corner = (image.width - width - margin, image.height - height - margin)
    labelled.paste(plate.convert(image.mode), corner)
    return labelled
