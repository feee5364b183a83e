"""Tiny random ControlNets of the real classes, for the tiny models of `tiny_models`."""

import torch
from diffusers import (
    ControlNetModel,
    FluxControlNetModel,
    HunyuanDiT2DControlNetModel,
    HunyuanDiT2DModel,
    QwenImageControlNetModel,
    SanaControlNetModel,
    SD3ControlNetModel,
    ZImageControlNetModel,
)

NAMES = ("_class_name", "_diffusers_version", "_name_or_path")


def build(family, pipeline, *, seed=0, **changes):
    """Return a ControlNet for the tiny pipeline, whose connections are not zero as those of an untrained one."""
    torch.manual_seed(seed)
    network = BUILDERS[family](pipeline, changes).eval()
    with torch.no_grad():
        for each in network.parameters():
            if not each.any():
                torch.nn.init.normal_(each, std=0.3)
    return network


def save(folder, family, pipeline, **changes):
    """Save a ControlNet for the tiny pipeline into the folder, and return that."""
    build(family, pipeline, **changes).save_pretrained(folder)
    return folder


def _like(network_class, denoiser, changes, *names):
    config = {name: value for name, value in denoiser.config.items() if name not in NAMES}
    taken = {name: config[name] for name in names}
    return network_class(**taken | changes)


def _unet(pipeline, changes):
    network = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    return ControlNetModel.from_config(dict(network.config) | changes) if changes else network


def _flux(pipeline, changes):
    names = ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim")
    more = ("pooled_projection_dim", "axes_dims_rope", "guidance_embeds")
    settings = {"patch_size": 1, "num_layers": 1, "num_single_layers": 1} | changes
    return _like(FluxControlNetModel, pipeline.transformer, settings, *names, *more)


def _sd3(pipeline, changes):
    names = ("in_channels", "out_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim")
    more = ("caption_projection_dim", "pooled_projection_dim", "sample_size", "pos_embed_max_size", "qk_norm")
    settings = {"num_layers": 1} | changes
    return _like(SD3ControlNetModel, pipeline.transformer, settings, *names, *more)


def _qwen(pipeline, changes):
    names = ("in_channels", "out_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim")
    settings = {"num_layers": 1} | changes
    return _like(QwenImageControlNetModel, pipeline.transformer, settings, *names, "axes_dims_rope")


def _z_image(pipeline, changes):
    names = ("all_patch_size", "all_f_patch_size", "dim", "n_heads", "n_kv_heads", "n_refiner_layers")
    settings = {
        "control_layers_places": [0],
        "control_refiner_layers_places": [0],
        "control_in_dim": pipeline.transformer.config.in_channels,
    }
    return _like(ZImageControlNetModel, pipeline.transformer, settings | changes, *names)


def _sana(pipeline, changes):
    names = ("in_channels", "out_channels", "attention_head_dim", "num_attention_heads", "caption_channels")
    more = ("cross_attention_dim", "cross_attention_head_dim", "num_cross_attention_heads", "sample_size", "patch_size")
    settings = {"num_layers": 1} | changes
    return _like(SanaControlNetModel, pipeline.transformer, settings, *names, *more)


def deepened(pipeline):
    """Return the tiny HunyuanDiT with as many layers as a ControlNet needs to have a say."""
    torch.manual_seed(0)
    config = dict(pipeline.transformer.config) | {"num_layers": 6}
    pipeline.register_modules(transformer=HunyuanDiT2DModel.from_config(config).eval())
    return pipeline


def _hunyuan_dit(pipeline, changes):
    names = ("in_channels", "attention_head_dim", "num_attention_heads", "cross_attention_dim", "hidden_size")
    more = ("cross_attention_dim_t5", "pooled_projection_dim", "sample_size", "patch_size", "text_len", "text_len_t5")
    settings = {"transformer_num_layers": 6} | changes
    return _like(HunyuanDiT2DControlNetModel, pipeline.transformer, settings, *names, *more)


BUILDERS = {
    "sd": _unet,
    "sdxl": _unet,
    "flux": _flux,
    "sd3": _sd3,
    "qwen-image": _qwen,
    "z-image": _z_image,
    "z-image-turbo": _z_image,
    "sana": _sana,
    "hunyuan-dit": _hunyuan_dit,
}
