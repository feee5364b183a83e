"""Infotext: the one-line settings that AUTOMATIC1111's web UI, Forge, Civitai and their readers know.

The grammar is `prompt`, a line `Negative prompt: ...`, and one last line `Steps: 20, Sampler: Euler, ...`. It cannot
quote a prompt, so a prompt may look like settings. What is written here is therefore a rendering that no reader
misreads; the prompt as it was typed is in the recipe.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from imggen.plan.models import samplers
from imggen.plan.schema.change import Change, Edit
from imggen.plan.schema.recipe import Recipe

FEWEST_SETTINGS = 3

_NEGATIVE = "Negative prompt:"
_RUN = re.compile(r"[\w \-/]+")
_LEADING = re.compile(r"[ \-/]+")
_SPACE = re.compile(r"\s*")
_VALUE = re.compile(r'\s*("(?:\\.|[^\\"])++"(?=,|$)|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)$")
_OTHER_LINE_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORGED = re.compile(r"(negative prompt|steps|template)(?=:)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Infotext:
    """What an infotext says. `settings` keeps the text of every value; `Size: 8x9` is `Size-1` and `Size-2`."""

    prompt: str
    negative_prompt: str
    settings: dict[str, str] = field(default_factory=dict)


def write(recipe: Recipe) -> str:
    """Return the recipe's infotext: Steps first, values without `,`, `:` or line ends, hostile prompts made harmless.

    Keys and their order: AUTOMATIC1111/stable-diffusion-webui, `create_infotext`, and what its image-to-image and its
    postprocessing add; Civitai wants Steps first.
    """
    prompt, negative = neutralised(recipe.prompt), neutralised(recipe.negative_prompt)
    lines = [prompt] if prompt else []
    if negative:
        lines.append(f"{_NEGATIVE} {negative}")
    settings = {
        "Steps": str(recipe.steps),
        "Sampler": samplers.title(recipe.sampler),
        "CFG scale": repr(recipe.guidance).removesuffix(".0"),
        "Seed": str(recipe.seed),
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_hash[:10],
        "Model": model_name(recipe.model),
        **_changed(recipe),
        **_enlarged(recipe.edits, recipe.width, recipe.height),
        "Version": f"imggen {recipe.versions.get('imggen', '')}".strip(),
    }
    lines.append(", ".join(f"{key}: {_plain(value)}" for key, value in settings.items() if _plain(value)))
    return "\n".join(lines)


def _changed(recipe: Recipe) -> dict[str, str]:
    """Return what that web UI says of a picture that was given, in its own words.

    It has one word for both axes of a picture that repeats; for one of them there are those of its best-known extension
    (tjm35/asymmetric-tiling-sd-webui). Its hash of the given picture is another one (MD5 of the pixels); this is the
    file's SHA-256.
    """
    change = recipe.change or Change(method="image-to-image")
    start_sha256 = next((ingredient.sha256 for ingredient in recipe.ingredients if ingredient.role == "image"), "")
    tiling = {"xy": {"Tiling": "True"}, "x": {"Tile X": "True"}, "y": {"Tile Y": "True"}}
    return {
        "Denoising strength": "" if change.strength is None else f"{change.strength:g}",
        "Image CFG scale": "" if change.image_guidance is None else f"{change.image_guidance:g}",
        "Init image hash": start_sha256,
        **tiling.get(recipe.tile or "", {}),
        "Mask mode": "Inpaint not masked" if change.invert_mask else "",
        "Mask blur": str(change.feather or ""),
    }


def enlarged(text: str, edit: Edit, width: int, height: int) -> str:
    """Return an infotext, whoever wrote it, with the step that enlarged a picture of `width` x `height` pixels."""
    # stable-diffusion.cpp puts JSON behind its settings.
    settings, mark, more = text.partition(", SDCPP: ")
    step = ", ".join(f"{key}: {value}" for key, value in _enlarged((edit,), width, height).items())
    return f"{settings}, {step}{mark}{more}"


def _enlarged(edits: Sequence[Edit], width: int, height: int) -> dict[str, str]:
    """Return what the web UI's postprocessing says of pictures that were enlarged."""
    if not edits:
        return {}
    last = edits[-1]
    scale = last.width / width
    is_scaled = abs(last.height - scale * height) < 1
    factor = {"Postprocess upscale by": f"{scale:g}"}
    edges = {"Postprocess upscale to": f"{last.width}x{last.height}"}
    names = (model_name(edit.model) or edit.engine.capitalize() for edit in edits)
    return {**(factor if is_scaled else edges), "Postprocess upscaler": _plain(" + ".join(names))}


def neutralised(text: str) -> str:
    """Return `text` such that no reader of infotext finds a field in it, and every text chunk can carry it.

    `Negative prompt:`, `Steps:`, `Template:` and `Negative Template:` get a space before their colon, wherever they
    stand; control characters go; odd line ends become spaces.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub("", _OTHER_LINE_ENDS.sub(" ", text)))
    return _FORGED.sub(r"\1 ", text).strip()


def model_name(reference: str) -> str:
    """Return the last part of a model reference, without the marks that infotext readers split at."""
    last = re.split(r"[/\\]", reference.rstrip("/\\"))[-1]
    return _plain(last)


def _plain(value: str) -> str:
    return " ".join(re.sub(r"[,:\"\\]", " ", neutralised(value)).split())


def parse(text: str) -> Infotext:
    """Return what AUTOMATIC1111's own parser finds in `text`, in time linear in its length.

    The last line holds settings if at least three `key: value` pairs are found in it; otherwise it is prompt.
    """
    *lines, last = text.strip().split("\n")
    pairs = _pairs(last)
    if len(pairs) < FEWEST_SETTINGS:
        lines, pairs = [*lines, last], []
    stripped = [line.strip() for line in lines]
    turn = next((at for at, line in enumerate(stripped) if line.startswith(_NEGATIVE)), len(stripped))
    negative = [line.removeprefix(_NEGATIVE).strip() for line in stripped[turn:]]
    prompt, negative_prompt = ("\n".join(part).lstrip("\n") for part in (stripped[:turn], negative))
    return Infotext(prompt=prompt, negative_prompt=negative_prompt, settings=_settings(pairs))


def _pairs(line: str) -> list[tuple[str, str]]:
    """Return the keys and values of a line of settings."""
    pairs = []
    at = 0
    while run := _RUN.search(line, at):
        at = run.end()
        leading = _LEADING.match(line, run.start(), run.end())
        key = line[leading.end() if leading else run.start() : run.end()]
        if len(key) < 2 or line[at : at + 1] != ":":
            continue
        value = _VALUE.match(line, at + 1)
        if value is None:
            break
        pairs.append((key, value[1]))
        at = value.end()
    return pairs


def _settings(pairs: list[tuple[str, str]]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for key, written in pairs:
        value = _unquoted(written)
        size = _SIZE.match(value)
        if size:
            settings[f"{key}-1"], settings[f"{key}-2"] = size.groups()
        elif written:
            settings[key] = value
    return settings


def _unquoted(value: str) -> str:
    if not value.startswith('"') or not value.endswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
