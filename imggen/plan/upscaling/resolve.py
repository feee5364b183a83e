"""From a request for larger pictures to a plan: how they are drawn, and what becomes of each."""

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import Any, Final

from imggen.errors import ImggenError, MachineError, RequestError
from imggen.plan.case import ASKED, COMMAND_LINE
from imggen.plan.memory import dtypes, memory
from imggen.plan.memory.dtypes import Chosen
from imggen.plan.models import catalog
from imggen.plan.schema import marking, seeds
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.machine import Device, Dtype, Machine
from imggen.plan.schema.request import GenerateRequest, OutputPlan
from imggen.plan.settings import naming, settings
from imggen.plan.settings.naming import NamedEnlarged
from imggen.plan.sizing import targets
from imggen.plan.sizing.targets import Sized
from imggen.plan.upscaling import upscalers
from imggen.plan.upscaling.plans import (
    Engine,
    Enlarger,
    PicturePlan,
    Refused,
    Surroundings,
    UpscalePlan,
    UpscaleRequest,
    UpscaleSource,
)

SCHEMA: Final = 1
BUILTIN: Final = "builtin"
LANCZOS: Final = "lanczos"
SHARED: Final = (
    *("format", "quality", "if_exists", "metadata", "device", "dtype", "offline", "allow_pickle"),
    *("watermark", "sign", "label", "record_prompt", "training_mining"),
)
"""What the environment and the config say for all commands; what else they say is about making pictures."""

# A result, a copy of it while it is encoded, and the bytes of its file.
_HELD_BYTES: Final = 10
_MOST_LISTED: Final = 8
_STDIN: Final = "-"
# What is left of a tile that overlaps on both sides; less, and the tiles are too many to be worth it.
_OWN_PIXELS: Final = 16
_USUAL_OVERLAP: Final = 16
# The largest that is chosen where nobody says.
_LARGEST_TILE: Final = 512
_DRAWING: Final = ("prompt", "seed", "steps", "guidance")
_NEEDS: Final[dict[str, tuple[Engine, ...]]] = {
    **dict.fromkeys(_DRAWING, ("diffusion",)),
    **dict.fromkeys(("tile_size", "tile_overlap", "dtype", "allow_pickle"), ("network", "diffusion")),
}
"""The options that only some engines take."""
_TILES: Final[dict[Engine, str]] = {
    "network": "as large as pays and fits into half of the free memory",
    "diffusion": "what suits the model",
}
_ENGINES: Final[dict[Engine, str]] = {
    "lanczos": "Lanczos, which only resamples",
    "network": "a network",
    "diffusion": "a diffusion model",
}


class NoRoomError(MachineError):
    """One picture would be too large for the memory that is free; a smaller one may well do."""


def from_command_line(options: Mapping[str, object]) -> UpscaleRequest:
    """Return the request that `options` make (see `settings.typed`)."""
    values = {"files": (), **settings.typed(options, UpscaleRequest)}
    origin = dict.fromkeys(values.keys() - {"files"}, COMMAND_LINE)
    return UpscaleRequest(**values, origin=origin)  # type: ignore[arg-type]  # by name


def complete(asked: UpscaleRequest, below: GenerateRequest) -> UpscaleRequest:
    """Return `asked` with its blanks filled by what `below` (the environment, or the config) says of all commands."""
    values = {name: getattr(below, name) for name in SHARED if getattr(below, name) is not None}
    filled = {name: value for name, value in values.items() if getattr(asked, name) is None}
    origin = asked.origin | {name: below.origin.get(name, ASKED) for name in filled}
    return replace(asked, **filled, origin=origin)


def engine(model: str | None) -> Engine:
    """Return which engine runs what `--model` names."""
    if model == LANCZOS:
        return "lanczos"
    if model in (None, BUILTIN) or PurePath(str(model)).suffix.lower() in upscalers.NETWORK_SUFFIXES:
        return "network"
    return "diffusion"


