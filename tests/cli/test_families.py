"""Every family of the catalogue through the real command, for every task: what docs/families.md ticks, and why not."""

import json
import math
import shutil

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imggen.errors import EXIT_MODEL, EXIT_REQUEST
from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.plan.adapters import controlnets
from imggen.plan.case import Case
from imggen.plan.generation import capabilities, resolve
from imggen.plan.models import catalog, record
from imggen.plan.schema.request import GenerateRequest
from imggen.store import lookup
from tests import tiny_models as models
from tests.plan.conftest import laptop
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

CASES = [(family.name, task) for family in catalog.FAMILIES for task in capabilities.TASKS]
COMMANDS = {
    "text-to-image": ("generate", "a red apple"),
    "image-to-image": ("img2img", "photo.png", "a red apple"),
    "inpaint": ("inpaint", "photo.png", "a red apple", "--mask-box", "16,16,24,24"),
    "outpaint": ("outpaint", "photo.png", "a red apple", "--pad", "0,32,0,0"),
    "blend": ("blend", "parent-1.png", "parent-2.png", "--mutate", 0.1),
    "style": ("style", "photo.png", "--like", "style.png"),
}
CONTROL = "canny:edges.png"
SETTINGS = ("--steps", 2, "--device", "cpu", "--dtype", "float32", "-q")
LARGE = 500_000
"""Pixels from which on one picture, one step and no watermark must do; only families that know no small sizes make
such."""
UNLISTED = "StableDiffusionPAGPipeline"


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """The folder where small models are, and pictures that they made from words."""
    return tmp_path_factory.mktemp("families")


def small(workplace, folder, family):
    """Return a folder with the same model, whose own record lets it make smaller pictures than its row says."""
    place = workplace / family
    if not place.exists():
        place.mkdir()
        for each in folder.iterdir():
            (place / each.name).symlink_to(each)
        (place / record.FILE_NAME).write_text(json.dumps({"schema": record.SCHEMA, "min_size": 64}))
    return place


def smallest(facts):
    """The (width, height) of the smallest picture that a model makes."""
    family, own = catalog.find(facts), record.read(facts)
    case = Case(request=GenerateRequest(), facts=facts, family=family, record=own, machine=laptop())
    limits = resolve.limits(case)
    edge = math.ceil(limits.smallest / limits.multiple_of) * limits.multiple_of
    return min(limits.listed, key=math.prod, default=(edge, edge))


def settings(size):
    return SETTINGS if math.prod(size) < LARGE else ("--steps", 1, "--watermark", "off", *SETTINGS[2:])


def said(family, task):
    """The command's line for a task, with a prompt that the family reads."""
    captions = catalog.named(family).captions
    caption = json.dumps({captions.key: "a red apple"}) if captions and captions.only else "a red apple"
    return tuple(caption if each == "a red apple" else each for each in COMMANDS[task])


def beside(family):
    """What else a family wants at the command line to draw at all."""
    return ("--control", CONTROL) if controlnets.is_built_in(catalog.named(family)) else ()


def draw_photos(command, width, height):
    for number, name in enumerate(str(each).rpartition(":")[2] for each in command if str(each).endswith(".png")):
        levels = np.random.default_rng(number).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((width, height), Image.Resampling.BICUBIC).save(name, compress_level=1)


def bring_up(run, folder, size, more=()):
    """Put two pictures here that the model in the folder made from one prompt; they are made once."""
    many = math.prod(size) < LARGE
    kept = [folder.with_name(f"{folder.name}-{number}.png") for number in ((1, 2) if many else (1, 1))]
    if not all(each.exists() for each in kept):
        line = (*COMMANDS["text-to-image"], "-m", folder, "--size", "{}x{}".format(*size), *settings(size), *more)
        done = run(*line, "-s", "1,2" if many else 1, "-o", folder.with_name(f"{folder.name}-{{index}}.png"))
        assert (done.code, done.err) == (0, "")
    for number, each in enumerate(kept, start=1):
        shutil.copy(each, f"parent-{number}.png")


def check_picture(path, *, size, family, task):
    with Image.open(path) as made:
        made.load()
        assert made.size == size
        assert np.asarray(made.convert("RGB")).std() > 1
    recipe = metadata.read(path).found.recipe
    assert (recipe.family, recipe.task, recipe.width, recipe.height) == (family, task, *size)
    return recipe


