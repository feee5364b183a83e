"""Weights that are stored smaller: asked for, named as lossy, recorded, and made again from the record."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imggen.engine import probe
from imggen.errors import MachineError
from imggen.output import metadata
from imggen.plan.request import GenerateRequest
from imggen.tasks import generate
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


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
