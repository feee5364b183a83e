"""The tasks of the families that look at pictures or start from them, against plain diffusers."""

import functools

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imggen.engine.pipeline import loader
from imggen.errors import RequestError
from imggen.host import environment
from imggen.plan.models import catalog
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

LOOKING = ("dreamlite", "dreamlite-mobile", "flux-kontext", "flux2-klein-kv", "qwen-image-edit")
STARTING = ("sdxl-turbo", "sd-turbo", "lcm", "kolors", "sana-sprint")


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed, edge in (("photo.png", 1, 256), ("style.png", 2, 192)):
        levels = np.random.default_rng(seed).integers(0, 256, (edge // 8, edge // 8, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((edge, edge), Image.Resampling.BICUBIC).save(name)
    mask = Image.new("L", (256, 256))
    mask.paste(255, (64, 64, 192, 224))
    mask.save("mask.png")


@functools.cache
def loaded(folder):
    with environment.quiet():
        return diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)


def asked(tiny_models, family, task, **said):
    fields = {"prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu", "steps": 2, "output": "out.png"}
    return GenerateRequest(
        **{"task": task, "model": str(tiny_models(family)), "images": ("photo.png",), "watermark": "off"}
        | fields
        | said
    )


def made(request):
    (one,) = generate.generate(request, load=lambda plan, **_: loader.switch(loaded(plan.model.folder), plan))
    with Image.open("out.png") as picture:
        return one.recipe, np.asarray(picture.convert("RGB"))


def plain(plan, **shown):
    """The pixels of a script without imggen: the folder as diffusers loads it, in the class for the task."""
    with environment.quiet():
        task = getattr(diffusers, plan.pipeline)(
            **loaded(plan.model.folder).components, **plan.initial, **without_checker(plan)
        )
        task.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(7)
        return np.asarray(task(**plan.arguments, **shown, generator=generator)[0][0])


def without_checker(plan):
    return {"requires_safety_checker": False} if plan.family.name in ("sd-turbo", "lcm") else {}


def opened(path, mode="RGB"):
    with Image.open(path) as picture:
        return picture.convert(mode)


@pytest.mark.parametrize("family", STARTING)
def test_a_picture_is_started_from(tiny_models, family):
    request = asked(tiny_models, family, "image-to-image", steps=4, strength=0.5)
    recipe, pixels = made(request)
    assert (recipe.family, recipe.change.method, recipe.change.strength) == (family, "image-to-image", 0.5)
    np.testing.assert_array_equal(pixels, plain(generate.plan(request), image=opened("photo.png")))


@pytest.mark.parametrize("family", ["sdxl-turbo", "sd-turbo", "flux-fill"])
def test_a_part_is_repainted(tiny_models, family):
    request = asked(tiny_models, family, "inpaint", mask="mask.png")
    recipe, pixels = made(request)
    assert recipe.change.method == "inpainting"
    wanted = plain(generate.plan(request), image=opened("photo.png"), mask_image=opened("mask.png", "L"))
    inside = np.asarray(opened("mask.png", "L")) > 0
    np.testing.assert_array_equal(pixels[inside], wanted[inside])


@pytest.mark.parametrize("family", ["lcm", "kolors"])
def test_a_part_is_repainted_by_blending_latents_where_no_pipeline_does_it(tiny_models, family):
    recipe, pixels = made(asked(tiny_models, family, "inpaint", mask="mask.png"))
    assert recipe.change.method == "latent-blending"
    inside = np.asarray(opened("mask.png", "L")) > 0
    photo = np.asarray(opened("photo.png"))
    np.testing.assert_array_equal(pixels[~inside], photo[~inside])
    assert (pixels[inside] != photo[inside]).any()


def test_a_consistency_model_is_asked_for_no_more_steps_than_it_was_distilled_at(tiny_models):
    with pytest.raises(RequestError, match="--steps 60: this model takes 1 to 50"):
        generate.plan(asked(tiny_models, "lcm", "text-to-image", images=(), steps=60))
    with pytest.raises(RequestError, match=r"--strength 0\.1 of the 50 steps .* are less than 10") as caught:
        generate.plan(asked(tiny_models, "lcm", "image-to-image", steps=10, strength=0.1))
    assert caught.value.hint == "--strength 0.2"


def test_a_strength_that_is_rounded_up_to_all_of_few_steps_is_refused(tiny_models):
    plan = generate.plan(asked(tiny_models, "sana-sprint", "image-to-image"))
    assert (plan.steps, plan.change.strength) == (2, 0.5)
    with pytest.raises(RequestError, match=r"--strength 0\.75 of 2 steps is rounded up to all of them") as caught:
        generate.plan(asked(tiny_models, "sana-sprint", "image-to-image", strength=0.75))
    assert caught.value.hint == "--strength 0.5"
    assert generate.plan(asked(tiny_models, "sana-sprint", "image-to-image", strength=1.0)).change.strength == 1


@pytest.mark.parametrize("family", LOOKING)
def test_a_picture_is_edited_by_looking_at_it(tiny_models, family):
    request = asked(tiny_models, family, "image-to-image", steps=1)
    recipe, pixels = made(request)
    assert (recipe.family, recipe.change.method, recipe.change.strength) == (family, "reference", None)
    np.testing.assert_array_equal(pixels, plain(generate.plan(request), image=opened("photo.png")))


@pytest.mark.parametrize("family", ["qwen-image-edit-plus"])
def test_a_style_is_shown_beside_the_picture(tiny_models, family):
    request = asked(tiny_models, family, "style", like="style.png", prompt=None, steps=1)
    recipe, pixels = made(request)
    assert recipe.prompt == catalog.named(family).reference.words["style"]
    wanted = plain(generate.plan(request), image=[opened("photo.png"), opened("style.png")])
    np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.parametrize("family", ["flux-kontext"])
def test_what_is_repainted_is_looked_at_too(tiny_models, family):
    request = asked(tiny_models, family, "inpaint", mask="mask.png", images=("photo.png",))
    recipe, pixels = made(request)
    assert recipe.change.method == "inpainting"
    wanted = plain(generate.plan(request), image=opened("photo.png"), mask_image=opened("mask.png", "L"))
    inside = np.asarray(opened("mask.png", "L")) > 0
    np.testing.assert_array_equal(pixels[inside], wanted[inside])
    np.testing.assert_array_equal(pixels[~inside], np.asarray(opened("photo.png"))[~inside])


@pytest.mark.parametrize(
    ("family", "task", "said", "message"),
    [
        ("flux-fill", "text-to-image", {"images": ()}, "has no pipeline that can make a picture from words"),
        ("flux-fill", "image-to-image", {}, "has no pipeline that can start from a picture"),
        ("qwen-image-edit", "text-to-image", {"images": ()}, "has no pipeline that can make a picture from words"),
        ("qwen-image-edit", "inpaint", {"mask": "mask.png"}, "cannot repaint a part"),
        ("qwen-image-edit", "style", {"like": "style.png"}, "cannot take on a style"),
        ("flux-kontext", "style", {"like": "style.png"}, "cannot take on a style"),
    ],
)
def test_what_a_family_cannot_do_is_refused_before_anything_is_loaded(tiny_models, family, task, said, message):
    with pytest.raises(RequestError, match=message):
        generate.plan(asked(tiny_models, family, task, **said))