@pytest.mark.parametrize(("family", "task"), CASES, ids=["-".join(each) for each in CASES])
def test_a_family_does_a_task_or_says_why_not(run, tmp_path, tiny_models, workplace, family, task):
    folder = small(workplace, tiny_models(family), family)
    facts = lookup.find(str(folder))
    size = smallest(facts)
    more = beside(family)
    draw_photos((*COMMANDS[task], *more), *size)
    can = {each.task: each for each in capabilities.abilities(catalog.named(family), facts)}
    if task in ("text-to-image", "blend") and can["text-to-image"].refusal is None:
        bring_up(run, folder, size, more)
    if task == "text-to-image" and can[task].refusal is None:
        check_picture(tmp_path / "parent-1.png", size=size, family=family, task=task)
        return
    more = more if task in controlnets.TASKS else ()
    # A JPEG of many pixels is written in a tenth of the time.
    out = tmp_path / ("out.png" if math.prod(size) < LARGE else "out.jpg")
    done = run(*said(family, task), "-m", folder, "-s", 3, *settings(size), *more, "-o", out.name)
    if can[task].refusal is not None:
        assert done.code in (EXIT_REQUEST, EXIT_MODEL)
        assert can[task].refusal.replace(" a picture carries", " parent-1.png carries") in done.err.replace("\n", " ")
        assert not out.exists()
        return
    assert (done.code, done.err) == (0, "")
    wider = 32 if task == "outpaint" else 0
    recipe = check_picture(out, size=(size[0] + wider, size[1]), family=family, task=task)
    assert recipe.change.method == can[task].method


@pytest.mark.parametrize("family", ["qwen-image", "pixart-sigma", "sana", "sd"])
def test_a_parent_that_nothing_was_said_against_has_itself_as_a_child(run, tmp_path, tiny_models, workplace, family):
    folder = small(workplace, tiny_models(family), family)
    bring_up(run, folder, smallest(lookup.find(str(folder))))
    done = run("blend", "parent-1.png", "--mutate", 0, "-m", folder, "-s", 9, *SETTINGS, "-o", "out.png")
    assert (done.code, done.err) == (0, "")
    pixels = [np.asarray(Image.open(tmp_path / name)) for name in ("parent-1.png", "out.png")]
    np.testing.assert_array_equal(*pixels)


def test_every_family_has_a_tiny_model():
    assert {each.name for each in catalog.FAMILIES} <= models.BUILDERS.keys()


@pytest.mark.parametrize("family", catalog.FAMILIES, ids=lambda each: each.name)
def test_a_tiny_model_is_what_its_familys_row_says(tiny_models, family):
    facts = lookup.find(str(tiny_models(family.name)))
    assert catalog.find(facts) == family
    assert catalog.autoencoder_class(facts) == family.vae_class
    assert catalog.vae_scale(facts) == family.vae_scale
    assert catalog.multiple_of(family, facts) == capabilities.multiple_of(family)
    usual, tiny = (capabilities.abilities(family, each) for each in (None, facts))
    assert [(each.task, each.method) for each in usual] == [(each.task, each.method) for each in tiny]


def test_the_families_are_listed(run):
    listed = run("models", "families")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.lines[1:-1]] == [each.name for each in catalog.FAMILIES]
    told = [json.loads(line) for line in run("models", "families", "--json").lines]
    flux = next(each for each in told if each["family"] == "flux")
    assert (flux["guidance"], flux["guidance_kind"], flux["multiple_of"]) == (3.5, "distilled", 16)
    assert flux["tasks"]["inpaint"] == {"possible": True, "method": "inpainting", "stand_in": False}
    sana = next(each for each in told if each["family"] == "sana")
    assert not sana["tasks"]["inpaint"]["possible"]
    assert "no pipeline" in sana["tasks"]["inpaint"]["reason"]


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """A folder with a model of a family that no row names."""
    root = tmp_path_factory.mktemp("stranger")
    with environment.quiet():
        parts = models.stable_diffusion(root).components
        getattr(diffusers, UNLISTED)(**parts, requires_safety_checker=False).save_pretrained(root / "model")
    return root / "model"


