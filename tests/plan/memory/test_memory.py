import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import MachineError, RequestError
from imggen.plan.memory import estimates, memory
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import GIB, flux, laptop, stable_diffusion, stable_diffusion_xl, with_cuda, with_mps
from tests.plan.memory.test_estimates import job, stored


def choose(given_job, **fields):
    return memory.choose(GenerateRequest(**fields), given_job)


def test_where_everything_fits_every_lever_stays_off_and_says_why():
    levers = choose(job(machine=with_cuda(), device="cuda", dtype="bfloat16"))
    assert levers.attention_slicing == "off"
    assert (levers.vae_tile, levers.offload, levers.vae_slicing) == (0, "none", False)
    names = [each.name for each in levers.reasons]
    assert names == ["memory", "attention_slicing", "vae_slicing", "vae_tiling", "offload"]
    assert all(each.reason for each in levers.reasons)
    assert levers.notes == ()


def test_tiling_comes_before_offloading():
    sdxl = stable_diffusion_xl()
    need = estimates.estimate(job(sdxl, None, "cuda", "bfloat16", 1024, 1024))
    roomy, tight = need.weights + need.decoding, need.weights + need.denoising
    offloaded = need.weights - GIB // 2
    chosen = [
        choose(job(sdxl, with_cuda(free=free + GIB, free_bytes=32 * GIB), "cuda", "bfloat16", 1024, 1024))
        for free in (roomy, tight, offloaded)
    ]
    assert [(each.vae_tile, each.offload) for each in chosen] == [(0, "none"), (512, "none"), (0, "model")]


LADDER = {
    # GiB free of a card that is told to have as much, with 64 GiB of main memory free
    ("sdxl", 24): ("none", 0),
    ("sdxl", 16): ("none", 0),
    ("sdxl", 12): ("none", 0),
    ("sdxl", 8): ("none", 512),
    ("sdxl", 6): ("group", 0),
    ("flux", 48): ("none", 0),
    ("flux", 24): ("model", 0),
    ("flux", 16): ("group", 0),
    ("flux", 12): ("group", 0),
    ("flux", 8): ("group", 0),
    ("flux", 6): ("group", 0),
}


@pytest.mark.parametrize(("model", "gib"), LADDER)
def test_the_rung_for_a_card_of_so_much_memory(model, gib):
    facts = stable_diffusion_xl() if model == "sdxl" else flux()
    machine = with_cuda(free=gib * GIB, free_bytes=60 * GIB)
    levers = choose(job(facts, machine, "cuda", "bfloat16", 1024, 1024, passes=2 if model == "sdxl" else 1))
    assert (levers.offload, levers.vae_tile) == LADDER[model, gib]
    assert levers.memory.peak_bytes <= levers.memory.free_bytes == gib * GIB


def test_quantised_flux_goes_part_by_part_where_plain_flux_goes_layer_by_layer():
    machine = with_cuda(free=16 * GIB, free_bytes=60 * GIB)
    given_job = job(flux(), machine, "cuda", "bfloat16", 1024, 1024, passes=1)
    assert choose(given_job).offload == "group"
    levers = choose(given_job, quantize="int8")
    assert (levers.offload, levers.quantize) == ("model", "int8")
    assert any("loses" in each for each in levers.notes)
    assert "loses" in next(each.reason for each in levers.reasons if each.name == "quantize")


def test_a_machine_short_of_main_memory_keeps_the_layers_on_the_disk():
    machine = with_cuda(free=12 * GIB, free_bytes=8 * GIB)
    half = stored(flux(), "bfloat16")
    assert choose(job(half, machine, "cuda", "bfloat16", 1024, 1024, passes=1)).offload == "disk"


@given(st.integers(2, 80), st.sampled_from([512, 768, 1024]))
def test_more_free_memory_never_pulls_a_harder_lever(gib, edge):
    cost = {"none": 0, "model": 1, "group": 2, "disk": 3, "sequential": 4}
    less, more = (
        choose(job(stable_diffusion_xl(), with_cuda(free=free * GIB), "cuda", "bfloat16", edge, edge))
        for free in (gib, gib + 1)
    )
    assert cost[more.offload] <= cost[less.offload]


