"""The tasks that start from pictures, through the one flow that generate goes through."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from imggen.engine.pipeline import loader
from imggen.errors import ModelError, RequestError
from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests import tiny_adapters
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

TINY = ("sd", "sdxl", "flux", "sd3", "chroma", "qwen-image", "z-image", "z-image-turbo")
LARGE = ("flux", "sd3", "chroma", "qwen-image", "z-image", "z-image-turbo")
"""Families that take no small pictures, or whose tokens are larger than the mask's steps in one."""


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name, colour in (("photo.png", (200, 40, 30)), ("other.png", (20, 90, 200))):
        rng = np.random.default_rng(len(name))
        noise = rng.integers(-20, 20, (64, 64, 3))
        Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(name)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 56))
    mask.save("mask.png")


class Loading:
    """Loads a model once per folder and task's class, and counts the parts that were read from disk."""

    def __init__(self, monkeypatch) -> None:
        self.parts: list[str] = []
        read = loader._component

        def counted(plan, name, variant):
            self.parts.append(name)
            return read(plan, name, variant)

        monkeypatch.setattr(loader, "_component", counted)


def make(task, images=("photo.png",), **said):
    request = GenerateRequest(
        **{"task": task, "images": images, "prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu"} | said
    )
    return list(generate.generate(request))


def pixels(path, mode="RGB"):
    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))


def enlarge(*paths):
    for path in paths:
        with Image.open(path) as picture:
            picture.resize((256, 256), Image.Resampling.NEAREST).save(path)


def plain(plan, image, mask=None):
    """The picture that a script without imggen makes: the model loaded, its parts put into the task's class."""
    with environment.quiet():
        loaded = diffusers.DiffusionPipeline.from_pretrained(plan.model.folder, dtype=torch.float32)
        options = {"requires_safety_checker": False} if plan.family.name == "sd" else dict(plan.initial)
        task = getattr(diffusers, plan.pipeline)(**loaded.components, **options)
        task.set_progress_bar_config(disable=True)
        shown = {"image": image} if mask is None else {"image": image, "mask_image": mask}
        generator = torch.Generator("cpu").manual_seed(7)
        return np.asarray(task(**plan.arguments, **shown, generator=generator).images[0])


def planned(task, **said):
    request = GenerateRequest(
        **{"task": task, "images": ("photo.png",), "prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu"}
        | said
    )
    return generate.plan(request)


@pytest.mark.parametrize("family", TINY)
def test_img2img_gives_the_pixels_of_a_plain_diffusers_script_and_reads_each_part_once(
    tiny_models, monkeypatch, family
):
    loading = Loading(monkeypatch)
    edge = 256 if family in LARGE else 64
    # At that size a picture may well be marked.
    said = {
        "model": str(tiny_models(family)),
        "steps": 4,
        "strength": 0.5,
        "size": f"{edge}x{edge}",
        "watermark": "off",
    }
    make("image-to-image", output="out.png", **said)
    assert len(loading.parts) == len(set(loading.parts)) > 1
    with Image.open("photo.png") as photo:
        resized = photo.convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)
        wanted = plain(planned("image-to-image", output="x.png", **said), resized)
    np.testing.assert_array_equal(pixels("out.png"), wanted)


@pytest.mark.parametrize("family", [each for each in TINY if each != "chroma"])
def test_inpaint_gives_the_pixels_of_a_plain_diffusers_script_within_the_mask(tiny_models, family):
    if family in LARGE:
        enlarge("photo.png", "mask.png")
    said = {"model": str(tiny_models(family)), "steps": 3, "mask": "mask.png", "watermark": "off"}
    make("inpaint", output="out.png", **said)
    plan = planned("inpaint", output="x.png", **said)
    assert plan.change.method == "inpainting"
    with Image.open("photo.png") as photo, Image.open("mask.png") as mask:
        wanted = plain(plan, photo.convert("RGB"), mask.convert("L"))
    inside = pixels("mask.png", "L") > 0
    np.testing.assert_array_equal(pixels("out.png")[inside], wanted[inside])
    np.testing.assert_array_equal(pixels("out.png")[~inside], pixels("photo.png")[~inside])


