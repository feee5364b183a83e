"""LoRA: small matrices that are added to those of a model's layers (arXiv 2106.09685)."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final

import diffusers
import torch
from diffusers.loaders import FluxLoraLoaderMixin
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor

from imggen.engine import failures
from imggen.errors import ModelError
from imggen.plan.adapters import lora
from imggen.plan.adapters.lora import DENOISER, LoraLayer, Slot, Slots
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.request import GeneratePlan
from imggen.store import pickles

# Which of a layer's tensors diffusers reads under which name; for text encoders it knows an older one only.
_NEW: Final = {"down": "lora_A.weight", "up": "lora_B.weight", "bias": "lora_B.bias"}
_OLD: Final = {"down": "lora_linear_layer.down.weight", "up": "lora_linear_layer.up.weight"}
_KOHYA: Final = {"down": "lora_down.weight", "up": "lora_up.weight", "alpha": "alpha"}

Place = tuple[str, str]
"""A layer's component and flat name."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A LoRA that was read and fits: under which `name` it is added, and what diffusers is `given`.

    `given` are tensors; None where it is the file, which diffusers then reads with what its header says besides.
    `weights` are both matrices of each layer, to see that they arrive; `strengths` is by what the file wants a layer's
    product to be multiplied, times its rank.
    """

    adapter: AdapterFacts
    name: str
    given: dict[str, Tensor] | None
    weights: Mapping[Place, tuple[Tensor, Tensor]]
    strengths: Mapping[Place, float]


def read(plan: GeneratePlan) -> tuple[Ready, ...] | None:
    """Return the LoRAs of `plan`, read and held against its model, of which only the headers are read.

    None where those do not tell all layers: see `read_for`. Raise ModelError for one that does not fit, or of which a
    tensor would come to nothing.
    """
    if not any(adapter.asked.kind == "lora" for adapter in plan.adapters):
        return ()
    if not lora.is_told(plan.model):
        return None
    return _read_all(plan, lora.slots(plan.model, plan.family))


def read_for(pipeline: Any, plan: GeneratePlan) -> tuple[Ready, ...]:
    """Return the LoRAs of `plan`, read and held against the loaded pipeline."""
    return _read_all(plan, slots(pipeline, plan))


def _read_all(plan: GeneratePlan, slots: Slots) -> tuple[Ready, ...]:
    # In an order of their own, so that the sum is the same in whichever order they were asked for.
    loras = [adapter for adapter in plan.adapters if adapter.asked.kind == "lora"]
    chosen = sorted(loras, key=lambda adapter: adapter.sha256)
    return tuple(_read(adapter, f"lora-{number}", plan, slots) for number, adapter in enumerate(chosen, start=1))


def slots(pipeline: Any, plan: GeneratePlan) -> Slots:
    """Return the layers of a loaded pipeline, for a model whose headers do not tell them."""
    return {
        DENOISER if name == plan.family.denoiser else name: _slots_of(component)
        for name, component in pipeline.components.items()
        if isinstance(component, torch.nn.Module)
    }


def _slots_of(component: torch.nn.Module) -> dict[str, Slot]:
    slots = {}
    for name, module in component.named_modules():
        shape = _shape(module)
        if shape is not None:
            slots[lora.flat(name)] = Slot(name=name, shape=shape)
    return slots


def _shape(module: torch.nn.Module) -> tuple[int, ...] | None:
    # Not the weight's own: one that is stored smaller has another.
    if isinstance(module, torch.nn.Linear):
        return (module.out_features, module.in_features)
    if isinstance(module, torch.nn.Conv2d):
        return (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
    return None


def _read(adapter: AdapterFacts, name: str, plan: GeneratePlan, slots: Slots) -> Ready:
    """Read one LoRA and check it against the layers of the model."""
    with _explained(adapter):
        tensors = _tensors(adapter)
    if adapter.pickle:
        adapter = replace(adapter, shapes={key: tuple(tensor.shape) for key, tensor in tensors.items()})
        lora.check(adapter, plan.model, plan.family)
    layers = lora.read(adapter.shapes)
    readable, strengths = _renamed(layers, tensors, slots, plan), _strengths(adapter, layers, tensors)
    if readable is None:
        translated, strengths, weights = _understood(adapter, layers, tensors, plan, slots)
        own = all(layer.style == "diffusers" for layer in layers) or not weights
        readable = None if own and not adapter.pickle else _respelt(translated, slots, plan)
    else:
        weights = _checked(adapter, plan, readable, slots)
    _check_encoders(adapter, layers, weights)
    return Ready(adapter=adapter, name=name, given=readable, weights=weights, strengths=strengths)


def _understood(
    adapter: AdapterFacts, layers: Iterable[LoraLayer], tensors: Mapping[str, Tensor], plan: GeneratePlan, slots: Slots
) -> tuple[dict[str, Tensor], dict[Place, float], dict[Place, tuple[Tensor, Tensor]]]:
    """Return what diffusers makes of the tensors: see `_translated` and `_checked`."""
    try:
        with _explained(adapter):
            translated, strengths = _translated(tensors, plan)
        return translated, strengths, _checked(adapter, plan, translated, slots)
    except ModelError:
        # Its converter for FLUX knows the first names of the layers by kohya's names for the matrices alone.
        if not issubclass(getattr(diffusers, plan.pipeline), FluxLoraLoaderMixin):
            raise
        named: dict[str, Tensor] = {}
        for layer in layers:
            if layer.style == "original":
                parts = {part: name for part, name in layer.names.items() if part in _KOHYA}
                named |= {
                    f"diffusion_model.{layer.module}.{_KOHYA[part]}": tensors[name] for part, name in parts.items()
                }
        if len(named) != len(tensors):
            raise
        with _explained(adapter):
            translated, strengths = _translated(named, plan)
        return translated, strengths, _checked(adapter, plan, translated, slots)


def _tensors(adapter: AdapterFacts) -> dict[str, Tensor]:
    read = pickles.tensors if adapter.pickle else load_file
    return dict(read(adapter.files[0]))


def _renamed(
    layers: Iterable[LoraLayer], tensors: Mapping[str, Tensor], slots: Slots, plan: GeneratePlan
) -> dict[str, Tensor] | None:
    """Return the tensors in diffusers' names where the model has all layers under names that are only spelt otherwise.

    None where diffusers knows the file's own names, or has to take its layers apart.
    """
    listed = list(layers)
    if all(layer.style == "diffusers" and "alpha" not in layer.shapes for layer in listed):
        return None
    if lora.compare(listed, slots).strange:
        return None
    if any(not {"down", "up"} <= layer.shapes.keys() <= {*_NEW, "alpha"} for layer in listed):
        return None
    return _spelt(listed, tensors, slots, plan)


def _respelt(translated: Mapping[str, Tensor], slots: Slots, plan: GeneratePlan) -> dict[str, Tensor]:
    """Return what diffusers translated in names that it reads again: it does not read all of its own."""
    layers = lora.read({name: tuple(tensor.shape) for name, tensor in translated.items()})
    return _spelt(layers, translated, slots, plan) if layers else dict(translated)


def _spelt(
    layers: Iterable[LoraLayer], tensors: Mapping[str, Tensor], slots: Slots, plan: GeneratePlan
) -> dict[str, Tensor]:
    denoiser = plan.family.denoiser
    renamed: dict[str, Tensor] = {}
    for layer in layers:
        parts = _NEW if layer.component == DENOISER else _OLD
        component = denoiser if layer.component == DENOISER else layer.component
        place = f"{component}.{slots[layer.component][layer.flat].name}"
        renamed |= {f"{place}.{parts[part]}": tensors[name] for part, name in layer.names.items() if part in parts}
    return renamed


def _strengths(adapter: AdapterFacts, layers: Iterable[LoraLayer], tensors: Mapping[str, Tensor]) -> dict[Place, float]:
    # PEFT writes it into a file of its own, one for all layers.
    usual = adapter.config.get("lora_alpha")
    alphas = {
        (layer.component, layer.flat): float(tensors[layer.names["alpha"]]) if "alpha" in layer.names else usual
        for layer in layers
    }
    return {place: float(alpha) for place, alpha in alphas.items() if isinstance(alpha, int | float)}


def _translated(tensors: Mapping[str, Tensor], plan: GeneratePlan) -> tuple[dict[str, Tensor], dict[Place, float]]:
    """Return the tensors as diffusers translates them, and the strengths that it does not multiply into them."""
    pipeline_class = getattr(diffusers, plan.pipeline)
    options: dict[str, Any] = {}
    if "return_alphas" in inspect.signature(pipeline_class.lora_state_dict).parameters:
        options["return_alphas"] = True
    unet = plan.model.configs.get("unet")
    if unet is not None:
        options["unet_config"] = SimpleNamespace(**unet)
    result = pipeline_class.lora_state_dict(dict(tensors), **options)
    translated, alphas = result if isinstance(result, tuple) else (result, None)
    return translated, {lora.strength_of(name): float(alpha) for name, alpha in (alphas or {}).items()}


def _checked(
    adapter: AdapterFacts, plan: GeneratePlan, translated: Mapping[str, Tensor], slots: Slots
) -> dict[Place, tuple[Tensor, Tensor]]:
    """Return the matrices by layer; raise ModelError where one of them has no layer that is there and takes it."""
    layers = lora.read({name: tuple(tensor.shape) for name, tensor in translated.items()})
    if any("lokr" in layer.shapes for layer in layers):
        return {}
    loadable = _loadable(plan)
    fit = lora.compare(layers, {name: slot for name, slot in slots.items() if name in loadable})
    if fit.strange or fit.misfit is not None:
        raise lora.unfit(adapter, plan.model, layers, fit)
    lost = sorted(translated.keys() - {name for layer in layers for name in layer.names.values()})
    if lost:
        raise ModelError(
            f"--lora {adapter.asked.reference} holds more than a LoRA, which diffusers would leave out: {lost[0]}"
            + (f" and {len(lost) - 1} more" if len(lost) > 1 else ""),
            hint="look for the same as a plain LoRA",
        )
    return {
        (layer.component, layer.flat): (translated[layer.names["down"]], translated[layer.names["up"]])
        for layer in layers
    }


def _check_encoders(adapter: AdapterFacts, layers: Iterable[LoraLayer], places: Iterable[Place]) -> None:
    """Raise ModelError where diffusers' translation drops a text encoder's layers."""
    lost = {layer.component for layer in layers} - {component for component, _ in places} - {DENOISER}
    if lost and places:
        raise ModelError(
            f"--lora {adapter.asked.reference} also changes the {min(lost)}, to which diffusers adds no LoRA",
            hint="look for the same without its text encoder",
        )


def _loadable(plan: GeneratePlan) -> tuple[str, ...]:
    """Return the components that the pipeline adds LoRAs to."""
    denoiser = plan.family.denoiser
    names = getattr(diffusers, plan.pipeline)._lora_loadable_modules  # noqa: SLF001 - diffusers says it nowhere else
    return tuple(DENOISER if name == denoiser else name for name in names)


def add(pipeline: Any, loras: Iterable[Ready]) -> None:
    """Give `pipeline` the LoRAs, each at its scale; where one cannot be added, it keeps none of them.

    Do this before the pipeline is placed on its device.
    """
    listed = list(loras)
    if not listed:
        return
    try:
        for ready in listed:
            _add(pipeline, ready)
        names = [ready.name for ready in listed]
        with _explained(listed[-1].adapter):
            pipeline.set_adapters(names, adapter_weights=[ready.adapter.asked.scale for ready in listed])
        _check_active(pipeline, listed)
    except BaseException:
        # One that does not fit leaves its half behind.
        pipeline.unload_lora_weights()
        raise


def _add(pipeline: Any, ready: Ready) -> None:
    """Load one LoRA into the pipeline through diffusers, then set each of its layers to the file's own strength."""
    file = ready.adapter.files[0]
    with _explained(ready.adapter):
        if ready.given is not None:
            pipeline.load_lora_weights(dict(ready.given), adapter_name=ready.name)
        else:
            options = {"weight_name": file.name, "use_safetensors": True, "local_files_only": True}
            pipeline.load_lora_weights(str(file.parent), adapter_name=ready.name, **options)
    for place, layer in _layers(pipeline, ready.name):
        _settle(ready, place, layer)


