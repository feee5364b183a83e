"""Weights of the hub brought into its cache: checked by their hash, and gone on with where an earlier try ended.

huggingface_hub keeps no part of a file that was cut short, and a weight file has gigabytes.
So the big files come by plain HTTP, into the places and under the locks that huggingface_hub itself uses.
"""

import errno
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import Timeout
from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.file_download import are_symlinks_supported, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from imggen.errors import MachineError, ModelError
from imggen.plan.memory import memory
from imggen.plan.schema.progress import Progress, Report
from imggen.store import paths

TOLD_BYTES = 1 << 20
TRIES = 5
WORKERS = 4
# A header of safetensors is rarely longer, so one request is enough.
HEAD_BYTES = 512 << 10
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_PASSING = frozenset((408, 429, 500, 502, 503, 504))


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of the hub: its name, its bytes, and the SHA-256 where the hub keeps it as a large file."""

    name: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the hub has of a model: the commit that a revision stands for now, and the files that a pipeline needs.

    `revision` is what was asked for, None where nothing was said; `place` is the model's folder in the cache.
    """

    repository: str
    revision: str | None
    commit: str
    files: tuple[RemoteFile, ...]
    place: Path
    licence: str | None = None
    gated: bool = False

    @property
    def reference(self) -> str:
        """Return what to ask for to get this again."""
        return f"{self.repository}@{self.revision}" if self.revision else self.repository

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def snapshot(self) -> Path:
        """Return the folder that the files are in once they are here."""
        return self.place / "snapshots" / self.commit

    def present_bytes(self) -> int:
        """Return how many of the bytes are here, those of files that were cut short among them."""
        return sum(_present(self, file) for file in self.files)


def place(cache: Path, repository: str) -> Path:
    """Return the folder of `repository` in the hub's cache."""
    return cache / str(repo_folder_name(repo_id=repository, repo_type="model"))


def _present(offer: Offer, file: RemoteFile) -> int:
    if (offer.snapshot / file.name).exists():
        return file.size
    if file.sha256 is None:
        return 0
    blob = offer.place / "blobs" / file.sha256
    return file.size if blob.exists() else min(file.size, paths.size(_partial(blob)))


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.incomplete")


def check_room(offer: Offer) -> None:
    """Raise MachineError where the cache's disk has less room than what is still to come takes."""
    missing = offer.size_bytes - offer.present_bytes()
    free = free_bytes(offer.place)
    if missing > free:
        raise MachineError(
            f"{offer.repository} takes {memory.text(missing)} more of the disk, and {offer.place.parent} has "
            f"{memory.text(free)} free",
            hint="imggen models list, then imggen models rm REF; or HF_HUB_CACHE=/a/larger/disk",
        )


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that `folder` is on, or would be."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free


class Count:
    """The bytes of each file that are here, told as progress, and whether all is `stopped`; threads share it."""

    def __init__(self, offer: Offer, on_event: Report) -> None:
        self._here = {file.name: 0 for file in offer.files}
        self._total = offer.size_bytes
        self._on_event = on_event
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def tell(self, name: str, here: int) -> None:
        """Tell that `here` bytes of the file `name` are here."""
        with self._lock:
            self._here[name] = here
            done = min(sum(self._here.values()), self._total)
            self._on_event(Progress(stage="download", step=done, steps=self._total))


def is_large(offer: Offer, file: RemoteFile) -> bool:
    """Return whether the file is to be fetched here: a large one that plain HTTP delivers into a cache with links."""
    links = are_symlinks_supported(offer.place.parent)
    return file.sha256 is not None and file.size <= constants.MAX_HTTP_DOWNLOAD_SIZE and links


def bring(offer: Offer, files: Sequence[RemoteFile], count: Count) -> None:
    """Download `files`, several at a time, each going on where it was cut short before.

    Another process that fetches the same file is waited for. Raise ModelError where the bytes are not those that the
    hub names, MachineError where the disk is full; what came by then stays.
    """
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        running = [pool.submit(_bring, offer, file, count) for file in files]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            count.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _StoppedError(Exception):
    """Another file failed, or the user has had enough."""


def _bring(offer: Offer, file: RemoteFile, count: Count) -> None:
    blob = offer.place / "blobs" / str(file.sha256)
    lock = offer.place.parent / ".locks" / offer.place.name / f"{file.sha256}.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(lock, count.stopped, lambda: count.tell(file.name, min(file.size, paths.size(_partial(blob))))):
        if not blob.exists():
            _complete(offer, file, _partial(blob), count)
            _partial(blob).replace(blob)
    count.tell(file.name, file.size)


