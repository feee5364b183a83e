"""The network that enlarges: from small, worn pictures back to those that were drawn."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from imggen.data import degradation, drawing, scenes
from imggen.data.degradation import Ranges
from imggen.engine import compact
from imggen.training import pictures
from imggen.training.recipe import UpscalerTrainPlan

EDGE_WEIGHT = 0.5
SAMPLES = 12
_TURNS = tuple(Image.Transpose)


class Pairs:
    """Drawn pictures and what degradation leaves of them, as float32 tensors in 0..1, channels last.

    A picture is drawn at one of several sizes, cropped, turned or mirrored, and its colours may trade places: flat art
    of other colours and directions than those of the drawn set is enlarged as well.
    """

    def __init__(self, plan: UpscalerTrainPlan) -> None:
        self._plan = plan
        self._painters = [drawing.Painter(size) for size in plan.data.sizes]
        values = plan.degradation
        self._ranges = Ranges(
            kernels=values.kernels, clean=values.clean, blur=values.blur, quality=tuple(values.quality)
        )

    def pairs(self, indices: range) -> tuple[Tensor, Tensor]:
        """Return the small and the large pictures of these scenes."""
        made = [self._pair(index) for index in indices]
        small, large = (np.stack([each[which] for each in made]) for which in (0, 1))
        return _to_tensor(small), _to_tensor(large)

    def _pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        plan = self._plan
        random = Random(f"{plan.data.seed}:{index}:pair")
        painter = random.choice(self._painters)
        drawn = painter.paint(scenes.compose(plan.data.seed, index))
        left, top = (random.randint(0, painter.size - plan.data.crop) for _ in range(2))
        large = drawn.crop((left, top, left + plan.data.crop, top + plan.data.crop))
        turn = random.choice((None, *_TURNS))
        large = large if turn is None else large.transpose(turn)
        if random.random() < 0.5:
            large = Image.merge("RGB", random.sample(large.split(), 3))
        small = degradation.apply(degradation.draw(self._ranges, random), large, plan.upscaler.scale)
        return np.asarray(small), np.asarray(large)


class Enlargement:
    """Learns to enlarge; the loss is L1 on pixels and on their differences, which keeps edges sharp and flats flat."""

    name = "upscaler"

    def __init__(self, plan: UpscalerTrainPlan) -> None:
        self._plan = plan
        self._pairs = Pairs(plan)
        shape = plan.upscaler
        self.module: nn.Module = compact.build(shape.features, shape.convolutions, shape.scale)

    def loss(self, step: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002 - all chance is in the scenes
        """Return the loss of the step's own scenes."""
        first = step * self._plan.training.batch_size
        small, large = self._pairs.pairs(range(first, first + self._plan.training.batch_size))
        device = next(self.module.parameters()).device
        output, large = self.module(small.to(device)).float(), large.to(device)
        loss = F.l1_loss(output, large)
        for axis in (-1, -2):
            loss = loss + EDGE_WEIGHT * F.l1_loss(output.diff(dim=axis), large.diff(dim=axis))
        return loss

    @torch.no_grad()
    def sample(self, averaged: Any, path: Path) -> None:
        """Write pictures that training never sees: repeated pixels, what the network makes of them, as drawn."""
        small, large = self._pairs.pairs(range(-SAMPLES, 0))
        output = averaged(small.to(next(averaged.parameters()).device)).float().cpu()
        repeated = F.interpolate(small, scale_factor=self._plan.upscaler.scale, mode="nearest")
        pictures.save_sheet(torch.cat([repeated, output, large]) * 2 - 1, path, columns=SAMPLES)

    def export(self, path: Path) -> None:
        """Write the network's weights in float16, under the names that spandrel knows."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        values = {name: each.detach().cpu().half().contiguous() for name, each in self.module.state_dict().items()}
        save_file(values, temporary, metadata={"format": "pt", "architecture": "SRVGGNetCompact"})
        temporary.chmod(path.parent.stat().st_mode & 0o666)
        temporary.replace(path)


def _to_tensor(pixels: np.ndarray) -> Tensor:
    """Return uint8 pixels of shape (n, h, w, 3) as float32 of shape (n, 3, h, w) in 0..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
