"""A component's weights written anew in one precision, tensor by tensor, so that memory never holds more than one."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from safetensors import safe_open
from torch import Tensor

from imggen.engine import weights
from imggen.errors import ModelError
from imggen.plan.dtypes import BYTES
from imggen.plan.machine import Dtype

SHARD_BYTES: Final = 5_000_000_000
"""The most bytes of tensors in one file: what diffusers and transformers write, and what other programs expect."""

_KINDS: Final[dict[Dtype, str]] = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_FLOATS: Final = frozenset(("F64", "F32", "F16", "BF16"))
_STORED: Final = frozenset(("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"))
_NARROW_BYTES: Final = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A tensor that is to be written: where it comes from, its shape, and how it is stored."""

    name: str
    source: Path
    shape: tuple[int, ...]
    kind: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that was written, and the SHA-256 of what should be in it."""

    path: Path
    sha256: str


def entries(choice: weights.Choice, dtype: Dtype) -> list[Entry]:
    """Return the tensors of a component as they will be stored: real numbers in `dtype`, whole numbers as they are.

    Raise ModelError for kinds of numbers that mean nothing without a scale beside them.
    """
    found = []
    for path in choice.files:
        for name, (kind, shape) in _stored(path, pickle=choice.pickle).items():
            if kind not in _FLOATS | _STORED:
                raise ModelError(
                    f"{path}: {name} is stored as {kind}, which is no plain number",
                    hint="convert the model it came from",
                )
            wanted = _KINDS[dtype] if kind in _FLOATS else kind
            each = BYTES[dtype] if kind in _FLOATS else _NARROW_BYTES[kind]
            count = 1
            for edge in shape:
                count *= edge
            found.append(Entry(name=name, source=path, shape=shape, kind=wanted, size=count * each))
    return sorted(found, key=lambda each: each.name)


def _stored(path: Path, *, pickle: bool) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    if pickle:
        kinds = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
        whole = {torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"}
        known = kinds | whole | {torch.bool: "BOOL"}
        return {
            name: (known.get(each.dtype, str(each.dtype)), tuple(each.shape)) for name, each in _unpickled(path).items()
        }
    weights.read_header(path)
    with safe_open(path, framework="pt") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        return {name: (each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}


def _unpickled(path: Path) -> dict[str, Tensor]:
    found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        raise ModelError(f"{path} is no table of tensors")
    return found


def shards(tensors: Sequence[Entry], *, most: int = SHARD_BYTES) -> list[list[Entry]]:
    """Return the tensors in the files that they go to: in their order, no file above `most` bytes if it can be."""
    found: list[list[Entry]] = [[]]
    size = 0
    for each in tensors:
        if found[-1] and size + each.size > most:
            found.append([])
            size = 0
        found[-1].append(each)
        size += each.size
    return found


def write(
    folder: Path, stem: str, tensors: Sequence[Entry], *, tell: Callable[[int], None], most: int = SHARD_BYTES
) -> list[Written]:
    """Write a component's weights into `folder` as safetensors, with an index where there are several files.

    `tell` hears the bytes of each tensor that is written. Raise ModelError where a number is too large for its place.
    """
    parts = shards(tensors, most=most)
    names = [_file_name(stem, number, len(parts)) for number in range(1, len(parts) + 1)]
    written = [_write(folder / name, part, tell) for name, part in zip(names, parts, strict=True)]
    if len(parts) > 1:
        weight_map = {each.name: name for name, part in zip(names, parts, strict=True) for each in part}
        index = {"metadata": {"total_size": sum(each.size for each in tensors)}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return written


def _file_name(stem: str, number: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number:05d}-of-{count:05d}.safetensors"


def _write(path: Path, tensors: Sequence[Entry], tell: Callable[[int], None]) -> Written:
    digest = hashlib.sha256()
    with path.open("wb") as out:
        _put(out, digest, _header(tensors))
        for each, tensor in _read(tensors):
            _put(out, digest, _bytes(each, tensor))
            tell(each.size)
        out.flush()
        os.fsync(out.fileno())
    return Written(path=path, sha256=digest.hexdigest())


def _put(out: BinaryIO, digest: Any, data: bytes | memoryview) -> None:
    out.write(data)
    digest.update(data)


def _header(tensors: Sequence[Entry]) -> bytes:
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for each in tensors:
        table[each.name] = {"dtype": each.kind, "shape": list(each.shape), "data_offsets": [start, start + each.size]}
        start += each.size
    text = json.dumps(table, separators=(",", ":")).encode()
    # The format wants the tensors to begin at a multiple of eight.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _read(tensors: Sequence[Entry]) -> Iterator[tuple[Entry, Tensor]]:
    """Yield the tensors, each read when it is wanted."""
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for each in tensors:
            if each.source not in opened:
                safe = each.source.suffix == ".safetensors"
                opened[each.source] = (
                    stack.enter_context(safe_open(each.source, framework="pt")) if safe else _unpickled(each.source)
                )
            source = opened[each.source]
            yield each, source[each.name] if isinstance(source, dict) else source.get_tensor(each.name)


def _bytes(entry: Entry, tensor: Tensor) -> memoryview:
    wanted = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}.get(entry.kind, tensor.dtype)
    if not tensor.is_floating_point() or tensor.dtype == wanted:
        return _view(tensor)
    made = tensor.to(wanted)
    if wanted == torch.float16 and not bool(torch.isfinite(made).all()) and bool(torch.isfinite(tensor).all()):
        largest = float(tensor.abs().max())
        raise ModelError(
            f"{entry.source.parent.name}: {entry.name} holds {largest:,.0f}, and float16 ends at 65,504",
            hint="--dtype bfloat16",
        )
    return _view(made)


def _view(tensor: Tensor) -> memoryview:
    flat = tensor.contiguous().reshape(-1)
    # numpy's arrays are buffers, whatever their types say.
    view: Any = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return memoryview(view)
