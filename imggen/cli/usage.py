"""What is said of a command line that makes no sense: what is wrong with it, and the line to type."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from imggen.errors import RequestError

_IMAGES: Final = ("--image", "--init-image", "--init-img", "--input", "--image-path", "-i")


def is_explained(failure: Exception) -> bool:
    """Return whether `failure` is what Typer raises for a command line that it cannot read.

    Those have no public name in common.
    """
    return hasattr(failure, "format_message") and hasattr(failure, "exit_code")


def explain(failure: Any, arguments: Sequence[str]) -> RequestError:
    """Return what to say of `failure`, which Typer raised for the command line `arguments`."""
    words = list(arguments[1:] if arguments[:1] == ["help"] else arguments)
    context = getattr(failure, "ctx", None)
    path = context.command_path if context else f"imggen {words[0]}"
    commands = getattr(context.command, "commands", None) if context else None
    words = words[len(path.split()) - 1 :]
    if commands is not None and words and not words[0].startswith("-") and words[0] not in commands:
        return _unknown_command(path, words, list(commands))
    if context is not None and hasattr(failure, "possibilities"):
        return _unknown_option(path, str(failure.option_name), context)
    message = failure.format_message().rstrip(".").replace("\n", " ")
    return RequestError(f"{message[:1].lower()}{message[1:]}", hint=f"{path} --help")


def quoted(text: str) -> str:
    """Return `text` as one word of a command line, in double quotes where that is enough."""
    if not text or any(character in text for character in '"$`\\!'):
        return shlex.quote(text)
    return f'"{text}"'


def line(words: Iterable[str]) -> str:
    """Return `words` as a command line, those with spaces in quotes."""
    return " ".join(quoted(word) if " " in word else shlex.quote(word) for word in words)


def retyped(before: Sequence[str], after: Sequence[Sequence[str]]) -> str:
    """Return the line that was typed, with each of the arguments `before` replaced by the words of its twin in `after`.

    The options keep their places, so that the line does what was meant.
    """
    left = list(zip(before, after, strict=True))
    words: list[str] = []
    for word in sys.argv[1:]:
        words += left.pop(0)[1] if left and left[0][0] == word else [word]
    return line(["imggen", *words])


def _unknown_command(path: str, words: list[str], commands: list[str]) -> RequestError:
    """Return what to say of a word that is no command: the command of that meaning, or the line for a prompt."""
    word, *rest = words
    message = f"there is no command {word!r}"
    meant = _command_of(path, word.lower().replace("_", "-"), commands)
    if meant is not None:
        return RequestError(message, hint=f"did you mean: {line([*path.split(), *meant.split(), *rest])}")
    if path != "imggen":
        return RequestError(message, hint=f"{path} --help")
    if Path(word).is_file():
        return RequestError(f"{word} is a file and no command", hint=line(["imggen", "inspect", word]))
    prompt = list(takewhile(lambda word: not word.startswith("-"), words))
    options = line(words[len(prompt) :])
    return RequestError(message, hint=f"imggen generate {quoted(' '.join(prompt))} {options}".rstrip())


def _command_of(path: str, name: str, commands: list[str]) -> str | None:
    """Return the command of the group `path` that `name` means or nearly spells."""
    from imggen.cli import synonyms

    meant = synonyms.COMMANDS.get(name)
    if meant is not None and path != "imggen":
        meant = meant.split()[-1] if meant.split()[-1] in commands else None
    return meant or next(iter(get_close_matches(name, commands, n=1)), None)


def _unknown_option(path: str, option: str, context: Any) -> RequestError:
    """Return what to say of an option that the command does not have: the one of that meaning or of that spelling."""
    from imggen.cli import synonyms

    params = context.command.get_params(context)
    names = [name for param in params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")]
    message = f"{path} has no option {option}"
    if option in _IMAGES and any(param.name == "image" for param in params):
        return RequestError(message, hint=f'the picture comes without an option: {path} picture.png "a lemon"')
    meant = [name for name in synonyms.OPTIONS.get(option, ()) if name in names]
    guesses = meant or get_close_matches(option, names, n=1, cutoff=0.7)
    return RequestError(message, hint=f"did you mean {guesses[0]}?" if guesses else f"{path} --help-all")
