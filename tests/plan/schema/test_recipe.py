"""A recipe is strict JSON: it comes back as it went, and what is not one is refused by name."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import FunctionType
from typing import get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recipes import APPLE, CHILD, ENLARGED, PEAR

from imggen.errors import RequestError
from imggen.plan.schema import change, recipe
from imggen.plan.schema.change import Change, Edit
from imggen.plan.schema.recipe import Ingredient, Recipe

STORED = Path(__file__).parent / "records"
REQUIRED = [each.name for each in fields(Recipe) if each.default is MISSING and each.default_factory is MISSING]

shares = st.floats(0, 1)
edges = st.integers(1, 1 << 40)
counts = st.integers(0, 1 << 40)
hashes = st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
# JSON reads two halves of a letter in a row as that letter.
words = st.text(max_size=20)
changes = st.builds(
    Change,
    method=st.sampled_from(get_args(change.Method)),
    strength=st.none() | shares,
    fit=st.sampled_from((None, *get_args(change.Fit))),
    frame=st.none() | edges,
    mask_box=st.none() | st.tuples(counts, counts, edges, edges),
    invert_mask=st.booleans(),
    feather=counts,
    paste=st.booleans(),
    pad=st.none() | st.tuples(counts, counts, counts, counts),
    mutation=shares,
    adapter=st.none() | words,
    adapter_hash=st.none() | hashes,
    adapter_scale=st.none() | st.floats(0, 10),
)
edits = st.builds(
    Edit,
    action=st.just("upscale"),
    engine=words,
    model=words,
    model_hash=hashes | st.just(""),
    width=edges,
    height=edges,
    source_sha256=hashes,
    imggen=words,
    prompt=words,
    seed=st.none() | counts,
    steps=st.none() | edges,
    guidance=st.none() | st.floats(0, 30),
)


def descendants(older: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    ingredients = st.builds(
        Ingredient,
        role=st.sampled_from(get_args(change.Role)),
        sha256=hashes,
        width=edges,
        height=edges,
        weight=st.none() | shares,
        source_type=st.none() | words,
        recipe=st.none() | older,
    )
    return st.builds(
        replace,
        st.just(APPLE),
        prompt=words,
        seed=counts,
        guidance=st.floats(0, 1e6),
        model_revision=st.none() | words,
        tile=st.sampled_from((None, *get_args(change.Axes))),
        change=st.none() | changes,
        ingredients=st.lists(ingredients, max_size=2).map(tuple),
        edits=st.lists(edits, max_size=2).map(tuple),
    )


lineages = st.recursive(
    st.builds(replace, st.just(APPLE), prompt=words, schema=st.sampled_from((1, 2, 3))), descendants, max_leaves=4
)


def line_of(generations: int, **words: str) -> Recipe:
    """A picture made from a picture made from a picture."""
    made = replace(APPLE, **words)
    for number in range(generations):
        parent = Ingredient(role="image", sha256=f"{number:064x}", width=8, height=8, recipe=made)
        made = replace(APPLE, **words, seed=number, ingredients=(parent,))
    return made


def forged(**values: object) -> str:
    """CHILD's JSON with changes named by place: `ingredients.1.recipe.seed`."""
    held = json.loads(CHILD.to_json())
    for place, value in values.items():
        *way, name = place.split(".")
        target = held
        for each in way:
            target = target[int(each) if each.isdigit() else each]
        target[int(name) if name.isdigit() else name] = value
    return json.dumps(held)


def changed(**values: object) -> str:
    return json.dumps({**json.loads(APPLE.to_json()), **values})


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "template"])
def test_words_longer_than_anyone_typed_are_refused(name):
    assert getattr(recipe.parse(changed(**{name: "a" * 100_000})), name) == "a" * 100_000
    with pytest.raises(RequestError, match=f"the recipe's {name} has 100,001 characters; at most 100,000 are read"):
        recipe.parse(changed(**{name: "a" * 100_001}))


