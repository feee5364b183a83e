"""What a pipeline is called with: only what it takes and what differs from its own default."""

from pathlib import Path

import pytest

from imggen.errors import RequestError
from imggen.plan.generation import call
from imggen.plan.generation.approach import Approach
from imggen.plan.generation.steering import Steering
from imggen.plan.generation.words import Words
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.family import Reference
from imggen.plan.sizing.canvas import Canvas
from tests.plan.cases import case, family

AREA = Canvas(width=96, height=64)
CALL = {"prompt": "a pear", "width": 96, "height": 64, "num_inference_steps": 30, "guidance_scale": 5.0}


def arguments(row=None, *, steps=30, image_guidance=None, negative="", adapters=(), **approach):
    way = Approach(**{"method": None, "pipeline": "WordsPipeline", "reason": ""} | approach)
    words = Words(
        prompt="a pear",
        negative_prompt=negative,
        prompts=(),
        negative_prompts=(),
        reading="cut",
        template="",
        negative_template="",
    )
    steered = Steering(
        steps=steps,
        guidance=5.0,
        image_guidance=image_guidance,
        passes=2,
        negative_prompt=negative,
        sampler="default",
        scheduler=None,
        reasons={},
    )
    return call.arguments(case(row or family(), adapters=adapters), way, words, AREA, steered)


def adapter(kind, scale=None):
    asked = AdapterRequest(kind=kind, option=f"--{kind}", reference="r", scale=scale)
    return AdapterFacts(asked=asked, files=(Path("a"),), sha256="", reference="r")


@pytest.mark.parametrize(
    ("row", "said", "more"),
    [
        (family(), {}, {}),
        (family(), {"strength": 0.0}, {"strength": 0.0}),
        (family(), {"image_guidance": 1.5}, {"image_guidance_scale": 1.5}),
        (family(), {"negative": "rain"}, {"negative_prompt": "rain"}),
        (family(extra_arguments={"negative_prompt": " "}), {}, {"negative_prompt": " "}),
        (family(extra_arguments={"negative_prompt": " "}), {"negative": "rain"}, {"negative_prompt": "rain"}),
        (family(area_argument="area"), {}, {"area": 96 * 64}),
        (family(other_steps_arguments={"middle": None}), {}, {}),
        (family(other_steps_arguments={"middle": None}), {"steps": 29}, {"middle": None, "num_inference_steps": 29}),
        (family(swaps_edges=("text-to-image",)), {}, {"width": 64, "height": 96}),
        (family(swaps_edges=("image-to-image",)), {}, {}),
        (family(sized_by_image=("image-to-image", "style")), {}, {}),
        (family(), {"adapters": (adapter("controlnet"),)}, {"controlnet_conditioning_scale": 1.0}),
        (family(), {"adapters": (adapter("controlnet", 0.0),)}, {"controlnet_conditioning_scale": 0.0}),
        (family(), {"adapters": (adapter("lora", 0.5),)}, {}),
    ],
)
def test_a_call_says_what_the_plan_and_the_family_say(row, said, more):
    assert arguments(row, **said) == CALL | more


def test_a_family_may_call_its_arguments_otherwise_or_lack_them():
    named = arguments(family(steps_argument="prior_steps", guidance_argument="true_cfg_scale"))
    assert (named["prior_steps"], named["true_cfg_scale"]) == (30, 5.0)
    assert not {"num_inference_steps", "guidance_scale"} & named.keys()
    assert arguments(family(guidance_argument=None)).keys() == CALL.keys() - {"guidance_scale"}


def test_a_pipeline_that_takes_the_pictures_size_is_told_none():
    sized = arguments(family(sized_by_image=("image-to-image",)), pipeline="PicturePipeline")
    assert sized.keys() == CALL.keys() - {"width", "height"}


@pytest.mark.parametrize(
    ("late", "steps", "guidance"),
    [
        ((2, 3.0), 5, [5.0, 5.0, 5.0, 3.0, 3.0]),
        ((2, 9.0), 3, [5.0, 5.0, 5.0]),
        ((2, 3.0), 2, [5.0, 3.0]),
        ((2, 3.0), 1, [5.0]),
    ],
)
def test_late_guidance_is_one_number_a_step_and_the_first_step_keeps_its_own(late, steps, guidance):
    assert arguments(family(late_guidance=late), steps=steps)["guidance_scale"] == guidance


@pytest.mark.parametrize(
    ("approach", "shown"),
    [
        ({"method": None}, []),
        ({"method": "noise-and-words"}, []),
        ({"method": "image-to-image"}, ["image"]),
        ({"method": "latents"}, ["image"]),
        ({"method": "statistics"}, ["image"]),
        ({"method": "ip-adapter"}, ["image", "ip_adapter_image"]),
        ({"method": "latent-blending"}, ["image", "callback_on_step_end"]),
        ({"method": "inpainting"}, ["image", "hole"]),
        ({"method": "inpainting", "control_argument": "control_image"}, ["image", "hole", "control_image"]),
        ({"method": None, "control_argument": "control_image"}, ["control_image"]),
        (
            {"method": "inpainting", "picture_arguments": ("control_image", "control_mask")},
            ["control_image", "control_mask"],
        ),
        ({"method": "reference"}, ["images"]),
    ],
)
@pytest.mark.parametrize("is_shown", [False, True])
def test_the_call_is_checked_with_the_arguments_for_pictures(approach, shown, is_shown):
    looks = Reference(tasks=(), words={}, min_size=1, max_ratio=1, max_pixels=1, argument="images")
    checked = []
    way = Approach(**{"pipeline": "P", "reason": ""} | approach)
    adapters = (adapter("ip-adapter"),) if is_shown else ()
    row = family(mask_argument="hole", reference=looks)
    call.check(case(row, adapters=adapters), way, ["prompt"], lambda *asked: checked.append(asked))
    beside = ["ip_adapter_image"] if is_shown else []
    assert [(list(names), pipeline) for names, pipeline in checked] == [
        *([(beside, "P")] if is_shown else []),
        (["prompt", *shown, *beside], "P"),
    ]


@pytest.mark.parametrize(
    ("control", "message", "hint"),
    [
        (
            None,
            "--ip-adapter: P of diffusers takes no picture that is shown",
            "leave --ip-adapter out",
        ),
        (
            "control_image",
            "--ip-adapter with --control: P of diffusers takes no picture that is shown",
            "leave --control or --ip-adapter out; imggen generate may take both",
        ),
    ],
)
def test_a_pipeline_that_shows_the_model_no_picture_refuses_the_adapter_by_its_option(control, message, hint):
    def refuse(names, pipeline):
        raise RequestError(f"{pipeline} takes no {list(names)}")

    way = Approach(method=None, pipeline="P", reason="", control_argument=control)
    with pytest.raises(RequestError) as caught:
        call.check(case(adapters=(adapter("ip-adapter"),)), way, (), refuse)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    with pytest.raises(RequestError, match="P takes no"):
        call.check(case(), way, (), refuse)
