import pytest

from imggen.cli import suggestions
from imggen.tasks import train


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "recipe.toml"), ("schema = ", "recipe.toml"), ("stepz = 1\n", "recipe.toml")],
)
def test_a_recipe_that_cannot_be_read_is_refused_before_anything_is_made(run, tmp_path, text, words):
    if text is not None:
        (tmp_path / "recipe.toml").write_text(text)
    ended = run("train", "recipe.toml", "--run", "runs/a")
    assert (ended.code, ended.out) == (2, b"")
    assert words in ended.err
    assert not (tmp_path / "runs").exists()


def test_recipes_that_come_with_imggen_are_trained_by_name_and_offered(run, monkeypatch):
    asked = []
    monkeypatch.setattr(train, "train", lambda plan, run: asked.append((plan.name, str(run))) or iter(()))
    assert suggestions.training_recipes("builtin-u") == ["builtin-upscaler-x2", "builtin-upscaler-x4"]
    for name in suggestions.training_recipes(""):
        assert run("train", name, "--run", "runs/a").code == 0
    assert len(asked) == 3


def test_an_unknown_recipe_is_told_with_the_nearest(run):
    ended = run("train", "builtin-upscaler-3x", "--run", "runs/a")
    assert ended.code == 2
    assert "there is no training recipe 'builtin-upscaler-3x'" in ended.err
    assert "hint: imggen train builtin-upscaler-x" in ended.err
