"""The scripts in `completions/`: run `python -m tests.documents.completion` after a change of the options."""

from pathlib import Path
from typing import Final

from tests.documents import reference

FILES: Final = {"bash": "imggen.bash", "zsh": "_imggen", "fish": "imggen.fish", "powershell": "imggen.ps1"}
"""The script of each shell, under the name that the shell looks for."""


def script(shell: str) -> str:
    """Return the script that makes `shell` ask imggen for completions, as Typer writes it."""
    # zsh reads `#compdef` on the first line only, so nothing stands before it.
    return reference.printed(_IMGGEN_COMPLETE=f"source_{shell}") + "\n"


def write(folder: Path) -> None:
    """Write the script of every shell into `folder`."""
    folder.mkdir(exist_ok=True)
    for shell, name in FILES.items():
        (folder / name).write_text(script(shell), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path("completions"))
