"""`--ip-adapter` beside LoRAs and ControlNets: by the names of the hub, offline, from a recipe, and what is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_adapters
import tiny_controls
import tiny_loras
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipImageProcessor, SiglipModel

from imggen.host import environment
from imggen.output.metadata import metadata
from tests.hub_server import COMMIT, fake_hub, hub_cache
from tests.tiny_models import BUILDERS, tiny_models

__all__ = ["fake_hub", "hub_cache", "tiny_models"]

ADAPTER = "XLabs-AI/flux-ip-adapter"
ENCODER = "openai/clip-vit-large-patch14"
UNION = "Shakker-Labs/FLUX.1-dev-ControlNet-Union-Pro-2.0"
QUICK = ("--steps", "1", "--size", "256x256", "-s", "7", "--dtype", "float32", "--watermark", "off")


def whole_clip(folder, *, projected=tiny_adapters.PROJECTED):
    """Save a CLIP model with both of its halves, as the hub has it."""
    torch.manual_seed(0)
    half = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    seen = {"image_size": 30, "patch_size": 15, "projection_dim": projected}
    config = CLIPConfig(text_config=half | {"vocab_size": 99}, vision_config=half | seen, projection_dim=projected)
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with what people publish for a tiny FLUX.1, each in a folder of its own, and the pictures to show."""
    root = tmp_path_factory.mktemp("published")
    with environment.quiet():
        pipeline = BUILDERS["flux"](root)
        tiny_controls.save(root / "control", "flux", pipeline)
        whole_clip(root / "encoder")
    (root / "adapter").mkdir()
    save_file(tiny_adapters.of_flux(pipeline.transformer), root / "adapter" / "ip_adapter.safetensors")
    layers = [each for each in tiny_loras.layers_of(pipeline) if each[0] == "transformer"]
    for seed, name in enumerate(("style", "other")):
        drawn = tiny_loras.draw(layers, strong=0.2, seed=seed)
        save_file(tiny_loras.diffusers(drawn), root / f"{name}.safetensors")
    for seed, name in enumerate(("ref", "edges")):
        levels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((256, 256)).save(root / f"{name}.png")
    return root


@pytest.fixture
def flux(published, tiny_models, run):
    """The working folder of somebody who has LoRAs, pictures and a model that is called flux."""
    for name in ("style.safetensors", "other.safetensors", "ref.png", "edges.png"):
        Path(name).symlink_to(published / name)
    Path("tiny").symlink_to(tiny_models("flux"), target_is_directory=True)
    assert run("models", "alias", "flux", "./tiny").code == 0
    return "flux"


@pytest.fixture
def hub(fake_hub, published):
    """A hub that has them under their own names."""
    for name, folder in ((ADAPTER, "adapter"), (ENCODER, "encoder"), (UNION, "control")):
        fake_hub.add(name, published / folder)
    return fake_hub


ALL = (
    *("--lora", "style.safetensors:0.7", "--lora", "other.safetensors:0.4"),
    *("--control", "canny:edges.png:0.8", "--ip-adapter", "ref.png:0.5"),
)


def pixels(name):
    with Image.open(name) as picture:
        return np.asarray(picture)


def told(ended):
    return " ".join(ended.err.split())


