"""The audit log: a line of JSON per decision, each bound to the one before it by its hash.

A line carries its own hash, and the SHA-256 of the bytes of the line before, as in Schneier and Kelsey, "Secure audit
logs to support computer forensics" (1999), without their keys: anyone who may write the file can rewrite all of it, and
only a head that is kept elsewhere shows that. The file only ever grows, so `chattr +a` suits it.
"""

import errno
import hashlib
import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal, NoReturn

from filelock import FileLock, Timeout

import imggen
from imggen.errors import CheckError, ImggenError, RequestError
from imggen.output import files

SCHEMA: Final = 1
NO_LINE: Final = "0" * 64
"""What the first line names as the hash of the line before it."""
MAX_LINE_BYTES: Final = 64 << 10
RECOVERED: Final = "recovered"
"""The action of the line that tells of bytes before it which are no line: what a crash left."""

_TAIL_BYTES: Final = 4 * MAX_LINE_BYTES
_FIRST_KEY: Final = b'{"action":"'
_LONGEST_TEXT: Final = 1_000
_LONGEST: Final = {"prompt": 6_000, "negative_prompt": 3_000, "source_type": 200}
_MOST_INPUTS: Final = 16
_LOCK_SECONDS: Final = 30.0
_LOCK_POLL_SECONDS: Final = 0.005
_WRITING_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Model:
    """The weights that were asked for; `sha256` and `license` where they are known."""

    reference: str
    revision: str | None = None
    sha256: str | None = None
    license: str | None = None


@dataclass(frozen=True, kw_only=True)
class Input:
    """A picture that went in: its file's hash, and the IPTC digital source type (a URI) that it stated."""

    sha256: str
    source_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """The picture that came out; `watermark` is the id in its pixels, `guid` the one in its XMP."""

    path: str
    sha256: str
    guid: str | None = None
    watermark: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """What a line says. What is None or empty is not written.

    `action` is the command (`generate`, `upscale`, ...). `rule` and `reason` say why it was denied; `unmarked` says why
    a layer is missing from `marks`. `prompt` is filled only where the policy wants it in full (`policy.logged`);
    otherwise `prompt_sha256`, or neither.
    """

    decision: Literal["allow", "deny"]
    action: str
    rule: str | None = None
    reason: str | None = None
    model: Model | None = None
    prompt: str | None = None
    prompt_sha256: str | None = None
    negative_prompt: str | None = None
    negative_prompt_sha256: str | None = None
    recipe_sha256: str | None = None
    inputs: tuple[Input, ...] = ()
    output: Output | None = None
    marks: tuple[str, ...] = ()
    unmarked: str | None = None
    policy_sha256: str | None = None
    user: str | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A sound line: its number in the file and in the chain, the SHA-256 of its bytes, and what it says."""

    number: int
    seq: int
    sha256: str
    values: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class ChainCheck:
    """How far the chain holds.

    `lines` is how many sound lines it has up to `first_bad`, which is the number in the file of the first line that
    breaks it, and why; None where all of it holds. `head_sha256` is the hash of the last sound line, `recovered` how
    often a crash's remains were noted. `head_line` is the line that the caller's head is the hash of, None without one.
    """

    lines: int
    head_sha256: str
    first_bad: tuple[int, str] | None
    recovered: int
    head_line: int | None


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


# Made once: `json.dumps` and `json.loads` make new ones for every line.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)


def now() -> datetime:
    """Return the true time, in UTC: a log's is never that of SOURCE_DATE_EPOCH."""
    return datetime.now(UTC)


def append(path: Path, entry: AuditEntry, *, clock: Callable[[], datetime] = now) -> str:
    """Add a line to the log and return the hash of its bytes, the log's new head; the line is on the disk by then.

    One process at a time adds a line, others wait. The file is made where there is none, readable for its owner alone;
    its folder is not. What a crash left at the end is kept, and a line of its own notes it. Raises RequestError where
    the file is no log or cannot be written, CheckError where its last line was changed, and ImggenError where the disk
    is full or the lock is held for half a minute.
    """
    with _explained(path), _locked(path) as real:
        descriptor = _opened(real)
        try:
            tail = _tail(path, descriptor)
            return _add(descriptor, tail, entry, clock)
        finally:
            os.close(descriptor)


