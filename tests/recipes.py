"""A recipe to write, read and forge."""

from imggen.plan.recipe import Recipe

APPLE = Recipe(
    task="text-to-image",
    prompt="a red apple",
    negative_prompt="blurry",
    model="builtin",
    model_revision=None,
    model_hash="ab" * 32,
    family="stable-diffusion",
    width=128,
    height=96,
    steps=20,
    guidance=7.5,
    seed=42,
    sampler="euler",
    device="cpu",
    dtype="float32",
    attention_slicing="off",
    vae_tile=0,
    offload="none",
    versions={"imggen": "0.1.0", "torch": "2.14.1"},
)
