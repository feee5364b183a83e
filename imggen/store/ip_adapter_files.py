"""IP-Adapters before torch sees them: which of the files fits the model, and where its image encoder lies."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from imggen.errors import ModelError, RequestError
from imggen.host.environment import is_offline
from imggen.plan.adapters import adaptation, ip_adapter_layouts, ip_adapters
from imggen.plan.adapters.adaptation import HubParts
from imggen.plan.adapters.ip_adapter_layouts import Config, EncoderNeed, Layout, Shapes
from imggen.plan.models import config_limits
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest, ImageEncoder
from imggen.plan.schema.progress import Report, ignore
from imggen.store import json_files, paths, pickles, remote_code, weights
from imggen.store.adapter_files import CONFIG, PROCESSOR
from imggen.store.weights import AccessRules

FOLDERS: Final = (".", "models", "sdxl_models")
"""Where h94/IP-Adapter, whose layout others follow, keeps adapters below its root."""

ENCODERS: Final = ("image_encoder", "../image_encoder", "../models/image_encoder")
"""Where it keeps encoders, beside an adapter."""

_MOST_NAMED: Final = 4


@dataclass(frozen=True, kw_only=True)
class AdapterTarget:
    """What an adapter has to fit: the layout of those for the model, and the config of its denoiser."""

    layout: Layout
    config: Config


@dataclass(frozen=True, kw_only=True)
class _Fitting:
    """An adapter that fits: its file, what is in it and what it wants of its image encoder.

    `encoder` is that one's folder where it lies beside the file, None where it is to be found elsewhere.
    """

    file: Path
    shapes: Shapes
    need: EncoderNeed
    encoder: Path | None


def find(
    asked: AdapterRequest, target: AdapterTarget, *, terms: AccessRules, on_event: Report = ignore
) -> AdapterFacts:
    """Return the facts of the IP-Adapter that is asked for: its own file first, then those of its image encoder.

    It is a file with a folder `image_encoder` beside it or one level up, a folder as h94/IP-Adapter lays it out, in
    which exactly one adapter may fit what it is `worn` by, or `org/name[@revision]/file` of the hub. An encoder that
    lies elsewhere is the one that is asked for, or the one that adapters of this layout were trained with, if
    `terms` allow it. Raise ModelError for what is missing, damaged, made for another model or encoder, or a pickle
    where `terms` do not permit it; RequestError where several fit.
    """
    path = paths.at_home(asked.reference)
    if paths.is_there(path):
        reference, revision, chosen = asked.reference, None, _choose(asked, path, target, terms)
    else:
        parts = adaptation.split_hub(asked.reference)
        if parts is None:
            raise ModelError(
                f"{asked.option} {asked.reference}: there is no such file or folder",
                hint="a safetensors file with image_encoder/ beside it, or a folder as h94/IP-Adapter has",
            )
        repository, _, file = parts
        snapshot, chosen = _from_hub(asked, parts, target, terms, on_event)
        reference, revision = repository if file is None else f"{repository}/{file}", snapshot.name
    if chosen.encoder is not None:
        return _facts(asked, chosen, (chosen.encoder, None), target, terms, reference=reference, revision=revision)
    named = asked.encoder or target.layout.encoder or ""
    terms.allow(named)
    encoder = _elsewhere(named, chosen, target.layout, terms, on_event)
    return _facts(asked, chosen, encoder, target, terms, reference=reference, revision=revision)


def _facts(  # noqa: PLR0913 - what was found, and where
    asked: AdapterRequest,
    chosen: _Fitting,
    encoder: tuple[Path, ImageEncoder | None],
    target: AdapterTarget,
    terms: AccessRules,
    *,
    reference: str,
    revision: str | None,
) -> AdapterFacts:
    """Return the facts of the chosen adapter with its image encoder."""
    folder, named = encoder
    files = (chosen.file, *_encoder_files(folder, target.layout, terms))
    return AdapterFacts(
        asked=asked,
        files=files,
        sha256=weights.file_sha256(chosen.file, cached=revision is not None),
        reference=reference,
        revision=revision,
        pickle=any(file.suffix != ".safetensors" for file in files),
        weight_bytes=sum(_half_bytes(file, target.layout) for file in files),
        stored_dtype="float16",
        shapes=chosen.shapes,
        config=json_files.read(folder / CONFIG),
        encoder=named,
    )


def _half_bytes(file: Path, layout: Layout) -> int:
    """Return the bytes of what is read of `file` in half precision, which adapters and encoders share seldom."""
    if file.suffix != ".safetensors":
        return file.stat().st_size
    header = weights.read_header(file)
    read = [siz for siz in header.sizes if not siz.startswith(layout.eye.unread)]
    return sum(header.sizes[name] // weights.DTYPE_BYTES[header.dtypes[name]] * 2 for name in read)


def _choose(asked: AdapterRequest, place: Path, target: AdapterTarget, terms: AccessRules) -> _Fitting:
    """Return the one adapter in `place` that fits; raise where none or several do."""
    fitting, faults = [], []
    for file in _files(asked, place, terms):
        try:
            fitting.append(_examined(asked, file, target))
        except ModelError as error:
            faults.append(error)
    if len(fitting) > 1:
        listed = ", ".join(str(candidate.file.relative_to(place)) for candidate in fitting)
        first = min((candidate.file for candidate in fitting), key=lambda file: (len(file.name), file.name))
        raise RequestError(f"{place} has several adapters that fit: {listed}", hint=f"{ip_adapters.WEIGHTS} {first}")
    if fitting:
        return fitting[0]
    if len(faults) == 1:
        raise faults[0]
    listed = "; ".join(fault.message for fault in faults[:_MOST_NAMED])
    raise ModelError(f"none of the {len(faults)} adapters in {place} fits: {listed}")


def _files(asked: AdapterRequest, place: Path, terms: AccessRules) -> list[Path]:
    """Return the files in `place` that may be adapters."""
    if place.is_dir():
        folders = [folder for folder in (place / name for name in FOLDERS) if folder.is_dir()]
        inside = [file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
        safe = [file for file in inside if file.suffix == ".safetensors"]
        files = safe or [file for file in inside if file.suffix in weights.PICKLE_SUFFIXES]
    elif place.suffix in (".safetensors", *weights.PICKLE_SUFFIXES):
        files = [place]
    else:
        raise ModelError(f"{place} is no file of weights", hint="a safetensors file with image_encoder/ beside it")
    if not files:
        raise ModelError(
            f"{asked.option} {asked.reference} holds no IP-Adapter: there is no safetensors file in it, in models or "
            "in sdxl_models",
            hint="a folder as h94/IP-Adapter has",
        )
    _refuse_pickles(files, terms)
    return files


def _refuse_pickles(files: Iterable[Path], terms: AccessRules) -> None:
    unsafe = [file for file in files if file.suffix != ".safetensors"]
    if unsafe and not terms.allow_pickle:
        raise pickles.refusal(unsafe[0])


def _examined(asked: AdapterRequest, file: Path, target: AdapterTarget) -> _Fitting:
    shapes = _shapes(file)
    need = ip_adapter_layouts.examine(str(file), shapes, target.layout, target.config)
    return _Fitting(file=file, shapes=shapes, need=need, encoder=_beside(asked, file, need, target.layout))


def _shapes(file: Path) -> Shapes:
    if file.suffix == ".safetensors":
        return weights.read_header(file).shapes
    return {name: tuple(tensor.shape) for name, tensor in pickles.grouped_tensors(file).items()}


def _beside(asked: AdapterRequest, file: Path, need: EncoderNeed, layout: Layout) -> Path | None:
    """Return the folder of the encoder beside `file`, None where it is to be found elsewhere."""
    if asked.encoder is not None:
        return None
    # As it is named, not where a link points to: what the hub's cache holds lies elsewhere, under hashes.
    places = [Path(os.path.normpath(file.parent / name)) for name in ENCODERS]
    faults = {place: _fault(place, need, layout) for place in places if (place / CONFIG).is_file()}
    if not faults and layout.encoder is not None:
        return None
    if not faults:
        raise ModelError(
            f"{file} comes without its image encoder: no {places[0]} and no {places[1]}",
            hint=f"{ip_adapters.ENCODER} FOLDER, or put the image encoder that it was trained with into {places[0]}",
        )
    fitting = next((folder for folder, fault in faults.items() if fault is None), None)
    if fitting is None:
        listed = "; ".join(filter(None, faults.values()))
        raise ModelError(_unfit(file, need, layout, listed), hint=_another(layout))
    return fitting


def _another(layout: Layout) -> str:
    return f"{ip_adapters.ENCODER} {layout.encoder or 'FOLDER, of the encoder that the adapter was trained with'}"


def _unfit(file: Path, need: EncoderNeed, layout: Layout, faults: str) -> str:
    model_type = layout.eye.model_types[0]
    return f"{file} wants an image encoder ({model_type}) with {need.setting} {need.size}; {faults}"


def _fault(folder: Path, need: EncoderNeed, layout: Layout) -> str | None:
    """Return what is wrong with the image encoder in `folder` for an adapter, None where it fits."""
    config = json_files.read(folder / CONFIG)
    kind = config.get("model_type")
    if kind is not None and kind not in layout.eye.model_types:
        return f"{folder} is one of {kind}"
    # A whole model has one config for each of its halves.
    inner = config.get("vision_config")
    own = config | inner if isinstance(inner, dict) else config
    stated = own.get(need.setting, layout.eye.usual_sizes[need.setting])
    if not isinstance(stated, int):
        raise ModelError(f"{folder / CONFIG} has {stated!r} as its {need.setting}")
    return None if stated == need.size else f"{folder} has {stated}"


def _elsewhere(
    named: str, chosen: _Fitting, layout: Layout, terms: AccessRules, on_event: Report
) -> tuple[Path, ImageEncoder]:
    """Return the folder of the image encoder that is called `named`, and what is recorded of it."""
    folder, revision = paths.at_home(named), None
    reference = named
    if not paths.is_there(folder):
        parts = adaptation.split_hub(named)
        if parts is None or parts[2] is not None:
            raise ModelError(
                f"{ip_adapters.ENCODER} {named}: there is no such folder",
                hint=f"{ip_adapters.ENCODER} {layout.encoder or 'a folder with config.json and model.safetensors'}",
            )
        reference = parts[0]
        folder = _encoder_of_hub(parts[:2], chosen, layout, terms, on_event)
        revision = folder.name
    _check_encoder(folder, chosen, layout)
    first = _encoder_files(folder, layout, terms)[0]
    digest = weights.file_sha256(first, cached=revision is not None)
    return folder, ImageEncoder(reference=reference, sha256=digest, revision=revision)


def _check_encoder(folder: Path, chosen: _Fitting, layout: Layout) -> None:
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} holds no image encoder: it has no {CONFIG}", hint=_another(layout))
    fault = _fault(folder, chosen.need, layout)
    if fault is not None:
        raise ModelError(_unfit(chosen.file, chosen.need, layout, fault), hint=_another(layout))


def _encoder_of_hub(
    place: tuple[str, str | None], chosen: _Fitting, layout: Layout, terms: AccessRules, on_event: Report
) -> Path:
    """Return the encoder's snapshot, fetched where it is missing and may be."""
    from imggen.store import hub

    repository, revision = place
    snapshot = hub.cached(repository, revision)
    if snapshot is not None and (snapshot / CONFIG).is_file():
        _check_encoder(snapshot, chosen, layout)
        choice = weights.choose(snapshot, half=terms.half)
        if choice is not None and (terms.allow_pickle or not choice.pickle):
            return snapshot
    if is_offline(asked=terms.offline):
        raise ModelError(
            f"{chosen.file} looks through {repository}, which is not on this machine, and imggen is offline",
            hint=f"while online: {_fetching(repository, revision)}",
        )
    fetch = partial(hub.obtain, repository, revision, sketch_in=terms.sketch, on_event=on_event)
    # Its config says whether it fits before its weights come.
    _check_encoder(fetch(choose=lambda names: [name for name in names if name == CONFIG]), chosen, layout)
    return fetch(choose=lambda names: list(filter(_is_read, _encoder_names(names, PurePosixPath(), terms))))


