"""By which method a task is done with a model, which of its pipelines runs, and how much of a given picture stays."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters import controlnets, controls, ip_adapters
from imggen.plan.case import COMMAND_LINE, PARENTS, RECIPE, Case
from imggen.plan.generation import references
from imggen.plan.models import catalog
from imggen.plan.schema.change import Method
from imggen.plan.schema.family import Family
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.tasks import TASKS, Task
from imggen.plan.sizing.sizes import Size

STRENGTHS: Final[dict[Method, float]] = {
    "image-to-image": 0.75,
    "inpainting": 1.0,
    "latent-blending": 1.0,
    "latents": 0.6,
    "statistics": 0.5,
    "ip-adapter": 0.75,
}
"""How much is made anew when nobody says; a method that is not here starts from noise and knows no strength."""

_ANOTHER: Final = "another --model"
_STRENGTHS_OF_TASKS: Final[dict[tuple[Task, Method], float]] = {("outpaint", "latent-blending"): 0.7}
"""Exceptions: without an inpainting pipeline, borders that start from the picture's own colours go on best."""


@dataclass(frozen=True, kw_only=True)
class Approach:
    """How a task is done: `method` None is the plain way from words to a picture. `pipeline` is a diffusers class.

    `strength` is the share of the noising that is done and undone, None where the method starts from noise. `words` is
    what the model is told because nobody says anything that it could do, None where that is not needed; `seen` are the
    pixels of each picture that its denoiser sees beside the one that it draws. `control_argument` is the pipeline's
    argument for control pictures, None where there are none; `from_noise` says that following them takes away the
    method's usual strength; `picture_arguments` are what the pipeline calls the picture that is repainted and its
    mask, () for what the family's own do.
    """

    method: Method | None
    pipeline: str
    reason: str
    strength: float | None = None
    words: str | None = None
    seen: tuple[int, ...] = ()
    control_argument: str | None = None
    from_noise: bool = False
    picture_arguments: tuple[str, ...] = ()


def choose(case: Case, size: Size, steps: int) -> Approach:
    """Return how the case's task is done for a picture of `size` in `steps` steps.

    Raise RequestError where its model has no way to do it, for pictures of sizes that the way does not take, and for a
    strength that is out of range, that leaves no step or that would be ignored.
    """
    task = case.request.task
    if catalog.is_inpainting_model(case.family, case.facts) and not TASKS[task].repaints:
        raise RequestError(
            f"{case.facts.reference} is an inpainting model: it repaints pictures and cannot {TASKS[task].purpose}",
            hint='imggen inpaint PICTURE "..." --mask MASK, or another --model',
        )
    approach = _controlled(case, _WAYS[task](case, size))
    seen = references.seen(case, approach.method, size)
    return replace(approach, strength=_strength(case, approach, steps), seen=seen)


def _controlled(case: Case, approach: Approach) -> Approach:
    """Return the approach by the pipeline that follows control pictures, where there are any."""
    taken = case.family.controls
    if controlnets.is_built_in(case.family):
        _check_picture(case)
    elif taken is None or not controlnets.among(case):
        return approach
    elif taken.repainting is not None and controlnets.repaints(case):
        pipeline, called = taken.repainting, controlnets.REPAINTED
        return replace(approach, pipeline=pipeline, picture_arguments=called, from_noise=True)
    task = next((task for task, name in case.family.pipelines.items() if name == approach.pipeline), case.request.task)
    if taken is None or task not in taken.pipelines:
        message = f"--control: {case.family.title} follows no control picture in {TASKS[case.request.task].command}"
        raise RequestError(message, hint="leave --control out, or another --model")
    return replace(
        approach,
        pipeline=taken.pipelines[task],
        control_argument=taken.image_argument(task),
        from_noise=task in taken.from_noise,
    )


def _check_picture(case: Case) -> None:
    """Raise RequestError where a model that reads a control picture itself has none, or not one that is for it."""
    task = case.request.task
    if task not in controlnets.TASKS:
        raise _cannot(case, f"{case.family.title} needs a control picture, and {TASKS[task].command} takes none")
    controls.check_own(case.request, case.family, case.facts)


