"""IP-Adapters: weights that show a picture to a U-Net beside its words (arXiv 2308.06721)."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from imggen.engine import failures, weights
from imggen.errors import ModelError, RequestError

Shapes = Mapping[str, tuple[int, ...]]

PROJECTION, ATTENTIONS = "image_proj.", "ip_adapter."
# Where h94/IP-Adapter, whose layout others follow, keeps adapters below its root and encoders beside an adapter.
FOLDERS = (".", "models", "sdxl_models")
ENCODERS = ("image_encoder", "../image_encoder", "../models/image_encoder")
MAX_NAMED = 4
# What a pipeline's configuration says of itself; without the underscore it would be a component.
SHA256 = "_ip_adapter_sha256"


@dataclass(frozen=True, kw_only=True)
class _Adapter:
    """An IP-Adapter's file, what is in it, and the folder of the image encoder that it was trained with."""

    file: Path
    shapes: Shapes
    encoder: Path


@dataclass(frozen=True, kw_only=True)
class _Need:
    """What an adapter wants of its image encoder: the size of its result, or of its hidden states."""

    setting: str
    size: int


def load_ip_adapter(pipeline: Any, reference: Path, scale: float, *, allow_pickle: bool = False) -> Path:
    """Give the U-Net of `pipeline` the IP-Adapter that `reference` names, with its image encoder; return its file.

    The pipeline's configuration keeps the hash of the file, for `sha256`.

    `reference` is a safetensors file with a folder `image_encoder` beside it or one level up, or a folder as
    h94/IP-Adapter lays it out, in which exactly one adapter may fit the model. `scale` weighs the picture against the
    words, 0 is without it. Do this before the pipeline is placed on its device, and leave its attention processors
    alone afterwards. Raise ModelError for weights that are missing, damaged or made for another model or encoder,
    or pickles where `allow_pickle` does not permit them; RequestError for a pipeline that takes no such adapter.
    """
    unet = getattr(pipeline, "unet", None)
    if unet is None or not hasattr(pipeline, "load_ip_adapter"):
        raise RequestError(f"{type(pipeline).__name__} takes no IP-Adapter", hint="leave --ip-adapter out")
    adapter = _choose(reference, unet, allow_pickle=allow_pickle)
    encoder = _load_encoder(adapter.encoder, unet.dtype, allow_pickle=allow_pickle)
    with _explained(adapter.file):
        tensors = {name: each.to(unet.dtype) for name, each in _tensors(adapter.file).items()}
        pipeline.register_modules(image_encoder=encoder)
        pipeline.load_ip_adapter(_parted(tensors), subfolder="", weight_name="")
        pipeline.set_ip_adapter_scale(scale)
    with adapter.file.open("rb") as opened:
        pipeline.register_to_config(**{SHA256: hashlib.file_digest(opened, "sha256").hexdigest()})
    return adapter.file


def sha256(pipeline: Any) -> str | None:
    """Return the SHA-256 of the file of the IP-Adapter that `pipeline` was given, None where it was given none."""
    found: str | None = pipeline.config.get(SHA256)
    return found


def _choose(reference: Path, unet: Any, *, allow_pickle: bool) -> _Adapter:
    files = _files(reference, allow_pickle=allow_pickle)
    fitting, faults = [], []
    for file in files:
        try:
            fitting.append(_examined(file, unet))
        except ModelError as error:
            faults.append(error)
    if len(fitting) > 1:
        listed = ", ".join(str(each.file.relative_to(reference)) for each in fitting)
        first = min((each.file for each in fitting), key=lambda each: (len(each.name), each.name))
        raise RequestError(f"{reference} has several adapters that fit: {listed}", hint=f"--ip-adapter {first}")
    if fitting:
        return fitting[0]
    if len(faults) == 1:
        raise faults[0]
    listed = "; ".join(each.message for each in faults[:MAX_NAMED])
    raise ModelError(f"none of the {len(faults)} adapters in {reference} fits: {listed}")


def _files(reference: Path, *, allow_pickle: bool) -> list[Path]:
    if not reference.is_dir():
        if not reference.is_file():
            raise ModelError(f"there is no IP-Adapter at {reference}")
        found = [reference]
    else:
        places = [each for each in (reference / name for name in FOLDERS) if each.is_dir()]
        inside = [file for place in places for file in sorted(place.iterdir()) if file.is_file()]
        safe = [each for each in inside if each.suffix == ".safetensors"]
        found = safe or [each for each in inside if each.suffix in weights.PICKLE_SUFFIXES]
    if not found:
        raise ModelError(f"{reference} holds no IP-Adapter: no safetensors file in it, in models or in sdxl_models")
    pickles = [each for each in found if each.suffix != ".safetensors"]
    if pickles and not allow_pickle:
        raise ModelError(f"{pickles[0]} is a pickle, which can run code when it is read", hint="--allow-pickle")
    return found


