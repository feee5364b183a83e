"""What the autoencoder is trained to do."""

import pytest
import torch

from imggen.training.objectives import autoencoder


def test_loss_is_nothing_for_the_picture_itself():
    picture = torch.rand(2, 3, 16, 16)
    assert autoencoder.reconstruction_loss(picture, picture) == 0


def test_flat_error_counts_as_pixels_and_not_as_edges():
    picture = torch.rand(1, 3, 16, 16)
    assert float(autoencoder.reconstruction_loss(picture + 0.25, picture)) == pytest.approx(0.25, abs=1e-6)


def test_lost_edge_counts_at_every_scale():
    target = torch.zeros(1, 1, 8, 8)
    target[..., 4:] = 1
    # Half of the pixels are wrong by 1; one difference of 7, of 3 and of 1 in each row is.
    expected = 0.5 + (1 / 7 + 1 / 3 + 1) / 3
    assert float(autoencoder.reconstruction_loss(torch.zeros_like(target), target)) == pytest.approx(expected)


def test_latents_are_held_at_mean_0_and_variance_1():
    latents = torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    latents = (latents - latents.mean((0, 2, 3), keepdim=True)) / latents.std((0, 2, 3), keepdim=True)
    assert float(autoencoder._spread_loss(latents)) == pytest.approx(0, abs=1e-6)
    assert float(autoencoder._spread_loss(latents + 2)) == pytest.approx(4, abs=1e-4)
    assert float(autoencoder._spread_loss(latents * 3)) == pytest.approx(4, abs=1e-4)


def test_stages_halve_the_edges(tiny_plan):
    vae = autoencoder.build(tiny_plan.autoencoder)
    assert vae.encoder(torch.zeros(1, 3, 32, 32)).shape == (1, tiny_plan.autoencoder.latent_channels, 16, 16)
