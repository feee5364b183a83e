"""Memory: what a run needs, what is free, and which levers make it fit, in order of what they cost.

The order: attention in chunks (about a tenth slower, same pixels), decoding in tiles (a little slower, seams are
possible), one component at a time on the accelerator (slower), one layer at a time (very slow).
The estimates are for choosing levers, not for promising: they lean to the high side.
"""

from dataclasses import dataclass
from typing import Final, Literal

from imggen.errors import MachineError, RequestError
from imggen.plan import catalog
from imggen.plan.catalog import Family
from imggen.plan.dtypes import BYTES
from imggen.plan.machine import Device, Dtype, Machine
from imggen.plan.request import GenerateRequest, Lever, ModelFacts

GIB: Final = 2**30
MIB: Final = 2**20

TILE: Final = 512
"""The edge of a decoding tile in pixels: large enough that a tile's tone has context, small enough to matter."""

SMALL_TILE: Final = 256

_RESERVE: Final = 0.9
"""The share of free memory that a plan may use; the rest is for fragments and for what others take meanwhile."""

_METAL_CHUNK: Final = GIB
"""Metal goes wrong from 2**31 attention scores or 2**32 bytes in one buffer on (pytorch #149261); far below is safe."""

# Bytes per pixel, channel of the autoencoder's last level, and byte of precision: an AutoencoderKL with 128 channels
# was measured to take 2.47 GB for 1024x1024 pixels in bfloat16.
_DECODE_COPIES: Final = 9.2
# Copies of the first level's activations that a U-Net keeps for its way up, and that attention and its projections
# hold at the same time; and the same for a transformer block.
_UNET_COPIES: Final = 40
_TRANSFORMER_COPIES: Final = 20

_TILING_VAES: Final = ("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderTiny")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be made, as far as memory is concerned.

    `passes` is 2 with classifier-free guidance; `seamless` says that the picture's edges shall meet. `seen` are the
    pixels of each picture that the denoiser sees beside the one that it draws.
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


@dataclass(frozen=True, kw_only=True)
class Need:
    """Estimated bytes, by what takes them. `largest` is the largest component's weights."""

    weights: int
    largest: int
    denoising: int
    scores: int
    decoding: int


@dataclass(frozen=True, kw_only=True)
class Levers:
    """What is done about memory; `reasons` has one entry per lever, also for those that stay off."""

    attention_slicing: Literal["chunked", "diffusers", "off"]
    attention_chunk_bytes: int
    offload: Literal["none", "model", "sequential"]
    vae_slicing: bool
    vae_tile: int
    reasons: tuple[Lever, ...]


def choose(request: GenerateRequest, job: Job) -> Levers:
    """Return the levers for `job`: what `request` insists on, and for the rest the cheapest that fit.

    Raise RequestError for a lever that this model or device does not have, and MachineError where nothing fits.
    """
    need = estimate(job)
    free = _free(job)
    tile = _choose_tile(request, job, need, free)
    decoding = need.decoding if tile.number == 0 else _decoding(job, tile.number, tile.number)
    working = max(need.denoising, decoding)
    offload = _choose_offload(request, job, need, working, free)
    attention = _choose_attention(request, job, need, free)
    slicing = job.pictures > 1
    return Levers(
        attention_slicing=attention.mode,
        attention_chunk_bytes=attention.chunk_bytes,
        offload=offload.mode,
        vae_slicing=slicing,
        vae_tile=tile.number,
        reasons=(
            Lever(name="attention_slicing", value=attention.mode, reason=attention.reason),
            Lever(name="vae_slicing", value="on" if slicing else "off", reason=_slicing_reason(job)),
            Lever(name="vae_tiling", value=f"{tile.number} px" if tile.number else "off", reason=tile.reason),
            Lever(name="offload", value=offload.mode, reason=offload.reason),
        ),
    )


def estimate(job: Job) -> Need:
    """Return what `job` needs with every lever off."""
    weights = [_scaled(name, size, job) for name, size in job.facts.weight_bytes.items()]
    return Need(
        weights=sum(weights),
        largest=max(weights, default=0),
        denoising=_denoising(job),
        scores=_scores(job),
        # Encoding what is seen takes no more than decoding as much.
        decoding=max(_decoding(job, pixels, 1) for pixels in (job.width * job.height, *job.seen)),
    )


