"""What is done to the given pictures: options that a task has not, masks, borders, shares and mutation."""

import math
from types import SimpleNamespace

import pytest

from imggen.errors import RequestError
from imggen.plan.generation import alteration
from imggen.plan.generation.approach import Approach
from imggen.plan.schema.request import GenerateRequest
from tests.plan.cases import case, picture

IMAGE = (picture(),)
PAIR = (picture("parent", "a.png"), picture("parent", "b.png"))


def alter(method="image-to-image", given=IMAGE, image_guidance=None, **said):
    way = Approach(method=method, pipeline="P", reason="", strength=0.4)
    change, weights = alteration.choose(case(given=given, **said), way, image_guidance)
    return SimpleNamespace(change=change, weights=weights)


def repaint(task="inpaint", **said):
    return alter("inpainting", task=task, **said).change


def blend(given=PAIR, method="latents", **said):
    return alter(method, given, task="blend", **said)


def refusal(function, *arguments, **said):
    with pytest.raises(RequestError) as caught:
        function(*arguments, **said)
    return caught.value.message, caught.value.hint


def test_an_option_of_another_task_is_refused_where_it_was_typed_and_else_left_out():
    for origin in ({}, {"mask_box": "command line"}):
        assert refusal(alteration.of_task, GenerateRequest(mask_box="1,1,2,2", origin=origin)) == (
            "--mask-box 1,1,2,2: imggen generate has no such option",
            "leave it out; it is an option of inpaint",
        )
    request = GenerateRequest(pad="8", size="64x64", steps=3, origin={"pad": "preset a", "size": "preset a"})
    kept = alteration.of_task(request)
    assert (kept.pad, kept.size, kept.steps) == (None, "64x64", 3)
    assert alteration.of_task(GenerateRequest(steps=3)) == GenerateRequest(steps=3)
    own = GenerateRequest(task="outpaint", pad="8")
    assert alteration.of_task(own) is own


def test_a_picture_from_words_alone_changes_nothing():
    assert alter(None) == SimpleNamespace(change=None, weights=())


def test_a_change_holds_what_the_method_and_the_request_say():
    altered = alter(task="image-to-image", frame=3, image_guidance=1.5)
    change = altered.change
    assert (change.method, change.strength, change.image_guidance) == ("image-to-image", 0.4, 1.5)
    assert (change.frame, change.fit, altered.weights) == (3, "crop", ())
    assert (change.mutation, change.feather, change.pad) == (0.0, 0, None)
    assert alter(task="image-to-image", fit="pad").change.fit == "pad"
    assert repaint("outpaint", pad="8").fit is None


def test_a_mask_or_a_box_says_what_to_repaint_and_both_are_one_too_many():
    assert repaint(mask="m.png").mask_box is None
    assert repaint(mask_box="1,2,99,78").mask_box == (1, 2, 99, 78)
    assert "the picture is 100x80" in refusal(repaint, mask_box="1,2,100,78")[0]
    assert refusal(repaint) == (
        "inpaint needs to know what to repaint",
        "--mask mask.png (white is repainted), or --mask-box x,y,width,height",
    )
    assert refusal(repaint, mask="m.png", mask_box="1,2,3,4") == (
        "--mask m.png and --mask-box 1,2,3,4 both say what to repaint",
        "leave one of the two out",
    )


@pytest.mark.parametrize("feather", [-1, 513])
def test_a_feather_has_0_to_512_pixels(feather):
    assert [repaint(mask="m", feather=good).feather for good in (None, 0, 512)] == [0, 0, 512]
    assert refusal(repaint, mask="m", feather=feather) == (
        f"--feather {feather} is not in 0 to 512 pixels",
        "--feather 8",
    )


def test_a_repainted_picture_is_pasted_and_its_mask_stays_unless_somebody_says_otherwise():
    assert [repaint(mask="m", paste=paste).paste for paste in (None, True, False)] == [True, True, False]
    inverted = [repaint(mask="m", invert_mask=invert).invert_mask for invert in (None, True, False)]
    assert inverted == [False, True, False]


def test_outpainting_needs_borders_and_no_mask():
    change = repaint("outpaint", pad="1,2,3,4", feather=5)
    assert (change.pad, change.mask_box, change.feather) == ((1, 2, 3, 4), None, 5)
    message, hint = refusal(repaint, "outpaint")
    assert message == "outpaint needs to know how far"
    assert hint.startswith("--pad 64,0,64,0 ")


def test_the_changed_picture_is_the_first_that_is_no_helper():
    base = picture("parent", "first.png")
    assert alteration.picture((picture("style"), base, picture("parent", "second.png"))) is base
    assert alteration.picture((picture("mask"), picture("image", "only.png"))).name == "only.png"


def test_children_are_mutated_by_default_only_where_noise_is_mixed():
    assert blend(method="noise-and-words").change.mutation == alteration.MUTATION == 0.2
    assert blend(method="latents").change.mutation == 0.0
    assert [blend(mutate=share).change.mutation for share in (0.0, 1.0)] == [0.0, 1.0]
    assert blend(method="noise-and-words", mutate=0.0).change.mutation == 0.0


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan, math.inf])
def test_a_mutation_is_a_share(share):
    assert refusal(blend, mutate=share) == (f"--mutate {share:g} is not in 0 to 1", "--mutate 0.2")


def test_one_to_sixteen_parents_share_equally():
    assert blend(PAIR[:1]).weights == (1.0,)
    assert blend((picture("style"), *PAIR)).weights == (0.5, 0.5)
    assert blend(PAIR * 8).weights == (1 / 16,) * 16
    for parents in ((), (*PAIR * 8, PAIR[0])):
        assert refusal(blend, parents) == (f"{len(parents)} parents; blend takes 1 to 16", None)


@pytest.mark.parametrize("text", ["0.7,0.3", "1,0", " 0.25 , 0.75 ", "0.5,0.5009", "0.5,0.4991"])
def test_shares_that_add_up_to_about_1_are_taken_as_they_are(text):
    assert blend(weights=text).weights == tuple(map(float, text.split(",")))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a,b", "--weights 'a,b' is not a list of numbers, separated by commas", "0.7,0.3"),
        ("1", "--weights 1 are 1, and there are 2 parents", "0.500,0.500"),
        ("0.2,0.3,0.5", "--weights 0.2,0.3,0.5 are 3, and there are 2 parents", "0.500,0.500"),
        ("-0.5,1.5", "--weights -0.5,1.5 has one that is negative or not a number", "0.500,0.500"),
        ("nan,1", "--weights nan,1 has one that is negative or not a number", "0.500,0.500"),
        ("inf,1", "--weights inf,1 has one that is negative or not a number", "0.500,0.500"),
        ("0.5,0.5012", "--weights 0.5,0.5012 add up to 1.0012, not to 1", "0.499,0.501"),
        ("0.5,0.4988", "--weights 0.5,0.4988 add up to 0.9988, not to 1", "0.501,0.499"),
        ("3,1", "--weights 3,1 add up to 4, not to 1", "0.75,0.25"),
        ("0,0", "--weights 0,0 add up to 0, not to 1", "0.500,0.500"),
    ],
)
def test_shares_that_cannot_be_are_refused_with_some_that_can(text, message, hint):
    assert refusal(blend, weights=text) == (message, f"--weights {hint}")
    assert blend(weights=hint).change is not None


def test_three_equal_shares_in_a_hint_add_up_to_1():
    assert refusal(blend, (*PAIR, PAIR[0]), weights="1") == (
        "--weights 1 are 1, and there are 3 parents",
        "--weights 0.333,0.333,0.334",
    )