@contextmanager
def _locked(path: Path, stopped: threading.Event, waiting: Callable[[], None]) -> Iterator[None]:
    with ExitStack() as locks:
        while True:
            try:
                locks.enter_context(WeakFileLock(path, timeout=0.5))
                break
            except Timeout:
                if stopped.is_set():
                    raise _StoppedError from None
                waiting()
        yield


def _complete(offer: Offer, file: RemoteFile, partial: Path, count: Count) -> None:
    """Append to `partial` what it lacks, and check the whole of it."""
    with partial.open("ab") as out:
        if out.tell() > file.size:
            out.truncate(0)
        digest = _Digest(partial, out.tell())
        tries = 0
        while digest.size < file.size:
            before = digest.size
            try:
                _append(offer, file, out, digest, count)
            except HTTPError as error:
                if not _may_pass(error) or tries >= TRIES:
                    raise
            tries = 0 if digest.size > before else tries + 1
            if tries > TRIES:
                raise ModelError(f"{file.name} of {offer.repository}: the hub sends nothing more")
            if digest.size < file.size and count.stopped.wait(min(tries, 3)):
                raise _StoppedError
    if digest.hex() != file.sha256:
        partial.unlink()
        raise ModelError(
            f"{file.name} of {offer.repository} came damaged: its SHA-256 is {digest.hex()}, not {file.sha256}",
            hint=f"imggen models pull {offer.reference}",
        )


class _Digest:
    """The SHA-256 of a file that grows, and its size so far."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._hash = hashlib.sha256()
        if size:
            with path.open("rb") as file:
                self._hash = hashlib.file_digest(file, "sha256")

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def hex(self) -> str:
        return self._hash.hexdigest()


def _append(offer: Offer, file: RemoteFile, out: BinaryIO, digest: _Digest, count: Count) -> None:
    """Write the rest of the file from where `digest` is; stop early where more comes than was announced."""
    with _opened(offer, file, start=digest.size) as response:
        if digest.size and response.status_code != 206:
            # The server sends all of it again.
            out.truncate(0)
            digest.restart()
        reported = digest.size
        # Pieces of a set size would be lost where a connection breaks in the middle of one.
        for chunk in response.iter_bytes():
            if count.stopped.is_set():
                raise _StoppedError
            out.write(chunk)
            digest.add(chunk)
            if digest.size > file.size:
                return
            if digest.size - reported >= TOLD_BYTES:
                reported = digest.size
                count.tell(file.name, reported)


@contextmanager
def _opened(offer: Offer, file: RemoteFile, *, start: int, end: int | None = None) -> Iterator[Any]:
    url = hf_hub_url(offer.repository, file.name, revision=offer.commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end}"
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        yield response


def _may_pass(error: HTTPError) -> bool:
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in _PASSING


def head(offer: Offer, file: RemoteFile, count: int) -> bytes:
    """Return the first `count` bytes of a file of the hub, or all of it where it has less."""
    data = bytearray()
    with _opened(offer, file, start=0, end=count - 1) as response:
        # Not all servers know ranges; those send everything, of which the rest is not waited for.
        for chunk in response.iter_bytes(chunk_size=64 << 10):
            data += chunk
            if len(data) >= count:
                break
    return bytes(data[:count])


def safetensors_head(offer: Offer, file: RemoteFile) -> bytes:
    """Return the length and the header of a safetensors file of the hub, without its weights."""
    start = head(offer, file, HEAD_BYTES)
    length = 8 + int.from_bytes(start[:8], "little")
    if length > min(file.size, 100 << 20):
        return start
    return start[:length] if length <= len(start) else head(offer, file, length)


def is_full(error: BaseException) -> bool:
    """Return whether `error` says that a disk, or what a user may have of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def full(offer: Offer) -> MachineError:
    """Return the error of a disk that filled up while `offer` was fetched."""
    return MachineError(
        f"the disk of {offer.place.parent} is full: {memory.text(offer.present_bytes())} of "
        f"{memory.text(offer.size_bytes)} of {offer.repository} have come, and stay there",
        hint=f"make room; imggen models pull {offer.reference} then goes on from there",
    )
