"""ControlNets by family: which pipelines follow a picture, what must fit, and which ones people usually take."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from imggen.errors import ModelError
from imggen.plan.case import Case
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.change import Task
from imggen.plan.schema.family import Family
from imggen.plan.schema.request import ModelFacts

INPAINT: Final = "inpaint"
"""What ControlNets are called by that follow the picture which is repainted, and none beside it."""

REPAINTED: Final = ("control_image", "control_mask")
"""What their pipelines call that picture, and its mask."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """How a family follows control pictures.

    `network` is the class of its ControlNets, None where the denoiser reads the picture itself, beside its latents:
    such a model takes no ControlNet, and draws nothing without a picture. `pipelines` maps a task to the diffusers
    class that follows pictures; they go into `image_arguments` of the task, elsewhere into `control_image`.
    `from_noise` are the tasks that start from noise there, although they do not elsewhere. `own_steps` says that the
    pipelines hand over steps of their own, which only the model's own scheduler takes. `repaints_by` is the key of
    a ControlNet's config that says how many channels it reads, where those that repaint read the mask and what it
    leaves beside the picture, and others do not. `repainting` is the class that repaints by a ControlNet which follows
    no picture but the one that is repainted, whose holes it sees; such are `published` as `inpaint`. `several` says
    that it takes more than one at a time, whose `depth` in layers must then be the same. `fits` are the keys of a
    ControlNet's config that say the same as those of the denoiser's. `published` maps a kind of picture to the
    ControlNet that people usually take for it, by its id on the hub; these are for models whose denoiser's config says
    what `published_for` does.
    """

    network: str | None
    pipelines: Mapping[Task, str]
    fits: tuple[str, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)
    published_for: Mapping[str, object] = field(default_factory=dict)
    image_arguments: Mapping[Task, str] = field(default_factory=dict)
    from_noise: tuple[Task, ...] = ()
    own_steps: bool = False
    repaints_by: str | None = None
    repainting: str | None = None
    several: bool = False
    depth: tuple[str, ...] = ()

    def image_argument(self, task: Task) -> str:
        """Return the argument that takes the picture in the pipeline for `task`."""
        return self.image_arguments.get(task, "control_image")


_UNET_FITS: Final = (
    "cross_attention_dim",
    "block_out_channels",
    "layers_per_block",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
)
_HEADS: Final = ("attention_head_dim", "num_attention_heads")
_FLUX: Final = Controls(
    network="FluxControlNetModel",
    pipelines={
        "text-to-image": "FluxControlNetPipeline",
        "image-to-image": "FluxControlNetImg2ImgPipeline",
        "inpaint": "FluxControlNetInpaintPipeline",
    },
    fits=("in_channels", *_HEADS, "joint_attention_dim", "pooled_projection_dim", "axes_dims_rope"),
    own_steps=True,
    several=True,
    depth=("num_layers", "num_single_layers", "conditioning_embedding_channels"),
)
_FLUX_DEV_UNION: Final = "Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro-2.0"
_QWEN_UNION: Final = "InstantX/Qwen-Image-ControlNet-Union"
# The authors publish a single file; this is the same in diffusers' layout, whose config diffusers itself points to.
_Z_IMAGE_UNION: Final = "hlky/Z-Image-Turbo-Fun-Controlnet-Union-2.1"
_KINDS_OF_UNIONS: Final = ("canny", "softedge", "depth", "pose")

_SD: Final = Controls(
    network="ControlNetModel",
    pipelines={
        "text-to-image": "StableDiffusionControlNetPipeline",
        "image-to-image": "StableDiffusionControlNetImg2ImgPipeline",
        "inpaint": "StableDiffusionControlNetInpaintPipeline",
    },
    fits=_UNET_FITS,
    image_arguments={"text-to-image": "image"},
    several=True,
    # ControlNet 1.1 for Stable Diffusion 1.5: github.com/lllyasviel/ControlNet-v1-1-nightly
    published={
        "canny": "lllyasviel/control_v11p_sd15_canny",
        "depth": "lllyasviel/control_v11f1p_sd15_depth",
        "pose": "lllyasviel/control_v11p_sd15_openpose",
        "scribble": "lllyasviel/control_v11p_sd15_scribble",
        "lineart": "lllyasviel/control_v11p_sd15_lineart",
        "softedge": "lllyasviel/control_v11p_sd15_softedge",
        "tile": "lllyasviel/control_v11f1e_sd15_tile",
        "normal": "lllyasviel/control_v11p_sd15_normalbae",
        "seg": "lllyasviel/control_v11p_sd15_seg",
    },
    published_for={"cross_attention_dim": 768},
)
_SDXL: Final = Controls(
    network="ControlNetModel",
    pipelines={
        "text-to-image": "StableDiffusionXLControlNetPipeline",
        "image-to-image": "StableDiffusionXLControlNetImg2ImgPipeline",
        "inpaint": "StableDiffusionXLControlNetInpaintPipeline",
    },
    fits=_UNET_FITS,
    image_arguments={"text-to-image": "image"},
    several=True,
    published={
        "canny": "diffusers/controlnet-canny-sdxl-1.0",
        "depth": "diffusers/controlnet-depth-sdxl-1.0",
        "pose": "xinsir/controlnet-openpose-sdxl-1.0",
        "scribble": "xinsir/controlnet-scribble-sdxl-1.0",
        "tile": "xinsir/controlnet-tile-sdxl-1.0",
    },
    published_for={"cross_attention_dim": 2048},
)

_Z_IMAGE: Final = Controls(
    network="ZImageControlNetModel",
    pipelines={"text-to-image": "ZImageControlNetPipeline", "inpaint": "ZImageControlNetInpaintPipeline"},
    fits=("dim", "n_heads", "n_kv_heads", "all_patch_size", "all_f_patch_size"),
    from_noise=("inpaint",),
    repaints_by="control_in_dim",
)

CONTROLS: Final[Mapping[str, Controls]] = {
    "sd": _SD,
    # Its other pipeline knows no model that was taught its guidance, so that it starts from no picture with control.
    "lcm": replace(_SD, pipelines={"text-to-image": "StableDiffusionControlNetPipeline"}),
    # It comes of the second version, for which there is no usual set.
    "sd-turbo": replace(_SD, published={}),
    "sdxl": _SDXL,
    "sdxl-turbo": _SDXL,
    "sd3": Controls(
        network="SD3ControlNetModel",
        pipelines={"text-to-image": "StableDiffusion3ControlNetPipeline"},
        repainting="StableDiffusion3ControlNetInpaintingPipeline",
        fits=("in_channels", *_HEADS, "joint_attention_dim", "pooled_projection_dim", "patch_size"),
        several=True,
        depth=("num_layers", "force_zeros_for_pooled_projection"),
        published={
            "canny": "InstantX/SD3-Controlnet-Canny",
            "pose": "InstantX/SD3-Controlnet-Pose",
            "tile": "InstantX/SD3-Controlnet-Tile",
            INPAINT: "alimama-creative/SD3-Controlnet-Inpainting",
        },
        # They were made for the first version, of which 3.5 medium has the width too.
        published_for={"num_attention_heads": 24, "qk_norm": None},
    ),
    "flux": replace(_FLUX, published=dict.fromkeys(_KINDS_OF_UNIONS, _FLUX_DEV_UNION)),
    "flux-schnell": _FLUX,
    "flux-control": Controls(
        network=None,
        pipelines={
            "text-to-image": "FluxControlPipeline",
            "image-to-image": "FluxControlImg2ImgPipeline",
            "inpaint": "FluxControlInpaintPipeline",
        },
    ),
    "qwen-image": Controls(
        network="QwenImageControlNetModel",
        pipelines={"text-to-image": "QwenImageControlNetPipeline"},
        repainting="QwenImageControlNetInpaintPipeline",
        fits=("in_channels", *_HEADS, "joint_attention_dim", "axes_dims_rope"),
        published=dict.fromkeys(_KINDS_OF_UNIONS, _QWEN_UNION) | {INPAINT: "InstantX/Qwen-Image-ControlNet-Inpainting"},
    ),
    "z-image-turbo": replace(_Z_IMAGE, published=dict.fromkeys(_KINDS_OF_UNIONS, _Z_IMAGE_UNION)),
    "z-image": _Z_IMAGE,
    "hunyuan-dit": Controls(
        network="HunyuanDiT2DControlNetModel",
        pipelines={"text-to-image": "HunyuanDiTControlNetPipeline"},
        fits=("in_channels", *_HEADS, "hidden_size", "cross_attention_dim", "cross_attention_dim_t5", "text_len"),
        several=True,
        depth=("transformer_num_layers",),
        published={
            "canny": "Tencent-Hunyuan/HunyuanDiT-v1.2-ControlNet-Diffusers-Canny",
            "depth": "Tencent-Hunyuan/HunyuanDiT-v1.2-ControlNet-Diffusers-Depth",
        },
    ),
    "sana": Controls(
        network="SanaControlNetModel",
        pipelines={"text-to-image": "SanaControlNetPipeline"},
        fits=("in_channels", *_HEADS, "cross_attention_head_dim", "num_cross_attention_heads", "caption_channels"),
    ),
}
"""The families that follow control pictures, by name; no other does."""

REFUSALS: Final[Mapping[str, str]] = {
    "kolors": "diffusers has no pipeline for those that its authors published",
}
"""Why a family has none, where there are ControlNets for it."""

TASKS: Final[tuple[Task, ...]] = ("text-to-image", "image-to-image", "inpaint", "outpaint")
"""The tasks in which pictures may stand beside the words."""

# Keys that only a ControlNet of several kinds has which is told by a number what its picture is.
_NUMBERED: Final = ("num_mode", "num_control_type")


def of(family: Family) -> Controls | None:
    """Return how `family` follows control pictures, None where it does not."""
    return CONTROLS.get(family.name)


def is_built_in(family: Family) -> bool:
    """Return whether the family's models read a control picture themselves, and draw nothing without one."""
    controls = of(family)
    return controls is not None and controls.network is None


