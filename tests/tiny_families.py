"""Tiny random models of the real architectures, for families that stand in no other test than all families' own."""

from pathlib import Path

from imggen.engine import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AdaptiveProjectedMixGuidance,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    UniPCMultistepScheduler,
)
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    ByT5Tokenizer,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from tests.tiny_parts import (  # noqa: E402
    clip_config,
    clip_tokenizer,
    letters,
    llama_tokenizer,
    qwen_tokenizer,
    shifted_autoencoder,
    t5_encoder,
    t5_tokenizer,
)

MISTRAL_CHAT = (
    "{% for each in messages %}[{{ each.role }}]{% for part in each.content %}{{ part.text }}{% endfor %}"
    "[/{{ each.role }}]{% endfor %}"
)


def pixtral_processor():
    words = letters("<unk>", "<s>", "</s>", "<pad>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")
    backend = Tokenizer(models.BPE(words, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
        model_max_length=2048,
    )
    return PixtralProcessor(image_processor=PixtralImageProcessor(), tokenizer=tokenizer, chat_template=MISTRAL_CHAT)


def flux2(_: Path):
    torch.manual_seed(0)
    processor = pixtral_processor()
    # The pipeline reads the hidden states before layers 11, 21 and 31.
    text = {
        "model_type": "mistral",
        "vocab_size": len(processor.tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 30,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 1024,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    encoder = Mistral3Config(text_config=text, vision_config=vision, image_token_index=4)
    vae = AutoencoderKLFlux2(
        block_out_channels=(16, 16, 16, 32), latent_channels=4, layers_per_block=1, norm_num_groups=8, sample_size=64
    ).eval()
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    return Flux2Pipeline(
        transformer=Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * 16,
            axes_dims_rope=(4, 4, 4, 4),
        ).eval(),
        vae=vae,
        text_encoder=Mistral3ForConditionalGeneration(encoder).eval(),
        tokenizer=processor,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def small_autoencoder(**changes):
    """Return an autoencoder for families that make large pictures only."""
    return shifted_autoencoder(
        block_out_channels=(4, 4, 4, 8), norm_num_groups=4, layers_per_block=1, sample_size=1024, **changes
    )


def hidream(root: Path, scheduler=None):
    torch.manual_seed(0)
    llama = llama_tokenizer()
    encoder = LlamaConfig(
        vocab_size=len(llama),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        # The pipeline asks for attention maps, which no other implementation gives.
        attn_implementation="eager",
    )
    clip = {"max_position_embeddings": 248}
    return HiDreamImagePipeline(
        transformer=HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            caption_channels=(32, 16),
            text_emb_dim=64,
            axes_dims_rope=(4, 2, 2),
            max_resolution=(128, 128),
            llama_layers=(0, 1),
        ).eval(),
        vae=small_autoencoder(),
        text_encoder=CLIPTextModelWithProjection(clip_config(**clip)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config(**clip)).eval(),
        text_encoder_3=t5_encoder(),
        text_encoder_4=LlamaForCausalLM(encoder).eval(),
        tokenizer=clip_tokenizer(root),
        tokenizer_2=clip_tokenizer(root),
        tokenizer_3=t5_tokenizer(),
        tokenizer_4=llama,
        scheduler=scheduler
        or UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )


def hidream_distilled(root: Path):
    return hidream(root, FlowMatchLCMScheduler(shift=6.0))


def hunyuan_image(_: Path, *, distilled=False):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16}
    encoder = Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    glyphs = T5Config(d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, vocab_size=384)
    return HunyuanImagePipeline(
        transformer=HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=16,
            text_embed_2_dim=32,
            rope_axes_dim=(8, 8),
            guidance_embeds=distilled,
            use_meanflow=distilled,
        ).eval(),
        vae=AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32,) * 6,
            layers_per_block=1,
            spatial_compression_ratio=32,
            sample_size=64,
            scaling_factor=0.75,
        ).eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(encoder).eval(),
        text_encoder_2=T5EncoderModel(glyphs).eval(),
        tokenizer=tokenizer,
        tokenizer_2=ByT5Tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0 if distilled else 5.0),
        guider=None if distilled else AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=5),
        ocr_guider=None if distilled else AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=38),
    )


def hunyuan_image_distilled(root: Path):
    return hunyuan_image(root, distilled=True)


BUILDERS = {
    "flux2": flux2,
    "hidream": hidream,
    "hidream-distilled": hidream_distilled,
    "hunyuan-image": hunyuan_image,
    "hunyuan-image-distilled": hunyuan_image_distilled,
}
