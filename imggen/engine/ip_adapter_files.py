"""IP-Adapters before torch sees them: which of the files fits the model, and where its image encoder lies."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from imggen.engine import documents, foreign_code, places, weights
from imggen.engine.environment import is_offline
from imggen.engine.weights import Terms
from imggen.errors import ModelError, RequestError
from imggen.plan import adaptation, ip_adapters
from imggen.plan.adapter import AdapterFacts, Asked
from imggen.plan.ip_adapters import Need, Shapes
from imggen.plan.progress import Progress, ignore

FOLDERS: Final = (".", "models", "sdxl_models")
"""Where h94/IP-Adapter, whose layout others follow, keeps adapters below its root."""

ENCODERS: Final = ("image_encoder", "../image_encoder", "../models/image_encoder")
"""Where it keeps encoders, beside an adapter."""

CONFIG: Final = "config.json"

_MOST_NAMED: Final = 4
# What transformers takes for a CLIP vision model's sizes where its config does not say.
_USUAL_SIZES: Final = {"hidden_size": 768, "projection_dim": 512}

Unet = Mapping[str, object]
Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """An adapter that fits: its file, what is in it, and the folder of the image encoder that it was trained with."""

    file: Path
    shapes: Shapes
    encoder: Path


def find(asked: Asked, unet: Unet, *, terms: Terms, on_event: Report = ignore) -> AdapterFacts:
    """Return the facts of the IP-Adapter that is asked for: its own file first, then those of its image encoder.

    It is a file with a folder `image_encoder` beside it or one level up, a folder as h94/IP-Adapter lays it out, in
    which exactly one adapter may fit a U-Net of the config `unet`, or `org/name[@revision]/file` of the hub. Raise
    ModelError for what is missing, damaged, made for another model or encoder, or a pickle where `terms` do not permit
    it; RequestError where several fit.
    """
    path = places.at_home(asked.reference)
    if places.is_there(path):
        return _facts(asked, _choose(asked, path, unet, terms), terms, reference=asked.reference, revision=None)
    parts = adaptation.split_hub(asked.reference)
    if parts is None:
        raise ModelError(
            f"{asked.option} {asked.reference}: there is no such file or folder",
            hint="a safetensors file with image_encoder/ beside it, or a folder as h94/IP-Adapter has",
        )
    repository, revision, file = parts
    snapshot, chosen = _from_hub(asked, (repository, revision, file), unet, terms, on_event)
    reference = repository if file is None else f"{repository}/{file}"
    return _facts(asked, chosen, terms, reference=reference, revision=snapshot.name)


def _facts(asked: Asked, chosen: _Fitting, terms: Terms, *, reference: str, revision: str | None) -> AdapterFacts:
    encoder = _encoder_files(chosen.encoder, terms)
    pickle = chosen.file.suffix != ".safetensors"
    headers = [weights.read_header(each) for each in (chosen.file, *encoder) if each.suffix == ".safetensors"]
    return AdapterFacts(
        asked=asked,
        files=(chosen.file, *encoder),
        sha256=weights.file_sha256(chosen.file, cached=revision is not None),
        reference=reference,
        revision=revision,
        pickle=pickle or any(each.suffix != ".safetensors" for each in encoder),
        weight_bytes=sum(each.tensor_bytes for each in headers),
        shapes=chosen.shapes,
        config=documents.read(chosen.encoder / CONFIG),
    )


def _choose(asked: Asked, place: Path, unet: Unet, terms: Terms) -> _Fitting:
    fitting, faults = [], []
    for file in _files(asked, place, terms):
        try:
            fitting.append(_examined(file, unet))
        except ModelError as error:
            faults.append(error)
    if len(fitting) > 1:
        listed = ", ".join(str(each.file.relative_to(place)) for each in fitting)
        first = min((each.file for each in fitting), key=lambda each: (len(each.name), each.name))
        raise RequestError(f"{place} has several adapters that fit: {listed}", hint=f"{ip_adapters.WEIGHTS} {first}")
    if fitting:
        return fitting[0]
    if len(faults) == 1:
        raise faults[0]
    listed = "; ".join(each.message for each in faults[:_MOST_NAMED])
    raise ModelError(f"none of the {len(faults)} adapters in {place} fits: {listed}")


def _files(asked: Asked, place: Path, terms: Terms) -> list[Path]:
    if place.is_dir():
        places = [each for each in (place / name for name in FOLDERS) if each.is_dir()]
        inside = [file for folder in places for file in sorted(folder.iterdir()) if file.is_file()]
        safe = [each for each in inside if each.suffix == ".safetensors"]
        found = safe or [each for each in inside if each.suffix in weights.PICKLE_SUFFIXES]
    else:
        found = [place]
    if not found:
        raise ModelError(
            f"{asked.option} {asked.reference} holds no IP-Adapter: there is no safetensors file in it, in models or "
            "in sdxl_models",
            hint="a folder as h94/IP-Adapter has",
        )
    _refuse_pickles(found, terms)
    return found


def _refuse_pickles(files: Iterable[Path], terms: Terms) -> None:
    pickles = [each for each in files if each.suffix != ".safetensors"]
    if pickles and not terms.allow_pickle:
        raise ModelError(f"{pickles[0]} is a pickle, which can run code when it is read", hint="--allow-pickle")


def _examined(file: Path, unet: Unet) -> _Fitting:
    shapes = _shapes(file)
    need = ip_adapters.need(str(file), shapes)
    ip_adapters.check_fit(str(file), shapes, unet)
    return _Fitting(file=file, shapes=shapes, encoder=_find_encoder(file, need))


def _shapes(file: Path) -> Shapes:
    if file.suffix == ".safetensors":
        return weights.read_header(file).shapes
    # A pickle tells nothing before it is read, which takes torch.
    from imggen.engine import adapters

    return {name: tuple(each.shape) for name, each in adapters.tensors(file).items()}


def _find_encoder(file: Path, need: Need) -> Path:
    # As it is named, not where a link points to: what the hub's cache holds lies elsewhere, under hashes.
    places = [Path(os.path.normpath(file.parent / each)) for each in ENCODERS]
    sizes = {each: _size(each, need) for each in places if (each / CONFIG).is_file()}
    if not sizes:
        raise ModelError(
            f"{file} comes without its image encoder: no {places[0]} and no {places[1]}",
            hint=f"put the image encoder that it was trained with into {places[0]}",
        )
    fitting = next((each for each, size in sizes.items() if size == need.size), None)
    if fitting is None:
        listed = ", ".join(f"{each} has {size}" for each, size in sizes.items())
        raise ModelError(f"{file} wants an image encoder with {need.setting} {need.size}; {listed}")
    return fitting


def _size(folder: Path, need: Need) -> int:
    config = documents.read(folder / CONFIG)
    # A whole CLIP model has one config for each of its halves.
    inner = config.get("vision_config")
    own = config | inner if isinstance(inner, dict) else config
    found = own.get(need.setting, _USUAL_SIZES[need.setting])
    if not isinstance(found, int):
        raise ModelError(f"{folder / CONFIG} has {found!r} as its {need.setting}")
    return found


def _encoder_files(folder: Path, terms: Terms) -> tuple[Path, ...]:
    choice = weights.choose(folder, half=terms.half)
    if choice is None:
        raise ModelError(f"{folder} has no weights", hint="fetch the image encoder again")
    _refuse_pickles(choice.files, terms)
    foreign_code.refuse(folder, "CLIPVisionModelWithProjection", {CONFIG: documents.read(folder / CONFIG)})
    return choice.files


def _from_hub(
    asked: Asked, parts: tuple[str, str | None, str | None], unet: Unet, terms: Terms, on_event: Report
) -> tuple[Path, _Fitting]:
    """Return the snapshot that has the adapter and its encoder, and which they are; fetch what is not there."""
    # Imported here because huggingface_hub reads HF_HUB_OFFLINE once.
    from imggen.engine import hub

    repository, revision, file = parts
    snapshot = hub.cached(repository, revision)
    if snapshot is not None and (file is None or (snapshot / file).is_file()):
        try:
            chosen = _choose(asked, snapshot / (file or "."), unet, terms)
            _encoder_files(chosen.encoder, terms)
        except ModelError:
            if file is None or is_offline(asked=terms.offline):
                raise
        else:
            return snapshot, chosen
    if file is None:
        raise ModelError(
            f"{asked.option} {asked.reference} names no file of the repository",
            hint=f"{ip_adapters.WEIGHTS} {asked.reference}/ip-adapter.safetensors",
        )
    if is_offline(asked=terms.offline):
        raise ModelError(
            f"{asked.option} {asked.reference}: it is not on this machine, and nothing is to be fetched now",
            hint=f"while online: hf download {repository} {file}, and its image encoder",
        )

    def fetch(choose: Callable[[list[str]], list[str]]) -> Path:
        return hub.obtain(repository, revision, choose=choose, sketch_in=terms.sketch, on_event=on_event)

    # The header says which encoder it wants, and the encoders' configs which of them that is.
    snapshot = fetch(lambda names: [*_named(names, file), *_encoder_configs(names, file)])
    chosen = _choose(asked, snapshot / file, unet, terms)
    place = PurePosixPath(chosen.encoder.relative_to(snapshot).as_posix())
    snapshot = fetch(lambda names: [*_named(names, file), *_encoder_names(names, place, terms)])
    return snapshot, chosen


def _named(names: Iterable[str], file: str) -> list[str]:
    listed = list(names)
    if file not in listed:
        like = [each for each in listed if PurePosixPath(each).suffix == ".safetensors"]
        raise ModelError(
            f"the repository has no {file}", hint=f"it has {', '.join(like[:_MOST_NAMED])}" if like else None
        )
    return [file]


def _encoder_configs(names: Iterable[str], file: str) -> list[str]:
    places = {os.path.normpath(PurePosixPath(file).parent / each / CONFIG) for each in ENCODERS}
    return sorted({PurePosixPath(each).as_posix() for each in places} & set(names))


def _encoder_names(names: Iterable[str], place: PurePosixPath, terms: Terms) -> list[str]:
    from imggen.engine import hub

    inside = [each for each in map(PurePosixPath, names) if each.parent == place]
    jsons = [each for each in inside if each.suffix == ".json"]
    return sorted({each.as_posix() for each in (*jsons, *hub.weights_of(inside, terms))})
