"""A prompt that comes through standard input."""

import sys
from collections.abc import Mapping
from typing import Final

from imggen.errors import RequestError

STDIN: Final = "-"

_MOST_BYTES: Final = 1 << 20


def read(options: Mapping[str, object]) -> dict[str, object]:
    """Return `options` with the prompt `-` replaced by what standard input holds, without its last line end.

    Raise RequestError where standard input is closed, empty or no UTF-8.
    """
    if options.get("prompt") != STDIN:
        return dict(options)
    pictures = (*_listed(options.get("images")), options.get("mask"), options.get("like"))
    if STDIN in pictures:
        raise RequestError("the prompt is - and so is a picture, but there is one standard input", hint="name the file")
    return {**options, "prompt": _from_stdin()}


def _listed(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _from_stdin() -> str:
    if sys.stdin is None or sys.stdin.closed:
        raise RequestError(
            "the prompt is -, but standard input is closed", hint='echo "a blue star" | imggen generate -'
        )
    try:
        data = sys.stdin.buffer.read(_MOST_BYTES)
    except OSError as error:
        raise RequestError(f"the prompt is -, but standard input cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("the prompt is -, but standard input holds no UTF-8 text") from error
    if not text.strip():
        raise RequestError(
            "the prompt is -, but standard input is empty", hint='echo "a blue star" | imggen generate -'
        )
    return text.rstrip("\r\n")