def test_chroma_repaints_by_blending_latents_and_keeps_the_rest_bit_for_bit(tiny_models):
    enlarge("photo.png", "mask.png")
    (made,) = make("inpaint", model=str(tiny_models("chroma")), steps=2, mask="mask.png", output="out.png")
    assert made.recipe.change.method == "latent-blending"
    outside = pixels("mask.png", "L") == 0
    np.testing.assert_array_equal(pixels("out.png")[outside], pixels("photo.png")[outside])
    assert (pixels("out.png")[~outside] != pixels("photo.png")[~outside]).any()


def test_an_autoencoder_for_films_mixes_pictures(tiny_models):
    enlarge("photo.png", "other.png")
    said = {"model": str(tiny_models("qwen-image")), "steps": 2, "mutate": 0.2}
    (made,) = make("blend", images=("photo.png", "other.png"), output="out.png", **said)
    assert made.recipe.change.method == "latents"
    assert pixels("out.png").shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("text-to-image", {"images": ()}),
        ("image-to-image", {}),
        ("inpaint", {"mask": "mask.png"}),
        ("outpaint", {"pad": "0,8"}),
        ("blend", {"images": ("photo.png", "other.png"), "num_images": 2}),
        ("style", {"like": "other.png"}),
    ],
)
def test_every_task_reads_every_part_of_the_model_once(tiny_models, monkeypatch, task, said):
    loading = Loading(monkeypatch)
    make(task, model=str(tiny_models("sd")), steps=2, output="{seed}.png", **said)
    assert sorted(loading.parts) == ["text_encoder", "unet", "vae"]


def test_the_pipelines_of_all_tasks_share_their_parts_and_keep_their_dtype(tiny_models):
    said = {"model": str(tiny_models("sdxl")), "steps": 2, "dtype": "bfloat16"}
    plan = planned("inpaint", mask="mask.png", output="x.png", **said)
    pipeline = loader.load(plan)
    other = loader.switch(pipeline, planned("image-to-image", output="x.png", **said))
    assert type(other).__name__ == "StableDiffusionXLImg2ImgPipeline"
    for name, part in pipeline.components.items():
        assert getattr(other, name) is part
    assert other.unet.dtype == other.vae.dtype == torch.bfloat16


def test_a_model_that_lacks_a_part_of_the_tasks_pipeline_is_named(tiny_models):
    plan = planned("image-to-image", model=str(tiny_models("sd")), output="x.png")
    with pytest.raises(ModelError, match="FluxImg2ImgPipeline needs text_encoder_2, tokenizer_2, transformer"):
        loader.switch(loader.load(plan), replace(plan, pipeline="FluxImg2ImgPipeline"))


@pytest.mark.parametrize("model", ["builtin", "sd"])
@pytest.mark.parametrize("mask", ["mask.png", None])
def test_what_the_mask_leaves_out_comes_back_bit_for_bit(tiny_models, model, mask):
    reference = "builtin" if model == "builtin" else str(tiny_models(model))
    said = {"mask": mask} if mask else {"mask_box": "16,16,32,40"}
    make("inpaint", model=reference, steps=2, feather=4, output="out.png", **said)
    outside = pixels("mask.png", "L") == 0
    np.testing.assert_array_equal(pixels("out.png")[outside], pixels("photo.png")[outside])
    assert (pixels("out.png")[~outside] != pixels("photo.png")[~outside]).any()


def test_without_pasting_the_rest_is_what_the_model_makes_of_it():
    make("inpaint", steps=2, mask="mask.png", paste=False, output="out.png")
    outside = pixels("mask.png", "L") == 0
    assert (pixels("out.png")[outside] != pixels("photo.png")[outside]).any()


def test_the_built_in_model_blends_latents_because_its_denoiser_has_eight_channels():
    plan = planned("inpaint", mask="mask.png", output="x.png")
    assert (plan.change.method, plan.pipeline) == ("latent-blending", "StableDiffusionImg2ImgPipeline")
    assert "8 channels" in plan.reasons["method"]


