"""The words: a CLIP tokenizer that knows the drawn set's vocabulary, and a small CLIP text model."""

import hashlib
import itertools
import json
import re
from collections import Counter

from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from imggen.data.drawn import vocabulary
from imggen.plan.training.recipe import TextEncoderPlan

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
FILLERS = ("a", "an", "and", "background", "front", "in", "of", "on", "picture", "the", "to", "with")
"""The words that captions use beside those of `vocabulary`."""


def words() -> tuple[str, ...]:
    """Return every word that a caption of the drawn set can hold, sorted."""
    names = [*vocabulary.OBJECTS, *vocabulary.SHAPES]
    phrases = [*names, *map(vocabulary.plural, names), *vocabulary.COLORS, *vocabulary.BACKGROUNDS, *FILLERS]
    phrases += [*vocabulary.PLACES, *vocabulary.COUNTS.values()]
    letters = itertools.chain.from_iterable(re.findall(r"[a-z]+", phrase) for phrase in phrases)
    return tuple(sorted(set(letters)))


def build_tokenizer(max_tokens: int) -> CLIPTokenizer:
    """Return a CLIP tokenizer in which each known word is one token and any other text still has tokens (bytes).

    The same words always give the same tokens; the `tokenizers` trainer breaks ties as its hash table happens to lie.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges(words())
    tokens = [*alphabet, *(f"{letter}{WORD_END}" for letter in alphabet), *map("".join, merges), START, END]
    unique = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=unique, merges=merges, model_max_length=max_tokens)


def digest(tokenizer: CLIPTokenizer) -> str:
    """Return the SHA-256 of a tokenizer's vocabulary: every token and its number."""
    vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(vocabulary.encode()).hexdigest()


def _merges(known: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return byte-pair merges (arXiv 1508.07909), most frequent pair first, until every known word is one token."""
    split = [(*word[:-1], f"{word[-1]}{WORD_END}") for word in known]
    merges = []
    while any(len(parts) > 1 for parts in split):
        counts = Counter(pair for parts in split for pair in itertools.pairwise(parts))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        split = [_merge(parts, best) for parts in split]
    return merges


def _merge(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    position = 0
    while position < len(parts):
        matches = parts[position : position + 2] == pair
        merged.append("".join(pair) if matches else parts[position])
        position += 2 if matches else 1
    return tuple(merged)


def build_encoder(plan: TextEncoderPlan, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a new text model for the tokenizer's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.width,
        intermediate_size=4 * plan.width,
        projection_dim=plan.width,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        max_position_embeddings=plan.max_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
