"""How programs write down what a picture was made from: ours and the peers', one row each, read only.

Places and keys: the programs' own sources. Whatever a stranger's file holds, a reader answers with what it could
understand or with nothing; it never fails.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from imggen.errors import RequestError
from imggen.output.metadata import comfyui, infotext
from imggen.output.metadata.comfyui import Scalar
from imggen.plan.schema import recipe
from imggen.plan.schema.recipe import Recipe

MAX_CHARACTERS = 4 << 20
MAX_INFOTEXT_CHARACTERS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Clues:
    """Where generation parameters may stand: text chunks, Exif tags, XMP properties, comments."""

    texts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str | int] = field(default_factory=dict)
    properties: Mapping[str, object] = field(default_factory=dict)
    comments: tuple[str, ...] = ()

    def tag(self, name: str) -> str:
        """Return the text of an Exif tag, empty where there is none."""
        value = self.tags.get(name)
        return value if isinstance(value, str) else ""

    def property(self, name: str) -> str:
        """Return the text of an XMP property, empty where there is none."""
        value = self.properties.get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, kw_only=True)
class ReadMetadata:
    """What a picture says of its making.

    `settings` has our names (seed, steps, guidance, sampler, scheduler, model, model_hash, width, height) for what
    could be understood, and the program's own names for the rest. `recipe` is there only where imggen wrote one that
    this version can read. `infotext` is the text itself where the place held infotext.
    """

    dialect: str
    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, Scalar] = field(default_factory=dict)
    recipe: Recipe | None = None
    infotext: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One program's way: its name, and how to find what it wrote.

    `texts` are the PNG's text chunks in which it keeps words, `properties` the XMP's; `unread` are chunks that repeat
    the words in a form that is not read, such as an editor's graph, and may be long.
    """

    name: str
    read: Callable[[Clues], ReadMetadata | None]
    texts: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read(clues: Clues) -> ReadMetadata | None:
    """Return what the first dialect that understands the clues finds.

    Of all texts together `MAX_CHARACTERS` are looked into: what is longer than what is left of them is passed over.
    """
    bounded, _ = _bounded(clues)
    return next((stated for dialect in DIALECTS if (stated := dialect.read(bounded)) is not None), None)


def passed_over(clues: Clues) -> tuple[str, ...]:
    """Return the names of the texts that `read` does not look into because they are too long."""
    return _bounded(clues)[1]


def _bounded(clues: Clues) -> tuple[Clues, tuple[str, ...]]:
    room = _Room(MAX_CHARACTERS)
    bounded = Clues(
        texts={name: text for name, text in clues.texts.items() if name in UNREAD or room.takes(name, text)},
        tags={name: tag for name, tag in clues.tags.items() if room.takes(name, tag)},
        properties={name: value for name, value in clues.properties.items() if room.takes(name, value)},
        comments=tuple(comment for comment in clues.comments if room.takes("comment", comment)),
    )
    return bounded, tuple(room.refused)


class _Room:
    """How many characters may still be looked into: as objects, those of JSON take thirty times their space."""

    def __init__(self, characters: int) -> None:
        self._left = characters
        self.refused: list[str] = []

    def takes(self, name: str, value: object) -> bool:
        """Return whether there is room for the value, and take it."""
        size = len(value) if isinstance(value, str) else 0
        if size > self._left:
            self.refused.append(name)
            return False
        self._left -= size
        return True


_PROMPTS = ("prompt", "positive_prompt", "Prompt", "c")
_NEGATIVES = ("negative_prompt", "negativeprompt", "negative prompt", "Negative Prompt", "uc")
_NAMES = {
    "seed": ("seed", "Seed"),
    "steps": ("steps", "Steps", "num_inference_steps"),
    "guidance": ("guidance", "CFG scale", "cfg_scale", "cfgscale", "guidance_scale", "Guidance Scale", "scale"),
    "sampler": ("sampler", "Sampler", "sampler_name"),
    "scheduler": ("scheduler", "Schedule type", "noise_schedule"),
    "model": ("model", "Model", "base_model", "model_weights", "use_stable_diffusion_model", "Stable Diffusion model"),
    "model_hash": ("model_hash", "Model hash", "base_model_hash"),
    "width": ("width", "Width", "Size-1"),
    "height": ("height", "Height", "Size-2"),
}
_TEXT_SETTINGS = frozenset(("sampler", "scheduler", "model", "model_hash"))
_WHOLE_SETTINGS = frozenset(("seed", "steps", "width", "height"))
_SIZES = ("size", "resolution")
_PAIR = re.compile(r"\D*(\d{1,5})\s*[x×,]\s*(\d{1,5})\D*")
_MAX_NUMBER = 40
_LONGEST_DREAM = 10_000
_RESOURCES = "Civitai resources"
_JSON_SETTINGS = ("Hashes", _RESOURCES, "Civitai metadata")


