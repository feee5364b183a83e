"""What a picture's file says of its making: composed from a recipe, read from any file, put into any file.

Nothing here decodes a pixel or signs anything. Anyone who can write a file can write these marks: they inform, they do
not prove.
"""

import hashlib
import hmac
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from imggen.errors import ImggenError, RequestError
from imggen.output import files
from imggen.output.formats import container, exif, xmp
from imggen.output.formats.carriers import Carriers, Changes, Droppable, Picture
from imggen.output.formats.container import CONTAINERS
from imggen.output.metadata import dialects, infotext
from imggen.output.metadata.dialects import Clues, ReadMetadata
from imggen.plan.schema.formats import FORMATS
from imggen.plan.schema.marking import Mining, PromptRecord
from imggen.plan.schema.recipe import Ingredient, Recipe
from imggen.plan.schema.request import Metadata as Level

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = SOURCE_TYPES + "trainedAlgorithmicMedia"
COMPOSITE = SOURCE_TYPES + "compositeWithTrainedAlgorithmicMedia"

RECIPE, IMAGE_HASH = "imggen:Recipe", "imggen:ImageSHA256"
WATERMARK, LABEL = "imggen:Watermark", "imggen:Label"
UNMARKED = "none: "
SOURCE_TYPE = "Iptc4xmpExt:DigitalSourceType"
SYSTEM, SYSTEM_VERSION = "Iptc4xmpExt:AISystemUsed", "Iptc4xmpExt:AISystemVersionUsed"
PROMPT, IDENTITY = "Iptc4xmpExt:AIPromptInformation", "Iptc4xmpExt:DigImageGUID"
TOOL, CREATED = "xmp:CreatorTool", "xmp:CreateDate"
CREDIT, ALT, MINING = "photoshop:Credit", "Iptc4xmpCore:AltTextAccessibility", "plus:DataMining"
DERIVED, INGREDIENTS, HISTORY = "xmpMM:DerivedFrom", "xmpMM:Ingredients", "xmpMM:History"

