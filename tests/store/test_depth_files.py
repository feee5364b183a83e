"""Weights that measure depth, as files: found as adapters are, and known by their configs before torch sees them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from imggen.errors import ModelError
from imggen.plan.adapters import depths
from imggen.store import depth_files
from imggen.store.weights import AccessRules
from tests.hub_server import COMMIT, fake_hub, hub_cache

__all__ = ["fake_hub", "hub_cache"]

CONFIG = {"architectures": ["DepthAnythingForDepthEstimation"], "model_type": "depth_anything"}
USUAL = f"--depth-weights {depths.USUAL}"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "depth"
    folder.mkdir()
    save_file({"head.weight": np.zeros((2, 3), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / depth_files.PROCESSOR).write_text('{"image_processor_type": "DPTImageProcessor"}')
    return folder


def change(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def find(reference, **terms):
    return depth_files.find(depths.named(str(reference)), terms=AccessRules(**terms))


@pytest.mark.parametrize("key", ["image_processor_type", "feature_extractor_type"])
@pytest.mark.parametrize(
    "name", ["DPTImageProcessor", "DPTImageProcessorFast", "DPTImageProcessorPil", "DPTFeatureExtractor"]
)
def test_every_name_of_the_one_way_of_reading_pictures_is_known(folder, key, name):
    (folder / depth_files.PROCESSOR).write_text(json.dumps({key: name}))
    facts = find(folder)
    assert facts.files == (folder / "model.safetensors",)
    assert (facts.config, facts.weight_bytes) == (CONFIG, 24)


def test_how_it_reads_a_picture_must_be_there_and_known(folder):
    change(folder / depth_files.PROCESSOR, image_processor_type="Blip", feature_extractor_type="DPTFeatureExtractor")
    with pytest.raises(ModelError) as caught:
        find(folder)
    assert caught.value.message == f"--depth-weights {folder} reads pictures by Blip; imggen knows DPTImageProcessor"
    assert caught.value.hint == USUAL
    (folder / depth_files.PROCESSOR).unlink()
    with pytest.raises(
        ModelError, match=r"does not say how it reads .*: it has no preprocessor_config\.json"
    ) as caught:
        find(folder)
    assert caught.value.hint == "fetch the whole of it again"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architectures": ["ZoeDepthForDepthEstimation"]},
            "is ZoeDepthForDepthEstimation; depth is measured by Depth",
        ),
        ({"architectures": None, "model_type": "clip"}, "is clip; depth is measured by"),
        ({"depth_estimation_type": "metric"}, "predicts metric depth, in which far is white"),
        ({"backbone": "facebook/dinov2-small"}, "loads its backbone from elsewhere"),
        ({"_attn_implementation": "somebody/kernel"}, r"brings code of its own \(config\.json"),
    ],
)
def test_weights_for_something_else_are_refused_by_their_config(folder, changes, message):
    change(folder / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        find(folder)


def test_code_that_comes_with_the_processor_is_refused_too(folder):
    change(folder / depth_files.PROCESSOR, attn_implementation="somebody/kernel")
    with pytest.raises(ModelError, match=r"brings code of its own \(preprocessor_config\.json"):
        find(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"size": {"height": 10**9, "width": 10**9}},
            r"with size \{'height': 1000000000, .*, where whole numbers of 1",
        ),
        ({"size": []}, r"reads pictures with size \[\], where"),
        ({"size": 4097}, "reads pictures with size 4097, where whole numbers of 1 to 4096"),
        ({"size": {"height": 518, "width": "518"}}, "with size .*'518'"),
        ({"ensure_multiple_of": 0}, "with ensure_multiple_of 0, where"),
        ({"ensure_multiple_of": True}, "with ensure_multiple_of True, where"),
    ],
)
def test_sizes_that_no_photograph_is_read_at_are_refused_before_torch_sees_them(folder, changes, message):
    change(folder / depth_files.PROCESSOR, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        find(folder)
    assert caught.value.hint == USUAL


@pytest.mark.parametrize("size", [1, 384, 4096])
def test_one_number_for_both_edges_is_read_as_old_configs_have_it(folder, size):
    change(folder / depth_files.PROCESSOR, size=size)
    find(folder)


def test_pickles_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
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


def test_they_are_found_without_torch(folder):
    code = (
        "import sys; from imggen.store import depth_files; from imggen.store.weights import AccessRules;"
        "from imggen.plan.adapters import depths;"
        f"depth_files.find(depths.named({str(folder)!r}), terms=AccessRules());"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
