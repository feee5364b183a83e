"""The commands that change which models are here: they are part of `imggen models`."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from imggen.cli import console, options, suggestions
from imggen.cli.models import Reference
from imggen.cli.options import argument, option
from imggen.errors import RequestError

if TYPE_CHECKING:
    from imggen.store.download import Offer
    from imggen.tasks.library import Removed

HubReference = Annotated[str, argument("REF", "A hub id, with @revision, or an alias.", suggestions.models)]
PullReference = Annotated[
    str, argument("REF", "A hub id, with @revision and /file if need be, or an alias.", suggestions.models)
]
PullDtype = Annotated[
    str | None, option("--dtype float32|bfloat16|float16", "Precision to download for; by the machine if left out.")
]
Repair = Annotated[bool, option("--repair", "Check what is here, and fetch again what is damaged.")]
Yes = Annotated[bool, option("-y --yes", "Do not ask.")]
AliasName = Annotated[str | None, argument("NAME", "The alias.", suggestions.aliases)]
Meaning = Annotated[str | None, argument("REF", "The model or adapter that it stands for.", suggestions.models)]
Remove = Annotated[bool, option("--remove", "Remove the alias.")]
Folder = Annotated[str, option("-o --output FOLDER", "The new folder.")]
ConvertDtype = Annotated[str, option("--dtype bfloat16|float16|float32", "Precision of the new weights.")]


def pull(
    reference: PullReference,
    dtype: PullDtype = None,
    repair: Repair = False,
    allow_pickle: options.AllowPickle = None,
    offline: options.Offline = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Download a model from the hub, or one file of it; an interrupted download resumes."""
    from imggen.tasks import library as task

    asked = task.PullRequest(
        reference=reference, dtype=dtype, allow_pickle=bool(allow_pickle), repair=repair, offline=bool(offline)
    )
    with console.progress(quiet=quiet) as bar:

        def tell(offer: "Offer") -> None:
            with bar.hidden():
                console.notes([_offered(offer)], quiet=quiet)

        pulled = task.pull(asked, on_event=bar.report, on_offer=tell)
    for fetched in filter(None, (pulled, pulled.prior)):
        if as_json:
            console.result_json({name: value for name, value in asdict(fetched).items() if name != "prior"})
        else:
            console.result(str(fetched.file) if fetched.file else f"{fetched.reference}@{fetched.revision}")


def _offered(offer: "Offer") -> str:
    from imggen.plan.memory import memory

    missing = offer.size_bytes - offer.present_bytes()
    come = f"{memory.text(missing)} of {memory.text(offer.size_bytes)} to fetch" if missing else "all of it is here"
    licence = f"licence {offer.licence or 'not stated'}"
    gated = ", gated" if offer.gated else ""
    return f"{offer.repository}@{offer.commit[:12]}: {come}, {licence}{gated}"


def verify(reference: Reference, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Check a model's files against their hashes; exits with 5 if one is damaged or missing."""
    console.require_output()
    from imggen.tasks import library as task

    counts: dict[str, int] = {}
    with console.progress(quiet=quiet) as bar:
        for checked in task.verify(reference, on_event=bar.report):
            counts[checked.status] = counts.get(checked.status, 0) + 1
            with bar.hidden():
                if as_json:
                    console.result_json(asdict(checked))
                elif checked.status in ("damaged", "missing"):
                    reason = f" ({checked.reason})" if checked.reason else ""
                    console.result(console.printable(f"{checked.status}: {checked.file}{reason}"))
    if not as_json:
        same, sound = counts.get("same", 0), counts.get("sound", 0)
        rest = f", {sound} make sense and have no recorded hash" if sound else ""
        console.result(console.printable(f"{reference}: {same} files are as recorded{rest}"))


def remove(reference: HubReference, yes: Yes = False, as_json: options.Json = False) -> None:
    """Delete a model, or one @revision of it, from the hub's cache."""
    from imggen.plan.memory import memory
    from imggen.store import aliases
    from imggen.tasks import library as task

    def confirm(removed: "Removed") -> bool:
        return yes or _agreed(f"delete {_named(removed)}, {memory.text(removed.freed_bytes)}?")

    removed = task.remove(reference, confirm=confirm)
    if removed is None:
        console.note("nothing was deleted")
        return
    if aliases.real(reference) != reference:
        console.note(f"{reference} still stands for it: imggen models alias {reference} --remove")
    if as_json:
        console.result_json(asdict(removed))
        return
    console.result(console.printable(f"{_named(removed)}: {memory.text(removed.freed_bytes)} freed"))


def _named(removed: "Removed") -> str:
    return f"{removed.reference} ({', '.join(revision[:12] for revision in removed.revisions) or 'incomplete'})"


def _agreed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise RequestError(f"nobody is there to answer: {question}", hint="--yes")
    return typer.confirm(console.printable(question), err=True)


def alias(
    name: AliasName = None, reference: Meaning = None, remove: Remove = False, as_json: options.Json = False
) -> None:
    """Name a model or an adapter; without arguments, list the aliases."""
    from imggen.store import aliases
    from imggen.tasks import library as task

    if name is None:
        _list_aliases(as_json=as_json, remove=remove)
        return
    if remove and reference is not None:
        raise RequestError(
            f"--remove and {reference} contradict each other", hint=f"imggen models alias {name} --remove"
        )
    if not remove and reference is None:
        raise RequestError(f"what {name} stands for is not said", hint=f"imggen models alias {name} REF")
    meaning = aliases.remove(name) if remove else task.add_alias(name, str(reference))
    if as_json:
        console.result_json({"name": name, "reference": meaning, "action": "removed" if remove else "added"})
        return
    done = f"{name} no longer stands for {meaning}" if remove else f"{name} stands for {meaning}"
    console.result(console.printable(done))


def _list_aliases(*, as_json: bool, remove: bool) -> None:
    if remove:
        raise RequestError("--remove needs the name to forget", hint="imggen models alias NAME --remove")
    from imggen.store import aliases

    console.require_output()
    known = sorted(aliases.read().items())
    if as_json:
        for name, meaning in known:
            console.result_json({"name": name, "reference": meaning})
        return
    console.table(known)


def convert(
    reference: Reference,
    output: Folder,
    dtype: ConvertDtype,
    base: options.Base = None,
    allow_pickle: options.AllowPickle = None,
    offline: options.Offline = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert a model to a folder of safetensors in one precision: faster to load, less disk."""
    from imggen.tasks import convert as task

    request = task.Wanted(
        reference=reference,
        folder=output,
        dtype=dtype,
        base=base,
        allow_pickle=bool(allow_pickle),
        offline=bool(offline),
    )
    with console.progress(quiet=quiet) as bar:
        converted = task.convert(request, on_event=bar.report)
    if as_json:
        console.result_json(asdict(converted) | {"folder": str(converted.folder)})
        return
    console.result(str(converted.folder))
