"""Shared fixtures: nothing of the user's own reaches a test, and no test reaches the network."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from imggen.data.drawn import drawing
from imggen.errors import MachineError

# Processes share the cores here, and torch's threads would wait for each other most of the time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# how long an example takes says nothing on a busy machine
settings.register_profile("imggen", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("imggen")


@pytest.fixture(autouse=True)
def _private_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    for name in [each for each in os.environ if each.startswith("IMGGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def emoji_font() -> Path:
    """The font that the drawn set needs; tests that draw objects are left out where it is not installed."""
    try:
        return drawing.find_font()
    except MachineError as error:
        pytest.skip(f"{error.message} ({error.hint})")
