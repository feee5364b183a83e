"""Draw the contact sheets of the README and docs/, all or those named, by the command line and the built-in model.

    python tests/benchmarks/contact_sheets.py [tour img2img ...] [--into docs]

A caption is the line that was run, a label what was added to it. Seeds are 1 and up, in order; nothing is left out.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFont

from imggen.data.drawn import drawing, scenes

ROOT = Path(__file__).parents[2]
GAP, MARGIN = 8, 10
LABEL_PX, CAPTION_PX = 11, 13
INK, PAPER, FAINT = (20, 20, 20), (255, 255, 255), (205, 205, 205)
HELD_OUT = 99
"""A seed whose drawn scenes no training saw."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Pictures in a line under a caption, each with a label of its own."""

    caption: str
    cells: tuple[tuple[str, Image.Image], ...]


@dataclass(frozen=True, kw_only=True)
class Studio:
    """A folder in which command lines are run, one after the other."""

    folder: Path

    def run(self, line: str) -> None:
        """Run `imggen` with the words of `line`; a failure stops the sheet."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-m", "imggen", *shlex.split(line), "--quiet"]
        subprocess.run(words, check=True, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL)

    def open(self, name: str) -> Image.Image:
        with Image.open(self.folder / name) as picture:
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")

    def made(self, line: str, name: str) -> Image.Image:
        self.run(f"{line} -o {name}")
        return self.open(name)

    def seeds(self, line: str, count: int) -> Iterator[tuple[str, Image.Image]]:
        """Yield what `line` makes of the seeds from 1 to `count`, labelled."""
        self.run(f"{line} --seed 1-{count} -o 'seed-{{seed}}.png' --if-exists overwrite")
        for seed in range(1, count + 1):
            yield f"seed {seed}", self.open(f"seed-{seed}.png")

    def values(self, line: str, option: str, *values: str) -> Iterator[tuple[str, Image.Image]]:
        """Yield what `line` makes with each of the values of an option, labelled."""
        for value in values:
            yield f"{option} {value}", self.made(f"{line} {option} {value} --if-exists overwrite", "value.png")

    def given(self, name: str) -> tuple[str, Image.Image]:
        return name, self.open(name)


def img2img(studio: Studio) -> Iterator[Row]:
    sketch().save(studio.folder / "sketch.png")
    studio.run('generate "a car on a white background" --seed 1 -o car.png')
    for name, prompt in (("sketch", "a red apple on a teal background"), ("car", "a bus on a white background")):
        line = f'img2img {name}.png "{prompt}" --seed 1'
        made = studio.values(line, "--strength", "0.3", "0.5", "0.7", "0.9")
        yield Row(caption=line, cells=(studio.given(f"{name}.png"), *made))


def inpaint(studio: Studio) -> Iterator[Row]:
    studio.run('generate "a red apple on a teal background" --seed 1 -o apple.png')
    studio.run('generate "a cat on a pink background" --seed 1 -o cat.png')
    subject(studio.open("apple.png")).save(studio.folder / "mask.png")
    box = (4, 16, 120, 104)
    boxed = Image.new("L", (128, 128))
    boxed.paste(255, (box[0], box[1], box[0] + box[2], box[1] + box[3]))
    shown = f"--mask-box {','.join(map(str, box))}"
    for line, cells in (
        (f'inpaint cat.png "a dog on a pink background" {shown}', (studio.given("cat.png"), (shown, boxed))),
        (
            'inpaint apple.png "a navy background" --mask mask.png --invert-mask',
            (studio.given("apple.png"), studio.given("mask.png")),
        ),
    ):
        yield Row(caption=line, cells=(*cells, *studio.seeds(line, 4)))


def outpaint(studio: Studio) -> Iterator[Row]:
    studio.run('generate "a house on a lime background" --seed 1 -o house.png')
    studio.run('generate "a rocket on a navy to cyan gradient background" --seed 1 -o rocket.png')
    for name, prompt in (
        ("house", "a house on a lime background"),
        ("rocket", "a rocket on a navy to cyan gradient background"),
    ):
        line = f'outpaint {name}.png "{prompt}" --pad 0,64 --seed 1'
        made = studio.values(line, "--strength", "0.4", "0.7", "1")
        yield Row(caption=line, cells=(studio.given(f"{name}.png"), *made))
    line = 'outpaint house.png "a lime background" --pad 64,0,64,0'
    yield Row(caption=line, cells=(studio.given("house.png"), *studio.seeds(line, 4)))


def blend(studio: Studio) -> Iterator[Row]:
    sketch().save(studio.folder / "sketch.png")
    for name, prompt in (("apple", "a red apple on a teal background"), ("lemon", "a lemon on a navy background")):
        studio.run(f'generate "{prompt}" --seed 1 -o {name}.png')
    studio.run('generate "a cat on a pink background" --seed 1 -o cat.png')
    line = "blend apple.png lemon.png --seed 1"
    made = studio.values(line, "--weights", "0.7,0.3", "0.5,0.5", "0.3,0.7")
    yield Row(caption=line, cells=(studio.given("apple.png"), studio.given("lemon.png"), *made))
    studio.run(f"{line} --weights 0.5,0.5 -o child.png")
    line = "blend child.png cat.png"
    yield Row(caption=line, cells=(studio.given("child.png"), studio.given("cat.png"), *studio.seeds(line, 3)))
    line = "blend apple.png --seed 2"
    yield Row(
        caption=line,
        cells=(studio.given("apple.png"), *studio.values(line, "--mutate", "0.2", "0.5", "0.8", "1")),
    )
    line = 'blend sketch.png cat.png -p "a cat on a teal background"'
    yield Row(caption=line, cells=(studio.given("sketch.png"), studio.given("cat.png"), *studio.seeds(line, 3)))


def style(studio: Studio) -> Iterator[Row]:
    for name, colours in STROKES.items():
        strokes(colours).save(studio.folder / f"{name}.png")
    for name, prompt in (("house", "a house on a lime background"), ("cat", "a cat on a pink background")):
        studio.run(f'generate "{prompt}" --seed 1 -o {name}.png')
    for name, words, like in (
        ("house", '"a house"', "warm"),
        ("house", '"a house"', "cool"),
        ("cat", '"a cat"', "house"),
    ):
        line = f"style {name}.png {words} --like {like}.png --seed 1"
        made = studio.values(line, "--strength", "0.2", "0.35", "0.5", "0.7")
        yield Row(caption=line, cells=(studio.given(f"{name}.png"), studio.given(f"{like}.png"), *made))


def tile(studio: Studio) -> Iterator[Row]:
    line = 'generate "four strawberries on a yellow background" --seed 1'
    cells = []
    for more in ("", " --tile xy"):
        made = studio.made(f"{line}{more} --if-exists overwrite", "tile.png")
        cells += [(more.strip() or "as it is", made), ("nine of it, at half the size", _repeated(made, 3, 3))]
    yield Row(caption=line, cells=tuple(cells))
    line = 'generate "a blue and white dotted background" --tile xy'
    made = [(f"{label}, nine of it", _repeated(each, 3, 3)) for label, each in studio.seeds(line, 3)]
    yield Row(caption=line, cells=tuple(made))
    line = 'generate "two trees on a cyan background" --tile x --size 384x128 --seed 1'
    made = [("two, side by side", _repeated(studio.made(line, "wide.png"), 2, 1))]
    yield Row(caption=line, cells=tuple(made))


def upscale(studio: Studio) -> Iterator[Row]:
    original = drawing.Painter(256).paint(scenes.compose(HELD_OUT, 0))
    studio.run('generate "a house on a lime background" --seed 1 -o generated.png')
    small = {"drawn.png": original.resize((64, 64), Image.Resampling.BICUBIC), "cut-out.png": _cut_out(64)}
    for name, picture in small.items():
        picture.save(studio.folder / name)
    for name, scale, extra in (
        ("drawn.png", 4, [("the original", original)]),
        ("generated.png", 2, []),
        ("generated.png", 4, []),
        ("cut-out.png", 4, []),
    ):
        line = f"upscale {name} --scale {scale}"
        given = studio.open(name)
        larger = given.resize((given.width * scale, given.height * scale), Image.Resampling.NEAREST)
        made = [
            (f"{name}, {given.width}x{given.height}", larger),
            ("-m lanczos", studio.made(f"{line} -m lanczos --if-exists overwrite", "lanczos.png")),
            ("as it is", studio.made(f"{line} --if-exists overwrite", "made.png")),
            *extra,
        ]
        yield Row(caption=line, cells=tuple((label, _middle(each, 192)) for label, each in made))


def tour(studio: Studio) -> Iterator[Row]:
    sketch().save(studio.folder / "sketch.png")
    strokes(STROKES["warm"]).save(studio.folder / "warm.png")
    subjects = {
        "apple": "a red apple on a teal background",
        "moon": "a yellow moon on a navy background",
        "cat": "a cat on a pink background",
        "rocket": "a rocket on a black background",
        "penguin": "a penguin on a lime background",
        "heart": "a purple heart on a white background",
    }
    drawn = [
        (f"{name}, {prompt.split()[-2]}", studio.made(f'generate "{prompt}" --seed 1', f"{name}.png"))
        for name, prompt in subjects.items()
    ]
    yield Row(caption='generate "a THING on a COLOUR background" --seed 1', cells=tuple(drawn))
    studio.run('generate "a lemon on a navy background" --seed 1 -o lemon.png')
    studio.run('generate "a house on a lime background" --seed 1 -o house.png')
    apple = f'img2img sketch.png "{subjects["apple"]}" --strength 0.6 --seed 1'
    dog = 'inpaint cat.png "a dog on a pink background" --mask-box 4,16,120,104 --seed 1'
    yield Row(
        caption="img2img, inpaint, blend: the input, then the result",
        cells=(
            studio.given("sketch.png"),
            ("img2img sketch.png", studio.made(apple, "redrawn.png")),
            studio.given("cat.png"),
            ("inpaint cat.png", studio.made(dog, "dog.png")),
            studio.given("lemon.png"),
            ("blend with the apple", studio.made("blend apple.png lemon.png --seed 1", "child.png")),
        ),
    )
    wide = 'outpaint house.png "a lime background" --pad 0,64 --seed 1'
    dots = studio.made('generate "a blue and white dotted background" --tile xy --seed 1', "dots.png")
    yield Row(
        caption="outpaint, style, generate --tile",
        cells=(
            studio.given("house.png"),
            ("outpaint house.png --pad 0,64", studio.made(wide, "wide.png")),
            studio.given("warm.png"),
            ("style house.png", studio.made('style house.png "a house" --like warm.png --seed 1', "styled.png")),
            ("--tile xy, four of it", _repeated(dots, 2, 2)),
        ),
    )


SHEETS: dict[str, Callable[[Studio], Iterator[Row]]] = {
    each.__name__: each for each in (tour, img2img, inpaint, outpaint, blend, style, tile, upscale)
}

STROKES = {
    "warm": [(94, 28, 20), (200, 80, 30), (240, 170, 70), (120, 40, 30), (250, 220, 150), (60, 20, 40)],
    "cool": [(20, 40, 60), (60, 110, 140), (140, 180, 190), (220, 230, 225), (40, 60, 90), (180, 150, 110)],
}


def sketch() -> Image.Image:
    """Return what a child draws: a disc, a stalk and a leaf."""
    large = Image.new("RGB", (512, 512), (16, 138, 138))
    draw = ImageDraw.Draw(large)
    draw.ellipse((110, 150, 400, 440), fill=(222, 38, 38))
    draw.line((255, 170, 290, 80), fill=(124, 78, 42), width=22)
    draw.ellipse((290, 70, 390, 120), fill=(36, 146, 58))
    return large.resize((128, 128), Image.Resampling.LANCZOS)


def strokes(colours: list[tuple[int, int, int]]) -> Image.Image:
    """Return slanting strokes of the brush."""
    random = Random(1)
    large = Image.new("RGB", (512, 512), colours[0])
    draw = ImageDraw.Draw(large)
    for _ in range(900):
        x, y, length = random.randint(-20, 530), random.randint(-20, 530), random.randint(20, 70)
        end = (x + length, y - random.randint(5, 30))
        draw.line((x, y, *end), fill=random.choice(colours), width=random.randint(6, 16))
    return large.resize((128, 128), Image.Resampling.LANCZOS)


def subject(picture: Image.Image) -> Image.Image:
    """Return a mask of what is not the colour of the upper left corner."""
    ground = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
    distance = ImageChops.difference(picture.convert("RGB"), ground)
    strongest = ImageChops.lighter(ImageChops.lighter(*distance.split()[:2]), distance.split()[2])
    return strongest.point(lambda value: 255 if value > 48 else 0)


def _cut_out(edge: int) -> Image.Image:
    glyph = drawing.Painter(edge * 4)._glyph("butterfly", edge * 4 - 16)
    made = Image.new("RGBA", (edge * 4, edge * 4))
    made.paste(glyph, ((made.width - glyph.width) // 2, (made.height - glyph.height) // 2))
    return made.resize((edge, edge), Image.Resampling.BICUBIC)


def _repeated(picture: Image.Image, across: int, down: int) -> Image.Image:
    whole = Image.new("RGB", (picture.width * across, picture.height * down))
    for at in range(across * down):
        whole.paste(picture, (at % across * picture.width, at // across * picture.height))
    return whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.LANCZOS) if down > 1 else whole


def _middle(picture: Image.Image, edge: int) -> Image.Image:
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    return picture.crop((left, top, left + edge, top + edge))


def lay(rows: list[Row]) -> Image.Image:
    """Return the sheet: captions, pictures, labels; what is transparent lies on a chessboard."""
    caption, label = (ImageFont.load_default(size) for size in (CAPTION_PX, LABEL_PX))
    heights = [CAPTION_PX + 6 + max(each.height for _, each in row.cells) + LABEL_PX + 8 + GAP for row in rows]
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widths = [sum(each.width + GAP for _, each in row.cells) - GAP for row in rows]
    widths += [round(ruler.textlength(f"imggen {row.caption}", font=caption)) for row in rows]
    made = Image.new("RGB", (max(widths) + 2 * MARGIN, sum(heights) + 2 * MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(made)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        draw.text((MARGIN, top), f"imggen {row.caption}", fill=INK, font=caption)
        left, below = MARGIN, top + CAPTION_PX + 6
        for text, picture in row.cells:
            made.paste(_on_chessboard(picture), (left, below))
            draw.rectangle((left - 1, below - 1, left + picture.width, below + picture.height), outline=FAINT)
            draw.text((left, below + picture.height + 3), text, fill=INK, font=label)
            left += picture.width + GAP
        top += height
    return made


def _on_chessboard(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    board = Image.new("RGB", picture.size, (236, 236, 236))
    draw = ImageDraw.Draw(board)
    for x in range(0, picture.width, 8):
        for y in range(x % 16, picture.height, 16):
            draw.rectangle((x, y, x + 7, y + 7), fill=(212, 212, 212))
    board.paste(picture, mask=picture.getchannel("A"))
    return board


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SHEETS))
    parser.add_argument("--into", type=Path, default=ROOT / "docs")
    asked = parser.parse_args()
    asked.into.mkdir(exist_ok=True)
    for name in asked.names or SHEETS:
        with tempfile.TemporaryDirectory() as folder:
            sheet = lay(list(SHEETS[name](Studio(folder=Path(folder)))))
        target = asked.into / f"{name}.webp"
        sheet.save(target, quality=92, method=6)
        print(f"{target}: {sheet.width}x{sheet.height}, {target.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
