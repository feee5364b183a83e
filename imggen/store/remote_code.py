"""What in a model's files would make transformers fetch or run code, or weights that nobody looked at."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from imggen.errors import ModelError

_ADAPTER: Final = "adapter_config.json"
_ATTENTION: Final = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")


def refuse(place: Path, class_name: str, configs: Mapping[str, Mapping[str, object]]) -> None:
    """Raise ModelError for a component in `place` that would bring code, or other weights than those beside it.

    `configs` are its descriptions by their files' names.
    """
    if (place / _ADAPTER).is_file():
        # transformers would add what this names to the component, unasked.
        raise ModelError(
            f"{place} has an adapter in it ({_ADAPTER}), which would be added unasked",
            hint="take it out, and name it with --lora",
        )
    if class_name.startswith("Auto"):
        named = next((name for name, config in configs.items() if "auto_map" in config), None)
        if named is not None:
            raise _brings_code(place, f"{named}: auto_map")
    for name, config in configs.items():
        kernel = next(_kernels(config), None)
        if kernel is not None:
            raise _brings_code(place, f"{name}: {kernel}")


def forbid() -> None:
    """Make transformers refuse code that comes with a model, where it would ask on the terminal whether to run it."""
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def _kernels(config: Mapping[str, object]) -> Iterator[str]:
    """Yield what the config, or one within it, names as attention that comes from the hub: ORGANISATION/NAME."""
    left: list[object] = [config]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left.extend(value.values())
            for name in _ATTENTION:
                yield from (text for text in _texts(value.get(name)) if "/" in text)
        elif isinstance(value, list):
            left.extend(value)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for text in value.values() if isinstance(text, str))


def _brings_code(place: Path, what: str) -> ModelError:
    return ModelError(f"{place} brings code of its own ({what}), which imggen never runs")
