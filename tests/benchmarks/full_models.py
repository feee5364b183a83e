"""Models of the real architectures at full width, with random weights in bfloat16.

The configs are those that the published models state in their `config.json`; what a transformer or a text encoder
repeats is cut to a few layers. Vocabularies are those of the tiny models, since their tokenizers have to fit.
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests import tiny_parts

CLIP = {
    "vocab_size": tiny_parts.VOCABULARY,
    "bos_token_id": tiny_parts.VOCABULARY - 2,
    "eos_token_id": tiny_parts.VOCABULARY - 1,
    "pad_token_id": tiny_parts.VOCABULARY - 1,
}
LATENT_4 = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4}
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
LATENT_16 = LATENT_4 | {
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "shift_factor": 0.0609,
    "scaling_factor": 1.5305,
}


def build(name: str, root: Path) -> Any:
    """Return the pipeline called `name` of MODELS."""
    root.mkdir(parents=True, exist_ok=True)
    with _bfloat16():
        return MODELS[name](root)


@contextmanager
def _bfloat16() -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _filled(module: torch.nn.Module) -> Any:
    """Return `module` with weights that keep the size of what goes through them."""
    with torch.no_grad():
        for name, each in module.named_parameters():
            if each.ndim < 2:
                each.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                each.normal_(0, 1 / math.sqrt(max(1, each[0].numel())))
    return module.eval()


def _empty(make: Callable[[], torch.nn.Module]) -> Any:
    # Its own way to draw the weights of a whole U-Net takes minutes.
    with torch.device("meta"):
        module = make()
    return _filled(module.to(torch.bfloat16).to_empty(device="cpu"))


def _autoencoder(**config: Any) -> Any:
    return _empty(lambda: diffusers.AutoencoderKL(**BLOCKS, **config))


def _clip(kind: Any, width: int, heads: int, layers: int) -> Any:
    config = transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        projection_dim=width,
        **CLIP,
    )
    return _filled(kind(config))


def _t5() -> Any:
    config = transformers.T5Config(
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=1,
        num_heads=64,
        vocab_size=110,
        feed_forward_proj="gated-gelu",
    )
    return _filled(transformers.T5EncoderModel(config))


def stable_diffusion(root: Path) -> Any:
    return diffusers.StableDiffusionPipeline(
        unet=_empty(lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)),
        vae=_autoencoder(sample_size=512, **LATENT_4),
        text_encoder=_clip(transformers.CLIPTextModel, 768, 12, 12),
        tokenizer=tiny_parts.clip_tokenizer(root),
        scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(root: Path) -> Any:
    config = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    return diffusers.StableDiffusionXLPipeline(
        unet=_empty(lambda: diffusers.UNet2DConditionModel(**config)),
        vae=_autoencoder(sample_size=1024, scaling_factor=0.13025, **LATENT_4),
        text_encoder=_clip(transformers.CLIPTextModel, 768, 12, 2),
        text_encoder_2=_clip(transformers.CLIPTextModelWithProjection, 1280, 20, 2),
        tokenizer=tiny_parts.clip_tokenizer(root),
        tokenizer_2=tiny_parts.clip_tokenizer(root),
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def flux(root: Path) -> Any:
    return diffusers.FluxPipeline(
        transformer=_filled(diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=2, guidance_embeds=True)),
        vae=_autoencoder(sample_size=1024, **LATENT_16),
        text_encoder=_clip(transformers.CLIPTextModel, 768, 12, 2),
        text_encoder_2=_t5(),
        tokenizer=tiny_parts.clip_tokenizer(root),
        tokenizer_2=tiny_parts.t5_tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def stable_diffusion_3(root: Path) -> Any:
    return diffusers.StableDiffusion3Pipeline(
        transformer=_filled(
            diffusers.SD3Transformer2DModel(
                sample_size=128,
                num_layers=2,
                num_attention_heads=24,
                attention_head_dim=64,
                caption_projection_dim=1536,
                joint_attention_dim=4096,
                pos_embed_max_size=192,
            )
        ),
        vae=_autoencoder(sample_size=1024, **LATENT_16),
        text_encoder=_clip(transformers.CLIPTextModelWithProjection, 768, 12, 2),
        text_encoder_2=_clip(transformers.CLIPTextModelWithProjection, 1280, 20, 2),
        text_encoder_3=_t5(),
        tokenizer=tiny_parts.clip_tokenizer(root),
        tokenizer_2=tiny_parts.clip_tokenizer(root),
        tokenizer_3=tiny_parts.t5_tokenizer(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def pixart_sigma(_: Path) -> Any:
    return diffusers.PixArtSigmaPipeline(
        transformer=_filled(
            diffusers.PixArtTransformer2DModel(
                sample_size=128,
                num_layers=2,
                caption_channels=4096,
                interpolation_scale=2,
                use_additional_conditions=False,
            )
        ),
        vae=_autoencoder(sample_size=512, scaling_factor=0.13025, **LATENT_4),
        text_encoder=_t5(),
        tokenizer=tiny_parts.t5_tokenizer(),
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


def sana(_: Path) -> Any:
    tokenizer = tiny_parts.gemma_tokenizer()
    kinds = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    config = transformers.Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=2304,
        intermediate_size=9216,
        num_hidden_layers=1,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
    )
    return diffusers.SanaPipeline(
        transformer=_filled(diffusers.SanaTransformer2DModel(num_layers=2)),
        vae=_filled(
            diffusers.AutoencoderDC(
                latent_channels=32,
                attention_head_dim=32,
                encoder_block_types=kinds,
                decoder_block_types=kinds,
                encoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
                decoder_block_out_channels=(128, 256, 512, 512, 1024, 1024),
                encoder_layers_per_block=(2, 2, 2, 3, 3, 3),
                decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
                encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
                decoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
                upsample_block_type="interpolate",
                downsample_block_type="Conv",
                scaling_factor=0.41407,
            )
        ),
        text_encoder=_filled(transformers.Gemma2Model(config)),
        tokenizer=tokenizer,
        scheduler=diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def z_image(_: Path) -> Any:
    tokenizer = tiny_parts.qwen_tokenizer()
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=2,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=1024,
    )
    return diffusers.ZImagePipeline(
        transformer=_filled(diffusers.ZImageTransformer2DModel(n_layers=2, n_refiner_layers=1)),
        vae=_autoencoder(sample_size=1024, **LATENT_16),
        text_encoder=_filled(transformers.Qwen3Model(config)),
        tokenizer=tokenizer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def qwen_image(_: Path) -> Any:
    tokenizer = tiny_parts.qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 1,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_scaling": {"rope_type": "default", "mrope_section": [16, 24, 24]},
    }
    vision = {"depth": 1, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    encoder = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    return diffusers.QwenImagePipeline(
        transformer=_filled(diffusers.QwenImageTransformer2DModel(num_layers=2)),
        vae=_filled(diffusers.AutoencoderKLQwenImage()),
        text_encoder=_filled(transformers.Qwen2_5_VLForConditionalGeneration(encoder)),
        tokenizer=tokenizer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


MODELS: dict[str, Callable[[Path], Any]] = {
    "sd15": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "flux": flux,
    "sd3": stable_diffusion_3,
    "pixart-sigma": pixart_sigma,
    "sana": sana,
    "z-image": z_image,
    "qwen-image": qwen_image,
}
