from dataclasses import replace

import pytest

from imggen.errors import MachineError, RequestError
from imggen.plan.generation import reproduce, resolve
from imggen.plan.schema.change import Change
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import builtin, laptop

RECIPE = Recipe(
    task="text-to-image",
    prompt="a green star",
    negative_prompt="",
    model="builtin",
    model_revision=None,
    model_hash="00",
    family="sd",
    width=128,
    height=96,
    steps=9,
    guidance=2.5,
    seed=41,
    sampler="euler",
    device="cpu",
    dtype="float32",
    attention_slicing="off",
    vae_tile=0,
    offload="none",
    versions={"torch": "2.14.1", "imggen": "0.1.0"},
)


def replay(recipe=RECIPE, machine=None, **said):
    origin = dict.fromkeys(said, "command line")
    request = reproduce.from_recipe(recipe, GenerateRequest(**said, origin=origin))
    return resolve.resolve(
        request, builtin(), machine or laptop(), draw_seed=lambda limit: 0, check_call=lambda names, pipeline: None
    )


def test_a_recipe_fills_everything_that_pixels_depend_on():
    plan = replay()
    assert (plan.prompt, plan.seeds, plan.steps, plan.guidance) == ("a green star", (41,), 9, 2.5)
    assert (plan.width, plan.height, plan.sampler, plan.vae_tile) == (128, 96, "euler", 0)
    assert (plan.device, plan.dtype, plan.attention_slicing) == ("cpu", "float32", "off")
    assert plan.reasons["steps"] == "recipe"


def test_the_command_line_goes_before_the_recipe():
    plan = replay(prompt="a red apple", seed="5-6", steps=3, output="x.png")
    assert (plan.prompt, plan.seeds, plan.steps, plan.output.template) == ("a red apple", (5, 6), 3, "x.png")
    assert (plan.width, plan.height) == (128, 96)
    assert replay(num_images=3).seeds == (41, 42, 43)


def test_the_recipe_goes_before_environment_preset_and_config():
    request = GenerateRequest(
        steps=50,
        size="64x64",
        num_images=4,
        vae_tiling="on",
        output="x.png",
        origin={
            "steps": "environment",
            "size": "config",
            "num_images": "preset",
            "vae_tiling": "config",
            "output": "config",
        },
    )
    filled = reproduce.from_recipe(RECIPE, request)
    assert (filled.steps, filled.size, filled.width, filled.num_images) == (9, None, 128, None)
    assert (filled.vae_tiling, filled.vae_tile, filled.output) == (None, 0, "x.png")


def test_a_size_on_the_command_line_replaces_the_recipes():
    assert (replay(size="64x64").width, replay(size="64x64").height) == (64, 64)
    assert replay(aspect="1:1").height == 128
    assert (replay(width=64).width, replay(width=64).height) == (64, 96)
    assert replay(vae_tiling="on").vae_tile == 64


def test_a_device_or_dtype_that_is_not_here_becomes_a_note():
    plan = replay(replace(RECIPE, device="cuda", dtype="float16"))
    assert (plan.device, plan.dtype) == ("cpu", "float32")
    assert "made on cuda" in plan.notes[0]
    assert "made in float16" in plan.notes[1]


def test_a_device_that_was_typed_is_still_refused_when_it_is_not_here():
    with pytest.raises(MachineError, match="no cuda device"):
        replay(device="cuda")


def test_a_recipe_of_a_pinned_model_asks_for_that_revision():
    filled = reproduce.from_recipe(replace(RECIPE, model="org/model", model_revision="abc"), GenerateRequest())
    assert filled.model == "org/model@abc"


def test_a_recipe_whose_model_takes_no_guidance_asks_for_none():
    filled = reproduce.from_recipe(replace(RECIPE, family="flux-schnell", guidance=0.0), GenerateRequest())
    assert filled.guidance is None


@pytest.mark.parametrize("tile", [-8, 7, 1, 10**9])
def test_a_recipe_with_a_senseless_tile_is_refused(tile):
    with pytest.raises(RequestError, match="tile"):
        replay(replace(RECIPE, vae_tile=tile))


def test_a_recipe_of_another_task_is_refused():
    with pytest.raises(RequestError, match="'inpaint'"):
        replay(replace(RECIPE, task="inpaint"))


def test_what_differs_from_the_recipe_is_told():
    made = replace(RECIPE, dtype="bfloat16", versions={"torch": "2.15.0", "imggen": "0.2.0"}, seed=1)
    assert reproduce.differences(RECIPE, made) == ("dtype float32 is now bfloat16", "torch 2.14.1 is now 2.15.0")
    assert reproduce.differences(RECIPE, RECIPE) == ()


def test_another_file_for_the_adapter_is_told_where_the_recipe_knows_which_it_was():
    made = [
        replace(RECIPE, change=Change(method="ip-adapter", adapter="a", adapter_hash=each))
        for each in ("ab" * 32, "cd" * 32, None)
    ]
    assert reproduce.differences(made[0], made[1]) == (f"adapter_hash {'ab' * 32} is now {'cd' * 32}",)
    assert reproduce.differences(made[2], made[1]) == reproduce.differences(made[1], made[1]) == ()
