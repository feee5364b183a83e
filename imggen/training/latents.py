"""The drawn set as latents: encoded once, kept in the run's folder, read by every step."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from imggen.training import pictures
from imggen.training.progress import Encoded

CHUNK = 4000
BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Latents of shape (n, c, h, w) in float16, and the captions' token ids of shape (n, tokens)."""

    latents: Tensor
    tokens: Tensor

    def batch(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return the step's latents (float32) and tokens: every picture once an epoch, in an order of its own."""
        total = len(self.latents)
        first = step * size
        places = [divmod(position, total) for position in range(first, first + size)]
        epochs = {epoch for epoch, _ in places}
        orders = {epoch: _order(total, seed, epoch) for epoch in epochs}
        indices = torch.stack([orders[epoch][offset] for epoch, offset in places])
        return self.latents[indices].float(), self.tokens[indices]


def _order(total: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """What turns scenes into latents and tokens; `fingerprint` tells those of different encoders apart."""

    vae: AutoencoderTiny
    tokenizer: CLIPTokenizer
    data: pictures.Scenes
    fingerprint: str
    bfloat16: bool


def encode(folder: Path, count: int, encoder: Encoder) -> Iterator[Encoded]:
    """Encode the first `count` scenes into `folder`, skipping the chunks that are there from the same encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, CHUNK):
        indices = range(first, min(first + CHUNK, count))
        path = folder / f"{first:08d}.safetensors"
        if not _is_current(path, encoder.fingerprint, len(indices)):
            _encode_chunk(path, indices, encoder)
        yield Encoded(pictures=indices.stop, of=count)


def load(folder: Path, count: int) -> Cache:
    """Return what `encode` left in `folder`."""
    latents, tokens = [], []
    for first in range(0, count, CHUNK):
        with safe_open(folder / f"{first:08d}.safetensors", framework="pt") as file:
            latents.append(file.get_tensor("latents"))
            tokens.append(file.get_tensor("tokens"))
    return Cache(latents=torch.cat(latents), tokens=torch.cat(tokens))


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Return token ids of shape (n, tokens), padded and cut as StableDiffusionPipeline does."""
    tokens: Tensor = tokenizer(
        captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens


@torch.no_grad()
def _encode_chunk(path: Path, indices: range, encoder: Encoder) -> None:
    """Encode the scenes into one file, which is there whole or not at all."""
    vae, data = encoder.vae, encoder.data
    parts = []
    for first in range(indices.start, indices.stop, BATCH):
        target = data.pictures(range(first, min(first + BATCH, indices.stop))).to(vae.device)
        with torch.autocast(vae.device.type, torch.bfloat16, enabled=encoder.bfloat16):
            parts.append(vae.encoder(target).half().cpu())
    # the captions are kept with the pictures that they describe, whatever a later version would say of a scene
    tokens = tokenize(encoder.tokenizer, data.captions(indices))
    tensors = {"latents": torch.cat(parts).contiguous(), "tokens": tokens.contiguous()}
    temporary = path.with_suffix(".partial")
    try:
        save_file(tensors, temporary, metadata={"fingerprint": encoder.fingerprint})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_current(path: Path, fingerprint: str, count: int) -> bool:
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            same = (file.metadata() or {}).get("fingerprint") == fingerprint
            return same and file.get_slice("latents").get_shape()[0] == count
    except SafetensorError:
        return False
