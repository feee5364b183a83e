"""Textual inversion embeddings by their headers: how many vectors, for which text encoder, and of which width."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from imggen.errors import ModelError, RequestError
from imggen.plan.case import Case
from imggen.plan.models import signature
from imggen.plan.schema.adapter import AdapterFacts

_NAMED: Final = {"emb_params": "text_encoder", "clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""What the web UIs call the vectors, and which encoder they are for; diffusers calls them by their word."""
_MOST_DIMENSIONS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """The vectors of a word for one encoder: the tensor's name, how many, and their width."""

    encoder: str
    name: str
    count: int
    width: int


def read(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Vectors, ...]:
    """Return the vectors that tensors of these names and shapes are, () where they are no learnt word."""
    usual = {name: shape for name, shape in shapes.items() if name in _NAMED}
    tensors = usual if usual and len(usual) == len(shapes) else shapes if len(shapes) == 1 else {}
    if not all(1 <= len(shape) <= _MOST_DIMENSIONS and 0 not in shape for shape in tensors.values()):
        return ()
    return tuple(
        Vectors(
            encoder=_NAMED.get(name, "text_encoder"),
            name=name,
            count=1 if len(shape) == 1 else shape[0],
            width=shape[-1],
        )
        for name, shape in tensors.items()
    )


def word(facts: AdapterFacts) -> str:
    """Return the word that stands for the vectors: the one asked for, else the file's own, else the file's name."""
    if facts.asked.token is not None:
        return facts.asked.token
    own = next(iter(facts.shapes), "") if len(facts.shapes) == 1 else ""
    return own if own and own not in _NAMED else facts.files[0].stem


def check(facts: AdapterFacts, case: Case) -> None:
    """Raise ModelError where the header says that these are no vectors of a word, or none as wide as the encoder's;
    RequestError where the model's pipeline takes none.
    """  # noqa: D205 - one sentence
    pipelines = list(filter(None, map(signature.read, sorted(set(case.family.pipelines.values())))))
    has_loader = any("TextualInversionLoaderMixin" in pipeline.bases for pipeline in pipelines)
    if pipelines and not (has_loader and case.family.loads_adapters):
        raise RequestError(
            f"--embedding {facts.asked.reference}: diffusers cannot load embeddings into {case.family.title}",
            hint="leave --embedding out",
        )
    if not facts.pickle:
        check_vectors(facts, read(facts.shapes), {name: _width(config) for name, config in case.facts.configs.items()})


def check_vectors(facts: AdapterFacts, learnt: tuple[Vectors, ...], widths: Mapping[str, int | None]) -> None:
    """Raise ModelError for vectors that encoders of these widths cannot take; an encoder of unknown width takes all."""
    reference = facts.asked.reference
    if not learnt:
        raise ModelError(
            f"--embedding {reference} is no textual inversion embedding: {_told(facts)}",
            hint=f"--lora {reference}" if any("lora" in name for name in facts.shapes) else None,
        )
    for vectors in learnt:
        width = widths.get(vectors.encoder)
        if vectors.encoder not in widths:
            raise ModelError(
                f"--embedding {reference} has vectors for {vectors.encoder}, which the model does not have"
            )
        if width is not None and width != vectors.width:
            raise ModelError(
                f"--embedding {reference} does not fit the model: its vectors have {vectors.width} numbers, those of "
                f"its {vectors.encoder} {width}",
                hint="an embedding that was trained with this model's text encoder",
            )


def _told(facts: AdapterFacts) -> str:
    if not facts.shapes:
        return "there is no tensor in it"
    some = ", ".join(sorted(facts.shapes)[:3])
    return f"it has {len(facts.shapes)} tensors ({some}{', …' if len(facts.shapes) > 3 else ''})"


def _width(config: Mapping[str, object]) -> int | None:
    width = config.get("hidden_size")
    return width if isinstance(width, int) else None


def refuse_known(facts: AdapterFacts, token: str, vocabulary: Iterable[str]) -> None:
    """Raise RequestError for a word that the tokenizer with this vocabulary has already."""
    known = set(vocabulary)
    # How CLIP marks a whole word, which it reads in lower case.
    if known & {token, token.lower(), f"{token.lower()}</w>"}:
        raise RequestError(
            f"--embedding {facts.asked.reference}: {token!r} is already a word of the model's tokenizer",
            hint=f"--embedding {facts.asked.reference}:my-{token}",
        )


def unused(facts: AdapterFacts, *prompts: str) -> str | None:
    """Return a note where none of the prompts has the word, so that nothing would come of it."""
    token = word(facts)
    # Tokenizers of CLIP read everything in lower case.
    if any(token.lower() in prompt.lower() for prompt in prompts):
        return None
    return (
        f"--embedding {facts.asked.reference}: the prompt does not have {token!r} in it, so the embedding has no effect"
    )