def check(request: UpscaleRequest) -> None:
    """Raise RequestError for what is wrong whatever the pictures are: to be called before one of them is read."""
    if request.model is not None and not request.model.strip():
        raise RequestError("--model is empty", hint=f"--model {BUILTIN}, or leave it out")
    if request.files.count(_STDIN) > 1:
        raise RequestError(f"{_STDIN} is named twice, and standard input holds one picture", hint=f"name {_STDIN} once")
    targets.parse(request.scale, request.to, request.fit)
    _check_engine(request)
    _check_numbers(request)
    _check_tile(_tile(request), request.tile_overlap)
    _named_format(request)


def resolve(
    request: UpscaleRequest,
    sources: Sequence[UpscaleSource | Refused],
    enlarger: Enlarger,
    around: Surroundings,
    *,
    draw_seed: Callable[[int], int],
) -> UpscalePlan:
    """Return the plan for `request`; raise the ImggenError that says why none of it can be done.

    A picture that cannot become larger as asked is refused within the plan, beside those that are in `sources` already;
    the others do not suffer. `draw_seed(limit)` returns a random whole number in [0, limit).
    """
    if request.output == naming.STDOUT and len(sources) > 1:
        message = f"-o - writes one picture to standard output, and {len(sources)} are given"
        raise RequestError(message, hint="-o 'big/{stem}.png'")
    device, dtype = _place(request, enlarger, around.machine)
    wishes = _wishes(request, enlarger, draw_seed)
    placed = [_picture(request, source, enlarger, around) for source in sources]
    pictures = tuple(picture for picture in placed if isinstance(picture, PicturePlan))
    _check_names(pictures, request)
    _check_quality(pictures, request)
    tile = _tile(request)
    return UpscalePlan(
        enlarger=enlarger,
        pictures=pictures,
        refused=tuple(picture for picture in placed if isinstance(picture, Refused)),
        device=device.value,
        dtype=dtype.value if dtype else None,
        tile=upscalers.find(enlarger.model).tile if tile is None and enlarger.model else tile,
        tile_overlap=request.tile_overlap,
        fit=request.fit,
        frame=request.frame,
        **wishes,
        allow_pickle=bool(request.allow_pickle),
        reasons=_reasons(request, enlarger, device, dtype),
    )


def check_room(source: UpscaleSource, size: Sized, network_scale: int, machine: Machine) -> None:
    """Raise ImggenError where a picture, drawn by a network of `network_scale` (0: by none), is too large on its way.

    A network draws until no edge is short, so what it has drawn may be larger than what was asked for.
    """
    grown = 1
    while network_scale and grown < size.scale:
        grown *= network_scale
    width = max(size.width, size.drawn_width, source.width * grown if network_scale else 0)
    height = max(size.height, size.drawn_height, source.height * grown if network_scale else 0)
    if width * height > targets.MAX_PIXELS:
        drawn = f"what enlarges {network_scale} times draws {width}x{height} pixels on the way to "
        message = f"{drawn}{size.width}x{size.height}; at most {targets.MAX_PIXELS:,} are made"
        raise RequestError(message, hint=f"--scale {network_scale}")
    needed = width * height * _HELD_BYTES
    if needed > machine.free_bytes:
        taken = f"{width}x{height} pixels take {memory.text(needed)} of memory until they are written"
        hint = "--scale 2" if size.scale > 2 else "free some memory, or cut the picture into parts"
        raise NoRoomError(f"{taken}, and {memory.text(machine.free_bytes)} are free", hint=hint)


def to_json(plan: UpscalePlan) -> str:
    """Return the plan as indented strict JSON with its reasons."""
    apart = ("enlarger", "pictures", "refused", "reasons")
    values = {name: value for name, value in vars(plan).items() if name not in apart}
    written = {
        "schema": SCHEMA,
        "engine": plan.enlarger.engine,
        "model": plan.enlarger.reference,
        **values,
        "pictures": [_described(picture) for picture in plan.pictures],
        "refused": [{"path": picture.name, "error": picture.error.message} for picture in plan.refused],
        "reasons": plan.reasons,
    }
    return json.dumps(written, indent=2, ensure_ascii=False, allow_nan=False)


