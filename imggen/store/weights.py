"""Weight files before torch sees them: which ones, how big, whole or not, and their hash."""

import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, get_args

import platformdirs

from imggen.errors import ModelError
from imggen.plan.schema.machine import Dtype

AGAIN: Final = "copy or fetch it again; for a model of the hub: imggen models pull REF --repair"
DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
DTYPE_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
STEMS = ("diffusion_pytorch_model", "model")
HALF_VARIANTS = ("fp16", "bf16")
"""What names of files carry whose weights are stored in half precision, the more usual one first."""
# The format's own limit is 100 MB, which takes half a minute to check; models of thousands of tensors stay below 10.
MAX_HEADER_BYTES = 30_000_000
MAX_INDEX_BYTES = 100_000_000
CHUNK_BYTES = 4 << 20
_SENSELESS = "the entry of {!r} makes no sense"
# Hashing this much takes about a tenth of a second, so smaller files are not worth remembering.
REMEMBERED_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class AccessRules:
    """On what terms a model may be had.

    `offline` forbids fetching; `allow_pickle` permits weights that can run code when they are read; `half` prefers
    half-precision files where a model has both kinds. Of the components in `without` only the small files count: their
    weights come from elsewhere. With a `sketch`, what is not here is not fetched but sketched in that folder, so that
    a plan can be made. `allow` raises for the reference of weights that may not be used.
    """

    offline: bool = False
    allow_pickle: bool = False
    half: bool = True
    without: tuple[str, ...] = ()
    sketch: Path | None = None
    allow: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a safetensors file says of itself: bytes of tensors, how many of them each dtype takes, each one's shape.

    `dtypes` and `sizes` say each tensor's dtype, in the file's own spelling, and bytes, `begins` after how many bytes
    of tensors it begins; `metadata` are the texts that whoever wrote the file put in.
    """

    tensor_bytes: int
    dtype_bytes: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    dtypes: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the tensors."""
        return frozenset(self.shapes)

    @property
    def dtype(self) -> str:
        """Return the dtype that most of the bytes have, in torch's spelling where it has one."""
        most = max(self.dtype_bytes, key=self.dtype_bytes.__getitem__, default="F32")
        return DTYPE_NAMES.get(most, most)


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """The weight files of one component: their paths and the variant that their names carry, if any."""

    files: tuple[Path, ...]
    variant: str | None = None
    pickle: bool = False


def choose(folder: Path, *, half: bool) -> WeightFiles | None:
    """Return the files to load for the component in `folder`, or None where it has none.

    `half` prefers a variant in half precision where both are there; without it the full files come first. Pickles are
    the last resort, and whether they may be read is the caller's decision.
    """
    order = (*HALF_VARIANTS, None) if half else (None, *HALF_VARIANTS)
    damage: list[ModelError] = []
    for variant in order:
        # An index without its shards is normal beside a variant: fetching half precision brings all the small files.
        try:
            files = _safetensors(folder, variant)
        except ModelError as error:
            damage.append(error)
            continue
        if files:
            return WeightFiles(files=files, variant=variant)
    if damage:
        raise damage[0]
    unsafe = (entry for entry in folder.iterdir() if entry.suffix in PICKLE_SUFFIXES)
    pickles = tuple(sorted(entry for entry in unsafe if entry.stem != "training_args"))
    return WeightFiles(files=pickles, pickle=True) if pickles else None


def variant_of(file: Path) -> str | None:
    """Return the variant that the name of a file of weights carries, None where it carries none."""
    return next((half_variant for half_variant in HALF_VARIANTS if f".{half_variant}" in file.name), None)


def _safetensors(folder: Path, variant: str | None) -> tuple[Path, ...]:
    ending = f".{variant}" if variant else ""
    for stem in STEMS:
        single = folder / f"{stem}{ending}.safetensors"
        if _exists(single):
            return (single,)
        for name in (f"{stem}.safetensors.index{ending}.json", f"{stem}{ending}.safetensors.index.json"):
            if (folder / name).is_file():
                return _shards(folder / name)
    return ()


def _exists(path: Path) -> bool:
    # A hub snapshot's file is a link; a link to nothing is a download that was cut short or cleaned away.
    if path.is_symlink() and not path.exists():
        raise ModelError(f"{path} points at a file that is gone", hint="imggen models pull REF fetches what is missing")
    return path.is_file()


