"""Names of the user's own for models and adapters, in a file of the config folder."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from imggen.errors import ImggenError, RequestError
from imggen.plan.schema.nearest import nearest

SCHEMA: Final = 1
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_BYTES: Final = 1 << 20
# What a reference can be besides: the built-in model and things that enlarge; and endings that only files have.
_TAKEN: Final = frozenset(("builtin", "lanczos"))
_ENDINGS: Final = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin", ".json", ".toml")


def path() -> Path:
    """Return the file that holds the aliases."""
    return user_config_path("imggen", appauthor=False) / "aliases.json"


def read() -> dict[str, str]:
    """Return what each alias stands for; raise RequestError where the file is not as it should be."""
    file = path()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise RequestError(f"{file} is too big to be a list of aliases")
        parsed = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(file, f"it is not JSON: {error}") from error
    return _checked(file, parsed)


def _checked(file: Path, parsed: object) -> dict[str, str]:
    """Return the table of aliases in `parsed`; raise RequestError where it is damaged."""
    if not isinstance(parsed, dict) or parsed.get("schema") != SCHEMA:
        raise _damaged(file, f"its schema is not {SCHEMA}")
    known = ("schema", "aliases")
    unknown = next((key for key in parsed if key not in known), None)
    if unknown is not None:
        guess = nearest(unknown, known)
        raise _damaged(file, f"unknown key {unknown!r}" + (f"; did you mean {guess[0]!r}?" if guess else ""))
    table = parsed.get("aliases")
    if not isinstance(table, dict):
        raise _damaged(file, "it has no table of aliases")
    for name, reference in table.items():
        if not NAME.fullmatch(name) or not isinstance(reference, str) or not reference.strip():
            raise _damaged(file, f"{name!r} stands for {reference!r}")
    return table


def _damaged(file: Path, reason: str) -> RequestError:
    return RequestError(f"{file} is not a list of aliases: {reason}", hint=f"correct it, or delete {file}")


def real(reference: str) -> str:
    """Return what `reference` stands for: the alias's meaning, or itself where it is none.

    Raise RequestError where there is also a file or folder of that name: which one is meant must not depend on where
    a command is run.
    """
    if not NAME.fullmatch(reference) or reference in _TAKEN:
        return reference
    meaning = read().get(reference)
    if meaning is None:
        return reference
    if os.path.lexists(reference):
        raise RequestError(
            f"{reference!r} is an alias of {meaning}, and also a file or folder here",
            hint=f"./{reference} for what is here, {meaning} for the model",
        )
    return meaning


def of(reference: str) -> list[str]:
    """Return the aliases that stand for `reference`, with or without a revision."""
    return sorted(name for name, meaning in read().items() if meaning == reference)


def add(name: str, reference: str) -> None:
    """Let `name` stand for `reference`; one that it stood for before is replaced."""
    check_name(name)
    with _changing() as aliases:
        aliases[name] = reference


def remove(name: str) -> str:
    """Forget the alias `name`, and return what it stood for; raise RequestError where there is none."""
    with _changing() as aliases:
        if name not in aliases:
            guess = nearest(name, aliases)
            hint = f"imggen models alias {guess[0]} --remove" if guess else "imggen models alias"
            raise RequestError(f"there is no alias {name!r}", hint=hint)
        return aliases.pop(name)


def check_name(name: str) -> None:
    """Raise RequestError for a name that could be taken for something else: a path, a hub id, a built-in."""
    reason = None
    if name.casefold() in _TAKEN:
        reason = "imggen has something of that name"
    elif name.casefold().endswith(_ENDINGS):
        reason = "it looks like a file"
    elif not NAME.fullmatch(name):
        reason = "letters, digits, _, . and - make a name, and a letter or digit begins it"
    if reason:
        raise RequestError(f"{name!r} cannot be an alias: {reason}", hint="imggen models alias sdxl REF")


@contextmanager
def _changing() -> Iterator[dict[str, str]]:
    """Yield the aliases under a lock, and write them back when the block ends without an error."""
    # It imports asyncio, and only who changes the file needs it.
    from filelock import FileLock

    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f"{file.name}.lock")):
            aliases = read()
            yield aliases
            fresh = file.with_name(f"{file.name}.{os.getpid()}")
            try:
                fresh.write_text(json.dumps({"schema": SCHEMA, "aliases": dict(sorted(aliases.items()))}, indent=2))
                fresh.replace(file)
            finally:
                fresh.unlink(missing_ok=True)
    except OSError as error:
        raise ImggenError(f"{file} cannot be written: {error.strerror or error}") from error
