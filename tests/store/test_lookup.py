import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

import imggen.builtin
from imggen.errors import ModelError, RequestError
from imggen.store import lookup
from imggen.store.weights import AccessRules

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
