"""Adapters before torch sees them: where their files lie, and what the headers say."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from platformdirs import user_config_path

from imggen.errors import ModelError
from imggen.host.environment import is_offline
from imggen.plan.adapters import adaptation, embedding
from imggen.plan.adapters.adaptation import HubParts
from imggen.plan.models import config_limits
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest, Kind
from imggen.plan.schema.progress import Report, ignore
from imggen.plan.schema.request import ModelFacts
from imggen.store import json_files, paths, pickles, weights
from imggen.store.weights import AccessRules

CONFIG: Final = "config.json"
PROCESSOR: Final = "preprocessor_config.json"
"""What says how a picture is made ready for a network that looks at it."""
MAX_CONFIG_BYTES: Final = 1 << 20
MAX_VOCABULARY_BYTES: Final = 64 << 20
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"

_USUAL: Final[dict[Kind, tuple[str, ...]]] = {
    "lora": ("pytorch_lora_weights.safetensors", PEFT_WEIGHTS),
    "embedding": ("learned_embeds.safetensors",),
}
"""How diffusers calls the one file that is the adapter, where others may lie beside it."""
_MODELS: Final[tuple[Kind, ...]] = ("vae", "controlnet", "depth")
"""Kinds that are models of their own: a config and weights, in one file or in shards."""
_CALLED: Final[dict[Kind, str]] = {
    "lora": "LoRA",
    "embedding": "embedding",
    "vae": "autoencoder",
    "controlnet": "ControlNet",
    "ip-adapter": "IP-Adapter",
    "depth": "depth network",
}
_SHOWN: Final = 4

DEFAULT_TERMS: Final = AccessRules()


@dataclass(frozen=True, kw_only=True)
class _Location:
    """Where an adapter lies: a file or a folder, and for the hub the commit."""

    place: Path
    reference: str
    revision: str | None = None


def find(asked: AdapterRequest, *, terms: AccessRules = DEFAULT_TERMS, on_event: Report = ignore) -> AdapterFacts:
    """Return the facts of the adapter that is asked for: a file, a folder, or `org/name[@revision][/file]` of the hub.

    What is cached is used as it is; what is not is fetched where `terms` allow it. One that is missing, damaged, or a
    pickle that `terms` forbid is a ModelError.
    """
    location = _locate(asked, terms, on_event)
    choice = _choice(asked, location.place, terms)
    _allowed(asked, choice.files[0].name, terms)
    headers = [] if choice.pickle else [weights.read_header(file) for file in choice.files]
    facts = AdapterFacts(
        asked=asked,
        files=choice.files,
        sha256=_sha256(choice.files, cached=location.revision is not None),
        reference=location.reference,
        revision=location.revision,
        pickle=choice.pickle,
        weight_bytes=weights.size(choice, None if choice.pickle else headers),
        stored_dtype=weights.stored_dtype(headers),
        shapes=weights.shapes(headers),
        metadata={name: text for header in headers for name, text in header.metadata.items()},
        config=_config_of(asked, choice.files[0]),
    )
    config_limits.check(f"{asked.option} {asked.reference}", facts.config)
    return facts if asked.kind != "embedding" else replace(facts, asked=replace(asked, token=embedding.word(facts)))


def check_words(adapters: Iterable[AdapterFacts], model: ModelFacts) -> None:
    """Raise RequestError for an embedding whose word the model's tokenizer has already."""
    for adapter in adapters:
        if adapter.asked.kind == "embedding" and adapter.asked.token:
            embedding.refuse_known(adapter, adapter.asked.token, _vocabulary(model.folder / "tokenizer"))


def _vocabulary(folder: Path) -> Iterable[str]:
    """Return the words of the tokenizer in `folder`, as far as it has files of JSON that tell them."""
    plain, whole = (_described(folder / name, MAX_VOCABULARY_BYTES) for name in ("vocab.json", "tokenizer.json"))
    model = whole.get("model")
    inner = model.get("vocab") if isinstance(model, dict) else None
    return {*plain, *(inner if isinstance(inner, dict) else ())}


