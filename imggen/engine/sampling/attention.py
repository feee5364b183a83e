"""Attention in chunks: the same result, a score matrix that fits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Kernels without a fused path, Apple's among them, keep the scores in float32 whatever the inputs are.
SCORE_BYTES = 4


@contextmanager
def chunked(chunk_bytes: int) -> Iterator[None]:
    """Compute attention within the block over as many queries at a time as keep the scores under `chunk_bytes`.

    Softmax runs over keys, so cutting the queries changes no result. 0 leaves attention alone. The function is replaced
    where diffusers and transformers look it up at each call, so it counts for the whole process while the block lasts.
    """
    if chunk_bytes <= 0:
        yield
        return
    whole = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _in_chunks(whole, chunk_bytes)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = whole


def _in_chunks(whole: Callable[..., Tensor], chunk_bytes: int) -> Callable[..., Tensor]:
    """Return attention that calls `whole` for as many queries at a time as fit."""

    def attend(  # noqa: PLR0913, PLR0917 - torch's signature
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002
        **options: Any,
    ) -> Tensor:
        size = queries_per_chunk(query, key, chunk_bytes)
        # A causal mask depends on the query's place, and dropout on the order of drawing: neither can be cut.
        if is_causal or dropout_p > 0 or size >= query.shape[-2]:
            return whole(query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=is_causal, **options)
        pieces = [
            whole(query[..., start : start + size, :], key, value, attn_mask=_rows(attn_mask, start, size), **options)
            for start in range(0, query.shape[-2], size)
        ]
        return torch.cat(pieces, dim=-2)

    return attend


def queries_per_chunk(query: Tensor, key: Tensor, chunk_bytes: int) -> int:
    """Return how many queries have scores of at most `chunk_bytes`; at least one.

    `query` is (..., heads, queries, channels), `key` (..., heads, keys, channels).
    """
    rows = query[..., 0, 0].numel()
    return max(1, chunk_bytes // max(1, rows * key.shape[-2] * SCORE_BYTES))


def _rows(mask: Tensor | None, start: int, size: int) -> Tensor | None:
    # One row for all queries is broadcast, as in masks of padded text.
    if mask is None or mask.shape[-2] == 1:
        return mask
    return mask[..., start : start + size, :]
