"""What a plan costs before anything is loaded."""

from dataclasses import replace

import pytest

from imggen.host.timings import Taken
from imggen.plan.schema.machine import Machine
from imggen.tasks.steps import forecast
from tests.engine.conftest import make_plan
from tests.tiny_models import tiny_models

__all__ = ["make_plan", "tiny_models"]

TIMING = Taken(load_seconds=2.0, step_seconds=0.5, rest_seconds=1.0, when="2026-01-02T03:04:05+00:00")


@pytest.fixture
def plan(tiny_models, make_plan):
    return make_plan(tiny_models("sd"), seeds=(1, 2), steps=4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3570, "1 h 0 min"),
        (3540, "59 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_as_exact_as_people_want_them(seconds, text):
    assert forecast._duration(seconds) == text


def test_time_is_loading_once_and_each_picture_its_steps_and_the_rest(plan):
    assert forecast._seconds(plan, TIMING) == 2 + 2 * (4 * 0.5 + 1)
    assert forecast._seconds(plan, None) is None


def test_without_a_run_like_it_time_is_not_known(plan):
    machine = Machine(
        system="Linux",
        architecture="x86_64",
        cpu_name="a processor",
        cpu_cores=2,
        cpu_bfloat16=False,
        cpu_reason="",
        memory_bytes=9,
        free_bytes=5,
        torch="2.9",
    )
    foreseen = forecast.foresee(plan, machine)
    assert (foreseen.family, foreseen.seconds, foreseen.basis) == ("sd", None, forecast.UNKNOWN)
    assert (foreseen.free_bytes, foreseen.memory_of, foreseen.download_bytes) == (5, "main memory", 0)
    assert list(forecast.lines(foreseen)) == [
        "family: sd", "licence: not stated", "to download: nothing", f"time: {forecast.UNKNOWN}"
    ]  # fmt: skip


def test_licences_of_a_model_and_its_prior_are_both_named(plan):
    decoder, prior = (replace(plan.model, record={"licence": name}) for name in ("MIT", "Apache-2.0"))
    assert forecast._licence(decoder) == "MIT"
    assert forecast._licence(replace(decoder, prior=prior)) == "MIT and Apache-2.0"
    assert forecast._licence(replace(decoder, prior=decoder)) == "MIT"
    assert forecast._licence(replace(decoder, prior=plan.model)) == "MIT and not stated"
    assert forecast._licence(plan.model) is None
