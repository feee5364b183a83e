"""`--lora`: what is wrong with one is said before any weights are read, and what is right is recorded."""

import json
from pathlib import Path

import pytest
import tiny_loras
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from PIL import Image

from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.store import lookup, model_folder
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

PROMPT = "a red apple"
QUICK = ("--steps", "1", "--size", "64x64", "-s", "7", "--dtype", "float32")


@pytest.fixture
def model(tiny_models, monkeypatch):
    """Return a function that gives the folder of a tiny model in the working folder, under its name."""

    def linked(name):
        link = Path(name)
        if not link.exists():
            link.symlink_to(tiny_models(name), target_is_directory=True)
        return f"./{name}"

    return linked


def lora_for(folder, path, *, write=tiny_loras.diffusers, **drawn):
    facts = model_folder.read(Path(folder), reference=str(folder), source="folder")
    denoiser = "unet" if "unet" in facts.shapes else "transformer"
    return tiny_loras.save(path, write(tiny_loras.draw(tiny_loras.layers_in(facts, denoiser), **drawn)))


def wide(path, width, *, depth=1, kohya=True):
    """Write a LoRA for the cross-attention of a full-size U-Net whose text has `width` channels."""
    tensors = {}
    for number in range(depth):
        name = f"down_blocks.1.attentions.0.transformer_blocks.{number}.attn2.to_k"
        key = f"lora_unet_{name.replace('.', '_')}.lora_" if kohya else f"unet.{name}.lora_"
        down, up = ("down", "up") if kohya else ("A", "B")
        tensors |= {f"{key}{down}.weight": torch.ones(4, width), f"{key}{up}.weight": torch.ones(640, 4)}
    return tiny_loras.save(path, tensors)


def refused(ended, message, hint=None, code=4):
    assert ended.code == code, ended.err
    said = " ".join(ended.err.split())
    assert message in said
    if hint is not None:
        assert hint in said


def planned(run, *arguments):
    return run("generate", PROMPT, *QUICK, "--dry-run", "--json", *arguments)


def test_one_for_another_family_is_refused_by_name(run, model):
    lora_for(model("sdxl"), "style.safetensors")
    refused(
        planned(run, "-m", model("flux"), "--lora", "style.safetensors"),
        "style.safetensors is a LoRA for Stable Diffusion XL; ./flux is FLUX.1",
        "a LoRA for FLUX.1, or with -m a model that is Stable Diffusion XL",
    )


@pytest.mark.parametrize(
    ("made_for", "write", "title"),
    [
        ("sdxl", tiny_loras.kohya, "Stable Diffusion XL"),
        ("flux", tiny_loras.diffusers, "FLUX"),
        ("sd3", tiny_loras.diffusers, "Stable Diffusion 3 or FLUX"),
        ("qwen-image", tiny_loras.diffusers, "Qwen-Image"),
        ("z-image", tiny_loras.diffusers, "Z-Image"),
        ("lumina2", tiny_loras.diffusers, "Lumina-Image 2.0"),
        ("auraflow", tiny_loras.diffusers, "AuraFlow"),
        ("flux2-klein", tiny_loras.diffusers, "FLUX.2"),
        ("sana", tiny_loras.diffusers, "PixArt or Sana"),
    ],
)
def test_its_layers_tell_what_it_is_for(made_for, write, title, run, model):
    endings = (*tiny_loras.ATTENTION, *tiny_loras.FEED_FORWARD, "img_mlp.net.2", "ff_context.net.2")
    lora_for(model(made_for), "style.safetensors", write=write, endings=endings)
    refused(
        planned(run, "-m", model("sd"), "--lora", "style.safetensors"),
        f"style.safetensors is a LoRA for {title}; ./sd is Stable Diffusion 1.x and 2.x",
    )


@pytest.mark.parametrize("kohya", [True, False])
@pytest.mark.parametrize(
    ("width", "depth", "title"),
    [
        (768, 1, "Stable Diffusion 1.x"),
        (1024, 1, "Stable Diffusion 2.x"),
        (2048, 2, "Stable Diffusion XL"),
        (1280, 4, "the refiner of Stable Diffusion XL"),
    ],
)
def test_the_width_of_its_cross_attention_tells_a_version(width, depth, title, kohya, run, model):
    wide("style.safetensors", width, depth=depth, kohya=kohya)
    refused(
        planned(run, "-m", model("flux"), "--lora", "style.safetensors"),
        f"style.safetensors is a LoRA for {title}; ./flux is FLUX.1",
    )


