"""How many bytes a picture takes: the counts that were fitted to measurements, and what they depend on."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.plan.memory import estimates
from imggen.plan.memory.estimates import GIB, MIB
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from tests.plan.conftest import builtin, flux, laptop, stable_diffusion, stable_diffusion_xl, straight


def job(facts=None, machine=None, device="cpu", dtype="float32", width=512, height=512, pictures=1, passes=2, **rest):
    facts = facts or stable_diffusion()
    return estimates.Job(
        family=catalog.find(facts),
        facts=facts,
        machine=machine or laptop(),
        device=device,
        dtype=dtype,
        width=width,
        height=height,
        pictures=pictures,
        passes=passes,
        **rest,
    )


def test_weights_are_counted_in_the_runs_dtype():
    half = estimates.estimate(job(dtype="bfloat16")).weights
    assert estimates.estimate(job(dtype="float32")).weights == 2 * half
    unknown = job(stable_diffusion(stored_dtypes={}), dtype="bfloat16")
    assert estimates.estimate(unknown).weights == half


def stored(facts, dtype):
    return replace(facts, stored_dtypes=dict.fromkeys(facts.weight_bytes, dtype))


def test_weights_that_stay_in_their_files_are_not_counted_as_private():
    sd = stored(stable_diffusion(), "bfloat16")
    assert estimates.estimate(job(sd, dtype="bfloat16")).private == 0
    turned = estimates.estimate(replace(job(sd, dtype="bfloat16"), channels_last=True)).private
    assert 0.6 * 1_720_000_000 < turned < 0.8 * 1_720_000_000
    converted = estimates.estimate(job(sd, dtype="float32"))
    assert converted.private == converted.weights
    assert converted.loading > 0 == estimates.estimate(job(sd, dtype="bfloat16")).loading
    pickled = estimates.estimate(job(replace(sd, pickles=("unet/x.bin",)), dtype="bfloat16"))
    assert pickled.private == pickled.weights


def test_a_header_says_which_weights_are_turned_and_which_are_quantised():
    shapes = {"unet": {"linear": (30, 10), "convolution": (10, 10, 3, 3), "pixelwise": (10, 10, 1, 1)}}
    facts = replace(stored(stable_diffusion(), "bfloat16"), shapes=shapes, weight_bytes={"unet": 2600})
    plain = job(facts, dtype="bfloat16")
    assert estimates.estimate(replace(plain, channels_last=True)).private == 1800
    assert estimates.estimate(replace(plain, quantize="int8")).weights == 2600 - 300


@pytest.mark.parametrize(("mode", "share"), [("int8", 0.51), ("fp8", 0.5), ("nf4", 0.3)])
def test_quantised_weights_are_smaller_and_only_the_denoisers(mode, share):
    plain, small = (
        estimates.estimate(replace(job(flux(), dtype="bfloat16"), quantize=each)) for each in ("none", mode)
    )
    saved = plain.weights - small.weights
    assert abs(saved / (23_800_000_000 * (1 - share)) - 1) < 0.05


@pytest.mark.parametrize(("kind", "counted"), [("lora", 16_000), ("vae", 0)])
def test_adapters_are_counted_unless_they_replace_something(kind, counted):
    asked = AdapterRequest(kind=kind, option=f"--{kind}", reference="a")
    facts = {"files": (Path("a"),), "sha256": "0" * 64, "reference": "a", "weight_bytes": 32_000}
    added = AdapterFacts(asked=asked, stored_dtype="float32", **facts)
    plain = job(dtype="bfloat16")
    more = estimates.estimate(replace(plain, adapters=(added,))).weights
    assert more - estimates.estimate(plain).weights == counted


def test_sizes_are_told_in_units_for_people():
    assert estimates.text(3 * GIB // 2) == "1.5 GiB"
    assert estimates.text(1) == "1 MiB"


def test_what_a_denoiser_keeps_of_what_it_looks_at_is_counted():
    facts = flux()
    config = facts.configs["transformer"] | {"num_layers": 2, "num_single_layers": 3}
    plain = replace(job(replace(facts, configs=facts.configs | {"transformer": config})), seen=(512 * 512,), passes=1)
    keeping = replace(plain, family=replace(plain.family, keeps_context=True))
    hidden = config.get("num_attention_heads", 24) * config.get("attention_head_dim", 128)
    tokens = 512 * 512 // 16**2 + plain.family.max_tokens
    assert estimates.denoising(keeping) - estimates.denoising(plain) == 2 * 5 * tokens * hidden * 4


def test_a_u_nets_step_grows_with_latents_passes_and_precision_and_with_attention_at_the_first_level():
    values = 64 * 64 * 320 * 2
    assert estimates.denoising(job()) == int(values * 4 * 48.8) + 45 * MIB
    assert estimates.denoising(job(dtype="bfloat16", passes=1, height=1024)) == int(values * 2 * 48.8) + 45 * MIB
    later = estimates.denoising(job(stable_diffusion_xl(), width=1024, height=1024))
    assert later == int(4 * values * 4 * 34.5) + 45 * MIB
    assert estimates.denoising(job(width=64, height=64)) == 145 * MIB


@pytest.mark.parametrize(
    ("pipeline", "copies", "words"),
    [("FluxPipeline", 28, 512), ("StableDiffusion3Pipeline", 22, 333), ("PixArtSigmaPipeline", 15, 0)],
)
def test_a_transformers_step_grows_with_its_tokens_by_what_its_family_holds(pipeline, copies, words):
    heads = {"num_attention_heads": 2, "attention_head_dim": 8}
    facts = straight(pipeline, vae={"block_out_channels": [8] * 4}, transformer=heads)
    tokens = 32 * 32 + words
    assert estimates.denoising(job(facts)) == tokens * 16 * 2 * 4 * copies
    seen = estimates.denoising(replace(job(facts), seen=(512 * 512,)))
    assert seen == (tokens + 32 * 32) * 16 * 2 * 4 * copies
    wide = replace(facts, configs=facts.configs | {"transformer": heads | {"hidden_size": 32}})
    assert estimates.denoising(job(wide)) == 2 * estimates.denoising(job(facts))


def test_a_cascades_step_is_that_of_its_decoder():
    facts = straight("StableCascadeCombinedPipeline", decoder={"block_out_channels": [320, 640], "patch_size": 2})
    latents = 512 // catalog.vae_scale(facts) // 2
    assert estimates.denoising(job(facts)) == int(latents**2 * 320 * 4 * 14.5) + 160 * MIB


@pytest.mark.parametrize(
    ("vae", "copies", "mib"),
    [
        ("AutoencoderKL", 9.8, 100),
        ("AutoencoderDC", 6.0, 50),
        ("AutoencoderKLQwenImage", 17.2, 150),
        ("AutoencoderKLWan", 17.2, 150),
        ("AutoencoderKLQwenImage21", 24.5, 240),
        ("PaellaVQModel", 2.7, 430),
    ],
)
def test_decoding_is_counted_by_the_autoencoders_class(vae, copies, mib):
    facts = stable_diffusion(components={"vae": ("diffusers", vae)})
    assert estimates.decoding(job(facts), 256, 128) == int(256 * 128 * 128 * 4 * copies) + mib * MIB


def test_decoding_takes_less_in_channels_last_and_float32_where_the_pipeline_upcasts():
    sd, sdxl = (replace(job(facts), channels_last=True) for facts in (stable_diffusion(), stable_diffusion_xl()))
    assert estimates.decoding(sd, 64, 64) == int(64 * 64 * 128 * 4 * 6.9) + 120 * MIB
    deep = replace(sd, facts=stable_diffusion(configs={"unet": {"transformer_layers_per_block": [0, 2]}, "vae": {}}))
    assert estimates.decoding(deep, 64, 64) == int(64 * 64 * 128 * 4 * 6.9) + 375 * MIB
    half = estimates.decoding(replace(sdxl, dtype="float16"), 64, 64)
    assert half == estimates.decoding(sdxl, 64, 64) > estimates.decoding(replace(sdxl, dtype="bfloat16"), 64, 64)


def test_a_model_that_draws_pixels_only_copies_them():
    facts = replace(straight("PRXPixelPipeline"), components={})
    assert estimates.decoding(job(facts), 64, 32) == 64 * 32 * 24


def test_what_tiles_leave_behind_is_counted_in_main_memory():
    plain, gpu = job(), job(device="cuda")
    assert estimates.decoding_tiled(plain, 256) == estimates.decoding(plain, 256, 256) + 250 * MIB
    assert estimates.decoding_tiled(gpu, 256) == estimates.decoding(gpu, 256, 256)


def test_the_libraries_share_main_memory_and_a_large_encoder_leaves_buffers_there():
    assert estimates.estimate(job(builtin())).base == 490 * MIB
    assert estimates.estimate(job(flux())).base == 670 * MIB
    assert estimates.estimate(job(flux(), device="cuda")).base == 0


@pytest.mark.parametrize(("projections", "share"), [(False, 0.31), (True, 0.87)])
def test_without_a_header_a_u_nets_linear_layers_are_those_of_its_kind(projections, share):
    facts = stable_diffusion(configs={"unet": {"use_linear_projection": projections}}, weight_bytes={"unet": 1000})
    small = estimates.estimate(replace(job(facts, dtype="bfloat16"), quantize="int8"))
    assert small.weights == int(500 * (share + (1 - share) * 2))
    assert estimates.estimate(job(facts, dtype="bfloat16")).layer == 1000 // 32


def test_weights_that_are_widened_are_held_beside_for_a_while():
    facts = stored(stable_diffusion(weight_bytes={"unet": 1000, "vae": 100}), "bfloat16")
    assert estimates.estimate(job(facts)).loading == 800
    largest = estimates.estimate(job(facts))
    assert (largest.largest, largest.rest) == (2000, 200)


def test_the_largest_picture_that_is_encoded_or_decoded_counts():
    plain = job()
    seen = estimates.estimate(replace(plain, seen=(2 * 512 * 512, 100))).decoding
    assert seen == estimates.decoding(plain, 2 * 512 * 512, 1) > estimates.estimate(plain).decoding
