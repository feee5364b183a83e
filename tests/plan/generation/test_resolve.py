import json
from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imggen.errors import MachineError, ModelError, RequestError
from imggen.plan.generation import resolve
from imggen.plan.schema.request import GeneratePlan, GenerateRequest
from tests.plan.conftest import (
    builtin,
    flux,
    laptop,
    stable_diffusion,
    stable_diffusion_xl,
    straight,
    with_cuda,
    with_mps,
)

MODELS = {"builtin": builtin(), "sd": stable_diffusion(), "sdxl": stable_diffusion_xl(), "flux": flux()}


def test_a_bare_prompt_gets_the_models_own_everything(make_plan):
    plan = make_plan()
    assert (plan.width, plan.height, plan.steps, plan.guidance) == (128, 128, 20, 3.0)
    assert (plan.seeds, plan.sampler, plan.scheduler) == ((7,), "dpmpp_2m", None)
    assert (plan.device, plan.dtype, plan.vae_tile) == ("cpu", "float32", 0)
    assert plan.arguments == {
        "prompt": "a red apple",
        "width": 128,
        "height": 128,
        "num_inference_steps": 20,
        "guidance_scale": 3.0,
    }
    assert plan.output.template == "{prompt}-{seed}.png"
    assert plan.notes == ()


def test_the_family_and_the_configs_fill_what_no_record_says(make_plan):
    plan = make_plan(stable_diffusion())
    assert (plan.width, plan.height, plan.steps, plan.guidance) == (512, 512, 30, 7.5)
    plan = make_plan(stable_diffusion_xl(), with_cuda())
    assert (plan.width, plan.height, plan.dtype) == (1024, 1024, "bfloat16")
    assert plan.initial == {"add_watermarker": False}


@pytest.mark.parametrize("prompt", [None, "", " \n\t"])
def test_an_empty_prompt_is_refused(make_plan, prompt):
    with pytest.raises(RequestError, match="the prompt is empty"):
        make_plan(prompt=prompt)


@pytest.mark.parametrize("prompt", ["a\0b", "a \udcff"])
def test_a_prompt_that_is_no_text_is_refused(make_plan, prompt):
    with pytest.raises(RequestError, match="is not valid text"):
        make_plan(prompt=prompt)
    with pytest.raises(RequestError, match="negative prompt"):
        make_plan(negative_prompt=prompt)


def test_a_book_is_no_prompt(make_plan):
    with pytest.raises(RequestError, match="at most 20,000"):
        make_plan(prompt="a " * 20_000)


def test_every_reason_is_told(make_plan):
    plan = make_plan(steps=5, origin={"steps": "preset draft"}, seed="1-9")
    assert plan.reasons["steps"] == "preset draft"
    assert plan.reasons["guidance"] == "the model's own record"
    lines = resolve.explain(plan)
    assert "steps: 5 (preset draft)" in lines
    assert "seeds: 1, 2, 3, 4, ... (9 in all) (asked for)" in lines
    assert any(line.startswith("dtype: float32 (") for line in lines)
    assert all("()" not in line for line in lines)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_that_no_model_takes_are_refused(make_plan, steps):
    with pytest.raises(RequestError, match=f"--steps {steps}"):
        make_plan(steps=steps)


def test_a_sampler_with_fewer_steps_than_the_model_says_so(make_plan):
    with pytest.raises(RequestError, match="--steps 60: sampler 'lcm' takes 1 to 50") as caught:
        make_plan(stable_diffusion(), steps=60, sampler="lcm")
    assert caught.value.hint == "--steps 50"
    assert make_plan(stable_diffusion(), steps=50, sampler="lcm").steps == 50


@pytest.mark.parametrize("guidance", [-1.0, float("nan"), float("inf")])
def test_guidance_that_is_no_strength_is_refused(make_plan, guidance):
    with pytest.raises(RequestError, match="--guidance"):
        make_plan(guidance=guidance)


def test_a_negative_prompt_reaches_the_call(make_plan):
    assert make_plan(negative_prompt="a dog").arguments["negative_prompt"] == "a dog"
    assert "negative_prompt" not in make_plan(negative_prompt=" ").arguments


def test_a_negative_prompt_that_would_be_ignored_is_refused(make_plan):
    with pytest.raises(RequestError, match=r"--negative-prompt 'x' .* above 1, and --guidance is 1"):
        make_plan(negative_prompt="x", guidance=1.0)
    with pytest.raises(RequestError, match=r"FLUX\.1 takes no negative prompt"):
        make_plan(flux(), with_cuda(free=60 * 2**30), negative_prompt="x")


