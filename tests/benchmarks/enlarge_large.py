"""How much memory and time a large picture takes to become twice as large, by the built-in network on the CPU.

`python tests/benchmarks/enlarge_large.py [EDGE] [SCALE]`; 4096 and 2 when left out. What is counted is the peak of the
whole process, Python and torch included, up to the finished picture in memory.
"""

import resource
import sys
import time

import numpy as np
from PIL import Image

from imggen.engine.upscaling import networks, upscaler
from imggen.host import probe


def main() -> None:
    edge, scale = (int(each) for each in [*sys.argv[1:], *("4096", "2")[len(sys.argv) - 1 :]])
    network = networks.builtin(scale, device="cpu")
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (edge // 8, edge // 8, 3), np.uint8))
    image = small.resize((edge, edge), Image.Resampling.BICUBIC)
    before = _peak()
    tiling = upscaler.suggest_tile(network, free_bytes=probe.machine().free_bytes)
    began = time.perf_counter()
    drawn = upscaler.enlarge(image, network, (edge * scale, edge * scale), tiling=tiling)
    seconds = time.perf_counter() - began
    print(f"{edge}x{edge} to {drawn.width}x{drawn.height} in tiles of {tiling.tile} px: {seconds:.0f} s")
    print(f"peak RSS {_peak():.2f} GB, of which {before:.2f} GB before the first tile")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
