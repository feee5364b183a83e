"""How a picture says what it is: what was asked, and what cannot be written."""

import pytest

from imggen.errors import RequestError
from imggen.plan.schema import marking
from imggen.plan.schema.marking import MarkingPlan, MarkingRequest


def choose(*typed, metadata="full", **asked):
    return marking.choose(MarkingRequest(**asked), metadata=metadata, typed=typed)


def refusal(*typed, **said):
    with pytest.raises(RequestError) as caught:
        choose(*typed, **said)
    return caught.value.message, caught.value.hint


def test_what_nobody_said_is_marked_as_usual():
    assert choose() == MarkingPlan(watermark="auto", sign="auto", label="", prompt="full", alt="", mining=None)


def test_what_was_asked_is_the_plan_without_its_margins():
    assert choose(
        watermark="on",
        sign="off",
        label=" AI ",
        record_prompt="hash",
        alt="\ta pear\n",
        training_mining="not-allowed",
    ) == MarkingPlan(watermark="on", sign="off", label="AI", prompt="hash", alt="a pear", mining="not-allowed")


def test_a_label_of_blanks_is_refused_only_where_it_was_typed():
    assert refusal("label", label=" ") == ("--label ' ' has no letters", "--label AI, or leave it out")
    assert choose(label=" ").label == ""
    assert choose("label").label == ""


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("alt", "a pear", "--alt"),
        ("record_prompt", "full", "--record-prompt"),
        ("training_mining", "allowed", "--training-mining"),
    ],
)
def test_what_goes_into_metadata_is_refused_where_they_are_left_out(name, value, option):
    assert refusal(name, metadata="none", **{name: value}) == (
        f"{option} goes into the metadata, and --metadata none leaves these out",
        f"leave {option} out",
    )
    for metadata in ("full", "minimal"):
        choose(name, metadata=metadata, **{name: value})
    choose(metadata="none", **{name: value})
    choose(name, metadata="none")


def test_a_signature_holds_what_is_said_of_training_even_without_metadata():
    asked = {"training_mining": "allowed", "metadata": "none"}
    assert choose("training_mining", sign="on", **asked).mining == "allowed"
    for sign in ("auto", "off", None):
        assert "--training-mining goes into" in refusal("training_mining", sign=sign, **asked)[0]
    assert "--alt goes into" in refusal("alt", alt="a", sign="on", metadata="none")[0]


@pytest.mark.parametrize(("name", "longest", "written"), [("label", 40, "40"), ("alt", 4000, "4,000")])
def test_texts_have_a_longest_length(name, longest, written):
    assert getattr(choose(**{name: "a" * longest}), name) == "a" * longest
    count = f"{longest + 1:,}"
    message = f"--{name} has {count} characters; at most {written} are taken"
    assert refusal(**{name: "a" * (longest + 1)}) == (message, None)


@pytest.mark.parametrize(
    ("name", "text"), [("label", "a\nb"), ("label", "a\tb"), ("alt", "a\0b"), ("alt", "a\rb"), ("alt", "a\u200bb")]
)
def test_characters_that_cannot_be_shown_are_refused(name, text):
    assert refusal(**{name: text}) == (f"--{name} {text!r} holds characters that cannot be shown", None)


def test_a_strange_text_is_shown_by_its_beginning():
    assert refusal(alt="\0" + "a" * 50)[0] == f"--alt '\\x00{'a' * 39}' holds characters that cannot be shown"


def test_an_alternative_text_has_lines_and_letters_that_a_label_has_not():
    assert choose(alt="une poire\n\té").alt == "une poire\n\té"
    assert refusal(label="poiré ñ") == ("--label 'poiré ñ': the letters of the label have no 'é'", "--label AI")
