"""What measures the depth in photographs, for control pictures: which weights are meant, and what they must be."""

from collections.abc import Mapping
from typing import Final

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import adaptation, controls
from imggen.plan.case import COMMAND_LINE
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.request import GenerateRequest

OPTION: Final = "--depth-weights"
KIND: Final = "depth"
USUAL: Final = "depth-anything/Depth-Anything-V2-Small-hf"
"""The usual weights: these are Apache-2.0, their larger kin CC-BY-NC-4.0."""

CLASSES: Final = ("DepthAnythingForDepthEstimation", "DPTForDepthEstimation")
"""The classes of transformers whose depths are the larger the nearer something is (arXiv 1907.01341, 2406.09414)."""

MOST_PIXELS: Final = 4096
"""The longest edge at which a photograph is read; published networks read 384 or 518 pixels."""

_HINT: Final = f"{OPTION} {USUAL}"


def asked(request: GenerateRequest) -> AdapterRequest | None:
    """Return which weights are to be found, None where no depth picture is to be made.

    Raise RequestError for weights that somebody typed and that have nothing to do.
    """
    if any(control.preprocessor == KIND for control in controls.of(request)):
        return named(request.depth_weights)
    is_typed = request.origin.get("depth_weights", COMMAND_LINE) == COMMAND_LINE
    if request.depth_weights is not None and is_typed:
        raise RequestError(
            f"{OPTION} {request.depth_weights}: there is no depth picture to make",
            hint=f"{controls.OPTION} depth:photo.png --preprocess",
        )
    return None


def named(reference: str | None) -> AdapterRequest:
    """Return the weights that are called `reference`, None for the usual ones; raise RequestError for one file."""
    if reference is None:
        return AdapterRequest(kind=KIND, option=OPTION, reference=USUAL)
    if not reference.strip():
        raise RequestError(f"{OPTION} is empty: it names no weights", hint=_HINT)
    parts = adaptation.split_hub(reference)
    if reference.lower().endswith(adaptation.WEIGHT_SUFFIXES):
        whole = adaptation.with_revision(parts[0], parts[1]) if parts else "FOLDER"
        raise RequestError(
            f"{OPTION} {reference} is one file, and tells neither its model nor how it reads a picture",
            hint=f"{OPTION} {whole}",
        )
    return AdapterRequest(kind=KIND, option=OPTION, reference=reference)


def check(facts: AdapterFacts) -> str:
    """Return the class of the network that was found; raise ModelError for one that is not for control pictures."""
    what = f"{facts.asked.option} {facts.asked.reference}"
    listed = facts.config.get("architectures")
    name = str(listed[0]) if isinstance(listed, list) and listed else str(facts.config.get("model_type", "nothing"))
    if name not in CLASSES:
        raise ModelError(f"{what} is {name}; depth is measured by {' or '.join(CLASSES)}", hint=_HINT)
    if facts.config.get("depth_estimation_type") == "metric":
        raise ModelError(
            f"{what} predicts metric depth, in which far is white; in control pictures near is white", hint=_HINT
        )
    if facts.config.get("backbone") is not None or not isinstance(facts.config.get("backbone_config") or {}, dict):
        raise ModelError(f"{what} loads its backbone from elsewhere ({facts.config.get('backbone')})", hint=_HINT)
    return name


def check_reading(asked: AdapterRequest, config: Mapping[str, object]) -> None:
    """Raise ModelError where a processor's `config` says a size that no photograph can be read at."""
    size, multiple = config.get("size", {}), config.get("ensure_multiple_of", 1)
    # Configs of old versions have one number for both edges.
    edges = [size.get(edge, 1) for edge in ("height", "width")] if isinstance(size, Mapping) else [size]
    for name, value, numbers in (("size", size, edges), ("ensure_multiple_of", multiple, [multiple])):
        if not all(map(_is_edge, numbers)):
            raise ModelError(
                f"{asked.option} {asked.reference} reads pictures with {name} {repr(value)[:60]}, where whole numbers "
                f"of 1 to {MOST_PIXELS} belong",
                hint=_HINT,
            )


def _is_edge(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_PIXELS
