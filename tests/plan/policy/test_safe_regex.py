import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.policy import safe_regex
from imggen.plan.policy.policy import LONGEST_PROMPT
from imggen.plan.policy.safe_regex import Cost


@pytest.mark.parametrize(
    ("source", "found", "missed"),
    [
        (r"\bfoo(bar)?\b", "a foobar, a foo", "food"),
        (r"ap{2}le", "an APPLE", "an aple"),
        (r"a{1,3}b", "caaab", "cb"),
        (r"a{,2}b", "b", "a"),
        (r"[a-c\d]x", "1x", "dx"),
        (r"[^a-c]x", "dx", "ax"),
        (r"[-.]x", "-x", "_x"),
        (r"(?:red|blue) (apple|pear)s?", "blue pears", "green apple"),
        (r"^a.c$", "abc", "abcd"),
        (r"\$\{5\}", "${5}", "5"),
        (r"\w\s\S\D\W\B.", "a bc. x.", ""),
        (r"é", "É", "e"),
    ],
)
def test_what_is_taken_means_what_it_means_to_re(source, found, missed):
    assert safe_regex.compile(source).search(found)
    assert not safe_regex.compile(source).search(missed)


@pytest.mark.parametrize(
    ("source", "named", "hint"),
    [
        ("a*b", r"without end: \*", "{0,20}"),
        ("a+", r"without end: \+", "{1,20}"),
        ("a{2,}", r"without end: \{2,\}", "{2,20}"),
        ("a{3,1}", r"\{3,1\}", "{1,3}"),
        ("a{x}", "counts nothing", r"\{"),
        ("a??", "repeats a repeat", "one {m,n}"),
        ("a{1,2}+", "repeats a repeat", "one {m,n}"),
        ("a{1}{2}", "repeats a repeat", "one {m,n}"),
        ("*a", "nothing before it", r"\*"),
        ("(a)\\1", "refers back", "(a|b)"),
        ("(?=a)b", "look around", "(?:a|b)"),
        ("(?i)b", "flag", "(?:a|b)"),
        ("(?P<x>b)", "named group", "(?:a|b)"),
        ("a(b", r"\( without", r"\("),
        ("ab)", r"\) without", r"\)"),
        ("a|b)", r"\) without", r"\)"),
        ("[ab", r"\[ without", r"\["),
        ("[]", r"\[ without", r"\["),
        ("[a[b]", "inside of", r"\["),
        ("[a--b]", "--", "once"),
        ("a]", "without its beginning", r"\]"),
        (r"\Z", r"\\Z", "known"),
        (r"[\b]x", r"\\b", "known"),
        ("a\\", r"has \\", "known"),
        ("", "every text", "letter"),
        (r"\b", "every text", "letter"),
        ("(a?|b)c?", "every text", "letter"),
        ("a" * 501, "501 characters", "two"),
        (r"(\w{1,20}\s){1,20}x", "steps", "{m,n}"),
        ("(a?){0,30}", "steps", "{m,n}"),
        ("a{0,9999}b", "steps", "{m,n}"),
        ("((((a{0,9}){0,9}){0,9}){0,9}){0,9}b", "steps", "{m,n}"),
        ("(" * 21 + "a" + ")" * 21, "deep", "two"),
        ("[z-a]", "is none", None),
    ],
)
def test_what_is_not_taken_is_named_with_what_to_write(source, named, hint):
    with pytest.raises(RequestError, match=named) as caught:
        safe_regex.compile(source)
    assert hint is None or hint in caught.value.hint


def test_the_cost_is_counted_by_hand():
    assert safe_regex.measure("abc") == Cost(ways=1, steps=3, least=3)
    assert safe_regex.measure("ab|c") == Cost(ways=2, steps=4, least=1)
    # None, one or two of them: three ways, each tried on.
    assert safe_regex.measure("a{0,2}b") == Cost(ways=3, steps=4 + 3 + 3, least=1)
    assert safe_regex.measure("(a|b){2}").ways == 4


_LETTERS = st.sampled_from(["a", "b", ".", r"\w", "[ab]", "[^b]", r"\b", " ", r"\s"])
_REPEATS = st.sampled_from(["?", "{2}", "{0,3}", "{1,4}", "{,9}", "{0,30}"])
SOURCES = st.recursive(
    _LETTERS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: f"({'|'.join(each)})"),
        st.tuples(inner, _REPEATS).map(lambda each: f"(?:{each[0]}){each[1]}"),
    ),
    max_leaves=12,
)
MARKS = st.text("ab*+?{}[]()|^$.\\,:-=!<>0123 wdsbZ")


def accepted(source):
    try:
        return safe_regex.compile(source)
    except RequestError:
        assume(condition=False)


@given(source=SOURCES, text=st.text("ab c", max_size=40))
def test_an_accepted_pattern_agrees_with_re(source, text):
    ours = [each.span() for each in accepted(source).finditer(text)]
    assert ours == [each.span() for each in re.finditer(source, text, re.IGNORECASE)]


@given(source=MARKS)
@settings(max_examples=500)
def test_any_text_is_a_pattern_of_re_or_refused(source):
    compiled = accepted(source)
    assert compiled.pattern == source
    assert not compiled.search("")


@given(source=SOURCES)
@settings(max_examples=60)
@pytest.mark.parametrize("text", ["a" * LONGEST_PROMPT, "ab" * (LONGEST_PROMPT // 2), "a b " * (LONGEST_PROMPT // 4)])
def test_the_longest_prompt_takes_bounded_time(text, source):
    # The end that never comes makes it go through every way.
    pattern = accepted(f"(?:{source})~")
    began = time.process_time()
    assert not pattern.search(text)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "source", ["(a|a){8}~", "(a|.){0,7}~", "(a{1,2}){0,7}~", "a{0,13}a{0,13}~", r"\w{0,300}~", "(a{0,3}){0,4}~"]
)
def test_the_costliest_that_are_taken_end_within_seconds(source):
    assert safe_regex.measure(source).steps > safe_regex.MOST_STEPS // 4
    began = time.process_time()
    assert not safe_regex.compile(source).search("a" * LONGEST_PROMPT)
    assert time.process_time() - began < 10
