"""Words of other programs: each means a command or an option that there is."""

import ast
from collections import Counter
from pathlib import Path

import pytest
import typer

from imggen.cli import synonyms
from imggen.cli.app import app

ROOT = typer.main.get_command(app)


def test_every_synonym_means_a_command_or_an_option_that_there_is():
    for line in synonyms.COMMANDS.values():
        command, *rest = line.split()
        if command.startswith("--"):
            assert command in {name for parameter in ROOT.params for name in parameter.opts}
        else:
            assert not rest or rest[0] in ROOT.commands[command].commands
    options = {name for command in ROOT.commands.values() for parameter in command.params for name in parameter.opts}
    assert {option for names in synonyms.OPTIONS.values() for option in names} <= options


def test_no_synonym_hides_a_command():
    assert not set(synonyms.COMMANDS) & set(ROOT.commands)


def test_no_word_is_listed_twice_so_that_one_row_hides_another():
    tables = [
        [word for words in node.values for word in words.value.split()]
        for node in ast.walk(ast.parse(Path(synonyms.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
    ]
    assert [len(table) for table in tables] == [len(synonyms.COMMANDS), len(synonyms.OPTIONS)]
    assert [word for table in tables for word, count in Counter(table).items() if count > 1] == []


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("txt2img", "generate"),
        ("i2i", "img2img"),
        ("fill", "inpaint"),
        ("uncrop", "outpaint"),
        ("mix", "blend"),
        ("hires", "upscale"),
        ("canny", "preprocess"),
        ("download", "models pull"),
        ("remove", "models rm"),
        ("sign", "keys init"),
        ("version", "--version"),
    ],
)
def test_a_word_of_another_program_means_a_command(word, command):
    assert synonyms.COMMANDS[word] == command


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("--cfg", ("--guidance",)),
        ("--batch-size", ("--num-images",)),
        ("--factor", ("--scale", "--strength")),
        ("--resolution", ("--size", "--to")),
        ("--lowvram", ("--offload",)),
        ("--width", ("--to",)),
        ("--denoise", ("--strength",)),
    ],
)
def test_an_option_of_another_program_means_ours_in_their_order(word, options):
    assert synonyms.OPTIONS[word] == options
