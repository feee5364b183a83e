"""Where pictures go: names, formats and qualities that agree, and whose word each is."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import pytest

from imggen.errors import RequestError
from imggen.plan.generation import destination
from tests.plan.cases import case, picture


def choose(pictures=1, given=(), **said):
    output, reasons = destination.choose(case(given=given, **said), pictures)
    return SimpleNamespace(output=output, reasons=reasons)


def refusal(*arguments, **said):
    with pytest.raises(RequestError) as caught:
        choose(*arguments, **said)
    return caught.value.message, caught.value.hint


def test_without_a_word_a_picture_is_a_png_that_says_everything():
    chosen = choose()
    output = chosen.output
    assert (output.template, output.format, output.quality) == ("{prompt}-{seed}.png", "png", 100)
    assert (output.if_exists, output.metadata, output.marking.prompt) == ("auto", "full", "full")
    assert chosen.reasons == {
        "output": "{prompt}-{seed} in this folder",
        "format": "lossless, and read everywhere",
        "quality": "what suits png",
        "if_exists": "replace what imggen made, keep what it did not",
        "metadata": "so that the picture can be made again",
        "watermark": "marked where a mark is not seen",
        "sign": "signed where a key is set up",
    }


def test_what_was_said_holds_and_is_its_own_reason():
    said = {
        "format": "webp",
        "quality": 80,
        "if_exists": "skip",
        "metadata": "minimal",
        "watermark": "on",
        "sign": "off",
    }
    chosen = choose(output="out/", origin={"format": "config"}, **said)
    output = chosen.output
    assert (output.template, output.format, output.quality) == ("out/", "webp", 80)
    assert (output.if_exists, output.metadata) == ("skip", "minimal")
    assert (output.marking.watermark, output.marking.sign) == ("on", "off")
    assert chosen.reasons == dict.fromkeys(chosen.reasons, "asked for") | {"format": "config"}


@pytest.mark.parametrize(
    ("given", "said", "stem"),
    [
        ((), {}, "{prompt}-{seed}"),
        ((), {"record_prompt": "hash"}, "picture-{seed}"),
        ((), {"record_prompt": "omit"}, "picture-{seed}"),
        ((picture(),), {"record_prompt": "omit"}, "{stem}-{seed}"),
        ((picture("control"),), {}, "{prompt}-{seed}"),
        ((picture("control"), picture("parent")), {}, "{stem}-{seed}"),
    ],
)
def test_a_name_tells_the_prompt_only_where_the_file_does(given, said, stem):
    chosen = choose(given=given, format="jpeg", **said)
    assert chosen.output.template == stem + ".jpg"
    assert chosen.reasons["output"] == f"{stem} in this folder"


def test_one_picture_alone_goes_to_standard_output():
    assert choose(1, output="-", format="jpeg").output.template == "-"
    assert choose(2, output="a.png").output.template == "a.png"
    assert refusal(2, output="-") == (
        "-o - writes one picture to standard output, and 2 are asked for",
        "-o 'out/{seed}.png'",
    )


def test_the_files_name_decides_the_format_and_may_not_contradict_it():
    chosen = choose(output="a.WEBP", format="webp")
    assert (chosen.output.format, chosen.reasons["format"]) == ("webp", "the file's name")
    assert refusal(output="a.jpg", format="png") == (
        "-o a.jpg names jpeg and --format says png",
        "leave --format out",
    )


def test_a_quality_is_in_1_to_100():
    assert [choose(format="jpeg", quality=good).output.quality for good in (1, 100)] == [1, 100]
    for quality, nearest in ((0, 1), (-4, 1), (101, 100)):
        assert refusal(format="png", quality=quality) == (
            f"--quality {quality} is not in 1 to 100",
            f"--quality {nearest}",
        )


@pytest.mark.parametrize("origin", [{}, {"quality": "command line"}])
def test_a_lossless_format_takes_no_quality_that_somebody_typed(origin):
    assert refusal(quality=80, origin=origin) == (
        "--quality 80: png is lossless and has no quality",
        "leave --quality out, or --format webp",
    )


def test_a_lossless_format_leaves_a_presets_quality_to_others():
    chosen = choose(quality=80, format="tiff", origin={"quality": "preset web"})
    assert chosen.output.quality == 100
    assert chosen.reasons["quality"] == "tiff is lossless; the 80 of the preset web is for other formats"
    assert choose(quality=80, format="webp", origin={"quality": "preset web"}).reasons["quality"] == "preset web"


@pytest.mark.parametrize("origin", [{}, {"alt": "command line"}])
def test_what_was_typed_for_metadata_that_are_left_out_is_refused(origin):
    assert "--metadata none leaves these out" in refusal(alt="a pear", metadata="none", origin=origin)[0]


def test_what_a_preset_says_of_metadata_that_are_left_out_is_let_be():
    output = choose(alt="a pear", metadata="none", origin={"alt": "preset a"}).output
    assert (output.metadata, output.marking.alt) == ("none", "a pear")


def test_a_template_that_cannot_name_is_refused_unless_nothing_is_named(make_plan):
    with pytest.raises(RequestError, match=r"unknown field \{sead\}"):
        make_plan(output="{sead}.png")
    destination.check_names(make_plan(output="-"))


def test_each_picture_is_named_by_its_own_seed_words_and_number(make_plan):
    plan = make_plan(prompt="a {red|teal} apple", seed="5-8", steps=9)
    named = destination.named(plan, date(2026, 2, 3))
    assert [(name.seed, name.index) for name in named] == [(5, 1), (6, 2), (7, 3), (8, 4)]
    assert [name.prompt for name in named] == list(plan.prompts)
    first = named[0]
    assert (first.model, first.width, first.height, first.steps) == ("builtin", 128, 128, 9)
    assert (first.sampler, first.date) == ("dpmpp_2m", date(2026, 2, 3))
    assert not hasattr(first, "stem")


def test_a_name_has_the_words_without_their_weights(make_plan):
    plan = make_plan(prompt="a (red:1.3) apple")
    assert [name.prompt for name in destination.named(plan, date.min)] == ["a red apple"]


def test_a_picture_from_pictures_is_named_after_the_first_that_it_is_made_from(make_plan):
    given = (picture("control", "edges.png"), picture("parent", "x/cat.png"), picture("parent", "dog.png"))
    plan = replace(make_plan(), given=given)
    assert [name.stem for name in destination.named(plan, date.min)] == ["cat"]
