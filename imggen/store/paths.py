"""What people type, as a place on the disk."""

import os
from pathlib import Path


def at_home(name: str) -> Path:
    """Return the path that `name` means, in which `~` is the user's home; `~nobody` is a name like others."""
    # Not Path.expanduser(), which raises for ~nobody.
    return Path(os.path.expanduser(name))  # noqa: PTH111


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder; a name that no disk can have is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def size(path: Path) -> int:
    """Return the bytes of a file, 0 for one that is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
