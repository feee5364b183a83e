"""Models by reference: built in, in a folder, or from the hub. All facts, no weights: neither torch nor diffusers."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import imggen.builtin
from imggen.errors import ModelError, RequestError
from imggen.host.environment import is_offline
from imggen.plan.adapters import adaptation
from imggen.plan.models import catalog, priors
from imggen.plan.models.checkpoint import usual_base
from imggen.plan.schema.family import Family
from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.progress import Report, ignore
from imggen.plan.schema.request import PRIOR, ModelFacts, Source
from imggen.store import aliases, json_files, model_folder, paths, single_file, weights
from imggen.store.model_folder import INDEX
from imggen.store.weights import AccessRules

BUILTIN = "builtin"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DEFAULT_TERMS = AccessRules()


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A model that is on this machine: how to ask for it, where it lies and the bytes that it takes.

    `aliases` stand for it, `last_used` is when a picture was made with it or its files were read (ISO 8601, UTC), as
    far as that is known, and `incomplete` says that parts of it are still to be fetched.
    """

    reference: str
    source: Source
    folder: Path
    revision: str | None
    size_bytes: int
    aliases: tuple[str, ...] = ()
    last_used: str | None = None
    incomplete: bool = False


def find(
    reference: str, *, base: str | None = None, terms: AccessRules = DEFAULT_TERMS, on_event: Report = ignore
) -> ModelFacts:
    """Return the facts of the model that `reference` names: `builtin`, a folder, a file or `org/name[@revision]`.

    An alias stands for one of these, and is not recorded. What a model lacks that is not whole comes from `base`,
    another such reference: a single file's configs, by default of the usual model of its kind; a decoder's prior, by
    default the one that its card names, or the usual one.

    What is cached is used as it is; what is not is fetched from the hub where `terms` allow it. A model that is
    missing, damaged or wants to run code or pickles is a ModelError.
    """
    if base is not None and not base.strip():
        raise RequestError("--base is empty: it names no model", hint="--base FOLDER, or ORGANISATION/NAME")
    real = aliases.real(reference)
    file = find_single_file(real)
    if file is not None:
        return _from_file(file, real, base, terms, on_event)

    def look(folder: Path) -> None:
        pipeline = _pipeline(folder)
        priors.refuse_prior(real, pipeline)
        family = priors.of_decoder(pipeline)
        if family is not None:
            terms.allow(_prior_of(real, folder, base, family))
        elif base is not None:
            raise RequestError(
                f"--base {base}: only a single file and a decoder have a base, and {reference} is whole",
                hint="leave --base out",
            )

    facts = _find_whole(real, terms, on_event, look)
    look(facts.folder)
    family = priors.of_decoder(facts.pipeline)
    if family is None:
        return facts
    return _with_prior(facts, _prior_of(real, facts.folder, base, family), family, terms, on_event)


def find_single_file(reference: str) -> Path | None:
    """Return the file of weights that `reference` names, or that is the only one in the folder it names; else None."""
    place = paths.at_home(reference)
    if reference == BUILTIN or not reference.strip() or not paths.is_there(place):
        return None
    if not place.is_dir():
        return place
    if (place / INDEX).is_file() or (place / "config.json").is_file() or HUB_ID.fullmatch(reference):
        return None
    inside = _weight_files(place)
    return inside[0] if len(inside) == 1 else None


def prior_of(folder: Path) -> str | None:
    """Return the reference of the prior that the decoder in `folder` is completed by where nobody names another.

    None for a folder with any other model. Raise ModelError where its card names what cannot be a model of the hub.
    """
    family = priors.of_decoder(_pipeline(folder))
    return None if family is None else _prior_of(str(folder), folder, None, family)


def _pipeline(folder: Path) -> str:
    return str(json_files.read(folder / INDEX).get("_class_name"))


def _prior_of(reference: str, folder: Path, base: str | None, family: Family) -> str:
    if base is not None:
        return aliases.real(base)
    usual = family.stages.usual if family.stages else ""
    named = next(_card(folder, "prior"), None)
    if named is not None and not HUB_ID.fullmatch(named):
        raise ModelError(
            f"{reference}: its card names {named!r} as its prior, which is no model of the hub", hint=f"--base {usual}"
        )
    return named or usual


