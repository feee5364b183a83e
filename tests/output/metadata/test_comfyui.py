"""Graphs of nodes: which are read, and from where."""

import json

import pytest

from imggen.output.metadata import comfyui


def node(kind="Other", **inputs):
    return {"class_type": kind, "inputs": inputs}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "{", '{"1": 2}', '{"1": {"inputs": {}}}', '{"1": {"class_type": "a"}}']
)
def test_what_is_no_graph_is_none(text):
    assert comfyui.parse(text) is None


def test_graphs_are_bounded():
    nodes = {str(number): node() for number in range(comfyui.MAX_NODES)}
    assert len(comfyui.parse(json.dumps(nodes))) == comfyui.MAX_NODES
    assert comfyui.parse(json.dumps({**nodes, "one more": node()})) is None


def test_nearest_node_that_says_a_setting_says_it():
    graph = {
        "1": node("KSampler", positive=["2", 0], negative=["3", 0], model=["4", 0], seed=7, steps=20, cfg=float("nan")),
        "2": node(text="an apple"),
        "3": node("ConditioningZeroOut", conditioning=["2", 0]),
        "4": node(model=["5", 0], ckpt_name="near.safetensors"),
        "5": node(ckpt_name="far.safetensors", cfg=3),
    }
    assert comfyui.texts(graph) == ("an apple", "")
    assert comfyui.settings(graph) == {"seed": 7, "steps": 20, "guidance": 3, "model": "near.safetensors"}


def test_node_that_takes_both_prompts_and_samples_comes_before_one_that_only_takes_them():
    graph = {
        "1": node("Apply", positive=["3", 0], negative=["3", 0], seed=1),
        "2": node("SamplerCustom", positive="p", negative="n", seed=2),
        "3": node(text="an apple"),
    }
    assert (comfyui.texts(graph), comfyui.settings(graph)["seed"]) == (("p", "n"), 2)
    assert comfyui.texts({"1": graph["1"]}) == ("", "")
    assert comfyui.settings({"1": graph["1"]}) == {}
