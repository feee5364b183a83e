"""Training recipes: TOML -> a plan without blanks."""

import dataclasses
import difflib
import hashlib
import json
import math
import os
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from imggen.errors import RequestError
from imggen.plan.schema.nearest import nearest
from imggen.plan.settings import preset

SCHEMA = 1
KERNELS = ("box", "bilinear", "hamming", "bicubic", "lanczos")
"""What pictures may be made small with: Pillow's resampling filters."""
FREE = ("pictures", "cooldown", "checkpoint_every", "sample_every")
"""What of a stage may change while it is continued: how long it takes and how often it is saved."""


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """Which pictures: the drawn set of this seed, at this edge in pixels."""

    seed: int
    size: int


@dataclass(frozen=True, kw_only=True)
class AutoencoderPlan:
    """An AutoencoderTiny: blocks per stage from full resolution down (encoder) and from the latents up (decoder).

    `latent_noise` is the standard deviation of the noise that the decoder learns to ignore.
    """

    channels: int
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    latent_channels: int
    latent_noise: float


@dataclass(frozen=True, kw_only=True)
class TextEncoderPlan:
    """A small CLIP text model, trained along with the denoiser."""

    width: int
    layers: int
    heads: int
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class UnetPlan:
    """A UNet2DConditionModel; `cross_attention` says per stage whether it reads the words."""

    channels: tuple[int, ...]
    layers: int
    cross_attention: tuple[bool, ...]
    head_width: int


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """How one stage trains. Amounts are counted in pictures seen.

    `cooldown` is the last fraction of the pictures, over which the learning rate falls linearly to zero;
    `cached_pictures` is how many pictures are encoded beforehand and seen again and again; the autoencoder has none.
    """

    pictures: int
    batch_size: int
    learning_rate: float
    optimizer: str
    weight_decay: float
    warmup: int
    cooldown: float
    ema: float
    checkpoint_every: int
    sample_every: int
    cached_pictures: int = 0
    caption_dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DefaultsPlan:
    """What `generate` does with the finished model when nobody says."""

    steps: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """A whole training run: an autoencoder, then a text-conditional latent diffusion model."""

    schema: int
    name: str
    seed: int
    precision: str
    data: DataPlan
    autoencoder: AutoencoderPlan
    autoencoder_training: StagePlan
    text_encoder: TextEncoderPlan
    unet: UnetPlan
    diffusion_training: StagePlan
    defaults: DefaultsPlan

    def fingerprint(self, stage: str) -> str:
        """Return the hash of all that must not change between two lines that continue the same stage of a run.

        How long to train and how often to save may change; what is trained, on what and how, may not. The autoencoder
        does not depend on what comes after it.
        """
        values = asdict(self)
        for name in ("name", "defaults"):
            del values[name]
        if stage == "autoencoder":
            for name in ("text_encoder", "unet", "diffusion_training"):
                del values[name]
        for table in (value for name, value in values.items() if name.endswith("_training")):
            for free in FREE:
                del table[free]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of what is trained, in order."""
        return ("autoencoder", "diffusion")


@dataclass(frozen=True, kw_only=True)
class CropPlan:
    """Which pictures: squares of `crop` pixels out of the drawn set of this seed, drawn at one of `sizes`."""

    seed: int
    sizes: tuple[int, ...]
    crop: int


@dataclass(frozen=True, kw_only=True)
class UpscalerPlan:
    """A compact network: `convolutions` of them between the first and the last, at `features` channels."""

    features: int
    convolutions: int
    scale: int


@dataclass(frozen=True, kw_only=True)
class DegradationPlan:
    """How pictures are worn: see `data.degradation.Ranges`; `quality` is the lowest and the highest.

    `decoded` is the share that the built-in model's autoencoder encoded and decoded instead: what it leaves is what
    generated pictures look like.
    """

    kernels: tuple[str, ...]
    clean: float
    blur: float
    quality: tuple[int, ...]
    decoded: float


@dataclass(frozen=True, kw_only=True)
class UpscalerTrainPlan:
    """A training run for a network that enlarges."""

    schema: int
    name: str
    seed: int
    precision: str
    data: CropPlan
    upscaler: UpscalerPlan
    degradation: DegradationPlan
    training: StagePlan

    def fingerprint(self, stage: str) -> str:  # noqa: ARG002 - there is one
        """Return the hash of all that must not change between two lines that continue the same run."""
        values = asdict(self)
        del values["name"]
        for free in FREE:
            del values["training"][free]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of what is trained, in order."""
        return ("upscaler",)


