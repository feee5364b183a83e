"""The header of a GGUF file: its tensors' names, shapes and types, without numpy, torch or the gguf package.

The layout is that of github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO, Final

from imggen.errors import ModelError
from imggen.store.weights import AGAIN, MAX_HEADER_BYTES, Header

MAGIC: Final = b"GGUF"
PLAIN: Final = ("F32", "F16", "F64", "I8", "I16", "I32", "I64")

# Type number: its name, the weights of a block and the bytes that a block takes.
_TYPES: Final[dict[int, tuple[str, int, int]]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
}  # fmt: skip
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT: Final = 8
_LIST: Final = 9
_MAX_TENSORS: Final = 1_000_000
_MAX_NAME: Final = 1 << 16
_MAX_DIMENSIONS: Final = 8
_ALIGNMENT: Final = "general.alignment"


def is_gguf(path: Path) -> bool:
    """Return whether `path` names itself a GGUF file."""
    return path.suffix.lower() == ".gguf"


def read(path: Path) -> Header:
    """Return the header of the GGUF file `path`; raise ModelError where it is damaged, cut short or lies."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _HeaderReader(path, file, size).header()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


class _HeaderReader:
    """One reading of a header, which keeps within the file's bytes whatever the file says of itself."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._left = size

    def header(self) -> Header:
        start = self._file.peek(8)[:8] if hasattr(self._file, "peek") else b""
        if start.startswith(b"version "):
            raise ModelError(f"{self._path} is a Git LFS pointer, not the weights", hint="git lfs pull")
        if self._take(4) != MAGIC:
            raise ModelError(f"{self._path} is no GGUF file: it does not begin with GGUF")
        version = self._number("I")
        if version not in (2, 3):
            raise ModelError(f"{self._path} is GGUF of version {version}; versions 2 and 3 are read")
        tensors, values = self._number("Q"), self._number("Q")
        if tensors > _MAX_TENSORS or values > _MAX_TENSORS:
            raise self._damaged(f"it says that it has {tensors} tensors and {values} values")
        metadata = dict(self._value() for _ in range(values))
        entries = [self._tensor() for _ in range(tensors)]
        return self._checked(entries, metadata)

    def _checked(
        self, tensors: list[tuple[str, tuple[int, ...], str, int, int]], metadata: dict[str, object]
    ) -> Header:
        """Return the header, once it is sure that the tensors lie within the file and have names of their own."""
        alignment = metadata.get(_ALIGNMENT, 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= _MAX_NAME:
            raise self._damaged(f"its alignment is {alignment!r}")
        begin = -(-(self._size - self._left) // alignment) * alignment
        ends = [begin + offset + size for _, _, _, offset, size in tensors]
        end = max(ends, default=0)
        if end > self._size:
            raise ModelError(f"{self._path} is cut short: {self._size} of {end} bytes are there", hint=AGAIN)
        names = {name for name, *_ in tensors}
        if len(names) < len(tensors):
            raise self._damaged("a tensor's name comes twice")
        dtype_bytes: dict[str, int] = {}
        for _, _, kind, _, size in tensors:
            dtype_bytes[kind] = dtype_bytes.get(kind, 0) + size
        return Header(
            tensor_bytes=sum(dtype_bytes.values()),
            dtype_bytes=dtype_bytes,
            shapes={name: shape for name, shape, *_ in tensors},
            metadata={name: text for name, text in metadata.items() if isinstance(text, str)},
            dtypes={name: kind for name, _, kind, *_ in tensors},
            sizes={name: size for name, *_, size in tensors},
        )

    def _tensor(self) -> tuple[str, tuple[int, ...], str, int, int]:
        """Read a tensor's entry: its name, shape, type, offset and size in bytes."""
        name = self._text(_MAX_NAME)
        dimensions = self._number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise self._damaged(f"{name[:80]!r} has {dimensions} dimensions")
        # Innermost first, the other way round than everywhere else.
        shape = tuple(self._number("Q") for _ in range(dimensions))[::-1]
        number, offset = self._number("I"), self._number("Q")
        if number not in _TYPES:
            raise self._damaged(f"{name[:80]!r} is of the unknown type {number}")
        kind, block, block_bytes = _TYPES[number]
        weights = math.prod(shape)
        if weights % block or (shape and shape[-1] % block):
            raise self._damaged(f"{name[:80]!r} of shape {shape} cannot be in blocks of {block}")
        return name, shape, kind, offset, weights // block * block_bytes

    def _value(self) -> tuple[str, object]:
        name = self._text(_MAX_NAME)
        return name, self._content(self._number("I"))

    def _content(self, kind: int, depth: int = 0) -> object:
        """Read a value of the type `kind`; a list is skipped and read as None."""
        if kind == _TEXT:
            return self._text(self._left)
        if kind == _LIST and depth < _MAX_DIMENSIONS:
            inner, length = self._number("I"), self._number("Q")
            if inner in _SCALARS:
                self._take(struct.calcsize("<" + _SCALARS[inner]) * length)
                return None
            if length > self._left:
                raise self._damaged(f"a list says that it has {length} entries")
            for _ in range(length):
                self._content(inner, depth + 1)
            return None
        if kind not in _SCALARS:
            raise self._damaged(f"a value is of the unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _text(self, most: int) -> str:
        length = self._number("Q")
        if length > most:
            raise self._damaged(f"a name says that it has {length} letters")
        return self._take(length).decode("utf-8", errors="replace")

    def _number(self, code: str) -> int:
        packed = "<" + code
        (value,) = struct.unpack(packed, self._take(struct.calcsize(packed)))
        return value  # type: ignore[no-any-return]

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise ModelError(
                f"{self._path} is no whole GGUF file: its header does not fit in its {self._size} bytes", hint=AGAIN
            )
        if self._size - self._left + count > MAX_HEADER_BYTES:
            raise self._damaged(f"it has more than {MAX_HEADER_BYTES:,} bytes")
        self._left -= count
        return self._file.read(count)

    def _damaged(self, reason: str) -> ModelError:
        return ModelError(f"{self._path} has a damaged header: {reason}", hint=AGAIN)
