"""How many bytes a picture takes, by what takes them, before anything is loaded.

The numbers of copies below were fitted to what `tests/benchmarks/memory.py` measured on a CPU; docs/memory.md has the
table. On a GPU the same counts stand for the same tensors, and nobody has measured there yet.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imggen.plan.memory.dtypes import BYTES
from imggen.plan.models import autoencoders, catalog
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.family import AUTOENCODERS, Family
from imggen.plan.schema.machine import Device, Dtype, Machine
from imggen.plan.schema.request import PRIOR, ModelFacts, Quantize

GIB: Final = 2**30
MIB: Final = 2**20

LIBRARIES: Final = 490 * MIB
"""What Python and the libraries take by themselves once they are imported."""

READING: Final = 180 * MIB
"""What a large text encoder leaves behind in buffers of the processor's library, once a prompt was read."""

# The share of a denoiser's weights in linear layers, the only ones that int8 and nf4 store smaller. The rest of a U-Net
# are convolutions: 31 % of Stable Diffusion 1.5 is linear, 87 % of SDXL, which says so (`use_linear_projection`).
_LINEAR: Final = 0.98
_LINEAR_OF_UNETS: Final[dict[bool, float]] = {False: 0.31, True: 0.87}
# Bytes per number: nf4 keeps one scale in float32 per 64 of them.
_QUANTIZED: Final[dict[Quantize, float]] = {"int8": 1.0, "fp8": 1.0, "nf4": 0.5 + 4 / 64}
# The share of a U-Net's, and of an autoencoder's, weights that a change to channels-last copies: the convolutions of
# more than one pixel.
_CONVOLUTIONS: Final[dict[bool, float]] = {False: 0.63, True: 0.125}
# What is held besides while half-precision weights are widened to float32, as a share of the largest component.
_WIDENING: Final = 0.4
# The largest layer that group offload moves at a time, as a share of its component: an embedding of words, or the
# widest of some fifty blocks.
_LAYER: Final = 1 / 32

# All of these are numbers of copies, of the activations that the widest layer reads, at the precision of the run.
# An AutoencoderKL's, per pixel and channel of its last level; less where convolutions are turned to channels-last.
_DECODE_COPIES: Final[dict[bool, float]] = {False: 9.8, True: 6.9}
# A U-Net's, per latent and channel of its first level, by whether that level has attention.
_UNET_COPIES: Final[dict[bool, float]] = {False: 34.5, True: 48.8}
# That of Stable Cascade's decoder, per position and channel of its first level, and what there is whatever the size:
# measured at 512 and 768 pixels, without most blocks of its coarser levels. The prior, a tenth as fine, takes less.
_CASCADE_COPIES: Final = (14.5, 160 * MIB)
# Whatever the size: copies of the widest convolutions' weights, which the processor's library puts in an order of its
# own, and what the C library holds back.
_UNET_LEAST: Final = 145 * MIB
_UNET_SCRATCH: Final = 45 * MIB
_DECODE_SCRATCH: Final = 100 * MIB
# The same where convolutions are turned, by whether the U-Net has many layers of attention per level, as SDXL's has:
# then more of it stays behind.
_TURNED_SCRATCH: Final[dict[bool, int]] = {False: 120 * MIB, True: 375 * MIB}
# In main memory what one tile leaves behind does not fit the next, which may be a smaller one at the border.
_TILES_SCRATCH: Final = 250 * MIB


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made, as far as memory is concerned.

    `passes` is 2 with classifier-free guidance; `seamless` says that the picture's edges shall meet. `seen` are the
    pixels of each picture that the denoiser sees beside the one that it draws, `adapters` what is added to the model.
    `channels_last` says that convolutions are turned, which copies them.
    """

    family: Family
    facts: ModelFacts
    machine: Machine
    device: Device
    dtype: Dtype
    width: int
    height: int
    pictures: int
    passes: int
    seamless: bool = False
    seen: tuple[int, ...] = ()
    quantize: Quantize = "none"
    channels_last: bool = False
    adapters: tuple[AdapterFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Estimated bytes, by what takes them.

    `base` are the libraries and their buffers, where they share the memory with the model; `weights` are all of them,
    in the run's dtype or quantised; `largest` is the largest component's, `rest` those of the autoencoder; `layer` is
    what group offload moves at a time. `private` are the weights that do not stay mapped from their file: the kernel
    cannot drop them; `loading` is what is held beside them until all are there.
    """

    base: int
    weights: int
    largest: int
    rest: int
    layer: int
    private: int
    loading: int
    denoising: int
    decoding: int


