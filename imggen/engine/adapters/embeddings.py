"""Textual inversion: words that were learnt as vectors of a text encoder (arXiv 2208.01618)."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from imggen.engine import failures
from imggen.errors import ModelError
from imggen.plan.adapters import embedding
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.request import GeneratePlan
from imggen.store import pickles

_WRONG_END: Final = 2


def add(pipeline: Any, plan: GeneratePlan) -> None:
    """Teach `pipeline` the words of `plan`, so that its prompt can use them.

    Raise ModelError for vectors that do not fit, RequestError for a word that the tokenizer knows already.
    """
    for adapter in plan.adapters:
        if adapter.asked.kind == "embedding":
            _teach(pipeline, plan, adapter)


def _teach(pipeline: Any, plan: GeneratePlan, adapter: AdapterFacts) -> None:
    """Add one embedding's vectors to the text encoders that it is for, and check that they arrived."""
    with failures.explained(plan, f"--embedding {adapter.asked.reference}"):
        tensors = _tensors(adapter)
    layout = embedding.read({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if adapter.pickle:
        read = replace(adapter, shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()})
        embedding.check_vectors(read, layout, _widths(pipeline))
    token = embedding.word(adapter)
    for vector in layout:
        encoder = getattr(pipeline, vector.encoder)
        tokenizer = getattr(pipeline, vector.encoder.replace("text_encoder", "tokenizer"))
        embedding.refuse_known(adapter, token, tokenizer.get_vocab())
        vectors = tensors[vector.name].reshape(vector.count, vector.width)
        with failures.explained(plan, f"--embedding {adapter.asked.reference}"):
            pipeline.load_textual_inversion(
                {token: vectors.to(encoder.dtype)}, token=token, tokenizer=tokenizer, text_encoder=encoder
            )
        _mind_end(encoder, tokenizer)
        _check(adapter, token, tokenizer, encoder, vectors)


def _mind_end(encoder: Any, tokenizer: Any) -> None:
    """Let an encoder of CLIP know the end of a prompt by its token.

    The configs of the first published ones have a wrong number for it, for the sake of which transformers takes the
    token with the highest number for the end: a learnt word has a higher one.
    """
    for module in encoder.modules():
        if getattr(module, "eos_token_id", None) == _WRONG_END:
            module.eos_token_id = tokenizer.eos_token_id


def _tensors(adapter: AdapterFacts) -> Mapping[str, Tensor]:
    if not adapter.pickle:
        tensors: dict[str, Tensor] = load_file(adapter.files[0])
        return tensors
    content = pickles.read(adapter.files[0])
    if isinstance(content, dict) and isinstance(content.get("string_to_param"), Mapping):
        content = {"emb_params": content["string_to_param"].get("*")}
    if isinstance(content, Tensor):
        content = {"emb_params": content}
    return pickles.only_tensors(dict(content))


def _widths(pipeline: Any) -> dict[str, int | None]:
    widths: dict[str, int | None] = {}
    for name, component in pipeline.components.items():
        if name.startswith("text_encoder") and component is not None:
            widths[name] = None
            with suppress(AttributeError, NotImplementedError):
                widths[name] = int(component.get_input_embeddings().weight.shape[-1])
    return widths


def _check(adapter: AdapterFacts, token: str, tokenizer: Any, encoder: Any, vectors: Tensor) -> None:
    """Raise ModelError where the word does not mean its vectors: what is lost here is lost without a word."""
    names = [token, *(f"{token}_{number}" for number in range(1, len(vectors)))]
    learnt = encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(names)]
    if not torch.equal(learnt.detach(), vectors.to(learnt.dtype).to(learnt.device)):
        raise ModelError(f"--embedding {adapter.asked.reference} was not added to the model")
