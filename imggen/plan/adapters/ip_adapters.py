"""IP-Adapters: which picture is shown to the model beside the words, and by which weights."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters.ip_adapter_layouts import FLUX, SD3, UNET, Config, Layout
from imggen.plan.case import COMMAND_LINE
from imggen.plan.models.families import refusals
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.change import Task
from imggen.plan.schema.family import Family
from imggen.plan.schema.request import GenerateRequest

OPTION: Final = "--ip-adapter"
WEIGHTS: Final = "--ip-adapter-weights"
ENCODER: Final = "--ip-adapter-encoder"
STRONGEST: Final = 4.0

Exists = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Taking:
    """How a family takes IP-Adapters: their `layout`, and the weights that people usually take, if there are such.

    Those are for models whose denoiser's config says what `usual_for` does.
    """

    layout: Layout
    usual: str | None = None
    usual_for: Config = field(default_factory=dict)


# The paper's authors published these (arXiv 2308.06721).
_SD: Final = Taking(layout=UNET, usual="h94/IP-Adapter/models/ip-adapter_sd15.safetensors")
_SDXL: Final = Taking(layout=UNET, usual="h94/IP-Adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors")
FAMILIES: Final[Mapping[str, Taking]] = {
    "sd": _SD,
    "sd-turbo": Taking(layout=UNET),
    "lcm": _SD,
    "sdxl": _SDXL,
    "sdxl-turbo": _SDXL,
    # The others are those of diffusers' documentation, two of them at revisions that have more than pickles.
    "kolors": Taking(
        layout=UNET, usual="Kwai-Kolors/Kolors-IP-Adapter-Plus@refs/pr/4/ip_adapter_plus_general.safetensors"
    ),
    "flux": Taking(layout=FLUX, usual="XLabs-AI/flux-ip-adapter/ip_adapter.safetensors"),
    "flux-schnell": Taking(layout=FLUX),
    "chroma": Taking(layout=FLUX),
    "sd3": Taking(
        layout=SD3,
        usual="InstantX/SD3.5-Large-IP-Adapter@f1f54ca369ae759f9278ae9c87d46def9f133c78/ip-adapter.safetensors",
        # 3.5 large.
        usual_for={"num_layers": 38, "num_attention_heads": 38},
    ),
}
"""The families that take IP-Adapters."""


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
    chosen = next((each for each in (scale, other) if each is not None), 1.0)
    reference = named or _usual(taking, family, config or {}, shown)
    return AdapterRequest(
        kind="ip-adapter",
        option=WEIGHTS if named else OPTION,
        reference=reference,
        scale=chosen,
        image=shown,
        encoder=_encoder(request),
    )


def _usual(taking: Taking, family: Family, config: Config, shown: str) -> str:
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


def check_family(family: Family, option: str) -> Taking:
    """Return how `family` takes IP-Adapters; raise RequestError where it takes none."""
    taking = FAMILIES.get(family.name)
    if taking is not None:
        return taking
    reason = family.adapter_refusal or refusals.NO_ADAPTERS
    shown = () if family.reference is None else family.reference.tasks
    hint = " or ".join(f"imggen {_LOOKING[each]}" for each in shown) or f"leave {option} out"
    raise RequestError(f"{option}: {family.title} takes none; {reason}", hint=hint)


_LOOKING: Final[Mapping[Task, str]] = {"image-to-image": "img2img", "style": "style"}
