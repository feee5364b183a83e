"""Families that no row lists: what diffusers' own signatures say of them. Nothing here needs torch."""

from dataclasses import replace

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.generation import resolve
from imggen.plan.models import catalog, signature, unlisted
from imggen.plan.schema.family import Family
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import laptop, stable_diffusion, straight, with_cuda

UNSEEN = "StableDiffusionPAGPipeline"


def of(pipeline, **changes):
    return stable_diffusion(pipeline=pipeline, reference="./model", source="folder", **changes)


def plan(facts, machine=None, given=(), **said):
    request = GenerateRequest(**({"prompt": "a red apple", "seed": "1"} | said))
    return resolve.resolve(request, facts, machine or laptop(), given, draw_seed=lambda _: 7)


def photo(role="image"):
    return Given(role=role, name="photo.png", sha256="0" * 64, width=512, height=512)


def test_the_pipelines_signature_makes_the_family():
    family = catalog.find(of(UNSEEN))
    assert family.pipelines == {
        "text-to-image": "StableDiffusionPAGPipeline",
        "image-to-image": "StableDiffusionPAGImg2ImgPipeline",
        "inpaint": "StableDiffusionPAGInpaintPipeline",
    }
    assert (family.denoiser, family.steps, family.guidance) == ("unet", 50, 7.5)
    assert family.guidance_argument == "guidance_scale"
    assert family.negative_refusal is None
    assert family.sized_by_image == ("image-to-image",)
    assert family.half_dtypes == ("bfloat16",)


@pytest.mark.parametrize("pipeline", [UNSEEN, "StableDiffusionPAGInpaintPipeline", "FluxKontextInpaintPipeline"])
def test_a_recipe_finds_the_family_again_by_its_name(pipeline):
    family = unlisted.family(pipeline)
    assert isinstance(family, Family)
    assert unlisted.family(family.name) == family
    assert catalog.named(family.name) == family


def test_the_plan_tells_that_the_family_is_not_known():
    made = plan(of(UNSEEN))
    assert made.family.name == UNSEEN
    assert any("does not know StableDiffusionPAGPipeline" in each for each in made.notes)
    assert (made.steps, made.guidance, made.width, made.height) == (50, 7.5, 512, 512)
    assert made.arguments["guidance_scale"] == 7.5


def test_a_family_that_is_known_gets_no_such_note():
    assert not any("does not know" in each for each in plan(stable_diffusion()).notes)


def test_half_precision_is_bfloat16_or_none():
    assert plan(of(UNSEEN), with_cuda()).dtype == "bfloat16"
    assert plan(of(UNSEEN), with_cuda(bfloat16=False)).dtype == "float32"
    with pytest.raises(RequestError, match="float16"):
        plan(of(UNSEEN), with_cuda(), dtype="float16")


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("WanPipeline", "it makes videos"),
        ("AnimateDiffPipeline", "it makes videos"),
        ("TextToVideoZeroPipeline", "it makes videos"),
        ("StableAudioPipeline", "it makes audio"),
        ("StableDiffusionUpscalePipeline", "it is an upscaler"),
        ("IFSuperResolutionPipeline", "it is an upscaler"),
        ("OnnxStableDiffusionPipeline", "it has no part called vae"),
        ("StableDiffusionControlNetPipeline", "it takes image, and diffusers does not say what for"),
        ("SanaControlNetPipeline", "it takes control_image"),
        ("DDPMPipeline", "it takes no prompt"),
        ("DiTPipeline", "it needs class_labels, which imggen does not provide"),
        ("CycleDiffusionPipeline", "it needs source_prompt"),
        ("MarigoldDepthPipeline", "diffusers does not say that it returns a picture"),
        ("StableDiffusion9Pipeline", "the installed diffusers does not know it either"),
    ],
)
def test_what_cannot_serve_is_refused_with_the_reason(pipeline, reason):
    with pytest.raises(ModelError) as caught:
        catalog.find(of(pipeline))
    assert f"'{pipeline}', and {reason}" in caught.value.message
    assert "imggen models families" in caught.value.hint


