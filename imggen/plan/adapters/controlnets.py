"""ControlNets: which of them the pictures go to, and whether they fit the model and each other."""

from collections.abc import Mapping
from typing import Final

from imggen.errors import ModelError
from imggen.plan.case import Case
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.family import Controls, Family
from imggen.plan.schema.request import ModelFacts
from imggen.plan.schema.tasks import Task

INPAINT: Final = "inpaint"
"""What ControlNets are called by that follow the picture which is repainted, and none beside it."""

REPAINTED: Final = ("control_image", "control_mask")
"""What their pipelines call that picture, and its mask."""

TASKS: Final[tuple[Task, ...]] = ("text-to-image", "image-to-image", "inpaint", "outpaint")
"""The tasks in which pictures may stand beside the words."""

# Keys that only a ControlNet of several kinds has which is told by a number what its picture is.
_NUMBERED: Final = ("num_mode", "num_control_type")


def is_built_in(family: Family) -> bool:
    """Return whether the family's models read a control picture themselves, and always need one."""
    return family.controls is not None and family.controls.network is None


def among(case: Case) -> tuple[AdapterFacts, ...]:
    """Return the ControlNets of the case, in the order of their pictures."""
    return tuple(adapter for adapter in case.adapters if adapter.asked.kind == "controlnet")


def repaints(case: Case) -> bool:
    """Return whether the case's ControlNet follows the picture that is inpainted, and no control picture."""
    return any(adapter.asked.image is None for adapter in among(case))


def scale(case: Case) -> float | list[float]:
    """Return how strongly the control pictures are followed, as the pipelines take it: a list where there are more."""
    scales = [1.0 if adapter.asked.scale is None else adapter.asked.scale for adapter in among(case)]
    return scales[0] if len(scales) == 1 else scales


def check(case: Case) -> None:
    """Raise ModelError for the first ControlNet that was made for another model, or that does not go with the others.

    Only configs are compared: a network's class, its widths and how it reads words.
    """
    controls, adapters = case.family.controls, among(case)
    if controls is None:
        return
    denoiser = case.facts.configs.get(case.family.denoiser, {})
    for adapter in adapters:
        _check_class(adapter, case.family, controls)
        _check_fit(adapter, denoiser, controls, case.facts)
        _check_repainting(adapter, denoiser, controls, case)
        _check_peers(adapter, adapters[0], controls)


def _check_class(adapter: AdapterFacts, family: Family, controls: Controls) -> None:
    """Raise ModelError for a ControlNet without a config, of another family's class, or of several in one."""
    name, asked = adapter.config.get("_class_name"), f"{adapter.asked.option} {adapter.asked.reference}"
    if not adapter.config:
        raise ModelError(
            f"{asked}: {adapter.files[0].name} has no config.json beside it, which tells what it was made for",
            hint=f"put the ControlNet's config.json into {adapter.files[0].parent}",
        )
    if name != controls.network:
        raise ModelError(
            f"{asked} is a {name}; {family.title} takes a {controls.network}", hint=_OTHER.format(family.title)
        )
    numbered = next((key for key in _NUMBERED if adapter.config.get(key)), None)
    if numbered:
        raise ModelError(
            f"{asked} holds several ControlNets ({numbered} {adapter.config[numbered]}) and needs a "
            "number that selects one, which imggen does not pass",
            hint=_OTHER.format(family.title),
        )


_OTHER: Final = "a ControlNet that was made for {}"


def _check_fit(adapter: AdapterFacts, denoiser: Mapping[str, object], controls: Controls, facts: ModelFacts) -> None:
    """Raise ModelError where the ControlNet's config says other widths or another latent size than the model's."""
    for key in controls.fits:
        network, model = adapter.config.get(key), denoiser.get(key)
        if network is not None and model is not None and _listed(network) != _listed(model):
            raise ModelError(
                f"{adapter.asked.option} {adapter.asked.reference} was made for another model: its {key} is "
                f"{_shown(network)}, and that of {facts.reference} is {_shown(model)}",
                hint="a ControlNet that was made for this model, or another --model",
            )
    levels, pixels = adapter.config.get("conditioning_embedding_out_channels"), catalog.vae_scale(facts)
    if isinstance(levels, list) and 2 ** (len(levels) - 1) != pixels:
        raise ModelError(
            f"{adapter.asked.option} {adapter.asked.reference} makes a latent of {2 ** (len(levels) - 1)} pixels, and "
            f"{facts.reference} of {pixels}",
            hint="a ControlNet that was made for this model, or another --model",
        )
    _check_holes(adapter, controls)


def _check_holes(adapter: AdapterFacts, controls: Controls) -> None:
    """Raise ModelError for an inpainting ControlNet with a control picture, and for another one without."""
    extra = adapter.config.get("extra_condition_channels") or adapter.config.get("extra_conditioning_channels")
    option, reference = adapter.asked.option, adapter.asked.reference
    if extra and adapter.asked.image is not None:
        alone = f'imggen inpaint PICTURE "..." --mask MASK {option} {reference}'
        raise ModelError(
            f"{option} {reference} is for repainting: it wants {extra} channels of a mask, and no picture beside the "
            "one that is repainted",
            hint=alone if controls.repainting else "a ControlNet that follows a picture alone",
        )
    if not extra and adapter.asked.image is None:
        raise ModelError(
            f"{option} {reference} was not made for repainting: it knows no mask",
            hint=f"{option} {INPAINT}, or a ControlNet for inpainting",
        )


def _check_repainting(adapter: AdapterFacts, denoiser: Mapping[str, object], controls: Controls, case: Case) -> None:
    """Raise ModelError where the task inpaints and the ControlNet reads no mask beside the control picture."""
    latents = denoiser.get("in_channels")
    if case.request.task not in ("inpaint", "outpaint") or controls.repaints_by is None or not isinstance(latents, int):
        return
    needed, channels = 2 * latents + 1, adapter.config.get(controls.repaints_by)
    if channels != needed:
        raise ModelError(
            f"{adapter.asked.option} {adapter.asked.reference} was not made for inpainting: it reads {channels} "
            f"channels, and the picture, the mask and the masked picture have {needed}",
            hint=f"{adapter.asked.option} with a network whose {controls.repaints_by} is {needed}",
        )


def _check_peers(adapter: AdapterFacts, first: AdapterFacts, controls: Controls) -> None:
    # diffusers adds their results up layer by layer, and drops what one of them has more without a word.
    unlike = next((key for key in controls.depth if adapter.config.get(key) != first.config.get(key)), None)
    if unlike:
        raise ModelError(
            f"{adapter.asked.option} {adapter.asked.reference} does not go with {first.asked.reference}: its {unlike} "
            f"is {adapter.config.get(unlike)}, and that of the other {first.config.get(unlike)}",
            hint=f"one {adapter.asked.option} at a time",
        )


def _listed(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
