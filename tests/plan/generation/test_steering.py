"""What steers a picture: whose number holds, which numbers are refused, and what the user reads of it."""

import math
from dataclasses import replace

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.generation import steering
from imggen.plan.models.record import ModelRecord
from imggen.plan.schema.family import Stages
from tests.plan.cases import case, facts, family

STATED = {"origin": {"steps": "preset icon", "guidance": "environment"}}
RECORD = ModelRecord(steps=12, guidance=0.0, sampler="ddim")
CONSISTENCY = facts("LCMScheduler", scheduler={"original_inference_steps": 50, "num_train_timesteps": 1000})
PIXART = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
EDITOR = family(image_guidance=1.5, steers_above=1.0)
STAGED = family(stages=Stages(decoders={}, prior="", usual="", other_steps="25 steps of the prior besides"))


def steer(*arguments, **said):
    return steering.choose(case(*arguments, **said))


def refusal(*arguments, **said):
    with pytest.raises(RequestError) as caught:
        steer(*arguments, **said)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("record", "said", "values", "reasons"),
    [
        (None, {}, (30, 7.5), ("what suits Plain", "what suits Plain")),
        (RECORD, {}, (12, 0.0), ("the model's own record", "the model's own record")),
        (RECORD, {"steps": 5, "guidance": 2} | STATED, (5, 2.0), ("preset icon", "environment")),
        (None, {"steps": 5, "guidance": 0}, (5, 0.0), ("asked for", "asked for")),
    ],
)
def test_the_request_comes_before_the_record_and_the_record_before_the_family(record, said, values, reasons):
    steered = steer(record=record, **said)
    assert (steered.steps, steered.guidance) == values
    assert (steered.reasons["steps"], steered.reasons["guidance"]) == reasons
    assert isinstance(steered.guidance, float)


def test_two_stages_say_whose_steps_are_counted():
    assert steer(STAGED, steps=5).reasons["steps"] == "asked for; 25 steps of the prior besides"


@pytest.mark.parametrize(
    ("model", "sampler", "most", "taker"),
    [
        (facts(), None, 1000, "this model"),
        (facts(scheduler={"num_train_timesteps": 40}), None, 40, "this model"),
        (facts(scheduler={"num_train_timesteps": 2}), None, 2, "this model"),
        (facts(scheduler={"num_train_timesteps": 1}), None, 1000, "this model"),
        (facts(scheduler={"num_train_timesteps": 40.0}), None, 1000, "this model"),
        (CONSISTENCY, "default", 50, "sampler 'lcm'"),
        (facts("X", scheduler={"original_inference_steps": 50}), "default", 50, "this model"),
        (facts("X", scheduler={"original_inference_steps": 1}), "default", 1, "this model"),
        (facts("X", scheduler={"original_inference_steps": 0}), "default", 1000, "this model"),
        (facts("X", scheduler={"original_inference_steps": 50}), "ddim", 1000, "this model"),
        (facts(), "lcm", 50, "sampler 'lcm'"),
        (facts(scheduler={"num_train_timesteps": 40}), "lcm", 40, "sampler 'lcm'"),
    ],
)
def test_steps_end_where_the_model_or_the_sampler_does(model, sampler, most, taker):
    for steps, nearest in ((0, 1), (-3, 1), (most + 1, most)):
        assert refusal(model=model, sampler=sampler, steps=steps) == (
            f"--steps {steps}: {taker} takes 1 to {most}",
            f"--steps {nearest}",
        )
    assert [steer(model=model, sampler=sampler, steps=steps).steps for steps in (1, most)] == [1, most]


def test_a_model_that_lists_its_steps_takes_no_others():
    distilled, listing = family(steps_option="levels"), facts(options={"levels": [999, 500, 100]})
    assert steer(distilled, listing, record=RECORD).steps == 3
    assert steer(distilled, listing, steps=3).steps == 3
    assert refusal(distilled, listing, steps=4) == ("--steps 4: this model always takes 3 steps", "--steps 3")
    for no_list in ([], 7, None):
        assert steer(distilled, facts(options={"levels": no_list})).steps == 30
    assert steer(model=listing, steps=4).steps == 4


def test_two_steps_that_end_in_nan_are_refused_with_three():
    model = facts(scheduler=PIXART)
    assert refusal(model=model, sampler="dpm2_a", steps=2) == (
        "--sampler dpm2_a in 2 steps: a step from this model's most noise to its least ends in NaN",
        "--steps 3",
    )
    assert [steer(model=model, sampler="dpm2_a", steps=steps).steps for steps in (1, 3)] == [1, 3]


@pytest.mark.parametrize("guidance", [-0.1, math.inf, math.nan])
def test_guidance_is_a_finite_number_from_0_up(guidance):
    assert refusal(guidance=guidance) == (f"--guidance {guidance:g} is not a guidance scale", "--guidance 7.5")


def test_guidance_below_the_familys_least_is_refused():
    least = family(least_guidance=1.5)
    assert steer(least, guidance=1.5).guidance == 1.5
    assert refusal(least, guidance=1.4) == ("--guidance 1.4: Plain takes 1.5 and more", "--guidance 1.5")


