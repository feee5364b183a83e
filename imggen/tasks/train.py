"""A training recipe -> a run folder with a model that `generate` and plain diffusers load."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from imggen.data.drawn import drawing
from imggen.errors import ImggenError, RequestError
from imggen.host import environment
from imggen.plan.training import recipe
from imggen.training.progress import Encoded, TrainingStep

MODEL = "model"
NETWORK = "model.safetensors"
RECORD = "plan.json"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The run is complete; `model` is the diffusers folder, or the file of an upscaler."""

    model: Path


Fact = TrainingStep | Encoded | Trained


def train(plan: recipe.Plan, run: Path) -> Iterator[Fact]:
    """Train what the plan says, stage by stage; continue where an earlier call stopped.

    A diffusion model is an autoencoder, the encoded drawn set and a denoiser; an upscaler is one stage. The
    run folder holds `plan.json`, a folder a stage (checkpoint, `stats.jsonl`, sample sheets) and the result. Raises
    MachineError without the font, RequestError where the folder belongs to another recipe, is in use or cannot be
    written, and ImggenError where the disk is full; what was saved stays.
    """
    drawing.find_font()
    with _explained(run), _locked(run):
        _claim(run, plan)
        environment.prepare(offline=True)
        with environment.importing():
            # the libraries read the environment when they are imported, so it has to be prepared before
            from imggen.training import stages
        model = run / (NETWORK if isinstance(plan, recipe.UpscalerTrainPlan) else MODEL)
        yield from stages.run(plan, run, model)
        yield Trained(model=model)


def _claim(run: Path, plan: recipe.Plan) -> None:
    """Write the plan into the run's folder, unless another recipe's is there."""
    record = run / RECORD
    stages = {stage: plan.fingerprint(stage) for stage in plan.stages}
    if record.exists() and _fingerprints(record) != stages:
        raise RequestError(
            f"{run} holds a run of another recipe",
            hint="give --run another folder, or train on with the recipe that started it",
        )
    temporary = record.with_suffix(".partial")
    text = json.dumps({"fingerprints": stages, **asdict(plan)}, indent=2)
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(record)


def _fingerprints(record: Path) -> object:
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return values.get("fingerprints") if isinstance(values, dict) else None


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise RequestError(
            f"another imggen process is training in {run}", hint="wait for it, or give --run another folder"
        ) from error


@contextmanager
def _explained(run: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot write {error.filename or run}: {error.strerror or error}"
        if error.errno == errno.ENOSPC:
            raise ImggenError(what, hint="free some space; the same line goes on from the last checkpoint") from error
        raise RequestError(what, hint="give --run a folder that you may write") from error
