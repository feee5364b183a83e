"""Weights that are stored smaller: asked for, named as lossy, recorded, and made again from the record."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel, TorchAoConfig
from PIL import Image

from imggen.errors import MachineError, ModelError, RequestError
from imggen.host import environment, probe
from imggen.output.metadata import metadata
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

# As transformers and diffusers write it, but for what is at its default.
FOUR_BITS = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "load_in_8bit": False,
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_quant_type": "nf4",
}


def ask(folder, output, **changes):
    said = {
        "prompt": "a red apple",
        "model": str(folder),
        "steps": 2,
        "seed": "7",
        "dtype": "float32",
        "size": "256x256",
    }
    return GenerateRequest(**said | {"output": output, "watermark": "off"} | changes)


def test_a_recipe_names_how_the_weights_were_stored_and_makes_the_same_picture_again(
    tiny_models, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    notes = []
    list(generate.generate(ask(tiny_models("flux"), "a.png", quantize="fp8"), on_note=notes.append))
    assert any("--quantize fp8 loses" in each for each in notes)
    assert metadata.read(Path("a.png")).found.recipe.quantize == "fp8"
    again = generate.generate(GenerateRequest(from_file="a.png", output="b.png"), on_note=notes.append)
    assert [each.recipe.quantize for each in again] == ["fp8"]
    with Image.open("a.png") as one, Image.open("b.png") as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert not [each for each in notes if "differ" in each]


def test_a_missing_package_is_named_before_anything_is_loaded(tiny_models, monkeypatch):
    real = probe.version
    monkeypatch.setattr(probe, "version", lambda name: "missing" if name == "torchao" else real(name))
    with pytest.raises(
        MachineError, match="--quantize int8 needs the package torchao, which is not installed"
    ) as caught:
        generate.plan(ask(tiny_models("flux"), "a.png", quantize="int8"))
    assert caught.value.hint == "pip install 'imggen[quantize]'"


def stored_as(folder, tmp_path, component, said):
    changed = shutil.copytree(folder, tmp_path / "stored")
    config = changed / component / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": said}))
    return changed


@pytest.mark.parametrize("component", ["transformer", "text_encoder_2"])
@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("nf4", "the quantization_config in its config.json is 'nf4', not an object"),
        ({}, "names no quant_method"),
        ({"quant_method": "gptq"}, "is stored by 'gptq'; imggen reads what bitsandbytes and torchao stored"),
        ({"quant_method": ["torchao"]}, "is stored by ['torchao']; imggen reads"),
        ({"quant_method": "bitsandbytes"}, "says neither load_in_4bit nor load_in_8bit, or both"),
        ({"load_in_4bit": True, "load_in_8bit": True}, "says neither load_in_4bit nor load_in_8bit, or both"),
        ({"quant_method": "torchao"}, "has the quant_type None, not one kind for all layers"),
    ],
)
def test_a_config_that_cannot_say_how_weights_were_stored_names_the_component(
    tiny_models, tmp_path, component, said, problem
):
    folder = stored_as(tiny_models("flux"), tmp_path, component, said)
    with pytest.raises(ModelError) as caught:
        generate.plan(ask(folder, "a.png"))
    assert caught.value.message.startswith(f"{component} of {folder}")
    assert problem in caught.value.message
    assert "--quantize" in caught.value.hint


def test_weights_that_were_stored_for_a_gpu_are_refused_on_a_processor_before_they_are_read(tiny_models, tmp_path):
    folder = stored_as(tiny_models("flux"), tmp_path, "text_encoder_2", FOUR_BITS)
    with pytest.raises(
        MachineError, match=r"^text_encoder_2 of .* is stored by bitsandbytes, which needs cuda, and this run is on cpu"
    ):
        generate.plan(ask(folder, "a.png"))


def test_weights_that_were_stored_by_a_package_that_is_missing_name_the_extra(tiny_models, tmp_path, monkeypatch):
    real = probe.version
    monkeypatch.setattr(probe, "version", lambda name: "missing" if name == "bitsandbytes" else real(name))
    folder = stored_as(tiny_models("flux"), tmp_path, "transformer", FOUR_BITS)
    with pytest.raises(MachineError, match="is stored by bitsandbytes, a package that is not installed") as caught:
        generate.plan(ask(folder, "a.png"))
    assert caught.value.hint == "pip install 'imggen[quantize]'"


def test_weights_that_are_stored_smaller_are_not_stored_smaller_once_more(tiny_models, tmp_path):
    said = {"quant_method": "torchao", "quant_type": {"default": {}}}
    folder = stored_as(tiny_models("flux"), tmp_path, "transformer", said)
    with pytest.raises(RequestError, match=r"--quantize fp8: .* is quantised already \(quantization_config\)"):
        generate.plan(ask(folder, "a.png", quantize="fp8"))


def test_what_torchao_cannot_make_sense_of_is_a_fault_of_the_model(tiny_models, tmp_path):
    pytest.importorskip("torchao")
    said = {"quant_method": "torchao", "quant_type": {"default": {"_type": "Nonsense", "_data": {}}}}
    folder = stored_as(tiny_models("flux"), tmp_path, "transformer", said)
    with pytest.raises(ModelError, match=r"^transformer \(FluxTransformer2DModel\) of .* cannot be loaded"):
        list(generate.generate(ask(folder, str(tmp_path / "a.png"))))


def test_a_model_that_torchao_stored_draws(tiny_models, tmp_path):
    quantization = pytest.importorskip("torchao.quantization")
    folder = shutil.copytree(tiny_models("flux"), tmp_path / "stored") / "transformer"
    with environment.quiet():
        config = TorchAoConfig(quantization.Int8WeightOnlyConfig(version=2))
        model = FluxTransformer2DModel.from_pretrained(folder, quantization_config=config, dtype=torch.bfloat16)
        shutil.rmtree(folder)
        model.save_pretrained(folder)
    assert "quantization_config" in json.loads((folder / "config.json").read_text())
    output = tmp_path / "a.png"
    list(generate.generate(ask(folder.parent, str(output), dtype="bfloat16")))
    assert metadata.read(output).found.recipe.dtype == "bfloat16"
