"""LoRAs by their headers: which layers they change, which model they were made for, and whether they fit this one.

The names of tensors are those that trainers write: kohya's sd-scripts (`lora_unet_..._to_q.lora_down.weight`),
diffusers and PEFT (`unet....to_q.lora_A.weight`), the original names of FLUX, and those of LyCORIS.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import peft
from imggen.plan.models import prequantized, signature
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.family import Family
from imggen.plan.schema.request import ModelFacts

Shape = tuple[int, ...]
Style = Literal["kohya", "diffusers", "original", "bare"]
DENOISER: Final = "denoiser"

_ENDINGS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"[._]lora(\d?)\.down\.weight$", "down"),
        (r"[._]lora(\d?)\.up\.weight$", "up"),
        (r"\.lora_linear_layer\.down\.weight$", "down"),
        (r"\.lora_linear_layer\.up\.weight$", "up"),
        (r"\.lora_(?:A|down)(?:\.default)?(?:\.weight)?$", "down"),
        (r"\.lora_(?:B|up)(?:\.default)?(?:\.weight)?$", "up"),
        (r"\.lora_(?:B|up)(?:\.default)?\.bias$", "bias"),
        (r"\.alpha$", "alpha"),
        (r"\.lora_magnitude_vector(?:\.default)?(?:\.weight)?$", "magnitude"),
        (r"\.lora_mid\.weight$", "mid"),
        (r"\.dora_scale$", "dora"),
        (r"\.hada_\w+$", "loha"),
        (r"\.lokr_\w+$", "lokr"),
        (r"\.oft_\w+$", "oft"),
        (r"\.(?:diff|diff_b|w_norm|b_norm)$", "full"),
        (r"\.on_input$", "ia3"),
    )
)
_KOHYA: Final = re.compile(r"(?:lora|lycoris)_(unet|te|te1|te2|te3|transformer)_(.+)")
_DOTTED: Final = re.compile(r"(unet|transformer|text_encoder(?:_\d)?)\.(.+)")
_ORIGINAL: Final = re.compile(r"(?:model\.)?diffusion_model\.(.+)|base_model\.model\.(.+)")
_ENCODERS: Final = {"te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2", "te3": "text_encoder_3"}
# Before peft, diffusers named the layers of an attention by its processor.
_OLD_TEXT: Final = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_PAIR: Final = ("down", "up")

_FOREIGN: Final[dict[str, str]] = {
    "loha": "a LoHa of LyCORIS",
    "lokr": "a LoKr of LyCORIS",
    "oft": "an OFT",
    "full": "a LoRA with full weights beside the low-rank ones",
    "ia3": "an IA3",
    "mid": "a LoRA whose convolutions are decomposed into three",
    "dora": "a DoRA in kohya's format",
}
# What PEFT can put into its config that changes how the matrices are multiplied.
_UNREAD: Final = ("use_rslora", "use_dora", "alpha_pattern")
_MOST_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class LoraLayer:
    """What a LoRA does to one layer: the shape of each part, and the name of the tensor that it is.

    `component` is the part of the pipeline that has the layer, `DENOISER` for its U-Net or transformer; `module` is the
    layer's name there, in kohya's style with `_` for `.`.
    """

    component: str
    module: str
    style: Style
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def flat(self) -> str:
        """Return the layer's name as all styles spell it."""
        return flat(self.module)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A layer of the model: its name there, and the shape of its weight."""

    name: str
    shape: Shape


Slots = Mapping[str, Mapping[str, Slot]]
"""A model's layers, by component and flat name."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How layers fit a model: which of them it does not have, and the first whose shape is another, as a sentence."""

    strange: tuple[LoraLayer, ...]
    misfit: str | None


class _Sign(NamedTuple):
    """Names of layers that tell what a LoRA was made for, and the `lora_layers` of the families that are that."""

    title: str
    made_for: tuple[str, ...]
    pattern: str


