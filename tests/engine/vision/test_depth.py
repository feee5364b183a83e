"""Depths in photographs: measured as transformers does, near is white, by weights that are found as adapters' are."""

import json
import subprocess
import sys

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
from tests.hub_server import COMMIT, fake_hub, hub_cache

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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["ZoeDepthForDepthEstimation"]},
            "is ZoeDepthForDepthEstimation; depth is measured by Depth",
        ),
        ({"architectures": None, "model_type": "clip"}, "is clip; depth is measured by"),
        ({"depth_estimation_type": "metric"}, "measures in metres, so that what is far is white"),
        ({"backbone": "facebook/dinov2-small"}, "takes a part of it from elsewhere"),
        ({"_attn_implementation": "somebody/kernel"}, "brings code of its own"),
    ],
)
def test_weights_for_something_else_are_refused_by_their_config(folder, changes, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=message):
        find(folder)


def test_how_it_reads_a_picture_must_be_there_and_known(folder):
    (folder / depth_files.PROCESSOR).write_text('{"image_processor_type": "BlipImageProcessor"}')
    with pytest.raises(ModelError, match="reads pictures by BlipImageProcessor; imggen knows DPTImageProcessor"):
        find(folder)
    (folder / depth_files.PROCESSOR).unlink()
    with pytest.raises(ModelError, match=r"does not say how it reads a picture: it has no preprocessor_config\.json"):
        find(folder)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"size": {"height": 10**9, "width": 10**9}},
            r"with size \{'height': 1000000000, .*, where whole numbers of 1",
        ),
        ({"size": []}, r"reads pictures with size \[\], where"),
        ({"size": {"height": 518, "width": "518"}}, "with size .*'518'"),
        ({"ensure_multiple_of": 0}, "with ensure_multiple_of 0, where"),
        ({"ensure_multiple_of": True}, "with ensure_multiple_of True, where"),
    ],
)
def test_sizes_that_no_photograph_is_read_at_are_refused_before_torch_sees_them(folder, said, message):
    file = folder / depth_files.PROCESSOR
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    with pytest.raises(ModelError, match=message) as caught:
        find(folder)
    assert caught.value.hint == f"--depth-weights {depths.USUAL}"


def test_one_number_for_both_edges_is_read_as_old_configs_have_it(folder):
    file = folder / depth_files.PROCESSOR
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": 384}))
    find(folder)


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


def test_pickles_are_refused(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle") as caught:
        find(folder)
    assert "--allow-pickle" in caught.value.hint


def test_they_come_from_the_hub_once_and_offline_no_more_is_asked(fake_hub, folder, tmp_path):
    with pytest.raises(ModelError, match="it is not on this machine, and imggen is offline"):
        find("org/depth", offline=True)
    (folder / "readme.md").write_text("what it is")
    fake_hub.add("org/depth", folder)
    sketched = find("org/depth", sketch=tmp_path / "sketch")
    assert sketched.files[0].is_relative_to(tmp_path / "sketch")
    facts = find("org/depth@main")
    assert (facts.reference, facts.revision) == ("org/depth", COMMIT)
    assert not fake_hub.gets(".md")
    fake_hub.asked.clear()
    assert find(f"org/depth@{COMMIT}", offline=True).sha256 == facts.sha256 == sketched.sha256
    assert fake_hub.asked == []


@pytest.mark.parametrize(
    ("reference", "hint"),
    [("", f"--depth-weights {depths.USUAL}"), ("org/depth@v1/model.safetensors", "--depth-weights org/depth@v1")],
)
def test_what_names_no_whole_model_is_refused(reference, hint):
    with pytest.raises(RequestError) as caught:
        depths.named(reference)
    assert caught.value.hint == hint


def test_they_are_found_without_torch(folder):
    code = (
        "import sys; from imggen.store import depth_files; from imggen.store.weights import AccessRules;"
        "from imggen.plan.adapters import depths;"
        f"depth_files.find(depths.named({str(folder)!r}), terms=AccessRules());"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
