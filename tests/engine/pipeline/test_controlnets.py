"""ControlNets beside a loaded denoiser."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from imggen.engine.pipeline import controlnets


@pytest.mark.parametrize(
    ("name", "is_usual"),
    [
        ("diffusion_pytorch_model.safetensors", True),
        ("diffusion_pytorch_model.fp16.safetensors", True),
        ("diffusion_pytorch_model-00001-of-00002.safetensors", True),
        ("model.safetensors", True),
        ("my-control.safetensors", False),
        ("model2.safetensors", False),
    ],
)
def test_the_names_that_diffusers_finds_by_itself_are_known(name, is_usual):
    assert controlnets._is_usual(Path(name)) is is_usual


def test_seeded_noise_is_the_same_and_leaves_no_trace():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    with controlnets.seeded(7):
        first = torch.randn(3)
    with controlnets.seeded(7):
        assert torch.equal(torch.randn(3), first)
    with controlnets.seeded(8):
        assert not torch.equal(torch.randn(3), first)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_layers_of_the_denoiser_are_copied_and_others_stay():
    denoiser, network = torch.nn.Module(), torch.nn.Module()
    denoiser.shared, denoiser.weight = torch.nn.Linear(2, 2), torch.nn.Parameter(torch.ones(2))
    network.shared, network.weight, network.own = denoiser.shared, denoiser.weight, torch.nn.Linear(2, 2)
    own = network.own
    controlnets.unshare(SimpleNamespace(controlnet=network, transformer=denoiser))
    assert network.own is own
    assert network.shared is not denoiser.shared
    assert torch.equal(network.shared.weight, denoiser.shared.weight)
    assert network.weight is not denoiser.weight
    assert torch.equal(network.weight, denoiser.weight)


def test_without_a_controlnet_nothing_is_copied():
    controlnets.unshare(SimpleNamespace(transformer=torch.nn.Module()))
