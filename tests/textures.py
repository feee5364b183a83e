"""Pictures that look as if they had been taken: they can carry a watermark."""

import numpy as np
from PIL import Image, ImageFilter


def textured(size: tuple[int, int] = (320, 288), seed: int = 1) -> Image.Image:
    """Return soft blotches of colour under grain."""
    drawn = np.random.default_rng(seed)
    coarse = Image.fromarray(drawn.integers(40, 216, (24, 24, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    grain = drawn.normal(0, 9, (size[1], size[0], 1))
    made = np.clip(np.asarray(coarse.filter(ImageFilter.GaussianBlur(3)), dtype=float) + grain, 0, 255)
    return Image.fromarray(made.round().astype(np.uint8))
