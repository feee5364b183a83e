"""Autoencoders that take the place of a model's own."""

from typing import Any

import diffusers

from imggen.engine import failures, weights
from imggen.engine.precision import TORCH_DTYPES
from imggen.errors import ModelError
from imggen.plan.adapter import AdapterFacts
from imggen.plan.request import GeneratePlan


def find(plan: GeneratePlan) -> AdapterFacts | None:
    """Return the autoencoder that `plan` uses in place of the model's own, None where it uses that."""
    return next((each for each in plan.adapters if each.asked.kind == "vae"), None)


def load(facts: AdapterFacts, plan: GeneratePlan) -> Any:
    """Return the autoencoder, in the dtype that the plan has for the model's own."""
    folder, class_name = facts.files[0].parent, str(facts.config["_class_name"])
    choice = weights.choose(folder, half=weights.is_half(plan.dtype))
    with failures.explained(plan, f"--vae {facts.asked.reference}"):
        module, report = getattr(diffusers, class_name).from_pretrained(
            str(folder),
            dtype=TORCH_DTYPES[plan.component_dtypes.get("vae", plan.dtype)],
            use_safetensors=None if plan.allow_pickle else True,
            local_files_only=True,
            low_cpu_mem_usage=True,
            output_loading_info=True,
            variant=choice.variant if choice else None,
        )
    lacking = sorted(map(str, report.get("missing_keys", ())))
    if lacking:
        raise ModelError(f"--vae {facts.asked.reference} lacks {len(lacking)} of its weights, {lacking[0]} among them")
    return module
