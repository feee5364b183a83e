import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import imggen.builtin
from imggen.errors import ModelError, RequestError
from imggen.store import lookup, model_folder
from imggen.store.weights import AccessRules
from tests.store.test_model_folder import change_json

OFFLINE = AccessRules(offline=True)


@pytest.fixture(autouse=True)
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache, since huggingface_hub settles its place when it is first imported."""
    place = tmp_path / "hub"
    place.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    return place


@pytest.fixture
def model(tiny_models, tmp_path):
    """A copy of a tiny Stable Diffusion that a test may damage."""
    return Path(shutil.copytree(tiny_models("sd"), tmp_path / "model"))


def read(folder, **terms):
    return lookup.find(str(folder), terms=AccessRules(**terms))


def test_facts_come_from_small_files_and_headers(model):
    facts = read(model)
    assert (facts.source, facts.folder, facts.pipeline) == ("folder", model, "StableDiffusionPipeline")
    assert facts.components["unet"] == ("diffusers", "UNet2DConditionModel")
    assert "safety_checker" not in facts.components
    assert facts.configs["unet"]["cross_attention_dim"] == 32
    assert facts.configs["scheduler"]["_class_name"] == "DDIMScheduler"
    assert set(facts.weight_bytes) == {"unet", "vae", "text_encoder"}
    assert facts.stored_dtypes == dict.fromkeys(("unet", "vae", "text_encoder"), "float32")
    size = (model / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert 0.8 * size < facts.weight_bytes["unet"] < size
    assert facts.pickles == ()
    assert facts.record == {}


def test_the_models_own_record_is_read(model):
    (model / "imggen.json").write_text('{"native": {"width": 128}}')
    assert read(model).record == {"native": {"width": 128}}


def test_an_unknown_name_names_the_nearest_known_one():
    with pytest.raises(ModelError, match="no model 'bultin'") as caught:
        lookup.find("bultin")
    assert caught.value.hint == "--model builtin"


@pytest.mark.parametrize("reference", ["", "  ", "@", "a/b@", "@main"])
def test_an_empty_part_of_a_reference_is_a_wrong_request(reference):
    with pytest.raises(RequestError, match=r"empty|not a model reference"):
        lookup.find(reference)


def test_a_folder_has_no_revisions(model):
    with pytest.raises(RequestError, match="has no revisions"):
        lookup.find(f"{model}@main")


def test_a_folder_with_an_at_sign_in_its_name_is_a_folder(model):
    renamed = model.rename(model.with_name("model@home"))
    assert read(renamed).folder == renamed


def test_a_missing_builtin_model_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(imggen.builtin, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ModelError, match="lacks the built-in model") as caught:
        lookup.find("builtin")
    assert "pip install" in caught.value.hint


def test_a_folder_that_looks_like_a_hub_id_and_is_no_model_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    with pytest.raises(ModelError, match="could also be a model of the hub") as caught:
        lookup.find("org/name", terms=OFFLINE)
    assert "./org/name" in caught.value.hint
    with pytest.raises(ModelError, match="org/name is not on this machine"):
        lookup.find("org/name@main", terms=OFFLINE)


def test_a_folder_that_looks_like_a_hub_id_and_is_a_model_wins(model, monkeypatch):
    monkeypatch.chdir(model.parent.parent)
    assert lookup.find(f"{model.parent.name}/{model.name}").source == "folder"


def test_the_folder_above_a_model_names_the_model_in_it(model):
    with pytest.raises(ModelError, match="model in it has") as caught:
        read(model.parent)
    assert caught.value.hint == f"--model {model}"


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"it has no model_index\.json"):
        read(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "reason"), [("x.ckpt", "is a pickle"), ("x.safetensors", "is no whole safetensors file")]
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_broken_single_file_is_refused_with_the_reason(tmp_path, name, reason, inside):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=reason):
        read(tmp_path / "files" if inside else tmp_path / "files" / name)


def test_the_hash_names_the_files_that_the_dtype_reads(model, tmp_path):
    facts = read(model)
    full = lookup.weights_sha256(facts, "float32", memory=tmp_path / "memory")
    assert lookup.weights_sha256(facts, "bfloat16", memory=tmp_path / "memory") == full
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert lookup.weights_sha256(facts, "float32", memory=tmp_path / "memory") == full
    assert lookup.weights_sha256(facts, "bfloat16", memory=tmp_path / "memory") != full


def to_pickle(model):
    safe = model / "unet" / "diffusion_pytorch_model.safetensors"
    safe.rename(safe.with_suffix(".bin"))


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(model, hub_cache):
    """The tiny model as `org/tiny` in the hub's cache, as the hub lays it out."""
    repository = hub_cache / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.parent.mkdir()
    return Path(shutil.move(model, snapshot))


