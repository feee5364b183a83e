import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.plan.policy import text_folding
from imggen.plan.policy.policy import LONGEST_PROMPT


def texts(folded, **options):
    return [each.text for each in text_folding.words(folded, **options)]


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("A Red\n\tAPPLE ", "a red apple"),
        ("ａｐｐｌｅ", "apple"),
        ("𝖆𝖕𝖕𝖑𝖊 ﬁg", "apple fig"),
        ("ap\u200bp\u00adl\u2060e", "apple"),
        ("a\u034fpp\ufe0fle\u3164", "apple"),
        ("ap\x08ple", "apple"),
        ("Straße", "strasse"),
        ("“x” ‘y’ – z", "\"x\" 'y' - z"),
        ("Ápple", "ápple"),
    ],
)
def test_folding_shows_the_plain_letters(typed, folded):
    assert text_folding.fold(typed) == folded


@given(st.text())
def test_folding_twice_is_folding_once(text):
    folded = text_folding.fold(text)
    assert text_folding.fold(folded) == folded
    assert text_folding.fold(text.upper().lower()) == text_folding.fold(text.upper())


@given(st.text())
def test_words_stand_where_they_say(text):
    folded = text_folding.fold(text)
    for symbols in (False, True):
        words = text_folding.words(folded, symbols=symbols)
        assert all(folded[each.start : each.end] == each.text for each in words)
        assert all(left.end <= right.start for left, right in pairwise(words))
        between = set(folded) - {letter for each in words for letter in each.text}
        assert not any(letter.isalnum() for letter in between)


def test_words_end_at_punctuation_and_underscores():
    assert texts("a red_apple, (pear:1.3) it's") == ["a", "red", "apple", "pear", "1", "3", "it", "s"]


def test_scripts_without_spaces_have_a_word_a_character():
    assert texts("红苹果 apple りんご") == ["红", "苹", "果", "apple", "り", "ん", "ご"]
    assert texts("हिन्दी") == ["हिन्दी"]


def test_picture_characters_are_words_on_request():
    assert texts("a 🍎") == ["a"]
    assert texts("a 🍎", symbols=True) == ["a", "🍎"]
    assert text_folding.has_symbols("a 🍎")
    assert not text_folding.has_symbols("a $")


def test_marks_go_from_latin_letters_and_stay_where_they_make_another_letter():
    assert text_folding.bare("ápple ẹ̄ ώ a\u0336") == "apple e ω a"
    assert text_folding.bare(unicodedata.normalize("NFC", "мой パン")) == unicodedata.normalize("NFC", "мой パン")


def test_looks_are_few_where_nothing_is_hidden():
    assert [each.text for each in text_folding.looks("A red apple")] == ["a red apple"]


@pytest.mark.parametrize(
    ("prompt", "look"),
    [
        ("red (apple:1.3) tree", "red (apple) tree"),
        ("[apple : 0.5] (pear)1.2", "[apple] (pear)"),
        ("ap-ple", "apple"),
        ("an a p.p l e!", "an apple!"),
        ("r.e.d", "red"),
        ("ap🍎ple", "apple"),
    ],
)
def test_some_look_undoes_each_way_to_hide_a_word(prompt, look):
    assert look in [each.text for each in text_folding.looks(prompt)]


@pytest.mark.parametrize(
    "text", ["a", "a ", "a-", "a\u0301\u0316", "\ufdfa", "(a:1", ": ", "a.b ", "🍎a", "\u0f71\u0f72", ")1.1"]
)
def test_the_longest_prompt_is_looked_at_within_seconds(text):
    began = time.process_time()
    text_folding.looks((text * LONGEST_PROMPT)[:LONGEST_PROMPT])
    assert time.process_time() - began < 5
