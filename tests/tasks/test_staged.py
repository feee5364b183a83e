"""Pictures in two stages: a decoder with its prior, in one folder or in two, against plain diffusers."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import accelerate
import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler, seamless
from imggen.errors import CheckError, ModelError, RequestError
from imggen.host import environment
from imggen.plan.generation import resolve
from imggen.plan.models import catalog
from imggen.plan.schema.request import GenerateRequest
from imggen.store import lookup, model_folder
from imggen.tasks import convert, generate, library, models
from tests import tiny_staged
from tests.hub_server import COMMIT, fake_hub, hub_cache
from tests.tiny_models import BUILDERS, tiny_models

__all__ = ["fake_hub", "hub_cache", "tiny_models"]

FAMILIES = tuple(tiny_staged.BUILDERS)
TWO = ("stable-cascade", "kandinsky22")
WORDS = ("stable-cascade", "wuerstchen", "kandinsky22")


@pytest.fixture(autouse=True)
def _in_a_folder_with_pictures(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    levels = np.random.default_rng(1).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((128, 64), Image.Resampling.BICUBIC).save("photo.png")
    mask = Image.new("L", (128, 64))
    mask.paste(255, (32, 16, 96, 48))
    mask.save("mask.png")


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """A tiny model of each family as diffusers holds it, and the folders of its decoder and its prior."""
    root = tmp_path_factory.mktemp("staged")

    @functools.cache
    def part(name):
        with environment.quiet():
            pipeline = BUILDERS[name](root)
            pipeline.set_progress_bar_config(disable=True)
            tiny_staged.split(pipeline, root / name / "decoder", root / name / "prior")
        return pipeline, root / name / "decoder", root / name / "prior"

    return part


def ask(parts, name, **changes):
    _, decoder, prior = parts(name)
    edge = 64 if name.startswith("kandinsky") else 256
    said = {"prompt": "a red apple", "seed": "7", "dtype": "float32", "device": "cpu", "steps": 2, "watermark": "off"}
    said |= {"output": "out.png", "model": str(decoder), "base": str(prior)}
    if changes.get("task", "text-to-image") == "text-to-image":
        said["size"] = f"{edge}x{edge}"
    return GenerateRequest(**said | changes)


LOADED = {}


def kept(plan, **_):
    """The model of `plan`, loaded once, in the class that the plan names."""
    if plan.model.folder not in LOADED:
        LOADED[plan.model.folder] = loader.load(plan)
    return loader.switch(LOADED[plan.model.folder], plan)


def draw(request, load=loader.load, **options):
    (made,) = generate.generate(request, load=load, **options)
    return made.recipe, pixels("out.png")


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def opened(path, mode="RGB"):
    with Image.open(path) as picture:
        return picture.convert(mode)


def plain(parts, plan, **shown):
    """The pixels of a script without imggen: diffusers' combined pipeline for the task."""
    with environment.quiet():
        task = getattr(diffusers, plan.pipeline)(**parts(plan.family.name)[0].components)
        task.set_progress_bar_config(disable=True)
        return np.asarray(task(**plan.arguments, **shown, generator=torch.Generator("cpu").manual_seed(7)).images[0])


@pytest.mark.parametrize("name", WORDS)
def test_two_folders_draw_what_one_does_and_what_plain_diffusers_draws(parts, tiny_models, name):
    request = ask(parts, name)
    recipe, drawn = draw(request)
    np.testing.assert_array_equal(drawn, plain(parts, generate.plan(request)))
    assert drawn.std() > 1
    assert (recipe.family, recipe.model, recipe.base) == (name, *map(str, parts(name)[1:]))
    again, one = draw(ask(parts, name, model=str(tiny_models(name)), base=None))
    np.testing.assert_array_equal(drawn, one)
    assert again.base is None


@pytest.mark.parametrize("name", WORDS)
def test_words_guidance_and_what_to_steer_away_from_change_the_picture(parts, name):
    drawn = draw(ask(parts, name), kept)[1]
    for said in ({"prompt": "blue"}, {"guidance": 9.5}, {"negative_prompt": "blue"}):
        assert (draw(ask(parts, name, **said), kept)[1] != drawn).any(), said
    with pytest.raises(RequestError, match="looks at a negative prompt only when guidance is above 1"):
        generate.plan(ask(parts, name, guidance=1, negative_prompt="blue"))