def _is_read(name: str) -> bool:
    # A whole model has a tokenizer besides.
    return not name.endswith(".json") or name in (CONFIG, PROCESSOR) or ".index." in name


def _encoder_files(folder: Path, layout: Layout, terms: AccessRules) -> tuple[Path, ...]:
    choice = weights.choose(folder, half=terms.half)
    if choice is None:
        raise ModelError(f"{folder} has no weights", hint="fetch the image encoder again")
    _refuse_pickles(choice.files, terms)
    config = json_files.read(folder / CONFIG)
    remote_code.refuse(folder, layout.eye.class_name, {CONFIG: config})
    config_limits.check(str(folder), config)
    return choice.files


def _from_hub(
    asked: AdapterRequest, parts: HubParts, target: AdapterTarget, terms: AccessRules, on_event: Report
) -> tuple[Path, _Fitting]:
    """Return the snapshot that has the adapter, and which it is; fetch what is not there, the encoder beside it too."""
    # Imported here because huggingface_hub reads HF_HUB_OFFLINE once.
    from imggen.store import hub

    repository, revision, file = parts
    snapshot = hub.cached(repository, revision)
    if snapshot is not None and (file is None or (snapshot / file).is_file()):
        try:
            chosen = _choose(asked, snapshot / (file or "."), target, terms)
            if chosen.encoder is not None:
                _encoder_files(chosen.encoder, target.layout, terms)
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
            f"{asked.option} {asked.reference}: it is not on this machine, and imggen is offline",
            hint=f"while online: {_offline_hint(repository, revision, file, target.layout)}",
        )
    fetch = partial(hub.obtain, repository, revision, sketch_in=terms.sketch, on_event=on_event)
    # The header says which encoder it wants, and the encoders' configs which of them that is.
    snapshot = fetch(choose=lambda names: [*_named(names, file), *_encoder_configs(names, file)])
    chosen = _choose(asked, snapshot / file, target, terms)
    if chosen.encoder is None:
        return snapshot, chosen
    place = PurePosixPath(chosen.encoder.relative_to(snapshot).as_posix())
    snapshot = fetch(choose=lambda names: [*_named(names, file), *_encoder_names(names, place, terms)])
    return snapshot, chosen


