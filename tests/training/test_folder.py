"""The record beside a trained model, and what stands in its place while it is written."""

import json
from types import SimpleNamespace

import pytest

from imggen.data.drawn import vocabulary
from imggen.training import folder


@pytest.fixture
def written(tiny_plan, tmp_path, monkeypatch):
    """Write a model whose pipeline is one file; return a function that does it again."""

    def save_pretrained(path, **_):
        path.mkdir()
        (path / "x.safetensors").write_bytes(b"weights")
        (path / "x.safetensors").chmod(0o600)

    pipeline = SimpleNamespace(save_pretrained=save_pretrained)
    monkeypatch.setattr(folder, "StableDiffusionPipeline", lambda **_: pipeline)
    monkeypatch.setattr(folder, "_half", lambda module: module)
    parts = folder.Parts(vae=None, text_encoder=None, tokenizer=None, unet=None, scheduler=None)
    return lambda: folder.write(tmp_path / "model", tiny_plan, parts)


def test_record_says_what_was_trained(tiny_plan):
    record = folder.record(tiny_plan)
    assert (record["schema"], record["name"], record["native_size"]) == (1, tiny_plan.name, 32)
    assert (record["steps"], record["guidance"]) == (tiny_plan.defaults.steps, tiny_plan.defaults.guidance)
    assert record["vocabulary"]["colors"] == list(vocabulary.COLORS)
    assert record["vocabulary"]["objects"] == sorted(vocabulary.OBJECTS)


def test_new_model_takes_the_place_of_the_old_one_whole(written, tmp_path):
    for _ in range(2):
        written()
        (tmp_path / "model" / "left.txt").write_text("old")
    written()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["imggen.json", "model", "x.safetensors"]
    assert json.loads((tmp_path / "model" / "imggen.json").read_text())["family"] == "sd"


def test_weights_are_as_readable_as_the_record(written, tmp_path):
    written()
    modes = {path.stat().st_mode for path in (tmp_path / "model").iterdir()}
    assert len(modes) == 1


def test_run_that_was_stopped_between_the_renames_loses_nothing(written, tmp_path, monkeypatch):
    written()
    (tmp_path / "model").rename(tmp_path / "model.old")
    (tmp_path / "model.partial").mkdir()
    monkeypatch.setattr(folder.json, "dumps", None)
    with pytest.raises(TypeError):
        written()
    assert (tmp_path / "model" / "x.safetensors").exists()
