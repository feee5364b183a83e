"""Scenes -> pictures: emoji glyphs, primitive shapes and patterned backgrounds, drawn with Pillow."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from imggen.data.drawn import vocabulary
from imggen.data.drawn.scenes import Background, Scene, Subject
from imggen.errors import MachineError

FONT_NAME = "NotoColorEmoji.ttf"
FONT_FOLDERS = (
    Path("~/.local/share/fonts").expanduser(),
    Path("/usr/local/share/fonts"),
    Path("/usr/share/fonts/truetype/noto"),
    Path("/usr/share/fonts/noto"),
    Path("/usr/share/fonts/google-noto-emoji"),
    Path("/usr/share/fonts/google-noto-color-emoji-fonts"),
)
STRIKE_PX = 109
"""The only size at which the font's bitmaps exist."""
SUPERSAMPLING = 4
CACHE_BYTES = 256 << 20
"""What a painter may keep of scaled glyphs."""


def find_font(folders: tuple[Path, ...] = FONT_FOLDERS) -> Path:
    """Return where Noto Color Emoji is; raise MachineError where it is not installed."""
    for folder in folders:
        if (folder / FONT_NAME).is_file():
            return folder / FONT_NAME
    raise MachineError(
        f"the font {FONT_NAME} is not in any of: {', '.join(map(str, folders))}",
        hint="apt-get install fonts-noto-color-emoji",
    )


class Painter:
    """Draws scenes at one size; keeps the glyphs and masks that it has scaled.

    `size` is the picture's edge in pixels. One picture takes about a millisecond once its parts are known.
    """

    def __init__(self, size: int = 128, font: Path | None = None) -> None:
        self.size = size
        self._path = font or find_font()
        self._font = ImageFont.truetype(str(self._path), STRIKE_PX)
        self._glyph = lru_cache(maxsize=max(1, CACHE_BYTES // (4 * size * size)))(self._scale_glyph)
        self._shape = lru_cache(maxsize=1024)(self._scale_shape)
        self._pattern = lru_cache(maxsize=256)(self._draw_pattern)

    def paint(self, scene: Scene) -> Image.Image:
        """Return the scene as an RGB picture of `size` x `size` pixels."""
        picture = self._paint_background(scene.background)
        for subject in scene.subjects:
            self._paint_subject(picture, subject)
        return picture

    def _paint_background(self, background: Background) -> Image.Image:
        first, second = (vocabulary.COLORS[color] for color in background.colors)
        edge = (self.size, self.size)
        if background.kind == "plain":
            return Image.new("RGB", edge, first)
        mask = self._pattern(background.kind, background.period, background.angle)
        return Image.composite(Image.new("RGB", edge, second), Image.new("RGB", edge, first), mask)

    def _paint_subject(self, picture: Image.Image, subject: Subject) -> None:
        edge = round(subject.edge * self.size)
        if subject.color is None:
            glyph = self._glyph(subject.name, edge)
            picture.paste(glyph, self._corner(subject, glyph), glyph)
            return
        mask = self._shape(subject.name, edge)
        picture.paste(vocabulary.COLORS[subject.color], self._corner(subject, mask), mask)

    def _corner(self, subject: Subject, part: Image.Image) -> tuple[int, int]:
        return round(subject.x * self.size - part.width / 2), round(subject.y * self.size - part.height / 2)

    def _scale_glyph(self, name: str, edge: int) -> Image.Image:
        canvas = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(canvas).text((8, 8), vocabulary.OBJECTS[name], font=self._font, embedded_color=True)
        box = canvas.getbbox()
        if box is None:
            raise MachineError(f"{self._path} has no glyph for {name}", hint="install a newer Noto Color Emoji")
        glyph = canvas.crop(box)
        scale = edge / max(glyph.size)
        width, height = (max(1, round(edge * scale)) for edge in glyph.size)
        return glyph.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS).convert("RGBA")

    def _scale_shape(self, name: str, edge: int) -> Image.Image:
        large = edge * SUPERSAMPLING
        mask = Image.new("L", (large, large))
        _SHAPES[name](ImageDraw.Draw(mask), large)
        return mask.resize((edge, edge), Image.Resampling.BOX)

    def _draw_pattern(self, kind: str, period: float, angle: int) -> Image.Image:
        if kind == "gradient":
            mask = Image.linear_gradient("L").resize((self.size, self.size), Image.Resampling.BILINEAR)
            return mask if angle == 0 else mask.rotate(90)
        large, step = self.size * SUPERSAMPLING, round(period * self.size * SUPERSAMPLING)
        mask = Image.new("L", (large, large))
        _PATTERNS[kind](ImageDraw.Draw(mask), large, step)
        mask = mask.resize((self.size, self.size), Image.Resampling.BOX)
        return mask if angle == 0 else mask.rotate(90)


def _spokes(count: int, radii: tuple[float, ...], turn: float = -90.0) -> list[tuple[float, float]]:
    points = []
    for index in range(count):
        angle, radius = math.radians(turn + 360 * index / count), radii[index % len(radii)]
        points.append((0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)))
    return points