@pytest.mark.parametrize("reference", ["org/tiny", "org/tiny@main", f"org/tiny@{COMMIT}"])
def test_a_cached_model_is_found_offline_with_its_commit(cached, reference):
    facts = lookup.find(reference, terms=OFFLINE)
    assert (facts.source, facts.revision, facts.reference) == ("hub", COMMIT, "org/tiny")


def test_a_model_that_is_not_cached_says_how_to_get_it():
    with pytest.raises(ModelError, match="org/other is not on this machine") as caught:
        lookup.find("org/other@v2", terms=OFFLINE)
    assert caught.value.hint == "while online: imggen models pull org/other@v2"
    assert caught.value.exit_code == 4


def test_a_misspelt_cached_model_is_suggested_offline(cached):
    with pytest.raises(ModelError, match=r"did you mean org/tiny\?"):
        lookup.find("org/tinny", terms=OFFLINE)


def test_a_half_fetched_model_is_named_as_such_offline(cached):
    shutil.rmtree(cached / "vae")
    with pytest.raises(ModelError, match="is not complete in the cache"):
        lookup.find("org/tiny", terms=OFFLINE)


def test_a_cached_model_of_pickles_is_refused_for_them_and_not_as_missing(cached):
    to_pickle(cached)
    with pytest.raises(ModelError, match="is a pickle"):
        lookup.find("org/tiny", terms=OFFLINE)


def test_cached_models_are_listed_with_their_size(cached):
    (cached.parent.parent.parent / "models--org--text" / "snapshots" / COMMIT).mkdir(parents=True)
    (found,) = [each for each in lookup.installed() if each.source == "hub"]
    assert (found.reference, found.revision) == ("org/tiny", COMMIT)
    assert found.size_bytes > 100_000


def test_reading_facts_imports_nothing_heavy(tiny_models):
    code = (
        "import sys; from imggen.store import lookup; lookup.find(sys.argv[1]);"
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_models("sd"))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_name_of_a_family_is_answered_with_its_usual_model():
    with pytest.raises(ModelError, match="there is no model 'flux'") as caught:
        lookup.find("flux")
    assert caught.value.hint.startswith("imggen models alias flux black-forest-labs/FLUX.1-dev")


# -- folders made of small files by hand


def safetensors(path, dtype="F32", size=4, **tensors):
    """Write a file of weights: one tensor `w`, or those whose sizes are named."""
    header, end = {}, 0
    for name, count in (tensors or {"w": 4}).items():
        header[name] = {"dtype": dtype, "shape": [count], "data_offsets": [end, end + count * size]}
        end += count * size
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(end))


def folder_of(place, pipeline="StableDiffusionPipeline", card=None, **components):
    """Make a model's folder: a class by component, each with a config and weights where it has any."""
    place.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": pipeline} | {name: ["diffusers", class_name] for name, class_name in components.items()}
    (place / "model_index.json").write_text(json.dumps(index))
    for name in components:
        (place / name).mkdir()
        (place / name / "config.json").write_text("{}")
        safetensors(place / name / "diffusion_pytorch_model.safetensors")
    if card is not None:
        (place / "README.md").write_text(card)
    return place


@pytest.fixture
def decoder(tmp_path):
    return folder_of(tmp_path / "decoder", "StableCascadeDecoderPipeline", decoder="StableCascadeUNet")


@pytest.fixture
def prior(tmp_path):
    return folder_of(tmp_path / "prior", "StableCascadePriorPipeline", prior="StableCascadeUNet", image_encoder="X")


