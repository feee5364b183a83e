"""Which diffusion models enlarge pictures, and by how much."""

import pytest

from imggen.errors import ModelError
from imggen.plan.upscaling import upscalers
from tests.plan.conftest import stable_diffusion

UPSCALE, LATENT = upscalers.KINDS


@pytest.mark.parametrize(
    ("pipeline", "lacks"),
    [
        ("StableDiffusionPipeline", "which does not enlarge pictures"),
        ("IFSuperResolutionPipeline", "which imggen does not drive"),
        ("OtherUpscalePipeline", "which imggen does not drive"),
    ],
)
def test_model_that_imggen_cannot_enlarge_with_is_told_from_one_that_enlarges_nothing(pipeline, lacks):
    with pytest.raises(ModelError) as caught:
        upscalers.find(stable_diffusion(pipeline=pipeline))
    assert caught.value.message == (
        f"sd-legacy/stable-diffusion-v1-5 is a {pipeline}, {lacks}; those that enlarge are {UPSCALE} and {LATENT}"
    )
    assert caught.value.hint == "--model builtin"


def test_what_suits_each_kind_is_found_by_its_pipeline():
    upscale, latent = (upscalers.find(stable_diffusion(pipeline=name)) for name in (UPSCALE, LATENT))
    assert (upscale.steps, upscale.guidance, upscale.noise_level, upscale.tile) == (40, 9.0, 20, 256)
    assert (latent.steps, latent.guidance, latent.noise_level, latent.tile) == (20, 0.0, None, 512)


@pytest.mark.parametrize(
    ("pipeline", "levels", "factor"), [(UPSCALE, 3, 4), (UPSCALE, 4, 8), (LATENT, 3, 2), (LATENT, 4, 2)]
)
def test_factor_is_the_kinds_own_or_the_pixels_per_latent(pipeline, levels, factor):
    model = stable_diffusion(pipeline=pipeline, configs={"vae": {"block_out_channels": [32] * levels}})
    assert upscalers.factor(model) == factor


def test_suffixes_of_networks_are_those_of_pickles_and_one_that_is_safe():
    assert upscalers.NETWORK_SUFFIXES == (".safetensors", ".pth", ".pt", ".ckpt")
    assert upscalers.NETWORK_SUFFIXES[1:] == upscalers.PICKLE_SUFFIXES
    assert upscalers.BUILTIN_SCALES == (2, 4)
