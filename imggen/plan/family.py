"""What a model family is: its pipelines, what they can take and what suits them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from imggen.plan.machine import Dtype
from imggen.plan.request import Task

Clip = Literal["last", "penultimate"]

AUTOENCODERS: Final = ("vae", "movq", "vqgan", "vqvae")
"""What pipelines call the part that turns latents into pixels; some have none, and draw pixels themselves."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How a family looks at given pictures while it draws another one from noise.

    `tasks` are done that way, and what is repainted is looked at besides. `words` is what the model is told, by task,
    where nobody says anything. Both edges of a picture have at least `min_size` pixels, the longer one at most
    `max_ratio` times those of the shorter. One of more than `max_pixels` is looked at, and repainted, smaller, and one
    of less than `min_pixels` is looked at larger.
    """

    tasks: tuple[Task, ...]
    words: Mapping[Task, str]
    min_size: int
    max_ratio: float
    max_pixels: int
    min_pixels: int = 0


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family, one row of the catalog.

    `pipelines` maps a task to its diffusers class; `when` narrows the row to models whose denoiser's or scheduler's
    config, or the options of whose own pipeline, say so, or the config of a part that is named before a dot.
    `native_pixels` is the edge of the square that the models were trained on, where their denoiser's config does not
    tell it in latents by `size_key`; None for a family whose configs say something else there.
    `patch` is the number of latents per edge that the denoiser folds into one token; a picture's edges are multiples
    of the autoencoder's scale times `patch`. `min_size` and `max_size` bound an edge, in pixels;
    `sizes` are the only ones, (width, height), that the pipelines make, () for any.
    `guidance_argument` None and `negative_refusal` not None say that the pipeline takes no such thing, and why.
    `counts_chat` says whether the chat that is laid around a prompt counts against the tokens that are read of it.
    `guiders` are the pipeline's parts that keep the guidance, where it is no argument of the call; a model may lack
    them. `own_sampler` says that no other scheduler than the model's own can do what the pipelines ask of it.
    `area_argument` takes the picture's pixels in all, where the pipeline would choose a size of its own area otherwise.
    `steers_above` is the guidance above which a step has more than one pass, `passes` of them: one is for the negative
    prompt. `image_guidance` is how much what is looked at holds against the words, from 1 up; None where no pipeline
    takes such a number.
    `cuda_dtypes` are the half precisions in order of preference; `fp16_safe` says whether float16 is one that works.
    `clip` says which of the layers of its CLIP encoders it reads, where it has no other encoders: only these can weigh
    words and read long prompts in chunks.
    `slicing_refusal` says why diffusers' own attention slicing is not on offer, `tile_refusal` why no seamless picture
    is, `adapter_refusal` why no IP-Adapter is, `mixing_refusal` why unlike prompts of parents are not mixed, and
    `breeding_refusal` why neither their noise nor their words are.
    `sized_by_image` are the tasks whose pipelines take their size from the picture, `inpaint_channels` the denoiser's
    input channels that the inpainting pipeline takes, () for any.
    `reference` says how the family edits by looking at pictures, None where it does not. `hands_over_mu` says that the
    pipelines shift the steps of any straight-path scheduler by the picture's size, where its config asks for it.
    `vae_class` is the class of the usual models' autoencoder, and `vae_scale` its pixels per latent along an edge.
    `base` is the family's usual published model on the hub, and `licence` the one that published weights usually carry,
    as the hub names it; None where there is no usual one, or where it varies.
    `unlisted` is what users are told of a family that is not in the catalogue but read from diffusers, else None.
    `initial` goes to the pipeline's constructor, `extra_arguments` to every call, before what is asked for,
    and `other_steps_arguments` to those of another number of steps than the usual.
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
    sizes: tuple[tuple[int, int], ...] = ()
    guiders: tuple[str, ...] = ()
    own_sampler: bool = False
    area_argument: str | None = None
    steers_above: float = 1.0
    passes: int = 2
    image_guidance: float | None = None
    distilled_key: str | None = None
    size_key: str | None = "sample_size"
    counts_chat: bool = True
    negative_refusal: str | None = None
    slicing_refusal: str | None = None
    tile_refusal: str | None = None
    adapter_refusal: str | None = None
    mixing_refusal: str | None = None
    breeding_refusal: str | None = None
    sized_by_image: tuple[Task, ...] = ()
    inpaint_channels: tuple[int, ...] = ()
    reference: Reference | None = None
    hands_over_mu: bool = False
    channels_last: bool = False
    force_upcast_vae: bool = False
    vae_class: str = "AutoencoderKL"
    vae_scale: int = 8
    base: str | None = None
    licence: str | None = None
    unlisted: str | None = None
    clip: Clip | None = None
    initial: Mapping[str, object] = field(default_factory=dict)
    extra_arguments: Mapping[str, object] = field(default_factory=dict)
    other_steps_arguments: Mapping[str, object] = field(default_factory=dict)
