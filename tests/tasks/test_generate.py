import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from imggen.engine.pipeline import loader
from imggen.errors import EXIT_FAILED, ImggenError, MachineError, ModelError, PictureError, RequestError
from imggen.output import writer
from imggen.output.metadata import metadata
from imggen.plan.schema.adapter import Adapter
from imggen.plan.schema.request import GenerateRequest, OutputPlan
from imggen.tasks import generate
from tests.recipes import APPLE
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def ask(tiny_models):
    """Return a function that asks for a small, quick picture from a tiny model."""
    cached = {}

    def request(**changes):
        said = {"prompt": "a red apple", "model": str(tiny_models("sd")), "steps": 2, "seed": "7", "dtype": "float32"}
        return GenerateRequest(**said | changes)

    def load(plan, **options):
        if plan.model.folder not in cached:
            cached[plan.model.folder] = loader.load(plan, **options)
        return cached[plan.model.folder]

    request.load = load
    return request


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def run(ask, **changes):
    return list(generate.generate(ask(**changes), load=ask.load))


def test_a_picture_is_written_with_its_recipe(ask):
    (made,) = run(ask, output="apple.png")
    assert made.written.path.resolve() == Path("apple.png").resolve()
    assert pixels("apple.png").shape == (64, 64, 3)
    recipe = metadata.read(Path("apple.png")).found.recipe
    assert recipe == made.recipe
    assert (recipe.prompt, recipe.seed, recipe.steps, recipe.dtype) == ("a red apple", 7, 2, "float32")
    assert set(recipe.versions) == {"imggen", "torch", "diffusers"}
    assert len(recipe.model_hash) == 64


def test_a_picture_made_from_its_own_file_has_the_same_pixels(ask):
    run(ask, output="apple.png", negative_prompt="blue", guidance=3.0, sampler="dpmpp_2m")
    again = GenerateRequest(from_file="apple.png", output="again.png")
    notes = []
    (made,) = generate.generate(again, load=loader.load, on_note=notes.append)
    np.testing.assert_array_equal(pixels("again.png"), pixels("apple.png"))
    assert made.recipe == metadata.read(Path("apple.png")).found.recipe
    assert not [each for each in notes if "differ" in each]


def test_a_recipe_of_other_weights_is_noted(ask, tiny_models, tmp_path):
    model = shutil.copytree(tiny_models("sd"), tmp_path / "model")
    run(ask, output="apple.png", model=str(model))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-2] ^= 1
    weights.write_bytes(changed)
    notes = []
    request = GenerateRequest(from_file="apple.png", output="again.png")
    list(generate.generate(request, load=loader.load, on_note=notes.append))
    assert [each for each in notes if "model_hash" in each]


def test_a_recipe_whose_model_is_gone_is_a_model_error(ask, tiny_models, tmp_path):
    model = shutil.copytree(tiny_models("sd"), tmp_path / "model")
    run(ask, output="apple.png", model=str(model))
    shutil.rmtree(model)
    with pytest.raises(ModelError, match="no model"):
        generate.plan(GenerateRequest(from_file="apple.png"))


def test_a_file_without_a_recipe_is_a_wrong_request():
    Image.new("RGB", (8, 8)).save("plain.png")
    with pytest.raises(RequestError, match=r"plain\.png holds no record"):
        generate.plan(GenerateRequest(from_file="plain.png"))


def test_seeds_make_a_file_each_and_the_same_pixels_as_alone(ask):
    made = run(ask, seed="1-3", output="out/{seed}.png")
    assert [each.seed for each in made] == [1, 2, 3]
    assert sorted(each.name for each in Path("out").iterdir()) == ["1.png", "2.png", "3.png"]
    run(ask, seed="2", output="alone.png")
    np.testing.assert_array_equal(pixels("alone.png"), pixels("out/2.png"))


def test_a_folder_that_is_there_takes_default_names(ask):
    Path("pictures").mkdir()
    (made,) = run(ask, output="pictures")
    assert made.path.resolve() == Path("pictures/a-red-apple-7.png").resolve()


@pytest.mark.parametrize("seed", [None, "random"])
def test_seeds_that_nobody_names_are_drawn_and_recorded(ask, seed):
    (made,) = run(ask, seed=seed, output="x.png")
    assert metadata.read(Path("x.png")).found.recipe.seed == made.seed


def test_standard_output_gets_the_bytes_of_one_picture_and_no_file_is_made(ask):
    (made,) = run(ask, output="-")
    with Image.open(io.BytesIO(made.data)) as picture:
        assert picture.size == (64, 64)
    assert made.written is None
    assert list(Path().iterdir()) == []


