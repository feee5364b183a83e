"""Autoencoders that take the place of a model's own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file

from imggen.engine import failures
from imggen.engine.precision import TORCH_DTYPES
from imggen.plan.adapters import autoencoder
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.request import GeneratePlan
from imggen.store import weights


def find(plan: GeneratePlan) -> AdapterFacts | None:
    """Return the autoencoder that `plan` uses in place of the model's own, None where it uses that."""
    return next((adapter for adapter in plan.adapters if adapter.asked.kind == "vae"), None)


def load(facts: AdapterFacts, plan: GeneratePlan) -> Any:
    """Return the autoencoder, in the dtype that the plan has for the model's own.

    Raise ModelError for one that is damaged, incomplete or does not fit the config that it comes with, or for a single
    file the model's own.
    """
    dtype = TORCH_DTYPES[plan.component_dtypes.get("vae", plan.dtype)]
    with failures.explained(plan, f"--vae {facts.asked.reference}"):
        if facts.config:
            module, lacking = _folder(facts, plan, dtype)
        elif autoencoder.is_original(facts) or facts.pickle:
            module, lacking = _original(facts, plan, dtype)
        else:
            module, lacking = _file(facts, plan)
    lacking = lacking or [name for name, parameter in module.named_parameters() if parameter.is_meta]
    failures.check_whole(f"--vae {facts.asked.reference}", lacking)
    return module.to(dtype).eval()


def _folder(facts: AdapterFacts, plan: GeneratePlan, dtype: torch.dtype) -> tuple[Any, list[str]]:
    folder = facts.files[0].parent
    choice = weights.choose(folder, half=weights.is_half(plan.dtype))
    module, report = getattr(diffusers, str(facts.config["_class_name"])).from_pretrained(
        str(folder),
        dtype=dtype,
        use_safetensors=None if plan.allow_pickle else True,
        local_files_only=True,
        low_cpu_mem_usage=True,
        output_loading_info=True,
        variant=choice.variant if choice else None,
    )
    return module, report.get("missing_keys", ())


def _file(facts: AdapterFacts, plan: GeneratePlan) -> tuple[Any, list[str]]:
    _, class_name = plan.model.components["vae"]
    with init_empty_weights():
        module = getattr(diffusers, class_name).from_config(dict(plan.model.configs["vae"]))
    report = module.load_state_dict(load_file(facts.files[0]), strict=False, assign=True)
    return module, report.missing_keys


def _original(facts: AdapterFacts, plan: GeneratePlan, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """Return an autoencoder whose file has the names of before diffusers; the config is the model's own."""
    _, class_name = plan.model.components["vae"]
    with _config(plan) as folder:
        module = getattr(diffusers, class_name).from_single_file(
            str(facts.files[0]), config=str(folder), dtype=dtype, local_files_only=True
        )
    return module, []


@contextmanager
def _config(plan: GeneratePlan) -> Iterator[Path]:
    # diffusers would ask the hub for a config if it were not given a folder with one.
    with TemporaryDirectory(prefix="imggen-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(plan.model.configs["vae"]))
        yield folder
