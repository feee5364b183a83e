"""What the shell offers while an option is being typed; only what is known without looking far."""

from collections.abc import Iterable

from imggen.cli import layers
from imggen.plan import preset, sizes
from imggen.plan import samplers as sampler_table


def presets(incomplete: str) -> list[str]:
    """Return the presets whose names begin with `incomplete`."""
    return _beginning(incomplete, preset.names(layers.preset_places()))


def samplers(incomplete: str) -> list[str]:
    """Return the samplers whose names begin with `incomplete`."""
    return _beginning(incomplete, sampler_table.names())


def sizes_named(incomplete: str) -> list[str]:
    """Return the names of sizes that begin with `incomplete`."""
    return _beginning(incomplete, ("native", *sizes.NAMES))


def models(incomplete: str) -> list[str]:
    """Return the built-in model where `incomplete` begins it; the shell itself offers folders."""
    return _beginning(incomplete, ("builtin",))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
