"""Tiny random models of the real architectures, built in memory and saved as diffusers folders."""

import inspect
from pathlib import Path

import pytest

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKLFlux2,
    AutoencoderTiny,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinKVPipeline,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    ZImageOmniPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker  # noqa: E402
from transformers import (  # noqa: E402
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Siglip2ImageProcessor,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests import tiny_captions, tiny_editors, tiny_families, tiny_instruct, tiny_pixels, tiny_staged  # noqa: E402
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
    llama_tokenizer,
    qwen_tokenizer,
    shifted_autoencoder,
    t5_encoder,
    t5_tokenizer,
    unet,
)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Return a function from a model's name (a key of BUILDERS) to its folder, which tests must not change."""
    root = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        place = root / name
        if not place.exists():
            with environment.quiet():
                BUILDERS[name](root).save_pretrained(place)
        return place

    return folder


def stable_diffusion(root: Path, vae=None):
    torch.manual_seed(0)
    return StableDiffusionPipeline(
        unet=unet(),
        vae=vae or autoencoder(),
        text_encoder=CLIPTextModel(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def with_safety_checker(root: Path):
    pipeline = stable_diffusion(root)
    config = CLIPConfig(
        projection_dim=32,
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 37,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 30,
            "patch_size": 15,
            "projection_dim": 32,
        },
    )
    checker = StableDiffusionSafetyChecker(config).eval()
    extractor = CLIPImageProcessor(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30})
    return StableDiffusionPipeline(**pipeline.components | {"safety_checker": checker, "feature_extractor": extractor})


def with_tiny_autoencoder(root: Path):
    torch.manual_seed(1)
    return stable_diffusion(
        root,
        AutoencoderTiny(
            encoder_block_out_channels=(16,) * 4,
            decoder_block_out_channels=(16,) * 4,
            num_encoder_blocks=(1, 1, 1, 1),
            num_decoder_blocks=(1, 1, 1, 1),
        ).eval(),
    )


def stable_diffusion_xl(root: Path):
    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        unet=unet(
            cross_attention_dim=64,
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
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


def stable_diffusion_xl_turbo(root: Path):
    parts = stable_diffusion_xl(root).components
    scheduler = EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="trailing")
    return StableDiffusionXLPipeline(**parts | {"scheduler": scheduler}, add_watermarker=False)


def stable_diffusion_turbo(root: Path):
    parts = stable_diffusion(root).components
    scheduler = EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="trailing")
    return StableDiffusionPipeline(**parts | {"scheduler": scheduler}, requires_safety_checker=False)


def latent_consistency(root: Path):
    parts = stable_diffusion(root).components
    changes = {"unet": unet(time_cond_proj_dim=16), "scheduler": LCMScheduler()}
    return LatentConsistencyModelPipeline(**parts | changes, requires_safety_checker=False)


def flux(root: Path, *, guidance_embeds=True, use_dynamic_shifting=True):
    torch.manual_seed(0)
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance_embeds,
        ).eval(),
        vae=shifted_autoencoder(),
        text_encoder=CLIPTextModel(clip_config()).eval(),
        text_encoder_2=t5_encoder(),
        tokenizer=clip_tokenizer(root),
        tokenizer_2=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=use_dynamic_shifting),
    )


def flux_schnell(root: Path):
    return flux(root, guidance_embeds=False, use_dynamic_shifting=False)


def flux_fill(root: Path):
    parts = flux(root).components
    # It sees the latents, those of what the mask leaves, and the mask with eight by eight pixels to a latent.
    transformer = FluxTransformer2DModel.from_config(
        dict(parts["transformer"].config), in_channels=16 + 16 + 4 * 64, out_channels=16
    ).eval()
    return FluxFillPipeline(**parts_of(FluxFillPipeline, parts) | {"transformer": transformer})


def flux_control(root: Path):
    parts = flux(root).components
    # It sees the latents, and those of the control picture.
    config = dict(parts["transformer"].config)
    transformer = FluxTransformer2DModel.from_config(config, in_channels=16 + 16, out_channels=16).eval()
    return FluxControlPipeline(**parts_of(FluxControlPipeline, parts) | {"transformer": transformer})


def parts_of(pipeline, parts):
    return {name: each for name, each in parts.items() if name in inspect.signature(pipeline.__init__).parameters}


def flux_kontext(root: Path):
    return FluxKontextPipeline(**flux(root).components)


def flux2_klein(_: Path, *, is_distilled=True):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    # The pipeline reads the hidden states before layers 10, 19 and 28.
    encoder = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=28,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=1024,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(16, 16, 16, 32), latent_channels=4, layers_per_block=1, norm_num_groups=8, sample_size=64
    ).eval()
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    return Flux2KleinPipeline(
        transformer=Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=3 * 16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ).eval(),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        is_distilled=is_distilled,
    )


def flux2_klein_base(root: Path):
    return flux2_klein(root, is_distilled=False)


def flux2_klein_kv(root: Path):
    return Flux2KleinKVPipeline(**flux2_klein(root).components)


