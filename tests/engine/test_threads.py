"""How many processor threads torch uses."""

import pytest
import torch

from imggen.engine import threads
from imggen.host import probe


@pytest.fixture(autouse=True)
def _restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("cores", "threads_before", "threads_after"), [(1, 2, 1), (4, 2, 2)])
def test_torch_uses_no_more_threads_than_may_run(monkeypatch, cores, threads_before, threads_after):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(probe, "cores", lambda: cores)
    torch.set_num_threads(threads_before)
    threads.limit()
    assert torch.get_num_threads() == threads_after


def test_what_the_environment_says_counts(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(probe, "cores", lambda: 1)
    torch.set_num_threads(2)
    threads.limit()
    assert torch.get_num_threads() == 2
