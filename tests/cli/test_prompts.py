"""Prompts with weights, alternatives and wildcards, as a person types them."""

import json
import subprocess
import sys

import pytest
from PIL import Image

TYPED = "a (red:1.3) apple, {matte|glossy}"
QUICK = ("--steps", "1", "-q")


def pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


def test_weights_and_alternatives_give_a_picture_each_that_records_its_words(run, tmp_path):
    ended = run("generate", TYPED, "-N", 4, "-s", 1, "-o", "{seed}.png", "--json", *QUICK)
    assert ended.code == 0
    recipes = [json.loads(line)["recipe"] for line in ended.lines]
    words = [each["prompt"] for each in recipes]
    assert set(words) == {"a (red:1.3) apple, matte", "a (red:1.3) apple, glossy"}
    assert {each["template"] for each in recipes} == {TYPED}
    assert len({pixels(f"{seed}.png") for seed in range(1, 5)}) == 4
    assert f"  prompt as typed: {TYPED}" in run("inspect", "2.png").lines
    assert run("generate", "--from", "2.png", "-o", "again.png", "-q").code == 0
    assert pixels("again.png") == pixels("2.png")
    assert run("generate", "a (red:0.5) apple, glossy", "-s", 2, "-o", "less.png", *QUICK).code == 0
    assert run("generate", "a (red:1.3) apple, glossy", "-s", 2, "-o", "same.png", *QUICK).code == 0
    assert pixels("same.png") != pixels("less.png")


def test_a_dry_run_shows_the_words_of_every_picture_without_torch(run, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "finish.txt").write_text("# how it looks\nmatte\nglossy\n")
    ended = run(
        "generate", "a red apple, __finish__", "-N", 6, "-s", 1, "--wildcards", "words", "--dry-run", "--json", "-q"
    )
    plan = json.loads(ended.out)
    assert len(plan["prompts"]) == 6
    assert set(plan["prompts"]) == {"a red apple, matte", "a red apple, glossy"}
    assert plan["template"] == "a red apple, __finish__"


def test_a_long_prompt_is_read_to_its_end(run):
    long = "a red apple on a teal background, " * 6
    first = run("generate", long + "a yellow star", "-s", 1, "-o", "a.png", "--steps", 1)
    assert "not read" not in first.err
    run("generate", long + "a blue moon", "-s", 1, "-o", "b.png", *QUICK)
    assert pixels("a.png") != pixels("b.png")


@pytest.mark.parametrize(
    ("prompt", "place", "said"),
    [
        ("a red apple, {matte|glossy", "column 14", "this { is never closed"),
        ("a (red:1.3 apple", "column 3", "this ( is never closed"),
        ("a red:1.3) apple", "column 10", "this ) closes nothing"),
        ("a {2$$red|blue} apple", "column 3", "choosing several of them"),
    ],
)
def test_a_wrong_prompt_is_shown_with_its_place(run, prompt, place, said):
    ended = run("generate", prompt, "-o", "a.png", *QUICK)
    assert ended.code == 2
    message, quoted, caret, hint = ended.err.splitlines()
    assert place in message
    assert said in message
    column = int(place.split()[1])
    assert quoted.strip() == prompt
    assert caret.index("^") - (len(quoted) - len(prompt)) == column - 1
    assert "--prompt-syntax plain" in hint


def test_plain_syntax_draws_marks_as_words(run, monkeypatch):
    made = run("generate", "a red apple :) {", "-o", "a.png", "--prompt-syntax", "plain", "--json", *QUICK)
    assert made.code == 0
    assert json.loads(made.out)["recipe"]["prompt"] == "a red apple :) {"
    assert run("generate", "a red apple :) {", "-o", "a.png", *QUICK).code == 2
    monkeypatch.setenv("IMGGEN_PROMPT_SYNTAX", "plain")
    assert run("generate", "a red apple :) {", "-o", "a.png", *QUICK).code == 0
    monkeypatch.setenv("IMGGEN_PROMPT_SYNTAX", "fancy")
    refused = run("generate", "a red apple", "-o", "a.png", *QUICK)
    assert refused.code == 2
    assert "IMGGEN_PROMPT_SYNTAX" in refused.err


def test_a_tag_without_its_lora_is_the_models_fault(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    ended = run("generate", "a red apple <lora:ink:0.7>", "-o", "a.png", *QUICK)
    assert ended.code == 4
    assert "<lora:ink>: there is no ink.safetensors in" in ended.err


def test_planning_words_loads_no_torch():
    code = (
        "import sys; from imggen.plan.schema.request import GenerateRequest; from imggen.tasks import generate;"
        "generate.plan(GenerateRequest(prompt='a (red:1.3) {apple|pear}', seed='1-4'));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