def test_a_decoder_is_completed_by_its_base(decoder, prior, tmp_path):
    asked = []
    facts = lookup.find(str(decoder), base=str(prior), terms=AccessRules(allow=asked.append))
    assert (facts.pipeline, facts.reference) == ("StableCascadeCombinedPipeline", str(decoder))
    assert facts.weight_bytes == {"decoder": 16, "prior_prior": 16}
    assert facts.prior.reference == str(prior)
    assert str(prior) in asked
    alone = lookup.own(facts)
    assert (alone.prior, alone.weight_bytes) == (None, {"decoder": 16})
    assert lookup.own(alone) is alone
    names = [path.relative_to(tmp_path).parts[:2] for path in lookup.weight_files(facts, "float32")]
    assert names == [("decoder", "decoder"), ("prior", "prior")]
    both = [lookup.weights_sha256(part, "float32", memory=tmp_path / "memory") for part in (alone, facts.prior)]
    joined = hashlib.sha256("\n".join(both).encode()).hexdigest()
    assert lookup.weights_sha256(facts, "float32", memory=tmp_path / "memory") == joined


def test_a_decoders_own_pickles_are_its_own(decoder, prior):
    for place in (decoder / "decoder", prior / "prior"):
        file = place / "diffusion_pytorch_model.safetensors"
        file.rename(file.with_suffix(".bin"))
    facts = lookup.find(str(decoder), base=str(prior), terms=AccessRules(allow_pickle=True))
    pickle = "decoder/diffusion_pytorch_model.bin"
    assert facts.pickles == (pickle, "prior_prior/diffusion_pytorch_model.bin")
    assert lookup.own(facts).pickles == (pickle,)


def test_the_prior_of_a_decoder_is_the_one_that_its_card_names_or_the_usual_one(decoder, prior):
    assert lookup.prior_of(prior) is None
    assert lookup.prior_of(decoder) == "stabilityai/stable-cascade-prior"
    (decoder / "README.md").write_text("---\nprior: org/prior\n---\n")
    assert lookup.prior_of(decoder) == "org/prior"
    (decoder / "README.md").write_text("---\nprior:\n- ../x\n---\n")
    with pytest.raises(ModelError) as caught:
        lookup.find(str(decoder))
    assert "its card names '../x'" in caught.value.message
    assert caught.value.message.startswith(f"{decoder}: ")
    with pytest.raises(ModelError) as caught:
        lookup.prior_of(decoder)
    assert caught.value.message == f"{decoder}: its card names '../x' as its prior, which is no model of the hub"
    assert caught.value.hint == "--base stabilityai/stable-cascade-prior"


