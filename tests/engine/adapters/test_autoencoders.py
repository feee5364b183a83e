"""`--vae`: another autoencoder decodes the same latents."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_loras
import torch
from tiny_parts import autoencoder

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import ModelError
from imggen.host import environment
from imggen.plan.schema.adapter import AdapterRequest
from imggen.store import adapter_files


def found(place):
    return adapter_files.find(AdapterRequest(kind="vae", option="--vae", reference=str(place)))


def drawn(plan):
    return np.asarray(sampler.draw(loader.load(plan), plan, 1).image).astype(int)


@pytest.fixture(scope="module")
def another():
    """An autoencoder like that of the tiny models, with other weights."""
    torch.manual_seed(5)
    return autoencoder()


@pytest.fixture
def expected(tiny_models, make_plan, another):
    plan = make_plan(tiny_models("sd"), steps=1)
    pipeline = loader.load(plan)
    pipeline.vae = another
    with environment.quiet():
        made = pipeline(**plan.arguments, generator=torch.Generator("cpu").manual_seed(7), output_type="np")
    return plan, np.round(made.images[0] * 255).astype(int)


def original_names(tensors):
    """Return an autoencoder's tensors under the names that checkpoints had before diffusers."""
    renamed = {}
    for name, each in tensors.items():
        part, *rest = name.split(".")
        if rest[0] in ("down_blocks", "up_blocks"):
            kind, level = rest[0].removesuffix("_blocks"), int(rest[1])
            inner = {"resnets": "block", "downsamplers": "downsample", "upsamplers": "upsample"}[rest[2]]
            level = level if kind == "down" else 3 - level
            last = [*rest[3:]] if inner == "block" else rest[4:]
            rest = [kind, str(level), inner, *last]
        if rest[0] == "mid_block":
            if rest[1] == "attentions":
                inner = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out", "group_norm": "norm"}[rest[3]]
                rest = ["mid", "attn_1", inner, rest[-1]]
            else:
                rest = ["mid", f"block_{int(rest[2]) + 1}", *rest[3:]]
        rest = ["nin_shortcut" if each == "conv_shortcut" else each for each in rest]
        rest = ["norm_out" if each == "conv_norm_out" else each for each in rest]
        is_matrix = "attn_1" in rest and each.ndim == 2
        renamed[".".join((part, *rest))] = each[:, :, None, None] if is_matrix else each
    return renamed


def test_a_folder_takes_the_place_of_the_models_own(another, expected, tmp_path):
    plan, pixels = expected
    another.save_pretrained(tmp_path / "vae")
    assert np.array_equal(drawn(replace(plan, adapters=(found(tmp_path / "vae"),))), pixels)
    assert np.array_equal(drawn(replace(plan, adapters=(found(tmp_path),))), pixels)
    assert not np.array_equal(drawn(plan), pixels)


def in_a_checkpoint(tensors):
    return {f"first_stage_model.{name}": each for name, each in original_names(tensors).items()}


@pytest.mark.parametrize("names", [dict, original_names, in_a_checkpoint])
def test_a_single_file_does_too_in_either_spelling(names, another, expected, tmp_path):
    plan, pixels = expected
    file = tiny_loras.save(tmp_path / "my-vae.safetensors", names(another.state_dict()))
    assert np.array_equal(drawn(replace(plan, adapters=(found(file),))), pixels)


def test_a_file_that_lacks_weights_is_an_error(another, expected, tmp_path):
    plan, _ = expected
    tensors = {name: each for name, each in another.state_dict().items() if name != "decoder.conv_in.weight"}
    file = tiny_loras.save(tmp_path / "my-vae.safetensors", tensors)
    with environment.quiet(), pytest.raises(ModelError, match=r"lacks 1 of its weights, decoder\.conv_in\.weight"):
        loader.load(replace(plan, adapters=(found(file),)))
