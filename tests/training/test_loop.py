"""The loop's arithmetic: when something is due, how fast it learns, and what is averaged."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from imggen.training import loop
from imggen.training.loop import STATS

PLAN = SimpleNamespace(learning_rate=1.0, batch_size=4, warmup=16, cooldown=0.2)


def due(every, batch_size, steps=12):
    return [step for step in range(1, steps + 1) if loop._is_due(step, every, batch_size)]


@pytest.mark.parametrize(
    ("every", "batch_size", "expected"), [(8, 4, [2, 4, 6, 8, 10, 12]), (10, 4, [3, 5, 8, 10]), (3, 4, [*range(1, 13)])]
)
def test_something_is_due_with_the_step_that_reaches_its_pictures(every, batch_size, expected):
    assert due(every, batch_size) == expected


def test_rate_warms_up_and_cools_down():
    stage = SimpleNamespace(plan=PLAN, steps=20)
    rates = [loop._learning_rate(stage, step) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[-5:] == [1.0, 1.0, 0.75, 0.5, 0.25]
    assert set(rates[5:16]) == {1.0}


def test_rate_is_whole_without_warmup_and_cooldown():
    stage = SimpleNamespace(plan=SimpleNamespace(**{**vars(PLAN), "warmup": 0, "cooldown": 0.0}), steps=3)
    assert [loop._learning_rate(stage, step) for step in range(3)] == [1.0, 1.0, 1.0]


def test_memory_is_short_at_first_and_reaches_its_target():
    assert [loop._decay(0.9, step) for step in (0, 8, 80, 10_000)] == [0.1, 0.5, 0.9, 0.9]


def test_average_moves_weights_and_takes_buffers_over():
    mine, theirs = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.zeros_(mine.weight)
    theirs.running_mean.fill_(5)
    loop._average(mine, theirs, 0.75)
    torch.testing.assert_close(mine.weight.detach(), torch.full((2,), 0.25))
    assert mine.running_mean.tolist() == [5, 5]


def test_digest_is_of_names_and_values():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.load_state_dict(first.state_dict())
    assert loop.digest(first) == loop.digest(second)
    second.bias.data[0] += 1
    assert loop.digest(first) != loop.digest(second)
    assert loop.digest(nn.ModuleDict({"a": first})) != loop.digest(nn.ModuleDict({"b": first}))


def test_statistics_of_steps_that_are_made_again_are_forgotten(tmp_path):
    stats = tmp_path / STATS
    loop._forget_after(stats, 4)
    stats.write_text('{"pictures": 4}\n{"pictures": 8}\n{"pictures": 4')
    loop._forget_after(stats, 4)
    assert stats.read_text() == '{"pictures": 4}\n'
    assert list(tmp_path.iterdir()) == [stats]


def test_steps_cover_all_pictures(tiny_plan):
    plan = replace(tiny_plan.autoencoder_training, pictures=17, batch_size=4)
    stage = loop.Stage(objective=None, plan=plan, place=None, accelerator=None, optimizer=None, averaged=None)
    assert stage.steps == 5
