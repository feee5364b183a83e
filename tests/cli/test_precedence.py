import pytest

from imggen.cli import precedence, prompts
from imggen.errors import RequestError
from imggen.plan.settings import settings


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Return a function that writes the user's config."""
    for name in ("XDG_CONFIG_HOME", "HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))

    def write(text, name="config.toml"):
        path = precedence.config_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return write


def complete(environ=None, preset=None, **options):
    return precedence.complete(settings.from_command_line(options), preset, environ or {})


def test_the_highest_layer_that_says_something_wins(config):
    config("steps = 1\nguidance = 1.0\nsampler = 'ddim'\nseed = 1\n")
    config("steps = 2\nguidance = 2.0\nsampler = 'heun'\n", "presets/mine.toml")
    request = complete({"IMGGEN_STEPS": "3", "IMGGEN_GUIDANCE": "3"}, "mine", prompt="x", steps=4)
    assert (request.steps, request.guidance, request.sampler, request.seed) == (4, 3.0, "heun", "1")
    assert request.origin["steps"] == "command line"
    assert request.origin["guidance"] == "environment"
    assert request.origin["sampler"] == "preset mine"
    assert request.origin["seed"].startswith("config ")


def test_a_preset_is_the_typed_one_else_the_environments_else_the_configs(config):
    config('preset = "icon"\n')
    assert complete().aspect == "1:1"
    assert complete({"IMGGEN_PRESET": "web"}).format == "webp"
    assert complete({"IMGGEN_PRESET": "web"}, "draft").steps == 10


def test_a_preset_and_a_recipe_are_not_mixed(config):
    config('preset = "icon"\n')
    with pytest.raises(RequestError, match=r"--preset web and --from a\.png"):
        complete(preset="web", from_file="a.png")
    assert complete(from_file="a.png").metadata == "minimal"


def test_a_mistake_in_the_config_names_the_file(config):
    config("stepz = 3\n")
    with pytest.raises(RequestError, match=r"config\.toml has an unknown key 'stepz'"):
        complete()


def test_a_prompt_that_was_typed_is_left_as_it_is():
    assert prompts.read({"prompt": "a - b", "steps": 3}) == {"prompt": "a - b", "steps": 3}
    assert prompts.read({}) == {}
