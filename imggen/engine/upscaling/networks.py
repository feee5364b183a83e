"""Networks that enlarge pictures: the ones that come with imggen, and those of the ESRGAN family in files.

A loaded network knows its own limits, as spandrel's descriptors do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import imggen.builtin
from imggen.engine import failures, threads
from imggen.engine.precision import TORCH_DTYPES
from imggen.engine.upscaling import compact, network_files, tiling
from imggen.engine.upscaling.network_files import COLOURS, FAULTS
from imggen.engine.upscaling.tiling import Drawn, Rules
from imggen.errors import ImggenError, MachineError, ModelError, PictureError, RequestError
from imggen.host.environment import quiet
from imggen.plan.schema.machine import Device, Dtype
from imggen.plan.upscaling.upscalers import BUILTIN_SCALES
from imggen.store import weights

# Architectures of convolutions alone: what they draw depends on pixels nearby, and on how many can be counted.
LOCAL = frozenset({"Compact", "ESRGAN", "SPAN", "SwiftSRGAN"})
# What lies further away shows in deep networks too, but by less than a grey level; where it does, tiles are blended.
MOST_MARGIN = 24
BLEND = 16
# Attention in windows of 8, 16 or 32 pixels sees the same windows in a tile that starts at a multiple of these.
WINDOW = 32

# Beside a layer's input and output networks keep results for later layers, and convolutions rearrange what they read.
COPIES = 2
PROBE_EDGE = 32


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, ready to draw: what it is, what it can take, and where it computes.

    `sha256` is its file's; `rules` say which tiles suit it, `dtypes` which precisions. `channels` is 3, or 1 for a
    network of grey pictures, which draws each colour by itself. `bytes_per_pixel` estimates the memory that drawing
    takes per pixel of the small picture. `forward` takes and returns tensors of shape (1, channels, height, width), in
    the order `layout`: not every architecture can take another than the usual one.
    """

    name: str
    sha256: str
    scale: int
    rules: Rules
    dtypes: tuple[Dtype, ...]
    channels: int
    device: Device
    dtype: Dtype
    forward: Callable[[Tensor], Tensor] = field(repr=False)
    bytes_per_pixel: int = 1
    layout: torch.memory_format = torch.contiguous_format

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return RGB `pictures` (n, 3, height, width; 0..1) enlarged: float32 in 0..1, on the network's device.

        Raise PictureError where the result is not made of numbers, MachineError where memory runs out.
        """
        height, width = pictures.shape[2:]
        what = f"{self.name}, which computes on {self.device} in {self.dtype},"
        with torch.inference_mode(), quiet(), memory_explained(what, (width, height)):
            batch = pictures.to(self.device, TORCH_DTYPES[self.dtype])
            singles = batch.reshape(-1, 1, self.channels, height, width)
            drawn = torch.cat([self.forward(single.contiguous(memory_format=self.layout)) for single in singles])
            return drawn.reshape(len(pictures), COLOURS, *drawn.shape[2:]).float().clamp_(0, 1)

    def draw(self, pixels: NDArray[Any]) -> Drawn:
        """Return `pixels` (uint8, height x width x 3) enlarged: float32 in 0..1, height x width x 3."""
        batch = torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0).to(self.device)
        drawn: Drawn = self(batch / 255)[0].permute(1, 2, 0).cpu().numpy()
        return drawn


@contextmanager
def memory_explained(what: str, tile: tuple[int, int]) -> Iterator[None]:
    """Turn running out of memory while `what` draws a tile of a size into a MachineError that suggests smaller ones."""
    try:
        yield
    except ImggenError:
        raise
    except (MemoryError, RuntimeError) as error:
        if not failures.is_out_of_memory(error):
            raise
        raise MachineError(
            f"out of memory: {what} was given a tile of {tile[0]}x{tile[1]} px",
            hint=f"--tile-size {max(tiling.SMALLEST_TILE, max(tile) // 2)}",
        ) from error


def builtin(scale: int, *, device: Device, dtype: Dtype | None = None, folder: Path | None = None) -> Network:
    """Return the network that comes with imggen for `scale`, 2 or 4; `folder` is where another set of them lies.

    Raise RequestError for another scale, ModelError where this installation lacks it or has it damaged.
    """
    if scale not in BUILTIN_SCALES:
        raise RequestError(f"no built-in network enlarges {scale} times", hint="2 or 4 times, or several in a row")
    threads.limit()
    path = (folder or Path(imggen.builtin.__file__).parent / "upscale") / f"x{scale}.safetensors"
    try:
        weights.read_header(path)
        module = compact.read(path)
        if module.scale != scale:
            raise ModelError(f"{path} enlarges {module.scale} times, not {scale}")  # noqa: TRY301 - told as the others
    except (ModelError, LookupError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the built-in network cannot be read: {error}", hint="pip install --force-reinstall imggen"
        ) from error
    dtype = dtype or "float32"
    network = Network(
        name=f"builtin-x{scale}",
        sha256=weights.hash_file(path),
        scale=scale,
        rules=Rules(margin=module.margin),
        dtypes=("float32", "bfloat16", "float16"),
        channels=COLOURS,
        device=device,
        dtype=dtype,
        forward=_guarded(module, f"builtin-x{scale}", dtype),
        layout=torch.channels_last,
    )
    _place(module, network)
    module.to(memory_format=network.layout)
    return _tried(network, module)


def read(path: Path, *, device: Device, dtype: Dtype | None = None, allow_pickle: bool = False) -> Network:
    """Return the network in a file: any architecture that spandrel knows and that enlarges colour or grey pictures.

    Without a `dtype` it computes in float16 on CUDA, where it can, and in float32 everywhere else: bfloat16 has no more
    levels than a picture. Pickles are read only where `allow_pickle` says so, by an unpickler that makes nothing but
    tensors. Raise ModelError for a file that holds no such network, in words that say what it seems to hold instead;
    RequestError for a precision that the network cannot take; MachineError where spandrel is missing.
    """
    threads.limit()
    descriptor = network_files.describe(path, allow_pickle=allow_pickle)
    dtypes = _dtypes(descriptor)
    chosen = _choose_dtype(path, dtypes, device, dtype)
    network = Network(
        name=path.name,
        sha256=weights.hash_file(path),
        scale=descriptor.scale,
        rules=_rules(descriptor),
        dtypes=dtypes,
        channels=descriptor.input_channels,
        device=device,
        dtype=chosen,
        forward=_guarded(descriptor, path.name, chosen, module=descriptor.model),
    )
    _place(descriptor, network)
    try:
        return _tried(network, descriptor.model)
    except ModelError:
        if dtype is None and chosen != "float32":
            return read(path, device=device, dtype="float32", allow_pickle=allow_pickle)
        raise


def _dtypes(descriptor: Any) -> tuple[Dtype, ...]:
    bfloat16: tuple[Dtype, ...] = ("bfloat16",) if descriptor.supports_bfloat16 else ()
    float16: tuple[Dtype, ...] = ("float16",) if descriptor.supports_half else ()
    return ("float32", *bfloat16, *float16)


def _choose_dtype(path: Path, dtypes: tuple[Dtype, ...], device: Device, asked: Dtype | None) -> Dtype:
    if asked is None:
        return "float16" if device == "cuda" and "float16" in dtypes else "float32"
    if asked not in dtypes:
        raise RequestError(f"--dtype {asked}: {path.name} cannot compute in it", hint=f"--dtype {dtypes[-1]}")
    return asked


def _rules(descriptor: Any) -> Rules:
    sizes = descriptor.size_requirements
    rules = Rules(minimum=max(1, sizes.minimum), multiple_of=sizes.multiple_of, square=sizes.square)
    if descriptor.architecture.id not in LOCAL:
        return replace(rules, margin=MOST_MARGIN, blend=BLEND, window=1 if sizes.square else WINDOW)
    layers = [module for module in descriptor.model.modules() if isinstance(module, nn.Conv2d)]
    # As if each convolution followed the one before, at the small picture's size or that of its unshuffled pixels.
    radius = sizes.multiple_of * sum(max(layer.kernel_size) // 2 * max(layer.dilation) for layer in layers)
    return replace(rules, margin=min(radius, MOST_MARGIN), blend=0 if radius <= MOST_MARGIN else BLEND)


def _guarded(forward: Any, name: str, dtype: Dtype, *, module: nn.Module | None = None) -> Callable[[Tensor], Tensor]:
    """Return `forward`, which raises PictureError where `module` (or itself) returns what is not made of numbers.

    Spandrel cuts results to 0..1, after which infinity is plain white.
    """

    def check(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
            hint = "--dtype float32" if dtype != "float32" else "another network"
            raise PictureError(f"what {name} drew is not made of numbers (NaN or infinity, in {dtype})", hint=hint)

    (module or forward).register_forward_hook(check)
    result: Callable[[Tensor], Tensor] = forward
    return result


def _place(module: Any, network: Network) -> None:
    try:
        module.to(device=torch.device(network.device), dtype=TORCH_DTYPES[network.dtype])
    except (RuntimeError, AssertionError) as error:
        raise MachineError(
            f"{network.name} cannot be placed on {network.device} in {network.dtype}: {failures.reason(error)}",
            hint="--device cpu",
        ) from error
    module.eval()


def _tried(network: Network, module: nn.Module) -> Network:
    """Return `network` with its use of memory, after it has drawn a small picture as it should."""
    elements: list[int] = [1]

    def count(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        elements.append(sum(tensor.numel() for tensor in (*inputs, output) if isinstance(tensor, Tensor)))

    leaves = [layer for layer in module.modules() if not any(True for _ in layer.children())]
    hooks = [leave.register_forward_hook(count) for leave in leaves]
    unit = network.rules.multiple_of
    edge = -(-max(PROBE_EDGE, network.rules.minimum) // unit) * unit
    try:
        output = network(torch.full((1, COLOURS, edge, edge), 0.5))
    except PictureError as error:
        raise ModelError(error.message, hint=error.hint) from error
    except FAULTS as error:
        raise ModelError(
            f"{network.name} fails at a picture of {edge}x{edge} px in {network.dtype}: {failures.reason(error)}",
            hint="--dtype float32" if network.dtype != "float32" else None,
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    expected = (1, COLOURS, edge * network.scale, edge * network.scale)
    if output.shape != expected:
        raise ModelError(f"{network.name} drew {tuple(output.shape)} where {expected} was due")
    size = torch.empty((), dtype=TORCH_DTYPES[network.dtype]).element_size()
    peak = max(*elements, prod(expected)) * size * COPIES
    return replace(network, bytes_per_pixel=max(1, peak // edge**2))
