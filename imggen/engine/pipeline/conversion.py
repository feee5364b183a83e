"""A component's weights converted to one precision, tensor by tensor, so that memory never holds more than one."""

import hashlib
import importlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from imggen.engine import failures
from imggen.engine.pipeline import checkpoint_loader
from imggen.engine.precision import TORCH_DTYPES
from imggen.errors import ModelError
from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.request import GeneratePlan
from imggen.store import pickles, weights

SHARD_BYTES: Final = 5_000_000_000
"""The most bytes of tensors in one file: what diffusers and transformers write, and what other programs expect."""

_KINDS: Final[dict[Dtype, str]] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_FLOATS: Final = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_STORED: Final = {
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_TORCH: Final = _FLOATS | _STORED


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """A tensor that is to be written: where it comes from, its shape, and how it is stored."""

    name: str
    source: Path
    shape: tuple[int, ...]
    kind: str
    size: int


@dataclass(frozen=True, kw_only=True)
class WrittenWeights:
    """A file that was written, and the SHA-256 of what should be in it."""

    path: Path
    sha256: str


def entries(choice: weights.WeightFiles, dtype: Dtype) -> list[TensorEntry]:
    """Return the tensors of a component as they will be stored: real numbers in `dtype`, whole numbers as they are.

    Raise ModelError for kinds of numbers that mean nothing without a scale beside them.
    """
    tensors = []
    for path in choice.files:
        for name, (kind, shape) in _stored(path, pickle=choice.pickle).items():
            if kind not in _TORCH:
                raise ModelError(
                    f"{path}: {name} is stored as {kind}, which is not a plain number type",
                    hint="convert the model it came from",
                )
            stored_kind = _KINDS[dtype] if kind in _FLOATS else kind
            size = math.prod(shape) * weights.DTYPE_BYTES[stored_kind]
            tensors.append(TensorEntry(name=name, source=path, shape=shape, kind=stored_kind, size=size))
    return sorted(tensors, key=lambda entry: entry.name)


def _stored(path: Path, *, pickle: bool) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    if pickle:
        content = pickles.entries(path)
        tensors = pickles.only_tensors(content)
        if len(tensors) < len(content):
            raise ModelError(f"{path} is not a table of tensors")
        return {name: (pickles.dtype_name(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}
    header = weights.read_header(path)
    return {name: (kind, header.shapes[name]) for name, kind in header.dtypes.items()}


def shards(tensors: Sequence[TensorEntry], *, most: int = SHARD_BYTES) -> list[list[TensorEntry]]:
    """Return the tensors in the files that they go to: in their order, no file above `most` bytes if it can be."""
    parts: list[list[TensorEntry]] = [[]]
    size = 0
    for tensor in tensors:
        if parts[-1] and size + tensor.size > most:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += tensor.size
    return parts


def write(
    folder: Path, stem: str, tensors: Sequence[TensorEntry], *, tell: Callable[[int], None], most: int = SHARD_BYTES
) -> list[WrittenWeights]:
    """Write a component's weights into `folder` as safetensors, with an index where there are several files.

    `tell` hears the bytes of each tensor that is written. Raise ModelError where a number is too large for its place.
    """
    parts = shards(tensors, most=most)
    names = [_file_name(stem, number, len(parts)) for number in range(1, len(parts) + 1)]
    written = [_write(folder / name, part, tell) for name, part in zip(names, parts, strict=True)]
    if len(parts) > 1:
        weight_map = {entry.name: name for name, part in zip(names, parts, strict=True) for entry in part}
        index = {"metadata": {"total_size": sum(tensor.size for tensor in tensors)}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return written


def _file_name(stem: str, number: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number:05d}-of-{count:05d}.safetensors"


def _write(path: Path, tensors: Sequence[TensorEntry], tell: Callable[[int], None]) -> WrittenWeights:
    digest = hashlib.sha256()
    with path.open("wb") as out:
        _put(out, digest, _header(tensors))
        for entry, tensor in _read(tensors):
            _put(out, digest, _bytes(entry, tensor))
            tell(entry.size)
        out.flush()
        os.fsync(out.fileno())
    return WrittenWeights(path=path, sha256=digest.hexdigest())


def _put(out: BinaryIO, digest: Any, data: bytes | memoryview) -> None:
    out.write(data)
    digest.update(data)


def _header(tensors: Sequence[TensorEntry]) -> bytes:
    """Return the header of a safetensors file with these tensors one after the other."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        table[tensor.name] = {
            "dtype": tensor.kind,
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.size],
        }
        start += tensor.size
    text = json.dumps(table, separators=(",", ":")).encode()
    # The format wants the tensors to begin at a multiple of eight.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read(tensors: Sequence[TensorEntry]) -> Iterator[tuple[TensorEntry, Tensor]]:
    """Yield the tensors, each read when it is wanted; not mapped, as what was read of a map counts as taken."""
    with ExitStack() as stack:
        opened: dict[Path, Callable[[str], Tensor]] = {}
        for tensor in tensors:
            if tensor.source not in opened:
                safe = tensor.source.suffix == ".safetensors"
                opened[tensor.source] = (
                    _safe(tensor.source, stack) if safe else pickles.tensors(tensor.source).__getitem__
                )
            yield tensor, opened[tensor.source](tensor.name)


def _safe(path: Path, stack: ExitStack) -> Callable[[str], Tensor]:
    """Return what reads single tensors of a safetensors file, which stays open as long as `stack`."""
    header = weights.read_header(path)
    file = stack.enter_context(path.open("rb"))
    start = path.stat().st_size - header.tensor_bytes

    def read(name: str) -> Tensor:
        dtype, shape = _TORCH[header.dtypes[name]], header.shapes[name]
        if not header.sizes[name]:
            return torch.empty(shape, dtype=dtype)
        file.seek(start + header.begins[name])
        data = bytearray(header.sizes[name])
        file.readinto(data)
        return torch.frombuffer(data, dtype=dtype).reshape(shape)

    return read


def save_part(plan: GeneratePlan, name: str, folder: Path) -> list[WrittenWeights]:
    """Write a component of the plan's single file into `folder`, in the plan's dtype and under its library's names.

    All of the component is in memory meanwhile, as only its library knows how the names of two formats belong together.
    """
    library, class_name = plan.model.components[name]
    dtype = TORCH_DTYPES[plan.dtype]
    # In the precision that it is stored in or a wider one, so that what does not fit is seen.
    wide = replace(plan, dtype="float32" if plan.dtype == "float16" else plan.dtype)
    with failures.explained(plan, f"{name} ({class_name})"):
        component_class = getattr(importlib.import_module(library), class_name)
        module = checkpoint_loader.component(wide, name, component_class)
    for key, tensor in module.state_dict().items():
        _check_range(f"{name}: {key}", tensor, dtype)
    module.to(dtype).save_pretrained(str(folder), safe_serialization=True, max_shard_size=SHARD_BYTES)
    files = sorted(folder.glob("*.safetensors"))
    return [WrittenWeights(path=file, sha256=weights.hash_file(file)) for file in files]


def _bytes(entry: TensorEntry, tensor: Tensor) -> memoryview:
    stored_dtype = _TORCH[entry.kind]
    if not tensor.is_floating_point() or tensor.dtype == stored_dtype:
        return _view(tensor)
    _check_range(f"{entry.source.parent.name}: {entry.name}", tensor, stored_dtype)
    return _view(tensor.to(stored_dtype))


def _check_range(what: str, tensor: Tensor, dtype: torch.dtype) -> None:
    """Raise ModelError where a number of `tensor` would become infinite in `dtype`."""
    if dtype != torch.float16 or not tensor.is_floating_point():
        return
    if not bool(torch.isfinite(tensor.to(dtype)).all()) and bool(torch.isfinite(tensor).all()):
        largest = float(tensor.abs().max())
        raise ModelError(f"{what} holds {largest:,.0f}, and float16 ends at 65,504", hint="--dtype bfloat16")


def _view(tensor: Tensor) -> memoryview:
    flat = tensor.contiguous().reshape(-1)
    # numpy's arrays are buffers, whatever their types say.
    view: Any = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return memoryview(view)