def stable_diffusion_3(root: Path):
    torch.manual_seed(0)
    return StableDiffusion3Pipeline(
        # The inpainting pipeline tells models by these 16 channels.
        transformer=SD3Transformer2DModel(
            sample_size=8,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            pos_embed_max_size=32,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ).eval(),
        vae=shifted_autoencoder(latent_channels=16),
        text_encoder=CLIPTextModelWithProjection(clip_config()).eval(),
        text_encoder_2=CLIPTextModelWithProjection(clip_config()).eval(),
        text_encoder_3=t5_encoder(64),
        tokenizer=clip_tokenizer(root),
        tokenizer_2=clip_tokenizer(root),
        tokenizer_3=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def pixart(_: Path, pipeline=PixArtSigmaPipeline):
    torch.manual_seed(0)
    return pipeline(
        transformer=PixArtTransformer2DModel(
            sample_size=8,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=32,
        ).eval(),
        vae=autoencoder(),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        scheduler=DPMSolverMultistepScheduler(),
    )


def pixart_alpha(root: Path):
    return pixart(root, PixArtAlphaPipeline)


def sana(_: Path):
    torch.manual_seed(0)
    tokenizer = gemma_tokenizer()
    return SanaPipeline(
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
        ).eval(),
        # Six levels, as the published ones have: 32 pixels to a latent.
        vae=deep_autoencoder(),
        text_encoder=gemma_encoder(tokenizer),
        tokenizer=tokenizer,
        scheduler=DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )


def lumina2(_: Path):
    torch.manual_seed(0)
    tokenizer = gemma_tokenizer()
    return Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            sample_size=8,
            in_channels=4,
            hidden_size=24,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=3,
            num_kv_heads=1,
            multiple_of=2,
            axes_dim_rope=(4, 2, 2),
            axes_lens=(300, 64, 64),
            cap_feat_dim=8,
        ).eval(),
        vae=shifted_autoencoder(),
        text_encoder=gemma_encoder(tokenizer, layers=2),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


def auraflow(_: Path):
    torch.manual_seed(0)
    tokenizer = llama_tokenizer()
    encoder = UMT5Config(d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, vocab_size=len(tokenizer))
    return AuraFlowPipeline(
        transformer=AuraFlowTransformer2DModel(
            sample_size=64,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pos_embed_max_size=256,
        ).eval(),
        vae=autoencoder(),
        text_encoder=UMT5EncoderModel(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def chroma(_: Path):
    torch.manual_seed(0)
    return ChromaPipeline(
        transformer=ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=8,
            approximator_hidden_dim=16,
            approximator_layers=1,
        ).eval(),
        vae=shifted_autoencoder(),
        text_encoder=t5_encoder(),
        tokenizer=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def qwen_image(_: Path, layers=2):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 16}
    special = {name: tokenizer.convert_tokens_to_ids(word) for name, word in VISION_TOKENS.items()}
    encoder = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **special)
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=layers,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ).eval(),
        vae=film_autoencoder(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def qwen_image_edit(root: Path, pipeline=QwenImageEditPipeline):
    # They look at pictures in a million pixels.
    parts = qwen_image(root, layers=1).components
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}),
        tokenizer=parts["tokenizer"],
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT,
    )
    return pipeline(**parts, processor=processor)


def qwen_image_edit_plus(root: Path):
    return qwen_image_edit(root, QwenImageEditPlusPipeline)


def z_image(_: Path, *, shift=6.0, **changes):
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 64, 64],
        **changes,
    ).eval()
    # Its constructor leaves them as the memory was.
    torch.nn.init.normal_(transformer.x_pad_token)
    torch.nn.init.normal_(transformer.cap_pad_token)
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
    return ZImagePipeline(
        transformer=transformer,
        vae=shifted_autoencoder(),
        text_encoder=Qwen3Model(encoder).eval(),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
    )


def z_image_turbo(root: Path):
    return z_image(root, shift=3.0)


def z_image_omni(root: Path):
    parts = z_image(root, siglip_feat_dim=16).components
    looks = Siglip2VisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_patches=16
    )
    return ZImageOmniPipeline(
        **parts,
        siglip=Siglip2VisionModel(looks).eval(),
        siglip_processor=Siglip2ImageProcessor(max_num_patches=16),
    )


BUILDERS = {
    **tiny_families.BUILDERS,
    **tiny_editors.BUILDERS,
    **tiny_pixels.BUILDERS,
    **tiny_captions.BUILDERS,
    **tiny_instruct.BUILDERS,
    **tiny_staged.BUILDERS,
    "sd": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "sdxl-turbo": stable_diffusion_xl_turbo,
    "sd-turbo": stable_diffusion_turbo,
    "lcm": latent_consistency,
    "flux": flux,
    "flux-schnell": flux_schnell,
    "flux-fill": flux_fill,
    "flux-control": flux_control,
    "flux-kontext": flux_kontext,
    "flux2-klein": flux2_klein,
    "flux2-klein-base": flux2_klein_base,
    "flux2-klein-kv": flux2_klein_kv,
    "sd3": stable_diffusion_3,
    "pixart-sigma": pixart,
    "pixart-alpha": pixart_alpha,
    "sana": sana,
    "lumina2": lumina2,
    "auraflow": auraflow,
    "chroma": chroma,
    "qwen-image": qwen_image,
    "qwen-image-edit": qwen_image_edit,
    "qwen-image-edit-plus": qwen_image_edit_plus,
    "z-image": z_image,
    "z-image-turbo": z_image_turbo,
    "z-image-omni": z_image_omni,
    "tiny-vae": with_tiny_autoencoder,
    "checked": with_safety_checker,
}
