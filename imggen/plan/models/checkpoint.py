"""Single files of weights: which kind of model a header is of, what of the model it holds, and what it lacks.

The names of tensors tell it, none of which is read. They are those that the models' authors publish and those that
diffusers gives, of which `diffusers.loaders.single_file_utils` lists the former.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from imggen.errors import ModelError
from imggen.plan.models import catalog
from imggen.plan.schema.request import ModelFacts

PREFIXES: Final = ("model.diffusion_model.", "diffusion_model.")
"""What the names of a denoiser's tensors begin with in files that hold more than a denoiser, or could."""

_QUOTED: Final = 3


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of single file, one row of `KINDS`.

    It is told by one of the sets of names in `telling`, all of them there, as they are or behind one of `PREFIXES`, and
    by the `sizes` in `when`. `family` is that of the catalog, None where the names do not tell which. `denoiser` is the
    component that it holds and `class_name` the diffusers class of that; `parts` are the others that it may hold, by
    what their tensors' names begin with. What a base has to agree on is in `sizes`, from a key of the denoiser's config
    to the end of a tensor's name and the axis, and in `flags`, from such a key to names that are there where it is
    true; `scheduler` is what a base's scheduler has to say. `base` is the usual one where it is another than that of
    the family, `bases` are those to choose from where the names do not tell it.
    `refusal` says why imggen cannot load it, `gguf_refusal` why not as GGUF.
    """

    title: str
    telling: tuple[tuple[str, ...], ...]
    when: Mapping[str, int] = field(default_factory=dict)
    family: str | None = None
    denoiser: str = "transformer"
    class_name: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: str | None = None
    bases: tuple[str, ...] = ()
    scheduler: Mapping[str, object] = field(default_factory=dict)
    refusal: str | None = None
    gguf_refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Other:
    """Weights that are no model by themselves: told by a name that `pattern` finds, used by `option`."""

    title: str
    pattern: re.Pattern[str]
    option: str


OTHERS: Final[tuple[Other, ...]] = (
    Other(
        title="a LoRA",
        pattern=re.compile(r"\.lora[_.]|lora_(up|down|A|B|mid)|\.(alpha|dora_scale)$|\.hada_w1|\.lokr_w|\.oft_blocks"),
        option="--lora {}",
    ),
    Other(
        title="a ControlNet",
        pattern=re.compile(r"^control_model\.|controlnet_(blocks|cond_embedding|down_blocks|x_embedder)\.|^control_"),
        option="--control {}:PICTURE",
    ),
    Other(
        title="an IP-Adapter",
        pattern=re.compile(r"^(ip_adapter|image_proj|ip_adapter_proj_model)\."),
        option="--ip-adapter PICTURE --ip-adapter-weights {}",
    ),
    Other(title="an embedding", pattern=re.compile(r"^(emb_params|string_to_param\b.*)$"), option="--embedding {}"),
    Other(
        title="a motion module",
        pattern=re.compile(r"\.motion_modules\."),
        option="leave it out: imggen makes pictures, not videos",
    ),
    Other(
        title="an autoencoder",
        pattern=re.compile(r"^(vae\.|first_stage_model\.)?(encoder|decoder)\.(conv_in|conv1|project_in)\."),
        option="--vae {}",
    ),
    Other(
        title="a text encoder",
        pattern=re.compile(r"text_model\.encoder\.layers\.|^encoder\.block\.0\.layer\.|^model\.layers\.0\.self_attn\."),
        option="a text encoder comes with the base: --base REF",
    ),
    Other(
        title="an upscaler",
        pattern=re.compile(r"\.rdb1\.conv1\.|\.RDB1\.conv1\.|^body\.\d+\.|^conv_first\."),
        option="imggen upscale PICTURE --model {}",
    ),
)
"""In this order, after `KINDS`: what is none of these is not known."""

SCALED: Final = re.compile(r"\.(scale_weight|weight_scale|weight_scale_2|comfy_quant|absmax|quant_map)$|^scaled_fp8$")
"""Names of the numbers by which weights of 8 or 4 bits have to be multiplied, which diffusers would leave out."""

_LDM: Final = "input_blocks.0.0.weight"
_UNET: Final = ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight")
_UNET_SIZES: Final = {
    "in_channels": (("input_blocks.0.0.weight", 1), ("conv_in.weight", 1)),
    "cross_attention_dim": (("attn2.to_k.weight", 1),),
}
_FLUX_SIZES: Final = {"in_channels": (("img_in.weight", 1), ("x_embedder.weight", 1))}
_FLUX_ORIGINAL: Final = "double_blocks.0.img_attn.norm.key_norm.scale"
_FLUX_DIFFUSERS: Final = (
    "single_transformer_blocks.0.proj_mlp.weight",
    "time_text_embed.text_embedder.linear_1.weight",
)
_GUIDED: Final = ("guidance_in.in_layer.weight", "time_text_embed.guidance_embedder.linear_1.weight")
_GUIDED_FLUX: Final = ((_FLUX_ORIGINAL, _GUIDED[0]), (*_FLUX_DIFFUSERS, _GUIDED[1]))
_SD3_DIFFUSERS: Final = (
    "transformer_blocks.0.attn.add_k_proj.weight",
    "pos_embed.proj.weight",
    "norm_out.linear.weight",
)
_NO_LOADER: Final = "diffusers has no loader for single files of it"
_NO_GGUF: Final = "diffusers has no GGUF loader for {}"

_unet = partial(FileKind, denoiser="unet", class_name="UNet2DConditionModel", sizes=_UNET_SIZES)
_sd = partial(
    _unet,
    family="sd",
    parts={"text_encoder": "cond_stage_model.", "vae": "first_stage_model."},
    gguf_refusal=_NO_GGUF.format("Stable Diffusion 1.x and 2.x"),
)
_sdxl = partial(
    _unet,
    family="sdxl",
    parts={
        "text_encoder": "conditioner.embedders.0.",
        "text_encoder_2": "conditioner.embedders.1.",
        "vae": "first_stage_model.",
    },
    gguf_refusal=_NO_GGUF.format("Stable Diffusion XL"),
)
_flux = partial(
    FileKind,
    class_name="FluxTransformer2DModel",
    sizes=_FLUX_SIZES,
    flags={"guidance_embeds": _GUIDED},
    parts={"text_encoder": "text_encoders.clip_l.", "text_encoder_2": "text_encoders.t5xxl.", "vae": "vae."},
)
_sd3 = partial(
    FileKind,
    family="sd3",
    class_name="SD3Transformer2DModel",
    parts={
        "text_encoder": "text_encoders.clip_l.",
        "text_encoder_2": "text_encoders.clip_g.",
        "text_encoder_3": "text_encoders.t5xxl.",
        "vae": "first_stage_model.",
    },
    sizes={"caption_projection_dim": (("context_embedder.weight", 0),)},
)

KINDS: Final[tuple[FileKind, ...]] = (
    FileKind(
        title="Stable Diffusion's x4 upscaler",
        telling=((_LDM, "label_emb.weight"), (*_UNET, "class_embedding.weight")),
        refusal="it is an upscaler",
    ),
    _sdxl(title="Playground v2.5", telling=((_LDM, "edm_mean"),), base="playgroundai/playground-v2.5-1024px-aesthetic"),
    _sdxl(
        title="Stable Diffusion XL that predicts velocities",
        telling=((_LDM, "label_emb.0.0.weight", "v_pred"),),
        bases=("FOLDER, whose scheduler_config.json says v_prediction",),
        scheduler={"prediction_type": "v_prediction"},
    ),
    _unet(
        title="Kolors",
        telling=((*_UNET, "add_embedding.linear_1.weight", "encoder_hid_proj.weight"),),
        family="kolors",
        gguf_refusal=_NO_GGUF.format("Kolors"),
    ),
    _sdxl(
        title="Stable Diffusion XL's refiner",
        telling=((_LDM, "label_emb.0.0.weight", "conditioner.embedders.0.model.text_projection"),),
        parts={"text_encoder_2": "conditioner.embedders.0.", "vae": "first_stage_model."},
        base="stabilityai/stable-diffusion-xl-refiner-1.0",
    ),
    _sdxl(
        title="Stable Diffusion XL for inpainting",
        telling=((_LDM, "label_emb.0.0.weight"), (*_UNET, "add_embedding.linear_1.weight")),
        when={"in_channels": 9},
        base="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    ),
    FileKind(
        # CosXL Edit has the same names and shapes, and wants another scheduler and scaled latents of the picture.
        title="Stable Diffusion XL for editing by an instruction",
        telling=((_LDM, "label_emb.0.0.weight"), (*_UNET, "add_embedding.linear_1.weight")),
        when={"in_channels": 8},
        sizes=_UNET_SIZES,
        refusal="its names do not tell whether it is CosXL Edit, which needs to be called otherwise",
    ),
    _sdxl(
        title="Stable Diffusion XL", telling=((_LDM, "label_emb.0.0.weight"), (*_UNET, "add_embedding.linear_1.weight"))
    ),
    _sd(
        title="Stable Diffusion 2.x for inpainting",
        telling=((_LDM, "time_embed.0.weight"), _UNET),
        when={"in_channels": 9, "cross_attention_dim": 1024},
        base="stabilityai/stable-diffusion-2-inpainting",
    ),
    _sd(
        title="Stable Diffusion 1.x for inpainting",
        telling=((_LDM, "time_embed.0.weight"), _UNET),
        when={"in_channels": 9},
        base="stable-diffusion-v1-5/stable-diffusion-inpainting",
    ),
    _sd(
        title="InstructPix2Pix",
        telling=((_LDM, "time_embed.0.weight"), _UNET),
        when={"in_channels": 8},
        family="sd-instruct-pix2pix",
        gguf_refusal=_NO_GGUF.format("InstructPix2Pix"),
    ),
    _sd(
        # Its published models of 512 and 768 pixels predict different things under the same names.
        title="Stable Diffusion 2.x",
        telling=((_LDM, "cond_stage_model.model.token_embedding.weight"),),
        bases=("stabilityai/stable-diffusion-2-1 (768 pixels)", "stabilityai/stable-diffusion-2-1-base (512 pixels)"),
    ),
    _sd(title="Stable Diffusion 1.x", telling=((_LDM, "time_embed.0.weight"), _UNET)),
    FileKind(
        title="FLUX.2",
        telling=(("single_stream_modulation.lin.weight",), ("single_stream_modulation.linear.weight",)),
        class_name="Flux2Transformer2DModel",
        bases=("black-forest-labs/FLUX.2-klein-4B", "black-forest-labs/FLUX.2-klein-base-4B", "another FLUX.2"),
        sizes=_FLUX_SIZES | {"joint_attention_dim": (("txt_in.weight", 1), ("context_embedder.weight", 1))},
    ),
    FileKind(
        title="Chroma",
        telling=(("distilled_guidance_layer.in_proj.weight",),),
        family="chroma",
        class_name="ChromaTransformer2DModel",
        sizes=_FLUX_SIZES,
        parts={"text_encoder": "text_encoders.t5xxl.", "vae": "vae."},
    ),
    _flux(title="FLUX.1 Fill", telling=_GUIDED_FLUX, when={"in_channels": 384}, family="flux-fill"),
    _flux(title="FLUX.1 Canny or Depth", telling=_GUIDED_FLUX, when={"in_channels": 128}, family="flux-control"),
    _flux(title="FLUX.1", telling=_GUIDED_FLUX, family="flux"),
    _flux(title="FLUX.1 schnell", telling=((_FLUX_ORIGINAL, "img_in.weight"), _FLUX_DIFFUSERS), family="flux-schnell"),
    _sd3(
        title="Stable Diffusion 3.5 large",
        telling=(
            ("joint_blocks.37.x_block.mlp.fc1.weight",),
            (*_SD3_DIFFUSERS, "transformer_blocks.37.ff.net.2.weight"),
        ),
        base="stabilityai/stable-diffusion-3.5-large",
    ),
    _sd3(
        title="Stable Diffusion 3.5 medium",
        telling=(
            ("joint_blocks.0.x_block.attn2.qkv.weight",),
            (*_SD3_DIFFUSERS, "transformer_blocks.0.attn2.to_q.weight"),
        ),
        base="stabilityai/stable-diffusion-3.5-medium",
    ),
    _sd3(
        title="Stable Diffusion 3",
        telling=(("joint_blocks.0.context_block.adaLN_modulation.1.bias",), _SD3_DIFFUSERS),
        base="stabilityai/stable-diffusion-3-medium-diffusers",
    ),
    FileKind(
        title="AuraFlow",
        telling=(
            ("double_layers.0.attn.w2q.weight", "cond_seq_linear.weight"),
            ("joint_transformer_blocks.0.attn.add_k_proj.weight", "register_tokens"),
        ),
        family="auraflow",
        class_name="AuraFlowTransformer2DModel",
        sizes={"caption_projection_dim": (("cond_seq_linear.weight", 0), ("context_embedder.weight", 0))},
    ),
    FileKind(
        title="Qwen-Image",
        telling=(("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight"),),
        family="qwen-image",
        class_name="QwenImageTransformer2DModel",
        sizes={"joint_attention_dim": (("txt_in.weight", 1),)},
    ),
    FileKind(
        # Turbo has the names and the shapes of what it was distilled from.
        title="Z-Image",
        telling=(("layers.0.adaLN_modulation.0.weight", "cap_embedder.0.weight"),),
        class_name="ZImageTransformer2DModel",
        bases=("Tongyi-MAI/Z-Image-Turbo", "Tongyi-MAI/Z-Image"),
        sizes={"cap_feat_dim": (("cap_embedder.0.weight", 0),)},
    ),
    FileKind(
        title="Lumina-Image 2.0",
        telling=(
            ("layers.0.adaLN_modulation.1.weight", "cap_embedder.0.weight"),
            ("time_caption_embed.caption_embedder.0.weight", "noise_refiner.0.norm1.linear.weight"),
        ),
        family="lumina2",
        class_name="Lumina2Transformer2DModel",
        sizes={"cap_feat_dim": (("cap_embedder.0.weight", 0), ("caption_embedder.0.weight", 0))},
    ),
    FileKind(
        title="Sana",
        telling=(("blocks.0.mlp.inverted_conv.conv.weight",), ("transformer_blocks.0.ff.conv_inverted.weight",)),
        family="sana",
        class_name="SanaTransformer2DModel",
    ),
    FileKind(
        title="PixArt",
        telling=(
            ("blocks.0.cross_attn.q_linear.weight", "blocks.0.mlp.fc1.weight"),
            ("adaln_single.linear.weight", "caption_projection.linear_1.weight", "pos_embed.proj.weight"),
        ),
        refusal=_NO_LOADER,
    ),
    FileKind(
        title="HiDream-I1",
        telling=(("double_stream_blocks.0.block.adaLN_modulation.1.bias",),),
        class_name="HiDreamImageTransformer2DModel",
        bases=("HiDream-ai/HiDream-I1-Full", "HiDream-ai/HiDream-I1-Dev", "HiDream-ai/HiDream-I1-Fast"),
    ),
    FileKind(
        title="Krea 2",
        telling=(("txtfusion.projector.weight",), ("text_fusion.projector.weight",)),
        class_name="Krea2Transformer2DModel",
        bases=("krea/Krea-2-Raw", "another Krea 2"),
    ),
    FileKind(
        title="ERNIE-Image",
        telling=(("layers.0.adaLN_sa_ln.weight", "text_proj.weight"),),
        class_name="ErnieImageTransformer2DModel",
        bases=("FOLDER of the same model",),
    ),
    FileKind(
        title="HunyuanImage 2.1",
        telling=(("context_embedder.proj_in.weight", "context_embedder_2.norm.weight"),),
        refusal=_NO_LOADER,
    ),
    FileKind(
        title="Wan, a video model",
        telling=(("head.modulation", "blocks.0.self_attn.q.weight"),),
        refusal="imggen makes pictures",
    ),
)
"""In this order: the first that fits."""


def tell(subject: str, shapes: Mapping[str, tuple[int, ...]]) -> FileKind:
    """Return the kind of model that tensors of these names and shapes are of.

    Raise ModelError where they are part of a model, of a kind that imggen cannot load, or of none that it knows;
    `subject` is the file's name as it was typed.
    """
    named = _stripped(shapes)
    kind = next((row for row in KINDS if _fits(row, named)), None)
    other = next((row for row in OTHERS if any(map(row.pattern.search, shapes))), None)
    # A ControlNet has the names of a U-Net, and a LoRA may have those of what it changes.
    if other is not None and (kind is None or other in OTHERS[:3]):
        raise ModelError(f"{subject} is {other.title}, not a model by itself", hint=other.option.format(subject))
    if kind is None or kind.refusal:
        unknown = f"no model that imggen knows; the first tensors of {len(shapes)} are {_first(shapes)}"
        held = f"{kind.title}: {kind.refusal}" if kind else unknown
        raise ModelError(
            f"{subject} holds {held}",
            hint="look for the same model in the diffusers format, and give --model its folder or hub id",
        )
    scaled = next((shape for shape in shapes if SCALED.search(shape)), None)
    if scaled is not None:
        raise ModelError(
            f"{subject} holds low-bit weights with scale factors beside them ({scaled}), which diffusers cannot read",
            hint="look for the same model as plain fp8, bf16 or GGUF",
        )
    return kind


def prefix(names: Iterable[str]) -> str:
    """Return what the names of the denoiser's tensors begin with, the empty text where it is nothing."""
    listed = tuple(names)
    return next((start for start in PREFIXES if any(name.startswith(start) for name in listed)), "")


