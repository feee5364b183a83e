"""Models that read structured captions: prompts that are JSON objects, with words and with pictures."""

import json

import numpy as np
import pytest

from imggen.engine.pipeline import loader
from imggen.errors import RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests.tasks.test_families import asked, in_a_folder_with_pictures, made, opened, plain
from tests.tiny_models import tiny_models

__all__ = ["in_a_folder_with_pictures", "tiny_models"]

CAPTION = '{"short_description": "a (red:1.3) apple", "objects": [{"description": "{an} apple | a __pear__"}]}'
EDIT = json.dumps({"edit_instruction": "make the apple blue"})
SMALL = {"size": "256x256"}


def from_words(tiny_models, family, **said):
    return asked(tiny_models, family, "text-to-image", **{"images": ()} | SMALL | said)


@pytest.mark.parametrize("family", ["fibo", "sd"])
def test_a_caption_is_read_as_it_stands_and_made_again(tiny_models, family):
    recipe, pixels = made(from_words(tiny_models, family, prompt=CAPTION))
    assert (recipe.prompt, recipe.template) == (CAPTION, "")
    again, same = made(GenerateRequest(from_file="out.png"))
    assert again.prompt == CAPTION
    np.testing.assert_array_equal(same, pixels)


def test_words_that_are_no_caption_are_noted_where_the_model_knows_no_others(tiny_models):
    assert any("JSON objects alone" in note for note in generate.plan(from_words(tiny_models, "fibo")).notes)
    told = generate.plan(from_words(tiny_models, "fibo", prompt=CAPTION)).notes
    assert not any("JSON" in note for note in told)


def test_alternatives_are_still_chosen_where_a_prompt_is_no_json(tiny_models):
    plan = generate.plan(from_words(tiny_models, "fibo2", prompt='{"a"|"b"} apple'))
    assert plan.prompt in ('"a" apple', '"b" apple')


@pytest.mark.parametrize(("family", "prompt"), [("fibo-edit", EDIT), ("fibo2", EDIT), ("fibo2", "make it blue")])
def test_a_picture_is_edited_by_looking_at_it(tiny_models, family, prompt):
    request = asked(tiny_models, family, "image-to-image", prompt=prompt)
    recipe, pixels = made(request)
    assert (recipe.family, recipe.change.method, recipe.change.strength) == (family, "reference", None)
    np.testing.assert_array_equal(pixels, plain(generate.plan(request), image=opened("photo.png")))


@pytest.mark.parametrize("family", ["fibo-edit", "fibo2"])
def test_a_part_is_repainted_by_the_argument_that_the_pipeline_has_for_it(tiny_models, family):
    request = asked(tiny_models, family, "inpaint", prompt=EDIT, mask="mask.png")
    recipe, pixels = made(request)
    assert (recipe.change.method, recipe.change.strength) == ("inpainting", None)
    wanted = plain(generate.plan(request), image=opened("photo.png"), mask=opened("mask.png", "L"))
    inside = np.asarray(opened("mask.png", "L")) > 0
    np.testing.assert_array_equal(pixels[inside], wanted[inside])
    np.testing.assert_array_equal(pixels[~inside], np.asarray(opened("photo.png"))[~inside])


def test_a_style_is_told_in_a_caption(tiny_models):
    request = asked(tiny_models, "fibo-edit", "style", prompt=None, like="style.png")
    recipe, pixels = made(request)
    assert json.loads(recipe.prompt) == {"edit_instruction": "the first image in the style of the second image"}
    wanted = plain(generate.plan(request), image=[opened("photo.png"), opened("style.png")])
    np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.parametrize(
    ("family", "task", "said", "message"),
    [
        (
            "fibo-edit",
            "image-to-image",
            {"prompt": "make it blue"},
            r"with 'edit_instruction', and this is none: 'make",
        ),
        (
            "fibo-edit",
            "image-to-image",
            {"prompt": '{"objects": []}'},
            r"without 'edit_instruction'.* it has 'objects'",
        ),
        ("fibo2", "image-to-image", {"prompt": "{}"}, r"without 'edit_instruction'.* it has nothing"),
        ("fibo2", "inpaint", {"prompt": CAPTION, "mask": "mask.png"}, r"without 'edit_instruction'"),
        ("fibo-edit", "inpaint", {"prompt": EDIT, "mask": "mask.png", "strength": 0.5}, "which starts from noise"),
        ("fibo-edit", "text-to-image", {"prompt": EDIT, "images": ()}, "has no pipeline that can make a picture from"),
        ("fibo", "image-to-image", {}, "has no pipeline that can start from a picture"),
        ("ideogram4", "text-to-image", {"images": (), "negative_prompt": "rain"}, "takes no negative prompt"),
    ],
)
def test_what_a_pipeline_would_refuse_is_refused_before_anything_is_loaded(tiny_models, family, task, said, message):
    with pytest.raises(RequestError, match=message):
        generate.plan(asked(tiny_models, family, task, **said))


def test_the_hint_is_a_prompt_that_can_be_pasted(tiny_models):
    with pytest.raises(RequestError) as caught:
        generate.plan(asked(tiny_models, "fibo-edit", "image-to-image", prompt='make it "blue"'))
    assert caught.value.hint == """'{"edit_instruction": "make it \\"blue\\""}'"""


def test_ideogram_is_guided_less_in_its_last_steps(tiny_models):
    def guidance(**said):
        return generate.plan(from_words(tiny_models, "ideogram4", **said)).arguments["guidance_schedule"]

    assert guidance(steps=48) == [7.0] * 45 + [3.0] * 3
    assert guidance(steps=4, guidance=2.0) == [2.0] * 4
    assert guidance(steps=2) == [7.0, 3.0]
    assert guidance(steps=1) == [7.0]


def test_a_prompt_that_ideograms_pipeline_would_break_over_is_refused(tiny_models):
    with pytest.raises(RequestError, match=r"the prompt has 2000 tokens; Ideogram 4 takes 1024 at most"):
        next(iter(generate.generate(from_words(tiny_models, "ideogram4", prompt="a" * 2000), load=loader.load)))
