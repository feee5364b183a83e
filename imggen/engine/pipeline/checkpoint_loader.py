"""Components out of single files: their tensors, under the names that diffusers converts or takes as they are."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import diffusers
from diffusers.loaders import single_file_utils
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from safetensors import safe_open

from imggen.engine.pipeline import placement
from imggen.engine.precision import TORCH_DTYPES
from imggen.plan.models import checkpoint
from imggen.plan.schema.request import GeneratePlan, SingleFile
from imggen.store import gguf_header, pickles

NONE: Final[Mapping[str, object]] = MappingProxyType({})
_LDM: Final = "model.diffusion_model."
_PROJECTION: Final = "text_encoders.clip_l.transformer.text_projection.weight"
_OLD_CLIP: Final = "cond_stage_model.transformer."


def component(plan: GeneratePlan, name: str, component_class: Any, options: Mapping[str, object] = NONE) -> Any:
    """Return the component `name` of the plan's single file, in the plan's dtype; nothing is looked for online.

    `options` go to diffusers' loader besides.
    Weights of 8 bits are widened; those of GGUF stay as they are, and are computed with in the plan's dtype.
    """
    single = plan.model.single
    if single is None:
        raise TypeError("the model is no single file")
    dtype = TORCH_DTYPES[plan.component_dtypes.get(name, plan.dtype)]
    tensors = _renamed(_tensors(single, single.parts[name], allow_pickle=plan.allow_pickle), name)
    where = {"config": str(plan.model.folder), "subfolder": name, "local_files_only": True}
    if issubclass(component_class, diffusers.ModelMixin):
        # Left out, the dtype would be float32.
        computing = (
            {"quantization_config": diffusers.GGUFQuantizationConfig(compute_dtype=dtype)} if _is_gguf(single) else {}
        )
        device = plan.device if placement.goes_straight(plan) else None
        return component_class.from_single_file(tensors, dtype=dtype, device=device, **where, **options, **computing)
    if component_class.__name__.startswith("CLIP"):
        module = single_file_utils.create_diffusers_clip_model_from_ldm(
            component_class, checkpoint=tensors, torch_dtype=dtype, **where
        )
        own = tensors.get(_PROJECTION)
        if own is not None and hasattr(module, "text_projection"):
            # diffusers puts the identity in its place.
            module.text_projection.weight.data = own.to(dtype)
        return module
    module = single_file_utils.create_diffusers_t5_model_from_checkpoint(
        component_class, checkpoint=tensors, torch_dtype=dtype, **where
    )
    module.tie_weights()
    return module.eval()


def _is_gguf(single: SingleFile) -> bool:
    return gguf_header.is_gguf(single.path)


def _tensors(single: SingleFile, names: tuple[str, ...], *, allow_pickle: bool) -> dict[str, Any]:
    if _is_gguf(single):
        by_name = load_gguf_checkpoint(str(single.path))
        return {name: by_name[name] for name in names}
    if single.path.suffix.lower() != ".safetensors":
        if not allow_pickle:
            raise pickles.refusal(single.path)
        by_name = pickles.tensors(single.path)
        return {name: by_name[name] for name in names}
    # Mapped, not read: what has the run's dtype already takes no memory of its own.
    with safe_open(single.path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in names}


def _renamed(tensors: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the tensors under the names that diffusers knows: with their prefix for what it converts by it."""
    if name in ("unet", "transformer"):
        first = checkpoint.prefix(tensors)
        bare = {key.removeprefix(first): tensor for key, tensor in tensors.items()}
        is_ldm = name == "unet" and any(key.startswith("input_blocks.") for key in bare)
        return {f"{_LDM}{key}": tensor for key, tensor in bare.items()} if is_ldm else bare
    if name == "vae":
        return {key.removeprefix("first_stage_model.").removeprefix("vae."): tensor for key, tensor in tensors.items()}
    # Files made before transformers 4.31 and some merges leave a level out.
    return {
        key.replace(_OLD_CLIP, f"{_OLD_CLIP}text_model.")
        if key.startswith((f"{_OLD_CLIP}embeddings.", f"{_OLD_CLIP}encoder.", f"{_OLD_CLIP}final_layer_norm."))
        else key: tensor
        for key, tensor in tensors.items()
    }
