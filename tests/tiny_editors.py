"""Tiny random models of families that draw from words and by looking at pictures, all in one repository."""

from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AutoencoderKLQwenImage21,
    AutoencoderKLWan,
    AutoencoderTiny,
    DreamLiteMobilePipeline,
    DreamLitePipeline,
    DreamLiteUNetModel,
    FlowMatchEulerDiscreteScheduler,
    GlmImagePipeline,
    GlmImageTransformer2DModel,
    JoyImageEditPipeline,
    JoyImageEditPlusPipeline,
    JoyImageEditPlusTransformer3DModel,
    JoyImageEditTransformer3DModel,
    LongCatImageEditPipeline,
    LongCatImageTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    ByT5Tokenizer,
    GlmImageConfig,
    GlmImageForConditionalGeneration,
    GlmImageImageProcessor,
    GlmImageProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    T5Config,
    T5EncoderModel,
)

from tests.tiny_families import SMALL, awaken, qwen_processor, qwen_seeing, small_autoencoder  # noqa: E402
from tests.tiny_parts import VISION_TOKENS, autoencoder, letters, qwen_tokenizer  # noqa: E402

# What GLM-Image's first model may write, before the words that it reads.
CODES = 32
GLM_CHAT = (
    "{% for each in messages %}{% for part in each.content %}"
    "{% if part.type == 'image' %}<begin><image><end>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
QWEN_CHAT = (
    "{% for each in messages %}<|im_start|>{{ each.role }}\n"
    "{% if each.content is string %}{{ each.content }}{% else %}"
    "{% for part in each.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def glm_processor():
    written = [f"<{number}>" for number in range(CODES)]
    words = letters(*written, "<begin>", "<end>", "<image>", "<sop>", "<eop>", "<pad>", "<unk>")
    backend = Tokenizer(models.BPE(words, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    named = {"image_token": "<image>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<begin>",
        eos_token="<end>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
        model_max_length=4096,
    )
    images = GlmImageImageProcessor(
        patch_size=16, merge_size=1, temporal_patch_size=1, size={"shortest_edge": 512**2, "longest_edge": 2048**2}
    )
    return GlmImageProcessor(image_processor=images, tokenizer=tokenizer, chat_template=GLM_CHAT)


def glm_image(_: Path):
    torch.manual_seed(0)
    processor = glm_processor()
    place = processor.tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(processor.tokenizer),
        "vision_vocab_size": CODES,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "pad_token_id": place("<pad>"),
        "eos_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "image_size": 64}
    writer = GlmImageForConditionalGeneration(
        GlmImageConfig(
            text_config=text,
            vision_config=vision,
            vq_config={"embed_dim": 8, "num_embeddings": CODES, "latent_channels": 16},
            image_token_id=place("<image>"),
            image_start_token_id=place("<begin>"),
            image_end_token_id=place("<end>"),
        )
    ).eval()
    # As random models begin, they would write the same whatever they read.
    for each in (writer.lm_head, writer.model.language_model.embed_tokens):
        torch.nn.init.normal_(each.weight)
    glyphs = T5Config(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, vocab_size=384)
    return GlmImagePipeline(
        transformer=awaken(
            GlmImageTransformer2DModel(
                in_channels=4,
                out_channels=4,
                num_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                text_embed_dim=16,
                time_embed_dim=8,
                condition_dim=4,
                prior_vq_quantizer_codebook_size=CODES,
            )
        ).eval(),
        vae=autoencoder(
            **SMALL,
            use_quant_conv=False,
            use_post_quant_conv=False,
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[0.5, 1.0, 1.5, 2.0],
        ),
        text_encoder=T5EncoderModel(glyphs).eval(),
        tokenizer=ByT5Tokenizer(),
        vision_language_encoder=writer,
        processor=processor,
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )


def qwen3_processor(tokenizer, pixels=2048**2):
    """Return what reads pictures, of at most so many pixels, beside words."""
    tokenizer.chat_template = QWEN_CHAT
    images = Qwen2VLImageProcessor(patch_size=16, size={"shortest_edge": 64**2, "longest_edge": pixels})
    return Qwen3VLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=QWEN_CHAT,
    )


def qwen3_seeing(tokenizer, layers=1):
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "out_hidden_size": 16,
        "deepstack_visual_indexes": [],
        "num_position_embeddings": 16,
    }
    special = {name: tokenizer.convert_tokens_to_ids(word) for name, word in VISION_TOKENS.items()}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **special)).eval()


