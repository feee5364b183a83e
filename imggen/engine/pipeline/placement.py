"""Where the parts of a pipeline rest while they wait, and where they compute."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import psutil
import torch
from diffusers import PriorTransformer
from diffusers.hooks import apply_group_offloading

from imggen.engine.pipeline import controlnets
from imggen.errors import MachineError
from imggen.plan.memory.memory import text
from imggen.plan.schema.family import AUTOENCODERS
from imggen.plan.schema.request import GeneratePlan

_PREFIX = "imggen-layers-"
_STAGES = ("prior_pipe", "decoder_pipe")
_LARGEST_PID = 2**31 - 1


def place(pipeline: Any, plan: GeneratePlan, *, root: Path | None = None) -> None:
    """Put the parts of `pipeline` where `plan` wants them; `root` is the folder for those that rest on the disk."""
    if plan.offload in ("group", "disk", "sequential"):
        controlnets.unshare(pipeline)
    if plan.offload != "none":
        _free_statistics(pipeline, plan.device)
    if plan.offload == "model":
        for stage in stages(pipeline):
            stage.enable_model_cpu_offload(device=plan.device)
    elif plan.offload == "sequential":
        for stage in stages(pipeline):
            stage.enable_sequential_cpu_offload(device=plan.device)
    elif plan.offload == "group":
        _offload_layers(pipeline, plan, None)
    elif plan.offload == "disk":
        folder = root or platformdirs.user_cache_path("imggen") / "layers"
        _offload_layers(pipeline, plan, _own_folder(pipeline, folder))
    else:
        pipeline.to(plan.device)


def stages(pipeline: Any) -> tuple[Any, ...]:
    """Return the pipelines that run one after the other in `pipeline`, most often only itself.

    diffusers' combined pipelines hand their own parts to two others, which are what offloading and progress are for.
    """
    inner = tuple(getattr(pipeline, name, None) for name in _STAGES)
    return (pipeline,) if None in inner else inner


def free(pipeline: Any) -> None:
    """Put off the parts of `pipeline` that wait, as its call does at its end."""
    for stage in stages(pipeline):
        stage.maybe_free_model_hooks()


def _free_statistics(pipeline: Any, device: str) -> None:
    """Let the prior of Kandinsky be put off, of which diffusers keeps all on the device for two vectors.

    It asks for these between two of its runs, when they would be put off too; so they are kept besides.
    """
    for stage in stages(pipeline):
        prior = getattr(stage, "prior", None)
        if isinstance(prior, PriorTransformer):
            std, mean = (statistic.detach().to(device, copy=True) for statistic in (prior.clip_std, prior.clip_mean))
            vars(prior)["post_process_latents"] = lambda latents, std=std, mean=mean: latents * std + mean
            vars(stage).update(_exclude_from_cpu_offload=[], model_cpu_offload_seq="text_encoder->prior->image_encoder")


def goes_straight(plan: GeneratePlan) -> bool:
    """Return whether weights are read straight to the device, without a copy in main memory on the way.

    What is put off or stored smaller is made so in main memory first.
    """
    whole = plan.offload == "none" and plan.quantize == "none"
    return plan.device == "cuda" and whole and torch.cuda.is_available()


def _offload_layers(pipeline: Any, plan: GeneratePlan, folder: Path | None) -> None:
    """Let each part's layers rest in main memory, or in `folder`, until they compute."""
    device = torch.device(plan.device)
    for name, module in _modules(pipeline):
        # The autoencoder is small, and its tiles would confuse the order in which streams fetch layers. A class that
        # says no is taken at its word.
        if name in AUTOENCODERS or not getattr(module, "_supports_group_offloading", True):
            module.to(device)
            continue
        # Not the pipeline's own `enable_group_offload`: it gives all parts one folder, in which those with layers of
        # the same name (two text encoders) overwrite each other's files.
        place_of = None if folder is None else folder / name
        if place_of is not None:
            place_of.mkdir()
            _untie(module)
        apply_group_offloading(
            module,
            onload_device=device,
            offload_type="leaf_level",
            use_stream=device.type == "cuda",
            offload_to_disk_path=None if place_of is None else str(place_of),
        )


def _untie(module: torch.nn.Module) -> None:
    """Give layers that share their weights, as T5's two embeddings do, tensors of their own over the same memory.

    Each layer is written and then emptied, so of two that share one the second would write nothing.
    """
    seen: set[int] = set()
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if id(parameter) in seen:
                setattr(layer, name, torch.nn.Parameter(parameter.data, requires_grad=parameter.requires_grad))
            seen.add(id(parameter))


def _modules(pipeline: Any) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            yield name, component


def _own_folder(pipeline: Any, root: Path) -> Path:
    """Return a new folder in `root` with room for all layers, which goes when the pipeline goes."""
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    modules = [module for name, module in _modules(pipeline) if name not in AUTOENCODERS]
    needed = sum(parameter.nbytes for module in modules for parameter in module.parameters())
    free = shutil.disk_usage(root).free
    if needed > free:
        raise MachineError(
            f"--offload disk writes {text(needed)} of layers to {root}, and {text(free)} are free there",
            hint="free some of the disk, or --offload sequential",
        )
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))
    weakref.finalize(pipeline, shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep(root: Path) -> None:
    """Remove what runs that were killed have left behind."""
    for path in root.glob(f"{_PREFIX}*"):
        number = path.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and int(number) <= _LARGEST_PID and not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)
