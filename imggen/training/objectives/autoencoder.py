"""The autoencoder: pictures to small latents and back."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional as F

from imggen.plan.training.recipe import AutoencoderPlan
from imggen.training import pictures

LATENT_WEIGHT = 0.01
EDGE_WEIGHT = 1.0
STRUCTURE_SCALES = (1, 2, 4)
SAMPLES = 16


def build(plan: AutoencoderPlan) -> AutoencoderTiny:
    """Return a new AutoencoderTiny: convolutions only, so any size that its stages divide fits."""
    stages = len(plan.encoder_blocks)
    return AutoencoderTiny(
        encoder_block_out_channels=(plan.channels,) * stages,
        decoder_block_out_channels=(plan.channels,) * stages,
        num_encoder_blocks=plan.encoder_blocks,
        num_decoder_blocks=plan.decoder_blocks,
        latent_channels=plan.latent_channels,
    )


class Reconstruction:
    """Learns to give back the pictures of the drawn set.

    The loss is L1 on pixels and on their differences at three scales, which keeps edges without a pretrained network; a
    small term holds each latent channel at mean 0 and variance 1, so that the latents need no scaling factor, and
    noise on the latents makes the decoder forgive what a denoiser leaves.
    """

    name = "autoencoder"

    def __init__(self, plan: AutoencoderPlan, data: pictures.Scenes, batch_size: int) -> None:
        self._vae = build(plan)
        self.module: nn.Module = self._vae
        self._noise = plan.latent_noise
        self._data = data
        self._batch_size = batch_size

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Return the reconstruction loss of the step's own scenes."""
        first = step * self._batch_size
        target = self._data.pictures(range(first, first + self._batch_size)).to(self._vae.device)
        latents = self._vae.encoder(target)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        amount = torch.rand(len(latents), 1, 1, 1, generator=generator).to(latents) * 2 * self._noise
        output = self._vae.decoder(latents + amount * noise).float()
        return reconstruction_loss(output, target) + LATENT_WEIGHT * _spread_loss(latents.float())

    @torch.no_grad()
    def sample(self, averaged: Any, path: Path) -> None:
        """Write pictures that training never sees, above what the autoencoder makes of them."""
        target = self._data.pictures(range(-SAMPLES, 0)).to(averaged.device)
        output = averaged.decoder(averaged.encoder(target))
        rows = zip(target.chunk(2), output.float().chunk(2), strict=True)
        pictures.save_sheet(torch.cat([picture for row in rows for picture in row]), path, columns=SAMPLES // 2)


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return L1 on pixels plus L1 on horizontal and vertical differences at several scales, as a scalar."""
    loss = F.l1_loss(output, target)
    for scale in STRUCTURE_SCALES:
        mine, theirs = (F.avg_pool2d(pixels, scale) if scale > 1 else pixels for pixels in (output, target))
        for axis in (-1, -2):
            loss = loss + EDGE_WEIGHT / len(STRUCTURE_SCALES) * F.l1_loss(mine.diff(dim=axis), theirs.diff(dim=axis))
    return loss


def _spread_loss(latents: Tensor) -> Tensor:
    mean = latents.mean(dim=(0, 2, 3))
    deviation = latents.std(dim=(0, 2, 3))
    return mean.square().mean() + (deviation - 1).square().mean()
