"""The recipe: what a picture was made from, as strict JSON, and its hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import NoReturn

from imggen.errors import RequestError
from imggen.plan.schema import strict
from imggen.plan.schema.adapter import Adapter
from imggen.plan.schema.change import Axes, Change, Edit, Role
from imggen.plan.schema.prompt import Reading
from imggen.plan.schema.strict import KeyPath, Limit

SCHEMA = 4
MAX_CHARACTERS = 4 << 20
MAX_GENERATIONS = 32
MAX_ANCESTORS = 512
LINEAGE_CHARACTERS = 24_000

_SINCE = {
    2: ("tile", "change", "ingredients", "edits"),
    3: ("watermark", "label"),
    4: ("base", "base_revision", "stored", "adapters", "quantize", "reading", "template", "negative_template"),
}
# What is typed has 20,000 at most, and each of them may be behind a backslash and within brackets with a weight.
_WORDS = Limit(longest=100_000)
_SHA256 = Limit(pattern="[0-9a-f]{64}", called="a SHA-256 in hexadecimal")
_LIMITS = {
    **dict.fromkeys(("prompt", "negative_prompt", "template", "negative_template"), _WORDS),
    **dict.fromkeys(("width", "height", "steps", "schema", "image_guidance", "frame"), Limit(least=1)),
    **dict.fromkeys(("mask_box[2]", "mask_box[3]"), Limit(least=1)),
    **dict.fromkeys(("seed", "vae_tile", "mask_box", "feather", "pad", "adapter_scale"), Limit(least=0)),
    **dict.fromkeys(("strength", "mutation"), Limit(least=0, most=1)),
    # Shares that add up to 1 as nearly as people type them.
    "weight": Limit(least=0, most=1.01),
    **dict.fromkeys(("sha256", "adapter_hash", "image", "source_sha256"), _SHA256),
    "guid": Limit(pattern="urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", called="the URN of a UUID"),
}


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A picture that went into another one.

    `sha256` is its file's, `weight` its share among the parents of a child, from 0 to 1. `source_type` is its own IPTC
    digital source type (a URI), None where it stated none; `recipe` what it was made from, where that is known; `guid`
    the URN that it stated for itself. `control` is what a control picture shows that the model read by itself, and
    `preprocessor` what made it out of this one.
    """

    role: Role
    sha256: str
    width: int
    height: int
    weight: float | None = None
    source_type: str | None = None
    recipe: "Recipe | None" = None
    guid: str | None = None
    control: str | None = None
    preprocessor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one picture's pixels depend on, plus the versions that made them.

    One recipe makes one picture. `model` is the reference to ask for again; `model_hash` is the sha256 over the
    model's weight files (see `engine/store.py`); `versions` names imggen, torch and diffusers. `width` and `height` are
    those of the picture as it was made; the last of `edits` says what it was enlarged to. `watermark` says that the
    pixels carry one, `label` which text is drawn into a corner; `base` is what completed a file or a decoder, and
    `stored` how that file stores the denoiser, where something of its precision is lost (`Q4_K`); `adapters` were added
    to the model; `quantize` is how its denoiser's weights were stored. `reading` says how the words of both prompts are
    read; `template` and `negative_template` are what was typed, where something else came out of it. A recipe that was
    read keeps the `schema` that it was written with, so that it stays the same recipe under the same hash.
    """

    task: str
    prompt: str
    negative_prompt: str
    model: str
    model_revision: str | None
    model_hash: str
    family: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    sampler: str
    device: str
    dtype: str
    attention_slicing: str
    vae_tile: int
    offload: str
    versions: dict[str, str] = field(default_factory=dict)
    tile: Axes | None = None
    change: Change | None = None
    ingredients: tuple[Ingredient, ...] = ()
    edits: tuple[Edit, ...] = ()
    watermark: bool = False
    label: str = ""
    adapters: tuple[Adapter, ...] = ()
    quantize: str = "none"
    reading: Reading = "cut"
    template: str = ""
    negative_template: str = ""
    base: str | None = None
    base_revision: str | None = None
    stored: str = ""
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the recipe as one line of strict JSON: sorted keys, ASCII only, no NaN, nothing that is a default."""
        return json.dumps(_values(self), sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))

    def sha256(self) -> str:
        """Return the hex SHA-256 of the recipe's JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def parse(text: str) -> Recipe:
    """Return the recipe that `text` holds; raise RequestError where it is none that this version can read.

    The schema number is looked at first, so that a newer imggen's recipe is called newer, not wrong. Unknown, missing
    and repeated keys, numbers that JSON does not know (NaN), values of another type and out of range are refused by
    name, those of the recipes within by their place: `ingredients[1].recipe.seed`. At most `MAX_ANCESTORS` are read.
    """
    values = _load(text)
    place = KeyPath(subject="the recipe", limits=_LIMITS)
    _check_lineage(values, place)
    return strict.build(Recipe, values, place)


def edited(recipe: Recipe, edit: Edit) -> Recipe:
    """Return the recipe with one more step behind those that came after the picture was made."""
    return replace(recipe, edits=(*recipe.edits, edit), schema=SCHEMA)


def bounded(recipe: Recipe, *, characters: int = LINEAGE_CHARACTERS) -> Recipe:
    """Return the recipe with as many generations of its lineage as its JSON has room for, the youngest first.

    Where an ingredient's recipe has to go, its hash stays. The recipe's own words stay, however long they are.
    """
    deepest = max((generation for generation, older in ancestors(recipe) if older.recipe is not None), default=0)
    kept = min(deepest, MAX_GENERATIONS)
    while True:
        short = _shortened(recipe, kept)
        if not kept or len(short.to_json()) <= characters:
            return short
        kept -= 1


def ancestors(recipe: Recipe) -> Iterator[tuple[int, Ingredient]]:
    """Yield every picture that went into the recipe's, each before its own, with its generation: 1 = went in itself."""
    for ingredient in recipe.ingredients:
        yield 1, ingredient
        if ingredient.recipe is not None:
            yield from ((generation + 1, older) for generation, older in ancestors(ingredient.recipe))


