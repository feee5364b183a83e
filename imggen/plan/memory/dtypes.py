"""Which device computes and in which precision, each with its reason."""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from imggen.errors import MachineError, RequestError
from imggen.plan.case import ASKED
from imggen.plan.schema.family import Family
from imggen.plan.schema.machine import Accelerator, Device, Dtype, Machine
from imggen.plan.schema.nearest import nearest

Choice = TypeVar("Choice", Device, Dtype)

BYTES: Final[dict[Dtype, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}

_DEVICES: Final[dict[str, Device]] = {"cuda": "cuda", "mps": "mps", "cpu": "cpu", "gpu": "cuda"}
_DTYPES: Final[dict[str, Dtype]] = {
    **{name: name for name in BYTES},
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
}


@dataclass(frozen=True, kw_only=True)
class Chosen(Generic[Choice]):
    """A value and why it was chosen."""

    value: Choice
    reason: str


def choose_device(requested: str | None, machine: Machine, origin: str = ASKED) -> Chosen[Device]:
    """Return the device to compute on; `origin` is the reason for one that is `requested`.

    Raise RequestError for one that nobody knows, MachineError for one that is not here.
    """
    name = (requested or "auto").lower()
    if name == "auto":
        return _best_device(machine)
    if name not in _DEVICES:
        guess = nearest(name, ("auto", *_DEVICES))
        raise RequestError(f"unknown device {requested!r}", hint=f"--device {guess[0] if guess else 'auto'}")
    device = _DEVICES[name]
    if name == "gpu" and machine.accelerators:
        device = machine.accelerators[0].device
    if device != "cpu" and machine.accelerator(device) is None:
        here = ", ".join(accelerator.device for accelerator in machine.accelerators)
        message = f"torch {machine.torch} finds no {name} device here; there is {f'{here} and cpu' if here else 'cpu'}"
        raise MachineError(message, hint="--device auto, or `imggen doctor` to see what was found")
    return Chosen(value=device, reason=origin)


def choose_dtype(
    requested: str | None, family: Family, device: Device, machine: Machine, origin: str = ASKED
) -> Chosen[Dtype]:
    """Return the precision for `family` on `device`, for the reason `origin` where it is `requested`.

    Raise RequestError for one that does not work there.
    """
    name = (requested or "auto").lower()
    if name == "auto":
        return _best_dtype(family, device, machine)
    if name not in _DTYPES:
        guess = nearest(name, ("auto", *_DTYPES))
        raise RequestError(f"unknown dtype {requested!r}", hint=f"--dtype {guess[0] if guess else 'auto'}")
    dtype = _DTYPES[name]
    reason = refusal(dtype, family, device, machine)
    if reason:
        best = _best_dtype(family, device, machine)
        raise RequestError(f"--dtype {requested} on {device}: {reason}", hint=f"--dtype {best.value}: {best.reason}")
    return Chosen(value=dtype, reason=origin)


def _best_device(machine: Machine) -> Chosen[Device]:
    for kind in ("cuda", "mps"):
        present = machine.accelerator(kind)
        if present:
            return Chosen(value=present.device, reason=f"torch finds {present.name}")
    return Chosen(value="cpu", reason=f"torch {machine.torch} finds no accelerator")


def _best_dtype(family: Family, device: Device, machine: Machine) -> Chosen[Dtype]:
    gpu = machine.accelerator(device)
    if gpu is None:
        return _best_on_cpu(family, machine)
    return _best_on_mps(family, gpu) if device == "mps" else _best_on_cuda(family, gpu)


def _best_on_cpu(family: Family, machine: Machine) -> Chosen[Dtype]:
    unfit = _unfit(family)
    if unfit is not None:
        return Chosen(value="float32", reason=unfit)
    return Chosen(value="bfloat16" if machine.cpu_bfloat16 else "float32", reason=machine.cpu_reason)


def _best_on_cuda(family: Family, gpu: Accelerator) -> Chosen[Dtype]:
    usable = [half_dtype for half_dtype in family.half_dtypes if gpu.bfloat16 or half_dtype != "bfloat16"]
    if not usable:
        return Chosen(value="float32", reason=f"{gpu.name} has no bfloat16, and {family.title} overflows in float16")
    if usable[0] == "bfloat16":
        return Chosen(value="bfloat16", reason=f"{gpu.name} has bfloat16, which does not overflow")
    lacks = _unfit(family) or f"{gpu.name} has no bfloat16"
    return Chosen(value="float16", reason=f"{lacks}, and {family.title} works in float16")


def _best_on_mps(family: Family, gpu: Accelerator) -> Chosen[Dtype]:
    if family.mps_dtype == "bfloat16" and not gpu.bfloat16:
        return Chosen(value="float32", reason="bfloat16 on Metal needs Apple silicon and macOS 14")
    return Chosen(value=family.mps_dtype, reason=f"what works for {family.title} on Metal")


def _unfit(family: Family) -> str | None:
    """Return why the family is never computed in bfloat16, None where it may be."""
    return None if "bfloat16" in family.half_dtypes else f"the pipelines of {family.title} make no picture of bfloat16"


def refusal(dtype: Dtype, family: Family, device: Device, machine: Machine) -> str | None:
    """Return why `dtype` is not to be had there; None where it is."""
    if dtype == "float16" and device == "cpu":
        return "processors compute float16 slower than float32, and some not at all"
    if dtype == "float16" and "float16" not in family.half_dtypes:
        return f"{family.title} overflows in float16"
    if dtype == "bfloat16" and _unfit(family) is not None:
        return _unfit(family)
    gpu = machine.accelerator(device)
    if dtype == "bfloat16" and gpu is not None and not gpu.bfloat16:
        return f"{gpu.name} has no bfloat16 of its own"
    return None