@given(st.sampled_from([64, 128, 256, 512, 768, 1024]), st.sampled_from([64, 128, 512, 2048]))
def test_a_tile_that_is_asked_for_takes_effect(width, height):
    tile = choose(job(width=width, height=height), vae_tiling="on").vae_tile
    assert tile % 8 == 0
    assert 16 <= tile < max(width, height)
    assert tile <= 512


def test_a_recipes_tile_is_kept():
    assert choose(job(), vae_tile=256).vae_tile == 256
    assert choose(job(), vae_tile=0).vae_tile == 0


def test_tiling_is_refused_where_the_autoencoder_cannot():
    facts = stable_diffusion(components={"vae": ("diffusers", "VQModel")})
    with pytest.raises(RequestError, match="VQModel cannot decode in tiles"):
        choose(job(facts), vae_tiling="on")


@pytest.mark.parametrize("mode", ["model", "group", "disk", "sequential"])
def test_offloading_without_an_accelerator_is_refused(mode):
    with pytest.raises(RequestError, match=f"--offload {mode}") as caught:
        choose(job(), offload=mode)
    assert caught.value.hint == "leave --offload out"
    assert choose(job(), offload="none").offload == "none"


@pytest.mark.parametrize("mode", ["group", "disk", "sequential"])
def test_layers_have_nowhere_to_go_on_metal(mode):
    with pytest.raises(RequestError, match="share one here"):
        choose(job(machine=with_mps(), device="mps", dtype="float16"), offload=mode)


@pytest.mark.parametrize(
    ("offload", "quantize", "hint"),
    [
        ("sequential", "int8", "group"),
        ("sequential", "fp8", "disk"),
        ("disk", "int8", "group"),
        ("group", "nf4", "model"),
    ],
)
def test_quantised_weights_that_cannot_rest_like_that_are_refused(offload, quantize, hint):
    asked = job(machine=with_cuda(), device="cuda", dtype="bfloat16")
    with pytest.raises(RequestError, match=f"--offload {offload} and --quantize {quantize}") as caught:
        choose(asked, offload=offload, quantize=quantize)
    assert caught.value.hint == f"--offload {hint}"
    assert choose(asked, offload=hint, quantize=quantize).offload == hint


@pytest.mark.parametrize("offload", ["disk", "sequential"])
def test_a_file_of_quantised_weights_rests_in_memory(offload):
    facts = stable_diffusion(quantised={"unet": "Q4_K"})
    with pytest.raises(RequestError, match=f"--offload {offload} and sd-legacy/stable-diffusion-v1-5") as caught:
        choose(job(facts, with_cuda(), "cuda", "bfloat16"), offload=offload)
    assert caught.value.hint == "--offload group"


def test_convolutions_that_go_to_the_disk_are_not_turned(make_plan):
    asked = {"model": stable_diffusion(), "machine": with_cuda(), "width": 512, "height": 512}
    assert make_plan(**asked).channels_last
    assert not make_plan(**asked, offload="disk").channels_last


@pytest.mark.parametrize(
    ("quantize", "machine", "device", "facts", "message", "hint"),
    [
        ("fp8", with_mps(), "mps", {}, "Metal has no such numbers", "--quantize int8"),
        ("nf4", with_mps(), "mps", {}, "four bits are for CUDA, and this run is on mps", "--quantize int8"),
        ("nf4", laptop(), "cpu", {}, "four bits are for CUDA, and this run is on cpu", "--quantize int8"),
        ("int8", laptop(), "cpu", {"quantised": {"unet": "Q4_K"}}, r"already \(Q4_K\)", "leave --quantize out"),
    ],
)
def test_weights_that_cannot_be_quantised_are_refused(quantize, machine, device, facts, message, hint):
    with pytest.raises(RequestError, match=f"--quantize {quantize}: .*{message}") as caught:
        choose(job(stable_diffusion(**facts), machine, device, "bfloat16"), quantize=quantize)
    assert caught.value.hint == hint