def estimate(job: Job) -> MemoryEstimate:
    """Return what `job` needs with every lever off."""
    weights = {name: _weights(name, size, job) for name, size in job.facts.weight_bytes.items()}
    added = sum(_added(adapter, job) for adapter in job.adapters)
    largest = max(weights.values(), default=0)
    # What U-Nets listen to is CLIP, which is small.
    libraries = LIBRARIES if job.family.denoiser == "unet" else LIBRARIES + READING
    stored = job.facts.stored_dtypes
    widened = [size for name, size in weights.items() if BYTES[stored.get(name, job.dtype)] < BYTES[job.dtype]]
    return MemoryEstimate(
        base=libraries if job.device == "cpu" else 0,
        weights=sum(weights.values()) + added,
        largest=largest + added,
        rest=weights.get(catalog.autoencoder(job.facts) or "", 0),
        layer=int(largest * _LAYER),
        private=sum(_private(name, size, job) for name, size in weights.items()) + added,
        loading=int(_WIDENING * max(widened, default=0)),
        denoising=denoising(job),
        # Encoding what is seen takes no more than decoding as much.
        decoding=max(decoding(job, pixels, 1) for pixels in (job.width * job.height, *job.seen)),
    )


def text(size: int) -> str:
    """Return `size` bytes for people: `1.5 GiB`, `80 MiB`."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{-(-size // MIB)} MiB"


def _weights(component: str, size: int, job: Job) -> int:
    """Return the bytes of a component's weights as the run holds them; unknown dtypes never count as smaller."""
    if component in job.facts.quantised:
        return size
    stored = job.facts.stored_dtypes.get(component)
    numbers = size if component in job.facts.eight_bits else size // (2 if stored is None else BYTES[stored])
    if component != job.family.denoiser or job.quantize == "none":
        return numbers * BYTES[job.dtype]
    smaller = 1.0 if job.quantize == "fp8" else _linear(job)
    return int(numbers * (smaller * _QUANTIZED[job.quantize] + (1 - smaller) * BYTES[job.dtype]))


def _linear(job: Job) -> float:
    """Return the share of the denoiser's weights that are in linear layers, by its header where that is known."""
    share = _share(job, job.family.denoiser, lambda shape: len(shape) == 2)
    if share is not None:
        return share
    return _LINEAR if job.family.denoiser != "unet" else _LINEAR_OF_UNETS[_has_linear_projections(job)]


def _share(job: Job, component: str, counts: Callable[[tuple[int, ...]], bool]) -> float | None:
    shapes = job.facts.shapes.get(component)
    if not shapes:
        return None
    total = sum(math.prod(shape) for shape in shapes.values())
    return sum(math.prod(shape) for shape in shapes.values() if counts(shape)) / max(1, total)


def _has_linear_projections(job: Job) -> bool:
    return bool(job.facts.configs.get("unet", {}).get("use_linear_projection"))


def _private(component: str, size: int, job: Job) -> int:
    """Return how many of a component's bytes are copies that the kernel cannot drop and read again from the file."""
    quantized = component in job.facts.quantised or (component == job.family.denoiser and job.quantize != "none")
    if quantized or job.facts.pickles or job.facts.stored_dtypes.get(component) != job.dtype:
        return size
    if not job.channels_last or component not in ("unet", *AUTOENCODERS):
        return 0
    # Convolutions over more than one pixel.
    share = _share(job, component, lambda shape: len(shape) == 4 and shape[-1] > 1)
    if share is None:
        share = _CONVOLUTIONS[_has_linear_projections(job)] if component == "unet" else 1.0
    return int(size * share)


def _added(adapter: AdapterFacts, job: Job) -> int:
    # An autoencoder takes the place of the model's own, which is counted already, and what measures depth is gone
    # before the model comes.
    if adapter.asked.kind in ("vae", "depth"):
        return 0
    stored = adapter.stored_dtype
    return adapter.weight_bytes * BYTES[job.dtype] // (2 if stored is None else BYTES[stored])