def _examined(file: Path, unet: Any) -> _Adapter:
    shapes = _shapes(file)
    need = _need(file, shapes)
    _check_fit(file, shapes, unet)
    return _Adapter(file=file, shapes=shapes, encoder=_find_encoder(file, need))


def _shapes(file: Path) -> Shapes:
    if file.suffix != ".safetensors":
        return {name: tuple(each.shape) for name, each in _tensors(file).items()}
    weights.read_header(file)
    with safe_open(file, framework="pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 - no mapping


def _tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    with _explained(file):
        parts = torch.load(file, map_location="cpu", weights_only=True)
        return {f"{part}.{name}": each for part, tensors in parts.items() for name, each in tensors.items()}


def _parted(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {
        prefix.removesuffix("."): {
            name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
        }
        for prefix in (PROJECTION, ATTENTIONS)
    }


def _need(file: Path, shapes: Shapes) -> _Need:
    """Return what the adapter wants of its encoder, by the shape of its first layer."""
    named = {name.removeprefix(PROJECTION): each for name, each in shapes.items() if name.startswith(PROJECTION)}
    if not named or not any(name.startswith(ATTENTIONS) for name in shapes):
        raise ModelError(f"{file} is no IP-Adapter: it lacks the tensors {PROJECTION}* and {ATTENTIONS}*")
    kinds = {
        "proj.weight": ("projection_dim", "proj.weight"),
        "proj.3.weight": ("hidden_size", "proj.0.weight"),
        "latents": ("hidden_size", "proj_in.weight"),
    }
    for mark, (setting, layer) in kinds.items():
        if mark in named and len(named.get(layer, ())) == 2:
            return _Need(setting=setting, size=named[layer][1])
    raise ModelError(f"{file} is an IP-Adapter of a kind that imggen does not know, such as one for faces' embeddings")


def _check_fit(file: Path, shapes: Shapes, unet: Any) -> None:
    wanted = _wanted(unet)
    found = {name: each for name, each in shapes.items() if name.endswith(("to_k_ip.weight", "to_v_ip.weight"))}
    width, made_for = unet.config.cross_attention_dim, {each[-1] for each in found.values()}
    if made_for != {width}:
        listed = ", ".join(map(str, sorted(made_for))) or "none"
        raise ModelError(f"{file} was made for a model whose text has {listed} channels; this one's has {width}")
    if found.keys() != wanted.keys():
        count = len(found) // 2
        raise ModelError(f"{file} was made for {count} cross-attentions; this model has {len(wanted) // 2}")
    unlike = next((name for name in wanted if found[name] != wanted[name]), None)
    if unlike:
        raise ModelError(f"{file} was made for another U-Net: {unlike} is {found[unlike]}, not {wanted[unlike]}")


def _wanted(unet: Any) -> Shapes:
    # diffusers numbers all attentions in turn, of which every second one looks at the words.
    crossing = [name.removesuffix(".processor") for name in unet.attn_processors if name.endswith("attn2.processor")]
    width = unet.config.cross_attention_dim
    return {
        f"{ATTENTIONS}{2 * place + 1}.{layer}.weight": (unet.get_submodule(name).inner_dim, width)
        for place, name in enumerate(crossing)
        for layer in ("to_k_ip", "to_v_ip")
    }


def _find_encoder(file: Path, need: _Need) -> Path:
    places = [(file.parent / each).resolve() for each in ENCODERS]
    sizes = {each: _size(each, need) for each in places if (each / "config.json").is_file()}
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


def _size(folder: Path, need: _Need) -> int:
    with _explained(folder):
        return int(getattr(CLIPVisionConfig.from_pretrained(str(folder)), need.setting))


def _load_encoder(folder: Path, dtype: torch.dtype, *, allow_pickle: bool) -> Any:
    choice = weights.choose(folder, half=dtype != torch.float32)
    if choice is None:
        raise ModelError(f"{folder} has no weights")
    if choice.pickle and not allow_pickle:
        raise ModelError(f"{choice.files[0]} is a pickle, which can run code when it is read", hint="--allow-pickle")
    if not choice.pickle:
        for each in choice.files:
            weights.read_header(each)
    with _explained(folder):
        encoder, report = CLIPVisionModelWithProjection.from_pretrained(
            str(folder),
            dtype=dtype,
            variant=choice.variant,
            use_safetensors=not choice.pickle,
            local_files_only=True,
            output_loading_info=True,
        )
    lacking = sorted(map(str, report["missing_keys"]))
    if lacking:
        raise ModelError(f"{folder} lacks {len(lacking)} of its weights, {lacking[0]} among them")
    return encoder.eval()


@contextmanager
def _explained(what: Path) -> Iterator[None]:
    try:
        yield
    except failures.MODEL_FAULTS as error:
        if failures.is_out_of_memory(error):
            raise
        raise ModelError(f"{what} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
