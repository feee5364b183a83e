"""What the denoiser is trained to do, and with what."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from imggen.training import latents, text
from imggen.training.latents import Cache
from imggen.training.objectives import diffusion
from imggen.training.objectives.diffusion import FlowMatching


@pytest.fixture
def matching(tiny_plan):
    def build(dropout):
        training = replace(tiny_plan.diffusion_training, batch_size=8, caption_dropout=dropout)
        plan = replace(tiny_plan, diffusion_training=training)
        tokenizer = text.build_tokenizer(plan.text_encoder.max_tokens)
        tokens = latents.tokenize(tokenizer, ["a red apple"] * 8)
        clean = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(1))
        cache = Cache(latents=clean.half(), tokens=tokens)
        return FlowMatching(plan, cache, None, tokenizer, None)

    return build


class Spy(torch.nn.Module):
    """Stands for the denoiser: keeps what it was called with, and answers with nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, sample, time, tokens):
        self.seen = SimpleNamespace(sample=sample, time=time, tokens=tokens)
        return torch.zeros_like(sample)


def loss(matching, dropout):
    objective = matching(dropout)
    objective.module = Spy()
    value = objective.loss(0, torch.Generator().manual_seed(2))
    return float(value), objective.module.seen, objective


def test_latents_are_mixed_with_noise_by_the_time(matching):
    value, seen, objective = loss(matching, 0.0)
    clean, _ = objective._cache.batch(0, 8, objective._plan.seed)
    time = seen.time[:, None, None, None]
    noise = (seen.sample - (1 - time) * clean) / time
    assert value == pytest.approx(float((noise - clean).square().mean()), rel=1e-3)
    assert 0 < float(seen.time.min()) < float(seen.time.max()) < 1


@pytest.mark.parametrize(("dropout", "kept"), [(0.0, 8), (1.0, 0)])
def test_captions_are_dropped_at_their_rate(matching, dropout, kept):
    _, seen, objective = loss(matching, dropout)
    nothing = latents.tokenize(objective._tokenizer, [""])
    assert int((seen.tokens != nothing).any(dim=1).sum()) == kept


def test_network_has_the_shape_of_the_latents_and_the_words(tiny_plan):
    config = diffusion.build_unet(tiny_plan.unet, tiny_plan).config
    assert (config.sample_size, config.in_channels) == (16, tiny_plan.autoencoder.latent_channels)
    assert config.down_block_types == ("DownBlock2D", "CrossAttnDownBlock2D")
    assert config.up_block_types == ("CrossAttnUpBlock2D", "UpBlock2D")
    assert config.cross_attention_dim == tiny_plan.text_encoder.width


def test_sampler_is_on_the_straight_flow():
    config = diffusion.scheduler().config
    assert (config.prediction_type, config.use_flow_sigmas, config.solver_order) == ("flow_prediction", True, 2)
