import json
from pathlib import Path

import pytest
from peft import LoraConfig

from imggen.errors import ModelError
from imggen.plan.adapters import peft
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest


def facts(text):
    asked = AdapterRequest(kind="lora", option="--lora", reference="it.safetensors")
    return AdapterFacts(
        asked=asked,
        reference="it.safetensors",
        files=(Path("it.safetensors"),),
        sha256="0" * 64,
        metadata={peft.KEY: text},
    )


def test_what_peft_writes_of_a_plain_lora_is_taken():
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "mid_block.0.to_k"], rank_pattern={"a.b": 2})
    written = {
        f"unet.{name}": sorted(each) if isinstance(each, set) else each for name, each in config.to_dict().items()
    }
    peft.check(facts(json.dumps(written)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("init_lora_weights", "pissa"),
        ("alpha_pattern", {"(a+)+$": 8}),
        ("rank_pattern", {"to_q": "many"}),
        ("target_modules", ".*(to_q|to_k)"),
        ("layer_replication", [[0, 4], [2, 5]]),
        ("megatron_core", "os"),
        ("auto_mapping", {"parent_library": "os"}),
        ("lora_alpha", float("inf")),
        ("r", True),
    ],
)
def test_what_goes_beyond_two_matrices_a_layer_is_refused_by_name(name, value):
    with pytest.raises(ModelError, match=f"its header asks for 'unet.{name}'"):
        peft.check(facts(json.dumps({f"unet.{name}": value})))


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000])
def test_a_header_that_is_no_config_is_refused(text):
    with pytest.raises(ModelError, match="lora_adapter_metadata"):
        peft.check(facts(text))
