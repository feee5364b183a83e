import os
import sys
import time
from pathlib import Path

import pytest

from imggen.output.governance import checker

PYTHON = sys.executable


def run(code, *, picture=b"picture", **options):
    return checker.check(picture, [PYTHON, "-c", code], **options)


def test_exit_0_passes_and_the_picture_comes_whole_on_standard_input():
    picture = bytes(range(256)) * 4_000
    code = f"import sys; sys.exit(sys.stdin.buffer.read() != bytes(range(256)) * {4_000})"
    assert run(code, picture=picture) is None


def test_exit_1_refuses_with_the_first_line_as_the_reason():
    refused = run("print('a known face\\nmore'); raise SystemExit(1)")
    assert (refused.rule, refused.message) == (
        "safety.image_checker",
        "the image checker refuses the picture: a known face",
    )
    assert "no reason" in run("raise SystemExit(1)").message
    assert len(run("print('x' * 10**7); raise SystemExit(1)").message) < 300
    assert "�" in run("import sys; sys.stdout.buffer.write(b'\\xff'); sys.exit(1)").message


def test_a_program_that_does_not_read_may_pass():
    assert run("raise SystemExit(0)", picture=b"x" * 10_000_000) is None


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit(2)", "ended with 2"),
        ("print('fine'); raise SystemExit(3)", "ended with 3"),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "signal 9",
            marks=pytest.mark.skipif(os.name == "nt", reason="no signals"),
        ),
    ],
)
def test_everything_else_fails_closed(code, told):
    refused = run(code)
    assert told in refused.message
    assert "refused" in refused.message


def test_a_missing_program_fails_closed(tmp_path):
    assert "No such file" in checker.check(b"", ["/no/such/program"]).message
    assert "gave no verdict" in checker.check(b"", [str(tmp_path)]).message
    assert "gave no verdict" in checker.check(b"", ["a\0b"]).message


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    path = tmp_path / "late"
    child = f"import time; time.sleep(1.5); open({str(path)!r}, 'w')"
    began = time.monotonic()
    refused = run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])", seconds=0.5)
    assert "longer than 0.5 seconds" in refused.message
    assert time.monotonic() - began < 5
    time.sleep(1.5)
    assert os.name == "nt" or not path.exists()


def test_no_shell_reads_the_words():
    assert run("import sys; sys.exit(sys.argv[1:] != [])") is None
    assert "No such file" in checker.check(b"", ["true; true"]).message


@pytest.mark.skipif(os.name == "nt", reason="no scripts that start themselves")
def test_a_relative_program_is_the_policys_neighbour(tmp_path):
    script = tmp_path / "check"
    script.write_text("#!/bin/sh\nexit 0\n")
    Path(script).chmod(0o755)
    assert checker.check(b"", ["./check"], folder=tmp_path) is None
    assert checker.check(b"", ["./check"], folder=tmp_path / "other") is not None
    assert checker.check(b"", ["true"], folder=tmp_path) is None
