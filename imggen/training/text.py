"""The words: a CLIP tokenizer that knows the drawn set's vocabulary, and a small CLIP text model."""

import itertools
import json
import re

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from imggen.data import vocabulary
from imggen.training.recipe import TextEncoderPlan

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
FILLERS = (
    "a",
    "an",
    "and",
    "background",
    "four",
    "front",
    "in",
    "left",
    "of",
    "on",
    "picture",
    "right",
    "above",
    "below",
    "the",
    "three",
    "to",
    "two",
    "with",
)
"""The words that captions use besides names, colours and kinds of background."""


def words() -> tuple[str, ...]:
    """Return every word that a caption of the drawn set can hold, sorted."""
    names = [*vocabulary.OBJECTS, *vocabulary.SHAPES]
    phrases = [*names, *map(vocabulary.plural, names), *vocabulary.COLORS, *vocabulary.BACKGROUNDS, *FILLERS]
    found = itertools.chain.from_iterable(re.findall(r"[a-z]+", phrase) for phrase in phrases)
    return tuple(sorted(set(found)))


def build_tokenizer(max_tokens: int) -> CLIPTokenizer:
    """Return a CLIP tokenizer in which each known word is one token and any other text still has tokens (bytes)."""
    byte_pairs = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    byte_pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=1, initial_alphabet=alphabet, end_of_word_suffix=WORD_END, show_progress=False
    )
    byte_pairs.train_from_iterator(words(), trainer)
    merges = [tuple(each) for each in _merges(byte_pairs)]
    tokens = [*alphabet, *(f"{each}{WORD_END}" for each in alphabet), *("".join(each) for each in merges), START, END]
    unique = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=unique, merges=merges, model_max_length=max_tokens)


def _merges(byte_pairs: Tokenizer) -> list[list[str]]:
    found: list[list[str]] = json.loads(byte_pairs.to_str())["model"]["merges"]
    return found


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
