"""The cache of latents: every picture once an epoch, and chunks that are encoded once."""

from types import SimpleNamespace

import pytest
import torch

from imggen.training import latents
from imggen.training.latents import Cache, Encoder


@pytest.fixture
def cache():
    numbers = torch.arange(6)
    return Cache(latents=numbers.half().view(6, 1, 1, 1), tokens=numbers[:, None])


def drawn(cache, steps, size, seed):
    return [int(token) for step in steps for token in cache.batch(step, size, seed)[1]]


def test_every_picture_comes_once_an_epoch_in_an_order_of_its_own(cache):
    order = drawn(cache, range(6), 4, seed=1)
    epochs = [order[start : start + 6] for start in range(0, 24, 6)]
    assert [sorted(epoch) for epoch in epochs] == [[*range(6)]] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert order == drawn(cache, range(6), 4, seed=1) != drawn(cache, range(6), 4, seed=2)


def test_latents_and_tokens_stay_together(cache):
    values, tokens = cache.batch(3, 5, 0)
    assert values.dtype is torch.float32
    assert values.flatten().tolist() == tokens.flatten().tolist()


class _Vae(SimpleNamespace):
    device = torch.device("cpu")
    encoded = 0

    def encoder(self, pictures):
        self.encoded += len(pictures)
        return pictures.mean(dim=(2, 3), keepdim=True)


class _Words:
    model_max_length = 3

    def __call__(self, captions, **_):
        return SimpleNamespace(input_ids=torch.tensor([[int(caption)] * 3 for caption in captions]))


class _Data:
    def pictures(self, indices):
        return torch.tensor(list(indices), dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    def captions(self, indices):
        return [str(index) for index in indices]


@pytest.fixture
def encoder(monkeypatch):
    monkeypatch.setattr(latents, "CHUNK", 4)
    monkeypatch.setattr(latents, "BATCH", 3)
    return Encoder(vae=_Vae(), tokenizer=_Words(), data=_Data(), fingerprint="a", bfloat16=False)


def encode(folder, count, encoder):
    return [(fact.pictures, fact.of) for fact in latents.encode(folder, count, encoder)]


def test_scenes_are_encoded_once_and_in_order(encoder, tmp_path):
    assert encode(tmp_path, 6, encoder) == [(4, 6), (6, 6)]
    cache = latents.load(tmp_path, 6)
    assert cache.latents.flatten().tolist() == cache.tokens[:, 0].tolist() == [*range(6)]
    assert encode(tmp_path, 6, encoder) == [(4, 6), (6, 6)]
    assert encoder.vae.encoded == 6


@pytest.mark.parametrize("harm", ["fingerprint", "damage", "longer"])
def test_chunk_that_is_not_of_this_run_is_encoded_again(encoder, tmp_path, harm):
    encode(tmp_path, 6, encoder)
    count = 6
    if harm == "fingerprint":
        encoder = Encoder(**{**vars(encoder), "fingerprint": "b"})
    elif harm == "damage":
        (tmp_path / "00000004.safetensors").write_bytes(b"damaged")
    else:
        count = 7
    before = encoder.vae.encoded
    encode(tmp_path, count, encoder)
    assert encoder.vae.encoded - before == {"fingerprint": 6, "damage": 2, "longer": 3}[harm]
    assert latents.load(tmp_path, count).tokens[:, 0].tolist() == [*range(count)]
