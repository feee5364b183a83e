"""Model families as data: what a pipeline class is, what it can take and what suits it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from imggen.errors import ModelError
from imggen.plan.machine import Dtype
from imggen.plan.nearest import nearest
from imggen.plan.request import ModelFacts, Task
from imggen.plan.samplers import Prediction


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How a family looks at given pictures while it draws another one from noise.

    `tasks` are done that way, and what is repainted is looked at besides. `words` is what the model is told, by task,
    where nobody says anything. Both edges of a picture have at least `min_size` pixels, the longer one at most
    `max_ratio` times those of the shorter. One of more than `max_pixels` is looked at, and repainted, smaller.
    """

    tasks: tuple[Task, ...]
    words: Mapping[Task, str]
    min_size: int
    max_ratio: float
    max_pixels: int


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family, one row of the catalog.

    `pipelines` maps a task to its diffusers class; `when` narrows the row to models whose denoiser's or scheduler's
    config, or the options of whose own pipeline, say so.
    `native_pixels` is the edge of the square that the models were trained on, where their denoiser's config does not
    tell it in latents by `size_key`; None for a family whose configs say something else there.
    `patch` is the number of latents per edge that the denoiser folds into one token; a picture's edges are multiples
    of the autoencoder's scale times `patch`. `min_size` and `max_size` bound an edge, in pixels.
    `guidance_argument` None and `negative_refusal` not None say that the pipeline takes no such thing, and why.
    `counts_chat` says whether the chat that is laid around a prompt counts against the tokens that are read of it.
    `steers_above` is the guidance above which a step has a second pass, for the negative prompt.
    `cuda_dtypes` are the half precisions in order of preference; `fp16_safe` says whether float16 is one that works.
    `slicing_refusal` says why diffusers' own attention slicing is not on offer, `tile_refusal` why no seamless picture
    is, `adapter_refusal` why no IP-Adapter is, `mixing_refusal` why unlike prompts of parents are not mixed.
    `sized_by_image` are the tasks whose pipelines take their size from the picture, `inpaint_channels` the denoiser's
    input channels that the inpainting pipeline takes, () for any.
    `reference` says how the family edits by looking at pictures, None where it does not. `hands_over_mu` says that the
    pipelines shift the steps of any straight-path scheduler by the picture's size, where its config asks for it.
    `initial` goes to the pipeline's constructor, `extra_arguments` to every call, before what is asked for.
    """

    name: str
    title: str
    pipelines: Mapping[Task, str]
    denoiser: str
    native_pixels: int
    patch: int
    min_size: int
    max_size: int
    steps: int
    guidance: float
    max_tokens: int
    cuda_dtypes: tuple[Dtype, ...]
    mps_dtype: Dtype
    fp16_safe: bool
    when: Mapping[str, object] = field(default_factory=dict)
    guidance_argument: str | None = "guidance_scale"
    guidance_refusal: str | None = None
    steers_above: float = 1.0
    distilled_key: str | None = None
    size_key: str | None = "sample_size"
    counts_chat: bool = True
    negative_refusal: str | None = None
    slicing_refusal: str | None = None
    tile_refusal: str | None = None
    adapter_refusal: str | None = None
    mixing_refusal: str | None = None
    sized_by_image: tuple[Task, ...] = ()
    inpaint_channels: tuple[int, ...] = ()
    reference: Reference | None = None
    hands_over_mu: bool = False
    channels_last: bool = False
    force_upcast_vae: bool = False
    initial: Mapping[str, object] = field(default_factory=dict)
    extra_arguments: Mapping[str, object] = field(default_factory=dict)


_NO_TRUE_CFG = "it has one pass per step, and nothing to steer away from"
_NO_SLICES = "only U-Nets have it; `auto` cuts attention into chunks where memory asks for it"

_NO_TILES = "its transformer knows where in the picture a token stands, so edges cannot meet"
_NO_ADAPTERS = "diffusers has no IP-Adapters for it"
_OWN_LENGTHS = "it reads each prompt at its own length"
_LEVELS = ("block_out_channels", "encoder_block_out_channels", "dim_mult")
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
# The numbers are those of diffusers' Flux2ImageProcessor and of the pipelines that call it. FLUX.2 knows its reference
# pictures by their places: docs.bfl.ml/guides/prompting_editing_overview
_LOOKS = Reference(
    tasks=("image-to-image", "style"),
    words={"style": "image 1 in the style of image 2"},
    min_size=64,
    max_ratio=8,
    max_pixels=1024 * 1024,
)
_LOOKS_ITSELF = "it looks at the style picture itself"

# The size that was asked for, not the nearest of a list; and the words that were asked for, not cleaned of what looks
# like markup.
_PIXART_ARGUMENTS: dict[str, object] = {"use_resolution_binning": False, "clean_caption": False}
_Z_IMAGE: Mapping[Task, str] = {
    "text-to-image": "ZImagePipeline",
    "image-to-image": "ZImageImg2ImgPipeline",
    "inpaint": "ZImageInpaintPipeline",
}

FAMILIES: tuple[Family, ...] = (
    Family(
        name="sd",
        title="Stable Diffusion 1.x and 2.x",
        pipelines={
            "text-to-image": "StableDiffusionPipeline",
            "image-to-image": "StableDiffusionImg2ImgPipeline",
            "inpaint": "StableDiffusionInpaintPipeline",
        },
        sized_by_image=("image-to-image",),
        inpaint_channels=(4, 9),
        denoiser="unet",
        native_pixels=512,
        patch=1,
        min_size=64,
        max_size=2048,
        steps=30,
        guidance=7.5,
        max_tokens=77,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="float16",
        fp16_safe=True,
        distilled_key="time_cond_proj_dim",
        channels_last=True,
    ),
    Family(
        name="sdxl",
        title="Stable Diffusion XL",
        pipelines={
            "text-to-image": "StableDiffusionXLPipeline",
            "image-to-image": "StableDiffusionXLImg2ImgPipeline",
            "inpaint": "StableDiffusionXLInpaintPipeline",
        },
        sized_by_image=("image-to-image",),
        inpaint_channels=(4, 9),
        denoiser="unet",
        native_pixels=1024,
        patch=1,
        min_size=256,
        max_size=4096,
        steps=30,
        guidance=5.0,
        max_tokens=77,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="float16",
        fp16_safe=True,
        distilled_key="time_cond_proj_dim",
        channels_last=True,
        force_upcast_vae=True,
        # SDXL pipelines put an invisible watermark of their own where the package for it is installed.
        initial={"add_watermarker": False},
    ),
    Family(
        name="flux-schnell",
        title="FLUX.1 schnell",
        pipelines=_FLUX,
        when={"guidance_embeds": False},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=4,
        guidance=0.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps without guidance",
        max_tokens=256,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        negative_refusal=_NO_TRUE_CFG,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 256},
    ),
    Family(
        name="flux",
        title="FLUX.1",
        pipelines=_FLUX,
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=28,
        guidance=3.5,
        max_tokens=512,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        negative_refusal=_NO_TRUE_CFG,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 512},
    ),
    Family(
        name="flux2-klein",
        title="FLUX.2 klein",
        pipelines=_KLEIN,
        when={"is_distilled": True},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=64,
        max_size=2048,
        steps=4,
        guidance=1.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to four steps without guidance",
        max_tokens=512,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        negative_refusal=_NO_TRUE_CFG,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_LOOKS_ITSELF,
        reference=_LOOKS,
        hands_over_mu=True,
        # What its pipelines would ignore with a warning otherwise.
        extra_arguments={"max_sequence_length": 512, "guidance_scale": 1.0},
    ),
    Family(
        name="flux2-klein-base",
        title="FLUX.2 klein base",
        pipelines=_KLEIN,
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=64,
        max_size=2048,
        steps=50,
        guidance=4.0,
        max_tokens=512,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        negative_refusal="it steers away from having no words, and its pipelines take no others",
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_LOOKS_ITSELF,
        reference=_LOOKS,
        hands_over_mu=True,
        extra_arguments={"max_sequence_length": 512},
    ),
    Family(
        name="sd3",
        title="Stable Diffusion 3 and 3.5",
        pipelines={
            "text-to-image": "StableDiffusion3Pipeline",
            "image-to-image": "StableDiffusion3Img2ImgPipeline",
            "inpaint": "StableDiffusion3InpaintPipeline",
        },
        inpaint_channels=(16, 33),
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=28,
        guidance=7.0,
        max_tokens=77 + 256,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="float16",
        fp16_safe=True,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        extra_arguments={"max_sequence_length": 256},
    ),
    Family(
        name="pixart-sigma",
        title="PixArt-Sigma",
        pipelines={"text-to-image": "PixArtSigmaPipeline"},
        max_tokens=300,
        extra_arguments=_PIXART_ARGUMENTS | {"max_sequence_length": 300},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=20,
        guidance=4.5,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
    ),
    Family(
        name="pixart-alpha",
        title="PixArt-Alpha",
        pipelines={"text-to-image": "PixArtAlphaPipeline"},
        max_tokens=120,
        extra_arguments=_PIXART_ARGUMENTS | {"max_sequence_length": 120},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=20,
        guidance=4.5,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
    ),
    Family(
        name="sana",
        title="Sana",
        pipelines={"text-to-image": "SanaPipeline"},
        denoiser="transformer",
        native_pixels=1024,
        patch=1,
        min_size=256,
        max_size=4096,
        steps=20,
        guidance=4.5,
        max_tokens=300,
        # Its text encoder and its autoencoder overflow in float16.
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
        extra_arguments={"max_sequence_length": 300, "use_resolution_binning": False},
    ),
    Family(
        name="lumina2",
        title="Lumina-Image 2.0",
        pipelines={"text-to-image": "Lumina2Pipeline"},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=30,
        guidance=4.0,
        max_tokens=256,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
        extra_arguments={"max_sequence_length": 256},
    ),
    Family(
        name="auraflow",
        title="AuraFlow",
        pipelines={"text-to-image": "AuraFlowPipeline"},
        denoiser="transformer",
        native_pixels=1024,
        size_key=None,
        patch=2,
        min_size=256,
        # Its first versions know no places beyond; the last one would take 1536.
        max_size=1024,
        steps=50,
        guidance=3.5,
        max_tokens=256,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
        force_upcast_vae=True,
        extra_arguments={"max_sequence_length": 256},
    ),
    Family(
        name="chroma",
        title="Chroma",
        pipelines={
            "text-to-image": "ChromaPipeline",
            "image-to-image": "ChromaImg2ImgPipeline",
            # diffusers 0.42's ChromaInpaintPipeline asks the denoiser's config for what no Chroma has.
        },
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=35,
        guidance=5.0,
        max_tokens=512,
        cuda_dtypes=("bfloat16", "float16"),
        mps_dtype="bfloat16",
        fp16_safe=True,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        extra_arguments={"max_sequence_length": 512},
    ),
    Family(
        name="qwen-image",
        title="Qwen-Image",
        pipelines={
            "text-to-image": "QwenImagePipeline",
            "image-to-image": "QwenImageImg2ImgPipeline",
            "inpaint": "QwenImageInpaintPipeline",
        },
        denoiser="transformer",
        native_pixels=1328,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=50,
        guidance=4.0,
        guidance_argument="true_cfg_scale",
        max_tokens=512,
        counts_chat=False,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
        # Without a negative prompt its pipelines drop the guidance; this is the one that its authors pass for none.
        extra_arguments={"max_sequence_length": 512, "negative_prompt": " "},
    ),
    Family(
        name="z-image-turbo",
        title="Z-Image Turbo",
        pipelines=_Z_IMAGE,
        # Its configs differ from those of the model that it was distilled from by this number alone.
        when={"shift": 3.0},
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=9,
        guidance=0.0,
        guidance_argument=None,
        guidance_refusal="it is distilled to a few steps without guidance",
        max_tokens=512,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        negative_refusal=_NO_TRUE_CFG,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
        extra_arguments={"max_sequence_length": 512, "guidance_scale": 0.0},
    ),
    Family(
        name="z-image",
        title="Z-Image",
        pipelines=_Z_IMAGE,
        denoiser="transformer",
        native_pixels=1024,
        patch=2,
        min_size=256,
        max_size=2048,
        steps=50,
        guidance=4.0,
        # It goes from the prompt's picture away from the negative one's, so a little of it is already some.
        steers_above=0.0,
        max_tokens=512,
        cuda_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        fp16_safe=False,
        slicing_refusal=_NO_SLICES,
        tile_refusal=_NO_TILES,
        adapter_refusal=_NO_ADAPTERS,
        mixing_refusal=_OWN_LENGTHS,
        extra_arguments={"max_sequence_length": 512},
    ),
)


def find(facts: ModelFacts) -> Family:
    """Return the family that the model's pipeline class belongs to; raise ModelError for a class that no row names."""
    rows = [each for each in FAMILIES if facts.pipeline in each.pipelines.values()]
    for row in rows:
        said = facts.options | facts.configs.get("scheduler", {}) | facts.configs.get(row.denoiser, {})
        if all(said.get(key) == value for key, value in row.when.items()):
            return row
    known = sorted({name for each in FAMILIES for name in each.pipelines.values()})
    guess = nearest(facts.pipeline, known)
    hint = f"imggen knows {', '.join(known)}"
    raise ModelError(
        f"{facts.reference}: imggen does not know the pipeline class {facts.pipeline!r}",
        hint=f"{hint}; the nearest is {guess[0]}" if guess else hint,
    )


