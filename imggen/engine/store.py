"""Models by reference: built in, in a folder, or from the hub. All facts, no weights: neither torch nor diffusers."""

import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import imggen.builtin
from imggen.engine import weights
from imggen.engine.environment import is_offline
from imggen.engine.weights import Terms
from imggen.errors import ModelError, RequestError
from imggen.plan.machine import Dtype
from imggen.plan.nearest import nearest
from imggen.plan.progress import Progress, ignore
from imggen.plan.request import ModelFacts, Source

BUILTIN = "builtin"
INDEX = "model_index.json"
RECORD = "imggen.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MAX_JSON_BYTES = 32 << 20
CONFIG_NAMES = ("config.json", "scheduler_config.json", "tokenizer_config.json", "preprocessor_config.json")
# Components that come as small text files: everything else must bring weights.
TEXT_ENDINGS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "FeatureExtractor")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "merges.txt")
DEFAULT_TERMS = Terms()


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A model that is on this machine: how to ask for it, where it lies and the bytes that it takes."""

    reference: str
    source: Source
    folder: Path
    revision: str | None
    size_bytes: int


def find(reference: str, *, terms: Terms = DEFAULT_TERMS, on_event: Callable[[Progress], None] = ignore) -> ModelFacts:
    """Return the facts of the model that `reference` names: `builtin`, a folder, or `org/name[@revision]` of the hub.

    What is cached is used as it is; what is not is fetched where `terms` allow it. A model that is missing, damaged or
    wants to run code or pickles is a ModelError.
    """
    name, revision = _split(reference)
    if name == BUILTIN:
        return read(builtin_folder(), reference=name, source="builtin", terms=terms)
    folder = _at_home(name)
    if _is_there(folder) and revision is None:
        return read(_local(name, folder), reference=name, source="folder", terms=terms)
    if not HUB_ID.fullmatch(name):
        raise _unknown(name)
    return _from_hub(name, revision, terms, on_event)


def _split(reference: str) -> tuple[str, str | None]:
    if not reference.strip():
        raise RequestError("the model reference is empty", hint=f"--model {BUILTIN}")
    # A folder may have an @ in its name; only what is not there can carry a revision.
    name, at, revision = reference.rpartition("@")
    if not at or _is_there(_at_home(reference)):
        return reference, None
    if not name or not revision:
        raise RequestError(f"{reference!r} is not a model reference", hint="--model ORGANISATION/NAME@REVISION")
    if name == BUILTIN or (_is_there(_at_home(name)) and not HUB_ID.fullmatch(name)):
        raise RequestError(f"{name} has no revisions: only models of the hub do", hint=f"--model {name}")
    return name, revision


def _at_home(name: str) -> Path:
    # Not Path.expanduser(), which raises for ~nobody.
    return Path(os.path.expanduser(name))  # noqa: PTH111


def _is_there(path: Path) -> bool:
    """Return whether there is such a file or folder; a name that no disk can have is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


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
    if folder.is_file():
        raise _single_file(folder)
    if (folder / INDEX).is_file():
        return folder
    if HUB_ID.fullmatch(name):
        raise ModelError(
            f"{name!r} is a folder here, without {INDEX}, and could also be a model of the hub",
            hint=f"for the folder write ./{name}, for the hub's model {name}@main",
        )
    inside = sorted(each.name for each in folder.iterdir() if (each / INDEX).is_file())
    if inside:
        raise ModelError(f"{folder} has no {INDEX}, but {inside[0]} in it has", hint=f"--model {folder / inside[0]}")
    single = next(
        (each for each in sorted(folder.iterdir()) if each.suffix in {".safetensors", *weights.PICKLE_SUFFIXES}), None
    )
    if single is not None:
        raise _single_file(single)
    raise ModelError(f"{folder} is not a diffusers model: it has no {INDEX}", hint="imggen models list")


def _single_file(path: Path) -> ModelError:
    if path.suffix in weights.PICKLE_SUFFIXES:
        return ModelError(
            f"{path} is a pickle, which can run any code when it is read; imggen reads models as safetensors folders",
            hint="look for the same model in the diffusers format with safetensors weights",
        )
    return ModelError(
        f"{path} is a single file; imggen reads models as diffusers folders with a {INDEX}",
        hint="look for the same model in the diffusers format",
    )


def _unknown(name: str) -> ModelError:
    guess = nearest(name, {BUILTIN, *(each.reference for each in installed())})
    hint = (
        f"--model {guess[0]}" if guess else "imggen models list; --model takes builtin, a folder or ORGANISATION/NAME"
    )
    return ModelError(f"there is no model {name!r}: it is neither built in, nor a folder, nor a hub id", hint=hint)


