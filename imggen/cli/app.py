"""The application: its commands, and the boundary where errors become messages and exit codes."""

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

import imggen
from imggen.cli import audit, console, keys, library, manual, models, pictures, provenance, training, upscale, usage
from imggen.cli.manual import CHANGE, MARKS, MODELS, SET_UP, TRAIN, helped
from imggen.cli.options import argument, option
from imggen.errors import EXIT_INTERRUPTED, ImggenError

_TERMINATED = 128 + signal.SIGTERM
_EXAMPLES = """\
imggen generate "a red apple" -o apple.png
imggen img2img apple.png "a lemon" --strength 0.7 -o lemon.png
imggen upscale lemon.png --scale 4"""

app = typer.Typer(
    name="imggen",
    epilog=_EXAMPLES,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    # Scripts written for other programs say --negative_prompt.
    context_settings={"help_option_names": [], "token_normalize_func": lambda name: name.replace("_", "-")},
)
for _name, _function, _panel, _example in (
    *pictures.COMMANDS,
    ("upscale", upscale.upscale, CHANGE, "imggen upscale apple.png --scale 4 -o big.png"),
    ("preprocess", pictures.preprocess, CHANGE, "imggen preprocess canny photo.jpg -o edges.png"),
    ("inspect", provenance.inspect, MARKS, "imggen inspect apple.png"),
    ("verify", provenance.verify, MARKS, "imggen verify apple.png --require record"),
    ("embed-metadata", provenance.embed_metadata, MARKS, 'imggen embed-metadata apple.png --alt "A red apple"'),
    ("train", training.train, TRAIN, "imggen train recipe.toml --run runs/first"),
    ("doctor", models.doctor, SET_UP, None),
):
    app.command(_name, rich_help_panel=_panel, epilog=_example)(helped(_function))
for _name, _function in (
    ("pull", library.pull),
    ("verify", library.verify),
    ("rm", library.remove),
    ("alias", library.alias),
    ("convert", library.convert),
):
    models.models.command(_name)(helped(_function))
app.add_typer(models.models, name="models", rich_help_panel=MODELS)
app.add_typer(models.presets, name="presets", rich_help_panel=MODELS)
app.add_typer(keys.keys, name="keys", rich_help_panel=MARKS)
app.add_typer(audit.audit, name="audit", rich_help_panel=MARKS)

Words = Annotated[list[str] | None, argument("COMMAND", "A command, such as `models list`.")]


@app.command("help", rich_help_panel=SET_UP)
@helped
def show_help(words: Words = None) -> None:
    """Show the help page of a command."""
    app([*(words or ()), "--help"], prog_name="imggen", standalone_mode=False)


def _print_version(value: bool) -> None:
    if value:
        console.result(f"imggen {imggen.__version__}")
        raise typer.Exit


Version = Annotated[bool, option("-V --version", "Print the version and stop.", is_eager=True, callback=_print_version)]


@app.callback()
@helped
def root(context: typer.Context, version: Version = False) -> None:  # noqa: ARG001 - its callback prints it
    """Make pictures with models that run on your own machine."""
    manual.require_command(context)


def main() -> NoReturn:
    """Run the command line and exit with the code that says how it went."""
    console.prepare()
    signal.signal(signal.SIGTERM, _stop)
    try:
        code = app(prog_name="imggen", standalone_mode=False) or 0
    except ImggenError as failure:
        console.error(failure)
        code = failure.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as failure:
        # Python wraps an interruption of some imports into errors of its own.
        interrupted = isinstance(failure.__cause__ or failure.__context__, KeyboardInterrupt)
        if not interrupted and not usage.is_explained(failure):
            raise
        code = EXIT_INTERRUPTED if interrupted else _answer(failure)
    if code == EXIT_INTERRUPTED:
        # Python would end by the signal instead, where the interruption came out of a string that it ran.
        exec("")  # noqa: S102
        console.lines(["interrupted"])
    sys.exit(code)


def _answer(failure: Exception) -> int:
    explained = usage.explain(failure, sys.argv[1:])
    console.error(explained)
    return explained.exit_code


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C, so that what clears up half-made files runs."""
    raise SystemExit(_TERMINATED)
