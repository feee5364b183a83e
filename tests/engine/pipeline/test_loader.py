import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from imggen.engine import failures
from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import MachineError, ModelError, RequestError
from imggen.plan.schema.request import Scheduler


@pytest.fixture
def model(tiny_models, tmp_path):
    """A copy of a tiny Stable Diffusion that a test may change."""
    return Path(shutil.copytree(tiny_models("sd"), tmp_path / "model"))


def change_weights(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_component_has_the_plans_dtype(tiny_models, make_plan, dtype):
    pipeline = loader.load(make_plan(tiny_models("sd"), dtype=dtype))
    for name in ("unet", "vae", "text_encoder"):
        assert {each.dtype for each in getattr(pipeline, name).parameters()} == {getattr(torch, dtype)}


def test_a_component_may_have_a_dtype_of_its_own(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"), dtype="bfloat16", component_dtypes={"vae": "float32"})
    pipeline = loader.load(plan)
    assert (pipeline.unet.dtype, pipeline.vae.dtype) == (torch.bfloat16, torch.float32)
    assert next(sampler.sample(pipeline, plan)).image.size == (64, 64)


def test_loading_is_reported_component_by_component(tiny_models, make_plan):
    events = []
    loader.load(make_plan(tiny_models("sdxl")), on_event=events.append)
    assert [(each.stage, each.step, each.steps) for each in events] == [("load", step, 4) for step in range(5)]


@pytest.mark.parametrize("component", [UNET, TEXT])
def test_missing_weights_are_refused_and_named(model, make_plan, component):
    change_weights(model / component, lambda tensors: tensors.pop(min(tensors)))
    with pytest.raises(ModelError, match=rf"{component.split('/')[0]} of .* lacks 1 of its weights"):
        loader.load(make_plan(model))


@pytest.mark.parametrize("component", [UNET, TEXT])
def test_weights_of_another_shape_are_refused(model, make_plan, component):
    def shrink(tensors):
        name = min(tensors)
        tensors[name] = tensors[name][:1].clone()

    change_weights(model / component, shrink)
    with pytest.raises(ModelError, match=f"{component.split('/')[0]} .* cannot be loaded"):
        loader.load(make_plan(model))


@pytest.mark.parametrize("component", [UNET, TEXT])
def test_weights_that_broke_after_planning_are_refused(model, make_plan, component):
    plan = make_plan(model)
    (model / component).write_bytes((model / component).read_bytes()[:100])
    with pytest.raises(ModelError, match=f"{component.split('/')[0]} .* cannot be loaded") as caught:
        loader.load(plan)
    assert caught.value.__cause__ is not None
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "said", [{"hidden_act": 0}, {"num_attention_heads": 0}, {"dtype": [None, 2]}, {"initializer_factor": "x"}]
)
def test_a_config_with_values_of_another_type_is_refused(model, make_plan, said):
    config = json.loads((model / "text_encoder" / "config.json").read_text())
    (model / "text_encoder" / "config.json").write_text(json.dumps(config | said))
    with pytest.raises(ModelError, match=r"text_encoder .* cannot be loaded"):
        loader.load(make_plan(model))


def test_a_class_that_diffusers_lacks_is_refused(model, make_plan):
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"unet": ["diffusers", "UNet9000"]}))
    with pytest.raises(ModelError, match=r"unet \(UNet9000\) .* cannot be loaded"):
        loader.load(make_plan(model))


def test_a_missing_required_component_is_refused(model, make_plan):
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps(index | {"scheduler": [None, None]}))
    with pytest.raises(ModelError, match=r"StableDiffusionPipeline of .* cannot be loaded"):
        loader.load(make_plan(model))


def test_a_tokenizer_of_another_model_is_refused(model, make_plan):
    path = model / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = list(tokenizer["model"]["vocab"])[:100]
    tokenizer["model"]["vocab"] = {word: n for n, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer["added_tokens"] = []
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match=r"tokenizer of .* tokens, its text encoder 514"):
        loader.load(make_plan(model))


