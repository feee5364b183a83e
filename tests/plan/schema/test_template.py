from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.schema import prompt, template

MARKED = st.text(alphabet="ab{}|_\\<>$:2 ", max_size=40)
UNMARKED = st.text().filter(lambda text: not set(text) & set("{}\\") and "__" not in text and "<" not in text)


def choices(text, seeds=range(200), files=None, stream="prompt"):
    parsed = template.parse(text)
    lines = template.collect([parsed], lambda name: (f"{name}.txt", (files or {})[name]))
    return [template.expand(parsed, lines, seed=seed, stream=stream) for seed in seeds]


def fault(text, files=None):
    with pytest.raises(RequestError) as caught:
        choices(text, files=files)
    return caught.value.message


@given(UNMARKED, st.integers(0, 2**63))
def test_text_without_marks_comes_out_as_it_is(text, seed):
    assert choices(text, [seed]) == [text]


@given(st.text() | MARKED, st.integers(0, 2**63))
def test_escaped_text_comes_out_as_it_stands(text, seed):
    (made,) = choices(prompt.escape(text), [seed])
    assert prompt.words(made) == text


@given(st.lists(st.text(alphabet="abc ", min_size=1, max_size=4), min_size=2, max_size=6, unique=True))
def test_every_option_comes_out_for_some_seed(options):
    assert set(choices("x{" + "|".join(options) + "}y")) == {f"x{each}y" for each in options}


@given(MARKED)
def test_any_text_is_read_or_refused_with_its_place(text):
    try:
        template.parse(text)
    except RequestError as error:
        message, _, caret = error.message.splitlines()
        assert "column" in message
        assert caret.strip() == "^"


@given(st.integers(0, 2**63))
def test_the_same_seed_chooses_the_same_beside_other_words(seed):
    (one,) = choices("a {red|blue|green} apple", [seed])
    (other,) = choices("a very large {red|blue|green} pear, glossy", [seed])
    assert one.split()[1] == other.split()[3]


def test_a_seeds_choices_are_known_for_good():
    assert choices("{a|b|c} {a|b|c}", range(6)) == ["a b", "c c", "c c", "a b", "c a", "b a"]


def test_places_and_prompts_choose_independently():
    both = choices("{a|b} {a|b}")
    assert set(both) == {"a a", "a b", "b a", "b b"}
    assert choices("{a|b}") != choices("{a|b}", stream="negative_prompt")


def test_alternatives_nest_and_may_be_empty():
    assert set(choices("{a|{b|c}|}d")) == {"ad", "bd", "cd", "d"}


def test_a_weight_makes_an_option_likelier_and_zero_impossible():
    counted = Counter(choices("{3::a|b|0::c}", range(2000)))
    assert set(counted) == {"a", "b"}
    assert 2.5 < counted["a"] / counted["b"] < 3.6
    assert set(choices("{ 2.5::a|.5::b}")) == {"a", "b"}


def test_a_bar_outside_of_braces_and_single_underscores_are_words():
    assert choices("a|b snake_case _ <my-token> $$ ::", [1]) == ["a|b snake_case _ <my-token> $$ ::"]


def test_weights_of_words_pass_through():
    assert set(choices("({red|blue}:1.3) [x]")) == {"(red:1.3) [x]", "(blue:1.3) [x]"}


def test_wildcards_are_lines_of_files_with_comments_alternatives_and_others_inside():
    files = {"animals/cats": "# felines\n\ntabby\n  {lion|__big__}  \n", "big": "tiger"}
    assert set(choices("a __animals/cats__!", files=files)) == {"a tabby!", "a lion!", "a tiger!"}


def test_a_line_may_weigh_more():
    counted = Counter(choices("__c__", range(1000), files={"c": "4::red\nblue"}))
    assert 3 < counted["red"] / counted["blue"] < 5.5


@pytest.mark.parametrize(
    ("files", "chain"),
    [
        ({"a": "x\n__a__"}, "__a__ -> __a__"),
        ({"a": "__b__", "b": "{x|__c__}", "c": "__a__"}, "__a__ -> __b__ -> __c__ -> __a__"),
        ({"a": "__b__", "b": "__b__"}, "__b__ -> __b__"),
    ],
)
def test_a_file_that_includes_itself_is_refused_by_its_chain(files, chain):
    assert f"includes itself: {chain}\n" in fault("__a__", files)


def test_files_that_multiply_are_stopped():
    files = {f"f{n}": f"__f{n + 1}__ __f{n + 1}__" for n in range(20)} | {"f20": "x"}
    assert "grows beyond 20,000 characters" in fault("__f0__", files)
    nothing = {f"f{n}": f"__f{n + 1}____f{n + 1}__" for n in range(20)} | {"f20": "{|}"}
    assert "grows beyond" in fault("__f0__", nothing)
    deep = {f"f{n}": f"__f{n + 1}__" for n in range(50)} | {"f50": "x"}
    assert "32 deep" in fault("__f0__", deep)


@pytest.mark.parametrize(
    ("text", "column", "match"),
    [
        ("a {red|blue", 3, "this { is never closed"),
        ("a {red|{blue|x}", 3, "this { is never closed"),
        ("a red} apple", 6, "this } closes nothing"),
        ("a {red} apple", 3, "nothing to choose from"),
        ("{2$$red|blue}", 1, "choosing several"),
        ("{1-2$$red|blue}", 1, "choosing several"),
        ("{0::a|0::b}", 1, "weight 0"),
        ("{" * 40, 33, "32 deep"),
        ("<lora:>", 1, "<lora:NAME>"),
        ("<lora:a:b>", 1, "<lora:NAME:0.7>"),
        ("<lora:a:1:1>", 1, "<lora:NAME:0.7>"),
        ("a <hypernet:b:1>", 3, "not supported"),
        ("a <lora:b fox", 3, "this <lora: is never closed"),
        ("{<lora:a:1>|b}", 2, "cannot be chosen"),
        ("__../etc/x__", 1, "not the name of a wildcard file"),
        ("a __b*__", 3, "not the name of a wildcard file"),
        ("a __warm colours__", 3, "not the name of a wildcard file"),
    ],
)
def test_what_cannot_be_read_is_shown_with_a_caret_below(text, column, match):
    message = fault(text)
    assert match in message
    first, quoted, caret = message.splitlines()
    assert f"the prompt, column {column}:" in first
    assert quoted[caret.index("^")] == text[column - 1]


def test_a_fault_in_a_file_names_its_line():
    assert "colours.txt, line 3, column 5: this { is" in fault("__colours__", {"colours": "# c\nred\nblue{"})
    assert "<lora" in fault("__colours__", {"colours": "<lora:x>"})
    assert "has no lines" in fault("__colours__", {"colours": "# nothing\n"})


def test_tags_ask_for_loras_and_are_no_words():
    parsed = template.parse("a cat <lora:ink:0.7>, <lora: wash >")
    assert [(each.name, each.scale) for each in parsed.tags] == [("ink", "0.7"), ("wash", "")]
    assert "".join(parsed.nodes) == "a cat , "


def test_numbers_without_end_cost_no_more_than_their_length():
    # Read with a pattern that can divide digits in many ways, this takes hours.
    digits = "1" * 500_000
    assert template.parse("{" + digits + "|b}").nodes
    (only,) = template._lines("a file", digits)
    assert only.weight == 1
    with pytest.raises(RequestError, match="is asked for as"):
        template.parse(f"<lora:a:{digits}x>")