def _with_prior(decoder: ModelFacts, base: str, family: Family, terms: AccessRules, on_event: Report) -> ModelFacts:
    """Return the facts of the decoder together with those of its prior."""
    if find_single_file(base) is not None:
        raise RequestError(f"--base {base} is a single file", hint="--base FOLDER, or ORGANISATION/NAME")

    misfits: list[ModelError] = []

    def look(folder: Path) -> None:
        try:
            priors.check_prior(decoder, _pipeline(folder), base, family)
        except ModelError as error:
            misfits.append(error)
            raise

    try:
        prior = _find_whole(base, terms, on_event, look)
    except ModelError as error:
        if error in misfits:
            raise
        raise ModelError(
            f"{decoder.reference} needs its prior, and {base} could not be loaded: {error.message}",
            hint=f"{error.hint}; or --base FOLDER" if error.hint else "--base FOLDER",
        ) from error
    return priors.combine(decoder, prior, family)


def _checked_suffix(file: Path) -> Path:
    if file.suffix.lower() in single_file.SUFFIXES:
        return file
    raise ModelError(
        f"{file} is no model: imggen reads {', '.join(single_file.SUFFIXES[:2])} files and diffusers folders",
        hint="imggen models list",
    )


def _weight_files(folder: Path) -> list[Path]:
    named = (entry for entry in sorted(folder.iterdir()) if entry.suffix.lower() in single_file.SUFFIXES)
    return [entry for entry in named if entry.is_file()]


def _from_file(file: Path, reference: str, base: str | None, terms: AccessRules, on_event: Report) -> ModelFacts:
    """Return the facts of a single file, completed by its base."""
    opened = single_file.read(_checked_suffix(file), reference, terms)
    base_reference = aliases.real(base or usual_base(opened.reference, opened.kind))
    terms.allow(base_reference)
    if find_single_file(base_reference) is not None:
        raise RequestError(
            f"--base {base_reference} is a single file itself", hint="--base FOLDER, or ORGANISATION/NAME"
        )
    less = replace(terms, without=(*opened.parts, *single_file.LEFT_OUT))
    try:
        base_facts = _find_whole(base_reference, less, on_event)
    except ModelError as error:
        whose = "its base" if base else f"the usual base of a {opened.kind.title}"
        raise ModelError(
            f"{reference} holds no configs, and {whose}, {base_reference}, could not be loaded: {error.message}",
            hint=f"{error.hint}; or --base FOLDER" if error.hint else "--base FOLDER",
        ) from error
    return single_file.combine(opened, base_facts)


def _find_whole(
    reference: str, terms: AccessRules, on_event: Report, look: Callable[[Path], None] | None = None
) -> ModelFacts:
    """Return the facts of the model in a folder or on the hub; `look` sees its descriptions before weights come."""
    name, revision = split(reference)
    if name == BUILTIN:
        return model_folder.read(builtin_folder(), reference=name, source="builtin", terms=terms)
    folder = paths.at_home(name)
    if paths.is_there(folder) and revision is None:
        return model_folder.read(_local(name, folder), reference=name, source="folder", terms=terms)
    if not HUB_ID.fullmatch(name) or Path(name).suffix.lower() in single_file.SUFFIXES:
        raise _unknown(name)
    return _from_hub(name, revision, terms, on_event, look)


def split(reference: str) -> tuple[str, str | None]:
    """Return a reference's name and its revision, None where it has none."""
    if not reference.strip():
        raise RequestError("the model reference is empty", hint=f"--model {BUILTIN}")
    # A folder may have an @ in its name; only what is not there can carry a revision.
    name, at, revision = reference.rpartition("@")
    if not at or paths.is_there(paths.at_home(reference)):
        return reference, None
    if not name or not revision:
        raise RequestError(f"{reference!r} is not a model reference", hint="--model ORGANISATION/NAME@REVISION")
    if name == BUILTIN or (paths.is_there(paths.at_home(name)) and not HUB_ID.fullmatch(name)):
        raise RequestError(f"{name} has no revisions: only models of the hub do", hint=f"--model {name}")
    return name, revision


def builtin_folder() -> Path:
    """Return the folder of the model that comes with imggen; raise ModelError where the installation lacks it."""
    folder = Path(imggen.builtin.__file__).parent / "model"
    if not (folder / INDEX).is_file():
        raise ModelError(
            f"this installation lacks the built-in model: {folder / INDEX} is not there",
            hint="pip install --force-reinstall imggen",
        )
    return folder


