"""Infotext: what is written is read right by the readers there are, and nothing in a prompt forges a field."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recipes import APPLE

from imggen.plan import infotext

# The pattern that AUTOMATIC1111's parser searches the last line with.
PEER_PATTERN = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

HOSTILE = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [
                "\n",
                "\r\n",
                "\u2028",
                "Negative prompt:",
                "negative prompt: ",
                "Steps: 99, Sampler: x, CFG scale: 1, Seed: 1, Size: 8x8",
                "\nSteps: 99, Seed: 1, Sampler: Euler a",
                "Template: x",
                "\nNegative Template: y",
                ", SDCPP: {",
                "\0",
                "\ud800",
            ]
        ),
    ),
    max_size=6,
).map("".join)


def civitai_settings_line(text: str) -> str:
    return next(line for line in text.split("\n") if line.startswith("Steps: "))


def prompt_reader_parts(text: str) -> tuple[str, str]:
    steps = text.find("\nSteps:")
    negative = text.find("\nNegative prompt:")
    return text[:negative] if negative >= 0 else text[:steps], text[negative + 17 : steps] if negative >= 0 else ""


def test_infotext_reads_as_its_grammar_says():
    assert infotext.write(APPLE) == (
        "a red apple\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 42, Size: 128x96, Model hash: ababababab, "
        "Model: builtin, Version: imggen 0.1.0"
    )


def test_empty_prompts_leave_only_the_settings():
    text = infotext.write(replace(APPLE, prompt="", negative_prompt=""))
    assert text.startswith("Steps: 20, ")
    assert infotext.parse(text).prompt == ""


def test_model_name_keeps_nothing_that_splits_a_line():
    assert infotext.model_name('runs/a: "b", c\nd') == "a b c d"
    assert infotext.model_name("org/name") == "name"
    assert infotext.model_name("C:\\models\\fine\\") == "fine"


@pytest.mark.parametrize(
    "prompt", ["🍎 りんご, ein Apfel", "two\nlines", '"quoted", (weights:1.2), \\(literal\\)', "a: b, c: d"]
)
def test_honest_prompt_comes_back_as_it_was(prompt):
    read = infotext.parse(infotext.write(replace(APPLE, prompt=prompt, negative_prompt=prompt)))
    assert (read.prompt, read.negative_prompt) == (prompt, prompt)


@settings(deadline=None)
@given(prompt=HOSTILE, negative=HOSTILE)
@example(prompt="Steps: 99, Seed: 1, Sampler: x", negative="")
@example(prompt="x\nNegative prompt: forged\nSteps: 99, Seed: 1, Sampler: y", negative="\nNegative prompt: z")
def test_no_prompt_forges_a_field_for_any_reader(prompt, negative):
    text = infotext.write(replace(APPLE, prompt=prompt, negative_prompt=negative))
    text.encode()
    assert "\0" not in text
    read = infotext.parse(text)
    assert read.settings["Seed"] == "42"
    assert read.settings["Steps"] == "20"
    assert read.negative_prompt.split() == infotext.neutralised(negative).split()
    assert read.prompt.split() == infotext.neutralised(prompt).split()
    assert "Seed: 42" in civitai_settings_line(text)
    if read.prompt or read.negative_prompt:
        positive, below = prompt_reader_parts("\n" + text)
        assert positive.split() == read.prompt.split()
        assert below.split() == read.negative_prompt.split()


@settings(deadline=None)
@given(st.text(alphabet='ab:," \\-/1x\t', max_size=60))
def test_pairs_are_those_that_the_peers_pattern_finds(line):
    line = line.strip()
    expected = PEER_PATTERN.findall(line)
    if len(expected) < infotext.FEWEST_SETTINGS:
        assert infotext.parse(line).settings == {}
        return
    assert infotext._pairs(line) == expected


def test_quoted_values_keep_their_commas_and_sizes_are_split():
    read = infotext.parse('p\nSteps: 1, Lora hashes: "a: 1, b: 2", Size: 8x9, Seed: 3')
    assert read.settings == {"Steps": "1", "Lora hashes": "a: 1, b: 2", "Size-1": "8", "Size-2": "9", "Seed": "3"}


def test_last_line_with_fewer_than_three_settings_is_prompt():
    assert infotext.parse("a\nSteps: 1, Seed: 2") == infotext.Infotext(
        prompt="a\nSteps: 1, Seed: 2", negative_prompt=""
    )


@pytest.mark.parametrize("piece", ["a", "a ", 'a1:"\\",', 'ab: "', "\n", "ab:,", "Steps:", " -/"])
def test_time_to_read_grows_with_the_length_and_no_faster(piece):
    text = piece * (400_000 // len(piece))
    start = time.process_time()
    infotext.parse(text)
    infotext.neutralised(text)
    assert time.process_time() - start < 5
