"""ControlNets by their configs: whether they fit the model, the task and each other."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import ModelError
from imggen.plan.adapters import controlnets
from imggen.plan.case import Case
from imggen.plan.models import catalog
from imggen.plan.models.record import ModelRecord
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import laptop, stable_diffusion, straight

SD = stable_diffusion()
FITTING = {"_class_name": "ControlNetModel", "block_out_channels": (320, 640, 1280, 1280)}


def network(*, image="edges.png", scale=None, **config):
    asked = AdapterRequest(kind="controlnet", option="--control", reference="net", image=image, scale=scale)
    return AdapterFacts(asked=asked, files=(Path("/nets/net.safetensors"),), sha256="0", reference="net", config=config)


def case(*networks, facts=SD, task="text-to-image"):
    return Case(
        request=GenerateRequest(task=task),
        facts=facts,
        family=catalog.find(facts),
        record=ModelRecord(),
        machine=laptop(),
        adapters=networks,
    )


def refused(message, *networks, hint=None, **changes):
    with pytest.raises(ModelError, match=message) as caught:
        controlnets.check(case(*networks, **changes))
    if hint is not None:
        assert caught.value.hint == hint


def test_a_network_whose_config_agrees_with_the_models_is_taken():
    controlnets.check(case(network(**FITTING)))
    controlnets.check(case(network(**FITTING, conditioning_embedding_out_channels=[16, 32, 96, 256])))
    controlnets.check(case())


def test_a_network_of_another_class_or_without_a_config_is_refused():
    refused("net is a FluxControlNetModel; .* takes a ControlNetModel", network(_class_name="FluxControlNetModel"))
    refused(
        r"net\.safetensors has no config\.json beside it", network(), hint="put the ControlNet's config.json into /nets"
    )


@pytest.mark.parametrize("key", ["num_mode", "num_control_type"])
def test_a_network_of_several_kinds_that_wants_a_number_is_refused(key):
    refused(rf"holds several ControlNets \({key} 6\)", network(**FITTING, **{key: 6}))


def test_a_network_of_other_widths_or_of_another_latent_is_refused():
    other = FITTING | {"block_out_channels": [320, 640]}
    refused("its block_out_channels is 320, 640, and that of .* is 320, 640, 1280, 1280", network(**other))
    levels = network(**FITTING, conditioning_embedding_out_channels=[16, 32, 96])
    refused("makes a latent of 4 pixels, and .* of 8", levels)
    unsaid = network(**FITTING, cross_attention_dim=768)
    controlnets.check(case(unsaid))


def test_a_network_that_reads_a_mask_follows_no_control_picture_and_another_needs_one():
    facts = straight("StableDiffusion3Pipeline")
    named = {"_class_name": "SD3ControlNetModel"}
    controlnets.check(case(network(image=None, **named, extra_conditioning_channels=1), facts=facts, task="inpaint"))
    with_picture = network(**named, extra_conditioning_channels=1)
    refused(
        "is for repainting: it wants 1 channels",
        with_picture,
        facts=facts,
        hint='imggen inpaint PICTURE "..." --mask MASK --control net',
    )
    refused("was not made for repainting: it knows no mask", network(image=None, **named), facts=facts)
    refused(
        "is for repainting",
        network(**FITTING, extra_condition_channels=1),
        hint="a ControlNet that follows a picture alone",
    )


@pytest.mark.parametrize("task", ["inpaint", "outpaint"])
def test_a_network_that_inpaints_reads_picture_mask_and_masked_picture(task):
    facts = straight("ZImagePipeline", transformer={"in_channels": 16})
    named = {"_class_name": "ZImageControlNetModel"}
    controlnets.check(case(network(**named, control_in_dim=33), facts=facts, task=task))
    controlnets.check(case(network(**named, control_in_dim=16), facts=facts))
    refused("it reads 16 channels, .* have 33", network(**named, control_in_dim=16), facts=facts, task=task)


def test_networks_of_unlike_depth_do_not_go_together():
    facts = straight("FluxPipeline", transformer={"guidance_embeds": True})
    first, second = (network(_class_name="FluxControlNetModel", num_layers=layers) for layers in (5, 3))
    controlnets.check(case(first, first, facts=facts))
    refused("does not go with net: its num_layers is 3, and that of the other 5", first, second, facts=facts)


def test_a_family_without_controls_checks_nothing():
    controlnets.check(case(network(), facts=straight("Lumina2Pipeline")))


def test_scales_are_a_list_where_there_are_several():
    assert controlnets.scale(case(network())) == 1.0
    assert controlnets.scale(case(network(scale=0.0))) == 0.0
    assert controlnets.scale(case(network(scale=0.5), network())) == [0.5, 1.0]


def test_a_network_without_a_picture_follows_the_inpainted_one():
    assert controlnets.repaints(case(network(image=None)))
    assert not controlnets.repaints(case(network()))
    other = replace(network(image=None), asked=replace(network().asked, kind="lora", image=None))
    assert not controlnets.repaints(case(other))


def test_only_a_family_without_networks_reads_its_picture_itself():
    built_in = [row.name for row in catalog.FAMILIES if controlnets.is_built_in(row)]
    assert built_in == ["flux-control"]