def _shortened(recipe: Recipe, generations: int) -> Recipe:
    ingredients = []
    for ingredient in recipe.ingredients:
        older = _shortened(ingredient.recipe, generations - 1) if ingredient.recipe and generations else None
        ingredients.append(replace(ingredient, recipe=older))
    return replace(recipe, ingredients=tuple(ingredients))


def _values(value: object) -> object:
    if isinstance(value, tuple):
        return [_values(item) for item in value]
    if not is_dataclass(value):
        return value
    named = {member.name: (getattr(value, member.name), member.default) for member in fields(value)}
    return {name: _values(value) for name, (value, default) in named.items() if name == "schema" or value != default}


def _load(text: str) -> dict[str, object]:
    if len(text) > MAX_CHARACTERS:
        raise RequestError(f"the recipe has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        values = json.loads(text, object_pairs_hook=_unrepeated, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the recipe is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise RequestError(f"the recipe is a JSON {type(values).__name__}, not an object")
    return values


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RequestError(f"the recipe gives {repeated!r} more than once")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise RequestError(f"the recipe holds {name}, which is not a number")


def _check_lineage(values: dict[str, object], place: KeyPath) -> None:
    """Look at the schema numbers of a recipe and of those within it, and at how many there are, before all else."""
    left, count = [(values, place, 0)], 0
    while left:
        holder, where, generation = left.pop()
        if generation > MAX_GENERATIONS:
            raise RequestError(f"the recipe tells of more than {MAX_GENERATIONS} generations")
        _check_schema(holder, where)
        ingredients, edits = holder.get("ingredients"), holder.get("edits")
        each_of = ingredients if isinstance(ingredients, list) else []
        # Each edit began with a picture too.
        count += len(each_of) + (len(edits) if isinstance(edits, list) else 0)
        if count > MAX_ANCESTORS:
            raise RequestError(f"the recipe tells of more than {MAX_ANCESTORS} ancestors")
        for number, ingredient in enumerate(each_of):
            inner = ingredient.get("recipe") if isinstance(ingredient, dict) else None
            if isinstance(inner, dict):
                left.append((inner, where.member("ingredients").item(number).member("recipe"), generation + 1))


def _check_schema(values: dict[str, object], place: KeyPath) -> None:
    schema = strict.check_schema(values, place, SCHEMA)
    for since, names in _SINCE.items():
        newer = next((name for name in names if name in values), None)
        if schema < since and newer:
            raise RequestError(f"{place} has schema {schema} and the key {newer!r}, which came with schema {since}")
