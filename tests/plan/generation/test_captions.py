"""Prompts that are JSON objects: which texts are, and which a family refuses or notes."""

import pytest

from imggen.errors import RequestError
from imggen.plan.generation import captions
from imggen.plan.schema.family import Captions
from tests.plan.cases import case, family

KEYED = family(captions=Captions(key="edit"))
ONLY = family(captions=Captions(key="edit", only=True))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("{}", True),
        (' \n{"a": {"b": 1}} ', True),
        ("[1]", False),
        ('"a"', False),
        ("{a|b} pear", False),
        ('{"a": 1} pear', False),
        ("a {}", False),
        ("", False),
        ('{"a": ' * 100_000, False),
    ],
)
def test_a_json_object_alone_is_a_caption(text, is_one):
    assert captions.is_one(text) is is_one


@pytest.mark.parametrize(
    ("row", "texts", "looks"),
    [
        (family(), ["a pear", "{}"], True),
        (family(captions=Captions(trained=True, only=True)), ["a pear", "{}"], True),
        (ONLY, ["a pear", "{}"], False),
        (ONLY, ['{"edit": "x"}'], True),
        (KEYED, ["a pear", '{"edit": "x", "a": 1}'], True),
    ],
)
def test_a_prompt_that_the_pipelines_take_is_let_through(row, texts, looks):
    captions.check(case(row), texts, looks=looks)


@pytest.mark.parametrize(
    ("row", "texts", "message", "hint"),
    [
        (
            ONLY,
            ['{"edit": "x"}', "it's é"],
            "Plain reads a prompt that is a JSON object with 'edit', and this is none: \"it's é\"",
            """'{"edit": "it'"'"'s é"}'""",
        ),
        (ONLY, ["a" * 40], f"none: '{'a' * 40}'", f"""'{{"edit": "{"a" * 40}"}}'"""),
        (ONLY, ["a" * 41], f"none: '{'a' * 39}…'", f"""'{{"edit": "{"a" * 41}"}}'"""),
        (
            KEYED,
            ['{"b": 1, "a": 2}'],
            "without 'edit', from which Plain learns what to do with a picture: it has 'b', 'a'",
            'add "edit": "..." to it',
        ),
        (ONLY, ["{}"], "it has nothing", 'add "edit": "..." to it'),
    ],
)
def test_a_prompt_that_the_pipelines_would_refuse_is_refused_with_what_to_write(row, texts, message, hint):
    with pytest.raises(RequestError) as caught:
        captions.check(case(row), texts, looks=True)
    assert caught.value.message.endswith(message)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("row", "texts", "is_noted"),
    [
        (family(captions=Captions(trained=True)), ["{}", "a pear"], True),
        (family(captions=Captions(trained=True)), ["{}"], False),
        (KEYED, ["a pear"], False),
        (family(), ["a pear"], False),
    ],
)
def test_plain_words_are_noted_where_the_model_was_trained_on_captions_alone(row, texts, is_noted):
    note = "Plain was trained on prompts that are JSON objects alone, and makes little of other words"
    assert captions.notes(case(row), texts) == ((note,) if is_noted else ())
