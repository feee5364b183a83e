"""Children from parents: noise, prompts and encoded pictures, mixed and mutated so that their statistics stay."""

import hashlib
import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imggen.engine import patching
from imggen.errors import RequestError

# Two noises that cancel each other out leave nothing to scale up again.
LEAST_VARIANCE = 1e-6
PROMPTS = ("prompt", "prompt_2", "prompt_3", "prompt_4")


@dataclass(frozen=True, kw_only=True)
class Gene:
    """What a parent passes on: the seed of its noise and its prompts; `weight` is its part, relative to the others'.

    One that was bred itself has `parents`, whose noises and prompts it mixes in place of its own; its seed is what its
    `mutation` was drawn from.
    """

    seed: int
    prompt: str
    negative_prompt: str = ""
    weight: float = 1.0
    parents: tuple["Gene", ...] = ()
    mutation: float = 0.0

    @property
    def words(self) -> tuple[str, str]:
        """Return its own prompts."""
        return self.prompt, self.negative_prompt

    def founders(self) -> "Iterator[Gene]":
        """Yield those that it comes from whose own prompts count: itself where nobody bred it."""
        for parent in self.parents:
            yield from parent.founders()
        if not self.parents:
            yield self


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Return `weights` scaled to add up to 1; raise RequestError where that means nothing."""
    total = sum(weights)
    if not (math.isfinite(total) and total > 0 and min(weights) >= 0):
        listed = ", ".join(f"{weight:g}" for weight in weights)
        raise RequestError(f"the parents' weights are {listed or 'none'}: they must be 0 or more, and not all 0")
    return tuple(weight / total for weight in weights)


def mix_noise(noises: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the mix of Gaussian noises of one shape that is such noise again: sum w_i z_i / sqrt(w^T C w).

    C is the sample correlation of the noises, without regard to their mean, which is 0. For independent ones it is the
    identity, which gives the paper's formula (arXiv 2408.08558); parents with ancestors in common are not independent.
    A parent whose share is 1 comes back exactly, equal parents do up to rounding. Noise scaled by sigma stays so.
    """
    noises, parts = _shared(noises, weights)
    if len(noises) == 1:
        return noises[0]
    z = torch.stack([noise.float().flatten() for noise in noises])
    w = torch.tensor(parts, device=z.device)
    unit = z / z.norm(dim=1, keepdim=True).clamp_min(LEAST_VARIANCE)
    variance = (w @ (unit @ unit.T) @ w).clamp_min(LEAST_VARIANCE)
    mixed: Tensor = w @ z / variance.sqrt()
    return mixed.view_as(noises[0]).to(noises[0].dtype)


def mutate_noise(noise: Tensor, fresh: Tensor, share: float) -> Tensor:
    """Return sqrt(1 - share^2) noise + share fresh: the deviation stays, the correlation falls to the root.

    `fresh` is noise of its own, `share` from 0 (exactly `noise`) to 1 (exactly `fresh`).
    """
    _check_share(share)
    if share == 0:
        return noise
    return math.sqrt(1 - share**2) * noise + share * fresh


