"""Requests made from what pictures carry: the same picture again, children like their parents."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters import adaptation
from imggen.plan.case import COMMAND_LINE, PARENTS, RECIPE
from imggen.plan.generation import words
from imggen.plan.models import catalog
from imggen.plan.schema import prompt
from imggen.plan.schema.adapter import Adapter
from imggen.plan.schema.change import BASES
from imggen.plan.schema.given import Given
from imggen.plan.schema.prompt import Reading
from imggen.plan.schema.recipe import Ingredient, Recipe
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.schema.tasks import TASKS


def from_recipe(recipe: Recipe, request: GenerateRequest) -> GenerateRequest:
    """Return `request` with everything that the command line does not say taken from `recipe`.

    What the environment, a preset or the config says gives way: `--from` means the same picture again. Where a picture
    goes and in which format stays the request's, and so do the pictures that it starts from.
    """
    if recipe.task != request.task:
        known = TASKS.get(recipe.task)
        message = f"the recipe is one for {recipe.task!r}; this command does {request.task}"
        raise RequestError(message, hint=known.again if known else None)
    family = catalog.named(recipe.family)
    _check_beside(recipe, request)
    recorded: dict[str, object] = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt or None,
        "model": _reference(recipe),
        "base": None if _was_said(request, "model") else _base(recipe),
        "steps": recipe.steps,
        "guidance": recipe.guidance if family.guidance_refusal is None else None,
        "seed": str(recipe.seed),
        "num_images": None,
        "sampler": recipe.sampler,
        "device": recipe.device,
        "dtype": recipe.dtype,
        "attention_slicing": {"off": "off", "diffusers": "on"}.get(recipe.attention_slicing, "auto"),
        "quantize": recipe.quantize,
        "tile": recipe.tile,
        "watermark": "on" if recipe.watermark else "off",
        "label": recipe.label,
        **adaptation.again(recipe),
        **_recorded_size(recipe, request),
        "vae_tile": None if _was_said(request, "vae_tiling") else recipe.vae_tile,
        "vae_tiling": None,
        **_recorded_change(recipe, request),
    }
    filled = _filled(request, recorded, RECIPE)
    recalled = [name for name in words.FIELDS if filled.origin.get(name) == RECIPE]
    return replace(filled, reading=filled.reading | dict.fromkeys(recalled, recipe.reading))


def _check_beside(recipe: Recipe, request: GenerateRequest) -> None:
    """Raise RequestError for pictures beside the words that a recipe cannot hold, and that nobody names again."""
    if request.task == "style":
        return
    typed = {name for name in ("control", "ip_adapter") if _was_said(request, name)}
    lacking = [(name, line) for name, line in beside(recipe) if name not in typed]
    if lacking:
        many = f"{len(lacking)} pictures" if len(lacking) > 1 else "a picture"
        options = ", ".join(dict.fromkeys(f"--{name.replace('_', '-')}" for name, _ in lacking))
        message = f"it was made with {many} beside the words ({options}), and a recipe holds no pictures"
        raise RequestError(message, hint=" ".join(line for _, line in lacking))


def beside(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the field and the option of every picture beside the words, PICTURE in place of its file."""
    for adapter in recipe.adapters:
        if adapter.kind in _BESIDE and not adaptation.is_alone(adapter):
            yield _BESIDE[adapter.kind], named_again(adapter)
    for picture in recipe.ingredients:
        if picture.control is not None:
            yield "control", f"--control {shlex.quote(f'{picture.control}:PICTURE')}"


_BESIDE: Final[dict[str, str]] = {"controlnet": "control", "ip-adapter": "ip_adapter"}


def named_again(adapter: Adapter) -> str:
    """Return the option that names the picture of a ControlNet or an IP-Adapter again, PICTURE in place of its file."""
    scale = "" if adapter.scale is None else f":{adapter.scale:g}"
    if adapter.kind == "ip-adapter":
        return f"--ip-adapter PICTURE{scale}"
    reference = adaptation.with_revision(adapter.reference, adapter.revision)
    return f"--control {shlex.quote(f'{reference}:PICTURE{scale}')}"


