"""ControlNets: networks that read a control picture beside the denoiser and add to what it computes (2302.05543)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file

from imggen.engine import failures
from imggen.engine.precision import TORCH_DTYPES
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.request import GeneratePlan
from imggen.store import weights


def load(plan: GeneratePlan) -> dict[str, Any]:
    """Return the component of the plan's pipeline that its ControlNets are, nothing where it has none.

    Raise ModelError for weights that are missing, damaged or not laid out as diffusers does.
    """
    networks = [_load(adapter, plan) for adapter in plan.adapters if adapter.asked.kind == "controlnet"]
    if not networks:
        return {}
    return {"controlnet": networks[0] if len(networks) == 1 else networks}


def _load(adapter: AdapterFacts, plan: GeneratePlan) -> Any:
    dtype = TORCH_DTYPES[plan.component_dtypes.get("controlnet", plan.dtype)]
    what = f"{adapter.asked.option} {adapter.asked.reference}"
    with failures.explained(plan, what):
        network_class = getattr(diffusers, str(adapter.config["_class_name"]))
        if _is_usual(adapter.files[0]):
            network, lacking = _from_folder(network_class, adapter, dtype)
        else:
            network, lacking = _from_file(network_class, adapter, dtype)
    failures.check_whole(what, lacking)
    return network.eval()


def _is_usual(file: Path) -> bool:
    return file.name.partition(".")[0].partition("-0")[0] in weights.STEMS


def _from_folder(network_class: Any, adapter: AdapterFacts, dtype: torch.dtype) -> tuple[Any, list[str]]:
    file = adapter.files[0]
    network, report = network_class.from_pretrained(
        str(file.parent),
        dtype=dtype,
        variant=weights.variant_of(file),
        use_safetensors=not adapter.pickle,
        local_files_only=True,
        low_cpu_mem_usage=True,
        output_loading_info=True,
    )
    return network, report.get("missing_keys", ())


def _from_file(network_class: Any, adapter: AdapterFacts, dtype: torch.dtype) -> tuple[Any, list[str]]:
    # What has a name of its own is not found by from_pretrained, and from_single_file asks the hub for a config.
    if adapter.pickle:
        raise ValueError("a pickle is read from a folder only, under the name that diffusers gives it")
    network = network_class.from_config(dict(adapter.config))
    missing, unexpected = network.load_state_dict(load_file(adapter.files[0]), strict=False)
    if unexpected:
        raise ValueError(f"its tensors are not called as diffusers calls them, such as {min(unexpected)}")
    return network.to(dtype), missing


def unshare(pipeline: Any) -> None:
    """Give a ControlNet that uses layers of the denoiser, as Z-Image's do, copies of its own.

    What is put off layer by layer is emptied, so nobody else may count on it.
    """
    network, denoiser = (getattr(pipeline, name, None) for name in ("controlnet", "transformer"))
    if network is None or denoiser is None:
        return
    for name, module in list(network.named_children()):
        if module is getattr(denoiser, name, None):
            setattr(network, name, copy.deepcopy(module))
    for name, parameter in list(network.named_parameters(recurse=False)):
        if id(parameter) == id(getattr(denoiser, name, None)):
            setattr(network, name, torch.nn.Parameter(parameter.detach().clone(), requires_grad=False))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let what draws noise from torch's own generator draw the same for the same seed, and leave no trace of it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
