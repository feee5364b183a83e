"""What measures depth: when it is asked for, and which networks are for control pictures."""

from pathlib import Path

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import depths
from imggen.plan.case import RECIPE
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.request import GenerateRequest


def check(**config):
    facts = AdapterFacts(asked=depths.named("net"), files=(Path("net"),), sha256="0", reference="net", config=config)
    return depths.check(facts)


def test_weights_are_asked_for_where_a_depth_picture_is_made():
    made = GenerateRequest(control=("depth:photo.png",), preprocess=True)
    assert depths.asked(made).reference == depths.USUAL
    named = GenerateRequest(control=("depth:photo.png",), preprocess=True, depth_weights="org/net")
    assert depths.asked(named).reference == "org/net"
    assert depths.asked(GenerateRequest(control=("depth:photo.png",))) is None
    assert depths.asked(GenerateRequest(control=("canny:photo.png",), preprocess=True)) is None


def test_weights_without_a_depth_picture_are_refused_where_somebody_typed_them():
    with pytest.raises(RequestError, match="--depth-weights org/net: there is no depth picture to make"):
        depths.asked(GenerateRequest(depth_weights="org/net"))
    assert depths.asked(GenerateRequest(depth_weights="org/net", origin={"depth_weights": RECIPE})) is None


@pytest.mark.parametrize("name", depths.CLASSES)
def test_networks_for_relative_depth_are_taken(name):
    assert check(architectures=[name]) == name
    assert check(architectures=[name], depth_estimation_type="relative", backbone_config={"a": 1}) == name


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "net is nothing; depth is measured by"),
        ({"model_type": "glpn"}, "net is glpn; depth"),
        ({"architectures": ["Other", "DPTForDepthEstimation"]}, "net is Other; depth"),
        ({"depth_estimation_type": "metric"}, "predicts metric depth, in which far is white"),
        ({"backbone": "timm/x"}, r"loads its backbone from elsewhere \(timm/x\)"),
        ({"backbone_config": "x"}, "loads its backbone from elsewhere"),
    ],
)
def test_other_networks_are_refused(config, message):
    usual = (
        {}
        if "architectures" in config or not config or "model_type" in config
        else {"architectures": [depths.CLASSES[0]]}
    )
    with pytest.raises(ModelError, match=message) as caught:
        check(**usual | config)
    assert caught.value.hint == f"--depth-weights {depths.USUAL}"


@pytest.mark.parametrize(
    "config",
    [
        {"size": {"height": 4097, "width": 518}},
        {"size": {"height": 518, "width": 0}},
        {"size": "518"},
        {"size": True},
        {"ensure_multiple_of": 0},
        {"ensure_multiple_of": 1.5},
    ],
)
def test_a_size_that_no_photograph_can_be_read_at_is_refused(config):
    depths.check_reading(depths.named("net"), {"size": {"height": 4096, "width": 1}, "ensure_multiple_of": 14})
    depths.check_reading(depths.named("net"), {"size": 384})
    depths.check_reading(depths.named("net"), {})
    with pytest.raises(ModelError, match=f"reads pictures with {next(iter(config))} "):
        depths.check_reading(depths.named("net"), config)
