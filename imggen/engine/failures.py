"""Foreign exceptions, translated once: what the libraries raise and what it means for the user."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from imggen.errors import ImggenError, MachineError, MemoryShortageError, ModelError
from imggen.plan.memory import memory
from imggen.plan.schema.request import GeneratePlan, ModelFacts
from imggen.plan.sizing import sizes

# What loading raises when a model is at fault; see the loader's tests for which fault raises which.
MODEL_FAULTS = (
    OSError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    TypeError,
    RuntimeError,
    # By which diffusers and transformers tell some configs that they cannot follow.
    AssertionError,
    # By which transformers tells values of configs that are of another type; it is no TypeError.
    StrictDataclassError,
    SafetensorError,
)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_cpu", "not enough memory")
MAX_REASON = 300
_NEXT = {"none": "model", "model": "group", "group": "sequential", "disk": "sequential"}


@contextmanager
def explained(plan: GeneratePlan, what: str, *, component: str = "") -> Iterator[None]:
    """Turn what the libraries raise while `what` is loaded into ModelError, or MachineError where memory ran out.

    `component` is which of the model's parts that is, if it is one.
    """
    model = plan.model.holder(component)
    try:
        with memory_explained(plan):
            yield
    except ImportError as error:
        raise MachineError(
            f"{what} needs a package that is missing or broken: {reason(error)}", hint=_install(error)
        ) from error
    except MODEL_FAULTS as error:
        raise ModelError(
            f"{what} of {model.reference} cannot be loaded: {_fault(error)}", hint=_again(model)
        ) from error


@contextmanager
def placing(plan: GeneratePlan) -> Iterator[None]:
    """Turn what is raised while a sound model moves to its device into MachineError."""
    try:
        with memory_explained(plan):
            yield
    except (RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        raise MachineError(
            f"{plan.model.reference} cannot be placed on {plan.device} with offload {plan.offload}: {reason(error)}",
            hint="--device cpu" if plan.device != "cpu" else "--offload none",
        ) from error


@contextmanager
def memory_explained(plan: GeneratePlan) -> Iterator[None]:
    """Turn running out of memory into a MemoryShortageError whose hint is the next thing to try."""
    try:
        yield
    except ImggenError:
        raise
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryShortageError(
            f"out of memory on {plan.device} with {plan.model.reference} at {plan.width}x{plan.height} in {plan.dtype}",
            hint=next_lever(plan),
        ) from error


@contextmanager
def unlisted(plan: GeneratePlan) -> Iterator[None]:
    """Turn what the pipeline of a family that imggen does not know raises in its call into ModelError."""
    try:
        yield
    except ImggenError:
        raise
    except MODEL_FAULTS as error:
        if plan.family.unlisted is None:
            raise
        raise ModelError(
            f"{plan.pipeline}, which imggen knows by its signature only, did not work: {reason(error)}",
            hint="imggen models families lists what imggen knows",
        ) from error


@contextmanager
def model_faults(failure: str) -> Iterator[None]:
    """Turn what the libraries raise about a model's files into ModelError with the sentence `failure` and the reason.

    Running out of memory passes.
    """
    try:
        yield
    except MODEL_FAULTS as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{failure}: {reason(error)}") from error


def check_whole(what: str, missing: Iterable[object]) -> None:
    """Raise ModelError where weights of `what` are `missing`."""
    names = sorted(map(str, missing))
    if names:
        raise ModelError(f"{what} lacks {len(names)} of its weights, {names[0]} among them")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that memory ran out: CUDA has a class for it, Metal and the CPU only words."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY)


def next_lever(plan: GeneratePlan) -> str:
    """Return the cheapest option that `plan` has not used yet and that takes less memory."""
    if plan.vae_tile == 0 and plan.tile is None and memory.can_tile(plan.model):
        return "--vae-tiling on"
    if plan.device == "cuda" and plan.offload in _NEXT:
        return f"--offload {_NEXT[plan.offload]}"
    if plan.task == "outpaint":
        return "a smaller picture, or less --pad"
    return sizes.option(plan.reasons.get("size", ""), max(64, plan.width // 2), max(64, plan.height // 2))


def reason(error: BaseException) -> str:
    """Return what a library said, short enough for a message."""
    # Libraries print whole manuals into their messages; the first paragraph holds the reason.
    text = " ".join(str(error).split("\n\n", 1)[0].split()) or type(error).__name__
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + "..."


def _fault(error: BaseException) -> str:
    # What has no weights stays without memory, and cannot be moved.
    return "it lacks some of its weights" if "meta tensor" in str(error) else reason(error)


def _install(error: ImportError) -> str:
    text = str(error)
    if "torchvision" in text or "nms" in text:
        return "pip install --upgrade torch torchvision"
    # What diffusers has in place of a class whose package is missing says so in its words alone.
    command = re.search(r"`(pip install [\w.-]+)`", text)
    if command:
        return command[1]
    return f"pip install {error.name.split('.')[0]}" if error.name else "imggen doctor"


def _again(model: ModelFacts) -> str | None:
    if model.single is not None:
        return "--base FOLDER, of the same kind as the file"
    if model.source != "hub":
        return f"imggen models verify {model.reference}"
    revision = f"@{model.revision}" if model.revision else ""
    return f"imggen models pull {model.reference}{revision} --repair"
