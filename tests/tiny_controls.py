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
    UNet2DConditionModel,
    ZImageControlNetModel,
)
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
)

MEASURED = {"size": {"height": 28, "width": 28}, "ensure_multiple_of": 14}
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


def save_depth(folder, network=None):
    """Save a tiny random network that measures depth into the folder, and return that."""
    torch.manual_seed(0)
    network = (network or depth_anything)().eval()
    with torch.no_grad():
        for each in network.parameters():
            torch.nn.init.normal_(each, std=0.3)
    network.save_pretrained(folder)
    # Without a backbone, it takes squares.
    keeps = isinstance(network, DepthAnythingForDepthEstimation)
    DPTImageProcessorPil(**MEASURED, keep_aspect_ratio=keeps).save_pretrained(folder)
    return folder


def depth_anything():
    settings = {"hidden_size": 16, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    backbone = Dinov2Config(
        **settings, num_hidden_layers=2, mlp_ratio=1, out_indices=[1, 2], reshape_hidden_states=False
    )
    sizes = {"neck_hidden_sizes": [8, 16], "fusion_hidden_size": 8, "head_hidden_size": 4}
    more = {"reassemble_hidden_size": 16, "reassemble_factors": [2, 1], "patch_size": 14}
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone, **sizes, **more))


def dense_prediction_transformer():
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 4}
    more = {"image_size": 28, "patch_size": 14, "backbone_out_indices": [0, 1, 2, 3]}
    neck = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}
    return DPTForDepthEstimation(DPTConfig(**sizes, **more, **neck, is_hybrid=False))


def _like(network_class, denoiser, changes, *names):
    config = {name: value for name, value in denoiser.config.items() if name not in NAMES}
    taken = {name: config[name] for name in names}
    return network_class(**taken | changes)


def _unet(pipeline, changes):
    # Those of Stable Diffusion, which are also for models that were taught their guidance.
    unet = UNet2DConditionModel.from_config(dict(pipeline.unet.config) | {"time_cond_proj_dim": None})
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
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
    "lcm": _unet,
}
