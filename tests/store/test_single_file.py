"""Single files: their facts from the header, and the parts that come out of them."""

import json
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from imggen.engine.pipeline import loader
from imggen.errors import ModelError, RequestError
from imggen.host import environment
from imggen.store import hub, lookup
from imggen.store.weights import AGAIN, AccessRules
from tests import single_files, tiny_models

OFFLINE = AccessRules(offline=True)


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """Return a function from a tiny model's name to its pipeline, in memory; `tiny_models` has the same as folders."""
    root, made = tmp_path_factory.mktemp("pipelines"), {}

    def pipeline(name):
        if name not in made:
            with environment.quiet():
                made[name] = tiny_models.BUILDERS[name](root)
        return made[name]

    return pipeline


@pytest.fixture
def sd_file(pipelines, tmp_path):
    return single_files.save(single_files.stable_diffusion(pipelines("sd")), tmp_path / "sd.safetensors")


def all_in_one(pipeline):
    """A FLUX.1 with all of its parts in one file, as ComfyUI saves it."""
    clip = single_files.clip_l(pipeline.text_encoder)
    t5 = {name: each for name, each in pipeline.text_encoder_2.state_dict().items() if "embed_tokens" not in name}
    return {
        **single_files.flux(pipeline.transformer, "model.diffusion_model."),
        **single_files.vae(pipeline.vae, "vae."),
        **{f"text_encoders.clip_l.transformer.{name}": each for name, each in clip.items()},
        **{f"text_encoders.t5xxl.transformer.{name}": each for name, each in t5.items()},
    }


ORIGINALS = {
    "sd": ("sd", single_files.stable_diffusion, {"unet", "vae", "text_encoder"}),
    "sdxl": ("sdxl", single_files.stable_diffusion_xl, {"unet", "vae", "text_encoder", "text_encoder_2"}),
    "sd3": (
        "sd3",
        single_files.stable_diffusion_3,
        {"transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"},
    ),
    "flux": ("flux", lambda made: single_files.flux(made.transformer), {"transformer"}),
    "flux all in one": ("flux", all_in_one, {"transformer", "vae", "text_encoder", "text_encoder_2"}),
}


@pytest.mark.parametrize(("name", "write", "held"), ORIGINALS.values(), ids=ORIGINALS)
def test_a_file_in_its_authors_format_has_the_weights_of_the_pipeline(
    name, write, held, pipelines, tiny_models, make_plan, tmp_path, monkeypatch
):
    single_files.narrow_flux(monkeypatch, 32)
    file = single_files.save(write(pipelines(name)), tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models(name)))
    assert set(facts.single.parts) == held
    loaded = loader.load(replace(make_plan(tiny_models(name)), model=facts))
    for part in facts.weight_bytes:
        made, source = getattr(loaded, part).state_dict(), getattr(pipelines(name), part).state_dict()
        assert made.keys() == source.keys()
        assert all(torch.equal(made[each], source[each]) for each in source)


def test_the_text_encoder_of_a_stable_diffusion_2_is_converted(pipelines, tiny_models, make_plan, tmp_path):
    file = single_files.save(single_files.stable_diffusion_2(pipelines("sd")), tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models("sd")))
    assert facts.single.kind == "Stable Diffusion 2.x"
    loaded = loader.load(replace(make_plan(tiny_models("sd")), model=facts))
    made, source = loaded.text_encoder.state_dict(), pipelines("sd").text_encoder.state_dict()
    assert all(torch.equal(made[each], source[each]) for each in source)


def test_a_text_encoder_under_older_names_is_converted(pipelines, tiny_models, make_plan, tmp_path):
    tensors = single_files.stable_diffusion(pipelines("sd"))
    older = {
        name.replace("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."): each
        for name, each in tensors.items()
    }
    file = single_files.save(older, tmp_path / "x.safetensors")
    loaded = loader.load(
        replace(make_plan(tiny_models("sd")), model=lookup.find(str(file), base=str(tiny_models("sd"))))
    )
    made, source = loaded.text_encoder.state_dict(), pipelines("sd").text_encoder.state_dict()
    assert all(torch.equal(made[each], source[each]) for each in source)


