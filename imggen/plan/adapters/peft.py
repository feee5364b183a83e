"""What diffusers writes into a LoRA's header for PEFT, and hands on to it as it stands."""

import json
import re
from collections.abc import Callable
from typing import Final

from imggen.errors import ModelError
from imggen.plan.schema.adapter import AdapterFacts

KEY: Final = "lora_adapter_metadata"

# What PEFT writes for what was not asked for.
_INERT: Final[tuple[object, ...]] = (None, False, {}, [], "", "megatron.core")
# PEFT reads the names of layers as regular expressions, of which some never come to an end.
_PLAIN: Final = re.compile(r"[\w.-]{1,200}")
_MOST: Final = 1_000_000


def check(facts: AdapterFacts) -> None:
    """Raise ModelError where the header asks PEFT for more than to multiply two matrices per layer.

    Some ways to begin change the model's own weights, and names of layers may be expressions.
    """
    text = facts.metadata.get(KEY)
    if text is None:
        return
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise _refused(facts, KEY)
    for name, value in settings.items():
        if not _is_plain(name.rpartition(".")[2], value):
            raise _refused(facts, name)


def _refused(facts: AdapterFacts, name: str) -> ModelError:
    return ModelError(
        f"--lora {facts.asked.reference}: its header asks for {name[:80]!r} in a way that no plain LoRA needs",
        hint="look for the same adapter as a plain LoRA",
    )


def _is_plain(name: str, value: object) -> bool:
    check = _PLAINLY.get(name)
    return check(value) if check else any(type(value) is type(inert) and value == inert for inert in _INERT)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _PLAIN.fullmatch(value) is not None


def _are_names(value: object) -> bool:
    return value is None or all(_is_name(name) for name in (value if isinstance(value, list) else [value]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_pattern(value: object) -> bool:
    return isinstance(value, dict) and all(_is_name(name) and _is_number(number) for name, number in value.items())


def _is_truth(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


_PLAINLY: Final[dict[str, Callable[[object], bool]]] = {
    **dict.fromkeys(("r", "lora_alpha", "lora_dropout", "qalora_group_size"), _is_number),
    **dict.fromkeys(("rank_pattern", "alpha_pattern"), _is_pattern),
    **dict.fromkeys(("target_modules", "exclude_modules", "modules_to_save"), _are_names),
    **dict.fromkeys(("use_rslora", "use_dora", "lora_bias", "fan_in_fan_out", "inference_mode"), _is_truth),
    **dict.fromkeys(("peft_type", "task_type", "bias", "peft_version"), _is_text),
    **dict.fromkeys(("base_model_name_or_path", "revision"), _is_text),
    "init_lora_weights": lambda value: isinstance(value, bool),
}