def explain(plan: UpscalePlan) -> list[str]:
    """Return the plan as lines for people: what was decided and why."""
    values = {
        "model": plan.enlarger.reference,
        "device": plan.device,
        "dtype": plan.dtype or "its own",
        "tile": "as large as fits" if plan.tile is None else f"{plan.tile or 'the whole picture'}",
        "tile_overlap": "as it needs" if plan.tile_overlap is None else str(plan.tile_overlap),
        **{name: str(getattr(plan, name)) for name in _DRAWING},
    }
    decided = [f"{name}: {value} ({plan.reasons[name]})" for name, value in values.items() if name in plan.reasons]
    return [*decided, *(_line(picture) for picture in plan.pictures)]


def overview(plan: UpscalePlan) -> list[tuple[str, str]]:
    """Return the plan in a few lines, as names and values; all of it is its JSON."""
    drawing = [
        f"{name} {getattr(plan, name)}" for name in ("steps", "guidance", "seed") if getattr(plan, name) is not None
    ]
    rows = [
        ("enlarges", f"{len(plan.pictures)} of {len(plan.pictures) + len(plan.refused)} pictures"),
        ("model", ", ".join((plan.enlarger.reference, *drawing))),
        ("device", ", ".join(filter(None, (plan.device, plan.dtype)))),
        *(("picture", _line(picture)) for picture in plan.pictures[:_MOST_LISTED]),
    ]
    more = len(plan.pictures) - _MOST_LISTED
    return [*rows, ("picture", f"and {more} more")] if more > 0 else rows


def _described(picture: PicturePlan) -> dict[str, object]:
    """Return the plan for one picture as values that JSON can hold."""
    source, output = picture.source, picture.output
    return {
        "source": source.name,
        "source_width": source.width,
        "source_height": source.height,
        **asdict(picture.size),
        "network_scale": picture.network_scale,
        "output": _where(picture),
        "format": output.format,
        "quality": output.quality,
        "if_exists": output.if_exists,
        "metadata": output.metadata,
        "marking": asdict(output.marking),
    }


def _line(picture: PicturePlan) -> str:
    source, size, output = picture.source, picture.size, picture.output
    larger = f"{source.width}x{source.height} to {size.width}x{size.height} ({size.scale:.4g} times)"
    return f"{source.name}: {larger}, {_where(picture)} as {output.format}"


def _where(picture: PicturePlan) -> str:
    return naming.STDOUT if picture.path is None else str(picture.path)


def _check_engine(request: UpscaleRequest) -> None:
    chosen = engine(request.model)
    for name, engines in _NEEDS.items():
        if _typed(request, name) and chosen not in engines:
            option, takers = f"--{name.replace('_', '-')}", " and ".join(_ENGINES[taker] for taker in engines)
            message = f"{option} is for {takers}; --model {request.model or BUILTIN} is {_ENGINES[chosen]}"
            raise RequestError(message, hint=f"leave {option} out")


def _check_numbers(request: UpscaleRequest) -> None:
    """Raise RequestError for numbers that are out of range whatever the pictures are."""
    if request.steps is not None and request.steps < 1:
        raise RequestError(f"--steps {request.steps}: at least one step is needed", hint="--steps 20")
    if request.guidance is not None and not (math.isfinite(request.guidance) and request.guidance >= 0):
        raise RequestError(f"--guidance {request.guidance} is not a number from 0 up", hint="--guidance 7.5")
    if request.tile_overlap is not None and request.tile_overlap < 0:
        raise RequestError(f"--tile-overlap {request.tile_overlap}: tiles cannot overlap by less than 0 px")
    if request.frame is not None and request.frame < 1:
        raise RequestError(f"--frame {request.frame}: frames count from 1", hint="--frame 1")
    if request.quality is not None and not 1 <= request.quality <= 100:
        origin = request.origin.get("quality", COMMAND_LINE)
        blame = "" if origin == COMMAND_LINE else f" (it comes from the {origin})"
        hint = f"--quality {min(max(request.quality, 1), 100)}"
        raise RequestError(f"--quality {request.quality} is not in 1 to 100{blame}", hint=hint)


