"""The models on this machine: how they come, whether they are whole, how they go, and what they are called."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imggen.errors import CheckError, ModelError, RequestError
from imggen.host import environment, probe, timings
from imggen.plan.adapters import adaptation
from imggen.plan.policy import policy as policies
from imggen.plan.policy.policy import ModelIdentity
from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.progress import Report, ignore
from imggen.store import aliases, integrity, lookup, model_folder, paths, weights
from imggen.store.download import Offer
from imggen.store.integrity import CheckedFile
from imggen.store.lookup import Installed
from imggen.store.weights import AccessRules
from imggen.tasks.steps import governance
from imggen.tasks.steps.governance import Governance

if TYPE_CHECKING:
    from imggen.store import hub


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """What is to be fetched: `dtype` says for which precision, None for what a run here would take.

    `repair` looks at what is here first, and fetches again what is damaged. `offline` only says whether it is here.
    """

    reference: str
    dtype: str | None = None
    allow_pickle: bool = False
    repair: bool = False
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """A model, or one file of the hub, that is here now. `fetched_bytes` came in this run.

    `prior` is what completes it where it is a decoder.
    """

    reference: str
    revision: str
    folder: Path
    file: Path | None
    size_bytes: int
    fetched_bytes: int
    licence: str | None
    prior: "Pulled | None" = None


def pull(
    asked: PullRequest, *, on_event: Report = ignore, on_offer: Callable[[Offer], None] = lambda _: None
) -> Pulled:
    """Fetch a model of the hub, or one file of it, or what is not here of that; with a decoder comes its prior.

    `on_offer` hears what will come before its first byte.
    """
    environment.prepare(offline=asked.offline)
    governed = governance.read(None, "pull")

    def look(folder: Path) -> None:
        prior = lookup.prior_of(folder)
        if prior is not None:
            governance.check_name(governed, prior)

    pulled = _pulled(asked, governed, look, on_event, on_offer)
    prior = None if pulled.file else lookup.prior_of(pulled.folder)
    if prior is None:
        return pulled
    return replace(pulled, prior=_pulled(replace(asked, reference=prior), governed, look, on_event, on_offer))


def _pulled(
    asked: PullRequest,
    governed: Governance,
    look: Callable[[Path], None],
    on_event: Report,
    on_offer: Callable[[Offer], None],
) -> Pulled:
    """Fetch one model or file, once the policy allows what the hub offers."""
    name, revision, file = _named(asked.reference)
    governance.check_name(governed, aliases.real(asked.reference))
    if environment.is_offline(asked=asked.offline):
        return _here(asked, name, revision, file)
    # See the store for why this import waits.
    from imggen.store import hub

    half = probe.prefers_half(asked.dtype, probe.machine())
    terms = AccessRules(allow_pickle=asked.allow_pickle, half=half)
    choose = hub.one_file(asked.reference, file, terms) if file else hub.pipeline_files(name, terms)
    offer = hub.ask(name, revision, choose=choose)
    governance.check_offered(governed, _identity(offer, file))
    if asked.repair and offer.snapshot.is_dir():
        _drop_damaged(offer.snapshot, hub.place(), on_event)
    before = offer.present_bytes()
    on_offer(offer)
    folder = hub.bring(offer, on_event=on_event, look=None if file else look)
    if file is None:
        _check_hash(governed, offer, terms)
    return Pulled(
        reference=name,
        revision=offer.commit,
        folder=folder,
        file=folder / file if file else None,
        size_bytes=offer.size_bytes,
        fetched_bytes=offer.size_bytes - before,
        licence=offer.licence,
    )


def _identity(offer: Offer, file: str | None) -> ModelIdentity:
    """Return what is offered as a policy sees it; of a whole model the hash comes with its files."""
    return ModelIdentity(
        reference=offer.repository,
        revision=offer.commit,
        sha256=next((remote.sha256 for remote in offer.files if remote.name == file), None),
        license=offer.licence,
        pickles=any(Path(remote.name).suffix in weights.PICKLE_SUFFIXES for remote in offer.files),
    )


def _check_hash(governed: Governance, offer: Offer, terms: AccessRules) -> None:
    """Raise CheckError for a model that is here now, and that the policy refuses by its hash."""
    if governed.policy is None or not policies.needs_hash(governed.policy):
        return
    # By itself: a decoder's prior is still to come.
    facts = model_folder.read(
        offer.snapshot, reference=offer.repository, source="hub", revision=offer.commit, terms=terms
    )
    dtype: Dtype = "bfloat16" if terms.half else "float32"
    identity = replace(_identity(offer, None), sha256=lookup.weights_sha256(facts, dtype))
    refusal = policies.check_model(governed.policy, identity)
    governed.means().refuse(refusal and replace(refusal, hint=f"it is here now: imggen models rm {offer.repository}"))


def _here(asked: PullRequest, name: str, revision: str | None, file: str | None) -> Pulled:
    """Return what is here already; raise ModelError where that is not all of it, since nothing may be fetched."""
    from imggen.store import hub

    if asked.repair:
        raise RequestError(
            "--repair fetches what is damaged, and imggen is offline", hint=f"imggen models verify {asked.reference}"
        )
    folder = hub.cached(name, revision)
    lacking = [file] if file and not (folder and (folder / file).is_file()) else []
    if folder is not None and file is None:
        lacking = model_folder.missing(folder)
    if folder is None or lacking:
        what = f"lacks {lacking[0]} here" if folder and lacking else "is not on this machine"
        raise ModelError(
            f"{name} {what}, and imggen is offline", hint=f"while online: imggen models pull {asked.reference}"
        )
    files = [folder / file] if file else [path for path in folder.rglob("*") if path.is_file()]
    return Pulled(
        reference=name,
        revision=folder.name,
        folder=folder,
        file=folder / file if file else None,
        size_bytes=sum(path.stat().st_size for path in files),
        fetched_bytes=0,
        licence=lookup.card_licence(folder),
    )


def _named(reference: str) -> tuple[str, str | None, str | None]:
    """Return the id, the revision and the file of `organisation/name[@revision][/file]`."""
    parts = adaptation.split_hub(aliases.real(reference))
    if parts and parts[2] and not os.path.lexists(reference):
        return parts
    name, revision = _of_hub(reference, "only models of the hub are fetched")
    return name, revision, None


def _drop_damaged(snapshot: Path, cache: Path, on_event: Report) -> None:
    for checked in integrity.check(snapshot, on_event=on_event):
        path = snapshot / checked.file
        if checked.status == "damaged" and not path.is_dir():
            # The link stays until its bytes are gone, so that a run that is killed here leaves no bad file behind.
            real = Path(os.path.realpath(path))
            # Somebody may have put a link to a file of their own there, which is not ours to delete.
            if Path(os.path.realpath(cache)) in real.parents:
                real.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _of_hub(reference: str, why: str) -> tuple[str, str | None]:
    """Return the id and the revision of a model of the hub; raise RequestError for what is none."""
    real = aliases.real(reference)
    if not real.strip():
        raise RequestError("the model reference is empty", hint="ORGANISATION/NAME, or an alias")
    if lookup.find_single_file(real) is not None or paths.at_home(real).is_dir():
        raise RequestError(f"{real} is a file or folder here, and {why}", hint="imggen models list")
    name, revision = lookup.split(real)
    if name == lookup.BUILTIN:
        raise RequestError(f"the built-in model came with imggen, and {why}", hint="imggen models list")
    if not lookup.HUB_ID.fullmatch(name):
        raise RequestError(f"{reference!r} is no id of the hub, and {why}", hint="ORGANISATION/NAME, or an alias")
    return name, revision


def list_all() -> list[Installed]:
    """Return the models that are on this machine: built in, in the hub's cache, and folders and files with an alias."""
    environment.prepare()
    known = aliases.read()
    models = [_described(model, known) for model in lookup.installed()]
    there = {model.reference for model in models} | {f"{model.reference}@{model.revision}" for model in models}
    others = sorted({meaning for meaning in known.values() if meaning not in there})
    return models + [_described(model, known) for model in map(_elsewhere, others) if model is not None]


