"""The model that comes with imggen: what it promises, whatever its weights are."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.host import environment, probe
from imggen.plan.generation import resolve
from imggen.plan.schema.request import GenerateRequest
from imggen.store import lookup

GOLDEN = Path(__file__).parent / "golden" / "builtin.png"
MAX_BYTES = 40_000_000


@pytest.fixture(scope="module")
def make_plan():
    facts, machine = lookup.find("builtin"), probe.machine()

    def plan(**said):
        request = GenerateRequest(**{"prompt": "a red apple on a teal background", "seed": "1"} | said)
        return resolve.resolve(request, facts, machine, draw_seed=lambda _: 1)

    return plan


def draw(plan):
    return np.asarray(next(sampler.sample(loader.load(plan), plan)).image)


def script(plan):
    """What a person writes who knows diffusers: the same folder, dtype and memory format, and nothing of imggen."""
    with environment.quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(plan.model.folder, dtype=getattr(torch, plan.dtype))
        pipeline.set_progress_bar_config(disable=True)
        if plan.channels_last:
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
        generator = torch.Generator("cpu").manual_seed(plan.seeds[0])
        return np.asarray(pipeline(**plan.arguments, generator=generator).images[0])


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_pixels_equal_those_of_a_plain_diffusers_script(make_plan, dtype):
    plan = make_plan(dtype=dtype, device="cpu")
    np.testing.assert_array_equal(draw(plan), script(plan))


def test_the_golden_picture_is_still_drawn(make_plan):
    """Fixed seed, CPU, float32; after new weights, GOLDEN=write makes it anew, to be looked at and committed."""
    drawn = draw(make_plan(dtype="float32", device="cpu"))
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        Image.fromarray(drawn).save(GOLDEN)
    golden = np.asarray(Image.open(GOLDEN).convert("RGB"))
    assert np.abs(drawn.astype(int) - golden.astype(int)).max() <= 1


def test_the_prompt_and_the_seed_matter(make_plan):
    plan = make_plan(device="cpu", steps=4)
    pipeline = loader.load(plan)

    def pixels(**changes):
        (drawn,) = sampler.sample(pipeline, replace(plan, **changes))
        return np.asarray(drawn.image).astype(int)

    first = pixels()
    blue = pixels(arguments=plan.arguments | {"prompt": "a blue star on a yellow background"})
    assert np.abs(first - blue).mean() > 5
    assert np.abs(first - pixels(seeds=(2,))).mean() > 1


def test_the_model_is_small_and_half_precision_safetensors():
    facts = lookup.find("builtin")
    files = [each for each in facts.folder.rglob("*") if each.is_file()]
    assert sum(each.stat().st_size for each in files) <= MAX_BYTES
    assert set(facts.stored_dtypes.values()) == {"float16"}
    assert facts.pickles == ()


def test_the_picture_is_at_least_128_pixels_wide(make_plan):
    plan = make_plan()
    assert min(plan.width, plan.height) >= 128


def test_the_record_lists_the_vocabulary():
    vocabulary = lookup.find("builtin").record["vocabulary"]
    assert len(vocabulary["objects"]) >= 120
    assert {"circle", "star", "heart"} <= set(vocabulary["shapes"])
    assert len(vocabulary["colors"]) == 16
    assert vocabulary["backgrounds"]
    assert json.dumps(vocabulary)
