"""Files on disk: read whole and within bounds, written whole or not at all."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from imggen.errors import ImggenError, RequestError
from imggen.output.formats.carriers import MAX_FILE_BYTES
from imggen.plan.schema.request import IfExists

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG))
_ATTEMPTS = 100


@dataclass(frozen=True, kw_only=True)
class WriteTarget:
    """Where a file goes, and whether one is there that it may replace."""

    path: Path
    replaces: bool


def reason(error: Exception) -> str:
    """Return what the system says went wrong, without the number and the path that OSError adds."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def is_full(error: Exception) -> bool:
    """Return whether the disk is full or broken, which the user's request is not to blame for."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Name the file in every RequestError that is raised within."""
    try:
        yield
    except RequestError as error:
        raise RequestError(f"{path}: {error.message}", hint=error.hint) from error


def read(path: Path) -> bytes:
    """Return the file's bytes; raise RequestError where it is no readable regular file of sane size."""
    try:
        # Looked at before it is opened, because opening a pipe waits for its other end.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise RequestError(f"{path} is a folder, not a picture")
        if not stat.S_ISREG(status.st_mode):
            raise RequestError(f"{path} is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise RequestError(f"{path} has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path}: {reason(error)}") from error


def settle(
    path: Path, if_exists: IfExists, *, is_own: Callable[[Path], bool], taken: Collection[Path] = ()
) -> WriteTarget | None:
    """Return where a file named `path` goes under the policy, None where it is to be skipped; creates nothing.

    A symbolic link stands for what it points to. `auto` replaces a file of which `is_own` is true, and no other;
    `number` finds a name that neither exists nor is `taken`: `cat-2.png`, `cat-3.png`.
    Raises RequestError where the policy forbids it, or where nothing can be written.
    """
    path = Path(os.path.realpath(path))
    present = _is_present(path)
    if not present and path not in taken:
        _check_folder(path)
        return WriteTarget(path=path, replaces=False)
    if if_exists == "number":
        return _numbered(path, taken)
    if path in taken:
        raise RequestError(f"two pictures of this run would both be {path}", hint="put {seed} or {index} into -o")
    if if_exists == "skip":
        return None
    if if_exists == "error":
        raise RequestError(f"{path} exists", hint="--if-exists overwrite, number or skip")
    if if_exists == "auto" and not is_own(path):
        raise RequestError(f"{path} exists and is not as imggen wrote it, so it is kept", hint="--if-exists overwrite")
    _check_folder(path)
    return WriteTarget(path=path, replaces=True)


def put(
    path: Path,
    data: bytes,
    if_exists: IfExists,
    *,
    is_own: Callable[[Path], bool],
    settled: Callable[[WriteTarget], None] | None = None,
) -> WriteTarget | None:
    """Write the bytes to where `settle` says; return that, None where the file is to be skipped.

    `settled` is called as by `write`, with the place. Raises as both do.
    """
    for _ in range(_ATTEMPTS):
        place = settle(path, if_exists, is_own=is_own)
        if place is None:
            return None
        try:
            write(place, data, settled=partial(settled, place) if settled else None)
        except FileExistsError:
            # Another process took the name in between: the policy decides again.
            continue
        return place
    raise RequestError(f"cannot write {path}: other processes keep taking the name")


def write(
    place: WriteTarget, data: bytes, *, like: Path | None = None, settled: Callable[[], None] | None = None
) -> None:
    """Put the bytes at the place, whole or not at all; parents are created, and permissions are taken from `like`.

    `settled` is called once the file has its name; where it raises, whatever was there before is put back.
    Raises FileExistsError where the place was free when it was settled and is not any more; RequestError where it
    cannot be written; ImggenError where the disk is full or fails.
    """
    temporary = place.path.parent / f".imggen-{secrets.token_hex(8)}.tmp"
    try:
        place.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            create(temporary, data)
            if like is not None:
                shutil.copymode(like, temporary)
            if settled is None:
                _publish(temporary, place)
            else:
                _publish_and_settle(temporary, place, settled)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        kind = ImggenError if is_full(error) else RequestError
        raise kind(f"cannot write {place.path}: {reason(error)}") from error


def create(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file, with that mode from its first moment, and wait for the disk; FileExistsError if it exists."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _publish_and_settle(temporary: Path, place: WriteTarget, settled: Callable[[], None]) -> None:
    """Publish, then settle; put back what was at the place where that fails, even by an interruption."""
    kept = place.path.parent / f".imggen-{secrets.token_hex(8)}.tmp"
    try:
        if place.replaces:
            _hold(place.path, kept)
        _publish(temporary, place)
        try:
            settled()
        except BaseException:
            if place.replaces:
                kept.replace(place.path)
            else:
                place.path.unlink(missing_ok=True)
            raise
    finally:
        kept.unlink(missing_ok=True)


def _hold(path: Path, kept: Path) -> None:
    try:
        kept.hardlink_to(path)
    except OSError:
        # Some file systems have no hard links.
        shutil.copy2(path, kept)


def _publish(temporary: Path, place: WriteTarget) -> None:
    """Give the file its name in one step; FileExistsError where a name that was free is taken by now."""
    if place.replaces:
        temporary.replace(place.path)
        return
    try:
        # Fails where the name is taken by now, which a rename does not.
        place.path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems have no hard links.
        if place.path.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(place.path)) from None
        temporary.replace(place.path)


def _is_present(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot write {path}: {reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise RequestError(f"{path} is a folder, not a file", hint=f"-o {path}/")
    if not stat.S_ISREG(status.st_mode):
        raise RequestError(f"{path} is not a regular file", hint="-o - writes to standard output")
    return True


def _check_folder(path: Path) -> None:
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        raise RequestError(f"cannot write {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(f"cannot write {path}: the folder {folder} is not writable")


def _numbered(path: Path, taken: Collection[Path]) -> WriteTarget:
    candidates = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    free = next(candidate for candidate in candidates if candidate not in taken and not os.path.lexists(candidate))
    _check_folder(free)
    return WriteTarget(path=free, replaces=False)
