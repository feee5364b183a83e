"""Files of networks that enlarge pictures: read by spandrel, and where that cannot be, what they hold instead."""

import importlib
import pickle
import re
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from imggen.engine import failures
from imggen.errors import MachineError, ModelError
from imggen.host.environment import quiet
from imggen.plan.upscaling.upscalers import NETWORK_SUFFIXES, PICKLE_SUFFIXES
from imggen.store import pickles, weights

COLOURS = 3

# What torch writes begins so: a zip file since 1.6, and before that pickles of protocol 2 and up.
_MAGICS = (b"PK\x03\x04", b"\x80")

# Activations and pools have a number in a sequence too, but no weights.
NUMBERS_PER_TENSOR = 8
LEAST_NUMBERS = 256

# Parts of tensors' names and what a file with them is, most telling first.
SIGNS = (
    (("lora_", ".lora.", "hada_w", "lokr_"), "a LoRA, which changes a model that draws pictures"),
    (("model.diffusion_model.",), "a Stable Diffusion checkpoint"),
    (("down_blocks.", "input_blocks."), "a diffusion model's U-Net"),
    (("transformer_blocks.", "double_blocks.", "joint_blocks."), "a diffusion transformer"),
    (("post_quant_conv.", "decoder.up.", "decoder.up_blocks."), "an autoencoder"),
    (("text_model.", "token_embedding", "embed_tokens"), "a text model"),
    (("emb_params", "string_to_param"), "a textual inversion"),
)

# What spandrel raises about tensors that are not what their names promise, and torch about what it makes of them.
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)


def describe(path: Path, *, allow_pickle: bool) -> Any:
    """Return spandrel's descriptor of the network in `path`, in float32 on the CPU.

    Pickles are read only where `allow_pickle` says so, by an unpickler that makes nothing but tensors. Raise ModelError
    for a file that holds no network that enlarges colour or grey pictures, MachineError where spandrel is missing.
    """
    _check_file(path, allow_pickle=allow_pickle)
    spandrel = _import_spandrel()
    descriptor = _described(path, spandrel)
    _check_purpose(path, descriptor)
    return descriptor


def _check_file(path: Path, *, allow_pickle: bool) -> None:
    """Raise ModelError for a file that must not be, or cannot be, read as a network."""
    if not path.is_file():
        raise ModelError(f"{path} is {'a folder' if path.is_dir() else 'not there'}", hint="a .safetensors file")
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        _check_names(path, weights.read_header(path).names)
        return
    if suffix not in PICKLE_SUFFIXES:
        known = ", ".join(NETWORK_SUFFIXES)
        raise ModelError(f"{path} is not an upscaler that imggen can read: its name ends in none of {known}")
    if not _starts(path).startswith(_MAGICS):
        raise ModelError(f"{path} is not a file of weights")
    if not allow_pickle:
        raise ModelError(
            f"{path} is a pickle, which can run code when it is read",
            hint=f"--allow-pickle if you trust it, or convert it: {_conversion(path)}",
        )
    # Torch would take it for what it is, a program, whatever unpickler it is told to use.
    if zipfile.is_zipfile(path) and any(member.endswith("/constants.pkl") for member in _inside(path)):
        raise ModelError(f"{path} is a TorchScript program, not weights", hint="take the model's weights instead")


def _starts(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(max(map(len, _MAGICS)))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _inside(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as file:
            return file.namelist()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is damaged: {error}") from error


def _conversion(path: Path) -> str:
    code = (
        "import spandrel,safetensors.torch as s;"
        f"t=spandrel.ModelLoader().load_state_dict_from_file({str(path)!r});"
        f"s.save_file({{k:v.clone().contiguous() for k,v in t.items()}},{str(path.with_suffix('.safetensors'))!r})"
    )
    return f'python -c "{code}"'


def _check_names(path: Path, names: Collection[str]) -> None:
    # Layers are built up to the highest number that a name carries, before their weights are looked for.
    numbers = [int(digits[:9]) for name in names for digits in re.findall(r"\d+", name)]
    if max(numbers, default=0) > max(LEAST_NUMBERS, NUMBERS_PER_TENSOR * len(names)):
        raise ModelError(f"{path} is damaged: it has {len(names)} tensors, and counts layers up to {max(numbers)}")


def _import_spandrel() -> Any:
    try:
        with quiet():
            return importlib.import_module("spandrel")
    except ModuleNotFoundError as error:
        raise MachineError(
            f"upscalers in files are read by spandrel, and {error.name} is not installed",
            hint="pip install 'imggen[upscale]'",
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        # torchvision for another torch raises RuntimeError.
        raise MachineError(f"spandrel cannot be imported: {error}", hint="imggen doctor") from error


def _described(path: Path, spandrel: Any) -> Any:
    loader = spandrel.ModelLoader()
    with _translated(path, "cannot be read"):
        tensors = loader.load_state_dict_from_file(path)
        tensors = {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    _check_names(path, tensors)
    with _translated(path, f"{_seems(tensors)}, and cannot be loaded as a network"):
        try:
            return loader.load_from_state_dict(tensors)
        except spandrel.UnsupportedModelError as error:
            raise ModelError(f"{path} is not an upscaler: it {_seems(tensors)}") from error


@contextmanager
def _translated(path: Path, how: str) -> Iterator[None]:
    try:
        with quiet():
            yield
    except pickle.UnpicklingError as error:
        raise pickles.unreadable(path, error) from error
    except (*FAULTS, SafetensorError, EOFError, OSError, MemoryError) as error:
        if failures.is_out_of_memory(error):
            raise MachineError(f"out of memory while {path} was read") from error
        raise ModelError(f"{path} {how}: {failures.reason(error)}") from error


def _seems(names: Collection[str]) -> str:
    for signs, what in SIGNS:
        if any(sign in name for sign in signs for name in names):
            return f"seems to be {what}"
    if not names:
        return "holds no tensors"
    return f"holds {len(names)} tensors, such as {min(names)[:80]!r}"


def _check_purpose(path: Path, descriptor: Any) -> None:
    """Raise ModelError for a network that does something else than to enlarge colour or grey pictures."""
    name = descriptor.architecture.name
    if descriptor.purpose == "Inpainting":
        raise ModelError(f"{path} is a network for inpainting ({name}): it needs a mask and does not upscale")
    if descriptor.purpose == "FaceSR":
        raise ModelError(f"{path} is a network for cut-out faces ({name}), and does not take pictures as they are")
    if descriptor.scale < 2:
        raise ModelError(f"{path} is a network that restores pictures ({name}): it does not upscale them")
    channels = (descriptor.input_channels, descriptor.output_channels)
    if channels not in {(1, 1), (COLOURS, COLOURS)}:
        raise ModelError(
            f"{path} turns {channels[0]} channels into {channels[1]} ({name}): networks of colour pictures (3 into 3) "
            "and of grey ones (1 into 1) will do"
        )
