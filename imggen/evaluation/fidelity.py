"""How close a picture is to the one that it should be."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from imggen.errors import RequestError

PEAK = 255.0
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def psnr(picture: Image.Image, reference: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two RGB pictures of one size, in decibels; infinite for equal ones."""
    difference = _pixels(picture, reference)[0] - _pixels(reference, picture)[0]
    error = float(difference.square().mean())
    return math.inf if error == 0 else 10 * math.log10(PEAK**2 / error)


def ssim(picture: Image.Image, reference: Image.Image) -> float:
    """Return the structural similarity of two RGB pictures of one size, the mean over pixels and channels: 1 = equal.

    With a Gaussian window of 11 pixels and 1.5 deviation, K1 = 0.01 and K2 = 0.03, where the window is inside of the
    picture (Wang et al. 2004, eq. 13, 10.1109/TIP.2003.819861); edges of at least 11 pixels are needed.
    """
    x, y = _pixels(picture, reference), _pixels(reference, picture)
    if min(picture.size) < WINDOW:
        raise RequestError(f"SSIM needs edges of {WINDOW} pixels; the pictures have {picture.width}x{picture.height}")
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def _pixels(image: Image.Image, other: Image.Image) -> Tensor:
    if image.size != other.size or image.mode != "RGB":
        raise RequestError(
            f"{image.mode} {image.size} and {other.mode} {other.size} are not two RGB pictures of one size"
        )
    return torch.from_numpy(np.array(image)).double().permute(2, 0, 1)[None]


def _blurred(values: Tensor) -> Tensor:
    at = torch.arange(WINDOW, dtype=values.dtype) - WINDOW // 2
    window = torch.exp(-(at**2) / (2 * SIGMA**2))
    window = (window / window.sum()).repeat(values.shape[1], 1, 1, 1)
    across = F.conv2d(values, window, groups=values.shape[1])
    return F.conv2d(across, window.transpose(2, 3), groups=values.shape[1])
