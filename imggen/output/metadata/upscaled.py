"""What a file says of a picture that was enlarged: what the smaller one said, what was done to it, and from what."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from imggen.errors import RequestError
from imggen.output.formats import container, density, exif, xmp
from imggen.output.formats.carriers import Carriers, Picture
from imggen.output.formats.container import CONTAINERS
from imggen.output.formats.density import Density
from imggen.output.metadata import fields, infotext, metadata
from imggen.output.metadata.fields import Field
from imggen.output.metadata.metadata import Facts, Metadata, Particulars
from imggen.plan.schema import formats, recipe
from imggen.plan.schema.change import Edit
from imggen.plan.schema.formats import FORMATS
from imggen.plan.schema.recipe import Recipe
from imggen.plan.schema.request import Metadata as Level

ENHANCED = metadata.SOURCE_TYPES + "algorithmicallyEnhanced"

MANIFEST_LOST = "the source's C2PA manifest is not kept, because the larger picture is not signed"
"""The note about a source's manifest, which does not hold where the larger picture is signed."""

_MODIFIED = "xmp:ModifyDate"
_IDENTITIES = (metadata.IDENTITY, "xmpMM:DocumentID", "xmpMM:InstanceID")
GENERATIVE = (metadata.GENERATED, metadata.COMPOSITE, metadata.SOURCE_TYPES + "compositeSynthetic")
# What tells of pixels, of a profile, or of more data behind the picture, that the new file does not have.
_STALE = ("xmp:Thumbnails", "xmpNote:HasExtendedXMP", "hdrgm:Version", "GContainer:Directory", "photoshop:ICCProfile")
_PUBLIC = ("title", "description", "alt", "creator", "copyright", "license", "keywords", "credit")
_SIDEWAYS = 5
_LONGEST_KEYWORD = 79


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """A picture that the step `edit` made from another one.

    `source` is what that one's file says, None where it is of a kind whose metadata imggen does not read, or damaged;
    `notes` say so. `density` are its pixels per inch along both axes, None where they are not known.
    """

    edit: Edit
    source: Facts | None = None
    density: Density | None = None
    notes: tuple[str, ...] = ()


def describe(data: bytes, edit: Edit) -> Upscaled:
    """Return the enlargement of the picture in the file `data` by `edit`; a file that says nothing sound is a note."""
    if container.format_of(data) is None:
        return Upscaled(edit=edit, notes=(f"metadata is carried over from {formats.TITLES} only",))
    try:
        source = metadata.read(data)
        return Upscaled(edit=edit, source=source, density=density.read(data, source.picture))
    except RequestError as error:
        return Upscaled(edit=edit, notes=(f"its metadata is not carried over: {error.message}",))


def compose(
    origin: Upscaled, *, level: Level, created: datetime, picture: Picture, particulars: Particulars | None = None
) -> Metadata:
    """Return what to say of the enlarged picture, whose file's structure is `picture`.

    `full` keeps what the source says, camera and place and all, but for what tells of its pixels (thumbnails, size,
    orientation), and adds the step: to the recipe and the infotext, to the XMP history, and as the file that this one
    derives from. `minimal` keeps the words that are for the public (title, description, alternative text, keywords,
    creator, copyright, licence, credit), the pixels per inch and which model made the picture, and names neither the
    source nor anything else of it. `none` says nothing.

    A record that does not fit its picture stays one that does not. The source type is `source_type`'s.
    Where the prompt is not to be recorded in full, `full` is no more than `minimal`.
    """
    if level == "none":
        return Metadata()
    particulars = particulars or Particulars(guid=name(origin))
    composed = _full if level == "full" and particulars.prompt == "full" else _minimal
    record = composed(origin, created, picture, particulars)
    # What the source said of its own pixels is not true of these.
    own = {metadata.WATERMARK: None, metadata.LABEL: None}
    return replace(record, properties={**record.properties, **own, **particulars.properties()})


def name(origin: Upscaled, key: bytes | None = None) -> str:
    """Return the URN of the enlarged picture: the same for the same source, step and key."""
    extended, _ = _record(origin)
    if extended is not None:
        return metadata.identity(extended, key)
    return metadata.named(f"edit\n{json.dumps(asdict(origin.edit), sort_keys=True)}", key)


def label(origin: Upscaled) -> str:
    """Return the label that the source says is in its pixels, empty where there is none."""
    return _stated(origin.source, metadata.LABEL)


def is_generative(origin: Upscaled) -> bool:
    """Return whether a model drew what the enlarged picture shows, or a part of it."""
    return source_type(origin) in GENERATIVE


def source_type(origin: Upscaled) -> str | None:
    """Return the IPTC digital source type of the enlarged picture, None where none is stated.

    A picture that a model made, in whole or in part, stays what it was. Of others, a diffusion upscaler makes a
    composite, as it does of one with a generator's record and no statement; a trained network enhances; resampling
    changes nothing.
    """
    stated = _stated(origin.source, metadata.SOURCE_TYPE) or None
    if origin.edit.engine == "lanczos" or stated in GENERATIVE or metadata.is_generated(stated):
        return stated
    is_recorded = stated is None and origin.source is not None and origin.source.found is not None
    return metadata.COMPOSITE if origin.edit.engine == "diffusion" or is_recorded else ENHANCED


