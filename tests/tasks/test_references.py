"""A family that edits by looking at pictures, through the one flow that every task goes through."""

import functools
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import RequestError
from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.plan.generation import resolve
from imggen.plan.models import catalog
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from imggen.tasks.steps import inputs
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

INPAINTING = ("flux2-klein", "flux2-klein-base")
FAMILIES = (*INPAINTING, "flux2")
TOLD = "image 1 in the style of image 2"


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    rng = np.random.default_rng(1)
    for name, size in (("photo.png", (64, 64)), ("style.png", (96, 80))):
        levels = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(name)


@pytest.fixture
def ask(tiny_models):
    """Return a function that makes a request of a tiny model, from its task and other fields."""

    def request(task, family="flux2-klein", **said):
        fields = {"prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu", "steps": 2, "output": "out.png"}
        images = () if task == "text-to-image" else ("photo.png",)
        model = str(tiny_models(family))
        return GenerateRequest(**{"task": task, "model": model, "images": images} | fields | said)

    return request


def make(request, load=None):
    notes = []
    (made,) = generate.generate(request, on_note=notes.append, load=load)
    return made.recipe, notes


def pixels(path="out.png", mode="RGB"):
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))


def opened(path, mode="RGB"):
    with Image.open(path) as picture:
        return picture.convert(mode)


@functools.cache
def loaded(folder):
    with environment.quiet():
        return diffusers.DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)


def kept(plan, **_):
    """Load as the loader does, but read each folder only once, for tests that are not about reading."""
    return loader.switch(loaded(plan.model.folder), plan)


def plain(plan, **shown):
    """The pixels of a script without imggen: the folder as diffusers loads it, in the class for the task."""
    pipeline = loaded(plan.model.folder)
    with environment.quiet():
        options = {name: value for name, value in pipeline.config.items() if name == "is_distilled"}
        task = getattr(diffusers, plan.pipeline)(**pipeline.components, **options)
        task.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(7)
        return np.asarray(task(**plan.arguments, **shown, generator=generator).images[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_words_give_the_pixels_of_a_plain_diffusers_script(ask, family):
    request = ask("text-to-image", family, size="80x64")
    recipe, _ = make(request)
    assert recipe.family == family
    np.testing.assert_array_equal(pixels(), plain(generate.plan(request)))


def test_only_the_base_model_is_guided(ask):
    assert generate.plan(ask("text-to-image", "flux2-klein-base", guidance=3.0)).arguments["guidance_scale"] == 3.0
    with pytest.raises(RequestError, match="distilled to four steps and runs without guidance"):
        generate.plan(ask("text-to-image", guidance=3.0))


def test_img2img_shows_the_picture_and_gives_the_pixels_of_a_plain_script(ask):
    request = ask("image-to-image")
    recipe, notes = make(request)
    assert (recipe.change.method, recipe.change.strength, notes) == ("reference", None, [])
    np.testing.assert_array_equal(pixels(), plain(generate.plan(request), image=opened("photo.png")))
    assert metadata.read(Path("out.png")).xmp[metadata.SOURCE_TYPE].endswith("/compositeWithTrainedAlgorithmicMedia")


@pytest.mark.parametrize("family", FAMILIES)
def test_style_shows_both_pictures_and_says_so_in_the_plan(ask, family):
    request = ask("style", family, like="style.png")
    recipe, notes = make(request)
    plan = generate.plan(request)
    wanted = plain(plan, image=[opened("photo.png"), opened("style.png")])
    np.testing.assert_array_equal(pixels(), wanted)
    assert (recipe.change.method, recipe.prompt, notes) == ("reference", "a star", [])
    assert [each.role for each in recipe.ingredients] == ["image", "style"]
    (line,) = [each for each in resolve.explain(plan) if each.startswith("method: ")]
    assert line.startswith(f"method: reference by {catalog.named(family).pipelines['style']} (")
    assert "by looking at the given pictures" in line


def test_a_style_picture_is_shown_as_large_as_the_model_looks_at_it_however_small_the_canvas_is(ask):
    Image.effect_noise((2400, 1600), 60).convert("RGB").save("large.png")
    request = ask("style", like="large.png")
    opened_pictures = inputs.read(request)
    style = inputs.lay(generate.plan(request), opened_pictures).style
    assert style.width * style.height == pytest.approx(1024 * 1024, rel=0.01)


def test_a_style_without_words_has_some_that_plan_note_and_recipe_tell_and_that_make_it_again(ask):
    request = ask("style", prompt=None, like="style.png")
    recipe, notes = make(request, kept)
    plan = generate.plan(request)
    assert recipe.prompt == plan.prompt == plan.arguments["prompt"] == TOLD
    assert plan.reasons["prompt"] == "what suits the model for this task"
    assert any(TOLD in each for each in notes)
    blank = dict.fromkeys(("prompt", "seed", "steps", "dtype", "device", "model"))
    _, notes = make(ask("style", like="style.png", from_file="out.png", output="again.png", **blank), kept)
    np.testing.assert_array_equal(pixels(), pixels("again.png"))
    assert [each for each in notes if not each.startswith("the recipe asks for")] == []


def test_what_the_content_shows_is_no_instruction(ask):
    make(ask("text-to-image", prompt="a red apple", size="64x64", output="own.png"), kept)
    recipe, notes = make(ask("style", images=("own.png",), prompt=None, like="style.png"), kept)
    assert recipe.prompt == TOLD
    assert len(notes) == 1


@pytest.mark.parametrize("family", INPAINTING)
def test_inpaint_gives_the_pixels_of_a_plain_script_within_the_mask_and_keeps_the_rest(ask, family, monkeypatch):
    parts = []
    read = loader._component
    monkeypatch.setattr(
        loader, "_component", lambda plan, name, variant: parts.append(name) or read(plan, name, variant)
    )
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 64))
    mask.save("mask.png")
    request = ask("inpaint", family, mask="mask.png", strength=0.9, steps=3)
    recipe, _ = make(request)
    assert (recipe.change.method, recipe.change.strength) == ("inpainting", 0.9)
    assert sorted(parts) == ["text_encoder", "transformer", "vae"]
    plan = generate.plan(request)
    assert plan.pipeline == "Flux2KleinInpaintPipeline"
    inside = np.asarray(mask) > 0
    np.testing.assert_array_equal(
        pixels()[inside], plain(plan, image=opened("photo.png"), mask_image=opened("mask.png", "L"))[inside]
    )
    np.testing.assert_array_equal(pixels()[~inside], pixels("photo.png")[~inside])