Plan = TrainPlan | UpscalerTrainPlan


def shipped() -> dict[str, Path]:
    """Return the recipes that come with imggen, by name."""
    return {path.stem: path for path in (preset.shipped() / "train").glob(f"*{preset.SUFFIX}")}


def find(reference: str) -> Path:
    """Return the recipe file that `reference` names: a path, else the name of one that comes with imggen.

    Raise RequestError for a name that neither has.
    """
    known = shipped()
    path = Path(os.path.expanduser(reference))  # noqa: PTH111 - Path.expanduser() raises for ~nobody
    if path.suffix == preset.SUFFIX or len(path.parts) != 1 or path.exists():
        return path
    if reference in known:
        return known[reference]
    guess = nearest(reference, known)
    raise RequestError(
        f"there is no training recipe {reference!r}",
        hint=f"imggen train {guess[0] if guess else min(known)} --run DIR, or a path to a {preset.SUFFIX} file",
    )


def read(path: Path) -> Plan:
    """Return the plan that a recipe file holds; raise RequestError where the file is wrong, naming the key.

    A recipe with a table `[upscaler]` trains a network that enlarges, any other one a diffusion model.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"cannot read the training recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is not a training recipe in TOML: {error}") from error
    kind: type[Plan] = UpscalerTrainPlan if "upscaler" in values else TrainPlan
    plan: Plan = _build(kind, values, where=str(path))
    _check_run(plan, path)
    if isinstance(plan, UpscalerTrainPlan):
        _check_upscaler(plan, str(path))
    else:
        _check(plan, path)
    return plan


def _build(kind: type, values: dict[str, Any], *, where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise RequestError(
                f"{where}: unknown key {key!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}",
            )
    hints = get_type_hints(kind)
    arguments = {}
    for name, each in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], where=f"{where}: {name}")
        elif each.default is dataclasses.MISSING:
            raise RequestError(f"{where}: the key {name!r} is missing")
    return kind(**arguments)


def _convert(kind: Any, value: Any, *, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise RequestError(f"{where} is {value!r}, but must be a table")
        return _build(kind, value, where=where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise RequestError(f"{where} is {value!r}, but must be a list")
        return tuple(_convert(get_args(kind)[0], each, where=where) for each in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is float and not math.isfinite(value if isinstance(value, float) else 0.0):
        raise RequestError(f"{where} is {value!r}, but must be a finite number")
    if type(value) is kind:
        return value
    raise RequestError(f"{where} is {value!r}, but must be of type {kind.__name__}")


def _check_run(plan: Plan, path: Path) -> None:
    if plan.schema != SCHEMA:
        raise RequestError(f"{path}: schema {plan.schema} is unknown", hint=f"this version reads schema {SCHEMA}")
    if plan.precision not in ("bf16", "no"):
        raise RequestError(f"{path}: precision {plan.precision!r} is unknown", hint="use 'bf16' or 'no'")


def _check_upscaler(plan: UpscalerTrainPlan, where: str) -> None:
    _check_stage(plan.training, f"{where}: training")
    if plan.training.cached_pictures or plan.training.caption_dropout:
        raise RequestError(f"{where}: training of an upscaler has neither cached_pictures nor caption_dropout")
    shape = plan.upscaler
    if shape.features < 1 or shape.convolutions < 1 or not 2 <= shape.scale <= 4:
        raise RequestError(f"{where}: upscaler needs features and convolutions above 0, and a scale from 2 to 4")
    if not plan.data.sizes or not 0 < plan.data.crop <= min(plan.data.sizes) or plan.data.crop % shape.scale:
        raise RequestError(
            f"{where}: data.crop {plan.data.crop} must be a multiple of the scale {shape.scale}, and at most the least "
            "of data.sizes"
        )
    _check_degradation(plan.degradation, f"{where}: degradation")


def _check_degradation(plan: DegradationPlan, where: str) -> None:
    strange = [kernel for kernel in plan.kernels if kernel not in KERNELS]
    if strange or not plan.kernels:
        raise RequestError(
            f"{where}.kernels holds {strange[0]!r}" if strange else f"{where}.kernels is empty",
            hint=f"one or more of: {', '.join(KERNELS)}",
        )
    if not 0 <= plan.clean <= 1 or not 0 <= plan.decoded <= 1 or plan.blur < 0:
        raise RequestError(
            f"{where}: clean ({plan.clean}) and decoded ({plan.decoded}) must be from 0 to 1, blur ({plan.blur}) not "
            "below 0"
        )
    if len(plan.quality) != 2 or not 1 <= plan.quality[0] <= plan.quality[1] <= 100:
        raise RequestError(f"{where}.quality is {list(plan.quality)}, but must be the lowest and the highest, 1 to 100")


def _check(plan: TrainPlan, path: Path) -> None:
    _check_networks(plan, str(path))
    for name, stage in (("autoencoder", plan.autoencoder_training), ("diffusion", plan.diffusion_training)):
        _check_stage(stage, f"{path}: {name}_training")
    if plan.autoencoder_training.cached_pictures or plan.autoencoder_training.caption_dropout:
        raise RequestError(f"{path}: autoencoder_training has neither cached_pictures nor caption_dropout")
    if plan.diffusion_training.cached_pictures < 1:
        raise RequestError(f"{path}: diffusion_training.cached_pictures must be above 0")


def _check_networks(plan: TrainPlan, where: str) -> None:
    stages = len(plan.autoencoder.encoder_blocks)
    if not stages or len(plan.autoencoder.decoder_blocks) != stages:
        raise RequestError(f"{where}: encoder_blocks and decoder_blocks are empty or differ in length")
    if not plan.unet.channels or len(plan.unet.cross_attention) != len(plan.unet.channels):
        raise RequestError(f"{where}: unet.cross_attention and unet.channels are empty or differ in length")
    edge = 2 ** (stages - 1) * 2 ** (len(plan.unet.channels) - 1)
    if plan.data.size < edge or plan.data.size % edge:
        raise RequestError(f"{where}: data.size {plan.data.size} is not a multiple of {edge}")
    heads, group = plan.unet.head_width, 32
    for channels in plan.unet.channels:
        if heads < 1 or channels < 1 or channels % group or channels % heads:
            raise RequestError(
                f"{where}: unet.channels holds {channels}, which is no multiple of {group} and of head_width {heads}"
            )
    text = plan.text_encoder
    if text.heads < 1 or text.width % text.heads or text.max_tokens < 3 or text.layers < 1:
        raise RequestError(
            f"{where}: text_encoder needs a layer, at least 3 tokens, and a width ({text.width}) that is a multiple of "
            f"its heads ({text.heads})"
        )


def _check_stage(stage: StagePlan, where: str) -> None:
    if stage.optimizer not in ("adamw", "muon"):
        raise RequestError(f"{where}.optimizer {stage.optimizer!r} is unknown", hint="use 'adamw' or 'muon'")
    positive = ("pictures", "batch_size", "learning_rate", "checkpoint_every", "sample_every")
    for name in positive:
        if getattr(stage, name) <= 0:
            raise RequestError(f"{where}.{name} is {getattr(stage, name)}, but must be above 0")
    if stage.warmup < 0 or stage.weight_decay < 0:
        raise RequestError(
            f"{where}: warmup ({stage.warmup}) and weight_decay ({stage.weight_decay}) cannot be below 0"
        )
    for name in ("cooldown", "ema", "caption_dropout"):
        if not 0 <= getattr(stage, name) <= 1:
            raise RequestError(f"{where}.{name} is {getattr(stage, name)}, but must be from 0 to 1")
