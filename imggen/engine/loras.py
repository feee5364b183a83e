"""LoRA: small matrices that are added to those of a model's layers (arXiv 2106.09685)."""

from collections.abc import Iterable
from typing import Any

from safetensors.torch import load_file

from imggen.engine import failures
from imggen.plan.adapter import AdapterFacts
from imggen.plan.request import GeneratePlan


def add(pipeline: Any, plan: GeneratePlan) -> None:
    """Give `pipeline` the LoRAs of `plan`, each at its scale; on failure it keeps none of them.

    Do this before the pipeline is placed on its device.
    """
    found = [each for each in plan.adapters if each.asked.kind == "lora"]
    if not found:
        return
    try:
        for number, each in enumerate(found):
            _load(pipeline, plan, each, _name(number))
        pipeline.set_adapters(list(_names(found)), adapter_weights=[each.asked.scale for each in found])
    except BaseException:
        # One that does not fit leaves its half behind.
        pipeline.unload_lora_weights()
        raise


def _load(pipeline: Any, plan: GeneratePlan, adapter: AdapterFacts, name: str) -> None:
    with failures.explained(plan, adapter.asked.reference):
        pipeline.load_lora_weights(load_file(adapter.files[0]), adapter_name=name)


def _names(found: Iterable[AdapterFacts]) -> Iterable[str]:
    return (_name(number) for number, _ in enumerate(found))


def _name(number: int) -> str:
    return f"lora-{number + 1}"
