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
    with pytest.raises(RequestError, match=r"--quantize nf4: a LoRA is not added to weights of four bits$") as caught:
        choose(replace(job(machine=with_cuda(), device="cuda", dtype="bfloat16"), adapters=(added,)), quantize="nf4")
    assert caught.value.hint == "--quantize int8"


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


ACCELERATED = {"machine": with_cuda(), "device": "cuda", "dtype": "bfloat16"}
METAL = {"machine": with_mps(), "device": "mps", "dtype": "float16"}
SLICELESS = stable_diffusion(components={"vae": ("diffusers", "VQModel")})
PIXELS = stable_diffusion(
    components={"unet": ("diffusers", "UNet2DConditionModel")},
    configs={"unet": {"sample_size": 64, "block_out_channels": [320, 640]}},
    weight_bytes={"unet": 1_720_000_000},
)
READ_AS_STORED = stored(stable_diffusion(), "bfloat16")
HALF = {"facts": READ_AS_STORED, "dtype": "bfloat16"}
REASONS = [
    # job, request, lever, its value, its reason
    ({}, {}, "memory", "about 5.8 GiB of 12.0 GiB", "weights 4.0 GiB; a step 533 MiB; decoding 1.3 GiB"),
    (HALF, {}, "memory", "about 1.2 GiB of 12.0 GiB", "weights 2.0 GiB, of which 2.0 GiB stay in their files; a step"),
    (
        ACCELERATED | {"facts": READ_AS_STORED},
        {"vae_tiling": "on"},
        "memory",
        "about 2.3 GiB of 22.0 GiB",
        "weights 2.0 GiB; a step 289 MiB; decoding 257 MiB",
    ),
    ({}, {}, "attention_slicing", "off", "on cpu torch never keeps all scores at once"),
    (ACCELERATED, {}, "attention_slicing", "off", "on cuda torch never keeps all scores at once"),
    (ACCELERATED, {"attention_slicing": "auto"}, "attention_slicing", "off", "on cuda torch never"),
    (METAL, {}, "attention_slicing", "chunked", "Metal keeps the whole matrix of scores in memory"),
    (METAL, {"attention_slicing": "off"}, "attention_slicing", "off", "asked for"),
    ({}, {"attention_slicing": "on"}, "attention_slicing", "diffusers", "asked for"),
    ({}, {}, "vae_slicing", "off", "there is one picture"),
    ({"pictures": 2}, {}, "vae_slicing", "on", "each picture is decoded by itself"),
    ({"facts": SLICELESS}, {}, "vae_slicing", "off", "there is one picture"),
    ({"facts": SLICELESS, "pictures": 2}, {}, "vae_slicing", "off", "VQModel has no slices, and each picture is drawn"),
    (
        {"facts": PIXELS, "width": 64, "height": 64, "pictures": 2},
        {},
        "vae_slicing",
        "off",
        "no autoencoder has no slices, and each",
    ),
    ({}, {}, "vae_tiling", "off", "decoding whole takes about 1.3 GiB"),
    ({"facts": SLICELESS}, {}, "vae_tiling", "off", "decoding whole takes about 1.3 GiB, and VQModel cannot decode in"),
    (
        {"facts": PIXELS, "width": 64, "height": 64},
        {},
        "vae_tiling",
        "off",
        "it draws pixels itself, so there is nothing to decode",
    ),
    ({}, {"vae_tile": 128}, "vae_tiling", "128 px", "as the recipe records"),
    ({}, {"vae_tiling": "on"}, "vae_tiling", "256 px", "asked for"),
    ({}, {"vae_tiling": "off"}, "vae_tiling", "off", "asked for"),
    ({"seamless": True}, {}, "vae_tiling", "off", "tiles would not see the other edge of a seamless picture"),
    ({}, {}, "offload", "none", "everything is in main memory already"),
    (METAL, {}, "offload", "none", "processor and GPU share one memory, so there is nowhere to put things off to"),
    (METAL, {"offload": "model"}, "offload", "model", "asked for"),
    (ACCELERATED, {"offload": "disk"}, "offload", "disk", "asked for"),
    (ACCELERATED, {}, "offload", "none", "22.0 GiB are free, and everything takes about 2.7 GiB"),
    (ACCELERATED, {"offload": "auto"}, "offload", "none", "22.0 GiB are free, and everything takes about 2.7 GiB"),
    (ACCELERATED, {"quantize": "int8"}, "quantize", "int8", "asked for; it loses some of the model's precision"),
]


