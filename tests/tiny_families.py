"""Tiny random models of the real architectures, for families that stand in no other test than all families' own."""

from pathlib import Path

from imggen.engine import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralImageProcessor,
    PixtralProcessor,
    PreTrainedTokenizerFast,
)

from tests.tiny_parts import letters  # noqa: E402

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


BUILDERS = {
    "flux2": flux2,
}
