"""Methods of one object, replaced for as long as a block lasts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(target: Any, **methods: Callable[..., Any]) -> Iterator[None]:
    """Let `target` have `methods` in place of its own, by name, within the block; afterwards it is as it was before."""
    own = {name: vars(target)[name] for name in methods if name in vars(target)}
    vars(target).update(methods)
    try:
        yield
    finally:
        for name in methods:
            # Gone already where somebody within the block put another one on top and took that away.
            vars(target).pop(name, None)
        vars(target).update(own)
