"""The commands that start from pictures, as a person meets them."""

import io
import json
import shutil

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from imggen.errors import EXIT_MODEL, EXIT_REQUEST
from imggen.store import lookup
from tests import tiny_controls

COMMANDS = {
    "img2img": ("photo.png", "a star"),
    "inpaint": ("photo.png", "a star", "--mask-box", "8,8,32,32"),
    "outpaint": ("photo.png", "a star", "--pad", "8"),
    "blend": ("photo.png", "other.png"),
    "style": ("photo.png", "--like", "other.png"),
}


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save("photo.png")
    Image.new("RGB", (64, 64), (20, 90, 200)).save("other.png")


def as_bytes(image, kind="PNG"):
    written = io.BytesIO()
    image.save(written, kind)
    return written.getvalue()


def test_a_depth_picture_is_made_by_the_weights_that_are_named(run, tmp_path):
    tiny_controls.save_depth(tmp_path / "net")
    done = run("preprocess", "depth", "photo.png", "--depth-weights", "net")
    assert (done.code, done.lines, done.err) == (0, ["photo-depth.png"], "")
    with Image.open("photo-depth.png") as made:
        assert (made.size, made.getextrema()[0]) == ((64, 64), (0, 255))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("depth", "--offline"), EXIT_MODEL, "it is not on this machine, and imggen is offline"),
        (("depth", "--depth-weights", "nowhere"), EXIT_MODEL, "there is no such file or folder"),
        (("canny", "--depth-weights", "net"), EXIT_REQUEST, "canny pictures take no model"),
        (("pose",), EXIT_REQUEST, "imggen cannot make pose pictures; it makes canny, depth, tile"),
    ],
)
def test_a_control_picture_that_cannot_be_made_is_refused(run, tmp_path, words, code, message):
    done = run("preprocess", words[0], "photo.png", *words[1:], "-o", "out.png")
    assert done.code == code
    assert message in done.err.replace("\n", " ")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_makes_a_picture_and_says_where(run, command):
    done = run(command, *COMMANDS[command], "--steps", 2, "-s", 1, "-o", "out.png", "-q")
    assert (done.code, done.lines, done.err) == (0, ["out.png"], "")
    with Image.open("out.png") as made:
        assert made.size == ((80, 80) if command == "outpaint" else (64, 64))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_photograph_for_the_builtin_model_is_told_of_before_anything_is_made(run, command):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 2.8
    for name in ("taken.jpg", "taken2.jpg"):
        Image.new("RGB", (64, 64), (20, 90, 200)).save(name, exif=exif)
    line = [word.replace("photo.png", "taken.jpg").replace("other.png", "taken2.jpg") for word in COMMANDS[command]]
    done = run(command, *line, "--dry-run")
    assert done.code == 0
    (note,) = [line for line in done.err.splitlines() if "photograph" in line]
    assert note.startswith("note: taken.jpg")
    assert "-m takes a model for photographs" in note
    assert "photograph" not in run(command, *COMMANDS[command], "--dry-run").err
    assert run(command, *line, "--dry-run", "-q").err == ""


def test_a_picture_of_the_builtin_model_is_no_photograph_to_it(run):
    assert (
        run("generate", "a pizza on a checked background", "-s", 1, "-o", "pizza.png", "--metadata", "none").code == 0
    )
    assert run("img2img", "pizza.png", "a star", "--dry-run").err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_plan_names_the_method_and_makes_nothing(run, tmp_path, command):
    done = run(command, *COMMANDS[command], "--steps", 4, "--dry-run", "--json", "-v")
    plan = json.loads(done.out)
    assert done.code == 0
    assert plan["change"]["method"] in done.err
    assert plan["given"][0]["name"] == "photo.png"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other.png", "photo.png"]


def test_a_picture_goes_in_and_out_through_pipes(run):
    data = as_bytes(Image.new("RGB", (64, 64), (200, 40, 30)))
    done = run("img2img", "-", "a star", "--steps", 2, "-o", "-", "-q", stdin=data)
    assert done.code == 0
    assert Image.open(io.BytesIO(done.out)).size == (64, 64)


def test_the_plan_is_told_without_reading_standard_input_twice(run):
    data = as_bytes(Image.new("RGB", (64, 64), (200, 40, 30)))
    done = run("img2img", "-", "a star", "--steps", 2, "-o", "out.png", "-v", stdin=data)
    assert done.code == 0
    assert "method: image-to-image by StableDiffusionImg2ImgPipeline, strength 0.75" in done.err