def adopt(request: GenerateRequest, given: tuple[Given, ...]) -> GenerateRequest:
    """Return `request` with blanks filled from the recipes that the given pictures carry.

    Children are made as their parents were: by their model, steps, guidance and sampler, where all parents agree on the
    model. What a picture shows is taken from its recipe where nobody says it and the task can do without words.
    """
    recipes = [picture.recipe for picture in given if picture.role in BASES and picture.recipe is not None]
    if not TASKS[request.task].wordless or not recipes:
        return request
    text, reading = _joined(recipes)
    adopted: dict[str, object] = {"prompt": text}
    read: dict[str, Reading] = {"prompt": reading, "negative_prompt": recipes[0].reading}
    everyone = len(recipes) == len([picture for picture in given if picture.role == "parent"])
    models = {_reference(recipe) for recipe in recipes}
    if request.task == "blend" and everyone and len(models) == 1 and request.model in (None, *models):
        adopted |= _making(recipes[0])
        if all(recipe.adapters == recipes[0].adapters for recipe in recipes):
            adopted |= adaptation.weights_of(recipes[0])
    blanks = {name: value for name, value in adopted.items() if _is_blank(request, name)}
    origin = request.origin | dict.fromkeys(blanks, PARENTS)
    read = request.reading | {name: recorded for name, recorded in read.items() if name in blanks}
    return replace(request, **blanks, origin=origin, reading=read)  # type: ignore[arg-type]  # the request's own names


def _joined(recipes: Sequence[Recipe]) -> tuple[str, Reading]:
    """Return what all the pictures show, and how these words are read."""
    if all(recipe.reading != "weights" for recipe in recipes):
        return ", ".join(dict.fromkeys(recipe.prompt for recipe in recipes)), "chunks"
    marked = (recipe.prompt if recipe.reading == "weights" else prompt.escape(recipe.prompt) for recipe in recipes)
    return ", ".join(dict.fromkeys(marked)), "weights"


def _is_blank(request: GenerateRequest, name: str) -> bool:
    """Return whether nobody says `name`; what a recipe leaves blank is said."""
    value = getattr(request, name)
    return request.origin.get(name) != RECIPE and (value is None or (isinstance(value, str) and not value.strip()))


def _making(recipe: Recipe) -> dict[str, object]:
    guided = catalog.named(recipe.family).guidance_refusal is None
    return {
        "model": _reference(recipe),
        "base": _base(recipe),
        "steps": recipe.steps,
        "guidance": recipe.guidance if guided else None,
        "sampler": recipe.sampler,
        "negative_prompt": recipe.negative_prompt or None,
    }


def _reference(recipe: Recipe) -> str:
    return f"{recipe.model}@{recipe.model_revision}" if recipe.model_revision else recipe.model


def _base(recipe: Recipe) -> str | None:
    return f"{recipe.base}@{recipe.base_revision}" if recipe.base and recipe.base_revision else recipe.base


def _filled(request: GenerateRequest, values: dict[str, object], origin: str) -> GenerateRequest:
    """Return `request` with `values` for all that the command line does not say."""
    kept = {name: value for name, value in values.items() if not _was_said(request, name)}
    origins = request.origin | dict.fromkeys(kept, origin)
    return replace(request, **kept, origin=origins)  # type: ignore[arg-type]  # the names are the request's own


def _recorded_change(recipe: Recipe, request: GenerateRequest) -> dict[str, object]:
    """Return the fields that say again what was done to the given pictures."""
    change = recipe.change
    if change is None:
        return {}
    recorded: dict[str, object] = {"strength": change.strength, "fit": change.fit, "frame": change.frame}
    if request.task == "image-to-image":
        recorded["image_guidance"] = change.image_guidance
    if request.task in ("inpaint", "outpaint"):
        recorded |= {"feather": change.feather, "paste": change.paste}
    if request.task == "inpaint":
        has_mask = _was_said(request, "mask") or change.mask_box is None
        box = None if has_mask else ",".join(str(edge) for edge in change.mask_box or ())
        recorded |= {"mask_box": box, "invert_mask": change.invert_mask}
    if request.task == "outpaint":
        recorded["pad"] = ",".join(str(edge) for edge in change.pad or ())
        recorded |= dict.fromkeys(("width", "height", "size", "aspect"))
    if request.task == "blend":
        weights = [ingredient.weight for ingredient in recipe.ingredients if ingredient.weight is not None]
        recorded |= {"mutate": change.mutation, "weights": ",".join(f"{weight:.17g}" for weight in weights)}
    if request.task == "style" and change.adapter:
        recorded["ip_adapter_weights"] = f"{change.adapter}:{change.adapter_scale:.17g}"
    return recorded