def test_transparency_stays_where_nothing_is_repainted():
    with Image.open("photo.png") as photo:
        clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((64, 64)))
    clear.save("clear.png")
    make("inpaint", images=("clear.png",), steps=2, mask_box="0,0,20,20", output="out.png")
    mine, theirs = pixels("out.png", "RGBA"), pixels("clear.png", "RGBA")
    np.testing.assert_array_equal(mine[20:], theirs[20:])
    assert (mine[:20, :20, 3] == 255).all()


def test_outpainting_keeps_the_picture_in_its_place():
    make("outpaint", steps=2, pad="8,24,16,0", output="wide.png")
    made = pixels("wide.png")
    assert made.shape == (88, 88, 3)
    np.testing.assert_array_equal(made[8:72, 0:64], pixels("photo.png"))


def test_a_picture_of_any_size_keeps_it():
    with Image.open("photo.png") as photo:
        photo.resize((101, 67)).save("odd.png")
    make("image-to-image", images=("odd.png",), steps=2, output="out.png")
    assert pixels("out.png").shape == (67, 101, 3)
    assert planned("image-to-image", images=("odd.png",), output="x.png").canvas == (104, 72)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_another_size_is_filled_as_fit_says(fit):
    make("image-to-image", steps=2, size="96x64", fit=fit, output="out.png")
    assert pixels("out.png").shape == (64, 96, 3)
    assert metadata.read(Path("out.png")).found.recipe.change.fit == fit


def test_the_file_names_the_picture_it_comes_from():
    (made,) = make("image-to-image", steps=2, strength=0.5, output="out.png")
    facts = metadata.read(Path("out.png"))
    recipe = facts.found.recipe
    assert recipe == made.recipe
    assert (recipe.task, recipe.change.method, recipe.change.strength) == ("image-to-image", "image-to-image", 0.5)
    (ingredient,) = recipe.ingredients
    assert (ingredient.role, ingredient.width, ingredient.height) == ("image", 64, 64)
    assert facts.xmp[metadata.SOURCE_TYPE].endswith("/compositeWithTrainedAlgorithmicMedia")


def test_a_picture_of_imggens_own_is_no_composite_and_hands_its_recipe_on():
    make("text-to-image", images=(), steps=2, output="own.png")
    make("image-to-image", images=("own.png",), steps=2, output="out.png")
    facts = metadata.read(Path("out.png"))
    assert facts.xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
    assert facts.found.recipe.ingredients[0].recipe == metadata.read(Path("own.png")).found.recipe


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("image-to-image", {"strength": 0.5, "size": "80x64", "fit": "stretch"}),
        ("inpaint", {"mask_box": "8,8,32,32", "feather": 4}),
        ("outpaint", {"pad": "8,0,0,16"}),
        ("blend", {"images": ("photo.png", "other.png"), "weights": "0.25,0.75", "mutate": 0.1, "strength": 0.5}),
        ("style", {"like": "other.png", "strength": 0.6}),
    ],
)
def test_the_recipe_and_the_same_pictures_give_the_same_pixels_again(task, said):
    make(task, steps=2, output="first.png", **said)
    kept = {name: value for name, value in said.items() if name in ("images", "like")}
    make(task, prompt=None, seed=None, dtype=None, device=None, from_file="first.png", output="again.png", **kept)
    np.testing.assert_array_equal(pixels("first.png"), pixels("again.png"))


def test_another_picture_than_the_recipes_is_told():
    make("image-to-image", steps=2, output="first.png")
    heard = []
    request = GenerateRequest(task="image-to-image", images=("other.png",), from_file="first.png", output="again.png")
    list(generate.generate(request, on_note=heard.append))
    assert any("the image is another file" in note for note in heard)


def test_a_recipe_for_another_task_names_the_command_for_it():
    make("image-to-image", steps=2, output="first.png")
    with pytest.raises(RequestError, match="'image-to-image'") as caught:
        make("text-to-image", images=(), from_file="first.png", output="again.png")
    assert caught.value.hint == "imggen img2img PICTURE --from FILE"


