"""The command reference in the README: run `python -m imggen.cli.reference` after a change of the options."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

BEGIN: Final = "<!-- commands: begin -->\n"
END: Final = "<!-- commands: end -->"
COMMANDS: Final = (
    ("generate",),
    ("img2img",),
    ("inpaint",),
    ("outpaint",),
    ("blend",),
    ("style",),
    ("upscale",),
    ("inspect",),
    ("embed-metadata",),
    ("models",),
    ("models", "list"),
    ("models", "show"),
    ("presets",),
    ("presets", "list"),
    ("presets", "show"),
    ("train",),
    ("doctor",),
)


def text() -> str:
    """Return the reference: what every command says of itself, as Markdown."""
    parts = ["## Commands", *(f"```\n$ imggen {' '.join(each)} --help\n{_help(each)}\n```" for each in COMMANDS)]
    return "\n\n".join(parts) + "\n"


def insert(document: str) -> str:
    """Return `document` with the reference between its two marks; raise ValueError where it has none."""
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{text()}\n{END}{after}"


def _help(words: tuple[str, ...]) -> str:
    environ = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "imggen", *words, "--help"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
    return done.stdout.strip()


if __name__ == "__main__":
    readme = Path("README.md")
    readme.write_text(insert(readme.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
