"""IP-Adapters: weights that show a picture to a denoiser beside its words (arXiv 2308.06721)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    with _explained(file):
        found = {layout.renamed(name): tensor.to(dtype) for name, tensor in _tensors(file).items()}
        pipeline.register_modules(image_encoder=encoder)
        if layout.eye.processor is not None:
            pipeline.register_modules(feature_extractor=_processor(layout.eye.processor, adapter, encoder))
        pipeline.load_ip_adapter(_parted(found), subfolder="", weight_name="")
        pipeline.set_ip_adapter_scale(1.0 if adapter.asked.scale is None else adapter.asked.scale)


def _tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    return pickles.grouped_tensors(file)


def _parted(found: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {
        prefix.removesuffix("."): {
            name.removeprefix(prefix): each for name, each in found.items() if name.startswith(prefix)
        }
        for prefix in (PROJECTION, ATTENTIONS)
    }


def _processor(class_name: str, adapter: AdapterFacts, encoder: Any) -> Any:
    """Return what makes of a picture what the encoder sees: as it lies beside that, else the usual one of its size."""
    kind, folder = getattr(transformers, class_name), adapter.files[1].parent
    if (folder / PROCESSOR).is_file():
        return kind.from_pretrained(str(folder), local_files_only=True)
    edge = encoder.config.image_size
    return kind(size={"height": edge, "width": edge})


def _load_encoder(adapter: AdapterFacts, eye: ImageEncoderKind, dtype: torch.dtype, *, allow_pickle: bool) -> Any:
    folder = adapter.files[1].parent
    choice = weights.choose(folder, half=dtype != torch.float32)
    if choice is None:
        raise ModelError(f"{folder} has no weights")
    if choice.pickle and not allow_pickle:
        raise ModelError(f"{choice.files[0]} is a pickle, which can run code when it is read", hint="--allow-pickle")
    kind = getattr(transformers, eye.class_name)
    with _explained(folder):
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
    lacking = sorted(map(str, report["missing_keys"]))
    if lacking:
        raise ModelError(f"{folder} lacks {len(lacking)} of its weights, {lacking[0]} among them")
    return encoder.eval()


@contextmanager
def _explained(what: Path) -> Iterator[None]:
    try:
        yield
    except failures.MODEL_FAULTS as error:
        if failures.is_out_of_memory(error):
            raise
        raise ModelError(f"{what} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