def _shards(index: Path) -> tuple[Path, ...]:
    names = sorted({_beside(index, name) for name in _weight_map(index).values()})
    missing = [name for name in names if not _exists(index.parent / name)]
    if missing:
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{index.parent} is incomplete: {missing[0]}{rest} of {len(names)} files missing", hint=AGAIN)
    return tuple(index.parent / name for name in names)


def _beside(index: Path, name: object) -> str:
    if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
        raise ModelError(f"{index} names {name!r}, which is not a safetensors file beside it")
    return name


def _weight_map(index: Path) -> dict[str, object]:
    if index.stat().st_size > MAX_INDEX_BYTES:
        raise ModelError(f"{index} is too big to be an index of weights")
    try:
        parsed = json.loads(index.read_bytes())
        weight_map = parsed["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelError(f"{index} is not an index of weights: {error!r}") from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{index} names no weights")
    return weight_map


def read_header(path: Path) -> Header:
    """Return the header of the safetensors file `path`; raise ModelError where it is damaged, cut short or lies."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            if start.startswith(b"version "):
                raise ModelError(f"{path} is a Git LFS pointer, not the weights", hint="git lfs pull")
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= size - 8:
                raise ModelError(
                    f"{path} is no whole safetensors file: its header does not fit in its {size} bytes", hint=AGAIN
                )
            if length > MAX_HEADER_BYTES:
                raise ModelError(
                    f"{path} has a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read, and no model "
                    "needs more",
                    hint=AGAIN,
                )
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    return _checked(path, _parsed(path, text), size - 8 - length)


def _parsed(path: Path, text: bytes) -> dict[str, object]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(header, dict):
        raise _damaged(path, "not an object")
    return header


def _checked(path: Path, header: dict[str, object], data_bytes: int) -> Header:
    """Return the header, once it is sure that its tensors fill the file without holes and overlaps."""
    metadata = header.pop("__metadata__", None)
    spans = {name: _span(path, name, entry) for name, entry in header.items()}
    dtype_bytes: dict[str, int] = {}
    for dtype, _, begin, end in spans.values():
        dtype_bytes[dtype] = dtype_bytes.get(dtype, 0) + end - begin
    position = 0
    for begin, end in sorted(span[2:] for span in spans.values()):
        if begin != position:
            raise _damaged(path, f"its tensors overlap or leave holes at byte {position}")
        position = end
    if position > data_bytes:
        raise ModelError(f"{path} is cut short: {data_bytes} of {position} bytes of weights are there", hint=AGAIN)
    if position < data_bytes:
        raise ModelError(f"{path} has {data_bytes - position} bytes that its header does not explain", hint=AGAIN)
    return Header(
        tensor_bytes=position,
        dtype_bytes=dtype_bytes,
        shapes={name: shape for name, (_, shape, _, _) in spans.items()},
        metadata=_texts(metadata),
        dtypes={name: dtype for name, (dtype, *_) in spans.items()},
        sizes={name: end - begin for name, (*_, begin, end) in spans.items()},
        begins={name: begin for name, (*_, begin, _) in spans.items()},
    )


def _texts(metadata: object) -> dict[str, str]:
    # Nothing is decided by them alone, so what is no text is left out.
    known = metadata if isinstance(metadata, dict) else {}
    return {str(name): text for name, text in known.items() if isinstance(text, str)}


def _span(path: Path, name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    if not isinstance(entry, dict):
        raise _damaged(path, _SENSELESS.format(name[:80]))
    dtype, shape, offsets = entry.get("dtype"), _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise _damaged(path, _SENSELESS.format(name[:80]))
    begin, end = offsets
    if end < begin or (dtype in DTYPE_BYTES and end - begin != math.prod(shape) * DTYPE_BYTES[dtype]):
        raise _damaged(path, _SENSELESS.format(name[:80]))
    return dtype, tuple(shape), begin, end


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path} has a damaged header: {reason}", hint=AGAIN)


def _counts(value: object) -> list[int] | None:
    if not isinstance(value, list):
        return None
    # Not all() over a generator, which takes three times as long for a list of two.
    for number in value:
        if type(number) is not int or number < 0:
            return None
    return value


def stored_dtype(headers: Iterable[Header]) -> Dtype | None:
    """Return the dtype that most of the largest file is stored in, None where imggen computes in no such dtype."""
    largest = max(headers, key=lambda header: header.tensor_bytes, default=None)
    return next((dtype for dtype in get_args(Dtype) if largest and dtype == largest.dtype), None)


def size(choice: WeightFiles, headers: Iterable[Header] | None) -> int:
    """Return the bytes of the tensors, by their files' headers; those of the whole files where there are no headers."""
    if headers is None:
        return sum(file.stat().st_size for file in choice.files)
    return sum(header.tensor_bytes for header in headers)


