"""Another autoencoder in place of a model's own: whether it decodes the same latents, by what the configs say."""

import math
from collections.abc import Mapping
from typing import Final

from imggen.errors import ModelError, RequestError
from imggen.plan.case import Case
from imggen.plan.models import autoencoders, catalog
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.request import ModelFacts

_CHANNELS: Final = ("latent_channels", "z_dim")
ORIGINAL: Final = ("first_stage_model.", "encoder.down.", "decoder.up.", "encoder.mid.block_1.")


def check(facts: AdapterFacts, case: Case, model: ModelFacts) -> None:
    """Raise ModelError where the config, or the header of a single file, says that it is not for the model's latents.

    `model` are the facts of the model with its own autoencoder.
    """
    if catalog.autoencoder(model) is None:
        raise RequestError(
            f"--vae {facts.asked.reference}: {model.reference} has no autoencoder, it draws pixels itself",
            hint="leave --vae out",
        )
    if "vae" not in model.components or model.source == "builtin":
        raise RequestError(
            f"--vae {facts.asked.reference}: {model.reference} reads no latents but those of its own autoencoder",
            hint="leave --vae out",
        )
    if not facts.config:
        _check_file(facts, model)
        return
    own, new = model.configs.get("vae", {}), facts.config
    classes = (model.components["vae"][1], str(new.get("_class_name")))
    kinds = tuple(map(autoencoders.kind, classes))
    if classes[0] != classes[1] and not all(kind.exchangeable for kind in kinds):
        raise _other(facts, model, f"it is {_article(classes[1])}, and the model's is {_article(classes[0])}")
    channels = [_first(config, _CHANNELS) for config in (own, new)]
    if None not in channels and channels[0] != channels[1]:
        raise _other(facts, model, f"its latents have {channels[1]} channels, and the model's {channels[0]}")
    scale, new_scale = catalog.vae_scale(model), catalog.vae_scale(case.facts)
    if scale != new_scale:
        raise _other(facts, model, f"it has {new_scale} pixels to a latent, and the model's {scale}")
    if not any(kind.scales_latents for kind in kinds):
        _check_scaling(facts, model, own, new)


def _check_scaling(
    facts: AdapterFacts, model: ModelFacts, own: Mapping[str, object], new: Mapping[str, object]
) -> None:
    for name, usual in (("scaling_factor", 0.18215), ("shift_factor", 0.0)):
        values = [_number(config.get(name), usual) for config in (own, new)]
        if not math.isclose(*values, rel_tol=1e-3, abs_tol=1e-6):
            raise _other(facts, model, f"its {name} is {values[1]:g}, and the model's {values[0]:g}")


def _check_file(facts: AdapterFacts, model: ModelFacts) -> None:
    """Raise ModelError where the header of a single file is no autoencoder's, or has other shapes than the model's."""
    if facts.pickle or is_original(facts):
        return
    names, own = facts.shapes.keys(), model.shapes.get("vae", {})
    if not any(name.startswith(("encoder.", "decoder.")) for name in names):
        raise ModelError(
            f"--vae {facts.asked.reference} is no autoencoder: it has neither an encoder nor a decoder",
            hint="a folder with its config.json, or one file with its weights",
        )
    unlike = next((name for name in own if facts.shapes.get(name) != own[name]), None)
    if own and unlike is not None:
        shape = facts.shapes.get(unlike)
        if shape is None:
            raise _other(facts, model, f"it has no {unlike}")
        raise _other(facts, model, f"its {unlike} is {_text(shape)}, not {_text(own[unlike])}")


def is_original(facts: AdapterFacts) -> bool:
    """Return whether a single file has the names that autoencoders had before diffusers."""
    return not facts.config and any(name.startswith(ORIGINAL) for name in facts.shapes)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _other(facts: AdapterFacts, model: ModelFacts, reason: str) -> ModelError:
    return ModelError(
        f"--vae {facts.asked.reference} is not for {model.reference}: {reason}",
        hint="an autoencoder that was trained for this model's latents, or leave --vae out",
    )


def _article(class_name: str) -> str:
    return f"an {class_name}" if class_name[:1] in "AEIO" else f"a {class_name}"


def _first(config: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _number(value: object, usual: float) -> float:
    return float(value) if isinstance(value, int | float) else usual
