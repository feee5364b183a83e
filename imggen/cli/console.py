"""Results go to standard output; notes, progress and errors go to standard error."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING

from imggen.errors import ImggenError, RequestError
from imggen.plan.schema.progress import Progress, Stage
from imggen.plan.settings import naming

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from imggen.output.writer import Written

_MIB = 2**20
# What a shell says of a program that SIGPIPE ended.
_BROKEN_PIPE = 141

_TITLES: dict[Stage, str] = {
    "download": "downloading",
    "check": "checking",
    "convert": "converting",
    "load": "loading",
    "encode": "reading the prompt",
    "prior": "composing",
    "denoise": "drawing",
    "decode": "developing",
    "enlarge": "enlarging",
    "write": "writing",
}


def prepare() -> None:
    """Make the standard streams safe to use.

    Descriptors that the caller closed lead nowhere, so that no file that is opened later takes their place; names that
    are no UTF-8 are printed as the bytes that they are.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if isinstance(sys.stdout, TextIOWrapper):
        unicode = sys.stdout.encoding.lower().startswith("utf")
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")


@dataclass(frozen=True, kw_only=True)
class Display:
    """How the pictures of a command are shown: `output` is what was typed, `print0` ends paths with a null byte."""

    output: str | None
    as_json: bool = False
    print0: bool = False
    quiet: bool = False
    verbose: bool = False
    preview: bool = False


def check_output(display: Display) -> None:
    """Raise RequestError where a picture's bytes cannot go to standard output, or it is wanted for two things."""
    if display.as_json and display.print0:
        raise RequestError("--json and --print0 both say how results are printed", hint="leave one of the two out")
    if display.output != naming.STDOUT:
        return
    refusal = "standard output is closed" if sys.stdout is None else None
    if sys.stdout is not None and sys.stdout.isatty():
        refusal = "standard output is a terminal"
    if refusal:
        raise RequestError(
            f"-o - writes a picture's bytes, and {refusal}", hint="-o apple.png, or imggen ... -o - > apple.png"
        )
    for option, wanted in (("--json", display.as_json), ("--print0", display.print0)):
        if wanted:
            raise RequestError(f"-o - and {option} both want standard output", hint="leave one of the two out")


def picture(name: str, data: bytes | None, facts: dict[str, object] | None, *, print0: bool = False) -> None:
    """Print what was made: the picture's bytes where it has `data`, else its `facts` as JSON, else its path `name`."""
    if data is not None:
        result_bytes(data)
    elif facts is not None:
        result_json(facts)
    else:
        path(name, print0=print0)


def path(name: str, *, print0: bool) -> None:
    """Print the path of a file as a result; it ends with a null byte if `print0`, as `xargs -0` reads it."""
    result(name, end="\0" if print0 else "\n")


def marks(written: "Written") -> dict[str, object]:
    """Return what `--json` says of a written file's marks."""
    facts: dict[str, object] = {"marks": list(written.marks)}
    made = written.finished
    if made is None:
        return facts
    return facts | {"guid": made.guid, "watermark": made.watermark or None, "unmarked": made.unmarked or None}


def require_output() -> None:
    """Raise ImggenError where standard output is closed: for commands that leave nothing but what they print."""
    if sys.stdout is None:
        raise ImggenError("standard output is closed", hint="> FILE keeps what is printed")


def result(text: str, *, end: str = "\n") -> None:
    """Print one result, at once, so that a reader of the pipe can go on."""
    if sys.stdout is None:
        return
    with _explained():
        sys.stdout.write(text + end)
        sys.stdout.flush()


def result_json(value: Mapping[str, object]) -> None:
    """Print one result as one line of strict JSON in ASCII."""
    result(json.dumps(value, ensure_ascii=True, allow_nan=False, default=str))


def result_bytes(data: bytes) -> None:
    """Write a file's bytes to standard output."""
    with _explained():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Tell the user something that is no result."""
    _tell(f"note: {printable(text)}")


def notes(texts: Iterable[str], *, quiet: bool) -> None:
    """Tell the user each of `texts`, unless `quiet`."""
    if not quiet:
        for text in texts:
            note(text)


def lines(texts: Iterable[str]) -> None:
    """Print lines that explain, on standard error."""
    for text in texts:
        _tell(printable(text))


def error(failure: ImggenError) -> None:
    """Print what went wrong, and what to do about it."""
    _tell(f"error: {printable(failure.message)}")
    if failure.hint:
        _tell(f"hint: {printable(failure.hint)}")


def printable(text: str) -> str:
    """Return `text` with what could command a terminal made visible; line ends stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else repr(character)[1:-1] for character in text
    )


def where(file: Path, typed: str | None) -> str:
    """Return `file` as the user would write it: relative to the current folder, unless `typed` was absolute."""
    if not file.is_absolute() or (typed and (typed.startswith("~") or Path(typed).is_absolute())):
        return str(file)
    try:
        return os.path.relpath(file, os.path.realpath(os.curdir))
    except ValueError:
        # On Windows another drive has no relative path.
        return str(file)


def table(rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows as results, the columns aligned and two spaces apart."""
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    for row in cells:
        result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class Bar:
    """What a long task shows of itself: a bar on a terminal, nothing elsewhere."""

    def __init__(self, bars: "Bars | None") -> None:
        self._bars = bars
        self._task = bars.add_task("starting", total=None, amount="") if bars else None
        self._shown: tuple[str, int] = ("", 0)

    def report(self, event: Progress) -> None:
        """Show how far a picture is."""
        self.show(_title(event), event.step, event.steps, _amount(event))

    def show(self, title: str, done: int, total: int, amount: str) -> None:
        """Show that `done` of `total` are done (a total of 0 is unknown), and `amount` beside it."""
        if self._bars is None or self._task is None:
            return
        if (title, total) != self._shown:
            self._shown = title, total
            self._bars.reset(self._task, total=total or None, description=title, amount="")
        self._bars.update(self._task, completed=done, amount=amount)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the bar away while results are printed, which may go to the same terminal."""
        if self._bars is None:
            yield
            return
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()


@contextmanager
def progress(*, quiet: bool) -> Iterator[Bar]:
    """Yield a bar on standard error, which shows nothing where that is no terminal or the user wants it quiet."""
    if quiet or not sys.stderr.isatty():
        yield Bar(None)
        return
    # Rich costs half of the start-up budget, and only a terminal that sees a bar needs it.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeRemainingColumn(),
    )
    # Redirecting would move results from standard output to standard error.
    shown = Bars(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    with shown as bars:
        yield Bar(bars)


def _title(event: Progress) -> str:
    title = _TITLES[event.stage]
    return f"{title} {event.image}/{event.images}" if event.images > 1 else title


def _amount(event: Progress) -> str:
    if not event.steps:
        return ""
    if event.stage in ("download", "check", "convert"):
        return f"{event.step / _MIB:,.0f} of {event.steps / _MIB:,.0f} MiB"
    return f"{event.step}/{event.steps}"


def _tell(text: str) -> None:
    """Write a line to standard error; where that cannot be written there is nobody to tell."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


@contextmanager
def _explained() -> Iterator[None]:
    """Explain why standard output cannot be written; a reader that went away ends the program quietly."""
    try:
        yield
    except BrokenPipeError as failure:
        _discard(sys.stdout)
        raise SystemExit(_BROKEN_PIPE) from failure
    except OSError as failure:
        _discard(sys.stdout)
        raise ImggenError(f"standard output cannot be written: {failure.strerror}") from failure


def _discard(stream: IO[str]) -> None:
    """Point `stream` at nothing, so that what it still holds is not tried again when Python ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
