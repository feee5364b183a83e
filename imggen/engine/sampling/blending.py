"""Latent blending: the masked part of a picture is drawn anew, the rest is held to the original at every step."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from imggen.engine import patching

Callback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]

# What schedulers call the forward process, along a noise schedule and along a straight path: the method, the picture
# that it noises, and the time that it is noised to.
FORWARD = {"add_noise": ("original_samples", "timesteps"), "scale_noise": ("sample", "timestep")}


@contextmanager
def masked(pipeline: Any, mask: Image.Image) -> Iterator[Callback]:
    """Yield the `callback_on_step_end` that makes calls of an image-to-image pipeline repaint only what `mask` marks.

    `mask` covers the picture that the pipeline computes; what is not black is repainted, and so is every latent with
    one such pixel in it. After each step the other latents become the original's, noised to the level that the step
    has reached, and after the last the original's own (arXiv 2206.02779). The original and its noise are those that
    the pipeline itself hands to its scheduler, so any scheduler that can noise a picture will do.
    """
    blending = _Blending(mask)
    scheduler = pipeline.scheduler
    watched = {
        name: partial(blending.watch, getattr(scheduler, name), name) for name in FORWARD if hasattr(scheduler, name)
    }
    with patching.replaced(scheduler, **watched):
        yield blending.blend


class _Blending:
    """What one call's latents are held to, learnt as the pipeline noises the picture that it starts from."""

    def __init__(self, mask: Image.Image) -> None:
        self._mask = torch.from_numpy(np.asarray(mask.convert("L")) > 0)[None, None].float()
        self._original = torch.empty(0)
        self._noised_to: Callable[[Tensor], Tensor] = torch.clone

    def watch(self, forward: Callable[..., Tensor], name: str, *arguments: Any, **options: Any) -> Tensor:
        bound = inspect.signature(forward).bind(*arguments, **options).arguments
        picture, time = FORWARD[name]
        self._original = bound[picture]
        self._noised_to = lambda timesteps: forward(**bound | {time: timesteps})
        return forward(*arguments, **options)

    def blend(self, pipeline: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents: Tensor = tensors["latents"]
        is_last = step >= pipeline.num_timesteps - 1
        # Between the two halves of a second-order step the latents are at no level that the schedule names.
        if not is_last and not getattr(pipeline.scheduler, "state_in_first_order", True):
            return {}
        original = self._original if is_last else self._noised(pipeline, step)
        mask = F.adaptive_max_pool2d(self._mask, original.shape[-2:]).expand_as(original)
        original, mask = (_packed(pipeline, tensor.to(latents), latents) for tensor in (original, mask))
        return {"latents": torch.where(mask > 0, latents, original)}

    def _noised(self, pipeline: Any, step: int) -> Tensor:
        # The pipeline runs the end of the schedule, after what the strength leaves out. Schedulers that count their
        # steps know where they are; the others are told the timestep that the denoiser will be told next.
        timesteps = pipeline.scheduler.timesteps
        following = len(timesteps) - pipeline.num_timesteps + step + 1
        return self._noised_to(timesteps[following].expand(len(self._original)))


def _packed(pipeline: Any, tensor: Tensor, like: Tensor) -> Tensor:
    if tensor.ndim == like.ndim:
        return tensor
    packed: Tensor = pipeline._pack_latents(tensor, *tensor.shape)  # noqa: SLF001 - the family's own order
    return packed
