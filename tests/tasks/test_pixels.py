"""Families that draw pixels themselves, or tokens, from pictures: against plain diffusers."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.deepfloyd_if import IFPipelineOutput
from PIL import Image

from imggen.engine.pipeline import loader
from imggen.errors import PictureError, RequestError
from imggen.host import environment
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    levels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC).save("photo.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 56))
    mask.save("mask.png")


def asked(tiny_models, family, task="image-to-image", **said):
    fields = {"prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu", "steps": 2, "output": "out.png"}
    given = () if task == "text-to-image" else ("photo.png",)
    return GenerateRequest(
        **{"task": task, "model": str(tiny_models(family)), "images": given, "watermark": "off"} | fields | said
    )


def made(request, load=loader.load):
    (one,) = generate.generate(request, load=load)
    return one.recipe, opened("out.png")


def opened(path, mode="RGB"):
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))


def plain(plan, **shown):
    """The pixels of a script without imggen: the folder as diffusers loads it, in the class for the task."""
    with environment.quiet():
        folder = diffusers.DiffusionPipeline.from_pretrained(plan.model.folder, dtype=torch.float32)
        checker = {"requires_safety_checker": False} if plan.family.name == "deepfloyd-if" else {}
        pipeline = getattr(diffusers, plan.pipeline)(**folder.components, **checker)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(7)
        return np.asarray(pipeline(**plan.arguments, **shown, generator=generator).images[0])


@pytest.mark.parametrize("family", ["kandinsky3", "amused", "deepfloyd-if"])
def test_a_picture_is_started_from(tiny_models, family):
    request = asked(tiny_models, family, steps=4, strength=0.5)
    recipe, pixels = made(request)
    assert (recipe.family, recipe.change.method, recipe.change.strength) == (family, "image-to-image", 0.5)
    np.testing.assert_array_equal(pixels, plain(generate.plan(request), image=Image.open("photo.png")))


def test_a_part_is_repainted(tiny_models):
    request = asked(tiny_models, "deepfloyd-if", "inpaint", mask="mask.png")
    recipe, pixels = made(request)
    assert recipe.change.method == "inpainting"
    shown = {"image": Image.open("photo.png"), "mask_image": Image.open("mask.png")}
    inside = opened("mask.png", "L") > 0
    np.testing.assert_array_equal(pixels[inside], plain(generate.plan(request), **shown)[inside])
    np.testing.assert_array_equal(pixels[~inside], opened("photo.png")[~inside])


def test_tokens_change_only_where_a_step_is_left_out(tiny_models):
    with pytest.raises(RequestError, match=r"--strength 1 of 4 steps skips none of them, and aMUSEd changes") as caught:
        generate.plan(asked(tiny_models, "amused", steps=4, strength=1.0))
    assert caught.value.hint == "--strength 0.75"
    assert generate.plan(asked(tiny_models, "amused", steps=4, strength=0.75)).change.strength == 0.75


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_what_draws_pixels_itself_saves_nothing_that_is_no_picture(tiny_models, tmp_path, value):
    def load(plan, **_):
        pipeline = loader.load(plan)
        last = pipeline.transformer.final_layer.linear
        torch.nn.init.constant_(last.weight, value)
        torch.nn.init.constant_(last.bias, value)
        return pipeline

    message = "not made of numbers" if value else "shows nothing: all of it is"
    with pytest.raises(PictureError, match=f"the model's own result .*{message}"):
        made(asked(tiny_models, "prx-pixel", "text-to-image", steps=1), load)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("verdict", ["nsfw_detected", "watermark_detected"])
def test_what_its_safety_checker_blanks_is_no_picture(tiny_models, tmp_path, monkeypatch, verdict):
    def verdicts(**said):
        given = {"nsfw_detected": [False], "watermark_detected": [False]} | {verdict: [True]}
        return IFPipelineOutput(**said | given)

    monkeypatch.setattr("diffusers.pipelines.deepfloyd_if.pipeline_if.IFPipelineOutput", verdicts)
    with pytest.raises(PictureError, match="blanked the picture of seed 7"):
        made(asked(tiny_models, "deepfloyd-if", "text-to-image"))
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("axes", ["x", "xy"])
def test_pixels_wrap_around_without_an_autoencoder(tiny_models, axes):
    recipe, pixels = made(asked(tiny_models, "deepfloyd-if", "text-to-image", tile=axes))
    assert recipe.tile == axes
    assert (pixels != made(asked(tiny_models, "deepfloyd-if", "text-to-image"))[1]).any()
