"""The model families, one row each: data alone, which `catalog` reads."""

from typing import Final

from imggen.plan.models.families import bria, editors, flux, pixels, qwen, staged, transformers, unets
from imggen.plan.schema.family import Family

FAMILIES: Final[tuple[Family, ...]] = (
    *unets.ROWS,
    *flux.ROWS,
    *transformers.ROWS,
    *qwen.ROWS,
    *bria.ROWS,
    *editors.ROWS,
    *staged.ROWS,
    *pixels.ROWS,
)
"""All of them. Of rows that name the same pipelines the first one that a model fits is meant."""
