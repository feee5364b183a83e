"""The training loop: one for every objective, resumed exactly by running it again."""

import copy
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from imggen.errors import RequestError
from imggen.training import optimizer as optimizers
from imggen.training.recipe import StagePlan


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one optimisation step did. `seconds` is the time that training has taken so far, over all resumes."""

    stage: str
    pictures: int
    of: int
    loss: float
    learning_rate: float
    seconds: float


class Objective(Protocol):
    """What a stage trains: a module, a loss for a step, and a way to look at the result."""

    name: str
    module: nn.Module

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of a step; all that is random comes from the step's number and the generator."""

    def sample(self, averaged: nn.Module, path: Path) -> None:
        """Write a picture that shows what the averaged weights do now."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage keeps its things, and what ties them to one run."""

    folder: Path
    fingerprint: str
    seed: int
    precision: str

    @property
    def checkpoint(self) -> Path:
        """The file that a resumed run starts from."""
        return self.folder / "checkpoint.pt"


def run(objective: Objective, stage: StagePlan, place: Place) -> Iterator[Step]:
    """Train until `stage.pictures` were seen, yielding each step; continue where the last checkpoint ended.

    Noise, data and timesteps depend on the step's number alone, so a run that was stopped and continued ends with the
    same weights as one that was not. Checkpoints replace each other atomically; the averaged weights (EMA) are in
    them. Raises RequestError where the folder holds a run of another recipe.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=place.precision)
    averaged = _copy_of(objective.module)
    optimizer = optimizers.build(objective.module, stage)
    progress = _resume(place, objective.module, averaged, optimizer)
    objective.module.to(accelerator.device).train()
    averaged.to(accelerator.device)
    total = -(-stage.pictures // stage.batch_size)
    place.folder.mkdir(parents=True, exist_ok=True)
    while progress.step < total:
        started = time.monotonic()
        rate = _learning_rate(stage, progress.step, total)
        loss = _advance(objective, stage, place, accelerator, optimizer, progress.step, rate)
        _average(averaged, objective.module, _decay(stage.ema, progress.step))
        progress = Progress(step=progress.step + 1, seconds=progress.seconds + time.monotonic() - started)
        fact = Step(
            stage=objective.name,
            pictures=min(progress.step * stage.batch_size, stage.pictures),
            of=stage.pictures,
            loss=loss,
            learning_rate=rate,
            seconds=progress.seconds,
        )
        _keep(objective, stage, place, progress, total, averaged, optimizer, fact)
        yield fact
    objective.module.load_state_dict(averaged.state_dict())


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a stage has come."""

    step: int
    seconds: float


def _advance(
    objective: Objective,
    stage: StagePlan,
    place: Place,
    accelerator: Accelerator,
    optimizer: optimizers.Optimizer,
    step: int,
    rate: float,
) -> float:
    generator = torch.Generator("cpu").manual_seed(_step_seed(place.seed, objective.name, step))
    optimizer.set_learning_rate(rate)
    with accelerator.autocast():
        loss = objective.loss(step, generator)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(objective.module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def _keep(
    objective: Objective,
    stage: StagePlan,
    place: Place,
    progress: Progress,
    total: int,
    averaged: nn.Module,
    optimizer: optimizers.Optimizer,
    fact: Step,
) -> None:
    last = progress.step == total
    if last or _is_due(progress.step, stage.checkpoint_every, stage.batch_size):
        _save(place, progress, objective.module, averaged, optimizer)
    if last or _is_due(progress.step, stage.sample_every, stage.batch_size):
        objective.sample(averaged, place.folder / f"samples-{fact.pictures:09d}.png")
    if last or progress.step % 10 == 0:
        with (place.folder / "stats.jsonl").open("a", encoding="utf-8") as stats:
            stats.write(json.dumps(asdict(fact)) + "\n")


def _is_due(step: int, every: int, batch_size: int) -> bool:
    return step * batch_size // every > (step - 1) * batch_size // every


def _learning_rate(stage: StagePlan, step: int, total: int) -> float:
    warm = min(1.0, (step + 1) * stage.batch_size / max(1, stage.warmup))
    cooling = max(1, round(total * stage.cooldown))
    cool = min(1.0, (total - step) / cooling) if stage.cooldown else 1.0
    return stage.learning_rate * min(warm, cool)


def _decay(target: float, step: int) -> float:
    # a short memory while the weights still move fast
    return min(target, (1 + step) / (10 + step))


def _step_seed(seed: int, name: str, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}:{step}".encode()).digest()[:7])


def _copy_of(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module).eval()
    return twin.requires_grad_(False)


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, decay: float) -> None:
    theirs = [each.detach() for each in module.parameters()]
    torch._foreach_lerp_(list(averaged.parameters()), theirs, 1 - decay)
    for mine, other in zip(averaged.buffers(), module.buffers(), strict=True):
        mine.copy_(other)


def _resume(place: Place, module: nn.Module, averaged: nn.Module, optimizer: optimizers.Optimizer) -> Progress:
    if not place.checkpoint.exists():
        return Progress(step=0, seconds=0.0)
    state: dict[str, Any] = torch.load(place.checkpoint, map_location="cpu", weights_only=True)
    if state["fingerprint"] != place.fingerprint:
        raise RequestError(
            f"{place.folder.parent} holds a run of another recipe",
            hint="give --run another folder, or train on with the recipe that started it",
        )
    module.load_state_dict(state["module"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(step=state["step"], seconds=state["seconds"])


def _save(
    place: Place, progress: Progress, module: nn.Module, averaged: nn.Module, optimizer: optimizers.Optimizer
) -> None:
    state = {
        "fingerprint": place.fingerprint,
        "step": progress.step,
        "seconds": progress.seconds,
        "module": module.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = place.checkpoint.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place.checkpoint)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
