"""`verify`, `inspect --infotext`, and the options about marks, as a person or a script meets them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from recipes import APPLE
from textures import textured

from imggen.output import writer
from imggen.output.metadata import metadata
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan


@pytest.fixture
def apple():
    output = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")
    return writer.write(textured(), APPLE, output, Path("apple.png"))


@pytest.fixture
def bare():
    textured().save("bare.png")


def test_layers_are_told_in_words_and_the_exit_code_is_0_where_they_hold(run, apple):
    ended = run("verify", "apple.png")
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0] == "apple.png: carries iptc, record, watermark"
    assert [line.split()[:2] for line in ended.lines[1:]] == [
        ["c2pa", "none"],
        ["iptc", "weak"],
        ["record", "weak"],
        ["watermark", "medium"],
    ]
    assert "%" not in ended.out.decode()


def test_picture_without_marks_ends_with_1_and_is_not_cleared(run, bare):
    ended = run("verify", "bare.png")
    assert ended.code == 1
    assert "does not show that the picture is not AI-generated" in ended.lines[0]


@pytest.mark.parametrize(("required", "code"), [("iptc,watermark", 0), ("c2pa", 5), ("iptc,trusted", 5), ("ipct", 2)])
def test_required_marks_decide_the_exit_code(run, apple, required, code):
    assert run("verify", "apple.png", "--require", required).code == code


def test_file_that_is_no_picture_ends_with_2_and_the_others_are_told(run, apple):
    Path("notes.txt").write_text("no picture")
    ended = run("verify", "notes.txt", "apple.png")
    assert ended.code == 2
    assert ended.lines[0].startswith("notes.txt: cannot be looked at")
    assert ended.lines[1].startswith("apple.png: carries")


def test_json_has_a_line_a_file_also_for_one_that_cannot_be_read(run, apple):
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ended = run("verify", "broken.png", "apple.png", "--json")
    broken, whole = (json.loads(line) for line in ended.lines)
    assert broken.keys() == {"path", "error", "hint"}
    assert (whole["marked"], whole["intact"], whole["missing"]) == (True, True, [])
    assert whole["layers"]["watermark"]["id"] == apple.finished.watermark
    assert whole["layers"]["record"]["fits"] is True


def test_name_of_a_file_forges_no_line(run, bare):
    Path("bare.png").rename("a\n  c2pa       strong\x1b[31m.png")
    ended = run("verify", "a\n  c2pa       strong\x1b[31m.png")
    assert not any(line.startswith("  c2pa       strong") for line in ended.lines)
    assert "\x1b" not in ended.out.decode() + ended.err


def test_infotext_alone_is_what_other_programs_take(run, apple, bare):
    ended = run("inspect", "apple.png", "--infotext")
    assert (ended.code, ended.lines[0]) == (0, "a red apple")
    assert ended.lines[-1].startswith("Steps: 20, Sampler: Euler")
    refused = run("inspect", "bare.png", "--infotext")
    assert refused.code == 2
    assert "holds no infotext" in refused.err


def test_inspect_tells_the_watermark_or_why_there_is_none(run, apple):
    assert f"  watermark: {apple.finished.watermark}" in run("inspect", "apple.png").lines
    plan = OutputPlan(
        template="x",
        format="png",
        quality=100,
        if_exists="auto",
        metadata="full",
        marking=MarkingPlan(watermark="off", label="AI"),
    )
    writer.write(textured(), replace(APPLE, seed=3), plan, Path("off.png"))
    lines = run("inspect", "off.png").lines
    assert "  watermark: none: --watermark off" in lines
    assert "  label: AI" in lines


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--label", "Ünd"], "the letters of the label have no 'Ü'"),
        (["--label", "x" * 41], "at most 40"),
        (["--sign", "on"], "no key is set up"),
        (["--policy", "gone.toml"], "there is no policy"),
        (["--alt", "a\0b"], "characters that cannot be shown"),
    ],
)
def test_wrong_option_about_marks_is_refused_before_anything_is_loaded(run, options, words):
    ended = run("generate", "an apple", *options)
    assert ended.code == 2
    assert words in ended.err


def test_variable_that_names_no_keys_is_no_silence(run, monkeypatch):
    monkeypatch.setenv("IMGGEN_KEYS", "gone")
    ended = run("generate", "an apple", "--dry-run")
    assert ended.code == 2
    assert "IMGGEN_KEYS is gone" in ended.err
    assert run("generate", "an apple", "--dry-run", "--sign", "off").code == 0


def test_alternative_text_and_words_are_set_and_taken_out(run, apple):
    assert run("embed-metadata", "apple.png", "--set", "creator=A. B.", "--alt", "A red apple").code == 0
    assert metadata.read(Path("apple.png")).xmp["Iptc4xmpCore:AltTextAccessibility"] == "A red apple"
    assert run("embed-metadata", "apple.png", "--strip", "prompt").code == 0
    assert b"red apple\n" not in Path("apple.png").read_bytes()
    assert run("embed-metadata", "apple.png", "--strip", "all").code == 0
    with Image.open("apple.png") as opened:
        assert not opened.info
