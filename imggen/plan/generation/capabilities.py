"""What each family of the catalogue can do, and how: the table that people read, and that the tests run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from imggen.errors import RequestError
from imggen.plan.adapters import controlnets, lora
from imggen.plan.case import Case
from imggen.plan.generation import approach
from imggen.plan.models import autoencoders
from imggen.plan.models.families.refusals import ONE_PASS
from imggen.plan.models.record import ModelRecord
from imggen.plan.schema.change import Method
from imggen.plan.schema.family import Family
from imggen.plan.schema.given import Given
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.request import GenerateRequest, ModelFacts
from imggen.plan.schema.tasks import Task
from imggen.plan.sizing.sizes import Size

TASKS: Final[tuple[Task, ...]] = get_args(Task)

# No decision about a task asks for it.
_NOWHERE: Final = Machine(
    system="",
    architecture="",
    cpu_name="",
    cpu_cores=1,
    cpu_bfloat16=False,
    cpu_reason="",
    memory_bytes=0,
    free_bytes=0,
    torch="",
)
_OWN: Final[tuple[Method, ...]] = ("image-to-image", "inpainting", "reference", "noise-and-words")


@dataclass(frozen=True, kw_only=True)
class Ability:
    """Whether a family can do a task: by which method (None for the plain way from words), or why it cannot.

    `refusal` is what the user is told, None where it can. `is_stand_in` says that no pipeline or weights of its own do
    it, so that the result is more of an approximation.
    """

    task: Task
    method: Method | None = None
    refusal: str | None = None

    @property
    def is_stand_in(self) -> bool:
        """Return whether something else than what the family was made for does the task."""
        return self.method is not None and self.method not in _OWN


def abilities(family: Family, facts: ModelFacts | None = None) -> tuple[Ability, ...]:
    """Return what a model of `family` can do of each task, in the order of the tasks; by default, its usual model.

    That one has as many channels as its inpainting pipeline takes. Parents of a blend are taken to be pictures that the
    model made from one prompt, where it makes any.
    """
    return tuple(_ability(family, task, facts or _usual(family)) for task in TASKS)


def _usual(family: Family) -> ModelFacts:
    channels: dict[str, object] = {"in_channels": family.inpaint_channels[0]} if family.inpaint_channels else {}
    return ModelFacts(
        reference=family.base or family.name,
        source="hub",
        folder=Path(),
        pipeline=next(iter(family.pipelines.values())),
        configs={family.denoiser: channels},
    )


def _ability(family: Family, task: Task, facts: ModelFacts) -> Ability:
    """Return how the family does the task, or why it cannot: what `approach` says of a request that asks for it."""
    from_words = task != "blend" or "text-to-image" in family.pipelines
    edge = family.native_pixels
    stranger = Given(role="parent", name="a picture", sha256="", width=edge, height=edge)
    request = GenerateRequest(
        task=task,
        prompt=None if task == "blend" else "a red apple",
        # A model that draws nothing without one is given one.
        control=("canny:a picture",) if controlnets.is_built_in(family) else None,
    )
    given = () if from_words else (stranger,)
    case = Case(request=request, facts=facts, family=family, record=ModelRecord(), machine=_NOWHERE, given=given)
    try:
        way = approach.choose(case, Size(width=edge, height=edge, reason=""), family.steps)
    except RequestError as error:
        return Ability(task=task, refusal=error.message)
    return Ability(task=task, method=way.method)


def multiple_of(family: Family) -> int:
    """Return what the edges of the pictures of the family's usual models are multiples of, in pixels."""
    return max(8, family.vae_scale * family.patch * family.block)


def guidance(family: Family) -> Literal["true", "distilled", "none"]:
    """Return how guidance works: by a second pass, by a number that the model was taught, or not at all."""
    if family.guidance_argument is None and not family.guiders:
        return "none"
    return "distilled" if family.negative_refusal == ONE_PASS else "true"


def described(family: Family) -> dict[str, object]:
    """Return what people want to know of a family, as values that JSON can hold; sizes are in pixels."""
    return {
        "family": family.name,
        "title": family.title,
        "model": family.base,
        "prior": family.stages.usual if family.stages else None,
        "licence": family.licence,
        "pipelines": list(dict.fromkeys(family.pipelines.values())),
        "tasks": {ability.task: _told(ability) for ability in abilities(family)},
        "native_size": family.native_pixels,
        "multiple_of": multiple_of(family),
        "min_size": family.min_size,
        "max_size": family.max_size,
        "sizes": [list(siz) for siz in family.sizes],
        "steps": family.steps,
        "guidance": family.guidance if guidance(family) != "none" else None,
        "guidance_kind": guidance(family),
        "negative_prompt": family.negative_refusal is None,
        "max_tokens": family.max_tokens,
        "dtypes": ["float32", *family.half_dtypes],
        "tiles": autoencoders.kind(family.vae_class).tiles,
        "lora": lora.takes_lora(family),
        "controlnet": family.controls is not None,
        "ip_adapter": family.ip_adapters is not None,
    }


def _told(ability: Ability) -> dict[str, object]:
    if ability.refusal is not None:
        return {"possible": False, "reason": ability.refusal}
    return {"possible": True, "method": ability.method, "stand_in": ability.is_stand_in}
