"""IP-Adapters: weights that show a picture to a U-Net beside its words (arXiv 2308.06721)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from imggen.engine import failures, weights
from imggen.errors import ModelError
from imggen.plan.adapter import AdapterFacts
from imggen.plan.ip_adapters import ATTENTIONS, PROJECTION


def load_ip_adapter(pipeline: Any, adapter: AdapterFacts, *, allow_pickle: bool = False) -> None:
    """Give the U-Net of `pipeline` an IP-Adapter that was found to fit it, with its image encoder.

    The adapter's scale weighs the picture against the words, 0 is without it. Do this before the pipeline is placed on
    its device, and leave its attention processors alone afterwards. Raise ModelError for weights that cannot be read.
    """
    dtype, file = pipeline.unet.dtype, adapter.files[0]
    encoder = _load_encoder(adapter, dtype, allow_pickle=allow_pickle)
    with _explained(file):
        found = {name: each.to(dtype) for name, each in tensors(file).items()}
        pipeline.register_modules(image_encoder=encoder)
        pipeline.load_ip_adapter(_parted(found), subfolder="", weight_name="")
        pipeline.set_ip_adapter_scale(1.0 if adapter.asked.scale is None else adapter.asked.scale)


def tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors in an adapter's file, by their whole names; of a pickle nothing but tensors is read."""
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    with _explained(file):
        parts = torch.load(file, map_location="cpu", weights_only=True)
        return {f"{part}.{name}": each for part, found in parts.items() for name, each in found.items()}


def _parted(found: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {
        prefix.removesuffix("."): {
            name.removeprefix(prefix): each for name, each in found.items() if name.startswith(prefix)
        }
        for prefix in (PROJECTION, ATTENTIONS)
    }


def _load_encoder(adapter: AdapterFacts, dtype: torch.dtype, *, allow_pickle: bool) -> Any:
    folder = adapter.files[1].parent
    choice = weights.choose(folder, half=dtype != torch.float32)
    if choice is None:
        raise ModelError(f"{folder} has no weights")
    if choice.pickle and not allow_pickle:
        raise ModelError(f"{choice.files[0]} is a pickle, which can run code when it is read", hint="--allow-pickle")
    with _explained(folder):
        encoder, report = CLIPVisionModelWithProjection.from_pretrained(
            str(folder),
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
