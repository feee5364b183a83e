"""IP-Adapters: weights that show a picture to a denoiser beside its words (arXiv 2308.06721)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor

from imggen.engine import failures
from imggen.errors import ModelError
from imggen.plan.adapters.ip_adapter_layouts import ATTENTIONS, PROJECTION, ImageEncoderKind, Layout
from imggen.plan.schema.adapter import AdapterFacts
from imggen.store import pickles, weights
from imggen.store.adapter_files import PROCESSOR


def load_ip_adapter(
    pipeline: Any, adapter: AdapterFacts, layout: Layout, *, dtype: torch.dtype, allow_pickle: bool = False
) -> None:
    """Give the denoiser of `pipeline` an IP-Adapter that was found to fit it, with its image encoder.

    The adapter's scale weighs the picture against the words, 0 is without it. Do this before the pipeline is placed on
    its device, and leave its attention processors alone afterwards. Raise ModelError for weights that cannot be read.
    """
    file = adapter.files[0]
    encoder = _load_encoder(adapter, layout.eye, dtype, allow_pickle=allow_pickle)
    with failures.model_faults(f"{file} cannot be loaded"):
        tensors = {layout.renamed(name): tensor.to(dtype) for name, tensor in _tensors(file).items()}
        pipeline.register_modules(image_encoder=encoder)
        if layout.eye.processor is not None:
            pipeline.register_modules(feature_extractor=_processor(layout.eye.processor, adapter, encoder))
        pipeline.load_ip_adapter(_parted(tensors), subfolder="", weight_name="")
        pipeline.set_ip_adapter_scale(1.0 if adapter.asked.scale is None else adapter.asked.scale)


def _tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    return pickles.grouped_tensors(file)


def _parted(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {prefix.removesuffix("."): {} for prefix in (PROJECTION, ATTENTIONS)}
    for name, tensor in tensors.items():
        part, _, inner = name.partition(".")
        if part in parts:
            parts[part][inner] = tensor
    return parts


def _processor(class_name: str, adapter: AdapterFacts, encoder: Any) -> Any:
    """Return what makes of a picture what the encoder sees: as it lies beside that, else the usual one of its size."""
    kind, folder = getattr(transformers, class_name), adapter.files[1].parent
    if (folder / PROCESSOR).is_file():
        return kind.from_pretrained(str(folder), local_files_only=True)
    edge = encoder.config.image_size
    return kind(size={"height": edge, "width": edge})


def _load_encoder(adapter: AdapterFacts, eye: ImageEncoderKind, dtype: torch.dtype, *, allow_pickle: bool) -> Any:
    """Return the image encoder; raise ModelError for pickles that are not allowed and for missing weights."""
    folder = adapter.files[1].parent
    choice = weights.choose(folder, half=dtype != torch.float32)
    if choice is None:
        raise ModelError(f"{folder} has no weights")
    if choice.pickle and not allow_pickle:
        raise pickles.refusal(choice.files[0])
    kind = getattr(transformers, eye.class_name)
    with failures.model_faults(f"{folder} cannot be loaded"):
        config = kind.config_class.from_pretrained(str(folder), local_files_only=True)
        config.update(eye.settings)
        encoder, report = kind.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            variant=choice.variant,
            use_safetensors=not choice.pickle,
            local_files_only=True,
            output_loading_info=True,
        )
    failures.check_whole(str(folder), report["missing_keys"])
    return encoder.eval()
