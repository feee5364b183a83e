"""Attributes of one object, replaced for as long as a block lasts, and methods called with other arguments."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import BoundArguments
from typing import Any


@contextmanager
def replaced(target: Any, **attributes: Any) -> Iterator[None]:
    """Let `target` have `attributes` in place of its own within the block; afterwards it is as it was before."""
    own = {name: vars(target)[name] for name in attributes if name in vars(target)}
    vars(target).update(attributes)
    try:
        yield
    finally:
        for name in attributes:
            # Gone already where somebody within the block put another one on top and took that away.
            vars(target).pop(name, None)
        vars(target).update(own)


def bound(target: Any, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> BoundArguments:
    """Return a call's arguments by the names that the method has in the class of `target`."""
    # From the class: what stands on the instance may be somebody's wrapper that takes anything.
    return inspect.signature(getattr(type(target), name)).bind(target, *arguments, **options)


def call(method: Callable[..., Any], arguments: BoundArguments, changes: Mapping[str, Any]) -> Any:
    """Call a `method` of an object with `arguments`, of which those that it names are changed."""
    changed = BoundArguments(arguments.signature, arguments.arguments.copy())
    changed.arguments.update({name: value for name, value in changes.items() if name in arguments.signature.parameters})
    return method(*changed.args[1:], **changed.kwargs)
