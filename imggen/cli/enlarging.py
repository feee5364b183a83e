"""What the command that makes pictures larger does with its options: one request, one task, results as they come."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imggen.cli import console, precedence
from imggen.plan.settings import settings
from imggen.plan.upscaling import resolve as planning
from imggen.plan.upscaling.plans import UpscalePlan, UpscaleRequest
from imggen.tasks import upscale as task
from imggen.tasks.upscale import Enlarged, Failed


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How the results are shown."""

    output: str | None
    as_json: bool
    quiet: bool
    verbose: bool


def run(asked: Mapping[str, Any]) -> None:
    """Make the pictures larger that the options ask for, or show the plan."""
    request = complete(asked, os.environ)
    manner = Manner(output=request.output, as_json=asked["as_json"], quiet=asked["quiet"], verbose=asked["verbose"])
    console.notes(settings.strange_variables(os.environ), quiet=manner.quiet)
    if asked["dry_run"]:
        show_plan(request, manner)
        return
    enlarge(request, manner)


def complete(asked: Mapping[str, Any], environ: Mapping[str, str]) -> UpscaleRequest:
    """Return the request that the options make, its blanks filled from the environment and the config."""
    request = planning.complete(planning.from_command_line(asked), settings.from_environment(environ).request)
    return planning.complete(request, settings.from_config(precedence.config_folder()).request)


def show_plan(request: UpscaleRequest, manner: Manner) -> None:
    """Print what would be done, and why; what cannot be done is a failure here too."""
    console.require_output()
    with console.progress(quiet=manner.quiet) as bar:
        plan = task.plan(request, on_event=bar.report)
    if manner.verbose:
        console.lines(planning.explain(plan))
    if manner.as_json:
        console.result(planning.to_json(plan))
    else:
        console.table(planning.overview(plan))
    task.raise_refused(plan)


def enlarge(request: UpscaleRequest, manner: Manner) -> None:
    """Make the pictures larger and show each as soon as it is there."""
    console.check_output(request.output, as_json=manner.as_json)
    with console.progress(quiet=manner.quiet) as bar:

        def explain(plan: UpscalePlan) -> None:
            if manner.verbose:
                with bar.hidden():
                    console.lines(planning.explain(plan))

        for fact in task.upscale(request, on_event=bar.report, on_plan=explain):
            with bar.hidden():
                _show(fact, manner)


def _show(fact: Enlarged | Failed, manner: Manner) -> None:
    if isinstance(fact, Failed):
        _show_failure(fact, manner)
        return
    path = console.where(fact.path, manner.output) if fact.path else "standard output"
    kept = fact.path is not None and fact.written is None
    notes = (*fact.notes, "it was there and stays as it was") if kept else fact.notes
    console.notes((f"{path}: {note}" for note in notes), quiet=manner.quiet)
    console.picture(path, fact.data, _facts(fact, path) if manner.as_json else None)


def _show_failure(fact: Failed, manner: Manner) -> None:
    """Tell at once what the table at the end will tell again; programs shall not have to take that apart."""
    if manner.as_json:
        console.result_json({"path": fact.name, "error": fact.error.message, "hint": fact.error.hint})
    elif fact.of > 1:
        console.notes([f"{fact.name} failed: {fact.error.message}"], quiet=manner.quiet)


def _facts(fact: Enlarged, path: str) -> dict[str, object]:
    """Return what `--json` says of a picture; of a file that was kept, only where it is."""
    source, size = fact.planned.source, fact.planned.size
    facts: dict[str, object] = {"path": path, "action": "kept", "source": source.name, "index": source.number}
    edit, written = fact.edit, fact.written
    if written is None or edit is None:
        return facts
    return facts | {
        "action": written.action,
        "sha256": written.sha256,
        "bytes": written.bytes,
        "width": size.width,
        "height": size.height,
        "scale": size.scale,
        "engine": edit.engine,
        "model": edit.model,
        "model_hash": edit.model_hash,
        "source_sha256": edit.source_sha256,
        **console.marks(written),
    }