def test_one_for_a_model_of_another_size_names_the_layer(run, model):
    wide("style.safetensors", 768)
    refused(
        planned(run, "-m", model("sd"), "--lora", "style.safetensors"),
        "--lora style.safetensors does not fit ./sd: it changes "
        "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k of 640x768, which is 64x32 there",
        "a LoRA that was trained on ./sd",
    )


def test_layers_that_the_model_does_not_have_are_counted(run, model):
    tensors = {
        f"unet.mid_block.attentions.{number}.transformer_blocks.0.attn1.to_q.lora_{part}.weight": torch.ones(2, 2)
        for number in (0, 7, 8)
        for part in "AB"
    }
    refused(
        planned(run, "-m", model("sd"), "--lora", tiny_loras.save("style.safetensors", tensors)),
        "--lora style.safetensors does not fit ./sd: it changes mid_block.attentions.0.transformer_blocks.0.attn1.to_q "
        "of 2x2, which is 64x64 there",
    )
    tensors = {name: each for name, each in tensors.items() if ".0.attn" in name and "attentions.0" not in name}
    refused(
        planned(run, "-m", model("sd"), "--lora", tiny_loras.save("style.safetensors", tensors)),
        "--lora style.safetensors does not fit ./sd: of the 2 layers that it changes, 2 are not there "
        "(mid_block.attentions.7.transformer_blocks.0.attn1.to_q, "
        "mid_block.attentions.8.transformer_blocks.0.attn1.to_q)",
    )


@pytest.mark.parametrize(
    ("tensors", "message", "hint"),
    [
        ({}, "--lora it.safetensors: it.safetensors is empty: there is no tensor in it", None),
        (
            {"emb_params": torch.ones(2, 32)},
            "--lora it.safetensors: it.safetensors is no LoRA: none of its 1 tensors is part of one (emb_params)",
            "--embedding it.safetensors",
        ),
        (
            {"model.diffusion_model.out.2.bias": torch.ones(4), "first_stage_model.quant_conv.bias": torch.ones(8)},
            "none of its 2 tensors is part of one (first_stage_model.quant_conv.bias)",
            "-m it.safetensors",
        ),
        (
            {"image_proj.proj.weight": torch.ones(4, 4), "ip_adapter.1.to_k_ip.weight": torch.ones(4, 4)},
            "none of its 2 tensors is part of one (image_proj.proj.weight)",
            "--ip-adapter IMAGE --ip-adapter-weights it.safetensors",
        ),
        (
            {f"ip_adapter_proj_model.norm.{each}": torch.ones(4) for each in ("weight", "bias")},
            "none of its 2 tensors is part of one (ip_adapter_proj_model.norm.bias)",
            "--ip-adapter IMAGE --ip-adapter-weights it.safetensors",
        ),
        (
            {"lora_unet_mid_block_x.lora_down.weight": torch.ones(4, 4)},
            "--lora it.safetensors is incomplete: mid_block_x has no up weights",
            None,
        ),
        (
            {f"lora_unet_mid_block_x.hada_w{each}": torch.ones(4, 4) for each in ("1_a", "1_b", "2_a", "2_b")},
            "--lora it.safetensors is a LoHa of LyCORIS, which diffusers cannot load into Stable Diffusion 1.x and 2.x",
            "look for the same adapter as a plain LoRA",
        ),
        (
            {f"lora_unet_mid_block_x.lokr_w{each}": torch.ones(4, 4) for each in (1, 2)},
            "--lora it.safetensors is a LoKr of LyCORIS, which diffusers cannot load into Stable Diffusion 1.x and 2.x",
            "look for the same adapter as a plain LoRA",
        ),
        (
            {f"lora_unet_x.{each}": torch.ones(4, 4) for each in ("lora_down.weight", "lora_up.weight", "dora_scale")},
            "--lora it.safetensors is a DoRA in kohya's format, which diffusers cannot load into Stable Diffusion 1.x",
            None,
        ),
    ],
)
def test_what_is_no_lora_that_diffusers_adds_is_told_for_what_it_is(tensors, message, hint, run, model):
    tiny_loras.save("it.safetensors", tensors)
    refused(planned(run, "-m", model("sd"), "--lora", "it.safetensors"), message, hint)


def test_a_family_without_a_loader_takes_none(run, model):
    wide("style.safetensors", 768)
    refused(
        planned(run, "-m", model("pixart-sigma"), "--lora", "style.safetensors"),
        "--lora style.safetensors: diffusers cannot load LoRAs into PixArt-Sigma",
        "leave --lora out",
        code=2,
    )


