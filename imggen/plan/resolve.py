"""From a request with blanks, a model's facts and a machine to a plan without blanks."""

from collections.abc import Callable

from imggen.plan.machine import Machine
from imggen.plan.recipe import Recipe
from imggen.plan.request import GeneratePlan, GenerateRequest, ModelFacts


def resolve(
    request: GenerateRequest, facts: ModelFacts, machine: Machine, *, draw_seed: Callable[[int], int]
) -> GeneratePlan:
    """Return the plan for `request`; raise the ImggenError that says which part cannot be done.

    `draw_seed(limit)` returns a random whole number in [0, limit), as `secrets.randbelow` does.
    """
    raise NotImplementedError


def to_json(plan: GeneratePlan) -> str:
    """Return the plan as indented strict JSON, reasons included."""
    raise NotImplementedError


def explain(plan: GeneratePlan) -> list[str]:
    """Return the plan as lines for people: what was decided and why."""
    raise NotImplementedError


def from_recipe(recipe: Recipe, request: GenerateRequest) -> GenerateRequest:
    """Return `request` with what it leaves blank filled from `recipe`."""
    raise NotImplementedError
