"""Which parameters go to which optimizer, and what one step does."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from imggen.training import optimizer

STAGE = SimpleNamespace(optimizer="muon", learning_rate=0.1, weight_decay=0.0)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(1, 2, 3)
        self.middle = nn.Conv2d(2, 2, 3)
        self.token_embedding = nn.Embedding(3, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.conv_out = nn.Conv2d(2, 1, 3)


def split(kind):
    network = Network()
    built = optimizer.build(network, SimpleNamespace(**{**vars(STAGE), "optimizer": kind}))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [{names[id(parameter)] for parameter in part} for part in (built._plain, built._matrices)]


def test_muon_takes_inner_matrices_and_nothing_else():
    plain, matrices = split("muon")
    assert matrices == {"middle.weight"}
    assert "middle.bias" in plain
    assert {"conv_in.weight", "conv_out.weight", "token_embedding.weight"} < plain
    assert not {name for name in plain if name.startswith("frozen")}


def test_adamw_takes_all_that_trains():
    plain, matrices = split("adamw")
    assert (matrices, len(plain)) == (set(), 7)


@pytest.mark.parametrize("name", ["middle", "conv_in"])
def test_a_step_changes_what_has_a_gradient_at_the_rate_that_is_set(name):
    network = Network()
    built = optimizer.build(network, STAGE)
    weight = getattr(network, name).weight
    before = weight.detach().clone()
    for rate in (0.0, 0.1):
        built.zero_grad()
        assert weight.grad is None
        weight.grad = torch.ones_like(weight)
        built.set_learning_rate(rate)
        built.step()
        assert torch.equal(weight, before) is (rate == 0)


def test_state_that_was_saved_goes_on_alike():
    networks = [Network() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    first, second = (optimizer.build(network, STAGE) for network in networks)
    for built, network in ((first, networks[0]), (second, networks[1])):
        network.middle.weight.grad = torch.full_like(network.middle.weight, 0.5)
        built.step()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for built, network in ((first, networks[0]), (second, networks[1])):
        network.middle.weight.grad = torch.arange(36.0).view(2, 2, 3, 3)
        built.step()
    assert torch.equal(networks[0].middle.weight, networks[1].middle.weight)
