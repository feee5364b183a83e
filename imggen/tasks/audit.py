"""Whether an audit log is whole."""

import re
from pathlib import Path

from imggen.errors import RequestError
from imggen.output.governance import audit
from imggen.output.governance.audit import ChainCheck


def check(path: Path, *, head: str | None = None) -> ChainCheck:
    """Return how far the log's chain holds; `head` is a line's hash that was kept elsewhere.

    Raise RequestError where the file cannot be read, and for a head that is not a SHA-256 hash.
    """
    if head is not None:
        head = head.strip().lower()
        if not re.fullmatch("[0-9a-f]{64}", head):
            raise RequestError(
                f"--head {head!r} is not a SHA-256 hash", hint="64 hexadecimal digits, as audit check prints them"
            )
    return audit.verify(path, head=head)


def problem(checked: ChainCheck, *, head: str | None = None) -> str | None:
    """Return what is wrong with a log that was checked, None where nothing is."""
    if checked.first_bad is not None:
        number, why = checked.first_bad
        return f"line {number} {why}"
    if head is not None and checked.head_line is None:
        return "the given head is not in it: lines were cut off at its end, or it is another log"
    return None
