"""`imggen generate` from end to end, with the built-in model."""

import json
import os
import shlex
import signal
import sys
from io import BytesIO

import pytest
from PIL import Image

from imggen.host import environment
from imggen.store import lookup

PROMPT = "a red apple on a teal background"
QUICK = ("--steps", "2")


def pixels(path):
    with Image.open(path) as image:
        return image.mode, image.size, image.tobytes()


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_one_line_makes_a_picture_where_it_says(run, tmp_path):
    ended = run("generate", PROMPT, "-o", "deep/er/apple.png")
    assert (ended.code, ended.lines) == (0, ["deep/er/apple.png"])
    facts = json.loads(run("models", "show", "builtin", "--json").out)
    with Image.open(tmp_path / "deep/er/apple.png") as image:
        assert image.size == (facts["defaults"]["width"], facts["defaults"]["height"])
        assert image.mode == "RGB"
        assert len(image.getcolors(1 << 24)) > 50
    assert files(tmp_path) == ["apple.png"]


def test_pixels_are_those_of_a_hand_written_diffusers_script(run, tmp_path):
    import torch
    from diffusers import DiffusionPipeline

    made = json.loads(run("generate", PROMPT, "-s", 7, "-o", "a.png", "--json").out)
    recipe = made["recipe"]
    with environment.quiet():
        pipeline = DiffusionPipeline.from_pretrained(lookup.builtin_folder(), dtype=getattr(torch, recipe["dtype"]))
        pipeline.set_progress_bar_config(disable=True)
        if recipe["dtype"] == "bfloat16":
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
        drawn = pipeline(
            PROMPT,
            width=recipe["width"],
            height=recipe["height"],
            num_inference_steps=recipe["steps"],
            guidance_scale=recipe["guidance"],
            generator=torch.Generator("cpu").manual_seed(7),
        ).images[0]
    assert pixels(tmp_path / "a.png") == (drawn.mode, drawn.size, drawn.tobytes())


def test_seeds_give_a_file_and_a_json_line_each(run, tmp_path):
    ended = run("generate", PROMPT, "--seed", "1-3", "-o", "out/{seed}.png", "--json", *QUICK)
    made = [json.loads(line) for line in ended.lines]
    assert [each["seed"] for each in made] == [1, 2, 3]
    assert [each["path"] for each in made] == ["out/1.png", "out/2.png", "out/3.png"]
    assert len({each["sha256"] for each in made}) == 3
    assert files(tmp_path) == ["1.png", "2.png", "3.png"]
    assert run("generate", PROMPT, "--seed", "2", "-o", "alone.png", *QUICK).code == 0
    assert pixels(tmp_path / "alone.png") == pixels(tmp_path / "out/2.png")


def test_a_picture_is_made_again_from_what_the_file_says(run, tmp_path):
    assert run("generate", PROMPT, "-o", "a.png", "-g", "2.5", "--sampler", "euler", *QUICK).code == 0
    ended = run("generate", "--from", "a.png", "-o", "again.webp", "--quality", "100")
    assert (ended.code, ended.err) == (0, "")
    assert run("generate", "--from", "a.png", "-o", "again.png").code == 0
    assert pixels(tmp_path / "again.png") == pixels(tmp_path / "a.png")
    other = json.loads(run("generate", "a blue star", "--from", "a.png", "-o", "b.png", "--json").out)
    assert other["recipe"]["prompt"] == "a blue star"
    assert other["recipe"]["guidance"] == 2.5


def test_pipes_carry_the_prompt_in_and_the_picture_out(run, tmp_path):
    ended = run("generate", "-", "-o", "-", "--format", "webp", *QUICK, stdin=b"a blue star\n")
    assert ended.code == 0
    with Image.open(BytesIO(ended.out)) as image:
        assert image.format == "WEBP"
    assert files(tmp_path) == []