def _full(origin: Upscaled, created: datetime, picture: Picture, particulars: Particulars) -> Metadata:
    """Return all that the source says, with the step."""
    extended, text = _record(origin)
    carried, notes = _carried(origin.source, picture) if origin.source else (Carriers(), ())
    tags, dropped = _density(origin, carried.exif, picture)
    return Metadata(
        infotext=text,
        recipe=extended.to_json() if extended else None,
        properties={**_replaced(origin, picture, particulars.guid), _MODIFIED: metadata.stamp(created)},
        defaults=_defaults(origin, picture),
        tags=tags,
        tag_defaults={"Software": _tool(origin.edit), "ColorSpace": 1},
        added={metadata.HISTORY: _event(origin.edit, created, picture)},
        carried=carried,
        notes=(*origin.notes, *notes, *dropped),
    )


def _density(
    origin: Upscaled, block: bytes | None, picture: Picture
) -> tuple[dict[str, exif.Value | None], tuple[str, ...]]:
    """Return the Exif tags that keep the source's pixels per inch, where `block` does not; a note where none can."""
    if origin.density is None or density.of_exif(block) == origin.density:
        return {}, ()
    x, y = origin.density
    if CONTAINERS[picture.format].has_texts:
        inches = x if x == y else f"{x}x{y}"
        return {}, (f"the source's density of {inches} pixels per inch is not carried over",)
    return {"XResolution": x, "YResolution": y, "ResolutionUnit": 2}, ()


def _record(origin: Upscaled) -> tuple[Recipe | None, str | None]:
    """Return the source's recipe and its infotext, whoever wrote that, with the step; None where there is none."""
    record = origin.source.found if origin.source else None
    if origin.source is None or record is None:
        return None, None
    if record.recipe is not None:
        extended = recipe.edited(record.recipe, origin.edit)
        return extended, infotext.write(extended)
    if record.infotext is None:
        return None, None
    return None, infotext.enlarged(record.infotext, origin.edit, *_upright_size(origin.source))


def _upright_size(source: Facts) -> tuple[int, int]:
    turned = source.exif.get("Orientation")
    width, height = source.picture.width, source.picture.height
    return (height, width) if isinstance(turned, int) and turned >= _SIDEWAYS else (width, height)


def _replaced(origin: Upscaled, picture: Picture, guid: str) -> dict[str, xmp.Value | None]:
    """Return the properties that are no longer true of the larger picture, as they are now."""
    extended, _ = _record(origin)
    stated = origin.source.xmp if origin.source else {}
    sizes = dict.fromkeys(("tiff:ImageWidth", "exif:PixelXDimension"), str(picture.width))
    sizes |= dict.fromkeys(("tiff:ImageLength", "exif:PixelYDimension"), str(picture.height))
    sizes |= {"tiff:Orientation": "1", **dict.fromkeys(_IDENTITIES, guid)}
    values: dict[str, xmp.Value | None] = dict.fromkeys(_STALE)
    values |= {name: value for name, value in sizes.items() if name in stated}
    values[metadata.IDENTITY] = guid
    if extended is not None:
        values[metadata.RECIPE] = extended.to_json()
    if origin.source is not None and origin.source.fits:
        # A record that does not fit its picture keeps the hash of the one that it does fit.
        values[metadata.IMAGE_HASH] = picture.image_sha256
    return values | {metadata.SOURCE_TYPE: source_type(origin), metadata.DERIVED: _reference(origin)}


def _reference(origin: Upscaled) -> dict[str, str]:
    source = origin.source
    names = {
        "stRef:documentID": _stated(source, "xmpMM:DocumentID") or _stated(source, metadata.IDENTITY),
        "stRef:instanceID": _stated(source, "xmpMM:InstanceID"),
    }
    more = {metadata.SOURCE_TYPE: _stated(source, metadata.SOURCE_TYPE)}
    return metadata.reference(origin.edit.source_sha256, "image", names, more)


def _event(edit: Edit, created: datetime, picture: Picture) -> dict[str, str]:
    """Return the step as the XMP specification's part 2 has it (ResourceEvent); `resized` is one of its actions."""
    means = " ".join(filter(None, (edit.engine, metadata.public(edit.model), edit.model_hash)))
    values = {
        "seed": edit.seed,
        "steps": edit.steps,
        "guidance": None if edit.guidance is None else f"{edit.guidance:g}",
        # The last, since it may have commas of its own.
        "prompt": edit.prompt or None,
    }
    details = [f"{name} {value}" for name, value in values.items() if value is not None]
    return {
        "stEvt:action": "resized",
        "stEvt:parameters": ", ".join([f"{edit.action} to {edit.width}x{edit.height} px by {means}", *details]),
        "stEvt:softwareAgent": _tool(edit),
        "stEvt:when": metadata.stamp(created),
        "stEvt:instanceID": metadata.instance(picture.image_sha256),
        "stEvt:changed": "/",
    }


