import os
import re
import subprocess
import sys

import pytest
import typer

from imggen.cli import options
from imggen.cli.app import app

COMMANDS = typer.main.get_command(app).commands
PICTURES = ("generate", "img2img", "inpaint", "outpaint", "blend", "style", "upscale")


@pytest.fixture
def help_page(run, monkeypatch):
    """Return a function that returns the lines of a command's help page, 80 columns wide unless told otherwise."""

    def help_page(*words: str, columns: int = 80) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        return run(*words).lines

    return help_page


def test_the_program_alone_groups_its_commands_and_says_where_to_read_on(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = run()
    lines = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, b"")
    sections = [line.split()[0] for line in lines if line[:1] in "MCTS" and "  " in line]
    assert sections == ["Make", "Change", "Models", "Marks", "Train", "Set"]
    assert len([line for line in lines if line.startswith("  imggen ")]) == 3
    assert lines[-1].endswith("imggen COMMAND --help")
    # What the user typed and the next prompt share a small terminal with it.
    assert len(lines) <= 26


@pytest.mark.parametrize("columns", [80, 120])
def test_every_command_is_summed_up_in_one_whole_line(help_page, columns):
    lines = help_page("--help", columns=columns)
    for name, command in COMMANDS.items():
        (line,) = [line for line in lines if line[6:24].strip() == name]
        assert line.endswith(".")
        assert not line.endswith("...")
        assert len(line) <= columns
        assert line[8:].split(None, 1)[1] in " ".join(command.help.split())


@pytest.mark.parametrize("group", ["models", "presets", "keys", "audit"])
def test_a_group_alone_lists_its_commands(run, group):
    ended = run(group)
    assert (ended.code, ended.out) == (2, b"")
    for name in COMMANDS[group].commands:
        assert f"  {name} " in ended.err
    assert f"imggen {group} COMMAND --help" in ended.err


@pytest.mark.parametrize("command", PICTURES)
def test_help_is_the_common_options_with_an_example(help_page, command):
    lines = help_page(command, "--help")
    assert f"  {COMMANDS[command].epilog}" in lines
    assert lines[-1].endswith(f" options: imggen {command} --help-all")
    assert any("--output PATH" in line for line in lines)
    assert not any("--policy" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_help_of_generate_fits_in_a_small_terminal(help_page):
    assert len(help_page("generate", "--help")) <= 23


@pytest.mark.parametrize("command", PICTURES)
def test_help_all_has_every_option_in_panels_in_the_order_of_use(help_page, command):
    lines = help_page(command, "--help-all")
    headings = [line[:-1] for line in lines if line.endswith(":") and line[0] != " "]
    assert headings == [panel for panel in options.PANELS if panel in headings]
    text = "\n".join(lines)
    for parameter in COMMANDS[command].params:
        if parameter.param_type_name == "option":
            assert all(name in text for name in (*parameter.opts, *parameter.secondary_opts))
    assert max(map(len, lines)) <= 80


def test_a_wide_terminal_is_used(help_page):
    narrow, wide = help_page("generate", "--help-all"), help_page("generate", "--help-all", columns=160)
    assert len(wide) < len(narrow)
    assert max(map(len, wide)) > 100


def test_help_is_a_command_too(run):
    assert run("help", "generate").out == run("generate", "--help").out
    assert run("help", "models", "list").out == run("models", "list", "--help").out
    assert run("help").out == run("--help").out


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_is_an_option(run, option):
    assert run(option).out.startswith(b"imggen ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_a_terminal_gets_colour_and_the_same_words(term):
    import pty

    environ = os.environ | {"TERM": term, "COLUMNS": "80"}
    environ.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "imggen", "generate", "--help"]
    plain = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environ, stdout=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while b" options: " not in shown or not shown.endswith(b"\n"):
        shown += os.read(ours, 1 << 16)
    os.close(ours)
    process.wait()
    text = shown.decode()
    assert ("\x1b[" in text) == (term != "dumb")
    assert re.sub(r"\x1b\[[0-9;]*m", "", text).split() == plain.split()
