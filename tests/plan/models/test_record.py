import pytest

from imggen.errors import ModelError
from imggen.plan.models import record
from tests.plan.conftest import builtin, stable_diffusion


def test_a_model_without_a_record_says_nothing():
    assert record.read(stable_diffusion()) == record.ModelRecord()
    assert record.unknown_words("xyzzy", record.ModelRecord()) == ()


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
    assert record.unknown_words(prompt, record.read(builtin())) == ()


def test_an_unknown_word_is_named_once_with_the_nearest_known_ones():
    notes = record.unknown_words("a rad appel and a rad star", record.read(builtin()))
    assert len(notes) == 2
    assert "'rad'" in notes[0]
    assert "red" in notes[0]
    assert "'appel'" in notes[1]
    assert "apple" in notes[1]


def test_a_word_that_is_near_nothing_still_gets_the_nearest_one():
    (note,) = record.unknown_words("astronaut", record.read(builtin()))
    assert note.count(",") == 0
    assert note.split(": ")[1] in {"star", "striped", "on", "and", "a", "an", "hot dog", "crescent moon"}


def test_a_word_that_shares_no_letter_points_to_the_list():
    (note,) = record.unknown_words("zzz", record.read(builtin()))
    assert "imggen models show" in note
