import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from imggen.errors import ImggenError, RequestError
from imggen.host import environment
from imggen.tasks.train import Trained, train
from imggen.training.progress import TrainingStep


def told(folder):
    lines = (folder / "stats.jsonl").read_text().splitlines()
    return [(fact["pictures"], fact["loss"]) for fact in map(json.loads, lines)]


def weights(run):
    return {path.relative_to(run): path.read_bytes() for path in sorted((run / "model").rglob("*.safetensors"))}


@pytest.fixture(scope="module")
def whole(tiny_plan, tmp_path_factory):
    """The folder of a run that was not stopped, which tests must not change."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    *_, last = train(tiny_plan, folder)
    assert last == Trained(model=folder / "model")
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(whole, tmp_path / "run")


def test_a_stopped_and_continued_run_ends_with_the_same_bytes(tiny_plan, tmp_path, whole):
    stages = []
    for stop in ("autoencoder", "diffusion"):
        for fact in train(tiny_plan, tmp_path / "parts"):
            stages.append(type(fact).__name__)
            if isinstance(fact, TrainingStep) and fact.stage == stop and fact.pictures == 12:
                break
    list(train(tiny_plan, tmp_path / "parts"))
    assert {"Step", "Encoded"} <= set(stages)
    assert weights(tmp_path / "parts") == weights(whole)
    for stage in ("autoencoder", "diffusion"):
        assert told(tmp_path / "parts" / stage) == told(whole / stage)


def test_the_model_is_a_diffusers_folder_in_float16_that_makes_pictures(whole):
    model = whole / "model"
    with environment.quiet():
        pipeline = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32, use_safetensors=True)
        pipeline.set_progress_bar_config(disable=True)
        picture = pipeline("a red apple", num_inference_steps=2, generator=torch.Generator().manual_seed(1)).images[0]
    assert picture.size == (32, 32)
    record = json.loads((model / "imggen.json").read_text())
    assert record["native_size"] == 32
    assert "apple" in record["vocabulary"]["objects"]


def test_the_run_folder_tells_its_story(tiny_plan, whole):
    assert json.loads((whole / "plan.json").read_text())["name"] == tiny_plan.name
    for stage in ("autoencoder", "diffusion"):
        last = json.loads((whole / stage / "stats.jsonl").read_text().splitlines()[-1])
        assert last["pictures"] == last["of"] == 16
        assert (whole / stage / "samples-000000016.png").exists()
        assert not list((whole / stage).glob("*.partial"))


def everything(run):
    return {path.relative_to(run): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def test_another_recipe_does_not_touch_the_run(tiny_plan, run):
    before = everything(run)
    for part, change in (("autoencoder", {"channels": 16}), ("unet", {"head_width": 16})):
        other = replace(tiny_plan, **{part: replace(getattr(tiny_plan, part), **change)})
        with pytest.raises(RequestError, match="another recipe"):
            list(train(other, run))
    assert everything(run) == before


def test_a_denoiser_is_bound_to_the_autoencoder_that_made_its_latents(tiny_plan, run):
    before = weights(run)
    longer = replace(tiny_plan, autoencoder_training=replace(tiny_plan.autoencoder_training, pictures=24))
    with pytest.raises(RequestError, match="another recipe"):
        list(train(longer, run))
    assert weights(run) == before


def test_two_runs_in_one_folder_are_refused(tiny_plan, tmp_path):
    first = train(tiny_plan, tmp_path)
    next(first)
    with pytest.raises(RequestError, match="another imggen process is training"):
        next(train(tiny_plan, tmp_path))
    first.close()


def test_a_damaged_checkpoint_is_named(tiny_plan, run):
    (run / "autoencoder" / "checkpoint.pt").write_bytes(b"PK damaged")
    with pytest.raises(ImggenError, match="is damaged"):
        list(train(tiny_plan, run))


def test_a_run_folder_that_is_a_file_is_refused(tiny_plan, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RequestError, match="cannot write"):
        list(train(tiny_plan, tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "mine"


def test_a_loss_that_is_no_number_stops_the_run(tiny_plan, tmp_path):
    wild = replace(tiny_plan.autoencoder_training, learning_rate=1e30, optimizer="adamw", pictures=64)
    with pytest.raises(ImggenError, match="not a number"):
        list(train(replace(tiny_plan, autoencoder_training=wild), tmp_path))
    assert not (tmp_path / "model").exists()


def test_a_finished_run_can_be_trained_further(tiny_plan, run):
    longer = replace(tiny_plan, diffusion_training=replace(tiny_plan.diffusion_training, pictures=24))
    steps = [fact for fact in train(longer, run) if isinstance(fact, TrainingStep)]
    assert [step.pictures for step in steps] == [20, 24]


def test_losses_fall(tiny_plan, tmp_path):
    plan = replace(
        tiny_plan, autoencoder_training=replace(tiny_plan.autoencoder_training, pictures=240, learning_rate=3e-3)
    )
    losses = [
        fact.loss for fact in train(plan, tmp_path) if isinstance(fact, TrainingStep) and fact.stage == "autoencoder"
    ]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
