"""The denoiser: text-conditional flow matching in the autoencoder's latents."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from imggen.host import environment
from imggen.plan.training.recipe import StagePlan, TrainPlan, UnetPlan
from imggen.training import folder, latents, pictures, text

TIME_STEPS = 1000
SAMPLE_PROMPTS = (
    "a red apple on a teal background",
    "a green triangle on a yellow background",
    "a blue star on a white background",
    "a yellow moon on a navy background",
    "a cat on a pink background",
    "a rocket on a black background",
    "an octopus on a cyan background",
    "a purple heart on a white background",
    "a house on a green background",
    "two dogs on a blue background",
    "a lemon left of a rose on a gray background",
    "a robot on a red and white striped background",
    "a pumpkin on a purple background",
    "a camera on an orange background",
    "a penguin on a lime background",
    "a blue and white dotted background",
)


class Denoiser(nn.Module):
    """The U-Net and the text encoder, which train together."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, sample: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """Return the velocity for noisy latents (n, c, h, w) at times (n,) in 0..1 under the tokens (n, t)."""
        words = self.text_encoder(tokens).last_hidden_state
        velocity: Tensor = self.unet(sample, time * TIME_STEPS, encoder_hidden_states=words).sample
        return velocity


class FlowMatching:
    """Learns the velocity from pictures to noise (rectified flow, arXiv 2209.03003).

    x_t = (1 - t) x_0 + t e, the target is e - x_0, and t is logit-normal (arXiv 2403.03206, section 3.1). Captions are
    dropped now and then, so that the model also knows pictures without words (classifier-free guidance).
    """

    name = "diffusion"

    def __init__(
        self, plan: TrainPlan, cache: latents.Cache, vae: AutoencoderTiny, tokenizer: CLIPTokenizer, model: Path
    ) -> None:
        self._plan = plan
        self._stage: StagePlan = plan.diffusion_training
        self._cache = cache
        self._vae = vae
        self._tokenizer = tokenizer
        self._model = model
        self._nothing = latents.tokenize(tokenizer, [""])
        self.module: nn.Module = Denoiser(build_unet(plan.unet, plan), text.build_encoder(plan.text_encoder, tokenizer))

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Return the mean squared error of the velocity over the step's batch."""
        clean, tokens = self._cache.batch(step, self._stage.batch_size, self._plan.seed)
        dropped = torch.rand(len(tokens), 1, generator=generator) < self._stage.caption_dropout
        tokens = torch.where(dropped, self._nothing, tokens)
        noise = torch.randn(clean.shape, generator=generator)
        time = torch.randn(len(clean), generator=generator).sigmoid()
        mixed = torch.lerp(clean, noise, time[:, None, None, None])
        device = next(self.module.parameters()).device
        # on a CPU, at these few tokens, the fused kernel's backward pass took a quarter of the whole step
        fused = [] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
        with sdpa_kernel([*fused, SDPBackend.MATH]):
            velocity = self.module(mixed.to(device), time.to(device), tokens.to(device))
        return F.mse_loss(velocity.float(), (noise - clean).to(device))

    def export(self, averaged: Any) -> None:
        """Write the model as a diffusers folder."""
        text_encoder, unet, tokenizer = averaged.text_encoder, averaged.unet, self._tokenizer
        parts = folder.Parts(
            vae=self._vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler()
        )
        folder.write(self._model, self._plan, parts)

    @torch.no_grad()
    def sample(self, averaged: Any, path: Path) -> None:
        """Write the model as a diffusers folder, and pictures that it makes of `SAMPLE_PROMPTS`."""
        self.export(averaged)
        with environment.quiet():
            pipeline = folder.load(self._model)
            drawn = [self._draw(pipeline, index) for index in range(len(SAMPLE_PROMPTS))]
        pictures.save_sheet(torch.cat(drawn) * 2 - 1, path, columns=8)

    def _draw(self, pipeline: Any, index: int) -> Tensor:
        drawn: Tensor = pipeline(
            SAMPLE_PROMPTS[index],
            num_inference_steps=self._plan.defaults.steps,
            guidance_scale=self._plan.defaults.guidance,
            generator=torch.Generator("cpu").manual_seed(index),
            output_type="pt",
        ).images
        return drawn


def build_unet(plan: UnetPlan, run: TrainPlan) -> UNet2DConditionModel:
    """Return a new U-Net over the autoencoder's latents.

    The words reach it twice: by cross-attention, and pooled into the time embedding, which scales and shifts every
    residual block; the second is what makes objects appear early in training.
    """
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in plan.cross_attention]
    up = ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(plan.cross_attention)]
    return UNet2DConditionModel(
        sample_size=run.data.size // 2 ** (len(run.autoencoder.encoder_blocks) - 1),
        in_channels=run.autoencoder.latent_channels,
        out_channels=run.autoencoder.latent_channels,
        block_out_channels=plan.channels,
        layers_per_block=plan.layers,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=run.text_encoder.width,
        attention_head_dim=tuple(channel // plan.head_width for channel in plan.channels),
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=run.text_encoder.heads,
    )


def scheduler() -> DPMSolverMultistepScheduler:
    """Return the sampler that suits the training: DPM-Solver++ 2M on the straight flow's noise levels."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=TIME_STEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        solver_order=2,
        # says nothing here, but StableDiffusionPipeline warns of any other value
        steps_offset=1,
    )