@settings(deadline=None)
@given(prompt=st.text(), negative=st.text(), seed=st.integers(0, 2**64 - 1), guidance=st.floats(0, 1e6))
def test_any_recipe_comes_back_as_it_went(prompt, negative, seed, guidance):
    went = replace(APPLE, prompt=prompt, negative_prompt=negative, seed=seed, guidance=guidance)
    assert recipe.parse(went.to_json()) == went


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(lineages)
@example(CHILD)
@example(recipe.edited(CHILD, ENLARGED))
def test_any_lineage_comes_back_as_it_went(went):
    assert recipe.parse(went.to_json()) == went
    assert recipe.parse(went.to_json()).sha256() == went.sha256()


def test_what_is_not_said_is_not_written():
    assert not {"tile", "change", "ingredients", "edits"} & json.loads(APPLE.to_json()).keys()
    assert json.loads(CHILD.to_json())["change"] == {"method": "latents", "mutation": 0.2}


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec=None, categories=["Cs", "Cc", "Lu"])))
@example("\ud800\udc00")
def test_lone_surrogates_and_control_characters_come_back_too(prompt):
    went = replace(APPLE, prompt=prompt)
    assert went.to_json().isascii()
    # Two halves in a row are one letter to JSON, as they are to UTF-16.
    whole = prompt.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    assert recipe.parse(went.to_json()) == replace(went, prompt=whole)


@pytest.mark.parametrize("path", sorted(STORED.glob("recipe-*.json")), ids=lambda path: path.stem)
def test_stored_recipe_of_every_schema_is_read(path):
    read = recipe.parse(path.read_text())
    assert read.prompt == "a red apple on a teal background"
    assert read.seed == 42
    assert read.to_json() == path.read_text().strip()


def test_stored_lineage_is_read_to_its_end():
    read = recipe.parse((STORED / "recipe-2.json").read_text())
    assert [(generation, each.role) for generation, each in recipe.ancestors(read)] == [
        (1, "parent"),
        (1, "parent"),
        (2, "image"),
        (2, "mask"),
    ]
    older = read.ingredients[1].recipe
    assert (older.tile, older.change.mask_box, older.change.paste) == ("x", (0, 8, 32, 16), False)
    assert (read.ingredients[0].recipe.schema, read.edits[0].width) == (1, 512)


def test_there_is_a_stored_recipe_for_every_schema():
    assert {path.stem for path in STORED.glob("recipe-*.json")} == {
        f"recipe-{schema}" for schema in range(1, recipe.SCHEMA + 1)
    }


def test_same_recipe_has_the_same_hash_whatever_order_its_versions_stand_in():
    turned = replace(APPLE, versions=dict(reversed(APPLE.versions.items())))
    assert turned.sha256() == APPLE.sha256()
    assert replace(APPLE, seed=43).sha256() != APPLE.sha256()


def test_whole_number_may_stand_where_a_fraction_is_expected():
    assert recipe.parse(changed(guidance=7)).guidance == 7.0