def test_a_lora_is_not_added_to_weights_of_four_bits():
    asked = AdapterRequest(kind="lora", option="--lora", reference="a")
    added = AdapterFacts(asked=asked, files=(Path("a"),), sha256="0" * 64, reference="a")
    with pytest.raises(RequestError, match="a LoRA is not added"):
        choose(replace(job(machine=with_cuda(), device="cuda", dtype="bfloat16"), adapters=(added,)), quantize="nf4")


def test_what_was_asked_for_is_done_on_an_accelerator():
    levers = choose(job(machine=with_cuda(), device="cuda", dtype="bfloat16"), offload="model", vae_tiling="off")
    assert (levers.offload, levers.vae_tile) == ("model", 0)


def test_what_cannot_fit_is_refused_and_what_would_is_named():
    with pytest.raises(MachineError, match=r"needs at least about .* GiB, and 12\.0 GiB are free") as caught:
        choose(job(flux(), laptop(), width=1024, height=1024))
    assert caught.value.hint == "--dtype bfloat16"
    small = laptop(free_bytes=3 * GIB, cpu_bfloat16=True)
    sd = stored(stable_diffusion(), "bfloat16")
    with pytest.raises(MachineError) as caught:
        choose(job(sd, small, dtype="bfloat16", width=2048, height=2048))
    width, height = re.fullmatch(r"--size (\d+)x(\d+)", caught.value.hint).groups()
    fits = job(sd, small, dtype="bfloat16", width=int(width), height=int(height))
    assert choose(fits).memory.peak_bytes <= 3 * GIB
    with pytest.raises(MachineError):
        choose(replace(fits, width=int(width) + 8, height=int(height) + 8))


def test_a_card_that_is_too_small_for_one_layer_is_told_so():
    machine = with_cuda(free=GIB // 2, free_bytes=60 * GIB)
    with pytest.raises(MachineError, match="and 512 MiB are free"):
        choose(job(flux(), machine, "cuda", "bfloat16", 1024, 1024, passes=1))


def test_who_insists_on_a_place_gets_it_whatever_the_estimate_says():
    levers = choose(job(flux(), laptop(), width=1024, height=1024), offload="none")
    assert levers.memory.peak_bytes > levers.memory.free_bytes


def test_weights_that_do_not_stay_in_memory_are_noted_on_a_cpu():
    big = job(stored(flux(), "bfloat16"), laptop(cpu_bfloat16=True), dtype="bfloat16", width=512, height=512, passes=1)
    levers = choose(big)
    assert "each step reads them from the disk again" in levers.notes[0]


def test_metal_always_cuts_attention_into_chunks():
    levers = choose(job(machine=with_mps(), device="mps", dtype="float16"))
    assert levers.attention_slicing == "chunked"
    assert 0 < levers.attention_chunk_bytes <= GIB


@pytest.mark.parametrize(("machine", "device"), [(laptop(), "cpu"), (with_cuda(), "cuda")])
def test_attention_is_left_whole_where_torch_keeps_no_scores(machine, device):
    levers = choose(job(machine=machine, device=device, dtype="bfloat16", width=1024, height=1024))
    assert (levers.attention_slicing, levers.attention_chunk_bytes) == ("off", 0)


def test_diffusers_slicing_is_for_u_nets_and_not_for_metal_with_an_old_torch():
    assert choose(job(), attention_slicing="on").attention_slicing == "diffusers"
    with pytest.raises(RequestError, match=r"FLUX\.1 has no attention slicing"):
        choose(job(flux(), with_cuda(free=60 * GIB), "cuda", "bfloat16"), attention_slicing="on")
    old = with_mps(torch="2.13.0")
    with pytest.raises(RequestError, match="black pictures"):
        choose(job(machine=old, device="mps", dtype="float16"), attention_slicing="on")
    new = replace(old, torch="2.14.1")
    assert (
        choose(job(machine=new, device="mps", dtype="float16"), attention_slicing="on").attention_slicing == "diffusers"
    )


def test_several_pictures_are_decoded_one_by_one():
    assert choose(job(pictures=2)).vae_slicing is True
