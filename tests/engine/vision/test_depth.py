"""Depths in photographs: measured as transformers does, near is white, by weights that are found as adapters' are."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from imggen.engine.vision import depth
from imggen.errors import MachineError, ModelError, RequestError
from imggen.host import environment
from imggen.plan.adapters import depths
from imggen.store import depth_files
from imggen.store.weights import AccessRules
from tests import tiny_controls
from tests.hub_server import fake_hub, hub_cache

__all__ = ["fake_hub", "hub_cache"]

NETWORKS = {
    "DepthAnythingForDepthEstimation": tiny_controls.depth_anything,
    "DPTForDepthEstimation": tiny_controls.dense_prediction_transformer,
}


@pytest.fixture
def folder(tmp_path):
    return tiny_controls.save_depth(tmp_path / "depth")


@pytest.fixture
def photo():
    levels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((96, 64), Image.Resampling.BICUBIC)


def find(reference, **terms):
    return depth_files.find(depths.named(str(reference)), terms=AccessRules(**terms))


def measured(folder, photo):
    (found,) = depth.measure(find(folder), [photo])
    return np.asarray(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_depths_are_those_of_a_plain_transformers_call(tmp_path, photo, name):
    folder = tiny_controls.save_depth(tmp_path / "depth", NETWORKS[name])
    with environment.quiet():
        plain = transformers.pipeline(
            "depth-estimation",
            model=getattr(transformers, name).from_pretrained(folder),
            image_processor=transformers.DPTImageProcessorPil.from_pretrained(folder),
        )
        wanted = np.asarray(plain(photo)["depth"])
    found = measured(folder, photo)
    assert found.shape == (64, 96, 3)
    assert (found.min(), found.max()) == (0, 255)
    np.testing.assert_array_equal(found, np.repeat(wanted[..., None], 3, axis=2))


def test_a_greatest_depth_that_a_config_leaves_open_changes_nothing(folder, photo):
    whole = measured(folder, photo)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_depth": None, "backbone": None}))
    np.testing.assert_array_equal(measured(folder, photo), whole)


def test_the_layer_that_nothing_comes_to_may_be_lacking_and_no_other(folder, photo):
    whole = measured(folder, photo)
    tensors = load_file(folder / "model.safetensors")
    used = {name: each for name, each in tensors.items() if ".layers.0.residual_layer1." not in name}
    assert len(used) < len(tensors)
    save_file(used, folder / "model.safetensors", {"format": "pt"})
    np.testing.assert_array_equal(measured(folder, photo), whole)
    used.pop("head.conv1.weight")
    save_file(used, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"depth lacks 1 of its weights, head\.conv1\.weight among them"):
        measured(folder, photo)


def test_a_picture_without_depth_is_refused_and_so_is_what_is_no_number(folder, photo):
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {**tensors, "head.conv3.weight": torch.zeros_like(tensors["head.conv3.weight"])}, folder / "model.safetensors"
    )
    with pytest.raises(RequestError, match="measures the same depth everywhere in the picture"):
        measured(folder, photo)
    save_file({**tensors, "head.conv1.bias": tensors["head.conv1.bias"] * torch.nan}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="measured depths that are not finite"):
        measured(folder, photo)


@pytest.mark.parametrize("said", [{"head_hidden_size": "many"}, {"patch_size": 0}, {"max_depth": 10**40}])
def test_a_config_that_the_network_cannot_follow_is_told(folder, photo, said):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | said))
    with pytest.raises(ModelError, match="depth cannot be loaded: ") as caught:
        measured(folder, photo)
    assert caught.value.hint == f"--depth-weights {depths.USUAL}"


def test_running_out_of_memory_is_told(folder, photo, monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(transformers.DepthAnythingForDepthEstimation, "forward", refuse)
    with pytest.raises(MachineError, match="not enough memory to measure depth by --depth-weights"):
        measured(folder, photo)


@pytest.mark.parametrize(
    ("reference", "hint"),
    [("", f"--depth-weights {depths.USUAL}"), ("org/depth@v1/model.safetensors", "--depth-weights org/depth@v1")],
)
def test_what_names_no_whole_model_is_refused(reference, hint):
    with pytest.raises(RequestError) as caught:
        depths.named(reference)
    assert caught.value.hint == hint
