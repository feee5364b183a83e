"""Down the memory ladder: where memory runs out, the same picture is made again by a plan that takes less."""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from imggen.errors import MemoryShortageError
from imggen.plan.memory import memory
from imggen.plan.schema.progress import Progress, Report, Stage
from imggen.plan.schema.request import GeneratePlan, GenerateRequest

Draw = Callable[[int], Any]
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class StepDownHooks:
    """By what a plan is carried out: `load` makes a pipeline of it, and `enter` what draws picture N of them both."""

    load: Callable[[GeneratePlan, Report], Any]
    enter: Callable[[Any, GeneratePlan, Report], Draw]


class Descent:
    """A plan, the pipeline that was loaded for it, and the way down from there.

    `plan` is the one that is in use: what `request` does not insist on changes, one rung at a time, and `on_note` hears
    of each.
    """

    def __init__(
        self,
        plan: GeneratePlan,
        request: GenerateRequest,
        means: StepDownHooks,
        *,
        on_event: Report,
        on_note: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self._request = request
        self._means = means
        self._on_event = on_event
        self._on_note = on_note
        self._stage: Stage = "load"
        self._pipeline: Any = None
        self._draw: Draw | None = None

    def report(self, event: Progress) -> None:
        """Pass an event on, and remember what is being done."""
        self._stage = event.stage
        self._on_event(event)

    def pipeline(self) -> Any:
        """Return the pipeline, loaded."""
        return self._attempt(lambda: self._pipeline)

    def draw(self, number: int) -> Any:
        """Return what is drawn as picture `number`; raise MemoryShortageError where even the last rung is too much."""
        return self._attempt(lambda: self._drawing()(number))

    def _attempt(self, work: Callable[[], Result]) -> Result:
        """Do the work; after each shortage of memory let go of everything and try a plan that takes less."""
        while True:
            try:
                self._ready()
                return work()
            except MemoryShortageError as error:
                stage = self._stage
                step = memory.step_down(self.plan, self._request, stage)
                if step is None:
                    raise self._ended(error) from error
            # Only here: the error holds on to every tensor that was alive when it was raised.
            self._let_go()
            self._on_note(f"memory ran out ({_DOING[stage]}); trying again with {step.line}")
            self.plan = step.plan

    def _ready(self) -> None:
        if self._pipeline is None:
            self._stage = "load"
            self._pipeline = self._means.load(self.plan, self.report)

    def _drawing(self) -> Draw:
        if self._draw is None:
            self._draw = self._means.enter(self._pipeline, self.plan, self.report)
        return self._draw

    def _let_go(self) -> None:
        self._pipeline = self._draw = None
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and self.plan.device == "cuda":
            torch.cuda.empty_cache()

    def _ended(self, error: MemoryShortageError) -> MemoryShortageError:
        tiles = f"tiles of {self.plan.vae_tile} px" if self.plan.vae_tile else "no tiles"
        return MemoryShortageError(
            f"{error.message}, with {tiles} and --offload {self.plan.offload}; no smaller setting is left",
            hint=error.hint,
        )


_DOING: dict[Stage, str] = {
    "load": "loading",
    "encode": "reading what was given",
    "prior": "composing",
    "denoise": "denoising",
    "decode": "decoding",
    "write": "writing",
}
