"""How well imggen's watermark is hidden and how much it outlives: the tables of docs/watermark.md.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python tests/benchmarks/watermark.py [--count 18] [--null 10000]

`--count` is of pictures a kind, `--null` of pictures without a mark or with another key's. The built-in model draws its
pictures once, by the command line, into `--made`. Times are of this process alone: run it on an idle machine.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from imggen.data.drawn import drawing, scenes
from imggen.output.watermark import watermark

ROOT = Path(__file__).parents[2]
SIZES = ((512, 512), (256, 256), (1024, 1024), (384, 384), (768, 512), (768, 768), (256, 384), (448, 640))
PROMPTS = (
    "a red apple on a teal background",
    "a cat on a pink background",
    "a rocket on a black background",
    "a sunflower on a blue and white striped background",
    "a pumpkin on a purple background",
    "a penguin on a lime background",
    "a bus on a white background",
    "two strawberries on a cyan background",
)
HELD_OUT = 99
"""A seed whose drawn scenes no training saw."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One picture, marked: what became of it, and what each attack left (None where it does not apply)."""

    kind: str
    auto: bool
    reason: str
    size: tuple[int, int]
    psnr: float
    growth: float
    exact: dict[str, bool]


def field(random, height, width, slope):
    """Return noise whose amplitude falls with frequency to the power `slope`, of variance 1."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    radius = np.hypot(rows, columns)
    radius[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(random.standard_normal((height, width))) * radius**-slope, s=(height, width))
    return noise / noise.std()


def picture(colours):
    return Image.fromarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8))


def clouds(random, height, width):
    """Coloured noise, 1/f to 1/f^1.5 in amplitude, as photographs are on average, in fewer and more contrasts."""
    slope, contrast = random.uniform(1.0, 1.5), random.uniform(20, 50)
    shared = field(random, height, width, slope) * contrast
    own = [field(random, height, width, slope) * random.uniform(2, 12) for _ in range(3)]
    return picture(np.stack([shared + each + random.uniform(80, 170) for each in own], axis=-1))


def spheres(random, height, width):
    """Shaded balls before a gradient, with a light, a little texture and grain."""
    y, x = np.mgrid[:height, :width]
    sky = np.linspace(random.uniform(60, 220), random.uniform(60, 220), height)
    shown = np.ones((height, width, 1)) * sky[:, None, None] * random.uniform(0.6, 1, 3)
    for _ in range(random.integers(2, 6)):
        centre, radius = random.uniform(0, (width, height)), random.uniform(0.1, 0.35) * min(height, width)
        right, down = (x - centre[0]) / radius, (y - centre[1]) / radius
        up = np.sqrt(np.clip(1 - right**2 - down**2, 0, 1))
        lit = np.clip(0.5 * right - 0.5 * down + 0.7 * up, 0, 1)
        shade = (0.2 + 0.8 * lit) * (1 + 0.1 * field(random, height, width, 1))
        ball = shade[..., None] * random.uniform(60, 255, 3) + (120 * lit**30)[..., None]
        shown = np.where((up > 0)[..., None], ball, shown)
    return picture(shown + random.normal(0, random.uniform(0.6, 2.5), (height, width, 1)))


def terrain(random, height, width):
    """Fractal heights from sea to snow, lit from the side."""
    heights = field(random, height, width, random.uniform(1.7, 2.2))
    slope = np.diff(heights, axis=1, append=heights[:, -1:]) + 0.6 * np.diff(heights, axis=0, append=heights[-1:])
    bands = np.array([[30, 60, 120], [60, 110, 60], [140, 130, 90], [230, 230, 235]], float)
    level = np.clip((heights + 2) * 0.75, 0, 2.999)
    low, part = level.astype(int), (level % 1)[..., None]
    light = 1 + random.uniform(0.15, 0.3) * slope / slope.std()
    return picture((bands[low] * (1 - part) + bands[low + 1] * part) * np.clip(light, 0.4, 1.6)[..., None])


def texture(random, height, width):
    """Bent stripes with noise in them, like cloth, sand or wood, in one tint."""
    y, x = np.mgrid[:height, :width]
    bent = field(random, height, width, 1.5) * random.uniform(3, 12)
    stripes = np.sin(x * random.uniform(0.1, 0.6) + y * random.uniform(-0.3, 0.3) + bent) * random.uniform(15, 50)
    rough = 128 + stripes + field(random, height, width, 0.5) * random.uniform(3, 12)
    return picture(rough[..., None] * random.uniform(0.5, 1.1, 3))


def grain(random, height, width):
    """A gradient between four colours with grain, like sky or a wall."""
    corners = random.uniform(0, 255, (2, 2, 3))
    right, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    top, bottom = (corners[row, 0] * (1 - right) + corners[row, 1] * right for row in (0, 1))
    return picture(top * (1 - down) + bottom * down + random.normal(0, random.uniform(0.5, 3), (height, width, 1)))


def patches(random, height, width):
    """Patches of different textures and focus with edges between them, as things in a photograph lie."""
    regions = field(random, height, width, 1.6)
    edges = np.digitize(regions, np.quantile(regions, (0.25, 0.5, 0.75)))
    shown = np.zeros((height, width, 3))
    for region in range(4):
        part = field(random, height, width, random.uniform(0.8, 1.8)) * random.uniform(2, 35)
        tinted = part[..., None] * random.uniform(0.7, 1.1, 3) + random.uniform(40, 210, 3)
        shown[edges == region] = tinted[edges == region]
    return picture(shown + random.normal(0, 1, (height, width, 3)))


NATURAL: dict[str, Callable] = {each.__name__: each for each in (clouds, spheres, terrain, texture, grain, patches)}


def draw(kind: str, index: int, size: tuple[int, int]) -> Image.Image:
    """Return picture `index` of a kind; the same for the same."""
    width, height = size
    if kind == "drawn":
        return drawing.Painter(max(size)).paint(scenes.compose(HELD_OUT, index)).crop((0, 0, width, height))
    return NATURAL[kind](np.random.default_rng([index, *kind.encode()]), height, width)


def pictures(count: int, made: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield `count` pictures of each kind, with its name."""
    for kind in ("drawn", *NATURAL):
        for index in range(count):
            yield kind, draw(kind, index, SIZES[index % len(SIZES)])
    for path in generated(count, made):
        with Image.open(path) as image:
            yield "built-in", image.convert("RGB")


