"""Pickles that torch wrote: read for their tensors alone. torch is imported when the first is read."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from imggen.errors import ModelError
from imggen.store.weights import Header

if TYPE_CHECKING:
    from torch import Tensor

MAX_REASON: Final = 200
_DTYPES: Final = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
"""What safetensors calls torch's dtypes."""


def refusal(what: object) -> ModelError:
    """Return what is raised for a pickle where nobody allowed one."""
    return ModelError(
        f"{what} is a pickle, which can run any code when it is read",
        hint="look for the same as safetensors, or, if you trust this one, add --allow-pickle",
    )


def unreadable(path: Path, error: Exception) -> ModelError:
    """Return what is raised for a pickle that holds code or is damaged."""
    reason = " ".join(str(error).split("\n", 1)[0].split())[:MAX_REASON]
    return ModelError(
        f"{path} holds more than weights, or is damaged; nothing but weights is ever read: {reason}",
        hint="look for the same model as safetensors",
    )


def read(path: Path) -> Any:
    """Return what the pickle `path` holds, on the CPU; raise ModelError for one that is damaged or holds code."""
    import torch

    try:
        # Only the newer format can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError) as error:
        raise unreadable(path, error) from error


def entries(path: Path) -> dict[str, Any]:
    """Return the entries of the state dict in the pickle `path`; raise ModelError where it holds none."""
    content = read(path)
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds {type(content).__name__}, not weights by name")
    return {str(name): entry for name, entry in content.items()}


def tensors(path: Path) -> "dict[str, Tensor]":
    """Return the tensors of the state dict in the pickle `path`, by name; other entries are left out."""
    return only_tensors(entries(path))


def only_tensors(table: Mapping[Any, Any]) -> "dict[str, Tensor]":
    """Return those of the values that are tensors."""
    from torch import Tensor

    return {str(name): value for name, value in table.items() if isinstance(value, Tensor)}


def grouped_tensors(path: Path) -> "dict[str, Tensor]":
    """Return the tensors of a pickle that holds tables of them, by `table.name`; raise ModelError for another."""
    grouped: dict[str, Tensor] = {}
    for group, table in entries(path).items():
        if not isinstance(table, Mapping):
            raise ModelError(f"{path} holds {type(table).__name__} as {group}, not a table of weights")
        grouped |= {f"{group}.{name}": tensor for name, tensor in only_tensors(table).items()}
    return grouped


def header(path: Path) -> Header:
    """Return what a safetensors header would say of the pickle `path`."""
    by_name = tensors(path)
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in by_name.items()}
    dtypes = {name: dtype_name(tensor) for name, tensor in by_name.items()}
    dtype_bytes = dict.fromkeys(dtypes.values(), 0)
    for name, dtype in dtypes.items():
        dtype_bytes[dtype] += sizes[name]
    return Header(
        tensor_bytes=sum(sizes.values()),
        dtype_bytes=dtype_bytes,
        shapes={name: tuple(tensor.shape) for name, tensor in by_name.items()},
        metadata={},
        dtypes=dtypes,
        sizes=sizes,
    )


def dtype_name(tensor: "Tensor") -> str:
    """Return what safetensors calls the tensor's dtype, torch's own name where it has none."""
    name = str(tensor.dtype).removeprefix("torch.")
    return _DTYPES.get(name, str(tensor.dtype))
