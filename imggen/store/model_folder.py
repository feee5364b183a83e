"""Folders of diffusers models: their components, configs and weights, from JSON files and headers alone."""

import importlib.util
from itertools import chain
from pathlib import Path
from typing import TypeGuard

from imggen.errors import ModelError
from imggen.plan.models import catalog, config_limits
from imggen.plan.schema.request import ModelFacts, Source
from imggen.store import json_files, remote_code, single_file, weights
from imggen.store.weights import AccessRules

INDEX = "model_index.json"
RECORD = "imggen.json"
_CONFIGURED = ("scheduler", "tokenizer", "preprocessor", "guider")
CONFIG_NAMES = ("config.json", *(f"{part}_config.json" for part in _CONFIGURED))
# Components that come as small text files: everything else must bring weights.
_TOKENIZERS = ("Tokenizer", "TokenizerFast", "TokenizersBackend")
TEXT_ENDINGS = (*_TOKENIZERS, "Scheduler", "Processor", "FeatureExtractor", "Guidance")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "merges.txt")
DEFAULT_TERMS = AccessRules()


def read(
    folder: Path, *, reference: str, source: Source, revision: str | None = None, terms: AccessRules = DEFAULT_TERMS
) -> ModelFacts:
    """Return the facts of the diffusers model in `folder`, from its JSON files and the headers of its weights.

    Raise ModelError where it is incomplete or damaged, would run code of its own, or has pickles that `terms` forbid.
    """
    folder = folder.resolve() if source != "hub" else folder
    index = json_files.read(folder / INDEX)
    _refuse_code(folder, index)
    components = _components(folder, index)
    configs = {}
    for name, (_, class_name) in components.items():
        own = _configs(folder / name)
        remote_code.refuse(folder / name, class_name, own)
        config_limits.check(f"{name} of {reference}", own.get("config.json", {}))
        configs[name] = next(iter(own.values()), {})
    choices = {name: _choice(folder, name, class_name, terms.without) for name, (_, class_name) in components.items()}
    unsafe = [choice.files for choice in choices.values() if choice and choice.pickle]
    pickles = tuple(path.relative_to(folder).as_posix() for path in chain.from_iterable(unsafe))
    if pickles and not terms.allow_pickle:
        raise ModelError(
            f"{reference}: {pickles[0]} is a pickle, which can run any code when read, without a safetensors twin",
            hint="take a model with safetensors weights, or, if you trust this one, add --allow-pickle",
        )
    safe = {name: choice.files for name, choice in choices.items() if choice and not choice.pickle}
    headers = {name: list(map(weights.read_header, files)) for name, files in safe.items()}
    return ModelFacts(
        reference=reference,
        source=source,
        folder=folder,
        pipeline=catalog.current_name(str(index["_class_name"])),
        revision=revision,
        options={name: value for name, value in index.items() if not _is_component(value) and not name.startswith("_")},
        components=components,
        configs={name: config for name, config in configs.items() if config},
        weight_bytes={name: weights.size(choice, headers.get(name)) for name, choice in choices.items() if choice},
        stored_dtypes={name: dtype for name, header in headers.items() if (dtype := weights.stored_dtype(header))},
        shapes={name: weights.shapes(header) for name, header in headers.items()},
        pickles=pickles,
        record=json_files.read(folder / RECORD) if (folder / RECORD).is_file() else {},
    )


def missing(folder: Path, *, without: tuple[str, ...] = ()) -> list[str]:
    """Return the components of the model in `folder` that are not whole; the index where even that is missing.

    Pickles count as weights here: whether they may be read is another question. Of those in `without` only the small
    files are wanted.
    """
    if not (folder / INDEX).is_file():
        return [INDEX]
    components = _components(folder, json_files.read(folder / INDEX))
    return [name for name, _ in _faults(folder, components, without)]


def faults(folder: Path) -> list[tuple[str, str]]:
    """Return what keeps the model in `folder` from being loaded: the component or file, and what is wrong with it."""
    try:
        return _faults(folder, _components(folder, json_files.read(folder / INDEX)))
    except ModelError as error:
        return [(INDEX, error.message)]


def _faults(
    folder: Path, components: dict[str, tuple[str, str]], without: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    problems = []
    for name, (_, class_name) in components.items():
        try:
            _choice(folder, name, class_name, without)
        except ModelError as error:
            problems.append((name, error.message))
    return problems


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
    """Return the library and class of each part that the index names; raise ModelError for a malformed index."""
    components = {}
    for name, value in index.items():
        if name.startswith("_") or not _is_component(value) or value == [None, None]:
            continue
        texts = [text for text in value if isinstance(text, str)]
        if len(value) != 2 or len(texts) != 2 or not name.isidentifier():
            raise ModelError(f"{folder / INDEX}: component {name!r} is {value!r}, not [library, class]")
        components[name] = _known(folder, name, texts[0], texts[1])
    if not components:
        raise ModelError(f"{folder / INDEX} names no components")
    return components


def _is_component(value: object) -> TypeGuard[list[object]]:
    """Return whether an entry of the index names a part; numbers in a list are an option, as Krea 2 has one."""
    numbers = isinstance(value, list) and bool(value) and all(type(number) in (int, float) for number in value)
    return isinstance(value, list) and not numbers


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
    places = [Path(location) / "pipelines" for location in spec.submodule_search_locations]
    return any((place / group / library).is_dir() for place in places for group in ("", "deprecated"))


def _choice(folder: Path, name: str, class_name: str, without: tuple[str, ...] = ()) -> weights.WeightFiles | None:
    place = folder / name
    if name in without and name in single_file.LEFT_OUT:
        return None
    _check_texts(place, class_name)
    if name in without or class_name.endswith(TEXT_ENDINGS):
        return None
    choice = weights.choose(place, half=False)
    if choice is None:
        raise ModelError(f"{place} has no weights: neither diffusion_pytorch_model.safetensors nor model.safetensors")
    return choice


def _check_texts(place: Path, class_name: str) -> None:
    if not place.is_dir():
        raise ModelError(f"{place.parent} is incomplete: the folder {place.name} is missing")
    # Without its files a tokenizer loads all the same, empty, and every prompt becomes the same picture.
    reads_words = "Tokenizer" in class_name and class_name != "ByT5Tokenizer"
    if reads_words and not any((place / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(f"{place} has no vocabulary: none of {', '.join(TOKENIZER_FILES)} is there")
    if not any((place / name).is_file() for name in CONFIG_NAMES):
        raise ModelError(f"{place} has no config: none of {', '.join(CONFIG_NAMES)} is there")


def _configs(place: Path) -> dict[str, dict[str, object]]:
    return {name: json_files.read(place / name) for name in CONFIG_NAMES if (place / name).is_file()}