@pytest.mark.parametrize("name", TWO)
def test_a_picture_is_made_again_from_its_recipe(parts, name):
    drawn = draw(ask(parts, name), kept)[1]
    shutil.copy("out.png", "first.png")
    again = GenerateRequest(from_file="first.png", output="out.png", watermark="off")
    notes = []
    np.testing.assert_array_equal(drawn, draw(again, kept, on_note=notes.append)[1])
    assert not [each for each in notes if "may differ" in each]


def test_a_picture_that_is_no_square_is_started_from_as_it_lies(parts):
    request = ask(parts, "kandinsky22", task="image-to-image", images=("photo.png",), steps=4, strength=0.5)
    recipe, drawn = draw(request)
    plan = generate.plan(request)
    assert drawn.shape == (64, 128, 3)
    assert (recipe.change.method, recipe.change.strength) == ("image-to-image", 0.5)
    np.testing.assert_array_equal(drawn, plain(parts, plan, image=opened("photo.png")))


def test_a_part_is_repainted_by_the_model_that_was_made_for_it(parts):
    request = ask(parts, "kandinsky22-inpaint", task="inpaint", images=("photo.png",), mask="mask.png")
    recipe, drawn = draw(request)
    assert (recipe.change.method, recipe.change.strength) == ("inpainting", None)
    shown = {"image": opened("photo.png"), "mask_image": opened("mask.png", "L")}
    wanted = plain(parts, generate.plan(request), **shown)
    inside = np.asarray(opened("mask.png", "L")) > 0
    np.testing.assert_array_equal(drawn[inside], wanted[inside])
    np.testing.assert_array_equal(drawn[~inside], np.asarray(opened("photo.png"))[~inside])
    with pytest.raises(
        RequestError, match=r"--strength 0\.5: Kandinsky 2.2 Inpaint has a pipeline for it, which starts"
    ):
        generate.plan(
            ask(parts, "kandinsky22-inpaint", task="inpaint", images=("photo.png",), mask="mask.png", strength=0.5)
        )


@pytest.mark.parametrize(
    ("name", "steps", "other"),
    [("stable-cascade", 20, {"num_inference_steps": 10}), ("kandinsky22", 50, {"prior_num_inference_steps": 25})],
)
def test_the_plan_says_whose_the_steps_are(parts, name, steps, other):
    plan = generate.plan(ask(parts, name, steps=None))
    assert plan.steps == steps
    assert other.items() <= plan.arguments.items()
    (line,) = (each for each in resolve.explain(plan) if each.startswith("steps:"))
    assert catalog.named(name).stages.other_steps in line
    assert f"base: {parts(name)[2]} (the prior; gives " in "\n".join(resolve.explain(plan))
    record = json.loads(resolve.to_json(plan))["model"]
    assert record["base"]["reference"] == str(parts(name)[2])
    assert record["weight_bytes"] > sum(
        model_folder.read(parts(name)[1], reference="x", source="folder").weight_bytes.values()
    )


@pytest.mark.parametrize("name", TWO)
def test_both_stages_tell_how_far_they_are(parts, name):
    events = []
    draw(ask(parts, name), kept, on_event=events.append)
    seen = [
        (each.stage, each.step, each.steps) for each in events if each.stage in ("encode", "prior", "denoise", "decode")
    ]
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages == ["encode", "prior", "denoise", "decode"]
    second = generate.plan(ask(parts, name)).arguments["num_inference_steps"]
    first = generate.plan(ask(parts, name)).arguments["prior_num_inference_steps"]
    assert ("prior", first, first) in seen
    assert ("denoise", second, second) in seen


# Where diffusers 0.42.1 reads the two vectors of Kandinsky's prior, they would be put off.
@pytest.mark.parametrize(
    ("name", "offload"),
    [
        ("stable-cascade", "model"),
        ("stable-cascade", "group"),
        ("stable-cascade", "sequential"),
        ("wuerstchen", "disk"),
        ("kandinsky22", "model"),
        ("kandinsky22", "group"),
        ("kandinsky22", "disk"),
        ("kandinsky22", "sequential"),
    ],
)
def test_where_the_parts_rest_changes_no_pixel(parts, monkeypatch, tmp_path, name, offload):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # As in the tests of placement: tensors in main memory have no number of a device.
    put_off = accelerate.cpu_offload
    monkeypatch.setattr(
        accelerate, "cpu_offload", lambda module, device, **options: put_off(module, torch.device("cpu"), **options)
    )
    plan = generate.plan(ask(parts, name))
    few = {each: 2 for each in plan.arguments if each.endswith("num_inference_steps")}
    plan = replace(plan, arguments=plan.arguments | few)
    pipeline = loader.load(replace(plan, offload=offload))
    wanted = plain(parts, plan)
    # The second picture goes through what the first one has put off.
    for _ in range(2):
        (drawn,) = sampler.sample(pipeline, plan)
        np.testing.assert_array_equal(np.asarray(drawn.image), wanted)


