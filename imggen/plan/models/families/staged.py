"""Families that draw in two stages, a prior and a decoder, which are published apart."""

from dataclasses import replace
from typing import Final

from imggen.plan.models.families import refusals
from imggen.plan.models.families.bases import unet
from imggen.plan.schema.family import Family, Stages

_KANDINSKY_STAGES: Final = Stages(
    decoders={
        "KandinskyV22Pipeline": "KandinskyV22CombinedPipeline",
        "KandinskyV22Img2ImgPipeline": "KandinskyV22Img2ImgCombinedPipeline",
    },
    prior="KandinskyV22PriorPipeline",
    usual="kandinsky-community/kandinsky-2-2-prior",
    other_steps="the decoder's, which draws the picture; the prior takes 25",
    alike=(("prior.embedding_dim", "unet.encoder_hid_dim"),),
)
_TWO_NOISES: Final = "it draws noise twice, for the prior and for the decoder, and neither can be mixed"

_STABLE_CASCADE = Family(
    name="stable-cascade",
    title="Stable Cascade",
    base="stabilityai/stable-cascade",
    licence="stable-cascade-nc-community",
    pipelines={"text-to-image": "StableCascadeCombinedPipeline"},
    stages=Stages(
        decoders={"StableCascadeDecoderPipeline": "StableCascadeCombinedPipeline"},
        prior="StableCascadePriorPipeline",
        usual="stabilityai/stable-cascade-prior",
        other_steps="the prior's, which composes the picture; the decoder takes 10",
        unused=("image_encoder", "feature_extractor"),
        alike=(
            ("prior.out_channels", "decoder.effnet_in_channels"),
            ("prior.clip_text_pooled_in_channels", "decoder.clip_text_pooled_in_channels"),
        ),
    ),
    # The larger of its two denoisers.
    denoiser="prior_prior",
    native_pixels=1024,
    # 42.67 pixels to a latent of the prior, 10.67 latents of the decoder to that one, and 4 pixels to these: it
    # comes out even at every 128.
    patch=1,
    block=32,
    min_size=256,
    max_size=2048,
    steps=20,
    steps_argument="prior_num_inference_steps",
    guidance=4.0,
    guidance_argument="prior_guidance_scale",
    max_tokens=77,
    half_dtypes=("bfloat16",),
    mps_dtype="bfloat16",
    own_sampler=True,
    size_key=None,
    slicing_refusal="diffusers' attention slicing does not support its denoisers",
    tile_refusal="its first stage is too coarse for the edges to meet",
    adapter_refusal=refusals.NO_ADAPTERS,
    breeding_refusal=_TWO_NOISES,
    vae_class="PaellaVQModel",
    vae_scale=4,
    extra_arguments={"num_inference_steps": 10, "decoder_guidance_scale": 0.0},
)
_KANDINSKY22 = unet(
    name="kandinsky22",
    title="Kandinsky 2.2",
    base="kandinsky-community/kandinsky-2-2-decoder",
    licence="apache-2.0",
    pipelines={
        "text-to-image": "KandinskyV22CombinedPipeline",
        "image-to-image": "KandinskyV22Img2ImgCombinedPipeline",
    },
    stages=_KANDINSKY_STAGES,
    # Of a given picture diffusers 0.42.1 makes `preprocess(image, width, height)`, which takes the height first.
    swaps_edges=("image-to-image",),
    native_pixels=512,
    block=8,
    min_size=64,
    max_size=2048,
    steps=50,
    guidance=4.0,
    own_sampler=True,
    size_key=None,
    adapter_refusal="its U-Net reads image embeddings, not text",
    breeding_refusal=_TWO_NOISES,
    vae_class="VQModel",
    extra_arguments={"prior_num_inference_steps": 25, "prior_guidance_scale": 4.0},
)

ROWS: Final[tuple[Family, ...]] = (
    _STABLE_CASCADE,
    replace(
        _STABLE_CASCADE,
        name="wuerstchen",
        title="Würstchen",
        base="warp-ai/wuerstchen",
        licence="mit",
        pipelines={"text-to-image": "WuerstchenCombinedPipeline"},
        stages=Stages(
            decoders={"WuerstchenDecoderPipeline": "WuerstchenCombinedPipeline"},
            prior="WuerstchenPriorPipeline",
            usual="warp-ai/wuerstchen-prior",
            other_steps="the prior's, which composes the picture; the decoder takes 12",
            alike=(("prior.c_in", "decoder.effnet_embd"),),
        ),
        # As in Stable Cascade, which it came before.
        patch=1,
        steps=60,
        half_dtypes=("bfloat16", "float16"),
        mps_dtype="float16",
        extra_arguments={"num_inference_steps": 12, "decoder_guidance_scale": 0.0},
    ),
    _KANDINSKY22,
    replace(
        _KANDINSKY22,
        name="kandinsky22-inpaint",
        title="Kandinsky 2.2 Inpaint",
        base="kandinsky-community/kandinsky-2-2-decoder-inpaint",
        pipelines={"inpaint": "KandinskyV22InpaintCombinedPipeline"},
        stages=replace(
            _KANDINSKY_STAGES, decoders={"KandinskyV22InpaintPipeline": "KandinskyV22InpaintCombinedPipeline"}
        ),
        inpaint_channels=(9,),
        from_noise=("inpaint",),
        swaps_edges=(),
    ),
)
