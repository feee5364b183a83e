"""The command line as a person meets it: arguments in; exit code, standard output and standard error out."""

import functools
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
import typer

from imggen.cli import app


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended. `lines` are those of standard output."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """Work in an empty folder, without anything that the user has set."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("IMGGEN_"):
            monkeypatch.delenv(name)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# Typer builds all commands anew whenever the program starts, which takes longer than many of them do.
_built = functools.cache(typer.main.get_command)


@pytest.fixture
def run(capsysbinary, monkeypatch):
    """Return a function that runs the command line in this process."""
    monkeypatch.setattr(typer.main, "get_command", _built)

    def run(*arguments: object, stdin: bytes | None = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["imggen", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        printed = capsysbinary.readouterr()
        return Outcome(code=int(ended.value.code or 0), out=printed.out, err=printed.err.decode())

    return run


@pytest.fixture
def spawn(tmp_path):
    """Return a function that starts the command line as a process of its own, in the test's folder."""
    started = []

    def spawn(*arguments: object, **changes) -> subprocess.Popen:
        values = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "cwd": tmp_path}
        # A shell that starts tests in the background has them ignore Ctrl-C, and children inherit that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen([sys.executable, "-m", "imggen", *map(str, arguments)], **(values | changes))
        finally:
            signal.signal(signal.SIGINT, before)
        started.append(process)
        return process

    yield spawn
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
