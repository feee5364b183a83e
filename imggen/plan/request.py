"""What was asked (blanks allowed) and what was decided (no blanks)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imggen.plan.adapter import AdapterFacts
from imggen.plan.change import Axes, Change, Fit
from imggen.plan.given import Given
from imggen.plan.machine import Device, Dtype
from imggen.plan.marking import MarkingPlan, MarkingRequest

AttentionSlicing = Literal["auto", "on", "off"]
Offload = Literal["auto", "none", "model", "sequential"]
VaeTiling = Literal["auto", "on", "off"]
Quantize = Literal["none", "int8", "fp8", "nf4"]
Metadata = Literal["full", "minimal", "none"]
IfExists = Literal["auto", "overwrite", "number", "skip", "error"]
ImageFormat = Literal["png", "jpeg", "webp", "avif", "tiff"]
Source = Literal["builtin", "folder", "hub"]
Task = Literal["text-to-image", "image-to-image", "inpaint", "outpaint", "blend", "style"]


@dataclass(frozen=True, kw_only=True)
class GenerateRequest(MarkingRequest):
    """A request for pictures: None means that nobody said.

    `seed` is the text as typed (`42`, `1,2`, `1-4`, `random`); `size` is `WxH` or a name; `aspect` is `W:H`.
    `vae_tile` is the tile's edge in pixels that a recipe records (0 = whole); nobody types it.
    `images` are the pictures that the task starts from, as typed (`-` is standard input); the fields after it say how,
    each under the name of its option. `tile` names the axes along which the picture shall repeat without a seam.
    `from_file` is the picture whose recipe fills the blanks (`--from`); the task reads it before it resolves.
    `origin` names, per field, where a value came from (`command line`, `environment`, `preset icon`, `config`),
    so that the plan can say why.
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
    lora: tuple[str, ...] | None = None
    embedding: tuple[str, ...] | None = None
    vae: str | None = None
    control: tuple[str, ...] | None = None
    preprocess: bool | None = None
    wildcards: str | None = None
    base: str | None = None
    quantize: Quantize | None = None
    origin: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model before its weights are read: all of it comes from small JSON files and headers.

    `reference` is what the user wrote, without the revision; `folder` holds `model_index.json`;
    `pipeline` is the class named there, `options` what its constructor is told besides; `components` maps a component
    to its (library, class); `configs` maps a component to its parsed JSON config; `weight_bytes` is the size of its
    weight files;
    `stored_dtypes` is the dtype that most of those bytes are stored in, from the files' headers;
    `record` is the model's own `imggen.json` (vocabulary, native size, defaults), empty for other models.
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
    pickles: tuple[str, ...] = ()
    record: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Lever:
    """One thing done to memory, speed or precision, its value and why."""

    name: str
    value: str
    reason: str


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
    `pipeline` is the diffusers class that runs. `width` and `height` are the picture's; `canvas` is what the pipeline
    computes (width, height), larger where the picture's own edges are not multiples that the model can make. `given`
    are the pictures that it starts from, `weights` the parents' shares in their order, `change` what is done to them;
    `adapters` are added to the model in their order, each checked against it;
    `tile` names the axes along which the picture shall repeat without a seam.
    """

    task: Task
    pipeline: str
    model: ModelFacts
    family: str
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
    offload: Literal["none", "model", "sequential"]
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
    change: Change | None = None
    tile: Axes | None = None