def _defaults(origin: Upscaled, picture: Picture) -> dict[str, xmp.Value]:
    source = origin.source
    values: dict[str, xmp.Value] = _system(origin)
    if source is None or "Software" not in source.exif:
        values[metadata.TOOL] = _tool(origin.edit)
    if source is not None and not CONTAINERS[picture.format].has_texts:
        values |= _worded(source, [field for field in fields.FIELDS if source.picture.carriers.text(field.text or "")])
    return values


def _system(origin: Upscaled) -> dict[str, xmp.Value]:
    if origin.edit.engine != "diffusion":
        return {}
    return {
        metadata.SYSTEM: f"imggen ({metadata.public(origin.edit.model)})",
        metadata.SYSTEM_VERSION: f"{_tool(origin.edit)}; {origin.edit.model_hash}",
    }


def _tool(edit: Edit) -> str:
    return f"imggen {edit.imggen}".strip()


def _stated(source: Facts | None, name: str) -> str:
    value = source.xmp.get(name) if source else None
    return value if isinstance(value, str) else ""


def _carried(source: Facts, picture: Picture) -> tuple[Carriers, tuple[str, ...]]:
    """Return the source's blocks as far as the new file can have them, and what was left out."""
    held = source.picture.carriers
    notes = list(_left_out(source, picture))
    packet, block = held.xmp, held.exif
    try:
        xmp.read(packet or xmp.merge(None, {}))
    except RequestError as error:
        packet = None
        notes.append(f"{error.message}; it is not carried over")
    try:
        block = block and exif.resized(block, picture.width, picture.height)
    except RequestError as error:
        block = None
        notes.append(f"{error.message}; it is not carried over")
    kept = CONTAINERS[picture.format]
    if block and kept.max_exif_bytes is not None and len(block) > kept.max_exif_bytes:
        title = FORMATS[picture.format].title
        notes.append(f"the Exif has {len(block):,} bytes, more than a {title} holds; it is not carried over")
        block = None
    if block and kept.moves_exif and exif.has_note(block):
        notes.append(
            "the source's Exif has a maker's note, which is valid only at its place in the file; it is not carried over"
        )
    texts = [(key, text) for key, text in held.texts if 0 < len(key) <= _LONGEST_KEYWORD]
    return Carriers(exif=block, xmp=packet, texts=tuple(texts) if kept.has_texts else ()), tuple(notes)


def _left_out(source: Facts, picture: Picture) -> Iterator[str]:
    held = source.picture.carriers
    if source.picture.signed:
        yield MANIFEST_LOST
    if held.captions:
        yield "the source's IPTC-IIM captions, the form before XMP, are not carried over"
    carried = ["parameters", "imggen", *(field.text for field in fields.FIELDS if field.text)]
    lost = dict.fromkeys(key for key, _ in held.texts if key not in carried)
    if lost and not CONTAINERS[picture.format].has_texts:
        yield f"a {FORMATS[picture.format].title} has no place for the PNG's text chunks {', '.join(map(repr, lost))}"
    if any(not comment.startswith(b"parameters\0") for comment in held.comments):
        yield "the source's JPEG comment is not carried over"


def _minimal(origin: Upscaled, created: datetime, picture: Picture, _: Particulars) -> Metadata:
    """Return the source's public words, and which model made the picture."""
    source = origin.source
    public = [field for field in fields.FIELDS if field.name in _PUBLIC]
    words = _worded(source, public) if source else {}
    kept = (metadata.SYSTEM, metadata.SYSTEM_VERSION, metadata.CREATED) if _stated(source, metadata.SYSTEM) else ()
    tags = {field.exif: words[field.property] for field in public if field.exif and field.property in words}
    resolution, dropped = _density(origin, None, picture)
    return Metadata(
        properties={
            **words,
            **{name: _stated(source, name) or None for name in kept},
            metadata.SOURCE_TYPE: source_type(origin),
            metadata.IMAGE_HASH: picture.image_sha256,
        },
        defaults={**_system(origin), metadata.TOOL: _tool(origin.edit)}
        | ({} if kept else {metadata.CREATED: metadata.stamp(created)}),
        tags={name: value if isinstance(value, str) else "; ".join(map(str, value)) for name, value in tags.items()}
        | resolution,
        tag_defaults={"Software": _tool(origin.edit)},
        notes=(*origin.notes, *dropped),
    )


def _worded(source: Facts, chosen: list[Field]) -> dict[str, xmp.Value]:
    """Return the properties of those fields that the source has, in its XMP or in an older place."""
    words: dict[str, xmp.Value] = {}
    for field in chosen:
        older = source.exif.get(field.exif or "") or source.picture.carriers.text(field.text or "")
        stated = source.xmp.get(field.property)
        value = stated or fields.assign([(field.name, str(older or ""))]).properties[field.property]
        if value:
            words.setdefault(field.property, value)
    return words
