"""What a plan costs before anything is fetched or loaded: bytes, memory, time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from imggen.host import timings
from imggen.plan.generation import overview
from imggen.plan.memory import memory
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.request import GeneratePlan, ModelFacts
from imggen.store import lookup

UNKNOWN: Final = "not known: no similar picture was made with this model here yet"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is known beforehand of a run.

    `needed_bytes` is an estimate of what it takes of the memory that `free_bytes` are free of; `seconds` is for all of
    its pictures, None where there is no basis for it; `basis` says what it stands on. `paths` are the pictures' files,
    none for standard output.
    """

    family: str
    licence: str | None
    download_bytes: int
    needed_bytes: int | None
    free_bytes: int
    memory_of: str
    seconds: float | None
    basis: str
    paths: tuple[str, ...]


def foresee(
    plan: GeneratePlan, machine: Machine, named: Sequence[Path] = (), *, sketch: Path | None = None
) -> Forecast:
    """Return what is known beforehand of `plan`, whose pictures will be files that are `named` so.

    What lies in the folder `sketch` is still to be fetched.
    """
    gpu = machine.accelerator(plan.device)
    timing = timings.recall(plan)
    return Forecast(
        family=plan.family.name,
        licence=_licence(plan.model),
        download_bytes=_missing(plan, sketch) if sketch else 0,
        needed_bytes=plan.memory.peak_bytes if plan.memory else None,
        free_bytes=gpu.free_bytes if gpu else machine.free_bytes,
        memory_of=gpu.name if gpu else "main memory",
        seconds=_seconds(plan, timing),
        basis=f"the last run like it here, on {timing.when[:10]}" if timing else UNKNOWN,
        paths=tuple(str(path) for path in named),
    )


def lines(forecast: Forecast) -> Iterator[str]:
    """Yield the forecast for people; the plan's own lines tell of memory."""
    yield f"family: {forecast.family}"
    yield f"licence: {forecast.licence or 'not stated'}"
    yield f"to download: {_download(forecast)}"
    yield f"time: {_time(forecast)}"


def rows(forecast: Forecast) -> Iterator[tuple[str, str]]:
    """Yield the forecast as names and values, memory included."""
    needed = "not known" if forecast.needed_bytes is None else f"about {memory.text(forecast.needed_bytes)}"
    yield "goes to", overview.listed(forecast.paths) or "standard output"
    yield "memory", f"{needed} of {memory.text(forecast.free_bytes)} free, {forecast.memory_of}"
    yield "licence", forecast.licence or "not stated"
    if forecast.download_bytes:
        yield "download", _download(forecast)
    yield "time", _time(forecast)


def _download(forecast: Forecast) -> str:
    return memory.text(forecast.download_bytes) if forecast.download_bytes else "nothing"


def _time(forecast: Forecast) -> str:
    if forecast.seconds is None:
        return forecast.basis
    return f"about {_duration(forecast.seconds)} ({forecast.basis})"


def _licence(model: ModelFacts) -> str | None:
    """Return the licence of the model, and that of its prior where it is another one."""
    stated = [lookup.licence(part) for part in (model, model.prior) if part is not None]
    return " and ".join(dict.fromkeys(name or "not stated" for name in stated)) if any(stated) else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _seconds(plan: GeneratePlan, timing: timings.Taken | None) -> float | None:
    if timing is None:
        return None
    picture_seconds = plan.steps * timing.step_seconds + timing.rest_seconds
    return round(timing.load_seconds + len(plan.seeds) * picture_seconds, 2)


def _missing(plan: GeneratePlan, sketch: Path) -> int:
    # huggingface_hub reads its variables once, so this import waits as in the store.
    from imggen.store import hub

    folders = {hub.snapshot_of(place) for place in _places(plan) if place.is_relative_to(sketch)}
    return sum(hub.missing_bytes(folder) for folder in folders if folder)


def settled(plan: GeneratePlan, sketch: Path) -> GeneratePlan:
    """Return the plan with the places that files will have in the hub's cache, in place of those in the sketch."""
    if not any(path.is_relative_to(sketch) for path in _places(plan)):
        return plan
    from imggen.store import hub

    def home(path: Path) -> Path:
        snapshot = hub.snapshot_of(path) if path.is_relative_to(sketch) else None
        return hub.home(snapshot) / path.relative_to(snapshot) if snapshot else path

    adapters = tuple(replace(adapter, files=tuple(map(home, adapter.files))) for adapter in plan.adapters)
    return replace(plan, model=_moved(plan.model, home), adapters=adapters)


def _places(plan: GeneratePlan) -> Iterator[Path]:
    yield plan.model.folder
    if plan.model.prior is not None:
        yield plan.model.prior.folder
    for adapter in plan.adapters:
        yield from adapter.files


def _moved(model: ModelFacts, home: Callable[[Path], Path]) -> ModelFacts:
    prior = None if model.prior is None else _moved(model.prior, home)
    return replace(model, folder=home(model.folder), prior=prior)
