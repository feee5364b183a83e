from pathlib import Path

from imggen.cli import app
from tests.documents import reference

CHECKOUT = Path(__file__).parents[2]


def test_the_reference_says_what_the_commands_say():
    document = (CHECKOUT / reference.PATH).read_text(encoding="utf-8")
    assert document == reference.text(), "run python -m tests.documents.reference"


def test_every_command_is_in_the_reference():
    top = [command.name for command in app.app.registered_commands]
    groups = [group.name for group in app.app.registered_groups]
    assert {words[0] for words in reference.COMMANDS} == {*top, *groups}
