"""The command that trains."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imggen.cli import console, options

if TYPE_CHECKING:
    from imggen.tasks.train import Fact

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What is trained, on what, for how long.")]
Run = Annotated[
    Path,
    typer.Option("--run", metavar="DIR", help="Where it goes; the same line again resumes.", rich_help_panel="Files"),
]


def train(recipe: RecipeFile, run: Run, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Train a model that `imggen generate -m DIR/model` loads; the same line again goes on where it stopped."""
    from imggen.tasks import train as task

    plan = task.read(recipe)
    with console.progress(quiet=quiet) as bar:
        for fact in task.train(plan, run):
            if isinstance(fact, task.Trained):
                with bar.hidden():
                    _show(fact.model, as_json=as_json)
            else:
                bar.show(*_step(fact))


def _show(model: Path, *, as_json: bool) -> None:
    if as_json:
        console.result_json({"model": str(model)})
    else:
        console.result(str(model))


def _step(fact: "Fact") -> tuple[str, int, int, str]:
    """Return title, pictures done, pictures in all and what to say beside them."""
    loss = getattr(fact, "loss", None)
    title = getattr(fact, "stage", "encoding")
    pictures, of = int(getattr(fact, "pictures", 0)), int(getattr(fact, "of", 0))
    beside = f"{pictures:,} of {of:,} pictures"
    return title, pictures, of, beside if loss is None else f"{beside}, loss {loss:.4f}"
