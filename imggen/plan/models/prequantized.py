"""Components whose weights were stored smaller by whoever published them: by which method, and what reading it takes.

The methods' names are those of `quant_method` in a `config.json`, as diffusers and transformers write them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from imggen.errors import MachineError, ModelError
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.machine import Device
from imggen.plan.schema.request import ModelFacts

KEY: Final = "quantization_config"

_EXTRA: Final = "pip install 'imggen[quantize]'"
_WHOLE: Final = "take the model that it was made of; --quantize stores that smaller on this machine"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to store weights smaller that imggen reads: the package that does it, and on which devices."""

    package: str
    devices: tuple[Device, ...]


METHODS: Final[Mapping[str, Method]] = {
    # diffusers refuses it without a GPU; on a processor transformers' layers stop at some shapes.
    "bitsandbytes": Method(package="bitsandbytes", devices=("cuda",)),
    "torchao": Method(package="torchao", devices=("cuda", "mps", "cpu")),
}


def stored(facts: ModelFacts) -> dict[str, object]:
    """Return what the configs of the model's components say of how their weights were stored smaller, by component.

    What a single file holds itself is as the file has it.
    """
    held = facts.single.parts if facts.single else {}
    return {
        name: config[KEY] for name, config in facts.configs.items() if name not in held and config.get(KEY) is not None
    }


def check(facts: ModelFacts, adapters: tuple[AdapterFacts, ...], device: Device, version: Callable[[str], str]) -> None:
    """Raise the ImggenError that says why weights that were stored smaller cannot be read on `device`.

    `version` says of a package which one is here, or `missing`.
    """
    for what, config in _configs(facts, adapters):
        method = METHODS[_method(what, config)]
        if version(method.package) == "missing":
            raise MachineError(f"{what} is stored by {method.package}, a package that is not installed", hint=_EXTRA)
        if device not in method.devices:
            raise MachineError(
                f"{what} is stored by {method.package}, which needs {' or '.join(method.devices)}, and this run is on "
                f"{device}",
                hint=_WHOLE,
            )


def _configs(facts: ModelFacts, adapters: tuple[AdapterFacts, ...]) -> Iterator[tuple[str, object]]:
    for name, config in stored(facts).items():
        yield f"{name} of {facts.reference}", config
    for adapter in adapters:
        said = adapter.config.get(KEY)
        if said is not None and adapter.asked.kind in ("vae", "controlnet"):
            yield f"{adapter.asked.option} {adapter.reference}", said


def _method(what: str, config: object) -> str:
    """Return the name of the method; raise ModelError where the config is damaged, or names one that is not read."""
    if not isinstance(config, Mapping):
        raise _damaged(what, f"is {_shown(config)}, not an object")
    four_or_eight = [config.get("load_in_4bit", False), config.get("load_in_8bit", False)]
    method = config.get("quant_method", "bitsandbytes" if True in four_or_eight else None)
    if method is None:
        raise _damaged(what, "names no quant_method")
    if not isinstance(method, str) or method not in METHODS:
        raise ModelError(
            f"{what} is stored by {_shown(method)}; imggen reads what {' and '.join(METHODS)} stored", hint=_WHOLE
        )
    # The libraries stop at such configs with an assertion, or say that they do not know bitsandbytes.
    if method == "bitsandbytes" and sorted(map(repr, four_or_eight)) != ["False", "True"]:
        raise _damaged(what, "says neither load_in_4bit nor load_in_8bit, or both")
    kinds = config.get("quant_type")
    if method == "torchao" and not (isinstance(kinds, Mapping) and list(kinds) == ["default"]):
        raise _damaged(what, f"has the quant_type {_shown(kinds)}, not one kind for all layers")
    return method


def _damaged(what: str, problem: str) -> ModelError:
    return ModelError(f"{what}: the {KEY} in its config.json {problem}", hint=_WHOLE)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
