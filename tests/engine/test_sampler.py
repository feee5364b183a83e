import inspect

import diffusers
import numpy as np
import pytest
import torch

from imggen.engine import environment, loader, sampler
from imggen.errors import ImggenError, MachineError
from imggen.plan import catalog
from tests.engine import pipelines

FAMILIES = (*pipelines.FAMILIES, "z-image-turbo", "qwen-image", "pixart-sigma", "pixart-alpha", "sana")


def pictures(plan, **options):
    return list(sampler.sample(loader.load(plan), plan, **options))


def pixels(sample):
    return np.asarray(sample.image)


def plain_diffusers(plan, seed):
    """The picture that a script without imggen makes from the same folder."""
    with environment.quiet():
        pipeline = getattr(diffusers, plan.model.pipeline).from_pretrained(
            plan.model.folder, dtype=getattr(torch, plan.dtype), **plan.initial
        )
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(seed)
        return np.asarray(pipeline(**plan.arguments, generator=generator).images[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_equal_those_of_plain_diffusers(tiny_models, make_plan, family):
    plan = make_plan(tiny_models(family))
    (drawn,) = pictures(plan)
    assert pixels(drawn).std() > 1
    np.testing.assert_array_equal(pixels(drawn), plain_diffusers(plan, 7))


def test_pixels_equal_those_of_plain_diffusers_in_bfloat16(tiny_models, make_plan):
    plan = make_plan(tiny_models("tiny-vae"), dtype="bfloat16")
    (drawn,) = pictures(plan)
    np.testing.assert_array_equal(pixels(drawn), plain_diffusers(plan, 7))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_argument_is_one_that_the_call_names(tiny_models, make_plan, family):
    plan = make_plan(tiny_models(family))
    named = inspect.signature(getattr(diffusers, catalog.named(plan.family).pipelines[plan.task]).__call__).parameters
    assert set(plan.arguments) <= set(named)


def test_a_seed_means_the_same_alone_and_among_others(tiny_models, make_plan):
    folder = tiny_models("sd")
    alone = pictures(make_plan(folder, seeds=(2,)))
    among = pictures(make_plan(folder, seeds=(1, 2, 3)))
    assert [each.seed for each in among] == [1, 2, 3]
    np.testing.assert_array_equal(pixels(alone[0]), pixels(among[1]))
    assert (pixels(among[0]) != pixels(among[1])).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_chunked_attention_draws_the_same_picture(tiny_models, make_plan, family):
    folder = tiny_models(family)
    whole = pictures(make_plan(folder))
    chunked = pictures(make_plan(folder, attention_slicing="chunked", attention_chunk_bytes=512))
    difference = np.abs(pixels(whole[0]).astype(int) - pixels(chunked[0]).astype(int))
    assert difference.max() <= 1


def test_stages_are_reported_in_order_for_every_picture(tiny_models, make_plan):
    events = []
    pictures(make_plan(tiny_models("sd"), seeds=(1, 2)), on_event=events.append)
    told = [(each.image, each.stage, each.step, each.steps) for each in events]
    one = [
        ("encode", 0, 0),
        ("denoise", 0, 3),
        ("denoise", 1, 3),
        ("denoise", 2, 3),
        ("denoise", 3, 3),
        ("decode", 0, 0),
    ]
    assert told == [(image, *each) for image in (1, 2) for each in one]
    assert {each.images for each in events} == {2}


def test_a_run_stopped_at_a_step_leaves_a_pipeline_that_draws_the_same(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"))
    pipeline = loader.load(plan)

    def interrupt(event):
        if event.stage == "denoise" and event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(sampler.sample(pipeline, plan, on_event=interrupt))
    assert not {"progress_bar", "encode_prompt"} & set(vars(pipeline))
    assert "decode" not in vars(pipeline.vae)
    np.testing.assert_array_equal(pixels(next(sampler.sample(pipeline, plan))), plain_diffusers(plan, 7))


def test_model_offload_survives_an_interruption(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"), offload="model")
    pipeline = loader.load(plan)

    def interrupt(event):
        if event.stage == "denoise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(sampler.sample(pipeline, plan, on_event=interrupt))
    np.testing.assert_array_equal(pixels(next(sampler.sample(pipeline, plan))), plain_diffusers(plan, 7))


def test_a_model_of_nans_is_an_error_and_not_a_black_picture(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"))
    pipeline = loader.load(plan)
    torch.nn.init.constant_(pipeline.unet.conv_out.bias, float("nan"))
    with pytest.raises(ImggenError, match="not made of numbers"):
        next(sampler.sample(pipeline, plan))


def test_running_out_of_memory_names_the_next_lever(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"))
    pipeline = loader.load(plan)

    def too_big(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    pipeline.unet.forward = too_big
    with pytest.raises(MachineError, match="out of memory on cpu") as caught:
        next(sampler.sample(pipeline, plan))
    assert caught.value.hint == "--vae-tiling on"


def test_a_models_safety_checker_is_loaded_and_what_it_blanks_is_not_a_success(tiny_models, make_plan):
    plan = make_plan(tiny_models("checked"))
    pipeline = loader.load(plan)
    np.testing.assert_array_equal(pixels(next(sampler.sample(pipeline, plan))), plain_diffusers(plan, 7))
    torch.nn.init.constant_(pipeline.safety_checker.concept_embeds_weights, -2)
    with pytest.raises(ImggenError, match=r"safety checker .* blanked the picture of seed 7"):
        next(sampler.sample(pipeline, plan))


@pytest.mark.parametrize(("family", "limit"), [("sd", 77), ("flux", 512)])
def test_a_prompt_that_is_too_long_is_noted_with_what_is_not_read(tiny_models, make_plan, family, limit):
    plan = make_plan(tiny_models(family))
    pipeline = loader.load(plan)
    assert sampler.cut_prompt(pipeline, plan) is None
    note = sampler.cut_prompt(pipeline, make_plan(tiny_models(family), prompt="a" * (limit + 5) + "z"))
    assert f"the model reads {limit}" in note
    assert note.endswith("az'")
    note = sampler.cut_prompt(pipeline, make_plan(tiny_models(family), prompt="a" * 5000 + "z"))
    assert note.endswith(f"not read: '{'a' * 59}…'")