@pytest.mark.parametrize(
    ("base", "error", "message", "hint"),
    [
        (" ", RequestError, "--base is empty: it names no model", "--base FOLDER, or ORGANISATION/NAME"),
        ("lone.safetensors", RequestError, "--base lone.safetensors is a single file", "--base FOLDER, or ORG"),
        (
            None,
            ModelError,
            "{decoder} needs its prior, and org/prior could not be loaded: org/prior is not on this machine",
            "while online: imggen models pull org/prior; or --base FOLDER",
        ),
        ("empty", ModelError, "{decoder} needs its prior, and empty could not be loaded: empty is not", "im"),
        ("bare", ModelError, "{decoder} needs its prior, and bare could not be loaded: ", "--base FOLDER"),
        ("decoder", ModelError, "{decoder} is a decoder of Stable Cascade, and its base decoder is no prior", "--base"),
    ],
)
def test_a_prior_that_cannot_be_had_is_told(decoder, tmp_path, monkeypatch, base, error, message, hint):
    monkeypatch.chdir(tmp_path)
    (decoder / "README.md").write_text("---\nprior: org/prior\n---\n")
    safetensors(tmp_path / "lone.safetensors")
    (tmp_path / "empty").mkdir()
    bare = folder_of(tmp_path / "bare", "StableCascadePriorPipeline", prior="StableCascadeUNet")
    (bare / "prior" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(error) as caught:
        lookup.find(str(decoder), base=base, terms=OFFLINE)
    assert caught.value.message.startswith(message.format(decoder=decoder))
    assert caught.value.hint.startswith(hint)


def test_a_base_beside_a_whole_model_is_refused(tmp_path, prior):
    whole = folder_of(tmp_path / "whole", unet="X")
    with pytest.raises(RequestError) as caught:
        lookup.find(str(whole), base=str(prior))
    message = f"--base {prior}: only a single file and a decoder have a base, and {whole} is whole"
    assert (caught.value.message, caught.value.hint) == (message, "leave --base out")
    with pytest.raises(ModelError, match="is the prior of Stable Cascade, which makes no pictures by itself"):
        lookup.find(str(prior))


# -- what a name that is no model may be


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        (" ", "the model reference is empty", "--model builtin"),
        ("a/b@", "'a/b@' is not a model reference", "--model ORGANISATION/NAME@REVISION"),
        ("builtin@main", "builtin has no revisions: only models of the hub do", "--model builtin"),
        ("./whole@main", "./whole has no revisions: only models of the hub do", "--model ./whole"),
        (
            "org/name",
            "'org/name' is a folder here, without model_index.json, and could also be a model of the hub",
            "for the folder write ./org/name, for the hub's model org/name@main",
        ),
        (".", ". has no model_index.json, but decoder in it has", "--model decoder"),
        ("two", "two has no model_index.json, but 2 files of weights", "--model two/a.safetensors"),
        ("empty", "empty is not a diffusers model: it has no model_index.json", "imggen models list"),
        (
            "part",
            "part is not a diffusers model: it has no model_index.json; it is one component, AutoencoderKL",
            "--vae part",
        ),
        (
            "control",
            "control is not a diffusers model: it has no model_index.json; it is one component, ControlNetModel",
            "--control control:PICTURE",
        ),
        (
            "clip",
            "clip is not a diffusers model: it has no model_index.json; it is one component, CLIPTextModel",
            "imggen models list",
        ),
        (
            "odd",
            "odd is not a diffusers model: it has no model_index.json; it is one component, another library's",
            "imggen models list",
        ),
        (
            "parts",
            "parts is not a diffusers model: it has no model_index.json, only a/, b/, c/",
            "imggen models list",
        ),
        (
            "./whole/unet",
            "whole/unet is not a diffusers model: it has no model_index.json; it is one component, another library's",
            "--model {here}/whole",
        ),
        ("none.safetensors", "there is no file none.safetensors", "imggen models list"),
        ("org/none.gguf", "there is no file org/none.gguf", "imggen models list"),
        (
            "@@@@",
            "'@@@@' is not a model reference",
            "--model ORGANISATION/NAME@REVISION",
        ),
        (
            "qqqqqqqq",
            "there is no model 'qqqqqqqq': it is neither built in, nor a file, a folder, an alias or a hub id",
            "imggen models list; --model takes builtin, a file, a folder or ORGANISATION/NAME",
        ),
        (
            "FLUX",
            "there is no model 'FLUX': it is neither built in, nor a file, a folder, an alias or a hub id",
            "imggen models alias flux black-forest-labs/FLUX.1-dev, the usual model of the family of that name",
        ),
        (
            "text.txt",
            "text.txt is no model: imggen reads .safetensors, .gguf files and diffusers folders",
            "imggen models list",
        ),
        ("org/x", "org/x is not on this machine, and imggen is offline", "while online: imggen models pull"),
    ],
)
def test_what_is_no_model_is_told_with_what_may_be_meant(decoder, tmp_path, monkeypatch, reference, message, hint):
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "whole", unet="X")
    for name in (
        "org/name",
        "empty",
        "two",
        "part",
        "control",
        "clip",
        "odd",
        "parts/a",
        "parts/b",
        "parts/c",
        "parts/d",
    ):
        (tmp_path / name).mkdir(parents=True)
    for name, config in {
        "part": {"_class_name": "AutoencoderKL"},
        "control": {"_class_name": "ControlNetModel"},
        "clip": {"architectures": ["CLIPTextModel"]},
        "odd": {"architectures": []},
        **{f"parts/{part}": {} for part in "abcd"},
    }.items():
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    for name in ("b", "a"):
        safetensors(tmp_path / "two" / f"{name}.safetensors")
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises((ModelError, RequestError)) as caught:
        lookup.find(reference, terms=OFFLINE)
    assert caught.value.message == message
    assert caught.value.hint.startswith(hint.format(here=tmp_path))


def test_a_misspelt_name_offline_has_both_ways_out(cached):
    with pytest.raises(ModelError) as caught:
        lookup.find("org/tinny@v1", terms=OFFLINE)
    message = "org/tinny is not on this machine, and imggen is offline (did you mean org/tiny?)"
    assert caught.value.message == message
    assert caught.value.hint == "--model org/tiny; or while online: imggen models pull org/tinny@v1"
    shutil.rmtree(cached / "vae")
    with pytest.raises(ModelError) as caught:
        lookup.find("org/tiny", terms=OFFLINE)
    assert caught.value.message == "org/tiny is not complete in the cache, and imggen is offline"
    assert caught.value.hint == "while online: imggen models pull org/tiny"