def _locate(asked: AdapterRequest, terms: AccessRules, on_event: Report) -> _Location:
    """Return where the adapter lies: a path, a LoRA of the user's own folder, or the hub."""
    path = paths.at_home(asked.reference)
    if paths.is_there(path):
        return _Location(place=path, reference=asked.reference)
    own = of_the_user(asked.reference) if asked.kind == "lora" else None
    if own is not None:
        return _Location(place=own, reference=asked.reference)
    parts = adaptation.split_hub(asked.reference)
    if parts is None:
        raise ModelError(
            f"{asked.option} {asked.reference}: there is no such file or folder",
            hint=f"{asked.option} FILE, a folder, or ORGANISATION/NAME of the hub",
        )
    return _from_hub(asked, parts, terms, on_event)


def lora_folder() -> Path:
    """Return the folder of the user's own LoRAs, which are found there by their names."""
    return user_config_path("imggen", appauthor=False) / "loras"


def of_the_user(name: str) -> Path | None:
    """Return the user's own LoRA of that name, None where there is none."""
    file = lora_folder() / f"{name}.safetensors"
    # A name leads into the folder, and not out of it.
    return file if ".." not in file.parts and lora_folder() in file.parents and paths.is_there(file) else None


def _from_hub(asked: AdapterRequest, parts: HubParts, terms: AccessRules, on_event: Report) -> _Location:
    """Return where the adapter lies in the hub's cache, fetched where it is missing and may be."""
    # Imported here because huggingface_hub reads HF_HUB_OFFLINE once.
    from imggen.store import hub

    repository, revision, file = parts
    reference = repository + (f"/{file}" if file else "")
    folder = hub.cached(repository, revision)
    if folder is not None and _is_whole(asked, folder, file, terms):
        return _Location(place=folder / (file or ""), reference=reference, revision=folder.name)
    if is_offline(asked=terms.offline):
        get = f"hf download {repository}" + (f" {file}" if file else "")
        at = f" --revision {revision}" if revision else ""
        raise ModelError(
            f"{asked.option} {asked.reference}: it is not on this machine, and imggen is offline",
            hint=f"while online: {get}{at}",
        )
    choose = partial(_wanted, asked, file, terms)
    folder = hub.obtain(repository, revision, choose=choose, sketch_in=terms.sketch, on_event=on_event)
    return _Location(place=folder / (file or ""), reference=reference, revision=folder.name)


def _is_whole(asked: AdapterRequest, folder: Path, file: str | None, terms: AccessRules) -> bool:
    if file:
        return (folder / file).is_file()
    try:
        _choice(asked, folder, replace(terms, allow_pickle=True))
    except ModelError:
        return False
    return True


def _wanted(asked: AdapterRequest, file: str | None, terms: AccessRules, names: Iterable[str]) -> list[str]:
    """Return which of a repository's files the adapter is made of."""
    listed = sorted(names)
    if file:
        if file not in listed:
            raise ModelError(f"{asked.option} {asked.reference}: the repository has no {file}", hint=_listing(listed))
        # Of a ControlNet nothing but its config tells what it was made for.
        config = (PurePosixPath(file).parent / CONFIG).as_posix()
        beside = [config] if asked.kind == "controlnet" and config in listed else []
        return [_allowed(asked, file, terms), *beside]
    if asked.kind not in _MODELS:
        beside = [name for name in listed if "/" not in name]
        file_name = _allowed(asked, _single(asked, beside), terms)
        return [file_name, *(name for name in (PEFT_CONFIG,) if file_name == PEFT_WEIGHTS and name in beside)]
    root = _model_root(asked, listed)
    # Imported here because huggingface_hub reads HF_HUB_OFFLINE once.
    from imggen.store import hub

    inside = [path for path in map(PurePosixPath, listed) if path.parent == root]
    texts = [path for path in inside if path.suffix == ".json"]
    return [path.as_posix() for path in (*texts, *hub.weights_of(inside, terms))]


