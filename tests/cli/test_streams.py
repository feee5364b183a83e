import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

FULL = Path("/dev/full")
LIST = ("presets", "list")


def test_a_reader_that_goes_away_is_met_quietly(spawn):
    reading, writing = os.pipe()
    process = spawn(*LIST, stdout=writing)
    os.close(writing)
    os.close(reading)
    _, err = process.communicate()
    assert process.returncode == 141
    assert err == b""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("line", ["doctor", "generate --help-all", "models families", "models families --json"])
def test_a_reader_that_takes_two_lines_is_met_quietly(tmp_path, line):
    command = f"set -o pipefail; {sys.executable} -m imggen {line} | head -2"
    ended = subprocess.run(["bash", "-c", command], check=False, cwd=tmp_path, capture_output=True, timeout=60)
    assert ended.returncode in (0, 141)
    assert len(ended.stdout.splitlines()) == 2
    assert ended.stderr == b""


INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)
from imggen.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    "module", ["typer", "imggen.plan.schema.request", "imggen.cli.making", "imggen.tasks.generate"]
)
def test_an_interruption_of_the_start_says_so_and_no_more(tmp_path, module):
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "generate", "a red apple", "--dry-run"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"INTERRUPT_AT": module},
        capture_output=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"interrupted\n")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_an_error_and_not_silence(spawn):
    with FULL.open("wb") as full:
        process = spawn(*LIST, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.startswith(b"error: standard output cannot be written: No space left")
    assert b"Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_do_no_harm(tmp_path, closed):
    code = os.system(f"cd {tmp_path} && {sys.executable} -m imggen presets list {closed} > printed")
    assert os.waitstatus_to_exitcode(code) == 0
    assert "icon" in (tmp_path / "printed").read_text()


@pytest.mark.parametrize("stdin", [None, b"", b" \n"])
def test_a_prompt_from_a_closed_or_empty_standard_input_is_refused(run, stdin):
    ended = run("generate", "-", "--dry-run", stdin=stdin)
    assert ended.code == 2
    assert "standard input is" in ended.err
    assert "imggen generate -" in ended.err


def test_a_prompt_that_is_no_text_is_refused(run):
    ended = run("generate", "-", "--dry-run", stdin=b"\xff\xfe")
    assert ended.code == 2
    assert "no UTF-8" in ended.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "line",
    [
        "inspect plain.png",
        "presets list",
        "presets show icon",
        "models list",
        "models show builtin",
        "doctor",
        "generate 'a red apple' --dry-run",
    ],
)
def test_a_command_that_only_tells_fails_where_it_cannot_be_heard(tmp_path, line):
    Image.new("RGB", (4, 3)).save(tmp_path / "plain.png")
    ended = subprocess.run(
        f"{sys.executable} -m imggen {line} >&-",
        shell=True,
        check=False,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"error: standard output is closed")
