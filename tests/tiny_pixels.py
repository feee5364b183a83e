"""Tiny random models of the families that draw by other means: with codes or without an autoencoder at all."""

from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AmusedPipeline,
    AmusedScheduler,
    DDIMScheduler,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    IFPipeline,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    LDMTextToImagePipeline,
    LuminaNextDiT2DModel,
    LuminaPipeline,
    PRXPipeline,
    PRXPixelPipeline,
    PRXTransformer2DModel,
    UNet2DConditionModel,
    UVit2DModel,
    VQModel,
)
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel  # noqa: E402
from tokenizers import processors  # noqa: E402
from transformers import (  # noqa: E402
    BertTokenizer,
    CLIPTextModelWithProjection,
    GemmaConfig,
    GemmaModel,
    Qwen3VLTextConfig,
    Qwen3VLTextModel,
    T5GemmaConfig,
)
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder  # noqa: E402

from tests.tiny_parts import (  # noqa: E402
    autoencoder,
    clip_config,
    clip_tokenizer,
    deep_autoencoder,
    gemma_tokenizer,
    qwen_tokenizer,
    shifted_autoencoder,
    t5_encoder,
    t5_tokenizer,
    unet,
)


def kandinsky3(_: Path):
    torch.manual_seed(0)
    return Kandinsky3Pipeline(
        unet=Kandinsky3UNet(
            time_embedding_dim=16,
            groups=2,
            attention_head_dim=4,
            # Fewer do not fit together.
            layers_per_block=3,
            block_out_channels=(8, 16),
            cross_attention_dim=8,
            encoder_hid_dim=32,
        ).eval(),
        movq=quantiser(),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        scheduler=DDPMScheduler(),
    )


def amused(root: Path):
    torch.manual_seed(0)
    transformer = UVit2DModel(
        hidden_size=16,
        cond_embed_dim=32,
        micro_cond_encode_dim=4,
        micro_cond_embed_dim=20,
        encoder_hidden_size=32,
        vocab_size=32,
        codebook_size=31,
        in_channels=8,
        block_out_channels=8,
        num_res_blocks=1,
        downsample=True,
        upsample=True,
        block_num_heads=1,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        sample_size=4,
    ).eval()
    # As it is initialised, all tokens are about as likely, whatever it is told.
    for name, each in transformer.named_parameters():
        if each.ndim > 1:
            each.data *= 40 if name == "mlm_layer.conv2.weight" else 3
    return AmusedPipeline(
        transformer=transformer,
        vqvae=VQModel(
            block_out_channels=(8,) * 5,
            down_block_types=("DownEncoderBlock2D",) * 5,
            up_block_types=("UpDecoderBlock2D",) * 5,
            latent_channels=8,
            num_vq_embeddings=31,
            norm_num_groups=4,
            mid_block_add_attention=False,
            lookup_from_codebook=True,
        ).eval(),
        text_encoder=CLIPTextModelWithProjection(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        scheduler=AmusedScheduler(mask_token_id=31),
    )


def deepfloyd_if(_: Path):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        layers_per_block=1,
        # Some norms come in groups of 32.
        block_out_channels=(32, 32),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        in_channels=3,
        out_channels=6,
        cross_attention_dim=32,
        encoder_hid_dim=32,
        attention_head_dim=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
        act_fn="gelu",
    ).eval()
    tokenizer = t5_tokenizer()
    tokenizer.model_max_length = 77
    return IFPipeline(
        unet=unet,
        text_encoder=t5_encoder(),
        tokenizer=tokenizer,
        scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2",
            thresholding=True,
            dynamic_thresholding_ratio=0.95,
            sample_max_value=1.5,
            variance_type="learned_range",
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def latent_diffusion(_: Path):
    torch.manual_seed(0)
    letters = [chr(number) for number in range(97, 123)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{each}" for each in letters)]
    config = LDMBertConfig(
        vocab_size=len(words),
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        head_dim=8,
        d_model=32,
    )
    return LDMTextToImagePipeline(
        vqvae=autoencoder(),
        bert=LDMBertModel(config).eval(),
        tokenizer=BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=77),
        unet=unet(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
    )


def quantiser():
    """Return an autoencoder as Kandinsky's: norms in space, which come in groups of 32."""
    return VQModel(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=8,
        norm_num_groups=4,
        norm_type="spatial",
    ).eval()


def prx(_: Path, vae=None, patch_size=2):
    torch.manual_seed(0)
    tokenizer = gemma_tokenizer()
    tokenizer.model_max_length = 256
    return PRXPipeline(
        transformer=prx_transformer(in_channels=4, patch_size=patch_size, context_in_dim=8),
        vae=vae or shifted_autoencoder(),
        text_encoder=t5gemma_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        default_sample_size=64,
    )


def lumina_next(_: Path):
    torch.manual_seed(0)
    tokenizer = gemma_tokenizer()
    # Of no words at all the model would make NaN; its tokenizer always has one token before them.
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    encoder = GemmaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = LuminaNextDiT2DModel(
        sample_size=8,
        hidden_size=16,
        num_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        cross_attention_dim=16,
    ).eval()
    # As it is initialised, neither the prompt nor the time has a say.
    for each in transformer.parameters():
        if not each.any():
            torch.nn.init.normal_(each, std=0.2)
    return LuminaPipeline(
        transformer=transformer,
        vae=autoencoder(),
        text_encoder=GemmaModel(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def prx_deep(root: Path):
    return prx(root, deep_autoencoder(), 1)


def prx_pixel(_: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    encoder = Qwen3VLTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=512,
    )
    return PRXPixelPipeline(
        transformer=prx_transformer(
            in_channels=3, patch_size=16, context_in_dim=8, bottleneck_size=16, resolution_embeds=True
        ),
        text_encoder=Qwen3VLTextModel(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        default_sample_size=64,
    )


def prx_transformer(**changes):
    transformer = PRXTransformer2DModel(hidden_size=16, num_heads=2, depth=1, axes_dim=[4, 4], **changes).eval()
    # As it is initialised, neither the prompt nor the time has a say.
    for each in transformer.parameters():
        if not each.any():
            torch.nn.init.normal_(each, std=0.2)
    return transformer


def t5gemma_encoder(tokenizer):
    module = {
        "vocab_size": len(tokenizer),
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    config = T5GemmaConfig(encoder=module, decoder=module, vocab_size=len(tokenizer))
    encoder = T5GemmaEncoder(config.encoder).eval()

    def save(folder, **options):
        T5GemmaEncoder.save_pretrained(encoder, folder, **options)
        # diffusers' loader takes the encoder's config out of the whole model's.
        config.save_pretrained(folder)

    encoder.save_pretrained = save
    return encoder


BUILDERS = {
    "amused": amused,
    "deepfloyd-if": deepfloyd_if,
    "kandinsky3": kandinsky3,
    "ldm": latent_diffusion,
    "lumina-next": lumina_next,
    "prx": prx,
    "prx-dc-ae": prx_deep,
    "prx-pixel": prx_pixel,
}