def test_a_clip_tokenizer_without_a_limit_is_refused(model, make_plan):
    path = model / "tokenizer" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["model_max_length"]
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="has no model_max_length"):
        loader.load(make_plan(model))


def test_the_variant_is_read_for_half_precision_and_the_full_file_otherwise(model, make_plan):
    full = model / UNET
    variant = full.with_name("diffusion_pytorch_model.fp16.safetensors")
    save_file({name: each.half() + 1 for name, each in load_file(full).items()}, variant, metadata={"format": "pt"})
    bias = load_file(full)["conv_out.bias"]
    half = loader.load(make_plan(model, dtype="bfloat16")).unet.conv_out.bias
    assert torch.equal(half, (bias.half() + 1).bfloat16())
    assert torch.equal(loader.load(make_plan(model)).unet.conv_out.bias, bias)


def test_pickles_are_read_where_the_plan_allows_them(model, make_plan):
    weights = load_file(model / UNET)
    torch.save(weights, (model / UNET).with_suffix(".bin"))
    plan = make_plan(model)
    (model / UNET).unlink()
    with pytest.raises(ModelError, match=r"unet .* cannot be loaded"):
        loader.load(plan)
    allowed = loader.load(replace(plan, allow_pickle=True))
    assert torch.equal(allowed.unet.conv_in.weight, weights["conv_in.weight"])


def test_the_sampler_of_the_plan_replaces_the_models_own(tiny_models, make_plan):
    folder = tiny_models("sd")
    assert type(loader.load(make_plan(folder)).scheduler).__name__ == "DDIMScheduler"
    scheduler = Scheduler(class_name="EulerDiscreteScheduler", arguments={"use_karras_sigmas": True})
    found = loader.load(make_plan(folder, scheduler=scheduler)).scheduler
    assert type(found).__name__ == "EulerDiscreteScheduler"
    assert found.config.use_karras_sigmas
    assert found.config.beta_schedule == "scaled_linear"


def test_channels_last_reaches_the_convolutions(tiny_models, make_plan):
    pipeline = loader.load(make_plan(tiny_models("sd"), channels_last=True))
    for module in (pipeline.unet, pipeline.vae):
        kernel = next(each for each in module.parameters() if each.dim() == 4 and min(each.shape) > 1)
        assert kernel.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["sd", "tiny-vae"])
@pytest.mark.parametrize("edge", [64, 70])
def test_tiles_take_effect_and_keep_the_pictures_size(tiny_models, make_plan, name, edge):
    plan = make_plan(tiny_models(name), vae_tile=edge, vae_slicing=True, size=136)
    pipeline = loader.load(plan)
    decoder, sizes = pipeline.vae.decoder.forward, []

    def recording(latents, *rest):
        sizes.append(tuple(latents.shape[-2:]))
        return decoder(latents, *rest)

    pipeline.vae.decoder.forward = recording
    assert next(sampler.sample(pipeline, plan)).image.size == (136, 136)
    assert len(sizes) > 1
    assert max(max(each) for each in sizes) == 8


def test_an_autoencoder_that_tiles_cannot_serve_is_refused():
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    with pytest.raises(NotImplementedError, match="2 pixels per latent"):
        loader.set_tile(vae, 64)


def test_tile_sizes_of_newer_autoencoders_are_set_by_height_and_width():
    class Newer:
        tile_sample_min_height = 256

        def enable_tiling(self, **sizes):
            self.sizes = sizes

    vae = Newer()
    loader.set_tile(vae, 128)
    assert vae.sizes["tile_sample_min_height"] == vae.sizes["tile_sample_min_width"] == 128
    assert vae.sizes["tile_sample_stride_height"] == vae.sizes["tile_sample_stride_width"] == 96


