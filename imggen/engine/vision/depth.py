"""Depth pictures out of photographs: near is white, as ControlNets for depths were taught (arXiv 2302.05543)."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import DPTImageProcessorPil

from imggen.engine import failures, threads
from imggen.errors import MachineError, ModelError, RequestError
from imggen.host import heap
from imggen.host.environment import quiet
from imggen.plan.adapters import depths
from imggen.plan.schema.adapter import AdapterFacts
from imggen.store import remote_code, weights

# The layer that nothing comes to: published files of DPT lack it, and what is drawn by chance there is not used.
_UNUSED: Final = "neck.fusion_stage.layers.0.residual_layer1."


def measure(adapter: AdapterFacts, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Return the depth picture of each RGB image: RGB, of the same size, the nearest white and the farthest black.

    The network is there for this long only. It runs on the processor in float32, so that what is made for one device is
    what is made for another. Raise ModelError for weights that cannot be read, and RequestError for a picture in which
    all is equally far.
    """
    remote_code.forbid()
    threads.limit()
    with quiet(), _explained(adapter):
        network, processor = _load(adapter)
        measured = [_measured(network, processor, image) for image in images]
    del network
    gc.collect()
    heap.trim()
    return [_shown(depths_of_image, adapter) for depths_of_image in measured]


def _load(adapter: AdapterFacts) -> tuple[Any, Any]:
    """Return the network and its image processor; raise ModelError where weights are missing."""
    file = adapter.files[0]
    transformers.utils.logging.disable_progress_bar()
    network, report = getattr(transformers, depths.check(adapter)).from_pretrained(
        str(file.parent),
        dtype=torch.float32,
        variant=weights.variant_of(file),
        use_safetensors=not adapter.pickle,
        local_files_only=True,
        output_loading_info=True,
    )
    lacking = sorted(name for name in map(str, report["missing_keys"]) if not name.startswith(_UNUSED))
    failures.check_whole(f"{adapter.asked.option} {adapter.asked.reference}", lacking)
    # Configs of some versions leave it open, and what it scales is laid between black and white anyhow.
    head = getattr(network, "head", None)
    if head is not None and getattr(head, "max_depth", 1) is None:
        head.max_depth = 1
    # By one way of resizing, whatever else is installed: torchvision's is another.
    processor = DPTImageProcessorPil.from_pretrained(str(file.parent), local_files_only=True)
    return network.eval(), processor


def _measured(network: Any, processor: Any, image: Image.Image) -> np.ndarray:
    inputs = processor(images=image, return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs)
    (estimate,) = processor.post_process_depth_estimation(output, [(image.height, image.width)])
    return np.asarray(estimate["predicted_depth"].numpy())


def _shown(measured: np.ndarray, adapter: AdapterFacts) -> Image.Image:
    what = f"{adapter.asked.option} {adapter.asked.reference}"
    if not np.isfinite(measured).all():
        raise ModelError(f"{what} measured depths that are not finite; its weights are damaged or do not fit")
    least, most = measured.min(), measured.max()
    if least == most:
        raise RequestError(
            f"{what} measures the same depth everywhere in the picture", hint="a photograph that has depth"
        )
    return Image.fromarray(((measured - least) / (most - least) * 255).astype(np.uint8)).convert("RGB")


@contextmanager
def _explained(adapter: AdapterFacts) -> Iterator[None]:
    what = f"{adapter.asked.option} {adapter.asked.reference}"
    try:
        yield
    except (MemoryError, *failures.MODEL_FAULTS) as error:
        if failures.is_out_of_memory(error):
            raise MachineError(
                f"there is not enough memory to measure depth by {what}",
                hint=f"{depths.OPTION} {depths.USUAL}, or a smaller photograph",
            ) from error
        hint = f"{depths.OPTION} {depths.USUAL}"
        raise ModelError(f"{what} cannot be loaded: {failures.reason(error)}", hint=hint) from error