def shapes(headers: Iterable[Header]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in several files."""
    return {name: shape for header in headers for name, shape in header.shapes.items()}


def is_half(dtype: Dtype) -> bool:
    """Return whether a run in `dtype` is served best by half-precision files."""
    return dtype != "float32"


def sha256(root: Path, files: Iterable[Path], *, cached: bool = False, memory: Path | None = None) -> str:
    """Return the hex SHA-256 over the sorted (name relative to `root`, SHA-256 of the file) of `files`.

    A file that is not in `root` counts by its own name.

    Where `root` is a snapshot of the hub's `cached` models, a file that is named after its hash is not read; elsewhere
    names prove nothing. A big file that was hashed before and has kept its size and time is not read again (`memory`,
    a JSON file in the user's cache folder by default).
    """
    known = _Memory(memory or Path(platformdirs.user_cache_dir("imggen")) / "weights.json")
    total = hashlib.sha256()
    for name, path in sorted((_name(file, root), file) for file in files):
        named = blob_sha256(path) if cached and path.is_relative_to(root) else None
        total.update(f"{name}\0{named or _file_sha256(path, known)}\n".encode())
    known.save()
    return total.hexdigest()


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def file_sha256(path: Path, *, cached: bool = False, memory: Path | None = None) -> str:
    """Return the hex SHA-256 of one file, which is read as seldom as `sha256` reads it."""
    named = blob_sha256(path) if cached else None
    if named is not None:
        return named
    known = _Memory(memory or Path(platformdirs.user_cache_dir("imggen")) / "weights.json")
    digest = _file_sha256(path, known)
    known.save()
    return digest


def hash_file(path: Path) -> str:
    """Return the hex SHA-256 of one file, which is read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blob_sha256(path: Path) -> str | None:
    """Return the SHA-256 that the hub's cache gives a file by what its link leads to; None for other files."""
    blob = path.readlink() if path.is_symlink() else path
    is_hash = len(blob.name) == 64 and set(blob.name) <= set("0123456789abcdef")
    return blob.name if is_hash and blob.parent.name == "blobs" else None


def _file_sha256(path: Path, known: "_Memory") -> str:
    blob = path.resolve()
    digest = known.recall(blob)
    if digest is None:
        digest = hash_file(blob)
        known.note(blob, digest)
    return digest


class _Memory:
    """Hashes of big files, by path, size and time of change; anything odd in it counts as forgotten."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        self._entries: dict[str, object] = {}
        with suppress(OSError, ValueError):
            entries = json.loads(path.read_bytes())
            self._entries = entries if isinstance(entries, dict) else {}

    def recall(self, path: Path) -> str | None:
        state = path.stat()
        entry = self._entries.get(str(path))
        if isinstance(entry, list) and entry[:2] == [state.st_size, state.st_mtime_ns] and isinstance(entry[-1], str):
            return entry[-1]
        return None

    def note(self, path: Path, digest: str) -> None:
        state = path.stat()
        if state.st_size < REMEMBERED_BYTES:
            return
        self._entries[str(path)] = [state.st_size, state.st_mtime_ns, digest]
        self._changed = True

    def save(self) -> None:
        if not self._changed:
            return
        # Losing a hash costs a second reading, never a wrong answer, so a folder that cannot be written is no error.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            fresh.write_text(json.dumps(self._entries, indent=0))
            fresh.replace(self._path)


class ReadAhead:
    """Weight files pulled into the page cache by a thread, while the main thread imports libraries.

    Leaving the `with` block stops the reading where it is. Files that together exceed `budget_bytes` are left alone,
    since reading them would push out what was read first.
    """

    def __init__(self, files: Iterable[Path], *, budget_bytes: int) -> None:
        self._files = tuple(files)
        self._budget_bytes = budget_bytes
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        buffer = bytearray(CHUNK_BYTES)
        # A file that cannot be read is reported by the loader, which knows what it is for.
        with suppress(OSError):
            if sum(path.stat().st_size for path in self._files) > self._budget_bytes:
                return
            for path in self._files:
                with path.open("rb", buffering=0) as file:
                    while not self._stopped.is_set() and file.readinto(buffer):
                        pass
