"""How much memory a picture takes on the CPU, stage by stage, beside what the plan said that it would.

`python -m tests.benchmarks.memory make FOLDER [MODEL...]` writes models of the real architectures with random weights:
the U-Nets and the autoencoders are whole, transformers and text encoders have their full width and a few layers, since
what a layer leaves behind does not add up. `python -m tests.benchmarks.memory measure FOLDER [NAME...]` then makes one
picture per case in a process of its own, through `imggen.tasks.generate`, and prints a line of JSON for each;
`python -m tests.benchmarks.memory table FOLDER LINES` puts the plans' estimates of today beside them.

What is counted is anonymous memory: what the kernel cannot drop and read again from a file. Weights that stay mapped
from their file are not among it. `MALLOC_ARENA_MAX=1` keeps what threads leave behind out of the numbers.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Case:
    """One picture to be made: a model of MODELS, an edge in pixels and the fields of a request."""

    model: str
    width: int
    height: int
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        said = [f"{name}={value}" for name, value in self.fields.items()]
        return " ".join((f"{self.model} {self.width}x{self.height}", *said))


def cases() -> Iterator[Case]:
    """Yield the cases of the table in docs/memory.md."""
    alone = {"guidance": 1.0}
    for edge in (256, 512, 768, 1024):
        yield square("sd15", edge)
    yield square("sd15", 512, alone)
    yield square("sd15", 768, {"vae_tiling": "on"})
    yield square("sd15", 1024, {"vae_tiling": "on"})
    yield square("sd15", 512, {"attention_slicing": "on"})
    yield square("sd15", 512, {"task": "image-to-image"})
    yield square("sd15", 512, {"num_images": 2})
    yield square("sd15", 512, {"dtype": "float32"})
    yield square("sd15", 768, {"dtype": "float32", "vae_tiling": "on"})
    yield Case(model="sd15", width=1024, height=512)
    for edge in (512, 768, 1024):
        yield square("sdxl", edge)
    yield square("sdxl", 1024, {"vae_tiling": "on"})
    yield square("sdxl", 768, {"attention_slicing": "on"})
    yield square("sdxl", 768, alone)
    for model in ("flux", "sd3", "pixart-sigma", "sana", "z-image", "qwen-image"):
        yield square(model, 512)
        yield square(model, 1024, {"vae_tiling": "on"} if model in ("flux", "sd3") else {})


def square(model: str, edge: int, fields: dict[str, Any] | None = None) -> Case:
    return Case(model=model, width=edge, height=edge, fields=fields or {})


def make(folder: Path, names: list[str]) -> None:
    """Write the models called `names`, all where none is, into `folder`, in bfloat16."""
    import torch

    from imggen.host import environment
    from tests.benchmarks import full_models

    torch.manual_seed(0)
    for name in names or full_models.MODELS:
        if (folder / name).exists():
            continue
        with environment.quiet():
            full_models.build(name, folder).save_pretrained(folder / name)
        print(name, flush=True)


def measure(folder: Path, names: list[str]) -> None:
    """Print a line per case that `names` name, or whose model they name; all where there are none."""
    known = {case.name: case for case in cases()}
    for name in names or known:
        for case in [known[name]] if name in known else [each for each in cases() if each.model == name]:
            print(json.dumps({"case": case.name, **_in_child(folder, case)}), flush=True)


def _in_child(folder: Path, case: Case) -> dict[str, Any]:
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory", "child", str(folder), json.dumps(asdict(case))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"error": done.stderr.strip()[-2000:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(folder: Path, case: Case) -> dict[str, Any]:
    """Make the picture of `case` and return the peak of anonymous memory per stage, in MiB, and the plan's estimate."""
    from imggen.tasks import generate

    plans: list[Any] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as place, watched() as watch:
        request = _request(folder, case, place)
        made = list(
            generate.generate(
                request, on_event=lambda event: watch.enter(event.stage), on_plan=plans.append, on_note=notes.append
            )
        )
        notes += [note for each in made for note in each.notes]
    plan = plans[0]
    return {
        "dtype": plan.dtype,
        "levers": {each.name: each.value for each in plan.levers},
        "peaks": {stage: peak // MIB for stage, peak in watch.peaks.items()},
        "estimate": {name: size // MIB for name, size in asdict(plan.memory).items()},
        "notes": notes,
    }


def _request(folder: Path, case: Case, place: str) -> Any:
    from imggen.plan.schema.request import GenerateRequest

    size = {"width": case.width, "height": case.height}
    fields = {"prompt": "a red apple", "steps": 1, "seed": "1", "device": "cpu"} | case.fields
    if fields.get("task") == "image-to-image":
        fields |= {"images": (_noise(Path(place), case),), "strength": 1.0}
    model = str((folder / case.model).resolve())
    return GenerateRequest(**size, **fields, model=model, output=f"{place}/", watermark="off", sign="off")


def table(folder: Path, lines: Path) -> None:
    """Print what was measured beside what plans say now, as rows in Markdown, in MiB."""
    known = {case.name: case for case in cases()}
    for line in lines.read_text().splitlines():
        found = json.loads(line)
        if "error" not in found:
            print(_row(folder, known[found["case"]], found["peaks"]))


def _row(folder: Path, case: Case, peaks: dict[str, int]) -> str:
    from imggen.tasks import generate

    with tempfile.TemporaryDirectory() as place:
        said = generate.plan(_request(folder, case, place), fetch=False).memory
    guessed = [size // MIB for size in (said.denoising_bytes, said.decoding_bytes)]
    # Reading a prompt leaves buffers behind. Where weights are copied, what is read may be a picture, which does not.
    before = min(peaks["load"], peaks["encode"]) if said.private_bytes else peaks["encode"]
    taken = [max(0, peaks[stage] - before) for stage in ("denoise", "decode")]
    highest = max(peak for stage, peak in peaks.items() if stage != "end")
    stages = [f"{guess} / {measured}" for guess, measured in zip(guessed, taken, strict=True)]
    ratios = [f"{max(guessed) / max(taken):.2f}", f"{highest / (said.peak_bytes // MIB):.2f}"]
    total = f"{said.peak_bytes // MIB} / {highest}"
    return f"| {' | '.join((case.name, str(said.private_bytes // MIB), *stages, total, *ratios))} |"


def _noise(place: Path, case: Case) -> str:
    import numpy as np
    from PIL import Image

    levels = np.random.default_rng(0).integers(0, 256, (case.height // 8, case.width // 8, 3), dtype=np.uint8)
    path = place / "given.png"
    Image.fromarray(levels).resize((case.width, case.height), Image.Resampling.BICUBIC).save(path)
    return str(path)


class Watch:
    """The highest anonymous memory of each stage; the first is `base`, what the libraries take by themselves.

    It is looked at every millisecond, which misses what is shorter on a busy machine. The kernel misses nothing, but
    counts files too; what of them was mapped at the stage's begin or end, whichever is more, is taken off.
    """

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self._stage = "base"
        self._mapped = 0
        self.enter("base")

    def enter(self, stage: str) -> None:
        sizes = resident()
        self._note(sizes["VmHWM"] - max(sizes["RssFile"], self._mapped))
        self._stage, self._mapped = stage, sizes["RssFile"]
        Path("/proc/self/clear_refs").write_text("5")

    def look(self) -> None:
        self._note(resident()["RssAnon"])

    def _note(self, size: int) -> None:
        self.peaks[self._stage] = max(self.peaks.get(self._stage, 0), size)


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch this process's memory within the block."""
    gc.collect()
    # The imports' own peak is not of interest.
    Path("/proc/self/clear_refs").write_text("5")
    watch, stopped = Watch(), threading.Event()

    def run() -> None:
        while not stopped.wait(0.001):
            watch.look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stopped.set()
        thread.join()
        watch.enter("end")


def resident() -> dict[str, int]:
    """Return this process's resident memory in bytes, by the kernel's names."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1:] == ["kB"]}


def main() -> None:
    command, folder, *rest = sys.argv[1:]
    commands: dict[str, Callable[[], object]] = {
        "make": lambda: make(Path(folder), rest),
        "measure": lambda: measure(Path(folder), rest),
        "table": lambda: table(Path(folder), Path(rest[0])),
        "child": lambda: print(json.dumps(child(Path(folder), Case(**json.loads(rest[0]))))),
    }
    commands[command]()


if __name__ == "__main__":
    main()