def check_writable(path: Path) -> None:
    """Raise what `append` would raise, before anything is drawn in vain; the log stays as it is."""
    with _explained(path), _locked(path) as real:
        if not real.exists():
            return
        descriptor = os.open(real, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            _tail(path, descriptor)
        finally:
            os.close(descriptor)


def verify(path: Path, *, head: str | None = None) -> ChainCheck:
    """Return how far the chain of the log holds, reading it once and keeping a line of it at a time.

    Changed, removed, inserted and exchanged lines break it, and so does a start that was cut off. An end that was cut
    off shows only where `head`, a line's hash that was kept elsewhere, is not found any more: then `head_line` is None.
    Raises RequestError where the file cannot be read.
    """
    chain = _Chain(head)
    for number, raw in _numbered(path):
        if not chain.take(number, raw):
            break
    return chain.checked()


def find(path: Path, sha256: str) -> Line | None:
    """Return the last line that tells of a picture whose file has the hash `sha256`, None where there is none.

    Lines that are not sound are passed over; `verify` says whether the rest can be relied on.
    """
    return _last_of(path, "sha256", sha256)


def find_mark(path: Path, watermark: str) -> Line | None:
    """Return the last line that tells of a picture with that watermark, None where there is none; else as `find`."""
    return _last_of(path, "watermark", watermark)


def _last_of(path: Path, name: str, value: str) -> Line | None:
    last = None
    for number, raw in _numbered(path):
        line = _sound(number, raw) if value.encode() in raw else None
        output = line.values.get("output") if line else None
        if isinstance(output, dict) and output.get(name) == value:
            last = line
    return last


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    with _explained(path):
        _check_kind(path)
        with path.open("rb") as file:
            yield from enumerate(_lines(file), start=1)


class _Chain:
    """A chain that is checked line by line."""

    def __init__(self, head: str | None) -> None:
        self._head = head
        self._last: Line | None = None
        self._lines = 0
        self._recovered = 0
        self._head_line: int | None = None
        self._bad: tuple[int, str] | None = None
        self._remains = b""

    def take(self, number: int, raw: bytes) -> bool:
        """Go on with the next line; return whether there is any use in going on."""
        line = _sound(number, raw)
        if line is None:
            # Whether it may stand there shows with the line that follows.
            self._bad = self._bad or (number, _why_not(raw))
            self._remains += raw
            return len(self._remains) <= _TAIL_BYTES
        problem = self._problem(line)
        if problem:
            self._bad = self._bad or (number, problem)
            return False
        self._lines += 1
        self._recovered += line.values["action"] == RECOVERED
        self._last, self._bad, self._remains = line, None, b""
        if line.sha256 == self._head:
            self._head_line = number
        return True

    def _problem(self, line: Line) -> str | None:
        seq, previous = (self._last.seq, self._last.sha256) if self._last else (0, NO_LINE)
        if line.values.get("remains") != _facts(self._remains):
            return "records other remains of a crash than those before it"
        if line.seq != seq + 1:
            return f"has number {line.seq} in the chain, not {seq + 1}: lines are missing, or in another order"
        if line.values["previous"] != previous:
            return "does not follow the line before it, which was changed or swapped"
        return None

    def checked(self) -> ChainCheck:
        head = self._last.sha256 if self._last else NO_LINE
        lines, recovered = self._lines, self._recovered
        return ChainCheck(
            lines=lines, head_sha256=head, first_bad=self._bad, recovered=recovered, head_line=self._head_line
        )


def _facts(remains: bytes) -> dict[str, object] | None:
    return {"bytes": len(remains), "sha256": hashlib.sha256(remains).hexdigest()} if remains else None


@dataclass(frozen=True, kw_only=True)
class _Tail:
    """The end of a log: its last sound line, and what a crash left behind that; `open` = no line end is behind it."""

    size: int
    last: Line | None
    remains: bytes
    open: bool


def _tail(path: Path, descriptor: int) -> _Tail:
    """Return the last sound line and what a crash left behind it; RequestError for what is no log."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - _TAIL_BYTES)
    os.lseek(descriptor, begin, os.SEEK_SET)
    data = _read(descriptor, size - begin)
    if not data:
        return _Tail(size=0, last=None, remains=b"", open=False)
    if begin:
        data = data[data.find(b"\n") + 1 :]
    lines = io.BytesIO(data).readlines()
    for count, raw in enumerate(reversed(lines)):
        line = _sound(0, raw)
        if line is not None:
            remains = lines[len(lines) - count :]
            _check_remains(path, remains)
            return _Tail(size=size, last=line, remains=b"".join(remains), open=not data.endswith(b"\n"))
    if begin or not all(_is_begun(line) for line in lines):
        raise RequestError(f"{path} is not an audit log", hint="name another file, or move this one away")
    # The very first line was cut off.
    return _Tail(size=size, last=None, remains=data, open=not data.endswith(b"\n"))


def _check_remains(path: Path, remains: list[bytes]) -> None:
    """Raise CheckError where a crash cannot have left them: only the beginnings of lines, or zeros, are from one."""
    for raw in remains:
        zeros = raw.strip(b"\n") and not raw.strip(b"\0\n")
        if not zeros and not _is_begun(raw):
            raise CheckError(
                f"the end of the audit log {path} was changed, or is not imggen's", hint=f"imggen audit check {path}"
            )


def _is_begun(raw: bytes) -> bool:
    """Return whether it is the beginning of a line, as a crash leaves it, and not the whole of one."""
    kept = raw.rstrip(b"\n")
    begun = kept.startswith(_FIRST_KEY) or _FIRST_KEY.startswith(kept)
    return bool(kept) and begun and not _is_json(kept)


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _add(descriptor: int, tail: _Tail, entry: AuditEntry, clock: Callable[[], datetime]) -> str:
    """Write the entry's line, after a note where remains of a crash were found; return its hash."""
    last = (tail.last.seq, tail.last.sha256) if tail.last else (0, NO_LINE)
    data = end = b"\n" if tail.open else b""
    if tail.remains:
        note = {"action": RECOVERED, "remains": _facts(tail.remains + end)}
        raw = _written(note, last, clock)
        data += raw
        last = last[0] + 1, hashlib.sha256(raw).hexdigest()
    raw = _written(_values(entry), last, clock)
    _write(descriptor, tail.size, data + raw)
    return hashlib.sha256(raw).hexdigest()


def _write(descriptor: int, size: int, data: bytes) -> None:
    """Write it all with one call, and wait for the disk; what could not be written whole is taken back."""
    try:
        written = os.write(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        _take_back(descriptor, size)
        raise
    if written != len(data):
        _take_back(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _take_back(descriptor: int, size: int) -> None:
    # Where even that fails, as with append-only files, the next line notes what was left.
    with suppress(OSError):
        os.ftruncate(descriptor, size)


def _written(values: Mapping[str, object], last: tuple[int, str], clock: Callable[[], datetime]) -> bytes:
    written_at = clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    whole = {**values, "schema": SCHEMA, "seq": last[0] + 1, "previous": last[1]}
    whole |= {"time": written_at, "imggen": imggen.__version__}
    return _encoded(whole | {"hash": hashlib.sha256(_encoded(whole)).hexdigest()})


def _encoded(values: Mapping[str, object]) -> bytes:
    return _ENCODER.encode(values).encode() + b"\n"


def _values(entry: AuditEntry) -> dict[str, object]:
    values = _filled(asdict(entry))
    left_out = len(entry.inputs) - _MOST_INPUTS
    if left_out > 0:
        kept = [_filled(asdict(picture)) for picture in entry.inputs[:_MOST_INPUTS]]
        values |= {"inputs": kept, "inputs_left_out": left_out}
    return values


def _filled(values: Mapping[str, object]) -> dict[str, object]:
    """Return what is neither None nor empty, long texts cut."""
    return {name: _short(name, value) for name, value in values.items() if value is not None and value != ()}


def _short(name: str, value: object) -> object:
    if isinstance(value, dict):
        return _filled(value)
    if isinstance(value, tuple):
        return [_short(name, item) for item in value]
    if isinstance(value, str):
        return _cut(value, _LONGEST.get(name, _LONGEST_TEXT))
    return value


def _cut(text: str, most: int) -> str:
    """Return `text` with at most `most` bytes in JSON, and a note where it was cut."""
    if len(json.dumps(text)) <= most:
        return text
    kept, length = [], 0
    for letter in text:
        length += len(json.dumps(letter)) - 2
        if length > most - 60:
            break
        kept.append(letter)
    return f"{''.join(kept)} [cut here: {len(text)} characters in all]"


def _sound(number: int, raw: bytes) -> Line | None:
    """Return what a line says, None where it is not whole or not as it was written."""
    raw = raw if raw.endswith(b"\n") else raw + b"\n"
    if not raw.startswith(_FIRST_KEY) or len(raw) > MAX_LINE_BYTES:
        return None
    try:
        values = _DECODER.decode(raw.decode("ascii"))
        written = _encoded(values)
    except (ValueError, RecursionError):
        return None
    if not _has_frame(values) or written != raw:
        return None
    # No text in JSON holds a bare quotation mark, and no key before this one holds an object.
    unsigned = raw.replace(b'"hash":"%b",' % values["hash"].encode(), b"", 1)
    if hashlib.sha256(unsigned).hexdigest() != values["hash"]:
        return None
    return Line(number=number, seq=values["seq"], sha256=hashlib.sha256(raw).hexdigest(), values=values)


def _has_frame(values: Mapping[str, object]) -> bool:
    """Return whether the parts that the chain is made of are there."""
    numbers = (values.get("schema"), values.get("seq"))
    texts = (values.get("previous"), values.get("hash"), values.get("action"))
    counted = all(type(number) is int and number >= 1 for number in numbers)
    return counted and all(isinstance(text, str) for text in texts) and str(values["hash"]).isascii()


def _why_not(raw: bytes) -> str:
    if not raw.endswith(b"\n") and len(raw) <= MAX_LINE_BYTES:
        return "is cut off, as a crash leaves it; the next line that is added will note it"
    if not raw.startswith(_FIRST_KEY):
        return "is not a line of an audit log"
    return "was changed: it does not match its own hash"


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines with their ends, none longer than one can be; wait a moment for one that is being written."""
    while True:
        raw = file.readline(MAX_LINE_BYTES + 1)
        if raw and not raw.endswith(b"\n") and len(raw) <= MAX_LINE_BYTES:
            time.sleep(_WRITING_SECONDS)
            raw += file.readline(MAX_LINE_BYTES)
        if not raw:
            return
        yield raw


def _opened(path: Path) -> int:
    binary = getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | binary, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_APPEND | binary)
    _sync_folder(path.parent)
    return descriptor


def _sync_folder(folder: Path) -> None:
    """Have the folder itself know the new file after a crash; Windows cannot open folders, and needs no such call."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(descriptor: int, count: int) -> bytes:
    parts = []
    while count > 0:
        part = os.read(descriptor, count)
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Hold the log for this process alone, by a lock on a file beside it; yield where it lies, behind all links.

    The kernel lets go of it when its process ends, however that is. It is not on the log itself because Windows locks
    bytes against readers too, and a log may be moved away while others wait for it.
    """
    real = Path(os.path.realpath(path))
    _check_kind(real)
    if not real.parent.is_dir():
        raise RequestError(f"cannot write {path}: {real.parent} is not a folder", hint=f"mkdir -p {real.parent}")
    # Without it, what can never be created would be taken for a lock that another process holds.
    os.close(os.open(f"{real}.lock", os.O_CREAT | os.O_RDWR, 0o600))
    lock = FileLock(f"{real}.lock", mode=0o600)
    try:
        lock.acquire(timeout=_LOCK_SECONDS, poll_interval=_LOCK_POLL_SECONDS)
    except Timeout as error:
        raise ImggenError(f"{path} was held by another process for {_LOCK_SECONDS:.0f} seconds") from error
    try:
        yield real
    finally:
        lock.release()


def _check_kind(path: Path) -> None:
    """Raise RequestError where something else than a file has the name: opening a pipe would wait for its other end."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise RequestError(f"{path} is {kind}, not an audit log")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        kind = ImggenError if files.is_full(error) else RequestError
        raise kind(f"cannot use the audit log {path}: {files.reason(error)}") from error
