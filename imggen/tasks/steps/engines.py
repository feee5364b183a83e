"""What makes a picture larger: Lanczos, a network or a diffusion model, each loaded when the first picture needs it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image

from imggen.engine.upscaling import upscaler
from imggen.engine.upscaling.tiling import Tiling
from imggen.errors import MachineError
from imggen.host import environment
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.progress import Progress, Report, ignore
from imggen.plan.upscaling import resolve as planning
from imggen.plan.upscaling.plans import PicturePlan, UpscalePlan
from imggen.store import lookup

Load = Callable[[UpscalePlan, int], Any]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture made larger, and the name and the sha256 of the weights that made it; both empty where none did."""

    image: Image.Image
    model: str = ""
    model_hash: str = ""


Draw = Callable[[Image.Image, PicturePlan, Report], Drawn]


def choose(plan: UpscalePlan, machine: Machine, load: Load, on_event: Report) -> Draw:
    """Return what draws the plan's pictures larger, each at its own size; nothing is loaded yet.

    `load(plan, scale)` returns the network, of the built-in ones that of the scale, or the diffusion pipeline.
    """

    @cache
    def loaded(scale: int) -> Any:
        on_event(Progress(stage="load"))
        return load(plan, scale)

    if plan.enlarger.engine == "lanczos":
        return _resample
    return _by_network(plan, machine, loaded) if plan.enlarger.model is None else _by_diffusion(plan, loaded)


def load(plan: UpscalePlan, scale: int, *, on_event: Report = ignore) -> Any:
    """Return the plan's network, of the built-in ones that of `scale`, or its diffusion pipeline."""
    # The imports that wait: torch takes seconds and diffusers more, and what needs neither shall not pay for them.
    enlarger = plan.enlarger
    if enlarger.model is not None:
        with environment.importing():
            from imggen.engine.upscaling import diffusion_upscaler
        place = diffusion_upscaler.Placement(
            device=plan.device, dtype=plan.dtype or "float32", allow_pickle=plan.allow_pickle
        )
        return diffusion_upscaler.load(enlarger.model, place, on_event=on_event)
    with environment.importing():
        from imggen.engine.upscaling import networks
    if enlarger.file is not None:
        return networks.read(enlarger.file, device=plan.device, dtype=plan.dtype, allow_pickle=plan.allow_pickle)
    return networks.builtin(scale, device=plan.device, dtype=plan.dtype)


def _resample(image: Image.Image, picture: PicturePlan, _: Report) -> Drawn:
    size = _size(picture)
    try:
        return Drawn(image=upscaler.lanczos(image, size))
    except MemoryError as error:
        raise MachineError(f"out of memory at {size[0]}x{size[1]} pixels", hint="--scale 2") from error


def _by_network(plan: UpscalePlan, machine: Machine, loaded: Callable[[int], Any]) -> Draw:
    def draw(image: Image.Image, picture: PicturePlan, report: Report) -> Drawn:
        network = loaded(picture.network_scale)
        planning.check_room(picture.source, picture.size, network.scale, machine)
        gpu = machine.accelerator(plan.device)
        free_bytes = gpu.free_bytes if gpu else machine.free_bytes
        tiling = _tiling(plan, upscaler.suggest_tile(network, free_bytes=free_bytes))
        drawn = upscaler.enlarge(image, network, _size(picture), tiling=tiling, on_event=report)
        return Drawn(image=drawn, model=network.name, model_hash=network.sha256)

    return draw


def _by_diffusion(plan: UpscalePlan, loaded: Callable[[int], Any]) -> Draw:
    """Return what draws pictures larger with a diffusion model, as often as the size needs."""
    facts = plan.enlarger.model
    if facts is None or plan.dtype is None:
        raise ValueError("a plan for diffusion names a model and a dtype")
    digest = cache(lambda: lookup.weights_sha256(facts, plan.dtype or "float32"))

    def draw(image: Image.Image, picture: PicturePlan, report: Report) -> Drawn:
        pipeline = loaded(picture.network_scale)
        from imggen.engine.upscaling import diffusion_upscaler
        from imggen.engine.upscaling.diffusion_upscaler import Wishes

        wishes = Wishes(prompt=plan.prompt or "", seed=plan.seed or 0, steps=plan.steps, guidance=plan.guidance)
        tiling = _tiling(plan, diffusion_upscaler.suggest_tile(pipeline))
        size = _size(picture)
        for _ in range(upscaler.passes(image.size, picture.network_scale, size)):
            image = diffusion_upscaler.enlarge(pipeline, image, wishes, tiling=tiling, on_event=report)
        image = image if image.size == size else upscaler.lanczos(image, size)
        return Drawn(image=image, model=facts.reference, model_hash=digest())

    return draw


def _size(picture: PicturePlan) -> tuple[int, int]:
    return picture.size.drawn_width, picture.size.drawn_height


def _tiling(plan: UpscalePlan, suggested: Tiling) -> Tiling:
    return Tiling(
        tile=suggested.tile if plan.tile is None else plan.tile,
        overlap=suggested.overlap if plan.tile_overlap is None else plan.tile_overlap,
    )
