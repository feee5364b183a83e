"""Training recipes: TOML -> a plan without blanks."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, get_args

from imggen.errors import RequestError
from imggen.plan.schema import strict, toml
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.strict import KeyPath, Limit
from imggen.plan.settings import preset

Kernel = Literal["box", "bilinear", "hamming", "bicubic", "lanczos"]
Optimizer = Literal["adamw", "muon"]
Precision = Literal["bf16", "no"]

SCHEMA = 1
KERNELS: Final[tuple[Kernel, ...]] = get_args(Kernel)
"""What pictures may be made small with: Pillow's resampling filters."""
FREE = ("pictures", "cooldown", "checkpoint_every", "sample_every")
"""What of a stage may change while it is continued: how long it takes and how often it is saved."""

_COUNT: Final = Limit(least=1)
_AMOUNT: Final = Limit(least=0)
_SHARE: Final = Limit(least=0, most=1)
_LIMITS: Final[Mapping[str, Limit]] = {
    **dict.fromkeys(("pictures", "batch_size", "checkpoint_every", "sample_every"), _COUNT),
    **dict.fromkeys(("features", "convolutions", "heads", "head_width", "layers", "channels"), _COUNT),
    **dict.fromkeys(("warmup", "weight_decay", "blur", "cached_pictures"), _AMOUNT),
    **dict.fromkeys(("cooldown", "ema", "caption_dropout", "clean", "decoded"), _SHARE),
    "learning_rate": Limit(above=0),
    "max_tokens": Limit(least=3),
    "quality": Limit(least=1, most=100),
    "scale": Limit(least=2, most=4),
}


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
    optimizer: Optimizer
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

    stages: ClassVar[tuple[str, ...]] = ("autoencoder", "diffusion")
    schema: int
    name: str
    seed: int
    precision: Precision
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
        later = ("text_encoder", "unet", "diffusion_training") if stage == "autoencoder" else ()
        return _fingerprint(self, "name", "defaults", *later)


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
    """How pictures are worn: `clean` is the share that is only shrunk; `quality` is the lowest and the highest.

    `decoded` is the share that the built-in model's autoencoder encoded and decoded instead: what it leaves is what
    generated pictures look like.
    """

    kernels: tuple[Kernel, ...]
    clean: float
    blur: float
    quality: tuple[int, int]
    decoded: float


@dataclass(frozen=True, kw_only=True)
class UpscalerTrainPlan:
    """A training run for an upscaler."""

    stages: ClassVar[tuple[str, ...]] = ("upscaler",)
    schema: int
    name: str
    seed: int
    precision: Precision
    data: CropPlan
    upscaler: UpscalerPlan
    degradation: DegradationPlan
    training: StagePlan

    def fingerprint(self, stage: str) -> str:  # noqa: ARG002 - there is one
        """Return the hash of all that must not change between two lines that continue the same run."""
        return _fingerprint(self, "name")


Plan = TrainPlan | UpscalerTrainPlan


def _fingerprint(plan: Plan, *left_out: str) -> str:
    values = {name: value for name, value in asdict(plan).items() if name not in left_out}
    for table in (value for name, value in values.items() if name.endswith("training")):
        for free in FREE:
            del table[free]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
    message = f"there is no training recipe {reference!r}"
    hint = f"imggen train {guess[0] if guess else min(known)} --run DIR, or a path to a {preset.SUFFIX} file"
    raise RequestError(message, hint=hint)


def read(path: Path) -> Plan:
    """Return the plan that a recipe file holds; raise RequestError where the file is wrong, naming the key.

    A recipe with a table `[upscaler]` trains an upscaler, any other one a diffusion model.
    """
    values = toml.read(path)
    place = KeyPath(subject=str(path), limits=_LIMITS)
    strict.check_schema(values, place, SCHEMA)
    if "upscaler" in values:
        upscaler = strict.build(UpscalerTrainPlan, values, place)
        _check_upscaler(upscaler, place)
        return upscaler
    plan = strict.build(TrainPlan, values, place)
    _check_networks(plan, place)
    _check_unused(plan.autoencoder_training, place.member("autoencoder_training"))
    if plan.diffusion_training.cached_pictures < 1:
        raise RequestError(f"{place.member('diffusion_training').member('cached_pictures')} must be above 0")
    return plan


def _check_upscaler(plan: UpscalerTrainPlan, place: KeyPath) -> None:
    """Raise RequestError where values that fit by themselves do not fit each other."""
    _check_unused(plan.training, place.member("training"))
    crop, scale = plan.data.crop, plan.upscaler.scale
    if not plan.data.sizes or not 0 < crop <= min(plan.data.sizes) or crop % scale:
        wanted = f"it must be a multiple of the scale {scale}, and at most the least of data.sizes"
        raise RequestError(f"{place.member('data').member('crop')} is {crop}; {wanted}")
    degradation, within = plan.degradation, place.member("degradation")
    if not degradation.kernels:
        raise RequestError(f"{within.member('kernels')} is empty", hint=f"one or more of: {', '.join(KERNELS)}")
    if degradation.quality[0] > degradation.quality[1]:
        raise RequestError(f"{within.member('quality')} is {list(degradation.quality)}: the lowest comes first")


def _check_unused(stage: StagePlan, place: KeyPath) -> None:
    for name in ("cached_pictures", "caption_dropout"):
        if getattr(stage, name):
            raise RequestError(f"{place.member(name)} is for the training of a diffusion model", hint="leave it out")


def _check_networks(plan: TrainPlan, place: KeyPath) -> None:
    """Raise RequestError where the networks cannot be built, or do not fit each other."""
    stages = len(plan.autoencoder.encoder_blocks)
    if not stages or len(plan.autoencoder.decoder_blocks) != stages:
        raise RequestError(f"{place}: encoder_blocks and decoder_blocks are empty or differ in length")
    channels, heads, group = plan.unet.channels, plan.unet.head_width, 32
    if not channels or len(plan.unet.cross_attention) != len(channels):
        raise RequestError(f"{place}: unet.cross_attention and unet.channels are empty or differ in length")
    edge = 2 ** (stages - 1) * 2 ** (len(channels) - 1)
    if plan.data.size < edge or plan.data.size % edge:
        raise RequestError(f"{place.member('data').member('size')} is {plan.data.size}, not a multiple of {edge}")
    misfit = next((width for width in channels if width % group or width % heads), None)
    if misfit is not None:
        where = place.member("unet").member("channels")
        raise RequestError(f"{where} holds {misfit}, not a multiple of {group} and of head_width {heads}")
    text = plan.text_encoder
    if text.width < 1 or text.width % text.heads:
        where = place.member("text_encoder").member("width")
        raise RequestError(f"{where} is {text.width}, not a multiple of its heads, {text.heads}")