def test_no_installed_pipeline_makes_the_reader_stumble():
    names = [each for each in signature._places(signature._package()) if each.endswith("Pipeline")]
    assert len(names) > 200
    for each in names[::5]:
        found = unlisted.family(each)
        assert isinstance(found, str) or each in found.pipelines.values()


@pytest.mark.parametrize("name", ["", "../Pipeline", "**Pipeline", "Stable Diffusion", "Pipeline["])
def test_a_name_that_is_no_class_is_refused_as_unknown(name):
    with pytest.raises(ModelError, match="does not know it either"):
        catalog.find(of(name))


def test_a_distilled_guidance_beside_a_true_one_leaves_no_negative_prompt():
    kontext = unlisted.family("FluxKontextInpaintPipeline")
    assert (kontext.guidance_argument, kontext.guidance) == ("guidance_scale", 3.5)
    assert "a guidance that imggen leaves off" in kontext.negative_refusal


def test_a_true_guidance_that_is_on_by_default_is_the_one_that_is_meant():
    edit = unlisted.family("QwenImageEditInpaintPipeline")
    assert (edit.guidance_argument, edit.guidance) == ("true_cfg_scale", 4.0)
    assert edit.extra_arguments["negative_prompt"] == " "


def test_what_changes_the_words_or_the_size_that_were_asked_for_is_off():
    family = unlisted.family("LuminaPipeline")
    assert family.extra_arguments == {"clean_caption": False, "max_sequence_length": 256}
    binned = unlisted.family("HunyuanDiTPAGPipeline")
    assert binned.extra_arguments == {"use_resolution_binning": False}
    assert unlisted.family("StableDiffusionXLPAGPipeline").initial == {"add_watermarker": False}


def test_edges_are_held_to_what_the_pipeline_checks():
    assert catalog.multiple_of(unlisted.family(UNSEEN), of(UNSEEN)) == 8
    facts = straight("SanaPAGPipeline")
    assert catalog.multiple_of(unlisted.family("SanaPAGPipeline"), facts) == 32
    assert catalog.multiple_of(unlisted.family("CogView4Pipeline"), straight("CogView4Pipeline")) == 16


def test_an_option_that_its_pipeline_lacks_is_refused_and_not_swallowed():
    with pytest.raises(RequestError, match="--negative-prompt 'rain'"):
        plan(of("LatentConsistencyModelPipeline"), negative_prompt="rain")
    with pytest.raises(RequestError, match="--tile x: StableDiffusionPAG makes no seamless pictures"):
        plan(of(UNSEEN), tile="x")


def test_sister_pipelines_do_the_other_tasks():
    facts = of(UNSEEN)
    assert plan(facts, given=(photo(),), task="image-to-image").pipeline == "StableDiffusionPAGImg2ImgPipeline"
    made = plan(facts, given=(photo(),), task="inpaint", mask_box="0,0,64,64")
    assert made.pipeline == "StableDiffusionPAGInpaintPipeline"
    assert plan(facts, given=(photo("parent"),), task="blend").change.method == "latents"


def test_what_it_has_no_pipeline_for_is_refused():
    facts = of("StableDiffusionSAGPipeline")
    with pytest.raises(RequestError, match="StableDiffusionSAG has no pipeline that can start from a picture"):
        plan(facts, given=(photo(),), task="image-to-image")
    with pytest.raises(RequestError, match="the layout of its latents is not known"):
        plan(replace(facts, pipeline="AltDiffusionPipeline"), given=(photo(),), task="inpaint", mask_box="0,0,64,64")


def test_a_family_of_one_task_has_no_other():
    assert unlisted.family("FluxKontextInpaintPipeline").pipelines == {"inpaint": "FluxKontextInpaintPipeline"}
