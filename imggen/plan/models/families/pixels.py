"""Families that draw pixels themselves, without an autoencoder, or tokens of a code."""

from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import transformer, unet
from imggen.plan.schema.family import Family

# The pipelines that start from a picture make its shorter edge 64 pixels, and the other one a multiple of 8.
_IF_SIZES: Final = (
    (64, 64),
    *((edge, 64) for edge in (80, 96, 112, 128)),
    *((64, edge) for edge in (80, 96, 112, 128)),
)

ROWS: Final[tuple[Family, ...]] = (
    transformer(
        name="prx-pixel",
        title="PRX Pixel",
        base="Photoroom/prxpixel-t2i",
        licence="apache-2.0",
        pipelines={"text-to-image": "PRXPixelPipeline"},
        size_key=None,
        size_option="default_sample_size",
        patch=16,
        steps=28,
        guidance=5.0,
        least_guidance=1.0,
        max_tokens=256,
        vae_class=None,
        vae_scale=1,
        # The size that was asked for, not the nearest that it was trained on.
        extra_arguments={"use_resolution_binning": False},
    ),
    transformer(
        name="amused",
        title="aMUSEd",
        base="amused/amused-512",
        licence="openrail++",
        pipelines={
            "text-to-image": "AmusedPipeline",
            "image-to-image": "AmusedImg2ImgPipeline",
            # diffusers 0.42's AmusedInpaintPipeline fits the mask to multiples of 256 pixels, whatever the picture's.
        },
        sized_by_image=("image-to-image",),
        native_pixels=512,
        min_size=128,
        max_size=1024,
        steps=12,
        guidance=10.0,
        max_tokens=77,
        half_dtypes=("bfloat16", "float16"),
        mps_dtype="float16",
        own_sampler=True,
        # With all of the steps to make, its pipeline takes the last step for the first and changes nothing.
        steps_left_out=1,
        vae_class="VQModel",
        vae_scale=16,
        tile_refusal="only a U-Net's edges can be made to meet",
        blending_refusal="it predicts discrete tokens, to which no noise can be added",
        breeding_refusal="aMUSEd starts from masked tokens, so there is no noise to mix",
        mixing_refusal=None,
    ),
    unet(
        name="deepfloyd-if",
        # Its later stages enlarge what this one draws, and are models of their own.
        title="DeepFloyd IF, stage I",
        base="DeepFloyd/IF-I-XL-v1.0",
        licence="deepfloyd-if-license",
        pipelines={
            "text-to-image": "IFPipeline",
            "image-to-image": "IFImg2ImgPipeline",
            "inpaint": "IFInpaintingPipeline",
        },
        sized_by_image=("image-to-image", "inpaint"),
        sizes=_IF_SIZES,
        native_pixels=64,
        min_size=64,
        max_size=128,
        steps=100,
        guidance=7.0,
        # Its U-Net says beside the noise how much of it there is, which other samplers make nothing of.
        own_sampler=True,
        vae_class=None,
        vae_scale=1,
        adapter_refusal=refusals.NO_ADAPTERS,
        loads_adapters=False,
        breeding_refusal="DeepFloyd IF's initial noise cannot be replaced",
        # The words that were asked for, not cleaned of what looks like markup.
        extra_arguments={"clean_caption": False},
        channels_last=False,
    ),
)