def _model_root(asked: AdapterRequest, names: Iterable[str]) -> PurePosixPath:
    """Return the folder of the model: the root, or the part of a whole pipeline that has the kind's name."""
    for folder in (PurePosixPath(), PurePosixPath(asked.kind)):
        if (folder / CONFIG).as_posix() in names:
            return folder
    library = "transformers" if asked.kind == "depth" else "diffusers"
    raise ModelError(
        f"{asked.option} {asked.reference} is no {_CALLED[asked.kind]} of {library}: it has no {CONFIG}",
        hint=f"{asked.option} with a folder that has {CONFIG} and its weights",
    )


def _choice(asked: AdapterRequest, place: Path, terms: AccessRules) -> weights.WeightFiles:
    """Return the weight files of the adapter in `place`."""
    if place.is_file():
        return _file(asked, place)
    if not place.is_dir():
        raise ModelError(f"{asked.option} {asked.reference} is neither a file nor a folder")
    if asked.kind in _MODELS:
        names = [path.relative_to(place).as_posix() for path in place.glob(f"*/{CONFIG}")]
        names += [CONFIG] if (place / CONFIG).is_file() else []
        choice = weights.choose(place / _model_root(asked, names), half=terms.half)
        if choice is None:
            raise ModelError(f"{asked.option} {asked.reference}: there are no weights in {place}")
        return choice
    names = [entry.name for entry in sorted(place.iterdir()) if entry.is_file()]
    return _file(asked, place / _single(asked, names))


def _file(asked: AdapterRequest, path: Path) -> weights.WeightFiles:
    if path.suffix in weights.PICKLE_SUFFIXES:
        return weights.WeightFiles(files=(path,), pickle=True)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{asked.option} {asked.reference}: {path.name} is not a safetensors file",
            hint=f"{asked.option} {path.stem}.safetensors",
        )
    return weights.WeightFiles(files=(path,))


def _single(asked: AdapterRequest, names: Iterable[str]) -> str:
    """Return the one file among `names` that is the adapter."""
    listed = list(names)
    usual = [name for name in _USUAL.get(asked.kind, ()) if name in listed]
    safe = [name for name in listed if name.endswith(".safetensors")]
    unsafe = [name for name in listed if PurePosixPath(name).suffix in weights.PICKLE_SUFFIXES]
    candidates = usual or safe or unsafe
    if not candidates:
        raise ModelError(
            f"{asked.option} {asked.reference}: there is no {_CALLED[asked.kind]} in it, as it has no safetensors file",
            hint=_listing(listed),
        )
    if len(candidates) > 1:
        listed_files = _shortened(candidates)
        raise ModelError(
            f"{asked.option} {asked.reference} has {len(candidates)} files that could be meant: {listed_files}",
            hint=f"{asked.option} {asked.reference.rstrip('/')}/{candidates[0]}",
        )
    return candidates[0]


def _allowed(asked: AdapterRequest, name: str, terms: AccessRules) -> str:
    """Return the name of a file that `terms` permit to read."""
    if PurePosixPath(name).suffix in weights.PICKLE_SUFFIXES and not terms.allow_pickle:
        raise pickles.refusal(f"{asked.option} {asked.reference}: {name}")
    return name


def _listing(names: list[str]) -> str | None:
    return f"it has {_shortened(names)}" if names else None


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _sha256(files: tuple[Path, ...], *, cached: bool) -> str:
    # The hash that sites where adapters are shared show is that of the file.
    if len(files) == 1:
        return weights.file_sha256(files[0], cached=cached)
    return weights.sha256(files[0].parent, files, cached=cached)


def _config_of(asked: AdapterRequest, file: Path) -> dict[str, object]:
    """Return what a JSON file beside the weights says of them, nothing where none is about them."""
    if asked.kind == "controlnet" or (asked.kind in _MODELS and file.name.startswith(weights.STEMS)):
        return _described(file.parent / CONFIG, MAX_CONFIG_BYTES)
    if asked.kind == "lora" and file.name == PEFT_WEIGHTS:
        return _described(file.parent / PEFT_CONFIG, MAX_CONFIG_BYTES)
    return {}


def _described(path: Path, most_bytes: int) -> dict[str, object]:
    return json_files.read(path, most_bytes=most_bytes) if path.is_file() else {}