def test_children_of_recipes_mix_noise_and_words_and_know_their_parents():
    for seed, prompt in (("1", "a red apple on a teal background"), ("2", "a green pear on a pink background")):
        make("text-to-image", images=(), prompt=prompt, seed=seed, steps=2, output=f"{seed}.png")
    made = make(
        "blend", images=("1.png", "2.png"), prompt=None, weights="0.7,0.3", num_images=2, output="c-{index}.png"
    )
    first, second = (each.recipe for each in made)
    assert first.change.method == "noise-and-words"
    assert first.prompt == "a red apple on a teal background, a green pear on a pink background"
    assert [each.weight for each in first.ingredients] == [0.7, 0.3]
    assert [each.recipe.seed for each in first.ingredients] == [1, 2]
    assert first.steps == 2
    assert (pixels("c-1.png") != pixels("c-2.png")).any()
    assert metadata.read(Path("c-1.png")).xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
    assert second.ingredients == first.ingredients


def test_one_parent_without_mutation_is_born_again():
    make("text-to-image", images=(), steps=3, output="one.png")
    make("blend", images=("one.png",), prompt=None, mutate=0.0, output="child.png")
    np.testing.assert_array_equal(pixels("one.png"), pixels("child.png"))


def test_grandchildren_are_bred_from_what_their_parents_carry():
    make("text-to-image", images=(), prompt="a red apple", seed="1", steps=2, output="1.png")
    make("text-to-image", images=(), prompt="a green pear", seed="2", steps=2, output="2.png")
    make("blend", images=("1.png", "2.png"), prompt=None, seed="3", output="3.png")
    (made,) = make("blend", images=("3.png",), prompt=None, mutate=0.0, output="4.png")
    assert made.recipe.change.method == "noise-and-words"
    np.testing.assert_array_equal(pixels("3.png"), pixels("4.png"))


def test_parents_without_recipes_enter_as_pictures():
    (made,) = make("blend", images=("photo.png", "other.png"), steps=2, output="child.png")
    assert (made.recipe.change.method, made.recipe.change.strength) == ("latents", 0.6)
    assert metadata.read(Path("child.png")).xmp[metadata.SOURCE_TYPE].endswith("/compositeWithTrainedAlgorithmicMedia")


def test_a_parent_whose_model_is_not_there_is_named_with_a_way_out(tiny_models):
    shutil.copytree(tiny_models("sd"), "model")
    make("text-to-image", images=(), model="./model", steps=2, output="one.png")
    shutil.rmtree("model")
    with pytest.raises((ModelError, RequestError), match="the parents' recipes need the model") as caught:
        make("blend", images=("one.png",), prompt=None, output="child.png")
    assert "-m builtin" in caught.value.hint
    (made,) = make("blend", images=("one.png",), prompt=None, model="builtin", steps=2, output="child.png")
    assert made.recipe.change.method == "latents"


def test_a_style_takes_its_words_from_the_content_where_nobody_says_any():
    make("text-to-image", images=(), prompt="a red apple", steps=2, output="one.png")
    (made,) = make("style", images=("one.png",), prompt=None, like="other.png", steps=2, output="out.png")
    assert (made.recipe.prompt, made.recipe.change.method) == ("a red apple", "statistics")
    assert [each.role for each in made.recipe.ingredients] == ["image", "style"]


def test_a_seamless_picture_says_so_in_its_recipe():
    (made,) = make("text-to-image", images=(), tile="x", steps=2, output="tile.png")
    assert made.recipe.tile == "x"
    list(generate.generate(GenerateRequest(from_file="tile.png", output="again.png")))
    np.testing.assert_array_equal(pixels("tile.png"), pixels("again.png"))


def test_a_transformer_makes_no_seamless_pictures(tiny_models):
    with pytest.raises(RequestError, match="makes no seamless pictures"):
        planned("text-to-image", images=(), model=str(tiny_models("flux")), tile="xy", output="x.png")


