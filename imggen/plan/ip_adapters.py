"""IP-Adapters: which picture is shown to the model beside the words, by which weights, and whether these fit it."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from imggen.errors import ModelError, RequestError
from imggen.plan.adapter import AdapterFacts, Asked
from imggen.plan.case import COMMAND_LINE
from imggen.plan.family import Family
from imggen.plan.request import GenerateRequest

OPTION: Final = "--ip-adapter"
WEIGHTS: Final = "--ip-adapter-weights"
STRONGEST: Final = 4.0
_SD: Final = "h94/IP-Adapter/models/ip-adapter_sd15.safetensors"
_SDXL: Final = "h94/IP-Adapter/sdxl_models/ip-adapter_sdxl_vit-h.safetensors"
USUAL: Final[Mapping[str, str | None]] = {"sd": _SD, "sd-turbo": None, "lcm": _SD, "sdxl": _SDXL, "sdxl-turbo": _SDXL}
"""The families that take IP-Adapters, and the weights that people usually take, if there are such: those of the paper's
authors (arXiv 2308.06721)."""

PROJECTION: Final = "image_proj."
ATTENTIONS: Final = "ip_adapter."

Shapes = Mapping[str, tuple[int, ...]]
Exists = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Need:
    """What an adapter wants of its image encoder: the size of its result, or of its hidden states."""

    setting: str
    size: int


def of(adapters: tuple[AdapterFacts, ...]) -> AdapterFacts | None:
    """Return the IP-Adapter among `adapters`, None where there is none."""
    return next((each for each in adapters if each.asked.kind == "ip-adapter"), None)


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


def asked(request: GenerateRequest, family: Family, *, exists: Exists = os.path.exists) -> Asked | None:
    """Return which weights are to be found for `family`, None where no picture is shown.

    Raise RequestError for a family that takes none, for weights without a picture, and for two scales.
    """
    shown, scale = (None, None) if request.ip_adapter is None else parse(request.ip_adapter, exists=exists)
    named, other = (
        (None, None) if request.ip_adapter_weights is None else _parted(WEIGHTS, request.ip_adapter_weights, exists)
    )
    if request.task == "style":
        shown = request.like if named else None
    if shown is None:
        if named and _is_typed(request):
            raise RequestError(f"{WEIGHTS} {named}: there is no picture to show", hint=f"{OPTION} picture.png")
        return None
    option = OPTION if request.ip_adapter is not None else WEIGHTS
    check_family(family, option)
    if scale is not None and other is not None and _is_typed(request):
        raise RequestError(f"{OPTION} says the scale {scale:g}, and {WEIGHTS} {other:g}", hint=f"{WEIGHTS} {named}")
    chosen = next((each for each in (scale, other) if each is not None), 1.0)
    reference = named or USUAL[family.name]
    if reference is None:
        raise RequestError(
            f"{OPTION} {shown}: imggen knows no usual weights for {family.title}",
            hint=f"{WEIGHTS} FILE, or ORGANISATION/NAME/FILE of the hub",
        )
    return Asked(
        kind="ip-adapter",
        option=WEIGHTS if named else OPTION,
        reference=reference,
        scale=chosen,
        image=shown,
    )


def _is_typed(request: GenerateRequest) -> bool:
    return request.origin.get("ip_adapter_weights", COMMAND_LINE) == COMMAND_LINE


def check_family(family: Family, option: str) -> None:
    """Raise RequestError for a family whose models take no IP-Adapter."""
    if family.name in USUAL:
        return
    reason = family.adapter_refusal or "imggen adds IP-Adapters to U-Nets only"
    hint = "imggen img2img or imggen style" if family.reference is not None else f"leave {option} out"
    raise RequestError(f"{option}: {family.title} takes none; {reason}", hint=hint)


def need(name: str, shapes: Shapes) -> Need:
    """Return what the adapter called `name` wants of its encoder, by the shape of its first layer."""
    named = {each.removeprefix(PROJECTION): shape for each, shape in shapes.items() if each.startswith(PROJECTION)}
    if not named or not any(each.startswith(ATTENTIONS) for each in shapes):
        raise ModelError(f"{name} is no IP-Adapter: it lacks the tensors {PROJECTION}* and {ATTENTIONS}*")
    kinds = {
        "proj.weight": ("projection_dim", "proj.weight"),
        "proj.3.weight": ("hidden_size", "proj.0.weight"),
        "latents": ("hidden_size", "proj_in.weight"),
    }
    for mark, (setting, layer) in kinds.items():
        if mark in named and len(named.get(layer, ())) == 2:
            return Need(setting=setting, size=named[layer][1])
    raise ModelError(f"{name} is an IP-Adapter of a kind that imggen does not know, such as one for faces' embeddings")


def check_fit(name: str, shapes: Shapes, unet: Mapping[str, object]) -> None:
    """Raise ModelError where the adapter called `name` was made for another U-Net than the one of the config `unet`."""
    found = {each: shape for each, shape in shapes.items() if each.endswith(("to_k_ip.weight", "to_v_ip.weight"))}
    width, made_for = unet.get("cross_attention_dim"), {shape[-1] for shape in found.values()}
    if made_for != {width}:
        listed = ", ".join(map(str, sorted(made_for))) or "none"
        raise ModelError(
            f"{name} was made for a model whose text has {listed} channels; this one's has {width}",
            hint="an IP-Adapter that was made for this model",
        )
    channels = attentions(unet)
    if channels is None or not isinstance(width, int):
        return
    wanted = {
        f"{ATTENTIONS}{2 * place + 1}.{layer}.weight": (inner, width)
        for place, inner in enumerate(channels)
        for layer in ("to_k_ip", "to_v_ip")
    }
    if found.keys() != wanted.keys():
        raise ModelError(
            f"{name} was made for {len(found) // 2} cross-attentions; this model has {len(wanted) // 2}",
            hint="an IP-Adapter that was made for this model",
        )
    unlike = next((each for each in wanted if found[each] != wanted[each]), None)
    if unlike:
        raise ModelError(f"{name} was made for another U-Net: {unlike} is {found[unlike]}, not {wanted[unlike]}")


def attentions(unet: Mapping[str, object]) -> tuple[int, ...] | None:
    """Return the channels of each attention to the words, in diffusers' order: the way down, the way up, the middle.

    None for a config that is built otherwise than those of Stable Diffusion and Stable Diffusion XL.
    """
    channels = _numbers(unet.get("block_out_channels"))
    down, up = _names(unet.get("down_block_types")), _names(unet.get("up_block_types"))
    layers = _each(unet.get("layers_per_block", 2), len(channels))
    depths = _each(unet.get("transformer_layers_per_block", 1), len(channels))
    odd = unet.get("reverse_transformer_layers_per_block") or unet.get("dual_cross_attention")
    if not channels or layers is None or depths is None or odd or not len(down) == len(up) == len(channels):
        return None
    known = re.compile("(CrossAttn)?(Down|Up)Block2D")
    middle = unet.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if not all(known.fullmatch(each) for each in (*down, *up)) or middle not in _MIDDLES:
        return None
    below = zip(down, channels, layers, depths, strict=True)
    above = zip(up, channels[::-1], [each + 1 for each in layers[::-1]], depths[::-1], strict=True)
    return (
        *(inner for kind, inner, many, deep in below if "CrossAttn" in kind for _ in range(many * deep)),
        *(inner for kind, inner, many, deep in above if "CrossAttn" in kind for _ in range(many * deep)),
        *([channels[-1]] * depths[-1] if middle == _MIDDLES[0] else []),
    )


_MIDDLES: Final = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None)


def _numbers(value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, list | tuple) else ()
    return tuple(each for each in listed if isinstance(each, int))


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list | tuple) else ()


def _each(value: object, count: int) -> list[int] | None:
    if isinstance(value, int):
        return [value] * count
    listed = _numbers(value)
    return list(listed) if len(listed) == count else None
