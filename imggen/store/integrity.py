"""Whether a model's files are what they should be: by their hashes where these are known, else by what is in them."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from imggen.errors import ModelError
from imggen.plan.schema.progress import Progress
from imggen.store import model_folder, paths, weights

SUMS: Final = "SHA256SUMS"
"""The file that a folder may have its hashes in, as `sha256sum` writes them."""

_CHUNK_BYTES: Final = 4 << 20
_LINE: Final = re.compile(r"(?P<hash>[0-9a-f]{64}) [ *](?P<name>.+)")
_GIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """A file of a model and how it is.

    `same` means that its hash is the recorded one, `sound` that nothing is recorded and it makes sense as it is.
    """

    file: str
    status: Literal["same", "sound", "damaged", "missing"]
    reason: str = ""


def check(folder: Path, *, on_event: Callable[[Progress], None]) -> Iterator[CheckedFile]:
    """Look at every file of the model in `folder` and yield how it is; then what the model lacks."""
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and not _is_aside(path, folder)]
    recorded = _recorded(folder)
    total = sum(paths.size(file) for file in files)
    done = 0
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name == SUMS:
            continue
        start = done

        def tell(count: int, start: int = start) -> None:
            on_event(Progress(stage="check", step=start + count, steps=total))

        yield _checked(path, name, recorded.get(name) or _of_blob(path), tell)
        done += paths.size(path)
    for name in sorted(recorded.keys() - {file.relative_to(folder).as_posix() for file in files}):
        yield CheckedFile(file=name, status="missing", reason=f"{SUMS} names it")
    yield from (CheckedFile(file=name, status="missing", reason=reason) for name, reason in model_folder.faults(folder))


def _is_aside(path: Path, folder: Path) -> bool:
    # huggingface_hub and git keep notes of their own beside a model.
    return any(part in (".cache", ".git") for part in path.relative_to(folder).parts)


def _checked(path: Path, name: str, expected: str | None, tell: Callable[[int], None]) -> CheckedFile:
    """Return how one file is: by its hash where one is recorded, else by what is in it."""
    try:
        if path.is_symlink() and not path.exists():
            return CheckedFile(file=name, status="missing", reason="it points at a file that is gone")
        if expected is not None:
            digest = _hash(path, expected, tell)
            reason = f"its hash is {digest}, and {expected} is recorded"
            return CheckedFile(file=name, status="same") if digest == expected else _damaged(name, reason)
        _make_sense(path)
    except ModelError as error:
        return _damaged(name, error.message)
    except OSError as error:
        return _damaged(name, f"it cannot be read: {error.strerror}")
    return CheckedFile(file=name, status="sound")


def _damaged(name: str, reason: str) -> CheckedFile:
    return CheckedFile(file=name, status="damaged", reason=reason)


def _of_blob(path: Path) -> str | None:
    """Return the hash that the hub's cache names the file's bytes by: SHA-256 of large files, else git's."""
    blob = path.readlink() if path.is_symlink() else path
    is_git = blob.parent.name == "blobs" and _GIT.fullmatch(blob.name)
    return blob.name if is_git else weights.blob_sha256(path)


def _hash(path: Path, expected: str, tell: Callable[[int], None]) -> str:
    # git puts the size before the bytes that it hashes.
    digest = hashlib.sha256() if len(expected) == 64 else hashlib.sha1(b"blob %d\0" % paths.size(path))  # noqa: S324 - git's
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            tell(done)
    return digest.hexdigest()


def _make_sense(path: Path) -> None:
    if path.suffix == ".safetensors":
        weights.read_header(path)
    elif path.suffix == ".json":
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ModelError(f"it is not JSON: {error}") from error


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    if not path.is_file():
        return {}
    hashes = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        parsed = _LINE.fullmatch(line)
        if parsed is None:
            raise ModelError(f"{path} line {number} is no hash and name: {line[:80]!r}")
        hashes[parsed["name"].removeprefix("./")] = parsed["hash"]
    return hashes
