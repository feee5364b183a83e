"""The families of Qwen-Image."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import HEADS, UNION_KINDS, task_pipelines, transformer
from imggen.plan.schema.family import Controls, Family, Reference

# Without a negative prompt its pipelines drop the guidance; this is the one that its authors pass for none.
_QWEN_ARGUMENTS: Mapping[str, object] = {"max_sequence_length": 512, "negative_prompt": " "}

_MILLION: Final = 1024 * 1024
# All are looked at in as many pixels, however large they are: diffusers' pipelines of Qwen-Image-Edit.
_LOOKS = Reference(
    tasks=("image-to-image",), words={}, min_size=64, max_ratio=20, min_pixels=_MILLION, max_pixels=_MILLION
)
_QWEN_IMAGE_EDIT = transformer(
    name="qwen-image-edit",
    title="Qwen-Image-Edit",
    base="Qwen/Qwen-Image-Edit",
    licence="apache-2.0",
    # diffusers' QwenImageEditInpaintPipeline makes pictures of about a million pixels, whatever it is asked for.
    pipelines={"image-to-image": "QwenImageEditPipeline"},
    steps=50,
    guidance=4.0,
    lora_layers="qwen-image",
    guidance_argument="true_cfg_scale",
    max_tokens=512,
    counts_chat=False,
    adapter_refusal=refusals.LOOKS_ITSELF,
    reference=_LOOKS,
    extra_arguments=_QWEN_ARGUMENTS,
    vae_class="AutoencoderKLQwenImage",
)

ROWS: Final[tuple[Family, ...]] = (
    transformer(
        name="qwen-image",
        title="Qwen-Image",
        base="Qwen/Qwen-Image",
        licence="apache-2.0",
        pipelines=task_pipelines("QwenImage"),
        native_pixels=1328,
        steps=50,
        guidance=4.0,
        lora_layers="qwen-image",
        guidance_argument="true_cfg_scale",
        max_tokens=512,
        counts_chat=False,
        controls=Controls(
            network="QwenImageControlNetModel",
            pipelines={"text-to-image": "QwenImageControlNetPipeline"},
            repainting="QwenImageControlNetInpaintPipeline",
            fits=("in_channels", *HEADS, "joint_attention_dim", "axes_dims_rope"),
            published={
                **dict.fromkeys(UNION_KINDS, "InstantX/Qwen-Image-ControlNet-Union"),
                "inpaint": "InstantX/Qwen-Image-ControlNet-Inpainting",
            },
        ),
        extra_arguments=_QWEN_ARGUMENTS,
        vae_class="AutoencoderKLQwenImage",
    ),
    _QWEN_IMAGE_EDIT,
    replace(
        _QWEN_IMAGE_EDIT,
        name="qwen-image-edit-plus",
        title="Qwen-Image-Edit 2509 and later",
        base="Qwen/Qwen-Image-Edit-2509",
        pipelines={"image-to-image": "QwenImageEditPlusPipeline", "style": "QwenImageEditPlusPipeline"},
        steps=40,
        reference=replace(
            _LOOKS, tasks=("image-to-image", "style"), words={"style": "Picture 1 in the style of Picture 2"}
        ),
    ),
    transformer(
        name="qwen-image-2.1",
        title="Qwen-Image 2.1",
        base="Qwen/Qwen-Image-2.1",
        licence="qwen-research",
        pipelines=dict.fromkeys(("text-to-image", "image-to-image", "style"), "QwenImage21Pipeline"),
        native_pixels=2048,
        patch=1,
        # Of what its encoder sees of a picture one token stands for four of the denoiser's.
        block=2,
        max_size=2752,
        steps=40,
        # Its Turbo is distilled to the steps that it lists.
        steps_option="sample_sigmas",
        # Its authors draw without any; a negative prompt comes with it alone.
        guidance=1.0,
        lora_layers="qwen-image",
        guidance_argument="true_cfg_scale",
        max_tokens=1024,
        reads_whole=("text-to-image", "image-to-image", "style", "blend"),
        adapter_refusal=refusals.LOOKS_ITSELF,
        # It reads pictures with their transparency; what it calls them is in diffusers' template.
        reference=replace(
            _LOOKS,
            tasks=("image-to-image", "style"),
            words={"style": "<image1> in the style of <image2>"},
            transparent=True,
        ),
        keeps_context=True,
        extra_arguments={"negative_prompt": " "},
        vae_class="AutoencoderKLQwenImage21",
        vae_scale=16,
    ),
)
