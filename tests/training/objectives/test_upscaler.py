import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from spandrel import ModelLoader

from imggen.engine.upscaling import compact
from imggen.errors import RequestError
from imggen.plan.training import recipe
from imggen.tasks.train import Trained, train
from imggen.training.objectives import upscaler
from imggen.training.progress import TrainingStep

PRESET = Path(__file__).parents[3] / "presets" / "train" / "builtin-upscaler-x2.toml"


@pytest.fixture
def tiny_plan(emoji_font):
    """The built-in recipe, cut down to seconds: same parts, small numbers, float32."""
    plan = recipe.read(PRESET)
    return replace(
        plan,
        precision="no",
        data=replace(plan.data, sizes=(32,), crop=16),
        upscaler=replace(plan.upscaler, features=8, convolutions=1),
        training=replace(
            plan.training, pictures=32, batch_size=4, warmup=8, checkpoint_every=8, sample_every=16, learning_rate=1e-3
        ),
    )


def test_a_stopped_and_continued_run_ends_with_the_same_bytes(tiny_plan, tmp_path):
    list(train(tiny_plan, tmp_path / "whole"))
    for fact in train(tiny_plan, tmp_path / "parts"):
        if isinstance(fact, TrainingStep) and fact.pictures == 20:
            break
    *_, last = train(tiny_plan, tmp_path / "parts")
    assert last == Trained(model=tmp_path / "parts" / "model.safetensors")
    assert last.model.read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    stats = (tmp_path / "parts" / "upscaler" / "stats.jsonl").read_text().splitlines()
    assert json.loads(stats[-1])["pictures"] == 32
    assert (tmp_path / "parts" / "upscaler" / "samples-000000032.png").exists()


def test_the_result_is_a_network_that_spandrel_knows(tiny_plan, tmp_path):
    *_, last = train(tiny_plan, tmp_path)
    small = torch.rand(1, 3, 9, 7)
    theirs = ModelLoader().load_from_file(str(last.model))
    assert (theirs.architecture.name, theirs.scale) == ("RealESRGAN Compact", 2)
    torch.testing.assert_close(theirs(small), compact.read(last.model)(small).clamp(0, 1))


def test_another_recipe_does_not_touch_the_run(tiny_plan, tmp_path):
    list(train(tiny_plan, tmp_path))
    before = (tmp_path / "model.safetensors").read_bytes()
    other = replace(tiny_plan, degradation=replace(tiny_plan.degradation, clean=0.9))
    with pytest.raises(RequestError, match="another recipe"):
        list(train(other, tmp_path))
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_training_brings_the_loss_down(tiny_plan, tmp_path):
    plan = replace(tiny_plan, training=replace(tiny_plan.training, pictures=400, learning_rate=3e-3))
    losses = [fact.loss for fact in train(plan, tmp_path) if isinstance(fact, TrainingStep)]
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


def test_pairs_are_the_same_whatever_the_batch_and_lie_on_each_other(tiny_plan):
    pairs = upscaler.Pairs(tiny_plan)
    small, large = pairs.pairs(range(8))
    again = [pairs.pairs(range(index, index + 1)) for index in range(8)]
    assert small.shape == (8, 3, 8, 8)
    assert large.shape == (8, 3, 16, 16)
    torch.testing.assert_close(torch.cat([each for _, each in again]), large)
    # Eight bits of what an autoencoder decodes may round the other way in another batch.
    assert (torch.cat([each for each, _ in again]) - small).abs().max() <= 1.5 / 255
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert (shrunk - small).abs().mean() < 0.1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_decoded_pictures_is_kept(tiny_plan, share):
    plan = replace(
        tiny_plan, degradation=replace(tiny_plan.degradation, decoded=share, clean=1.0, kernels=("lanczos",))
    )
    pairs = upscaler.Pairs(plan)
    small, large = (each.numpy() for each in pairs.pairs(range(6)))
    wanted = np.stack([shrink(each) for each in large])
    exact = np.abs(wanted - small)[:, :, 2:-2, 2:-2].max() < 0.02
    assert exact == (share == 0.0)


def shrink(pixels):
    levels = (pixels.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((8, 8), Image.Resampling.LANCZOS)).transpose(2, 0, 1) / 255


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crop = 96", "crop = 95", "multiple of the scale"),
        ("crop = 96", "crop = 200", "at most the least"),
        ("scale = 2", "scale = 8", r"upscaler\.scale is 8; the most is 4"),
        ('"box"', '"boks"', "'boks'"),
        ("clean = 0.5", "clean = 1.5", r"degradation\.clean is 1\.5; the most is 1"),
        ("quality = [60, 95]", "quality = [95, 60]", "the lowest comes first"),
        ("[training]", "[training]\ncached_pictures = 3", "cached_pictures is for the training of a diffusion"),
        ("[upscaler]", "[upscaler]\nwidth = 3", "unknown key 'width'"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_by_its_key(tmp_path, old, new, message):
    text = PRESET.read_text()
    assert tomllib.loads(text)
    path = tmp_path / "recipe.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RequestError, match=message):
        recipe.read(path)