def test_what_does_not_show_of_a_style_picture_counts_for_nothing():
    for name, hidden in (("white.png", (255, 255, 255, 0)), ("magenta.png", (255, 0, 255, 0))):
        style = Image.new("RGBA", (128, 64), hidden)
        with Image.open("other.png") as other:
            style.paste(other.convert("RGBA"), (0, 0))
        style.save(name)
        make("style", like=name, steps=2, output=f"as-{name}")
    np.testing.assert_array_equal(pixels("as-white.png"), pixels("as-magenta.png"))
    make("style", like="other.png", steps=2, output="as-other.png")
    blue, half = (float(pixels(f"as-{name}.png")[..., 2].mean()) for name in ("other", "white"))
    # The half that is blue decides, not the white that the other half would be laid on.
    assert abs(blue - half) < 12


def test_an_ip_adapter_shows_the_style_picture_to_the_model(tiny_models, tmp_path):
    model = str(tiny_models("sd"))
    unet = diffusers.UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    with environment.quiet():
        tiny_adapters.save_encoder(tmp_path / "adapter" / "image_encoder")
    save_file(tiny_adapters.plain(unet), tmp_path / "adapter" / "style.safetensors")
    said = {"model": model, "steps": 2, "ip_adapter_weights": f"{tmp_path}/adapter:0.5"}
    (made,) = make("style", like="other.png", output="other-style.png", **said)
    make("style", like="mask.png", output="mask-style.png", **said)
    (adapter,) = made.recipe.adapters
    assert (made.recipe.change.method, adapter.kind, adapter.scale) == ("ip-adapter", "ip-adapter", 0.5)
    weights = (tmp_path / "adapter" / "style.safetensors").read_bytes()
    assert adapter.sha256 == hashlib.sha256(weights).hexdigest()
    assert adapter.image == made.recipe.ingredients[1].sha256
    assert metadata.read(made.path).found.recipe == made.recipe
    assert (pixels("other-style.png") != pixels("mask-style.png")).any()
    with pytest.raises(ModelError, match="there is no such file or folder"):
        make("style", like="other.png", output="x.png", model=model, ip_adapter_weights="./nowhere:0.5")


def test_a_child_is_made_again_as_it_was_and_not_as_its_parents_were():
    make("text-to-image", images=(), seed="1", steps=2, output="1.png")
    make("text-to-image", images=(), seed="2", steps=2, output="2.png")
    make("blend", images=("1.png", "2.png"), prompt=None, steps=5, guidance=2.0, output="child.png")
    make(
        "blend",
        images=("1.png", "2.png"),
        prompt=None,
        seed=None,
        dtype=None,
        device=None,
        from_file="child.png",
        output="again.png",
    )
    np.testing.assert_array_equal(pixels("child.png"), pixels("again.png"))
    assert metadata.read(Path("again.png")).found.recipe.steps == 5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"prompt": "a blue star"}, "--prompt was given"),
        ({"negative_prompt": "red"}, "--negative-prompt was given"),
        ({"strength": 0.5}, "--strength was given"),
        ({"size": "96x96"}, "1.png was made at another size"),
    ],
)
def test_what_noise_and_words_cannot_give_makes_children_of_pictures(said, reason):
    make("text-to-image", images=(), steps=2, output="1.png")
    plan = planned("blend", **{"images": ("1.png",), "prompt": None, "output": "x.png"} | said)
    assert plan.change.method == "latents"
    assert reason in plan.reasons["method"]


def test_a_presets_strength_and_prompts_of_recipes_leave_the_method_alone():
    make("text-to-image", images=(), steps=2, output="1.png")
    origin = {"strength": "preset soft"}
    plan = planned("blend", images=("1.png",), prompt=None, strength=0.5, origin=origin, output="x.png")
    assert (plan.change.method, plan.change.strength) == ("noise-and-words", None)


def test_parents_of_another_model_still_lend_their_words(tiny_models):
    make("text-to-image", images=(), prompt="a red apple", steps=2, output="1.png")
    plan = planned("blend", images=("1.png",), prompt=None, model=str(tiny_models("sd")), output="x.png")
    assert (plan.change.method, plan.prompt) == ("latents", "a red apple")


def test_too_many_parents_are_refused_before_one_is_read():
    with pytest.raises(RequestError, match="17 parents; blend takes 1 to 16"):
        make("blend", images=("nothing.png",) * 17, output="x.png")


