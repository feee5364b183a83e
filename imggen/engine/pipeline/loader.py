"""From a plan to a diffusers pipeline: one seam for weights, placement and what can go wrong with them."""

import importlib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import diffusers
import torch
import transformers
from diffusers.utils import logging as diffusers_logging

from imggen.engine import failures, threads
from imggen.engine.adapters import autoencoders, embeddings, ip_adapter, loras
from imggen.engine.pipeline import checkpoint_loader, controlnets, encoding, placement, quantization
from imggen.engine.precision import TORCH_DTYPES
from imggen.errors import ModelError, RequestError
from imggen.host.environment import quiet
from imggen.plan.adapters import ip_adapters
from imggen.plan.schema.family import AUTOENCODERS
from imggen.plan.schema.progress import Progress, Report, ignore
from imggen.plan.schema.request import GeneratePlan
from imggen.store import lookup, remote_code, single_file

# T5 has 28 embeddings more than tokens, others a few hundred of 150,000; an empty tokenizer has two tokens in all.
LEAST_SHARE_OF_TOKENS = 0.9
NO_LIMIT = 1_000_000
# Models name the place that they had, or the one that diffusers now takes for theirs, and they are in neither.
_MOVED: Final = dict.fromkeys(
    ("PaellaVQModel", "WuerstchenPrior", "WuerstchenDiffNeXt"), "diffusers.pipelines.deprecated.wuerstchen"
)


def import_classes(plan: GeneratePlan) -> None:
    """Import the classes that `plan` needs, which diffusers and transformers put off; `load` tells what is missing."""
    for name in (plan.model.pipeline, plan.pipeline):
        getattr(diffusers, name, None)
    for library, class_name in plan.model.components.values():
        if class_name not in _MOVED:
            getattr(_library(library), class_name, None)


def load(plan: GeneratePlan, *, on_event: Report = ignore) -> Any:
    """Return the diffusers pipeline that `plan` describes: in its dtype, on its device, with its levers pulled.

    Only safetensors are read (pickles where the plan allows them), only from the model's folder, and no code comes
    from there. A model that is damaged or incomplete is a ModelError, too little memory a MachineError.
    """
    diffusers_logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    remote_code.forbid()
    threads.limit()
    with quiet():
        added = loras.read(plan)
        pipeline = switch(_assemble(plan, on_event), plan, controlnets.load(plan))
        _check(pipeline, plan)
        _adapt(pipeline, plan, added)
        with failures.explained(plan, "the model"):
            _schedule(pipeline, plan)
            _format(pipeline, plan)
            _tile(pipeline, plan)
            _slice_attention(pipeline, plan)
            quantization.store(pipeline, plan)
        with failures.placing(plan):
            placement.place(pipeline, plan)
    return pipeline


def _assemble(plan: GeneratePlan, on_event: Report) -> Any:
    """Load the parts of the pipeline one by one and put them together."""
    # What the model's folder names: whatever the task, it is what the folder's parts are for.
    name = plan.model.pipeline
    with failures.explained(plan, name):
        pipeline_class = getattr(diffusers, name)
    choices = lookup.files(plan.model, plan.dtype)
    modules = {}
    replaced = autoencoders.find(plan)
    for number, (component, choice) in enumerate(choices.items()):
        on_event(Progress(stage="load", step=number, steps=len(choices)))
        if component == "vae" and replaced is not None:
            modules[component] = autoencoders.load(replaced, plan)
        else:
            modules[component] = _component(plan, component, choice.variant)
    with failures.explained(plan, name):
        if plan.family.stages is not None:
            pipeline = pipeline_class(**modules, **_weightless(plan, modules))
        else:
            pipeline = _read(pipeline_class, plan, modules)
    on_event(Progress(stage="load", step=len(choices), steps=len(choices)))
    return pipeline


