"""Why families lack something, in words that several rows share, and why some pipelines have no row."""

from collections.abc import Mapping
from typing import Final

ONE_PASS: Final = "it has one pass per step, and nothing to steer away from"  # noqa: S105 - no password
NO_SLICES = "only U-Nets have it; `auto` cuts attention into chunks where memory asks for it"
NO_TILES = "its transformer knows where in the picture a token stands, so edges cannot meet"
NO_ADAPTERS = "diffusers has no IP-Adapters for it"
OWN_LENGTHS = "it reads each prompt at its own length"
LOOKS_ITSELF = "it looks at the style picture itself"

PIPELINES: Final[Mapping[str, str]] = {
    # diffusers 0.42 makes the guardrail itself where a model's folder has none, as the published ones.
    "Cosmos2TextToImagePipeline": "it draws only behind NVIDIA's guardrail, the package cosmos_guardrail, which "
    "downloads other models by itself, pickles among them",
}
"""Pipelines whose signatures say nothing against them, and which imggen does not serve all the same."""
