"""Tiny random models of the real architectures, for families that stand in no other test than all families' own."""

import importlib
import io
from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AdaptiveProjectedMixGuidance,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    BriaPipeline,
    BriaTransformer2DModel,
    CogVideoXDDIMScheduler,
    CogView3PlusPipeline,
    CogView3PlusTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    Kandinsky5T2IPipeline,
    Kandinsky5Transformer3DModel,
    Krea2Pipeline,
    Krea2Transformer2DModel,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    OmniGenPipeline,
    OmniGenTransformer2DModel,
    OvisImagePipeline,
    OvisImageTransformer2DModel,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
    UniPCMultistepScheduler,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig,
    BertModel,
    BertTokenizer,
    ByT5Tokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Mistral3Model,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLModel,
    T5Config,
    T5EncoderModel,
)

from tests.tiny_parts import (  # noqa: E402
    CHAT,
    VISION_TOKENS,
    autoencoder,
    clip_config,
    clip_tokenizer,
    deep_autoencoder,
    film_autoencoder,
    gemma_encoder,
    gemma_tokenizer,
    letters,
    llama_tokenizer,
    qwen_tokenizer,
    shifted_autoencoder,
    t5_encoder,
    t5_tokenizer,
    unet,
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


# Of an autoencoder for large pictures: what costs time is how many layers work on all of their pixels.
SMALL = {
    "block_out_channels": (4, 4, 4, 4),
    "norm_num_groups": 4,
    "layers_per_block": 0,
    "mid_block_add_attention": False,
}


def flux2_autoencoder():
    vae = AutoencoderKLFlux2(**SMALL, latent_channels=4, sample_size=64).eval()
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    return vae


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
        "num_attention_heads": 1,
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
        vae=flux2_autoencoder(),
        text_encoder=Mistral3ForConditionalGeneration(encoder).eval(),
        tokenizer=processor,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def small_autoencoder(**changes):
    """Return an autoencoder for families that make large pictures only."""
    return shifted_autoencoder(**{"sample_size": 1024} | SMALL | changes)


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
            layers_per_block=0,
            spatial_compression_ratio=32,
            sample_size=64,
            scaling_factor=0.75,
        ).eval(),
        text_encoder=qwen_seeing(tokenizer, layers=3),
        text_encoder_2=T5EncoderModel(glyphs).eval(),
        tokenizer=tokenizer,
        tokenizer_2=ByT5Tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0 if distilled else 5.0),
        guider=None if distilled else AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=5),
        ocr_guider=None if distilled else AdaptiveProjectedMixGuidance(adaptive_projected_guidance_start_step=38),
    )


def hunyuan_image_distilled(root: Path):
    return hunyuan_image(root, distilled=True)


def sana_sprint(_: Path):
    torch.manual_seed(0)
    tokenizer = gemma_tokenizer()
    return SanaSprintPipeline(
        transformer=SanaTransformer2DModel(
            sample_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
            guidance_embeds=True,
            qk_norm="rms_norm_across_heads",
        ).eval(),
        vae=deep_autoencoder(),
        text_encoder=gemma_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler=SCMScheduler(),
    )