def _tile(request: UpscaleRequest) -> int | None:
    typed = request.tile_size
    if typed is None or typed.lower() == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,5}", typed, re.ASCII):
        raise RequestError(f"--tile-size {typed!r} is neither auto nor a number of pixels", hint="--tile-size 256")
    return int(typed)


def _check_tile(tile: int | None, overlap: int | None) -> None:
    """Raise RequestError where a tile has no stretch worth the name that is its own.

    A network may look further than that; only it can tell, once it is loaded.
    """
    if tile and tile < _OWN_PIXELS:
        raise RequestError(f"--tile-size {tile}: a tile has at least {_OWN_PIXELS} px", hint="--tile-size 256")
    most = ((tile or _LARGEST_TILE) - _OWN_PIXELS) // 2
    if overlap is not None and overlap > most:
        shown = f"tiles of {tile} px" if tile else f"tiles, which have up to {_LARGEST_TILE} px,"
        message = f"--tile-overlap {overlap}: {shown} have less than {_OWN_PIXELS} px of their own left"
        hint = f"--tile-overlap {min(_USUAL_OVERLAP, most)}" if most else "leave --tile-overlap out"
        raise RequestError(message, hint=hint)


def _wishes(request: UpscaleRequest, enlarger: Enlarger, draw: Callable[[int], int]) -> dict[str, Any]:
    """Return what a diffusion model is told, nothing for other engines; RequestError for what it cannot follow."""
    if enlarger.model is None:
        return {}
    kind, prompt = upscalers.find(enlarger.model), request.prompt or ""
    if request.guidance and not prompt:
        message = f"--guidance {request.guidance:g} needs a prompt to guide to"
        raise RequestError(message, hint='--prompt "a red apple", or leave it out')
    chosen = seeds.choose(request.seed, None, draw=draw)
    if len(chosen) > 1:
        message = f"--seed {request.seed} lists {len(chosen)} seeds; one is for all pictures"
        raise RequestError(message, hint=f"--seed {chosen[0]}")
    guidance = kind.guidance if request.guidance is None else request.guidance
    drawing = (prompt, chosen[0], request.steps or kind.steps, guidance if prompt else 0.0)
    return dict(zip(_DRAWING, drawing, strict=True))


def _place(
    request: UpscaleRequest, enlarger: Enlarger, machine: Machine
) -> tuple[Chosen[Device], Chosen[Dtype] | None]:
    """Return device and dtype with reasons, the dtype None where only the network itself can tell."""
    if enlarger.engine == "lanczos":
        if _typed(request, "device") and request.device not in ("auto", "cpu"):
            raise RequestError(f"--device {request.device}: Lanczos runs on the processor", hint="--device cpu")
        return Chosen(value="cpu", reason="Lanczos runs on the processor"), None
    device = dtypes.choose_device(request.device, machine, request.origin.get("device", ASKED))
    if request.dtype not in (None, "auto") or enlarger.engine == "diffusion":
        # The diffusion models that enlarge are of this family, and what a device lacks it lacks for networks too.
        family, origin = catalog.named("sd"), request.origin.get("dtype", ASKED)
        return device, dtypes.choose_dtype(request.dtype, family, device.value, machine, origin)
    if enlarger.file is not None and device.value == "cuda":
        return device, None
    return device, Chosen(value="float32", reason="exact; half precision shows as noise of a grey level")


def _picture(
    request: UpscaleRequest, source: UpscaleSource | Refused, enlarger: Enlarger, around: Surroundings
) -> PicturePlan | Refused:
    """Return the plan for one picture, or why it cannot become larger."""
    if isinstance(source, Refused):
        return source
    try:
        size = targets.apply(targets.parse(request.scale, request.to, request.fit), source.width, source.height)
        scale = _network_scale(enlarger, size)
        check_room(source, size, scale, around.machine)
    except ImggenError as error:
        return Refused(number=source.number, name=source.name, error=error)
    named = NamedEnlarged(
        stem=naming.stem(source.name),
        index=source.number,
        width=size.width,
        height=size.height,
        scale=size.scale,
        model=enlarger.reference if enlarger.file is None else enlarger.file.stem,
        date=around.today,
    )
    output = _output(request, source)
    template = request.output
    if template is not None and not (around.folder or around.taken):
        template = naming.suffixed(template, output.format)
    path = naming.expand(template, [named], output.format, folder=around.folder, default=_default(request))[0]
    return PicturePlan(
        source=source,
        size=size,
        output=output,
        path=None if request.output == naming.STDOUT else path,
        network_scale=scale,
    )


