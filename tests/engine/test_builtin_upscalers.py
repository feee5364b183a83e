"""The networks that come with imggen to enlarge pictures: what they promise, whatever their weights are."""

import os
import subprocess
import sys
from functools import cache
from itertools import count, islice
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from PIL import Image

import imggen.builtin
from imggen.data.drawn import drawing, scenes
from imggen.engine.upscaling import networks, upscaler
from imggen.evaluation import fidelity
from imggen.plan.upscaling.upscalers import BUILTIN_SCALES

WEIGHTS = Path(imggen.builtin.__file__).parent / "upscale"
GOLDEN = Path(__file__).parent / "golden"
MAX_BYTES = 2_000_000

# A seed that no training uses.
SEED, COUNT = 99, 100
EDGE, KEPT = 128, 64

# As a whole it would take 1.3 GB, in tiles 0.8.
LARGE = 1280
MAX_PEAK_BYTES = 1_050_000_000


def test_they_are_small():
    sizes = {each.name: each.stat().st_size for each in WEIGHTS.glob("*.safetensors")}
    assert sizes.keys() == {f"x{scale}.safetensors" for scale in BUILTIN_SCALES}
    assert sum(sizes.values()) <= MAX_BYTES


@cache
def held_out(font):
    """The middles of drawn pictures, without those of one colour, which nothing can get wrong."""
    painter, start = drawing.Painter(EDGE, font), (EDGE - KEPT) // 2
    box = (start, start, start + KEPT, start + KEPT)
    drawn = (painter.paint(scenes.compose(SEED, index)).convert("RGB").crop(box) for index in count())
    return tuple(islice((each for each in drawn if any(low < high for low, high in each.getextrema())), COUNT))


def by_network(small, scale):
    network = networks.builtin(scale, device="cpu", dtype="float32")
    pixels = torch.from_numpy(np.stack([np.asarray(each) for each in small])).permute(0, 3, 1, 2)
    drawn = (network(pixels / 255) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(each) for each in drawn.numpy()]


def by(resampling):
    def enlarge(small, scale):
        return [each.resize((each.width * scale, each.height * scale), resampling) for each in small]

    return enlarge


@pytest.mark.parametrize("scale", BUILTIN_SCALES)
def test_what_they_draw_is_nearer_to_the_large_picture_than_what_resampling_gives(scale, emoji_font):
    large = held_out(emoji_font)
    small = [each.resize((KEPT // scale, KEPT // scale), Image.Resampling.BICUBIC) for each in large]
    found = {
        name: [fmean(map(measure, enlarge(small, scale), large)) for measure in (fidelity.psnr, fidelity.ssim)]
        for name, enlarge in {
            "network": by_network,
            "lanczos": by(Image.Resampling.LANCZOS),
            "bicubic": by(Image.Resampling.BICUBIC),
        }.items()
    }
    for other in ("lanczos", "bicubic"):
        assert found["network"][0] > found[other][0], found
        assert found["network"][1] > found[other][1], found


@pytest.mark.parametrize("scale", BUILTIN_SCALES)
def test_the_golden_picture_is_still_enlarged_so(scale):
    """CPU, float32; after new weights, GOLDEN=write makes it anew, to be looked at and committed."""
    with Image.open(GOLDEN / "builtin.png") as opened:
        small = opened.convert("RGB")
    size, path = (small.width * scale, small.height * scale), GOLDEN / f"builtin-x{scale}.png"
    made = upscaler.enlarge(small, networks.builtin(scale, device="cpu", dtype="float32"), size)
    if os.environ.get("GOLDEN") == "write":
        made.save(path)
    with Image.open(path) as picture:
        assert picture.size == size
        assert np.abs(np.asarray(made).astype(int) - np.asarray(picture)).max() <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="the units of what is counted are those of Linux")
def test_a_large_picture_takes_little_memory(tmp_path):
    """What is counted is the peak of the whole process, Python and torch included."""
    Image.radial_gradient("L").resize((LARGE, LARGE)).convert("RGB").save(tmp_path / "large.png")
    # Two processes: the peak of children is that of the largest, and this one had others.
    script = (
        "import resource, subprocess, sys\n"
        "line = [sys.executable, '-m', 'imggen', 'upscale', 'large.png', '--scale', '2', '--device', 'cpu']\n"
        "subprocess.run([*line, '-o', 'larger.png'], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(found.stdout) < MAX_PEAK_BYTES
    with Image.open(tmp_path / "larger.png") as larger:
        assert larger.size == (2 * LARGE, 2 * LARGE)