def test_an_existing_file_of_somebody_else_stays(run, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"precious")
    ended = run("generate", PROMPT, "-o", "mine.png", *QUICK)
    assert ended.code == 2
    assert "mine.png" in ended.err
    assert (tmp_path / "mine.png").read_bytes() == b"precious"
    assert run("generate", PROMPT, "-o", "mine.png", "--if-exists", "overwrite", *QUICK).code == 0
    assert run("generate", PROMPT, "-o", "mine.png", *QUICK).code == 0
    kept = json.loads(run("generate", PROMPT, "-o", "mine.png", "--if-exists", "skip", "--json").out)
    assert (kept["path"], kept["action"]) == ("mine.png", "kept")


def test_the_same_line_twice_tells_of_the_seed_that_is_replaced_and_how_to_get_it_back(run, tmp_path):
    line = ("generate", PROMPT, "-o", "a.png", *QUICK)
    first = json.loads(run(*line, "--json").out)
    before = pixels(tmp_path / "a.png")
    again = run(*line, "--json")
    told = f"note: a.png: replaced the picture of seed {first['seed']}; --seed {first['seed']} on the same line"
    assert again.err == f"{told} brings it back\n"
    assert json.loads(again.out)["replaced_seed"] == first["seed"]
    assert run(*line, "-q", "--seed", first["seed"]).err == ""
    assert pixels(tmp_path / "a.png") == before
    assert run(*line, "--seed", first["seed"]).err == ""


def test_another_picture_that_is_replaced_is_told_with_a_line_that_makes_it_again(run, tmp_path):
    run("generate", "a {blue|teal} star", "-n", "a \\(cat\\)", "-s", 5, "-o", "a.png", "--size", "96x64", *QUICK)
    before = pixels(tmp_path / "a.png")
    told = run("generate", PROMPT, "-o", "a.png", *QUICK).err
    assert told.startswith("note: a.png: replaced 'a ")
    assert run(*shlex.split(told.partition("; imggen ")[2].removesuffix(" makes it again\n")), "-o", "b.png").code == 0
    assert pixels(tmp_path / "b.png") == before


def test_one_of_several_that_are_replaced_comes_back_alone(run, tmp_path):
    line = ("generate", PROMPT, "-o", "a.png", "-N", 2, *QUICK)
    run(*line, "-s", 7)
    before = pixels(tmp_path / "a-2.png")
    told = [note for note in run(*line, "-s", 20).err.splitlines() if "a-2.png: replaced" in note]
    assert len(told) == 1
    options = shlex.split(told[0].partition("; ")[2].partition(" on the same line")[0])
    assert run(*line, *options).code == 0
    assert pixels(tmp_path / "a-2.png") == before


def test_unknown_words_are_told_and_quiet_keeps_quiet(run):
    loud = run("generate", "a red aple", "-o", "a.png", *QUICK)
    assert loud.code == 0
    assert "not aple (apple?)" in loud.err
    assert len(loud.err.splitlines()) == 1
    assert run("generate", "a red aple", "-o", "a.png", "-q", *QUICK).err == ""


def test_verbose_tells_the_decisions_of_the_picture_that_is_made(run):
    ended = run("generate", PROMPT, "-o", "a.png", "-v", "--json", *QUICK)
    seed = json.loads(ended.out)["seed"]
    assert f"seeds: {seed} (drawn at random)" in ended.err
    assert "steps: 2 (command line)" in ended.err


def test_a_dry_run_prints_the_plan_and_makes_nothing(run, tmp_path):
    ended = run("generate", "a yellow moon", "--preset", "icon", "--dry-run", "--json")
    plan = json.loads(ended.out)
    assert plan["output"]["metadata"] == "minimal"
    assert plan["reasons"]["metadata"] == "preset icon"
    assert files(tmp_path) == []


def test_a_dry_run_tells_in_a_few_lines_what_a_picture_would_be(run, tmp_path):
    ended = run("generate", PROMPT, "-N", 6, "-s", 5, "--dry-run", "-o", "out/{seed}.png", "--device", "cpu")
    rows = dict(line.split(maxsplit=1) for line in ended.lines)
    assert len(ended.lines) <= 12
    assert all(len(line) <= 100 for line in ended.lines)
    assert rows["makes"] == "6 pictures of 128x128, text-to-image"
    assert rows["model"] == "builtin (Stable Diffusion 1.x and 2.x)"
    assert rows["steps"] == "20, guidance 3, sampler dpmpp_2m"
    assert rows["seeds"] == "5, 6, 7, 8, ... (6 in all)"
    assert rows["device"].startswith("cpu, ")
    assert rows["memory"].startswith("about ")
    assert rows["goes"] == "to  out/5.png, out/6.png, out/7.png, out/8.png, ... (6 in all)"
    assert files(tmp_path) == []