DENOISERS = (
    "sd",
    "sdxl",
    "flux",
    "flux2-klein",
    "sd3",
    "chroma",
    "auraflow",
    "lumina2",
    "sana",
    "qwen-image",
    "z-image",
    "kolors",
    "krea2",
    "ernie-image",
    "hidream",
)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [*((name, "") for name in DENOISERS), *((name, "model.diffusion_model.") for name in ("sd", "flux", "lumina2"))],
)
def test_a_denoiser_under_the_names_of_diffusers_is_loaded_as_it_is(
    name, prefix, pipelines, tiny_models, make_plan, tmp_path
):
    part = "unet" if name in ("sd", "sdxl", "kolors") else "transformer"
    source = getattr(pipelines(name), part).state_dict()
    file = single_files.save({f"{prefix}{key}": each for key, each in source.items()}, tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models(name)))
    assert set(facts.single.parts) == {part}
    made = getattr(loader.load(replace(make_plan(tiny_models(name)), model=facts)), part).state_dict()
    assert all(torch.equal(made[each], source[each]) for each in source)


def test_the_facts_are_those_of_the_file_and_of_what_the_base_lends(sd_file, tiny_models):
    base = lookup.find(str(tiny_models("sd")))
    facts = lookup.find(str(sd_file), base=str(tiny_models("sd")))
    assert (facts.source, facts.reference, facts.pipeline) == ("file", str(sd_file), "StableDiffusionPipeline")
    assert (facts.weight_bytes, facts.stored_dtypes) == (base.weight_bytes, base.stored_dtypes)
    assert facts.configs == base.configs
    assert facts.single.base.weight_bytes == {}
    assert lookup.licence(facts) is None
    assert lookup.weight_files(facts, "float32") == [sd_file]


def test_what_checks_pictures_does_not_come_with_a_single_file(pipelines, tiny_models, make_plan, tmp_path):
    file = single_files.save(single_files.stable_diffusion(pipelines("sd")), tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models("checked")))
    assert "safety_checker" not in facts.components
    loaded = loader.load(replace(make_plan(tiny_models("checked")), model=facts))
    assert (loaded.safety_checker, loaded.feature_extractor) == (None, None)


def test_a_folder_of_one_file_is_that_file(sd_file, tiny_models):
    facts = lookup.find(str(sd_file.parent), base=str(tiny_models("sd")))
    assert facts.single.path == sd_file


def test_a_folder_of_two_files_names_the_first(sd_file, tiny_models):
    shutil.copy(sd_file, sd_file.with_name("a.safetensors"))
    with pytest.raises(ModelError) as caught:
        lookup.find(str(sd_file.parent), base=None)
    assert caught.value.message == f"{sd_file.parent} has no model_index.json, but 2 files of weights"
    assert caught.value.hint == f"--model {sd_file.with_name('a.safetensors')}"


def test_a_component_of_another_model_is_named_with_the_folder_above(tiny_models):
    with pytest.raises(ModelError) as caught:
        lookup.find(str(tiny_models("sd") / "unet"))
    assert caught.value.message == (
        f"{tiny_models('sd') / 'unet'} is not a diffusers model: it has no model_index.json; "
        "it is one component, UNet2DConditionModel"
    )
    assert caught.value.hint == f"--model {tiny_models('sd')}"


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"_class_name": "ControlNetModel"}, "--control {}:PICTURE"),
        ({"_class_name": "AutoencoderTiny"}, "--vae {}"),
        ({"_class_name": "UNet2DConditionModel"}, "imggen models list"),
    ],
)
def test_an_adapters_folder_is_named_with_its_option(config, hint, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="it is one component") as caught:
        lookup.find(str(tmp_path))
    assert caught.value.hint == hint.format(tmp_path)


def test_a_folder_of_components_without_an_index_says_which(tiny_models, tmp_path):
    shutil.copytree(tiny_models("sd") / "unet", tmp_path / "model" / "unet")
    with pytest.raises(ModelError) as caught:
        lookup.find(str(tmp_path / "model"))
    assert caught.value.message == (
        f"{tmp_path / 'model'} is not a diffusers model: it has no model_index.json, only unet/"
    )


def test_a_folder_of_another_library_says_what_it_is(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"it has no model_index\.json; it is one component, LlamaForCausalLM"):
        lookup.find(str(tmp_path))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def lie(path):
    """Let the header say that the first tensor is larger than it is."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    next(each for name, each in header.items() if name != "__metadata__")["shape"][0] += 1
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def endless(path):
    """Let the header say that there is no end to the first tensor."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    next(each for name, each in header.items() if name != "__metadata__")["shape"] = [float("nan")]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


