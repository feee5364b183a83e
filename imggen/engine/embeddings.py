"""Textual inversion: words that were learnt as vectors of a text encoder (arXiv 2208.01618)."""

from typing import Any

from imggen.engine import failures
from imggen.plan.request import GeneratePlan


def add(pipeline: Any, plan: GeneratePlan) -> None:
    """Teach `pipeline` the words of `plan`, so that its prompt can use them."""
    for each in plan.adapters:
        if each.asked.kind == "embedding":
            with failures.explained(plan, each.asked.reference):
                pipeline.load_textual_inversion(str(each.files[0]), token=each.asked.token)
