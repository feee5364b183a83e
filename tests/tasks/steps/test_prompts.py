"""What prompts ask for, from a request to the files and the log."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imggen.engine.pipeline import loader
from imggen.errors import CheckError, ModelError, RequestError
from imggen.output.metadata import metadata
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from imggen.tasks.steps import prompts
from tests import tiny_loras
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

CHOICE = "a {red|green|blue|yellow} apple"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def config(tmp_path):
    """Return the user's config folder."""
    from imggen.cli import precedence as layers

    folder = layers.config_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def asked(**fields):
    return GenerateRequest(**({"seed": "1", "steps": 1, "output": "out/{seed}.png"} | fields))


def made(**fields):
    return [each.recipe for each in generate.generate(asked(**fields))]


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def wildcard(folder, name, text):
    path = folder / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_each_file_records_its_own_words_and_the_template_and_is_made_again_from_them():
    recipes = made(prompt=CHOICE, seed="1-4", negative_prompt="{blurry|dark}")
    assert len({each.prompt for each in recipes}) > 1
    for each in recipes:
        stored = metadata.read(Path(f"out/{each.seed}.png")).found.recipe
        assert stored.prompt == each.prompt
        assert "{" not in stored.prompt + stored.negative_prompt
        assert (stored.template, stored.negative_template) == (CHOICE, "{blurry|dark}")
    made(from_file="out/3.png", prompt=None, seed=None, steps=None, output="again.png")
    assert (pixels("again.png") == pixels("out/3.png")).all()
    assert metadata.read(Path("again.png")).found.recipe.prompt == recipes[2].prompt


@pytest.mark.parametrize(
    ("prompt", "syntax"),
    [
        ("a (red:1.5) apple BREAK a moon", None),
        (r"a \(red\) {apple}", "plain"),
        ("a (red:1.5) {apple|pear}", "weights"),
    ],
)
def test_recorded_marks_make_the_same_picture_again(prompt, syntax):
    (first,) = made(prompt=prompt, prompt_syntax=syntax, output="a.png")
    (again,) = made(from_file="a.png", seed=None, output="b.png")
    assert (pixels("a.png") == pixels("b.png")).all()
    assert (again.prompt, again.reading) == (first.prompt, first.reading) == (prompt, first.reading)
    made(prompt=prompt, prompt_syntax="plain" if syntax != "plain" else "weights", output="c.png")
    assert (pixels("a.png") != pixels("c.png")).any()


def test_a_picture_of_a_batch_is_the_picture_alone():
    made(prompt=CHOICE, seed="1-3")
    made(prompt=CHOICE, seed="2", output="alone.png")
    assert (pixels("alone.png") == pixels("out/2.png")).all()


def test_words_name_the_file_as_they_are_read():
    made(prompt="a (red:1.2) {apple|apple}", output="{prompt}.png")
    assert [each.name for each in Path().glob("*.png")] == ["a-red-apple.png"]


def test_wildcards_come_from_the_config_folder_or_the_one_that_is_named(config):
    wildcard(config / "wildcards", "fruit/round", "# what rolls\napple\n")
    wildcard(Path("mine"), "fruit/round", "moon\n")
    assert generate.plan(asked(prompt="a __fruit/round__")).prompt == "a apple"
    assert generate.plan(asked(prompt="a __fruit/round__", wildcards="mine")).prompt == "a moon"


def test_wildcard_files_that_cannot_be_used_are_refused_by_name(config):
    folder = Path("mine")
    wildcard(folder, "a", "x\n__b__")
    wildcard(folder, "b", "__a__")
    wildcard(folder, "empty", "# nothing\n")
    wildcard(folder, "open", "red\nblue {x|")
    wildcard(folder, "colours", "red")
    (folder / "latin.txt").write_bytes("gr\xfcn".encode("latin-1"))
    for prompt, match in (
        ("__a__", "includes itself: __a__ -> __b__ -> __a__"),
        ("__empty__", r"empty.txt has no lines"),
        ("__open__", r"open.txt, line 2, column 6: this { is never closed"),
        ("__latin__", r"latin.txt is not UTF-8"),
        ("__colors__", r"there is no mine.colors.txt"),
    ):
        with pytest.raises(RequestError, match=match):
            generate.plan(asked(prompt=f"a {prompt}", wildcards="mine"))
    with pytest.raises(RequestError, match=r"--wildcards no/where: __a__ is a line of a.txt, and there is no folder"):
        generate.plan(asked(prompt="a __a__", wildcards="no/where"))
    with pytest.raises(RequestError, match=r"--wildcards no/where: there is no such folder"):
        generate.plan(asked(prompt="a red apple", wildcards="no/where"))
    with pytest.raises(RequestError, match=r"--wildcards mine: --prompt-syntax plain chooses from no files"):
        generate.plan(asked(prompt="a red apple", wildcards="mine", prompt_syntax="plain"))
    assert generate.plan(asked(prompt="a red apple", wildcards="mine")).prompt == "a red apple"


def test_a_wrong_prompt_is_refused_before_its_model_is_looked_for():
    with pytest.raises(RequestError, match="never closed"):
        generate.plan(asked(prompt="a {red|blue", model="nobody/nothing"), fetch=False)


