"""What a model family is: its pipelines, what they can take and what suits them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from imggen.plan.schema.change import Task
from imggen.plan.schema.machine import Dtype

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
    `other_steps` says in words how many steps the stage makes that `--steps` does not count.
    """

    decoders: Mapping[str, str]
    prior: str
    usual: str
    other_steps: str
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
    """A model family, one row of the catalog: what it is, and how it differs from what most families do.

    The fields without a default are what every row says. The others stand in groups: how a model is told and drawn
    from, its sizes, its steps, its guidance, what it reads of a prompt, how it takes pictures, what it refuses and why,
    and its parts.
    """

    name: str
    """What recipes and `imggen models families` call it."""
    title: str
    """What people call it."""
    pipelines: Mapping[Task, str]
    """The diffusers class by task. A task that is missing is refused, or done by a stand-in that the plan names."""
    denoiser: str
    """The pipeline's part that is run once or more in each step."""
    native_pixels: int
    """The edge of the square that the models were trained on, where neither `size_key` nor `size_option` tells it."""
    patch: int
    """The latents per edge that the denoiser folds into one token. See `block`."""
    min_size: int
    """The least of an edge, in pixels."""
    max_size: int
    """The most of an edge, in pixels."""
    steps: int
    """The usual number of steps."""
    guidance: float
    """The usual guidance."""
    max_tokens: int
    """How many tokens of a prompt are read, where neither CLIP nor `max_sequence_length` in `extra_arguments` says."""
    half_dtypes: tuple[Dtype, ...]
    """The half precisions that it works in, the preferred one first."""
    mps_dtype: Dtype
    """What suits it on Metal."""

    when: Mapping[str, object] = field(default_factory=dict)
    """What narrows the row to some of the models of its pipelines, by key.

    That is of their denoiser's or scheduler's config, of their own pipeline's options, or of the config of a part that
    is named before a dot.
    """
    base: str | None = None
    """The usual published model, by its id on the hub; None where there is none."""
    licence: str | None = None
    """The licence that published weights usually carry, as the hub names it; None where it varies."""
    stages: Stages | None = None
    """How it draws in two stages, None where it has one."""
    initial: Mapping[str, object] = field(default_factory=dict)
    """What goes to the pipeline's constructor."""
    extra_arguments: Mapping[str, object] = field(default_factory=dict)
    """What goes to every call, unless what is asked for replaces it."""
    own_sampler: bool = False
    """Whether no scheduler but the model's own can do what the pipelines ask of it."""
    hands_over_mu: bool = False
    """Whether the pipelines shift any straight-path scheduler's steps by the picture's size, where its config asks."""
    unlisted: str | None = None
    """What users are told of a family that is not in the catalogue but read from diffusers; None for a row."""

    block: int = 1
    """The tokens per edge that belong together: edges are multiples of the autoencoder's scale, `patch` and this."""
    sizes: tuple[tuple[int, int], ...] = ()
    """The only (width, height) that the pipelines make, () for any."""
    size_key: str | None = "sample_size"
    """The key of the denoiser's config that tells the native size in latents; None where it says something else."""
    size_option: str | None = None
    """The option of the model's own pipeline that tells the native size in pixels."""
    area_argument: str | None = None
    """The argument for the picture's pixels in all, where the pipeline would choose an area of its own otherwise."""
    sized_by_image: tuple[Task, ...] = ()
    """The tasks whose pipelines take the size from the given picture."""
    swaps_edges: tuple[Task, ...] = ()
    """The tasks whose pipelines take a picture's width for its height, and the other way round."""

    steps_argument: str = "num_inference_steps"
    """The argument for the steps that are asked for."""
    steps_option: str | None = None
    """The option of the model's own pipeline that lists its steps; a model that has it makes these and no others."""
    other_steps_arguments: Mapping[str, object] = field(default_factory=dict)
    """What goes to the call besides, for another number of steps than the usual."""

    guidance_argument: str | None = "guidance_scale"
    """The argument for the guidance, None where the call has none."""
    guidance_refusal: str | None = None
    """Why it takes no guidance at all."""
    guiders: tuple[str, ...] = ()
    """The pipeline's parts that keep the guidance, where it is no argument of the call; a model may lack them."""
    late_guidance: tuple[int, float] | None = None
    """The last steps, and the most that guidance is in them, where the argument takes a number per step."""
    least_guidance: float = 0.0
    """The least guidance that the pipelines accept."""
    steers_above: float = 1.0
    """The guidance above which a step has more than one pass through the denoiser."""
    passes: int = 2
    """How many passes it has then, one of them for the negative prompt."""
    distilled_key: str | None = None
    """The key of the denoiser's config that says, unless it is null, that guidance is distilled: one pass will do."""
    image_guidance: float | None = None
    """How much what is looked at usually holds against the words, from 1 up; None where no pipeline takes that."""

    clip: Clip | None = None
    """Which layer of its CLIP encoders it reads; None where it has other encoders.

    Only a family of CLIP encoders alone can weigh words, and read long prompts in chunks.
    """
    counts_chat: bool = True
    """Whether the chat that is laid around a prompt counts against `max_sequence_length` in `extra_arguments`."""
    reads_whole: tuple[Task, ...] = ()
    """The tasks in which all of a prompt is read, however long."""
    cuts_prompts: bool = True
    """Whether the pipeline cuts a longer prompt off; False where it breaks over it, which is refused before."""
    keeps_context: bool = False
    """Whether the denoiser keeps, from its first step on, what it computed of the words and of what is looked at."""
    captions: Captions | None = None
    """How prompts that are JSON objects are read, None where they are words like others."""

    reference: Reference | None = None
    """How it draws by looking at pictures, None where it does not."""
    strength: float | None = None
    """The usual strength of a family of so few steps that a method's own would leave nothing of a picture.

    Such a family makes whole steps of it.
    """
    steps_left_out: int = 0
    """How many steps the pipeline that starts from a picture must leave out at least."""
    from_noise: tuple[Task, ...] = ()
    """The tasks that start from noise, and take no strength, although the method usually starts from the picture."""
    mask_argument: str = "mask_image"
    """The argument for the mask where one repaints."""
    inpaint_channels: tuple[int, ...] = ()
    """The denoiser's input channels that the inpainting pipeline takes, () for any."""

    negative_refusal: str | None = None
    """Why it takes no negative prompt."""
    slicing_refusal: str | None = None
    """Why diffusers' own attention slicing is not on offer."""
    tile_refusal: str | None = None
    """Why no seamless picture is."""
    adapter_refusal: str | None = None
    """Why no IP-Adapter is."""
    loads_adapters: bool = True
    """False where the pipelines have methods that load LoRAs or learnt words, which do not work with its parts."""
    mixing_refusal: str | None = None
    """Why unlike prompts of parents are not mixed."""
    breeding_refusal: str | None = None
    """Why neither the parents' noise nor their words are."""
    blending_refusal: str | None = None
    """Why its latents cannot be held to a picture's while it draws."""

    vae_class: str | None = "AutoencoderKL"
    """The class of the usual models' autoencoder, None where they draw pixels themselves."""
    vae_scale: int = 8
    """That one's pixels per latent along an edge."""
    force_upcast_vae: bool = False
    """Whether the pipelines decode in float32 where the model is in float16."""
    channels_last: bool = False
    """Whether its convolutions run faster with the channels innermost."""
