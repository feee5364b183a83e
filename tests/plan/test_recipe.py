"""A recipe is strict JSON: it comes back as it went, and what is not one is refused by name."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recipes import APPLE

from imggen.errors import RequestError
from imggen.plan import recipe
from imggen.plan.recipe import Recipe

STORED = Path(__file__).parent / "records"


def changed(**values: object) -> str:
    return json.dumps({**json.loads(APPLE.to_json()), **values})


@settings(deadline=None)
@given(prompt=st.text(), negative=st.text(), seed=st.integers(0, 2**64 - 1), guidance=st.floats(0, 1e6))
def test_any_recipe_comes_back_as_it_went(prompt, negative, seed, guidance):
    went = replace(APPLE, prompt=prompt, negative_prompt=negative, seed=seed, guidance=guidance)
    assert recipe.parse(went.to_json()) == went


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


@pytest.mark.parametrize("name", [each.name for each in fields(Recipe) if each.name not in ("versions", "schema")])
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
    with pytest.raises(RequestError, match="guidance is not finite"):
        recipe.parse(APPLE.to_json().replace("7.5", "1e999"))


@pytest.mark.parametrize(("schema", "fault"), [(None, "no schema"), (0, "schema is 0"), ("1", "'1'"), (True, "True")])
def test_schema_that_is_no_number_from_one_up_is_refused(schema, fault):
    with pytest.raises(RequestError, match=fault):
        recipe.parse(changed(schema=schema))


def test_newer_schema_says_that_imggen_is_too_old_even_with_unknown_keys():
    with pytest.raises(RequestError, match=f"schema {recipe.SCHEMA + 1}") as caught:
        recipe.parse(changed(schema=recipe.SCHEMA + 1, novelty=1))
    assert "upgrade" in caught.value.hint
