"""Tiny random models of families that were trained on long or structured captions."""

from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AutoencoderKLWan,
    BriaFibo2Pipeline,
    BriaFibo2Transformer2DModel,
    BriaFiboEditPipeline,
    BriaFiboPipeline,
    BriaFiboTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Ideogram4Pipeline,
    Ideogram4Transformer2DModel,
    NucleusMoEImagePipeline,
    NucleusMoEImageTransformer2DModel,
)
from transformers import LlamaTokenizer, SmolLM3Config, SmolLM3ForCausalLM  # noqa: E402

from tests.tiny_editors import qwen3_processor, qwen3_seeing  # noqa: E402
from tests.tiny_families import awaken, flux2_autoencoder  # noqa: E402
from tests.tiny_parts import film_autoencoder, letters, qwen_tokenizer  # noqa: E402

# The token that FIBO's pipelines read in place of no words, whatever the tokenizer.
_BEGIN = 128_000


def wan_autoencoder():
    """Return an autoencoder as that of Wan 2.2, which lays two by two pixels together first: 16 to a latent."""
    return AutoencoderKLWan(
        base_dim=2,
        decoder_base_dim=2,
        z_dim=4,
        num_res_blocks=1,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[0.5, 1.0, 1.5, 2.0],
    ).eval()


def long_tokenizer():
    """Return a tokenizer of single letters with as many tokens as the encoder must have."""
    vocabulary = letters("<unk>", "<s>", "</s>")
    vocabulary |= {f"<{number}>": number for number in range(len(vocabulary), _BEGIN + 1)}
    return LlamaTokenizer(vocab=vocabulary, merges=[], model_max_length=4096, pad_token="</s>")


def fibo(_: Path, pipeline=BriaFiboPipeline):
    torch.manual_seed(0)
    encoder = SmolLM3Config(
        vocab_size=_BEGIN + 1,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return pipeline(
        transformer=BriaFiboTransformer2DModel(
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
            text_encoder_dim=8,
        ).eval(),
        vae=wan_autoencoder(),
        text_encoder=SmolLM3ForCausalLM(encoder).eval(),
        tokenizer=long_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def fibo_edit(root: Path):
    return fibo(root, BriaFiboEditPipeline)


def fibo2(_: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    return BriaFibo2Pipeline(
        transformer=awaken(
            BriaFibo2Transformer2DModel(
                in_channels=4,
                dim=24,
                n_layers=1,
                n_refiner_layers=1,
                n_heads=1,
                cap_feat_dim=3 * 16,
                injection_layer_ids=(0,),
                perceiver_num_layers=1,
                axes_dims=(8, 8, 8),
            )
        ).eval(),
        # Where it looks at two pictures, it does so in a million pixels each.
        vae=flux2_autoencoder(),
        # The pipeline reads the hidden states before layers 6 to 36.
        text_encoder=qwen3_seeing(tokenizer, layers=35),
        processor=qwen3_processor(tokenizer, 256**2),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def ideogram4(_: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    qwen3_processor(tokenizer)

    def transformer():
        return awaken(
            Ideogram4Transformer2DModel(
                in_channels=16,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                intermediate_size=24,
                adaln_dim=8,
                # The pipeline reads 13 of the layers.
                llm_features_dim=13 * 16,
                mrope_section=(2, 2, 2),
            )
        ).eval()

    return Ideogram4Pipeline(
        transformer=transformer(),
        unconditional_transformer=transformer(),
        vae=flux2_autoencoder(),
        text_encoder=qwen3_seeing(tokenizer, layers=36).model,
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def nucleus(_: Path):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    transformer = NucleusMoEImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_heads=1,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
        dense_moe_strategy="leave_first_block_dense",
        num_experts=2,
        moe_intermediate_dim=16,
        capacity_factors=1.0,
    ).eval()
    for name, each in transformer.named_parameters():
        # Its constructor leaves them as the memory was.
        if "experts" in name:
            torch.nn.init.normal_(each, std=0.1)
    return NucleusMoEImagePipeline(
        transformer=transformer,
        vae=film_autoencoder(),
        # The pipeline reads the eighth layer from the end.
        text_encoder=qwen3_seeing(tokenizer, layers=9),
        processor=qwen3_processor(tokenizer),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


FROM_WORDS = {"fibo": fibo, "fibo2": fibo2, "ideogram4": ideogram4, "nucleus-image": nucleus}
"""Those that draw from words."""

BUILDERS = {**FROM_WORDS, "fibo-edit": fibo_edit}
