"""What a person may say of a picture by name (`--set artist=...`), and where each goes."""

from collections.abc import Iterable
from dataclasses import dataclass

from imggen.errors import RequestError
from imggen.output.formats import xmp
from imggen.output.metadata import metadata
from imggen.plan.schema.nearest import nearest

TERMS = (
    *("algorithmicMedia", "algorithmicallyEnhanced", "composite", "compositeCapture", "compositeSynthetic"),
    *("compositeWithTrainedAlgorithmicMedia", "computationalCapture", "dataDrivenMedia", "digitalCapture"),
    *("digitalCreation", "humanEdits", "negativeFilm", "positiveFilm", "print", "screenCapture"),
    *("trainedAlgorithmicData", "trainedAlgorithmicMedia", "virtualRecording"),
)


@dataclass(frozen=True, kw_only=True)
class Field:
    """One name, the XMP property that it sets, and the older places that must not say something else."""

    name: str
    property: str
    exif: str | None = None
    text: str | None = None


FIELDS = (
    Field(name="title", property="dc:title", text="Title"),
    Field(name="description", property="dc:description", exif="ImageDescription", text="Description"),
    Field(name="alt", property="Iptc4xmpCore:AltTextAccessibility"),
    Field(name="artist", property="dc:creator", exif="Artist", text="Author"),
    Field(name="creator", property="dc:creator", exif="Artist", text="Author"),
    Field(name="copyright", property="dc:rights", exif="Copyright", text="Copyright"),
    Field(name="license", property="xmpRights:UsageTerms"),
    Field(name="keywords", property="dc:subject"),
    Field(name="credit", property="photoshop:Credit"),
    Field(name="source", property="dc:source"),
    Field(name="prompt-writer", property="Iptc4xmpExt:AIPromptWriterName"),
    Field(name="source-type", property=metadata.SOURCE_TYPE),
)


def assign(pairs: Iterable[tuple[str, str]]) -> metadata.Metadata:
    """Return the metadata that the pairs say; an empty value takes the field away, keywords stand between commas.

    Raises RequestError for an unknown name, and for a source type that is not one of IPTC's.
    """
    chosen = [(_find(name), value.strip()) for name, value in pairs]
    return metadata.Metadata(
        properties={field.property: _property(field, value) for field, value in chosen},
        tags={field.exif: _plain(value) for field, value in chosen if field.exif},
        texts={field.text: _plain(value) for field, value in chosen if field.text},
    )


def _find(name: str) -> Field:
    by_name = next((field for field in FIELDS if field.name == name.strip().casefold()), None)
    if by_name:
        return by_name
    known = [field.name for field in FIELDS]
    near = nearest(name, known)
    raise RequestError(
        f"there is no metadata field {name!r}",
        hint=f"--set {near[0]}=..." if near else f"known fields: {', '.join(known)}",
    )


def _property(chosen: Field, value: str) -> xmp.Value | None:
    if not value:
        return None
    if chosen.property == metadata.SOURCE_TYPE:
        return _source_type(value)
    kind = xmp.CONTAINERS.get(chosen.property)
    if kind == "Bag":
        return tuple(filter(None, (xmp.clean(keyword).strip() for keyword in value.split(","))))
    return (xmp.clean(value),) if kind == "Seq" else xmp.clean(value)


def _source_type(value: str) -> str:
    term = value.removeprefix(metadata.SOURCE_TYPES)
    if term not in TERMS:
        near = nearest(term, TERMS)
        raise RequestError(
            f"IPTC has no digital source type {value!r}",
            hint=f"--set source-type={near[0]}" if near else f"known: {', '.join(TERMS)}",
        )
    return metadata.SOURCE_TYPES + term


def _plain(value: str) -> str | None:
    return xmp.clean(value) or None