DAMAGE = {
    "cut short": (cut, r"is cut short: \d+ of \d+ bytes of weights are there"),
    "lying": (lie, "has a damaged header: the entry of '.*' makes no sense"),
    "NaN": (endless, "has a damaged header: the entry of '.*' makes no sense"),
    "pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"),
    "empty": (lambda path: path.write_bytes(b""), "is no whole safetensors file"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_before_its_base_is_looked_for(damage, reason, sd_file):
    damage(sd_file)
    with pytest.raises(ModelError, match=reason) as caught:
        lookup.find(str(sd_file), terms=OFFLINE)
    assert caught.value.exit_code == 4
    assert caught.value.hint in (AGAIN, "git lfs pull")


@pytest.mark.parametrize("name", ["./nothing.safetensors", "models/nothing.gguf", "nothing.ckpt"])
def test_a_file_that_is_not_there_is_said_to_be_none(name):
    with pytest.raises(ModelError) as caught:
        lookup.find(name)
    assert caught.value.message == f"there is no file {name}"


def test_a_file_of_another_kind_is_no_model(tmp_path):
    (tmp_path / "x.txt").write_text("words")
    with pytest.raises(
        ModelError, match=r"is no model: imggen reads \.safetensors, \.gguf files and diffusers folders"
    ):
        lookup.find(str(tmp_path / "x.txt"))


def test_a_link_to_itself_is_nothing(tmp_path):
    (tmp_path / "x.safetensors").symlink_to(tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="there is no file"):
        lookup.find(str(tmp_path / "x.safetensors"))


def test_a_shard_that_links_to_itself_is_gone(tiny_models, tmp_path):
    model = Path(shutil.copytree(tiny_models("sd"), tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to(weights)
    with pytest.raises(ModelError, match="points at a file that is gone"):
        lookup.find(str(model))


def test_an_index_that_names_missing_shards_says_how_many(tiny_models, tmp_path):
    model = Path(shutil.copytree(tiny_models("sd"), tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00003.safetensors"))
    names = {f"{number}": f"diffusion_pytorch_model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)}
    weights.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(ModelError) as caught:
        lookup.find(str(model))
    assert caught.value.message == (f"{model / 'unet'} is incomplete: {names['2']} and 1 more of 3 files missing")


def test_without_a_base_the_usual_one_has_to_be_here_where_nothing_may_be_fetched(sd_file, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError) as caught:
        lookup.find(str(sd_file), terms=OFFLINE)
    base = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert caught.value.message == (
        f"{sd_file} holds no configs, and the usual base of a Stable Diffusion 1.x, {base}, could not be loaded: "
        f"{base} is not on this machine, and imggen is offline"
    )
    assert caught.value.hint == f"while online: imggen models pull {base}; or --base FOLDER"


def test_of_a_base_on_the_hub_the_configs_are_enough(sd_file, tiny_models, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--org--tiny"
    snapshot = repository / "snapshots" / commit
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_models("checked"), snapshot, ignore=shutil.ignore_patterns("*.safetensors", "safety_checker"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    facts = lookup.find(str(sd_file), base="org/tiny", terms=OFFLINE)
    assert (facts.single.base.reference, facts.single.base.revision) == ("org/tiny", commit)
    with pytest.raises(ModelError, match="is not complete in the cache"):
        lookup.find("org/tiny", terms=OFFLINE)


def test_of_a_base_on_the_hub_only_the_weights_that_are_lacking_are_wanted():
    names = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"]
    names += ["vae/config.json", "vae/diffusion_pytorch_model.safetensors"]
    wanted = hub.wanted(names, AccessRules(without=("unet",)))
    assert set(names) - set(wanted) == {"unet/diffusion_pytorch_model.safetensors"}


def test_only_a_single_file_has_a_base(tiny_models):
    with pytest.raises(RequestError, match="only a single file and a decoder have a base"):
        lookup.find(str(tiny_models("sd")), base=str(tiny_models("sd")))


def test_a_base_is_not_a_single_file_itself(sd_file):
    with pytest.raises(RequestError, match=r"--base .*sd\.safetensors is a single file itself"):
        lookup.find(str(sd_file), base=str(sd_file))


def test_a_base_that_lacks_a_component_is_named_as_what_is_wrong(sd_file, tiny_models, tmp_path):
    base = Path(shutil.copytree(tiny_models("sd"), tmp_path / "base"))
    shutil.rmtree(base / "tokenizer")
    with pytest.raises(ModelError) as caught:
        lookup.find(str(sd_file), base=str(base))
    assert caught.value.message == (
        f"{sd_file} holds no configs, and its base, {base}, could not be loaded: "
        f"{base} is incomplete: the folder tokenizer is missing"
    )


def test_the_hash_is_that_of_the_file_and_of_what_the_base_lends(pipelines, tiny_models, tmp_path):
    file = single_files.save(pipelines("flux").transformer.state_dict(), tmp_path / "x.safetensors")
    base = Path(shutil.copytree(tiny_models("flux"), tmp_path / "base"))

    def digest():
        return lookup.weights_sha256(lookup.find(str(file), base=str(base)), "float32", memory=tmp_path / "memory")

    first = digest()
    unused = base / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: each + 1 for name, each in load_file(unused).items()}, unused)
    assert digest() == first
    used = base / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({name: each + 1 for name, each in load_file(used).items()}, used)
    second = digest()
    assert second != first
    save_file({name: each + 1 for name, each in load_file(file).items()}, file)
    assert digest() not in (first, second)


LACKING = {
    "unet": (
        "model.diffusion_model.out.2.bias",
        r"unet \(UNet2DConditionModel\) of .* cannot be loaded: it lacks some of its weights",
    ),
    "vae": (
        "first_stage_model.decoder.norm_out.bias",
        r"vae \(AutoencoderKL\) of .* cannot be loaded: it lacks some of its weights",
    ),
    "text_encoder": (
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
        r"text_encoder of .* lacks its weights: .*final_layer_norm\.bias was never filled",
    ),
    "text_encoder_2": (
        "conditioner.embedders.1.model.ln_final.bias",
        r"text_encoder_2 of .* lacks its weights: .*final_layer_norm\.bias was never filled",
    ),
}


@pytest.mark.parametrize(("name", "reason"), LACKING.values(), ids=LACKING)
def test_weights_that_a_file_lacks_are_an_error(name, reason, pipelines, tiny_models, make_plan, tmp_path):
    tensors = single_files.stable_diffusion_xl(pipelines("sdxl"))
    del tensors[name]
    file = single_files.save(tensors, tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models("sdxl")))
    with pytest.raises(ModelError, match=reason):
        loader.load(replace(make_plan(tiny_models("sdxl")), model=facts))


def test_weights_of_another_shape_name_the_base_as_what_may_be_wrong(pipelines, tiny_models, make_plan, tmp_path):
    tensors = single_files.stable_diffusion(pipelines("sd"))
    tensors["model.diffusion_model.out.2.bias"] = torch.zeros(3)
    file = single_files.save(tensors, tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models("sd")))
    with pytest.raises(
        ModelError, match=r"unet \(UNet2DConditionModel\) of .* cannot be loaded: .*conv_out.bias"
    ) as caught:
        loader.load(replace(make_plan(tiny_models("sd")), model=facts))
    assert caught.value.hint == "--base FOLDER, of the same kind as the file"


def test_weights_of_eight_bits_are_widened(pipelines, tiny_models, make_plan, tmp_path):
    source = {name: each.to(torch.float8_e4m3fn) for name, each in pipelines("flux").transformer.state_dict().items()}
    file = single_files.save(source, tmp_path / "x.safetensors")
    facts = lookup.find(str(file), base=str(tiny_models("flux")))
    assert facts.eight_bits == ("transformer",)
    assert "transformer" not in facts.stored_dtypes
    made = loader.load(replace(make_plan(tiny_models("flux")), model=facts)).transformer.state_dict()
    assert all(torch.equal(made[each], source[each].float()) for each in source)


def test_a_pickle_is_refused(pipelines, tiny_models, tmp_path):
    torch.save(single_files.stable_diffusion(pipelines("sd")), tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match=r"x\.ckpt is a pickle, which can run any code") as caught:
        lookup.find(str(tmp_path / "x.ckpt"), base=str(tiny_models("sd")))
    assert "--allow-pickle" in caught.value.hint


def test_a_pickle_is_read_as_weights_alone_where_it_is_allowed(pipelines, tiny_models, make_plan, tmp_path):
    file = tmp_path / "x.ckpt"
    torch.save({"state_dict": single_files.stable_diffusion(pipelines("sd")), "epoch": 3}, file)
    facts = lookup.find(str(file), base=str(tiny_models("sd")), terms=AccessRules(allow_pickle=True))
    assert facts.pickles == ("x.ckpt",)
    plan = replace(make_plan(tiny_models("sd")), model=facts, allow_pickle=True)
    made, source = loader.load(plan).unet.state_dict(), pipelines("sd").unet.state_dict()
    assert all(torch.equal(made[each], source[each]) for each in source)


class Evil:
    def __reduce__(self):
        return print, ("this ran",)


def test_a_pickle_that_would_run_code_is_refused_even_so(tmp_path, capsys):
    torch.save({"state_dict": {"x": torch.zeros(1)}, "evil": Evil()}, tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match="holds more than weights, or is damaged; nothing but weights is ever read"):
        lookup.find(str(tmp_path / "x.ckpt"), terms=AccessRules(allow_pickle=True))
    assert "this ran" not in capsys.readouterr().out


def test_the_facts_of_a_single_file_import_nothing_heavy(sd_file, tiny_models):
    code = (
        "import sys; from imggen.store import lookup; lookup.find(sys.argv[1], base=sys.argv[2]);"
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(sd_file), str(tiny_models("sd"))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