def test_a_model_that_steers_at_any_guidance_takes_a_negative_prompt_at_any(make_plan):
    model = straight("ZImagePipeline", shift=6.0)
    assert make_plan(model, negative_prompt="x", guidance=0.5).arguments["negative_prompt"] == "x"
    with pytest.raises(RequestError, match=r"above 0, and --guidance is 0"):
        make_plan(model, negative_prompt="x", guidance=0.0)


def test_a_config_that_tells_no_native_size_is_not_asked_for_it(make_plan):
    small = {"transformer": {"sample_size": 64}}
    assert make_plan(straight("AuraFlowPipeline", **small)).width == 1024
    assert make_plan(straight("Lumina2Pipeline", **small)).width == 512


@pytest.mark.parametrize(("stated", "width"), [(256, 256), (None, 512), (-1, 512)])
def test_a_native_size_that_the_models_own_pipeline_states_in_pixels_is_taken(make_plan, stated, width):
    model = replace(straight("PRXPipeline"), options={"default_sample_size": stated})
    assert make_plan(model).width == width


def test_an_argument_that_suits_the_usual_steps_alone_is_unset_for_others(make_plan):
    model = straight("SanaSprintPipeline")
    assert "intermediate_timesteps" not in make_plan(model).arguments
    assert make_plan(model, steps=4).arguments["intermediate_timesteps"] is None


def test_qwen_image_is_guided_away_from_a_blank_where_nothing_else_is_said(make_plan):
    model = straight("QwenImagePipeline")
    plain, asked = make_plan(model), make_plan(model, negative_prompt="dull", guidance=3.0)
    assert (plain.arguments["negative_prompt"], plain.arguments["true_cfg_scale"]) == (" ", 4.0)
    assert (asked.arguments["negative_prompt"], asked.arguments["true_cfg_scale"]) == ("dull", 3.0)


def test_a_distilled_model_is_called_without_guidance_whatever_its_pipeline_would_choose(make_plan):
    model = straight("ZImagePipeline", shift=3.0)
    assert make_plan(model).arguments["guidance_scale"] == 0.0
    with pytest.raises(RequestError, match="Z-Image Turbo takes no guidance"):
        make_plan(model, guidance=4.0)
    distilled = stable_diffusion()
    distilled.configs["unet"]["time_cond_proj_dim"] = 256
    with pytest.raises(RequestError, match="distilled"):
        make_plan(distilled, negative_prompt="x")


def test_guidance_on_a_model_without_is_refused(make_plan):
    machine = with_cuda(free=60 * 2**30)
    with pytest.raises(RequestError, match=r"FLUX\.1 schnell takes no guidance"):
        make_plan(flux(schnell=True), machine, guidance=3.5)
    plan = make_plan(flux(schnell=True), machine)
    assert plan.steps == 4
    assert "guidance_scale" not in plan.arguments
    assert plan.arguments["max_sequence_length"] == 256


def test_arguments_that_the_pipeline_does_not_take_are_refused():
    def takes_only_a_prompt(names, pipeline):
        assert pipeline == "StableDiffusionPipeline"
        if set(names) != {"prompt"}:
            raise RequestError("no")

    with pytest.raises(RequestError, match="no"):
        resolve.resolve(
            GenerateRequest(prompt="x"), builtin(), laptop(), draw_seed=lambda limit: 0, check_call=takes_only_a_prompt
        )


def test_another_sampler_is_a_scheduler_and_the_models_own_is_not(make_plan):
    assert make_plan(sampler="dpmpp_2m").scheduler is None
    assert make_plan(sampler="euler").scheduler.class_name == "DPMSolverMultistepScheduler"
    with pytest.raises(RequestError, match="'euler_a'"):
        make_plan(sampler="euler_a")


def test_a_record_that_names_an_unknown_sampler_is_the_models_fault(make_plan):
    with pytest.raises(ModelError, match=r"imggen\.json"):
        make_plan(builtin(sampler="magic"))


def test_an_error_names_the_origin_of_what_nobody_typed(make_plan):
    with pytest.raises(RequestError, match="--steps comes from the environment"):
        make_plan(steps=0, origin={"steps": "environment"})
    with pytest.raises(RequestError) as caught:
        make_plan(steps=0, origin={"steps": "command line"})
    assert "comes from" not in caught.value.message


def test_sizes_follow_the_record_and_the_family(make_plan):
    with pytest.raises(RequestError, match="edges of 64 to 256 px"):
        make_plan(size="512x512")
    with pytest.raises(RequestError, match="multiple of 16"):
        make_plan(flux(), with_cuda(), width=1000)
    assert "trained on 512x512" in make_plan(stable_diffusion(), with_cuda(), size="1024x1088").notes[0]


