from pathlib import Path

from imggen.cli import app, reference

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_says_what_the_commands_say():
    document = README.read_text(encoding="utf-8")
    assert document == reference.insert(document), "run python -m imggen.cli.reference"


def test_every_command_is_in_the_reference():
    top = [command.name for command in app.app.registered_commands]
    groups = [group.name for group in app.app.registered_groups]
    assert {words[0] for words in reference.COMMANDS} == {*top, *groups}