def _strength(case: Case, approach: Approach, steps: int) -> float | None:
    """Return the denoising strength, None for a method that starts from noise; RequestError for one that cannot be."""
    requested = case.request.strength
    from_noise = [case.family.pipelines[task] for task in case.family.from_noise]
    starts = approach.from_noise or approach.pipeline in from_noise
    usual = None if starts else _usual(case.family, case.request.task, approach.method)
    if usual is None:
        if requested is not None and case.request.origin.get("strength", COMMAND_LINE) == COMMAND_LINE:
            message = f"--strength {requested:g}: {approach.reason}, which starts from noise"
            raise RequestError(message, hint="leave --strength out")
        return None
    chosen = usual if requested is None else requested
    if not math.isfinite(chosen) or not 0 < chosen <= 1:
        message = f"--strength {chosen:g} is not above 0 and at most 1 (1 ignores the picture, 0 would change nothing)"
        raise RequestError(message, hint=f"--strength {usual:g}")
    _check_distilled(case, chosen, steps)
    if approach.method != "inpainting":
        _check_left_out(case, chosen, steps)
    if int(steps * chosen) < 1:
        message = f"--strength {chosen:g} of {steps} steps leaves no step to run"
        raise RequestError(message, hint=f"--strength {math.ceil(100 / steps) / 100:g}")
    _check_whole(case, chosen, steps)
    return chosen


def _check_distilled(case: Case, strength: float, steps: int) -> None:
    """Raise RequestError where a consistency model is to make more steps than the strength leaves of its own."""
    distilled = case.facts.configs.get("scheduler", {}).get("original_inference_steps")
    if case.family.own_sampler and isinstance(distilled, int) and int(distilled * strength) < steps:
        own = f"{distilled} steps that the model was distilled at"
        hint = f"--strength {math.ceil(100 * steps / distilled) / 100:g}"
        raise RequestError(f"--strength {strength:g} of the {own} are less than {steps}", hint=hint)


def _check_left_out(case: Case, strength: float, steps: int) -> None:
    """Raise RequestError for a strength that leaves out fewer steps than the family's pipeline has to."""
    least = case.family.steps_left_out
    if least and int(steps * strength) > steps - least:
        changes = f"{case.family.title} changes a picture only where at least {least} of them is skipped"
        hint = f"--strength {math.floor(100 * (steps - least) / steps) / 100:g}" if steps > least else "more --steps"
        raise RequestError(f"--strength {strength:g} of {steps} steps skips none of them, and {changes}", hint=hint)


def _check_whole(case: Case, strength: float, steps: int) -> None:
    """Raise RequestError for a strength that means all steps of a family that makes whole steps, and does not say 1."""
    if case.family.strength is not None and strength != 1 and int(steps - steps * strength) <= 0:
        rounded = f"--strength {strength:g} of {steps} steps is rounded up to all of them"
        hint = f"--strength {int(100 * (steps - 1) / steps) / 100:g}" if steps > 1 else "--steps 2 --strength 0.5"
        raise RequestError(f"{rounded}, which leaves nothing of the picture", hint=hint)


def _usual(family: Family, task: Task, method: Method | None) -> float | None:
    if method not in STRENGTHS:
        return None
    return family.strength or _STRENGTHS_OF_TASKS.get((task, method), STRENGTHS[method])


def _from_image(case: Case, _: Size) -> Approach:
    if _edits(case, "image-to-image"):
        return _by_reference(case)
    reason = "noise is laid on the picture and taken away again"
    return Approach(method="image-to-image", pipeline=_pipeline(case, "image-to-image"), reason=reason)


def _repaint(case: Case, _: Size) -> Approach:
    """Return how a part is repainted: by the family's inpainting pipeline, or by blending latents."""
    family = case.family
    channels = case.facts.configs.get(family.denoiser, {}).get("in_channels")
    fits = not family.inpaint_channels or channels in family.inpaint_channels
    if "inpaint" in family.pipelines and fits:
        return Approach(
            method="inpainting", pipeline=family.pipelines["inpaint"], reason=f"{family.title} has a pipeline for it"
        )
    lacks = (
        f"its denoiser has {channels} channels, and {family.title}'s inpainting pipeline takes "
        f"{' or '.join(map(str, family.inpaint_channels))}"
        if "inpaint" in family.pipelines
        else f"{family.title} has no inpainting pipeline"
    )
    if family.unlisted:
        raise _cannot(case, f"{lacks}, and the layout of its latents is not known")
    if family.blending_refusal:
        raise _cannot(case, f"{lacks}, and {family.blending_refusal}")
    reason = f"{lacks}; what the mask leaves out is laid over the latents after each step"
    return Approach(method="latent-blending", pipeline=_starting(case, lacks), reason=reason)


def _breed(case: Case, size: Size) -> Approach:
    lacks = case.family.breeding_refusal or _not_by_recipe(case, size)
    if lacks is None:
        reason = "the parents carry recipes of this model, so their noise and words are mixed"
        return Approach(method="noise-and-words", pipeline=_pipeline(case, "text-to-image"), reason=reason)
    return Approach(method="latents", pipeline=_starting(case, lacks), reason=f"{lacks}, so encoded pictures are mixed")


