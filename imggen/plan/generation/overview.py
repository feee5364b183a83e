"""A plan in a few lines, for people; all of it is its JSON."""

from collections.abc import Iterator, Sequence
from typing import Final

from imggen.plan.schema.request import GeneratePlan

_LONGEST_PROMPT: Final = 60
_MOST_LISTED: Final = 4


def rows(plan: GeneratePlan) -> Iterator[tuple[str, str]]:
    """Yield what will be made and by what, as names and values."""
    pictures = "1 picture" if len(plan.seeds) == 1 else f"{len(plan.seeds)} pictures"
    yield "makes", f"{pictures} of {plan.width}x{plan.height}, {plan.task}"
    if plan.prompt:
        yield "prompt", _shortened(plan.prompt)
    yield "model", f"{plan.model.reference} ({plan.family.title})"
    if plan.change is not None:
        strength = "" if plan.change.strength is None else f", strength {plan.change.strength:g}"
        yield "method", f"{plan.change.method}{strength}"
    for adapter in plan.adapters:
        yield adapter.asked.kind, adapter.asked.reference
    yield "steps", f"{plan.steps}, guidance {plan.guidance:g}, sampler {plan.sampler}"
    yield ("seed" if len(plan.seeds) == 1 else "seeds"), listed([str(seed) for seed in plan.seeds])
    yield "device", f"{plan.device}, {plan.dtype}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_PROMPT else f"{line[:_LONGEST_PROMPT]}..."


def listed(values: Sequence[str]) -> str:
    """Return the first few of `values`, and how many there are in all."""
    shown = ", ".join(values[:_MOST_LISTED])
    return f"{shown}, ... ({len(values)} in all)" if len(values) > _MOST_LISTED else shown