def qwen_image_21(_: Path, sample_sigmas=None):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    return QwenImage21Pipeline(
        transformer=QwenImage21Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            context_in_dim=16,
            axes_dims_rope=(4, 6, 6),
        ).eval(),
        vae=AutoencoderKLQwenImage21(
            base_dim=2,
            decoder_base_dim=2,
            z_dim=4,
            num_res_blocks=1,
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[0.5, 1.0, 1.5, 2.0],
        ).eval(),
        text_encoder=qwen3_seeing(tokenizer),
        processor=qwen3_processor(tokenizer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=sample_sigmas is None),
        sample_sigmas=sample_sigmas,
    )


def qwen_image_21_turbo(root: Path):
    return qwen_image_21(root, [1.0, 0.4])


def longcat_image_edit(_: Path, base_shift=0.5):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    processor = qwen_processor(tokenizer)
    # What is drawn is large, what is read of a picture need not be.
    processor.image_processor.size = {"shortest_edge": 56**2, "longest_edge": 112**2}
    return LongCatImageEditPipeline(
        transformer=LongCatImageTransformer2DModel(
            # Its pipeline draws latents of sixteen channels, whatever the configs say.
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=1,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(2, 2, 4),
        ).eval(),
        vae=small_autoencoder(latent_channels=16),
        text_encoder=qwen_seeing(tokenizer),
        tokenizer=tokenizer,
        text_processor=processor,
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=base_shift, max_shift=1.15, base_image_seq_len=256
        ),
    )


def longcat_image_edit_turbo(root: Path):
    return longcat_image_edit(root, base_shift=1.15)


def dreamlite(_: Path, pipeline=DreamLitePipeline):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    return pipeline(
        unet=DreamLiteUNetModel(
            block_out_channels=(8, 16, 16),
            layers_per_block=1,
            attention_head_dim=2,
            cross_attention_dim=16,
            norm_num_groups=4,
            use_linear_projection=True,
            encoder_hid_dim=16,
            encoder_hid_dim_type="text_proj_rms",
            addition_embed_type="time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16,
            ff_mult=1,
        ).eval(),
        vae=AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            num_encoder_blocks=(1, 1, 1, 1),
            num_decoder_blocks=(1, 1, 1, 1),
        ).eval(),
        text_encoder=qwen3_seeing(tokenizer),
        tokenizer=tokenizer,
        processor=qwen3_processor(tokenizer, pixels=128**2),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
    )


def dreamlite_mobile(root: Path):
    return dreamlite(root, DreamLiteMobilePipeline)


def joyimage_edit(_: Path, pipeline=JoyImageEditPipeline, transformer=JoyImageEditTransformer3DModel):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    return pipeline(
        transformer=transformer(
            in_channels=4,
            hidden_size=16,
            num_attention_heads=2,
            text_dim=16,
            mlp_width_ratio=1.0,
            num_layers=1,
            rope_dim_list=[2, 2, 4],
        ).eval(),
        vae=AutoencoderKLWan(
            base_dim=2,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=0,
            latents_mean=[0.1, -0.2, 0.3, 0.0],
            latents_std=[0.5, 1.0, 1.5, 2.0],
        ).eval(),
        text_encoder=qwen3_seeing(tokenizer),
        tokenizer=tokenizer,
        processor=qwen3_processor(tokenizer, pixels=128**2),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0),
    )


def joyimage_edit_plus(root: Path):
    return joyimage_edit(root, JoyImageEditPlusPipeline, JoyImageEditPlusTransformer3DModel)


BUILDERS = {
    "joyimage-edit": joyimage_edit,
    "joyimage-edit-plus": joyimage_edit_plus,
    "dreamlite": dreamlite,
    "dreamlite-mobile": dreamlite_mobile,
    "glm-image": glm_image,
    "longcat-image-edit": longcat_image_edit,
    "longcat-image-edit-turbo": longcat_image_edit_turbo,
    "qwen-image-2.1": qwen_image_21,
    "qwen-image-2.1-turbo": qwen_image_21_turbo,
}

FROM_WORDS = ("dreamlite", "dreamlite-mobile", "glm-image", "qwen-image-2.1")
"""Those of them that draw from words."""
