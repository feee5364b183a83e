"""What happens to pictures on their way to somebody: blur, shrinking by one of many kernels, JPEG.

The order and the ranges follow the first stage of Real-ESRGAN's degradations (arXiv 2107.10833), far milder: flat
pictures with hard edges show every trace.
"""

import io
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageFilter

from imggen.plan.training.recipe import DegradationPlan

_NO_SUBSAMPLING, _QUARTER_SUBSAMPLING = 0, 2


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """How a picture is made small.

    `kernel` is one of `plan.training.recipe.KERNELS`. `blur` is the standard deviation of a Gaussian before shrinking,
    in pixels of the result, 0 = none. `quality` is that of the JPEG that the result went through, None = none;
    `subsampled` says whether its colours were stored at half the resolution.
    """

    kernel: str
    blur: float = 0.0
    quality: int | None = None
    subsampled: bool = False


def draw(ranges: DegradationPlan, random: Random) -> Degradation:
    """Return a degradation within `ranges`."""
    kernel = random.choice(ranges.kernels)
    if random.random() < ranges.clean:
        return Degradation(kernel=kernel)
    blur = random.uniform(0, ranges.blur) if random.random() < 0.5 else 0.0
    quality = random.randint(ranges.quality[0], ranges.quality[1]) if random.random() < 0.6 else None
    return Degradation(kernel=kernel, blur=blur, quality=quality, subsampled=random.random() < 0.5)


def apply(degradation: Degradation, picture: Image.Image, scale: int) -> Image.Image:
    """Return the RGB picture at 1/`scale` of its edges, which must be multiples of it."""
    if degradation.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(degradation.blur * scale))
    size = (picture.width // scale, picture.height // scale)
    small = picture.resize(size, Image.Resampling[degradation.kernel.upper()])
    if degradation.quality is None:
        return small
    written = io.BytesIO()
    subsampling = _QUARTER_SUBSAMPLING if degradation.subsampled else _NO_SUBSAMPLING
    small.save(written, "JPEG", quality=degradation.quality, subsampling=subsampling)
    return Image.open(written).convert("RGB")