def test_a_prior_alone_names_the_decoder(parts):
    prior = parts("kandinsky22")[2]
    with pytest.raises(
        ModelError, match=r"is the prior of Kandinsky 2\.2, which makes no pictures by itself"
    ) as caught:
        generate.plan(ask(parts, "kandinsky22", model=str(prior), base=None))
    assert caught.value.hint == f"kandinsky-community/kandinsky-2-2-decoder in its place, with --base {prior}"


def test_a_prior_of_another_family_is_refused_by_its_class(parts):
    for base in (parts("kandinsky22")[2], parts("kandinsky22")[1]):
        with pytest.raises(
            ModelError, match=r"is a decoder of Stable Cascade, and its base .* is no prior of that"
        ) as caught:
            generate.plan(ask(parts, "stable-cascade", base=str(base)))
        assert caught.value.hint == "--base stabilityai/stable-cascade-prior, or another prior of Stable Cascade"


@pytest.mark.parametrize(
    ("name", "key", "other"),
    [
        ("kandinsky22", "embedding_dim", "unet.encoder_hid_dim 32"),
        ("stable-cascade", "out_channels", "decoder.effnet_in_channels 16"),
    ],
)
def test_a_prior_of_other_embeddings_is_refused_before_its_weights_are_read(parts, name, key, other):
    base = Path(shutil.copytree(parts(name)[2], "prior"))
    config = base / "prior" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: 768}))
    with pytest.raises(ModelError, match=rf"{other}, its base prior has prior.{key} 768: they do not belong"):
        generate.plan(ask(parts, name, base="prior"))


def test_of_a_part_that_cannot_be_loaded_the_model_that_it_is_of_is_named(parts):
    base = Path(shutil.copytree(parts("kandinsky22")[2], "prior"))
    config = base / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": 0}))
    with pytest.raises(ModelError, match=r"prior_text_encoder \(.*\) of prior cannot be loaded") as caught:
        draw(ask(parts, "kandinsky22", base="prior"))
    assert caught.value.hint == "imggen models verify prior"


@pytest.mark.parametrize("base", ["", " "])
def test_a_base_that_is_empty_is_told(parts, base):
    with pytest.raises(RequestError, match="--base is empty"):
        generate.plan(ask(parts, "kandinsky22", base=base))


def test_a_decoder_without_its_prior_says_what_to_fetch(parts):
    with pytest.raises(ModelError, match=r"needs its prior, and .*-2-2-prior could not be loaded") as caught:
        generate.plan(ask(parts, "kandinsky22", base=None, offline=True))
    assert "imggen models pull kandinsky-community/kandinsky-2-2-prior; or --base FOLDER" in caught.value.hint


def test_a_card_that_names_no_model_of_the_hub_is_refused(parts):
    decoder = Path(shutil.copytree(parts("kandinsky22")[1], "decoder"))
    (decoder / "README.md").write_text("---\nprior:\n- ../../secret\n---\n")
    with pytest.raises(ModelError, match=r"its card names '[./]+secret' as its prior, which is no model of the hub"):
        generate.plan(ask(parts, "kandinsky22", model="decoder", base=None))


def test_a_model_of_another_diffusers_names_its_autoencoder_elsewhere(parts):
    decoder = Path(shutil.copytree(parts("stable-cascade")[1], "decoder"))
    index = json.loads((decoder / "model_index.json").read_text())
    (decoder / "model_index.json").write_text(json.dumps(index | {"vqgan": ["wuerstchen", "PaellaVQModel"]}))
    (decoder / "README.md").write_text("---\nlicense: other\nlicense_name: cascade-nc\n---\n")
    plan, forecast = generate.foresee(ask(parts, "stable-cascade", model="decoder"))
    assert forecast.licence == "cascade-nc and not stated"
    drawn = draw(ask(parts, "stable-cascade", model="decoder"))[1]
    np.testing.assert_array_equal(drawn, plain(parts, plan))


