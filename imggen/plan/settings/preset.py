"""Presets: named settings in TOML files, those that come with imggen and the user's own."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imggen.errors import RequestError
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.settings import settings

SUFFIX = ".toml"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A preset: what it sets is in `request`, whose origin names the preset."""

    name: str
    path: Path
    description: str
    request: GenerateRequest


def shipped() -> Path:
    """Return the folder of the presets that come with imggen: inside the package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    inside = package / "presets"
    return inside if inside.is_dir() else package.parent / "presets"


def folders(config: Path) -> tuple[Path, ...]:
    """Return where presets are looked for: the user's own in the `config` folder first, then those of imggen."""
    return config / "presets", shipped()


def find(reference: str, places: Sequence[Path]) -> Preset:
    """Return the preset that `reference` names: a file, or a name in one of the `places`, the first that has it.

    Raise RequestError with the nearest known name for one that is nowhere, and for a file that is not as it should be.
    """
    if reference.endswith(SUFFIX) or "/" in reference or "\\" in reference:
        # Not Path.expanduser(), which raises for ~nobody.
        return read(Path(os.path.expanduser(reference)))  # noqa: PTH111
    known = _paths(places)
    if reference in known:
        return read(known[reference])
    guess = nearest(reference, known)
    hint = f"--preset {guess[0]}" if guess else f"known: {', '.join(known)}; or a path to a {SUFFIX} file"
    raise RequestError(f"unknown preset {reference!r}", hint=hint)


def names(places: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the presets in `places`, in alphabetical order."""
    return tuple(sorted(_paths(places)))


def listed(places: Sequence[Path]) -> tuple[Preset, ...]:
    """Return the presets in `places`, by name."""
    return tuple(read(path) for _, path in sorted(_paths(places).items()))


def read(path: Path) -> Preset:
    """Return the preset in the file `path`."""
    request, texts = settings.from_file(path, f"preset {path.stem}", extra=("description",))
    return Preset(name=path.stem, path=path, description=texts.get("description", ""), request=request)


def _paths(places: Sequence[Path]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for place in places:
        for path in sorted(place.glob(f"*{SUFFIX}")):
            paths.setdefault(path.stem, path)
    return paths
