"""Weights that stay in their files: what is loaded in the dtype that it is stored in takes no memory of its own."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from imggen.engine.pipeline import placement

MIB = 2**20
# What a process has for itself; the rest can be dropped and read from the files again.
LOAD = """
import gc, json, sys
from dataclasses import replace
from types import SimpleNamespace as Any
from pathlib import Path
from safetensors import safe_open
from imggen.host import environment
environment.prepare(offline=True)
import torch
import diffusers
from imggen.engine.pipeline import loader
from imggen.plan.models import catalog
from imggen.plan.schema.request import ModelFacts, SingleFile

folder = Path(sys.argv[1])
file = folder / "unet" / "diffusion_pytorch_model.safetensors"
diffusers.UNet2DConditionModel

def anonymous():
    gc.collect()
    line = next(each for each in open("/proc/self/status") if each.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

def load(how, dtype):
    model = ModelFacts(reference="x", source="folder", folder=folder, pipeline="StableDiffusionPipeline",
                       components={"unet": ("diffusers", "UNet2DConditionModel")})
    if how == "file":
        parts = {"unet": tuple(safe_open(file, "pt").keys())}
        model = replace(model, single=SingleFile(path=file, kind="x", parts=parts, base=model))
    plan = Any(model=model, component_dtypes={}, dtype=dtype, allow_pickle=False, device="cpu", offload="none",
               quantize="none", family=catalog.named("sd"))
    before = anonymous()
    with environment.quiet():
        module = loader._component(plan, "unet", None)
    assert not any(each.is_meta for each in module.parameters())
    return anonymous() - before, sum(each.nbytes for each in module.parameters())

ways = ("folder", "float32"), ("file", "float32"), ("folder", "bfloat16")
print(json.dumps({" ".join(each): load(*each) for each in ways}))
"""


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """How much memory of its own a U-Net of 200 MB takes, by the way in which it is loaded, and how much it holds."""
    folder = tmp_path_factory.mktemp("large")
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=32,
            block_out_channels=(64, 256, 448),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=768,
        )
    unet.save_config(folder / "unet")
    random = {name: torch.rand(each.shape) for name, each in unet.state_dict().items()}
    save_file(random, folder / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    code = [sys.executable, "-W", "ignore", "-c", LOAD, str(folder)]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells apart what a process has for itself")


@linux
@pytest.mark.parametrize("how", ["folder", "file"])
def test_weights_in_the_runs_dtype_are_mapped_and_not_copied(how, taken):
    anonymous, held = taken[f"{how} float32"]
    assert held > 150 * MIB
    assert anonymous < 0.15 * held


@linux
def test_weights_in_another_dtype_are_held_once(taken):
    anonymous, held = taken["folder bfloat16"]
    assert 0.9 * held < anonymous < 1.25 * held


def test_only_what_stays_whole_on_an_accelerator_is_read_straight_to_it(make_plan, tiny_models, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    plan = make_plan(tiny_models("sd"))
    assert not placement.goes_straight(plan)
    assert placement.goes_straight(replace(plan, device="cuda"))
    assert not placement.goes_straight(replace(plan, device="cuda", offload="model"))
    assert not placement.goes_straight(replace(plan, device="cuda", quantize="int8"))