def differences(recipe: Recipe, now: Recipe) -> tuple[str, ...]:
    """Return what a picture made from `recipe` was made with that changes pixels and that `recipe` did not say."""
    names = ("model_hash", "device", "dtype", "attention_slicing", "vae_tile", "quantize")
    changed = [name for name in names if getattr(recipe, name) != getattr(now, name)]
    changes = [f"{name} {getattr(recipe, name)} is now {getattr(now, name)}" for name in changed]
    hashes = [version.change.adapter_hash if version.change else None for version in (recipe, now)]
    if all(hashes) and hashes[0] != hashes[1]:
        changes.append(f"adapter_hash {hashes[0]} is now {hashes[1]}")
    changes.extend(adaptation.differences(recipe, now))
    libraries = sorted(recipe.versions.keys() & now.versions.keys() - {"imggen"})
    moved = [name for name in libraries if recipe.versions[name] != now.versions[name]]
    return (*changes, *(f"{name} {recipe.versions[name]} is now {now.versions[name]}" for name in moved))


def replacement(old: Recipe, new: Recipe, place: str | None) -> str | None:
    """Return what is said where the picture of `new` took the file of the one of `old`, None where they are the same.

    `place` is the file where it is one of several pictures. Where only the seeds differ, the line that was typed makes
    the old picture again with its seed; of pictures from words alone a whole line is given.
    """
    if _settings(old) != _settings(new):
        again = _line(old) if _is_of_words(old) else None
        return f"replaced {old.prompt!r} of seed {old.seed}" + (f"; {again} makes it again" if again else "")
    if old.seed == new.seed:
        return None
    rest = f" -N 1 -o {shlex.quote(place)}" if place else ""
    return f"replaced the picture of seed {old.seed}; --seed {old.seed}{rest} on the same line brings it back"


def _settings(recipe: Recipe) -> dict[str, object]:
    """Return what pixels depend on beside the seed, as far as it is typed."""
    drawn = ("prompt", "template"), ("negative_prompt", "negative_template")
    said = {name: getattr(recipe, typed) or getattr(recipe, name) for name, typed in drawn}
    given = [(ingredient.role, ingredient.sha256, ingredient.weight) for ingredient in recipe.ingredients]
    return said | {name: getattr(recipe, name) for name in _TYPED} | {"ingredients": given}


_TYPED: Final = (
    *("task", "model", "model_revision", "base", "width", "height", "steps", "guidance", "sampler"),
    *("tile", "change", "adapters", "quantize", "edits"),
)


def _is_of_words(recipe: Recipe) -> bool:
    beside = (recipe.adapters, recipe.ingredients, recipe.edits, recipe.base, recipe.change)
    return recipe.task == "text-to-image" and not any(beside)


def _line(recipe: Recipe) -> str:
    marks = recipe.reading == "weights"
    text, negative = (words if marks else prompt.escape(words) for words in (recipe.prompt, recipe.negative_prompt))
    options = {
        "--model": _reference(recipe),
        "--size": f"{recipe.width}x{recipe.height}",
        "--steps": str(recipe.steps),
        **({} if catalog.named(recipe.family).guidance_refusal else {"--guidance": f"{recipe.guidance:.17g}"}),
        "--sampler": recipe.sampler,
        **({"--tile": recipe.tile} if recipe.tile else {}),
        **({"--quantize": recipe.quantize} if recipe.quantize != "none" else {}),
        **({"--negative-prompt": negative} if negative else {}),
        "--seed": str(recipe.seed),
    }
    return shlex.join(("imggen", "generate", text, *(word for option in options.items() for word in option)))


def strangers(recipe: Recipe, ingredients: tuple[Ingredient, ...]) -> tuple[str, ...]:
    """Return what is known before any weights are read: that the given pictures are not those of `recipe`."""
    changes = [
        f"the {old.role} is another file (sha256 {new.sha256[:12]}..., recorded {old.sha256[:12]}...)"
        for old, new in zip(recipe.ingredients, ingredients, strict=False)
        if old.sha256 != new.sha256
    ]
    before, now = _roles(recipe.ingredients), _roles(ingredients)
    if before != now:
        changes.append(f"it was made from {before}, and now from {now}")
    if recipe.edits:
        last = recipe.edits[-1]
        changes.append(f"it was then enlarged to {last.width}x{last.height}, which is not repeated; see imggen upscale")
    return tuple(changes)


def _roles(ingredients: Sequence[Ingredient]) -> str:
    return ", ".join(ingredient.role for ingredient in ingredients) or "nothing"


def _was_said(request: GenerateRequest, name: str) -> bool:
    return getattr(request, name) is not None and request.origin.get(name, COMMAND_LINE) == COMMAND_LINE


def _recorded_size(recipe: Recipe, request: GenerateRequest) -> dict[str, object]:
    if _was_said(request, "size") or _was_said(request, "aspect"):
        return {"width": None, "height": None, "size": None, "aspect": None}
    return {"width": recipe.width, "height": recipe.height, "size": None, "aspect": None}