@pytest.mark.parametrize(("name", "written"), [("apple", "apple.png"), ("out/{seed}", "out/7.png")])
def test_a_name_without_an_ending_gets_one_and_is_told(run, tmp_path, name, written):
    ended = run("generate", PROMPT, "-s", 7, "-o", name, *QUICK)
    assert ended.lines == [written]
    assert ended.err == f"note: -o {name} has no ending, so .png is added\n"
    assert (tmp_path / written).is_file()


def test_what_is_there_under_the_very_name_keeps_it(run, tmp_path):
    (tmp_path / "apple").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    line = ("generate", PROMPT, "-s", 7, *QUICK)
    assert run(*line, "-o", "apple", "--if-exists", "overwrite").lines == ["apple"]
    assert run(*line, "-o", "folder").err == ""
    assert run(*line, "-o", "/dev/null").code == 2
    assert run(*line, "-o", "/dev/null").err.startswith("error: /dev/null is not a regular file")


def test_layers_go_in_their_order(run, tmp_path, monkeypatch):
    config = tmp_path / "config"
    for name in ("XDG_CONFIG_HOME", "HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(config))
    from imggen.cli import precedence

    precedence.config_folder().mkdir(parents=True)
    (precedence.config_folder() / "config.toml").write_text('steps = 11\nguidance = 1.5\nmetadata = "none"\n')
    (tmp_path / "p.toml").write_text("steps = 12\nguidance = 1.75\n")
    planned = ("generate", PROMPT, "--dry-run", "--json")

    def steps_and_guidance(*more):
        plan = json.loads(run(*planned, *more).out)
        return plan["steps"], plan["guidance"], plan["reasons"]["steps"]

    assert steps_and_guidance()[:2] == (11, 1.5)
    assert steps_and_guidance("--preset", "./p.toml") == (12, 1.75, "preset p")
    monkeypatch.setenv("IMGGEN_STEPS", "13")
    assert steps_and_guidance("--preset", "./p.toml") == (13, 1.75, "environment")
    assert steps_and_guidance("--preset", "./p.toml", "--steps", 14) == (14, 1.75, "command line")


def test_a_misspelt_variable_is_told(run, monkeypatch):
    monkeypatch.setenv("IMGGEN_STEP", "3")
    assert "IMGGEN_STEPS" in run("generate", PROMPT, "--dry-run").err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([""], 2, "the prompt is empty"),
        ([], 2, "the prompt is empty"),
        ([PROMPT, "-m", "bultin"], 4, "builtin"),
        ([PROMPT, "--preset", "ikon"], 2, "--preset icon"),
        ([PROMPT, "--sampler", "eular"], 2, "--sampler euler"),
        ([PROMPT, "--size", "129x128"], 2, "--size 128x128"),
        ([PROMPT, "--size", "100000x8"], 2, "--size"),
        ([PROMPT, "--size", "128x128", "--aspect", "1:1"], 2, "contradict"),
        ([PROMPT, "--aspect", "0:3"], 2, "not an aspect ratio"),
        ([PROMPT, "--seed", "-1"], 2, "--seed random"),
        ([PROMPT, "--seed", "9-1"], 2, "--seed 1-9"),
        ([PROMPT, "--seed", "1-3", "-N", "2"], 2, "--num-images"),
        ([PROMPT, "--seed", "1-3", "-o", "-"], 2, "one picture"),
        ([PROMPT, "-o", "-", "--json"], 2, "--json"),
        ([PROMPT, "-o", "{sead}.png"], 2, "{seed}"),
        ([PROMPT, "-o", "{seed}/../../x.png"], 2, ".."),
        ([PROMPT, "-o", "x.gif"], 2, ".gif"),
        ([PROMPT, "-o", "file/x.png"], 2, "file"),
        ([PROMPT, "-o", "x.png", "--format", "webp"], 2, "--format"),
        ([PROMPT, "--quality", "80"], 2, "lossless"),
        ([PROMPT, "--steps", "0"], 2, "--steps 1"),
        ([PROMPT, "--guidance", "nan"], 2, "--guidance"),
        ([PROMPT, "-n", "a dog", "-g", "1"], 2, "--negative-prompt"),
        ([PROMPT, "--device", "cuda:7"], 2, "cuda"),
        ([PROMPT, "--dtype", "fp61"], 2, "--dtype fp16"),
        ([PROMPT, "--from", "nothing.png"], 2, "nothing.png"),
        ([PROMPT, "--from", "file"], 2, "file"),
        (["--from", "x.png", "--preset", "icon"], 2, "--preset icon and --from x.png"),
    ],
)
def test_a_bad_request_is_refused_by_name_and_writes_nothing(run, tmp_path, arguments, code, words):
    (tmp_path / "file").write_bytes(b"not a picture")
    ended = (
        run("generate", *arguments, "--device", "cpu") if "--device" not in arguments else run("generate", *arguments)
    )
    assert ended.code == code
    assert ended.out == b""
    assert words in ended.err
    assert ended.err.startswith("error: ")
    assert "Traceback" not in ended.err
    assert files(tmp_path) == ["file"]


