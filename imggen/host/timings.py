"""How long pictures took on this machine: kept after each run, and asked before the next one like it."""

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import platformdirs

from imggen.plan.schema.progress import Progress, Stage
from imggen.plan.schema.request import GeneratePlan

MOST: Final = 300
"""How many kinds of runs are remembered; the ones that were not seen for longest are forgotten."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one run took: to load, for each step that was asked for, and for the rest of each picture.

    `when` is the day and time in UTC, as ISO 8601 writes it.
    """

    load_seconds: float
    step_seconds: float
    rest_seconds: float
    when: str


class Stopwatch:
    """Passes progress on and adds up how long each stage takes."""

    def __init__(self, on_event: Callable[[Progress], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_event = on_event
        self._clock = clock
        self._seconds: dict[Stage, float] = {}
        self._stage: Stage | None = None
        self._since = 0.0
        self._pictures: set[int] = set()

    def __call__(self, event: Progress) -> None:
        """Take a progress event and pass it on."""
        self._turn(event.stage)
        if event.stage == "write":
            self._pictures.add(event.image)
        self._on_event(event)

    def _turn(self, stage: Stage | None) -> None:
        now = self._clock()
        if self._stage is not None:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def taken(self, steps: int) -> Taken | None:
        """Return what the run took so far, with `steps` to each picture; None where no picture was made."""
        self._turn(None)
        if not self._pictures:
            return None
        count = len(self._pictures)
        seconds = {stage: round(value, 4) for stage, value in self._seconds.items()}
        steps_of_both = seconds.get("prior", 0.0) + seconds.get("denoise", 0.0)
        rest = sum(value for stage, value in seconds.items() if stage not in ("download", "load", "prior", "denoise"))
        load, step = seconds.get("load", 0.0), steps_of_both / count / max(1, steps)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Taken(load_seconds=load, step_seconds=step, rest_seconds=rest / count, when=now)


def keep(plan: GeneratePlan, taken: Taken | None, *, path: Path | None = None) -> None:
    """Remember what a run of `plan` took; where the file cannot be written, only a forecast is lost."""
    if taken is None:
        return
    file = path or _path()
    entries = _read(file)
    entries.pop(_key(plan), None)
    entries[_key(plan)] = asdict(taken)
    newest = dict(list(entries.items())[-MOST:])
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(newest, indent=0))
        fresh.replace(file)


def recall(plan: GeneratePlan, *, path: Path | None = None) -> Taken | None:
    """Return what the last run like `plan` took here, None where there was none."""
    return _taken(_read(path or _path()).get(_key(plan)))


def last_used(reference: str, revision: str | None, *, path: Path | None = None) -> str | None:
    """Return when a picture was last made with the model, None where that is not known."""
    times = []
    for key, entry in _read(path or _path()).items():
        taken = _taken(entry)
        with suppress(ValueError, TypeError):
            if taken and json.loads(key)[:2] == [reference, revision]:
                times.append(taken.when)
    return max(times, default=None)


def _key(plan: GeneratePlan) -> str:
    change = plan.change
    facts = [
        *(plan.model.reference, plan.model.revision, platform.node(), plan.device, plan.dtype),
        *(plan.canvas, plan.pipeline, plan.guidance > 1),
        [change.method, change.strength] if change else None,
        [plan.offload, plan.quantize, plan.attention_slicing, plan.vae_tile],
        [[adapter.asked.kind, adapter.sha256] for adapter in plan.adapters],
    ]
    return json.dumps(facts)


def _path() -> Path:
    return Path(platformdirs.user_cache_dir("imggen")) / "runs.json"


def _read(file: Path) -> dict[str, object]:
    with suppress(OSError, ValueError, RecursionError):
        entries = json.loads(file.read_bytes())
        return entries if isinstance(entries, dict) else {}
    return {}


def _taken(entry: object) -> Taken | None:
    # Anything odd in the file counts as forgotten.
    if not isinstance(entry, dict) or entry.keys() != Taken.__dataclass_fields__.keys():
        return None
    numbers = [entry[name] for name in ("load_seconds", "step_seconds", "rest_seconds")]
    if not all(isinstance(number, float | int) for number in numbers) or not isinstance(entry["when"], str):
        return None
    return Taken(**entry)
