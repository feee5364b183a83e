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
    with failures.explained(plan, f"--embedding {adapter.asked.reference}"):
        tensors = _tensors(adapter)
    found = embedding.read({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if adapter.pickle:
        read = replace(adapter, shapes={name: tuple(each.shape) for name, each in tensors.items()})
        embedding.check_vectors(read, found, _widths(pipeline))
    token = embedding.word(adapter)
    for each in found:
        encoder = getattr(pipeline, each.encoder)
        tokenizer = getattr(pipeline, each.encoder.replace("text_encoder", "tokenizer"))
        embedding.refuse_known(adapter, token, tokenizer.get_vocab())
        vectors = tensors[each.name].reshape(each.count, each.width)
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
        found: dict[str, Tensor] = load_file(adapter.files[0])
        return found
    held = pickles.read(adapter.files[0])
    if isinstance(held, dict) and isinstance(held.get("string_to_param"), Mapping):
        held = {"emb_params": held["string_to_param"].get("*")}
    if isinstance(held, Tensor):
        held = {"emb_params": held}
    return pickles.only_tensors(dict(held))


def _widths(pipeline: Any) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for name, component in pipeline.components.items():
        if name.startswith("text_encoder") and component is not None:
            found[name] = None
            with suppress(AttributeError, NotImplementedError):
                found[name] = int(component.get_input_embeddings().weight.shape[-1])
    return found


def _check(adapter: AdapterFacts, token: str, tokenizer: Any, encoder: Any, vectors: Tensor) -> None:
    """Raise ModelError where the word does not mean its vectors: what is lost here is lost without a word."""
    names = [token, *(f"{token}_{number}" for number in range(1, len(vectors)))]
    held = encoder.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(names)]
    if not torch.equal(held.detach(), vectors.to(held.dtype).to(held.device)):
        raise ModelError(f"--embedding {adapter.asked.reference} was not added to the model")
