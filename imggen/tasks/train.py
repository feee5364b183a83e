"""A training recipe -> a run folder with a model that `generate` and plain diffusers load."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from imggen.engine import environment
from imggen.errors import RequestError
from imggen.training import recipe
from imggen.training.progress import Encoded, Step

MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The run is complete; `model` is the diffusers folder."""

    model: Path


Fact = Step | Encoded | Trained


def read(path: Path) -> recipe.TrainPlan:
    """Return the plan in a recipe file; raise RequestError where it is wrong."""
    return recipe.read(path)


def train(plan: recipe.TrainPlan, run: Path) -> Iterator[Fact]:
    """Train the autoencoder, encode the drawn set, train the denoiser; continue where an earlier call stopped.

    The run folder holds `plan.json`, a folder a stage (checkpoint, `stats.jsonl`, sample sheets), the latents and the
    model. Raises RequestError where the folder belongs to another recipe or cannot be written.
    """
    _claim(run, plan)
    environment.prepare(offline=True)
    with environment.quiet():
        # the libraries read the environment when they are imported, so it has to be prepared before
        from imggen.training import stages
    model = run / MODEL
    yield from stages.run(plan, run, model)
    yield Trained(model=model)


def _claim(run: Path, plan: recipe.TrainPlan) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        temporary = run / "plan.json.partial"
        temporary.write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")
        temporary.replace(run / "plan.json")
    except OSError as error:
        raise RequestError(
            f"cannot write the run folder {run}: {error.strerror}", hint="give --run a folder that you may write"
        ) from error
