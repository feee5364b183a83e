import inspect

import accelerate
import diffusers
import numpy as np
import pytest
import torch

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import ImggenError, MachineError, PictureError
from imggen.host import environment
from tests.engine import pipelines

FAMILIES = (
    *pipelines.FAMILIES,
    "z-image-turbo",
    "qwen-image",
    "pixart-sigma",
    "pixart-alpha",
    "sana",
    "lumina2",
    "auraflow",
)


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
    named = inspect.signature(getattr(diffusers, plan.family.pipelines[plan.task]).__call__).parameters
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


def fail_in(pipeline, dtypes, value=float("nan")):
    """Let the autoencoder of `pipeline` draw nothing but `value` while it computes in one of `dtypes`."""
    seen = []

    def spoil(_, __, drawn):
        seen.append(drawn.dtype)
        return torch.full_like(drawn, value) if drawn.dtype in dtypes else drawn

    pipeline.vae.decoder.register_forward_hook(spoil)
    return seen


HALF = {torch.bfloat16}
BOTH = {torch.bfloat16, torch.float32}
LEVERS = {
    "plain": {},
    "in tiles": {"vae_tile": 64, "size": 128},
    "in slices": {"vae_slicing": True},
    "offloaded": {"offload": "model"},
}


def mended(pipeline, plan):
    """Draw with an autoencoder that can only float32, and check that it is as before afterwards."""
    (dtype,) = {each.dtype for each in pipeline.vae.parameters()}
    seen = fail_in(pipeline, HALF)
    drawn = list(sampler.sample(pipeline, plan))
    assert set(seen) == BOTH
    assert ["decoded once more, in float32" in each for drawing in drawn for each in drawing.notes] == [True] * 2
    assert {each.dtype for each in pipeline.vae.parameters()} == {dtype} == HALF
    return drawn


def in_float32_throughout(plan):
    """What an autoencoder with the same weights makes that was in float32 from the start."""
    pipeline = loader.load(plan)
    pipeline.vae.to(torch.float32)
    drawn = list(sampler.sample(pipeline, plan))
    assert {each.notes for each in drawn} == {()}
    return drawn


@pytest.mark.parametrize("levers", LEVERS.values(), ids=LEVERS)
def test_an_autoencoder_that_fails_in_half_precision_is_run_in_float32_and_put_back(tiny_models, make_plan, levers):
    asked = {"dtype": "bfloat16", "seeds": (7, 8), **levers}
    plan = make_plan(tiny_models("sd"), **asked)
    drawn = mended(loader.load(plan), plan)
    expected = in_float32_throughout(make_plan(tiny_models("sd"), **asked | {"offload": "none"}))
    np.testing.assert_array_equal([pixels(each) for each in drawn], [pixels(each) for each in expected])


def test_an_autoencoder_whose_parts_are_fetched_one_by_one_is_run_in_float32_without_its_weights(
    tiny_models, make_plan
):
    plan = make_plan(tiny_models("sd"), dtype="bfloat16", seeds=(7, 8))
    pipeline = loader.load(plan)
    # What `--offload sequential` does, of which the text encoder's part needs an accelerator.
    accelerate.cpu_offload(pipeline.vae, "cpu", offload_buffers=True)
    drawn = mended(pipeline, plan)
    assert {each.device.type for each in pipeline.vae.parameters()} == {"meta"}
    expected = in_float32_throughout(plan)
    np.testing.assert_array_equal([pixels(each) for each in drawn], [pixels(each) for each in expected])


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), "not made of numbers"), (-1.0, r"all of it is black \(0, 0, 0\), computed in float32")],
)
def test_an_autoencoder_that_fails_in_float32_too_is_an_error(tiny_models, make_plan, value, message):
    plan = make_plan(tiny_models("sd"), dtype="bfloat16")
    pipeline = loader.load(plan)
    seen = fail_in(pipeline, BOTH, value)
    with pytest.raises(PictureError, match=message) as caught:
        next(sampler.sample(pipeline, plan))
    assert caught.value.hint == "--dtype float32"
    assert seen == [torch.bfloat16, torch.float32]
    assert pipeline.vae.dtype == torch.bfloat16


def test_sdxl_in_float16_names_the_dtype_that_its_latents_were_made_in(tiny_models, make_plan):
    plan = make_plan(tiny_models("sdxl"), dtype="float16")
    pipeline = loader.load(plan)
    torch.nn.init.constant_(pipeline.unet.conv_out.bias, float("nan"))
    with pytest.raises(PictureError, match="computed in float16") as caught:
        next(sampler.sample(pipeline, plan))
    assert caught.value.hint == "--dtype float32"


@pytest.mark.parametrize("family", pipelines.FAMILIES)
def test_a_single_step_is_no_plain_picture(tiny_models, make_plan, family):
    (drawn,) = pictures(make_plan(tiny_models(family), steps=1))
    assert drawn.notes == ()


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


@pytest.mark.parametrize(("family", "limit"), [("sd", 77), ("flux", 512), ("qwen-image", 512)])
def test_a_prompt_that_is_too_long_is_noted_with_what_is_not_read(tiny_models, make_plan, family, limit):
    plan = make_plan(tiny_models(family))
    pipeline = loader.load(plan)
    assert sampler.cut_prompt(pipeline, plan) is None
    note = sampler.cut_prompt(pipeline, make_plan(tiny_models(family), prompt="a" * (limit + 5) + "z"))
    assert f"the model reads {limit}" in note
    assert note.endswith("az'")
    note = sampler.cut_prompt(pipeline, make_plan(tiny_models(family), prompt="a" * 5000 + "z"))
    assert note.endswith(f"not read: '{'a' * 59}…'")
