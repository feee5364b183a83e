import pytest

from imggen.errors import RequestError
from imggen.plan.settings import preset
from tests.plan.conftest import builtin, flux, laptop, stable_diffusion, stable_diffusion_xl, with_cuda

SHIPPED = preset.names([preset.shipped()])


def test_home_of_nobody_is_a_name_like_others(tmp_path):
    with pytest.raises(RequestError, match=r"~nobody-here/mine\.toml cannot be read"):
        preset.find("~nobody-here/mine.toml", (tmp_path,))


def test_presets_come_with_imggen():
    assert {"icon", "draft", "contact", "web"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    "model",
    [builtin(), stable_diffusion(), stable_diffusion_xl(), flux()],
    ids=["builtin", "sd", "sdxl", "flux"],
)
def test_every_shipped_preset_suits_every_family(make_plan, name, model):
    found = preset.find(name, [preset.shipped()])
    assert found.description.endswith(".")
    said = {key: getattr(found.request, key) for key in found.request.origin}
    machine = with_cuda(free=60 * 2**30) if model.reference != "builtin" else laptop()
    plan = make_plan(model, machine, **said, origin=found.request.origin)
    assert set(found.request.origin.values()) == {f"preset {name}"}
    assert len(plan.seeds) == (said.get("num_images") or 1)


def test_the_users_own_preset_goes_before_the_shipped_one(tmp_path):
    (tmp_path / "icon.toml").write_text("steps = 1", encoding="utf-8")
    assert preset.find("icon", [tmp_path, preset.shipped()]).request.steps == 1
    assert preset.names([tmp_path, preset.shipped()]) == SHIPPED


def test_a_path_names_a_preset_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('description = "Mine."\nsteps = 2', encoding="utf-8")
    found = preset.find(str(path), [])
    assert (found.name, found.description, found.request.steps) == ("mine", "Mine.", 2)


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RequestError, match="No such file"):
        preset.find(str(tmp_path / "none.toml"), [])


def test_an_unknown_preset_gets_the_nearest():
    with pytest.raises(RequestError, match="'ikon'") as caught:
        preset.find("ikon", [preset.shipped()])
    assert caught.value.hint == "--preset icon"
    with pytest.raises(RequestError) as caught:
        preset.find("zzzz", [preset.shipped()])
    assert "contact, draft, icon" in caught.value.hint


def test_an_unknown_key_in_a_preset_gets_the_nearest(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("negative-prompt = 'x'", encoding="utf-8")
    with pytest.raises(RequestError, match="unknown key 'negative-prompt'") as caught:
        preset.read(path)
    assert "negative_prompt" in caught.value.hint


def test_presets_are_listed_by_name(tmp_path):
    assert [each.name for each in preset.listed([preset.shipped()])] == sorted(SHIPPED)
    assert preset.listed([tmp_path / "nowhere"]) == ()