def glm_tokenizer():
    words = letters("<unk>", "<s>", "</s>", "<pad>")
    backend = Tokenizer(models.BPE(words, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    # Even of no words it makes two tokens.
    backend.post_processor = processors.TemplateProcessing(
        single="<s> </s> $A", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", padding_side="left", model_max_length=2048
    )


def awaken(model):
    """Fill what training begins with at zero, so that words and times have an effect."""
    for each in model.parameters():
        if not each.any():
            torch.nn.init.normal_(each, std=0.3)
    return model


def cogview4(_: Path):
    torch.manual_seed(0)
    tokenizer = glm_tokenizer()
    encoder = GlmConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=3,
        eos_token_id=2,
    )
    return CogView4Pipeline(
        transformer=CogView4Transformer2DModel(
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=16,
            time_embed_dim=8,
            condition_dim=4,
            sample_size=8,
        ).eval(),
        vae=autoencoder(),
        text_encoder=GlmModel(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True, time_shift_type="linear"
        ),
    )


def qwen_seeing(tokenizer, layers=2):
    """Return the encoder of a Qwen that can see, for `tokenizer`."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16}
    special = {name: tokenizer.convert_tokens_to_ids(word) for name, word in VISION_TOKENS.items()}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **special)
    return Qwen2_5_VLForConditionalGeneration(config).eval()


def qwen_processor(tokenizer):
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT,
    )


def kandinsky5(root: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    return Kandinsky5T2IPipeline(
        transformer=awaken(
            Kandinsky5Transformer3DModel(
                in_visual_dim=4,
                out_visual_dim=4,
                in_text_dim=16,
                in_text_dim2=32,
                time_dim=16,
                model_dim=16,
                ff_dim=16,
                num_text_blocks=1,
                num_visual_blocks=1,
                axes_dims=(2, 2, 4),
            )
        ).eval(),
        vae=small_autoencoder(),
        text_encoder=qwen_seeing(tokenizer),
        tokenizer=qwen_processor(tokenizer),
        text_encoder_2=CLIPTextModel(clip_config()).eval(),
        tokenizer_2=clip_tokenizer(root),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def hunyuan_dit(_: Path):
    torch.manual_seed(0)
    words = [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *map(chr, range(97, 123)),
        *(f"##{chr(n)}" for n in range(97, 123)),
    ]
    bert = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
    )
    return HunyuanDiTPipeline(
        transformer=HunyuanDiT2DModel(
            sample_size=8,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            cross_attention_dim=32,
            cross_attention_dim_t5=32,
            pooled_projection_dim=16,
            hidden_size=16,
        ).eval(),
        vae=autoencoder(),
        text_encoder=BertModel(bert).eval(),
        text_encoder_2=t5_encoder(),
        tokenizer=BertTokenizer(vocab={word: number for number, word in enumerate(words)}, model_max_length=77),
        tokenizer_2=t5_tokenizer(),
        scheduler=DDPMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def ovis_image(_: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    encoder = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=1024,
    )
    return OvisImagePipeline(
        transformer=OvisImageTransformer2DModel(
            in_channels=16,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
        vae=small_autoencoder(),
        text_encoder=Qwen3Model(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def longcat_image(_: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    return LongCatImagePipeline(
        transformer=LongCatImageTransformer2DModel(
            # Its pipeline draws latents of sixteen channels, whatever the configs say.
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
        vae=small_autoencoder(latent_channels=16),
        text_encoder=qwen_seeing(tokenizer),
        tokenizer=tokenizer,
        text_processor=qwen_processor(tokenizer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def krea2(_: Path, *, is_distilled=False):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 2048,
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
    return Krea2Pipeline(
        transformer=awaken(
            Krea2Transformer2DModel(
                in_channels=16,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                num_key_value_heads=1,
                intermediate_size=24,
                timestep_embed_dim=16,
                text_hidden_dim=16,
                num_text_layers=2,
                text_num_attention_heads=2,
                text_num_key_value_heads=1,
                text_intermediate_size=24,
                num_layerwise_text_blocks=1,
                num_refiner_text_blocks=1,
                axes_dims_rope=(4, 6, 6),
            )
        ).eval(),
        vae=film_autoencoder(),
        text_encoder=Qwen3VLModel(Qwen3VLConfig(text_config=text, vision_config=vision)).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        text_encoder_select_layers=(1, 2),
        is_distilled=is_distilled,
    )


def krea2_turbo(root: Path):
    return krea2(root, is_distilled=True)


def glm_vocabulary(root: Path):
    """Write a vocabulary of single letters as ChatGLM's tokenizer reads it."""
    written = io.BytesIO()
    # Where this package is missing, diffusers has no Kolors.
    sentencepiece = importlib.import_module("sentencepiece")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(map(chr, range(97, 123)))] * 4),
        model_writer=written,
        model_type="char",
        vocab_size=32,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    place = root / "glm.model"
    place.write_bytes(written.getvalue())
    return str(place)


