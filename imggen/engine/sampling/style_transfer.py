"""One picture's statistics given to another: of latents, and of colours."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Array = np.ndarray[Any, np.dtype[np.float64]]

# What is spread less than this has no structure to spread out, only rounding errors.
LEAST_STD = 1e-5
# A contrast that is raised further shows the noise of 8 bits instead of the picture.
MOST_GAIN = 8.0
# The variance of rounding to 8 bits, in units of the whole range.
ROUNDING = 1 / 12 / 255**2


def match(content: Tensor, style: Tensor, cover: Tensor | None = None) -> Tensor:
    """Return the latents `content` with the mean and standard deviation of `style` in every channel.

    Both are (1, channels, height, width), of any two sizes (adaptive instance normalisation, arXiv 1703.06868
    eq. 8). `cover`, (1, 1, height, width) as `style`, is how much each place of it counts, from 0 to 1. A channel
    without contrast only takes the mean; where no place counts, all stays.
    """
    if cover is not None and not cover.any():
        return content
    mean, std = _moments(content, None)
    target_mean, target_std = _moments(style, cover)
    return (content - mean) * (target_std / std.clamp_min(LEAST_STD)) + target_mean


def visible(image: Image.Image, latents: Tensor) -> Tensor | None:
    """Return how much of a picture shows at each place of its latents, (1, 1, height, width); None where all does."""
    if not image.has_transparency_data:
        return None
    alpha = torch.from_numpy(np.array(image.convert("RGBA").getchannel("A"), dtype=np.float32) / 255)
    return functional.interpolate(alpha[None, None], latents.shape[2:], mode="area").to(latents)


def _moments(latents: Tensor, cover: Tensor | None) -> tuple[Tensor, Tensor]:
    places = (2, 3)
    if cover is None:
        return latents.mean(places, keepdim=True), latents.std(places, correction=0, keepdim=True)
    shares = cover / cover.sum()
    mean = (latents * shares).sum(places, keepdim=True)
    return mean, ((latents - mean) ** 2 * shares).sum(places, keepdim=True).sqrt()


def transfer_colours(content: Image.Image, style: Image.Image) -> Image.Image:
    """Return `content` with the mean and the covariance of the colours of `style`, alpha kept as it is.

    The map is the linear one that moves colours least, Monge and Kantorovich's between Gaussians: T = A^(-1/2)
    (A^(1/2) B A^(1/2))^(1/2) A^(-1/2) for covariances A and B. It works on sRGB's own values, which are about evenly
    spaced to the eye; in linear light the few brightest pixels would decide, and more colours would leave the range,
    where they are clamped. Transparent pixels count as little as they show. No direction's contrast is raised more
    than eightfold, so a flat picture takes the mean and stays flat.
    """
    keeps_alpha = content.has_transparency_data
    colours, cover = _colours(content)
    target, target_cover = _colours(style)
    if not cover.any() or not target_cover.any():
        return content.copy()
    mean, covariance = _statistics(colours, cover)
    target_mean, target_covariance = _statistics(target, target_cover)
    moved = (colours - mean) @ _transport(covariance, target_covariance).T + target_mean
    levels = np.rint(moved.clip(0, 1) * 255).astype(np.uint8).reshape(content.height, content.width, 3)
    styled = Image.fromarray(levels)
    if keeps_alpha:
        styled.putalpha(content.convert("RGBA").getchannel("A"))
    return styled


def _colours(image: Image.Image) -> tuple[Array, Array]:
    """Return the colours, one row each from 0 to 1, and how much each shows."""
    pixels = np.asarray(image.convert("RGBA"), dtype=np.float64).reshape(-1, 4) / 255
    return pixels[:, :3], pixels[:, 3]


def _statistics(colours: Array, cover: Array) -> tuple[Array, Array]:
    mean = np.average(colours, axis=0, weights=cover)
    return mean, np.cov(colours, rowvar=False, bias=True, aweights=cover)


def _transport(a: Array, b: Array) -> Array:
    a = a + ROUNDING * np.eye(3)
    half = _power(a, 0.5)
    inverse = _power(a, -0.5)
    gains, directions = np.linalg.eigh(inverse @ _power(half @ b @ half, 0.5) @ inverse)
    transport: Array = directions * gains.clip(0, MOST_GAIN) @ directions.T
    return transport


def _power(matrix: Array, exponent: float) -> Array:
    values, directions = np.linalg.eigh(matrix)
    powered: Array = directions * values.clip(0) ** exponent @ directions.T
    return powered
