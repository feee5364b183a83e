"""Infotext: what is written is read right by the readers there are, and nothing in a prompt forges a field."""

import re
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recipes import APPLE, CHILD, ENLARGED, PEAR

from imggen.output.metadata import infotext
from imggen.plan.schema import recipe
from imggen.plan.schema.change import Change

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


def last_line(made: recipe.Recipe) -> str:
    return infotext.write(made).rpartition("\n")[2]


def test_change_of_a_given_picture_is_told_in_the_words_of_the_web_ui():
    change = Change(method="inpainting", strength=0.6, feather=8, invert_mask=True)
    assert last_line(replace(PEAR, change=change)) == (
        "Steps: 20, Sampler: Euler, CFG scale: 7.5, Seed: 7, Size: 128x96, Model hash: ababababab, Model: builtin, "
        f"Denoising strength: 0.6, Init image hash: {'1a' * 32}, Mask mode: Inpaint not masked, Mask blur: 8, "
        "Version: imggen 0.1.0"
    )


def test_child_of_several_parents_has_no_picture_that_it_began_with():
    assert "Init image hash" not in last_line(CHILD)
    assert "Denoising" not in last_line(CHILD)


@pytest.mark.parametrize(("axes", "words"), [("xy", "Tiling: True"), ("x", "Tile X: True"), ("y", "Tile Y: True")])
def test_picture_that_repeats_says_so(axes, words):
    assert f", {words}, Version" in last_line(replace(APPLE, tile=axes))


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([{}], "Postprocess upscale by: 4, Postprocess upscaler: builtin"),
        ([{"width": 320, "height": 240}], "Postprocess upscale by: 2.5, Postprocess upscaler: builtin"),
        ([{"width": 300, "height": 225}], "Postprocess upscale by: 2.34375, Postprocess upscaler: builtin"),
        ([{"width": 1920, "height": 1080}], "Postprocess upscale to: 1920x1080, Postprocess upscaler: builtin"),
        ([{"engine": "lanczos", "model": ""}], "Postprocess upscale by: 4, Postprocess upscaler: Lanczos"),
        (
            [{"width": 256, "height": 192}, {"model": "a/4x, fine: x.safetensors"}],
            "Postprocess upscale by: 4, Postprocess upscaler: builtin + 4x fine x.safetensors",
        ),
    ],
)
def test_enlarged_picture_says_by_how_much_of_the_size_beside_it(steps, told):
    made = APPLE
    for each in steps:
        made = recipe.edited(made, replace(ENLARGED, **each))
    assert f"Size: 128x96, Model hash: ababababab, Model: builtin, {told}, Version" in last_line(made)


def test_step_goes_into_infotext_of_others_where_their_parser_finds_it():
    text = 'p\nSteps: 1, Seed: 3, Size: 8x9, Lora hashes: "a: 1, b: 2", SDCPP: {"a": 1}'
    made = infotext.enlarged(text, ENLARGED, 128, 96)
    assert made.endswith('"a: 1, b: 2", Postprocess upscale by: 4, Postprocess upscaler: builtin, SDCPP: {"a": 1}')
    read = infotext.parse(made.partition(", SDCPP: ")[0])
    assert (read.settings["Seed"], read.settings["Postprocess upscale by"]) == ("3", "4")


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
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    infotext.parse(text)
    infotext.neutralised(text)
    assert time.process_time() - start < 5