@pytest.fixture
def pickled(tmp_path):
    """Return a model folder whose only weights are a pickle."""
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet" / "config.json").write_text("{}")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    return folder


def test_a_pickle_is_refused_with_the_reason_and_the_switch(run, pickled, tmp_path):
    ended = run("generate", PROMPT, "-m", pickled, "-o", "a.png")
    assert (ended.code, ended.out) == (4, b"")
    assert "can run any code" in ended.err
    assert "--allow-pickle" in ended.err
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"_class_name": "NoSuchPipeline", "vae": ["os", "system"]}'])
def test_a_corrupt_model_folder_exits_with_4(run, pickled, tmp_path, index):
    (pickled / "model_index.json").write_text(index)
    ended = run("generate", PROMPT, "-m", pickled, "-o", "a.png")
    assert (ended.code, ended.out) == (4, b"")
    assert "model_index.json" in ended.err
    assert not (tmp_path / "a.png").exists()


def test_offloading_on_a_processor_is_refused(run):
    ended = run("generate", PROMPT, "--device", "cpu", "--offload", "model")
    assert ended.code == 2
    assert "--offload model" in ended.err


def test_a_bad_value_from_the_environment_names_the_variable(run, monkeypatch):
    monkeypatch.setenv("IMGGEN_STEPS", "many")
    ended = run("generate", PROMPT)
    assert ended.code == 2
    assert "IMGGEN_STEPS" in ended.err


def test_bytes_do_not_go_to_a_closed_standard_output(spawn, tmp_path):
    process = spawn("generate", PROMPT, "-o", "-", stdout=None, preexec_fn=lambda: os.close(1))
    _, err = process.communicate()
    assert process.returncode == 2
    assert b"standard output is closed" in err
    assert files(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_exits_with_130_and_leaves_whole_files_only(spawn, tmp_path):
    process = spawn("generate", PROMPT, "-N", 500, "-o", "{index}.png")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert 1 <= len(files(tmp_path)) < 500
    for name in files(tmp_path):
        assert name.endswith(".png")
        pixels(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_a_reader_that_takes_one_line_ends_the_run_quietly(spawn, tmp_path):
    process = spawn("generate", PROMPT, "-N", 500, "-o", "{index}.png")
    assert process.stdout.readline() == b"1.png\n"
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == 141
    assert err == b""
    assert 1 <= len(files(tmp_path)) < 500


def test_a_preview_without_a_terminal_is_told_and_the_picture_made(run):
    ended = run("generate", PROMPT, "-o", "a.png", "--preview", *QUICK)
    assert (ended.code, ended.lines) == (0, ["a.png"])
    assert "--preview shows nothing: standard error is no terminal" in ended.err
