"""The families of FLUX."""

from collections.abc import Mapping
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import transformer
from imggen.plan.schema.family import Family, Reference
from imggen.plan.schema.request import Task

_FLUX: Mapping[Task, str] = {
    "text-to-image": "FluxPipeline",
    "image-to-image": "FluxImg2ImgPipeline",
    "inpaint": "FluxInpaintPipeline",
}
_KLEIN: Mapping[Task, str] = {
    "text-to-image": "Flux2KleinPipeline",
    "image-to-image": "Flux2KleinPipeline",
    "inpaint": "Flux2KleinInpaintPipeline",
    "style": "Flux2KleinPipeline",
}
_KLEIN_KV: Mapping[Task, str] = {
    "text-to-image": "Flux2KleinKVPipeline",
    "image-to-image": "Flux2KleinKVPipeline",
    "style": "Flux2KleinKVPipeline",
}
_FLUX2: Mapping[Task, str] = {
    "text-to-image": "Flux2Pipeline",
    "image-to-image": "Flux2Pipeline",
    "style": "Flux2Pipeline",
}
# The numbers are those of diffusers' Flux2ImageProcessor and of the pipelines that call it. FLUX.2 knows its reference
# pictures by their places: docs.bfl.ml/guides/prompting_editing_overview
_LOOKS = Reference(
    tasks=("image-to-image", "style"),
    words={"style": "image 1 in the style of image 2"},
    min_size=64,
    max_ratio=8,
    max_pixels=1024 * 1024,
)
# Kontext sees a picture at its own size, as the picture that it draws has it.
_LOOKS_AT_ONE = Reference(tasks=("image-to-image",), words={}, min_size=64, max_ratio=20, max_pixels=2048 * 2048)

ROWS: Final[tuple[Family, ...]] = (
    transformer(
        name="flux-schnell",
        title="FLUX.1 schnell",
        base="black-forest-labs/FLUX.1-schnell",
        licence="apache-2.0",
        pipelines=_FLUX,
        when={"guidance_embeds": False},
        steps=4,
        guidance=0.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps without guidance",
        max_tokens=256,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 256},
        adapter_refusal=None,
        mixing_refusal=None,
    ),
    transformer(
        name="flux",
        title="FLUX.1",
        base="black-forest-labs/FLUX.1-dev",
        licence="flux-1-dev-non-commercial-license",
        pipelines=_FLUX,
        steps=28,
        guidance=3.5,
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 512},
        adapter_refusal=None,
        mixing_refusal=None,
    ),
    transformer(
        name="flux-fill",
        title="FLUX.1 Fill",
        base="black-forest-labs/FLUX.1-Fill-dev",
        licence="flux-1-dev-non-commercial-license",
        pipelines={"inpaint": "FluxFillPipeline"},
        steps=50,
        guidance=30.0,
        max_tokens=512,
        # ComfyUI too keeps this one out of float16.
        half_dtypes=("bfloat16",),
        negative_refusal=refusals.ONE_PASS,
        extra_arguments={"max_sequence_length": 512},
        mixing_refusal=None,
    ),
    transformer(
        name="flux-control",
        title="FLUX.1 Canny and Depth",
        base="black-forest-labs/FLUX.1-Canny-dev",
        licence="flux-1-dev-non-commercial-license",
        pipelines={
            "text-to-image": "FluxControlPipeline",
            "image-to-image": "FluxControlImg2ImgPipeline",
            "inpaint": "FluxControlInpaintPipeline",
        },
        # Those of Canny; its authors take 30 steps and a guidance of 10 for Depth, and no config tells the two apart.
        steps=50,
        guidance=30.0,
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        # Its pipelines hand over steps of their own, which only the models' own scheduler takes.
        extra_arguments={"max_sequence_length": 512},
        mixing_refusal=None,
    ),
    transformer(
        name="flux-kontext",
        title="FLUX.1 Kontext",
        base="black-forest-labs/FLUX.1-Kontext-dev",
        licence="flux-1-dev-non-commercial-license",
        pipelines={
            "text-to-image": "FluxKontextPipeline",
            "image-to-image": "FluxKontextPipeline",
            "inpaint": "FluxKontextInpaintPipeline",
        },
        min_size=64,
        steps=28,
        guidance=2.5,
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS_AT_ONE,
        # Its pipelines shift, but hand over steps of their own besides, which only the models' own scheduler takes.
        area_argument="max_area",
        extra_arguments={"max_sequence_length": 512, "_auto_resize": False},
        mixing_refusal=None,
    ),
    transformer(
        name="flux2-klein",
        title="FLUX.2 klein",
        base="black-forest-labs/FLUX.2-klein-4B",
        pipelines=_KLEIN,
        when={"is_distilled": True},
        min_size=64,
        steps=4,
        guidance=1.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps without guidance",
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS,
        hands_over_mu=True,
        # What its pipelines would ignore with a warning otherwise.
        extra_arguments={"max_sequence_length": 512, "guidance_scale": 1.0},
        vae_class="AutoencoderKLFlux2",
        mixing_refusal=None,
    ),
    transformer(
        name="flux2-klein-kv",
        title="FLUX.2 klein KV",
        base="black-forest-labs/FLUX.2-klein-9b-kv",
        pipelines=_KLEIN_KV,
        min_size=64,
        steps=4,
        guidance=1.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps without guidance",
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS,
        keeps_context=True,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 512},
        vae_class="AutoencoderKLFlux2",
        mixing_refusal=None,
    ),
    transformer(
        name="flux2-klein-base",
        title="FLUX.2 klein base",
        base="black-forest-labs/FLUX.2-klein-base-4B",
        pipelines=_KLEIN,
        min_size=64,
        steps=50,
        guidance=4.0,
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal="it steers away from having no words, and its pipelines take no others",
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 512},
        vae_class="AutoencoderKLFlux2",
        mixing_refusal=None,
    ),
    transformer(
        name="flux2",
        title="FLUX.2 dev",
        base="black-forest-labs/FLUX.2-dev",
        licence="flux-dev-non-commercial-license",
        pipelines=_FLUX2,
        min_size=64,
        steps=50,
        guidance=4.0,
        max_tokens=512,
        half_dtypes=("bfloat16", "float16"),
        negative_refusal=refusals.ONE_PASS,
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 512},
        vae_class="AutoencoderKLFlux2",
        mixing_refusal=None,
    ),
)