def _offline_hint(repository: str, revision: str | None, file: str, layout: Layout) -> str:
    at = f" --revision {revision}" if revision else ""
    encoder = _fetching(layout.encoder, None) if layout.encoder else ""
    return f"hf download {repository} {file}{at}" + (f" && {encoder}" if encoder else ", and its image encoder")


def _fetching(encoder: str, revision: str | None) -> str:
    at = f" --revision {revision}" if revision else ""
    return f"hf download {encoder} {CONFIG} {PROCESSOR} model.safetensors{at}"


def _named(names: Iterable[str], file: str) -> list[str]:
    listed = list(names)
    if file not in listed:
        like = [name for name in listed if PurePosixPath(name).suffix == ".safetensors"]
        raise ModelError(
            f"the repository has no {file}", hint=f"it has {', '.join(like[:_MOST_NAMED])}" if like else None
        )
    return [file]


def _encoder_configs(names: Iterable[str], file: str) -> list[str]:
    places = {os.path.normpath(PurePosixPath(file).parent / encoder / CONFIG) for encoder in ENCODERS}
    return sorted({PurePosixPath(place).as_posix() for place in places} & set(names))


def _encoder_names(names: Iterable[str], place: PurePosixPath, terms: AccessRules) -> list[str]:
    from imggen.store import hub

    inside = [path for path in map(PurePosixPath, names) if path.parent == place]
    jsons = [path for path in inside if path.suffix == ".json"]
    return sorted({path.as_posix() for path in (*jsons, *hub.weights_of(inside, terms))})
