"""Pictures that repeat without a seam: networks that see the opposite edge where they saw the picture's end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
from diffusers.models.downsampling import Downsample2D
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from imggen.engine import patching
from imggen.engine.pipeline import encoding
from imggen.errors import RequestError
from imggen.plan.schema.change import Axes


@contextmanager
def seamless(pipeline: Any, axes: Axes) -> Iterator[None]:
    """Let the U-Net, its ControlNets and the autoencoder of `pipeline` wrap around along `axes` within the block.

    Every convolution is padded with the opposite edge along `axes`, and with zeros along the other axis as before; the
    rest of these networks does not know where it is. Raise RequestError for a model without a U-Net, whose tokens do
    know, and for an autoencoder that works in tiles, each of which would wrap around by itself.
    """
    unet, vae = getattr(pipeline, "unet", None), encoding.autoencoder(pipeline)
    if unet is None:
        raise RequestError(f"{type(pipeline).__name__} has no U-Net, so its pictures cannot wrap around")
    if getattr(vae, "use_tiling", False):
        raise RequestError("a picture that wraps around cannot be decoded in tiles", hint="--vae-tiling off")
    with ExitStack() as stack:
        network = getattr(pipeline, "controlnet", None)
        followed = () if network is None else network.modules()
        for module in (*unet.modules(), *followed, *(() if vae is None else vae.modules())):
            methods = _wrapping(module, axes)
            if methods:
                stack.enter_context(patching.replaced(module, **methods))
        yield


def _wrapping(module: nn.Module, axes: Axes) -> dict[str, Callable[..., Tensor]]:
    if isinstance(module, nn.Conv2d) and any(_edges(module)):
        return {"_conv_forward": partial(_convolve, module, axes)}
    # Autoencoders pad before some strided convolutions by hand, at the right and at the bottom only.
    if isinstance(module, Downsample2D) and module.use_conv and module.padding == 0:
        return {"forward": partial(_downsample, module, axes)}
    return {}


def _edges(conv: nn.Conv2d) -> tuple[int, ...]:
    # Left, right, top, bottom; torch works it out for numbers, "same" and "valid" alike, and keeps it for itself.
    return tuple(conv._reversed_padding_repeated_twice)  # noqa: SLF001


def _convolve(conv: nn.Conv2d, axes: Axes, pixels: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    wrapped = _wrap(pixels, _edges(conv), axes)
    return F.conv2d(wrapped, weight, bias, conv.stride, 0, conv.dilation, conv.groups)


def _downsample(module: Any, axes: Axes, pixels: Tensor) -> Tensor:
    if module.norm is not None:
        pixels = module.norm(pixels.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    halved: Tensor = module.conv(_wrap(pixels, (0, 1, 0, 1), axes))
    return halved


def _wrap(pixels: Tensor, edges: tuple[int, ...], axes: Axes) -> Tensor:
    left, right, top, bottom = edges
    across, down = (left, right, 0, 0), (0, 0, top, bottom)
    pixels = F.pad(pixels, across, mode="circular" if "x" in axes else "constant")
    return F.pad(pixels, down, mode="circular" if "y" in axes else "constant")


def score(image: Image.Image, axes: Axes) -> float:
    """Return how much the seam stands out where `image` meets itself along `axes`; about 1 is no seam, 2 and more is.

    It is the mean absolute difference between the last and the first row or column, divided by the median of the same
    between neighbours within the picture, or by one grey level where they differ less: nobody sees that. Of two axes
    the worse one counts. The outline of an object that lies across the edge counts as well, for as much as it would
    within the picture.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    return max(_seam(pixels if axis == "y" else pixels.swapaxes(0, 1)) for axis in axes)


def _seam(rows: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    steps = np.abs(np.roll(rows, -1, axis=0) - rows).mean(axis=(1, 2))
    return float(steps[-1] / max(1.0, np.median(steps[:-1])))