def _from_values(dialect: str, values: Mapping[str, object]) -> ReadMetadata:
    """Return the record in a flat table, its prompts and settings under our names."""
    prompts = (*_PROMPTS, *_NEGATIVES)
    plain = {key: value for key, value in values.items() if comfyui.is_scalar(value) and key not in prompts}
    for key in _SIZES:
        pair = _PAIR.fullmatch(str(plain.get(key, ""))[:_MAX_NUMBER])
        if pair:
            plain.pop(key)
            plain = {"width": pair[1], "height": pair[2], **plain}
    prompt, negative = (comfyui.first_text(values, names) for names in (_PROMPTS, _NEGATIVES))
    return ReadMetadata(dialect=dialect, prompt=prompt, negative_prompt=negative, settings=_translated(plain))


def _translated(plain: Mapping[str, object]) -> dict[str, Scalar]:
    settings: dict[str, Scalar] = {}
    used = set()
    for name, sources in _NAMES.items():
        source = next((source for source in sources if plain.get(source) not in (None, "")), None)
        value = None if source is None else _typed(name, plain[source])
        if source is not None and value is not None:
            settings[name] = value
            used.add(source)
    rest = {key: value for key, value in plain.items() if key not in used and key not in settings}
    return {**settings, **{key: value for key, value in rest.items() if isinstance(value, str | int | float)}}


def _typed(name: str, value: object) -> Scalar | None:
    text = str(value)
    if name in _TEXT_SETTINGS:
        return text
    if len(text) > _MAX_NUMBER:
        return None
    try:
        number = int(text) if name in _WHOLE_SETTINGS else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _json(text: str) -> dict[str, object]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _inner(values: Mapping[str, object], key: str) -> dict[str, object]:
    inner = values.get(key)
    return inner if isinstance(inner, dict) else {}


def _imggen(clues: Clues) -> ReadMetadata | None:
    """Return our own recipe's record; where it cannot be read, what the infotext beside it says."""
    text = clues.texts.get("imggen") or clues.property("imggen:Recipe")
    if not text:
        return None
    try:
        read_recipe = recipe.parse(text)
    except RequestError as error:
        return _unreadable(clues, error)
    names = ("seed", "steps", "guidance", "sampler", "model", "model_hash", "width", "height")
    return ReadMetadata(
        dialect="imggen",
        prompt=read_recipe.prompt,
        negative_prompt=read_recipe.negative_prompt,
        settings={name: getattr(read_recipe, name) for name in names},
        recipe=read_recipe,
        infotext=_infotext_of(clues),
    )


def _unreadable(clues: Clues, error: RequestError) -> ReadMetadata:
    # The infotext beside a recipe that cannot be read, a newer imggen's perhaps, still says most of it.
    beside = _infotext(clues) or ReadMetadata(dialect="imggen")
    return replace(beside, dialect="imggen", notes=(f"the imggen recipe cannot be read: {error.message}",))


def _infotext_of(clues: Clues) -> str | None:
    prefix = "parameters\0"
    labelled = (comment.removeprefix(prefix) for comment in clues.comments if comment.startswith(prefix))
    places = (
        clues.texts.get("parameters", ""),
        clues.tag("UserComment"),
        clues.property("sdcpp:parameters"),
        clues.tag("ImageDescription"),
        *labelled,
    )
    return next((place for place in places if _is_infotext(place)), None)


def _is_infotext(text: str) -> bool:
    if not text or len(text) > MAX_INFOTEXT_CHARACTERS:
        return False
    return "Steps:" in text and bool(infotext.parse(_without_json(text)[0]).settings)