# -- what is there, and what is missing


def test_what_is_here_needs_no_fetching(cached, decoder):
    safetensors(cached / "lora.safetensors")
    for reference in ("builtin", str(decoder), "org/tiny", "org/tiny@main", "org/tiny/lora.safetensors"):
        assert lookup.is_here(reference), reference
    for reference in ("org/none", "org/tiny@v2", "org/tiny/none.safetensors", "org/none/x.safetensors", "tiny"):
        assert not lookup.is_here(reference), reference
    shutil.rmtree(cached / "vae")
    assert not lookup.is_here("org/tiny")
    (cached / "model_index.json").unlink()
    assert lookup.is_here("org/tiny"), "an adapter has no index"


def test_what_is_missing_is_named_by_component(tmp_path):
    whole = folder_of(tmp_path / "whole", unet="X", vae="Y", tokenizer="ZTokenizer", scheduler="DDIMScheduler")
    (whole / "tokenizer" / "vocab.json").write_text("{}")
    for name in ("tokenizer", "scheduler"):
        (whole / name / "diffusion_pytorch_model.safetensors").unlink()
    assert (model_folder.missing(whole), model_folder.faults(whole)) == ([], [])
    (whole / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (whole / "vae" / "config.json").unlink()
    (whole / "tokenizer" / "vocab.json").unlink()
    assert model_folder.missing(whole) == ["unet", "vae", "tokenizer"]
    assert model_folder.missing(whole, without=("unet",)) == ["vae", "tokenizer"]
    assert [name for name, _ in model_folder.faults(whole)] == ["unet", "vae", "tokenizer"]
    assert [problem.removeprefix(str(whole)) for _, problem in model_folder.faults(whole)] == [
        "/unet has no weights: neither diffusion_pytorch_model.safetensors nor model.safetensors",
        (
            "/vae has no config: none of config.json, scheduler_config.json, tokenizer_config.json, "
            "preprocessor_config.json, guider_config.json is there"
        ),
        (
            "/tokenizer has no vocabulary: none of tokenizer.json, vocab.json, vocab.txt, spiece.model, "
            "tokenizer.model, merges.txt is there"
        ),
    ]
    (whole / "model_index.json").write_text("{")
    ((name, problem),) = model_folder.faults(whole)
    assert (name, "is not JSON" in problem) == ("model_index.json", True)
    (whole / "model_index.json").unlink()
    assert model_folder.missing(whole) == ["model_index.json"]


@pytest.mark.parametrize(
    "class_name",
    [
        *("CLIPTokenizer", "CLIPTokenizerFast", "DDIMScheduler", "CLIPImageProcessor", "CLIPFeatureExtractor"),
        *("ClassifierFreeGuidance", "TokenizersBackend", "ByT5Tokenizer"),
    ],
)
@pytest.mark.parametrize("config", model_folder.CONFIG_NAMES)
def test_text_components_need_no_weights(tmp_path, class_name, config):
    whole = folder_of(tmp_path / "whole", unet="X", text=class_name)
    (whole / "text" / "diffusion_pytorch_model.safetensors").unlink()
    (whole / "text" / "config.json").rename(whole / "text" / config)
    if class_name != "ByT5Tokenizer":
        (whole / "text" / "merges.txt").write_text("")
    assert model_folder.missing(whole) == []
    facts = read(whole)
    assert set(facts.weight_bytes) == {"unet"}


def test_what_the_index_says_besides_components_are_options(tmp_path):
    whole = folder_of(tmp_path / "whole", unet="X")
    change_json(whole / "model_index.json", _name="x", force=True, edges=[1, 2.5], safety=[None, None], text="t")
    facts = read(whole)
    assert facts.options == {"force": True, "edges": [1, 2.5], "text": "t"}
    assert set(facts.components) == {"unet"}
    for wrong in ([], [True, False], ["a", "b", "c"]):
        change_json(whole / "model_index.json", odd=wrong)
        with pytest.raises(ModelError) as caught:
            read(whole)
        assert caught.value.message.endswith(f"model_index.json: component 'odd' is {wrong!r}, not [library, class]")


def test_the_dtype_is_that_of_most_bytes_and_the_shapes_are_those_of_all_files(tmp_path):
    whole = folder_of(tmp_path / "whole", unet="X", vae="Y")
    safetensors(whole / "unet" / "diffusion_pytorch_model.safetensors", "BF16", 2, a=3, b=5)
    safetensors(whole / "vae" / "diffusion_pytorch_model.safetensors", "I8", 1)
    facts = read(whole)
    assert facts.stored_dtypes == {"unet": "bfloat16"}
    assert facts.shapes["unet"] == {"a": (3,), "b": (5,)}
    assert facts.weight_bytes == {"unet": 16, "vae": 4}


def test_code_of_its_own_is_named(tmp_path):
    whole = folder_of(tmp_path / "whole", unet="X")
    (whole / "pipeline.py").write_text("")
    with pytest.raises(ModelError) as caught:
        read(whole)
    assert caught.value.message == f"{whole} brings code of its own (pipeline.py), which imggen never runs"
    assert caught.value.hint == "take a model whose pipeline is part of diffusers"
    change_json(whole / "model_index.json", _class_name=["mine", "M"])
    with pytest.raises(ModelError, match=r"code of its own \(\['mine', 'M'\]\)"):
        read(whole)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: mine\n---\n", "mine"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\n- 'mit'\n- gpl\n---\n", "mit"),
        ("---\nlicense:\n  - mit\n---\n", "mit"),
        ('---\nlicense: ["apache-2.0", mit]\n---\n', "apache-2.0"),
        ("---\ntags:\n- license: x\nother: y\n---\n", None),
        ("---\nname: x\n---\nlicense: mit\n", None),
        ("license: mit\n---\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("---\n" + "a: b\n" * 2000 + "license: mit\n---\n", None),
        (None, None),
    ],
)
def test_the_licence_is_the_one_that_the_card_names_at_its_head(tmp_path, card, licence):
    whole = folder_of(tmp_path / "whole", card=card, unet="X")
    assert lookup.card_licence(whole) == licence
    assert lookup.licence(read(whole)) == licence
    for key in ("license", "licence"):
        (whole / "imggen.json").write_text(json.dumps({key: f"own {key}"}))
        assert lookup.licence(read(whole)) == f"own {key}"


