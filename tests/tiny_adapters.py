"""Tiny random IP-Adapters and the image encoder that they look through."""

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

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
