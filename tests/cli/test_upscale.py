"""`imggen upscale` from end to end."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from recipes import APPLE

from imggen.output import writer
from imggen.output.metadata import metadata
from imggen.plan.schema.request import OutputPlan

HEAVY = ("torch", "diffusers", "transformers", "spandrel")
LANCZOS = ("--model", "lanczos")


def picture(name="small.png", size=(24, 18), mode="RGB", **options):
    image = Image.radial_gradient("L").resize(size).convert(mode)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    image.save(name, **options)
    return name


def opened(source):
    with Image.open(source if isinstance(source, str) else BytesIO(source)) as image:
        image.load()
        return image


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def weights(tmp_path):
    """A network file of the ESRGAN family that draws nothing of its own: it repeats every pixel four times."""
    import torch
    from safetensors.torch import save_file

    from imggen.engine.upscaling import compact

    network = compact.build(features=8, convolutions=2, scale=4)
    path = tmp_path / "Plain_x4.safetensors"
    save_file({name: torch.zeros_like(each) for name, each in network.state_dict().items()}, path)
    return path


def test_one_line_makes_a_picture_larger_where_it_says(run):
    picture()
    ended = run("upscale", "small.png", "--scale", 4, "-o", "big/er.png", *LANCZOS)
    assert (ended.code, ended.lines, ended.err) == (0, ["big/er.png"], "")
    expected = opened("small.png").resize((96, 72), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(opened("big/er.png")), np.asarray(expected))


def test_pipes_carry_a_picture_in_and_out(run, tmp_path):
    data = Path(picture(mode="RGBA")).read_bytes()
    ended = run("upscale", "-", "--scale", "2x", "-o", "-", *LANCZOS, stdin=data)
    assert ended.code == 0
    assert (opened(ended.out).format, opened(ended.out).size) == ("PNG", (48, 36))
    assert run("upscale", "-", *LANCZOS, stdin=data).lines == ["stdin-2x.png"]
    jpeg = run("upscale", "-", "-o", "-", "--format", "webp", *LANCZOS, stdin=data)
    assert opened(jpeg.out).format == "WEBP"


def test_quoted_glob_and_template_name_every_picture(run, tmp_path):
    for number in (1, 2, 10):
        picture(f"shots/s{number}.png")
    ended = run("upscale", "shots/*.png", "-o", "big/{stem}_{index:02}_{width}.png", *LANCZOS)
    assert ended.lines == ["big/s1_01_48.png", "big/s2_02_48.png", "big/s10_03_48.png"]


def test_every_picture_keeps_its_format(run):
    for name in ("a.png", "b.jpg", "c.webp"):
        picture(name)
    assert run("upscale", "a.png", "b.jpg", "c.webp", *LANCZOS).lines == ["a-2x.png", "b-2x.jpg", "c-2x.webp"]
    assert opened("b-2x.jpg").format == "JPEG"
    picture("d.bmp")
    assert run("upscale", "d.bmp", *LANCZOS).lines == ["d-2x.png"]


def test_network_in_a_file_enlarges(run, weights):
    picture()
    ended = run("upscale", "small.png", "-m", weights, "--scale", 4, "-o", "{stem}-{model}.png", "--json")
    facts = json.loads(ended.out)
    assert facts["path"] == "small-plain-x4.png"
    assert (facts["engine"], facts["model"], facts["scale"]) == ("network", "Plain_x4.safetensors", 4)
    small = np.asarray(opened("small.png"))
    assert np.array_equal(np.asarray(opened("small-plain-x4.png")), small.repeat(4, 0).repeat(4, 1))
    tiled = run("upscale", "small.png", "-m", weights, "--scale", 4, "--tile-size", 16, "-o", "tiled.png")
    assert tiled.code == 0
    assert np.array_equal(np.asarray(opened("tiled.png")), small.repeat(4, 0).repeat(4, 1))


def test_named_size_is_met_to_the_pixel(run):
    picture(size=(160, 90))
    assert run("upscale", "small.png", "--to", "720p", *LANCZOS).lines == ["small-1280x720.png"]
    assert opened("small-1280x720.png").size == (1280, 720)
    ended = run("upscale", "small.png", "--to", "500x500", *LANCZOS)
    assert ended.code == 2
    assert "--fit crop" in ended.err
    assert run("upscale", "small.png", "--to", "500x500", "--fit", "crop", "-o", "square.png", *LANCZOS).code == 0
    assert opened("square.png").size == (500, 500)


def test_some_failing_among_many_leave_the_others_done_and_a_table(run, tmp_path):
    picture("a.png")
    (tmp_path / "text.png").write_text("no picture")
    picture("z.png")
    ended = run("upscale", "a.png", "text.png", "gone.png", "z.png", *LANCZOS)
    assert ended.code == 1
    assert ended.lines == ["a-2x.png", "z-2x.png"]
    assert "error: 2 of 4 pictures failed:\n  text.png  is text, not a picture\n" in ended.err
    assert "\n  gone.png  there is no file gone.png" in ended.err


def test_json_has_an_object_for_every_success_and_every_failure(run):
    picture("a.png")
    ended = run("upscale", "gone.png", "a.png", "--json", *LANCZOS)
    assert ended.code == 1
    failure, success = map(json.loads, ended.lines)
    assert failure["path"] == "gone.png"
    assert "no file" in failure["error"]
    assert (success["path"], success["source"], success["action"]) == ("a-2x.png", "a.png", "new")
    assert (success["width"], success["height"], success["engine"]) == (48, 36, "lanczos")
    alone = run("upscale", "gone.png", "--json", *LANCZOS)
    assert alone.code == 2
    assert json.loads(alone.out)["path"] == "gone.png"


def test_all_failing_exit_as_the_first_one_says(run):
    assert run("upscale", "gone.png", "lost.png", *LANCZOS).code == 2


def test_quiet_keeps_the_table_and_leaves_the_notes_out(run):
    picture("a.png")
    ended = run("upscale", "a.png", "gone.png", "-q", *LANCZOS)
    assert ended.err.startswith("error: 1 of 2 pictures failed:")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["*.tiff"], 2, "no file matches"),
        (["small.png", "--scale", "1"], 2, "--scale 2"),
        (["small.png", "--scale", "0.5"], 2, "--scale 2"),
        (["small.png", "--scale", "17"], 2, "--scale 16"),
        (["small.png", "--scale", "much"], 2, "is not a scale"),
        (["small.png", "--scale", "-1"], 2, "larger"),
        (["small.png", "--scale", "2", "--to", "4k"], 2, "contradict"),
        (["small.png", "--to", "20x"], 2, "24x18 pixels already"),
        (["small.png", "--fit", "crop"], 2, "--fit crop"),
        (["small.png", "--tile-size", "64", "-m", "lanczos"], 2, "--tile-size"),
        (["small.png", "--tile-size", "tiny"], 2, "auto"),
        (["small.png", "--tile-size", "1", "--tile-overlap", "9999", "--dry-run"], 2, "--tile-size 256"),
        (["small.png", "--tile-size", "64", "--tile-overlap", "9999", "--dry-run"], 2, "--tile-overlap 16"),
        (["-", "-"], 2, "standard input holds one picture"),
        (["small.png", "--prompt", "a cat"], 2, "--prompt"),
        (["small.png", "--seed", "1"], 2, "--seed"),
        (["small.png", "-m", "gone.safetensors"], 4, "there is no file"),
        (["small.png", "-m", "file.safetensors"], 4, "file.safetensors"),
        (["small.png", "-m", "file.pth"], 4, "not a file of weights"),
        (["small.png", "-m", "zipped.pth"], 4, "--allow-pickle"),
        (["small.png", "-m", "lancsoz"], 4, "lanczos"),
        (["small.png", "-m", ""], 2, "--model is empty"),
        (["small.png", "-m", " "], 2, "--model is empty"),
        (["small.png", "-m", "builtn"], 4, "builtin"),
        (["file.png"], 2, "not a picture"),
        (["folder"], 2, "folder"),
        (["small.png", "small.webp", "-o", "-"], 2, "2 are given"),
        (["small.png", "small.webp", "-o", "x.png"], 2, "both be x.png"),
        (["small.png", "-o", "-", "--json"], 2, "--json"),
        (["small.png", "-o", "{prompt}.png"], 2, "{stem}"),
        (["small.png", "-o", "x.heic"], 2, ".heic"),
        (["small.png", "-o", "x.png", "--format", "webp"], 2, "--format"),
        (["small.png", "--quality", "90"], 2, "lossless"),
        (["small.png", "-o", "small.png"], 2, "--if-exists overwrite"),
        (["small.png", "-o", "file.png/x.png"], 2, "cannot write"),
        (["small.png", "--frame", "2"], 2, "--frame 1"),
        (["film.gif"], 2, "--frame 1"),
        (["see-through.png", "-o", "x.jpg", "-m", "lanczos"], 2, "transparency"),
        (["small.png", "--device", "tpu"], 2, "tpu"),
        (["small.png", "--dtype", "float16", "--device", "cpu"], 2, "float16"),
    ],
)
def test_bad_request_is_refused_by_name_and_writes_nothing(run, tmp_path, arguments, code, words):
    picture()
    picture("small.webp")
    Image.new("RGBA", (9, 9), (255, 0, 0, 10)).save("see-through.png")
    frames = [Image.new("L", (9, 9), level) for level in (0, 255)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    for name in ("file.safetensors", "file.pth", "file.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    (tmp_path / "zipped.pth").write_bytes(b"PK\x03\x04")
    (tmp_path / "folder").mkdir()
    before = files(tmp_path)
    ended = run("upscale", *arguments)
    assert ended.code == code
    assert ended.out == b""
    assert words in ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert files(tmp_path) == before


def test_frame_of_an_animation_is_chosen(run):
    frames = [Image.new("L", (9, 9), level) for level in (0, 255)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:])
    assert run("upscale", "film.gif", "--frame", 2, *LANCZOS).lines == ["film-2x.png"]
    assert opened("film-2x.png").convert("L").getextrema() == (255, 255)


def test_words_of_the_source_are_kept_and_the_step_is_added(run):
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "A. B.")
    picture(pnginfo=info)
    assert run("upscale", "small.png", *LANCZOS).code == 0
    told = json.loads(run("inspect", "small-2x.png", "--json").out)
    assert opened("small-2x.png").info["Author"] == "A. B."
    assert "upscale to 48x36 px by lanczos" in json.dumps(told["xmp"])
    assert run("upscale", "small.png", "--metadata", "none", "-o", "bare.png", *LANCZOS).code == 0
    assert json.loads(run("inspect", "bare.png", "--json").out)["xmp"] == {}


def test_recipe_of_the_source_is_kept_with_the_steps_that_came_after(run):
    output = OutputPlan(template="apple.png", format="png", quality=100, if_exists="auto", metadata="full")
    writer.write(Image.radial_gradient("L").resize((128, 96)).convert("RGB"), APPLE, output, Path("apple.png"))
    assert run("upscale", "apple.png", *LANCZOS).code == 0
    assert run("upscale", "apple-2x.png", "--to", "300x", "-o", "wide.png", *LANCZOS).code == 0
    told = json.loads(run("inspect", "wide.png", "--json").out)
    assert told["prompt"] == APPLE.prompt
    assert [(each["width"], each["engine"]) for each in told["recipe"]["edits"]] == [(256, "lanczos"), (300, "lanczos")]
    assert told["fits"] is True


def test_default_works_offline_with_what_comes_along(run):
    picture()
    for scale, name in (("2", "builtin-x2"), ("3", "builtin-x4"), ("4", "builtin-x4")):
        made = json.loads(run("upscale", "small.png", "--scale", scale, "--offline", "--json").out)
        assert (made["engine"], made["model"], made["path"]) == ("network", name, f"small-{scale}x.png")
        assert opened(made["path"]).size == (24 * int(scale), 18 * int(scale))


def test_diffusion_model_in_a_folder_enlarges_by_words_and_seed(run, tmp_path):
    from tests.engine.upscaling.test_diffusion_upscaler import four_times

    four_times(tmp_path).save_pretrained(tmp_path / "model")
    picture(size=(16, 12))
    line = ("upscale", "small.png", "-m", "./model", "--scale", 3, "-p", "a red apple", "--steps", 2, "--json")
    made = [json.loads(run(*line, "--seed", seed, "-o", f"{at}.png").out) for at, seed in enumerate((5, 5, 6))]
    assert {(each["engine"], each["model"], each["width"]) for each in made} == {("diffusion", "./model", 48)}
    drawn = [np.asarray(opened(each["path"])) for each in made]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    told = json.loads(run("inspect", "0.png", "--json").out)
    assert told["xmp"][metadata.SOURCE_TYPE] == metadata.COMPOSITE
    assert run("upscale", "small.png", "-m", "./model", "--guidance", 3).code == 2


def test_own_results_are_replaced_and_those_of_others_are_not(run, tmp_path):
    picture()
    assert run("upscale", "small.png", *LANCZOS).code == 0
    again = run("upscale", "small.png", "--json", *LANCZOS)
    assert json.loads(again.out)["action"] == "replaced"
    (tmp_path / "small-3x.png").write_bytes(b"precious")
    ended = run("upscale", "small.png", "--scale", 3, *LANCZOS)
    assert ended.code == 2
    assert (tmp_path / "small-3x.png").read_bytes() == b"precious"
    kept = run("upscale", "small.png", "--scale", 3, "--if-exists", "skip", "--json", *LANCZOS)
    assert json.loads(kept.out)["action"] == "kept"


def test_names_that_meet_are_numbered_where_that_is_asked_for(run):
    picture("a/x.png")
    picture("b/x.png")
    ended = run("upscale", "a/x.png", "b/x.png", "--if-exists", "number", *LANCZOS)
    assert ended.lines == ["x-2x.png", "x-2x-2.png"]


def test_dry_run_prints_the_plan_and_writes_nothing(run, tmp_path):
    picture()
    ended = run("upscale", "small.png", "--scale", 3, "--dry-run", "--json", "-v")
    plan = json.loads(ended.out)
    assert plan["pictures"][0]["output"] == "small-3x.png"
    assert plan["reasons"]["size"] == "command line"
    assert "model: builtin (the networks that come with imggen)" in ended.err
    assert files(tmp_path) == ["small.png"]


def test_dry_run_tells_in_a_few_lines_what_would_be_done(run, tmp_path):
    for number in range(12):
        Image.new("RGB", (8, 8)).save(tmp_path / f"p{number}.png")
    ended = run("upscale", "p*.png", "--scale", 3, "--dry-run")
    assert ended.lines[0].split(maxsplit=1) == ["enlarges", "12 of 12 pictures"]
    assert "p0.png: 8x8 to 24x24 (3 times), p0-3x.png as png" in ended.lines[3]
    assert ended.lines[-1].split(maxsplit=1) == ["picture", "and 4 more"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("x", "hint: pictures that are there: apple.png, m.png, small.png\n"),
        ("sketch.png", "hint: pictures that are there: apple.png, m.png, small.png\n"),
        ("appel.png", "hint: did you mean apple.png?\n"),
        ("a red apple", "hint: imggen generate 'a red apple'\n"),
        ("https://example.com/a.png", "hint: curl -LO https://example.com/a.png\n"),
    ],
)
def test_a_name_that_is_no_file_is_told_with_what_there_is(run, name, hint):
    for there in ("apple.png", "m.png", "small.png"):
        picture(there)
    ended = run("upscale", name)
    assert ended.code == 2
    assert ended.err.endswith(hint)


def test_a_name_without_an_ending_gets_that_of_the_source(run, tmp_path):
    picture()
    assert run("upscale", "small.png", "-o", "big", "--model", "lanczos").lines == ["big.png"]
    assert (tmp_path / "big.png").is_file()


def test_dry_run_fails_where_the_run_would(run):
    picture()
    ended = run("upscale", "small.png", "gone.png", "--dry-run", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["refused"][0]["path"] == "gone.png"


def test_environment_and_config_say_how_files_are_written_and_not_what_enlarges(run, tmp_path, monkeypatch):
    from imggen.cli import precedence

    picture()
    for name in ("XDG_CONFIG_HOME", "HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "config"))
    precedence.config_folder().mkdir(parents=True)
    (precedence.config_folder() / "config.toml").write_text('format = "webp"\nmetadata = "none"\nquality = 100\n')
    for name, value in {"METADATA": "minimal", "MODEL": "org/sd", "STEPS": "9", "OUTPUT": "{seed}.png"}.items():
        monkeypatch.setenv(f"IMGGEN_{name}", value)
    plan = json.loads(run("upscale", "small.png", "--dry-run", "--json").out)
    planned = plan["pictures"][0]
    assert (planned["output"], planned["metadata"], planned["quality"]) == ("small-2x.webp", "minimal", 100)
    assert (plan["model"], plan["steps"]) == ("builtin", None)
    assert plan["reasons"]["metadata"] == "environment"
    assert plan["reasons"]["format"].startswith("config")


def test_misspelt_variable_is_told(run, monkeypatch):
    monkeypatch.setenv("IMGGEN_METADAT", "none")
    picture()
    assert "IMGGEN_METADATA" in run("upscale", "small.png", *LANCZOS).err


@pytest.mark.parametrize("arguments", [LANCZOS, ("--dry-run",), ("-m", "gone.safetensors")])
def test_torch_is_not_imported_where_no_network_draws(tmp_path, arguments):
    picture(str(tmp_path / "small.png"))
    code = (
        "import sys; from imggen.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write('heavy: ' + str([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    command = [sys.executable, "-c", code, "upscale", "small.png", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.endswith("heavy: []")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX descriptors")
def test_bytes_do_not_go_to_a_closed_standard_output(spawn, tmp_path):
    picture()
    process = spawn("upscale", "small.png", "-o", "-", stdout=None, preexec_fn=lambda: os.close(1))
    _, err = process.communicate()
    assert process.returncode == 2
    assert b"standard output is closed" in err


@pytest.mark.parametrize("stdin", [None, b"", b"text"])
def test_standard_input_without_a_picture_is_refused(run, stdin):
    ended = run("upscale", "-", "-o", "x.png", *LANCZOS, stdin=stdin)
    assert ended.code == 2
    assert "standard input" in ended.err
