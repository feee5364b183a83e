"""How a picture is steered: steps, guidance, negative prompt and sampler, each with its reason."""

import math
from dataclasses import dataclass
from typing import Final

from imggen.errors import ModelError, RequestError
from imggen.plan.case import COMMAND_LINE, Case
from imggen.plan.models import catalog, record, samplers
from imggen.plan.schema.request import Scheduler

_MOST_STEPS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What steers a picture. `passes` is how often a step runs the denoiser; `scheduler` None is the model's own.

    `image_guidance` is how much what is looked at holds against the words, None for a model that knows no such number.
    """

    steps: int
    guidance: float
    image_guidance: float | None
    passes: int
    negative_prompt: str
    sampler: str
    scheduler: Scheduler | None
    reasons: dict[str, str]


def choose(case: Case) -> Steering:
    """Return what steers the picture of `case`; raise RequestError for what its model cannot follow."""
    family, own = case.family, case.record
    sampler, scheduler = _sampler(case)
    steps = _steps(case, sampler)
    guidance = _guidance(case)
    own_says = "the model's own record"
    family_says = f"what suits {family.title}"
    beside = f"; {family.stages.other_steps}" if family.stages else ""
    return Steering(
        steps=steps,
        guidance=guidance,
        image_guidance=_image_guidance(case, guidance),
        passes=family.passes if _is_steered(case, guidance) else 1,
        negative_prompt=_negative(case, guidance),
        sampler=sampler,
        scheduler=scheduler,
        reasons={
            # Whose they are, where there are two stages.
            "steps": case.why("steps", own_says if own.steps else family_says) + beside,
            "guidance": case.why("guidance", own_says if own.guidance is not None else family_says),
            "sampler": case.why("sampler", own_says if own.sampler else "the model's own"),
            "negative_prompt": case.why("negative_prompt", "none"),
        },
    )


def _steps(case: Case, sampler: str) -> int:
    """Return the number of steps: the request's, the record's or the family's; RequestError for one that cannot be."""
    steps, listed = case.request.steps, _listed_steps(case)
    if listed and steps not in (None, listed):
        raise RequestError(f"--steps {steps}: this model always takes {listed} steps", hint=f"--steps {listed}")
    if steps is None:
        steps = listed or case.record.steps or case.family.steps
    trained = case.facts.configs.get("scheduler", {}).get("num_train_timesteps")
    # OmniGen counts a single one, and means none by it.
    most = trained if isinstance(trained, int) and trained > 1 else _MOST_STEPS
    limit = _most_steps(case) if sampler == samplers.DEFAULT else samplers.max_steps(sampler)
    taker = "this model" if limit is None or sampler == samplers.DEFAULT else f"sampler {sampler!r}"
    most = most if limit is None else min(most, limit)
    if not 1 <= steps <= most:
        raise RequestError(f"--steps {steps}: {taker} takes 1 to {most}", hint=f"--steps {min(max(steps, 1), most)}")
    if samplers.stumbles(sampler, steps, case.facts.configs.get("scheduler", {})):
        message = f"--sampler {sampler} in {steps} steps: a step from this model's most noise to its least ends in NaN"
        raise RequestError(message, hint=f"--steps {steps + 1}")
    return steps


def _listed_steps(case: Case) -> int | None:
    """Return the number of steps that the model's own pipeline lists, None where it leaves it to the caller."""
    listed = case.facts.options.get(case.family.steps_option or "")
    return len(listed) if isinstance(listed, list) and listed else None


def _most_steps(case: Case) -> int | None:
    """Return how many steps a consistency model was distilled at, of which its own scheduler takes some, else None."""
    distilled = case.facts.configs.get("scheduler", {}).get("original_inference_steps")
    return distilled if isinstance(distilled, int) and distilled > 0 else None


