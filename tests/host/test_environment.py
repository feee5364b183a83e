import gc
import logging
import os
import subprocess
import sys
import warnings

import pytest

from imggen.errors import MachineError
from imggen.host import environment


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (*environment.DEFAULTS, *environment.PROMISES, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    # Undoes what `prepare` itself sets.
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_a_users_own_setting_wins_over_a_default(monkeypatch):
    os.environ["DIFFUSERS_VERBOSITY"] = "debug"
    environment.prepare()
    assert os.environ["DIFFUSERS_VERBOSITY"] == "debug"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_remote_code_is_off_whatever_the_user_set():
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "0"
    environment.prepare()
    assert os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] == "1"


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize(("value", "expected"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline_is_what_the_variables_say(name, value, expected):
    os.environ[name] = value
    assert environment.is_offline() is expected
    assert environment.is_offline(asked=True)


def test_libraries_do_not_chatter_about_each_other_unless_asked_to():
    for name in environment.CHATTERING_LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logging.getLogger("bitsandbytes").setLevel(logging.DEBUG)
    environment.prepare()
    assert logging.getLogger("torch.utils._pytree").level == logging.ERROR
    assert logging.getLogger("bitsandbytes").level == logging.DEBUG


def test_offline_reaches_the_libraries():
    environment.prepare(offline=True)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_online_leaves_the_variable_alone():
    environment.prepare()
    assert "HF_HUB_OFFLINE" not in os.environ


def test_warnings_are_kept_back_only_within_the_block():
    with environment.quiet():
        warnings.warn("noise", stacklevel=1)
    with pytest.raises(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


def test_warnings_that_the_user_asked_python_for_are_shown(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with environment.quiet(), pytest.raises(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


@pytest.mark.parametrize("kind", [ImportError, OSError, RuntimeError])
def test_a_library_that_cannot_be_imported_is_the_machines_fault(kind):
    with pytest.raises(MachineError, match="cannot be imported: no libcudnn") as caught, environment.importing():
        raise kind("no libcudnn")
    assert caught.value.hint == "imggen doctor"


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_as_before_after_the_block(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with environment.importing():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_loading_and_drawing_print_nothing(tiny_models):
    """In a process of its own, since imports make their noise only once."""
    code = """
import sys
from imggen.host import environment
environment.prepare(offline=True)
from dataclasses import replace
from tests.engine.conftest import make_plan
from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
plan = make_plan.__wrapped__()(__import__("pathlib").Path(sys.argv[1]), dtype="bfloat16")
print(len(list(sampler.sample(loader.load(plan), plan))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_models("sdxl"))], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
