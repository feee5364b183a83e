"""What a recipe says of the pictures that went into its own, and of what was done to them, in words."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from imggen.plan.generation import reproduce
from imggen.plan.schema.change import Change, Edit
from imggen.plan.schema.recipe import Ingredient, Recipe
from imggen.plan.schema.tasks import TASKS

HEADER = ("generation", "role", "weight", "sha256", "size", "seed", "prompt", "model", "how")

_HASH_CHARACTERS = 12
_PROMPT_CHARACTERS = 40
_STEP = re.compile(r"upscale to ([0-9]+x[0-9]+) px by (.+)", re.ASCII | re.DOTALL)
_HASH = re.compile(rf"\b([0-9a-f]{{{_HASH_CHARACTERS}}})[0-9a-f]{{{64 - _HASH_CHARACTERS}}}\b")
_OPERANDS = {"image": "PICTURE", "parent": "PARENT", "mask": "--mask MASK", "style": "--like STYLE"}


def rows(picture: Ingredient) -> Iterator[tuple[str, ...]]:
    """Yield the table of a picture's ancestors: a header, the picture itself, and each ancestor before its own."""
    yield HEADER
    yield _row(0, picture)
    if picture.recipe is not None:
        yield from (_row(generation, ancestor) for generation, ancestor in _ancestors(picture.recipe))


def facts(made: Recipe) -> list[dict[str, object]]:
    """Return the ancestors for programs, in the order of the table."""
    return [
        {
            "generation": generation,
            "role": ancestor.role,
            "weight": ancestor.weight,
            "sha256": ancestor.sha256,
            "width": ancestor.width,
            "height": ancestor.height,
            "source_type": ancestor.source_type,
            "recipe_sha256": ancestor.recipe.sha256() if ancestor.recipe else None,
            "seed": ancestor.recipe.seed if ancestor.recipe else None,
            "prompt": ancestor.recipe.prompt if ancestor.recipe else None,
            "model": ancestor.recipe.model if ancestor.recipe else None,
            "how": how(ancestor.recipe) if ancestor.recipe else None,
        }
        for generation, ancestor in _ancestors(made)
    ]


def summary(recipe: Recipe) -> str:
    """Return how many ancestors a recipe knows, in words."""
    generations = [generation for generation, _ in _ancestors(recipe)]
    if not generations:
        return "made from no other picture"
    count, depth = len(generations), max(generations)
    return (
        f"{count} {'ancestor' if count == 1 else 'ancestors'}, {depth} {'generation' if depth == 1 else 'generations'}"
    )


def how(recipe: Recipe) -> str:
    """Return how the picture was made, in words: `blend by latents, mutation 0.2; enlarged to ...`."""
    change = recipe.change
    method = f" by {change.method}" if change and change.method not in (recipe.task, "inpainting") else ""
    details = list(_details(change)) if change else []
    if recipe.tile:
        details.append(f"repeats along {' and '.join(recipe.tile)}")
    return "; ".join([", ".join([f"{recipe.task}{method}", *details]), *(enlarged(edit) for edit in recipe.edits)])


def enlarged(edit: Edit) -> str:
    """Return what an edit did, in words."""
    values = {
        "prompt": _shortened(edit.prompt) or None,
        "seed": edit.seed,
        "steps": edit.steps,
        "guidance": None if edit.guidance is None else f"{edit.guidance:g}",
    }
    by = " ".join(filter(None, (edit.engine, edit.model)))
    details = [f"{name} {value}" for name, value in values.items() if value is not None]
    return ", ".join([f"enlarged to {edit.width}x{edit.height} by {by}", *details])


def step(edit: Edit) -> str:
    """Return what an edit did, and to which file, in words: `enlarged to ... by ..., from 5e5e5e5e5e5e`."""
    return f"{enlarged(edit)}, from {edit.source_sha256[:_HASH_CHARACTERS]}"


def ingredient(source: Ingredient) -> str:
    """Return what went in, in words: `parent 0.7: 2b2b2b2b2b2b, 128x96, trainedAlgorithmicMedia`."""
    share = "" if source.weight is None else f" {source.weight:g}"
    stated = (source.source_type or "").rpartition("/")[2] or "states no source type"
    return f"{source.role}{share}: {source.sha256[:_HASH_CHARACTERS]}, {source.width}x{source.height}, {stated}"


