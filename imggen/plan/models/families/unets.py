"""Families whose denoiser is a U-Net: Stable Diffusion and its kin."""

from dataclasses import replace
from functools import partial
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import task_pipelines, unet
from imggen.plan.schema.family import Controls, Family, IpAdapters, Reference

# How InstructPix2Pix edits (arXiv 2211.09800): the picture's latents stand beside those that are drawn.
_EDITS = Reference(tasks=("image-to-image",), words={}, min_size=64, max_ratio=20, max_pixels=4096 * 4096)
_NO_ADAPTERS_OF_EDITORS: Final = "there are no IP-Adapters for models that edit by instruction"

_SD_CONTROLS: Final = Controls(
    network="ControlNetModel",
    pipelines=task_pipelines("StableDiffusionControlNet"),
    fits=(
        "cross_attention_dim",
        "block_out_channels",
        "layers_per_block",
        "addition_embed_type",
        "projection_class_embeddings_input_dim",
    ),
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

# Those of the paper's authors (arXiv 2308.06721).
_SD_IP_ADAPTERS: Final = IpAdapters(layout="unet", usual="h94/IP-Adapter/models/ip-adapter_sd15.safetensors")
_unet_of_sd = partial(
    unet,
    sized_by_image=("image-to-image",),
    native_pixels=512,
    min_size=64,
    max_size=2048,
    lora_layers="sd",
    clip="last",
)
_SD = _unet_of_sd(
    name="sd",
    title="Stable Diffusion 1.x and 2.x",
    base="stable-diffusion-v1-5/stable-diffusion-v1-5",
    licence="creativeml-openrail-m",
    pipelines=task_pipelines("StableDiffusion"),
    inpaint_channels=(4, 9),
    steps=30,
    guidance=7.5,
    distilled_key="time_cond_proj_dim",
    controls=_SD_CONTROLS,
    ip_adapters=_SD_IP_ADAPTERS,
)
_unet_of_sdxl = partial(
    unet,
    licence="openrail++",
    min_size=256,
    max_size=4096,
    steps=30,
    lora_layers="sdxl",
    clip="penultimate",
    force_upcast_vae=True,
    # SDXL pipelines put an invisible watermark of their own where the package for it is installed.
    initial={"add_watermarker": False},
)
_SDXL = _unet_of_sdxl(
    name="sdxl",
    title="Stable Diffusion XL",
    base="stabilityai/stable-diffusion-xl-base-1.0",
    pipelines=task_pipelines("StableDiffusionXL"),
    sized_by_image=("image-to-image",),
    inpaint_channels=(4, 9),
    native_pixels=1024,
    guidance=5.0,
    distilled_key="time_cond_proj_dim",
    controls=replace(
        _SD_CONTROLS,
        pipelines=task_pipelines("StableDiffusionXLControlNet"),
        published={
            "canny": "diffusers/controlnet-canny-sdxl-1.0",
            "depth": "diffusers/controlnet-depth-sdxl-1.0",
            "pose": "xinsir/controlnet-openpose-sdxl-1.0",
            "scribble": "xinsir/controlnet-scribble-sdxl-1.0",
            "tile": "xinsir/controlnet-tile-sdxl-1.0",
        },
        published_for={"cross_attention_dim": 2048},
    ),
    ip_adapters=IpAdapters(layout="unet", usual="h94/IP-Adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors"),
)

ROWS: Final[tuple[Family, ...]] = (
    replace(
        _SD,
        name="sd-turbo",
        title="Stable Diffusion Turbo",
        base="stabilityai/sd-turbo",
        licence="sai-nc-community",
        when={
            "scheduler._class_name": "EulerDiscreteScheduler",
            "scheduler.timestep_spacing": "trailing",
            "scheduler.prediction_type": "epsilon",
        },
        steps=4,
        guidance=0.0,
        # It comes of the second version, for which there is no usual set.
        controls=replace(_SD_CONTROLS, published={}),
        ip_adapters=IpAdapters(layout="unet"),
    ),
    _SD,
    _unet_of_sd(
        name="sd-instruct-pix2pix",
        title="InstructPix2Pix",
        base="timbrooks/instruct-pix2pix",
        licence="mit",
        pipelines={"image-to-image": "StableDiffusionInstructPix2PixPipeline"},
        steps=100,
        guidance=7.5,
        # A third pass sees no picture.
        passes=3,
        image_guidance=1.5,
        adapter_refusal=_NO_ADAPTERS_OF_EDITORS,
        reference=_EDITS,
    ),
    _unet_of_sd(
        name="lcm",
        title="Latent Consistency Model",
        base="SimianLuo/LCM_Dreamshaper_v7",
        licence="mit",
        pipelines={
            "text-to-image": "LatentConsistencyModelPipeline",
            "image-to-image": "LatentConsistencyModelImg2ImgPipeline",
        },
        steps=4,
        guidance=8.5,
        own_sampler=True,
        # The pipeline that starts from a picture knows no model that was taught its guidance.
        controls=replace(_SD_CONTROLS, pipelines={"text-to-image": "StableDiffusionControlNetPipeline"}),
        ip_adapters=_SD_IP_ADAPTERS,
        negative_refusal=refusals.ONE_PASS,
    ),
    replace(
        _SDXL,
        name="sdxl-turbo",
        title="Stable Diffusion XL Turbo",
        base="stabilityai/sdxl-turbo",
        licence="sai-nc-community",
        # So published; of what was merged from it or distilled otherwise, no config tells.
        when={"scheduler._class_name": "EulerAncestralDiscreteScheduler", "scheduler.timestep_spacing": "trailing"},
        native_pixels=512,
        steps=4,
        guidance=0.0,
    ),
    _SDXL,
    _unet_of_sdxl(
        name="sdxl-instruct-pix2pix",
        title="InstructPix2Pix for Stable Diffusion XL",
        base="diffusers/sdxl-instructpix2pix-768",
        pipelines={"image-to-image": "StableDiffusionXLInstructPix2PixPipeline"},
        # Its config still says the size of the model that it was made from.
        native_pixels=768,
        size_key=None,
        guidance=3.0,
        passes=3,
        image_guidance=1.5,
        adapter_refusal=_NO_ADAPTERS_OF_EDITORS,
        reference=_EDITS,
    ),
    unet(
        name="kolors",
        title="Kolors",
        base="Kwai-Kolors/Kolors-diffusers",
        licence="apache-2.0",
        pipelines={"text-to-image": "KolorsPipeline", "image-to-image": "KolorsImg2ImgPipeline"},
        native_pixels=1024,
        min_size=256,
        max_size=4096,
        steps=50,
        guidance=5.0,
        max_tokens=256,
        lora_layers="kolors",
        counts_chat=False,
        control_refusal="diffusers has no pipeline for the ones that its authors published",
        # That of diffusers' documentation, at a revision that has more than pickles.
        ip_adapters=IpAdapters(
            layout="unet", usual="Kwai-Kolors/Kolors-IP-Adapter-Plus@refs/pr/4/ip_adapter_plus_general.safetensors"
        ),
        force_upcast_vae=True,
        extra_arguments={"max_sequence_length": 256},
    ),
    unet(
        name="kandinsky3",
        title="Kandinsky 3",
        base="kandinsky-community/kandinsky-3",
        licence="apache-2.0",
        pipelines={"text-to-image": "Kandinsky3Pipeline", "image-to-image": "Kandinsky3Img2ImgPipeline"},
        sized_by_image=("image-to-image",),
        native_pixels=1024,
        # Its U-Net halves the latents three times, and its pipelines round a size up to what that divides.
        block=8,
        min_size=64,
        max_size=2048,
        steps=25,
        guidance=3.0,
        max_tokens=128,
        # Its pipelines hand the latents to the U-Net as they are, which the schedulers with sigmas do not stand.
        own_sampler=True,
        slicing_refusal="its U-Net does not have it; `auto` computes attention in chunks where memory is short",
        adapter_refusal=refusals.NO_ADAPTERS,
        loads_adapters=False,
        mixing_refusal=refusals.OWN_LENGTHS,
        vae_class="VQModel",
        channels_last=False,
    ),
    unet(
        name="ldm",
        title="Latent Diffusion",
        base="CompVis/ldm-text2im-large-256",
        licence="apache-2.0",
        pipelines={"text-to-image": "LDMTextToImagePipeline"},
        native_pixels=256,
        min_size=64,
        max_size=1024,
        steps=50,
        guidance=6.0,
        # Its pipeline hands the pixels over as they are, and numpy knows no bfloat16.
        half_dtypes=("float16",),
        # It hands the latents to the U-Net as they are, which the schedulers with sigmas do not stand.
        own_sampler=True,
        negative_refusal="its pipeline takes none",
        adapter_refusal=refusals.NO_ADAPTERS,
        breeding_refusal="Latent Diffusion's initial noise cannot be replaced",
        channels_last=False,
    ),
)
