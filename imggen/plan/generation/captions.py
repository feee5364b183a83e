"""Prompts that are JSON objects, as models read them that were trained on structured captions."""

import json
import shlex
from collections.abc import Iterable

from imggen.errors import RequestError
from imggen.plan.case import Case


def is_one(text: str) -> bool:
    """Return whether `text` is a JSON object, whose braces are no alternatives to choose from."""
    return _object(text) is not None


def check(case: Case, texts: Iterable[str], *, looks: bool) -> None:
    """Raise RequestError for a prompt that the family's pipelines would refuse; `looks` says that pictures go in."""
    captions = case.family.captions
    if captions is None or captions.key is None or not looks:
        return
    for text in texts:
        caption = _object(text)
        if caption is None and captions.only:
            example = json.dumps({captions.key: text}, ensure_ascii=False)
            shown = text if len(text) <= 40 else f"{text[:39]}…"
            reads = f"{case.family.title} reads a prompt that is a JSON object with {captions.key!r}"
            raise RequestError(f"{reads}, and this is none: {shown!r}", hint=shlex.quote(example))
        if caption is not None and captions.key not in caption:
            learns = f"from which {case.family.title} learns what to do with a picture"
            message = f"the prompt is a JSON object without {captions.key!r}, {learns}: it has "
            keys = ", ".join(map(repr, caption)) or "nothing"
            raise RequestError(message + keys, hint=f'add "{captions.key}": "..." to it')


def notes(case: Case, texts: Iterable[str]) -> tuple[str, ...]:
    """Return what is to be known of prompts that the model was not trained on, of which it makes little."""
    captions = case.family.captions
    if captions is None or not captions.trained or all(map(is_one, texts)):
        return ()
    title = case.family.title
    return (f"{title} was trained on prompts that are JSON objects alone, and makes little of other words",)


def _object(text: str) -> dict[str, object] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
