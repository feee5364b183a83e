"""From a pipeline and a plan to pictures, one at a time."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from PIL import Image

from imggen.engine import failures, patching
from imggen.engine.pipeline import decoding, encoding, placement
from imggen.engine.precision import TORCH_DTYPES
from imggen.engine.sampling import attention, methods, prompt_weighting, seamless
from imggen.engine.sampling.methods import Entrance
from imggen.engine.sampling.prompt_weighting import Text
from imggen.errors import PictureError, RequestError
from imggen.host.environment import quiet
from imggen.plan.schema.progress import Progress, Report, Stage, ignore
from imggen.plan.schema.request import PRIOR, GeneratePlan

_QUOTED_CHARACTERS = 60
_MARK = "@@prompt@@"
# What pipelines call it; DeepFloyd IF's blank what they take for a copy of a stock photograph too.
_VERDICTS = ("nsfw_content_detected", "nsfw_detected", "watermark_detected")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A picture and the seed that it was drawn from; `notes` say what else its user should know."""

    seed: int
    image: Image.Image
    notes: tuple[str, ...] = ()


def sample(pipeline: Any, plan: GeneratePlan, *, on_event: Report = ignore) -> Iterator[Sample]:
    """Draw one picture per seed of `plan`, in order."""
    for number in range(1, len(plan.seeds) + 1):
        yield draw(pipeline, plan, number, on_event=on_event)


def draw(
    pipeline: Any,
    plan: GeneratePlan,
    number: int,
    *,
    entrance: Entrance = methods.WORDS_ALONE,
    on_event: Report = ignore,
) -> Sample:
    """Draw picture `number` of `plan`, counted from 1, in a call of its own.

    `entrance` is how given pictures come into it (see `methods.prepare`).

    The noise comes from a CPU generator per picture, so a seed means the same on every device and in every batch.
    `on_event` hears of every stage and step; what it raises stops the run there and leaves the pipeline usable.
    """
    seed = plan.seeds[number - 1]
    report = _Reporter(on_event, image=number, images=len(plan.seeds))
    with ExitStack() as stack:
        if plan.tile is not None:
            stack.enter_context(seamless.seamless(pipeline, plan.tile))
        image = _draw(pipeline, plan, seed, entrance, report)
    return Sample(seed=seed, image=image, notes=tuple(report.notes))


def _draw(pipeline: Any, plan: GeneratePlan, seed: int, entrance: Entrance, report: "_Reporter") -> Image.Image:
    """Call the pipeline for one seed, with all that the plan changes about it for the length of the call."""
    generator = torch.Generator("cpu").manual_seed(seed)
    try:
        with ExitStack() as stack:
            unknown = failures.unlisted(plan)
            for context in (quiet(), unknown, failures.memory_explained(plan), _reporting(pipeline, report)):
                stack.enter_context(context)
            stack.enter_context(attention.chunked(plan.attention_chunk_bytes))
            stack.enter_context(_guarded(pipeline, plan, entrance, report))
            arguments = stack.enter_context(_worded(pipeline, plan, seed, entrance))
            stack.enter_context(_guided(pipeline, plan))
            stack.enter_context(_seeded(pipeline.scheduler, generator))
            pictures = stack.enter_context(entrance.enter(generator))
            output = pipeline(**arguments, **pictures, generator=generator)
    except BaseException:
        # The pipelines do this at their end only; without it offloaded parts stay where an interruption left them.
        placement.free(pipeline)
        raise
    _refuse_blanked(output, plan, seed)
    # Of Kandinsky's output the pictures have another name.
    image: Image.Image = (output.images if hasattr(output, "images") else output.image)[0]
    return image


@contextmanager
def _worded(pipeline: Any, plan: GeneratePlan, seed: int, entrance: Entrance) -> Iterator[dict[str, object]]:
    """Yield the call's arguments with the picture's own words, which the pipeline reads as the plan says."""
    family = plan.family
    prompt, negative = plan.words(seed)
    arguments = dict(plan.arguments)
    if plan.prompts:
        arguments["prompt"] = prompt
    if plan.negative_prompts:
        arguments["negative_prompt"] = negative or family.extra_arguments.get("negative_prompt")
    if family.clip is None or (plan.reading == "cut" and not entrance.texts):
        yield arguments
        return
    said = {
        name: Text(text, plan.reading)
        for name in ("prompt", "negative_prompt")
        if isinstance(text := arguments.get(name), str)
    }
    with prompt_weighting.conditioned(pipeline, family.clip, entrance.texts or said.values()):
        yield arguments | said