def _without_json(text: str) -> tuple[str, dict[str, str]]:
    """Return the text without what some writers put between its settings as JSON without quotes, and that JSON by name.

    stable-diffusion.cpp ends with its own; Civitai has resources and hashes, and the web UI's the latter, too.
    """
    text = text.partition(", SDCPP: ")[0]
    values: dict[str, str] = {}
    last = text.rfind("\n") + 1
    for name in _JSON_SETTINGS:
        mark = f", {name}: "
        at = text.find(mark, last)
        end = _json_end(text, at + len(mark)) if at >= 0 else 0
        if end:
            values[name] = text[at + len(mark) : end]
            text = text[:at] + text[end:]
    return text, values


def _json_end(text: str, at: int) -> int:
    if text[at : at + 1] not in ("{", "["):
        return 0
    try:
        return json.JSONDecoder().raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return 0


def _infotext(clues: Clues) -> ReadMetadata | None:
    """Return the record in an infotext, under the name of the program that wrote it."""
    text = _infotext_of(clues)
    if text is None:
        return None
    plain, more = _without_json(text)
    parsed = infotext.parse(plain)
    model = _civitai_model(more.get(_RESOURCES, ""))
    settings = parsed.settings if "Model" in parsed.settings or not model else {**parsed.settings, "Model": model}
    return ReadMetadata(
        dialect=_infotext_writer(clues, text, settings.get("Version", "")),
        prompt=parsed.prompt,
        negative_prompt=parsed.negative_prompt,
        settings=_translated({**settings, **more}),
        infotext=text,
    )


def _civitai_model(resources: str) -> str:
    """Return the checkpoint among Civitai's resources, by the best name that it has there."""
    listed = json.loads(resources) if resources else []
    for resource in listed if isinstance(listed, list) else ():
        if isinstance(resource, dict) and resource.get("type") == "checkpoint":
            named = (resource.get(key) for key in ("modelName", "air", "modelVersionId"))
            return next((str(value) for value in named if comfyui.is_scalar(value) and value), "")
    return ""


def _infotext_writer(clues: Clues, text: str, version: str) -> str:
    if ", SDCPP: " in text or version.startswith("stable-diffusion.cpp") or clues.property("sdcpp:parameters"):
        return "stable-diffusion.cpp"
    if "fooocus_scheme" in clues.texts or version.startswith("Fooocus"):
        return "fooocus"
    if version.startswith("imggen"):
        return "imggen"
    if f", {_RESOURCES}: " in text and not version:
        return "civitai"
    return "forge" if re.match(r"f\d", version) else "a1111"


def _comfyui(clues: Clues) -> ReadMetadata | None:
    # Which tag it is depends on how many texts there are, counted down from the camera's model.
    tagged = (clues.tag(name) for name in ("Model", "Make", "ImageDescription", "UserComment"))
    unlabelled = (re.sub(r"\Aprompt: ?", "", text, flags=re.IGNORECASE) for text in tagged)
    places = (clues.texts.get("prompt", ""), *unlabelled)
    graph = next(filter(None, map(comfyui.parse, filter(None, places))), None)
    if graph is None:
        return None
    prompt, negative = comfyui.texts(graph)
    return ReadMetadata(dialect="comfyui", prompt=prompt, negative_prompt=negative, settings=comfyui.settings(graph))


def _invokeai(clues: Clues) -> ReadMetadata | None:
    """Return InvokeAI's record, of its present form or of the two before it."""
    values = _json(clues.texts.get("invokeai_metadata", ""))
    if values:
        model = _inner(values, "model")
        named = {"model": model.get("name") or model.get("model_name"), "model_hash": model.get("hash")}
        return _from_values("invokeai", {**values, **{key: value for key, value in named.items() if value}})
    old = _json(clues.texts.get("sd-metadata", ""))
    image = _inner(old, "image")
    if not image:
        return _dream(clues.texts.get("Dream", ""))
    prompts = image.get("prompt")
    if isinstance(prompts, list) and prompts and isinstance(prompts[0], dict):
        image = {**image, "prompt": prompts[0].get("prompt")}
    return _bracketed(_from_values("invokeai", {**old, **image}))


