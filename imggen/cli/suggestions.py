"""What the shell offers while an option is being typed; only what is known without looking far.

Options name these functions, so every start imports this module, and few ever call one: what they need waits.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def presets(incomplete: str) -> list[str]:
    """Return the presets whose names begin with `incomplete`."""
    from imggen.cli import precedence
    from imggen.plan.settings import preset

    return _beginning(incomplete, preset.names(precedence.preset_places()))


def training_recipes(incomplete: str) -> list[str]:
    """Return imggen's own training recipes whose names begin with `incomplete`; the shell itself offers files."""
    from imggen.plan.training import recipe

    return _beginning(incomplete, sorted(recipe.shipped()))


def samplers(incomplete: str) -> list[str]:
    """Return the samplers whose names begin with `incomplete`."""
    from imggen.plan.models import samplers as table

    return _beginning(incomplete, table.names())


def sizes_named(incomplete: str) -> list[str]:
    """Return the names of sizes that begin with `incomplete`."""
    from imggen.plan.sizing import sizes

    return _beginning(incomplete, ("native", *sizes.NAMES))


def targets(incomplete: str) -> list[str]:
    """Return the names of sizes to enlarge to that begin with `incomplete`."""
    from imggen.plan.sizing import sizes

    return _beginning(incomplete, sizes.NAMES)


def aspects(incomplete: str) -> list[str]:
    """Return the usual aspect ratios that begin with `incomplete`."""
    return _beginning(incomplete, ("1:1", "4:3", "3:2", "16:9", "21:9", "3:4", "2:3", "9:16"))


def devices(incomplete: str) -> list[str]:
    """Return the devices that begin with `incomplete`, whether or not this machine has them."""
    return _beginning(incomplete, ("auto", "cuda", "mps", "cpu"))


def controls(incomplete: str) -> list[str]:
    """Return the kinds of control images that begin with `incomplete`, up to where the image's name goes."""
    from imggen.plan.adapters import controls as table

    return _beginning(incomplete, (f"{kind}:" for kind in table.KINDS))


def control_kinds(incomplete: str) -> list[str]:
    """Return the kinds of control images that are made of photographs and begin with `incomplete`."""
    from imggen.plan.adapters import controls as table

    return _beginning(incomplete, table.PREPROCESSED)


def required(incomplete: str) -> list[str]:
    """Return the marks that `verify --require` knows: after a comma, those that are not in the list yet."""
    from typing import get_args

    from imggen.tasks.verify import Requirable

    *listed, last = incomplete.split(",")
    before = "".join(f"{mark}," for mark in listed)
    return [before + mark for mark in _beginning(last, get_args(Requirable)) if mark not in listed]


def upscalers(incomplete: str) -> list[str]:
    """Return what enlarges pictures and begins with `incomplete`; the shell itself offers files of weights."""
    return _beginning(incomplete, ("builtin", "lanczos"))


def models(incomplete: str) -> list[str]:
    """Return the models on this machine whose names begin with `incomplete`; the shell itself offers folders."""
    return _beginning(incomplete, ("builtin", *aliases(""), *_cached()))


def aliases(incomplete: str) -> list[str]:
    """Return the user's own names of models that begin with `incomplete`."""
    from imggen.errors import ImggenError
    from imggen.store import aliases as names

    try:
        return _beginning(incomplete, sorted(names.read()))
    except ImggenError:
        # A shell that completes a word has no place for an error.
        return []


def _cached() -> Iterator[str]:
    """Yield the diffusers models in the hub's cache, by its folders' names: asking the hub's library takes longer."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    for folder in sorted(cache.glob("models--*")):
        if any(folder.glob("snapshots/*/model_index.json")):
            yield folder.name.removeprefix("models--").replace("--", "/")


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
