"""Scenes as tensors, and tensors as contact sheets."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from imggen.data.drawn import drawing, scenes


class Scenes:
    """The drawn set of one seed as tensors.

    Pictures are float32 of shape (n, 3, size, size) in -1..1, in channels-last memory.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed = seed
        self._painter = drawing.Painter(size)

    def pictures(self, indices: range) -> Tensor:
        """Return the pictures of these scenes."""
        drawn = [np.asarray(self._painter.paint(scenes.compose(self.seed, index))) for index in indices]
        return to_tensor(np.stack(drawn))

    def captions(self, indices: range) -> list[str]:
        """Return the captions of these scenes."""
        return [scenes.compose(self.seed, index).caption for index in indices]


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Return uint8 pixels of shape (n, h, w, 3) as float32 of shape (n, 3, h, w) in -1..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def save_sheet(pictures: Tensor, path: Path, columns: int) -> None:
    """Write pictures of shape (n, 3, h, w) in -1..1 side by side, `columns` a row."""
    pixels = pictures.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    height, width = pixels.shape[1:3]
    sheet = Image.new("RGB", (columns * width, -(-len(pixels) // columns) * height))
    for index, picture in enumerate(pixels):
        sheet.paste(Image.fromarray(picture), (index % columns * width, index // columns * height))
    sheet.save(path)