def denoising(job: Job) -> int:
    """Return what one step of the denoiser takes beside its weights, with the scores never whole."""
    config = job.facts.configs.get(job.family.denoiser, {})
    if job.family.denoiser == "unet":
        rows, columns = _latents(job)
        values = rows * columns * _first(config.get("block_out_channels"), 320) * job.passes
        copies = _UNET_COPIES[_first_attention(config) == 0]
        return max(_UNET_LEAST, int(values * BYTES[job.dtype] * copies) + _UNET_SCRATCH)
    if job.family.denoiser == f"{PRIOR}prior":
        return _cascade(job)
    heads = _whole(config.get("num_attention_heads"), 24) * _whole(config.get("attention_head_dim"), 128)
    hidden = _whole(config.get("hidden_size"), heads)
    values = _tokens(job) * hidden * job.passes
    return int(values * BYTES[job.dtype] * job.family.step_copies) + _context(job, hidden)


def _cascade(job: Job) -> int:
    config = job.facts.configs.get("decoder", {})
    rows, columns = (edge // _whole(config.get("patch_size"), 2) for edge in _latents(job))
    values = rows * columns * _first(config.get("block_out_channels") or config.get("c_hidden"), 320)
    return int(values * BYTES[job.dtype] * _CASCADE_COPIES[0]) + _CASCADE_COPIES[1]


def _context(job: Job, hidden: int) -> int:
    """Return what a denoiser keeps, layer by layer, of all the tokens but those that it draws: keys and values."""
    if not job.family.keeps_context:
        return 0
    config = job.facts.configs.get(job.family.denoiser, {})
    layers = sum(_whole(config.get(name), 0) for name in ("num_layers", "num_single_layers"))
    rows, columns = _latents(job)
    others = _tokens(job) - rows * columns // job.family.patch**2
    return 2 * layers * others * hidden * job.passes * BYTES[job.dtype]


def decoding(job: Job, width: int, height: int) -> int:
    """Return what the autoencoder takes beside its weights to decode, or to encode, so many pixels at a time.

    A model that draws pixels itself only copies them: as they are, and as numbers of four bytes for the file.
    """
    if catalog.autoencoder(job.facts) is None:
        return width * height * 3 * 2 * 4
    vae = catalog.autoencoder_config(job.facts)
    channels = _first(vae.get("block_out_channels") or vae.get("decoder_block_out_channels"), 128)
    bytes_each = 4 if job.family.force_upcast_vae and job.dtype == "float16" else BYTES[job.dtype]
    values = width * height * channels * bytes_each
    kind = autoencoders.kind(catalog.autoencoder_class(job.facts))
    if kind.decode_copies is not None:
        return int(values * kind.decode_copies) + kind.decode_mib * MIB
    is_deep = isinstance(job.facts.configs.get("unet", {}).get("transformer_layers_per_block"), list)
    scratch = _TURNED_SCRATCH[is_deep] if job.channels_last else _DECODE_SCRATCH
    return int(values * _DECODE_COPIES[job.channels_last]) + scratch


def decoding_tiled(job: Job, tile: int) -> int:
    """Return the same for a picture in tiles of an edge of `tile` pixels."""
    return decoding(job, tile, tile) + (_TILES_SCRATCH if job.device == "cpu" else 0)


def _latents(job: Job) -> tuple[int, int]:
    scale = catalog.vae_scale(job.facts)
    return max(1, job.height // scale), max(1, job.width // scale)


def _tokens(job: Job) -> int:
    """Return how many tokens a transformer sees: of the picture, of those that it looks at, and of the prompt."""
    rows, columns = _latents(job)
    others = sum(job.seen) // catalog.vae_scale(job.facts) ** 2
    words = 0 if job.family.cross_attends else job.family.max_tokens
    return (rows * columns + others) // job.family.patch**2 + words


def _first_attention(config: dict[str, object]) -> int:
    """Return the index of the first level of a U-Net that has attention."""
    blocks = config.get("down_block_types")
    names = blocks if isinstance(blocks, list) else []
    return next((index for index, name in enumerate(names) if "Attn" in str(name)), 0)


def _first(value: object, default: int) -> int:
    if isinstance(value, list):
        value = value[0] if value else default
    return _whole(value, default)


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