@pytest.mark.parametrize(("kind", "fields", "lever", "value", "reason"), REASONS)
def test_a_lever_says_its_value_and_why(kind, fields, lever, value, reason):
    levers = choose(job(**kind), **fields)
    record = next(record for record in levers.reasons if record.name == lever)
    assert record.value == value
    assert record.reason.startswith(reason)


@pytest.mark.parametrize(
    ("free", "value", "reason"),
    [
        (3, "512 px", "decoding whole takes about 2.5 GiB, in tiles 728 MiB"),
        (16, "off", "decoding whole takes about 2.5 GiB"),
    ],
)
def test_a_tile_says_what_it_saves(free, value, reason):
    levers = choose(job(**ACCELERATED | {"machine": with_cuda(free=free * GIB), "width": 1024, "height": 1024}))
    assert (levers.reasons[3].value, levers.reasons[3].reason) == (value, reason)


CARD = {"device": "cuda", "dtype": "bfloat16", "width": 1024, "height": 1024, "passes": 1}
FLUX = stored(flux(), "bfloat16")
FLUX_IN_FLOAT16 = stored(flux(), "float16")


def test_a_rung_holds_what_rests_on_the_device_and_what_works():
    need = estimates.estimate(job(FLUX, with_cuda(), **CARD))
    peaks = {
        offload: choose(job(FLUX, with_cuda(), **CARD), offload=offload, vae_tiling="off").memory.peak_bytes
        for offload in ("none", "model", "group", "disk", "sequential")
    }
    working = max(need.denoising, need.decoding)
    assert working == need.decoding
    assert peaks["none"] == need.weights + working
    assert peaks["model"] == need.largest + need.denoising
    assert peaks["group"] == peaks["disk"] == need.rest + 2 * need.layer + working
    assert peaks["sequential"] == need.layer + working


def test_decoding_is_the_peak_of_a_small_model_that_moves_as_whole_parts():
    asked = job(stable_diffusion(), with_cuda(), **CARD | {"width": 2048, "height": 2048})
    need = estimates.estimate(asked)
    memory_need = choose(asked, offload="model", vae_tiling="off").memory
    assert memory_need.peak_bytes == need.rest + need.decoding > need.largest + need.denoising
    assert memory_need.decoding_bytes == need.decoding
    tiled = choose(asked, offload="model", vae_tiling="on").memory
    assert tiled.decoding_bytes == estimates.decoding_tiled(asked, 512) < need.decoding


