"""What a model family is: its pipelines, what they can take and what suits them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.tasks import Task

Clip = Literal["last", "penultimate"]

AUTOENCODERS: Final = ("vae", "movq", "vqgan", "vqvae")
"""What pipelines call their autoencoder; pixel-space pipelines have none."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How a family uses reference pictures while it draws another one from noise."""

    tasks: tuple[Task, ...]
    """The tasks that are done with references; an inpainted picture is one besides."""
    words: Mapping[Task, str]
    """The prompt where the user gives none, by task."""
    min_size: int
    """The least of both edges of a reference, in pixels."""
    max_ratio: float
    """The most that the longer edge is, in shorter ones."""
    max_pixels: int
    """A larger reference is scaled down to this, and so is an inpainted picture."""
    min_pixels: int = 0
    """A smaller reference is scaled up to this."""
    transparent: bool = False
    """Whether references keep their alpha channel."""
    argument: Literal["image", "images"] = "image"
    """The argument that takes them; `images` takes a list, even of a single one."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """How a family draws in two stages: a prior turns the prompt into embeddings, a decoder these into a picture.

    The two are published apart; the pipelines of the row hold both, the prior's parts with `prior_` before their names.
    """

    decoders: Mapping[str, str]
    """The combined pipeline's class, by the class that a decoder's folder names."""
    prior: str
    """The class that a prior's folder names."""
    usual: str
    """The usual published prior, by its id on the hub."""
    other_steps: str
    """How many steps the stage takes that `--steps` does not count, in words."""
    unused: tuple[str, ...] = ()
    """The prior's parts that read pictures, which no task needs."""
    alike: tuple[tuple[str, str], ...] = ()
    """Keys of the prior's and of the decoder's configs, each behind its part, that must have the same value."""


@dataclass(frozen=True, kw_only=True)
class Captions:
    """How a family reads prompts that are JSON objects."""

    trained: bool = False
    """Whether it was trained on nothing else."""
    key: str | None = None
    """The key that such a prompt must have where there are reference pictures."""
    only: bool = False
    """Whether the pipelines take no other prompt there."""


@dataclass(frozen=True, kw_only=True)
class Controls:
    """How a family follows control pictures."""

    network: str | None
    """The class of its ControlNets; None where the denoiser reads the picture itself, beside its latents.

    Such a model takes no ControlNet, and always needs a control picture.
    """
    pipelines: Mapping[Task, str]
    """The diffusers class that follows control pictures, by task."""
    fits: tuple[str, ...] = ()
    """The keys that a ControlNet's config and the denoiser's must agree on."""
    published: Mapping[str, str] = field(default_factory=dict)
    """The ControlNet that people usually take, by kind of picture: its id on the hub."""
    published_for: Mapping[str, object] = field(default_factory=dict)
    """What the denoiser's config says of the models that the published ones are for."""
    image_arguments: Mapping[Task, str] = field(default_factory=dict)
    """The argument that takes the control picture, where it is not `control_image`."""
    from_noise: tuple[Task, ...] = ()
    """The tasks that start from noise with a ControlNet, although they do not without one."""
    own_steps: bool = False
    """Whether the pipelines pass timesteps of their own, which only the model's own scheduler accepts."""
    repaints_by: str | None = None
    """The key of a ControlNet's config for its input channels.

    Set where those for inpainting read the mask and the masked picture beside the control picture, and others do not.
    """
    repainting: str | None = None
    """The class that inpaints with a ControlNet that sees the masked picture alone; published ones are `inpaint`."""
    several: bool = False
    """Whether it takes more than one ControlNet at a time."""
    depth: tuple[str, ...] = ()
    """The keys that the configs of several ControlNets must agree on."""

    def image_argument(self, task: Task) -> str:
        """Return the argument that takes the control picture in the pipeline for `task`."""
        return self.image_arguments.get(task, "control_image")


