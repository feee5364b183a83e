"""The completion scripts in `completions/`: run `python -m imggen.cli.completion` after a change of the options."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

FILES: Final = {"bash": "imggen.bash", "zsh": "_imggen", "fish": "imggen.fish", "powershell": "imggen.ps1"}
"""The script of each shell, under the name that the shell looks for."""


def script(shell: str) -> str:
    """Return the script that makes `shell` ask imggen for completions, as Typer writes it."""
    environ = os.environ | {"_IMGGEN_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "imggen"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603 - ourselves
    # zsh reads `#compdef` on the first line only.
    return done.stdout.strip() + "\n"


def write(folder: Path) -> None:
    """Write the script of every shell into `folder`."""
    folder.mkdir(exist_ok=True)
    for shell, name in FILES.items():
        (folder / name).write_text(script(shell), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path("completions"))
