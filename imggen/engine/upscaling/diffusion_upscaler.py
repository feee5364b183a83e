"""Pictures made larger by diffusion: Stable Diffusion's x4 upscaler and its latent x2 upscaler, tile by tile."""

from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from imggen.engine import failures
from imggen.engine.pipeline import decoding, loader
from imggen.engine.upscaling import networks, upscaler
from imggen.engine.upscaling import tiling as tile_layout
from imggen.engine.upscaling.tiling import Drawn, Grid, Pixels, Rules, Tile, Tiling
from imggen.errors import MachineError, PictureError
from imggen.host.environment import quiet
from imggen.plan.models import catalog
from imggen.plan.schema.machine import Device, Dtype
from imggen.plan.schema.progress import Progress, Report, ignore
from imggen.plan.schema.request import GeneratePlan, ModelFacts, OutputPlan
from imggen.plan.upscaling import upscalers
from imggen.plan.upscaling.upscalers import KINDS

# Attention reaches everywhere, so tiles never agree quite; what is next to a tile's edge agrees least.
MARGIN = 8
BLEND = 32


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a picture shall become; None is what suits the model."""

    prompt: str = ""
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a model computes, in what, and whether its weights may be pickles."""

    device: Device = "cpu"
    dtype: Dtype = "float32"
    allow_pickle: bool = False