_MAKING = (SYSTEM, SYSTEM_VERSION, PROMPT, IDENTITY, RECIPE, IMAGE_HASH)
_PUBLIC_KEY = b"imggen"
_URN = re.compile("urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What the PLUS Coalition's vocabulary calls it, as IPTC took it over in 2023.
_MINING: dict[Mining, str] = {
    "allowed": "http://ns.useplus.org/ldf/vocab/DMI-ALLOWED",
    "constrained": "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-SEECONSTRAINT",
    "not-allowed": "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING",
}
_ORIGIN = (SOURCE_TYPE, DERIVED, INGREDIENTS)
_BASES = ("image", "parent")
# Models that are shown a style picture may copy from it; its statistics are two numbers per channel.
_COPYING = ("ip-adapter", "reference")
_RECIPE_KEYWORD, _INFOTEXT_KEYWORD = "imggen", "parameters"
_SHORT_PROMPT = 1000
_SHORTEST_PROMPT_BYTES = 400
_S_RGB = 1
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What to say of a picture.

    `properties` (XMP) and `tags` (Exif) replace what the file says, None taking it away; the two `defaults` are set
    only where the file says nothing. `texts` replace a PNG's own text chunks where it has them. `added` go behind what
    a list of XMP structures holds. `dropped` goes away whole. `carried` are blocks of another file, which this one has
    in place of its own, before all the rest is said; `notes` are about what was left out of them.
    """

    infotext: str | None = None
    recipe: str | None = None
    properties: Mapping[str, xmp.Value | None] = field(default_factory=dict)
    defaults: Mapping[str, xmp.Value] = field(default_factory=dict)
    tags: Mapping[str, exif.Value | None] = field(default_factory=dict)
    tag_defaults: Mapping[str, exif.Value] = field(default_factory=dict)
    texts: Mapping[str, str | None] = field(default_factory=dict)
    replaces_making: bool = False
    added: Mapping[str, xmp.Struct] = field(default_factory=dict)
    dropped: frozenset[Droppable] = frozenset()
    carried: Carriers | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Particulars:
    """What is said of a picture beside its recipe.

    `guid` is its URN. `watermark` is the 12 hex digits in its pixels, else empty and `unmarked` says why. `label` is
    the text in its corner. `organisation` is who answers for it, `alt` its alternative text, `mining` what training may
    use it for. `prompt` says how the prompt is recorded.
    """

    guid: str
    watermark: str = ""
    unmarked: str = ""
    label: str = ""
    organisation: str = ""
    alt: str = ""
    mining: Mining | None = None
    prompt: PromptRecord = "full"

    def properties(self) -> dict[str, xmp.Value | None]:
        """Return the XMP properties that hold whatever else is said."""
        properties = {
            WATERMARK: self.watermark or (UNMARKED + self.unmarked if self.unmarked else ""),
            LABEL: self.label,
            CREDIT: self.organisation,
            ALT: xmp.clean(self.alt),
            MINING: _MINING[self.mining] if self.mining else "",
        }
        return {name: value for name, value in properties.items() if value}


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A file with metadata in it: its bytes, what they say now (`iptc`, `infotext`, `recipe`), and what did not fit."""

    data: bytes
    marks: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that a file says, and whether the picture in it is the one that the record was written for.

    `fits` compares the image data with the hash that imggen recorded when it made them: False means that the picture
    was changed or encoded again since, or that the record was copied from another; None that no hash is recorded.
    """

    picture: Picture
    found: ReadMetadata | None
    xmp: dict[str, xmp.Value]
    exif: dict[str, exif.Value]
    fits: bool | None
    notes: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether imggen made this very picture, or was the last to change it, as far as the file says."""
        tool = self.xmp.get(TOOL)
        if self.fits is True and isinstance(tool, str) and tool.startswith("imggen"):
            return True
        history = self.xmp.get(HISTORY)
        last = history[-1] if isinstance(history, tuple) and history else None
        return isinstance(last, Mapping) and last.get("stEvt:instanceID") == instance(self.picture.image_sha256)


def now(environment: Mapping[str, str] = os.environ) -> datetime:
    """Return the time to record, in UTC: SOURCE_DATE_EPOCH where it is set, so that builds can be repeated."""
    epoch = environment.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RequestError(f"SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds since 1970") from error


def compose(
    recipe: Recipe, *, level: Level, created: datetime, image_sha256: str, particulars: Particulars | None = None
) -> Metadata:
    """Return what to say of the picture that the recipe made.

    `full` says everything, and names the pictures that went in. `minimal` says that a model made the picture, which,
    and when, but neither prompt nor seed nor any hash of them; of the pictures that went in it says nothing but what
    follows for the source type, because a hash tells that somebody had that very picture. `none` says nothing.
    Where the prompt is not recorded in full there is no recipe, which could not make the picture again.
    `image_sha256` is the encoded picture's (see `Picture`).
    """
    if level == "none":
        return Metadata()
    particulars = particulars or Particulars(guid=identity(recipe))
    version = recipe.versions.get("imggen", "")
    tool = f"imggen {version}".strip()
    properties: dict[str, xmp.Value | None] = {
        SOURCE_TYPE: source_type(recipe),
        SYSTEM: f"imggen ({public(recipe.model)})",
        SYSTEM_VERSION: f"{tool}; {recipe.model_revision or recipe.model_hash}",
        IMAGE_HASH: image_sha256,
        **particulars.properties(),
    }
    defaults = {TOOL: tool, CREATED: stamp(created)}
    if level == "minimal":
        return Metadata(properties=properties, defaults=defaults, tag_defaults={"Software": tool})
    properties |= {PROMPT: _prompts(recipe, particulars.prompt), IDENTITY: particulars.guid, **_origin(recipe)}
    kept = particulars.prompt == "full"
    return Metadata(
        infotext=infotext.write(recipe if kept else replace(recipe, prompt="", negative_prompt="")),
        recipe=recipe.to_json() if kept else None,
        properties={**properties, RECIPE: recipe.to_json()} if kept else properties,
        defaults=defaults,
        tag_defaults={"Software": tool, "ColorSpace": _S_RGB},
    )


def source_type(recipe: Recipe) -> str:
    """Return the IPTC digital source type of the recipe's picture, a URI.

    It is a composite where a picture that shows in it does not itself say that a model made all of it. What shows are
    the picture that was changed, the parents of a child, and a picture that the model was shown; not a mask, not a
    style picture of which only the statistics were taken, and not a control picture, of which only lines are followed.
    """
    copying = recipe.change is not None and recipe.change.method in _COPYING
    showing = (*_BASES, "shown", "style") if copying else (*_BASES, "shown")
    shown = [ingredient for ingredient in recipe.ingredients if ingredient.role in showing]
    return GENERATED if all(is_generated(ingredient.source_type) for ingredient in shown) else COMPOSITE


def is_generated(stated: object) -> bool:
    """Return whether the source type that a picture states is the one for pictures that a model made whole."""
    return isinstance(stated, str) and stated.strip().replace("https:", "http:", 1) == GENERATED


def _origin(recipe: Recipe) -> dict[str, xmp.Value]:
    """Return what names the pictures that went in: the one that was changed, and all of them where there are others."""
    bases = [ingredient for ingredient in recipe.ingredients if ingredient.role in _BASES]
    named = [ingredient for ingredient in recipe.ingredients if ingredient.role != "mask"]
    origin: dict[str, xmp.Value] = {DERIVED: _reference(bases[0])} if len(bases) == 1 else {}
    if named != bases or len(bases) > 1:
        origin[INGREDIENTS] = tuple(map(_reference, named))
    return origin


def _reference(ingredient: Ingredient) -> dict[str, str]:
    weight = None if ingredient.weight is None else repr(ingredient.weight)
    more = {"imggen:weight": weight, SOURCE_TYPE: ingredient.source_type}
    return reference(ingredient.sha256, ingredient.role, {"stRef:documentID": ingredient.guid}, more)


def reference(
    sha256: str, role: str, names: Mapping[str, str | None], more: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the XMP structure that names another file's picture, without what is not known of it."""
    values = {**names, "imggen:sha256": sha256, "imggen:role": role, **more}
    return {name: value for name, value in values.items() if value}


def identity(recipe: Recipe, key: bytes | None = None) -> str:
    """Return the URN that names the recipe's picture: the same for the same recipe and key, on any machine."""
    return named(f"recipe\n{recipe.to_json()}", key)


def instance(image_sha256: str, key: bytes | None = None) -> str:
    """Return the URN that names a file's picture by its image data, for files that have no recipe."""
    return named(f"image\n{image_sha256}", key)


def named(text: str, key: bytes | None = None) -> str:
    """Return the URN of what `text` describes: a UUID of version 8 (RFC 9562) out of an HMAC-SHA-256 with the key.

    Its first 48 bits are also what a watermark carries, so that either leads to the other. Without a key it is a public
    one: then anyone who guesses the text can tell that the name is its own, as they could by making the picture.
    """
    digest = hmac.new(key or _PUBLIC_KEY, text.encode(), hashlib.sha256).digest()[:16]
    # The version stands in the upper half of byte 6, the variant in the two highest bits of byte 8.
    number = int.from_bytes(digest) & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62
    return uuid.UUID(int=number).urn


def stated_guid(properties: Mapping[str, xmp.Value]) -> str | None:
    """Return the URN that a file states for its picture, None where it states none that is one."""
    stated = properties.get(IDENTITY)
    return stated.lower() if isinstance(stated, str) and _URN.fullmatch(stated.lower()) else None


def watermark_of(guid: str) -> str:
    """Return the 12 hex digits that the watermark of the picture with that URN carries."""
    return uuid.UUID(guid).hex[:12]


def stamp(moment: datetime) -> str:
    """Return the time as XMP has it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def copied(source: Facts) -> Metadata:
    """Return what to say of a picture that shall carry the record of another one.

    The making is copied whole, with the hash of the picture that it belongs to, so that `Facts.fits` stays honest.
    Which program wrote the file, and when, remains the target's own. Raises RequestError where there is no record.
    """
    record = source.found
    if record is None or (record.recipe is None and record.infotext is None):
        it = (
            f"its {record.dialect} record cannot be carried over" if record else "it holds no record of how it was made"
        )
        raise RequestError(f"{it}; imggen copies its own recipe and infotext")
    properties = {name: source.xmp.get(name) for name in _MAKING}
    properties |= {name: source.xmp[name] for name in _ORIGIN if name in source.xmp}
    recipe = record.recipe.to_json() if record.recipe else None
    return Metadata(
        infotext=record.infotext or (infotext.write(record.recipe) if record.recipe else None),
        recipe=recipe,
        properties={**properties, RECIPE: recipe},
        defaults={name: source.xmp[name] for name in (TOOL,) if name in source.xmp},
        replaces_making=True,
    )


def read(source: Path | bytes) -> Facts:
    """Return everything that the file says; raise RequestError, naming it, where it is damaged or no picture.

    Metadata that cannot be understood is a note, not an error: the rest of the file is still worth telling.
    """
    if isinstance(source, Path):
        data = files.read(source)
        with files.blaming(source):
            return read(data)
    return _facts(container.read(source))


def _facts(picture: Picture) -> Facts:
    """Return everything that the blocks of a picture say."""
    notes = list(picture.notes)
    tags = _read_block(picture.carriers.exif, exif.read, notes)
    properties = _read_block(picture.carriers.xmp, xmp.read, notes)
    texts = dict(reversed(picture.carriers.texts))
    comments = tuple(comment.decode(errors="replace") for comment in picture.carriers.comments)
    clues = Clues(texts=texts, tags=tags, properties=properties, comments=comments)
    record = dialects.read(clues)
    notes += [f"the text {name!r} is too long to be read" for name in dialects.passed_over(clues)]
    recorded = properties.get(IMAGE_HASH)
    fits = recorded == picture.image_sha256 if recorded else None
    notes += record.notes if record else ()
    return Facts(picture=picture, found=record, xmp=properties, exif=tags, fits=fits, notes=tuple(notes))


def is_own(path: Path) -> bool:
    """Return whether the file holds a picture as imggen made it; what cannot be read is not."""
    try:
        return read(path).is_own
    except ImggenError:
        return False


def embed(data: bytes, metadata: Metadata, *, picture: Picture | None = None) -> Marked:
    """Return the file with the metadata in it and its picture untouched, bit for bit.

    Everything else that the file says stays. What a format cannot hold is shortened or left out with a note; where
    that will not do, RequestError, as for a file whose own metadata is too damaged to add to. `picture` is what
    `container.read` says of the file, where that is known already.
    """
    if metadata == Metadata():
        return Marked(data=data, marks=())
    picture = picture or container.read(data)
    carried = metadata.carried or Carriers()
    facts = _facts(replace(picture, carriers=carried) if metadata.carried else picture)
    notes = list(metadata.notes)
    changes = Changes(
        exif=_new_exif(facts, metadata, notes) or carried.exif,
        xmp=_new_xmp(facts, metadata, notes) or carried.xmp,
        texts={**dict(reversed(carried.texts)), **_new_texts(facts, metadata)},
        dropped=metadata.dropped,
    )
    changed = container.replace(data, changes)
    values = {"iptc": metadata.properties.get(SOURCE_TYPE), "infotext": metadata.infotext, "recipe": metadata.recipe}
    marks = tuple(name for name, value in values.items() if value)
    return Marked(data=changed, marks=marks, notes=tuple(notes))


def _read_block(block: bytes | None, read: Callable[[bytes], dict[str, _Value]], notes: list[str]) -> dict[str, _Value]:
    if block is None:
        return {}
    try:
        return read(block)
    except RequestError as error:
        notes.append(error.message)
        return {}


def _new_texts(facts: Facts, metadata: Metadata) -> dict[str, str | None]:
    if not CONTAINERS[facts.picture.format].has_texts:
        return {}
    present = {keyword for keyword, _ in facts.picture.carriers.texts}
    texts = {keyword: text for keyword, text in metadata.texts.items() if keyword in present}
    if metadata.infotext or metadata.replaces_making:
        texts |= {_INFOTEXT_KEYWORD: metadata.infotext, _RECIPE_KEYWORD: metadata.recipe}
    return texts


def _new_xmp(facts: Facts, metadata: Metadata, notes: list[str]) -> bytes | None:
    """Return the packet with the changes, the prompt cut where it does not fit; None where nothing changes."""
    absent = {name: value for name, value in metadata.defaults.items() if name not in facts.xmp}
    values: dict[str, xmp.Value | None] = {**absent, **metadata.properties}
    changed = {name: value for name, value in values.items() if facts.xmp.get(name) != value}
    if not changed and not metadata.added:
        return None
    old_type = facts.xmp.get(SOURCE_TYPE)
    if old_type and changed.get(SOURCE_TYPE):
        notes.append(f"the digital source type was {old_type}")
    packet = xmp.merge(facts.picture.carriers.xmp, changed, added=metadata.added)
    limit = CONTAINERS[facts.picture.format].max_xmp_bytes
    if limit is None or len(packet) <= limit or not changed.get(PROMPT):
        return packet
    room = _room(facts.picture)
    notes.append(f"the prompt in the XMP is shortened, because {room} bytes there; the recipe has it whole")
    short = str(changed[PROMPT])[:_SHORT_PROMPT] + "…"
    return xmp.merge(facts.picture.carriers.xmp, {**changed, PROMPT: short}, added=metadata.added)


def _new_exif(facts: Facts, metadata: Metadata, notes: list[str]) -> bytes | None:
    """Return the block with the changes, the prompt cut where it does not fit; None where it stays as it is."""
    changed = _exif_changes(facts, metadata)
    if not changed:
        return None
    old = facts.exif.get("UserComment")
    is_foreign = isinstance(old, str) and old.strip() and not (facts.found and facts.found.infotext)
    if is_foreign and "UserComment" in changed:
        notes.append(f"the Exif comment was {str(old)[:80]!r}")
    try:
        block = exif.merge(facts.picture.carriers.exif, changed)
        limit = CONTAINERS[facts.picture.format].max_exif_bytes
        if limit is None or len(block) <= limit:
            return block
        return _shortened_exif(facts, changed, len(block), limit, notes)
    except RequestError as error:
        notes.append(f"{error.message}; it stays as it is, and only the XMP is written")
        return None


def _exif_changes(facts: Facts, metadata: Metadata) -> dict[str, exif.Value | None]:
    """Return the tags that have to change for the metadata."""
    absent = {name: value for name, value in metadata.tag_defaults.items() if name not in facts.exif}
    tags: dict[str, exif.Value | None] = {**absent, **metadata.tags}
    if metadata.infotext:
        tags["UserComment"] = metadata.infotext
    if CONTAINERS[facts.picture.format].has_texts:
        # The text chunks say it; the Exif is only kept from saying something else.
        tags = {name: value for name, value in tags.items() if name in facts.exif}
    changed = {name: value for name, value in tags.items() if facts.exif.get(name) != value}
    if facts.picture.carriers.exif is None and any(value is not None for value in changed.values()):
        # The standard wants every Exif block to tell the size.
        changed |= {"ExifImageWidth": facts.picture.width, "ExifImageHeight": facts.picture.height}
    return changed


def _shortened_exif(
    facts: Facts, changed: Mapping[str, exif.Value | None], size_bytes: int, limit: int, notes: list[str]
) -> bytes | None:
    """Return the block with the prompt in its comment cut to what there is room for."""
    head, _, last = str(changed.get("UserComment") or "").rpartition("\n")
    wide = head.encode("utf-16-le", "replace")
    room = (len(wide) - (size_bytes - limit)) // 2 * 2 - 4
    if room < _SHORTEST_PROMPT_BYTES:
        raise RequestError(f"the Exif would take {size_bytes:,} bytes and {_room(facts.picture)}")
    notes.append(f"the prompt in the Exif comment is shortened, because {_room(facts.picture)} bytes there")
    short = wide[:room].decode("utf-16-le", errors="ignore")
    return exif.merge(facts.picture.carriers.exif, {**changed, "UserComment": f"{short}…\n{last}"})


def _room(picture: Picture) -> str:
    return f"a {FORMATS[picture.format].title} holds {CONTAINERS[picture.format].max_block_bytes:,}"


def _prompts(recipe: Recipe, record: PromptRecord) -> str | None:
    words = recipe.prompt
    if recipe.negative_prompt:
        words += f"\nNegative prompt: {recipe.negative_prompt}"
    return {"full": words, "hash": f"sha256:{prompt_sha256(recipe)}", "omit": None}[record]


def prompt_sha256(recipe: Recipe) -> str:
    """Return the hash of the words that the picture was made from: those to show, a NUL, and those not to show."""
    words = f"{recipe.prompt}\0{recipe.negative_prompt}"
    return hashlib.sha256(words.encode(errors="surrogatepass")).hexdigest()


def public(model: str) -> str:
    """Return what a model is called before others."""
    # A path on somebody's disk is nobody's business; a name from a hub is the model's name.
    is_path = model.startswith(("/", "\\", ".", "~")) or model[1:2] == ":" or model.count("/") > 1
    return infotext.model_name(model) if is_path else model