def generated(count: int, made: Path) -> list[Path]:
    """Return pictures of the built-in model, twice and four times enlarged; make them where they are missing."""
    made.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(-(-count // 2)):
        small = made / f"{index}.png"
        prompt, seed = PROMPTS[index % len(PROMPTS)], str(1 + index // len(PROMPTS))
        if not small.exists():
            imggen("generate", prompt, "--seed", seed, "-o", str(small))
        for factor in ("2", "4"):
            large = made / f"{index}-x{factor}.png"
            if not large.exists():
                imggen("upscale", str(small), "--scale", factor, "-o", str(large))
            paths.append(large)
    return paths[:count]


def imggen(*words: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "imggen", *words, "--watermark", "off", "--quiet"]
    subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)


def saved(name: str, **options: object) -> Callable[[Image.Image], Image.Image]:
    def attack(image: Image.Image) -> Image.Image:
        with io.BytesIO() as buffer:
            image.save(buffer, name, **options)
            with Image.open(buffer) as read:
                return read.convert(image.mode)

    return attack


def resized(factor: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
    )


def centre(edge: int, smallest: int) -> Callable[[Image.Image], Image.Image | None]:
    def attack(image: Image.Image) -> Image.Image | None:
        if min(image.size) < smallest:
            return None
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        return image.crop((left, top, left + edge, top + edge))

    return attack


ATTACKS: dict[str, Callable[[Image.Image], Image.Image | None]] = {
    "clean": lambda image: image,
    "JPEG 75": saved("JPEG", quality=75),
    "JPEG 50": saved("JPEG", quality=50),
    "WebP 80": saved("WEBP", quality=80),
    "AVIF 60": saved("AVIF", quality=60),
    "half size": resized(0.5),
    "256² crop": centre(256, 512),
    "128² crop": centre(128, 512),
    "3/4 + JPEG 75": lambda image: saved("JPEG", quality=75)(resized(0.75)(image)),
    "mirror": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "blur 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


def test(kind: str, image: Image.Image, identity: str) -> Trial:
    """Mark one picture and look for the mark after each attack."""
    marked = watermark.embed(image, identity)
    judged = watermark.suit(image)
    exact = {}
    for name, attack in ATTACKS.items():
        left = attack(marked)
        if left is not None:
            exact[name] = watermark.detect(left).identity == identity
    return Trial(
        kind=kind,
        auto=judged.fits,
        reason=judged.reason,
        size=image.size,
        psnr=psnr(image, marked),
        growth=png_bytes(marked) / png_bytes(image) - 1,
        exact=exact,
    )


def psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / np.square(difference).mean()))


def png_bytes(image: Image.Image) -> int:
    with io.BytesIO() as buffer:
        image.save(buffer, "PNG")
        return buffer.tell()


def report(title: str, trials: list[Trial]) -> None:
    """Print one table, a line a kind."""
    if not trials:
        return
    print(f"\n### {title}\n")
    head = ("kind", "pictures", "PSNR, worst", "PNG growth, worst", *ATTACKS)
    print("|", " | ".join(head), "|\n|" + "---|" * len(head))
    kinds = defaultdict(list)
    for trial in trials:
        kinds[trial.kind].append(trial)
    for kind, some in [*kinds.items(), ("**all**", trials)]:
        quality, growths = [each.psnr for each in some], [each.growth for each in some]
        cells = [
            kind,
            str(len(some)),
            f"{statistics.median(quality):.1f}, {min(quality):.1f}",
            f"{statistics.median(growths):.0%}, {max(growths):.0%}",
        ]
        for name in ATTACKS:
            found = [each.exact[name] for each in some if name in each.exact]
            cells.append(f"{statistics.mean(found):.0%}" if found else "-")
        print("|", " | ".join(cells), "|")


def unmarked(count: int) -> Iterator[tuple[Image.Image, bytes]]:
    """Yield pictures that hold no mark of the key that comes with them: every other one is marked with another key."""
    kinds = ("drawn", *NATURAL)
    sizes = ((256, 256), (128, 128), (300, 200), (192, 256), (384, 256), (512, 512), (96, 64))
    for index in range(count):
        kind, size = kinds[index % len(kinds)], sizes[index // len(kinds) % len(sizes)]
        image = draw(kind, 1_000_000 + index // 2, size)
        if index % 2:
            image = watermark.embed(image, f"{index:012x}", key=b"another key")
        if index % 5 == 0:
            image = saved("JPEG", quality=int(40 + index % 50))(image)
        yield image, watermark.PUBLIC_KEY if index % 3 else index.to_bytes(4, "big")


def null(count: int) -> None:
    """Print how high the z of pictures without a mark gets."""
    heights, false = [], 0
    for image, key in unmarked(count):
        seen = watermark.detect(image, key=key)
        heights.append(seen.z)
        false += seen.present
    heights.sort()
    print(f"\n### Without a mark: {count:,} pictures\n")
    quantiles = ", ".join(f"{part:.2%} below {heights[int(part * (count - 1))]:.2f}" for part in (0.5, 0.99, 0.999))
    print(f"false: {false}; z: {quantiles}, most {heights[-1]:.2f}; threshold {watermark.THRESHOLD}")


def timings(rounds: int = 31) -> None:
    """Print how long marking and looking take."""
    print("\n### Milliseconds at 512x512, least and median\n\n| picture | embed | suit | detect | detect, none there |")
    print("|---|---|---|---|---|")
    for kind in ("drawn", "spheres", "clouds"):
        image = draw(kind, 0, (512, 512))
        marked = watermark.embed(image, "0123456789ab")
        tasks = (
            lambda image=image: watermark.embed(image, "0123456789ab"),
            lambda image=image: watermark.suit(image),
            lambda marked=marked: watermark.detect(marked),
            lambda image=image: watermark.detect(image),
        )
        print("|", " | ".join([kind, *(timed(each, rounds) for each in tasks)]), "|")


def timed(task: Callable[[], object], rounds: int) -> str:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        task()
        taken.append(1000 * (time.perf_counter() - start))
    return f"{min(taken):.0f}, {statistics.median(taken):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=18)
    parser.add_argument("--null", type=int, default=10_000)
    parser.add_argument("--made", type=Path, default=Path(tempfile.gettempdir()) / "imggen-watermark")
    parser.add_argument("--reasons", action="store_true", help="one line a picture, too")
    options = parser.parse_args()
    identities = np.random.default_rng(7)
    trials = []
    for kind, image in pictures(options.count, options.made):
        trial = test(kind, image, identities.bytes(6).hex())
        trials.append(trial)
        if options.reasons:
            lost = [name for name, exact in trial.exact.items() if not exact]
            print(kind, trial.size, f"{trial.psnr:.1f} dB {trial.growth:+.0%}", trial.auto, trial.reason, "lost:", lost)
    report("Marked by `auto`", [each for each in trials if each.auto])
    report("All, marked by `on`", trials)
    timings()
    if options.null:
        null(options.null)


if __name__ == "__main__":
    main()
