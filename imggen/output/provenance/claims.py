"""What a signature is to vouch for: from what made a picture to the statement in its manifest."""

from collections.abc import Sequence
from datetime import datetime

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

_MINING: dict[MiningWish, Mining] = {"allowed": "allowed", "constrained": "constrained", "not-allowed": "notAllowed"}


def of_picture(
    pixels: MarkedPixels, output: OutputPlan, *, title: str, created: datetime, parents: Sequence[Parent]
) -> Statement:
    """Return what to state of a picture that is about to be signed.

    Below `--metadata full`, and where the prompt is not recorded in full, it has no settings; below `full`, or where it
    is not recorded at all, no hash of the prompt either. Parents stay: their marks are not to be lost.
    """
    origin, particulars = pixels.origin, pixels.particulars
    if isinstance(origin, Upscaled):
        return _of_enlargement(pixels, origin, title=title, created=created, parents=parents)
    full = output.metadata == "full"
    changed = any(parent.relationship == "parentOf" for parent in parents)
    return Statement(
        title=title,
        source_type=metadata.source_type(origin),
        model=metadata.public(origin.model),
        model_version=origin.model_revision or origin.model_hash,
        version=origin.versions.get("imggen", ""),
        when=created,
        action="edited" if changed else "created",
        guid=particulars.guid if full else None,
        watermark_id=particulars.watermark or None,
        prompt_sha256=metadata.prompt_sha256(origin) if full and particulars.prompt != "omit" else None,
        settings=_settings(origin) if full and particulars.prompt == "full" else {},
        mining=_MINING[particulars.mining] if particulars.mining else None,
        parents=tuple(parents),
        description=origin.change.method if origin.change else None,
    )


def _settings(recipe: Recipe) -> dict[str, str | int | float]:
    names = ("task", "seed", "steps", "guidance", "sampler", "width", "height", "family", "model_hash")
    return {name: getattr(recipe, name) for name in names}


def _of_enlargement(
    pixels: MarkedPixels, origin: Upscaled, *, title: str, created: datetime, parents: Sequence[Parent]
) -> Statement:
    """Return what to state of a picture that was enlarged from another file's."""
    edit, particulars = origin.edit, pixels.particulars
    action: Action = "resized" if edit.engine == "lanczos" else "enhanced"
    return Statement(
        title=title,
        source_type=upscaled.source_type(origin),
        model=metadata.public(edit.model) or edit.engine,
        model_version=edit.model_hash or edit.imggen,
        version=edit.imggen,
        when=created,
        # A parent that C2PA cannot take in, a BMP, leaves nothing that could have been opened.
        action=action if parents else "created",
        guid=particulars.guid,
        watermark_id=particulars.watermark or None,
        mining=_MINING[particulars.mining] if particulars.mining else None,
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
