"""Weights that were stored smaller by whoever published them: what reads them, and where."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import MachineError, ModelError
from imggen.plan.models import prequantized
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from tests.plan.conftest import stable_diffusion

EIGHT = {"quant_method": "bitsandbytes", "load_in_8bit": True}
TORCHAO = {"quant_method": "torchao", "quant_type": {"default": {}}}


def model(config):
    return stable_diffusion(configs={"unet": {prequantized.KEY: config}, "vae": {prequantized.KEY: None}})


def check(facts, device="cuda", adapters=(), version="1"):
    prequantized.check(facts, adapters, device, lambda package: version)


@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
def test_each_method_reads_on_its_devices(device):
    check(model(TORCHAO), device)
    if device == "cuda":
        check(model(EIGHT), device)
        check(model({"load_in_4bit": True}), device)
        return
    with pytest.raises(MachineError, match=f"unet of .* is stored by bitsandbytes, which needs cuda, .* {device}"):
        check(model(EIGHT), device)


def test_the_package_that_reads_is_named_where_it_is_missing():
    with pytest.raises(MachineError, match="is stored by torchao, a package that is not installed") as caught:
        check(model(TORCHAO), version="missing")
    assert caught.value.hint == "pip install 'imggen[quantize]'"
    check(stable_diffusion(), version="missing")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("nf4", "is 'nf4', not an object"),
        ({}, "names no quant_method"),
        ({"quant_method": "gptq"}, "is stored by 'gptq'; imggen reads what bitsandbytes and torchao stored"),
        ({"quant_method": 4}, "is stored by 4; imggen reads"),
        ({"quant_method": "bitsandbytes"}, "says neither load_in_4bit nor load_in_8bit, or both"),
        (EIGHT | {"load_in_4bit": True}, "says neither load_in_4bit nor load_in_8bit, or both"),
        (EIGHT | {"load_in_8bit": 1}, "says neither load_in_4bit nor load_in_8bit, or both"),
        ({"quant_method": "torchao"}, "has the quant_type None, not one kind for all layers"),
        (TORCHAO | {"quant_type": {"default": {}, "a": {}}}, "not one kind for all layers"),
    ],
)
def test_a_config_that_is_damaged_or_of_another_method_is_refused(config, problem):
    with pytest.raises(ModelError, match=problem):
        check(model(config))


def test_what_is_added_is_held_to_the_same():
    asked = AdapterRequest(kind="vae", option="--vae", reference="new")
    added = AdapterFacts(
        asked=asked, files=(Path("new"),), sha256="0", reference="new", config={prequantized.KEY: EIGHT}
    )
    with pytest.raises(MachineError, match="--vae new is stored by bitsandbytes, which needs cuda"):
        check(stable_diffusion(), "cpu", (added,))
    check(stable_diffusion(), "cpu", (replace(added, asked=replace(asked, kind="depth")),))
