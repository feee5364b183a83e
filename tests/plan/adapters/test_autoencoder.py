"""Another autoencoder in place of the model's own: whether it decodes the same latents."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import adaptation, autoencoder
from imggen.plan.case import Case
from imggen.plan.models import catalog
from imggen.plan.models.record import ModelRecord
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import builtin, laptop, stable_diffusion, straight

OWN = {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [128, 256, 512, 512]}
SHAPES = {"decoder.conv_in.weight": (512, 4, 3, 3)}
MODEL = stable_diffusion(configs={"vae": OWN}, shapes={"vae": SHAPES})


def found(shapes=None, **config):
    asked = AdapterRequest(kind="vae", option="--vae", reference="new")
    return AdapterFacts(
        asked=asked, files=(Path("new.safetensors"),), sha256="0", reference="new", shapes=shapes or {}, config=config
    )


def check(facts, model=MODEL):
    changed = adaptation.changed(model, (facts,))
    family = catalog.find(model)
    case = Case(
        request=GenerateRequest(),
        facts=changed,
        family=family,
        record=ModelRecord(),
        machine=laptop(),
        adapters=(facts,),
    )
    autoencoder.check(facts, case, model)


@pytest.mark.parametrize("class_name", ["AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL"])
def test_one_that_decodes_the_same_latents_is_taken(class_name):
    check(found(**OWN | {"_class_name": class_name}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"_class_name": "AutoencoderDC"}, "it is an AutoencoderDC, and the model's is an AutoencoderKL"),
        ({"latent_channels": 16}, "its latents have 16 channels, and the model's 4"),
        ({"block_out_channels": [128, 256]}, "it has 2 pixels to a latent, and the model's 8"),
        ({"scaling_factor": 0.13025}, r"its scaling_factor is 0\.13025, and the model's 0\.18215"),
        ({"shift_factor": 0.1}, r"its shift_factor is 0\.1, and the model's 0"),
    ],
)
def test_one_for_other_latents_is_refused_with_the_difference(changes, reason):
    with pytest.raises(ModelError, match=f"--vae new is not for .*: {reason}"):
        check(found(**OWN | changes))


def test_a_tiny_one_scales_its_latents_itself_and_rounding_is_no_difference():
    check(found(**OWN | {"_class_name": "AutoencoderTiny", "scaling_factor": 1.0}))
    check(found(**OWN | {"scaling_factor": 0.1822}))


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"unet.weight": (1, 1)}, "is no autoencoder"),
        ({"decoder.other.weight": (1, 1)}, r"it has no decoder\.conv_in\.weight"),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, r"its decoder\.conv_in\.weight is 512x16x3x3, not 512x4x3x3"),
    ],
)
def test_a_single_file_is_held_against_the_models_header(shapes, reason):
    with pytest.raises(ModelError, match=reason):
        check(found(shapes))
    check(found(SHAPES))
    check(replace(found(shapes), pickle=True))


def test_a_file_with_the_names_before_diffusers_is_left_to_the_conversion():
    original = found({"first_stage_model.decoder.conv_in.weight": (1,)})
    assert autoencoder.is_original(original)
    check(original)
    assert not autoencoder.is_original(found(SHAPES))
    assert not autoencoder.is_original(replace(original, config=OWN))


def test_a_model_without_one_or_with_one_of_its_own_takes_no_other():
    with pytest.raises(RequestError, match="has no autoencoder, it draws pixels itself"):
        check(found(**OWN), replace(straight("PRXPixelPipeline"), components={}))
    with pytest.raises(RequestError, match="reads no latents but those of its own autoencoder"):
        check(found(**OWN), builtin())