def _from_hub(name: str, revision: str | None, terms: Terms, on_event: Callable[[Progress], None]) -> ModelFacts:
    # Imported here because huggingface_hub reads HF_HUB_OFFLINE once, and a built-in model needs none of it.
    from imggen.engine import hub

    folder = hub.cached(name, revision)
    whole = folder is not None and not missing(folder)
    if not whole and is_offline(asked=terms.offline):
        get = f"hf download {name}" + (f" --revision {revision}" if revision else "")
        what = "is not complete in the cache" if folder else "is not on this machine"
        raise ModelError(
            f"{name} {what}, and nothing is to be fetched now{_perhaps(name, folder)}", hint=f"while online: {get}"
        )
    if folder is None or not whole:
        folder = hub.fetch(name, revision, terms=terms, on_event=on_event)
    return read(folder, reference=name, source="hub", revision=folder.name, terms=terms)


def _perhaps(name: str, folder: Path | None) -> str:
    guess = () if folder else nearest(name, [each.reference for each in installed()])
    return f" (did you mean {guess[0]}?)" if guess else ""


def missing(folder: Path) -> list[str]:
    """Return the components of the model in `folder` that are not whole; the index where even that is missing.

    Pickles count as weights here: whether they may be read is another question.
    """
    if not (folder / INDEX).is_file():
        return [INDEX]
    components = _components(folder, _read_json(folder / INDEX))
    return [name for name, (_, class_name) in components.items() if not _is_whole(folder, name, class_name)]


def _is_whole(folder: Path, name: str, class_name: str) -> bool:
    try:
        _choice(folder, name, class_name)
    except ModelError:
        return False
    return True


def read(
    folder: Path, *, reference: str, source: Source, revision: str | None = None, terms: Terms = DEFAULT_TERMS
) -> ModelFacts:
    """Return the facts of the diffusers model in `folder`, from its JSON files and the headers of its weights.

    Raise ModelError where it is incomplete or damaged, would run code of its own, or has pickles that `terms` forbid.
    """
    folder = folder.resolve() if source != "hub" else folder
    index = _read_json(folder / INDEX)
    _refuse_code(folder, index)
    components = _components(folder, index)
    choices = {name: _choice(folder, name, class_name) for name, (_, class_name) in components.items()}
    pickles = tuple(
        path.relative_to(folder).as_posix() for each in choices.values() if each and each.pickle for path in each.files
    )
    if pickles and not terms.allow_pickle:
        raise ModelError(
            f"{reference}: {pickles[0]} is a pickle, which can run any code when read, without a safetensors twin",
            hint="take a model with safetensors weights, or, if you trust this one, add --allow-pickle",
        )
    headers = {
        name: [weights.read_header(path) for path in each.files]
        for name, each in choices.items()
        if each and not each.pickle
    }
    return ModelFacts(
        reference=reference,
        source=source,
        folder=folder,
        pipeline=str(index["_class_name"]),
        revision=revision,
        options={
            name: value for name, value in index.items() if not isinstance(value, list) and not name.startswith("_")
        },
        components=components,
        configs={name: config for name in components if (config := _config(folder / name))},
        weight_bytes={name: _bytes(each, headers.get(name)) for name, each in choices.items() if each},
        stored_dtypes={name: dtype for name, each in headers.items() if (dtype := _dtype(each))},
        pickles=pickles,
        record=_read_json(folder / RECORD) if (folder / RECORD).is_file() else {},
    )


def _bytes(choice: weights.Choice, headers: list[weights.Header] | None) -> int:
    if headers is None:
        return sum(each.stat().st_size for each in choice.files)
    return sum(each.tensor_bytes for each in headers)


def _dtype(headers: list[weights.Header]) -> Dtype | None:
    biggest = max(headers, key=lambda each: each.tensor_bytes)
    return next((each for each in get_args(Dtype) if each == biggest.dtype), None)


def _read_json(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelError(f"{path} is too big to be a model's description")
        parsed = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"{path} holds {type(parsed).__name__}, not an object")
    return parsed


def _refuse_code(folder: Path, index: dict[str, object]) -> None:
    class_name = index.get("_class_name")
    if isinstance(class_name, list) or (folder / "pipeline.py").exists():
        raise ModelError(
            f"{folder} brings code of its own ({class_name if isinstance(class_name, list) else 'pipeline.py'}), "
            "which imggen never runs",
            hint="take a model whose pipeline is part of diffusers",
        )
    if not isinstance(class_name, str) or not class_name.isidentifier():
        raise ModelError(f"{folder / INDEX} names no pipeline class: _class_name is {class_name!r}")