def test_many_pictures_for_standard_output_are_refused(ask):
    with pytest.raises(RequestError, match="-o -"):
        run(ask, output="-", seed="1-2")


def never(plan, **options):
    raise AssertionError("weights were loaded")


WRONG = {
    "empty prompt": ({"prompt": " "}, RequestError, "prompt is empty"),
    "unknown model": ({"model": "nonsense"}, ModelError, "no model 'nonsense'"),
    "unknown sampler": ({"sampler": "eulr"}, RequestError, "eulr"),
    "odd size": ({"width": 66}, RequestError, "66"),
    "unknown field": ({"output": "{sed}.png"}, RequestError, "unknown field {sed}"),
    "bad seed": ({"seed": "x"}, RequestError, "x"),
    "a file as folder": ({"output": "occupied/x.png"}, RequestError, "occupied"),
    "somebody's file": ({"output": "occupied.png", "if_exists": "auto"}, RequestError, "occupied.png"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_before_weights_are_loaded_and_nothing_is_written(ask, changes, kind, message):
    Path("occupied").write_text("mine")
    Path("occupied.png").write_text("mine")
    with pytest.raises(kind, match=message):
        list(generate.generate(ask(**changes), load=never))
    assert {each.name for each in Path().iterdir()} == {"occupied", "occupied.png"}
    assert Path("occupied.png").read_text() == "mine"


def test_files_that_are_kept_are_not_drawn_again(ask):
    run(ask, seed="1", output="{seed}.png")
    before = Path("1.png").read_bytes()
    kept, made = run(ask, seed="1-2", output="{seed}.png", if_exists="skip")
    assert (kept.path, kept.written, kept.recipe) == (Path("1.png"), None, None)
    assert made.written.path.name == "2.png"
    assert Path("1.png").read_bytes() == before
    (again,) = generate.generate(ask(seed="1", output="{seed}.png", if_exists="skip"), load=never)
    assert again.path == Path("1.png")


def failing(ask, error, *, at):
    """A loader whose pipeline raises `error` on its call number `at`."""
    calls = []

    def load(plan, **options):
        pipeline = loader.load(plan, **options)
        plain = pipeline.unet.forward

        def forward(*arguments, **values):
            calls.append(1)
            if len(calls) == 2 * at:
                raise error
            return plain(*arguments, **values)

        pipeline.unet.forward = forward
        return pipeline

    return load


def test_one_picture_that_fails_does_not_stop_the_others_and_is_named_at_the_end(ask):
    made = []
    load = failing(ask, PictureError("not made of numbers"), at=2)
    with pytest.raises(ImggenError, match="1 of 3 pictures failed: seed 2: not made of numbers") as caught:
        made.extend(generate.generate(ask(seed="1-3", output="{seed}.png"), load=load))
    assert caught.value.exit_code == EXIT_FAILED
    assert sorted(each.name for each in Path().iterdir()) == ["1.png", "3.png"]


def test_a_lone_picture_that_fails_keeps_its_own_error(ask):
    load = failing(ask, PictureError("not made of numbers", hint="--dtype float32"), at=1)
    with pytest.raises(PictureError) as caught:
        list(generate.generate(ask(output="x.png"), load=load))
    assert caught.value.hint == "--dtype float32"


def drawing(value, *, dtypes):
    """A loader whose autoencoder draws nothing but `value` while it computes in one of `dtypes`."""

    def load(plan, **options):
        pipeline = loader.load(plan, **options)

        def spoil(_, __, drawn):
            return torch.full_like(drawn, value) if drawn.dtype in dtypes else drawn

        pipeline.vae.decoder.register_forward_hook(spoil)
        return pipeline

    return load


NAN = float("nan")
HALF = {torch.bfloat16}
BOTH = {torch.bfloat16, torch.float32}


@pytest.mark.parametrize(
    ("value", "message"), [(NAN, "is not made of numbers"), (-1.0, r"all of it is black \(0, 0, 0\)")]
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_picture_that_came_to_nothing_is_a_failure_and_nothing_is_written(ask, dtype, value, message):
    with pytest.raises(PictureError, match=message) as caught:
        list(generate.generate(ask(dtype=dtype, output="out/x.png"), load=drawing(value, dtypes=BOTH)))
    assert caught.value.exit_code == EXIT_FAILED
    assert "--" in caught.value.hint
    assert [each for each in Path().rglob("*") if each.is_file()] == []


@pytest.mark.parametrize("value", [NAN, -1.0])
def test_a_second_decoding_is_noted_beside_its_picture_and_happens_again_from_its_file(ask, value):
    load = drawing(value, dtypes=HALF)
    (made,) = generate.generate(ask(dtype="bfloat16", output="x.png"), load=load)
    (note,) = [each for each in made.notes if "decoded once more, in float32" in each]
    assert "in bfloat16" in note
    (again,) = generate.generate(GenerateRequest(from_file="x.png", output="again.png"), load=load)
    assert note in again.notes
    np.testing.assert_array_equal(pixels("again.png"), pixels("x.png"))
    assert again.recipe == made.recipe


def test_a_white_background_that_was_asked_for_is_a_picture():
    request = GenerateRequest(prompt="a white background", seed="1", dtype="float32", output="x.png", watermark="off")
    (made,) = generate.generate(request)
    assert made.notes == ()
    assert (pixels("x.png") == 255).all()


def given(task, image, **said):
    image.save("given.png")
    return {"task": task, "images": ("given.png",), "output": "x.png", **said}


def paper():
    return Image.effect_noise((64, 64), 1).point(lambda level: 248 + level % 4).convert("RGB")


def photo():
    return Image.effect_noise((64, 64), 60).convert("RGB")


def test_a_sheet_of_paper_may_stay_white(ask):
    (made,) = generate.generate(ask(**given("image-to-image", paper())), load=drawing(1.0, dtypes=BOTH))
    assert made.path.exists()


def test_a_photo_may_not_become_white(ask):
    with pytest.raises(PictureError, match=r"all of it is white \(255, 255, 255\)"):
        list(generate.generate(ask(**given("image-to-image", photo())), load=drawing(1.0, dtypes=BOTH)))


def test_what_a_mask_takes_off_a_sheet_of_paper_may_leave_it_white(ask):
    stained = paper()
    stained.paste((120, 60, 10), (16, 16, 40, 40))
    asked = given("inpaint", stained, mask_box="16,16,24,24")
    (made,) = generate.generate(ask(**asked), load=drawing(1.0, dtypes=BOTH))
    assert made.path.exists()
    with pytest.raises(PictureError, match="all of it is white"):
        list(generate.generate(ask(**asked | {"mask_box": "16,16,16,24"}), load=drawing(1.0, dtypes=BOTH)))


def test_what_is_pasted_around_it_does_not_hide_that_nothing_was_drawn(ask):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (8, 8, 24, 24))
    mask.save("mask.png")
    asked = ask(**given("inpaint", photo(), mask="mask.png"))
    with pytest.raises(PictureError, match="all of it is black"):
        list(generate.generate(asked, load=drawing(-1.0, dtypes=BOTH)))
    assert not Path("x.png").exists()


def test_running_out_of_memory_stops_the_run_and_says_how_far_it_came(ask):
    load = failing(ask, MemoryError(), at=2)
    with pytest.raises(MachineError, match=r"\(1 of 3 pictures were written\)"):
        list(generate.generate(ask(seed="1-3", output="{seed}.png"), load=load))
    assert [each.name for each in Path().iterdir()] == ["1.png"]


def test_an_interruption_leaves_no_partial_file(ask):
    load = failing(ask, KeyboardInterrupt(), at=1)
    with pytest.raises(KeyboardInterrupt):
        list(generate.generate(ask(output="out/x.png"), load=load))
    assert [each for each in Path().rglob("*") if each.is_file()] == []


def test_progress_runs_from_loading_to_writing(ask):
    events = []
    list(generate.generate(ask(output="x.png"), load=loader.load, on_event=events.append))
    stages = list(dict.fromkeys(each.stage for each in events))
    assert stages == ["load", "encode", "denoise", "decode", "write"]


def test_a_prompt_that_is_cut_is_noted_before_the_picture_is_there(ask, tiny_models):
    told = []
    request = ask(model=str(tiny_models("pixart-alpha")), prompt="apple " * 60, size="256x256", output="x.png")
    list(generate.generate(request, load=ask.load, on_note=lambda note: told.append((note, Path("x.png").exists()))))
    note, exists = next(each for each in told if "not read" in each[0])
    assert "the model reads 120" in note
    assert not exists


def test_planning_imports_nothing_heavy(tiny_models):
    code = """
import sys
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
plan = generate.plan(GenerateRequest(prompt="a", model=sys.argv[1], seed="1", output="x.png"))
print(plan.seeds, sorted({"torch", "diffusers", "transformers"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_models("sd"))], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(1,) []"


def test_a_plan_fetches_a_model_only_where_it_may(ask, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(ModelError, match="org/name is not on this machine"):
        generate.plan(ask(model="org/name"), fetch=False)
    # The libraries were imported offline, so trying is as far as it comes.
    with pytest.raises(ModelError, match="org/name could not be fetched"):
        generate.plan(ask(model="org/name"))


def test_a_plan_names_no_file_and_writes_none(ask):
    decided = generate.plan(ask(output="x.png"))
    assert json.dumps(decided.arguments)
    assert list(Path().iterdir()) == []


SD_NAMES = {
    "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3),
    "model.diffusion_model.time_embed.0.weight": torch.zeros(4, 4),
}


def stranger(**changes):
    """Write a picture with a recipe that somebody else could have made up."""
    hostile = replace(APPLE, family="sd", sampler="ddim", width=64, height=64, **changes)
    plan = OutputPlan(template="", format="png", quality=100, if_exists="auto", metadata="full")
    writer.write(Image.new("RGB", (hostile.width, hostile.height)), hostile, plan, Path("stranger.png"))
    return "stranger.png"


def test_weights_that_a_recipe_names_are_told_before_they_are_looked_for(tiny_models):
    lora = Adapter(kind="lora", reference="evil/lora", sha256="1a" * 32, scale=1.0)
    picture = stranger(model=str(tiny_models("sd")), model_revision=None, adapters=(lora,))
    notes = []
    with pytest.raises(ModelError, match="evil/lora: it is not on this machine"):
        list(generate.generate(GenerateRequest(from_file=picture), on_note=notes.append))
    (told,) = [each for each in notes if "the recipe asks for" in each]
    assert "evil/lora:1" in told
    # What is here is the user's own, unless it could run code.
    assert str(tiny_models("sd")) not in told
    notes.clear()
    with pytest.raises(ModelError):
        list(generate.generate(GenerateRequest(from_file=picture, allow_pickle=True), on_note=notes.append))
    assert str(tiny_models("sd")) in notes[0]
    notes.clear()
    with pytest.raises(ModelError):
        list(generate.generate(GenerateRequest(from_file=picture, lora=("mine.safetensors",)), on_note=notes.append))
    assert notes == []


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"base": "nobody/base", "model": "a.safetensors"}, "base"),
        ({"model": "nobody/model"}, "model"),
        ({"vae": "nobody/vae"}, "vae"),
        ({"lora": ("nobody/style:0.5",)}, "lora"),
        ({"lora": ("style.safetensors:much",)}, "lora"),
        ({"embedding": ("nobody.safetensors:word",)}, "embedding"),
        ({"wildcards": "nowhere", "prompt": "a __colour__ apple"}, "wildcards"),
    ],
)
def test_weights_and_words_of_the_config_that_are_not_there_name_where_they_were_said(tiny_models, asked, name):
    save_file(SD_NAMES, "a.safetensors")
    said = {"prompt": "an apple", "model": str(tiny_models("sd")), "offline": True} | asked
    origin = dict.fromkeys(said, "command line") | {name: "config config.toml"}
    with pytest.raises(ImggenError) as caught:
        generate.plan(GenerateRequest(**said, origin=origin))
    assert caught.value.message.count("comes from") == 1
    assert caught.value.message.endswith(f"--{name} comes from the config config.toml")
    with pytest.raises(ImggenError) as caught:
        generate.plan(GenerateRequest(**said, origin=dict.fromkeys(said, "command line")))
    assert "comes from" not in caught.value.message


def test_a_recipe_names_no_pickle_that_is_read_and_no_file_outside_of_a_repository(tiny_models, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "evil.bin")
    for reference, words in (
        (str(tmp_path / "evil.bin"), "is a pickle"),
        ("org/name/../../../../evil.safetensors", "no such file or folder"),
        ("/dev/zero", "neither a file nor a folder"),
    ):
        lora = Adapter(kind="lora", reference=reference, sha256="1a" * 32, scale=1.0)
        picture = stranger(model=str(tiny_models("sd")), model_revision=None, adapters=(lora,))
        with pytest.raises(ModelError, match=words):
            generate.plan(GenerateRequest(from_file=picture))


def test_words_of_a_recipe_choose_nothing_again(tiny_models):
    picture = stranger(
        prompt="{a|b} __c__ <lora:evil/x>", template="{x|y}", model=str(tiny_models("sd")), model_revision=None
    )
    plan = generate.plan(GenerateRequest(from_file=picture))
    assert (plan.prompt, plan.adapters) == ("{a|b} __c__ <lora:evil/x>", ())