def _bracketed(record: ReadMetadata) -> ReadMetadata:
    # InvokeAI's old prompts hold the negative one in square brackets.
    inside = re.fullmatch(r"([^\[]*)\[([^\]]*)\]\s*", record.prompt)
    if not inside or record.negative_prompt:
        return record
    return replace(record, prompt=inside[1].strip(), negative_prompt=inside[2].strip())


def _dream(line: str) -> ReadMetadata | None:
    if len(line) > _LONGEST_DREAM:
        return None
    match = re.fullmatch(r'"(.*)"((?:\s+-\w\s?\S+)+)\s*', line, re.DOTALL)
    if not match:
        return None
    flags = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale", "A": "sampler"}
    typed = dict(re.findall(r"\s-(\w)\s?(\S+)", match[2]))
    values = {flags[letter]: value for letter, value in typed.items() if letter in flags}
    return _bracketed(_from_values("invokeai", {"prompt": match[1], **values}))


def _first(dialect: str, tables: Iterable[Mapping[str, object]], marks: Iterable[str]) -> ReadMetadata | None:
    """Return the record in the first table that has one of the dialect's own keys."""
    return next((_from_values(dialect, values) for values in tables if values.keys() & marks), None)


def _swarmui(clues: Clues) -> ReadMetadata | None:
    texts = (clues.texts.get("parameters", ""), clues.tag("UserComment"), clues.tag("Model"))
    tables = (_inner(_json(text), "sui_image_params") for text in texts)
    return next((_from_values("swarmui", values) for values in tables if values), None)


def _fooocus(clues: Clues) -> ReadMetadata | None:
    texts = (clues.texts.get("parameters", ""), clues.tag("UserComment"), *clues.comments)
    tables = [values for values in map(_json, (*texts, clues.texts.get("Comment", ""))) if "base_model" in values]
    return _first("fooocus", tables, ("metadata_scheme", "performance", "styles"))


def _novelai(clues: Clues) -> ReadMetadata | None:
    values = _json(clues.texts.get("Comment", ""))
    if not values or not (clues.texts.get("Software") == "NovelAI" or {"uc", "scale"} <= values.keys()):
        return None
    described = {"prompt": clues.texts.get("Description", ""), "model": clues.texts.get("Source", "")}
    return _from_values("novelai", {**described, **values})


def _mflux(clues: Clues) -> ReadMetadata | None:
    return _first("mflux", [_json(clues.tag("UserComment"))], ["mflux_version"])


def _draw_things(clues: Clues) -> ReadMetadata | None:
    return _first("draw things", map(_json, (clues.property("exif:UserComment"), clues.tag("UserComment"))), ["c"])


def _easy_diffusion(clues: Clues) -> ReadMetadata | None:
    marks = ("use_stable_diffusion_model", "Stable Diffusion model", "num_inference_steps", "Guidance Scale")
    return _first("easy diffusion", (clues.texts, _json(clues.tag("UserComment"))), marks)


DIALECTS = (
    Dialect(name="imggen", read=_imggen, texts=("imggen",), properties=("imggen:Recipe",)),
    Dialect(name="swarmui", read=_swarmui),
    Dialect(name="fooocus", read=_fooocus, texts=("Comment",)),
    Dialect(name="mflux", read=_mflux),
    Dialect(name="draw things", read=_draw_things, properties=("exif:UserComment",)),
    Dialect(
        name="invokeai",
        read=_invokeai,
        texts=("invokeai_metadata", "sd-metadata", "Dream"),
        unread=("invokeai_workflow", "invokeai_graph"),
    ),
    Dialect(name="novelai", read=_novelai, texts=("Comment",)),
    Dialect(
        name="easy diffusion",
        read=_easy_diffusion,
        texts=("prompt", "Prompt", "original_prompt", "negative_prompt", "Negative Prompt"),
    ),
    Dialect(name="infotext", read=_infotext, properties=("sdcpp:parameters",)),
    Dialect(name="comfyui", read=_comfyui, texts=("prompt",), unread=("workflow",)),
)
UNREAD = frozenset(name for dialect in DIALECTS for name in dialect.unread)
TEXTS = UNREAD.union(*(dialect.texts for dialect in DIALECTS))
PROPERTIES = frozenset(name for dialect in DIALECTS for name in dialect.properties)
