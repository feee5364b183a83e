from dataclasses import replace
from pathlib import Path

import pytest

from imggen.plan.training import recipe

BUILTIN = Path(__file__).parents[2] / "presets" / "train" / "builtin-diffusion.toml"


@pytest.fixture(scope="session")
def tiny_plan(emoji_font):
    """The built-in recipe, cut down to seconds: same parts, small numbers, float32."""
    plan = recipe.read(BUILTIN)
    small = {"batch_size": 4, "warmup": 8, "checkpoint_every": 8, "sample_every": 16}
    return replace(
        plan,
        precision="no",
        data=replace(plan.data, size=32),
        autoencoder=replace(plan.autoencoder, channels=8, encoder_blocks=(0, 1), decoder_blocks=(1, 0)),
        autoencoder_training=replace(plan.autoencoder_training, pictures=16, **small),
        text_encoder=replace(plan.text_encoder, width=32, layers=1, heads=2),
        unet=replace(plan.unet, channels=(32, 64), cross_attention=(False, True)),
        diffusion_training=replace(plan.diffusion_training, pictures=16, cached_pictures=12, **small),
        defaults=replace(plan.defaults, steps=2),
    )
