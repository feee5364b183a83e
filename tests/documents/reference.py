"""The command reference, docs/commands.md: run `python -m tests.documents.reference` after a change of the options."""

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
    parts = ["# Commands"]
    for words in COMMANDS:
        page = printed(*words, "--help-all", COLUMNS="100")
        parts.append(f"```\n$ imggen {' '.join(words)} --help-all\n{page}\n```")
    return "\n\n".join(parts) + "\n"


def printed(*words: str, **variables: str) -> str:
    """Return what imggen prints, stripped, for the arguments `words` and with these variables in its environment."""
    command = [sys.executable, "-m", "imggen", *words]
    environ = os.environ | variables
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8", newline="\n")
