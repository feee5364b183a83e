import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.schema import prompt
from imggen.plan.schema.prompt import PromptPart

MARKED = st.text(alphabet="ab (:1.3)[]\\{}|<>_BREAK\n", max_size=40)
UNMARKED = st.text().filter(lambda text: not set(text) & set("()[]\\") and "BREAK" not in text)


def pieces(text):
    """The pieces of a text that is one part, as pairs."""
    (part,) = prompt.parts(text)
    return [(each.text, each.weight) for each in part]


@given(st.text() | MARKED)
@example("\\BREAK")
@example("_BREAK \\ (BREAK)")
@example("a___b__")
def test_escaped_text_comes_back_as_it_stands(text):
    assert prompt.plain(prompt.parts(prompt.escape(text))) == text
    assert prompt.is_plain(prompt.parts(prompt.escape(text)))
    assert prompt.unweighted(prompt.escape(text), "FLUX.1") == text


@given(UNMARKED)
def test_text_without_marks_is_itself(text):
    assert prompt.words(text) == text
    assert prompt.escape(text).replace("\\", "") == text


@given(MARKED)
def test_any_text_is_read_or_refused_with_its_place(text):
    try:
        found = prompt.parts(text)
    except RequestError as error:
        message, quoted, caret = error.message.splitlines()
        assert "column" in message
        assert quoted.startswith("  ")
        assert caret.strip() == "^"
    else:
        assert all(each.text and abs(each.weight) <= 10 for part in found for each in part)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (red) apple", [("a ", 1.0), ("red", 1.1), (" apple", 1.0)]),
        ("((red))", [("red", 1.21)]),
        ("[red]", [("red", 0.909091)]),
        ("[[red]]", [("red", 0.826446)]),
        ("(red:1.3)", [("red", 1.3)]),
        ("(red : .5 )", [("red ", 0.5)]),
        ("(a red (apple:2):0.5)", [("a red ", 0.5), ("apple", 1.0)]),
        ("([red])", [("red", 1.0)]),
        ("(red:0)", [("red", 0.0)]),
        ("(red:-1)", [("red", -1.0)]),
        ("(ratio: wide)", [("ratio: wide", 1.1)]),
        ("(at 10:30, later)", [("at 10:30, later", 1.1)]),
        (r"a \(red\) \[apple\]", [("a (red) [apple]", 1.0)]),
        (r"(a\):1.2)", [("a)", 1.2)]),
        (r"C:\dir \\ x", [("C:\\dir \\ x", 1.0)]),
        ("a:b", [("a:b", 1.0)]),
        ("", []),
        ("()", []),
    ],
)
def test_brackets_weigh_what_is_in_them(text, expected):
    assert pieces(text) == expected


def test_weights_of_one_are_no_weights():
    assert prompt.parts("a (red:1.0) apple") == prompt.parts("a red apple")


def test_break_parts_a_prompt_and_takes_the_spaces_around():
    assert prompt.parts("a red apple BREAK\n a (moon:1.2)") == (
        (PromptPart(text="a red apple"),),
        (PromptPart(text="a "), PromptPart(text="moon", weight=1.2)),
    )
    assert len(prompt.parts("a BREAKFAST, \\BREAK")) == 1
    assert prompt.words("a BREAK b") == "a b"


@pytest.mark.parametrize(
    ("text", "column", "match"),
    [
        ("a (red apple", 3, "never closed"),
        ("a red) apple", 6, "closes nothing"),
        ("a [red) apple", 7, r"closes a \["),
        ("(red:1,3)", 6, "1,3 is not a weight"),
        ("(red:1.3.1)", 6, "is not a weight"),
        ("(at 10:30)", 2, "30 is beyond 10"),
        ("((((a:9):9):9):9)", 5, "beyond 10"),
        ("[a:b:0.5]", 5, "from step to step"),
        ("a [cat|dog]", 7, "from step to step"),
        ("(" * 40, 33, "32 deep"),
    ],
)
def test_what_cannot_be_read_is_shown_with_a_caret_below(text, column, match):
    with pytest.raises(RequestError, match=match) as caught:
        prompt.parts(text)
    message, quoted, caret = caught.value.message.splitlines()
    assert f"the prompt, column {column}:" in message
    assert quoted[caret.index("^")] == text[column - 1]
    assert "--prompt-syntax plain" in caught.value.hint


def test_a_place_in_a_long_text_of_several_lines_is_shown_alone():
    with pytest.raises(RequestError, match="line 2, column 61: ") as caught:
        prompt.parts("a\n" + "b" * 60 + "(" + "c" * 60 + "\nd")
    _, quoted, caret = caught.value.message.splitlines()
    assert quoted[caret.index("^")] == "("
    assert len(quoted) < 90


@pytest.mark.parametrize("text", ["(red:1.3)", "a (red apple:0.5) x", "a BREAK b"])
def test_weights_are_refused_by_name_for_encoders_that_know_none(text):
    with pytest.raises(RequestError, match=r"FLUX\.1, whose encoder reads a prompt as a whole"):
        prompt.unweighted(text, "FLUX.1")


@pytest.mark.parametrize("text", ["a dog (sitting) [sic]", ":) at 10:30)", "(ratio: wide)", "[16:9]", "a) b) ((c"])
def test_bare_brackets_are_words_to_encoders_that_know_no_weights(text):
    assert prompt.unweighted(text, "FLUX.1") == text


@pytest.mark.parametrize("text", ["(a:" + "1" * 500_000 + "-)", "((a:0):" + "1" * 400 + ")"])
def test_numbers_that_are_too_long_are_refused_soon(text):
    with pytest.raises(RequestError):
        prompt.parts(text)