def text(size: int) -> str:
    """Return `size` bytes for people: `1.5 GiB`, `80 MiB`."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{-(-size // MIB)} MiB"


@dataclass(frozen=True, kw_only=True)
class _Tile:
    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Offload:
    mode: Literal["none", "model", "sequential"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Attention:
    mode: Literal["chunked", "diffusers", "off"]
    chunk_bytes: int
    reason: str


def _choose_tile(request: GenerateRequest, job: Job, need: Need, free: int) -> _Tile:
    if request.vae_tile is not None:
        return _recorded_tile(request.vae_tile, job)
    wanted = request.vae_tiling or "auto"
    if wanted == "off":
        return _Tile(number=0, reason="asked for")
    if job.seamless:
        if wanted == "on":
            raise RequestError(
                "--tile and --vae-tiling on contradict each other: tiles do not see the other edge",
                hint="leave --vae-tiling out",
            )
        return _Tile(number=0, reason="tiles would not see the other edge of a seamless picture")
    vae = job.facts.components.get("vae", ("", "no autoencoder"))[1]
    if wanted == "on":
        if vae not in _TILING_VAES:
            raise RequestError(f"--vae-tiling on: {vae} cannot decode in tiles", hint="--vae-tiling auto")
        return _Tile(number=_tile_for(job, TILE), reason="asked for")
    return _fitting_tile(job, need, free, vae)


def _fitting_tile(job: Job, need: Need, free: int, vae: str) -> _Tile:
    spare = _spare(job, need, free)
    if need.decoding <= spare:
        return _Tile(number=0, reason=f"decoding whole takes about {text(need.decoding)}, and {text(spare)} are spare")
    if vae not in _TILING_VAES:
        return _Tile(number=0, reason=f"{vae} cannot decode in tiles")
    edge = TILE if _decoding(job, TILE, TILE) <= spare else SMALL_TILE
    tile = _tile_for(job, edge)
    return _Tile(
        number=tile, reason=f"decoding whole takes about {text(need.decoding)}; {text(max(spare, 0))} are spare"
    )


def _recorded_tile(tile: int, job: Job) -> _Tile:
    scale = catalog.vae_scale(job.facts)
    if tile and (tile % scale or not 2 * scale <= tile <= job.family.max_size):
        raise RequestError(
            f"the recipe's tile of {tile} px is none that this model can decode in", hint="--vae-tiling auto"
        )
    return _Tile(number=tile, reason="as the recipe records")


def _spare(job: Job, need: Need, free: int) -> int:
    """Return the bytes that decoding may take; where parts are put off anyway, only the largest is in the way."""
    usable = int(free * _RESERVE)
    crowded = need.weights + need.denoising > usable
    return usable - (need.largest if crowded and job.device == "cuda" else need.weights)


def _tile_for(job: Job, edge: int) -> int:
    """Return a tile edge that takes effect: smaller than the picture, whole latents, at least two of them."""
    scale = catalog.vae_scale(job.facts)
    half = max(job.width, job.height) // 2 // scale * scale
    return max(min(edge, half) // scale * scale, 2 * scale)


def _choose_offload(request: GenerateRequest, job: Job, need: Need, working: int, free: int) -> _Offload:
    wanted = request.offload or "auto"
    if job.device == "cpu":
        return _without_accelerator(wanted, job, need)
    if wanted != "auto":
        return _Offload(mode=wanted, reason="asked for")
    usable = int(free * _RESERVE)
    all_of_it = need.weights + working
    if all_of_it <= usable:
        return _Offload(mode="none", reason=f"about {text(all_of_it)} are needed and {text(free)} are free")
    if job.device == "mps":
        return _Offload(
            mode="none", reason="processor and GPU share one memory, so there is nowhere to put things off to"
        )
    if need.largest + working <= usable:
        return _Offload(mode="model", reason=f"about {text(all_of_it)} are needed and {text(free)} are free")
    return _Offload(
        mode="sequential",
        reason=f"the largest part alone needs about {text(need.largest + working)}, {text(free)} are free; very slow",
    )


def _without_accelerator(wanted: str, job: Job, need: Need) -> _Offload:
    if wanted not in ("auto", "none"):
        raise RequestError(
            f"--offload {wanted} moves parts between main memory and an accelerator, and this run is on the cpu",
            hint="leave --offload out",
        )
    if need.weights > job.machine.memory_bytes:
        raise MachineError(
            f"the model needs {text(need.weights)} in {job.dtype}; this machine has {text(job.machine.memory_bytes)}",
            hint="a smaller model, or a machine with more memory",
        )
    return _Offload(mode="none", reason="everything is in main memory already")


def _choose_attention(request: GenerateRequest, job: Job, need: Need, free: int) -> _Attention:
    wanted = request.attention_slicing or "auto"
    if wanted == "off":
        return _Attention(mode="off", chunk_bytes=0, reason="asked for")
    if wanted == "on":
        _check_slicing(job)
        return _Attention(mode="diffusers", chunk_bytes=0, reason="asked for")
    if job.device == "mps":
        chunk = max(64 * MIB, min(_METAL_CHUNK, free // 8))
        return _Attention(mode="chunked", chunk_bytes=chunk, reason="Metal keeps the whole matrix of scores in memory")
    if need.scores <= free * _RESERVE:
        return _Attention(mode="off", chunk_bytes=0, reason=f"all scores at once are {text(need.scores)}, which fit")
    chunk = max(64 * MIB, free // 8)
    return _Attention(
        mode="chunked", chunk_bytes=chunk, reason=f"all scores at once are {text(need.scores)}, more than fit"
    )


def _check_slicing(job: Job) -> None:
    refusal = job.family.slicing_refusal
    if refusal:
        raise RequestError(
            f"--attention-slicing on: {job.family.title} has no attention slicing ({refusal})",
            hint="--attention-slicing auto",
        )
    if job.device == "mps" and _version(job.machine.torch) < (2, 14):
        raise RequestError(
            f"--attention-slicing on gives black pictures on Metal with torch {job.machine.torch} (diffusers #14438)",
            hint="--attention-slicing auto, which is exact and saves as much",
        )


def _version(number: str) -> tuple[int, ...]:
    parts = number.partition("+")[0].split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())


def _slicing_reason(job: Job) -> str:
    return "each picture is decoded by itself" if job.pictures > 1 else "there is one picture"


def _free(job: Job) -> int:
    gpu = job.machine.accelerator(job.device)
    return gpu.free_bytes if gpu else job.machine.free_bytes


def _scaled(component: str, size: int, job: Job) -> int:
    """Return the bytes of a component's weights in the run's dtype; weights of unknown dtype never count as smaller."""
    stored = job.facts.stored_dtypes.get(component)
    if stored is None:
        return size * BYTES[job.dtype] // 2
    return size * BYTES[job.dtype] // BYTES[stored]


def _latents(job: Job) -> tuple[int, int]:
    scale = catalog.vae_scale(job.facts)
    return max(1, job.height // scale), max(1, job.width // scale)


def _denoising(job: Job) -> int:
    config = job.facts.configs.get(job.family.denoiser, {})
    rows, columns = _latents(job)
    if job.family.denoiser == "unet":
        channels = _first(config.get("block_out_channels"), 320)
        return rows * columns * channels * BYTES[job.dtype] * job.passes * _UNET_COPIES
    tokens = _tokens(job)
    hidden = _whole(config.get("num_attention_heads"), 24) * _whole(config.get("attention_head_dim"), 128)
    return tokens * hidden * BYTES[job.dtype] * job.passes * _TRANSFORMER_COPIES


def _tokens(job: Job) -> int:
    """Return how many tokens a transformer sees: of the picture, of those that it looks at, and of the prompt."""
    rows, columns = _latents(job)
    others = sum(job.seen) // catalog.vae_scale(job.facts) ** 2
    return (rows * columns + others) // job.family.patch**2 + job.family.max_tokens


def _scores(job: Job) -> int:
    """Return the bytes of the largest matrix of attention scores in float32, were it kept whole."""
    config = job.facts.configs.get(job.family.denoiser, {})
    rows, columns = _latents(job)
    if job.family.denoiser == "unet":
        level = _first_attention(config)
        tokens = (rows >> level) * (columns >> level)
        # A U-Net's config calls the number of heads `attention_head_dim`, one for all levels or one per level.
        heads = _at(config.get("num_attention_heads") or config.get("attention_head_dim"), level, 8)
    else:
        tokens = _tokens(job)
        heads = _whole(config.get("num_attention_heads"), 24)
    return job.passes * heads * tokens * tokens * 4


def _first_attention(config: dict[str, object]) -> int:
    """Return the index of the first level of a U-Net that has attention."""
    blocks = config.get("down_block_types")
    if not isinstance(blocks, list):
        return 0
    return next((index for index, name in enumerate(blocks) if "Attn" in str(name)), 0)


def _decoding(job: Job, width: int, height: int) -> int:
    vae = job.facts.configs.get("vae", {})
    channels = _first(vae.get("block_out_channels") or vae.get("decoder_block_out_channels"), 128)
    bytes_each = 4 if job.family.force_upcast_vae and job.dtype == "float16" else BYTES[job.dtype]
    return int(width * height * channels * bytes_each * _DECODE_COPIES)


def _first(value: object, default: int) -> int:
    return _at(value, 0, default)


def _at(value: object, index: int, default: int) -> int:
    if isinstance(value, list):
        return _whole(value[min(index, len(value) - 1)], default) if value else default
    return _whole(value, default)


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
