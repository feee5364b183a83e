"""One picture's statistics given to another: of latents, and of colours."""

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

Array = np.ndarray[Any, np.dtype[np.float64]]

# What is spread less than this has no structure to spread out, only rounding errors.
LEAST_STD = 1e-5
# A contrast that is raised further shows the noise of 8 bits instead of the picture.
MOST_GAIN = 8.0
# The variance of rounding to 8 bits, in units of the whole range.
ROUNDING = 1 / 12 / 255**2


def match(content: Tensor, style: Tensor, amount: float = 1.0) -> Tensor:
    """Return the latents `content` with the mean and standard deviation of `style` in every channel.

    Both are (1, channels, height, width), of any two sizes (adaptive instance normalisation, arXiv 1703.06868
    eq. 8). `amount` goes from 0, which gives `content` exactly, to 1. A channel without contrast only takes the mean.
    """
    if amount == 0:
        return content
    places = (2, 3)
    mean, std = content.mean(places, keepdim=True), content.std(places, correction=0, keepdim=True)
    target_mean, target_std = style.mean(places, keepdim=True), style.std(places, correction=0, keepdim=True)
    matched = (content - mean) * (target_std / std.clamp_min(LEAST_STD)) + target_mean
    return content + amount * (matched - content)


def transfer_colours(content: Image.Image, style: Image.Image, amount: float = 1.0) -> Image.Image:
    """Return `content` with the mean and the covariance of the colours of `style`, alpha kept as it is.

    The map is the linear one that moves colours least, Monge and Kantorovich's between Gaussians: T = A^(-1/2)
    (A^(1/2) B A^(1/2))^(1/2) A^(-1/2) for covariances A and B. It works on sRGB's own values, which are about evenly
    spaced to the eye; in linear light the few brightest pixels would decide, and more colours would leave the range,
    where they are clamped. Transparent pixels count as little as they show. No direction's contrast is raised more
    than eightfold, so a flat picture takes the mean and stays flat. `amount` goes from 0, which gives `content`
    exactly, to 1.
    """
    if amount == 0:
        return content.copy()
    keeps_alpha = content.has_transparency_data
    colours, cover = _colours(content)
    target, target_cover = _colours(style)
    if not cover.any() or not target_cover.any():
        return content.copy()
    mean, covariance = _statistics(colours, cover)
    target_mean, target_covariance = _statistics(target, target_cover)
    moved = (colours - mean) @ _transport(covariance, target_covariance).T + target_mean
    moved = colours + amount * (moved - colours)
    levels = np.rint(moved.clip(0, 1) * 255).astype(np.uint8).reshape(content.height, content.width, 3)
    made = Image.fromarray(levels)
    if keeps_alpha:
        made.putalpha(content.convert("RGBA").getchannel("A"))
    return made


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
