"""Diffusion models that enlarge pictures, as data: their pipeline classes, and what suits each."""

from dataclasses import dataclass
from typing import Final

from imggen.errors import ModelError
from imggen.plan.models import catalog
from imggen.plan.schema.request import ModelFacts

BUILTIN_SCALES: Final = (2, 4)
"""How many times the networks that come with imggen enlarge."""
PICKLE_SUFFIXES: Final = (".pth", ".pt", ".ckpt")
NETWORK_SUFFIXES: Final = (".safetensors", *PICKLE_SUFFIXES)
"""What the names of networks' files end in."""


@dataclass(frozen=True, kw_only=True)
class UpscalerPipeline:
    """A pipeline class that enlarges pictures, and what suits it.

    `factor` is by how much, 0 where it is the number of pixels per latent. `tile` is in pixels of the small picture.
    `noise_level` is how much of it drowns in noise before it is drawn anew, on the model's own scale from 0.
    """

    factor: int
    steps: int
    guidance: float
    noise_level: int | None
    tile: int


KINDS: Final = {
    "StableDiffusionUpscalePipeline": UpscalerPipeline(factor=0, steps=40, guidance=9.0, noise_level=20, tile=256),
    # Guidance blurs what this one draws, and its authors left it out.
    "StableDiffusionLatentUpscalePipeline": UpscalerPipeline(
        factor=2, steps=20, guidance=0.0, noise_level=None, tile=512
    ),
}

# What diffusers calls pipelines that enlarge, DeepFloyd IF's later stages among them.
_ENLARGING: Final = ("Upscale", "SuperResolution")


def find(facts: ModelFacts) -> UpscalerPipeline:
    """Return what is known of a model that enlarges pictures; raise ModelError for one that does not."""
    kind = KINDS.get(facts.pipeline)
    if kind is None:
        enlarges = any(word in facts.pipeline for word in _ENLARGING)
        lacks = "which imggen does not drive" if enlarges else "which does not enlarge pictures"
        message = f"{facts.reference} is a {facts.pipeline}, {lacks}; those that enlarge are {' and '.join(KINDS)}"
        raise ModelError(message, hint="--model builtin")
    return kind


def factor(facts: ModelFacts) -> int:
    """Return how many times larger one pass of the model makes a picture."""
    return find(facts).factor or catalog.vae_scale(facts)
