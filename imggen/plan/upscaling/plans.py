"""Larger pictures: what was asked (blanks allowed), and what is decided for the run and for each picture."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePath
from typing import Literal

from imggen.errors import ImggenError
from imggen.plan.case import ASKED
from imggen.plan.schema.change import Fit
from imggen.plan.schema.formats import ImageFormat
from imggen.plan.schema.machine import Device, Dtype, Machine
from imggen.plan.schema.marking import MarkingRequest
from imggen.plan.schema.request import IfExists, Metadata, ModelFacts, OutputPlan
from imggen.plan.sizing.targets import Sized

Engine = Literal["lanczos", "network", "diffusion"]


@dataclass(frozen=True, kw_only=True)
class UpscaleRequest(MarkingRequest):
    """A request for larger pictures: None means that nobody said.

    `files` are names as typed (`-` is standard input). `scale` is `2`, `4x` or `1.5`; `to` is `WxH`, `WIDTHx`,
    `xHEIGHT` or a name; `tile_size` is `auto` or a number of pixels. `origin` names, per field, where a value came
    from, so that the plan can say why.
    """

    files: tuple[str, ...] = ()
    scale: str | None = None
    to: str | None = None
    fit: Fit | None = None
    model: str | None = None
    prompt: str | None = None
    seed: str | None = None
    steps: int | None = None
    guidance: float | None = None
    tile_size: str | None = None
    tile_overlap: int | None = None
    frame: int | None = None
    output: str | None = None
    format: ImageFormat | None = None
    quality: int | None = None
    if_exists: IfExists | None = None
    metadata: Metadata | None = None
    device: str | None = None
    dtype: str | None = None
    offline: bool | None = None
    allow_pickle: bool | None = None
    origin: dict[str, str] = field(default_factory=dict)

    def why(self, name: str, otherwise: str) -> str:
        """Return where the value of `name` came from, `otherwise` where it was left blank."""
        return otherwise if getattr(self, name) is None else self.origin.get(name, ASKED)


@dataclass(frozen=True, kw_only=True)
class UpscaleSource:
    """A picture that shall become larger, from its header: upright size in pixels, and format where imggen writes it.

    `number` counts the run's files from 1.
    """

    number: int
    name: str
    width: int
    height: int
    format: ImageFormat | None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A picture that cannot become larger, and why."""

    number: int
    name: str
    error: ImggenError


@dataclass(frozen=True, kw_only=True)
class Enlarger:
    """What makes pictures larger, before a tensor of it is read.

    `file` is a network's file; `model` a diffusion model. Neither is there for Lanczos and for the built-in networks.
    """

    engine: Engine
    reference: str
    file: Path | None = None
    model: ModelFacts | None = None


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The machine, whether the output is a folder that exists or anything else that does, and the day in UTC."""

    machine: Machine
    folder: bool
    today: date
    taken: bool = False


@dataclass(frozen=True, kw_only=True)
class PicturePlan:
    """What is decided for one picture.

    `path` is None for standard output. `network_scale` is by how much the built-in network or the diffusion model
    enlarges at a time; 0 where none draws, or only a file of weights can tell.
    """

    source: UpscaleSource
    size: Sized
    output: OutputPlan
    path: PurePath | None
    network_scale: int


@dataclass(frozen=True, kw_only=True)
class UpscalePlan:
    """What is decided for the run, and for each of its pictures.

    `tile` is a tile's edge in pixels of the small picture, 0 for the whole picture at once. None stands where only the
    network can tell, once it is loaded: `tile` as large as pays and fits into memory, `tile_overlap` as far as it
    looks, `dtype` the fastest that is exact. `prompt`, `seed`, `steps` and `guidance` are a diffusion model's, and None
    for the others.
    """

    enlarger: Enlarger
    pictures: tuple[PicturePlan, ...]
    refused: tuple[Refused, ...]
    device: Device
    dtype: Dtype | None
    tile: int | None
    tile_overlap: int | None
    fit: Fit | None = None
    frame: int | None = None
    prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    allow_pickle: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
