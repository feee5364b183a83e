"""The memory ladder: which levers make a picture fit, in order of what they cost.

The order: everything on the device; decoding in tiles (a little slower, seams are possible); one part of the model at a
time on the accelerator (slower); one layer at a time, the next one on its way; the same from the disk; one layer at a
time and nothing ahead (very slow). Storing the denoiser smaller changes the picture, so it is done only when asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from imggen.errors import MachineError, RequestError
from imggen.plan.memory import dtypes, estimates
from imggen.plan.memory.estimates import GIB, MIB, Job, MemoryEstimate, text
from imggen.plan.models import autoencoders, catalog, prequantized
from imggen.plan.schema.machine import Device
from imggen.plan.schema.progress import Stage
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, Lever, MemoryNeed, ModelFacts, Offloaded, Quantize
from imggen.plan.sizing import sizes

__all__ = ["GIB", "MIB", "Job", "Levers", "Rung", "can_tile", "choose", "step_down", "text"]

TILE: Final = 512
"""The edge of a decoding tile in pixels: large enough that a tile's tone has context, small enough to matter."""

SMALL_TILE: Final = 256

_SMALLEST_CHUNK: Final = 64 * MIB
_LARGEST_RESERVE: Final = GIB
_RESERVE: Final = 0.1
"""The share of free memory, up to `_LARGEST_RESERVE`, that stays free: for fragments and for what others take."""

_METAL_CHUNK: Final = GIB
"""Metal goes wrong from 2**31 attention scores or 2**32 bytes in one buffer on (pytorch #149261); far below is safe."""

_MEANING: Final[dict[Offloaded, str]] = {
    "none": "everything on the device",
    "model": "one part of the model on it at a time",
    "group": "one layer on it at a time and the next one on its way",
    "disk": "one layer on it at a time, read from the disk",
    "sequential": "one layer on it at a time, very slow",
}
_RUNGS: Final[dict[Device, tuple[Offloaded, ...]]] = {"cuda": tuple(_MEANING), "mps": ("none",), "cpu": ("none",)}
_PIXELS: Final = "it draws pixels itself, so there is nothing to decode"
_LOSSY: Final = "loses some of the model's precision, so the picture is another one than without"