def _local(name: str, folder: Path) -> Path:
    """Return `folder` if it is a diffusers model; raise ModelError that says what it is instead."""
    if (folder / INDEX).is_file():
        return folder
    if HUB_ID.fullmatch(name):
        raise ModelError(
            f"{name!r} is a folder here, without {INDEX}, and could also be a model of the hub",
            hint=f"for the folder write ./{name}, for the hub's model {name}@main",
        )
    inside = sorted(entry.name for entry in folder.iterdir() if (entry / INDEX).is_file())
    if inside:
        raise ModelError(f"{folder} has no {INDEX}, but {inside[0]} in it has", hint=f"--model {folder / inside[0]}")
    files = _weight_files(folder)
    if len(files) > 1:
        raise ModelError(f"{folder} has no {INDEX}, but {len(files)} files of weights", hint=f"--model {files[0]}")
    problem = f"{folder} is not a diffusers model: it has no {INDEX}{_other_layout(folder)}"
    raise ModelError(problem, hint=_whole_hint(folder))


def _other_layout(folder: Path) -> str:
    """Return what the folder looks like instead, as the end of a sentence: a part of a model, or one's parts."""
    if (folder / "config.json").is_file():
        config = json_files.read(folder / "config.json")
        named = config.get("architectures")
        other = named[0] if isinstance(named, list) and named else "another library's"
        return f"; it is one component, {config.get('_class_name') or other}"
    parts = [f"{entry.name}/" for entry in sorted(folder.iterdir()) if (entry / "config.json").is_file()]
    return f", only {', '.join(parts[:3])}" if parts else ""


def _whole_hint(folder: Path) -> str:
    parent = folder.absolute().parent
    if (parent / INDEX).is_file():
        return f"--model {parent}"
    config = json_files.read(folder / "config.json") if (folder / "config.json").is_file() else {}
    named = str(config.get("_class_name"))
    if "ControlNet" in named:
        return f"--control {folder}:PICTURE"
    return f"--vae {folder}" if named.startswith("Autoencoder") else "imggen models list"


def _unknown(name: str) -> ModelError:
    if Path(name).suffix.lower() in single_file.SUFFIXES:
        return ModelError(f"there is no file {name}", hint="imggen models list")
    return ModelError(
        f"there is no model {name!r}: it is neither built in, nor a file, a folder, an alias or a hub id",
        hint=_instead(name),
    )


def _instead(name: str) -> str:
    """Return what may be meant by a name that is no model: the usual one of a family that is called so, or one near."""
    usual = next((family.base for family in catalog.FAMILIES if family.name == name.lower() and family.base), None)
    if usual is not None:
        return f"imggen models alias {name.lower()} {usual}, the usual model of the family of that name"
    guess = nearest(name, {BUILTIN, *aliases.read(), *(model.reference for model in installed())})
    otherwise = "imggen models list; --model takes builtin, a file, a folder or ORGANISATION/NAME"
    return f"--model {guess[0]}" if guess else otherwise


def _from_hub(
    name: str, revision: str | None, terms: AccessRules, on_event: Report, look: Callable[[Path], None] | None
) -> ModelFacts:
    # Imported here because huggingface_hub reads HF_HUB_OFFLINE once, and a built-in model needs none of it.
    from imggen.store import hub

    folder = hub.cached(name, revision)
    whole = folder is not None and not model_folder.missing(folder, without=terms.without)
    if not whole and is_offline(asked=terms.offline):
        raise _not_here(name, revision, folder)
    if folder is None or not whole:
        choose = hub.pipeline_files(name, terms)
        folder = hub.obtain(name, revision, choose=choose, sketch_in=terms.sketch, on_event=on_event, look=look)
    return model_folder.read(folder, reference=name, source="hub", revision=folder.name, terms=terms)


def _not_here(name: str, revision: str | None, folder: Path | None) -> ModelError:
    guess = () if folder else nearest(name, [model.reference for model in installed()])
    what = "is not complete in the cache" if folder else "is not on this machine"
    perhaps = f" (did you mean {guess[0]}?)" if guess else ""
    get = f"imggen models pull {name}" + (f"@{revision}" if revision else "")
    return ModelError(
        f"{name} {what}, and imggen is offline{perhaps}",
        hint=f"--model {guess[0]}; or while online: {get}" if guess else f"while online: {get}",
    )


