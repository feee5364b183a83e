"""The training loop: one for every objective, resumed exactly by running it again."""

import copy
import hashlib
import json
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from imggen.errors import ImggenError, RequestError
from imggen.plan.training.recipe import StagePlan
from imggen.training import optimizer as optimizers
from imggen.training.progress import TrainingStep

STATS = "stats.jsonl"
STATS_EVERY = 10
"""Steps between two lines of statistics."""


class Objective(Protocol):
    """What a stage trains: a module, a loss for a step, and a way to look at the result."""

    name: str
    module: nn.Module

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of a step; all that is random comes from the step's number and the generator."""

    def sample(self, averaged: Any, path: Path) -> None:
        """Write a picture that shows what the averaged weights do now."""


@dataclass(frozen=True, kw_only=True)
class StageFolder:
    """Where a stage keeps its things, and what ties them to one run."""

    folder: Path
    fingerprint: str
    seed: int
    precision: str

    @property
    def checkpoint(self) -> Path:
        """The file that a resumed run starts from."""
        return self.folder / "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class StageProgress:
    """How far a stage has come."""

    step: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage under way: what trains, how, where, and the averaged twin of its weights."""

    objective: Objective
    plan: StagePlan
    place: StageFolder
    accelerator: Accelerator
    optimizer: optimizers.Optimizer
    averaged: nn.Module

    @property
    def steps(self) -> int:
        """How many steps the stage takes in all."""
        return -(-self.plan.pictures // self.plan.batch_size)


def run(objective: Objective, plan: StagePlan, place: StageFolder) -> Iterator[TrainingStep]:
    """Train until `plan.pictures` were seen, yielding each step; continue where the last checkpoint ended.

    Noise, data and timesteps depend on the step's number alone, so on a CPU a run that was stopped and continued ends
    with the same weights as one that was not. Checkpoints replace each other atomically; the averaged weights (EMA) are
    in them, and in the objective's module when the stage is done. Raises RequestError where the folder holds a run of
    another recipe, and ImggenError for a damaged checkpoint or a loss that is not a number.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=place.precision)
    # before anything is built on the parameters, since a module that moves gets new memory
    objective.module.to(accelerator.device).train()
    stage = Stage(
        objective=objective,
        plan=plan,
        place=place,
        accelerator=accelerator,
        optimizer=optimizers.build(objective.module, plan),
        averaged=copy.deepcopy(objective.module).eval().requires_grad_(requires_grad=False),
    )
    progress = _resume(stage)
    place.folder.mkdir(parents=True, exist_ok=True)
    while progress.step < stage.steps:
        started = time.monotonic()
        rate = _learning_rate(stage, progress.step)
        loss = _advance(stage, progress.step, rate)
        _average(stage.averaged, objective.module, _decay(plan.ema, progress.step))
        progress = StageProgress(step=progress.step + 1, seconds=progress.seconds + time.monotonic() - started)
        seen, seconds = min(progress.step * plan.batch_size, plan.pictures), progress.seconds
        fact = TrainingStep(
            stage=objective.name, pictures=seen, of=plan.pictures, loss=loss, learning_rate=rate, seconds=seconds
        )
        _keep(stage, progress, fact)
        yield fact
    objective.module.load_state_dict(stage.averaged.state_dict())


def digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's weights, by name and value."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()


def _advance(stage: Stage, step: int, rate: float) -> float:
    """Take one step; return its loss."""
    seed = hashlib.sha256(f"{stage.place.seed}:{stage.objective.name}:{step}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(seed[:7]))
    stage.optimizer.set_learning_rate(rate)
    with stage.accelerator.autocast():
        loss = stage.objective.loss(step, generator)
    if not torch.isfinite(loss):
        raise ImggenError(
            f"the loss of stage {stage.objective.name} is NaN or infinite at step {step}",
            hint=f"{stage.place.checkpoint} is as it was before; start again with a lower learning_rate",
        )
    stage.accelerator.backward(loss)
    stage.accelerator.clip_grad_norm_(stage.objective.module.parameters(), 1.0)
    stage.optimizer.step()
    stage.optimizer.zero_grad()
    return float(loss.detach())


def _keep(stage: Stage, progress: StageProgress, fact: TrainingStep) -> None:
    plan, folder = stage.plan, stage.place.folder
    last = progress.step == stage.steps
    if last or _is_due(progress.step, plan.checkpoint_every, plan.batch_size):
        _save(stage, progress)
    if last or _is_due(progress.step, plan.sample_every, plan.batch_size):
        stage.objective.sample(stage.averaged, folder / f"samples-{fact.pictures:09d}.png")
    if last or progress.step % STATS_EVERY == 0:
        with (folder / STATS).open("a", encoding="utf-8") as stats:
            stats.write(json.dumps(asdict(fact), allow_nan=False) + "\n")


def _is_due(step: int, every: int, batch_size: int) -> bool:
    return step * batch_size // every > (step - 1) * batch_size // every


def _learning_rate(stage: Stage, step: int) -> float:
    plan, total = stage.plan, stage.steps
    warm = min(1.0, (step + 1) * plan.batch_size / max(1, plan.warmup))
    cool = min(1.0, (total - step) / max(1, round(total * plan.cooldown)))
    return plan.learning_rate * min(warm, cool)


def _decay(target: float, step: int) -> float:
    # a short memory while the weights still move fast
    return min(target, (1 + step) / (10 + step))


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, decay: float) -> None:
    theirs = [parameter.detach() for parameter in module.parameters()]
    torch._foreach_lerp_(list(averaged.parameters()), theirs, 1 - decay)
    for mine, other in zip(averaged.buffers(), module.buffers(), strict=True):
        mine.copy_(other)


def _resume(stage: Stage) -> StageProgress:
    """Load the last checkpoint; return how far it had come, nothing where there is none."""
    place = stage.place
    if not place.checkpoint.exists():
        return StageProgress(step=0, seconds=0.0)
    state = _read(place)
    if state["fingerprint"] != place.fingerprint:
        raise RequestError(
            f"{place.folder.parent} holds a run of another recipe",
            hint="give --run another folder, or train on with the recipe that started it",
        )
    stage.objective.module.load_state_dict(state["module"])
    stage.averaged.load_state_dict(state["averaged"])
    stage.optimizer.load_state_dict(state["optimizer"])
    _forget_after(place.folder / STATS, state["step"] * stage.plan.batch_size)
    return StageProgress(step=state["step"], seconds=state["seconds"])


def _read(place: StageFolder) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(place.checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ImggenError(
            f"the checkpoint {place.checkpoint} is damaged", hint=f"rm {place.checkpoint}, and the stage starts over"
        ) from error
    return state


def _forget_after(stats: Path, pictures: int) -> None:
    """Drop the lines about steps that will be made again."""
    if not stats.exists():
        return
    lines = stats.read_text(encoding="utf-8").splitlines(keepends=True)
    # a line without an end was cut off by what stopped the run
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["pictures"] <= pictures]
    temporary = stats.with_suffix(".partial")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(stats)


def _save(stage: Stage, progress: StageProgress) -> None:
    """Write a checkpoint in place of the last one, whole or not at all."""
    state = {
        "fingerprint": stage.place.fingerprint,
        "step": progress.step,
        "seconds": progress.seconds,
        "module": stage.objective.module.state_dict(),
        "averaged": stage.averaged.state_dict(),
        "optimizer": stage.optimizer.state_dict(),
    }
    temporary = stage.place.checkpoint.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(stage.place.checkpoint)
    finally:
        temporary.unlink(missing_ok=True)
