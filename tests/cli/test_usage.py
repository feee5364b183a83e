import shlex

import pytest
from PIL import Image


@pytest.fixture
def apple(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "apple.png")
    return "apple.png"


def hint(ended):
    assert ended.code == 2
    assert ended.out == b""
    message, line = ended.err.splitlines()
    assert message.startswith("error: ")
    return line.removeprefix("hint: ")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["a cat"], 'imggen generate "a cat"'),
        (["a cat", "-o", "x.png"], 'imggen generate "a cat" -o x.png'),
        (["cat", "on", "a", "mat"], 'imggen generate "cat on a mat"'),
        (["costs $5"], "imggen generate 'costs $5'"),
        (["apple.png"], "imggen inspect apple.png"),
        (["genrate", "x"], "did you mean: imggen generate x"),
        (["resize", "apple.png", "--to", "4k"], "did you mean: imggen upscale apple.png --to 4k"),
        (["edit", "apple.png", "a lemon"], 'did you mean: imggen img2img apple.png "a lemon"'),
        (["txt2img", "a cat"], 'did you mean: imggen generate "a cat"'),
        (["create", "a cat"], 'did you mean: imggen generate "a cat"'),
        (["gen", "a cat"], 'did you mean: imggen generate "a cat"'),
        (["version"], "did you mean: imggen --version"),
        (["help", "nosuch"], 'imggen generate "nosuch"'),
        (["models", "lst"], "did you mean: imggen models list"),
        (["models", "download", "org/name"], "did you mean: imggen models pull org/name"),
        (["models", "frobnicate"], "imggen models --help"),
    ],
)
def test_what_is_no_command_is_answered_with_the_line_to_type(run, apple, typed, line):
    assert hint(run(*typed)) == line


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ("--count 4", "--num-images"),
        ("--num 4", "--num-images"),
        ("--open", "--preview"),
        ("--show", "--preview"),
        ("--scheduler euler", "--sampler"),
        ("--stepz 4", "--steps"),
    ],
)
def test_an_option_of_another_program_is_answered_with_ours(run, typed, option):
    assert hint(run("generate", "a cat", *typed.split())) == f"did you mean {option}?"


def test_an_option_that_resembles_none_is_answered_with_where_they_are(run):
    assert hint(run("generate", "a cat", "--frobnicate")) == "imggen generate --help-all"


def test_a_picture_as_an_option_is_answered_with_its_place(run):
    assert hint(run("img2img", "--image", "apple.png", "a lemon")).startswith("the picture comes without an option")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("generate x --steps three", "error: invalid value for '--steps' / '--num-inference-steps': 'three' is not"),
        ("generate x --steps", "error: option '--steps' requires an argument"),
        ("inspect", "error: missing argument 'FILE...'"),
        ("doctor now", "error: got unexpected extra argument"),
    ],
)
def test_every_mistake_has_the_same_style_and_a_line_to_paste(run, typed, message):
    ended = run(*typed.split())
    assert ended.err.startswith(message)
    assert hint(ended) == f"imggen {typed.split()[0]} --help"
    assert run(*hint(ended).split()[1:]).code == 0


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("generate a red apple", 'put quotes around the words: imggen generate "a red apple"'),
        ("generate -s 1 a pear -o x.png", 'put quotes around the words: imggen generate -s 1 "a pear" -o x.png'),
        ("img2img apple.png a lemon", 'put quotes around the words: imggen img2img apple.png "a lemon"'),
        ("img2img 'a lemon' apple.png", 'imggen img2img apple.png "a lemon"'),
        ("img2img a sour lemon apple.png -N 2", 'imggen img2img apple.png "a sour lemon" -N 2'),
        ("inpaint 'a leaf' --mask-box 1,1,9,9 apple.png", 'imggen inpaint apple.png --mask-box 1,1,9,9 "a leaf"'),
        ("outpaint 'a sky' apple.png --pad 8", 'imggen outpaint apple.png "a sky" --pad 8'),
        ("style 'an oil' apple.png --like apple.png", 'imggen style apple.png "an oil" --like apple.png'),
        ("blend apple.png 'a lemon' -N 2", 'imggen blend apple.png -p "a lemon" -N 2'),
        ("preprocess apple.png canny -o e.png", "imggen preprocess canny apple.png -o e.png"),
        ("upscale apple.png 4 -o big.png", "imggen upscale apple.png --scale 4 -o big.png"),
        ("upscale apple.png 1920x1080", "imggen upscale apple.png --to 1920x1080"),
        ("upscale 4k apple.png", "imggen upscale --to 4k apple.png"),
        ("generate 'a cat' -n 4", "-N 4 makes 4 pictures"),
    ],
)
def test_arguments_in_the_wrong_place_are_answered_with_the_line_to_type(run, apple, tmp_path, typed, line):
    before = sorted(tmp_path.iterdir())
    assert hint(run(*shlex.split(typed))) == line
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("typed", ["generate", "img2img apple.png", "outpaint apple.png --pad 64,64,0,0"])
@pytest.mark.parametrize("option", ["-p", "--prompt"])
def test_the_prompt_may_be_an_option(run, apple, typed, option):
    ended = run(*typed.split(), option, "a red apple", "--dry-run", "-q", "--json")
    assert ended.code == 0, ended.err
    assert '"a red apple"' in ended.out.decode()


def test_the_same_prompt_twice_is_one_and_two_are_refused(run):
    assert run("generate", "a red apple", "-p", "a red apple", "--dry-run", "-q").code == 0
    ended = run("generate", "a red apple", "-p", "a pear", "--dry-run", "-q")
    assert hint(ended) == "leave one of the two out"
    assert "'a red apple' and -p 'a pear'" in ended.err


def test_words_that_are_no_number_are_a_negative_prompt(run):
    assert run("generate", "a red apple", "-n", "4 leaves", "--dry-run", "-q").code == 0