def test_tags_ask_for_loras_by_file_and_by_name_in_the_config_folder(config):
    (config / "loras").mkdir()
    (config / "loras" / "ink.safetensors").write_bytes(b"")
    Path("wash.safetensors").write_bytes(b"")
    request = asked(prompt="a <lora:ink:0.7> apple <lora:wash.safetensors:-.5><lora:ink>", lora=("other:0.2",))
    found = prompts.with_loras(request)
    assert found.lora == ("other:0.2", "ink:0.7", "wash.safetensors:-.5", "ink:1")
    assert prompts.with_loras(asked(prompt="a <lora:ink>", prompt_syntax="plain")).lora is None


def test_a_tag_draws_what_the_option_draws_and_is_recorded_as_an_adapter(config, tiny_models):
    folder = tiny_models("sd")
    plan = generate.plan(asked(prompt="a", model=str(folder), dtype="float32"))
    layers = tiny_loras.layers_of(loader.load(plan))
    (config / "loras").mkdir()
    tiny_loras.save(config / "loras" / "ink.safetensors", tiny_loras.diffusers(tiny_loras.draw(layers)))
    fields = {"model": str(folder), "dtype": "float32", "steps": 2}
    made(prompt="a red apple", output="without.png", **fields)
    made(prompt="a red apple", lora=("ink:0.7",), output="option.png", **fields)
    (recipe,) = made(prompt="a red <lora:ink:0.7> apple", output="tag.png", **fields)
    assert (recipe.prompt, recipe.template) == ("a red apple", "a red <lora:ink:0.7> apple")
    assert [(each.reference, each.scale) for each in recipe.adapters] == [("ink", 0.7)]
    assert (pixels("tag.png") == pixels("option.png")).all()
    assert (pixels("tag.png") != pixels("without.png")).any()
    (again,) = made(from_file="tag.png", prompt=None, seed=None, steps=None, output="again.png")
    assert len(again.adapters) == 1
    assert (pixels("again.png") == pixels("tag.png")).all()


def test_tags_that_name_nothing_are_refused(config):
    (config / "loras").mkdir()
    (config / "loras" / "ink.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"<lora:inks>: there is no inks.safetensors in .*loras") as caught:
        prompts.with_loras(asked(prompt="a <lora:inks:0.7> apple"))
    assert caught.value.hint == "<lora:ink>"
    with pytest.raises(RequestError, match="the negative prompt asks for the LoRA 'ink'"):
        prompts.with_loras(asked(prompt="a", negative_prompt="<lora:ink:1>"))


class TestPolicy:
    @pytest.fixture
    def policy(self):
        def write(rules, record="full"):
            text = f'schema = 1\n{rules}\n[audit]\nlog = "audit.jsonl"\nprompt = "{record}"\n'
            Path("policy.toml").write_text(text, encoding="utf-8")
            return "policy.toml"

        return write

    def lines(self):
        return [json.loads(line) for line in Path("audit.jsonl").read_text().splitlines()]

    @pytest.mark.parametrize(
        "prompt", ["a __hidden__", "a {star|moon|se{cr|cr}et}", "a se(cret:1.1)", r"a {se\_|x}cret", "a __half__cret"]
    )
    def test_no_choice_smuggles_a_denied_word_past(self, policy, prompt):
        wildcard(Path("words"), "hidden", "\n".join(["star"] * 3 + ["secret"]))
        wildcard(Path("words"), "half", "se")
        rules = policy('[prompt]\ndeny = ["secret"]')
        with pytest.raises(CheckError, match=r"prompt.deny\[0\]"):
            generate.plan(asked(prompt=prompt, wildcards="words", policy=rules, seed="1-20"))
        (refused,) = self.lines()
        assert refused["decision"] == "deny"

    def test_a_denied_word_in_the_template_is_refused_though_no_seed_chooses_it(self, policy):
        rules = policy('[prompt]\ndeny = ["secret"]')
        with pytest.raises(CheckError):
            generate.plan(asked(prompt="a {apple|0::secret}", policy=rules))

    def test_the_log_has_each_pictures_own_words(self, policy):
        recipes = made(prompt=CHOICE, seed="1-4", policy=policy(""))
        assert [each["prompt"] for each in self.lines()] == [each.prompt for each in recipes]
        assert len({each.prompt for each in recipes}) > 1

    def test_hashes_are_those_of_each_pictures_own_words(self, policy):
        recipes = made(prompt=CHOICE, seed="1-2", policy=policy("", record="hash"))
        expected = [hashlib.sha256(each.prompt.encode()).hexdigest() for each in recipes]
        assert [each["prompt_sha256"] for each in self.lines()] == expected


@pytest.mark.parametrize("record", ["hash", "omit"])
def test_what_is_not_told_of_the_prompt_is_not_told_of_its_template(record):
    made(prompt="a {zebra|zebra} apple", record_prompt=record, output="a.png", metadata="full")
    data = Path("a.png").read_bytes()
    assert b"zebra" not in data
    assert metadata.read(Path("a.png")).found is None or metadata.read(Path("a.png")).found.recipe is None
