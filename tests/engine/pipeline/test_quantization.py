import numpy as np
import pytest
import torch

from imggen.engine.pipeline import loader, quantization
from imggen.engine.sampling import sampler
from imggen.errors import ModelError

torchao = pytest.importorskip("torchao")


def held(module):
    return sum(quantization._held(each) for each in module.parameters())


def drawn(plan):
    pipeline = loader.load(plan)
    return pipeline, np.asarray(next(sampler.sample(pipeline, plan)).image).astype(int)


@pytest.mark.parametrize(
    ("family", "quantize", "dtype"),
    [
        ("sdxl", "int8", "bfloat16"),
        ("flux", "int8", "float32"),
        ("sdxl", "fp8", "float32"),
        ("flux", "fp8", "bfloat16"),
    ],
)
def test_quantised_weights_are_smaller_and_draw_nearly_the_same(tiny_models, make_plan, family, quantize, dtype):
    plain, expected = drawn(make_plan(tiny_models(family), dtype=dtype))
    small, picture = drawn(make_plan(tiny_models(family), dtype=dtype, quantize=quantize))
    name = "unet" if family == "sdxl" else "transformer"
    assert held(getattr(small, name)) < 0.75 * held(getattr(plain, name))
    assert held(small.vae) == held(plain.vae)
    difference = np.abs(picture - expected)
    assert 0 < difference.mean() < 4


@pytest.mark.parametrize(("quantize", "offload"), [("int8", "model"), ("int8", "group"), ("fp8", "disk")])
def test_quantised_layers_rest_like_others(tiny_models, make_plan, tmp_path, monkeypatch, quantize, offload):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _, expected = drawn(make_plan(tiny_models("flux"), quantize=quantize))
    _, picture = drawn(make_plan(tiny_models("flux"), quantize=quantize, offload=offload))
    np.testing.assert_array_equal(picture, expected)


def test_a_denoiser_with_nothing_to_quantise_is_refused(tiny_models, make_plan):
    plan = make_plan(tiny_models("sd"), quantize="int8")
    pipeline = loader.load(make_plan(tiny_models("sd")))
    pipeline.unet = torch.nn.Conv2d(3, 3, 3)
    with pytest.raises(ModelError, match=r"--quantize int8: Conv2d of .* has no layers"):
        quantization.store(pipeline, plan)
