"""What was asked (blanks allowed) and what was decided (no blanks)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.change import Axes, Change, Fit
from imggen.plan.schema.family import Family
from imggen.plan.schema.formats import ImageFormat
from imggen.plan.schema.given import Given
from imggen.plan.schema.machine import Device, Dtype
from imggen.plan.schema.marking import MarkingPlan, MarkingRequest
from imggen.plan.schema.prompt import Reading, Syntax
from imggen.plan.schema.tasks import Task

AttentionSlicing = Literal["auto", "on", "off"]
Offloaded = Literal["none", "model", "group", "disk", "sequential"]
"""Where the parts of a model rest: on the device; in main memory, as whole parts or as layers; or on the disk."""
Offload = Literal["auto", "none", "model", "group", "disk", "sequential"]
VaeTiling = Literal["auto", "on", "off"]
Quantize = Literal["none", "int8", "fp8", "nf4"]
Metadata = Literal["full", "minimal", "none"]
IfExists = Literal["auto", "overwrite", "number", "skip", "error"]
Source = Literal["builtin", "folder", "hub", "file"]
PRIOR: Final = "prior_"
"""What stands before the names of a prior's parts where they are among those of its decoder."""


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(MarkingRequest):
    """A request for pictures: None means that nobody said.

    `seed` is the text as typed (`42`, `1,2`, `1-4`, `random`); `size` is `WxH` or a name; `aspect` is `W:H`.
    `vae_tile` is the tile's edge in pixels that a recipe records (0 = whole); nobody types it.
    `images` are the pictures that the task starts from, as typed (`-` is standard input); the fields after it say how,
    each under the name of its option. `tile` names the axes along which the picture shall repeat without a seam.
    `from_file` is the picture whose recipe fills the blanks (`--from`); the task reads it before it resolves.
    `preprocessors` says what a recipe's control pictures were made by, in their order; nobody types it.
    `reading` names, per text that came from a recipe, how its words are read, in place of `prompt_syntax`.
    `origin` names, per field, where a value came from (`command line`, `preset icon`, ...), so the plan can say why.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    model: str | None = None
    width: int | None = None
    height: int | None = None
    size: str | None = None
    aspect: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: str | None = None
    num_images: int | None = None
    sampler: str | None = None
    output: str | None = None
    format: ImageFormat | None = None
    quality: int | None = None
    if_exists: IfExists | None = None
    metadata: Metadata | None = None
    device: str | None = None
    dtype: str | None = None
    attention_slicing: AttentionSlicing | None = None
    offload: Offload | None = None
    vae_tiling: VaeTiling | None = None
    vae_tile: int | None = None
    offline: bool | None = None
    allow_pickle: bool | None = None
    from_file: str | None = None
    tile: Axes | None = None
    task: Task = "text-to-image"
    images: tuple[str, ...] = ()
    frame: int | None = None
    fit: Fit | None = None
    strength: float | None = None
    image_guidance: float | None = None
    mask: str | None = None
    mask_box: str | None = None
    invert_mask: bool | None = None
    feather: int | None = None
    paste: bool | None = None
    pad: str | None = None
    weights: str | None = None
    mutate: float | None = None
    like: str | None = None
    ip_adapter: str | None = None
    ip_adapter_weights: str | None = None
    ip_adapter_encoder: str | None = None
    lora: tuple[str, ...] | None = None
    embedding: tuple[str, ...] | None = None
    vae: str | None = None
    control: tuple[str, ...] | None = None
    preprocess: bool | None = None
    depth_weights: str | None = None
    preprocessors: tuple[str | None, ...] | None = None
    wildcards: str | None = None
    prompt_syntax: Syntax | None = None
    reading: dict[str, Reading] = field(default_factory=dict)
    base: str | None = None
    quantize: Quantize | None = None
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model before its weights are read: all of it comes from small JSON files and headers.

    `reference` is what the user wrote, without the revision; `folder` holds `model_index.json`; `pipeline` is the class
    named there, `options` what its constructor is told besides; `components` maps a component to its (library, class);
    `configs` maps it to its parsed JSON config; `weight_bytes` is the size of its weight files; `stored_dtypes` is the
    dtype that most of those bytes are stored in, and `shapes` maps a component to the shapes of its tensors by their
    names, both from the files' headers; `record` is the model's own `imggen.json`, empty for other models.
    `eight_bits` are the components that are stored in fp8 and widened when they are read, `quantised` maps those that
    stay as they are stored to how that is called (`Q4_K`). `single` is the file that a model comes from, with what it
    lacks; its `folder` is then that of the base, and its `weight_bytes` are those of the two.
    `prior` is the model whose parts stand among the others with `prior_` before their names, and lie in its own folder;
    None where all parts lie in one.
    """

    reference: str
    source: Source
    folder: Path
    pipeline: str
    revision: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    components: dict[str, tuple[str, str]] = field(default_factory=dict)
    configs: dict[str, dict[str, object]] = field(default_factory=dict)
    weight_bytes: dict[str, int] = field(default_factory=dict)
    stored_dtypes: dict[str, Dtype] = field(default_factory=dict)
    shapes: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict, repr=False)
    pickles: tuple[str, ...] = ()
    record: dict[str, object] = field(default_factory=dict)
    eight_bits: tuple[str, ...] = ()
    quantised: dict[str, str] = field(default_factory=dict)
    single: "SingleFile | None" = None
    prior: "ModelFacts | None" = None

    @property
    def base(self) -> "ModelFacts | None":
        """Return the model that completes this one: that of a single file, or a decoder's prior; None for a whole."""
        return self.single.base if self.single else self.prior

    def place(self, component: str) -> Path:
        """Return the folder of a component, whichever of the two models it comes from."""
        holder = self.holder(component)
        return holder.folder / (component if holder is self else component.removeprefix(PRIOR))

    def holder(self, component: str) -> "ModelFacts":
        """Return the model that a component comes from: this one, or a decoder's prior."""
        return self.prior if self.prior is not None and component.startswith(PRIOR) else self


