"""Killed at any step, a writer leaves the old file or the whole new one, and a log that goes on."""

import os
import random

import pytest
from killing import Bench

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


@pytest.mark.parametrize("way", ["write", "embed", "new"])
def test_writer_that_is_killed_at_a_step_leaves_the_old_file_or_the_new_one(tmp_path, way):
    found = Bench(tmp_path, way).at_every_step()
    assert found.faults == []
    assert found.tries > 20
    # Both are met: a test that only ever saw one of them would prove nothing.
    assert min(found.old, found.new, found.temporaries, found.torn) > 0
    # The new file before it has its name, and the old one until the log has its line.
    assert found.most_temporaries <= 2


def test_writer_that_is_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path):
    chance = random.Random(3)
    found = Bench(tmp_path, "write").at_moments([chance.uniform(0, 1.2) for _ in range(12)])
    assert found.faults == []
    assert found.tries == found.old + found.new == 12
