from dataclasses import replace

import pytest

from imggen.host import timings
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.progress import Progress
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from imggen.tasks.steps import forecast
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

MACHINE = Machine(
    system="Linux", architecture="x86_64", cpu_name="a", cpu_cores=2, cpu_bfloat16=False, cpu_reason="", memory_bytes=9,
    free_bytes=8 << 30, torch="2",
)  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def measured(steps, pictures=2):
    """What a run takes that loads for 5 s, then per picture reads for 1 s, draws 2 s a step and develops for 3 s."""
    clock, heard = Clock(), []
    watch = timings.Stopwatch(heard.append, clock=clock)
    watch(Progress(stage="download"))
    clock.now += 100
    watch(Progress(stage="load"))
    clock.now += 5
    for image in range(1, pictures + 1):
        watch(Progress(stage="encode", image=image, images=pictures))
        clock.now += 1
        for step in range(steps):
            watch(Progress(stage="denoise", step=step, steps=steps, image=image, images=pictures))
            clock.now += 2
        watch(Progress(stage="decode", image=image, images=pictures))
        clock.now += 2.5
        watch(Progress(stage="write", image=image, images=pictures))
        clock.now += 0.5
    assert len(heard) == 2 + pictures * (steps + 3)
    return watch.taken(steps)


@pytest.fixture
def plan(make_plan, tiny_models):
    return make_plan(tiny_models("sd"), steps=4, seeds=(1, 2))


def test_the_time_of_a_run_is_parted_into_loading_steps_and_the_rest():
    taken = measured(4)
    assert (taken.load_seconds, taken.step_seconds, taken.rest_seconds) == (5, 2, 4)


def test_a_run_without_pictures_leaves_nothing(plan):
    watch = timings.Stopwatch(lambda _: None)
    watch(Progress(stage="load"))
    assert watch.taken(4) is None
    timings.keep(plan, None)
    assert timings.recall(plan) is None


def test_the_next_run_like_it_is_foreseen_by_the_last(plan):
    assert forecast.foresee(plan, MACHINE).seconds is None
    timings.keep(plan, measured(4))
    told = forecast.foresee(replace(plan, steps=10, seeds=(1, 2, 3)), MACHINE)
    assert told.seconds == 5 + 3 * (10 * 2 + 4)
    assert told.basis.startswith("the last run like it here, on 20")
    assert "time: about 1 min" in "\n".join(forecast.lines(told))
    for other in (replace(plan, canvas=(128, 128)), replace(plan, dtype="bfloat16"), replace(plan, guidance=1.0)):
        assert forecast.foresee(other, MACHINE).seconds is None
    assert timings.last_used(plan.model.reference, None) == timings.recall(plan).when


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"load_seconds": 1}}', "null"])
def test_a_damaged_file_counts_as_forgotten_and_is_replaced(plan, tmp_path, text):
    path = tmp_path / "runs.json"
    path.write_text(text)
    assert timings.recall(plan, path=path) is None
    assert timings.last_used("x", None, path=path) is None
    timings.keep(plan, measured(4), path=path)
    assert timings.recall(plan, path=path).step_seconds == 2


def test_only_so_many_runs_are_remembered(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(timings, "MOST", 3)
    path = tmp_path / "runs.json"
    for edge in (64, 128, 192, 256):
        timings.keep(replace(plan, canvas=(edge, edge)), measured(1, 1), path=path)
    assert timings.recall(replace(plan, canvas=(64, 64)), path=path) is None
    assert timings.recall(replace(plan, canvas=(256, 256)), path=path) is not None


def test_a_picture_that_is_made_lets_the_next_one_be_foreseen(tiny_models, tmp_path):
    request = GenerateRequest(
        prompt="a red apple", model=str(tiny_models("sd")), steps=2, seed="7", dtype="float32", device="cpu",
        output=str(tmp_path / "apple.png"), watermark="off",
    )  # fmt: skip
    before = generate.foresee(request)[1]
    list(generate.generate(request))
    after = generate.foresee(replace(request, seed="8,9", output="{seed}.png"))[1]
    assert (before.seconds, before.basis) == (None, forecast.UNKNOWN)
    assert after.seconds > 0
