"""A training run's folder: whose it is, that it is held by one process, and what is told where it cannot be written."""

import errno
import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest
from filelock import FileLock

import imggen.training
from imggen.errors import ImggenError, MachineError, RequestError
from imggen.plan.training import recipe
from imggen.tasks import train


@pytest.fixture
def stages(monkeypatch):
    """The stages of a run, in place of those that need torch: they note what they are told, and yield a fact."""
    fake = ModuleType("stages")
    fake.asked, fake.error = [], None

    def run(plan, folder, model):
        fake.asked.append((plan.name, folder, model))
        if fake.error:
            raise fake.error
        yield "step"

    fake.run = run
    monkeypatch.setitem(sys.modules, "imggen.training.stages", fake)
    monkeypatch.setattr(imggen.training, "stages", fake, raising=False)
    monkeypatch.setattr(train.drawing, "find_font", lambda: None)
    return fake


@pytest.fixture
def plan():
    return recipe.read(recipe.find("builtin-upscaler-x2"))


@pytest.mark.parametrize(
    ("name", "model"), [("builtin-diffusion", "model"), ("builtin-upscaler-x2", "model.safetensors")]
)
def test_a_run_ends_with_its_model_and_keeps_its_plan(stages, tmp_path, name, model):
    plan, run = recipe.read(recipe.find(name)), tmp_path / "runs" / "a"
    assert list(train.train(plan, run)) == ["step", train.Trained(model=run / model)]
    assert stages.asked == [(plan.name, run, run / model)]
    record = json.loads((run / "plan.json").read_text())
    assert record["fingerprints"] == {stage: plan.fingerprint(stage) for stage in plan.stages}
    assert record["name"] == plan.name
    assert not (run / "plan.partial").exists()


def test_a_run_goes_on_by_its_own_recipe_and_by_no_other(stages, tmp_path, plan):
    list(train.train(plan, tmp_path))
    list(train.train(plan, tmp_path))
    assert len(stages.asked) == 2
    record = (tmp_path / "plan.json").read_bytes()
    with pytest.raises(RequestError) as caught:
        list(train.train(replace(plan, seed=plan.seed + 1), tmp_path))
    assert caught.value.message == f"{tmp_path} holds a run of another recipe"
    assert caught.value.hint == "give --run another folder, or train on with the recipe that started it"
    assert (len(stages.asked), (tmp_path / "plan.json").read_bytes()) == (2, record)


@pytest.mark.parametrize("text", ["no JSON", "[]", "{}"])
def test_a_record_that_says_nothing_is_of_another_recipe(stages, tmp_path, plan, text):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RequestError, match="holds a run of another recipe"):
        list(train.train(plan, tmp_path))


def test_a_run_is_held_by_one_process(stages, tmp_path, plan):
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(RequestError, match="another imggen process") as caught,
    ):
        list(train.train(plan, tmp_path))
    assert caught.value.hint == "wait for it, or give --run another folder"
    assert not stages.asked
    assert list(train.train(plan, tmp_path))


@pytest.mark.parametrize(("error", "kind", "message", "hint"), [
    (OSError(errno.ENOSPC, "No space left", "a.pt"), ImggenError, "a.pt: No space left", "free some space; the same"),
    (OSError(errno.EACCES, "Denied", "a.pt"), RequestError, "cannot write a.pt: Denied", "give --run a folder that"),
    (OSError("odd"), RequestError, "{run}: odd", "give --run a folder that"),
])  # fmt: skip
def test_what_cannot_be_written_is_told(stages, tmp_path, plan, error, kind, message, hint):
    stages.error = error
    with pytest.raises(ImggenError) as caught:
        list(train.train(plan, tmp_path))
    assert type(caught.value) is kind
    assert caught.value.message.endswith(message.format(run=tmp_path))
    assert caught.value.hint.startswith(hint)


def test_a_run_that_cannot_be_a_folder_is_told(stages, tmp_path, plan):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"cannot write .*file"):
        list(train.train(plan, tmp_path / "file"))


def test_nothing_is_made_where_the_font_is_missing(stages, tmp_path, plan, monkeypatch):
    def fail():
        raise MachineError("no font")

    monkeypatch.setattr(train.drawing, "find_font", fail)
    with pytest.raises(MachineError):
        list(train.train(plan, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
