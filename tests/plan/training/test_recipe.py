from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import RequestError
from imggen.plan.training import recipe

SHIPPED = sorted((Path(__file__).parents[3] / "presets" / "train").glob("*.toml"))
TEXT = SHIPPED[0].read_text()


def read(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return recipe.read(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_read(path):
    assert recipe.read(path).schema == recipe.SCHEMA


def test_an_unknown_key_names_the_nearest_one(tmp_path):
    with pytest.raises(RequestError) as caught:
        read(tmp_path, TEXT.replace("batch_size =", "batch_sise =", 1))
    assert "'batch_sise'" in caught.value.message
    assert "batch_size" in str(caught.value.hint)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"recipe.toml lacks precision"):
        read(tmp_path, TEXT.replace('precision = "bf16"\n', ""))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 9", "schema 9"),
        ('precision = "bf16"', 'precision = "int3"', "int3"),
        ("size = 128", "size = 100", "data.size is 100, not a multiple of"),
        ("size = 128", "size = 'big'", "data.size is 'big', not a whole number"),
        ('optimizer = "muon"', 'optimizer = "sgd"', "sgd"),
        ("seed = 1", "seed = true", "seed is True, not a whole number"),
        ("encoder_blocks = [0, 0, 0, 3]", "encoder_blocks = [0, 3]", "differ in length"),
        ("ema = 0.998", "ema = 2.0", "ema is 2.0"),
        ("[defaults]", "[defaults", "not valid TOML"),
        ("learning_rate = 1e-3", "learning_rate = nan", "learning_rate is nan, not a finite number"),
        ("learning_rate = 1e-3", "learning_rate = 0.0", "learning_rate is 0.0, not above 0"),
        ("cached_pictures = 64000", "cached_pictures = 0", "cached_pictures"),
        ("warmup = 1600", "warmup = 1600\ncached_pictures = 5", "cached_pictures is for the training of a diffusion"),
        ("channels = [96, 160, 224]", "channels = [96, 100, 224]", "100, not a multiple"),
        ("head_width = 32", "head_width = 0", "head_width is 0; the least is 1"),
        ("heads = 4", "heads = 5", "multiple of its heads"),
    ],
)
def test_a_wrong_value_is_refused_and_quoted(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(RequestError, match=message):
        read(tmp_path, TEXT.replace(old, new, 1))


def test_a_recipe_of_a_newer_imggen_is_called_newer(tmp_path):
    with pytest.raises(RequestError, match="schema 9; this imggen reads up to 1") as caught:
        read(tmp_path, TEXT.replace("schema = 1", "schema = 9\nnew = 1", 1))
    assert "upgrade" in caught.value.hint


def test_thousands_of_nested_lists_are_refused_by_name(tmp_path):
    with pytest.raises(RequestError, match=r"recipe\.toml nests tables and lists more than"):
        read(tmp_path, TEXT + "\nx = " + "[" * 3000 + "]" * 3000)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"none\.toml"):
        recipe.read(tmp_path / "none.toml")


def test_training_longer_continues_a_run_and_another_model_does_not():
    plan = recipe.read(SHIPPED[0])
    longer = replace(plan, diffusion_training=replace(plan.diffusion_training, pictures=10**7, sample_every=5))
    wider = replace(plan, unet=replace(plan.unet, head_width=8))
    for stage in ("autoencoder", "diffusion"):
        assert longer.fingerprint(stage) == plan.fingerprint(stage)
    assert wider.fingerprint("diffusion") != plan.fingerprint("diffusion")
    assert wider.fingerprint("autoencoder") == plan.fingerprint("autoencoder")
