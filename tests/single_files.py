"""Single files in the formats of the models' authors, made of tiny pipelines: the way back from diffusers' names."""

import re
import types

import torch
from diffusers.loaders import single_file_model, single_file_utils
from safetensors.torch import save_file

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
FLUX = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
}
DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
}
NORMS = {"norm_q": "img_attn.norm.query_norm", "norm_k": "img_attn.norm.key_norm"}
NORMS |= {"norm_added_q": "txt_attn.norm.query_norm", "norm_added_k": "txt_attn.norm.key_norm"}


def save(tensors, path, **metadata):
    save_file({name: each.clone().contiguous() for name, each in tensors.items()}, path, metadata=metadata or None)
    return path


def stable_diffusion(pipeline):
    """The file of a Stable Diffusion 1.x as its authors publish it."""
    clip = {f"cond_stage_model.transformer.{name}": each for name, each in clip_l(pipeline.text_encoder).items()}
    return {**unet(pipeline.unet), **vae(pipeline.vae), **clip}


def stable_diffusion_2(pipeline):
    """The file of a Stable Diffusion 2.x; the text encoder is that of an OpenCLIP."""
    return {
        **unet(pipeline.unet),
        **vae(pipeline.vae),
        **open_clip(pipeline.text_encoder, "cond_stage_model.model."),
    }


def stable_diffusion_xl(pipeline):
    """The file of a Stable Diffusion XL as its authors publish it."""
    clip = {f"conditioner.embedders.0.transformer.{name}": each for name, each in clip_l(pipeline.text_encoder).items()}
    second = open_clip(pipeline.text_encoder_2, "conditioner.embedders.1.model.")
    return {**unet(pipeline.unet), **vae(pipeline.vae), **clip, **second}


def stable_diffusion_3(pipeline):
    """A Stable Diffusion 3 with all of its parts in one file, the transformer under the names of diffusers."""
    encoders = {
        "clip_l": pipeline.text_encoder,
        "clip_g": pipeline.text_encoder_2,
        "t5xxl": pipeline.text_encoder_3,
    }
    return {
        **{f"model.diffusion_model.{name}": each for name, each in pipeline.transformer.state_dict().items()},
        **{
            f"text_encoders.{encoder}.transformer.{name}": each
            for encoder, module in encoders.items()
            for name, each in module.state_dict().items()
            if "embed_tokens" not in name
        },
        **vae(pipeline.vae),
    }


def clip_l(encoder):
    return {f"text_model.{name.removeprefix('text_model.')}": each for name, each in encoder.state_dict().items()}