def test_a_family_without_guidance_says_why_unless_nobody_asked():
    without = family(guidance_refusal="it is distilled")
    assert steer(without).guidance == 7.5
    message = "--guidance 0: Plain takes no guidance; it is distilled"
    assert refusal(without, guidance=0) == (message, "leave --guidance out")


@pytest.mark.parametrize(
    ("plain", "config", "guidance", "passes"),
    [
        (family(), {}, 1.0, 1),
        (family(), {}, 1.01, 2),
        (family(passes=3), {}, 1.01, 3),
        (family(steers_above=0.0), {}, 0.5, 2),
        (family(steers_above=0.0), {}, 0.0, 1),
        (family(negative_refusal="no"), {}, 7.0, 1),
        (family(distilled_key="embeds"), {}, 7.0, 2),
        (family(distilled_key="embeds"), {"embeds": 256}, 7.0, 1),
        (family(), {"embeds": 256}, 7.0, 2),
    ],
)
def test_a_step_takes_more_passes_only_above_the_guidance_that_steers(plain, config, guidance, passes):
    assert steer(plain, facts(unet=config), guidance=guidance).passes == passes


@pytest.mark.parametrize(
    ("plain", "config", "guidance", "reason"),
    [
        (family(negative_refusal="it has one pass"), {}, 7, "takes no negative prompt; it has one pass"),
        (
            family(distilled_key="embeds"),
            {"embeds": 256},
            7,
            "takes no negative prompt when its guidance is distilled, as in this model",
        ),
        (family(), {}, 1, "looks at a negative prompt only when guidance is above 1, and --guidance is 1"),
        (
            family(steers_above=0.0),
            {},
            0,
            "looks at a negative prompt only when guidance is above 0, and --guidance is 0",
        ),
    ],
)
def test_a_negative_prompt_that_nothing_looks_at_is_refused(plain, config, guidance, reason):
    said = {"model": facts(unet=config), "guidance": guidance}
    message = f"--negative-prompt 'rain' (asked for): Plain {reason}"
    assert refusal(plain, negative_prompt=" rain ", **said) == (message, "leave --negative-prompt out")
    assert steer(plain, negative_prompt=" ", **said).negative_prompt == ""


def test_a_negative_prompt_loses_its_margins_and_keeps_its_reason():
    steered = steer(negative_prompt=" rain\n", guidance=1.1, origin={"negative_prompt": "config"})
    assert (steered.negative_prompt, steered.reasons["negative_prompt"]) == ("rain", "config")
    assert (steer().negative_prompt, steer().reasons["negative_prompt"]) == ("", "none")


def test_image_guidance_is_the_requests_or_the_familys_from_1_up():
    assert steer().image_guidance is None
    assert steer(EDITOR).image_guidance == 1.5
    assert steer(EDITOR, image_guidance=1).image_guidance == 1.0
    for value in (0.9, math.inf, math.nan):
        message = f"--image-guidance {value:g}: Plain takes 1 (least weight of the picture) and more"
        assert refusal(EDITOR, image_guidance=value) == (message, "--image-guidance 1.5")


def test_image_guidance_that_would_be_ignored_is_refused_only_where_it_was_typed():
    preset = {"origin": {"image_guidance": "preset icon"}}
    message = "--image-guidance 2: Plain has no image guidance"
    assert refusal(image_guidance=2) == (message, "leave --image-guidance out")
    assert steer(image_guidance=2, **preset).image_guidance is None
    message = "--image-guidance 2: Plain uses it only when guidance is above 1, and --guidance is 1"
    assert refusal(EDITOR, image_guidance=2, guidance=1) == (message, "leave --image-guidance out")
    assert steer(EDITOR, image_guidance=2, guidance=1, **preset).image_guidance == 2.0
    assert steer(EDITOR, image_guidance=2, guidance=1.1).image_guidance == 2.0


@pytest.mark.parametrize(
    ("record", "said", "name", "scheduler", "reason"),
    [
        (None, {}, "pndm", None, "the model's own"),
        (None, {"sampler": "pndm"}, "pndm", None, "asked for"),
        (None, {"sampler": "default"}, "pndm", None, "asked for"),
        (RECORD, {}, "ddim", "DDIMScheduler", "the model's own record"),
        (RECORD, {"sampler": "heun"}, "heun", "HeunDiscreteScheduler", "asked for"),
        (RECORD, {"sampler": "default"}, "pndm", None, "asked for"),
    ],
)
def test_a_sampler_is_a_scheduler_unless_it_is_the_models_own(record, said, name, scheduler, reason):
    steered = steer(model=facts(scheduler={"skip_prk_steps": True}), record=record, **said)
    assert steered.sampler == name
    assert (steered.scheduler and steered.scheduler.class_name) == scheduler
    assert steered.reasons["sampler"] == reason


def test_a_scheduler_that_no_sampler_is_stays_the_default():
    assert steer(model=facts("EDMEulerScheduler")).sampler == "default"


def test_an_unknown_sampler_is_the_fault_of_whoever_named_it():
    message, hint = refusal(record=RECORD, sampler="hoin")
    assert message == "unknown sampler 'hoin'"
    assert hint.startswith("--sampler heun")
    with pytest.raises(ModelError) as caught:
        steer(record=replace(RECORD, sampler="hoin"))
    assert caught.value.message == "/models/a/imggen.json: unknown sampler 'hoin'"
    assert caught.value.hint == hint
