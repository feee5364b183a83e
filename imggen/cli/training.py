"""The command that trains."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from imggen.cli import console, options, suggestions
from imggen.cli.options import OUTPUT, argument, option

if TYPE_CHECKING:
    from imggen.training.progress import Encoded, TrainingStep

RecipeName = Annotated[
    str,
    argument(
        "RECIPE",
        "The recipe, model, data and length of the training: a TOML file, or a name such as builtin-upscaler-x2.",
        suggestions.training_recipes,
    ),
]
Run = Annotated[Path, option("--run DIR", "Run folder; the same line again resumes.", OUTPUT)]


def train(recipe: RecipeName, run: Run, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Train a model or an upscaler.

    `generate -m DIR/model` uses the one, `upscale -m DIR/model.safetensors` the other. The same line again resumes.
    """
    from imggen.plan.training import recipe as recipes
    from imggen.tasks import train as task

    plan = recipes.read(recipes.find(recipe))
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


def _step(fact: "TrainingStep | Encoded") -> tuple[str, int, int, str]:
    """Return title, pictures done, pictures in all and what to say beside them."""
    from imggen.training.progress import TrainingStep

    beside = f"{fact.pictures:,} of {fact.of:,} pictures"
    if isinstance(fact, TrainingStep):
        return fact.stage, fact.pictures, fact.of, f"{beside}, loss {fact.loss:.4f}"
    return "encoding", fact.pictures, fact.of, beside