@dataclass(frozen=True, kw_only=True)
class Levers:
    """What is done about memory; `reasons` has one entry per lever, also for those that stay off."""

    attention_slicing: Literal["chunked", "diffusers", "off"]
    attention_chunk_bytes: int
    offload: Offloaded
    vae_slicing: bool
    vae_tile: int
    quantize: Quantize
    memory: MemoryNeed
    reasons: tuple[Lever, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung down: the plan that takes less, and a line that says what it does."""

    plan: GeneratePlan
    line: str


@dataclass(frozen=True, kw_only=True)
class _Rung:
    """One place on the ladder: where the parts rest, and the edge of a tile, 0 for a picture that is decoded whole."""

    offload: Offloaded
    tile: int


def choose(request: GenerateRequest, job: Job) -> Levers:
    """Return the levers for `job`: what `request` insists on, and for the rest the cheapest that fit.

    Raise RequestError for a lever that this model or device does not have, and MachineError where nothing fits, which
    names what would.
    """
    quantize = _quantize(request, job)
    job = replace(job, quantize=quantize)
    attention, chunk_bytes, attention_reason = _choose_attention(request, job)
    ladder = _ladder(request, job)
    need = estimates.estimate(job)
    rung = _fitting(ladder, job, need)
    if rung is None:
        if request.offload in (None, "auto"):
            raise _too_little(request, job, ladder[-1])
        rung = ladder[-1]
    memory = _memory(job, need, rung)
    slicing = job.pictures > 1 and _slices(job.facts)
    tiling = f"{rung.tile} px" if rung.tile else "off"
    lossy = Lever(name="quantize", value=quantize, reason=f"asked for; it {_LOSSY}")
    return Levers(
        attention_slicing=attention,
        attention_chunk_bytes=chunk_bytes,
        offload=rung.offload,
        vae_slicing=slicing,
        vae_tile=rung.tile,
        quantize=quantize,
        memory=memory,
        reasons=(
            _memory_lever(memory, job),
            Lever(name="attention_slicing", value=attention, reason=attention_reason),
            Lever(name="vae_slicing", value="on" if slicing else "off", reason=_slicing_reason(job)),
            Lever(name="vae_tiling", value=tiling, reason=_tile_reason(request, job, need, rung)),
            Lever(name="offload", value=rung.offload, reason=_offload_reason(request, job, need, rung)),
            *([] if quantize == "none" else [lossy]),
        ),
        notes=_notes(job, need, rung),
    )


def _ladder(request: GenerateRequest, job: Job) -> list[_Rung]:
    """Return the rungs that `request`, the model and the device leave open, the cheapest first."""
    tiles = _tiles(request, job)
    return [_Rung(offload=offload, tile=tile) for offload in _offloads(request, job) for tile in tiles]


def _fitting(ladder: list[_Rung], job: Job, need: MemoryEstimate) -> _Rung | None:
    """Return the first rung that fits with something to spare, or else the first that fits at all."""
    tries = ((rung, reserve) for reserve in (True, False) for rung in ladder)
    return next((rung for rung, reserve in tries if _fits(rung, job, need, reserve=reserve)), None)


def _fits(rung: _Rung, job: Job, need: MemoryEstimate, *, reserve: bool) -> bool:
    free, host = _free(job), job.machine.free_bytes
    if job.device == "mps" and not reserve:
        # Metal's memory is main memory, which the system makes room in.
        free = max(free, job.machine.memory_bytes)
    if reserve:
        free, host = _usable(free), _usable(host)
    return _held(rung, job, need) <= free and (job.device != "cuda" or _on_host(rung, need) <= host)


def _held(rung: _Rung, job: Job, need: MemoryEstimate) -> int:
    """Return the most bytes that are held at a time where the picture is computed."""
    decoding = estimates.decoding_tiled(job, rung.tile) if rung.tile else need.decoding
    working = max(need.denoising, decoding)
    if job.device == "cpu":
        return need.base + need.private + max(working, need.loading)
    held: dict[Offloaded, int] = {
        "none": need.weights + working,
        "model": max(need.largest + need.denoising, need.rest + decoding),
        "group": need.rest + 2 * need.layer + working,
        "disk": need.rest + 2 * need.layer + working,
        "sequential": need.layer + working,
    }
    return held[rung.offload]


def _on_host(rung: _Rung, need: MemoryEstimate) -> int:
    """Return the bytes of main memory that rest there while an accelerator computes."""
    return need.weights if rung.offload in ("model", "group") else need.private


def _usable(free: int) -> int:
    return free - min(int(free * _RESERVE), _LARGEST_RESERVE)


def _free(job: Job) -> int:
    gpu = job.machine.accelerator(job.device)
    return gpu.free_bytes if gpu else job.machine.free_bytes


def _tiles(request: GenerateRequest, job: Job) -> tuple[int, ...]:
    """Return the edges of the tiles that may be decoded in, 0 for the picture as a whole."""
    if request.vae_tile is not None:
        return (_recorded_tile(request.vae_tile, job),)
    wanted = request.vae_tiling or "auto"
    if job.seamless and wanted == "on":
        message = "--tile and --vae-tiling on contradict each other: tiles do not see the other edge"
        raise RequestError(message, hint="leave --vae-tiling out")
    if wanted == "on":
        if catalog.autoencoder(job.facts) is None:
            raise RequestError(f"--vae-tiling on: {job.facts.reference}: {_PIXELS}", hint="leave --vae-tiling out")
        if not can_tile(job.facts):
            raise RequestError(f"--vae-tiling on: {_vae(job.facts)} cannot decode in tiles", hint="--vae-tiling auto")
        return (_tile_for(job.facts, job.width, job.height, TILE),)
    if wanted == "off" or job.seamless or not can_tile(job.facts):
        return (0,)
    tiles = (_tile_for(job.facts, job.width, job.height, edge) for edge in (TILE, SMALL_TILE))
    return (0, *dict.fromkeys(tiles))


def _recorded_tile(tile: int, job: Job) -> int:
    scale = catalog.vae_scale(job.facts)
    if tile and (tile % scale or not 2 * scale <= tile <= job.family.max_size):
        message = f"the recipe's tile of {tile} px is none that this model can decode in"
        raise RequestError(message, hint="--vae-tiling auto")
    return tile


def can_tile(facts: ModelFacts) -> bool:
    """Return whether the model's autoencoder decodes in tiles."""
    return autoencoders.kind(catalog.autoencoder_class(facts)).tiles


def _vae(facts: ModelFacts) -> str:
    return catalog.autoencoder_class(facts) or "no autoencoder"


def _tile_for(facts: ModelFacts, width: int, height: int, edge: int) -> int:
    """Return a tile edge that takes effect: smaller than the picture, whole latents, at least two of them."""
    scale = catalog.vae_scale(facts)
    half = max(width, height) // 2 // scale * scale
    return max(min(edge, half) // scale * scale, 2 * scale)


def _tile_reason(request: GenerateRequest, job: Job, need: MemoryEstimate, rung: _Rung) -> str:
    if request.vae_tile is not None:
        return "as the recipe records"
    if request.vae_tiling in ("on", "off"):
        return "asked for"
    if catalog.autoencoder(job.facts) is None:
        return _PIXELS
    if job.seamless:
        return "tiles would not see the other edge of a seamless picture"
    if not rung.tile:
        whole = f"decoding whole takes about {text(need.decoding)}"
        return whole if can_tile(job.facts) else f"{whole}, and {_vae(job.facts)} cannot decode in tiles"
    tiled = estimates.decoding_tiled(job, rung.tile)
    return f"decoding whole takes about {text(need.decoding)}, in tiles {text(tiled)}"


def _offloads(request: GenerateRequest, job: Job) -> tuple[Offloaded, ...]:
    wanted = request.offload or "auto"
    possible = tuple(rung for rung in _RUNGS[job.device] if _refusal(rung, job.quantize, job.facts) is None)
    if wanted == "auto":
        return possible
    if job.device == "cpu" and wanted != "none":
        message = f"--offload {wanted} moves parts between main memory and an accelerator, and this run is on the cpu"
        raise RequestError(message, hint="leave --offload out")
    if job.device == "mps" and wanted not in ("none", "model"):
        message = f"--offload {wanted} moves layers between two memories, and processor and GPU share one here"
        raise RequestError(message, hint="leave --offload out")
    refusal = _refusal(wanted, job.quantize, job.facts)
    if refusal is not None:
        stored = f"--quantize {job.quantize}" if job.quantize != "none" else job.facts.reference
        raise RequestError(f"--offload {wanted} and {stored}: {refusal}", hint=f"--offload {possible[-1]}")
    return (wanted,)


def _refusal(offload: Offloaded, quantize: Quantize, facts: ModelFacts) -> str | None:
    """Return why quantised weights cannot rest like that, None where they can."""
    if quantize == "none" and not facts.quantised:
        return None
    if offload == "sequential":
        return "layers are moved by a way that knows plain weights only"
    if offload == "disk" and quantize != "fp8":
        return "quantised weights cannot be written to the disk and read again"
    if offload == "group" and quantize == "nf4":
        return "weights of four bits move as whole parts only"
    return None


def _offload_reason(request: GenerateRequest, job: Job, need: MemoryEstimate, rung: _Rung) -> str:
    if job.device == "cpu":
        return "everything is in main memory already"
    if request.offload not in (None, "auto"):
        return "asked for"
    if job.device == "mps":
        return "processor and GPU share one memory, so there is nowhere to put things off to"
    whole = _held(_Rung(offload="none", tile=rung.tile), job, need)
    room = f"{text(_free(job))} are free, and everything takes about {text(whole)}"
    if rung.offload == "none":
        return room
    return f"{room}; {_MEANING[rung.offload]} takes {text(_held(rung, job, need))}"


def _choose_attention(request: GenerateRequest, job: Job) -> tuple[Literal["chunked", "diffusers", "off"], int, str]:
    """Return how attention is computed, in chunks of how many bytes, and why."""
    wanted = request.attention_slicing or "auto"
    if wanted == "off":
        return "off", 0, "asked for"
    if wanted == "on":
        _check_slicing(job)
        return "diffusers", 0, "asked for"
    if job.device == "mps":
        chunk = max(_SMALLEST_CHUNK, min(_METAL_CHUNK, _free(job) // 8))
        return "chunked", chunk, "Metal keeps the whole matrix of scores in memory"
    return "off", 0, f"on {job.device} torch never keeps all scores at once"


def _check_slicing(job: Job) -> None:
    refusal = job.family.slicing_refusal
    if refusal:
        message = f"--attention-slicing on: {job.family.title} has no attention slicing ({refusal})"
        raise RequestError(message, hint="--attention-slicing auto")
    version = [int(part) for part in job.machine.torch.partition("+")[0].split(".")[:2] if part.isdigit()]
    if job.device == "mps" and version < [2, 14]:
        raise RequestError(
            f"--attention-slicing on gives black pictures on Metal with torch {job.machine.torch} (diffusers #14438)",
            hint="--attention-slicing auto, which is exact and saves as much",
        )


def _slices(facts: ModelFacts) -> bool:
    """Return whether the model's autoencoder can be told to decode pictures one after the other."""
    return catalog.autoencoder(facts) is not None and autoencoders.kind(_vae(facts)).slices


def _slicing_reason(job: Job) -> str:
    if job.pictures > 1 and not _slices(job.facts):
        return f"{_vae(job.facts)} has no slices, and each picture is drawn by itself"
    return "each picture is decoded by itself" if job.pictures > 1 else "there is one picture"


def _quantize(request: GenerateRequest, job: Job) -> Quantize:
    wanted = request.quantize or "none"
    refusal, instead = _quantize_refusal(wanted, job)
    if refusal is not None:
        raise RequestError(f"--quantize {wanted}: {refusal}", hint=instead)
    return wanted


def _quantize_refusal(wanted: Quantize, job: Job) -> tuple[str | None, str]:
    """Return why weights cannot be stored so, None where they can, and what to ask for instead."""
    if wanted == "none":
        return None, ""
    if job.facts.quantised or job.family.denoiser in prequantized.stored(job.facts):
        stored = ", ".join(sorted(set(job.facts.quantised.values()))) or prequantized.KEY
        return f"{job.facts.reference} is quantised already ({stored})", "leave --quantize out"
    if wanted == "fp8" and job.device == "mps":
        return "Metal has no such numbers", "--quantize int8"
    if wanted == "nf4" and job.device != "cuda":
        return f"weights of four bits are for CUDA, and this run is on {job.device}", "--quantize int8"
    if wanted == "nf4" and any(adapter.asked.kind == "lora" for adapter in job.adapters):
        return "a LoRA is not added to weights of four bits", "--quantize int8"
    return None, ""


def _notes(job: Job, need: MemoryEstimate, rung: _Rung) -> tuple[str, ...]:
    notes = [] if job.quantize == "none" else [f"--quantize {job.quantize} {_LOSSY}"]
    mapped, free = need.weights - need.private, job.machine.free_bytes
    if job.device == "cpu" and mapped and _held(rung, job, need) + mapped > free:
        again = "so each step reads them from the disk again"
        notes.append(f"the weights ({text(mapped)}) do not stay in the {text(free)} that are free, {again}")
    return tuple(notes)


def _memory(job: Job, need: MemoryEstimate, rung: _Rung) -> MemoryNeed:
    return MemoryNeed(
        weights_bytes=need.weights,
        private_bytes=need.private,
        denoising_bytes=need.denoising,
        decoding_bytes=estimates.decoding_tiled(job, rung.tile) if rung.tile else need.decoding,
        peak_bytes=_held(rung, job, need),
        free_bytes=_free(job),
    )


def _memory_lever(memory: MemoryNeed, job: Job) -> Lever:
    mapped = memory.weights_bytes - memory.private_bytes
    files = f", of which {text(mapped)} stay in their files" if job.device == "cpu" and mapped else ""
    working = f"a step {text(memory.denoising_bytes)}; decoding {text(memory.decoding_bytes)}"
    return Lever(
        name="memory",
        value=f"about {text(memory.peak_bytes)} of {text(memory.free_bytes)}",
        reason=f"weights {text(memory.weights_bytes)}{files}; {working}",
    )


def _too_little(request: GenerateRequest, job: Job, last: _Rung) -> MachineError:
    need = estimates.estimate(job)
    host = "" if _held(last, job, need) > _free(job) else " of main memory"
    least = _on_host(last, need) if host else _held(last, job, need)
    free = job.machine.free_bytes if host else _free(job)
    needs = f"{job.facts.reference} at {job.width}x{job.height} in {job.dtype} needs at least about {text(least)}{host}"
    hint = " or ".join(_alternatives(request, job)) or "a smaller model, or a machine with more memory"
    return MachineError(f"{needs}, and {text(free)} are free", hint=hint)


def _alternatives(request: GenerateRequest, job: Job) -> Iterator[str]:
    """Yield what to ask for instead, by the same estimate: a smaller size, quantised weights, half the precision."""
    sized = _largest_size(request, job)
    if sized:
        yield sized
    smaller = [kind for kind in ("int8", "fp8", "nf4") if job.quantize == "none" and _would_fit(request, job, kind)]
    if smaller:
        yield f"--quantize {smaller[0]}"
    half = replace(job, dtype="bfloat16")
    has_bfloat16 = dtypes.refusal("bfloat16", job.family, job.device, job.machine) is None
    if job.dtype == "float32" and has_bfloat16 and _would_fit(request, half, job.quantize):
        yield "--dtype bfloat16"
    if sized or smaller or job.quantize != "none":
        return
    both = _largest_size(request, replace(job, quantize="int8"))
    if both:
        yield f"--quantize int8 {both}"


def _largest_size(request: GenerateRequest, job: Job) -> str | None:
    """Return the options for the largest size of the same shape that fits and that the model can make, else None."""
    if request.task == "outpaint":
        return None
    step = catalog.multiple_of(job.family, job.facts)
    for height in range(job.height - step, 0, -step):
        width = max(step, round(job.width * height / job.height / step) * step)
        if min(width, height) < min(job.family.min_size, job.width, job.height):
            return None
        if _would_fit(request, replace(job, width=width, height=height), job.quantize):
            return sizes.option(sizes.said(request), width, height)
    return None


def _would_fit(request: GenerateRequest, job: Job, quantize: Quantize) -> bool:
    if _quantize_refusal(quantize, job)[0] is not None:
        return False
    job = replace(job, quantize=quantize)
    ladder = _ladder(replace(request, vae_tile=None), job)
    return _fitting(ladder, job, estimates.estimate(job)) is not None


def step_down(plan: GeneratePlan, request: GenerateRequest, stage: Stage) -> Rung | None:
    """Return the plan that takes less memory than `plan`, which ran out of it in `stage`; None where there is none.

    What `request` insists on stays. Tiles help where the autoencoder works; putting parts off helps everywhere.
    """
    return _smaller_tile(plan, request, stage) or _further_off(plan, request) or _smaller_chunk(plan)


def _smaller_tile(plan: GeneratePlan, request: GenerateRequest, stage: Stage) -> Rung | None:
    decodes = stage in ("decode", "write") or (stage == "encode" and bool(plan.given))
    asked = request.vae_tiling == "off" or plan.tile is not None
    if not decodes or asked or not can_tile(plan.model):
        return None
    width, height = plan.canvas
    for edge in (TILE, SMALL_TILE):
        tile = _tile_for(plan.model, width, height, edge)
        if not plan.vae_tile or tile < plan.vae_tile:
            lever = Lever(name="vae_tiling", value=f"{tile} px", reason="memory ran out")
            return _lowered(plan, f"decoding in tiles of {tile} px", lever, vae_tile=tile)
    return None


def _further_off(plan: GeneratePlan, request: GenerateRequest) -> Rung | None:
    if request.offload not in (None, "auto"):
        return None
    # Weights that rest on the disk take as much of the accelerator as those in main memory.
    resting = [rung for rung in _RUNGS[plan.device] if rung != "disk"]
    rungs = [rung for rung in resting if _refusal(rung, plan.quantize, plan.model) is None]
    position = rungs.index("group" if plan.offload == "disk" else plan.offload)
    if position + 1 == len(rungs):
        return None
    offload = rungs[position + 1]
    lever = Lever(name="offload", value=offload, reason="memory ran out")
    return _lowered(plan, f"--offload {offload}, {_MEANING[offload]}", lever, offload=offload)


def _smaller_chunk(plan: GeneratePlan) -> Rung | None:
    if plan.attention_slicing != "chunked" or plan.attention_chunk_bytes <= _SMALLEST_CHUNK:
        return None
    chunk = max(_SMALLEST_CHUNK, plan.attention_chunk_bytes // 4)
    lever = Lever(name="attention_slicing", value="chunked", reason=f"memory ran out; {text(chunk)} at a time")
    return _lowered(plan, f"attention in chunks of {text(chunk)}", lever, attention_chunk_bytes=chunk)


def _lowered(plan: GeneratePlan, line: str, lever: Lever, **changes: Any) -> Rung:
    levers = tuple(lever if other.name == lever.name else other for other in plan.levers)
    return Rung(plan=replace(plan, levers=levers, **changes), line=line)
