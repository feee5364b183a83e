"""Families that draw pixels themselves, without an autoencoder, or tokens of a code."""

from typing import Final

from imggen.plan.families import refusals
from imggen.plan.family import Family

ROWS: Final[tuple[Family, ...]] = (
    Family(
        name="prx-pixel",
        title="PRX Pixel",
        base="Photoroom/prxpixel-t2i",
        licence="apache-2.0",
        pipelines={"text-to-image": "PRXPixelPipeline"},
        denoiser="transformer",
        native_pixels=1024,
        size_key=None,
        size_option="default_sample_size",
        patch=16,
        min_size=256,
        max_size=2048,
        steps=28,
        guidance=5.0,
        least_guidance=1.0,
        max_tokens=256,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        vae_class=None,
        vae_scale=1,
        slicing_refusal=refusals.NO_SLICES,
        tile_refusal=refusals.NO_TILES,
        adapter_refusal=refusals.NO_ADAPTERS,
        mixing_refusal=refusals.OWN_LENGTHS,
        # The size that was asked for, not the nearest that it was trained on.
        extra_arguments={"use_resolution_binning": False},
    ),
)
