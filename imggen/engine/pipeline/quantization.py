"""Weights stored smaller than the model computes: the denoiser's, and only when a plan says so."""

from typing import Any, Final

import diffusers
import torch
from diffusers.models.attention_processor import (
    IPAdapterAttnProcessor,
    IPAdapterAttnProcessor2_0,
    SD3IPAdapterJointAttnProcessor2_0,
)
from diffusers.models.embeddings import ImageProjection, IPAdapterTimeImageProjection, MultiIPAdapterImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor

from imggen.engine.precision import TORCH_DTYPES
from imggen.errors import ModelError
from imggen.host.environment import quiet
from imggen.plan.schema.request import GeneratePlan

# What adapters add is small, and its precision is what was asked for.
_KEPT: Final = ("lora_", "image_projection_layers", "image_proj.", ".processor.")
# They ask a layer for the dtype of its weights, which must be one to compute in.
_KEPT_CLASSES: Final = (
    IPAdapterAttnProcessor,
    IPAdapterAttnProcessor2_0,
    FluxIPAdapterAttnProcessor,
    SD3IPAdapterJointAttnProcessor2_0,
    ImageProjection,
    MultiIPAdapterImageProjection,
    IPAdapterTimeImageProjection,
)


def options(plan: GeneratePlan, component: str) -> dict[str, object]:
    """Return what the loading of `component` is told besides, so that its weights are quantised as they are read."""
    if plan.quantize != "nf4" or component != plan.family.denoiser:
        return {}
    config = diffusers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=TORCH_DTYPES[plan.dtype]
    )
    return {"quantization_config": config}


def store(pipeline: Any, plan: GeneratePlan) -> None:
    """Store the weights of the denoiser, which were loaded as they are, as `plan` says; adapters stay as they are."""
    if plan.quantize not in ("int8", "fp8"):
        return
    denoiser = getattr(pipeline, plan.family.denoiser)
    before = _bytes(denoiser)
    if plan.quantize == "int8":
        _to_int8(denoiser)
    else:
        denoiser.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn,
            compute_dtype=TORCH_DTYPES[plan.dtype],
            skip_modules_classes=_KEPT_CLASSES,
        )
    if _bytes(denoiser) >= before:
        raise ModelError(
            f"--quantize {plan.quantize}: {type(denoiser).__name__} of {plan.model.reference} has no layers that it "
            "would make smaller",
            hint="leave --quantize out",
        )


def _to_int8(denoiser: torch.nn.Module) -> None:
    with quiet():
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(denoiser, Int8WeightOnlyConfig(), filter_fn=_is_plain_linear)


def _is_plain_linear(module: torch.nn.Module, name: str) -> bool:
    return isinstance(module, torch.nn.Linear) and not any(part in name for part in _KEPT)


def _bytes(module: torch.nn.Module) -> int:
    return sum(_held(parameter) for parameter in module.parameters())


def _held(tensor: Any) -> int:
    # torchao's tensors say the size of what they stand for.
    inner = [getattr(tensor, name) for name in getattr(tensor, "tensor_data_names", ())]
    return sum(data.nbytes for data in inner) if inner else int(tensor.nbytes)
