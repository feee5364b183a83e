"""Families without an autoencoder, and what their commands refuse."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from imggen.errors import EXIT_REQUEST
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

SETTINGS = ("--size", "64x64", "--steps", 2, "--device", "cpu", "--dtype", "float32")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--vae-tiling", "on"), "it draws pixels itself, so there is nothing to decode"),
        (("--vae", "other"), "has no autoencoder, it draws pixels itself"),
        (("--guidance", 0.5), "--guidance 0.5: PRX Pixel takes 1 and more"),
        (("--tile", "x"), "makes no seamless pictures"),
        (("--lora", "other.safetensors"), "diffusers cannot load LoRAs into PRX Pixel"),
        (("--sampler", "heun"), "sampler 'heun' cannot drive this model"),
    ],
)
def test_what_a_model_without_an_autoencoder_cannot_do_is_refused(run, tmp_path, tiny_models, option, message):
    (tmp_path / "other").mkdir()
    shutil.copytree(tiny_models("prx") / "vae", tmp_path / "other", dirs_exist_ok=True)
    (tmp_path / "other.safetensors").symlink_to(next((tmp_path / "other").glob("*.safetensors")))
    done = run("generate", "a red apple", "-m", tiny_models("prx-pixel"), *SETTINGS, *option, "-o", "out.png")
    assert message in done.err.replace("\n", " ")
    assert done.code == EXIT_REQUEST
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("family", "option"),
    [("kandinsky3", "--lora"), ("prx", "--lora"), ("prx", "--embedding"), ("deepfloyd-if", "--lora")],
)
def test_adapters_that_diffusers_has_a_loader_for_and_cannot_add_are_refused(
    run, tmp_path, tiny_models, family, option
):
    (tmp_path / "other.safetensors").symlink_to(next((tiny_models("prx") / "vae").glob("*.safetensors")))
    line = ("generate", "a red apple", "-m", tiny_models(family), *SETTINGS, "--dry-run", option, "other.safetensors")
    done = run(*line)
    assert done.code == EXIT_REQUEST
    reason = f"diffusers cannot load {'LoRAs into' if option == '--lora' else 'embeddings into PRX'}"
    assert reason in done.err.replace("\n", " ")


def test_there_is_nothing_to_decode_in_its_plan(run, tiny_models):
    line = ("generate", "a red apple", "-m", tiny_models("prx-pixel"), *SETTINGS, "-N", 2, "--dry-run", "--json")
    plan = json.loads(run(*line).out)
    assert plan["memory"]["decoding_bytes"] < 1_000_000
    levers = {each["name"]: each for each in plan["levers"]}
    assert levers["vae_slicing"]["value"] == levers["vae_tiling"]["value"] == "off"
    assert levers["vae_tiling"]["reason"] == "it draws pixels itself, so there is nothing to decode"


@pytest.mark.parametrize("family", ["prx-pixel", "amused", "deepfloyd-if", "kandinsky3"])
def test_a_recipe_makes_the_same_picture_again(run, tmp_path, tiny_models, family):
    size = ("--size", "128x128") if family == "amused" else ()
    line = ("generate", "a red apple", "-m", tiny_models(family), *SETTINGS, *size, "-n", "rain", "-s", 3, "-q")
    assert run(*line, "-o", "out.png").code == 0
    again = run("generate", "--from", "out.png", "-o", "again.png", "-q")
    assert (again.code, again.err) == (0, "")
    pixels = [np.asarray(Image.open(tmp_path / name)) for name in ("out.png", "again.png")]
    np.testing.assert_array_equal(*pixels)


def test_a_folder_may_call_its_pipeline_what_diffusers_called_it_before(run, tmp_path, tiny_models):
    shutil.copytree(tiny_models("lumina-next"), tmp_path / "model")
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    (tmp_path / "model/model_index.json").write_text(json.dumps(index | {"_class_name": "LuminaText2ImgPipeline"}))
    assert json.loads(run("models", "show", "./model", "--json").out)["family"] == "lumina-next"
    done = run("generate", "a red apple", "-m", "./model", *SETTINGS, "-o", "out.png", "-q")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "out.png").exists()