def _network_scale(enlarger: Enlarger, size: Sized) -> int:
    if enlarger.model is not None:
        return upscalers.factor(enlarger.model)
    if enlarger.engine == "lanczos" or enlarger.file is not None:
        return 0
    scales = upscalers.BUILTIN_SCALES
    return next((scale for scale in scales if scale >= size.scale), scales[-1])


def _default(request: UpscaleRequest) -> str:
    return "{stem}-{scale}x" if request.to is None else "{stem}-{width}x{height}"


def _output(request: UpscaleRequest, source: UpscaleSource) -> OutputPlan:
    chosen = _named_format(request) or request.format or source.format or "png"
    written, level = FORMATS[chosen], request.metadata or "full"
    typed = [name for name in vars(request) if _typed(request, name)]
    return OutputPlan(
        template=_default(request) if request.output is None else request.output,
        format=chosen,
        quality=(None if written.lossless else request.quality) or written.quality,
        if_exists=request.if_exists or "auto",
        metadata=level,
        marking=marking.choose(request, metadata=level, typed=typed),
    )


def _named_format(request: UpscaleRequest) -> ImageFormat | None:
    if request.output is None:
        return None
    named = naming.format_of(request.output)
    if named and request.format != named and _typed(request, "format"):
        message = f"-o {request.output} names {named} and --format says {request.format}"
        raise RequestError(message, hint="leave --format out")
    return named


def _typed(request: UpscaleRequest, name: str) -> bool:
    return getattr(request, name) is not None and request.origin.get(name, ASKED) in (ASKED, COMMAND_LINE)


def _check_names(pictures: Sequence[PicturePlan], request: UpscaleRequest) -> None:
    if request.if_exists == "number":
        return
    first: dict[str, PicturePlan] = {}
    for picture in pictures:
        other = first.setdefault(os.path.normcase(_where(picture)), picture)
        if other is not picture:
            message = f"{other.source.name} and {picture.source.name} would both be {picture.path}"
            raise RequestError(message, hint="-o 'big/{stem}-{index}.png', or --if-exists number")


def _check_quality(pictures: Sequence[PicturePlan], request: UpscaleRequest) -> None:
    if _typed(request, "quality") and pictures and all(FORMATS[picture.output.format].lossless for picture in pictures):
        message = f"--quality {request.quality}: {pictures[0].output.format} is lossless and has no quality"
        raise RequestError(message, hint="leave --quality out, or --format webp")


def _reasons(
    request: UpscaleRequest, enlarger: Enlarger, device: Chosen[Device], dtype: Chosen[Dtype] | None
) -> dict[str, str]:
    """Return why each setting has its value, by its name in the plan."""
    reasons = {
        "model": request.why("model", "the networks that come with imggen"),
        "size": request.why("to", request.why("scale", "twice as large, where nothing is said")),
        "device": device.reason,
        "output": request.why("output", "named after the source, in this folder"),
        "format": request.why("format", "the file's name, or else as the source"),
        "if_exists": request.why("if_exists", "replace what imggen made, keep what it did not"),
        "metadata": request.why("metadata", "what the source says, and this step"),
        "watermark": request.why("watermark", "marked where a model drew what shows, and a mark is not seen"),
        "sign": request.why("sign", "signed where a key is set up"),
    }
    if enlarger.engine == "lanczos":
        return reasons
    return reasons | {
        "dtype": dtype.reason if dtype else "float16 where the network can, float32 where it cannot",
        "tile": request.why("tile_size", _TILES[enlarger.engine]),
        "tile_overlap": request.why("tile_overlap", "so that no seam shows"),
        **({name: request.why(name, "what suits the model") for name in _DRAWING} if enlarger.model else {}),
    }
