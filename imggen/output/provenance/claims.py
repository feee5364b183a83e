"""What a signature is to vouch for: from what made a picture to the statement in its manifest."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import imggen
from imggen.output.metadata import metadata, upscaled
from imggen.output.metadata.metadata import Facts
from imggen.output.metadata.upscaled import Upscaled
from imggen.output.provenance import signing
from imggen.output.provenance.signing import Action, Mining, Parent, Statement
from imggen.output.watermark.marking import MarkedPixels
from imggen.plan.schema.marking import Mining as MiningWish
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import OutputPlan

_MINING: Final[dict[MiningWish, Mining]] = {
    "allowed": "allowed",
    "constrained": "constrained",
    "not-allowed": "notAllowed",
}


def of_picture(
    pixels: MarkedPixels, output: OutputPlan, *, title: str, created: datetime, parents: Sequence[Parent]
) -> Statement:
    """Return what to state of a picture that is about to be signed.

    Below `--metadata full`, and where the prompt is not recorded in full, it has no settings; below `full`, or where it
    is not recorded at all, no hash of the prompt either. Parents stay: their marks are not to be lost.
    """
    told, said = pixels.told, pixels.particulars
    if isinstance(told, Upscaled):
        return _of_enlargement(pixels, told, title=title, created=created, parents=parents)
    full = output.metadata == "full"
    changed = any(parent.relationship == "parentOf" for parent in parents)
    return Statement(
        title=title,
        source_type=metadata.source_type(told),
        model=metadata.public(told.model),
        model_version=told.model_revision or told.model_hash,
        version=told.versions.get("imggen", ""),
        when=created,
        action="edited" if changed else "created",
        guid=said.guid if full else None,
        watermark_id=said.watermark or None,
        prompt_sha256=metadata.prompt_sha256(told) if full and said.prompt != "omit" else None,
        settings=_settings(told) if full and said.prompt == "full" else {},
        mining=_MINING[said.mining] if said.mining else None,
        parents=tuple(parents),
        description=told.change.method if told.change else None,
    )


def _settings(recipe: Recipe) -> dict[str, str | int | float]:
    names = ("task", "seed", "steps", "guidance", "sampler", "width", "height", "family", "model_hash")
    return {name: getattr(recipe, name) for name in names}


def _of_enlargement(
    pixels: MarkedPixels, told: Upscaled, *, title: str, created: datetime, parents: Sequence[Parent]
) -> Statement:
    edit, said = told.edit, pixels.particulars
    action: Action = "resized" if edit.engine == "lanczos" else "enhanced"
    return Statement(
        title=title,
        source_type=upscaled.source_type(told),
        model=metadata.public(edit.model) or edit.engine,
        model_version=edit.model_hash or edit.imggen,
        version=edit.imggen,
        when=created,
        # A parent that C2PA cannot take in, a BMP, leaves nothing that could have been opened.
        action=action if parents else "created",
        guid=said.guid,
        watermark_id=said.watermark or None,
        mining=_MINING[said.mining] if said.mining else None,
        parents=tuple(parents),
        description=f"enlarged to {edit.width}x{edit.height} pixels",
    )


def of_edit(data: bytes, facts: Facts, *, title: str, created: datetime) -> Statement:
    """Return what to state of the file `data` whose metadata, and nothing else, are to be edited."""
    stated = facts.xmp.get(metadata.SOURCE_TYPE)
    guid = facts.xmp.get(metadata.IDENTITY)
    return Statement(
        title=title,
        source_type=stated if isinstance(stated, str) and stated.startswith("http") else None,
        model="imggen",
        model_version=imggen.__version__,
        version=imggen.__version__,
        when=created,
        action="edited.metadata",
        guid=guid if isinstance(guid, str) else None,
        parents=(signing.Parent(data=data, format=facts.picture.format, title=title),),
        description="metadata edited",
    )