def parts(kind: FileKind, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of the tensors that a file of this kind holds, by component."""
    held = {}
    for component, start in kind.parts.items():
        tensors = tuple(name for name in names if name.startswith(start))
        if tensors:
            held[component] = tensors
    first = prefix(names)
    if first:
        return {kind.denoiser: tuple(name for name in names if name.startswith(first)), **held}
    others = set().union(*held.values())
    return {kind.denoiser: tuple(name for name in names if name not in others), **held}


def check_base(subject: str, kind: FileKind, base: ModelFacts, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ModelError where `base` is not of the kind of the file whose tensors have these shapes."""
    denoiser = base.components.get(kind.denoiser, ("", f"no {kind.denoiser}"))[1]
    if denoiser != kind.class_name:
        raise ModelError(
            f"{subject} holds {kind.title}, and its base {base.reference} has {denoiser} in place of {kind.class_name}",
            hint=_base_hint(kind),
        )
    config, scheduler = base.configs.get(kind.denoiser, {}), base.configs.get("scheduler", {})
    pairs = {key: (value, config.get(key)) for key, value in _config(kind, _stripped(shapes)).items()}
    pairs |= {key: (value, scheduler.get(key, "nothing")) for key, value in kind.scheduler.items()}
    for key, (here, there) in pairs.items():
        if there is not None and not isinstance(there, list) and here != there:
            raise ModelError(
                f"{subject} has {key} {here}, its base {base.reference} {there}: they do not match",
                hint=_base_hint(kind),
            )
    lacking = sorted(set(kind.parts) & set(parts(kind, shapes)) - set(base.components))
    if lacking:
        raise ModelError(
            f"{subject} brings {lacking[0]}, for which its base {base.reference} has no config", hint=_base_hint(kind)
        )


def usual_base(subject: str, kind: FileKind) -> str:
    """Return the base to take where nobody says one; raise ModelError where the file does not tell which."""
    usual = kind.base or (None if kind.bases or kind.family is None else catalog.named(kind.family).base)
    if usual is None:
        raise ModelError(f"{subject} holds {kind.title}, and its header does not say which one", hint=_base_hint(kind))
    return usual


def _base_hint(kind: FileKind) -> str:
    return f"--base {', or '.join(kind.bases)}" if kind.bases else f"--base {kind.base or 'FOLDER'}"


def _config(kind: FileKind, named: Mapping[str, tuple[int, ...]]) -> dict[str, object]:
    """Return what the names and shapes of the tensors say of the denoiser's config."""
    config: dict[str, object] = {}
    for key, choices in kind.sizes.items():
        for ending, axis in choices:
            shape = next((named[name] for name in sorted(named) if f".{name}".endswith(f".{ending}")), ())
            if axis < len(shape):
                config.setdefault(key, shape[axis])
    for key, names in kind.flags.items():
        config[key] = any(name in named for name in names)
    return config


def _fits(kind: FileKind, named: Mapping[str, tuple[int, ...]]) -> bool:
    is_named = any(all(name in named for name in names) for names in kind.telling)
    return is_named and kind.when.items() <= _config(kind, named).items()


def _stripped(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    first = prefix(shapes)
    return {name.removeprefix(first) if first else name: shape for name, shape in shapes.items()}


def _first(names: Iterable[str]) -> str:
    shown = sorted(names)[:_QUOTED]
    return ", ".join(name[:60] for name in shown) or "nothing"


def notes(facts: ModelFacts) -> tuple[str, ...]:
    """Return what a user should know of where the weights come from, before they are read."""
    lines = []
    if facts.quantised:
        stored = ", ".join(sorted(set(facts.quantised.values())))
        lines.append(f"{facts.reference} stores weights as {stored}, which lost some of their precision")
    if facts.pickles:
        lines.append(f"{facts.pickles[0]} is a pickle; only its weights are read, and nothing says whose they are")
    return tuple(lines)


def summary(facts: ModelFacts) -> dict[str, object]:
    """Return what a record says of a single file and of its base, as values that JSON can hold; {} for other models."""
    if facts.single is None:
        return {}
    base = facts.single.base
    return {
        "kind": facts.single.kind,
        "from_file": sorted(facts.single.parts),
        "stored": dict(facts.quantised),
        "base": {
            "reference": base.reference,
            "revision": base.revision,
            "source": base.source,
            "from_base": sorted(base.weight_bytes),
        },
    }


def lines(facts: ModelFacts) -> tuple[str, ...]:
    """Return what a plan says to people of a single file and of its base."""
    if facts.single is None:
        return ()
    base = facts.single.base
    revision = f"@{base.revision}" if base.revision else ""
    from_base = ", ".join(["configs", "tokenizers", *sorted(base.weight_bytes)])
    return (
        f"kind: {facts.single.kind} (by the names of its tensors)",
        f"base: {base.reference}{revision} (gives {from_base})",
        *(f"stored: {name} as {method} (in the file; lossy)" for name, method in sorted(facts.quantised.items())),
    )
