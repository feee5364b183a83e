"""TOML files that people write: read within bounds, with errors that name the file."""

import stat
import tomllib
from pathlib import Path
from typing import Any, Final

from imggen.errors import RequestError

MAX_DEPTH: Final = 16
"""How deep tables and lists may lie in one another; the deepest file of imggen's own has three levels."""

_MAX_BYTES: Final = 1 << 20
_BYTE_ORDER_MARK: Final = "\ufeff"


def read(path: Path, *, subject: str | None = None) -> dict[str, object]:
    """Return the table in the file `path`, which messages call `subject`; raise RequestError where it holds none."""
    subject = subject or str(path)
    return parse(text(path, subject=subject), subject=subject)


def text(path: Path, *, subject: str) -> str:
    """Return the file's text as it stands; raise RequestError for what is not a regular file of 1 MiB of UTF-8."""
    try:
        # Looked at before it is opened, because opening a pipe waits for its other end.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise RequestError(f"{subject} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise RequestError(f"{subject} cannot be read: {getattr(error, 'strerror', error)}") from error
    _check_size(len(data), subject)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"{subject} is not UTF-8 text: {error}", hint="save the file as UTF-8") from error


def parse(text: str, *, subject: str) -> dict[str, object]:
    """Return the table in the TOML `text`; raise RequestError for another syntax, and for more than `MAX_DEPTH`."""
    _check_size(len(text), subject)
    try:
        table = tomllib.loads(text.removeprefix(_BYTE_ORDER_MARK))
    except RecursionError as error:
        raise _too_deep(subject) from error
    except ValueError as error:
        # Not TOMLDecodeError alone: whole numbers of thousands of digits are a plain ValueError.
        raise RequestError(f"{subject} is not valid TOML: {error}") from error
    _check_depth(table, subject)
    return table


def _check_size(size: int, subject: str) -> None:
    if size > _MAX_BYTES:
        raise RequestError(f"{subject} is larger than 1 MiB")


def _check_depth(table: dict[str, object], subject: str) -> None:
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        members = [value for holder in level for value in (holder.values() if isinstance(holder, dict) else holder)]
        level = [value for value in members if isinstance(value, dict | list)]
        if not level:
            return
    raise _too_deep(subject)


def _too_deep(subject: str) -> RequestError:
    return RequestError(f"{subject} nests tables and lists more than {MAX_DEPTH} deep")