def named(name: str) -> Family:
    """Return the family called `name`; raise ModelError for a name that no row has."""
    for each in FAMILIES:
        if each.name == name:
            return each
    raise ModelError(f"unknown model family {name!r}", hint=f"one of: {', '.join(each.name for each in FAMILIES)}")


def vae_scale(facts: ModelFacts) -> int:
    """Return the number of pixels per latent along an edge: two per level of the autoencoder but the first."""
    config = facts.configs.get("vae", {})
    levels = next((each for name in _LEVELS if isinstance(each := config.get(name), list) and each), None)
    return int(2 ** (len(levels) - 1)) if levels else 8


def multiple_of(family: Family, facts: ModelFacts) -> int:
    """Return what a picture's edges must be multiples of, in pixels; diffusers wants 8 or more of every U-Net."""
    return max(8, vae_scale(facts) * family.patch)


def is_inpainting_model(family: Family, facts: ModelFacts) -> bool:
    """Return whether the denoiser wants a mask and a masked picture beside the latents: a model that only repaints."""
    channels = facts.configs.get(family.denoiser, {}).get("in_channels")
    latents = facts.configs.get("vae", {}).get("latent_channels")
    return isinstance(channels, int) and isinstance(latents, int) and channels == 2 * latents + 1


def prediction(family: Family, facts: ModelFacts) -> Prediction:
    """Return what the model's denoiser predicts, from its scheduler's class and config."""
    config = facts.configs.get("scheduler", {})
    if family.hands_over_mu:
        return "flow_mu" if config.get("use_dynamic_shifting") else "flow_fixed"
    if facts.components.get("scheduler", ("", ""))[1] == "FlowMatchEulerDiscreteScheduler":
        return "flow_own"
    flow = config.get("prediction_type") == "flow_prediction" or bool(config.get("use_flow_sigmas"))
    return "flow" if flow else "noise"
