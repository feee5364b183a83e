import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.settings import settings


def command_line(**options):
    return settings.from_command_line(options)


def lower(origin="preset p", **values):
    return GenerateRequest(**values, origin=dict.fromkeys(values, origin))


def test_options_that_were_not_given_leave_blanks():
    request = command_line(prompt="x", steps=None, as_json=True, from_file="a.png")
    assert request == GenerateRequest(
        prompt="x", from_file="a.png", origin={"prompt": "command line", "from_file": "command line"}
    )


def test_an_option_without_a_field_is_not_dropped_in_silence():
    with pytest.raises(TypeError, match="GenerateRequest has no field for origin, stepz"):
        command_line(prompt="x", stepz=None, origin={})


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("IMGGEN_MODEL", "a/b", "model", "a/b"),
        ("IMGGEN_STEPS", "12", "steps", 12),
        ("IMGGEN_GUIDANCE", "3.5", "guidance", 3.5),
        ("IMGGEN_SEED", "1-4", "seed", "1-4"),
        ("IMGGEN_OFFLINE", "yes", "offline", True),
        ("IMGGEN_OFFLINE", "0", "offline", False),
        ("IMGGEN_FORMAT", "webp", "format", "webp"),
        ("IMGGEN_IF_EXISTS", "number", "if_exists", "number"),
    ],
)
def test_variables_are_read_in_the_type_of_their_field(variable, text, name, value):
    request = settings.from_environment({variable: text}).request
    assert getattr(request, name) == value
    assert request.origin == {name: "environment"}


def test_every_settable_field_has_a_variable():
    for name in settings.names():
        variable = f"IMGGEN_{name.upper()}"
        if settings.choices(name):
            with pytest.raises(RequestError, match=variable):
                settings.from_environment({variable: "1"})
        else:
            assert getattr(settings.from_environment({variable: "1"}).request, name) is not None


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("IMGGEN_STEPS", "many", "IMGGEN_STEPS is 'many', not a whole number"),
        ("IMGGEN_STEPS", "1.5", "IMGGEN_STEPS is '1.5', not a whole number"),
        ("IMGGEN_GUIDANCE", "x", "IMGGEN_GUIDANCE is 'x', not a number"),
        ("IMGGEN_GUIDANCE", "nan", "IMGGEN_GUIDANCE is nan, not a finite number"),
        ("IMGGEN_OFFLINE", "maybe", "IMGGEN_OFFLINE is 'maybe', neither true nor false"),
        (
            "IMGGEN_FORMAT",
            "gif",
            "does not know (the nearest known one is tiff; known: png, jpeg, webp, avif, tiff)",
        ),
    ],
)
def test_a_variable_with_a_wrong_value_is_refused_by_its_name(variable, text, message):
    with pytest.raises(RequestError) as caught:
        settings.from_environment({variable: text})
    assert message in f"{caught.value.message} ({caught.value.hint})"


def test_an_empty_model_is_refused_where_it_was_typed():
    with pytest.raises(RequestError, match="--model is empty"):
        settings.from_command_line({"model": ""})


def test_an_empty_variable_says_nothing():
    assert settings.from_environment({"IMGGEN_STEPS": "", "IMGGEN_PRESET": ""}) == settings.SettingsLayer(
        request=GenerateRequest()
    )


def test_a_preset_may_come_from_the_environment():
    assert settings.from_environment({"IMGGEN_PRESET": "icon"}).preset == "icon"


def test_a_misspelt_variable_is_noted_with_the_nearest():
    (note,) = settings.strange_variables({"IMGGEN_STEP": "3", "IMGGEN_STEPS": "3", "PATH": ""})
    assert "IMGGEN_STEP " in note
    assert "IMGGEN_STEPS" in note


def test_the_config_is_read_where_there_is_one(tmp_path):
    assert settings.from_config(tmp_path) == settings.SettingsLayer(request=GenerateRequest())
    (tmp_path / "config.toml").write_text('preset = "icon"\nsteps = 3\nseed = 7\nguidance = 2\n', encoding="utf-8")
    found = settings.from_config(tmp_path)
    assert (found.preset, found.request.steps, found.request.seed, found.request.guidance) == ("icon", 3, "7", 2.0)
    assert str(tmp_path / "config.toml") in found.request.origin["steps"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("stepz = 3", "unknown key 'stepz'", "nearest known key is steps"),
        ("zzzzzz = 3", "unknown key 'zzzzzz'", "known keys: "),
        ("from_file = 'x'", "unknown key 'from_file'", None),
        ("vae_tile = 64", "unknown key 'vae_tile'", "vae_tiling"),
        ("steps = '3'", "steps is '3', not a whole number", None),
        ("steps = true", "steps is True, not a whole number", None),
        ("steps = 1.5", "steps is 1.5, not a whole number", None),
        ("guidance = inf", "guidance is inf, not a finite number", None),
        ("prompt = 3", "prompt is 3, not text", None),
        ("offline = 1", "offline is 1, not true or false", None),
        ("format = 'jpg'", "format is 'jpg', which", "the nearest known one is jpeg"),
        ("preset = 3", "preset is 3, not text", None),
        ("steps = ", "is not valid TOML", None),
        ("[steps]\na = 1", "steps is {'a': 1}, not a whole number", None),
    ],
)
def test_a_config_with_a_mistake_is_refused_by_file_and_key(tmp_path, text, message, hint):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        settings.from_config(tmp_path)
    assert caught.value.message.startswith(str(path))
    assert message in caught.value.message
    assert hint is None or hint in caught.value.hint


def test_what_is_no_text_file_is_no_config(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="is not UTF-8 text"):
        settings.from_config(tmp_path)


def test_a_huge_file_is_not_read(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(RequestError, match="larger than 1 MiB"):
        settings.from_config(tmp_path)


@given(st.dictionaries(st.sampled_from(settings.names()), st.none() | st.text(max_size=8)))
def test_the_higher_layer_wins_field_by_field(values):
    above = command_line(steps=5, sampler="euler")
    below = lower(**values)
    merged = settings.layer(above, below)
    assert (merged.steps, merged.sampler) == (5, "euler")
    assert merged.origin["steps"] == "command line"
    assert all(getattr(merged, name) is not None for name in merged.origin if values.get(name, 0) is not None)


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        ({"size": "64x64"}, {"width": 9, "aspect": "1:1"}, {"size": "64x64"}),
        ({"aspect": "1:1"}, {"size": "64x64"}, {"aspect": "1:1"}),
        ({"width": 64}, {"size": "9x9"}, {"width": 64}),
        ({"width": 64}, {"aspect": "16:9"}, {"width": 64, "aspect": "16:9"}),
        ({"width": 64, "height": 64}, {"aspect": "16:9"}, {"width": 64, "height": 64}),
        ({}, {"size": "9x9"}, {"size": "9x9"}),
        ({"seed": "1-4"}, {"num_images": 2}, {"seed": "1-4"}),
        ({"seed": "1"}, {"num_images": 2}, {"seed": "1", "num_images": 2}),
        ({"num_images": 2}, {"seed": "1,2,3"}, {"num_images": 2}),
        ({"output": "a.png"}, {"format": "webp"}, {"output": "a.png"}),
        ({"output": "a/"}, {"format": "webp"}, {"output": "a/", "format": "webp"}),
    ],
)
def test_what_a_lower_layer_says_gives_way_where_it_would_contradict(above, below, expected):
    merged = settings.layer(command_line(**above), lower(**below))
    said = {name: getattr(merged, name) for name in settings.names() if getattr(merged, name) is not None}
    assert said == expected
    assert merged.origin.keys() == expected.keys()
