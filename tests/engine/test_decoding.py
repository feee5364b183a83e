from types import SimpleNamespace

import pytest
import torch

from imggen.engine import decoding
from imggen.errors import ImggenError

NAN = float("nan")


class StubVae:
    """An autoencoder that overflows in the dtypes of `overflows`."""

    def __init__(self, dtype, overflows=()):
        self.dtype = dtype
        self.overflows = overflows
        self.seen = []

    def to(self, dtype):
        self.dtype = dtype

    def decode(self, latents, *, return_dict=True):
        assert latents.dtype == self.dtype
        self.seen.append(self.dtype)
        picture = latents + (NAN if self.dtype in self.overflows else 1)
        return SimpleNamespace(sample=picture) if return_dict else (picture,)


def decode(vae, latents, *, return_dict=False):
    begun = []
    with decoding.guarded(vae, on_decode=lambda: begun.append(1)):
        decoded = vae.decode(latents, return_dict=return_dict)
    assert begun == [1]
    return decoded.sample if return_dict else decoded[0]


@pytest.mark.parametrize("return_dict", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_overflow_is_decoded_again_in_float32_and_the_dtype_comes_back(dtype, return_dict):
    vae = StubVae(dtype, overflows=(dtype,))
    picture = decode(vae, torch.zeros(2, dtype=dtype), return_dict=return_dict)
    assert (picture == 1).all()
    assert vae.seen == [dtype, torch.float32]
    assert vae.dtype == dtype


def test_latents_are_cast_to_the_autoencoders_dtype():
    vae = StubVae(torch.float32)
    assert decode(vae, torch.zeros(2, dtype=torch.float16)).dtype == torch.float32
    assert vae.seen == [torch.float32]


def test_a_picture_that_stays_nan_in_float32_is_an_error_and_the_dtype_comes_back():
    vae = StubVae(torch.bfloat16, overflows=(torch.bfloat16, torch.float32))
    with pytest.raises(ImggenError, match="not made of numbers"):
        decode(vae, torch.zeros(2, dtype=torch.bfloat16))
    assert vae.dtype == torch.bfloat16


def test_float32_is_not_tried_twice():
    vae = StubVae(torch.float32, overflows=(torch.float32,))
    with pytest.raises(ImggenError, match="not made of numbers"):
        decode(vae, torch.zeros(2))
    assert vae.seen == [torch.float32]


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_latents_that_are_not_numbers_are_named_as_such_without_decoding(value):
    vae = StubVae(torch.float16)
    with pytest.raises(ImggenError, match="the model's own result is not made of numbers") as caught:
        decode(vae, torch.tensor([0.0, value], dtype=torch.float16))
    assert caught.value.hint == "--dtype float32"
    assert vae.seen == []


def test_the_guard_leaves_nothing_behind():
    vae = StubVae(torch.float32)
    plain = vae.decode
    with decoding.guarded(vae, on_decode=lambda: None):
        assert vae.decode != plain
    assert vae.decode == plain
    assert "decode" not in vars(vae)


def test_a_method_that_was_replaced_before_is_put_back():
    vae = StubVae(torch.float32)
    replaced = vae.decode = vae.decode
    with decoding.guarded(vae, on_decode=lambda: None):
        pass
    assert vars(vae)["decode"] is replaced