def test_what_is_installed_says_when_it_was_used(cached):
    for path in cached.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    builtin, tiny = lookup.installed()
    assert (builtin.reference, builtin.source, builtin.revision) == ("builtin", "builtin", None)
    size = sum(path.stat().st_size for path in builtin.folder.rglob("*") if path.is_file())
    assert builtin.size_bytes == size > 10_000
    assert (tiny.folder, tiny.last_used) == (cached, "2023-11-14T22:13:20+00:00")


def test_the_built_in_model_is_found_where_it_lies():
    facts = lookup.find("builtin")
    assert (facts.source, facts.reference, facts.folder) == ("builtin", "builtin", lookup.builtin_folder())


@pytest.mark.parametrize("library", ["stable_diffusion", "wuerstchen"])
def test_a_class_may_come_from_a_pipelines_own_package(tmp_path, library):
    whole = folder_of(tmp_path / "whole", unet="X")
    change_json(whole / "model_index.json", unet=[library, "X"])
    assert read(whole).components == {"unet": (library, "X")}


def test_facts_are_those_of_the_full_weights(tmp_path):
    whole = folder_of(tmp_path / "whole", unet="X")
    safetensors(whole / "unet" / "diffusion_pytorch_model.fp16.safetensors", "F16", 2)
    facts = read(whole)
    assert (facts.weight_bytes, facts.stored_dtypes) == ({"unet": 16}, {"unet": "float32"})


def test_the_dtype_is_that_of_the_largest_file(tmp_path):
    whole = folder_of(tmp_path / "whole", unet="X")
    place = whole / "unet"
    (place / "diffusion_pytorch_model.safetensors").unlink()
    names = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    safetensors(place / names[0], "F32", 4, a=2)
    safetensors(place / names[1], "F16", 2, b=9)
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    facts = read(whole)
    assert (facts.weight_bytes, facts.stored_dtypes) == ({"unet": 26}, {"unet": "float16"})
    assert [path.name for path in lookup.weight_files(facts, "float32")] == names
