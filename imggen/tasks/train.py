"""A training recipe -> a run folder with a model that `generate` and plain diffusers load."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderTiny

from imggen.errors import RequestError
from imggen.training import autoencoder, diffusion, latents, loop, pictures, recipe, text

MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The run is complete; `model` is the diffusers folder."""

    model: Path


Fact = loop.Step | latents.Encoded | Trained


def read(path: Path) -> recipe.TrainPlan:
    """Return the plan in a recipe file; raise RequestError where it is wrong."""
    return recipe.read(path)


def train(plan: recipe.TrainPlan, run: Path) -> Iterator[Fact]:
    """Train the autoencoder, encode the drawn set, train the denoiser; continue where an earlier call stopped.

    The run folder holds `plan.json`, a folder a stage (checkpoint, `stats.jsonl`, sample sheets), the latents and the
    model. Raises RequestError where the folder belongs to another recipe or cannot be written.
    """
    _claim(run, plan)
    torch.manual_seed(plan.seed)
    data = pictures.Scenes(plan.data.seed, plan.data.size)
    reconstruction = autoencoder.Reconstruction(plan.autoencoder, data, plan.autoencoder_training.batch_size)
    yield from loop.run(reconstruction, plan.autoencoder_training, _place(run, plan, "autoencoder"))
    vae = cast("AutoencoderTiny", reconstruction.module.requires_grad_(False).eval())
    count, digest = plan.diffusion_training.cached_pictures, loop.digest(vae)
    yield from latents.encode(run / "latents", count, vae, data, digest)
    tokenizer = text.build_tokenizer(plan.text_encoder.max_tokens)
    cache = latents.load(run / "latents", count, tokenizer, data)
    torch.manual_seed(plan.seed)
    matching = diffusion.FlowMatching(plan, cache, vae, tokenizer, run / MODEL)
    yield from loop.run(matching, plan.diffusion_training, _place(run, plan, "diffusion"))
    matching.export(matching.module)
    yield Trained(model=run / MODEL)


def _place(run: Path, plan: recipe.TrainPlan, stage: str) -> loop.Place:
    return loop.Place(folder=run / stage, fingerprint=plan.fingerprint(stage), seed=plan.seed, precision=plan.precision)


def _claim(run: Path, plan: recipe.TrainPlan) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        temporary = run / "plan.json.partial"
        temporary.write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")
        temporary.replace(run / "plan.json")
    except OSError as error:
        raise RequestError(
            f"cannot write the run folder {run}: {error.strerror}", hint="give --run a folder that you may write"
        ) from error
