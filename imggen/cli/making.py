"""What the commands that make pictures do with their options: one request, one task, results shown as they come."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from imggen.cli import console, precedence, preview, prompts
from imggen.cli.console import Display
from imggen.plan.generation import overview, resolve
from imggen.plan.schema.request import GeneratePlan, GenerateRequest
from imggen.plan.schema.tasks import Task
from imggen.plan.settings import settings
from imggen.tasks import generate as task
from imggen.tasks.generate import Generated
from imggen.tasks.steps import forecast


def run(task_name: Task, asked: Mapping[str, Any]) -> None:
    """Make the pictures that the options of a command for `task_name` ask for, or show the plan."""
    shown = {name: bool(asked[name]) for name in ("quiet", "verbose")}
    options = {**asked, "prompt": prompts.choose(asked)}
    options.pop("prompt_option", None)
    image = options.pop("image", None)
    images = options.get("images") or ([] if image is None else [image])
    request = complete({**options, "images": tuple(images), "task": task_name}, asked["preset"], quiet=shown["quiet"])
    if asked["dry_run"]:
        show_plan(request, as_json=asked["as_json"], **shown)
        return
    printed = {name: bool(asked[name]) for name in ("as_json", "print0")}
    make(request, Display(output=request.output, preview=asked["show_preview"], **printed, **shown))


def complete(options: Mapping[str, object], preset: str | None, *, quiet: bool) -> GenerateRequest:
    """Return the request that the options, the environment, a preset and the config make together."""
    asked = settings.from_command_line(prompts.read(options))
    request = precedence.complete(asked, preset, os.environ)
    console.notes(settings.strange_variables(os.environ), quiet=quiet)
    return request


def show_plan(request: GenerateRequest, *, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print what would be done in a few lines, or all of it and why as JSON."""
    console.require_output()
    with console.progress(quiet=quiet) as bar:
        plan, costs = task.foresee(request, on_event=bar.report)
    console.notes(plan.notes, quiet=quiet)
    if verbose:
        console.lines((*resolve.explain(plan), *forecast.lines(costs)))
    if as_json:
        console.result(resolve.to_json(plan, forecast=asdict(costs)))
        return
    console.table((*overview.rows(plan), *forecast.rows(costs)))


def make(request: GenerateRequest, display: Display) -> None:
    """Make the pictures and show each as soon as it is there."""
    console.check_output(display)
    if display.preview and not _can_preview(quiet=display.quiet):
        display = replace(display, preview=False)
    with console.progress(quiet=display.quiet) as bar:

        def explain(plan: GeneratePlan) -> None:
            if display.verbose:
                with bar.hidden():
                    console.lines(resolve.explain(plan))

        def tell(note: str) -> None:
            with bar.hidden():
                console.notes([note], quiet=display.quiet)

        for made in task.generate(request, on_event=bar.report, on_plan=explain, on_note=tell):
            with bar.hidden():
                _show(made, display)


def _show(made: Generated, display: Display) -> None:
    path = console.where(made.path, display.output) if made.path else "standard output"
    kept = made.path is not None and made.written is None
    notes = (*made.notes, "it was there and stays as it was") if kept else made.notes
    console.notes((f"{path}: {note}" for note in notes), quiet=display.quiet)
    if display.verbose and made.written and made.written.finished and made.written.finished.unmarked:
        console.lines([f"{path}: no watermark: {made.written.finished.unmarked}"])
    source = made.data or made.path
    if display.preview and source:
        preview.show(preview.read(source), os.environ)
    console.picture(path, made.data, _facts(made, path) if display.as_json else None, print0=display.print0)


def _facts(made: Generated, path: str) -> dict[str, object]:
    """Return what `--json` says of a picture; of a file that was kept, only where it is."""
    facts: dict[str, object] = {"path": path, "action": "kept", "seed": made.seed, "index": made.index}
    recipe, written = made.recipe, made.written
    if written is None or recipe is None:
        return facts
    return facts | {
        "action": written.action,
        "sha256": written.sha256,
        "bytes": written.bytes,
        "width": recipe.width,
        "height": recipe.height,
        "model": recipe.model,
        **console.marks(written),
        "recipe": asdict(recipe),
        **({"replaced_seed": written.replaced.seed} if written.replaced else {}),
    }


def _can_preview(*, quiet: bool) -> bool:
    refusal = preview.refusal(sys.stderr, os.environ)
    if refusal:
        console.notes([f"--preview shows nothing: {refusal}"], quiet=quiet)
    return refusal is None
