import pytest

from imggen.errors import ModelError
from imggen.plan.models import record
from tests.plan.conftest import builtin, stable_diffusion


def test_a_model_without_a_record_says_nothing():
    assert record.read(stable_diffusion()) == record.ModelRecord()
    assert record.unknown_words("xyzzy", record.ModelRecord(), "sd") == ()


def test_a_record_gives_the_models_own_defaults():
    own = record.read(builtin(native_size=[128, 96], sampler="dpmpp_2m"))
    assert own.native_size == (128, 96)
    assert (own.steps, own.guidance, own.sampler, own.max_size) == (20, 3.0, "dpmpp_2m", 256)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": None},
        {"native_size": "big"},
        {"native_size": [1, 2, 3]},
        {"native_size": 0},
        {"steps": -1},
        {"steps": True},
        {"guidance": "high"},
        {"sampler": 3},
        {"vocabulary": ["apple"]},
        {"vocabulary": {"objects": "apple"}},
        {"vocabulary": {"objects": [1]}},
    ],
)
def test_a_record_with_wrong_values_is_a_model_error_that_names_the_file(changes):
    with pytest.raises(ModelError, match=r"imggen\.json"):
        record.read(builtin(**changes))


@pytest.mark.parametrize(
    "prompt",
    ["a red apple on a teal background", "A Red APPLE.", "two apples, and a hot dog!", "a crescent moon", ""],
)
def test_words_that_the_model_was_taught_make_no_note(prompt):
    assert unknown(prompt) == ()


def test_all_unknown_words_make_one_note_that_says_what_is_known_and_where_its_words_are_listed():
    (note,) = unknown("a red apple and a star beside a cup a cup on a table")
    assert note.startswith("builtin knows red, apple, star, but not beside, cup, table; ")
    assert "-m " in note
    assert "`imggen models show builtin`" in note


def test_a_prompt_of_which_nothing_is_known_says_so():
    (note,) = unknown("a cup")
    assert note.startswith("builtin was not taught cup; ")


@pytest.mark.parametrize(("typed", "meant"), [("appel", "apple"), ("aple", "apple"), ("crascent", "crescent")])
def test_a_misspelt_word_is_told_with_the_known_one(typed, meant):
    (note,) = unknown(f"a {typed}")
    assert f"{typed} ({meant}?)" in note


@pytest.mark.parametrize("word", ["cup", "rad", "stir", "tulip", "hapless", "zzz", "gapple"])
def test_words_that_are_only_near_in_spelling_are_not_offered(word):
    (note,) = unknown(f"a {word}")
    assert "?" not in note


def test_a_long_prompt_makes_a_note_of_one_line():
    (note,) = unknown(" ".join(f"strange{number}" for number in range(40)))
    assert "and 32 more" in note


def unknown(prompt):
    return record.unknown_words(prompt, record.read(builtin()), "builtin")
