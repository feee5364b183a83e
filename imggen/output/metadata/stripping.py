"""What is to be taken out of a picture's file: the words it was made from, or all that it says."""

import re
from collections.abc import Iterator, Mapping

from imggen.errors import RequestError
from imggen.output.formats import exif, xmp
from imggen.output.formats.carriers import Changes, Droppable
from imggen.output.metadata import dialects, infotext, metadata
from imggen.output.metadata.metadata import Facts, Metadata

_PROPERTIES = dialects.PROPERTIES | {metadata.PROMPT}
# Where ComfyUI keeps its graph, and cameras their own words.
_TAGS = ("Make", "Model", "ImageDescription")
_GRAPH = re.compile(r"(prompt|workflow):", re.ASCII)
_SHORTEST_WORDS = 4


def of_prompt(facts: Facts) -> Metadata:
    """Return what takes the words out and leaves the rest: seed, steps, model, and that a machine made it.

    Places that are known for the prompt lose it; so does every other one that holds the prompt word for word. A recipe
    goes whole, because it could not make the picture again without the words.
    Raises RequestError where a block cannot be read, in which the words would stay.
    """
    _check_read(facts)
    record = facts.found
    words = _words(facts)
    kept = _settings(record.infotext) if record is not None and record.infotext else None
    properties = [name for name, value in facts.xmp.items() if name in _PROPERTIES or _holds(value, words)]
    tags = [name for name in _TAGS if _is_graph(facts.exif.get(name)) or _holds(facts.exif.get(name), words)]
    texts = [name for name, text in facts.picture.carriers.texts if name in dialects.TEXTS or _holds(text, words)]
    comment = {} if kept or "UserComment" not in facts.exif else {"UserComment": None}
    return Metadata(
        infotext=kept,
        properties=dict.fromkeys(properties) | _history(facts, words),
        tags=dict.fromkeys(tags) | comment,
        texts=dict.fromkeys(texts),
        dropped=_comments(facts, words),
        replaces_making=True,
    )


def _check_read(facts: Facts) -> None:
    carriers = facts.picture.carriers
    for block, read in ((carriers.exif, exif.read), (carriers.xmp, xmp.read)):
        try:
            if block is not None:
                read(block)
        except RequestError as error:
            raise RequestError(f"{error.message}, so words in it would stay", hint="--strip all") from error


def taken_with_prompt(facts: Facts) -> tuple[str, ...]:
    """Return which marks the file loses with its prompt."""
    return ("recipe",) if facts.found is not None and facts.found.recipe is not None else ()


def of_all(facts: Facts) -> Changes:
    """Return what takes everything out but pixels, colour profile, and which way is up."""
    turned = facts.exif.get("Orientation")
    upright = not isinstance(turned, int) or turned == 1
    return Changes(
        exif=b"" if upright else exif.oriented(int(str(turned))),
        xmp=b"",
        texts=dict.fromkeys(name for name, _ in facts.picture.carriers.texts),
        dropped=frozenset(("comments", "captions", "manifest")),
    )


def taken_with_all(facts: Facts) -> tuple[str, ...]:
    """Return which marks the file loses with everything that it says; a watermark stays."""
    record = facts.found
    has = {
        "iptc": metadata.SOURCE_TYPE in facts.xmp,
        "recipe": record is not None and record.recipe is not None,
        "infotext": record is not None and record.infotext is not None,
        "c2pa": facts.picture.signed,
    }
    return tuple(name for name, there in has.items() if there)


def _words(facts: Facts) -> tuple[str, ...]:
    record = facts.found
    stated = facts.xmp.get(metadata.PROMPT)
    texts = [stated if isinstance(stated, str) else "", *((record.prompt, record.negative_prompt) if record else ())]
    return tuple(text for text in dict.fromkeys(texts) if len(text.strip()) >= _SHORTEST_WORDS)


def _settings(text: str) -> str | None:
    """Return the infotext's last line, the settings, None where it has none."""
    last = text.rstrip().rpartition("\n")[2]
    return last if infotext.parse(last).settings else None


def _is_graph(value: object) -> bool:
    return isinstance(value, str) and _GRAPH.match(value) is not None


def _holds(value: object, words: tuple[str, ...]) -> bool:
    return any(word in text for text in _texts(value) for word in words)


def _comments(facts: Facts, words: tuple[str, ...]) -> frozenset[Droppable]:
    comments = (comment.decode(errors="replace") for comment in facts.picture.carriers.comments)
    return frozenset(("comments",)) if any(_holds(comment, words) for comment in comments) else frozenset()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for text in value.values() if isinstance(text, str))
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)


def _history(facts: Facts, words: tuple[str, ...]) -> dict[str, xmp.Value | None]:
    """Return the history without what a diffusion model was told, where it has that: it stands last in a step."""
    steps = facts.xmp.get(metadata.HISTORY)
    if not isinstance(steps, tuple) or not any(_tells_words(step) or _holds(step, words) for step in steps):
        return {}
    return {metadata.HISTORY: tuple(_without_words(step) if isinstance(step, Mapping) else step for step in steps)}


def _tells_words(step: object) -> bool:
    return isinstance(step, Mapping) and ", prompt " in step.get("stEvt:parameters", "")


def _without_words(step: Mapping[str, str]) -> dict[str, str]:
    parameters = step.get("stEvt:parameters")
    return {**step} if parameters is None else {**step, "stEvt:parameters": parameters.partition(", prompt ")[0]}