def _layers(pipeline: Any, name: str) -> Iterator[tuple[Place, BaseTunerLayer]]:
    """Yield the layers of the pipeline that a LoRA of this name changes."""
    for component, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):
            kind = DENOISER if component in ("unet", "transformer") else component
            for inner, layer in module.named_modules():
                if isinstance(layer, BaseTunerLayer) and name in getattr(layer, "lora_A", {}):
                    yield (kind, lora.flat(inner)), layer


def _settle(ready: Ready, place: Place, layer: Any) -> None:
    """Bring a layer's matrices to the dtype of its own, and its strength to what the file says.

    diffusers 0.42 loses the strengths of attention layers and of text encoders where they are not all the same.
    """
    dtype = _dtype(layer.get_base_layer())
    if dtype is not None:
        for part in (layer.lora_A, layer.lora_B):
            part[ready.name].to(dtype)
    strength = ready.strengths.get(place)
    if strength is not None:
        layer.lora_alpha[ready.name] = strength
        layer.set_scale(ready.name, 1.0)


def _dtype(layer: torch.nn.Module) -> torch.dtype | None:
    weight = getattr(layer, "weight", None)
    return weight.dtype if isinstance(weight, Tensor) and weight.dtype.is_floating_point else None


def _check_active(pipeline: Any, loras: Iterable[Ready]) -> None:
    """Raise ModelError where a LoRA that was added does not change each of its layers: diffusers only logs that."""
    active = set(pipeline.get_active_adapters())
    for ready in loras:
        layers = dict(_layers(pipeline, ready.name))
        lost = [place for place, pair in ready.weights.items() if not _holds(layers.get(place), ready.name, pair)]
        if ready.name not in active or not layers or lost:
            detail = f": {lost[0][1]} of its {lost[0][0]} is unchanged" if lost else ""
            raise ModelError(f"--lora {ready.adapter.asked.reference} was not added to the model{detail}")


def _holds(layer: Any, name: str, pair: tuple[Tensor, Tensor]) -> bool:
    if layer is None:
        return False
    matrices = (layer.lora_A[name].weight, layer.lora_B[name].weight)
    return all(torch.equal(one.detach(), other.to(one.dtype)) for one, other in zip(matrices, pair, strict=True))


def _explained(adapter: AdapterFacts) -> AbstractContextManager[None]:
    return failures.model_faults(f"--lora {adapter.asked.reference} cannot be added")
