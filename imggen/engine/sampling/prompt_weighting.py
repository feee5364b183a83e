"""Prompts that count word by word and go on beyond what a CLIP encoder reads at once.

Weights are those of AUTOMATIC1111's web UI: what the encoder makes of a token is multiplied by its weight. Where a
model reads the last layer, all of a chunk is then scaled so that its mean is what it was (`EmphasisOriginal` there);
the layers before the last, which SDXL reads, are left as they are (`No norm` there, which it calls better for SDXL).
Long prompts are read in chunks, each as long as the encoder reads, cut behind a comma where one is near, and laid end
to end. compel does both too, but its weights mean something else; see docs/prompts.md.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import BoundArguments
from typing import Any, Final, Self

import torch
from torch import Tensor

from imggen.engine import patching
from imggen.plan.schema import prompt
from imggen.plan.schema.family import Clip
from imggen.plan.schema.prompt import Part, PromptPart, Reading

# Of the tokens of a chunk, how many may be left empty for the sake of a comma: 20 of 75 in that web UI.
_BACKTRACK: Final = 4 / 15
_VECTOR: Final = re.compile(r"(.+)_\d+")


class Text(str):
    """A prompt that knows how its words are read."""

    __slots__ = ("reading",)

    reading: Reading

    def __new__(cls, text: str, reading: Reading) -> Self:
        """Return `text` as one."""
        text_with_reading = super().__new__(cls, text)
        text_with_reading.reading = reading
        return text_with_reading


@dataclass(frozen=True, kw_only=True)
class _Token:
    """A token, how much it counts, and whether it belongs to the one before: to the same learnt word."""

    id: int
    weight: float
    goes_on: bool = False


Row = Sequence[_Token]


@contextmanager
def conditioned(pipeline: Any, clip: Clip, texts: Iterable[Text]) -> Iterator[None]:
    """Let `pipeline`, whose encoders are CLIP's alone, read prompts by their `reading` within the block.

    `texts` are all those that its calls will be given: they come out equally long. Where they fit at once and none is
    weighed, they take the pipeline's own way, bit for bit.
    """
    reader = _PromptReader(pipeline, clip, list(texts))
    with patching.replaced(pipeline, **{encoding_method(pipeline): reader.encode_prompt}):
        yield


def encoding_method(pipeline: Any) -> str:
    """Return the name of the method by which `pipeline` reads prompts: that of InstructPix2Pix is a private one."""
    return "encode_prompt" if hasattr(pipeline, "encode_prompt") else "_encode_prompt"


def weigh(hidden: Tensor, weights: Tensor, *, keep_mean: bool) -> Tensor:
    """Return hidden states (chunks, tokens, channels) times the weights (chunks, tokens) of their tokens.

    With `keep_mean`, each weighed chunk is then scaled to the mean that it had. That means something where the means of
    its tokens have one sign, as those of trained models do: the mean then changes by no more than its weights. Where it
    changes by more, tokens cancel each other out, and nothing is scaled.
    """
    full, w = hidden.float(), weights[..., None].to(hidden.device)
    weighed = full * w
    if keep_mean:
        change = weighed.mean((1, 2), keepdim=True) / full.mean((1, 2), keepdim=True)
        least, most = w.amin((1, 2), keepdim=True), w.amax((1, 2), keepdim=True)
        meant = (least < most) & (change > 0) & (change >= least) & (change <= most)
        weighed = torch.where(meant, weighed / change, weighed)
    return weighed.to(hidden.dtype)


class _PromptReader:
    """A pipeline's way of reading prompts, for texts of which some are long or weighed."""

    def __init__(self, pipeline: Any, clip: Clip, texts: Sequence[Text]) -> None:
        self._pipeline = pipeline
        self._clip = clip
        self._method = encoding_method(pipeline)
        self._encode_prompt = getattr(pipeline, self._method)
        names = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
        pairs = [(getattr(pipeline, one, None), getattr(pipeline, two, None)) for one, two in names]
        self._encoders = [(one, two) for one, two in pairs if one is not None and two is not None]
        self._chunks = max(len(self._rows(text, tokenizer)) for text in texts for tokenizer, _ in self._encoders)
        self._is_plain = self._chunks == 1 and all(prompt.is_plain(_parts(text)) for text in texts)

    def encode_prompt(self, *arguments: Any, **options: Any) -> Any:
        bound = patching.bound(self._pipeline, self._method, arguments, options)
        said = bound.arguments
        if said.get("prompt_embeds") is not None:
            return self._encode_prompt(*arguments, **options)
        changes = self._plain(said) if self._is_plain else self._embedded(bound)
        return patching.call(self._encode_prompt, bound, changes)

    def _plain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        texts = {name: arguments[name] for name in ("prompt", "negative_prompt") if arguments.get(name) is not None}
        return {name: prompt.plain(_parts(text)) for name, text in texts.items()}

    def _embedded(self, bound: BoundArguments) -> dict[str, Any]:
        call = bound.arguments
        device = call.get("device") or self._pipeline._execution_device  # noqa: SLF001 - as its own call does
        embeds, pooled = self._encode(call["prompt"], device)
        changes: dict[str, Any] = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
        negative = call.get("negative_prompt")
        # SDXL has zeros in place of no negative prompt, and makes them itself.
        has_zeros = negative is None and getattr(self._pipeline.config, "force_zeros_for_empty_prompt", False)
        if call.get("do_classifier_free_guidance", True) and not has_zeros:
            embeds, pooled = self._encode(Text("", "cut") if negative is None else negative, device)
            changes |= {"negative_prompt_embeds": embeds, "negative_pooled_prompt_embeds": pooled}
        return changes

    def _encode(self, text: str, device: Any) -> tuple[Tensor, Tensor | None]:
        """Return what all encoders make of the text, (1, tokens, channels), and of its first chunk as a whole."""
        embeds, pooled = [], None
        for tokenizer, encoder in self._encoders:
            rows = [*self._rows(text, tokenizer), *([()] * self._chunks)][: self._chunks]
            ids = torch.tensor([_filled(row, tokenizer) for row in rows], device=device)
            weights = torch.tensor([_weights(row, tokenizer) for row in rows])
            hidden, whole = self._hidden(encoder, ids, rows)
            weighed = weigh(hidden, weights, keep_mean=self._clip == "last")
            embeds.append(weighed.reshape(1, -1, weighed.shape[-1]))
            pooled = whole if whole is not None and pooled is None else pooled
        return torch.cat(embeds, dim=-1), pooled

    def _hidden(self, encoder: Any, ids: Tensor, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        if self._clip == "penultimate":
            output = encoder(ids, output_hidden_states=True)
            return output.hidden_states[-2], output[0][:1] if output[0].ndim == 2 else None
        mask = None
        if getattr(encoder.config, "use_attention_mask", False):
            lengths = torch.tensor([len(row) + 2 for row in rows], device=ids.device)
            mask = (torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]).to(ids.dtype)
        return encoder(ids, attention_mask=mask)[0], None

    def _rows(self, text: str, tokenizer: Any) -> list[Row]:
        """Return the chunks of a text, each of at most as many tokens as stand between a beginning and an end."""
        room = tokenizer.model_max_length - 2
        parts = [self._tokens(part, tokenizer) for part in _parts(text)]
        if _reading(text) == "cut":
            return [parts[0][:room]]
        comma = tokenizer(",", add_special_tokens=False)["input_ids"][-1]
        return [row for part in parts if part for row in _chunked(part, room, comma)] or [()]

    def _tokens(self, part: Part, tokenizer: Any) -> list[_Token]:
        convert = getattr(self._pipeline, "maybe_convert_prompt", lambda text, _: text)
        learnt = tokenizer.get_added_vocab()
        tokens: list[_Token] = []
        for piece in part:
            text = convert(piece.text, tokenizer)
            ids = tokenizer(text, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
            names = tokenizer.convert_ids_to_tokens(ids)
            tokens.extend(
                _Token(id=token, weight=piece.weight, goes_on=_goes_on(name, learnt))
                for token, name in zip(ids, names, strict=True)
            )
        return tokens


def _reading(text: str) -> Reading:
    return text.reading if isinstance(text, Text) else "cut"


def _parts(text: str) -> tuple[Part, ...]:
    return prompt.parts(text) if _reading(text) == "weights" else ((PromptPart(text=str(text)),),)


def _goes_on(name: str, learnt: dict[str, int]) -> bool:
    # diffusers calls the second vector of a learnt word word_1.
    vector = _VECTOR.fullmatch(name) if name in learnt else None
    return vector is not None and vector[1] in learnt


def _chunked(tokens: Row, room: int, comma: int) -> Iterator[Row]:
    while len(tokens) > room:
        end = _end(tokens, room, comma)
        yield tokens[:end]
        tokens = tokens[end:]
    yield tokens


def _end(tokens: Row, room: int, comma: int) -> int:
    near = range(room, room - int(room * _BACKTRACK), -1)
    behind = next((end for end in near if tokens[end - 1].id == comma), room)
    # A word of more vectors than there is room for has to be cut anyway.
    return next((end for end in range(behind, 0, -1) if not tokens[end].goes_on), room)


def _filled(row: Row, tokenizer: Any) -> list[int]:
    ids = [tokenizer.bos_token_id, *(token.id for token in row), tokenizer.eos_token_id]
    return ids + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))


def _weights(row: Row, tokenizer: Any) -> list[float]:
    weights = [1.0, *(token.weight for token in row)]
    return weights + [1.0] * (tokenizer.model_max_length - len(weights))