def open_clip(encoder, prefix):
    tensors = {name.removeprefix("text_model."): each for name, each in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": tensors["embeddings.token_embedding.weight"],
        "positional_embedding": tensors["embeddings.position_embedding.weight"],
        "ln_final.weight": tensors["final_layer_norm.weight"],
        "ln_final.bias": tensors["final_layer_norm.bias"],
    }
    width = tensors["final_layer_norm.weight"].shape[0]
    projection = tensors.get("text_projection.weight", torch.eye(width))
    found["text_projection"] = projection.T
    for name, each in tensors.items():
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if match is None:
            continue
        layer, part, kind = match.groups()
        if part == "self_attn.q_proj":
            fused = [tensors[name.replace("q_proj", each)] for each in ("q_proj", "k_proj", "v_proj")]
            found[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(fused)
        elif part in OPEN_CLIP:
            found[f"transformer.resblocks.{layer}.{OPEN_CLIP[part]}.{kind}"] = each
    return {f"{prefix}{name}": each for name, each in found.items()}


def unet(module):
    tensors = module.state_dict()
    places = dict(_unet_places(module))
    found = {}
    for name, each in tensors.items():
        old, _, kind = name.rpartition(".")
        place = next((each for each in places if old == each or old.startswith(f"{each}.")), None)
        if place is None:
            found[f"{UNET[old]}.{kind}"] = each
            continue
        rest = old[len(place) + 1 :]
        renamed = RESNET[rest] if ".resnets." in f".{place}." else rest
        found[".".join(part for part in (places[place], renamed, kind) if part)] = each
    return {f"model.diffusion_model.{name}": each for name, each in found.items()}


def _unet_places(module):
    number = 0
    for level, block in enumerate(module.down_blocks):
        for layer in range(len(block.resnets)):
            number += 1
            yield f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{number}.1"
        if block.downsamplers:
            number += 1
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
    yield "mid_block.resnets.0", "middle_block.0"
    yield "mid_block.attentions.0", "middle_block.1"
    yield "mid_block.resnets.1", "middle_block.2"
    number = 0
    for level, block in enumerate(module.up_blocks):
        attends = bool(getattr(block, "attentions", ()))
        for layer in range(len(block.resnets)):
            yield f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{number}.1"
            number += 1
        if block.upsamplers:
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{number - 1}.{2 if attends else 1}.conv"


def vae(module, prefix="first_stage_model."):
    last = len(module.decoder.up_blocks) - 1
    found = {}
    for name, each in module.state_dict().items():
        new = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        new = re.sub(r"up_blocks\.(\d+)\.resnets", lambda match: f"up.{last - int(match[1])}.block", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda match: f"up.{last - int(match[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", new)
        new = new.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        tensor = each
        if "mid_block.attentions.0." in new:
            old = new.split("mid_block.attentions.0.")[1].rpartition(".")[0]
            new = new.replace(f"mid_block.attentions.0.{old}", f"mid.attn_1.{ATTENTION[old]}")
            tensor = each[:, :, None, None] if each.ndim == 2 else each
        found[prefix + new] = tensor
    return found


def flux(module, prefix=""):
    """The tensors of a FLUX.1 as its authors publish it."""
    tensors = module.state_dict()
    found = {}
    for name, each in tensors.items():
        old, _, kind = name.rpartition(".")
        if old in FLUX:
            found[f"{FLUX[old]}.{kind}"] = each
        if old == "norm_out.linear":
            # The two halves stand the other way round there.
            found[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat(each.chunk(2)[::-1])
        match = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", old)
        if match is not None:
            for new, tensor in _flux_block(tensors, f"{old}.", match[3], kind, single=bool(match[1])):
                found[f"{'single' if match[1] else 'double'}_blocks.{match[2]}.{new}"] = tensor
    return {f"{prefix}{name}": each for name, each in found.items()}


def _flux_block(tensors, place, part, kind, *, single):
    start = place[: -len(part) - 1]

    def fused(*names):
        return torch.cat([tensors[f"{start}{each}.{kind}"] for each in names])

    tensor = tensors[place + kind]
    if single:
        names = {"norm.linear": "modulation.lin", "proj_out": "linear2"}
        norms = {"attn.norm_q": "norm.query_norm.scale", "attn.norm_k": "norm.key_norm.scale"}
        if part in names:
            yield f"{names[part]}.{kind}", tensor
        if part in norms:
            yield norms[part], tensor
        if part == "attn.to_q":
            yield f"linear1.{kind}", fused("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        return
    if part in DOUBLE:
        yield f"{DOUBLE[part]}.{kind}", tensor
    if part.removeprefix("attn.") in NORMS:
        yield f"{NORMS[part.removeprefix('attn.')]}.scale", tensor
    if part == "attn.to_q":
        yield f"img_attn.qkv.{kind}", fused("attn.to_q", "attn.to_k", "attn.to_v")
    if part == "attn.add_q_proj":
        yield f"txt_attn.qkv.{kind}", fused("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")


def narrow_flux(monkeypatch, width):
    """Have diffusers convert a FLUX.1 of another width than the published one, which its function has in its code."""
    convert = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers
    constants = tuple(width if each == 3072 else each for each in convert.__code__.co_consts)
    assert constants != convert.__code__.co_consts
    made = types.FunctionType(convert.__code__.replace(co_consts=constants), convert.__globals__)
    monkeypatch.setitem(
        single_file_model.SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"], "checkpoint_mapping_fn", made
    )
