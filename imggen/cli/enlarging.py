"""What the command that makes pictures larger does with its options: one request, one task, results as they come."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from imggen.cli import console, precedence, usage
from imggen.cli.console import Display
from imggen.errors import RequestError
from imggen.plan.settings import settings
from imggen.plan.sizing import sizes
from imggen.plan.upscaling import resolve as planning
from imggen.plan.upscaling.plans import UpscalePlan, UpscaleRequest
from imggen.tasks import upscale as task
from imggen.tasks.upscale import Enlarged, Failed

_SIZES: Final = {
    "--scale": re.compile(r"x?[0-9]{1,2}(\.[0-9]+)?x?", re.IGNORECASE),
    "--to": re.compile(rf"[0-9]+x[0-9]*|x[0-9]+|{'|'.join(sizes.NAMES)}", re.IGNORECASE),
}


def run(asked: Mapping[str, Any]) -> None:
    """Make the pictures larger that the options ask for, or show the plan."""
    _check_files(asked["files"])
    request = complete(asked, os.environ)
    shown = {name: bool(asked[name]) for name in ("as_json", "print0", "quiet", "verbose")}
    display = Display(output=request.output, **shown)
    console.notes(settings.strange_variables(os.environ), quiet=display.quiet)
    if asked["dry_run"]:
        show_plan(request, display)
        return
    enlarge(request, display)


def _check_files(files: Sequence[str]) -> None:
    """Raise RequestError where a factor or a size stands among the pictures, before any of them is enlarged."""
    for size in files:
        option = next((name for name, form in _SIZES.items() if form.fullmatch(size)), None)
        if option is not None and not Path(size).exists():
            line = usage.retyped(files, [[option, size] if name == size else [name] for name in files])
            raise RequestError(f"{size} is a size and no picture", hint=line)


def complete(asked: Mapping[str, Any], environ: Mapping[str, str]) -> UpscaleRequest:
    """Return the request that the options make, its blanks filled from the environment and the config."""
    request = planning.complete(planning.from_command_line(asked), settings.from_environment(environ).request)
    return planning.complete(request, settings.from_config(precedence.config_folder()).request)


def show_plan(request: UpscaleRequest, display: Display) -> None:
    """Print what would be done, and why; what cannot be done is a failure here too."""
    console.require_output()
    with console.progress(quiet=display.quiet) as bar:
        plan = task.plan(request, on_event=bar.report)
    if display.verbose:
        console.lines(planning.explain(plan))
    if display.as_json:
        console.result(planning.to_json(plan))
    else:
        console.table(planning.overview(plan))
    task.raise_refused(plan)


def enlarge(request: UpscaleRequest, display: Display) -> None:
    """Make the pictures larger and show each as soon as it is there."""
    console.check_output(display)
    with console.progress(quiet=display.quiet) as bar:

        def explain(plan: UpscalePlan) -> None:
            if display.verbose:
                with bar.hidden():
                    console.lines(planning.explain(plan))

        for fact in task.upscale(request, on_event=bar.report, on_plan=explain):
            with bar.hidden():
                _show(fact, display)


def _show(fact: Enlarged | Failed, display: Display) -> None:
    if isinstance(fact, Failed):
        _show_failure(fact, display)
        return
    path = console.where(fact.path, display.output) if fact.path else "standard output"
    kept = fact.path is not None and fact.written is None
    notes = (*fact.notes, "it was there and stays as it was") if kept else fact.notes
    console.notes((f"{path}: {note}" for note in notes), quiet=display.quiet)
    console.picture(path, fact.data, _facts(fact, path) if display.as_json else None, print0=display.print0)


def _show_failure(fact: Failed, display: Display) -> None:
    """Tell at once what the table at the end will tell again; programs shall not have to take that apart."""
    if display.as_json:
        console.result_json({"path": fact.name, "error": fact.error.message, "hint": fact.error.hint})
    elif fact.of > 1:
        console.notes([f"{fact.name} failed: {fact.error.message}"], quiet=display.quiet)


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