def test_outpainting_keeps_the_picture_in_its_place(ask):
    make(ask("outpaint", pad="8,24,0,0"), kept)
    made = pixels()
    assert made.shape == (72, 88, 3)
    np.testing.assert_array_equal(made[8:, :64], pixels("photo.png"))


def test_a_picture_of_any_size_keeps_it(ask):
    opened("photo.png").resize((101, 70)).save("odd.png")
    request = ask("image-to-image", images=("odd.png",))
    make(request, kept)
    assert pixels().shape == (70, 101, 3)
    assert generate.plan(request).canvas == (112, 80)


def test_children_of_recipes_mix_noise_and_words(ask):
    # The base model encodes its prompt twice per picture, the second time for no words at all.
    base = functools.partial(ask, family="flux2-klein-base")
    for seed, prompt in (("1", "a red apple"), ("2", "a green pear")):
        make(base("text-to-image", prompt=prompt, seed=seed, size="64x64", output=f"{seed}.png"), kept)
    said = {"prompt": None, "seed": "3"}
    recipe, _ = make(base("blend", images=("1.png", "2.png"), weights="0.6,0.4", output="child.png", **said), kept)
    assert recipe.change.method == "noise-and-words"
    assert not any((pixels("child.png") == pixels(each)).all() for each in ("1.png", "2.png"))
    make(base("blend", images=("1.png",), mutate=0.0, output="twin.png", **said), kept)
    np.testing.assert_array_equal(pixels("twin.png"), pixels("1.png"))


def test_encoded_pictures_cannot_be_blended(ask):
    with pytest.raises(
        RequestError, match=r"photo.png carries no recipe, and FLUX.2 klein starts from noise"
    ) as caught:
        generate.plan(ask("blend", images=("photo.png", "style.png"), prompt=None))
    assert "made from words" in caught.value.hint


def test_decoding_in_tiles_works(ask):
    request = ask("style", like="style.png", size="160x128", vae_tiling="on")
    assert generate.plan(request).vae_tile > 0
    make(request)
    assert pixels().shape == (128, 160, 3)


def test_half_precision_works(ask):
    make(ask("style", like="style.png", dtype="bfloat16"))
    assert pixels().std() > 0


def test_the_part_of_a_prompt_that_the_chat_leaves_no_room_for_is_told(ask):
    plan = generate.plan(ask("text-to-image"))
    pipeline = loaded(plan.model.folder)
    chat = pipeline.tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    before = len(pipeline.tokenizer(chat.partition("<|im_end|>")[0])["input_ids"])
    room = 512 - before
    assert sampler.cut_prompt(pipeline, replace(plan, prompt="a" * room)) is None
    note = sampler.cut_prompt(pipeline, replace(plan, prompt="a" * (room + 1)))
    assert f"has {room + 1} tokens and the model reads {room}" in note