def test_a_card_in_a_folder_of_both_leads_nowhere(parts, tiny_models):
    folder = Path(shutil.copytree(tiny_models("kandinsky22"), "both"))
    (folder / "README.md").write_text("---\nprior:\n- nobody/nothing\n---\n")
    np.testing.assert_array_equal(
        draw(ask(parts, "kandinsky22", model="both", base=None))[1], draw(ask(parts, "kandinsky22"), kept)[1]
    )


def test_a_policy_holds_for_both(parts, tmp_path):
    for place in parts("kandinsky22")[1:]:
        Path("rules.toml").write_text(f'schema = 1\n[models]\ndeny = ["folder:{place}"]\n')
        with pytest.raises(CheckError, match="models"):
            generate.plan(ask(parts, "kandinsky22", policy="rules.toml"))
    Path("rules.toml").write_text('schema = 1\n[models]\ndeny = ["kandinsky-community/*"]\n')
    with pytest.raises(CheckError, match="kandinsky-2-2-prior"):
        generate.plan(ask(parts, "kandinsky22", base=None, policy="rules.toml"))


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("kandinsky22", {"lora": ("x.safetensors",)}, r"diffusers cannot load LoRAs into Kandinsky 2\.2"),
        ("kandinsky22", {"embedding": ("x.safetensors:cat",)}, r"diffusers cannot load embeddings into Kandinsky 2\.2"),
        ("kandinsky22", {"vae": "x.safetensors"}, "reads no latents but those of its own autoencoder"),
        ("kandinsky22", {"sampler": "euler"}, "euler"),
        ("kandinsky22", {"size": "96x64"}, "64"),
        ("kandinsky22", {"vae_tiling": "on"}, "VQModel cannot decode in tiles"),
        ("stable-cascade", {"size": "320x256"}, "128"),
        ("stable-cascade", {"tile": "x"}, "makes no seamless pictures"),
        ("stable-cascade", {"attention_slicing": "on"}, "has no attention slicing"),
    ],
)
def test_what_a_model_in_two_stages_does_not_take_is_refused(parts, name, said, message):
    save_file({"a.lora_A.weight": torch.zeros(2, 2)}, "x.safetensors")
    with pytest.raises((RequestError, ModelError), match=message):
        generate.plan(ask(parts, name, **said))


def test_the_two_are_shown_and_become_one_folder(parts):
    _, decoder, prior = parts("stable-cascade")
    shown = models.show(str(decoder), base=str(prior))
    assert (shown["family"], shown["base"]["reference"]) == ("stable-cascade", str(prior))
    assert "prior_prior" in shown["components"]
    convert.convert(convert.Wanted(reference=str(decoder), base=str(prior), folder="both", dtype="float32"))
    first = draw(ask(parts, "stable-cascade"), kept)[1]
    np.testing.assert_array_equal(first, draw(ask(parts, "stable-cascade", model="both", base=None))[1])


@pytest.fixture
def published(parts, fake_hub, tmp_path):
    """A decoder on the hub whose card names its prior, which is there too: the bytes of each."""
    decoder = Path(shutil.copytree(parts("kandinsky22")[1], tmp_path / "published"))
    (decoder / "README.md").write_text("---\nlicense: apache-2.0\nprior:\n- org/prior\ntags:\n- x\n---\n# Ours\n")
    found = [fake_hub.add("org/decoder", decoder), fake_hub.add("org/prior", parts("kandinsky22")[2])]
    return [sum(map(len, each.files.values())) for each in found]


def test_a_dry_run_counts_the_bytes_of_both_and_fetches_no_weights(parts, published, fake_hub):
    plan, forecast = generate.foresee(ask(parts, "kandinsky22", model="org/decoder", base=None))
    assert (plan.model.base.reference, plan.model.base.revision) == ("org/prior", COMMIT)
    assert 0.95 * sum(published) < forecast.download_bytes <= sum(published)
    assert all(each is not None for each in fake_hub.gets(".safetensors"))
    assert (plan.model.folder.parts[-3], plan.model.prior.folder.parts[-3]) == (
        "models--org--decoder",
        "models--org--prior",
    )


