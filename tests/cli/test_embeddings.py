"""`--embedding` and `--vae`: what does not fit is told from the headers and configs, and what fits is recorded."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_loras
import torch
from PIL import Image

from imggen.output.metadata import metadata
from imggen.store import lookup
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

QUICK = ("--steps", "1", "--size", "64x64", "-s", "7", "--dtype", "float32")


@pytest.fixture
def model(tiny_models):
    """Return a function that gives the folder of a tiny model in the working folder, under its name."""

    def linked(name):
        if not Path(name).exists():
            Path(name).symlink_to(tiny_models(name), target_is_directory=True)
        return f"./{name}"

    return linked


def refused(ended, message, hint=None, code=4):
    assert ended.code == code, ended.err
    said = " ".join(ended.err.split())
    assert message in said
    if hint is not None:
        assert hint in said


def planned(run, *arguments, prompt="a my-cat"):
    return run("generate", prompt, *QUICK, "--dry-run", "--json", *arguments)


def word(name="my-cat.safetensors", width=32, count=2, **tensors):
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    return tiny_loras.save(Path(name), tensors or {"emb_params": drawn})


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"emb_params": torch.ones(1, 768)},
            "does not fit the model: its vectors have 768 numbers, those of its text_encoder 32",
        ),
        (
            {"clip_l": torch.ones(1, 32), "clip_g": torch.ones(1, 32)},
            "has vectors for text_encoder_2, which the model does not have",
        ),
        ({}, "is no textual inversion embedding: there is no tensor in it"),
        (
            {f"unet.x.lora_{part}.weight": torch.ones(2, 2) for part in "AB"},
            "is no textual inversion embedding: it has 2 tensors (unet.x.lora_A.weight, unet.x.lora_B.weight)",
        ),
    ],
)
def test_vectors_that_the_model_cannot_take_are_refused_by_their_header(tensors, message, run, model):
    tiny_loras.save(Path("it.safetensors"), tensors)
    refused(planned(run, "-m", model("sd"), "--embedding", "it.safetensors"), f"--embedding it.safetensors {message}")


def test_one_encoder_of_two_is_not_enough_to_be_silent_about(run, model):
    word("it.safetensors", clip_l=torch.ones(1, 32), clip_g=torch.ones(1, 64))
    refused(
        planned(run, "-m", model("sdxl"), "--embedding", "it.safetensors"),
        "its vectors have 64 numbers, those of its text_encoder_2 32",
    )


@pytest.mark.parametrize("name", ["a", "A"])
def test_a_word_that_the_model_knows_is_refused_before_any_weights_are_read(name, run, model):
    word()
    refused(
        planned(run, "-m", model("sd"), "--embedding", f"my-cat.safetensors:{name}"),
        f"--embedding my-cat.safetensors: {name!r} is already a word of the model's tokenizer",
        f"--embedding my-cat.safetensors:my-{name}",
        code=2,
    )


@pytest.mark.parametrize("token", ["", "two words"])
def test_what_no_prompt_could_have_is_no_word(token, run, model):
    refused(
        planned(run, "-m", model("sd"), "--embedding", f"my-cat.safetensors:{token}"),
        f"--embedding my-cat.safetensors:{token}: {token!r} is no word that a prompt could have",
        code=2,
    )


def test_a_family_that_learns_no_words_takes_none(run, model):
    word()
    refused(
        planned(run, "-m", model("sana"), "--embedding", "my-cat.safetensors"),
        "--embedding my-cat.safetensors: diffusers cannot load embeddings into Sana",
        "leave --embedding out",
        code=2,
    )


def test_a_word_that_no_prompt_has_is_told(run, model):
    word()
    ended = planned(run, "-m", model("sd"), "--embedding", "my-cat.safetensors", prompt="a dog")
    assert "the prompt does not have 'my-cat' in it, so the embedding has no effect" in " ".join(ended.err.split())
    ended = planned(run, "-m", model("sd"), "--embedding", "my-cat.safetensors", "-n", "My-Cat", prompt="a dog")
    assert "the embedding has no effect" not in ended.err


def test_a_word_is_recorded_and_learnt_again(run, model, tmp_path):
    word()
    ended = run("generate", "a my-cat", "-m", model("sd"), *QUICK, "--embedding", "my-cat.safetensors", "-o", "a.png")
    assert ended.code == 0, ended.err
    (told,) = metadata.read(tmp_path / "a.png").found.recipe.adapters
    assert (told.kind, told.reference, told.token) == ("embedding", "my-cat.safetensors", "my-cat")
    assert told.sha256 == lookup.weights.file_sha256(Path("my-cat.safetensors"))
    assert run("generate", "--from", "a.png", "-o", "b.png").code == 0
    assert Image.open("a.png").tobytes() == Image.open("b.png").tobytes()


def vae_with(source, name, **changes):
    shutil.copytree(Path(source) / "vae", name)
    config = Path(name, "config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_channels": 16}, "its latents have 16 channels, and the model's 4"),
        ({"scaling_factor": 0.13025}, "its scaling_factor is 0.13025, and the model's 0.18215"),
        ({"block_out_channels": [16, 32]}, "it has 2 pixels to a latent, and the model's 8"),
        ({"_class_name": "AutoencoderDC"}, "it is an AutoencoderDC, and the model's is an AutoencoderKL"),
    ],
)
def test_an_autoencoder_for_other_latents_is_refused_by_its_config(changes, message, run, model):
    vae_with(model("sd"), "other", **changes)
    refused(
        planned(run, "-m", model("sd"), "--vae", "other"),
        f"--vae other is not for ./sd: {message}",
        "an autoencoder that was trained for this model's latents, or leave --vae out",
    )


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": torch.ones(1)}, "--vae it.safetensors is no autoencoder: it has neither an encoder nor a decoder"),
        ({"encoder.conv_in.weight": torch.ones(1)}, "--vae it.safetensors is not for ./sd: it has no "),
    ],
)
def test_a_file_that_is_no_such_autoencoder_is_refused_by_its_header(tensors, message, run, model):
    tiny_loras.save(Path("it.safetensors"), tensors)
    refused(planned(run, "-m", model("sd"), "--vae", "it.safetensors"), message)


@pytest.mark.parametrize(
    ("written", "message", "code"),
    [
        ("empty", "--vae empty is no autoencoder of diffusers: it has no config.json", 4),
        ("nowhere", "--vae nowhere: there is no such file or folder", 4),
        ("", "--vae is empty: it names no weights", 2),
    ],
)
def test_what_is_no_place_of_an_autoencoder_is_told(written, message, code, run, model):
    Path("empty").mkdir()
    refused(planned(run, "-m", model("sd"), "--vae", written), message, code=code)


def test_the_built_in_model_keeps_its_own_autoencoder(run, model):
    refused(
        planned(run, "--vae", f"{model('sd')}/vae", prompt="a red apple"),
        "builtin reads no latents but those of its own autoencoder",
        "leave --vae out",
        code=2,
    )


def test_the_model_stays_the_one_that_was_asked_for(run, model):
    plain = json.loads(planned(run, "-m", model("sd")).out)
    other = json.loads(planned(run, "-m", model("sd"), "--vae", f"{model('tiny-vae')}/vae").out)
    assert [each["kind"] for each in other["adapters"]] == ["vae"]
    assert plain["model"] == other["model"]


def test_an_autoencoder_is_recorded_and_taken_again(run, model, tmp_path):
    vae_with(model("sd"), "other")
    file = Path("other/diffusion_pytorch_model.safetensors")
    tensors = tiny_loras.load(file)
    tiny_loras.save(file, tensors | {"decoder.conv_out.bias": tensors["decoder.conv_out.bias"] + 0.3})
    ended = run("generate", "a cat", "-m", model("sd"), *QUICK, "--vae", "other", "-o", "a.png")
    assert ended.code == 0, ended.err
    (told,) = metadata.read(tmp_path / "a.png").found.recipe.adapters
    assert (told.kind, told.reference, told.scale) == ("vae", "other", None)
    assert run("generate", "--from", "a.png", "-o", "b.png").code == 0
    assert run("generate", "a cat", "-m", model("sd"), *QUICK, "-o", "plain.png").code == 0
    first, again, plain = (Image.open(each).tobytes() for each in ("a.png", "b.png", "plain.png"))
    assert first == again != plain