def again(recipe: Recipe, path: Path) -> str:
    """Return the command line that makes the picture again from the recipe in the file `path`."""
    operands = [_OPERANDS[source.role] for source in recipe.ingredients if source.role in _OPERANDS]
    if recipe.task != "style":
        operands += [line for _, line in reproduce.beside(recipe)]
    command = TASKS[recipe.task].command if recipe.task in TASKS else recipe.task
    return " ".join(["imggen", command, *operands, "--from", shlex.quote(str(path))])


def origin(stated: Mapping[str, object]) -> str:
    """Return what a file without a recipe says of its origin (XMP `DerivedFrom`), in words, empty where it does not."""
    derived = stated.get("xmpMM:DerivedFrom")
    if not isinstance(derived, Mapping):
        return ""
    if derived.get("imggen:sha256"):
        return f"made from {derived.get('imggen:role') or 'image'} {derived['imggen:sha256']}"
    name = derived.get("stRef:documentID") or derived.get("stRef:instanceID")
    return f"derived from {name}" if name else ""


def steps(stated: Mapping[str, object]) -> Iterator[str]:
    """Yield what a file without a recipe says that imggen did to the picture (XMP `History`), in words."""
    history = stated.get("xmpMM:History")
    for event in history if isinstance(history, tuple) else ():
        if not isinstance(event, Mapping) or not str(event.get("stEvt:softwareAgent", "")).startswith("imggen"):
            continue
        if parameters := _STEP.fullmatch(str(event.get("stEvt:parameters", ""))):
            by = _HASH.sub(r"\1", parameters[2])
            yield f"enlarged to {parameters[1]} by {by}"


def _ancestors(made: Recipe) -> Iterator[tuple[int, Ingredient]]:
    """Yield every picture that the recipe's was made from, each before its own, with its generation.

    The file that a step began with counts as one: it has the recipe as it was before that step.
    """
    left = [(1, source) for source in reversed(_sources(made))]
    while left:
        generation, ancestor = left.pop()
        yield generation, ancestor
        if ancestor.recipe is not None:
            left.extend((generation + 1, older) for older in reversed(_sources(ancestor.recipe)))


def _sources(made: Recipe) -> tuple[Ingredient, ...]:
    """Return what a recipe's picture was made from: its ingredients, or the file that its last edit began with."""
    if not made.edits:
        return made.ingredients
    *earlier, last = made.edits
    before = earlier[-1] if earlier else made
    source = Ingredient(
        role="image",
        sha256=last.source_sha256,
        width=before.width,
        height=before.height,
        recipe=replace(made, edits=tuple(earlier)),
    )
    return (source,)


def _row(generation: int, ancestor: Ingredient) -> tuple[str, ...]:
    made = ancestor.recipe
    return (
        str(generation),
        "  " * generation + ancestor.role if generation else "picture",
        "" if ancestor.weight is None else f"{ancestor.weight:g}",
        ancestor.sha256[:_HASH_CHARACTERS],
        f"{ancestor.width}x{ancestor.height}",
        *((str(made.seed), _shortened(made.prompt), made.model) if made else ("", "", "")),
        _how(ancestor),
    )


def _how(ancestor: Ingredient) -> str:
    if ancestor.recipe is not None:
        # What was done before the last step stands in the rows below.
        return enlarged(ancestor.recipe.edits[-1]) if ancestor.recipe.edits else how(ancestor.recipe)
    stated = (ancestor.source_type or "").rpartition("/")[2]
    return f"no recipe; {stated}" if stated else "no recipe"


def _details(change: Change) -> Iterator[str]:
    """Yield the settings of a change that are not at rest, in words."""
    values = {
        "strength": change.strength,
        "image guidance": change.image_guidance,
        "fit": change.fit,
        "frame": change.frame,
        "mask": ",".join(map(str, change.mask_box)) if change.mask_box else None,
        "feather": change.feather or None,
        "pad": ",".join(map(str, change.pad)) if change.pad else None,
        "mutation": change.mutation or None,
        "adapter": change.adapter,
        "scale": change.adapter_scale,
    }
    for name, value in values.items():
        if value is not None:
            yield f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
    if change.invert_mask:
        yield "mask inverted"
    if not change.paste:
        yield "unmasked pixels redrawn"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _PROMPT_CHARACTERS else line[: _PROMPT_CHARACTERS - 1] + "…"
