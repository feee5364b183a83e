"""Tiny random IP-Adapters, in the names that they are published with, and the image encoders that they look through."""

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

HIDDEN, PROJECTED = 32, 24


def save_encoder(folder):
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=37,
        projection_dim=PROJECTED,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=30,
        patch_size=15,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def attentions(unet, *, generator):
    processors = [name for name in unet.attn_processors if "attn2" in name]
    width = unet.config.cross_attention_dim
    for place, name in enumerate(processors):
        channels = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
        for layer in ("to_k_ip", "to_v_ip"):
            tensor = torch.randn(channels, width, generator=generator)
            yield f"ip_adapter.{2 * place + 1}.{layer}.weight", tensor


def plain(unet, *, projected=PROJECTED):
    """The tensors of an adapter of the first kind, random."""
    generator, width = torch.Generator().manual_seed(0), unet.config.cross_attention_dim
    return {
        "image_proj.proj.weight": torch.randn(4 * width, projected, generator=generator),
        "image_proj.proj.bias": torch.zeros(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    } | dict(attentions(unet, generator=generator))


def save_siglip(folder):
    torch.manual_seed(0)
    config = SiglipVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=30,
        patch_size=15,
    )
    SiglipVisionModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 30, "width": 30}).save_pretrained(folder)
    return folder


def of_flux(transformer, *, projected=PROJECTED, blocks=None):
    """The tensors of an adapter for FLUX.1 or Chroma, random, as XLabs writes them."""
    config = transformer.config
    width, inner = config.joint_attention_dim, config.num_attention_heads * config.attention_head_dim
    shapes = {
        "ip_adapter_proj_model.proj.weight": (4 * width, projected),
        "ip_adapter_proj_model.proj.bias": (4 * width,),
        "ip_adapter_proj_model.norm.weight": (width,),
        "ip_adapter_proj_model.norm.bias": (width,),
    }
    for block in range(config.num_layers if blocks is None else blocks):
        for layer in ("k", "v"):
            name = f"double_blocks.{block}.processor.ip_adapter_double_stream_{layer}_proj"
            shapes |= {f"{name}.weight": (inner, width), f"{name}.bias": (inner,)}
    return _random(shapes)


def resampler(inner):
    """The shapes of the four layers by which adapters gather what they see in hidden states."""
    shapes = {}
    for layer in range(4):
        norms = (f"layers.{layer}.{each}" for each in ("0.norm1", "0.norm2", "1.0"))
        shapes |= {f"{norm}.{part}": (inner,) for norm in norms for part in ("weight", "bias")}
        shapes |= {
            f"layers.{layer}.0.to_q.weight": (inner, inner),
            f"layers.{layer}.0.to_kv.weight": (2 * inner, inner),
            f"layers.{layer}.0.to_out.weight": (inner, inner),
            f"layers.{layer}.1.1.weight": (4 * inner, inner),
            f"layers.{layer}.1.3.weight": (inner, 4 * inner),
        }
    return shapes


def of_sd3(transformer, *, hidden=HIDDEN, inner=64, blocks=None):
    """The tensors of an adapter for Stable Diffusion 3, random, as InstantX writes them."""
    config = transformer.config
    head, steps = config.attention_head_dim, 8
    width = head * config.num_attention_heads
    shapes = {"latents": (1, 4, inner), "proj_in.weight": (inner, hidden), "proj_out.weight": (width, inner)}
    shapes |= dict.fromkeys(("proj_out.bias", "norm_out.weight", "norm_out.bias"), (width,))
    shapes |= dict.fromkeys(("proj_in.bias", "time_embedding.linear_1.bias"), (inner,))
    shapes |= {"time_embedding.linear_1.weight": (inner, steps), "time_embedding.linear_2.weight": (inner, inner)}
    shapes |= {"time_embedding.linear_2.bias": (inner,)}
    shapes |= resampler(inner)
    for layer in range(4):
        shapes |= {f"layers.{layer}.2.1.weight": (4 * inner, inner), f"layers.{layer}.2.1.bias": (4 * inner,)}
    named = {f"image_proj.{name}": shape for name, shape in shapes.items()}
    many = len(transformer.attn_processors) if blocks is None else blocks
    for block in range(many):
        named |= {
            f"ip_adapter.{block}.norm_ip.linear.weight": (2 * width, inner),
            f"ip_adapter.{block}.norm_ip.linear.bias": (2 * width,),
            f"ip_adapter.{block}.to_k_ip.weight": (width, width),
            f"ip_adapter.{block}.to_v_ip.weight": (width, width),
        }
        named |= {f"ip_adapter.{block}.{norm}.weight": (head,) for norm in ("norm_q", "norm_k", "norm_ip_k")}
    return _random(named)


def _random(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def save(folder, family, pipeline):
    """Save an adapter for the tiny pipeline of `family` as `shown.safetensors`, with its encoder beside it."""
    made, save_eye = KINDS.get(family, (plain, save_encoder))
    save_eye(folder / "image_encoder")
    denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    save_file(made(denoiser), folder / "shown.safetensors")
    return folder


KINDS = {
    "flux": (of_flux, save_encoder),
    "flux-schnell": (of_flux, save_encoder),
    "chroma": (of_flux, save_encoder),
    "sd3": (of_sd3, save_siglip),
}