def is_here(reference: str) -> bool:
    """Return whether what `reference` names, a model or an adapter, is on this machine and needs no fetching."""
    if reference == BUILTIN or paths.is_there(paths.at_home(reference)):
        return True
    parts = adaptation.split_hub(reference)
    if parts is None:
        return False
    # See _from_hub for why this import waits.
    from imggen.store import hub

    name, revision, file = parts
    folder = hub.cached(name, revision)
    if folder is None:
        return False
    if file:
        return (folder / file).is_file()
    # An adapter's folder has no index, and which of its files are wanted is its own loader's to know.
    return not (folder / INDEX).is_file() or not model_folder.missing(folder)


def files(facts: ModelFacts, dtype: Dtype) -> dict[str, weights.WeightFiles]:
    """Return the weight files that a run in `dtype` reads, by component."""
    half = weights.is_half(dtype)
    from_file = facts.single.parts if facts.single else {}
    names = [name for name in facts.weight_bytes if name not in from_file]
    chosen = {name: weights.choose(facts.place(name), half=half) for name in names}
    by_component = {name: choice for name, choice in chosen.items() if choice is not None}
    if facts.single is None:
        return by_component
    file = weights.WeightFiles(files=(facts.single.path,), pickle=facts.single.path.name in facts.pickles)
    return {**by_component, **dict.fromkeys(from_file, file)}


def weight_files(facts: ModelFacts, dtype: Dtype) -> list[Path]:
    """Return the weight files that a run in `dtype` reads, each once."""
    return sorted({path for choice in files(facts, dtype).values() for path in choice.files})


def own(facts: ModelFacts) -> ModelFacts:
    """Return the facts of a decoder without its prior, as far as its weights go; any other model's as they are."""
    if facts.prior is None:
        return facts
    kept = {name: size for name, size in facts.weight_bytes.items() if not name.startswith(PRIOR)}
    pickles = tuple(pickle for pickle in facts.pickles if not pickle.startswith(PRIOR))
    return replace(facts, prior=None, weight_bytes=kept, pickles=pickles)


def weights_sha256(facts: ModelFacts, dtype: Dtype, *, memory: Path | None = None) -> str:
    """Return the model's hash for the recipe: over the names and contents of the weight files that `dtype` reads.

    That of a decoder with its prior is over those of the two.
    """
    if facts.prior is not None:
        digests = "\n".join(weights_sha256(model, dtype, memory=memory) for model in (own(facts), facts.prior))
        return hashlib.sha256(digests.encode()).hexdigest()
    whole = facts.single.base if facts.single else facts
    return weights.sha256(facts.folder, weight_files(facts, dtype), cached=whole.source == "hub", memory=memory)


def licence(facts: ModelFacts) -> str | None:
    """Return the licence that the model's record or, in its first lines, its card names; single files have neither."""
    if facts.single is not None:
        return None
    named = facts.record.get("licence") or facts.record.get("license")
    if isinstance(named, str):
        return named
    return card_licence(facts.folder)


def card_licence(folder: Path) -> str | None:
    """Return the licence that the card in `folder` names; a card says `other` where it has its own name beside it."""
    named = list(_card(folder, "license", "license_name"))
    return next((name for name in named if name != "other"), next(iter(named), None))


def _card(folder: Path, *names: str) -> Iterator[str]:
    """Yield what the first lines of the card in `folder` say under `names`: the text, or each of a list of them."""
    card = folder / "README.md"
    if not card.is_file():
        return
    with card.open(encoding="utf-8", errors="replace") as file:
        head = file.read(8192)
    lines = head.split("---")[1].splitlines() if head.startswith("---") and head.count("---") > 1 else []
    is_named = False
    for line in lines:
        if not line.startswith((" ", "-")):
            is_named = line.startswith(tuple(f"{name}:" for name in names))
            text = line.partition(":")[2]
        else:
            text = line.strip().removeprefix("-")
        if is_named:
            yield from filter(None, (value.strip(" '\"") for value in text.strip().strip("[]").split(",")))


def installed() -> list[Installed]:
    """Return the models on this machine that need no fetching: the built-in one, then the hub's cache, by name."""
    # See _from_hub for why this import waits.
    from imggen.store import hub

    listed = []
    folder = Path(imggen.builtin.__file__).parent / "model"
    if (folder / INDEX).is_file():
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        listed.append(Installed(reference=BUILTIN, source="builtin", folder=folder, revision=None, size_bytes=size))
    return listed + [
        Installed(
            reference=model.repository,
            source="hub",
            folder=model.folder,
            revision=model.revision,
            size_bytes=model.size_bytes,
            last_used=datetime.fromtimestamp(model.accessed, UTC).isoformat(timespec="seconds"),
        )
        for model in hub.models()
    ]
