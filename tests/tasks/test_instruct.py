"""Models that edit a picture by an instruction: what holds the picture, what the words do, and what is refused."""

import numpy as np
import pytest

from imggen.errors import ModelError, RequestError
from imggen.host import environment
from imggen.plan.generation import resolve
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests import single_files
from tests.tasks.test_families import asked, in_a_folder_with_pictures, made, opened, plain
from tests.tiny_models import BUILDERS, tiny_models

__all__ = ["in_a_folder_with_pictures", "tiny_models"]

EDITORS = ("sd-instruct-pix2pix", "sdxl-instruct-pix2pix")


@pytest.mark.parametrize("family", EDITORS)
def test_the_picture_is_edited_and_the_recipe_says_how_much_of_it_held(tiny_models, family):
    request = asked(tiny_models, family, "image-to-image", image_guidance=2.0, negative_prompt="rain")
    recipe, pixels = made(request)
    plan = generate.plan(request)
    assert plan.arguments["image_guidance_scale"] == 2.0
    assert (recipe.change.method, recipe.change.strength, recipe.change.image_guidance) == ("reference", None, 2.0)
    np.testing.assert_array_equal(pixels, plain(plan, image=opened("photo.png")))
    again, same = made(GenerateRequest(task="image-to-image", from_file="out.png", images=("photo.png",)))
    assert again.change == recipe.change
    np.testing.assert_array_equal(same, pixels)


@pytest.mark.parametrize("family", EDITORS)
def test_what_is_said_has_an_effect(tiny_models, family):
    long = "apple " * 20
    _, usual = made(asked(tiny_models, family, "image-to-image", prompt=long + "red"))
    for said in (
        {"image_guidance": 4.0},
        {"guidance": 9.0},
        {"negative_prompt": "rain"},
        {"prompt": long + "blue"},
        {"prompt": long + "(red:1.4)"},
    ):
        _, other = made(asked(tiny_models, family, "image-to-image", **{"prompt": long + "red"} | said))
        assert (usual != other).any(), said


def test_the_plan_says_what_the_picture_weighs_and_counts_three_passes(tiny_models):
    plan = generate.plan(asked(tiny_models, EDITORS[0], "image-to-image"))
    assert any("image guidance 1.5" in line for line in resolve.explain(plan))
    unguided = generate.plan(asked(tiny_models, EDITORS[0], "image-to-image", guidance=1.0, size="2048x2048"))
    guided = generate.plan(asked(tiny_models, EDITORS[0], "image-to-image", size="2048x2048"))
    assert guided.memory.denoising_bytes > unguided.memory.denoising_bytes


def test_kandinsky_edits_at_one_of_its_sizes_and_breaks_over_no_long_prompt(tiny_models):
    opened("photo.png").resize((1152, 896)).save("wide.png")
    request = asked(tiny_models, "kandinsky5-edit", "image-to-image", images=("wide.png",), steps=1)
    recipe, pixels = made(request)
    assert (recipe.family, recipe.change.method, pixels.shape) == ("kandinsky5-edit", "reference", (896, 1152, 3))
    np.testing.assert_array_equal(pixels, plain(generate.plan(request), image=opened("wide.png")))
    with pytest.raises(RequestError, match="the prompt has 700 tokens; Kandinsky 5 for editing takes 680 at most"):
        made(asked(tiny_models, "kandinsky5-edit", "image-to-image", images=("wide.png",), steps=1, prompt="a" * 700))


@pytest.mark.parametrize(
    ("family", "task", "said", "message"),
    [
        (EDITORS[0], "image-to-image", {"image_guidance": 0.5}, "--image-guidance 0.5: InstructPix2Pix takes 1"),
        (EDITORS[0], "image-to-image", {"image_guidance": float("nan")}, "--image-guidance nan"),
        (EDITORS[0], "image-to-image", {"image_guidance": 2.0, "guidance": 1.0}, "only when guidance is above 1"),
        (EDITORS[0], "image-to-image", {"strength": 0.5}, "which starts from noise"),
        (EDITORS[0], "image-to-image", {"ip_adapter": "style.png"}, "there are no IP-Adapters for models that edit"),
        (EDITORS[0], "text-to-image", {"images": ()}, "has no pipeline that can make a picture from words"),
        (EDITORS[1], "inpaint", {"mask": "mask.png"}, "cannot repaint a part"),
        ("sd", "image-to-image", {"image_guidance": 2.0}, "has no image guidance"),
        ("sd", "text-to-image", {"images": (), "image_guidance": 2.0}, "imggen generate has no such option"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny_models, family, task, said, message):
    with pytest.raises(RequestError, match=message):
        generate.plan(asked(tiny_models, family, task, **said))


def test_what_a_preset_says_of_it_does_no_harm_to_other_models(tiny_models):
    request = asked(tiny_models, "sd", "image-to-image", image_guidance=2.0, origin={"image_guidance": "preset x"})
    assert "image_guidance_scale" not in generate.plan(request).arguments


def test_a_single_file_edits_as_its_folder_does(tiny_models, tmp_path):
    with environment.quiet():
        file = single_files.save(
            single_files.stable_diffusion(BUILDERS[EDITORS[0]](tmp_path)), tmp_path / "x.safetensors"
        )
    _, wanted = made(asked(tiny_models, EDITORS[0], "image-to-image"))
    base = str(tiny_models(EDITORS[0]))
    request = asked(tiny_models, EDITORS[0], "image-to-image", model=str(file), base=base)
    assert generate.plan(request).model.single.kind == "InstructPix2Pix"
    (one,) = generate.generate(request)
    np.testing.assert_array_equal(np.asarray(opened("out.png")), wanted)
    assert one.recipe.family == EDITORS[0]


def test_one_that_may_be_cosxl_is_refused(tiny_models, tmp_path):
    with environment.quiet():
        tensors = single_files.stable_diffusion_xl(BUILDERS[EDITORS[1]](tmp_path))
        file = single_files.save(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="its names do not tell whether it is CosXL Edit"):
        generate.plan(asked(tiny_models, EDITORS[1], "image-to-image", model=str(file)))
