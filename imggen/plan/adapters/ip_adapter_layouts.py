"""How IP-Adapters are built, by what they are added to: their tensors' names and shapes, and what they look through.

The names and shapes are those that diffusers 0.42 loads: its `loaders/unet.py`, `transformer_flux.py` and
`transformer_sd3.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from imggen.errors import ModelError

PROJECTION: Final = "image_proj."
ATTENTIONS: Final = "ip_adapter."

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Config = Mapping[str, object]

_ANOTHER: Final = "an IP-Adapter that was made for this model"
# FLUX.1's adapters do not say how many tokens they make of a picture; diffusers tells by this number.
_SIXTEEN_TOKENS: Final = 65536
_SD3_DEPTH: Final = 4
_SD3_HEAD: Final = 64


@dataclass(frozen=True, kw_only=True)
class ImageEncoderKind:
    """A kind of image encoder: its class in transformers, and that of what prepares pictures if diffusers makes none.

    `model_types` are what its config may call itself, `usual_sizes` what transformers takes where the config does not
    say, and `settings` are put into it. A file may hold more than the encoder: the tensors whose names begin with one
    of `unread` are none of it.
    """

    class_name: str
    model_types: tuple[str, ...]
    usual_sizes: Mapping[str, int]
    unread: tuple[str, ...]
    processor: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)


CLIP: Final = ImageEncoderKind(
    class_name="CLIPVisionModelWithProjection",
    model_types=("clip", "clip_vision_model"),
    usual_sizes={"hidden_size": 768, "projection_dim": 512},
    unread=("text_model.", "text_projection.", "logit_scale"),
)
SIGLIP: Final = ImageEncoderKind(
    class_name="SiglipVisionModel",
    processor="SiglipImageProcessor",
    model_types=("siglip", "siglip_vision_model"),
    usual_sizes={"hidden_size": 768},
    # The pipelines read the hidden states. What would make one vector of them is left out: it cannot be put off to main
    # memory.
    settings={"vision_use_head": False},
    unread=("text_model.", "vision_model.head.", "head.", "logit_"),
)


@dataclass(frozen=True, kw_only=True)
class EncoderNeed:
    """What an adapter wants of its image encoder: the size of its result, or of its hidden states."""

    setting: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the adapters for one kind of denoiser are built.

    `title` says what they are for. `component` is the part of a pipeline that they are added to. `renames` are patterns
    of published names with those that diffusers keeps in their place. `marked` tells them from others by a tensor that
    all of them have. `eye` is the kind of image encoder, and `encoder` the one of the hub that they were
    trained with, where it is published apart from them. `need` tells from the shapes what they want of it; `check`
    raises ModelError where they do not fit the denoiser of a config.
    """

    title: str
    component: str
    marked: Callable[[Shapes], bool]
    need: Callable[[str, Shapes], EncoderNeed]
    check: Callable[[str, Shapes, Config], None]
    eye: ImageEncoderKind = CLIP
    encoder: str | None = None
    renames: tuple[tuple[str, str], ...] = ()

    def renamed(self, name: str) -> str:
        """Return the name that diffusers has for the tensor of a published adapter."""
        for pattern, place in self.renames:
            name = re.sub(pattern, place, name)
        return name

    def read(self, shapes: Shapes) -> Shapes:
        """Return the adapter's shapes by diffusers' names; what belongs to no adapter is left out."""
        named = {self.renamed(name): shape for name, shape in shapes.items()}
        return {name: shape for name, shape in named.items() if name.startswith((PROJECTION, ATTENTIONS))}


def examine(name: str, shapes: Shapes, layout: Layout, config: Config) -> EncoderNeed:
    """Return what the adapter called `name` wants of its image encoder.

    Raise ModelError where it is none, one for something else, or one that does not fit the denoiser of `config`.
    """
    tensors = layout.read(shapes)
    other = next((candidate for candidate in LAYOUTS if candidate.marked(candidate.read(shapes))), layout)
    if other is not layout:
        raise ModelError(f"{name} is an IP-Adapter for {other.title}, not for {layout.title}", hint=_ANOTHER)
    has = [any(tensor.startswith(prefix) for tensor in tensors) for prefix in (PROJECTION, ATTENTIONS)]
    if not all(has):
        raise ModelError(
            f"{name} is no IP-Adapter: it lacks the tensors {PROJECTION}* and {ATTENTIONS}*", hint=_ANOTHER
        )
    need = layout.need(name, tensors)
    layout.check(name, tensors, config)
    return need