def _not_by_recipe(case: Case, size: Size) -> str | None:
    """Return why the parents cannot be made again from what they carry, None where they can."""
    words = set()
    for parent in case.given:
        if parent.role != "parent":
            continue
        recipe = parent.recipe
        if recipe is None:
            return f"{parent.name} carries no recipe"
        if not _is_heritable(recipe):
            return f"{parent.name} was not made from words alone ({recipe.task})"
        if recipe.model != case.facts.reference:
            return f"{parent.name} was made by {recipe.model}"
        if (recipe.width, recipe.height) != (size.width, size.height) or recipe.edits:
            return f"{parent.name} was made at another size than the children's {size.width}x{size.height}"
        words.add((recipe.prompt, recipe.negative_prompt))
    if case.family.mixing_refusal and len(words) > 1:
        return f"{case.family.title} does not mix the parents' unlike prompts ({case.family.mixing_refusal})"
    return _asked_otherwise(case)


def _asked_otherwise(case: Case) -> str | None:
    """Return what was asked for that noise and words of parents cannot give, None where there is nothing.

    A preset or the config may say a strength or a negative prompt, which are for tasks that have them; a recipe says
    what was done.
    """
    for name, origins in _SAID.items():
        if getattr(case.request, name) is not None and case.request.origin.get(name, COMMAND_LINE) in origins:
            return f"--{name.replace('_', '-')} was given"
    return None


_SAID: Final = {"strength": (COMMAND_LINE, RECIPE), "prompt": (COMMAND_LINE,), "negative_prompt": (COMMAND_LINE,)}


def _is_heritable(recipe: Recipe) -> bool:
    """Return whether a picture's noise and words can be had again from its recipe alone."""
    if recipe.task == "text-to-image":
        return True
    bred = recipe.task == "blend" and recipe.change is not None and recipe.change.method == "noise-and-words"
    older = [ingredient.recipe for ingredient in recipe.ingredients]
    return bred and all(recipe is not None and _is_heritable(recipe) for recipe in older)


def _stylise(case: Case, _: Size) -> Approach:
    """Return how a style is taken on: by an IP-Adapter, by reference, or by matching statistics."""
    family = case.family
    if case.request.ip_adapter_weights is not None:
        ip_adapters.check_family(family, ip_adapters.WEIGHTS)
        reason = "the adapter shows the style picture to the model"
        return Approach(method="ip-adapter", pipeline=_starting(case, "an adapter only helps"), reason=reason)
    if _edits(case, "style"):
        return _by_reference(case)
    reason = "no weights for style: the content takes on the style picture's colours and latent statistics"
    return Approach(method="statistics", pipeline=_starting(case, "there are no weights for style"), reason=reason)


def _edits(case: Case, task: Task) -> bool:
    return case.family.reference is not None and task in case.family.reference.tasks


def _by_reference(case: Case) -> Approach:
    task, reference = case.request.task, case.family.reference
    # What a given picture shows is no instruction: only what somebody says of this one is.
    is_said = (case.request.prompt or "").strip() and case.request.origin.get("prompt") != PARENTS
    return Approach(
        method="reference",
        pipeline=_pipeline(case, task),
        reason=f"{case.family.title} edits by looking at the given pictures",
        words=None if is_said or reference is None else reference.words.get(task),
    )


def _starting(case: Case, lacks: str) -> str:
    """Return the pipeline that starts from a picture; raise RequestError for a family that only looks at pictures."""
    family, blends = case.family, case.request.task == "blend"
    if _edits(case, "image-to-image"):
        why = "starts from noise and only looks at pictures"
    elif family.vae_class is None:
        why = "has no latents: it works on pixels"
    elif blends and "image-to-image" not in family.pipelines:
        why = f"has no pipeline that can {TASKS['image-to-image'].purpose}"
    else:
        return _pipeline(case, "image-to-image")
    hint = _HERITABLE if blends and not family.breeding_refusal else _ANOTHER
    raise _cannot(case, f"{lacks}, and {family.title} {why}", hint)


def _cannot(case: Case, why: str, hint: str = _ANOTHER) -> RequestError:
    return RequestError(f"{case.facts.reference} cannot {TASKS[case.request.task].purpose}: {why}", hint=hint)


def _pipeline(case: Case, task: Task) -> str:
    pipeline = case.family.pipelines.get(task)
    if pipeline is None:
        message = f"{case.facts.reference}: {case.family.title} has no pipeline that can {TASKS[task].purpose}"
        raise RequestError(message, hint="another --model; imggen models list shows what is here")
    return pipeline


_HERITABLE: Final = (
    "parents that this model made from words, at their own size, without words or --strength for the child; "
    "or another --model"
)

_WAYS: Final[dict[Task, Callable[[Case, Size], Approach]]] = {
    "text-to-image": lambda case, _: Approach(
        method=None, pipeline=_pipeline(case, "text-to-image"), reason="from words"
    ),
    "image-to-image": _from_image,
    "inpaint": _repaint,
    "outpaint": _repaint,
    "blend": _breed,
    "style": _stylise,
}
