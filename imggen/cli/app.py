"""The application: its commands, and the boundary where errors become messages and exit codes."""

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

import imggen
from imggen.cli import audit, console, keys, library, models, pictures, provenance, training, upscale
from imggen.errors import EXIT_INTERRUPTED, ImggenError

_TERMINATED = 128 + signal.SIGTERM

app = typer.Typer(
    name="imggen",
    help="Make pictures with models that run on your own machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    # Scripts written for other programs say --negative_prompt.
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
)
app.command("generate")(pictures.generate)
app.command("img2img")(pictures.img2img)
app.command("inpaint")(pictures.inpaint)
app.command("outpaint")(pictures.outpaint)
app.command("blend")(pictures.blend)
app.command("style")(pictures.style)
app.command("preprocess")(pictures.preprocess)
app.command("upscale")(upscale.upscale)
app.command("inspect")(provenance.inspect)
app.command("verify")(provenance.verify)
app.command("embed-metadata")(provenance.embed_metadata)
models.models.command("pull")(library.pull)
models.models.command("verify")(library.verify)
models.models.command("rm")(library.remove)
models.models.command("alias")(library.alias)
models.models.command("convert")(library.convert)
app.add_typer(models.models, name="models")
app.add_typer(models.presets, name="presets")
app.add_typer(keys.keys, name="keys")
app.add_typer(audit.audit, name="audit")
app.command("doctor")(models.doctor)
app.command("train")(training.train)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.result(f"imggen {imggen.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Make pictures with models that run on your own machine."""


def main() -> NoReturn:
    """Run the command line and exit with the code that says how it went."""
    console.prepare()
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(prog_name="imggen")
    except ImggenError as failure:
        console.error(failure)
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C, so that what clears up half-made files runs."""
    raise SystemExit(_TERMINATED)