def _first_layer(layers: Mapping[str, tuple[str, str]], name: str, shapes: Shapes) -> EncoderNeed:
    """Return the need by the first of `layers`: what a tensor's presence says of which setting, by which layer."""
    for mark, (setting, layer) in layers.items():
        shape = shapes.get(f"{PROJECTION}{layer}", ())
        if f"{PROJECTION}{mark}" in shapes and len(shape) == 2:
            return EncoderNeed(setting=setting, size=shape[1])
    raise ModelError(f"{name} is an IP-Adapter of a kind that imggen does not know, such as one for faces' embeddings")


def _check_unet(name: str, shapes: Shapes, unet: Config) -> None:
    """Raise ModelError unless there is a pair of matrices, of the right shapes, for each cross-attention."""
    layers = {
        tensor: shape for tensor, shape in shapes.items() if tensor.endswith(("to_k_ip.weight", "to_v_ip.weight"))
    }
    width = unet.get("cross_attention_dim")
    _check_text(name, layers.values(), width)
    channels = attentions(unet)
    if channels is None or not isinstance(width, int):
        return
    expected: dict[str, Shape] = {}
    for number, inner in enumerate(channels):
        place = f"{ATTENTIONS}{2 * number + 1}"
        expected |= {f"{place}.to_k_ip.weight": (inner, width), f"{place}.to_v_ip.weight": (inner, width)}
    if layers.keys() != expected.keys():
        raise ModelError(
            f"{name} was made for {len(layers) // 2} cross-attentions; this model has {len(expected) // 2}",
            hint=_ANOTHER,
        )
    unlike = next((tensor for tensor in expected if layers[tensor] != expected[tensor]), None)
    if unlike:
        raise ModelError(f"{name} was made for another U-Net: {unlike} is {layers[unlike]}, not {expected[unlike]}")


