import signal

import pytest

from imggen.cli import app, console
from imggen.errors import CheckError, ImggenError, MachineError, ModelError, RequestError


@pytest.fixture
def run_raising(run, monkeypatch):
    """Return a function that runs a command line whose command raises."""

    def run_raising(failure: BaseException):
        def command(**_: object) -> None:
            raise failure

        monkeypatch.setattr(app, "app", command)
        return run("anything")

    return run_raising


@pytest.mark.parametrize(
    ("kind", "code"), [(ImggenError, 1), (RequestError, 2), (MachineError, 3), (ModelError, 4), (CheckError, 5)]
)
def test_every_kind_of_error_has_its_exit_code_and_two_lines(run_raising, kind, code):
    ended = run_raising(kind("seven is odd", hint="try eight"))
    assert (ended.code, ended.out, ended.err) == (code, b"", "error: seven is odd\nhint: try eight\n")


def test_an_error_without_a_hint_has_one_line(run_raising):
    assert run_raising(RequestError("no")).err == "error: no\n"


def test_an_interruption_exits_with_130(run_raising):
    assert run_raising(KeyboardInterrupt()).code == 130


def test_what_is_not_ours_to_explain_keeps_its_traceback(monkeypatch):
    def command(**_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(app, "app", command)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        app.main()


def test_a_message_cannot_command_the_terminal(run_raising):
    ended = run_raising(RequestError("\x1b[2Jgone", hint="\x07"))
    assert "\x1b" not in ended.err
    assert "\\x1b[2Jgone" in ended.err


def test_termination_unwinds_like_an_interruption(run_raising):
    with pytest.raises(SystemExit) as ended:
        app._stop(signal.SIGTERM, None)
    assert ended.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "x", "--stepz", "3"], "--steps"),
        (["generate", "x", "--steps", "three"], "three"),
        (["generate", "x", "--format", "gif"], "gif"),
        (["generate", "x", "y"], "y"),
        (["genrate", "x"], "genrate"),
        (["inspect"], "FILE"),
        (["train", "recipe.toml"], "--run"),
    ],
)
def test_a_command_line_that_makes_no_sense_exits_with_2(run, arguments, words):
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.out == b""
    assert words in ended.err
    assert "Traceback" not in ended.err


def test_without_arguments_the_help_is_shown(run):
    ended = run()
    assert "Usage: imggen" in (ended.out.decode() + ended.err)


def test_underscores_in_options_are_taken_for_dashes(run):
    ended = run("generate", "x", "--num_images", "0", "--dry_run")
    assert ended.code == 2
    assert "--num-images 0" in ended.err


def test_tables_align_their_columns(capsys):
    console.table([("a", "one"), ("long", "two")])
    assert capsys.readouterr().out == "a     one\nlong  two\n"
    console.table([])
    assert capsys.readouterr().out == ""
