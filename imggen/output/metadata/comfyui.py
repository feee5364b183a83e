"""ComfyUI's graph of nodes, as it stands in a picture: from a sampler back to the prompt, model and size."""

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

Scalar = str | int | float
Node = Mapping[str, object]
Graph = Mapping[str, Node]

MAX_NODES = 20_000

_EMPTY = "ConditioningZeroOut"
_SAMPLER_INPUTS = ({"positive", "negative"}, {"guider", "sigmas"}, {"positive", "sampler_name"})
_TEXTS = ("text", "prompt", "t5xxl", "text_g", "clip_l", "text_l", "string", "value", "positive", "wildcard_text")
_NAMES = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "guidance": ("cfg", "guidance"),
    "sampler": ("sampler_name",),
    "scheduler": ("scheduler",),
    "denoise": ("denoise",),
    "model": ("ckpt_name", "unet_name", "model_name"),
    "width": ("width",),
    "height": ("height",),
}


def parse(text: str) -> Graph | None:
    """Return the graph that `text` holds in ComfyUI's API format, None where it holds none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not 0 < len(values) <= MAX_NODES:
        return None
    nodes = {key: node for key, node in values.items() if isinstance(node, dict) and "class_type" in node}
    return {key: node for key, node in nodes.items() if isinstance(node.get("inputs"), dict)} or None


def texts(graph: Graph) -> tuple[str, str]:
    """Return the prompt and the negative prompt that the first sampler depends on; empty where none is found."""
    sampler = _sampler(graph)
    if sampler is None:
        return "", ""
    holder = next((key for key in _upstream(graph, sampler) if "positive" in _inputs(graph, key)), None)
    if holder is None:
        return _nearest_text(graph, sampler), ""
    inputs = _inputs(graph, holder)
    return _text(graph, inputs.get("positive")), _text(graph, inputs.get("negative"))


def settings(graph: Graph) -> dict[str, Scalar]:
    """Return seed, steps, guidance, sampler, scheduler, model and size, from the sampler and the nodes that feed it."""
    sampler = _sampler(graph)
    values: dict[str, Scalar] = {}
    for key in _upstream(graph, sampler) if sampler else ():
        inputs = _inputs(graph, key)
        for name, sources in _NAMES.items():
            value = next((inputs[source] for source in sources if is_scalar(inputs.get(source))), None)
            if isinstance(value, str | int | float):
                values.setdefault(name, value)
    return values


def is_scalar(value: object) -> bool:
    """Return whether the value is one that settings hold: a text or a finite number."""
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _sampler(graph: Graph) -> str | None:
    for names in _SAMPLER_INPUTS:
        for key, node in graph.items():
            if names <= _inputs(graph, key).keys() and "Sampler" in str(node["class_type"]):
                return key
    return None


def _inputs(graph: Graph, key: str) -> Mapping[str, object]:
    inputs = graph[key]["inputs"]
    return inputs if isinstance(inputs, dict) else {}


def _link(graph: Graph, value: object) -> str | None:
    if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph:
        return str(value[0])
    return None


def _upstream(graph: Graph, start: str) -> Iterator[str]:
    """Yield the node and all that it depends on, nearest first."""
    seen = {start}
    waiting = deque([start])
    while waiting:
        key = waiting.popleft()
        yield key
        if graph[key]["class_type"] == _EMPTY:
            continue
        for value in _inputs(graph, key).values():
            link = _link(graph, value)
            if link is not None and link not in seen:
                seen.add(link)
                waiting.append(link)


def _text(graph: Graph, value: object) -> str:
    if isinstance(value, str):
        return value
    start = _link(graph, value)
    return "" if start is None else _nearest_text(graph, start)


def _nearest_text(graph: Graph, start: str) -> str:
    return next(filter(None, (first_text(_inputs(graph, key), _TEXTS) for key in _upstream(graph, start))), "")


def first_text(values: Mapping[str, object], names: Iterable[str]) -> str:
    """Return the first of the named values that is a text with something in it, else an empty one."""
    return next((value for name in names if isinstance(value := values.get(name), str) and value), "")
