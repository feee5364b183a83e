import json
import subprocess
import sys

import pytest
import typer

from imggen.cli.app import app

HEAVY = ("torch", "diffusers", "transformers", "PIL", "numpy", "rich", "pydantic")

WALK = """
import contextlib, io, json, sys
import typer
from imggen.cli.app import app

def walk(command, path):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))

shown = {}
for path in walk(typer.main.get_command(app), ()):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            app([*path, "--help"], prog_name="imggen")
        except SystemExit as ended:
            code = ended.code
    shown[" ".join(path)] = [code, printed.getvalue()]
print(json.dumps([shown, [name for name in sys.argv[1:] if name in sys.modules]]))
"""


def imported_by(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)


def test_every_commands_help_is_shown_without_anything_heavy():
    shown, heavy = json.loads(imported_by(WALK, *HEAVY).stdout)
    assert heavy == []
    commands = {"generate", "img2img", "inpaint", "outpaint", "blend", "style", "upscale", "inspect", "embed-metadata"}
    commands |= {"doctor", "train", "models list", "models show"}
    assert commands | {"presets list", "presets show", ""} <= shown.keys()
    for code, text in shown.values():
        assert code == 0
        assert text.startswith("Usage: imggen")


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["presets", "list"], HEAVY),
        (["presets", "show", "icon", "--json"], HEAVY),
        (["--version"], HEAVY),
        (["inspect", "nothing.png"], ("torch", "diffusers", "transformers")),
        (["embed-metadata", "nothing.png", "--set", "artist=A"], ("torch", "diffusers", "transformers")),
        (["generate", "a red apple", "--dry-run"], ("torch", "diffusers", "transformers")),
        (["img2img", "nothing.png", "a red apple"], ("torch", "diffusers", "transformers")),
        (["upscale", "nothing.png"], ("torch", "diffusers", "transformers")),
    ],
)
def test_light_commands_import_nothing_heavy(arguments, absent):
    code = (
        "import sys; from imggen.cli.app import main\n"
        "sys.argv[1:], absent = sys.argv[1].split('|'), sys.argv[2].split('|')\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write('heavy: ' + str([name for name in absent if name in sys.modules]))"
    )
    done = imported_by(code, "|".join(arguments), "|".join(absent))
    assert done.stderr.endswith("heavy: []")


def test_every_option_says_what_it_does_in_one_sentence():
    def walk(command):
        yield command
        for inner in getattr(command, "commands", {}).values():
            yield from walk(inner)

    for command in walk(typer.main.get_command(app)):
        assert command.help, command.name
        for parameter in command.params:
            if parameter.name not in ("install_completion", "show_completion"):
                assert parameter.help, (command.name, parameter.name)
                assert parameter.help.endswith("."), (command.name, parameter.name)


def test_the_module_runs_too():
    done = subprocess.run([sys.executable, "-m", "imggen", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("imggen ")
