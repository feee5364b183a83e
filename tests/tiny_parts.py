"""The parts that tiny random models share: tokenizers, text encoders, autoencoders, denoisers."""

import json
from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

from diffusers import (  # noqa: E402 - reads the environment that was just prepared
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    LlamaTokenizer,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode  # noqa: E402

VOCABULARY = 514
CHAT = (
    "{% for each in messages %}<|im_start|>{{ each.role }}\n{{ each.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What a Qwen that sees calls the tokens around and in place of a picture.
VISION_TOKENS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}


def clip_tokenizer(root: Path):
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{each}</w>" for each in letters), "<|startoftext|>", "<|endoftext|>"]
    place = root / "clip-tokenizer"
    place.mkdir(exist_ok=True)
    (place / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(place / "vocab.json"), str(place / "merges.txt"), model_max_length=77)


def t5_tokenizer():
    letters = [chr(number) for number in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((each, -3.0) for each in letters)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return T5TokenizerFast(tokenizer_object=backend, extra_ids=4, model_max_length=512)


def qwen_tokenizer():
    words = [*bytes_to_unicode().values(), "<|endoftext|>"]
    return Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        extra_special_tokens=["<|im_start|>", "<|im_end|>", *VISION_TOKENS.values()],
        model_max_length=1024,
        chat_template=CHAT,
    )


def letters(*special):
    words = (*special, "▁", "\n", *(chr(number) for number in range(33, 127)))
    return {word: number for number, word in enumerate(words)}


def gemma_tokenizer():
    vocabulary = letters("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    return GemmaTokenizer(vocab=vocabulary, merges=[], model_max_length=2048)


def llama_tokenizer():
    vocabulary = letters("<unk>", "<s>", "</s>")
    return LlamaTokenizer(vocab=vocabulary, merges=[], model_max_length=512, pad_token="</s>")


def gemma_encoder(tokenizer, layers=1):
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Gemma2Model(config).eval()


def clip_config(**changes):
    return CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        vocab_size=VOCABULARY,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
        pad_token_id=VOCABULARY - 1,
        **changes,
    )


def unet(**changes):
    return UNet2DConditionModel(
        **{
            "sample_size": 8,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
            "norm_num_groups": 8,
        }
        | changes
    ).eval()


def autoencoder(**changes):
    return AutoencoderKL(
        **{
            "block_out_channels": (16, 16, 16, 32),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "latent_channels": 4,
            "norm_num_groups": 8,
            "sample_size": 64,
        }
        | changes
    ).eval()


def shifted_autoencoder(**changes):
    """Return an autoencoder as those of FLUX.1 and of what came after it."""
    return autoencoder(
        use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5, **changes
    )


def deep_autoencoder():
    """Return an autoencoder of six levels, as those of Sana are: 32 pixels to a latent."""
    kinds = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    scales = ((), (), (), (5,), (5,), (5,))
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=kinds,
        decoder_block_types=kinds,
        encoder_block_out_channels=(8,) * 6,
        decoder_block_out_channels=(8,) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        upsample_block_type="interpolate",
        downsample_block_type="Conv",
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    ).eval()


def film_autoencoder():
    """Return an autoencoder that draws films, as those of Qwen-Image are."""
    return AutoencoderKLQwenImage(
        base_dim=2,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=0,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 1.0, 1.5, 2.0],
    ).eval()


def t5_encoder(width=32):
    return T5EncoderModel(T5Config(d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, vocab_size=110)).eval()
