"""How long one picture takes from a cold process: imggen against a hand-written diffusers script.

Run by hand on an idle machine: `python tests/benchmarks/cold_start.py [--model builtin] [--rounds 7] [--cold]`.
Both make the same picture from the same folder; rounds alternate, so that a machine that slows down slows both.
`--cold` asks the kernel to forget the model's files before each run (Linux).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from imggen.host import probe
from imggen.plan.generation import resolve
from imggen.plan.schema.request import GenerateRequest
from imggen.store import lookup

PROMPT = "a red apple on a teal background"
SCRIPT = """
import sys
import torch
from diffusers import {pipeline}

pipeline = {pipeline}.from_pretrained({folder!r}, dtype=torch.{dtype})
if {channels_last}:
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
generator = torch.Generator("cpu").manual_seed(1)
pipeline(**{arguments!r}, generator=generator).images[0].save(sys.argv[1])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    request = GenerateRequest(prompt=PROMPT, model=options.model, seed="1")
    plan = resolve.resolve(request, lookup.find(options.model), probe.machine(), draw_seed=lambda _: 1)
    with tempfile.TemporaryDirectory() as folder:
        measure(plan, options, Path(folder))


def measure(plan, options, folder):
    script = SCRIPT.format(
        pipeline=plan.model.pipeline,
        folder=str(plan.model.folder),
        dtype=plan.dtype,
        channels_last=plan.channels_last,
        arguments=plan.arguments,
    )
    imggen = [sys.executable, "-m", "imggen", "generate", PROMPT, "--model", options.model, "--seed", "1", "--quiet"]
    runs = {
        "diffusers script": lambda path: [sys.executable, "-c", script, path],
        "imggen": lambda path: [*imggen, "--if-exists", "overwrite", "-o", path],
    }
    seconds = {name: [] for name in runs}
    pictures = {name: str(folder / f"{name}.png") for name in runs}
    for number in range(-1, options.rounds):
        for name, command in runs.items():
            if options.cold:
                forget(plan.model.folder)
            taken = timed(command(pictures[name]))
            # The first round only fills the page cache with the libraries.
            if number >= 0:
                seconds[name].append(taken)
    same = np.array_equal(*(np.asarray(Image.open(path).convert("RGB")) for path in pictures.values()))
    report(plan, seconds, same)


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def forget(folder):
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def report(plan, seconds, same):
    print(f"{plan.model.reference}, {plan.device} {plan.dtype}, {plan.width}x{plan.height}, {plan.steps} steps")
    for name, taken in seconds.items():
        spread = f"{min(taken):.2f} to {max(taken):.2f}"
        print(f"  {name:<17} median {statistics.median(taken):.2f} s ({spread}, {len(taken)} runs)")
    script, imggen = (statistics.median(each) for each in seconds.values())
    print(f"  imggen takes {imggen / script:.0%} of the script's time; pixels {'equal' if same else 'DIFFER'}")


if __name__ == "__main__":
    main()
