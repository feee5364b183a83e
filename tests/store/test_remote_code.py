"""Models that bring code, or would have it fetched: refused before they are loaded, and nobody is asked."""

import json
import shutil

import pytest
from transformers import AutoConfig, dynamic_module_utils

from imggen.errors import ModelError
from imggen.store import lookup, remote_code


@pytest.fixture
def model(tiny_models, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_models("sd"), folder)
    return folder


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refusal(model):
    with pytest.raises(ModelError) as caught:
        lookup.find(str(model))
    return caught.value.message


def test_class_that_the_model_defines_itself_is_refused(model):
    change(model / "model_index.json", text_encoder=["transformers", "AutoModel"])
    assert lookup.find(str(model)).components["text_encoder"] == ("transformers", "AutoModel")
    change(model / "text_encoder" / "config.json", auto_map={"AutoModel": "mine.Model"})
    assert "brings code of its own (config.json: auto_map)" in refusal(model)


@pytest.mark.parametrize("config", [{"attn_implementation": "org/kernel"}, {"a": {"_attn_implementation": "org/k:f"}}])
def test_attention_out_of_the_hub_is_refused(model, config):
    change(model / "text_encoder" / "config.json", attn_implementation="eager")
    lookup.find(str(model))
    change(model / "text_encoder" / "config.json", **config)
    assert "brings code of its own (config.json: org/k" in refusal(model)


def test_adapter_within_a_component_is_refused(model):
    (model / "text_encoder" / "adapter_config.json").write_text("{}")
    assert "has an adapter in it" in refusal(model)


def test_nobody_is_asked_whether_to_run_code(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "TIME_OUT_REMOTE_CODE", 15)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoConfig": "mine.Config"}}))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    remote_code.forbid()
    with pytest.raises(ValueError, match="custom code"):
        AutoConfig.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()