def _guidance(case: Case) -> float:
    """Return the guidance: the request's, the record's or the family's; RequestError for one that cannot be."""
    family, guidance = case.family, case.request.guidance
    if guidance is None:
        return case.family.guidance if case.record.guidance is None else case.record.guidance
    if family.guidance_refusal is not None:
        message = f"--guidance {guidance:g}: {family.title} takes no guidance; {family.guidance_refusal}"
        raise RequestError(message, hint="leave --guidance out")
    if not math.isfinite(guidance) or guidance < 0:
        raise RequestError(f"--guidance {guidance:g} is not a guidance scale", hint=f"--guidance {family.guidance:g}")
    if guidance < family.least_guidance:
        message = f"--guidance {guidance:g}: {family.title} takes {family.least_guidance:g} and more"
        raise RequestError(message, hint=f"--guidance {family.least_guidance:g}")
    return float(guidance)


def _image_guidance(case: Case, guidance: float) -> float | None:
    """Return how much the given picture holds, None where the model knows no such number."""
    family, value = case.family, case.request.image_guidance
    is_typed = case.request.origin.get("image_guidance", COMMAND_LINE) == COMMAND_LINE
    if family.image_guidance is None:
        if value is not None and is_typed:
            message = f"--image-guidance {value:g}: {family.title} has no image guidance"
            raise RequestError(message, hint="leave --image-guidance out")
        return None
    if value is None:
        return family.image_guidance
    # Below 1 its pipelines drop the guidance by words too.
    if not math.isfinite(value) or value < 1:
        message = f"--image-guidance {value:g}: {family.title} takes 1 (least weight of the picture) and more"
        raise RequestError(message, hint=f"--image-guidance {family.image_guidance:g}")
    if guidance <= family.steers_above and is_typed:
        uses = f"{family.title} uses it only when guidance is above {family.steers_above:g}"
        message = f"--image-guidance {value:g}: {uses}, and --guidance is {guidance:g}"
        raise RequestError(message, hint="leave --image-guidance out")
    return float(value)


def _negative(case: Case, guidance: float) -> str:
    negative = (case.request.negative_prompt or "").strip()
    if not negative:
        return ""
    reason = _negative_refusal(case, guidance)
    if reason:
        origin = case.why("negative_prompt", "")
        message = f"--negative-prompt {negative!r} ({origin}): {case.family.title} {reason}"
        raise RequestError(message, hint="leave --negative-prompt out")
    return negative


def _negative_refusal(case: Case, guidance: float) -> str | None:
    family = case.family
    if family.negative_refusal:
        return f"takes no negative prompt; {family.negative_refusal}"
    if not _is_steered(case, family.steers_above + 1):
        return "takes no negative prompt when its guidance is distilled, as in this model"
    if guidance <= family.steers_above:
        least = f"{family.steers_above:g}"
        return f"looks at a negative prompt only when guidance is above {least}, and --guidance is {guidance:g}"
    return None


def _is_steered(case: Case, guidance: float) -> bool:
    """Return whether every step runs the denoiser for the negative prompt besides the prompt."""
    family = case.family
    if family.negative_refusal or guidance <= family.steers_above:
        return False
    denoiser = case.facts.configs.get(family.denoiser, {})
    return family.distilled_key is None or denoiser.get(family.distilled_key) is None


def _sampler(case: Case) -> tuple[str, Scheduler | None]:
    """Return the sampler's name and its scheduler; RequestError for one that the model cannot use."""
    prediction = catalog.prediction(case.family, case.facts)
    requested = case.request.sampler
    name = requested or case.record.sampler or samplers.DEFAULT
    try:
        scheduler = samplers.find(name, prediction)
    except RequestError as error:
        if requested:
            raise
        raise ModelError(f"{case.facts.folder / record.FILE_NAME}: {error.message}", hint=error.hint) from error
    own_class = case.facts.components.get("scheduler", ("", ""))[1]
    own = samplers.recognise(own_class, case.facts.configs.get("scheduler", {}), prediction)
    if name in (own, samplers.DEFAULT):
        return own, None
    return name, scheduler
