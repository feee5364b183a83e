"""Families that draw from words and by looking at pictures: what is peculiar to them, against plain diffusers."""

import functools

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imggen.engine import patching
from imggen.engine.pipeline import controlnets, loader
from imggen.engine.sampling import sampler
from imggen.errors import RequestError
from imggen.host import environment
from imggen.plan.models import catalog
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from imggen.tasks.steps import inputs
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def draw(name, size, mode="RGB", seed=1):
    levels = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, len(mode)), dtype=np.uint8)
    picture = Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)
    picture.save(name)
    return picture


def asked(tiny_models, model, task, **said):
    fields = {"prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu", "steps": 1, "output": "out.png"}
    folder = {"task": task, "model": str(tiny_models(model)), "watermark": "off"}
    return GenerateRequest(**folder | fields | said)


@functools.cache
def loaded(folder):
    with environment.quiet():
        return diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)


def made(request):
    notes = []
    load = lambda plan, **_: loader.switch(loaded(plan.model.folder), plan)  # noqa: E731 - it says what it does
    (one,) = generate.generate(request, load=load, on_note=notes.append)
    with Image.open(request.output) as picture:
        picture.load()
    return one, picture, [*notes, *one.notes]


def plain(plan, **shown):
    """The picture of a script without imggen."""
    pipeline = loaded(plan.model.folder)
    pipeline.set_progress_bar_config(disable=True)
    with environment.quiet(), controlnets.seeded(7):
        generator = torch.Generator("cpu").manual_seed(7)
        return pipeline(**plan.arguments, **shown, generator=generator).images[0]


def test_qwen_image_21_draws_transparency_and_looks_at_it(tiny_models):
    photo = draw("photo.png", (256, 256), "RGBA")
    request = asked(tiny_models, "qwen-image-2.1", "image-to-image", images=("photo.png",))
    one, picture, notes = made(request)
    assert (one.recipe.change.method, picture.mode, notes) == ("reference", "RGBA", [])
    np.testing.assert_array_equal(picture, plain(generate.plan(request), image=photo))


def test_what_a_jpeg_cannot_hold_is_laid_on_white_and_told(tiny_models):
    request = asked(tiny_models, "qwen-image-2.1", "text-to-image", size="256x256", output="out.jpg")
    _, picture, notes = made(request)
    assert picture.mode == "RGB"
    assert notes == ["a JPEG holds no transparency, so what is transparent was laid on white"]


@pytest.mark.parametrize(("lowest", "mode"), [(250, "RGB"), (249, "RGBA")])
def test_what_cannot_be_told_from_opaque_is_opaque(lowest, mode):
    drawn = Image.new("RGBA", (4, 4), (10, 20, 30, 255))
    drawn.putpixel((1, 2), (10, 20, 30, lowest))
    kept, notes = inputs.opaque(drawn, "png")
    assert (kept.mode, notes) == (mode, ())


def test_a_distilled_model_makes_the_steps_that_it_lists(tiny_models):
    request = asked(tiny_models, "qwen-image-2.1-turbo", "text-to-image", size="256x256", steps=None)
    plan = generate.plan(request)
    assert (plan.family.name, plan.steps) == ("qwen-image-2.1", 2)
    _, picture, _ = made(request)
    np.testing.assert_array_equal(picture, plain(plan))
    with pytest.raises(RequestError, match="--steps 8: this model always takes 2 steps") as caught:
        generate.plan(asked(tiny_models, "qwen-image-2.1-turbo", "text-to-image", size="256x256", steps=8))
    assert caught.value.hint == "--steps 2"


def test_qwen_image_21_decodes_in_tiles_that_meet(tiny_models):
    said = {"size": "1024x512", "output": "whole.png"}
    whole = np.asarray(made(asked(tiny_models, "qwen-image-2.1", "text-to-image", **said))[1]).astype(int)
    tiled = asked(tiny_models, "qwen-image-2.1", "text-to-image", vae_tiling="on", **said | {"output": "tiled.png"})
    assert generate.plan(tiled).vae_tile == 512
    pipeline = loader.load(generate.plan(tiled))
    (one,) = generate.generate(tiled, load=lambda *_, **__: pipeline)
    with Image.open(one.path) as picture:
        assert np.abs(np.asarray(picture).astype(int) - whole).mean() < 2


def test_longcat_draws_about_a_million_pixels_in_the_shape_of_the_picture(tiny_models):
    draw("wide.png", (600, 400))
    request = asked(tiny_models, "longcat-image-edit", "image-to-image", images=("wide.png",))
    plan = generate.plan(request)
    assert (plan.width, plan.height) == plan.canvas == (1264, 832)
    laid = inputs.lay(plan, inputs.read(request)).images[0]
    assert laid.size == (1264, 832)
    _, picture, _ = made(request)
    np.testing.assert_array_equal(picture, plain(plan, image=laid))