@pytest.mark.parametrize("offload", ["none", "model", "group", "sequential"])
def test_a_card_takes_a_rung_down_to_its_last_byte_above_the_reserve(offload):
    order = ("none", "model", "group", "sequential")
    asked = job(FLUX, with_cuda(), **CARD)
    held = choose(asked, offload=offload, vae_tiling="off").memory.peak_bytes
    # what stays free is a tenth, at most a GiB
    free = (
        held + GIB
        if held > 9 * GIB
        else next(size for size in range(held * 10 // 9 - 9, 2 * held) if size - size // 10 == held)
    )
    roomy = {"free_bytes": 60 * GIB}
    assert choose(replace(asked, machine=with_cuda(free=free, **roomy)), vae_tiling="off").offload == offload
    less = choose(replace(asked, machine=with_cuda(free=free - 1, **roomy)), vae_tiling="off").offload
    assert order.index(less) == min(order.index(offload) + 1, 3)


@pytest.mark.parametrize("offload", ["model", "group"])
def test_parts_that_rest_in_main_memory_need_room_there(offload):
    asked = job(FLUX, **CARD)
    free = 30 * GIB if offload == "model" else 12 * GIB
    resting = estimates.estimate(job(FLUX, with_cuda(), **CARD)).weights + GIB
    rungs = [
        choose(replace(asked, machine=with_cuda(free=free, free_bytes=host))).offload for host in (resting, resting - 1)
    ]
    assert rungs == [offload, "disk"]


def test_a_rung_that_fits_only_without_the_reserve_is_taken_last():
    asked = job(READ_AS_STORED, dtype="bfloat16")
    whole, tiled = (choose(asked, vae_tiling=mode).memory.peak_bytes for mode in ("off", "on"))
    assert tiled < whole
    fits = [
        choose(replace(asked, machine=laptop(free_bytes=free)), **fields).memory.peak_bytes
        for free, fields in ((whole, {}), (whole, {"vae_tiling": "off"}), (tiled, {}))
    ]
    assert fits == [tiled, whole, tiled]
    with pytest.raises(MachineError):
        choose(replace(asked, machine=laptop(free_bytes=tiled - 1)), vae_tiling="on")


def metal(free, **changes):
    machine = with_mps(free_bytes=free, **changes)
    return replace(machine, accelerators=(replace(machine.accelerators[0], free_bytes=free),))


def test_metal_makes_room_in_the_whole_of_main_memory():
    asked = job(machine=with_mps(), device="mps", dtype="float16", width=2048, height=2048)
    held = choose(asked, vae_tiling="off", offload="none").memory.peak_bytes
    for machine in (metal(GIB, memory_bytes=held), metal(held, memory_bytes=GIB)):
        assert choose(replace(asked, machine=machine), vae_tiling="off").offload == "none"
    with pytest.raises(MachineError):
        choose(replace(asked, machine=metal(GIB, memory_bytes=held - 1)), vae_tiling="off")


REFUSALS = [
    (
        {"seamless": True},
        {"vae_tiling": "on"},
        "--tile and --vae-tiling on contradict each other: tiles do not see the other edge",
        "leave --vae-tiling out",
    ),
    (
        {"facts": PIXELS, "width": 64, "height": 64},
        {"vae_tiling": "on"},
        "--vae-tiling on: sd-legacy/stable-diffusion-v1-5: it draws pixels itself, so there is nothing to decode",
        "leave --vae-tiling out",
    ),
    (
        {"facts": SLICELESS},
        {"vae_tiling": "on"},
        "--vae-tiling on: VQModel cannot decode in tiles",
        "--vae-tiling auto",
    ),
    ({}, {"vae_tile": 100}, "the recipe's tile of 100 px is none that this model can decode in", "--vae-tiling auto"),
    ({}, {"vae_tile": 8}, "the recipe's tile of 8 px is none", "--vae-tiling auto"),
    ({}, {"vae_tile": 2056}, "the recipe's tile of 2056 px is none", "--vae-tiling auto"),
    (METAL, {"offload": "group"}, "--offload group moves layers between two memories", "leave --offload out"),
    (
        ACCELERATED,
        {"offload": "sequential", "quantize": "int8"},
        "--offload sequential and --quantize int8: layers are moved by a way that knows plain weights only",
        "--offload group",
    ),
    (
        ACCELERATED,
        {"offload": "disk", "quantize": "int8"},
        "--offload disk and --quantize int8: quantised weights cannot be written to the disk and read again",
        "--offload group",
    ),
    (
        ACCELERATED,
        {"offload": "group", "quantize": "nf4"},
        "--offload group and --quantize nf4: weights of four bits move as whole parts only",
        "--offload model",
    ),
    (
        ACCELERATED | {"facts": flux()},
        {"attention_slicing": "on"},
        "--attention-slicing on: FLUX.1 has no attention slicing (",
        "--attention-slicing auto",
    ),
    (
        METAL | {"machine": with_mps(torch="2.13.9+cpu")},
        {"attention_slicing": "on"},
        "--attention-slicing on gives black pictures on Metal with torch 2.13.9+cpu (diffusers #14438)",
        "--attention-slicing auto, which is exact and saves as much",
    ),
    (
        {"facts": stable_diffusion(quantised={"unet": "Q4_K", "vae": "F16", "text_encoder": "Q4_K"})},
        {"quantize": "int8"},
        "--quantize int8: sd-legacy/stable-diffusion-v1-5 is quantised already (F16, Q4_K)",
        "leave --quantize out",
    ),
    (METAL, {"quantize": "fp8"}, "--quantize fp8: Metal has no such numbers", "--quantize int8"),
]


@pytest.mark.parametrize(("kind", "fields", "message", "hint"), REFUSALS)
def test_a_refusal_names_the_lever_the_reason_and_the_way_out(kind, fields, message, hint):
    asked = job(**kind)
    with pytest.raises(RequestError) as caught:
        choose(asked, **fields)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("kind", "fields", "tile"),
    [
        ({}, {"vae_tile": 16}, 16),
        ({"machine": laptop(free_bytes=90 * GIB)}, {"vae_tile": 2048}, 2048),
        ({"width": 1200, "height": 1200}, {"vae_tiling": "on"}, 512),
        ({"width": 1000, "height": 64}, {"vae_tiling": "on"}, 496),
        ({"width": 64, "height": 504}, {"vae_tiling": "on"}, 248),
        ({"width": 24, "height": 24}, {"vae_tiling": "on"}, 16),
    ],
)
def test_a_tile_is_whole_latents_and_at_most_half_the_picture(kind, fields, tile):
    assert choose(job(**kind), **fields).vae_tile == tile


def test_a_seamless_picture_is_decoded_whole_where_memory_is_short():
    tight = ACCELERATED | {"machine": with_cuda(free=3 * GIB), "width": 1024, "height": 1024}
    assert [choose(job(**tight, seamless=seamless)).vae_tile for seamless in (False, True)] == [512, 0]


def test_a_model_without_an_autoencoder_class_is_not_tiled_nor_sliced():
    levers = choose(job(PIXELS, pictures=2, width=64, height=64))
    assert (levers.vae_tile, levers.vae_slicing) == (0, False)


@pytest.mark.parametrize(
    ("torch", "taken"), [("2.14.0", True), ("2.14+cu130", True), ("2.13.14", False), ("3.0", True), ("1.99", False)]
)
def test_sliced_attention_on_metal_is_a_matter_of_torchs_version(torch, taken):
    asked = job(**METAL | {"machine": with_mps(torch=torch)})
    if taken:
        levers = choose(asked, attention_slicing="on")
        assert (levers.attention_slicing, levers.attention_chunk_bytes) == ("diffusers", 0)
        return
    with pytest.raises(RequestError, match="black pictures"):
        choose(asked, attention_slicing="on")


@pytest.mark.parametrize(("free", "chunk"), [(3 * GIB, 3 * GIB // 8), (16 * GIB, GIB), (80, 64 * memory.MIB)])
def test_metals_chunk_is_an_eighth_of_what_is_free_within_its_limits(free, chunk):
    levers = choose(job(**METAL | {"machine": metal(free)}), offload="none")
    assert levers.attention_chunk_bytes == chunk
    assert isinstance(levers.attention_chunk_bytes, int)
    assert choose(job(**METAL), attention_slicing="off").attention_chunk_bytes == 0


SMALL = {"dtype": "bfloat16", "width": 1024, "height": 1536}
LARGE = {"dtype": "bfloat16", "width": 1024, "height": 1024, "passes": 1}
NOTHING = "a smaller model, or a machine with more memory"


def short(gib, **changes):
    return laptop(**{"free_bytes": int(gib * GIB), "cpu_bfloat16": True} | changes)


@pytest.mark.parametrize(
    ("asked", "fields", "hint"),
    [
        (job(READ_AS_STORED, short(1.5), **SMALL), {}, "--size 840x1264"),
        (job(READ_AS_STORED, short(1.5), **SMALL | {"width": 1536, "height": 1024}), {}, "--size 1264x840"),
        (job(READ_AS_STORED, short(1.5), **SMALL), {"vae_tile": 0}, "--size 840x1264"),
        (job(READ_AS_STORED, short(1.5), **SMALL), {"task": "outpaint"}, NOTHING),
        (job(READ_AS_STORED, short(0.5), **SMALL), {}, NOTHING),
        (job(FLUX_IN_FLOAT16, short(24), **LARGE), {}, "--quantize int8"),
        (job(FLUX_IN_FLOAT16, short(24), **LARGE), {"offload": "auto"}, "--quantize int8"),
        (job(FLUX_IN_FLOAT16, short(21.6), **LARGE), {}, "--quantize fp8"),
        (job(FLUX_IN_FLOAT16, with_cuda(free=60 * GIB, free_bytes=18 * GIB), **CARD), {}, "--quantize nf4"),
        (job(FLUX_IN_FLOAT16, short(21.4), **LARGE), {}, "--quantize int8 --size 368x368"),
        (job(FLUX_IN_FLOAT16, short(21.4), **LARGE), {"quantize": "int8"}, "--size 368x368"),
        (job(FLUX_IN_FLOAT16, short(20), **LARGE), {"quantize": "int8"}, NOTHING),
        (job(FLUX, short(40), **LARGE | {"dtype": "float32"}), {}, "--quantize int8 or --dtype bfloat16"),
        (job(FLUX, short(31), **LARGE | {"dtype": "float32"}), {"quantize": "int8"}, "--dtype bfloat16"),
        (
            job(FLUX, with_cuda(free=20 * GIB, free_bytes=20 * GIB), **CARD | {"dtype": "float32"}),
            {},
            "--dtype bfloat16",
        ),
        (
            job(FLUX, with_cuda(free=20 * GIB, free_bytes=20 * GIB, bfloat16=False), **CARD | {"dtype": "float32"}),
            {},
            NOTHING,
        ),
        (job(FLUX, with_mps(), **LARGE | {"device": "mps", "dtype": "float32"}), {}, NOTHING),
    ],
)
def test_what_would_fit_instead_is_named(asked, fields, hint):
    with pytest.raises(MachineError) as caught:
        choose(asked, **fields)
    assert caught.value.hint == hint


def test_a_picture_that_is_narrower_than_the_models_smallest_keeps_its_edge():
    narrow = job(READ_AS_STORED, dtype="bfloat16", width=56, height=8192)
    held = choose(narrow, vae_tiling="off").memory.peak_bytes
    with pytest.raises(MachineError) as caught:
        choose(replace(narrow, machine=laptop(free_bytes=held - 1)), vae_tiling="off")
    assert caught.value.hint == "--size 56x8184"


def test_what_is_put_off_says_how_and_what_that_takes():
    record = choose(job(FLUX, with_cuda(free=12 * GIB, free_bytes=60 * GIB), **CARD)).reasons[4]
    start = "12.0 GiB are free, and everything takes about 33.7 GiB"
    assert (record.name, record.value) == ("offload", "group")
    assert record.reason == f"{start}; one layer on it at a time and the next one on its way takes 4.1 GiB"


def test_main_memory_that_is_too_small_is_told_apart_from_a_card_that_is():
    host, card = 10 * GIB, GIB
    messages = []
    for machine in (with_cuda(free=60 * GIB, free_bytes=host), with_cuda(free=card, free_bytes=60 * GIB)):
        with pytest.raises(MachineError) as caught:
            choose(job(FLUX_IN_FLOAT16, machine, **CARD))
        messages.append(caught.value.message)
    start = "black-forest-labs/FLUX.1-dev at 1024x1024 in bfloat16 needs at least about "
    assert messages == [
        f"{start}31.2 GiB of main memory, and 10.0 GiB are free",
        f"{start}1.4 GiB, and 1.0 GiB are free",
    ]


def test_weights_that_just_stay_in_memory_are_not_noted():
    asked = job(READ_AS_STORED, dtype="bfloat16")
    levers = choose(asked, offload="none")
    room = levers.memory.peak_bytes + levers.memory.weights_bytes
    noted = [
        choose(replace(asked, machine=laptop(free_bytes=free)), vae_tiling="off").notes for free in (room, room - 1)
    ]
    assert noted[0] == ()
    size, room_text = memory.text(levers.memory.weights_bytes), memory.text(room - 1)
    messages = f"the weights ({size}) do not stay in the {room_text} that are free"
    assert noted[1] == (f"{messages}, so each step reads them from the disk again",)
    assert choose(job(READ_AS_STORED, with_cuda(free_bytes=1), "cuda", "bfloat16")).notes == ()
    # Weights that are converted stay in no file.
    assert choose(job(machine=laptop(free_bytes=1)), vae_tiling="off", offload="none").notes == ()


SDXL = stable_diffusion_xl()
CHUNKED = {"device": "mps", "attention_slicing": "chunked"}


@pytest.mark.parametrize(
    ("decided", "insisted", "stage", "line"),
    [
        ({}, {}, "decode", "decoding in tiles of 512 px"),
        ({}, {}, "write", "decoding in tiles of 512 px"),
        ({}, {}, "denoise", "--offload model, one part of the model on it at a time"),
        ({}, {}, "encode", "--offload model, one part of the model on it at a time"),
        ({}, {"vae_tiling": "off"}, "decode", "--offload model, one part of the model on it at a time"),
        ({"vae_tile": 512}, {}, "decode", "decoding in tiles of 256 px"),
        ({"vae_tile": 256}, {}, "decode", "--offload model, one part of the model on it at a time"),
        ({"tile": "both"}, {}, "decode", "--offload model, one part of the model on it at a time"),
        ({"offload": "model"}, {}, "denoise", "--offload group, one layer on it at a time and the next one on its way"),
        ({"offload": "group"}, {}, "denoise", "--offload sequential, one layer on it at a time, very slow"),
        ({"offload": "disk"}, {}, "denoise", "--offload sequential, one layer on it at a time, very slow"),
        ({"offload": "sequential"}, {}, "denoise", None),
        ({"quantize": "int8", "offload": "group"}, {}, "denoise", None),
        ({"quantize": "nf4", "offload": "model"}, {}, "denoise", None),
        ({}, {"offload": "none"}, "denoise", None),
        ({}, {"offload": "auto"}, "denoise", "--offload model, one part of the model on it at a time"),
        ({"device": "mps"}, {}, "denoise", None),
        (CHUNKED | {"attention_chunk_bytes": GIB}, {}, "denoise", "attention in chunks of 256 MiB"),
        (CHUNKED | {"attention_chunk_bytes": 100 * memory.MIB}, {}, "denoise", "attention in chunks of 64 MiB"),
        (CHUNKED | {"attention_chunk_bytes": 65 * memory.MIB}, {}, "denoise", "attention in chunks of 64 MiB"),
        (CHUNKED | {"attention_chunk_bytes": 64 * memory.MIB}, {}, "denoise", None),
    ],
)
def test_the_next_rung_down(make_plan, decided, insisted, stage, line):
    plan = make_plan(SDXL, with_cuda(), width=1024, height=1024)
    rung = memory.step_down(replace(plan, **decided), GenerateRequest(**insisted), stage)
    assert (rung and rung.line) == line


@pytest.mark.parametrize(
    ("decided", "stage", "lever", "changed"),
    [
        ({}, "decode", ("vae_tiling", "512 px", "memory ran out"), {"vae_tile": 512}),
        ({}, "denoise", ("offload", "model", "memory ran out"), {"offload": "model"}),
        (
            CHUNKED | {"attention_chunk_bytes": GIB},
            "denoise",
            ("attention_slicing", "chunked", "memory ran out; 256 MiB at a time"),
            {"attention_chunk_bytes": GIB // 4},
        ),
    ],
)
def test_a_rung_down_is_written_into_the_plan_and_nothing_else_changes(make_plan, decided, stage, lever, changed):
    plan = replace(make_plan(SDXL, with_cuda(), width=1024, height=1024), **decided)
    lower = memory.step_down(plan, GenerateRequest(), stage).plan
    before, after = ({record.name: record for record in levers} for levers in (plan.levers, lower.levers))
    record = after[lever[0]]
    assert (record.name, record.value, record.reason) == lever
    assert after == before | {lever[0]: record}
    assert lower == replace(plan, levers=lower.levers, **changed)


def test_a_picture_that_was_read_is_read_in_tiles(make_plan, tmp_path):
    plan = make_plan(SDXL, with_cuda(), width=1024, height=1024)
    given_plan = replace(plan, given=(object(),))
    assert memory.step_down(given_plan, GenerateRequest(), "encode").line == "decoding in tiles of 512 px"


def test_an_autoencoder_that_cannot_tile_is_moved_away_at_once(make_plan):
    plan = replace(make_plan(SDXL, with_cuda(), width=1024, height=1024), model=SLICELESS)
    assert memory.step_down(plan, GenerateRequest(), "decode").line.startswith("--offload model")