def _components(folder: Path, index: dict[str, object]) -> dict[str, tuple[str, str]]:
    components = {}
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if value == [None, None]:
            continue
        if len(value) != 2 or not all(isinstance(each, str) for each in value) or not name.isidentifier():
            raise ModelError(f"{folder / INDEX}: component {name!r} is {value!r}, not [library, class]")
        components[name] = _known(folder, name, value[0], value[1])
    if not components:
        raise ModelError(f"{folder / INDEX} names no components")
    return components


def _known(folder: Path, name: str, library: str, class_name: str) -> tuple[str, str]:
    if (folder / name / f"{library}.py").exists():
        raise ModelError(f"{folder / name} brings code of its own, which imggen never runs")
    if library not in {"diffusers", "transformers"} and not _is_pipeline_package(library):
        raise ModelError(
            f"{folder / INDEX}: {name} wants {class_name} from {library!r}, which is not part of diffusers"
        )
    if not class_name.isidentifier():
        raise ModelError(f"{folder / INDEX}: {name} has no class {class_name!r}")
    return library, class_name


def _is_pipeline_package(library: str) -> bool:
    # Found on disk, since importing diffusers takes seconds.
    spec = importlib.util.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations or not library.isidentifier():
        return False
    return any((Path(each) / "pipelines" / library).is_dir() for each in spec.submodule_search_locations)


def _has_weights(class_name: str) -> bool:
    return not class_name.endswith(TEXT_ENDINGS)


def _choice(folder: Path, name: str, class_name: str) -> weights.Choice | None:
    place = folder / name
    _check_texts(place, class_name)
    if not _has_weights(class_name):
        return None
    choice = weights.choose(place, half=False)
    if choice is None:
        raise ModelError(f"{place} has no weights: neither diffusion_pytorch_model.safetensors nor model.safetensors")
    return choice


def _check_texts(place: Path, class_name: str) -> None:
    if not place.is_dir():
        raise ModelError(f"{place.parent} is incomplete: the folder {place.name} is missing")
    # Without its files a tokenizer loads all the same, empty, and every prompt becomes the same picture.
    if "Tokenizer" in class_name and not any((place / each).is_file() for each in TOKENIZER_FILES):
        raise ModelError(f"{place} has no vocabulary: none of {', '.join(TOKENIZER_FILES)} is there")
    if not any((place / each).is_file() for each in CONFIG_NAMES):
        raise ModelError(f"{place} has no config: none of {', '.join(CONFIG_NAMES)} is there")


def _config(place: Path) -> dict[str, object]:
    found = next((place / each for each in CONFIG_NAMES if (place / each).is_file()), None)
    return _read_json(found) if found else {}


def files(facts: ModelFacts, dtype: Dtype) -> dict[str, weights.Choice]:
    """Return the weight files that a run in `dtype` reads, by component."""
    half = weights.is_half(dtype)
    chosen = {name: weights.choose(facts.folder / name, half=half) for name in facts.weight_bytes}
    return {name: each for name, each in chosen.items() if each is not None}


def weights_sha256(facts: ModelFacts, dtype: Dtype, *, memory: Path | None = None) -> str:
    """Return the model's hash for the recipe: over the names and contents of the weight files that `dtype` reads."""
    paths = [path for each in files(facts, dtype).values() for path in each.files]
    return weights.sha256(facts.folder, paths, memory=memory)


def licence(facts: ModelFacts) -> str | None:
    """Return the licence that the model's record or, in its first lines, its card names."""
    named = facts.record.get("licence") or facts.record.get("license")
    if isinstance(named, str):
        return named
    card = facts.folder / "README.md"
    if not card.is_file():
        return None
    with card.open(encoding="utf-8", errors="replace") as file:
        head = file.read(8192)
    lines = head.split("---")[1].splitlines() if head.startswith("---") and head.count("---") > 1 else []
    found = (line.partition(":")[2].strip(" '\"") for line in lines if line.startswith(("license:", "license_name:")))
    return next((each for each in found if each), None)


def installed() -> list[Installed]:
    """Return the models on this machine that need no fetching: the built-in one, then the hub's cache, by name."""
    # See _from_hub for why this import waits.
    from imggen.engine import hub

    found = []
    folder = Path(imggen.builtin.__file__).parent / "model"
    if (folder / INDEX).is_file():
        size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
        found.append(Installed(reference=BUILTIN, source="builtin", folder=folder, revision=None, size_bytes=size))
    return found + [
        Installed(
            reference=each.repository,
            source="hub",
            folder=each.folder,
            revision=each.revision,
            size_bytes=each.size_bytes,
        )
        for each in hub.models()
    ]
