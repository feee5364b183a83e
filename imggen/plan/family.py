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
    of less than `min_pixels` is looked at larger. `transparent` says that the pictures are looked at
    with their transparency. `argument` takes them: `images` a list, even of a single one.
    """

    tasks: tuple[Task, ...]
    words: Mapping[Task, str]
    min_size: int
    max_ratio: float
    max_pixels: int
    min_pixels: int = 0
    transparent: bool = False
    argument: Literal["image", "images"] = "image"


@dataclass(frozen=True, kw_only=True)
class Stages:
    """How a family draws in two stages: its prior makes of words what its decoder makes a picture of.

    The two are published apart; the pipelines of the row hold both, the prior's parts with `prior_` before their names.
    `decoders` maps the class that a decoder's folder names to that of the pipeline which it makes with a prior, `prior`
    is the class that a prior's folder names, and `usual` the published one. Of the prior's parts those in `unused` read
    pictures, which no task shows them. `alike` are two configs' keys that must say the same, each behind its part.
    `others` says in words how many steps the stage makes that `--steps` does not count.
    """

    decoders: Mapping[str, str]
    prior: str
    usual: str
    others: str
    unused: tuple[str, ...] = ()
    alike: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Captions:
    """How a family reads prompts that are JSON objects.

    `trained` says that it was trained on nothing else. Where it looks at pictures, such a prompt must have `key`, and
    `only` says that the pipelines take no other one there.
    """

    trained: bool = False
    key: str | None = None
    only: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family, one row of the catalog.

    `pipelines` maps a task to its diffusers class; `when` narrows the row to models whose denoiser's or scheduler's
    config, or the options of whose own pipeline, say so, or the config of a part that is named before a dot.
    `native_pixels` is the edge of the square that the models were trained on, where their denoiser's config does not
    tell it in latents by `size_key`; None for a family whose configs say something else there. `size_option` is the
    option of the model's own pipeline that tells it in pixels.
    `patch` is the number of latents per edge that the denoiser folds into one token; a picture's edges are multiples
    of the autoencoder's scale times `patch` times `block`, the tokens that belong together. `min_size` and `max_size`
    bound an edge, in pixels; `sizes` are the only ones, (width, height), that the pipelines make, () for any.
    `guidance_argument` None and `negative_refusal` not None say that the pipeline takes no such thing, and why.
    `counts_chat` says whether the chat that is laid around a prompt counts against the tokens that are read of it,
    `reads_whole` for which tasks all of a prompt is read, and `cuts` that a longer one is cut off, not refused by the
    pipeline. `steps_option` is the option of the model's own pipeline that lists its steps, where one has it:
    it makes these, however many are asked for. `keeps_context` says that its denoiser keeps what it computed of the
    words, and of what is looked at, from the first step on.
    `guiders` are the pipeline's parts that keep the guidance, where it is no argument of the call; a model may lack
    them. `own_sampler` says that no other scheduler than the model's own can do what the pipelines ask of it.
    `area_argument` takes the picture's pixels in all, where the pipeline would choose a size of its own area otherwise.
    `steers_above` is the guidance above which a step has more than one pass, `passes` of them: one is for the negative
    prompt. `image_guidance` is how much what is looked at holds against the words, from 1 up; None where no pipeline
    takes such a number. Below `least_guidance` the pipelines refuse it. `steps_kept` are the steps that the pipeline
    which starts from a picture has to leave out at least.
    `cuda_dtypes` are the half precisions in order of preference; `fp16_safe` says whether float16 is one that works.
    `clip` says which of the layers of its CLIP encoders it reads, where it has no other encoders: only these can weigh
    words and read long prompts in chunks.
    `slicing_refusal` says why diffusers' own attention slicing is not on offer, `tile_refusal` why no seamless picture
    is, `adapter_refusal` why no IP-Adapter is, `mixing_refusal` why unlike prompts of parents are not mixed, and
    `breeding_refusal` why neither their noise nor their words are.
    `blending_refusal` says why its latents cannot be held to a picture's while it draws, and `strength` is the usual
    one of a family of so few steps that those of the methods would leave nothing of a picture; it makes whole steps of
    it.
    `takes_lora` and `takes_words` are False where diffusers' pipelines have the methods that load LoRAs and learnt
    words, which do not work with the model's parts.
    `sized_by_image` are the tasks whose pipelines take their size from the picture, `inpaint_channels` the denoiser's
    input channels that the inpainting pipeline takes, () for any.
    `reference` says how the family edits by looking at pictures, None where it does not. `hands_over_mu` says that the
    pipelines shift the steps of any straight-path scheduler by the picture's size, where its config asks for it.
    `vae_class` is the class of the usual models' autoencoder, None where they draw pixels themselves, and `vae_scale`
    its pixels per latent along an edge.
    `base` is the family's usual published model on the hub, and `licence` the one that published weights usually carry,
    as the hub names it; None where there is no usual one, or where it varies.
    `stages` says how the family draws in two stages, None where it has one; `steps_argument` counts the steps that are
    asked for. `turned` are the tasks whose pipelines take a picture's width for its height, and the other way round,
    `strengthless` those whose pipelines start from noise alone. `mask_argument` takes the mask where one repaints.
    `captions` says how prompts that are JSON objects are read, None where they are words like others.
    `late_guidance` is a number of last steps and what the guidance is at most in these, where `guidance_argument` takes
    one number per step; None where it takes one for all.
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
    least_guidance: float = 0.0
    sizes: tuple[tuple[int, int], ...] = ()
    guiders: tuple[str, ...] = ()
    own_sampler: bool = False
    area_argument: str | None = None
    steers_above: float = 1.0
    passes: int = 2
    steps_kept: int = 0
    image_guidance: float | None = None
    distilled_key: str | None = None
    block: int = 1
    size_key: str | None = "sample_size"
    size_option: str | None = None
    counts_chat: bool = True
    reads_whole: tuple[Task, ...] = ()
    cuts: bool = True
    keeps_context: bool = False
    steps_option: str | None = None
    negative_refusal: str | None = None
    slicing_refusal: str | None = None
    tile_refusal: str | None = None
    adapter_refusal: str | None = None
    takes_lora: bool = True
    takes_words: bool = True
    mixing_refusal: str | None = None
    breeding_refusal: str | None = None
    blending_refusal: str | None = None
    strength: float | None = None
    sized_by_image: tuple[Task, ...] = ()
    inpaint_channels: tuple[int, ...] = ()
    reference: Reference | None = None
    hands_over_mu: bool = False
    channels_last: bool = False
    force_upcast_vae: bool = False
    vae_class: str | None = "AutoencoderKL"
    vae_scale: int = 8
    base: str | None = None
    licence: str | None = None
    stages: Stages | None = None
    steps_argument: str = "num_inference_steps"
    turned: tuple[Task, ...] = ()
    strengthless: tuple[Task, ...] = ()
    mask_argument: str = "mask_image"
    captions: Captions | None = None
    late_guidance: tuple[int, float] | None = None
    unlisted: str | None = None
    clip: Clip | None = None
    initial: Mapping[str, object] = field(default_factory=dict)
    extra_arguments: Mapping[str, object] = field(default_factory=dict)
    other_steps_arguments: Mapping[str, object] = field(default_factory=dict)