def _check_flux(name: str, shapes: Shapes, config: Config) -> None:
    """Raise ModelError unless there is a pair of layers for each double block, and what makes tokens of a picture."""
    width = _whole(config, "joint_attention_dim", 4096)
    inner = _whole(config, "num_attention_heads", 24) * _whole(config, "attention_head_dim", 128)
    blocks = _whole(config, "num_layers", 19)
    _check_text(name, (shape for key, shape in shapes.items() if key.endswith("_ip.weight")), width)
    _check_count(name, shapes, blocks)
    outputs, *inputs = shapes.get(f"{PROJECTION}proj.weight", (0,))
    tokens = 16 if outputs == _SIXTEEN_TOKENS else 4
    projection: dict[str, Shape] = {
        "proj.weight": (tokens * width, *inputs),
        "proj.bias": (tokens * width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    layers: dict[str, Shape] = {}
    for layer in (f"{block}.to_{letter}_ip" for block in range(blocks) for letter in "kv"):
        layers |= {f"{layer}.weight": (inner, width), f"{layer}.bias": (inner,)}
    _check_whole(name, shapes, projection, layers)


def _check_sd3(name: str, shapes: Shapes, config: Config) -> None:
    """Raise ModelError unless there are layers for each attention, and a resampler as wide as they are."""
    head = _whole(config, "attention_head_dim", 64)
    inner = head * _whole(config, "num_attention_heads", 18)
    dual = config.get("dual_attention_layers")
    _check_count(name, shapes, _whole(config, "num_layers", 18) + (len(dual) if isinstance(dual, list | tuple) else 0))
    hidden = _edge(shapes, "proj_in.weight", 0)
    each_layer: dict[str, Shape] = {
        "norm_ip.linear.weight": (2 * inner, hidden),
        "norm_ip.linear.bias": (2 * inner,),
        "to_k_ip.weight": (inner, inner),
        "to_v_ip.weight": (inner, inner),
        "norm_q.weight": (head,),
        "norm_k.weight": (head,),
        "norm_ip_k.weight": (head,),
    }
    layers = {f"{block}.{key}": shape for block in _blocks(shapes) for key, shape in each_layer.items()}
    _check_whole(name, shapes, _resampler(shapes, hidden, inner), layers)


def _resampler(shapes: Shapes, hidden: int, inner: int) -> dict[str, Shape]:
    """Return the shapes of what makes tokens of hidden states; those that only the adapter knows are its own."""
    own = {layer: shapes.get(f"{PROJECTION}{layer}", ()) for layer in ("latents", "proj_in.weight")}
    steps = _edge(shapes, "time_embedding.linear_1.weight", 1)
    heads = _edge(shapes, "layers.0.attn.to_q.weight", 0) // _SD3_HEAD * _SD3_HEAD
    block: dict[str, Shape] = {
        **{f"{norm}.{part}": (hidden,) for norm in ("ln0", "ln1", "adaln_norm") for part in ("weight", "bias")},
        "attn.to_q.weight": (heads, hidden),
        "attn.to_kv.weight": (2 * heads, hidden),
        "attn.to_out.0.weight": (hidden, heads),
        "ff.net.0.proj.weight": (4 * hidden, hidden),
        "ff.net.2.weight": (hidden, 4 * hidden),
        "adaln_proj.weight": (4 * hidden, hidden),
        "adaln_proj.bias": (4 * hidden,),
    }
    return {
        "latents": (1, *own["latents"][1:2], hidden),
        "proj_in.weight": own["proj_in.weight"],
        "proj_in.bias": (hidden,),
        "proj_out.weight": (inner, hidden),
        "proj_out.bias": (inner,),
        "norm_out.weight": (inner,),
        "norm_out.bias": (inner,),
        "time_embedding.linear_1.weight": (hidden, steps),
        "time_embedding.linear_1.bias": (hidden,),
        "time_embedding.linear_2.weight": (hidden, hidden),
        "time_embedding.linear_2.bias": (hidden,),
        **{f"layers.{layer}.{key}": shape for layer in range(_SD3_DEPTH) for key, shape in block.items()},
    }


def _edge(shapes: Shapes, layer: str, axis: int) -> int:
    """Return an edge of the matrix in what makes tokens of a picture, 0 where there is none."""
    shape = shapes.get(f"{PROJECTION}{layer}", ())
    return shape[axis] if len(shape) == 2 else 0


def _check_text(name: str, layers: Iterable[Shape], width: object) -> None:
    made_for = {shape[-1] for shape in layers if shape}
    if made_for != {width}:
        listed = ", ".join(map(str, sorted(made_for))) or "none"
        raise ModelError(
            f"{name} was made for a model whose text has {listed} channels; this one's has {width}", hint=_ANOTHER
        )


def _check_count(name: str, shapes: Shapes, count: int) -> None:
    blocks = _blocks(shapes)
    if blocks != [str(block) for block in range(count)]:
        raise ModelError(f"{name} was made for {len(blocks)} attentions; this model has {count}", hint=_ANOTHER)


def _blocks(shapes: Shapes) -> list[str]:
    blocks = {shape.split(".")[1] for shape in shapes if shape.startswith(ATTENTIONS)}
    return sorted(blocks, key=lambda block: (len(block), block))


def _check_whole(name: str, shapes: Shapes, projection: Shapes, layers: Shapes) -> None:
    """Raise ModelError unless the adapter has exactly these tensors of these shapes."""
    expected = {f"{PROJECTION}{tensor}": shape for tensor, shape in projection.items()}
    expected |= {f"{ATTENTIONS}{tensor}": shape for tensor, shape in layers.items()}
    for tensor, shape in expected.items():
        if tensor not in shapes:
            raise ModelError(f"{name} is incomplete: it lacks {tensor}", hint="fetch it again, or another IP-Adapter")
        if shapes[tensor] != shape:
            raise ModelError(
                f"{name} was made for another model: {tensor} is {shapes[tensor]}, not {shape}", hint=_ANOTHER
            )
    beyond = next((tensor for tensor in shapes if tensor not in expected), None)
    if beyond:
        raise ModelError(f"{name} has the tensor {beyond}, for which diffusers has no place", hint=_ANOTHER)


def attentions(unet: Config) -> tuple[int, ...] | None:
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
    if not all(known.fullmatch(block) for block in (*down, *up)) or middle not in _MIDDLES:
        return None
    below = zip(down, channels, layers, depths, strict=True)
    above = zip(up, channels[::-1], [layer + 1 for layer in layers[::-1]], depths[::-1], strict=True)
    inner_channels: list[int] = []
    for kind, inner, blocks, depth in (*below, *above):
        if "CrossAttn" in kind:
            inner_channels += [inner] * (blocks * depth)
    if middle == _MIDDLES[0]:
        inner_channels += [channels[-1]] * depths[-1]
    return tuple(inner_channels)


_MIDDLES: Final = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None)


def _whole(config: Config, key: str, usual: int) -> int:
    value = config.get(key, usual)
    return value if isinstance(value, int) else usual


def _numbers(value: object) -> tuple[int, ...]:
    listed = value if isinstance(value, list | tuple) else ()
    return tuple(number for number in listed if isinstance(number, int))


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()


def _each(value: object, count: int) -> list[int] | None:
    if isinstance(value, int):
        return [value] * count
    listed = _numbers(value)
    return list(listed) if len(listed) == count else None


_PROJECTED: Final = {"proj.weight": ("projection_dim", "proj.weight")}
_RESAMPLED: Final = {"latents": ("hidden_size", "proj_in.weight")}
UNET: Final = Layout(
    title="U-Nets",
    component="unet",
    # It counts the attentions of a picture to itself too, which have none.
    marked=lambda shapes: "ip_adapter.1.to_k_ip.weight" in shapes and "ip_adapter.0.to_k_ip.weight" not in shapes,
    need=partial(_first_layer, {**_PROJECTED, "proj.3.weight": ("hidden_size", "proj.0.weight"), **_RESAMPLED}),
    check=_check_unet,
)
FLUX: Final = Layout(
    title="the transformers of FLUX.1 and Chroma",
    component="transformer",
    marked=lambda shapes: "ip_adapter.0.to_k_ip.bias" in shapes,
    need=partial(_first_layer, _PROJECTED),
    check=_check_flux,
    encoder="openai/clip-vit-large-patch14",
    # How XLabs publishes its own.
    renames=(
        (r"^ip_adapter_proj_model\.", PROJECTION),
        (r"^double_blocks\.", ATTENTIONS),
        (rf"^({re.escape(ATTENTIONS)}\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.", r"\1.to_\2_ip."),
    ),
)
_LAYER: Final = rf"^({re.escape(PROJECTION)}layers\.\d+)"
SD3: Final = Layout(
    title="the transformers of Stable Diffusion 3",
    component="transformer",
    marked=lambda shapes: "ip_adapter.0.norm_ip.linear.weight" in shapes,
    need=partial(_first_layer, _RESAMPLED),
    check=_check_sd3,
    eye=SIGLIP,
    encoder="google/siglip-so400m-patch14-384",
    # How InstantX published its own first.
    renames=(
        (rf"{_LAYER}\.0\.norm1\.", r"\1.ln0."),
        (rf"{_LAYER}\.0\.norm2\.", r"\1.ln1."),
        (rf"{_LAYER}\.0\.to_(q|kv)\.", r"\1.attn.to_\2."),
        (rf"{_LAYER}\.0\.to_out\.", r"\1.attn.to_out.0."),
        (rf"{_LAYER}\.1\.0\.", r"\1.adaln_norm."),
        (rf"{_LAYER}\.1\.1\.", r"\1.ff.net.0.proj."),
        (rf"{_LAYER}\.1\.3\.", r"\1.ff.net.2."),
        (rf"{_LAYER}\.2\.1\.", r"\1.adaln_proj."),
    ),
)
LAYOUTS: Final = (FLUX, SD3, UNET)