def test_diffusers_own_slicing_is_on_where_it_was_asked_for(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"), attention_slicing="diffusers")
    pipeline = loader.load(plan)
    kinds = {type(each).__name__ for each in pipeline.unet.attn_processors.values()}
    assert kinds == {"SlicedAttnProcessor"}


def test_slicing_without_a_unet_is_refused(tiny_models, make_plan):
    with pytest.raises(RequestError, match="has no U-Net"):
        loader.load(make_plan(tiny_models("flux"), attention_slicing="diffusers"))


def test_offload_to_a_device_that_is_not_there_is_the_machines_fault(tiny_models, make_plan):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(MachineError, match="cannot be placed on cuda") as caught:
        loader.load(make_plan(tiny_models("sd"), device="cuda"))
    assert caught.value.hint == "--device cpu"


def test_offloading_draws_the_same_picture(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"))
    moved = make_plan(tiny_models("sd"), offload="model")
    (resident,) = sampler.sample(loader.load(plan), plan)
    (offloaded,) = sampler.sample(loader.load(moved), moved)
    np.testing.assert_array_equal(np.asarray(resident.image), np.asarray(offloaded.image))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=["cuda", "mps", "cpu", "python"],
)
def test_running_out_of_memory_while_loading_is_the_machines_fault(tiny_models, make_plan, error):
    with (
        pytest.raises(MachineError, match="out of memory") as caught,
        failures.explained(make_plan(tiny_models("sd")), "the model"),
    ):
        raise error
    assert caught.value.exit_code == 3


def test_levers_come_in_order_of_cost(tiny_models, make_plan):
    folder = tiny_models("sd")
    assert failures.next_lever(make_plan(folder)) == "--vae-tiling on"
    assert failures.next_lever(make_plan(folder, vae_tile=64)) == "--size 64x64"
    gpu = {"vae_tile": 64, "device": "cuda"}
    assert failures.next_lever(make_plan(folder, **gpu)) == "--offload model"
    assert failures.next_lever(make_plan(folder, offload="model", **gpu)) == "--offload group"
    assert failures.next_lever(make_plan(folder, offload="group", **gpu)) == "--offload sequential"
    assert failures.next_lever(make_plan(folder, offload="sequential", **gpu)) == "--size 64x64"


def test_a_missing_package_is_the_machines_fault_and_says_what_to_install(tiny_models, make_plan):
    with (
        pytest.raises(MachineError, match="needs a package") as caught,
        failures.explained(make_plan(tiny_models("sd")), "tokenizer"),
    ):
        raise ImportError("sentencepiece is needed", name="sentencepiece")
    assert caught.value.hint == "pip install sentencepiece"


MEASURE = """
import sys, threading, time
from imggen.host import environment
environment.prepare(offline=True)
from tests.engine.conftest import make_plan
from imggen.engine.pipeline import loader

def anonymous():
    line = next(each for each in open("/proc/self/status") if each.startswith("RssAnon"))
    return int(line.split()[1]) * 1024

plan = make_plan.__wrapped__()(__import__("pathlib").Path(sys.argv[1]), dtype=sys.argv[2])
loader.load(make_plan.__wrapped__()(__import__("pathlib").Path(sys.argv[3]), dtype=sys.argv[2]))
before, peak, done = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not done.is_set():
        peak = max(peak, anonymous())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
pipeline = loader.load(plan)
done.set()
watcher.join()
models = (getattr(pipeline, name) for name in ("unet", "vae", "text_encoder"))
size = sum(each.numel() * each.element_size() for model in models for each in model.parameters())
print(max(peak, anonymous()) - before, size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("stored", "run", "share"), [("bfloat16", "bfloat16", 0.3), ("float32", "bfloat16", 1.2)])
def test_loading_takes_little_more_memory_than_the_weights(tiny_models, model, tmp_path, stored, run, share):
    """Weights are mapped where the stored dtype is the run's, and converted once where it is not."""
    torch.manual_seed(0)
    with torch.no_grad():
        big = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(model / "unet"), block_out_channels=(256, 512)
        ).to(getattr(torch, stored))
    shutil.rmtree(model / "unet")
    big.save_pretrained(model / "unet")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(model), run, str(tiny_models("sd"))],
        capture_output=True,
        text=True,
        check=True,
    )
    grown, size = map(int, done.stdout.split())
    assert size > 40_000_000
    # A few megabytes are Python's own and do not grow with the model.
    assert grown <= share * size + 16_000_000