@contextmanager
def _guided(pipeline: Any, plan: GeneratePlan) -> Iterator[None]:
    """Let the parts of `pipeline` that keep the guidance have that of `plan` within the block."""
    parts = [getattr(pipeline, name, None) for name in plan.family.guiders]
    with ExitStack() as stack:
        for guider in parts:
            if guider is not None:
                stack.enter_context(patching.replaced(guider, guidance_scale=plan.guidance))
        yield


@contextmanager
def _seeded(scheduler: Any, generator: torch.Generator) -> Iterator[None]:
    """Let the noise that `scheduler` lays on come from `generator`, which some pipelines do not hand on."""
    if "generator" not in inspect.signature(scheduler.step).parameters:
        yield
        return
    step = scheduler.step
    with patching.replaced(scheduler, step=lambda *given, **named: step(*given, **{"generator": generator} | named)):
        yield


def _guarded(
    pipeline: Any, plan: GeneratePlan, entrance: Entrance, report: "_Reporter"
) -> AbstractContextManager[None]:
    """Check the result before it becomes a picture: what is decoded, or the last step where there is no decoder."""
    vae = encoding.autoencoder(pipeline)
    if vae is None:
        return decoding.watched(
            pipeline.scheduler, refuse_plain=not entrance.may_be_plain, dtype=TORCH_DTYPES[plan.dtype]
        )
    # Looked at where it is decoded, so before anything of a given picture is pasted into it.
    return decoding.guarded(
        vae,
        on_decode=partial(report, "decode"),
        on_note=report.notes.append,
        refuse_plain=not entrance.may_be_plain,
        # SDXL's pipeline widens float16 latents before it hands them on.
        dtype=TORCH_DTYPES[plan.dtype],
    )


def _refuse_blanked(output: Any, plan: GeneratePlan, seed: int) -> None:
    if any(any(getattr(output, name, None) or ()) for name in _VERDICTS):
        raise PictureError(
            f"the safety checker of {plan.model.reference} blanked the picture of seed {seed}",
            hint="another --seed or another prompt",
        )


def cut_prompt(pipeline: Any, plan: GeneratePlan) -> str | None:
    """Return a note on how much of a prompt the model does not read, or None where it reads them all.

    Raise RequestError for one that is longer than a pipeline reads that cuts nothing off.
    """
    family = plan.family
    if plan.reading != "cut" or plan.task in family.reads_whole:
        return None
    limits = [(_limit(pipeline, reader, plan), reader) for reader in _readers(pipeline)]
    if not limits:
        return None
    limit, reader = max(limits, key=lambda pair: pair[0])
    tokenizer = _tokenizer(reader)
    # A word that was learnt may be several tokens.
    convert = getattr(pipeline, "maybe_convert_prompt", lambda text, _: text)
    # What is too long to steer away from loses nothing that is asked for, unless the pipeline breaks over it.
    steered = () if family.cuts_prompts else (plan.negative_prompt, *plan.negative_prompts)
    names = dict.fromkeys(steered, "negative prompt") | dict.fromkeys((plan.prompt, *plan.prompts), "prompt")
    with quiet():
        read = {text: _tokens(pipeline, tokenizer, convert(text, tokenizer)) for text in names}
    longest, tokens = max(read.items(), key=lambda item: len(item[1]))
    if len(tokens) <= limit:
        return None
    if not family.cuts_prompts:
        which = names[longest]
        raise RequestError(
            f"the {which} has {len(tokens)} tokens; {family.title} takes {limit} at most", hint=f"shorten the {which}"
        )
    tail = tokenizer.decode(tokens[limit - 1 :], skip_special_tokens=True).strip()
    return f"the prompt has {len(tokens)} tokens and the model reads {limit}; not read: {_shortened(tail)!r}"


