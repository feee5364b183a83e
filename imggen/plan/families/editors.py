"""Families that diffusers serves by one pipeline, for words and for pictures that are looked at."""

import math
from typing import Final

from imggen.plan.families import refusals
from imggen.plan.family import Family, Reference

_MILLION: Final = 1024 * 1024
_PATCH: Final = 16


def _rounded_up(edge: float) -> int:
    return math.ceil(edge / _PATCH) * _PATCH


def _made(ratio: float) -> tuple[int, int]:
    """Return the (width, height) that LongCatImageEditPipeline draws in the place of any picture of that ratio."""
    width = math.sqrt(_MILLION * ratio)
    return _rounded_up(width), _rounded_up(width / ratio)


def _squareness(size: tuple[int, int]) -> float:
    return abs(math.log(size[0] / size[1]))


_LONGCAT_SIZES: Final = tuple(
    sorted(
        (
            each
            for width in range(512, 2048 + 1, _PATCH)
            if _made(ratio=(each := (width, _rounded_up(_MILLION / width)))[0] / each[1]) == each
        ),
        key=_squareness,
    )
)
_LONGCAT_LOOKS: Final = Reference(
    tasks=("image-to-image",), words={}, min_size=512, max_ratio=4, max_pixels=1024 * 1088
)

ROWS: Final[tuple[Family, ...]] = (
    Family(
        name="glm-image",
        title="GLM-Image",
        base="zai-org/GLM-Image",
        licence="mit",
        # It could look at pictures too, but diffusers 0.42 reads what transformers 5 makes of them in another shape.
        pipelines={"text-to-image": "GlmImagePipeline"},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        # What its first model writes stands for 32 pixels an edge.
        block=2,
        min_size=256,
        max_size=2048,
        steps=50,
        guidance=1.5,
        # As much is read of what stands in quotes, and all of the rest.
        max_tokens=2048,
        reads_whole=("text-to-image",),
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        # It hands over the steps' numbers besides, which other schedulers take for themselves.
        own_sampler=True,
        negative_refusal="it steers away from having no words, and its pipeline takes no others",
        slicing_refusal=refusals.NO_SLICES,
        tile_refusal=refusals.NO_TILES,
        adapter_refusal=refusals.NO_ADAPTERS,
        mixing_refusal=refusals.OWN_LENGTHS,
        breeding_refusal="its first model writes what shall be drawn, by the seed and the words, which cannot be mixed",
    ),
    Family(
        name="longcat-image-edit-turbo",
        title="LongCat-Image-Edit Turbo",
        base="meituan-longcat/LongCat-Image-Edit-Turbo",
        licence="apache-2.0",
        pipelines={"image-to-image": "LongCatImageEditPipeline"},
        # Its scheduler shifts by the same, however large a picture is.
        when={"base_shift": 1.15},
        denoiser="transformer",
        native_pixels=1024,
        sizes=_LONGCAT_SIZES,
        sized_by_image=("image-to-image",),
        patch=2,
        min_size=512,
        max_size=2048,
        steps=8,
        guidance=1.0,
        max_tokens=512,
        counts_chat=False,
        cuts=False,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        slicing_refusal=refusals.NO_SLICES,
        tile_refusal=refusals.NO_TILES,
        adapter_refusal=refusals.NO_ADAPTERS,
        mixing_refusal=refusals.OWN_LENGTHS,
        reference=_LONGCAT_LOOKS,
    ),
    Family(
        name="longcat-image-edit",
        title="LongCat-Image-Edit",
        base="meituan-longcat/LongCat-Image-Edit",
        licence="apache-2.0",
        pipelines={"image-to-image": "LongCatImageEditPipeline"},
        denoiser="transformer",
        native_pixels=1024,
        sizes=_LONGCAT_SIZES,
        sized_by_image=("image-to-image",),
        patch=2,
        min_size=512,
        max_size=2048,
        steps=50,
        guidance=4.5,
        max_tokens=512,
        counts_chat=False,
        cuts=False,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        slicing_refusal=refusals.NO_SLICES,
        tile_refusal=refusals.NO_TILES,
        adapter_refusal=refusals.NO_ADAPTERS,
        mixing_refusal=refusals.OWN_LENGTHS,
        reference=_LONGCAT_LOOKS,
    ),
)
