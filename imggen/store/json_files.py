"""The small JSON files that describe models and adapters."""

import json
from pathlib import Path
from typing import Final

from imggen.errors import ModelError

MOST_BYTES: Final = 32 << 20


def read(path: Path, *, most_bytes: int = MOST_BYTES) -> dict[str, object]:
    """Return the object in the JSON file `path`; raise ModelError for one that cannot be read, or holds none."""
    try:
        if path.stat().st_size > most_bytes:
            raise ModelError(f"{path} is too big to be what its name says")
        parsed = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"{path} holds {type(parsed).__name__}, not an object")
    return parsed
