"""The command that makes pictures."""

import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from imggen.cli import console, layers, options, preview, prompts
from imggen.errors import RequestError
from imggen.plan import naming, resolve, settings
from imggen.plan.request import GenerateRequest

if TYPE_CHECKING:
    from imggen.tasks.generate import Generated


def generate(
    prompt: options.Prompt = None,
    negative_prompt: options.NegativePrompt = None,
    width: options.Width = None,
    height: options.Height = None,
    size: options.Size = None,
    aspect: options.Aspect = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    seed: options.Seed = None,
    num_images: options.NumImages = None,
    sampler: options.Sampler = None,
    model: options.Model = None,
    preset: options.Preset = None,
    from_file: options.FromFile = None,
    offline: options.Offline = None,
    allow_pickle: options.AllowPickle = None,
    output: options.Output = None,
    format: options.Format = None,  # noqa: A002 - the option's name
    quality: options.Quality = None,
    if_exists: options.Exists = None,
    metadata: options.MetadataKept = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention_slicing: options.Slicing = None,
    offload: options.Offloading = None,
    vae_tiling: options.Tiling = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    show_preview: options.Preview = False,
) -> None:
    """Make pictures that show what the words say."""
    asked = settings.from_command_line(prompts.read(locals()))
    request = layers.complete(asked, preset, os.environ)
    console.notes(settings.strange_variables(os.environ), quiet=quiet)
    if dry_run:
        _plan(request, quiet=quiet, verbose=verbose)
        return
    can_preview = show_preview and _can_preview(quiet=quiet)
    manner = _Manner(output=request.output, as_json=as_json, quiet=quiet, verbose=verbose, preview=can_preview)
    _check_stdout(request, as_json=as_json)
    _generate(request, manner)


@dataclass(frozen=True, kw_only=True)
class _Manner:
    """How the results are shown."""

    output: str | None
    as_json: bool
    quiet: bool
    verbose: bool
    preview: bool


def _plan(request: GenerateRequest, *, quiet: bool, verbose: bool) -> None:
    from imggen.tasks import generate as task

    with console.progress(quiet=quiet) as bar:
        plan = task.plan(request, on_event=bar.report)
    console.notes(plan.notes, quiet=quiet)
    if verbose:
        console.lines(resolve.explain(plan))
    console.result(resolve.to_json(plan))


def _generate(request: GenerateRequest, manner: _Manner) -> None:
    from imggen.tasks import generate as task

    with console.progress(quiet=manner.quiet) as bar:
        if manner.verbose:
            plan = task.plan(request, on_event=bar.report)
            request = resolve.pin(request, plan)
            with bar.hidden():
                console.lines(resolve.explain(plan))

        def tell(note: str) -> None:
            with bar.hidden():
                console.notes([note], quiet=manner.quiet)

        for made in task.generate(request, on_event=bar.report, on_note=tell):
            with bar.hidden():
                _show(made, manner)


def _show(made: "Generated", manner: _Manner) -> None:
    path = console.where(made.path, manner.output) if made.path else "standard output"
    kept = made.path is not None and made.written is None
    notes = (*made.notes, "it was there and stays as it was") if kept else made.notes
    console.notes((f"{path}: {each}" for each in notes), quiet=manner.quiet)
    source = made.data or made.path
    if manner.preview and source:
        preview.show(preview.read(source), os.environ)
    if made.data is not None:
        console.result_bytes(made.data)
    elif manner.as_json:
        console.result_json(_facts(made, path))
    else:
        console.result(path)


def _facts(made: "Generated", path: str) -> dict[str, object]:
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
        "marks": list(written.marks),
        "recipe": asdict(recipe),
    }


def _check_stdout(request: GenerateRequest, *, as_json: bool) -> None:
    if request.output != naming.STDOUT:
        return
    refusal = console.refuses_bytes()
    if refusal:
        raise RequestError(
            f"-o - writes a picture's bytes, and {refusal}", hint="-o apple.png, or imggen ... -o - > apple.png"
        )
    if as_json:
        raise RequestError("-o - and --json both want standard output", hint="leave one of the two out")


def _can_preview(*, quiet: bool) -> bool:
    refusal = preview.refusal(sys.stderr, os.environ)
    if refusal:
        console.notes([f"--preview shows nothing: {refusal}"], quiet=quiet)
    return refusal is None