def load(facts: ModelFacts, place: Placement, *, on_event: Report = ignore) -> Any:
    """Return the diffusers pipeline of a model that enlarges pictures, under the same checks as those that draw them.

    Raise ModelError for one that is of another kind, damaged or incomplete, MachineError where memory runs out.
    """
    kind = upscalers.find(facts)
    edge = kind.tile
    plan = GeneratePlan(
        task="image-to-image",
        model=facts,
        # Those that enlarge have the parts of Stable Diffusion.
        family=catalog.named("sd"),
        pipeline=facts.pipeline,
        prompt="",
        negative_prompt="",
        width=edge,
        height=edge,
        canvas=(edge, edge),
        steps=kind.steps,
        guidance=kind.guidance,
        seeds=(),
        sampler="default",
        device=place.device,
        dtype=place.dtype,
        component_dtypes={},
        attention_slicing="off",
        attention_chunk_bytes=0,
        offload="none",
        vae_slicing=False,
        vae_tile=0,
        channels_last=place.device != "mps",
        allow_pickle=place.allow_pickle,
        arguments={},
        levers=(),
        output=OutputPlan(template="-", format="png", quality=0, if_exists="auto", metadata="none"),
    )
    try:
        pipeline = loader.load(plan, on_event=on_event)
    except MachineError as error:
        if error.__cause__ is None or not failures.is_out_of_memory(error.__cause__):
            raise
        # What the hint names are options of commands that draw.
        raise MachineError(
            f"there is not enough memory on {place.device} for {facts.reference} in {place.dtype}",
            hint="--model builtin" if place.device == "cpu" else "--device cpu",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def factor(pipeline: Any) -> int:
    """Return how many times larger `pipeline` makes a picture."""
    return KINDS[type(pipeline).__name__].factor or int(pipeline.vae_scale_factor)


def suggest_tile(pipeline: Any) -> Tiling:
    """Return the tiles that `pipeline` draws in where nobody says otherwise: they bound what decoding takes."""
    return Tiling(tile=KINDS[type(pipeline).__name__].tile, overlap=_rules(pipeline).overlap)


def enlarge(
    pipeline: Any, image: Image.Image, wishes: Wishes, *, tiling: Tiling | None = None, on_event: Report = ignore
) -> Image.Image:
    """Return RGB or RGBA `image` drawn larger, `factor(pipeline)` times.

    A picture larger than a tile is drawn tile by tile and blended; all tiles are cut from one noise, and yet seams may
    show where they took a different turn. Alpha is resampled beside the colours. The same wishes and tiles give the
    same picture. Raise PictureError where the result is not made of numbers or was blanked, MachineError where memory
    runs out.
    """
    grid = tile_layout.grid(image.size, tiling or suggest_tile(pipeline), _rules(pipeline))
    colours = image if image.mode == "RGB" else upscaler.filled(image)
    draw = _Painter(pipeline, wishes, grid, on_event)
    with quiet(), decoding.guarded(pipeline.vae, on_decode=lambda: None):
        drawn = tile_layout.assemble(colours, grid, factor(pipeline), draw)
    if image.mode == "RGBA":
        drawn.putalpha(image.getchannel("A").resize(drawn.size, Image.Resampling.LANCZOS))
    return drawn


def _rules(pipeline: Any) -> Rules:
    levels = 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    scale = int(pipeline.vae_scale_factor)
    multiple = scale * levels if KINDS[type(pipeline).__name__].factor else lcm(scale, levels)
    return Rules(margin=MARGIN, blend=BLEND, minimum=multiple, multiple_of=multiple)


class _Painter:
    """Draws tiles: each from its part of one noise, so that neighbours begin alike where they overlap."""

    def __init__(self, pipeline: Any, wishes: Wishes, grid: Grid, on_event: Report) -> None:
        own = KINDS[type(pipeline).__name__]
        self._pipeline = pipeline
        self._steps = wishes.steps or own.steps
        guidance = own.guidance if wishes.guidance is None else wishes.guidance
        # Without words there is nothing to be guided to, and a second pass would only repeat the first.
        self._arguments = {
            "prompt": wishes.prompt,
            "num_inference_steps": self._steps,
            "guidance_scale": guidance if wishes.prompt else 0.0,
            **({} if own.noise_level is None else {"noise_level": own.noise_level}),
        }
        self._generator = torch.Generator("cpu").manual_seed(wishes.seed)
        # Pixels per latent of the small picture, by which the enlarged one's latents are counted.
        self._latent = int(pipeline.vae_scale_factor) // factor(pipeline)
        self._noise = _noise(pipeline, grid, self._latent, self._generator)
        self._report = _Steps(on_event, steps=self._steps, tiles=len(grid))

    def __call__(self, pixels: Pixels, tile: Tile) -> Drawn:
        rows, columns = (
            slice(segment.start // self._latent, segment.stop // self._latent) for segment in (tile.row, tile.column)
        )
        height, width = pixels.shape[:2]
        try:
            with networks.memory_explained(type(self._pipeline).__name__, (width, height)):
                output = self._pipeline(
                    image=Image.fromarray(pixels),
                    latents=self._noise[:, :, rows, columns],
                    generator=self._generator,
                    output_type="np",
                    callback=self._report,
                    callback_steps=1,
                    **self._arguments,
                )
        except BaseException:
            # The pipelines do this at their end only; without it parts that are put off stay where they were.
            self._pipeline.maybe_free_model_hooks()
            raise
        self._report.end_tile()
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise PictureError("the model's safety checker blanked a part of the picture", hint="another --seed")
        result: Drawn = output.images[0]
        return result


def _noise(pipeline: Any, grid: Grid, latent: int, generator: torch.Generator) -> Tensor:
    shape = (grid.rows[-1].stop // latent, grid.columns[-1].stop // latent)
    noise = torch.randn((1, int(pipeline.vae.config.latent_channels), *shape), generator=generator)
    return noise.to(pipeline.unet.dtype)


class _Steps:
    """Tells how many steps of all tiles are done; called by a pipeline after each."""

    def __init__(self, on_event: Report, *, steps: int, tiles: int) -> None:
        self._on_event = on_event
        self._steps = steps
        self._tiles = tiles
        self._step = self._tile = 0
        on_event(Progress(stage="encode"))
        self._tell()

    def __call__(self, step: int, *_: object) -> None:
        # Some schedulers take a step more than they were asked for.
        self._step = min(step + 1, self._steps)
        self._tell()

    def end_tile(self) -> None:
        self._step, self._tile = 0, self._tile + 1

    def _tell(self) -> None:
        done = self._tile * self._steps + self._step
        self._on_event(Progress(stage="denoise", step=done, steps=self._tiles * self._steps))
