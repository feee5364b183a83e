"""Every family of `tiny_families`, from a request to its pixels: what is asked for reaches the pipeline."""

import functools
import inspect
import re

import diffusers
import numpy as np
import pytest
import torch

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import RequestError
from imggen.host import environment
from imggen.plan.models import catalog, samplers
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests import tiny_captions, tiny_editors, tiny_families, tiny_pixels

FAMILIES = (
    *tiny_families.BUILDERS,
    *tiny_pixels.BUILDERS,
    *tiny_editors.FROM_WORDS,
    "z-image-omni",
    *tiny_captions.FROM_WORDS,
    "flux-kontext",
    "sdxl-turbo",
    "sd-turbo",
    "lcm",
)
# Their pipelines let the scheduler draw noise from torch's own generator, which no seed of theirs reaches.
UNSEEDED = ("hidream-distilled",)
# Where a picture takes long, there is none of another prompt too.
LARGE = ("hidream", "hidream-distilled", "kandinsky5", "glm-image")
READS = {"kolors": 256, "hunyuan-image": 1000, "kandinsky5": 512, "longcat-image": 512}
# Where smaller is not made.
SIZES = {"hidream": "1024x1024", "hidream-distilled": "1024x1024", "kandinsky5": "1024x1024"} | dict.fromkeys(
    (
        "bria",
        "dreamlite",
        "dreamlite-mobile",
        "fibo",
        "fibo2",
        "glm-image",
        "z-image-omni",
        "ideogram4",
        "nucleus-image",
        "qwen-image-2.1",
        "omnigen",
        "ernie-image",
        "hunyuan-image",
        "hunyuan-image-distilled",
        "krea2",
        "krea2-turbo",
        "longcat-image",
        "ovis-image",
    ),
    "256x256",
)


def planned(folder, **said):
    said = {
        "size": SIZES.get(folder.name, "64x64"),
        "steps": 1 if "1024" in SIZES.get(folder.name, "") else 2,
        "seed": "7",
        "dtype": "float32",
        "device": "cpu",
        "output": "x.png",
    } | said
    return generate.plan(GenerateRequest(**{"model": str(folder), "prompt": "a red apple"} | said))


def drawn(pipeline, plan):
    (sample,) = sampler.sample(pipeline, plan)
    return np.asarray(sample.image)


def plain(plan):
    """The picture that a script without imggen makes from the same folder."""
    with environment.quiet():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(plan.model.folder, dtype=torch.float32, **plan.initial)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(7)
        if plan.family.name in UNSEEDED:
            pipeline.scheduler.step = functools.partial(pipeline.scheduler.step, generator=generator)
        return np.asarray(pipeline(**plan.arguments, generator=generator)[0][0])


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_asked_for_reaches_the_pipeline(tiny_models, name):
    folder = tiny_models(name)
    family = catalog.named(name)
    plan = planned(folder)
    assert plan.family.name == name
    pipeline = loader.load(plan)
    first = drawn(pipeline, plan)
    assert first.shape[:2] == (plan.height, plan.width)
    assert first.std() > 1
    np.testing.assert_array_equal(first, plain(plan))
    named = inspect.signature(getattr(diffusers, plan.pipeline).__call__).parameters
    assert set(plan.arguments) <= set(named)
    check_guidance(pipeline, folder, family, first)
    with pytest.raises(RequestError, match=r"multiple of|makes edges of|makes pictures of"):
        planned(folder, size=f"{plan.width + 1}x{plan.height}")
    if name not in LARGE:
        assert (drawn(pipeline, planned(folder, prompt="blue")) != first).any()


def check_guidance(pipeline, folder, family, first):
    said = {}
    if family.guidance_refusal:
        with pytest.raises(RequestError, match="takes no guidance"):
            planned(folder, guidance=7.5)
    else:
        said = {"guidance": 9.5}
    guided = drawn(pipeline, planned(folder, **said)) if said else first
    assert not said or (guided != first).any()
    if family.negative_refusal:
        with pytest.raises(RequestError, match="takes no negative prompt"):
            planned(folder, negative_prompt="blue", **said)
        return
    assert (drawn(pipeline, planned(folder, negative_prompt="blue", **said)) != guided).any()


def test_what_a_model_is_told_before_the_prompt_counts_against_what_it_reads(tiny_models):
    plan = planned(tiny_models("flux2"), prompt="a" * 600)
    pipeline = loader.load(plan)
    limit = int(re.search(r"the model reads ([0-9]+);", sampler.cut_prompt(pipeline, plan))[1])

    def read(position):
        letters = ["a"] * 600
        letters[position - 1] = "b"
        return pipeline.encode_prompt("".join(letters))[0]

    with environment.quiet(), torch.no_grad():
        assert torch.equal(read(limit + 1), read(limit + 2))
        assert not torch.equal(read(limit), read(limit + 1))


@pytest.mark.parametrize(
    "name",
    [
        each
        for each in FAMILIES
        if not (catalog.named(each).own_sampler or each in LARGE[:3] or each.startswith(("sd-", "sdxl-")))
    ],
)
def test_every_sampler_that_is_offered_draws(tiny_models, name):
    folder = tiny_models(name)
    family = catalog.named(name)
    offered = samplers.names(catalog.prediction(family, planned(folder).model))
    assert samplers.DEFAULT in offered
    # Those for noise are many, and all are asked in the same way.
    for each in offered[1 :: 3 if len(offered) > 6 else 1]:
        plan = planned(folder, sampler=each)
        assert drawn(loader.load(plan), plan).std() > 1, each


@pytest.mark.parametrize("name", READS)
def test_a_prompt_that_is_too_long_is_noted(tiny_models, name):
    plan = planned(tiny_models(name), prompt="a " * 1200)
    note = sampler.cut_prompt(loader.load(plan), plan)
    assert f"the model reads {READS[name]};" in note


@pytest.mark.parametrize("prompt", ["a (red:1.3) apple", "apple " * 40])
def test_a_consistency_model_reads_weights_and_long_prompts(tiny_models, prompt):
    folder = tiny_models("lcm")
    pipeline = loader.load(planned(folder))
    plan = planned(folder, prompt=prompt, prompt_syntax="weights") if "(" in prompt else planned(folder, prompt=prompt)
    other = planned(folder, prompt=prompt.replace("1.3", "1.0") if "(" in prompt else prompt + "blue")
    assert (drawn(pipeline, plan) != drawn(pipeline, other)).any()
