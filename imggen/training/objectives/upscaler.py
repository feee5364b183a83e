"""The upscaler: from small, degraded pictures back to those that were drawn."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import imggen.builtin
from imggen.data import degradation
from imggen.data.drawn import drawing, scenes
from imggen.engine.upscaling import compact
from imggen.host import environment
from imggen.plan.training.recipe import UpscalerTrainPlan
from imggen.training import loop, pictures

EDGE_WEIGHT = 0.5
SAMPLES = 12
AUTOENCODER = Path(imggen.builtin.__file__).parent / "model" / "vae"
NATIVE = 128
"""The size in pixels of the pictures that the autoencoder is for."""
FACTOR = 8
"""Pixels per latent."""
_TURNS = tuple(Image.Transpose)


class Pairs:
    """Drawn pictures and what degradation leaves of them, as float32 tensors in 0..1, channels last.

    A picture is drawn at one of several sizes, cropped, turned or mirrored, and its colours may trade places: flat art
    of other colours and directions than those of the drawn set is enlarged as well. Some are drawn so large that the
    small picture has the size of the autoencoder's, and go through it. `autoencoder` has its digest.
    """

    def __init__(self, plan: UpscalerTrainPlan) -> None:
        self._plan = plan
        self._painters = [drawing.Painter(size) for size in plan.data.sizes]
        self._large = drawing.Painter(NATIVE * plan.upscaler.scale)
        with environment.quiet():
            vae = AutoencoderTiny.from_pretrained(AUTOENCODER, dtype=torch.float32)
        self._vae = vae.eval().requires_grad_(requires_grad=False)
        self.autoencoder = loop.digest(self._vae)

    def pairs(self, indices: range) -> tuple[Tensor, Tensor]:
        """Return the small and the large pictures of these scenes."""
        chances = {index: Random(f"{self._plan.data.seed}:{index}:pair") for index in indices}
        decoded = [index for index, random in chances.items() if random.random() < self._plan.degradation.decoded]
        drawn = dict(zip(decoded, self._decoded_pairs(decoded, chances), strict=True))
        drawn |= {index: self._pair(index, chances[index]) for index in indices if index not in drawn}
        smalls, larges = zip(*(drawn[index] for index in indices), strict=True)
        return _to_tensor(np.stack(smalls)), _to_tensor(np.stack(larges))

    def _pair(self, index: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
        plan = self._plan
        painter = random.choice(self._painters)
        drawn = painter.paint(scenes.compose(plan.data.seed, index))
        left, top = (random.randint(0, painter.size - plan.data.crop) for _ in range(2))
        large = drawn.crop((left, top, left + plan.data.crop, top + plan.data.crop))
        turn = random.choice((None, *_TURNS))
        large = large if turn is None else large.transpose(turn)
        if random.random() < 0.5:
            large = Image.merge("RGB", random.sample(large.split(), 3))
        small = degradation.apply(degradation.draw(plan.degradation, random), large, plan.upscaler.scale)
        return np.asarray(small), np.asarray(large)

    @torch.no_grad()
    def _decoded_pairs(self, indices: list[int], chances: dict[int, Random]) -> list[tuple[np.ndarray, np.ndarray]]:
        if not indices:
            return []
        drawn = [self._whole_latents(index, chances[index]) for index in indices]
        seen = _to_tensor(np.stack([small for small, _ in drawn])) * 2 - 1
        decoded = self._vae.decoder(self._vae.encoder(seen)).add(1).mul(127.5).round().clamp(0, 255).byte()
        edge, scale = self._plan.data.crop // self._plan.upscaler.scale, self._plan.upscaler.scale
        inner = slice(FACTOR, FACTOR + edge)
        outer = slice(FACTOR * scale, FACTOR * scale + self._plan.data.crop)
        smalls = decoded.permute(0, 2, 3, 1).numpy()
        return [(small[inner, inner], large[outer, outer]) for small, (_, large) in zip(smalls, drawn, strict=True)]

    def _whole_latents(self, index: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
        """Return a part of a scene, small and large, that has a whole number of latents and one more at each side."""
        scale = self._plan.upscaler.scale
        drawn = self._large.paint(scenes.compose(self._plan.data.seed, index))
        edge = -(-self._plan.data.crop // scale // FACTOR) * FACTOR + 2 * FACTOR
        left, top = (random.randint(0, (NATIVE - edge) // FACTOR) * FACTOR * scale for _ in range(2))
        large = drawn.crop((left, top, left + edge * scale, top + edge * scale))
        return np.asarray(large.resize((edge, edge), Image.Resampling.LANCZOS)), np.asarray(large)


class UpscalerObjective:
    """Learns to upscale; the loss is L1 on pixels and on their differences, which keeps edges sharp and flats flat."""

    name = "upscaler"

    def __init__(self, plan: UpscalerTrainPlan) -> None:
        self._plan = plan
        self._pairs = Pairs(plan)
        self.rests_on = self._pairs.autoencoder
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
        values = {name: tensor.detach().cpu().half().contiguous() for name, tensor in self.module.state_dict().items()}
        # one entry, because several are written in a random order, and the same run shall give the same bytes
        save_file(values, temporary, metadata={"format": "pt"})
        temporary.chmod(path.parent.stat().st_mode & 0o666)
        temporary.replace(path)


def _to_tensor(pixels: np.ndarray) -> Tensor:
    """Return uint8 pixels of shape (n, h, w, 3) as float32 of shape (n, 3, h, w) in 0..1."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
