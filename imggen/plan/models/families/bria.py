"""BRIA's FIBO, whose prompts are structured captions: JSON objects."""

from dataclasses import replace
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import transformer
from imggen.plan.schema.family import Captions, Family, Reference

# The numbers are those of diffusers' pipelines: FIBO Edit looks at a million pixels at most, FIBO 2 at as many of each
# of several pictures, and at an only one in the size of the one that it draws.
_LOOKS = Reference(
    tasks=("image-to-image", "style"),
    words={"style": '{"edit_instruction": "the first image in the style of the second image"}'},
    min_size=64,
    max_ratio=20,
    max_pixels=1024 * 1024,
)
_LOOKS_AT_SEVERAL = replace(
    _LOOKS, words={"style": "<image_1> in the style of <image_2>"}, max_ratio=16, max_pixels=2048 * 2048
)
_FIBO = transformer(
    name="fibo",
    title="BRIA FIBO",
    base="briaai/FIBO",
    pipelines={"text-to-image": "BriaFiboPipeline"},
    captions=Captions(trained=True),
    patch=1,
    steps=50,
    guidance=5.0,
    max_tokens=3000,
    counts_chat=False,
    vae_class="AutoencoderKLWan",
    vae_scale=16,
    extra_arguments={"max_sequence_length": 3000},
)

ROWS: Final[tuple[Family, ...]] = (
    _FIBO,
    replace(
        _FIBO,
        name="fibo-edit",
        title="BRIA FIBO Edit",
        base="briaai/Fibo-Edit-1.5-base",
        pipelines=dict.fromkeys(("image-to-image", "inpaint", "style"), "BriaFiboEditPipeline"),
        mask_argument="mask",
        from_noise=("inpaint",),
        captions=Captions(trained=True, key="edit_instruction", only=True),
        # No config tells its Turbo, which wants 4 of them and a guidance of 1.
        steps=30,
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS,
    ),
    transformer(
        name="fibo2",
        title="BRIA FIBO 2",
        base="briaai/Fibo-2.0-dev",
        pipelines=dict.fromkeys(("text-to-image", "image-to-image", "inpaint", "style"), "BriaFibo2Pipeline"),
        mask_argument="mask",
        from_noise=("inpaint",),
        # A short description will do where there is no caption, and an instruction alone where a picture is edited.
        captions=Captions(key="edit_instruction"),
        steps=30,
        guidance=5.0,
        max_tokens=4096,
        counts_chat=False,
        vae_class="AutoencoderKLFlux2",
        adapter_refusal=refusals.LOOKS_ITSELF,
        reference=_LOOKS_AT_SEVERAL,
    ),
)