_UNET: Final = r"^(?:down_blocks|up_blocks|mid_block|input_blocks|middle_block|output_blocks)_"
_FIRST: Final = ("sd",)
_ANY_FLUX: Final = ("flux", "flux2")
# The first that matches tells; names are flat. Facts of the models' own code in diffusers 0.42 and of kohya's trainers.
_SIGNS: Final = (
    _Sign("Stable Diffusion XL", ("sdxl", "kolors"), rf"{_UNET}.*transformer_blocks_[1-9]"),
    _Sign("Stable Diffusion 1.x or 2.x", _FIRST, _UNET),
    _Sign("AuraFlow", ("auraflow",), r"^joint_transformer_blocks_"),
    _Sign("FLUX.2", ("flux2",), r"^single_transformer_blocks_\d+_attn_to_qkv_mlp|^(?:double|single)_stream_mod"),
    _Sign("FLUX", _ANY_FLUX, r"^(?:double_blocks|single_blocks|single_transformer_blocks)_"),
    _Sign("Stable Diffusion 3", ("sd3",), r"^joint_blocks_"),
    _Sign("Stable Diffusion 3 or FLUX", ("sd3", *_ANY_FLUX), r"^transformer_blocks_\d+_ff_context"),
    _Sign("Qwen-Image", ("qwen-image",), r"^transformer_blocks_\d+_(?:img|txt)_m"),
    _Sign("Sana", ("sana",), r"^transformer_blocks_\d+_ff_conv"),
    _Sign("PixArt or Sana", ("pixart", "sana"), r"^transformer_blocks_\d+_attn2_to_"),
    _Sign(
        "Stable Diffusion 3, FLUX or Qwen-Image",
        ("sd3", "qwen-image", *_ANY_FLUX),
        r"^transformer_blocks_\d+_attn_add_",
    ),
    _Sign("Z-Image", ("z-image",), r"^(?:layers|noise_refiner|context_refiner)_\d+_attention_"),
    _Sign("Lumina-Image 2.0", ("lumina2",), r"^(?:layers|noise_refiner|context_refiner)_\d+_attn_"),
    _Sign("ERNIE-Image", ("ernie-image",), r"^layers_\d+_self_attention_"),
    _Sign("Krea 2", ("krea2",), r"^text_fusion_"),
    _Sign("CogView4, PixArt or Sana", ("cogview4", "pixart", "sana"), r"^transformer_blocks_\d+_attn1_to_"),
    _Sign("HiDream", ("hidream",), r"^(?:double|single)_stream_blocks_"),
    _Sign("Kandinsky 5", ("kandinsky5",), r"^(?:visual|text)_transformer_blocks_"),
    _Sign("Wan (video)", (), r"^blocks_\d+_(?:self|cross)_attn_"),
)
_BY_WIDTH: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    768: ("Stable Diffusion 1.x", _FIRST),
    1024: ("Stable Diffusion 2.x", _FIRST),
    1280: ("the refiner of Stable Diffusion XL", ("sdxl",)),
    2048: ("Stable Diffusion XL", ("sdxl", "kolors")),
}
"""What a U-Net is, by the channels of the text that its cross-attention reads."""
_TITLES_BY_WIDTH: Final = frozenset(title for title, _ in _BY_WIDTH.values())


def flat(module: str) -> str:
    """Return a layer's name as it is the same in every style: `_` for `.`, and CLIP's inner model left out."""
    return module.replace(".", "_").removeprefix("text_model_")


def read(shapes: Mapping[str, Shape]) -> tuple[LoraLayer, ...]:
    """Return the layers that tensors of these names and shapes change; names that no LoRA has are left out."""
    layers: dict[tuple[str, str], tuple[Style, dict[str, Shape], dict[str, str]]] = {}
    for name, shape in shapes.items():
        place = _place(name)
        if place is not None:
            component, module, style, part = place
            _, parts, names = layers.setdefault((component, module), (style, {}, {}))
            parts[part], names[part] = shape, name
    return tuple(
        LoraLayer(component=component, module=module, style=style, shapes=parts, names=names)
        for (component, module), (style, parts, names) in layers.items()
    )


def _place(name: str) -> tuple[str, str, Style, str] | None:
    """Return component, module, style and part of the tensor `name`, None for one of no LoRA."""
    for pattern, part in _ENDINGS:
        ending = pattern.search(name)
        if ending is None:
            continue
        component, module, style = _owner(name[: ending.start()])
        # The trainer of XLabs counts the two streams of FLUX behind its `_lora`.
        stream = "".join(ending.groups())
        return component, _modern(component, module, ending.group().startswith("_")) + stream, style, part
    return None


def _owner(name: str) -> tuple[str, str, Style]:
    kohya = _KOHYA.fullmatch(name)
    if kohya is not None:
        return _ENCODERS.get(kohya[1], DENOISER), kohya[2], "kohya"
    dotted = _DOTTED.fullmatch(name)
    if dotted is not None:
        return (DENOISER if dotted[1] in ("unet", "transformer") else dotted[1]), dotted[2], "diffusers"
    original = _ORIGINAL.fullmatch(name)
    if original is not None:
        return DENOISER, original[1] or original[2], "original"
    return DENOISER, name, "bare"


def _modern(component: str, module: str, old: bool) -> str:  # noqa: FBT001 - one place calls it
    module = module.replace(".processor.", ".")
    if not old:
        return module
    inner, _, last = module.rpartition(".")
    named = _OLD_TEXT.get(last, last) if component != DENOISER else {"to_out": "to_out.0"}.get(last, last)
    return f"{inner}.{named}" if inner else named


