"""The command reference, docs/commands.md: run `python -m imggen.cli.reference` after a change of the options."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

PATH: Final = Path("docs/commands.md")
COMMANDS: Final = tuple(
    tuple(words.split())
    for words in (
        *("generate", "img2img", "inpaint", "outpaint", "blend", "style", "preprocess", "upscale"),
        *("inspect", "verify", "embed-metadata"),
        *("models", "models list", "models show", "models families", "models pull", "models verify"),
        *("models rm", "models alias", "models convert", "presets", "presets list", "presets show"),
        *("keys", "keys init", "keys show", "keys trust", "keys export", "audit", "audit check"),
        *("train", "doctor", "help"),
    )
)


def text() -> str:
    """Return the reference: what every command says of itself, as Markdown."""
    parts = [
        "# Commands",
        *(f"```\n$ imggen {' '.join(command)} --help-all\n{_help(command)}\n```" for command in COMMANDS),
    ]
    return "\n\n".join(parts) + "\n"


def _help(words: tuple[str, ...]) -> str:
    environ = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "imggen", *words, "--help-all"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
    return done.stdout.strip()


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8", newline="\n")