def _heart() -> list[tuple[float, float]]:
    # the usual parametric heart: x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t
    points = []
    for index in range(120):
        t = 2 * math.pi * index / 120
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((0.5 + 16 * math.sin(t) ** 3 / 34, 0.46 - y / 34))
    return points


_CROSS = [(0.34, 0), (0.66, 0), (0.66, 0.34), (1, 0.34), (1, 0.66), (0.66, 0.66)]
_CROSS += [(1 - x, 1 - y) for x, y in _CROSS]
_ARROW = [(0, 0.36), (0.52, 0.36), (0.52, 0.1), (1, 0.5), (0.52, 0.9), (0.52, 0.64), (0, 0.64)]
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)],
    "triangle": [(0.5, 0.04), (1, 0.92), (0, 0.92)],
    "star": _spokes(10, (0.52, 0.21)),
    "heart": _heart(),
    "diamond": [(0.5, 0), (0.88, 0.5), (0.5, 1), (0.12, 0.5)],
    "hexagon": _spokes(6, (0.5,), turn=0.0),
    "cross": _CROSS,
    "arrow": _ARROW,
}


def _draw_outline(name: str) -> Callable[[ImageDraw.ImageDraw, int], None]:
    points = _OUTLINES[name]
    return lambda draw, edge: draw.polygon([(x * (edge - 1), y * (edge - 1)) for x, y in points], fill=255)


def _draw_ring(draw: ImageDraw.ImageDraw, edge: int) -> None:
    draw.ellipse((0, 0, edge - 1, edge - 1), fill=255)
    draw.ellipse((edge * 0.24, edge * 0.24, edge * 0.76, edge * 0.76), fill=0)


_SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, int], None]] = {
    **{name: _draw_outline(name) for name in _OUTLINES},
    "circle": lambda draw, edge: draw.ellipse((0, 0, edge - 1, edge - 1), fill=255),
    "ring": _draw_ring,
}


def _draw_stripes(draw: ImageDraw.ImageDraw, edge: int, step: int) -> None:
    for top in range(step // 2, edge, step):
        draw.rectangle((0, top, edge, top + step // 2 - 1), fill=255)


def _draw_dots(draw: ImageDraw.ImageDraw, edge: int, step: int) -> None:
    radius = step * 0.28
    for y in range(step // 2, edge, step):
        for x in range(step // 2, edge, step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _draw_checks(draw: ImageDraw.ImageDraw, edge: int, step: int) -> None:
    for row, y in enumerate(range(0, edge, step)):
        for x in range((row % 2) * step, edge, 2 * step):
            draw.rectangle((x, y, x + step - 1, y + step - 1), fill=255)


_PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, int, int], None]] = {
    "striped": _draw_stripes,
    "dotted": _draw_dots,
    "checked": _draw_checks,
}