def among(case: Case) -> tuple[AdapterFacts, ...]:
    """Return the ControlNets of the case, in the order of their pictures."""
    return tuple(adapter for adapter in case.adapters if adapter.asked.kind == "controlnet")


def repaints(case: Case) -> bool:
    """Return whether the case's ControlNet follows the picture that is repainted, and none beside it."""
    return any(each.asked.image is None for each in among(case))


def scale(case: Case) -> float | list[float]:
    """Return how strongly the control pictures are followed, as the pipelines take it: a list where there are more."""
    scales = [1.0 if each.asked.scale is None else each.asked.scale for each in among(case)]
    return scales[0] if len(scales) == 1 else scales


def check(case: Case) -> None:
    """Raise ModelError for the first ControlNet that was made for another model, or that does not go with the others.

    Only configs are compared: a network's class, its widths and how it reads words.
    """
    controls, found = of(case.family), among(case)
    if controls is None:
        return
    denoiser = case.facts.configs.get(case.family.denoiser, {})
    for each in found:
        _check_class(each, case.family, controls)
        _check_fit(each, denoiser, controls, case.facts)
        _check_repainting(each, denoiser, controls, case)
        _check_peers(each, found[0], controls)


def _check_class(adapter: AdapterFacts, family: Family, controls: Controls) -> None:
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
            f"{asked} holds several ControlNets ({numbered} {adapter.config[numbered]}) and wants to be told by a "
            "number which one is meant, which imggen does not do",
            hint=_OTHER.format(family.title),
        )


_OTHER: Final = "a ControlNet that was made for {}"


def _check_fit(adapter: AdapterFacts, denoiser: Mapping[str, object], controls: Controls, facts: ModelFacts) -> None:
    for key in controls.fits:
        mine, theirs = adapter.config.get(key), denoiser.get(key)
        if mine is not None and theirs is not None and _listed(mine) != _listed(theirs):
            raise ModelError(
                f"{adapter.asked.option} {adapter.asked.reference} was made for another model: its {key} is "
                f"{_told(mine)}, and that of {facts.reference} is {_told(theirs)}",
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
    """Raise ModelError for a ControlNet that sees holes where there are none, and for one that sees none."""
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
    latents = denoiser.get("in_channels")
    if case.request.task not in ("inpaint", "outpaint") or controls.repaints_by is None or not isinstance(latents, int):
        return
    wanted, found = 2 * latents + 1, adapter.config.get(controls.repaints_by)
    if found != wanted:
        raise ModelError(
            f"{adapter.asked.option} {adapter.asked.reference} was not made for repainting: it reads {found} channels, "
            f"and the picture, the mask and what it leaves are {wanted}",
            hint=f"{adapter.asked.option} with a network whose {controls.repaints_by} is {wanted}",
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


def _told(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
