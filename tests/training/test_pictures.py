"""Scenes as tensors, tensors as sheets."""

import numpy as np
import torch
from PIL import Image

from imggen.training import pictures


def test_levels_run_from_minus_one_to_one():
    tensor = pictures.to_tensor(np.array([[[[0, 255, 51]]]], np.uint8))
    assert tensor.shape == (1, 3, 1, 1)
    torch.testing.assert_close(tensor.flatten(), torch.tensor([-1.0, 1.0, -0.6]))


def test_sheet_fills_rows_and_keeps_levels_within_bounds(tmp_path):
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(5, 1, 1, 1).expand(5, 3, 2, 4)
    pictures.save_sheet(values, tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12, 4)
        levels = [sheet.getpixel((4 * column, 2 * row))[0] for row in range(2) for column in range(3)]
    assert levels == [0, 0, 128, 255, 255, 0]


def test_scenes_are_those_of_their_seed(emoji_font):
    first, second = (pictures.Scenes(seed, 16) for seed in (1, 2))
    assert first.pictures(range(2)).shape == (2, 3, 16, 16)
    assert torch.equal(first.pictures(range(1, 2)), first.pictures(range(2))[1:])
    assert first.captions(range(8)) != second.captions(range(8))