def test_loras_a_control_net_and_an_ip_adapter_by_the_hubs_names(run, flux, hub):
    planned = run("generate", "a red fox", "-m", flux, *ALL, *QUICK, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    facts = json.loads(planned.out)
    assert [each["kind"] for each in facts["adapters"]] == ["lora", "lora", "controlnet", "ip-adapter"]
    assert facts["adapters"][-1]["encoder"]["reference"] == ENCODER
    sizes = [len(hub.repositories[name].files[file]) for name, file in FETCHED]
    assert facts["forecast"]["download_bytes"] > sum(sizes)
    assert not hub.gets(f"{ENCODER}/resolve/main/model.safetensors")

    made = run("generate", "a red fox", "-m", flux, *ALL, *QUICK, "-o", "one.png")
    assert made.code == 0, made.err
    recipe = metadata.read(Path("one.png")).found.recipe
    shown = recipe.adapters[-1]
    assert (shown.reference, shown.revision, shown.scale) == (f"{ADAPTER}/ip_adapter.safetensors", COMMIT, 0.5)
    assert (shown.encoder.reference, shown.encoder.revision) == (ENCODER, COMMIT)

    assert (
        f"ip-adapter: {ADAPTER}/ip_adapter.safetensors at 0.5 through {ENCODER}"
        in run("inspect", "one.png").out.decode()
    )

    hub.repositories.clear()
    offline = run("generate", "a red fox", "-m", flux, *ALL, *QUICK, "--offline", "-o", "two.png")
    assert offline.code == 0, offline.err
    pictures = ("--control", f"{UNION}@{COMMIT}:edges.png:0.8", "--ip-adapter", "ref.png:0.5")
    again = run("generate", "--from", "one.png", *pictures, "--offline", "-o", "three.png")
    assert again.code == 0, again.err
    for name in ("two.png", "three.png"):
        np.testing.assert_array_equal(pixels("one.png"), pixels(name))
    assert metadata.read(Path("three.png")).found.recipe.adapters == recipe.adapters


FETCHED = (
    (ADAPTER, "ip_adapter.safetensors"),
    (ENCODER, "model.safetensors"),
    (UNION, "diffusion_pytorch_model.safetensors"),
)


def test_without_the_hub_the_adapter_and_then_its_encoder_are_named_with_what_fetches_them(run, flux, hub, monkeypatch):
    shown = ("generate", "a red fox", "-m", flux, "--ip-adapter", "ref.png", *QUICK, "--offline", "-o", "x.png")
    ended = run(*shown)
    assert ended.code == 4
    assert f"--ip-adapter {ADAPTER}/ip_adapter.safetensors: it is not on this machine" in told(ended)
    assert f"hf download {ADAPTER} ip_adapter.safetensors && hf download {ENCODER} config.json" in told(ended)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert run("models", "pull", f"{ADAPTER}/ip_adapter.safetensors").code == 0
    ended = run(*shown)
    assert ended.code == 4
    assert f"looks through {ENCODER}, which is not on this machine" in told(ended)
    assert f"hf download {ENCODER} config.json preprocessor_config.json model.safetensors" in told(ended)


def test_an_encoder_may_be_named_and_lie_anywhere(run, flux, published):
    shown = ("--ip-adapter", "ref.png", "--ip-adapter-weights", published / "adapter" / "ip_adapter.safetensors")
    whose = ("--ip-adapter-encoder", published / "encoder")
    ended = run("generate", "a red fox", "-m", flux, *shown, *whose, *QUICK, "-o", "one.png")
    assert ended.code == 0, ended.err
    recipe = metadata.read(Path("one.png")).found.recipe
    assert (recipe.adapters[0].encoder.reference, recipe.adapters[0].encoder.revision) == (str(whose[1]), None)
    again = run("generate", "--from", "one.png", "--ip-adapter", "ref.png", "-o", "two.png")
    assert again.code == 0, again.err
    np.testing.assert_array_equal(pixels("one.png"), pixels("two.png"))


def test_a_policy_is_asked_about_the_encoder_before_it_is_fetched(run, flux, hub):
    Path("policy.toml").write_text(f'schema = 1\n[models]\ndeny = ["{ENCODER}"]\n')
    ended = run("generate", "a", "-m", flux, "--ip-adapter", "ref.png", "--policy", "policy.toml", "-o", "x.png")
    assert ended.code == 5
    assert f"models.deny: {ENCODER}" in told(ended) or ENCODER in told(ended)
    assert not hub.gets("model.safetensors")


def test_a_policy_knows_the_encoder_by_its_hash(run, flux, published):
    digest = hashlib.sha256((published / "encoder" / "model.safetensors").read_bytes()).hexdigest()
    Path("policy.toml").write_text(f'schema = 1\n[models]\ndeny = ["sha256:{digest}"]\n')
    weights = ("--ip-adapter-weights", f"{published}/adapter", "--ip-adapter-encoder", published / "encoder")
    shown = ("--ip-adapter", "ref.png", *weights, "--policy", "policy.toml", "--dry-run")
    ended = run("generate", "a", "-m", flux, *shown)
    assert ended.code == 5, ended.err
    assert f"{published}/encoder" in told(ended)


def test_an_encoder_that_is_half_of_a_whole_model_draws_the_same(run, tiny_models, published, tmp_path):
    torch.manual_seed(0)
    half = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SiglipConfig(
        text_config=half | {"vocab_size": 99}, vision_config=half | {"image_size": 30, "patch_size": 15}
    )
    with environment.quiet():
        whole = SiglipModel(config)
        whole.save_pretrained(tmp_path / "whole")
        whole.vision_model.save_pretrained(tmp_path / "half")
        tiny_adapters.save(tmp_path / "adapter", "sd3", BUILDERS["sd3"](tmp_path))
    SiglipImageProcessor(size={"height": 30, "width": 30}).save_pretrained(tmp_path / "half")
    weights = ("--ip-adapter", published / "ref.png", "--ip-adapter-weights", tmp_path / "adapter")
    for name in ("whole", "half"):
        seen = ("--ip-adapter-encoder", tmp_path / name, "--size", "64x64", *QUICK[:2], *QUICK[4:])
        ended = run("generate", "a", "-m", tiny_models("sd3"), *weights, *seen, "-o", f"{name}.png")
        assert ended.code == 0, ended.err
    np.testing.assert_array_equal(pixels("whole.png"), pixels("half.png"))


def with_tensors(published, folder, change):
    tensors = load_file(published / "adapter" / "ip_adapter.safetensors")
    change(tensors)
    folder.mkdir()
    save_file(tensors, folder / "ip.safetensors")
    return folder / "ip.safetensors"


def deeper(tensors):
    for layer in ("k", "v"):
        for part in ("weight", "bias"):
            name = f"processor.ip_adapter_double_stream_{layer}_proj.{part}"
            tensors[f"double_blocks.1.{name}"] = tensors[f"double_blocks.0.{name}"].clone()


def wider(tensors):
    name = "double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight"
    tensors[name] = torch.zeros(99, tensors[name].shape[1])


def more_words(tensors):
    for name in [each for each in tensors if each.endswith("stream_k_proj.weight")]:
        tensors[name] = torch.zeros(len(tensors[name]), 99)


def more_tokens(tensors):
    tensors["ip_adapter_proj_model.proj.weight"] = torch.zeros(256, tiny_adapters.PROJECTED)


def cut(tensors):
    del tensors["ip_adapter_proj_model.norm.bias"]


def strange(tensors):
    tensors["double_blocks.0.processor.gate"] = torch.zeros(1)


def of_another_kind(tensors):
    names = [each for each in tensors if each.startswith("ip_adapter_proj_model.proj")]
    for name in names:
        tensors[name.replace("proj.", "proj.0.")] = tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (deeper, "was made for 2 attentions; this model has 1"),
        (wider, "was made for another model: ip_adapter.0.to_k_ip.weight is (99, 32), not (32, 32)"),
        (more_words, "was made for a model whose text has 32, 99 channels; this one's has 32"),
        (more_tokens, "was made for another model: image_proj.proj.weight is (256, 24), not (128, 24)"),
        (cut, "is incomplete: it lacks image_proj.norm.bias"),
        (strange, "has the tensor ip_adapter.0.processor.gate, for which diffusers has no place"),
        (of_another_kind, "is an IP-Adapter of a kind that imggen does not know"),
        (dict.clear, "is no IP-Adapter"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_their_header(run, flux, published, tmp_path, change, message):
    weights = with_tensors(published, tmp_path / "changed", change)
    shown = ("--ip-adapter", "ref.png", "--ip-adapter-weights", weights, "--ip-adapter-encoder", published / "encoder")
    ended = run("generate", "a red fox", "-m", flux, *shown, *QUICK, "--dry-run")
    assert ended.code == 4, ended.err
    assert f"{weights} {message}" in told(ended)


def test_an_encoder_that_does_not_fit_is_refused_with_both_sizes(run, flux, published, tmp_path):
    with environment.quiet():
        small = whole_clip(tmp_path / "small", projected=8)
        other = tiny_adapters.save_siglip(tmp_path / "siglip")
    weights = published / "adapter" / "ip_adapter.safetensors"
    shown = ("generate", "a red fox", "-m", flux, "--ip-adapter", "ref.png", "--ip-adapter-weights", weights, *QUICK)
    wanted = f"{weights} wants an image encoder (clip) with projection_dim 24;"
    for encoder, message in (
        (small, f"{wanted} {small} has 8"),
        (other, f"{wanted} {other} is one of siglip_vision_model"),
        ("./nowhere", "--ip-adapter-encoder ./nowhere: there is no such folder"),
        (published / "adapter", "holds no image encoder: it has no config.json"),
    ):
        ended = run(*shown, "--ip-adapter-encoder", encoder, "--dry-run")
        assert ended.code == 4, ended.err
        assert message in told(ended)
        assert f"hint: --ip-adapter-encoder {ENCODER}" in ended.err


def test_an_encoder_without_anything_that_looks_through_it_is_refused(run, flux):
    for command in (("generate", "a"), ("style", "ref.png", "--like", "edges.png")):
        ended = run(*command, "-m", flux, "--ip-adapter-encoder", "./encoder", "-o", "x.png")
        assert ended.code == 2
        assert "--ip-adapter-encoder ./encoder: nothing looks through it" in told(ended)


def test_a_style_is_shown_to_flux(run, flux, published):
    shown = ("--ip-adapter-weights", f"{published}/adapter:0.6", "--ip-adapter-encoder", published / "encoder")
    for like in ("edges", "ref"):
        ended = run(
            "style",
            "ref.png",
            "--like",
            f"{like}.png",
            "-m",
            flux,
            *shown,
            "--strength",
            "1",
            *QUICK[:2],
            "-o",
            f"{like}-made.png",
        )
        assert ended.code == 0, ended.err
    recipe = metadata.read(Path("ref-made.png")).found.recipe
    assert (recipe.change.method, recipe.adapters[0].scale) == ("ip-adapter", 0.6)
    assert (pixels("edges-made.png") != pixels("ref-made.png")).any()
    again = run("style", "ref.png", "--like", "ref.png", "--from", "ref-made.png", "-o", "again.png")
    assert again.code == 0, again.err
    np.testing.assert_array_equal(pixels("ref-made.png"), pixels("again.png"))


def test_no_weights_are_guessed_for_models_that_have_no_usual_ones(run, tiny_models, flux):
    for family, title in (
        ("flux-schnell", "FLUX.1 schnell"),
        ("chroma", "Chroma"),
    ):
        ended = run("generate", "a", "-m", tiny_models(family), "--ip-adapter", "ref.png", "-o", "x.png")
        assert ended.code == 2
        assert f"--ip-adapter ref.png: imggen knows no usual weights for {title}" in told(ended)
    ended = run("generate", "a", "-m", tiny_models("sd3"), "--ip-adapter", "ref.png", "-o", "x.png")
    assert ended.code == 2
    assert "for Stable Diffusion 3 and 3.5 are for models of num_layers 38, num_attention_heads 38" in told(ended)