def takes_lora(family: Family) -> bool:
    """Return whether a pipeline of the family can load LoRAs, as the installed diffusers says."""
    if not family.loads_adapters:
        return False
    signatures = filter(None, map(signature.read, family.pipelines.values()))
    return any(base.endswith("LoraLoaderMixin") for pipeline in signatures for base in pipeline.bases)


def check(facts: AdapterFacts, model: ModelFacts, family: Family) -> None:
    """Raise ModelError where the header says that this is no LoRA, or none for the model; RequestError where the
    model's pipeline takes none.

    Names of other styles than diffusers' own are not always known before diffusers has translated them; what they come
    to is checked when they are read.
    """  # noqa: D205 - one sentence
    if not takes_lora(family):
        raise RequestError(
            f"--lora {facts.asked.reference}: diffusers cannot load LoRAs into {family.title}", hint="leave --lora out"
        )
    # What a pickle holds is known when it is read.
    if facts.pickle and not facts.shapes:
        return
    layers = read(facts.shapes)
    check_kind(facts, layers, family)
    fit = compare(layers, slots(model, family))
    if not fit.strange and fit.misfit is None:
        return
    _refuse_other(facts, model, family, layers)
    unknown = tuple(layer for layer in fit.strange if not _is_untold(layer, model, family))
    if fit.misfit is not None or any(layer.style == "diffusers" for layer in unknown):
        raise unfit(facts, model, layers, replace(fit, strange=unknown))


def _is_untold(layer: LoraLayer, model: ModelFacts, family: Family) -> bool:
    """Return whether the model has the layer's component, and no header says which layers that has."""
    name = family.denoiser if layer.component == DENOISER else layer.component
    return name in model.components and not _is_told(name, model)


def _is_told(component: str, model: ModelFacts) -> bool:
    """Return whether headers say the shapes of a component's layers: weights that are stored smaller have others."""
    return component in model.shapes and component not in prequantized.stored(model)


def is_told(model: ModelFacts) -> bool:
    """Return whether headers say the shapes of all layers of the model."""
    return all(_is_told(component, model) for component in model.weight_bytes)


def check_kind(facts: AdapterFacts, layers: tuple[LoraLayer, ...], family: Family) -> None:
    """Raise ModelError for a file that is no LoRA, half a LoRA, or one of a kind that diffusers does not read."""
    name = facts.files[0].name
    if not layers or not any(part in layer.shapes for layer in layers for part in (*_PAIR, *_FOREIGN)):
        raise ModelError(f"--lora {facts.asked.reference}: {_nothing(facts, name)}", hint=_guess(facts))
    kinds = {part for layer in layers for part in layer.shapes}
    foreign = next((kind for kind in _FOREIGN if kind in kinds and not (kind == "lokr" and family.reads_lokr)), None)
    if foreign is not None:
        raise ModelError(
            f"--lora {facts.asked.reference} is {_FOREIGN[foreign]}, which diffusers cannot load into {family.title}",
            hint="look for the same adapter as a plain LoRA",
        )
    if any(facts.config.get(key) for key in _UNREAD):
        raise ModelError(
            f"--lora {facts.asked.reference}: its {facts.files[0].parent.name}/adapter_config.json asks for what "
            f"diffusers does not read: {', '.join(key for key in _UNREAD if facts.config.get(key))}",
            hint="save it again from PEFT with one alpha for all layers",
        )
    peft.check(facts)
    for layer in layers:
        lacking = [part for part in _PAIR if part not in layer.shapes]
        if len(lacking) == 1:
            raise ModelError(
                f"--lora {facts.asked.reference} is incomplete: {layer.module} has no {lacking[0]} weights"
            )


def _nothing(facts: AdapterFacts, name: str) -> str:
    if not facts.shapes:
        return f"{name} is empty: there is no tensor in it"
    first = _shortened(min(facts.shapes))
    return f"{name} is no LoRA: none of its {len(facts.shapes)} tensors is part of one ({first})"


def _shortened(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:79]}…"


def _guess(facts: AdapterFacts) -> str | None:
    names, reference = facts.shapes.keys(), facts.asked.reference
    if {"emb_params", "clip_l", "clip_g", "string_to_param"} & names or len(names) == 1:
        return f"--embedding {reference}"
    if any(name.startswith(("image_proj.", "ip_adapter.", "ip_adapter_proj_model.")) for name in names):
        return f"--ip-adapter IMAGE --ip-adapter-weights {reference}"
    if any(name.startswith(("model.diffusion_model.", "first_stage_model.")) for name in names):
        return f"-m {reference}"
    return None


def slots(model: ModelFacts, family: Family) -> Slots:
    """Return the model's layers, as far as the headers of its weights tell them."""
    known = {name: shapes for name, shapes in model.shapes.items() if _is_told(name, model)}
    return {DENOISER if name == family.denoiser else name: _layers(shapes) for name, shapes in known.items()}