def test_unknown_key_names_the_nearest_known_one():
    with pytest.raises(RequestError) as caught:
        recipe.parse(changed(guidence=7.0))
    assert "'guidence'" in caught.value.message
    assert "guidance" in caught.value.hint


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_key_is_named(name):
    values = json.loads(APPLE.to_json())
    del values[name]
    with pytest.raises(RequestError, match=name):
        recipe.parse(json.dumps(values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", None),
        ("prompt", 5),
        ("model_revision", 5),
        ("width", "128"),
        ("width", 128.0),
        ("width", True),
        ("width", 0),
        ("steps", -1),
        ("seed", -1),
        ("guidance", "7"),
        ("guidance", True),
        ("guidance", 10**400),
        ("versions", ["0.1"]),
        ("versions", {"imggen": 1}),
    ],
)
def test_value_of_another_kind_is_refused_by_its_name(name, value):
    with pytest.raises(RequestError, match=f"recipe's {name}"):
        recipe.parse(changed(**{name: value}))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"seed":' + "9" * 5000 + "}", "not JSON"),
        ("[]", "a JSON list"),
        ("null", "a JSON NoneType"),
        ('{"schema":1,"schema":1}', "'schema' more than once"),
        ('{"guidance":NaN}', "NaN"),
        ('{"guidance":-Infinity}', "-Infinity"),
        ('{"a":"' + "x" * recipe.MAX_CHARACTERS + '"}', "characters"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_strict_json_object_is_refused(text, fault):
    with pytest.raises(RequestError, match=fault):
        recipe.parse(text)


def test_number_beyond_the_floats_is_refused():
    with pytest.raises(RequestError, match="guidance is inf, not a finite number"):
        recipe.parse(APPLE.to_json().replace("7.5", "1e999"))


@pytest.mark.parametrize(("schema", "fault"), [(None, "no schema"), (0, "schema is 0"), ("1", "'1'"), (True, "True")])
def test_schema_that_is_no_number_from_one_up_is_refused(schema, fault):
    with pytest.raises(RequestError, match=fault):
        recipe.parse(changed(schema=schema))


def test_newer_schema_says_that_imggen_is_too_old_even_with_unknown_keys():
    with pytest.raises(RequestError, match=f"schema {recipe.SCHEMA + 1}") as caught:
        recipe.parse(changed(schema=recipe.SCHEMA + 1, novelty=1))
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize("name", ["tile", "change", "ingredients", "edits"])
def test_recipe_of_an_older_schema_has_none_of_the_newer_keys(name):
    with pytest.raises(RequestError, match=f"schema 1 and the key '{name}'"):
        recipe.parse(changed(schema=1, **{name: None}))


@pytest.mark.parametrize("name", ["watermark", "label"])
def test_recipe_of_the_second_schema_has_no_marks(name):
    with pytest.raises(RequestError, match=f"schema 2 and the key '{name}', which came with schema 3"):
        recipe.parse(changed(schema=2, **{name: None}))


@pytest.mark.parametrize("name", ["adapters", "base", "base_revision", "stored", "quantize"])
def test_recipe_of_the_third_schema_has_no_adapters_and_no_base(name):
    with pytest.raises(RequestError, match=f"schema 3 and the key '{name}', which came with schema 4"):
        recipe.parse(changed(schema=3, **{name: None}))


def test_schemas_within_are_looked_at_too():
    with pytest.raises(RequestError, match=r"ingredients\[1\]\.recipe has schema 5") as caught:
        recipe.parse(forged(**{"ingredients.1.recipe.schema": 5, "ingredients.1.recipe.novelty": 1}))
    assert "upgrade" in caught.value.hint
    with pytest.raises(RequestError, match=r"ingredients\[1\]\.recipe has schema 1 and the key 'change'"):
        recipe.parse(forged(**{"ingredients.1.recipe.schema": 1}))


@pytest.mark.parametrize(
    ("place", "value", "fault", "hint"),
    [
        ("tile", "z", "recipe's tile is 'z'", "known: x, y, xy"),
        ("change", [], "recipe's change is [], not an object or null", None),
        ("change.metod", "latents", "recipe's change has an unknown key 'metod'", "method"),
        ("change.method", "latent", "recipe's change.method is 'latent'", "latents"),
        ("change.method", None, "recipe's change.method is None", "known: "),
        ("change.strength", 1.1, "recipe's change.strength is 1.1; the most is 1", None),
        ("change.strength", -0.1, "recipe's change.strength is -0.1; the least is 0", None),
        ("change.strength", "0.6", "recipe's change.strength is '0.6', not a number or null", None),
        ("change.fit", "corp", "recipe's change.fit is 'corp'", "crop"),
        ("change.frame", 0, "recipe's change.frame is 0", None),
        ("change.paste", 1, "recipe's change.paste is 1, not true or false", None),
        ("change.feather", True, "recipe's change.feather is True, not a whole number", None),
        ("change.feather", -1, "recipe's change.feather is -1", None),
        ("change.mask_box", [0, 0, 8], "recipe's change.mask_box has 3 values, not 4", None),
        ("change.mask_box", [0, 0, 0, 8], "recipe's change.mask_box[2] is 0; the least is 1", None),
        ("change.mask_box", "0,0,8,8", "recipe's change.mask_box is '0,0,8,8', not a list", None),
        ("change.pad", [0, 0, 0.5, 8], "recipe's change.pad[2] is 0.5, not a whole number", None),
        ("change.pad", [0, 0, -1, 8], "recipe's change.pad[2] is -1", None),
        ("change.mutation", 2, "recipe's change.mutation is 2.0", None),
        ("change.adapter", 5, "recipe's change.adapter is 5, not text or null", None),
        ("ingredients", {}, "recipe's ingredients is {}, not a list", None),
        ("ingredients", [5], "recipe's ingredients[0] is 5, not an object", None),
        ("ingredients.0", {}, "recipe's ingredients[0] lacks height, role, sha256, width", None),
        ("ingredients.1.role", "imagee", "recipe's ingredients[1].role is 'imagee'", "image"),
        ("ingredients.1.sha256", "AB" * 32, "ingredients[1].sha256 is 'ABAB", None),
        ("ingredients.1.weight", 1.5, "ingredients[1].weight is 1.5; the most is 1.01", None),
        ("ingredients.1.source_type", 1, "ingredients[1].source_type is 1, not text or null", None),
        ("ingredients.1.recipe", [], "ingredients[1].recipe is [], not an object or null", None),
        ("ingredients.1.recipe.seed", -1, "ingredients[1].recipe.seed is -1; the least is 0", None),
        ("ingredients.1.recipe.sede", 1, "ingredients[1].recipe has an unknown key 'sede'", "seed"),
        ("ingredients.1.recipe.change.method", "x", "ingredients[1].recipe.change.method is 'x'", "known: "),
        ("ingredients.1.recipe.ingredients.0.width", 0, "ingredients[1].recipe.ingredients[0].width is 0", None),
        ("edits", [{}], "recipe's edits[0] lacks action, ", None),
    ],
)
def test_fault_within_is_named_by_its_place(place, value, fault, hint):
    with pytest.raises(RequestError) as caught:
        recipe.parse(forged(**{place: value}))
    assert fault in caught.value.message
    assert (hint or "") in (caught.value.hint or "")


def test_number_within_that_is_not_finite_is_refused():
    with pytest.raises(RequestError, match=r"ingredients\[1\]\.weight is inf, not a finite number"):
        recipe.parse(CHILD.to_json().replace('"weight":0.3', '"weight":1e999'))


def test_key_that_is_repeated_within_is_refused_in_no_time():
    text = CHILD.to_json().replace('"method":"latents"', '"method":"latents","method":"latents"')
    with pytest.raises(RequestError, match="'method' more than once"):
        recipe.parse(text)
    many = "{" + ",".join(f'"{number}":0' for number in range(200_000)) + ',"0":1}'
    start = time.process_time()
    with pytest.raises(RequestError, match="'0' more than once"):
        recipe.parse(many)
    assert time.process_time() - start < 5


def test_lineage_is_read_to_a_bound_and_no_further():
    assert recipe.parse(line_of(recipe.MAX_GENERATIONS).to_json())
    with pytest.raises(RequestError, match="more than 32 generations"):
        recipe.parse(line_of(recipe.MAX_GENERATIONS + 1).to_json())


def family_of(parents: int) -> Recipe:
    """A picture with many parents, each of which tells of its own making."""
    each = Ingredient(role="parent", sha256="2b" * 32, width=8, height=8, recipe=APPLE)
    return replace(CHILD, ingredients=(each,) * parents)


def test_ancestors_are_read_up_to_a_number_wherever_they_stand():
    assert recipe.parse(family_of(recipe.MAX_ANCESTORS).to_json())
    with pytest.raises(RequestError, match="more than 512 ancestors"):
        recipe.parse(family_of(recipe.MAX_ANCESTORS + 1).to_json())
    with pytest.raises(RequestError, match="more than 512 ancestors"):
        recipe.parse(replace(APPLE, edits=(ENLARGED,) * (recipe.MAX_ANCESTORS + 1)).to_json())
    half = replace(CHILD.ingredients[0], recipe=family_of(recipe.MAX_ANCESTORS // 2))
    with pytest.raises(RequestError, match="more than 512 ancestors"):
        recipe.parse(replace(CHILD, ingredients=(half, half)).to_json())


def test_ancestors_beyond_the_number_are_refused_before_they_are_looked_at():
    refused = [called(lambda n=n: refuse(family_of(recipe.MAX_ANCESTORS + n))) for n in (1, 1001)]
    # What is left is done for the text of each, be it written or read.
    assert refused[1] - refused[0] < 1000 * 200


def test_what_an_ancestor_consists_of_is_not_looked_up_for_each():
    texts = [family_of(parents).to_json() for parents in (1, 101)]
    few, many = (called(lambda text=text: recipe.parse(text), only=get_type_hints) for text in texts)
    assert few == many


def refuse(made: Recipe) -> None:
    with pytest.raises(RequestError):
        recipe.parse(made.to_json())


def called(act: Callable[[], object], only: FunctionType | None = None) -> int:
    """How often `act` calls functions written in Python, or `only` that one: what it costs, on any machine."""
    codes = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: codes.append(frame.f_code) if event == "call" else None)
    try:
        act()
    finally:
        sys.setprofile(before)
    return len(codes) if only is None else codes.count(only.__code__)


def test_lineage_that_grows_loses_its_oldest_generations_and_keeps_their_hash():
    grown = line_of(200, prompt="x" * 400)
    kept = recipe.bounded(grown)
    assert len(kept.to_json()) <= recipe.LINEAGE_CHARACTERS
    assert recipe.parse(kept.to_json()) == kept
    told = list(recipe.ancestors(kept))
    assert [generation for generation, _ in told] == list(range(1, len(told) + 1))
    assert len(told) > 10
    assert (told[-1][1].recipe, told[-1][1].sha256) == (None, list(recipe.ancestors(grown))[len(told) - 1][1].sha256)
    roomier = recipe.bounded(grown, characters=2 * recipe.LINEAGE_CHARACTERS)
    assert len(list(recipe.ancestors(roomier))) > len(told)


def test_lineage_is_bounded_in_generations_where_there_is_room():
    kept = recipe.bounded(line_of(40), characters=recipe.MAX_CHARACTERS)
    assert recipe.parse(kept.to_json()) == kept


def test_lineage_that_fits_stays_whole():
    assert recipe.bounded(CHILD) == CHILD
    assert recipe.bounded(APPLE, characters=1) == APPLE


def test_ancestors_stand_before_their_own():
    assert [(generation, each.sha256[:2]) for generation, each in recipe.ancestors(CHILD)] == [
        (1, "2b"),
        (1, "3c"),
        (2, "1a"),
    ]
    assert list(recipe.ancestors(APPLE)) == []


def test_step_that_came_after_is_put_behind_the_others():
    twice = recipe.edited(recipe.edited(replace(PEAR, schema=1, change=None, ingredients=()), ENLARGED), ENLARGED)
    assert (twice.edits, twice.schema) == ((ENLARGED, ENLARGED), recipe.SCHEMA)
    assert recipe.parse(twice.to_json()) == twice
