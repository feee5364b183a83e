"""The trained model as a standard diffusers folder in float16, with imggen's record beside it."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import SchedulerMixin, StableDiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer

from imggen.data.drawn import vocabulary
from imggen.plan.training.recipe import TrainPlan
from imggen.training import text

RECORD = "imggen.json"
RECORD_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a text-conditional latent diffusion model consists of."""

    vae: nn.Module
    text_encoder: nn.Module
    tokenizer: CLIPTokenizer
    unet: nn.Module
    scheduler: SchedulerMixin


def write(folder: Path, plan: TrainPlan, parts: Parts) -> None:
    """Write the model beside `folder`, then put it in `folder`'s place."""
    pipeline = StableDiffusionPipeline(
        vae=_half(parts.vae),
        text_encoder=_half(parts.text_encoder),
        tokenizer=parts.tokenizer,
        unet=_half(parts.unet),
        scheduler=parts.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    new, old = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("partial", "old"))
    if old.exists() and not folder.exists():
        # an earlier run was stopped between the two renames below
        old.rename(folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    pipeline.save_pretrained(new, safe_serialization=True)
    (new / RECORD).write_text(json.dumps(record(plan), indent=2) + "\n", encoding="utf-8")
    for path in new.rglob("*.safetensors"):
        # some of the libraries write weights for the owner's eyes only
        path.chmod((new / RECORD).stat().st_mode)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> StableDiffusionPipeline:
    """Return the pipeline in float32, as plain diffusers loads it, without its progress bar."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def record(plan: TrainPlan) -> dict[str, object]:
    """Return what `generate` and `models show` need to know of the model beyond diffusers' own configs."""
    return {
        "schema": RECORD_SCHEMA,
        "name": plan.name,
        "family": "sd",
        "licence": "Apache-2.0",
        "native_size": plan.data.size,
        "steps": plan.defaults.steps,
        "guidance": plan.defaults.guidance,
        "sampler": "dpmpp_2m",
        "vocabulary": {
            "objects": sorted(vocabulary.OBJECTS),
            "shapes": sorted(vocabulary.SHAPES),
            "colors": list(vocabulary.COLORS),
            "backgrounds": list(vocabulary.BACKGROUNDS),
            "words": list(text.words()),
        },
    }


def _half(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).to(torch.float16).requires_grad_(False).eval()