def mix_pictures(latents: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the mix of encoded pictures, each (1, channels, height, width), with the parents' own contrast.

    Latents of pictures have a mean and a deviation per channel. About the weighted mean, the weighted deviations are
    summed and scaled to the weighted standard deviation: mean + s d / sqrt(w^T C w), where C is the sample covariance
    of the parents' deviations d_i and s the weighted sum of their standard deviations. It scales up by no more than
    independent parents need (1 / sqrt(sum w_i^2)), so that what cancels out is not blown up from its rounding errors.
    A parent whose share is 1 comes back exactly, equal parents do up to rounding.
    """
    latents, parts = _shared(latents, weights)
    if len(latents) == 1:
        return latents[0]
    means = [_mean(latent) for latent in latents]
    mean = _weighted(means, parts)
    deviation = _weighted([latent - m for latent, m in zip(latents, means, strict=True)], parts)
    spread = _weighted([_std(latent) for latent in latents], parts)
    most = 1 / math.sqrt(sum(part**2 for part in parts))
    gain = (spread / _std(deviation).clamp_min(LEAST_VARIANCE)).clamp_max(most)
    return mean + gain * deviation


def mutate_picture(latents: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return an encoded picture with `share` of its deviation fresh: m + sqrt(1 - share^2) (z - m) + share s eps.

    m and s are the mean and the standard deviation of each channel of `latents`, (1, channels, height, width), and
    eps is unit noise drawn from `generator` on the CPU.
    """
    _check_share(share)
    if share == 0:
        return latents
    m = _mean(latents)
    eps = torch.randn(latents.shape, generator=generator).to(latents)
    return m + math.sqrt(1 - share**2) * (latents - m) + share * _std(latents) * eps


@contextmanager
def crossed(
    pipeline: Any, parents: Sequence[Gene], *, mutation: float = 0.0, unsaid: str | None = None
) -> Iterator[None]:
    """Let a text-to-image pipeline start from the mixed noise and the mixed prompts of `parents` within the block.

    What the call itself is given says size, steps and guidance; its generator is the child's, which the sampler draws
    from, while each parent's noise comes from a CPU generator of its own seed, and the mutation's from one whose seed
    follows from the child's. With one parent, no mutation and a sampler that draws no noise, the picture is exactly the
    one that the parent's seed and prompt give. `unsaid` is what the pipeline was told for a parent without a negative
    prompt, by default what its call takes for none.
    Raise RequestError for weights that mean nothing, and where the parents' prompts cannot be mixed.
    """
    _check_share(mutation)
    crossing = _Crossing(pipeline, parents, mutation, _unsaid(pipeline) if unsaid is None else unsaid)
    with patching.replaced(pipeline, encode_prompt=crossing.encode_prompt, prepare_latents=crossing.prepare_latents):
        yield


class _Crossing:
    """The two methods of a pipeline through which its prompt and its noise come, for several parents at once."""

    def __init__(self, pipeline: Any, parents: Sequence[Gene], mutation: float, unsaid: str | None) -> None:
        self._pipeline = pipeline
        self._parents = _contributing(parents)
        self._mutation = mutation
        self._unsaid = unsaid
        self._encode_prompt = pipeline.encode_prompt
        self._prepare_latents = pipeline.prepare_latents
        self._encoded = 0

    def encode_prompt(self, *arguments: Any, **options: Any) -> Any:
        bound = patching.bound(self._pipeline, "encode_prompt", arguments, options)
        has_both = "negative_prompt" in bound.signature.parameters
        # Families whose method knows nothing of negative prompts call it twice, the second time for those.
        is_negative = not has_both and self._encoded > 0
        self._encoded += 1
        return self._words(bound, self._parents, is_negative=is_negative)

    def _words(self, bound: inspect.BoundArguments, parents: Sequence[Gene], *, is_negative: bool) -> Any:
        encoded = []
        for parent in parents:
            if parent.parents:
                encoded.append(self._words(bound, _contributing(parent.parents), is_negative=is_negative))
                continue
            words: dict[str, str | None] = dict.fromkeys((*PROMPTS, *(f"negative_{name}" for name in PROMPTS)))
            # None and empty text are not the same to SDXL, which has zeros for the one and an encoding for the other.
            words["negative_prompt"] = parent.negative_prompt or self._unsaid
            words["prompt"] = (words["negative_prompt"] or "") if is_negative else parent.prompt
            encoded.append(patching.call(self._encode_prompt, bound, words))
        return _mixed(encoded, _weights(parents))

    def prepare_latents(self, *arguments: Any, **options: Any) -> Any:
        self._encoded = 0
        bound = patching.bound(self._pipeline, "prepare_latents", arguments, options)
        # Drawn without a mutation too, so that what a sampler draws next from the child's generator is the same.
        own = patching.call(self._prepare_latents, bound, {})
        seed = bound.arguments["generator"].initial_seed()
        bred = self._bred(bound, self._parents, seed, self._mutation)
        return (bred, *own[1:]) if isinstance(own, tuple) else bred

    def _bred(self, bound: inspect.BoundArguments, parents: Sequence[Gene], seed: int, mutation: float) -> Tensor:
        noises = [self._inherited(bound, parent) for parent in parents]
        # Not the noise of the child's own seed: that is a parent's where both have the same one.
        digest = hashlib.sha256(f"mutation:{seed}".encode()).digest()
        fresh = self._noise(bound, int.from_bytes(digest[:7]))
        return mutate_noise(mix_noise(noises, _weights(parents)), fresh, mutation)

    def _inherited(self, bound: inspect.BoundArguments, gene: Gene) -> Tensor:
        if gene.parents:
            return self._bred(bound, _contributing(gene.parents), gene.seed, gene.mutation)
        return self._noise(bound, gene.seed)

    def _noise(self, bound: inspect.BoundArguments, seed: int) -> Tensor:
        prepared = patching.call(self._prepare_latents, bound, {"generator": torch.Generator("cpu").manual_seed(seed)})
        noise: Tensor = prepared[0] if isinstance(prepared, tuple) else prepared
        return noise


def _unsaid(pipeline: Any) -> str | None:
    # Most take None for no negative prompt; PixArt and Sana take empty words, and stumble over None.
    parameter = inspect.signature(type(pipeline).__call__).parameters.get("negative_prompt")
    return parameter.default if parameter is not None and isinstance(parameter.default, str) else None


def _contributing(parents: Sequence[Gene]) -> list[Gene]:
    """Return the parents that have a share; raise RequestError where their weights mean nothing."""
    return [parent for parent, share in zip(parents, shares(_weights(parents)), strict=True) if share > 0]


def _weights(parents: Sequence[Gene]) -> list[float]:
    return [parent.weight for parent in parents]


def _mixed(encoded: Sequence[Any], weights: Sequence[float]) -> Any:
    """Return the parents' encodings mixed: tensors by their weights, tuples and lists entry by entry."""
    first = encoded[0]
    if first is None or len(encoded) == 1:
        return first
    if isinstance(first, (tuple, list)):
        return type(first)(_mixed(tensors, weights) for tensors in zip(*encoded, strict=True))
    if any(tensor.shape != first.shape for tensor in encoded):
        lengths = ", ".join(str(tensor.shape[-2]) for tensor in encoded)
        raise RequestError(f"this model reads the parents' prompts at different lengths ({lengths}), which do not mix")
    # Positions and masks; those that differ cannot be averaged into anything that means something.
    if all(torch.equal(tensor, first) for tensor in encoded):
        return first
    if not first.is_floating_point():
        raise RequestError("this model reads the parents' prompts through masks that differ, which do not mix")
    return _weighted([tensor.float() for tensor in encoded], shares(weights)).to(first.dtype)


def _shared(tensors: Sequence[Tensor], weights: Sequence[float]) -> tuple[list[Tensor], list[float]]:
    """Return the tensors that have a share, and their shares."""
    pairs = [(tensor, share) for tensor, share in zip(tensors, shares(weights), strict=True) if share > 0]
    return [tensor for tensor, _ in pairs], [share for _, share in pairs]


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise RequestError(f"the mutation is {share:g}; it is a share from 0 to 1")


def _weighted(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return torch.stack([part * tensor for tensor, part in zip(tensors, weights, strict=True)]).sum(dim=0)


def _mean(latents: Tensor) -> Tensor:
    return latents.mean(dim=(2, 3), keepdim=True)


def _std(latents: Tensor) -> Tensor:
    return latents.std(dim=(2, 3), correction=0, keepdim=True)