def kolors(root: Path):
    # Imported where torch's warnings are silenced: these modules compile with what it has deprecated.
    from diffusers import KolorsPipeline
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    torch.manual_seed(0)
    tokenizer = ChatGLMTokenizer(glm_vocabulary(root), model_max_length=256)
    config = ChatGLMConfig(
        num_layers=2,
        padded_vocab_size=len(tokenizer),
        hidden_size=16,
        ffn_hidden_size=24,
        kv_channels=8,
        num_attention_heads=2,
        seq_length=256,
        multi_query_attention=True,
        multi_query_group_num=1,
        add_qkv_bias=True,
        original_rope=True,
    )
    encoder = ChatGLMModel(config).eval()
    # Its constructor leaves them as the memory was.
    for each in encoder.parameters():
        torch.nn.init.normal_(each, std=0.2)
    return KolorsPipeline(
        unet=unet(
            cross_attention_dim=16,
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        vae=autoencoder(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        force_zeros_for_empty_prompt=False,
    )


def cogview3_plus(_: Path):
    torch.manual_seed(0)
    return CogView3PlusPipeline(
        transformer=awaken(
            CogView3PlusTransformer2DModel(
                in_channels=4,
                out_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                text_embed_dim=32,
                time_embed_dim=8,
                condition_dim=4,
                pos_embed_max_size=8,
                sample_size=8,
            )
        ).eval(),
        vae=autoencoder(),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        scheduler=CogVideoXDDIMScheduler(),
    )


def bria(_: Path):
    torch.manual_seed(0)
    return BriaPipeline(
        transformer=BriaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
        vae=small_autoencoder(),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def ernie_image(_: Path):
    torch.manual_seed(0)
    tokenizer = glm_tokenizer()
    text = {
        "model_type": "mistral",
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
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
    return ErnieImagePipeline(
        transformer=awaken(
            ErnieImageTransformer2DModel(
                hidden_size=32,
                num_attention_heads=2,
                num_layers=1,
                ffn_hidden_size=24,
                in_channels=16,
                out_channels=16,
                text_in_dim=16,
                rope_axes_dim=(4, 6, 6),
            )
        ).eval(),
        vae=flux2_autoencoder(),
        text_encoder=Mistral3Model(Mistral3Config(text_config=text, vision_config=vision)).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def omnigen(_: Path):
    torch.manual_seed(0)
    tokenizer = glm_tokenizer()
    return OmniGenPipeline(
        transformer=awaken(
            OmniGenTransformer2DModel(
                hidden_size=16,
                num_attention_heads=2,
                num_key_value_heads=2,
                intermediate_size=24,
                num_layers=1,
                pad_token_id=0,
                vocab_size=len(tokenizer),
                max_position_embeddings=1024,
                original_max_position_embeddings=1024,
                rope_scaling={"long_factor": [1] * 4, "short_factor": [1] * 4, "type": "su"},
                pos_embed_max_size=32,
                time_step_dim=16,
            )
        ).eval(),
        vae=autoencoder(**SMALL),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1),
    )


BUILDERS = {
    "omnigen": omnigen,
    "bria": bria,
    "cogview3-plus": cogview3_plus,
    "ernie-image": ernie_image,
    "cogview4": cogview4,
    "flux2": flux2,
    "hidream": hidream,
    "hidream-distilled": hidream_distilled,
    "hunyuan-dit": hunyuan_dit,
    "hunyuan-image": hunyuan_image,
    "hunyuan-image-distilled": hunyuan_image_distilled,
    "kandinsky5": kandinsky5,
    "kolors": kolors,
    "krea2": krea2,
    "krea2-turbo": krea2_turbo,
    "longcat-image": longcat_image,
    "ovis-image": ovis_image,
    "sana-sprint": sana_sprint,
}