def _described(model: Installed, known: dict[str, str]) -> Installed:
    names = (model.reference, f"{model.reference}@{model.revision}")
    return replace(
        model,
        aliases=tuple(sorted(name for name, meaning in known.items() if meaning in names)),
        last_used=timings.last_used(model.reference, model.revision) or model.last_used,
        incomplete=model.folder.is_dir() and bool(model_folder.missing(model.folder)),
    )


def _elsewhere(reference: str) -> Installed | None:
    """Return what an alias stands for where that is a folder or a file; None for models that are not here."""
    path = paths.at_home(reference)
    if not path.exists():
        return None
    files = [entry for entry in path.rglob("*") if entry.is_file()] if path.is_dir() else [path]
    return Installed(
        reference=reference,
        source="folder" if path.is_dir() else "file",
        folder=path,
        revision=None,
        size_bytes=sum(file.stat().st_size for file in files),
    )


def verify(reference: str, *, on_event: Report = ignore) -> Iterator[CheckedFile]:
    """Look at every file of a model and yield how it is; at the end raise CheckError where one is not as it should be.

    Files of the hub's cache are held to the hashes that the hub gave, a folder to its SHA256SUMS where it has them,
    and all else to what is in it.
    """
    environment.prepare()
    folder, mend = _place(reference)
    bad: list[CheckedFile] = []
    for checked in integrity.check(folder, on_event=on_event):
        if checked.status in ("damaged", "missing"):
            bad.append(checked)
        yield checked
    if bad:
        first = f"{bad[0].file} is {bad[0].status}" + (f": {bad[0].reason}" if bad[0].reason else "")
        more = f" ({len(bad) - 1} more)" if len(bad) > 1 else ""
        raise CheckError(f"{reference}: {first}{more}", hint=mend)


