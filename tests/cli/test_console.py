import io
import json
import sys
from pathlib import Path

import pytest

from imggen.cli import console
from imggen.errors import RequestError
from imggen.plan.schema.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_results_are_json_in_ascii_without_nan(capsys):
    console.result_json({"path": Path("ä.png"), "seed": 1})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"path": "ä.png", "seed": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        console.result_json({"guidance": float("nan")})


def test_a_path_ends_with_a_line_or_with_a_null_byte(capsys):
    console.picture("a b.png", None, None)
    console.picture("a b.png", None, None, print0=True)
    assert capsys.readouterr().out == "a b.png\na b.png\0"


@pytest.mark.parametrize("other", [{"as_json": True}, {"output": "-"}])
def test_null_bytes_and_another_way_to_print_are_refused(other):
    with pytest.raises(RequestError, match="--print0"):
        console.check_output(console.Display(**{"output": None, "print0": True} | other))


def test_notes_go_to_standard_error_unless_it_shall_be_quiet(capsys):
    console.notes(["one"], quiet=False)
    console.notes(["two"], quiet=True)
    assert capsys.readouterr() == ("", "note: one\n")


@pytest.mark.parametrize("text", ["plain", "zwei\nZeilen", "мир 世界 🍎"])
def test_text_is_printed_as_it_is(text):
    assert console.printable(text) == text


@pytest.mark.parametrize("text", ["\x1b[31m", "\r", "\x07", "\u202e", "\x9b2J", "\ud800"])
def test_what_could_command_a_terminal_is_made_visible(text):
    assert text[0] not in console.printable(text)


def test_without_a_terminal_there_is_no_bar(monkeypatch):
    plain = io.StringIO()
    monkeypatch.setattr(sys, "stderr", plain)
    with console.progress(quiet=False) as bar:
        bar.report(Progress(stage="denoise", step=1, steps=2))
        with bar.hidden():
            pass
    assert plain.getvalue() == ""


def test_a_terminal_sees_stages_steps_and_bytes_and_results_stay_on_standard_output(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with console.progress(quiet=False) as bar:
        bar.report(Progress(stage="download", step=1 << 20, steps=3 << 20))
        bar.report(Progress(stage="denoise", step=3, steps=20, image=2, images=4))
        with bar.hidden():
            console.result("out/1.png")
        bar.report(Progress(stage="decode", image=2, images=4))
    assert capsys.readouterr().out == "out/1.png\n"
    assert "drawing 2/4" in terminal.getvalue()
    assert "3/20" in terminal.getvalue()


def test_quiet_shows_no_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress(quiet=True) as bar:
        bar.report(Progress(stage="load"))
    assert terminal.getvalue() == ""


def test_paths_are_told_as_the_user_would_write_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert console.where(tmp_path / "out" / "a.png", "out/") == str(Path("out/a.png"))
    assert console.where(tmp_path / "a.png", None) == "a.png"
    assert console.where(tmp_path.parent / "a.png", "../a.png") == str(Path("../a.png"))
    assert console.where(tmp_path / "a.png", str(tmp_path)) == str(tmp_path / "a.png")
    assert console.where(Path("kept.png"), "kept.png") == "kept.png"
