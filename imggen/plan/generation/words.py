"""The words of each picture: what was typed or recorded, as the picture's seed and the model's encoder have it."""

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from imggen.errors import RequestError
from imggen.plan.case import COMMAND_LINE, PARENTS, RECIPE, Case
from imggen.plan.generation import captions
from imggen.plan.schema import prompt, template
from imggen.plan.schema.prompt import Reading
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.schema.tasks import TASKS

FIELDS: Final = ("prompt", "negative_prompt")

_CALLED: Final = {"prompt": "the prompt", "negative_prompt": "the negative prompt"}


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the pictures show and do not show, as a `GeneratePlan` has it."""

    prompt: str
    negative_prompt: str
    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]
    reading: Reading
    template: str
    negative_template: str


def choose(case: Case, seeds: tuple[int, ...], *, instruction: str | None, negative: str) -> Words:
    """Return the words of the picture of each seed; raise RequestError for what the model's encoder cannot follow.

    `instruction` takes the place of a prompt, `negative` is the negative prompt as far as the model takes one.
    """
    written = {"prompt": case.request.prompt or "" if instruction is None else instruction, "negative_prompt": negative}
    _check_syntax(case.request)
    recorded = case.request.reading | ({} if instruction is None else {"prompt": "chunks"})
    marked = {name: _marked(case, name, written[name], recorded.get(name)) for name in FIELDS}
    pairs = [(marked["prompt"](seed), marked["negative_prompt"](seed)) for seed in seeds]
    reading: Reading = "cut"
    if case.family.clip is None:
        pairs = [(_unweighted(case, "prompt", one), _unweighted(case, "negative_prompt", two)) for one, two in pairs]
    else:
        reading = "cut" if recorded.get("prompt") == "cut" else "chunks"
        pairs, reading = _read(pairs, reading)
    _check_empty(case, seeds, [one for one, _ in pairs], reading)
    texts = {"prompt": tuple(one for one, _ in pairs), "negative_prompt": tuple(two for _, two in pairs)}
    chosen = [name for name in FIELDS if recorded.get(name) is None and {*texts[name]} != {written[name]}]
    return Words(
        prompt=texts["prompt"][0],
        negative_prompt=texts["negative_prompt"][0],
        prompts=_unlike(texts["prompt"]),
        negative_prompts=_unlike(texts["negative_prompt"]),
        reading=reading,
        template=written["prompt"] if "prompt" in chosen else "",
        negative_template=written["negative_prompt"] if "negative_prompt" in chosen else "",
    )


def as_read(text: str, reading: Reading) -> str:
    """Return what the encoder reads of a picture's `text`."""
    return prompt.words(text) if reading == "weights" else text


def templates(request: GenerateRequest) -> dict[str, template.Template]:
    """Return, by field, the request's texts in which something is chosen or asked for; RequestError for a wrong one.

    Those that a recipe filled are none: what is recorded was chosen already. Nor are JSON objects, which have braces
    of their own.
    """
    if request.prompt_syntax not in (None, "auto"):
        return {}
    texts = {name: getattr(request, name) for name in FIELDS if name not in request.reading}
    return {
        name: template.parse(text, _CALLED[name]) for name, text in texts.items() if text and not captions.is_one(text)
    }


def _marked(case: Case, name: str, text: str, recorded: Reading | None) -> Callable[[int], str]:
    """Return by what a seed becomes the text with its marks of weights."""
    syntax = case.request.prompt_syntax or "auto"
    if recorded == "weights" or (recorded is None and syntax == "weights"):
        return lambda _: text
    if recorded is not None or syntax == "plain" or captions.is_one(text):
        escaped = prompt.escape(text)
        return lambda _: escaped
    parsed = template.parse(text, _CALLED[name])
    return lambda seed: _tidy(template.expand(parsed, case.wildcards, seed=seed, stream=name), parsed)


def _tidy(text: str, parsed: template.Template) -> str:
    # Where a tag stood, there is a space too many.
    return re.sub(" {2,}", " ", text).strip() if parsed.tags else text


def _read(pairs: list[tuple[str, str]], reading: Reading) -> tuple[list[tuple[str, str]], Reading]:
    """Return the words as they stand where none of them is weighed, and else with all their marks."""
    parts = {text: prompt.parts(text, _CALLED[name]) for pair in pairs for name, text in zip(FIELDS, pair, strict=True)}
    if not all(map(prompt.is_plain, parts.values())):
        return pairs, "weights"
    plain = {text: prompt.plain(parsed) for text, parsed in parts.items()}
    return [(plain[one], plain[two]) for one, two in pairs], reading


def _unweighted(case: Case, name: str, text: str) -> str:
    origin = case.request.origin.get(name)
    # Nobody asked for these weights: they only say what the given pictures show.
    if origin == PARENTS and name in case.request.reading:
        return prompt.words(text)
    try:
        return prompt.unweighted(text, case.family.title, _CALLED[name])
    except RequestError as error:
        if name not in case.request.reading:
            raise
        option = "" if name == "prompt" else "--negative-prompt "
        raise RequestError(error.message, hint=f"{option}{shlex.quote(prompt.words(text))}") from error


def _check_syntax(request: GenerateRequest) -> None:
    written = [name for name in FIELDS if getattr(request, name)]
    typed = request.prompt_syntax is not None and request.origin.get("prompt_syntax", COMMAND_LINE) == COMMAND_LINE
    if typed and written and all(request.origin.get(name) == RECIPE for name in written):
        raise RequestError(
            f"--prompt-syntax {request.prompt_syntax}: all words come from the recipe, which says how they are read",
            hint="leave --prompt-syntax out, or type a prompt",
        )


def _check_empty(case: Case, seeds: Iterable[int], texts: Iterable[str], reading: Reading) -> None:
    if TASKS[case.request.task].wordless:
        return
    for seed, text in zip(seeds, texts, strict=True):
        if not as_read(text, reading).strip():
            message = f"the prompt is empty for seed {seed}: {case.request.prompt!r}"
            raise RequestError(message, hint="add words that are always there")


def _unlike(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts if len(set(texts)) > 1 else ()
