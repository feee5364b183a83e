"""Enlarge pictures that no training saw, by the built-in networks, by Lanczos and bicubic; print a table.

    python tests/benchmarks/enlarge.py [--pictures 240] [--x2 FILE] [--x4 FILE]

Two sets: scenes of the drawn set under another seed, and glyphs that are in none of its scenes. Each picture is made
small cleanly (bicubic) or worn (blur and JPEG, as drawn from the training recipe's ranges). A third has scenes at the
built-in model's size that its autoencoder encoded and decoded, as generated pictures are.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np
import torch
from diffusers import AutoencoderTiny
from PIL import Image, ImageDraw

from imggen.data import degradation
from imggen.data.degradation import Degradation
from imggen.data.drawn import drawing, scenes, vocabulary
from imggen.engine.upscaling import compact
from imggen.evaluation import fidelity
from imggen.plan.training import recipe
from imggen.training.objectives import upscaler

Pair = tuple[Image.Image, Image.Image]

ROOT = Path(__file__).parents[2]
SIZE = 128
SEED = 99
STRANGE = "🚒🚜🛸🎡🎪🎨🎻🥁🎷🪗🧸🪀🎲🧩🪁🏺🧭🗿🛖⛺🗼🏯🌋🪐🌮🌯🥙🧇🥞🧁🥧🍮🍯🫖🍵🧉🦞🦑🐙🦐🦩🦚🦜🦥🦦🦨🦡🐿🦔🐉"


def drawn(count: int) -> Iterator[Image.Image]:
    painter = drawing.Painter(SIZE)
    for index in range(count):
        yield painter.paint(scenes.compose(SEED, index))


def strange(count: int) -> Iterator[Image.Image]:
    """Yield glyphs that the drawn set does not have, on two-coloured grounds."""
    font = drawing.Painter(SIZE)._font
    glyphs = [each for each in STRANGE if each not in "".join(vocabulary.OBJECTS.values())]
    random = Random(SEED)
    for index in range(count):
        first, second = random.sample(tuple(vocabulary.COLORS.values()), 2)
        picture = Image.new("RGB", (160, 160), first)
        draw = ImageDraw.Draw(picture)
        draw.polygon([(0, random.randint(0, 160)), (160, random.randint(0, 160)), (160, 160), (0, 160)], fill=second)
        draw.text((10, 16), glyphs[index % len(glyphs)], font=font, embedded_color=True)
        yield picture.crop((16, 16, 16 + SIZE, 16 + SIZE))


def by_network(path: Path) -> Callable[[Image.Image], Image.Image]:
    network = compact.read(path)

    def enlarge(small: Image.Image) -> Image.Image:
        with torch.inference_mode():
            made = network(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255)
        return Image.fromarray((made[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())

    return enlarge


def by_kernel(kernel: Image.Resampling, scale: int) -> Callable[[Image.Image], Image.Image]:
    return lambda small: small.resize((small.width * scale, small.height * scale), kernel)


def shrunk(source: Callable[[int], Iterator[Image.Image]], count: int, scale: int, *, worn: bool) -> Iterator[Pair]:
    """Yield pictures of `source` made small, and as they were."""
    values = recipe.read(ROOT / f"presets/train/builtin-upscaler-x{scale}.toml").degradation
    random = Random(SEED)
    for picture in source(count):
        how = Degradation(kernel="bicubic")
        if worn:
            quality = random.randint(values.quality[0], values.quality[1])
            how = Degradation(kernel="bicubic", blur=random.uniform(0, values.blur), quality=quality)
        yield degradation.apply(how, picture, scale), picture


@torch.inference_mode()
def decoded(count: int, scale: int) -> Iterator[Pair]:
    """Yield scenes at the built-in model's size as its autoencoder gives them back, and the same scenes drawn large."""
    painter = drawing.Painter(SIZE * scale)
    vae = AutoencoderTiny.from_pretrained(upscaler.AUTOENCODER)
    for index in range(count):
        large = painter.paint(scenes.compose(SEED, index))
        small = torch.from_numpy(np.array(large.resize((SIZE, SIZE), Image.Resampling.LANCZOS)))
        seen = vae.decoder(vae.encoder(small.permute(2, 0, 1)[None].float() / 127.5 - 1))
        levels = seen[0].add(1).mul(127.5).round().clamp(0, 255).byte().permute(1, 2, 0)
        yield Image.fromarray(levels.numpy()), large


def row(pairs: Iterator[Pair], ways: dict[str, Callable[[Image.Image], Image.Image]]) -> str:
    """Return the mean PSNR and SSIM per way as cells of a table; a perfect picture counts as 99 dB."""
    table: dict[str, list[tuple[float, float]]] = {each: [] for each in ways}
    for small, picture in pairs:
        for way, enlarge in ways.items():
            made = enlarge(small)
            table[way].append((min(fidelity.psnr(made, picture), 99.0), fidelity.ssim(made, picture)))
    cells = [
        f"{fmean(each[0] for each in found):.2f} dB, {fmean(each[1] for each in found):.4f}" for found in table.values()
    ]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=240)
    for scale in (2, 4):
        parser.add_argument(f"--x{scale}", type=Path, default=ROOT / f"imggen/builtin/upscale/x{scale}.safetensors")
    asked = parser.parse_args()
    print("| pictures | reduced by | scale | bicubic | Lanczos | built-in |\n|---|---|---|---|---|---|")
    for scale in (2, 4):
        ways = {
            "bicubic": by_kernel(Image.Resampling.BICUBIC, scale),
            "lanczos": by_kernel(Image.Resampling.LANCZOS, scale),
            "builtin": by_network(getattr(asked, f"x{scale}")),
        }
        sets = {
            "drawn | bicubic": shrunk(drawn, asked.pictures, scale, worn=False),
            "drawn | blur, bicubic, JPEG": shrunk(drawn, asked.pictures, scale, worn=True),
            "other glyphs | bicubic": shrunk(strange, asked.pictures, scale, worn=False),
            "other glyphs | blur, bicubic, JPEG": shrunk(strange, asked.pictures, scale, worn=True),
            "drawn | Lanczos and the autoencoder": decoded(asked.pictures, scale),
        }
        for name, pairs in sets.items():
            print(f"| {name} | {scale} | {row(pairs, ways)} |", flush=True)


if __name__ == "__main__":
    main()
