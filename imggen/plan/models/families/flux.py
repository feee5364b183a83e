"""The families of FLUX."""

from dataclasses import replace
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import HEADS, UNION_KINDS, task_pipelines, transformer
from imggen.plan.schema.family import Controls, Family, IpAdapters, Reference

_FLUX_CONTROL: Final = task_pipelines("FluxControl")
_FLUX_CONTROLS: Final = Controls(
    network="FluxControlNetModel",
    pipelines=task_pipelines("FluxControlNet"),
    fits=("in_channels", *HEADS, "joint_attention_dim", "pooled_projection_dim", "axes_dims_rope"),
    own_steps=True,
    several=True,
    depth=("num_layers", "num_single_layers", "conditioning_embedding_channels"),
)
_FLUX = transformer(
    name="flux",
    title="FLUX.1",
    base="black-forest-labs/FLUX.1-dev",
    licence="flux-1-dev-non-commercial-license",
    pipelines=task_pipelines("Flux"),
    steps=28,
    guidance=3.5,
    max_tokens=512,
    lora_layers="flux",
    half_dtypes=("bfloat16", "float16"),
    negative_refusal=refusals.ONE_PASS,
    hands_over_mu=True,
    controls=replace(
        _FLUX_CONTROLS, published=dict.fromkeys(UNION_KINDS, "Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro-2.0")
    ),
    ip_adapters=IpAdapters(layout="flux", usual="XLabs-AI/flux-ip-adapter/ip_adapter.safetensors"),
    extra_arguments={"max_sequence_length": 512},
    adapter_refusal=None,
    mixing_refusal=None,
)
_FLUX2_KLEIN_BASE = transformer(
    name="flux2-klein-base",
    title="FLUX.2 klein base",
    base="black-forest-labs/FLUX.2-klein-base-4B",
    pipelines={
        "text-to-image": "Flux2KleinPipeline",
        "image-to-image": "Flux2KleinPipeline",
        "inpaint": "Flux2KleinInpaintPipeline",
        "style": "Flux2KleinPipeline",
    },
    min_size=64,
    steps=50,
    guidance=4.0,
    max_tokens=512,
    lora_layers="flux2",
    reads_lokr=True,
    half_dtypes=("bfloat16", "float16"),
    negative_refusal="its pipelines always steer away from the empty prompt",
    adapter_refusal=refusals.LOOKS_ITSELF,
    # The numbers are those of diffusers' Flux2ImageProcessor and of the pipelines that call it. FLUX.2 knows its
    # reference pictures by their places: docs.bfl.ml/guides/prompting_editing_overview
    reference=Reference(
        tasks=("image-to-image", "style"),
        words={"style": "image 1 in the style of image 2"},
        min_size=64,
        max_ratio=8,
        max_pixels=1024 * 1024,
    ),
    hands_over_mu=True,
    extra_arguments={"max_sequence_length": 512},
    vae_class="AutoencoderKLFlux2",
    mixing_refusal=None,
)
_FLUX2_KLEIN = replace(
    _FLUX2_KLEIN_BASE,
    name="flux2-klein",
    title="FLUX.2 klein",
    base="black-forest-labs/FLUX.2-klein-4B",
    when={"is_distilled": True},
    steps=4,
    guidance=1.0,
    guidance_argument=None,
    guidance_refusal="it is distilled to four steps and runs without guidance",
    negative_refusal=refusals.ONE_PASS,
    # What its pipelines would ignore with a warning otherwise.
    extra_arguments={"max_sequence_length": 512, "guidance_scale": 1.0},
)

ROWS: Final[tuple[Family, ...]] = (
    replace(
        _FLUX,
        name="flux-schnell",
        title="FLUX.1 schnell",
        base="black-forest-labs/FLUX.1-schnell",
        licence="apache-2.0",
        when={"guidance_embeds": False},
        controls=_FLUX_CONTROLS,
        ip_adapters=IpAdapters(layout="flux"),
        steps=4,
        guidance=0.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps and runs without guidance",
        max_tokens=256,
        extra_arguments={"max_sequence_length": 256},
    ),
    _FLUX,
    replace(
        _FLUX,
        name="flux-fill",
        title="FLUX.1 Fill",
        base="black-forest-labs/FLUX.1-Fill-dev",
        pipelines={"inpaint": "FluxFillPipeline"},
        controls=None,
        steps=50,
        guidance=30.0,
        # ComfyUI too keeps this one out of float16.
        half_dtypes=("bfloat16",),
        hands_over_mu=False,
        ip_adapters=None,
        adapter_refusal=refusals.NO_ADAPTERS,
    ),
    replace(
        _FLUX,
        name="flux-control",
        title="FLUX.1 Canny and Depth",
        base="black-forest-labs/FLUX.1-Canny-dev",
        pipelines=_FLUX_CONTROL,
        controls=Controls(network=None, pipelines=_FLUX_CONTROL),
        # Those of Canny; its authors take 30 steps and a guidance of 10 for Depth, and no config tells the two apart.
        steps=50,
        guidance=30.0,
        # Its pipelines hand over steps of their own, which only the models' own scheduler takes.
        hands_over_mu=False,
        ip_adapters=None,
        adapter_refusal=refusals.NO_ADAPTERS,
    ),
    replace(
        _FLUX,
        name="flux-kontext",
        title="FLUX.1 Kontext",
        base="black-forest-labs/FLUX.1-Kontext-dev",
        pipelines={
            "text-to-image": "FluxKontextPipeline",
            "image-to-image": "FluxKontextPipeline",
            "inpaint": "FluxKontextInpaintPipeline",
        },
        controls=None,
        min_size=64,
        guidance=2.5,
        ip_adapters=None,
        adapter_refusal=refusals.LOOKS_ITSELF,
        # Kontext sees a picture at its own size, as the picture that it draws has it.
        reference=Reference(tasks=("image-to-image",), words={}, min_size=64, max_ratio=20, max_pixels=2048 * 2048),
        # Its pipelines shift, but hand over steps of their own besides, which only the models' own scheduler takes.
        hands_over_mu=False,
        area_argument="max_area",
        extra_arguments={"max_sequence_length": 512, "_auto_resize": False},
    ),
    _FLUX2_KLEIN,
    replace(
        _FLUX2_KLEIN,
        name="flux2-klein-kv",
        title="FLUX.2 klein KV",
        base="black-forest-labs/FLUX.2-klein-9b-kv",
        pipelines=dict.fromkeys(("text-to-image", "image-to-image", "style"), "Flux2KleinKVPipeline"),
        when={},
        keeps_context=True,
        extra_arguments={"max_sequence_length": 512},
    ),
    _FLUX2_KLEIN_BASE,
    replace(
        _FLUX2_KLEIN_BASE,
        name="flux2",
        title="FLUX.2 dev",
        base="black-forest-labs/FLUX.2-dev",
        licence="flux-dev-non-commercial-license",
        pipelines={"text-to-image": "Flux2Pipeline", "image-to-image": "Flux2Pipeline", "style": "Flux2Pipeline"},
        negative_refusal=refusals.ONE_PASS,
    ),
)
