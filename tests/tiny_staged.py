"""Tiny random models in two stages, a prior and a decoder, each pipeline with the parts of both."""

from pathlib import Path

from imggen.host import environment

environment.prepare(offline=True)

import torch  # noqa: E402 - reads the environment that was just prepared
from diffusers import (  # noqa: E402
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    KandinskyV22CombinedPipeline,
    KandinskyV22InpaintCombinedPipeline,
    PriorTransformer,
    StableCascadeCombinedPipeline,
    StableCascadeUNet,
    UnCLIPScheduler,
    UNet2DConditionModel,
    VQModel,
    WuerstchenCombinedPipeline,
)
from diffusers.pipelines.deprecated.wuerstchen import (  # noqa: E402
    PaellaVQModel,
    WuerstchenDiffNeXt,
    WuerstchenPrior,
)
from transformers import (  # noqa: E402
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from tests.tiny_parts import clip_config, clip_tokenizer  # noqa: E402

WIDTH = 32
ATTENTION = ("SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock")


def text_encoder():
    return CLIPTextModelWithProjection(clip_config()).eval()


def cascade_unet(**changes):
    return StableCascadeUNet(
        **{
            "timestep_ratio_embedding_dim": 16,
            "conditioning_dim": 16,
            "block_out_channels": (16, 16),
            "down_num_layers_per_block": (1, 1),
            "up_num_layers_per_block": (1, 1),
            "clip_text_pooled_in_channels": WIDTH,
            "dropout": (0.0, 0.0),
        }
        | changes
    ).eval()


def stable_cascade(root: Path):
    torch.manual_seed(0)
    return StableCascadeCombinedPipeline(
        decoder=cascade_unet(
            in_channels=4,
            out_channels=4,
            patch_size=2,
            num_attention_heads=(-1, 2),
            block_types_per_layer=(ATTENTION[:2], ATTENTION),
            effnet_in_channels=16,
            timestep_conditioning_type=("sca",),
        ),
        text_encoder=text_encoder(),
        tokenizer=clip_tokenizer(root),
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(embed_dim=16, bottleneck_blocks=1, num_vq_embeddings=8).eval(),
        prior_prior=cascade_unet(
            num_attention_heads=(2, 2),
            clip_text_in_channels=WIDTH,
            clip_image_in_channels=WIDTH,
            switch_level=(False,),
        ),
        prior_text_encoder=text_encoder(),
        prior_tokenizer=clip_tokenizer(root),
        prior_scheduler=DDPMWuerstchenScheduler(),
    )


def wuerstchen(root: Path):
    torch.manual_seed(0)
    decoder = WuerstchenDiffNeXt(
        c_r=16,
        c_cond=WIDTH,
        c_hidden=[8, 16],
        nhead=[-1, 2],
        blocks=[1, 1],
        level_config=["CT", "CTA"],
        inject_effnet=[False, True],
        clip_embd=WIDTH,
    ).eval()
    # It begins with nothing, whatever it is told.
    torch.nn.init.normal_(decoder.clf[1].weight, std=0.2)
    return WuerstchenCombinedPipeline(
        decoder=decoder,
        text_encoder=CLIPTextModel(clip_config()).eval(),
        tokenizer=clip_tokenizer(root),
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(embed_dim=16, bottleneck_blocks=1, num_vq_embeddings=8).eval(),
        prior_prior=WuerstchenPrior(c=16, c_cond=WIDTH, c_r=16, depth=1, nhead=2).eval(),
        prior_text_encoder=CLIPTextModel(clip_config()).eval(),
        prior_tokenizer=clip_tokenizer(root),
        prior_scheduler=DDPMWuerstchenScheduler(),
    )


def kandinsky22(root: Path, pipeline=KandinskyV22CombinedPipeline, channels=4):
    torch.manual_seed(0)
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=WIDTH, num_layers=1, num_embeddings=77
    ).eval()
    # They start at 0, so that whatever is read would be nothing.
    prior.clip_std.data.fill_(1.0)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=30,
        patch_size=15,
        projection_dim=WIDTH,
    )
    return pipeline(
        unet=UNet2DConditionModel(
            sample_size=8,
            in_channels=channels,
            # The noise and its variance.
            out_channels=8,
            addition_embed_type="image",
            block_out_channels=(16, 32),
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            layers_per_block=1,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=8,
            resnet_time_scale_shift="scale_shift",
            class_embed_type=None,
        ).eval(),
        scheduler=DDPMScheduler(
            beta_schedule="linear", beta_start=0.00085, beta_end=0.012, prediction_type="epsilon", clip_sample=False
        ),
        movq=VQModel(
            block_out_channels=(32,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
            up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3,
            latent_channels=4,
            vq_embed_dim=4,
            num_vq_embeddings=12,
            norm_type="spatial",
        ).eval(),
        prior_prior=prior,
        prior_image_encoder=CLIPVisionModelWithProjection(vision).eval(),
        prior_text_encoder=text_encoder(),
        prior_tokenizer=clip_tokenizer(root),
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=5.0
        ),
        prior_image_processor=CLIPImageProcessor(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}),
    )


def kandinsky22_inpaint(root: Path):
    return kandinsky22(root, KandinskyV22InpaintCombinedPipeline, channels=9)


BUILDERS = {
    "stable-cascade": stable_cascade,
    "wuerstchen": wuerstchen,
    "kandinsky22": kandinsky22,
    "kandinsky22-inpaint": kandinsky22_inpaint,
}
"""One folder each, as a combined pipeline saves itself."""


def split(pipeline, decoder: Path, prior: Path) -> None:
    """Save the two stages of a combined `pipeline` apart, as they are published."""
    with environment.quiet():
        pipeline.decoder_pipe.save_pretrained(decoder)
        pipeline.prior_pipe.save_pretrained(prior)
