"""What a pipeline is called with: the arguments that the plan holds, and the names of those that are pictures."""

from collections.abc import Callable, Iterable
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters import controlnets, ip_adapters
from imggen.plan.case import Case
from imggen.plan.generation.approach import Approach
from imggen.plan.generation.steering import Steering
from imggen.plan.generation.words import Words
from imggen.plan.schema.change import Method
from imggen.plan.schema.family import Family
from imggen.plan.sizing.canvas import Canvas

_PICTURE_ARGUMENTS: Final[dict[Method, tuple[str, ...]]] = {
    "image-to-image": ("image",),
    "inpainting": ("image",),
    "latent-blending": ("image", "callback_on_step_end"),
    "latents": ("image",),
    "statistics": ("image",),
    "ip-adapter": ("image", "ip_adapter_image"),
}
"""The arguments of a pipeline's call that the sampler adds, by method."""

Check = Callable[[Iterable[str], str], None]
"""What raises for the first of the names that a pipeline does not take."""


def arguments(case: Case, way: Approach, words: Words, area: Canvas, steered: Steering) -> dict[str, object]:
    """Return what the plan says to the pipeline's call; pictures come when it is made."""
    family = case.family
    values: dict[str, object] = {"prompt": words.prompt, family.steps_argument: steered.steps, **family.extra_arguments}
    sized = [family.pipelines[task] for task in family.sized_by_image if task in family.pipelines]
    if way.pipeline not in sized:
        swapped = way.pipeline in [family.pipelines[task] for task in family.swaps_edges]
        across, down = ("height", "width") if swapped else ("width", "height")
        values |= {across: area.width, down: area.height}
    if steered.steps != family.steps:
        values |= family.other_steps_arguments
    if family.area_argument:
        values[family.area_argument] = area.width * area.height
    if way.strength is not None:
        values["strength"] = way.strength
    if steered.image_guidance is not None:
        values["image_guidance_scale"] = steered.image_guidance
    if controlnets.among(case):
        values["controlnet_conditioning_scale"] = controlnets.scale(case)
    if family.guidance_argument:
        values[family.guidance_argument] = _guidance(family, steered)
    if words.negative_prompt:
        values["negative_prompt"] = words.negative_prompt
    return values


def _guidance(family: Family, steered: Steering) -> float | list[float]:
    if family.late_guidance is None:
        return steered.guidance
    last, most = family.late_guidance
    late = min(last, steered.steps - 1)
    return [steered.guidance] * (steered.steps - late) + [min(steered.guidance, most)] * late


def _shown(case: Case, way: Approach) -> tuple[str, ...]:
    """Return the names of the call's arguments that are pictures."""
    control = () if way.control_argument is None else (way.control_argument,)
    beside = ("ip_adapter_image",) if ip_adapters.of(case.adapters) else ()
    mask = (case.family.mask_argument,) if way.method == "inpainting" else ()
    if way.method == "reference" and case.family.reference is not None:
        return (case.family.reference.argument, *beside)
    if way.picture_arguments:
        return (*way.picture_arguments, *beside)
    return (*(_PICTURE_ARGUMENTS.get(way.method, ()) if way.method else ()), *mask, *control, *beside)


def check(case: Case, way: Approach, names: Iterable[str], check_call: Check) -> None:
    """Raise the error of `check_call` for the first of `names`, or of the pictures' arguments, that is not taken."""
    _check_adapter(case, way, check_call)
    check_call((*names, *_shown(case, way)), way.pipeline)


def _check_adapter(case: Case, way: Approach, check_call: Check) -> None:
    """Raise RequestError for a pipeline that takes no picture beside the words: some of those with ControlNets."""
    adapter = ip_adapters.of(case.adapters)
    if adapter is None:
        return
    try:
        check_call(("ip_adapter_image",), way.pipeline)
    except RequestError as error:
        option, both, hint = adapter.asked.option, "", f"leave {adapter.asked.option} out"
        if way.control_argument is not None:
            both, hint = " with --control", f"leave --control or {option} out; imggen generate may take both"
        message = f"{option}{both}: {way.pipeline} of diffusers takes no picture that is shown"
        raise RequestError(message, hint=hint) from error