def test_the_prior_comes_with_its_decoder(parts, published):
    offered = []
    pulled = library.pull(library.PullRequest(reference="org/decoder", dtype="float32"), on_offer=offered.append)
    assert [each.reference for each in offered] == ["org/decoder", "org/prior"]
    assert (pulled.reference, pulled.prior.reference) == ("org/decoder", "org/prior")
    assert [each.incomplete for each in library.list_all() if each.source == "hub"] == [False, False]
    recipe, drawn = draw(ask(parts, "kandinsky22", model="org/decoder", base=None, offline=True))
    np.testing.assert_array_equal(drawn, draw(ask(parts, "kandinsky22"), kept)[1])
    assert (recipe.base, recipe.base_revision) == ("org/prior", COMMIT)


def test_a_policy_by_hash_holds_for_each_of_the_two(parts, published, monkeypatch):
    places = parts("kandinsky22")[1:]
    hashes = [
        lookup.weights_sha256(model_folder.read(each, reference="x", source="folder"), "float32") for each in places
    ]
    rules = Path("rules.toml").absolute()
    monkeypatch.setenv("IMGGEN_POLICY", str(rules))
    asked = library.PullRequest(reference="org/decoder", dtype="float32")
    rules.write_text(f'schema = 1\n[models]\nallow = ["sha256:{hashes[0]}"]\n')
    with pytest.raises(CheckError, match="the policy does not allow org/prior"):
        library.pull(asked)
    rules.write_text(f'schema = 1\n[models]\nallow = ["sha256:{hashes[0]}", "sha256:{hashes[1]}"]\n')
    assert library.pull(asked).prior.reference == "org/prior"
    assert generate.plan(ask(parts, "kandinsky22", model="org/decoder", base=None, offline=True)).model.base is not None


def test_a_prior_that_a_policy_refuses_keeps_the_decoder_from_being_fetched(parts, published, fake_hub):
    Path("rules.toml").write_text('schema = 1\n[models]\ndeny = ["org/prior"]\n')
    with pytest.raises(CheckError, match="org/prior"):
        list(generate.generate(ask(parts, "kandinsky22", model="org/decoder", base=None, policy="rules.toml")))
    assert not fake_hub.gets(".safetensors")


def test_a_prior_of_another_family_is_not_fetched(parts, published, fake_hub):
    fake_hub.add("org/other", parts("stable-cascade")[2])
    with pytest.raises(ModelError, match="its base org/other is no prior of that: it is a StableCascadePriorPipeline"):
        list(generate.generate(ask(parts, "kandinsky22", base="org/other")))
    assert not fake_hub.gets(".safetensors")


def test_a_base_beside_what_is_whole_keeps_it_from_being_fetched(parts, tiny_models, fake_hub):
    fake_hub.add("org/both", tiny_models("kandinsky22"))
    with pytest.raises(RequestError, match="org/both is whole"):
        list(generate.generate(ask(parts, "kandinsky22", model="org/both")))
    assert not fake_hub.gets(".safetensors")


def test_a_picture_may_repeat_without_a_seam(parts):
    decoder = parts("kandinsky22")[0].decoder_pipe
    embedding, latents = (
        torch.randn(each, generator=torch.Generator().manual_seed(1)) for each in ((1, 32), (1, 4, 8, 8))
    )

    def drawn(by):
        moved = torch.roll(latents, (by, by), (2, 3))
        told = {"image_embeds": embedding, "negative_image_embeds": 0 * embedding, "latents": moved}
        return decoder(**told, height=64, width=64, num_inference_steps=1, output_type="pt").images

    with seamless.seamless(decoder, "xy"):
        torch.testing.assert_close(drawn(2), torch.roll(drawn(0), (16, 16), (2, 3)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "quantize"), [("kandinsky22", "fp8"), ("stable-cascade", "int8")])
def test_the_larger_denoiser_may_be_stored_smaller(parts, name, quantize):
    recipe, drawn = draw(ask(parts, name, quantize=quantize))
    assert recipe.quantize == quantize
    assert (drawn != draw(ask(parts, name), kept)[1]).any()


def test_what_the_prior_does_not_read_of_a_prompt_is_noted(parts):
    notes = []
    draw(ask(parts, "kandinsky22", prompt="a " * 100), kept, on_note=notes.append)
    assert any("tokens and the model reads 77; not read:" in each for each in notes)