@dataclass(frozen=True, kw_only=True)
class SingleFile:
    """A file that holds weights of a model: what it is, and the names of its tensors by component.

    All else comes from `base`, of which `weight_bytes` names only the components whose weights are used.
    """

    path: Path
    kind: str
    parts: dict[str, tuple[str, ...]]
    base: ModelFacts


@dataclass(frozen=True, kw_only=True)
class Lever:
    """One thing done to memory, speed or precision, its value and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """What a plan is estimated to take, with its levers pulled, in bytes, where it computes.

    `weights_bytes` are all of the model's; `private_bytes` those of them that do not stay mapped from their file.
    `peak_bytes` is the most that is held at a time, `free_bytes` what is free now.
    """

    weights_bytes: int
    private_bytes: int
    denoising_bytes: int
    decoding_bytes: int
    peak_bytes: int
    free_bytes: int


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """A diffusers scheduler: its class, and what changes in the config that the model came with."""

    class_name: str
    arguments: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OutputPlan:
    """Where pictures go, and what marks they carry. `template` is `-` for standard output."""

    template: str
    format: ImageFormat
    quality: int
    if_exists: IfExists
    metadata: Metadata
    marking: MarkingPlan = field(default_factory=MarkingPlan)


@dataclass(frozen=True, kw_only=True)
class GeneratePlan:
    """A decision without blanks: everything that making the pictures needs to know.

    `seeds` lists one seed per picture. `arguments` are exactly the keyword arguments of the pipeline's call that
    carry the request (prompt, height, num_inference_steps, ...), already checked against its signature; the sampler
    adds the generator. `scheduler` None is the model's own; `initial` are keyword arguments for loading the pipeline.
    `reasons` says per field why it has its value. `attention_chunk_bytes` is 0 when attention is left alone.
    `vae_tile` is the tile's edge in pixels, 0 when the picture is decoded whole.
    `prompt` and `negative_prompt` are those of the first picture; where the pictures' differ, `prompts` and
    `negative_prompts` have one each, else they are empty. `reading` says how their words are read; `template` and
    `negative_template` are what was typed, where something else came out of it.
    `pipeline` is the diffusers class that runs. `width` and `height` are the picture's; `canvas` is what the pipeline
    computes (width, height), larger where the picture's own edges are not multiples that the model can make. `given`
    are the pictures that it starts from, `weights` the parents' shares in their order, `change` what is done to them;
    `adapters` are added to the model in their order, each checked against it; `quantize` is how the denoiser's weights
    are stored, `memory` what all of it is estimated to take;
    `control_argument` is the call's argument for control pictures, None where there are none; `picture_arguments` are
    those for the picture that is repainted and its mask, () for what the family's own pipelines call them;
    `tile` names the axes along which the picture shall repeat without a seam.
    """

    task: Task
    pipeline: str
    model: ModelFacts
    family: Family
    prompt: str
    negative_prompt: str
    width: int
    height: int
    canvas: tuple[int, int]
    steps: int
    guidance: float
    seeds: tuple[int, ...]
    sampler: str
    device: Device
    dtype: Dtype
    component_dtypes: dict[str, Dtype]
    attention_slicing: Literal["chunked", "diffusers", "off"]
    attention_chunk_bytes: int
    offload: Offloaded
    vae_slicing: bool
    vae_tile: int
    channels_last: bool
    allow_pickle: bool
    arguments: dict[str, object]
    levers: tuple[Lever, ...]
    output: OutputPlan
    scheduler: Scheduler | None = None
    initial: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()
    weights: tuple[float, ...] = ()
    adapters: tuple[AdapterFacts, ...] = ()
    quantize: Quantize = "none"
    memory: MemoryNeed | None = None
    change: Change | None = None
    control_argument: str | None = None
    picture_arguments: tuple[str, ...] = ()
    tile: Axes | None = None
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()
    reading: Reading = "cut"
    template: str = ""
    negative_template: str = ""

    def words(self, seed: int) -> tuple[str, str]:
        """Return the prompt and the negative prompt of the picture of `seed`."""
        number = self.seeds.index(seed) if self.prompts or self.negative_prompts else 0
        return (
            self.prompts[number] if self.prompts else self.prompt,
            self.negative_prompts[number] if self.negative_prompts else self.negative_prompt,
        )
