from dataclasses import replace

import pytest

from imggen.errors import ModelError
from imggen.plan.models import catalog
from imggen.plan.schema.request import ModelFacts
from tests.plan.conftest import builtin, flux, stable_diffusion, stable_diffusion_xl, straight
from tests.plan.generation.test_approach import klein


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (stable_diffusion(), "sd"),
        (stable_diffusion_xl(), "sdxl"),
        (flux(), "flux"),
        (flux(schnell=True), "flux-schnell"),
        (builtin(), "sd"),
        (klein(), "flux2-klein"),
        (klein(is_distilled=False), "flux2-klein-base"),
        (replace(klein(), options={}), "flux2-klein-base"),
    ],
)
def test_the_pipelines_class_and_options_and_the_denoisers_config_tell_the_family(facts, name):
    assert catalog.find(facts).name == name
    assert catalog.named(name) == catalog.find(facts)


def test_the_schedulers_shift_tells_the_distilled_z_image_from_the_other():
    assert catalog.find(straight("ZImagePipeline")).name == "z-image-turbo"
    assert catalog.find(straight("ZImagePipeline", 6.0)).name == "z-image"


SCHEDULERS = {
    "sdxl-turbo": ("StableDiffusionXLPipeline", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "sdxl": ("StableDiffusionXLPipeline", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "leading"}),
    "sd-turbo": (
        "StableDiffusionPipeline",
        "EulerDiscreteScheduler",
        {"timestep_spacing": "trailing", "prediction_type": "epsilon"},
    ),
    "sd": (
        "StableDiffusionPipeline",
        "EulerDiscreteScheduler",
        {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    ),
    "hidream-distilled": ("HiDreamImagePipeline", "FlowMatchLCMScheduler", {}),
    "hidream": ("HiDreamImagePipeline", "UniPCMultistepScheduler", {}),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_distilled_models_are_told_by_their_schedulers_class_and_config(tmp_path, name):
    pipeline, scheduler, config = SCHEDULERS[name]
    facts = ModelFacts(
        reference="m",
        source="folder",
        folder=tmp_path,
        pipeline=pipeline,
        configs={"scheduler": config | {"_class_name": scheduler}, "unet": {"_class_name": "UNet2DConditionModel"}},
    )
    assert catalog.find(facts).name == name


def test_rows_that_are_narrowed_come_before_those_that_are_not():
    for number, row in enumerate(catalog.FAMILIES):
        earlier = [
            each for each in catalog.FAMILIES[:number] if set(each.pipelines.values()) & set(row.pipelines.values())
        ]
        assert all(each.when for each in earlier), row.name


def test_an_unknown_pipeline_is_refused_with_the_nearest(tmp_path):
    facts = ModelFacts(reference="m", source="folder", folder=tmp_path, pipeline="StableDiffusion9Pipeline")
    with pytest.raises(ModelError, match="'StableDiffusion9Pipeline'") as caught:
        catalog.find(facts)
    assert caught.value.exit_code == 4
    assert "nearest is StableDiffusionPipeline" in caught.value.hint


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("KandinskyV22ControlnetPipeline", "it needs hint, image_embeds, negative_image_embeds, which imggen does not"),
        (
            "KandinskyCombinedPipeline",
            "it draws in two stages, and imggen knows only the listed families of that kind",
        ),
        (
            "StableCascadeDecoderPipeline",
            "m is the decoder of Stable Cascade, which needs its prior",
        ),
        ("StableCascadePriorPipeline", "m is the prior of Stable Cascade, which makes no pictures by itself"),
        ("OnnxStableDiffusionPipeline", "it has no part called vae or movq"),
    ],
)
def test_a_pipeline_that_imggen_cannot_drive_is_refused_with_the_reason(pipeline, reason):
    with pytest.raises(ModelError, match=reason):
        catalog.find(straight(pipeline))


def test_an_unknown_family_name_is_refused():
    with pytest.raises(ModelError, match="'sd9'"):
        catalog.named("sd9")


def test_edges_are_multiples_of_what_the_autoencoder_and_the_patches_fold():
    assert catalog.multiple_of(catalog.named("sd"), stable_diffusion()) == 8
    assert catalog.multiple_of(catalog.named("flux"), flux()) == 16
    assert catalog.multiple_of(catalog.named("flux2-klein"), klein()) == 16
    coarse = stable_diffusion(configs={"vae": {"block_out_channels": [8] * 5}})
    assert catalog.multiple_of(catalog.named("sd"), coarse) == 16
    deep = straight("SanaPipeline", vae={"encoder_block_out_channels": [8] * 6})
    assert catalog.multiple_of(catalog.named("sana"), deep) == 32
    fine = stable_diffusion(configs={"vae": {"block_out_channels": [8, 8]}})
    assert catalog.multiple_of(catalog.named("sd"), fine) == 8


@pytest.mark.parametrize(
    ("facts", "prediction"),
    [
        (stable_diffusion(), "noise"),
        (builtin(), "flow"),
        (flux(), "flow_mu"),
        (flux(schnell=True), "flow_fixed"),
        (klein(), "flow_mu"),
        (straight("StableDiffusion3Pipeline"), "flow_own"),
    ],
)
def test_the_schedulers_config_tells_what_is_predicted(facts, prediction):
    assert catalog.prediction(catalog.find(facts), facts) == prediction
