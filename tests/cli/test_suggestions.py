"""What the shell offers while a word is typed."""

import pytest

from imggen.cli import suggestions
from imggen.plan.adapters import controls
from imggen.store import aliases


@pytest.mark.parametrize(
    ("offer", "incomplete", "offered"),
    [
        (suggestions.samplers, "dpmpp_2m_s", ["dpmpp_2m_sde", "dpmpp_2m_sde_karras"]),
        (suggestions.samplers, "de", ["default"]),
        (suggestions.sizes_named, "10", ["1080p"]),
        (suggestions.sizes_named, "n", ["native"]),
        (suggestions.targets, "n", []),
        (suggestions.targets, "4", ["4k"]),
        (suggestions.aspects, "3", ["3:2", "3:4"]),
        (suggestions.aspects, "", ["1:1", "4:3", "3:2", "16:9", "21:9", "3:4", "2:3", "9:16"]),
        (suggestions.devices, "c", ["cuda", "cpu"]),
        (suggestions.devices, "", ["auto", "cuda", "mps", "cpu"]),
        (suggestions.controls, "can", ["canny:"]),
        (suggestions.controls, "pose:", ["pose:"]),
        (suggestions.controls, "anny", []),
        (suggestions.control_kinds, "", list(controls.PREPROCESSED)),
        (suggestions.control_kinds, "p", []),
        (suggestions.upscalers, "", ["builtin", "lanczos"]),
        (suggestions.upscalers, "l", ["lanczos"]),
        (suggestions.presets, "ico", ["icon"]),
        (suggestions.presets, "zz", []),
        (suggestions.training_recipes, "builtin-u", ["builtin-upscaler-x2", "builtin-upscaler-x4"]),
    ],
)
def test_names_are_offered_by_their_beginning(offer, incomplete, offered):
    assert offer(incomplete) == offered


@pytest.mark.parametrize(
    ("incomplete", "offered"),
    [
        ("", ["c2pa", "trusted", "iptc", "record", "recipe", "infotext", "watermark", "log"]),
        ("rec", ["record", "recipe"]),
        ("record,rec", ["record,recipe"]),
        ("c2pa,log,t", ["c2pa,log,trusted"]),
        ("c2pa,c", []),
        ("zz", []),
    ],
)
def test_a_list_of_marks_is_offered_those_that_it_lacks(incomplete, offered):
    assert suggestions.required(incomplete) == offered


def cached(folder, *names):
    for name in names:
        (folder / name / "snapshots" / "abc").mkdir(parents=True)
        (folder / name / "snapshots/abc/model_index.json").write_text("{}")


def test_cached_models_are_offered(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, "models--org--whole", "models--alone", "datasets--org--data")
    (tmp_path / "models--org--other/snapshots/abc").mkdir(parents=True)
    assert suggestions.models("") == ["builtin", "alone", "org/whole"]
    assert suggestions.models("org/w") == ["org/whole"]
    assert suggestions.models("org/o") == []


def test_the_cache_is_where_the_hubs_variables_say(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    cached(tmp_path / ".cache/huggingface/hub", "models--by--default")
    cached(tmp_path / "home/hub", "models--by--home")
    cached(tmp_path / "cache", "models--by--cache")
    assert suggestions.models("by") == ["by/default"]
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert suggestions.models("by") == ["by/home"]
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert suggestions.models("by") == ["by/cache"]


def test_aliases_are_offered_while_a_model_is_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    aliases.add("bark", "builtin")
    aliases.add("apple", "builtin")
    assert suggestions.models("") == ["builtin", "apple", "bark"]
    assert suggestions.models("b") == ["builtin", "bark"]
    assert suggestions.aliases("") == ["apple", "bark"]
    aliases.path().write_text("{")
    assert suggestions.aliases("") == []
    assert suggestions.models("b") == ["builtin"]
