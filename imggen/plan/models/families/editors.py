"""Families that diffusers serves by one pipeline, for words and for pictures that are looked at."""

import math
from dataclasses import replace
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import transformer, unet
from imggen.plan.schema.family import Family, Reference

_MILLION: Final = 1024 * 1024
_PATCH: Final = 16


def _rounded_up(edge: float) -> int:
    return math.ceil(edge / _PATCH) * _PATCH


def _drawn_size(ratio: float) -> tuple[int, int]:
    """Return the (width, height) that LongCatImageEditPipeline draws in the place of any picture of that ratio."""
    width = math.sqrt(_MILLION * ratio)
    return _rounded_up(width), _rounded_up(width / ratio)


def _squareness(size: tuple[int, int]) -> float:
    return abs(math.log(size[0] / size[1]))


def _longcat_sizes() -> tuple[tuple[int, int], ...]:
    """Return the sizes that the pipeline keeps as they are, the squarest first."""
    sizes = ((width, _rounded_up(_MILLION / width)) for width in range(512, 2048 + 1, _PATCH))
    kept = [(width, height) for width, height in sizes if _drawn_size(width / height) == (width, height)]
    return tuple(sorted(kept, key=_squareness))


# diffusers' buckets for it, upright.
_JOYIMAGE_UPRIGHT: Final = (
    (1024, 1024),
    *((960, height) for height in (1024, 1088)),
    *((896, height) for height in (1088, 1152)),
    *((832, height) for height in (1152, 1216)),
    *((768, height) for height in (1216, 1280, 1344)),
    *((704, height) for height in (1344, 1408, 1472)),
    *((640, height) for height in (1472, 1536, 1600)),
    *((576, height) for height in (1600, 1664, 1728, 1792)),
    *((512, height) for height in (1792, 1856, 1920, 1984, 2048)),
)
_JOYIMAGE_SIZES: Final = tuple(dict.fromkeys(size for w, h in _JOYIMAGE_UPRIGHT for size in ((w, h), (h, w))))

_DREAMLITE = unet(
    name="dreamlite",
    title="DreamLite",
    # What diffusers reads is on a branch of that name.
    base="carlofkl/DreamLite-base@diffusers",
    licence="cc-by-nc-4.0",
    pipelines={"text-to-image": "DreamLitePipeline", "image-to-image": "DreamLitePipeline"},
    native_pixels=1024,
    # Its U-Net halves the latents twice.
    block=4,
    min_size=256,
    max_size=2048,
    steps=28,
    guidance=3.5,
    image_guidance=1.5,
    passes=3,
    max_tokens=200,
    counts_chat=False,
    reads_whole=("image-to-image",),
    half_dtypes=("bfloat16",),
    mps_dtype="bfloat16",
    slicing_refusal="its attention heads share keys, which diffusers' attention slicing does not support",
    tile_refusal="it draws the picture next to its reference, so the edges cannot meet",
    adapter_refusal=refusals.NO_ADAPTERS,
    mixing_refusal=refusals.OWN_LENGTHS,
    breeding_refusal="it encodes all prompts in one call, where no embeddings can be passed in",
    # Its pipelines read what they look at in 512 pixels an edge, and draw beside it in its own size.
    reference=Reference(tasks=("image-to-image",), words={}, min_size=64, max_ratio=8, max_pixels=2048 * 2048),
    extra_arguments={"max_sequence_length": 200},
    vae_class="AutoencoderTiny",
    channels_last=False,
)
_LONGCAT_IMAGE_EDIT = transformer(
    name="longcat-image-edit",
    title="LongCat-Image-Edit",
    base="meituan-longcat/LongCat-Image-Edit",
    licence="apache-2.0",
    pipelines={"image-to-image": "LongCatImageEditPipeline"},
    sizes=_longcat_sizes(),
    sized_by_image=("image-to-image",),
    min_size=512,
    steps=50,
    guidance=4.5,
    max_tokens=512,
    counts_chat=False,
    cuts_prompts=False,
    reference=Reference(tasks=("image-to-image",), words={}, min_size=512, max_ratio=4, max_pixels=1024 * 1088),
)

ROWS: Final[tuple[Family, ...]] = (
    _DREAMLITE,
    replace(
        _DREAMLITE,
        name="dreamlite-mobile",
        title="DreamLite Mobile",
        base="carlofkl/DreamLite-mobile@diffusers",
        pipelines={"text-to-image": "DreamLiteMobilePipeline", "image-to-image": "DreamLiteMobilePipeline"},
        steps=4,
        guidance=1.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps and runs without guidance",
        negative_refusal=refusals.ONE_PASS,
        passes=2,
        image_guidance=None,
    ),
    transformer(
        name="glm-image",
        title="GLM-Image",
        base="zai-org/GLM-Image",
        licence="mit",
        # It could look at pictures too, but diffusers 0.42 reads what transformers 5 makes of them in another shape.
        pipelines={"text-to-image": "GlmImagePipeline"},
        # What its first model writes stands for 32 pixels an edge.
        block=2,
        steps=50,
        guidance=1.5,
        # As much is read of what stands in quotes, and all of the rest.
        max_tokens=2048,
        reads_whole=("text-to-image",),
        # It hands over the steps' numbers besides, which other schedulers take for themselves.
        own_sampler=True,
        negative_refusal="its pipeline always steers away from the empty prompt",
        breeding_refusal="its first model writes image tokens from the seed and the prompt, which cannot be mixed",
    ),
    transformer(
        name="joyimage-edit",
        title="JoyAI-Image-Edit",
        base="jdopensource/JoyAI-Image-Edit-Diffusers",
        licence="apache-2.0",
        pipelines={"text-to-image": "JoyImageEditPipeline", "image-to-image": "JoyImageEditPipeline"},
        sizes=_JOYIMAGE_SIZES,
        min_size=512,
        steps=40,
        guidance=4.0,
        max_tokens=2048,
        counts_chat=False,
        reads_whole=("image-to-image",),
        reference=Reference(tasks=("image-to-image",), words={}, min_size=512, max_ratio=4, max_pixels=2048 * 2048),
        vae_class="AutoencoderKLWan",
    ),
    transformer(
        name="joyimage-edit-plus",
        title="JoyAI-Image-Edit Plus",
        base="jdopensource/JoyAI-Image-Edit-Plus-Diffusers",
        licence="apache-2.0",
        # Its pipeline would draw without a picture too, for which nobody says that the model was made.
        pipelines={"image-to-image": "JoyImageEditPlusPipeline", "style": "JoyImageEditPlusPipeline"},
        steps=30,
        guidance=4.0,
        max_tokens=4096,
        reads_whole=("image-to-image", "style"),
        adapter_refusal=refusals.LOOKS_ITSELF,
        # It fits each picture by itself to one of the same buckets, whatever it draws.
        reference=Reference(
            tasks=("image-to-image", "style"),
            words={"style": "the first image in the style of the second image"},
            min_size=64,
            max_ratio=8,
            min_pixels=_MILLION,
            max_pixels=_MILLION,
            argument="images",
        ),
        vae_class="AutoencoderKLWan",
    ),
    replace(
        _LONGCAT_IMAGE_EDIT,
        name="longcat-image-edit-turbo",
        title="LongCat-Image-Edit Turbo",
        base="meituan-longcat/LongCat-Image-Edit-Turbo",
        # Its scheduler shifts by the same, however large a picture is.
        when={"base_shift": 1.15},
        steps=8,
        guidance=1.0,
    ),
    _LONGCAT_IMAGE_EDIT,
)
