"""What a diffusers folder holds, and whether it is whole."""

import json
import shutil
from pathlib import Path

import pytest

from imggen.errors import ModelError
from imggen.store import model_folder
from imggen.store.weights import AccessRules


@pytest.fixture
def model(tiny_models, tmp_path):
    """A copy of a tiny Stable Diffusion that a test may damage."""
    return Path(shutil.copytree(tiny_models("sd"), tmp_path / "model"))


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def read(folder, **terms):
    return model_folder.read(folder, reference="org/tiny", source="hub", terms=AccessRules(**terms))


DAMAGE = {
    "no json": (lambda model: (model / "model_index.json").write_text("{"), "is not JSON"),
    "no object": (lambda model: (model / "model_index.json").write_text("[]"), "holds list, not an object"),
    "too deep": (lambda model: (model / "model_index.json").write_text("[" * 100_000), "is not JSON"),
    "bytes": (lambda model: (model / "model_index.json").write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    "no class": (lambda model: change_json(model / "model_index.json", _class_name=None), "names no pipeline class"),
    "odd class": (lambda model: change_json(model / "model_index.json", _class_name="a.b"), "names no pipeline class"),
    "own pipeline": (
        lambda model: change_json(model / "model_index.json", _class_name=["pipeline", "Mine"]),
        "brings code of its own",
    ),
    "pipeline.py": (lambda model: (model / "pipeline.py").write_text(""), "brings code of its own"),
    "own component": (lambda model: (model / "unet" / "diffusers.py").write_text(""), "brings code of its own"),
    "other library": (
        lambda model: change_json(model / "model_index.json", unet=["os", "system"]),
        "from 'os', which is not part of diffusers",
    ),
    "library path": (
        lambda model: change_json(model / "model_index.json", unet=["../stable_diffusion", "X"]),
        "not part of diffusers",
    ),
    "component path": (
        lambda model: change_json(model / "model_index.json", **{"../unet": ["diffusers", "X"]}),
        r"component '\.\./unet'",
    ),
    "half a pair": (lambda model: change_json(model / "model_index.json", unet=["diffusers"]), "component 'unet'"),
    "odd pair": (lambda model: change_json(model / "model_index.json", unet=["diffusers", 3]), "component 'unet'"),
    "odd component class": (
        lambda model: change_json(model / "model_index.json", unet=["diffusers", "a b"]),
        "has no class 'a b'",
    ),
    "no folder": (lambda model: shutil.rmtree(model / "vae"), "the folder vae is missing"),
    "no tokenizer": (lambda model: shutil.rmtree(model / "tokenizer"), "the folder tokenizer is missing"),
    "no vocabulary": (
        lambda model: [
            each.unlink() for each in (model / "tokenizer").iterdir() if each.name != "tokenizer_config.json"
        ],
        "has no vocabulary",
    ),
    "no config": (lambda model: (model / "unet" / "config.json").unlink(), "has no config"),
    "broken config": (lambda model: (model / "unet" / "config.json").write_text("nope"), "is not JSON"),
    "layers without end": (
        lambda model: change_json(model / "text_encoder" / "config.json", num_hidden_layers=10**40),
        "text_encoder of .* asks for more layers than any model has: num_hidden_layers",
    ),
    "no weights": (
        lambda model: (model / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
        "has no weights",
    ),
    "short weights": (
        lambda model: (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(
            (model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()[:-1]
        ),
        "cut short",
    ),
    "lfs pointer": (
        lambda model: (model / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs"),
        "Git LFS pointer",
    ),
    "broken record": (lambda model: (model / "imggen.json").write_text("[]"), "holds list, not an object"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_or_hostile_folder_is_refused_with_the_reason(model, damage, reason):
    damage(model)
    with pytest.raises(ModelError, match=reason) as caught:
        read(model)
    assert caught.value.exit_code == 4


def test_an_index_without_components_is_refused(model):
    (model / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ModelError, match="names no components"):
        read(model)


def to_pickle(model):
    safe = model / "unet" / "diffusion_pytorch_model.safetensors"
    safe.rename(safe.with_suffix(".bin"))


def test_pickles_are_refused_with_the_reason_and_the_switch(model):
    to_pickle(model)
    with pytest.raises(
        ModelError, match=r"unet/diffusion_pytorch_model\.bin is a pickle, which can run any code"
    ) as caught:
        read(model)
    assert "--allow-pickle" in caught.value.hint


def test_pickles_are_listed_where_they_are_allowed(model):
    to_pickle(model)
    facts = read(model, allow_pickle=True)
    assert facts.pickles == ("unet/diffusion_pytorch_model.bin",)
    assert facts.weight_bytes["unet"] > 0
    assert "unet" not in facts.stored_dtypes


def test_a_pickle_beside_safetensors_is_left_alone(model):
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"anything")
    assert read(model).pickles == ()


def test_a_whole_folder_lacks_nothing(model):
    assert model_folder.missing(model) == []
    assert model_folder.faults(model) == []


def test_what_is_missing_is_named_by_component_and_its_fault(model):
    to_pickle(model)
    assert model_folder.missing(model) == []
    (model / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert model_folder.missing(model) == ["vae"]
    ((name, fault),) = model_folder.faults(model)
    assert (name, "has no weights" in fault) == ("vae", True)


def test_weights_that_come_from_elsewhere_are_not_missing_but_their_config_is(model):
    (model / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert model_folder.missing(model, without=("vae",)) == []
    (model / "vae" / "config.json").unlink()
    assert model_folder.missing(model, without=("vae",)) == ["vae"]


def test_without_an_index_the_index_is_what_is_missing(tmp_path):
    assert model_folder.missing(tmp_path) == ["model_index.json"]
    ((name, fault),) = model_folder.faults(tmp_path)
    assert (name, "cannot be read" in fault) == ("model_index.json", True)


def test_numbers_in_the_index_are_options_and_no_parts(model):
    change_json(model / "model_index.json", steps=[10, 20.5], requires_safety_checker=False, extra=[None, None])
    facts = read(model)
    assert facts.options == {"steps": [10, 20.5], "requires_safety_checker": False}
    assert "extra" not in facts.components
