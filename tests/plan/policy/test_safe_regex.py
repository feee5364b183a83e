import re
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.policy import safe_regex
from imggen.plan.policy.policy import LONGEST_PROMPT


def spans(source, text):
    return list(safe_regex.spans(safe_regex.compile(source), text))


@pytest.mark.parametrize(
    ("source", "match", "miss"),
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
        ("a*b", "aab", "aa"),
        ("ba+", "baa", "b"),
        ("ba{2,}", "baa", "ba"),
        (r"(a|b)\1", "bb", "ab"),
        ("red(?= apple)", "red apple", "red pear"),
        ("(?<!no )red", "a red", "no red"),
        ("(?P<x>b)c", "bc", "b"),
        (r"a\Z", "ba", "ab"),
        (r"\\x41", r"\x41", "A"),
        (r"\(?Rb", "(Rb", "Ra"),
    ],
)
def test_what_is_taken_means_what_it_means_to_re(source, match, miss):
    assert spans(source, match) == [found.span() for found in re.finditer(source, match, re.IGNORECASE)] != []
    assert spans(source, miss) == []


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("*a", "not a valid one", None),
        ("a(b", "not a valid one", None),
        ("ab)", "not a valid one", None),
        ("[ab", "not a valid one", None),
        ("a\\", "not a valid one", None),
        ("a{3,1}", "not a valid one", None),
        ("[z-a]", "not a valid one", None),
        (r"(a)\2", "not a valid one", None),
        (r"\L<names>", "not a valid one", None),
        ("(" * 250 + ")" * 250, "nests too deep|every text", None),
        ("", "every text", "letter"),
        (r"\b", "every text", "letter"),
        (r"\B", "every text", "letter"),
        ("a*", "every text", "letter"),
        ("(a?|b)c?", "every text", "letter"),
        ("(?=.)", "every text", "letter"),
        ("a" * 501, "501 characters", "two"),
        (r"\x41", r"\\x, which names a character by its code", "itself"),
        (r"\u00c5b", "by its code", "itself"),
        (r"\N{LATIN SMALL LETTER A}", "by its code", "itself"),
        (r"a\0", "by its code", "itself"),
        (r"\101", "by its code", "itself"),
        ("(?-i)A", "turns case on", "flag"),
        ("(?s-i:A)", "turns case on", "flag"),
        ("(?R)?a", "calls a group", "write out"),
        ("(a)(?1)", "calls a group", "write out"),
        ("(?P<x>a)(?&x)", "calls a group", "write out"),
    ],
)
def test_what_is_not_taken_is_named_with_what_to_write(source, message, hint):
    with pytest.raises(RequestError, match=message) as caught:
        safe_regex.compile(source)
    assert hint is None or hint in caught.value.hint


_LETTERS = st.sampled_from(["a", "b", ".", r"\w", "[ab]", "[^b]", r"\b", " ", r"\s"])
_REPEATS = st.sampled_from(["?", "*", "+", "{2}", "{0,3}", "{1,4}", "{,9}", "{0,30}"])
SOURCES = st.recursive(
    _LETTERS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda branches: f"({'|'.join(branches)})"),
        st.tuples(inner, _REPEATS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=12,
)
MARKS = st.text("ab*+?{}[]()|^$.\\,:-=!<>0123 wdsbZ")


def accepted(source):
    try:
        return safe_regex.compile(source)
    except RequestError:
        assume(condition=False)


@given(source=SOURCES, text=st.text("ab c", max_size=12))
def test_an_accepted_pattern_agrees_with_re(source, text):
    ours = list(safe_regex.spans(accepted(source), text))
    assert ours == [match.span() for match in re.finditer(source, text, re.IGNORECASE)]


@given(source=MARKS)
@settings(max_examples=500)
def test_any_text_is_a_pattern_or_refused(source):
    assert list(safe_regex.spans(accepted(source), "")) == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("(a+)+b", "a" * LONGEST_PROMPT),
        ("(a|aa)+$", "a" * LONGEST_PROMPT + "b"),
        ("((a{1,9999}){1,9999}){1,9999}b", "a" * LONGEST_PROMPT),
        # Each match ends soon, and all of them together do not.
        ("(a|aa)+c|x", ("a" * 26 + "dx") * 700),
    ],
)
def test_a_search_that_would_take_years_ends(monkeypatch, source, text):
    monkeypatch.setattr(safe_regex, "SECONDS", 0.2)
    pattern = safe_regex.compile(source)
    began = time.process_time()
    with pytest.raises(safe_regex.UnfinishedError) as caught:
        list(safe_regex.spans(pattern, text))
    assert caught.value.source == source
    assert time.process_time() - began < 5
