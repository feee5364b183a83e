"""Why families lack something, in words that several rows share, and why some pipelines have no row."""

from collections.abc import Mapping
from typing import Final

ONE_PASS: Final = "it runs without classifier-free guidance, which a negative prompt needs"  # noqa: S105 - no password
NO_SLICES = "only U-Nets have it; `auto` computes attention in chunks where memory is short"
NO_TILES = "its transformer encodes each token's position, so the edges cannot meet"
NO_ADAPTERS = "diffusers has no IP-Adapters for it"
OWN_LENGTHS = "its prompt embeddings differ in length"
LOOKS_ITSELF = "it reads the style picture itself"

PIPELINES: Final[Mapping[str, str]] = {
    # diffusers 0.42 makes the guardrail itself where a model's folder has none, as the published ones.
    "Cosmos2TextToImagePipeline": "it runs only with NVIDIA's guardrail, the package cosmos_guardrail, which "
    "downloads other models by itself, pickles among them"
}
"""Pipelines whose signatures say nothing against them, and which imggen does not serve all the same."""