def test_unknown_words_become_notes(make_plan):
    (note,) = make_plan(prompt="a red unicorn").notes
    assert "red, but not unicorn" in note


def test_formats_follow_the_name_of_the_file(make_plan):
    assert make_plan(output="a.JPG").output.format == "jpeg"
    assert make_plan(output="a.webp").output.quality == 90
    assert make_plan(output="out/", format="webp").output.format == "webp"
    assert make_plan(format="jpeg").output.template.endswith(".jpg")
    with pytest.raises(RequestError, match=r"-o a.png names png and --format says jpeg"):
        make_plan(output="a.png", format="jpeg")
    assert make_plan(output="a.jpeg", format="jpeg").output.format == "jpeg"


def test_a_format_that_imggen_does_not_write_is_refused(make_plan):
    with pytest.raises(RequestError, match=r"\.gif"):
        make_plan(output="a.gif")


def test_a_quality_is_for_formats_that_have_one(make_plan):
    assert make_plan(output="a.jpg", quality=80).output.quality == 80
    with pytest.raises(RequestError, match="png is lossless"):
        make_plan(quality=80)
    plan = make_plan(quality=80, origin={"quality": "preset web"})
    assert plan.output.quality == 100
    assert "preset web" in plan.reasons["quality"]
    for quality in (0, 101):
        with pytest.raises(RequestError, match="not in 1 to 100"):
            make_plan(output="a.jpg", quality=quality)


def test_many_pictures_do_not_go_to_standard_output(make_plan):
    assert make_plan(output="-", seed="1").output.template == "-"
    with pytest.raises(RequestError, match="writes one picture to standard output, and 2"):
        make_plan(output="-", seed="1-2")


@pytest.mark.parametrize("template", ["{sead}.png", "{seed", "{seed}/../../x.png", ""])
def test_a_template_that_cannot_name_files_is_refused_before_loading(make_plan, template):
    with pytest.raises(RequestError):
        make_plan(output=template)


def test_the_plan_is_strict_json_without_a_blank(make_plan):
    plan = make_plan()
    values = json.loads(resolve.to_json(plan))
    assert values["model"]["reference"] == "builtin"
    assert values["family"] == plan.family.name
    assert values["seeds"] == [7]
    assert values["levers"][0].keys() == {"name", "value", "reason"}
    assert {each.name for each in fields(GeneratePlan)} <= values.keys()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(list(MODELS)),
    st.fixed_dictionaries(
        {},
        optional={
            "width": st.integers(-1, 3000),
            "size": st.sampled_from(["512x512", "64x64", "native", "x", "720p"]),
            "aspect": st.sampled_from(["1:1", "16:9", "0:1", "z"]),
            "steps": st.integers(-1, 1200),
            "guidance": st.floats(),
            "seed": st.sampled_from(["1", "1-3", "random", "-1", "9,8"]),
            "num_images": st.integers(-1, 4),
            "sampler": st.sampled_from(["euler", "dpmpp_2m", "ddim", "nope"]),
            "negative_prompt": st.text(max_size=5),
            "output": st.sampled_from(["-", "a.png", "b.webp", "d/", "{seed}.jpg", "{x}.png"]),
            "quality": st.integers(-1, 120),
            "offload": st.sampled_from(["auto", "none", "model", "sequential"]),
            "attention_slicing": st.sampled_from(["auto", "on", "off"]),
            "vae_tiling": st.sampled_from(["auto", "on", "off"]),
            "dtype": st.sampled_from(["auto", "fp32", "bf16", "fp16", "x"]),
            "device": st.sampled_from(["auto", "cpu", "cuda", "mps", "x"]),
        },
    ),
    st.sampled_from([laptop(), with_cuda(), with_mps()]),
)
def test_any_request_is_a_plan_that_keeps_its_word_or_an_explained_error(make_plan, model, asked, machine):
    try:
        plan = make_plan(MODELS[model], machine, **asked)
    except (RequestError, MachineError):
        return
    assert plan.arguments["width"] == plan.width == asked.get("width", plan.width)
    assert plan.steps == asked.get("steps", plan.steps)
    assert len(set(plan.seeds)) == len(plan.seeds) == asked.get("num_images", len(plan.seeds))
    assert json.loads(resolve.to_json(plan))["height"] == plan.height
    if asked.get("offload", "auto") != "auto":
        assert plan.offload == asked["offload"]
