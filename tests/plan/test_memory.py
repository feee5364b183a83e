from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import MachineError, RequestError
from imggen.plan import catalog, memory
from imggen.plan.request import GenerateRequest
from tests.plan.conftest import GIB, builtin, flux, laptop, stable_diffusion, stable_diffusion_xl, with_cuda, with_mps


def job(facts=None, machine=None, device="cpu", dtype="float32", width=512, height=512, pictures=1, passes=2):
    facts = facts or stable_diffusion()
    return memory.Job(
        family=catalog.find(facts),
        facts=facts,
        machine=machine or laptop(),
        device=device,
        dtype=dtype,
        width=width,
        height=height,
        pictures=pictures,
        passes=passes,
    )


def choose(given_job, **fields):
    return memory.choose(GenerateRequest(**fields), given_job)


def test_where_everything_fits_every_lever_stays_off_and_says_why():
    levers = choose(job(machine=with_cuda(), device="cuda", dtype="bfloat16"))
    assert levers.attention_slicing == "off"
    assert (levers.vae_tile, levers.offload, levers.vae_slicing) == (0, "none", False)
    assert {each.name for each in levers.reasons} == {"attention_slicing", "vae_slicing", "vae_tiling", "offload"}
    assert all(each.reason for each in levers.reasons)


def test_weights_are_counted_in_the_runs_dtype():
    half = memory.estimate(job(dtype="bfloat16")).weights
    assert memory.estimate(job(dtype="float32")).weights == 2 * half
    unknown = job(stable_diffusion(stored_dtypes={}), dtype="bfloat16")
    assert memory.estimate(unknown).weights == half


def test_a_decode_that_was_measured_is_estimated_within_a_tenth():
    decoding = memory.estimate(job(dtype="bfloat16", width=1024, height=1024)).decoding
    assert abs(decoding / 2.47e9 - 1) < 0.1


def test_tiling_comes_before_offloading():
    sdxl = stable_diffusion_xl()
    weights = memory.estimate(job(sdxl, dtype="bfloat16")).weights
    roomy = job(sdxl, with_cuda(free=int((weights + 3 * GIB) / 0.9)), "cuda", "bfloat16", 1024, 1024)
    tight = job(sdxl, with_cuda(free=int((weights + 1.5 * GIB) / 0.9)), "cuda", "bfloat16", 1024, 1024)
    tighter = job(sdxl, with_cuda(free=int((weights - GIB // 2) / 0.9)), "cuda", "bfloat16", 1024, 1024)
    assert (choose(roomy).vae_tile, choose(roomy).offload) == (0, "none")
    assert (choose(tight).vae_tile, choose(tight).offload) == (512, "none")
    assert choose(tighter).offload == "model"


def test_a_model_whose_largest_part_does_not_fit_goes_layer_by_layer():
    levers = choose(job(flux(), with_cuda(free=12 * GIB), "cuda", "bfloat16", 1024, 1024, passes=1))
    assert levers.offload == "sequential"
    fits = choose(job(flux(), with_cuda(free=40 * GIB), "cuda", "bfloat16", 1024, 1024, passes=1))
    assert fits.offload == "none"


@given(st.integers(1, 80), st.sampled_from([512, 768, 1024]))
def test_more_free_memory_never_pulls_a_harder_lever(gib, edge):
    cost = {"none": 0, "model": 1, "sequential": 2}
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


@pytest.mark.parametrize("mode", ["model", "sequential"])
def test_offloading_without_an_accelerator_is_refused(mode):
    with pytest.raises(RequestError, match=f"--offload {mode}") as caught:
        choose(job(), offload=mode)
    assert caught.value.hint == "leave --offload out"
    assert choose(job(), offload="none").offload == "none"


def test_what_was_asked_for_is_done_on_an_accelerator():
    levers = choose(job(machine=with_cuda(), device="cuda", dtype="bfloat16"), offload="model", vae_tiling="off")
    assert (levers.offload, levers.vae_tile) == ("model", 0)


def test_a_model_larger_than_the_machine_is_a_machine_error():
    with pytest.raises(MachineError, match=r"this machine has 16\.0 GiB"):
        choose(job(flux(), laptop(), width=1024, height=1024))


def test_metal_always_cuts_attention_into_chunks():
    levers = choose(job(machine=with_mps(), device="mps", dtype="float16"))
    assert levers.attention_slicing == "chunked"
    assert 0 < levers.attention_chunk_bytes <= GIB


def test_scores_that_do_not_fit_are_cut_into_chunks():
    small = laptop(free_bytes=2 * GIB)
    levers = choose(job(builtin(), small, width=256, height=256))
    assert levers.attention_slicing == "off"
    levers = choose(job(stable_diffusion(), small, width=1024, height=1024))
    assert levers.attention_slicing == "chunked"
    assert levers.attention_chunk_bytes == 2 * GIB // 8
    assert (
        choose(job(stable_diffusion(), small, width=1024, height=1024), attention_slicing="off").attention_slicing
        == "off"
    )


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


def test_sizes_are_told_in_units_for_people():
    assert memory.text(3 * GIB // 2) == "1.5 GiB"
    assert memory.text(1) == "1 MiB"