def test_names_of_files_follow_the_picture_they_come_from(run):
    done = run("img2img", "photo.png", "a star", "--steps", 2, "-s", "1-2", "-o", "{stem}-{index}.webp", "-q")
    assert done.lines == ["photo-1.webp", "photo-2.webp"]
    assert run("img2img", "photo.png", "a star", "--steps", 2, "-s", "3", "-q").lines == ["photo-3.png"]


def test_children_and_their_family_are_told(run):
    for seed, prompt in ((1, "a red apple"), (2, "a green pear")):
        run("generate", prompt, "-s", seed, "--steps", 2, "-o", f"{seed}.png", "-q")
    made = run("blend", "1.png", "2.png", "--weights", "0.7,0.3", "-N", 2, "-s", 5, "-o", "child-{index}.png", "-q")
    assert made.lines == ["child-1.png", "child-2.png"]
    told = run("inspect", "child-1.png", "--lineage")
    assert "a red apple" in told.out.decode()
    assert "0.7" in told.out.decode()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("img2img", "nothing.png", "x"), "nothing.png", None),
        (("img2img", "photo.png"), "the prompt is empty", 'imggen img2img sketch.png "a red apple'),
        (("img2img", "photo.png", "x", "--strength", 0), "would change nothing", "--strength 0.75"),
        (("img2img", "photo.png", "x", "--strength", 1.5), "1 ignores the picture", "--strength 0.75"),
        (("inpaint", "photo.png", "x"), "needs to know what to repaint", "--mask mask.png"),
        (
            ("inpaint", "photo.png", "x", "--mask", "small.png"),
            "the mask small.png is 32x32",
            "resize the mask to 64x64",
        ),
        (("inpaint", "photo.png", "x", "--mask", "black.png"), "black all over", "--invert-mask"),
        (("inpaint", "photo.png", "x", "--mask-box", "40,40,40,40"), "the picture is 64x64", "--mask-box 40,40,24,24"),
        (("outpaint", "photo.png", "x"), "needs to know how far", "--pad 64,0,64,0"),
        (("outpaint", "photo.png", "x", "--pad", "-8"), "negative side", "--pad 64"),
        (("blend", "photo.png", "other.png", "--weights", "0.7,0.7"), "add up to 1.4", "--weights 0.5,0.5"),
        (("blend", "photo.png", "--mutate", 2), "--mutate 2 is not in 0 to 1", "--mutate 0.2"),
        (("style", "photo.png", "x"), "style needs a picture that has it", "--like painting.png"),
        (("style", "photo.png", "--like", "nothing.png"), "nothing.png", None),
        (("img2img", "moving.gif", "x"), "frames", "--frame 1"),
        (("img2img", "cut.png", "x"), "cut.png", None),
        (("img2img", "bomb.png", "x"), "bomb.png", None),
        (("img2img", "words.txt", "x"), "words.txt", None),
        (("img2img", "-", "-"), "there is one standard input", "name the file"),
        (("inpaint", "-", "x", "--mask", "-"), "stands for two", "name the other file"),
        (("generate", "x", "--tile", "z"), "'z' is not one of", None),
    ],
)
def test_bad_input_is_explained_and_writes_nothing(run, tmp_path, arguments, message, hint):
    Image.new("L", (32, 32), 255).save("small.png")
    Image.new("L", (64, 64)).save("black.png")
    frames = [Image.new("RGB", (64, 64), (each, 0, 0)) for each in (0, 200)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.png").write_bytes((tmp_path / "photo.png").read_bytes()[:90])
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "words.txt").write_text("a red apple")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    done = run(*arguments)
    assert done.code == EXIT_REQUEST
    assert message in done.err
    assert hint is None or hint in done.err
    assert "Traceback" not in done.err
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def bomb() -> bytes:
    """A PNG that says it is 60,000 pixels wide and high."""
    data = bytearray(as_bytes(Image.new("1", (8, 8))))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = PngImagePlugin._crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def test_one_frame_of_many_can_be_named(run):
    frames = [Image.new("RGB", (64, 64), (each, 0, 0)) for each in (0, 200)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    assert run("img2img", "moving.gif", "x", "--frame", 2, "--steps", 2, "-o", "out.png", "-q").code == 0


def test_a_parent_whose_model_is_gone_is_a_model_error_with_a_way_out(run, tmp_path):
    shutil.copytree(lookup.find("builtin").folder, tmp_path / "mine")
    run("generate", "a red apple", "-m", "./mine", "--steps", 2, "-o", "one.png", "-q")
    shutil.rmtree(tmp_path / "mine")
    done = run("blend", "one.png", "-o", "child.png")
    assert done.code in (EXIT_MODEL, EXIT_REQUEST)
    assert "the parents' recipes need the model ./mine" in done.err
    assert "-m builtin" in done.err
