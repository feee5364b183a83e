import gc
import os
import shutil

import accelerate
import numpy as np
import pytest
import torch

from imggen.engine.pipeline import loader, placement
from imggen.engine.sampling import sampler
from imggen.errors import MachineError


def drawn(plan):
    pipeline = loader.load(plan)
    # The second picture goes through what the first one has put off.
    return [np.asarray(each.image) for each in sampler.sample(pipeline, plan)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "imggen" / "layers"


# SDXL's two text encoders have layers of the same names, and T5 has two that share their weights.
@pytest.mark.parametrize(
    ("family", "offload"),
    [
        ("sdxl", "model"),
        ("sdxl", "group"),
        ("sdxl", "disk"),
        ("sdxl", "sequential"),
        ("flux", "group"),
        ("flux", "disk"),
    ],
)
def test_where_the_parts_rest_changes_no_pixel(tiny_models, make_plan, monkeypatch, cache, family, offload):
    # diffusers names the device with a number, as accelerators have one. Tensors in main memory never do, so accelerate
    # takes them for misplaced and loses that they are parameters.
    put_off = accelerate.cpu_offload
    monkeypatch.setattr(
        accelerate, "cpu_offload", lambda module, device, **options: put_off(module, torch.device("cpu"), **options)
    )
    plan = make_plan(tiny_models(family), seeds=(1, 2))
    expected = drawn(plan)
    offloaded = drawn(make_plan(tiny_models(family), seeds=(1, 2), offload=offload))
    for one, other in zip(expected, offloaded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_on_the_disk_go_when_the_pipeline_goes(tiny_models, make_plan, cache):
    pipeline = loader.load(make_plan(tiny_models("sdxl"), offload="disk"))
    (folder,) = cache.iterdir()
    assert {each.name for each in folder.iterdir()} == {"unet", "text_encoder", "text_encoder_2"}
    assert any((folder / "unet").iterdir())
    del pipeline
    gc.collect()
    assert list(cache.iterdir()) == []


def test_what_a_killed_run_left_on_the_disk_is_removed(tiny_models, make_plan, cache):
    for name in ("imggen-layers-4194303-x", f"imggen-layers-{os.getpid()}-x", "other"):
        (cache / name).mkdir(parents=True)
    pipeline = loader.load(make_plan(tiny_models("sd"), offload="disk"))
    left = {each.name for each in cache.iterdir()}
    assert {"other", f"imggen-layers-{os.getpid()}-x"} < left
    assert "imggen-layers-4194303-x" not in left
    del pipeline


def test_a_disk_without_room_is_refused_before_anything_is_written(tiny_models, make_plan, monkeypatch, cache):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(MachineError, match=r"disk writes 4 MiB of layers to .*, and 1 MiB are free") as caught:
        loader.load(make_plan(tiny_models("sd"), offload="disk"))
    assert caught.value.hint == "free some of the disk, or --offload sequential"
    assert list(cache.iterdir()) == []


def test_the_autoencoder_and_classes_that_say_no_stay_on_the_device(tiny_models, make_plan, monkeypatch):
    pipeline = loader.load(make_plan(tiny_models("sd")))
    monkeypatch.setattr(type(pipeline.unet), "_supports_group_offloading", False)
    asked = []
    monkeypatch.setattr(placement, "apply_group_offloading", lambda module, **options: asked.append((module, options)))
    placement.place(pipeline, make_plan(tiny_models("sd"), offload="group"))
    ((module, options),) = asked
    assert module is pipeline.text_encoder
    assert (options["offload_type"], options["use_stream"]) == ("leaf_level", False)