@pytest.mark.parametrize("task", capabilities.TASKS)
def test_a_family_that_no_row_names_is_served_by_its_signature(run, tmp_path, stranger, task):
    draw_photos(COMMANDS[task], 64, 64)
    size = ("--size", "64x64") if task == "text-to-image" else ()
    done = run(*COMMANDS[task], "-m", stranger, "-s", 3, *size, *SETTINGS[:-1], "-o", "out.png")
    assert done.code == 0
    assert f"imggen does not know {UNLISTED}" in done.err
    made = (96, 64) if task == "outpaint" else (64, 64)
    check_picture(tmp_path / "out.png", size=made, family=UNLISTED, task=task)


def test_its_recipe_makes_the_same_picture_again(run, tmp_path, stranger):
    line = ("generate", "a red apple", "-m", stranger, "--size", "64x64", "-s", 3, "-n", "rain", *SETTINGS)
    assert run(*line, "-o", "out.png").code == 0
    again = run("generate", "--from", "out.png", "-o", "again.png", "-q")
    assert (again.code, again.err) == (0, "")
    pixels = [np.asarray(Image.open(tmp_path / name)) for name in ("out.png", "again.png")]
    np.testing.assert_array_equal(*pixels)


def test_its_pixels_are_those_of_plain_diffusers(run, tmp_path, stranger):
    line = ("generate", "a red apple", "-m", stranger, "--size", "64x64", "-s", 3, "-n", "rain", *SETTINGS)
    assert run(*line, "-o", "out.png", "--watermark", "off").code == 0
    with environment.quiet():
        pipeline = getattr(diffusers, UNLISTED).from_pretrained(stranger)
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(3)
        said = {"negative_prompt": "rain", "width": 64, "height": 64, "num_inference_steps": 2, "generator": generator}
        plain = pipeline("a red apple", **said).images[0]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png").convert("RGB")), np.asarray(plain))


def test_of_one_that_cannot_serve_it_is_told_why(run, tmp_path, stranger):
    facts = json.loads(run("models", "show", called(tmp_path / "model", stranger, "WanPipeline"), "--json").out)
    assert facts["family"] is None
    assert "it makes videos, and imggen makes pictures" in facts["problem"]


def test_its_facts_are_shown_with_the_note(run, stranger):
    facts = json.loads(run("models", "show", stranger, "--json").out)
    assert facts["family"] == UNLISTED
    assert "imggen does not know" in facts["note"]
    assert facts["tasks"] == list(capabilities.TASKS)
    assert facts["defaults"]["steps"] == 50
    assert "note: imggen does not know" in run("models", "show", stranger).out.decode()


def called(folder, stranger, name):
    """Return a copy of the stranger's folder whose index names another pipeline class."""
    shutil.copytree(stranger, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
    return folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("WanPipeline", "it makes videos"),
        ("StableAudioPipeline", "it makes audio"),
        ("StableDiffusionUpscalePipeline", "it is an upscaler"),
        ("StableDiffusionControlNetPipeline", "it takes image"),
        ("CycleDiffusionPipeline", "it needs source_prompt"),
        ("Cosmos2TextToImagePipeline", "it runs only with NVIDIA's guardrail"),
        ("NobodysPipeline", "the installed diffusers does not know it either"),
    ],
)
def test_what_cannot_serve_is_refused_before_its_weights_are_read(run, tmp_path, stranger, name, reason):
    folder = called(tmp_path / "model", stranger, name)
    done = run("generate", "a red apple", "-m", folder, "--dry-run")
    assert done.code == EXIT_MODEL
    assert f"'{name}'" in done.err
    assert reason in done.err.replace("\n", " ")
    assert not (tmp_path / "out.png").exists()


def test_what_its_pipeline_refuses_is_told_without_a_stack_trace(run, tmp_path, stranger):
    # It draws nothing without the directions that it was made for, although its signature says that it would.
    folder = called(tmp_path / "model", stranger, "StableDiffusionPix2PixZeroPipeline")
    done = run("generate", "a red apple", "-m", folder, "--size", "64x64", *SETTINGS, "-o", "out.png")
    assert done.code == EXIT_MODEL
    assert "which imggen knows by its signature only, did not work: `source_embeds`" in done.err.replace("\n", " ")
    assert not (tmp_path / "out.png").exists()
