"""What rows of one kind of denoiser share: each row says only what is its own."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.schema.family import Family
from imggen.plan.schema.tasks import Task

HEADS: Final = ("attention_head_dim", "num_attention_heads")
"""The keys of a config that say how wide a transformer is."""

UNION_KINDS: Final = ("canny", "softedge", "depth", "pose")
"""The kinds of picture that a ControlNet for several kinds follows."""


def task_pipelines(stem: str) -> Mapping[Task, str]:
    """Return the classes that diffusers usually names after `stem`, by task."""
    return {
        "text-to-image": f"{stem}Pipeline",
        "image-to-image": f"{stem}Img2ImgPipeline",
        "inpaint": f"{stem}InpaintPipeline",
    }


transformer = partial(
    Family,
    denoiser="transformer",
    native_pixels=1024,
    patch=2,
    min_size=256,
    max_size=2048,
    half_dtypes=("bfloat16",),
    mps_dtype="bfloat16",
    slicing_refusal=refusals.NO_SLICES,
    tile_refusal=refusals.NO_TILES,
    adapter_refusal=refusals.NO_ADAPTERS,
    mixing_refusal=refusals.OWN_LENGTHS,
)
"""Make the row of a family whose denoiser is a transformer."""

unet = partial(
    Family,
    denoiser="unet",
    patch=1,
    max_tokens=77,
    half_dtypes=("bfloat16", "float16"),
    mps_dtype="float16",
    channels_last=True,
)
"""Make the row of a family whose denoiser is a U-Net."""