def test_sizes_that_longcat_does_not_make_are_refused(tiny_models):
    draw("photo.png", (256, 256))
    with pytest.raises(RequestError, match=r"makes pictures of 1024x1024, .* more sizes, not of 512x512") as caught:
        generate.plan(asked(tiny_models, "longcat-image-edit", "image-to-image", images=("photo.png",), size="512"))
    assert caught.value.hint == "--size 1024x1024"


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_words_over_which_longcats_pipeline_breaks_are_refused(tiny_models, field):
    draw("photo.png", (64, 64))
    long = {field: "'" + "a" * 513 + "'"}
    request = asked(tiny_models, "longcat-image-edit", "image-to-image", images=("photo.png",), **long)
    told = f"the {field.replace('_', ' ')} has 515 tokens; LongCat-Image-Edit takes 512 at most"
    with pytest.raises(RequestError, match=told):
        made(request)


@pytest.mark.parametrize(
    ("task", "images", "is_cut"), [("text-to-image", (), True), ("image-to-image", ("p.png",), False)]
)
def test_a_prompt_is_cut_where_a_pipeline_cuts_it(tiny_models, task, images, is_cut):
    draw("p.png", (256, 256))
    plan = generate.plan(asked(tiny_models, "dreamlite", task, images=images, prompt="a " * 300))
    note = sampler.cut_prompt(loaded(plan.model.folder), plan)
    assert (note is not None and "the model reads 200" in note) == is_cut


def test_joyimage_edit_plus_looks_at_several_pictures(tiny_models):
    photo = draw("photo.png", (256, 256))
    request = asked(tiny_models, "joyimage-edit-plus", "image-to-image", images=("photo.png",))
    one, picture, _ = made(request)
    assert one.recipe.change.method == "reference"
    np.testing.assert_array_equal(picture, plain(generate.plan(request), images=[photo]))


def test_z_image_omni_looks_in_full_precision_too(tiny_models):
    photo = draw("photo.png", (256, 256))
    request = asked(tiny_models, "z-image-omni", "image-to-image", images=("photo.png",))
    one, picture, _ = made(request)
    assert one.recipe.change.method == "reference"
    # Its pipeline hands over pixels of half precision, whatever its autoencoder's is.
    vae = loaded(generate.plan(request).model.folder).vae
    encode = vae.encode
    with patching.replaced(vae, encode=lambda pixels: encode(pixels.float())):
        np.testing.assert_array_equal(picture, plain(generate.plan(request), image=photo))


@pytest.mark.parametrize("family", ["qwen-image-2.1", "joyimage-edit-plus", "flux2-klein-kv"])
def test_a_style_is_named_by_its_place(tiny_models, family):
    for name in ("photo.png", "style.png"):
        draw(name, (256, 256))
    said = {"images": ("photo.png",), "like": "style.png", "prompt": None}
    plan = generate.plan(asked(tiny_models, family, "style", **said))
    assert plan.prompt == catalog.named(family).reference.words["style"]


@pytest.mark.parametrize(
    ("family", "task", "said", "message"),
    [
        ("glm-image", "image-to-image", {}, "has no pipeline that can start from a picture"),
        ("longcat-image-edit", "text-to-image", {"images": ()}, "has no pipeline that can make a picture from words"),
        ("joyimage-edit-plus", "text-to-image", {"images": ()}, "has no pipeline that can make a picture from words"),
        ("qwen-image-2.1", "inpaint", {"mask_box": "16,16,64,64"}, "cannot repaint a part"),
        ("flux2-klein-kv", "inpaint", {"mask_box": "16,16,64,64"}, "cannot repaint a part"),
        ("dreamlite", "style", {"like": "photo.png"}, "cannot take on a style"),
    ],
)
def test_what_a_family_cannot_do_is_refused_before_anything_is_loaded(tiny_models, family, task, said, message):
    draw("photo.png", (512, 512))
    with pytest.raises(RequestError, match=message):
        generate.plan(asked(tiny_models, family, task, **{"images": ("photo.png",)} | said))


def test_a_recipe_makes_the_same_edit_again(tiny_models):
    draw("photo.png", (256, 256))
    made(asked(tiny_models, "dreamlite", "image-to-image", images=("photo.png",), image_guidance=2.0))
    again = GenerateRequest(
        task="image-to-image", images=("photo.png",), from_file="out.png", output="again.png", watermark="off"
    )
    assert made(again)[0].recipe.change.image_guidance == 2.0
    with Image.open("out.png") as first, Image.open("again.png") as second:
        np.testing.assert_array_equal(first, second)