def _tokens(pipeline: Any, tokenizer: Any, text: str) -> list[int]:
    # LongCat's pipelines spell what stands in quotes, letter by letter.
    split = getattr(inspect.getmodule(type(pipeline)), "split_quotation", None)
    if split is None:
        tokens: list[int] = tokenizer(text, truncation=False)["input_ids"]
        return tokens
    parts = (part for words, is_quoted in split(text) for part in (words if is_quoted else (words,)))
    return [token for part in parts for token in tokenizer(part, add_special_tokens=False)["input_ids"]]


def _shortened(text: str) -> str:
    return text if len(text) <= _QUOTED_CHARACTERS else text[: _QUOTED_CHARACTERS - 1].rstrip() + "…"


def _readers(pipeline: Any) -> Iterable[Any]:
    named = ((name.removeprefix(PRIOR), component) for name, component in pipeline.components.items())
    return (tokenizer for name, tokenizer in named if name.startswith("tokenizer") and tokenizer is not None)


def _tokenizer(reader: Any) -> Any:
    # Where a model reads pictures too, the part of that name is a processor, which has the tokenizer inside.
    return reader if hasattr(reader, "model_max_length") else reader.tokenizer


def _limit(pipeline: Any, reader: Any, plan: GeneratePlan) -> int:
    # What a long-reading encoder may read is an argument of the call; CLIP's own limit is part of its weights.
    length = plan.arguments.get("max_sequence_length")
    family = plan.family
    most = int(_tokenizer(reader).model_max_length)
    if type(reader).__name__.startswith("CLIP"):
        return min(most, length) if isinstance(length, int) else most
    if not isinstance(length, int):
        return min(most, family.max_tokens)
    return length - (_preamble(pipeline, reader) if family.counts_chat else 0)


def _preamble(pipeline: Any, reader: Any) -> int:
    """Return how many tokens a model that was made for chats reads before the prompt's own."""
    if not getattr(reader, "chat_template", None):
        return 0
    messages: list[dict[str, object]] = [{"role": "user", "content": _MARK}]
    if reader is not _tokenizer(reader):
        texts = {"system": getattr(pipeline, "system_message", None), "user": _MARK}
        messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in texts.items() if text]
    chat: str = reader.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return len(_tokenizer(reader)(chat.partition(_MARK)[0])["input_ids"])


class _Reporter:
    """Progress of one picture; called with a stage, and in place of the bar that a pipeline draws."""

    def __init__(self, on_event: Report, *, image: int, images: int) -> None:
        self._on_event = on_event
        self._image = image
        self._images = images
        self.notes: list[str] = []

    def __call__(self, stage: Stage, step: int = 0, steps: int = 0) -> None:
        self._on_event(Progress(stage=stage, step=step, steps=steps, image=self._image, images=self._images))


class _Bar:
    """What pipelines expect of tqdm, turned into events."""

    def __init__(
        self, report: _Reporter, stage: Stage, iterable: Iterable[Any] | None = None, total: int | None = None
    ) -> None:
        self._report = partial(report, stage)
        self._iterable = list(iterable) if iterable is not None else []
        self.total = total if total is not None else len(self._iterable)
        self.n = 0
        self._report(0, self.total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            yield item
            self.update()

    def update(self, n: int = 1) -> None:
        self.n += n
        self._report(self.n, self.total)

    def set_postfix(self, *values: object, **named: object) -> None:
        pass

    set_description = set_postfix
    close = set_postfix


@contextmanager
def _reporting(pipeline: Any, report: _Reporter) -> Iterator[None]:
    """Let `pipeline` report encoding and steps to `report` within the block.

    Every pipeline draws a bar, while step callbacks are missing from a third of them.
    """
    running = placement.stages(pipeline)
    named: tuple[Stage, ...] = ("prior", "denoise") if len(running) > 1 else ("denoise",)
    with ExitStack() as stack:
        for pipe, stage in zip(running, named, strict=True):
            replaced: dict[str, Callable[..., Any]] = {"progress_bar": partial(_Bar, report, stage)}
            method = prompt_weighting.encoding_method(pipe)
            encode = getattr(pipe, method, None)
            if encode is not None:
                replaced[method] = partial(_announced, encode, report)
            stack.enter_context(patching.replaced(pipe, **replaced))
        yield


def _announced(encode: Callable[..., Any], report: _Reporter, *arguments: Any, **options: Any) -> Any:
    report("encode")
    return encode(*arguments, **options)
