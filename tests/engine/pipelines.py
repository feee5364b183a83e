"""Pipelines for tests, without a plan: tiny random ones and the built-in model's, in float32 on the CPU."""

import functools
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

import imggen.builtin
from imggen.host import environment
from tests import tiny_models

FAMILIES = ("sd", "sdxl", "flux", "sd3", "chroma", "z-image")
EXTRA = {"StableDiffusion": {"requires_safety_checker": False}, "StableDiffusionXL": {"add_watermarker": False}}


def tiny(family, root):
    with environment.quiet():
        return silent(tiny_models.BUILDERS[family](root))


@functools.cache
def builtin():
    with environment.quiet():
        folder = Path(imggen.builtin.__file__).parent / "model"
        return silent(diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32))


def img2img(pipeline):
    name = type(pipeline).__name__.removesuffix("Pipeline")
    with environment.quiet():
        made = getattr(diffusers, f"{name}Img2ImgPipeline")(**pipeline.components, **EXTRA.get(name, {}))
    return silent(made)


def sized(pipeline, picture):
    """Return the arguments that say a picture's size, for a pipeline that does not take it from the picture."""
    return {} if hasattr(pipeline, "unet") else {"width": picture.width, "height": picture.height}


def silent(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generator(seed):
    return torch.Generator("cpu").manual_seed(seed)


def drawn(pipeline, prompt="a red apple", *, seed=1, steps=3, **options):
    with environment.quiet():
        made = pipeline(prompt, num_inference_steps=steps, generator=generator(seed), **options)
    return made.images[0]


def pixels(image):
    return np.asarray(image).astype(int)


def noise_picture(width=64, height=64, seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC)