def _place(reference: str) -> tuple[Path, str]:
    """Return where the model lies, whole or not, and what mends it."""
    real = aliases.real(reference)
    if real == lookup.BUILTIN:
        return lookup.builtin_folder(), "pip install --force-reinstall imggen"
    path = paths.at_home(real)
    if path.is_dir():
        return path, "copy or fetch what is named there again"
    if path.is_file():
        raise RequestError(f"{real} is a single file", hint=f"imggen models show {real}")
    from imggen.store import hub

    name, revision = _of_hub(reference, "there is no such model here")
    folder = hub.cached(name, revision)
    if folder is None:
        raise ModelError(f"{name} is not on this machine", hint=f"imggen models pull {reference}")
    return folder, f"imggen models pull {name}@{folder.name} --repair"


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What was, or would be, deleted from the hub's cache."""

    reference: str
    revisions: tuple[str, ...]
    freed_bytes: int


def remove(reference: str, *, confirm: Callable[[Removed], bool]) -> Removed | None:
    """Delete a model, or one revision of it, from the hub's cache where `confirm` agrees; None where it does not.

    A folder or file of the user's is never deleted.
    """
    environment.prepare()
    removal = _removal(reference)
    name = removal.repository
    removed = Removed(reference=name, revisions=removal.commits, freed_bytes=removal.freed_bytes)
    if not confirm(removed):
        return None
    removal.execute()
    return removed


def _removal(reference: str) -> "hub.Removal":
    """Return what would be deleted; an alias of what cannot be is told to be one, with what removes it."""
    from imggen.store import hub

    real = aliases.real(reference)
    try:
        name, revision = _of_hub(reference, "imggen deletes from the hub's cache alone")
        return hub.removal(name, revision)
    except (RequestError, ModelError) as error:
        if real == reference:
            raise
        raise type(error)(
            f"{reference} is an alias of {real}: {error.message}", hint=f"imggen models alias {reference} --remove"
        ) from error


def absent_aliases(present: Iterable[Installed]) -> dict[str, str]:
    """Return the aliases, and what they stand for, that none of the models that are `present` has."""
    listed = {name for model in present for name in model.aliases}
    return {name: meaning for name, meaning in sorted(aliases.read().items()) if name not in listed}


def add_alias(name: str, reference: str) -> str:
    """Let `name` stand for `reference`, and return what that is in full; it may be a model or an adapter."""
    aliases.check_name(name)
    real = aliases.real(reference)
    path = paths.at_home(real)
    if path.exists():
        # An alias means the same from every folder.
        real = str(Path(os.path.abspath(path)))  # noqa: PTH100 - links stay as they are
    elif real != lookup.BUILTIN and not lookup.HUB_ID.fullmatch(_repository(real)):
        raise RequestError(
            f"{reference!r} is neither here, nor an id of the hub", hint="imggen models alias NAME ORGANISATION/NAME"
        )
    aliases.add(name, real)
    return real


def _repository(reference: str) -> str:
    """Return the `organisation/name` of `organisation/name[@revision][/file]`."""
    return "/".join(reference.split("/")[:2]).partition("@")[0]
