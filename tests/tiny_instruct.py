"""Tiny random models of the real architectures that edit pictures by an instruction."""

from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    DDIMScheduler,
    EulerDiscreteScheduler,
    Kandinsky5I2IPipeline,
    Kandinsky5Transformer3DModel,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, Qwen2VLImageProcessor  # noqa: E402

from tests import tiny_families  # noqa: E402
from tests.tiny_parts import autoencoder, clip_config, clip_tokenizer, unet  # noqa: E402


def instruct_pix2pix(root: Path):
    torch.manual_seed(0)
    return StableDiffusionInstructPix2PixPipeline(
        unet=unet(in_channels=8),
        vae=autoencoder(),
        text_encoder=CLIPTextModel(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def instruct_pix2pix_xl(root: Path):
    torch.manual_seed(0)
    return StableDiffusionXLInstructPix2PixPipeline(
        unet=unet(
            in_channels=8,
            cross_attention_dim=64,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,
        ),
        vae=autoencoder(),
        text_encoder=CLIPTextModel(clip_config()).eval(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        tokenizer_2=clip_tokenizer(root),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def kandinsky5_edit(root: Path):
    parts = tiny_families.kandinsky5(root).components
    # It sees the picture's latents beside those that it draws.
    config = dict(parts["transformer"].config)
    transformer = tiny_families.awaken(Kandinsky5Transformer3DModel.from_config(config, visual_cond=True)).eval()
    parts["tokenizer"].image_processor = Qwen2VLImageProcessor(
        size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    )
    return Kandinsky5I2IPipeline(**parts | {"transformer": transformer})


BUILDERS = {
    "kandinsky5-edit": kandinsky5_edit,
    "sd-instruct-pix2pix": instruct_pix2pix,
    "sdxl-instruct-pix2pix": instruct_pix2pix_xl,
}