def test_a_mask_thinner_than_a_latent_repaints_all_the_same(tiny_models):
    line = Image.new("L", (64, 64))
    line.paste(255, (26, 0, 28, 64))
    line.save("line.png")
    make("inpaint", model=str(tiny_models("sd")), mask="line.png", steps=2, output="out.png", strength=1.0)
    inside = pixels("line.png", "L") > 0
    make("inpaint", model=str(tiny_models("sd")), mask_box="24,0,8,64", steps=2, output="box.png", strength=1.0)
    np.testing.assert_array_equal(pixels("out.png")[inside], pixels("box.png")[inside])
    np.testing.assert_array_equal(pixels("out.png")[~inside], pixels("photo.png")[~inside])


def test_a_mask_that_the_new_size_cuts_off_is_told():
    with pytest.raises(RequestError, match="cuts off all that the mask marks"):
        planned("inpaint", mask_box="0,0,64,8", size="128x64", output="x.png")


def test_a_size_from_a_preset_is_not_for_outpainting():
    plan = planned("outpaint", pad="8", size="128", origin={"size": "preset icon"}, output="x.png")
    assert (plan.width, plan.height) == (80, 80)
    with pytest.raises(RequestError, match="imggen outpaint has no such option"):
        planned("outpaint", pad="8", size="128", output="x.png")


def test_a_seamless_picture_has_a_size_that_need_not_be_cut():
    with pytest.raises(RequestError, match="its edges would not meet") as caught:
        planned("image-to-image", tile="xy", size="100x70", output="x.png")
    assert caught.value.hint == "--size 104x72"


def test_a_recipe_without_an_adapter_keeps_a_presets_adapter_out():
    make("style", like="other.png", steps=2, output="first.png")
    origin = {"ip_adapter_weights": "preset fancy"}
    plan = planned(
        "style",
        prompt=None,
        seed=None,
        like="other.png",
        from_file="first.png",
        ip_adapter_weights="w:0.5",
        origin=origin,
        output="x.png",
    )
    assert plan.change.method == "statistics"


def test_what_a_recipe_had_and_the_new_picture_has_not_is_told():
    make("inpaint", mask="mask.png", steps=2, output="first.png")
    heard = []
    request = GenerateRequest(
        task="inpaint", images=("photo.png",), mask_box="16,16,32,40", from_file="first.png", output="again.png"
    )
    list(generate.generate(request, on_note=heard.append))
    assert any("made from image, mask, and now from image" in note for note in heard)


def test_a_noisy_mask_of_a_jpeg_is_black_and_white():
    mask = np.zeros((64, 64))
    mask[16:56, 16:48] = 255
    noise = np.random.default_rng(1).integers(-20, 20, mask.shape)
    Image.fromarray((mask + noise).clip(0, 255).astype(np.uint8)).save("noisy.png")
    for name in ("mask", "noisy"):
        make("inpaint", mask=f"{name}.png", steps=2, output=f"{name}-out.png")
    np.testing.assert_array_equal(pixels("mask-out.png"), pixels("noisy-out.png"))


def test_a_plan_already_tells_that_the_picture_is_another_one():
    make("image-to-image", steps=2, output="first.png")
    plan = planned(
        "image-to-image", images=("other.png",), prompt=None, seed=None, from_file="first.png", output="x.png"
    )
    assert any("the image is another file" in note for note in plan.notes)


def test_borders_start_from_the_pictures_colours_where_there_is_no_inpainting_pipeline(tiny_models):
    assert planned("outpaint", pad="8", output="x.png").change.strength == 0.7
    assert planned("outpaint", pad="8", model=str(tiny_models("sd")), output="x.png").change.strength == 1.0


def test_a_child_that_has_its_parents_seed_is_mutated_all_the_same():
    make("text-to-image", images=(), seed="1", steps=2, output="1.png")
    make("blend", images=("1.png",), prompt=None, seed="1", mutate=1.0, output="child.png")
    assert (pixels("1.png") != pixels("child.png")).any()
