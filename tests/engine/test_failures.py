"""What the libraries raise, and what it means for the user."""

from dataclasses import replace

import pytest
import torch

from imggen.engine import failures
from imggen.errors import MachineError, MemoryShortageError, ModelError, RequestError
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


@pytest.fixture
def plan(tiny_models, make_plan):
    return make_plan(tiny_models("sd"), size=256)


@pytest.mark.parametrize(
    ("error", "is_shortage"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("anything"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1]"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("memory"), False),
    ],
)
def test_running_out_of_memory_is_told_by_class_or_words(error, is_shortage):
    assert failures.is_out_of_memory(error) is is_shortage


def test_each_lever_is_offered_before_the_one_that_costs_more(plan):
    assert failures.next_lever(plan) == "--vae-tiling on"
    tiled = replace(plan, vae_tile=64)
    assert failures.next_lever(tiled) == "--size 128x128"
    offloads = ("none", "model", "group", "disk", "sequential")
    levers = [failures.next_lever(replace(tiled, device="cuda", offload=offload)) for offload in offloads]
    assert levers == ["--offload model", "--offload group", *["--offload sequential"] * 2, "--size 128x128"]
    assert failures.next_lever(replace(plan, tile="x", width=100, height=300)) == "--size 64x150"


def test_a_shortage_names_the_device_the_size_and_the_next_lever(plan):
    with (
        pytest.raises(MemoryShortageError, match=r"out of memory on cpu with .* at 256x256 in float32") as caught,
        failures.memory_explained(plan),
    ):
        raise MemoryError
    assert caught.value.hint == "--vae-tiling on"


def test_faults_of_a_model_say_how_to_get_it_anew(plan):
    hub = replace(plan, model=replace(plan.model, source="hub", reference="org/name", revision="abc"))
    for broken, hint in ((plan, f"imggen models verify {plan.model.reference}"), (hub, "org/name@abc --repair")):
        with (
            pytest.raises(ModelError, match=r"unet of .* cannot be loaded: size mismatch") as caught,
            failures.explained(broken, "unet"),
        ):
            raise RuntimeError("size mismatch\n\nand a manual")
        assert caught.value.hint.endswith(hint)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (ImportError("No module", name="ftfy.fixes"), "pip install ftfy"),
        (ImportError("install it by `pip install sentencepiece` first"), "pip install sentencepiece"),
        (ImportError("operator torchvision::nms does not exist"), "pip install --upgrade torch torchvision"),
        (ImportError("something"), "imggen doctor"),
    ],
)
def test_a_missing_package_is_named_in_the_hint(plan, error, hint):
    with (
        pytest.raises(MachineError, match="needs a package that is missing or broken") as caught,
        failures.explained(plan, "unet"),
    ):
        raise error
    assert caught.value.hint == hint


def test_what_is_explained_already_passes(plan):
    own = RequestError("a wrong request")
    with (
        pytest.raises(RequestError) as caught,
        failures.explained(plan, "unet"),
        failures.unlisted(plan),
    ):
        raise own
    assert caught.value is own


def test_only_families_that_imggen_does_not_know_are_blamed(plan):
    with (
        pytest.raises(ValueError, match="whatever"),
        failures.unlisted(plan),
    ):
        raise ValueError("whatever")
    guessed = replace(plan, family=replace(plan.family, unlisted="it is read from diffusers"))
    with (
        pytest.raises(ModelError, match="knows by its signature only, did not work: whatever"),
        failures.unlisted(guessed),
    ):
        raise ValueError("whatever")


def test_a_model_that_cannot_be_placed_names_another_way(plan):
    for device, hint in (("cpu", "--offload none"), ("cuda", "--device cpu")):
        with (
            pytest.raises(MachineError, match=f"cannot be placed on {device}") as caught,
            failures.placing(replace(plan, device=device)),
        ):
            raise RuntimeError("no kernel")
        assert caught.value.hint == hint


def test_faults_without_a_plan_leave_memory_alone():
    with (
        pytest.raises(ModelError, match="x cannot be loaded: KeyError"),
        failures.model_faults("x cannot be loaded"),
    ):
        raise KeyError
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        failures.model_faults("x cannot be loaded"),
    ):
        raise RuntimeError("CUDA out of memory")


def test_missing_weights_are_counted_and_the_first_is_named():
    failures.check_whole("x", ())
    with pytest.raises(ModelError, match="x lacks 2 of its weights, a among them"):
        failures.check_whole("x", {"b", "a"})


def test_reasons_are_cut_at_their_first_paragraph_and_length():
    assert failures.reason(ValueError("one\n two\n\nthree")) == "one two"
    assert failures.reason(ValueError("x" * failures.MAX_REASON)) == "x" * failures.MAX_REASON
    assert failures.reason(ValueError("x" * (failures.MAX_REASON + 1))).endswith("x...")
