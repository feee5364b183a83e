"""IP-Adapters: which picture is shown to the model beside the words, and by which weights."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters.ip_adapter_layouts import FLUX, SD3, UNET, Config, Layout
from imggen.plan.case import COMMAND_LINE
from imggen.plan.models.families import refusals
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.family import Family, IpAdapters
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.schema.tasks import Task

OPTION: Final = "--ip-adapter"
WEIGHTS: Final = "--ip-adapter-weights"
ENCODER: Final = "--ip-adapter-encoder"
STRONGEST: Final = 4.0

Exists = Callable[[str], bool]

_LAYOUTS: Final[Mapping[str, Layout]] = {"unet": UNET, "flux": FLUX, "sd3": SD3}


def of(adapters: tuple[AdapterFacts, ...]) -> AdapterFacts | None:
    """Return the IP-Adapter among `adapters`, None where there is none."""
    return next((adapter for adapter in adapters if adapter.asked.kind == "ip-adapter"), None)


def image(request: GenerateRequest) -> str | None:
    """Return the file of the picture that is shown beside the words, None where there is none."""
    return None if request.ip_adapter is None else parse(request.ip_adapter)[0]


def parse(written: str, *, exists: Exists = os.path.exists) -> tuple[str, float | None]:
    """Return the file and the scale of `IMAGE[:SCALE]`; a file that is called so has no scale."""
    return _parted(OPTION, written, exists)


def _parted(option: str, written: str, exists: Exists) -> tuple[str, float | None]:
    """Return the reference and the scale of `REF[:SCALE]`; raise RequestError for a scale out of range."""
    if not written.strip():
        raise RequestError(f"{option} is empty", hint=f"leave {option} out")
    rest, colon, last = written.rpartition(":")
    if exists(os.path.expanduser(written)):  # noqa: PTH111 - ~nobody is a name
        return written, None
    try:
        scale = float(last) if colon else None
    except ValueError:
        if exists(os.path.expanduser(rest)):  # noqa: PTH111
            raise RequestError(f"{option} {written}: {last!r} is not a scale", hint=f"{option} {rest}:0.8") from None
        scale = None
    if scale is None:
        return written, None
    if not rest.strip():
        raise RequestError(f"{option} {written} is a scale and names nothing", hint=f"{option} NAME:{last}")
    if not math.isfinite(scale) or not 0 <= scale <= STRONGEST:
        raise RequestError(
            f"{option} {written}: the scale {last} is not in 0 to {STRONGEST:g}", hint=f"{option} {rest}:0.8"
        )
    return rest, scale


def asked(
    request: GenerateRequest, family: Family, config: Config | None = None, *, exists: Exists = os.path.exists
) -> AdapterRequest | None:
    """Return which weights are to be found for a denoiser of `family` and `config`, None where no picture is shown.

    Raise RequestError for a family that takes none, for weights without a picture, and for two scales.
    """
    shown, scale = (None, None) if request.ip_adapter is None else parse(request.ip_adapter, exists=exists)
    named, other = (
        (None, None) if request.ip_adapter_weights is None else _parted(WEIGHTS, request.ip_adapter_weights, exists)
    )
    if request.task == "style":
        shown = request.like if named else None
    if shown is None:
        _refuse_alone(request, named)
        return None
    taking = check_family(family, OPTION if request.ip_adapter is not None else WEIGHTS)
    if scale is not None and other is not None and _is_typed(request):
        raise RequestError(f"{OPTION} says the scale {scale:g}, and {WEIGHTS} {other:g}", hint=f"{WEIGHTS} {named}")
    chosen = next((number for number in (scale, other) if number is not None), 1.0)
    reference = named or _usual(taking, family, config or {}, shown)
    return AdapterRequest(
        kind="ip-adapter",
        option=WEIGHTS if named else OPTION,
        reference=reference,
        scale=chosen,
        image=shown,
        encoder=_encoder(request),
    )


def _usual(taking: IpAdapters, family: Family, config: Config, shown: str) -> str:
    hint = f"{WEIGHTS} FILE, or ORGANISATION/NAME/FILE of the hub"
    if taking.usual is None:
        raise RequestError(f"{OPTION} {shown}: imggen knows no usual weights for {family.title}", hint=hint)
    if any(config.get(key) != value for key, value in taking.usual_for.items()):
        sizes = ", ".join(f"{key} {value}" for key, value in taking.usual_for.items())
        raise RequestError(
            f"{OPTION} {shown}: the usual weights for {family.title} are for models of {sizes}", hint=hint
        )
    return taking.usual


def _encoder(request: GenerateRequest) -> str | None:
    if request.ip_adapter_encoder is not None and not request.ip_adapter_encoder.strip():
        raise RequestError(f"{ENCODER} is empty", hint=f"leave {ENCODER} out")
    return request.ip_adapter_encoder


def _refuse_alone(request: GenerateRequest, named: str | None) -> None:
    """Raise RequestError for weights, or an encoder, that somebody typed without a picture."""
    hint = f"{WEIGHTS} WEIGHTS" if request.task == "style" else f"{OPTION} picture.png"
    if named and _is_typed(request):
        raise RequestError(f"{WEIGHTS} {named}: there is no picture to show", hint=hint)
    if request.ip_adapter_encoder is not None and _is_typed(request, "ip_adapter_encoder"):
        raise RequestError(f"{ENCODER} {request.ip_adapter_encoder}: nothing looks through it", hint=hint)


def _is_typed(request: GenerateRequest, name: str = "ip_adapter_weights") -> bool:
    return request.origin.get(name, COMMAND_LINE) == COMMAND_LINE


def layout(family: Family) -> Layout:
    """Return how the IP-Adapters for `family` are built; raise RequestError where it takes none."""
    return _LAYOUTS[check_family(family, OPTION).layout]


def check_family(family: Family, option: str) -> IpAdapters:
    """Return how `family` takes IP-Adapters; raise RequestError where it takes none."""
    if family.ip_adapters is not None:
        return family.ip_adapters
    reason = family.adapter_refusal or refusals.NO_ADAPTERS
    shown = () if family.reference is None else family.reference.tasks
    hint = " or ".join(f"imggen {_LOOKING[task]}" for task in shown) or f"leave {option} out"
    raise RequestError(f"{option}: {family.title} takes none; {reason}", hint=hint)


_LOOKING: Final[Mapping[Task, str]] = {"image-to-image": "img2img", "style": "style"}