def _layers(shapes: Mapping[str, Shape]) -> dict[str, Slot]:
    """Return the layers that have weights, by their flat names."""
    names = {tensor.removesuffix(".weight"): shape for tensor, shape in shapes.items() if tensor.endswith(".weight")}
    return {flat(name): Slot(name=name, shape=shape) for name, shape in names.items() if name}


def compare(layers: Iterable[LoraLayer], known: Slots) -> Fit:
    """Return how `layers` fit a model that has the layers in `known`."""
    strange, misfit = [], None
    for layer in layers:
        slot = known.get(layer.component, {}).get(layer.flat)
        if slot is None:
            strange.append(layer)
        elif misfit is None:
            misfit = _misfit(layer, slot.shape)
    return Fit(strange=tuple(strange), misfit=misfit)


def _misfit(layer: LoraLayer, shape: Shape) -> str | None:
    down, up = layer.shapes.get("down"), layer.shapes.get("up")
    if down is None or up is None:
        return None
    if len(down) < 2 or len(up) < 2 or down[0] != up[1]:
        return f"its two weights for {layer.module} do not match: {_text(down)} and {_text(up)}"
    made_for = (up[0], *down[1:])
    if made_for != shape:
        return f"it changes {layer.module} of {_text(made_for)}, which is {_text(shape)} there"
    return None


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _refuse_other(facts: AdapterFacts, model: ModelFacts, family: Family, layers: tuple[LoraLayer, ...]) -> None:
    """Raise ModelError where the layers' names say that the LoRA was made for another family or text width."""
    sign = made_for(layers)
    if sign is None:
        return
    title, layers_of = sign
    own = title_of(model, family)
    width = _width(model)
    another_width = width in _BY_WIDTH and title in _TITLES_BY_WIDTH and title != own
    if family.lora_layers in layers_of and not another_width:
        return
    raise ModelError(
        f"{facts.asked.reference} is a LoRA for {title}; {model.reference} is {own}",
        hint=f"a LoRA for {own}, or with -m a model that is {title}",
    )


def title_of(model: ModelFacts, family: Family) -> str:
    """Return what the model is, as people call it: the first and second versions of Stable Diffusion are a family."""
    width = _width(model) if family.name == "sd" else None
    return _BY_WIDTH[width][0] if width in (768, 1024) else family.title


def _width(model: ModelFacts) -> int | None:
    width = model.configs.get("unet", {}).get("cross_attention_dim")
    return width if isinstance(width, int) else None


def made_for(layers: Iterable[LoraLayer]) -> tuple[str, tuple[str, ...]] | None:
    """Return what the LoRA was made for and the `lora_layers` of such families, None where its layers do not tell."""
    listed = list(layers)
    inner = [layer for layer in listed if layer.component == DENOISER]
    sign = next((sign for sign in _SIGNS if any(re.search(sign.pattern, layer.flat) for layer in inner)), None)
    if sign is None:
        # Of the models that read two encoders of CLIP, only this one had trainers that train them.
        second = any(layer.component == "text_encoder_2" for layer in listed)
        return ("Stable Diffusion XL", ("sdxl", "sd3")) if second and not inner else None
    known = [_BY_WIDTH[width] for width in _text_widths(inner) if width in _BY_WIDTH]
    if known and sign.pattern.startswith(_UNET):
        return known[0]
    return sign.title, sign.made_for


def _text_widths(layers: Iterable[LoraLayer]) -> list[int]:
    """Return how many channels of text the cross-attentions of a U-Net read, as far as the layers tell."""
    shapes = [layer.shapes.get("down", ()) for layer in layers if re.search(r"attn2_to_[kv]$", layer.flat)]
    return [shape[1] for shape in shapes if len(shape) > 1]


def unfit(facts: AdapterFacts, model: ModelFacts, layers: tuple[LoraLayer, ...], fit: Fit) -> ModelError:
    """Return the error for layers that the model does not have, or has in another shape."""
    some = ", ".join(layer.module for layer in fit.strange[:_MOST_SHOWN])
    more = ", …" if len(fit.strange) > _MOST_SHOWN else ""
    lost = f"of the {len(layers)} layers that it changes, {len(fit.strange)} are not there ({some}{more})"
    return ModelError(
        f"--lora {facts.asked.reference} does not fit {model.reference}: {lost if fit.misfit is None else fit.misfit}",
        hint=f"a LoRA that was trained on {model.reference}",
    )


def strength_of(name: str) -> tuple[str, str]:
    """Return component and flat name of the layer whose strength diffusers, having translated it, calls `name`."""
    layer = name.removesuffix(".alpha")
    place = _place(layer)
    component, module = place[:2] if place is not None else _owner(layer)[:2]
    return component, flat(module)
