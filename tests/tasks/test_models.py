import json
import shutil

import pytest

from imggen.errors import ModelError
from imggen.tasks import models
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


@pytest.fixture
def model(tiny_models, tmp_path):
    return shutil.copytree(tiny_models("sd"), tmp_path / "model")


def test_a_model_is_shown_with_what_it_is_and_what_it_can_do(tiny_models):
    shown = models.show(str(tiny_models("sd")))
    assert (shown["family"], shown["pipeline"], shown["source"]) == ("sd", "StableDiffusionPipeline", "folder")
    assert shown["defaults"]["steps"] == 30
    assert shown["multiple_of"] == 8
    assert {"euler", "dpmpp_2m_karras", "ddim"} <= set(shown["samplers"])
    assert shown["components"]["unet"]["class"] == "UNet2DConditionModel"
    assert shown["components"]["unet"]["dtype"] == "float32"
    assert shown["size_bytes"] == sum(each["bytes"] for each in shown["components"].values()) > 0
    assert shown["vocabulary"] == {}
    assert shown["licence"] is None


def test_what_is_shown_is_json(tiny_models):
    shown = models.show(str(tiny_models("flux")))
    assert json.loads(json.dumps(shown)) == shown
    assert shown["family"] == "flux"
    assert shown["negative_prompt"] is False


def test_the_models_own_record_overrides_the_familys_defaults(model):
    vocabulary = {"objects": ["apple"], "shapes": ["star"], "colors": ["red"], "backgrounds": ["plain"]}
    record = {"schema": 1, "native_size": [64, 32], "steps": 12, "guidance": 3, "sampler": "dpmpp_2m", "licence": "MIT"}
    (model / "imggen.json").write_text(json.dumps(record | {"vocabulary": vocabulary}))
    shown = models.show(str(model))
    assert shown["defaults"] == {"width": 64, "height": 32, "steps": 12, "guidance": 3.0, "sampler": "dpmpp_2m"}
    assert shown["vocabulary"] == vocabulary
    assert shown["licence"] == "MIT"
    assert shown["record"] == record


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: creativeml-openrail-m\ntags: []\n---\n# A model\n", "creativeml-openrail-m"),
        ("---\nlicense: \nlicense_name: 'own'\n---\n", "own"),
        ("# A model\nlicense: none of this\n", None),
        ("---\nlicense: unclosed\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_cards_head(model, card, licence):
    (model / "README.md").write_text(card)
    assert models.show(str(model))["licence"] == licence


def test_a_family_that_imggen_does_not_know_is_shown_as_such(model):
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"_class_name": "WonderPipeline"}))
    shown = models.show(str(model))
    assert shown["family"] is None
    assert "WonderPipeline" in shown["problem"]
    assert shown["size_bytes"] > 0


def test_an_unknown_model_is_a_model_error():
    with pytest.raises(ModelError, match="no model 'nope'"):
        models.show("nope")


def test_a_model_that_is_not_here_is_not_fetched_to_be_shown(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(ModelError, match="org/name is not on this machine"):
        models.show("org/name")