@dataclass(frozen=True, kw_only=True)
class IpAdapters:
    """How a family takes IP-Adapters."""

    layout: Literal["unet", "flux", "sd3"]
    """How they are built, as `plan/adapters/ip_adapters` names it."""
    usual: str | None = None
    """The weights that people usually take: a file on the hub."""
    usual_for: Mapping[str, object] = field(default_factory=dict)
    """What the denoiser's config says of the models that the usual weights are for."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family, one row of the catalog: what it is, and how it differs from what most families do.

    Fields without a default are required. The others stand in groups: how a model is recognised and called, its sizes,
    its steps, its guidance, its prompts, its input pictures, its adapters, what it refuses and why, and its parts.
    """

    name: str
    """What recipes and `imggen models families` call it."""
    title: str
    """What people call it."""
    pipelines: Mapping[Task, str]
    """The diffusers class by task. A missing task is refused, or done by a stand-in that the plan names."""
    denoiser: str
    """The name of the part that denoises."""
    native_pixels: int
    """The edge of the square that the models were trained on, unless `size_key` or `size_option` says another."""
    patch: int
    """The latents per edge of a token. See `block`."""
    min_size: int
    """The least edge, in pixels."""
    max_size: int
    """The largest edge, in pixels."""
    steps: int
    """The usual number of steps."""
    guidance: float
    """The usual guidance."""
    max_tokens: int
    """How many tokens of a prompt are read, unless CLIP or `max_sequence_length` in `extra_arguments` says."""
    half_dtypes: tuple[Dtype, ...]
    """The half precisions that it works in, the preferred one first."""
    mps_dtype: Dtype
    """The preferred dtype on MPS."""

    when: Mapping[str, object] = field(default_factory=dict)
    """What the configs must say for a model to belong to the row, by key.

    Keys are those of the denoiser's or scheduler's config or of the pipeline's options; `part.key` is another part's.
    """
    base: str | None = None
    """The usual published model, by its id on the hub; None where there is none."""
    licence: str | None = None
    """The licence that published weights usually carry, as the hub names it; None where it varies."""
    stages: Stages | None = None
    """How it draws in two stages, None for one stage."""
    initial: Mapping[str, object] = field(default_factory=dict)
    """Arguments of the pipeline's constructor."""
    extra_arguments: Mapping[str, object] = field(default_factory=dict)
    """Arguments of every call, unless the request replaces them."""
    own_sampler: bool = False
    """Whether the pipelines work with the model's own scheduler only."""
    hands_over_mu: bool = False
    """Whether the pipelines pass mu (resolution-dependent timestep shift) to flow-matching schedulers."""
    unlisted: str | None = None
    """The note for a family that was read from diffusers' signatures; None for a row of the catalog."""

    block: int = 1
    """The tokens per edge that belong together: edges are multiples of the autoencoder's scale x `patch` x this."""
    sizes: tuple[tuple[int, int], ...] = ()
    """The only (width, height) that the pipelines make, () for any."""
    size_key: str | None = "sample_size"
    """The key of the denoiser's config for the native size in latents; None where it means something else."""
    size_option: str | None = None
    """The option of the model's pipeline for the native size in pixels."""
    area_argument: str | None = None
    """The argument for the number of pixels, where the pipeline would otherwise choose its own."""
    sized_by_image: tuple[Task, ...] = ()
    """The tasks whose pipelines take the size from the input picture."""
    swaps_edges: tuple[Task, ...] = ()
    """The tasks whose pipelines confuse width and height."""

    steps_argument: str = "num_inference_steps"
    """The argument for the number of steps."""
    steps_option: str | None = None
    """The option of the model's pipeline that lists its steps; a model that has it takes these and no others."""
    other_steps_arguments: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of the call for another number of steps than the usual."""

    guidance_argument: str | None = "guidance_scale"
    """The argument for the guidance scale, None where the call has none."""
    guidance_refusal: str | None = None
    """Why it takes no guidance."""
    guiders: tuple[str, ...] = ()
    """The pipeline's parts that hold the guidance scale, where it is no argument; a model may lack them."""
    late_guidance: tuple[int, float] | None = None
    """How many last steps have less guidance and how much at most, where the argument takes one per step."""
    least_guidance: float = 0.0
    """The least guidance that the pipelines accept."""
    steers_above: float = 1.0
    """The guidance above which a step takes more than one pass through the denoiser."""
    passes: int = 2
    """How many passes it takes then, one of them for the negative prompt."""
    distilled_key: str | None = None
    """The key of the denoiser's config that is set where guidance is distilled into the model: one pass a step."""
    image_guidance: float | None = None
    """The usual image guidance scale, from 1 up; None where no pipeline takes one."""

    clip: Clip | None = None
    """Which layer of its CLIP encoders it reads; None where it has other encoders.

    Only families with CLIP encoders alone support weighted words and long prompts in chunks.
    """
    counts_chat: bool = True
    """Whether the chat template around a prompt counts against `max_sequence_length` in `extra_arguments`."""
    reads_whole: tuple[Task, ...] = ()
    """The tasks in which prompts have no maximum length."""
    cuts_prompts: bool = True
    """Whether the pipeline truncates a longer prompt; False where it would fail, so that imggen refuses it."""
    keeps_context: bool = False
    """Whether the denoiser caches keys and values of the prompt and of references from its first step on."""
    captions: Captions | None = None
    """How prompts that are JSON objects are read, None where they are plain text."""

    reference: Reference | None = None
    """How it uses reference pictures, None where it takes none."""
    strength: float | None = None
    """The usual denoising strength of a family of so few steps that the method's own would keep nothing of a picture.

    It is rounded to whole steps.
    """
    steps_left_out: int = 0
    """How many steps the image-to-image pipeline must skip at least."""
    from_noise: tuple[Task, ...] = ()
    """The tasks that start from noise and take no strength, although the method usually starts from the picture."""
    mask_argument: str = "mask_image"
    """The argument for the inpainting mask."""
    inpaint_channels: tuple[int, ...] = ()
    """The denoiser's input channels that the inpainting pipeline takes, () for any."""

    controls: Controls | None = None
    """How it follows control pictures, None where it does not."""
    control_refusal: str | None = None
    """Why it follows none although there are ControlNets for it."""
    ip_adapters: IpAdapters | None = None
    """How it takes IP-Adapters, None where it does not."""
    lora_layers: str | None = None
    """Which of the layer names in `plan/adapters/lora` its LoRAs have; None where they have others."""
    reads_lokr: bool = False
    """Whether diffusers converts LoKrs for it."""

    negative_refusal: str | None = None
    """Why it takes no negative prompt."""
    slicing_refusal: str | None = None
    """Why diffusers' own attention slicing is not available."""
    tile_refusal: str | None = None
    """Why seamless pictures are not."""
    adapter_refusal: str | None = None
    """Why IP-Adapters are not."""
    loads_adapters: bool = True
    """False where the pipelines have loaders for LoRAs or embeddings that do not work with its parts."""
    mixing_refusal: str | None = None
    """Why different prompts of parents cannot be mixed."""
    breeding_refusal: str | None = None
    """Why neither the parents' noise nor their prompts can be mixed."""
    blending_refusal: str | None = None
    """Why a picture's latents cannot be blended in while it draws."""

    vae_class: str | None = "AutoencoderKL"
    """The class of the usual models' autoencoder, None for pixel-space models."""
    vae_scale: int = 8
    """Its pixels per latent along an edge."""
    force_upcast_vae: bool = False
    """Whether the pipelines decode in float32 if the model is in float16."""
    step_copies: float = 28.0
    """How many copies of a transformer's activations a step holds; the default is what FLUX.1's takes."""
    cross_attends: bool = False
    """Whether a transformer reads the prompt by cross-attention: its tokens do not stand among the picture's."""
    channels_last: bool = False
    """Whether its convolutions run faster in channels-last layout."""
