"""Recipes to write, read and forge."""

from dataclasses import replace

from imggen.plan.schema.change import Change, Edit
from imggen.plan.schema.recipe import Ingredient, Recipe

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

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

APPLE_GUID = "urn:uuid:1ff6b4c0-751b-80b0-8ae2-03da1944b280"
PEAR = replace(
    APPLE,
    task="image-to-image",
    prompt="a green pear",
    seed=7,
    change=Change(method="image-to-image", strength=0.6, fit="crop"),
    ingredients=(Ingredient(role="image", sha256="1a" * 32, width=640, height=480),),
)
CHILD = replace(
    APPLE,
    task="blend",
    seed=3,
    change=Change(method="latents", mutation=0.2),
    ingredients=(
        Ingredient(
            role="parent",
            sha256="2b" * 32,
            width=128,
            height=96,
            weight=0.7,
            source_type=GENERATED,
            recipe=APPLE,
            guid=APPLE_GUID,
        ),
        Ingredient(
            role="parent", sha256="3c" * 32, width=128, height=96, weight=0.3, source_type=GENERATED, recipe=PEAR
        ),
    ),
)
ENLARGED = Edit(
    action="upscale",
    engine="network",
    model="builtin",
    model_hash="4d" * 32,
    width=512,
    height=384,
    source_sha256="5e" * 32,
    imggen="0.2.0",
)