@pytest.mark.parametrize(
    ("written", "message", "hint", "code"),
    [
        ("nowhere.safetensors", "--lora nowhere.safetensors: there is no such file or folder", "ORGANISATION/NAME", 4),
        ("nowhere.safetensors:x", "--lora nowhere.safetensors:x: 'x' is not a scale", "nowhere.safetensors:0.8", 2),
        ("a.safetensors:nan", "--lora a.safetensors:nan: 'nan' is not a finite number", "a.safetensors:0.8", 2),
        ("a.safetensors:5", "--lora a.safetensors:5: the scale 5 is not between -4 and 4", "--lora a.safetensors:1", 2),
        (":0.5", "--lora is empty: it names no weights", "leave --lora out", 2),
        ("", "--lora is empty: it names no weights", None, 2),
        ("notes.txt", "--lora notes.txt: notes.txt is not a safetensors file", "--lora notes.safetensors", 4),
        ("cut.safetensors", "cut.safetensors is cut short: 12 of 16 bytes of weights are there", None, 4),
        ("old.pt", "--lora old.pt: old.pt is a pickle, which can run any code when it is read", "--allow-pickle", 4),
        ("two", "--lora two has 2 files that could be meant: a.safetensors, b.safetensors", "two/a.safetensors", 4),
        ("none", "--lora none: there is no LoRA in it, as it has no safetensors file", "it has readme.md", 4),
        ("org/name", "--lora org/name: it is not on this machine, and imggen is offline", "hf download", 4),
    ],
)
def test_what_is_asked_for_wrongly_is_answered_with_what_to_type(written, message, hint, code, run, model):
    whole = tiny_loras.save(Path("whole.safetensors"), {"x": torch.ones(4)}).read_bytes()
    Path("notes.txt").write_text("a note")
    Path("cut.safetensors").write_bytes(whole[:-4])
    Path("old.pt").write_bytes(b"\x80\x02")
    for name in ("two/a.safetensors", "two/b.safetensors", "none/readme.md"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(whole)
    refused(planned(run, "-m", model("sd"), "--lora", written), message, hint, code)


def test_the_same_one_twice_is_refused(run, model):
    refused(
        planned(run, "-m", model("sd"), "--lora", "a.safetensors:0.5", "--lora", "a.safetensors"),
        "--lora a.safetensors is asked for twice",
        code=2,
    )


def test_the_plan_tells_each(run, model):
    lora_for(model("sd"), "style.safetensors")
    ended = planned(run, "-m", model("sd"), "--lora", "style.safetensors:0.7", "-v")
    (told,) = json.loads(ended.out)["adapters"]
    digest = lookup.weights.file_sha256(Path("style.safetensors"))
    assert (told["kind"], told["reference"], told["scale"], told["sha256"]) == (
        "lora",
        "style.safetensors",
        0.7,
        digest,
    )
    assert "lora: style.safetensors at 0.7" in ended.err


def test_a_picture_records_each_and_is_made_again_from_it(run, model, tmp_path):
    lora_for(model("sd"), "style.safetensors")
    made = ("generate", PROMPT, "-m", model("sd"), *QUICK)
    assert run(*made, "--lora", "style.safetensors:0.7", "-o", "a.png").code == 0
    assert run(*made, "-o", "plain.png").code == 0
    recipe = metadata.read(tmp_path / "a.png").found.recipe
    (told,) = recipe.adapters
    assert (told.kind, told.reference, told.scale) == ("lora", "style.safetensors", 0.7)
    assert recipe.model_hash == metadata.read(tmp_path / "plain.png").found.recipe.model_hash
    ended = run("generate", "--from", "a.png", "-o", "again.png")
    assert (ended.code, "may differ" in ended.err) == (0, False)
    first, again, plain = (Image.open(tmp_path / each).tobytes() for each in ("a.png", "again.png", "plain.png"))
    assert first == again != plain
    lora_for(model("sd"), "style.safetensors", seed=1)
    ended = run("generate", "--from", "a.png", "-o", "other.png")
    assert f"lora style.safetensors with sha256 {told.sha256} is now" in " ".join(ended.err.split())


def test_what_a_recipe_names_gives_way_to_what_is_typed(run, model, tmp_path):
    lora_for(model("sd"), "style.safetensors")
    lora_for(model("sd"), "other.safetensors", seed=1)
    run("generate", PROMPT, "-m", model("sd"), *QUICK, "--lora", "style.safetensors", "-o", "a.png")
    run("generate", "--from", "a.png", "--lora", "other.safetensors:0.5", "-o", "b.png")
    (told,) = metadata.read(tmp_path / "b.png").found.recipe.adapters
    assert (told.reference, told.scale) == ("other.safetensors", 0.5)
    assert "  lora: other.safetensors at 0.5" in run("inspect", "b.png").lines


def test_a_policy_that_names_weights_by_their_hash_refuses_another_lora(run, model, tmp_path):
    lora_for(model("sd"), "style.safetensors")
    Path("policy.toml").write_text(f'schema = 1\n[models]\nallow = ["folder:{tmp_path}/*", "folder:*sd*"]\n')
    assert planned(run, "-m", model("sd"), "--lora", "style.safetensors", "--policy", "policy.toml").code == 0
    digest = lookup.weights.file_sha256(Path("style.safetensors"))
    Path("policy.toml").write_text(f'schema = 1\n[models]\ndeny = ["sha256:{digest}"]\n')
    ended = planned(run, "-m", model("sd"), "--lora", "style.safetensors", "--policy", "policy.toml")
    refused(ended, "style.safetensors", code=5)


@pytest.fixture
def painted(run, model):
    """A picture that was made with a LoRA, and the LoRA."""
    lora = lora_for(model("sd"), Path("style.safetensors"), strong=1.0)
    assert run("generate", PROMPT, "-m", model("sd"), *QUICK, "--lora", lora, "-o", "a.png").code == 0
    return lora


@pytest.mark.parametrize(
    "task", [("img2img", "a.png", PROMPT), ("inpaint", "a.png", PROMPT, "--mask-box", "8,8,32,32"), ("blend", "a.png")]
)
def test_every_task_draws_with_it(task, run, model, painted, tmp_path):
    made = (*task, "-m", model("sd"), "--steps", "2", "-s", "7", "--dtype", "float32")
    for name, lora in (("with", f"{painted}:1"), ("without", f"{painted}:0")):
        ended = run(*made, "--lora", lora, "-o", f"{name}.png")
        assert ended.code == 0, ended.err
    assert Image.open("with.png").tobytes() != Image.open("without.png").tobytes()
    assert [each.kind for each in metadata.read(tmp_path / "with.png").found.recipe.adapters] == ["lora"]


def test_children_are_drawn_with_the_lora_of_their_parents(run, painted, tmp_path):
    ended = run("blend", "a.png", "-s", "3", "-o", "child.png")
    assert ended.code == 0, ended.err
    (told,) = metadata.read(tmp_path / "child.png").found.recipe.adapters
    assert (told.reference, told.scale) == (str(painted), 1.0)


def test_one_that_a_recipe_names_and_that_is_gone_says_who_wants_it(run, painted):
    painted.unlink()
    refused(
        run("generate", "--from", "a.png"),
        "--lora style.safetensors: there is no such file or folder; --lora comes from the recipe",
    )


def test_a_tag_in_the_prompt_asks_for_one_too(run, model, painted, tmp_path):
    ended = run("generate", f"{PROMPT} <lora:./style.safetensors:0.5>", "-m", model("sd"), *QUICK, "-o", "b.png")
    assert ended.code == 0, ended.err
    (told,) = metadata.read(tmp_path / "b.png").found.recipe.adapters
    assert (told.kind, told.scale) == ("lora", 0.5)


def test_a_model_distilled_by_a_lora_draws_as_its_card_says(run, model, tmp_path):
    lora_for(model("sdxl"), "fast_4step_lora.safetensors")
    ended = run(
        *("generate", PROMPT, "-m", model("sdxl"), "--lora", "fast_4step_lora.safetensors"),
        *("--steps", "4", "-g", "0", "--sampler", "euler_trailing"),
        *("--size", "64x64", "-s", "7", "--dtype", "float32", "-o", "a.png", "--watermark", "off"),
    )
    assert ended.code == 0, ended.err
    recipe = metadata.read(tmp_path / "a.png").found.recipe
    assert (recipe.steps, recipe.guidance, recipe.sampler) == (4, 0.0, "euler_trailing")
    with environment.quiet():
        pipeline = StableDiffusionXLPipeline.from_pretrained(model("sdxl"), dtype=torch.float32)
        pipeline.load_lora_weights(".", weight_name="fast_4step_lora.safetensors")
        pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(7)
        expected = pipeline(
            PROMPT, num_inference_steps=4, guidance_scale=0.0, width=64, height=64, generator=generator
        ).images[0]
    assert Image.open("a.png").convert("RGB").tobytes() == expected.tobytes()
