"""How many layers a config asks for: the libraries build them all before they look at the weights."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from imggen.errors import ModelError

MOST: Final = 1000
"""Far more than any image model or text encoder has; building them still ends."""

# `num_hidden_layers`, `num_single_layers`, `n_layers`, `layers_per_block` and the like.
_COUNTS = re.compile(r"(^|_)layers?($|_per_block$)")


def check(name: str, config: Mapping[str, object]) -> None:
    """Raise ModelError where the config of `name` asks for more layers than any model has."""
    for key, count in _counts(config):
        if count > MOST:
            raise ModelError(
                f"{name} asks for more layers than any model has: {key} in its config is {_shortened(count)}",
                hint="fetch it again, or take another model",
            )


def _counts(config: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Yield what counts layers, also in the configs that lie one level down: of words, of pictures."""
    for level in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key, value in level.items():
            if _COUNTS.search(key):
                yield from ((key, one) for one in (value if isinstance(value, list) else [value]) if _is_whole(one))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shortened(count: int) -> str:
    return str(count) if count < 10**18 else f"a number of {count.bit_length()} bits"
