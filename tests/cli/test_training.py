import pytest


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
