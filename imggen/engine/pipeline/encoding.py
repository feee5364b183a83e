"""From a picture to latents, and latents in place of a picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from imggen.engine import patching
from imggen.engine.pipeline import decoding, placement
from imggen.errors import PictureError
from imggen.plan.schema.family import AUTOENCODERS


def autoencoder(pipeline: Any) -> Any:
    """Return the part of `pipeline` that turns latents into pixels, whatever it is called; None where it has none."""
    return next((vae for name in AUTOENCODERS if (vae := getattr(pipeline, name, None)) is not None), None)


@torch.no_grad()
def encode(pipeline: Any, image: Image.Image) -> torch.Tensor:
    """Return the latents of an RGB picture as the autoencoder of `pipeline` gives them, before any scaling or shift.

    They are (1, channels, height, width), float32 on the CPU: the middle of the posterior, so the same every time. An
    autoencoder that overflows in half precision, or says that it may, works in float32; raise PictureError where even
    that gives no numbers.
    """
    # Of a model in two stages it is the second that knows pictures.
    pipeline = placement.stages(pipeline)[-1]
    vae = autoencoder(pipeline)
    dtype = vae.dtype
    pixels = pipeline.image_processor.preprocess(image)
    try:
        latents = _latents(pipeline, pixels, torch.float32 if getattr(vae.config, "force_upcast", False) else dtype)
        if not decoding.is_finite(latents):
            latents = _latents(pipeline, pixels, torch.float32)
    finally:
        _cast(vae, dtype)
        pipeline.maybe_free_model_hooks()
    if not decoding.is_finite(latents):
        raise PictureError(
            f"the autoencoder {type(vae).__name__} encodes the given picture to values that are not finite"
        )
    return latents.float().cpu()


def _latents(pipeline: Any, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    vae = autoencoder(pipeline)
    _cast(vae, dtype)
    pixels = pixels.to(pipeline._execution_device, dtype)  # noqa: SLF001 - as every pipeline does
    # To an autoencoder that was made for films, a picture is a film of one frame.
    is_film = hasattr(vae.config, "temperal_downsample")
    encoded = vae.encode(pixels.unsqueeze(2) if is_film else pixels)
    latents = _middle(encoded)
    return latents.squeeze(2) if is_film else latents


def _middle(encoded: Any) -> torch.Tensor:
    if hasattr(encoded, "latent_dist"):
        latents: torch.Tensor = encoded.latent_dist.mode()
        return latents
    # Those of Sana have one and call it so.
    middle: torch.Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    return middle


def _cast(vae: Any, dtype: torch.dtype) -> None:
    if vae.dtype != dtype:
        vae.to(dtype)


@contextmanager
def replaced(vae: Any, latents: torch.Tensor) -> Iterator[None]:
    """Let `vae` encode whatever it is given to `latents` within the block.

    This is how latents enter an image-to-image pipeline of any family: Stable Diffusion's own way knows latents by
    their four channels and takes eight for a picture. They come in the dtype and on the device of the pixels that were
    given, one copy per picture, and draw no random numbers: the noise of a seed is that of text-to-image.
    """

    def encode(pixels: torch.Tensor) -> _Encoded:
        expanded = latents.to(pixels).expand(len(pixels), *latents.shape[1:])
        expanded = expanded.unsqueeze(2) if pixels.ndim > expanded.ndim else expanded
        # Pipelines ask for one of them, depending on what kind of autoencoder they expect.
        return _Encoded(latents=expanded, latent=expanded, latent_dist=_Certainty(expanded))

    with patching.replaced(vae, encode=encode):
        yield


class _Encoded(SimpleNamespace):
    """What an autoencoder gives, which Kandinsky 3 asks like a dictionary."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class _Certainty:
    """A posterior without a spread, as pipelines ask one."""

    def __init__(self, latents: torch.Tensor) -> None:
        self._latents = latents

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:  # noqa: ARG002 - the libraries' signature
        return self._latents

    def mode(self) -> torch.Tensor:
        return self._latents
