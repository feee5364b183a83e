"""The prompt as it was typed: as an argument, as an option, or through standard input."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from imggen.cli import usage
from imggen.errors import RequestError

STDIN: Final = "-"

_MOST_BYTES: Final = 1 << 20


def choose(asked: Mapping[str, Any]) -> str | None:
    """Return the prompt of a command that makes pictures, from its argument or from -p.

    Raise RequestError, with the line to type, where the words stand in the picture's place or without quotes, where
    both prompts are there and differ, and where the negative prompt is a number, which is meant as one.
    """
    negative, option = asked["negative_prompt"], asked.get("prompt_option")
    if negative is not None and negative.isdecimal():
        raise RequestError(
            f'-n {negative} is the negative prompt "{negative}"', hint=f"-N {negative} makes {negative} pictures"
        )
    if asked.get("images"):
        _check_parents(asked["images"])
    if not isinstance(asked["prompt"], list):
        return asked["prompt"] or option
    words: list[str] = asked["prompt"]
    if asked.get("image") is not None:
        _check_order(asked["image"], words)
    if len(words) > 1:
        typed = usage.retyped(words, [[" ".join(words)], *[[]] * (len(words) - 1)])
        raise RequestError(
            f"the prompt is {len(words)} words without quotes", hint=f"put quotes around the words: {typed}"
        )
    prompt = words[0] if words else None
    if prompt is not None and option is not None and prompt != option:
        raise RequestError(f"there are two prompts, {prompt!r} and -p {option!r}", hint="leave one of the two out")
    return option if prompt is None else prompt


def _check_order(image: str, words: list[str]) -> None:
    """Raise RequestError where the words stand before the picture."""
    picture = next((word for word in words if Path(word).is_file()), None)
    if picture is None or image == STDIN or Path(image).exists():
        return
    typed = [image, *words]
    prompt = " ".join(word for word in typed if word != picture)
    line = usage.retyped(typed, [[picture], [prompt], *[[]] * (len(typed) - 2)])
    raise RequestError("the picture comes first", hint=line)


def _check_parents(images: list[str]) -> None:
    """Raise RequestError where words stand among the parents, which take their prompt as an option."""
    words = next((name for name in images if " " in name and not Path(name).exists()), None)
    if words is not None:
        line = usage.retyped(images, [["-p", name] if name == words else [name] for name in images])
        raise RequestError(f"{words!r} is no file; here the prompt is an option", hint=line)


def read(options: Mapping[str, object]) -> dict[str, object]:
    """Return `options` with the prompt `-` replaced by what standard input holds, without its last line end.

    Raise RequestError where standard input is closed, empty or no UTF-8.
    """
    if options.get("prompt") != STDIN:
        return dict(options)
    images = options.get("images")
    pictures = (*(images if isinstance(images, tuple) else ()), options.get("mask"), options.get("like"))
    if STDIN in pictures:
        raise RequestError("the prompt is - and so is a picture, but there is one standard input", hint="name the file")
    return {**options, "prompt": _from_stdin()}


def _from_stdin() -> str:
    """Return the prompt on standard input, or raise RequestError where that holds none."""
    hint = 'echo "a blue star" | imggen generate -'
    if sys.stdin is None or sys.stdin.closed:
        raise RequestError("the prompt is -, but standard input is closed", hint=hint)
    try:
        data = sys.stdin.buffer.read(_MOST_BYTES)
    except OSError as error:
        raise RequestError(f"the prompt is -, but standard input cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("the prompt is -, but standard input holds no UTF-8 text") from error
    if not text.strip():
        raise RequestError("the prompt is -, but standard input is empty", hint=hint)
    return text.rstrip("\r\n")