def _weightless(plan: GeneratePlan, modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a model in two stages that have no weights, each from its folder.

    diffusers' own loader finds one folder only, follows the card of a combined one to a prior on the hub, and has lost
    the class of Stable Cascade's autoencoder.
    """
    parts = {name: component for name, component in plan.model.components.items() if name not in modules}
    return {
        name: _class(library, class_name).from_pretrained(str(plan.model.place(name)), local_files_only=True)
        for name, (library, class_name) in parts.items()
    }


def _read(pipeline_class: Any, plan: GeneratePlan, modules: Mapping[str, Any]) -> Any:
    """Return the pipeline of the class, read from the model's folder but for `modules`, which are there."""
    return pipeline_class.from_pretrained(
        str(plan.model.folder),
        dtype=TORCH_DTYPES[plan.dtype],
        use_safetensors=None if plan.allow_pickle else True,
        local_files_only=True,
        **modules,
        **_initial(pipeline_class, plan),
        **_left_out(pipeline_class, plan),
    )


def switch(pipeline: Any, plan: GeneratePlan, added: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return a pipeline of the class that `plan` names, made of the parts that `pipeline` has, none of them copied.

    `added` are components that the class has besides, by name.

    diffusers' own `from_pipe` would cast them to float32. Raises ModelError where the class needs a part that the model
    does not have.
    """
    if type(pipeline).__name__ == plan.pipeline:
        return pipeline
    with failures.explained(plan, plan.pipeline):
        pipeline_class = getattr(diffusers, plan.pipeline)
    takes = inspect.signature(pipeline_class.__init__).parameters
    known = {**pipeline.config, **pipeline.components, **added, **_initial(pipeline_class, plan)}
    plain = {name: take for name, take in takes.items() if take.kind is take.POSITIONAL_OR_KEYWORD and name != "self"}
    lacking = sorted(name for name, take in plain.items() if take.default is take.empty and name not in known)
    if lacking:
        raise ModelError(f"{plan.pipeline} needs {', '.join(lacking)}, which {plan.model.reference} does not have")
    with failures.explained(plan, plan.pipeline):
        return pipeline_class(**{name: value for name, value in known.items() if name in takes and name != "self"})


def _initial(pipeline_class: Any, plan: GeneratePlan) -> dict[str, object]:
    initial = dict(plan.initial)
    takes = inspect.signature(pipeline_class.__init__).parameters
    # Without its checker Stable Diffusion warns at length; a model that comes without one has made that choice.
    if "requires_safety_checker" in takes and "safety_checker" not in plan.model.components:
        initial["requires_safety_checker"] = False
    return initial


def _left_out(pipeline_class: Any, plan: GeneratePlan) -> dict[str, None]:
    """Return the parts of a base that do not come along with a single file."""
    takes = inspect.signature(pipeline_class.__init__).parameters
    left = single_file.LEFT_OUT if plan.model.single is not None else ()
    return {name: None for name in left if name in takes}


def _component(plan: GeneratePlan, name: str, variant: str | None) -> Any:
    """Load one part of the model, from its own folder or from the plan's single file."""
    library, class_name = plan.model.components[name]
    if plan.model.single is not None and name in plan.model.single.parts:
        with failures.explained(plan, f"{name} ({class_name})", component=name):
            component_class = _class(library, class_name)
            return checkpoint_loader.component(plan, name, component_class, quantization.options(plan, name))
    options = quantization.options(plan, name) | ({} if variant is None else {"variant": variant})
    if placement.goes_straight(plan):
        options["device_map"] = plan.device
    with failures.explained(plan, f"{name} ({class_name})", component=name):
        component_class = _class(library, class_name)
        module, report = component_class.from_pretrained(
            str(plan.model.place(name)),
            dtype=TORCH_DTYPES[plan.component_dtypes.get(name, plan.dtype)],
            use_safetensors=None if plan.allow_pickle else True,
            local_files_only=True,
            low_cpu_mem_usage=True,
            output_loading_info=True,
            **options,
        )
    # The libraries only log this, and fill the gaps with random numbers.
    failures.check_whole(f"{name} of {plan.model.reference}", report.get("missing_keys", ()))
    return module


def _class(library: str, name: str) -> Any:
    return getattr(importlib.import_module(_MOVED[name]) if name in _MOVED else _library(library), name)


def _library(name: str) -> Any:
    # By name: transformers may put another module in its own place, to which diffusers adds the class that PRX wants.
    return importlib.import_module(name if name in ("diffusers", "transformers") else f"diffusers.pipelines.{name}")


def _check(pipeline: Any, plan: GeneratePlan) -> None:
    if type(pipeline).__name__ != plan.pipeline:
        raise ModelError(f"{plan.model.reference} became a {type(pipeline).__name__}, not a {plan.pipeline}")
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            _check_module(plan, name, component)
        if isinstance(component, transformers.PreTrainedTokenizerBase):
            encoder = getattr(pipeline, name.replace("tokenizer", "text_encoder"), None)
            _check_tokenizer(plan, name, component, encoder)


def _check_module(plan: GeneratePlan, name: str, module: torch.nn.Module) -> None:
    expected = TORCH_DTYPES[plan.component_dtypes.get(name, plan.dtype)]
    float32_parts = getattr(module, "_keep_in_fp32_modules", None) or ()
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise ModelError(f"{name} of {plan.model.reference} lacks its weights: {key} was never filled")
    for key, tensor in module.named_parameters():
        is_kept = tensor.dtype == torch.float32 and any(part in key.split(".") for part in float32_parts)
        if tensor.is_floating_point() and tensor.dtype != expected and not is_kept:
            raise ModelError(f"{name} of {plan.model.reference} is mixed: {key} is {tensor.dtype}, the rest {expected}")


def _check_tokenizer(plan: GeneratePlan, name: str, tokenizer: Any, encoder: Any) -> None:
    vocabulary = getattr(getattr(encoder, "config", None), "vocab_size", None)
    if isinstance(vocabulary, int) and not LEAST_SHARE_OF_TOKENS * vocabulary <= len(tokenizer) <= vocabulary:
        raise ModelError(
            f"{name} of {plan.model.reference} has {len(tokenizer)} tokens, its text encoder {vocabulary}: they do not "
            "belong together, or the vocabulary is incomplete"
        )
    if type(tokenizer).__name__.startswith("CLIP") and tokenizer.model_max_length >= NO_LIMIT:
        raise ModelError(
            f"{name} of {plan.model.reference} has no model_max_length: its tokenizer_config.json is incomplete"
        )


def _adapt(pipeline: Any, plan: GeneratePlan, added: tuple[loras.Ready, ...] | None) -> None:
    """Add the plan's adapters: before offloading, whose hooks they would have to be moved through."""
    loras.add(pipeline, loras.read_for(pipeline, plan) if added is None else added)
    embeddings.add(pipeline, plan)
    image_adapter = next((adapter for adapter in plan.adapters if adapter.asked.kind == "ip-adapter"), None)
    if image_adapter is not None:
        layout = ip_adapters.layout(plan.family)
        dtype = TORCH_DTYPES[plan.dtype]
        ip_adapter.load_ip_adapter(pipeline, image_adapter, layout, dtype=dtype, allow_pickle=plan.allow_pickle)


def _schedule(pipeline: Any, plan: GeneratePlan) -> None:
    if plan.scheduler is None:
        return
    scheduler_class = getattr(diffusers, plan.scheduler.class_name)
    pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config, **plan.scheduler.arguments)


def _format(pipeline: Any, plan: GeneratePlan) -> None:
    if not plan.channels_last:
        return
    for name in ("unet", "controlnet", *AUTOENCODERS):
        module = getattr(pipeline, name, None)
        if module is not None:
            module.to(memory_format=torch.channels_last)


def _tile(pipeline: Any, plan: GeneratePlan) -> None:
    vae = encoding.autoencoder(pipeline)
    try:
        if plan.vae_slicing:
            vae.enable_slicing()
        if plan.vae_tile:
            set_tile(vae, plan.vae_tile)
    except (AttributeError, NotImplementedError) as error:
        raise RequestError(
            f"{type(vae).__name__} of {plan.model.reference} cannot work in tiles or slices", hint="--vae-tiling off"
        ) from error


def set_tile(vae: Any, edge: int) -> None:
    """Make `vae` encode and decode in tiles of `edge` pixels; raise NotImplementedError where it cannot.

    `enable_tiling()` alone leaves SDXL's tile at 1024 pixels, which saves nothing at its own size.
    """
    if hasattr(vae, "tile_sample_min_height"):
        # Only where a quarter of a tile is whole latents do the tiles meet.
        scale = getattr(vae, "spatial_compression_ratio", 8)
        quarter = max(1, edge // scale // 4) * scale
        edge, stride = 4 * quarter, 3 * quarter
        vae.enable_tiling(
            tile_sample_min_height=edge,
            tile_sample_min_width=edge,
            tile_sample_stride_height=stride,
            tile_sample_stride_width=stride,
        )
        return
    if not hasattr(vae, "tile_latent_min_size"):
        raise NotImplementedError(f"{type(vae).__name__} has no tile size")
    scale = _scale(vae)
    # AutoencoderTiny's tiles are laid out for eight pixels per latent, whatever its stages are.
    if getattr(vae, "spatial_scale_factor", scale) != scale:
        raise NotImplementedError(f"{type(vae).__name__} with {scale} pixels per latent has no tiles")
    # Both classes overlap by a quarter or an eighth, rounded down; only where that is whole do the tiles meet.
    latents = max(1, edge // scale // 8) * 8
    vae.enable_tiling()
    vae.tile_sample_min_size = latents * scale
    vae.tile_latent_min_size = latents


def _scale(vae: Any) -> int:
    channels = getattr(vae.config, "block_out_channels", None) or vae.config.decoder_block_out_channels
    return int(2 ** (len(channels) - 1))


def _slice_attention(pipeline: Any, plan: GeneratePlan) -> None:
    if plan.attention_slicing != "diffusers":
        return
    if not hasattr(getattr(pipeline, "unet", None), "set_attention_slice"):
        raise RequestError(
            f"{plan.model.reference} has no U-Net, so diffusers cannot slice its attention",
            hint="--attention-slicing auto",
        )
    pipeline.enable_attention_slicing("auto")
