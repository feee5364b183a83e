"""The stages of a run, in order: autoencoder, latents, denoiser; or the one of an upscaler."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderTiny

from imggen.plan.training.recipe import Plan, TrainPlan, UpscalerTrainPlan
from imggen.training import latents, loop, pictures, text
from imggen.training.objectives import autoencoder, diffusion, upscaler
from imggen.training.progress import Encoded, TrainingStep


def run(plan: Plan, folder: Path, model: Path) -> Iterator[TrainingStep | Encoded]:
    """Train what `plan` says in `folder`, continuing what is there, and leave the result at `model`."""
    torch.manual_seed(plan.seed)
    if isinstance(plan, UpscalerTrainPlan):
        enlargement = upscaler.UpscalerObjective(plan)
        yield from loop.run(enlargement, plan.training, _place(folder, plan, "upscaler", enlargement.rests_on))
        enlargement.export(model)
        return
    yield from _diffusion(plan, folder, model)


def _diffusion(plan: TrainPlan, folder: Path, model: Path) -> Iterator[TrainingStep | Encoded]:
    """Train the autoencoder, encode the scenes, train the diffusion model, and write the pipeline."""
    data = pictures.Scenes(plan.data.seed, plan.data.size)
    reconstruction = autoencoder.Reconstruction(plan.autoencoder, data, plan.autoencoder_training.batch_size)
    yield from loop.run(reconstruction, plan.autoencoder_training, _place(folder, plan, "autoencoder"))
    vae = cast("AutoencoderTiny", reconstruction.module.requires_grad_(requires_grad=False).eval())
    tokenizer = text.build_tokenizer(plan.text_encoder.max_tokens)
    fingerprint = loop.digest(vae) + text.digest(tokenizer)
    encoder = latents.Encoder(
        vae=vae, tokenizer=tokenizer, data=data, fingerprint=fingerprint, bfloat16=plan.precision == "bf16"
    )
    count, kept = plan.diffusion_training.cached_pictures, folder / "latents"
    yield from latents.encode(kept, count, encoder)
    cache = latents.load(kept, count)
    torch.manual_seed(plan.seed)
    matching = diffusion.FlowMatching(plan, cache, vae, tokenizer, model)
    yield from loop.run(matching, plan.diffusion_training, _place(folder, plan, "diffusion", fingerprint))
    matching.export(matching.module)


def _place(folder: Path, plan: Plan, stage: str, rests_on: str = "") -> loop.StageFolder:
    # a denoiser is bound to the very weights and words that made its latents and tokens
    fingerprint = plan.fingerprint(stage) + rests_on
    return loop.StageFolder(folder=folder / stage, fingerprint=fingerprint, seed=plan.seed, precision=plan.precision)
