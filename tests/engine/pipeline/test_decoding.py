import inspect
from types import SimpleNamespace

import pytest
import torch

from imggen.engine.pipeline import decoding
from imggen.errors import ImggenError, PictureError

NAN = float("nan")


class StubVae:
    """An autoencoder that adds one, overflows in the dtypes of `overflows` and draws zeros in those of `blank`."""

    def __init__(self, dtype, overflows=(), blank=()):
        self.dtype = dtype
        self.overflows = overflows
        self.blank = blank
        self.seen = []

    def to(self, dtype):
        self.dtype = dtype

    def decode(self, latents, *, return_dict=True):
        assert latents.dtype == self.dtype
        self.seen.append(self.dtype)
        picture = latents + (NAN if self.dtype in self.overflows else 1)
        if self.dtype in self.blank:
            picture = torch.zeros_like(picture)
        return SimpleNamespace(sample=picture) if return_dict else (picture,)


def decode(vae, latents, *, return_dict=False, **watched):
    begun = []
    with decoding.guarded(vae, on_decode=lambda: begun.append(1), **watched):
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


def test_pixels_come_in_the_autoencoders_dtype_to_where_it_computes():
    class Encoder(StubVae):
        _hf_hook = SimpleNamespace(execution_device="meta")

        def encode(self, pixels):
            return pixels

    vae = Encoder(torch.float32)
    with decoding.guarded(vae, on_decode=lambda: None):
        encoded = vae.encode(torch.zeros(2, dtype=torch.bfloat16))
    assert (encoded.dtype, encoded.device.type) == (torch.float32, "meta")


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


def pictures(*levels, spread=0):
    """Latents that the stub makes a batch of pictures of, each of one colour, give or take `spread` levels of 255."""
    made = torch.tensor(levels).float()[:, :, None, None].repeat(1, 1, 4, 4)
    made[:, :, 0, 0] += spread
    return made / 127.5 - 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("fault", ["overflows", "blank"])
def test_a_second_decoding_is_told_of_and_a_first_that_is_good_is_not(dtype, fault):
    notes = []
    good = pictures((10, 60, 200), spread=90).to(dtype)
    decode(StubVae(dtype), good, on_note=notes.append, refuse_plain=True)
    assert notes == []
    vae = StubVae(dtype, **{fault: (dtype,)})
    drawn = decode(vae, good, on_note=notes.append, refuse_plain=True)
    torch.testing.assert_close(drawn, good.float() + 1)
    assert vae.seen == [dtype, torch.float32]
    (note,) = notes
    assert f"in {str(dtype)[6:]}, so it was decoded once more, in float32" in note


@pytest.mark.parametrize(
    ("colour", "named"),
    [
        ((0, 0, 0), r"black \(0, 0, 0\)"),
        ((255, 255, 255), r"white \(255, 255, 255\)"),
        ((12, 200, 3), r"one colour \(12, 200, 3\)"),
        ((-90, 400, 3), r"one colour \(0, 255, 3\)"),
    ],
)
@pytest.mark.parametrize("spread", [0, 1])
def test_a_picture_of_one_colour_is_an_error_that_names_it(colour, named, spread):
    vae = StubVae(torch.float32)
    with pytest.raises(PictureError, match=f"all of it is {named}, computed in float32") as caught:
        decode(vae, pictures(colour, spread=spread), refuse_plain=True)
    assert "--seed" in caught.value.hint
    assert vae.seen == [torch.float32]


def test_one_plain_picture_of_several_is_enough():
    latents = torch.cat([pictures((5, 5, 5), spread=9), pictures((7, 7, 7))])
    with pytest.raises(PictureError, match=r"all of it is one colour \(7, 7, 7\)"):
        decode(StubVae(torch.float32), latents, refuse_plain=True)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_two_levels_in_one_channel_are_a_picture(channel):
    latents = pictures((50, 60, 70))
    latents[:, channel, 2, 2] += 2 / 127.5
    assert decode(StubVae(torch.float32), latents, refuse_plain=True).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("level", [-30, 270])
def test_what_overshoots_white_or_black_a_little_is_a_picture(level):
    decode(StubVae(torch.float32), pictures((level, level, level), spread=2), refuse_plain=True)


@pytest.mark.parametrize(("level", "named"), [(-700, "black"), (900, "white")])
def test_what_is_far_out_does_not_tell_pixels_apart(level, named):
    with pytest.raises(PictureError, match=f"all of it is {named}"):
        decode(StubVae(torch.float32), pictures((level, level, level), spread=300), refuse_plain=True)


def test_layers_of_one_picture_may_be_plain_as_long_as_one_is_not():
    layers = torch.stack([pictures((0, 0, 0)), pictures((9, 9, 9), spread=50)], dim=2)
    assert decode(StubVae(torch.float32), layers, refuse_plain=True).shape == (1, 3, 2, 4, 4)
    with pytest.raises(PictureError, match="black"):
        decode(StubVae(torch.float32), torch.stack([pictures((0, 0, 0))] * 2, dim=2), refuse_plain=True)


def test_a_plain_picture_passes_where_nobody_refuses_it():
    vae = StubVae(torch.bfloat16, blank=(torch.bfloat16,))
    assert not decode(vae, pictures((1, 1, 1)).bfloat16()).any()
    assert vae.seen == [torch.bfloat16]


@pytest.mark.parametrize(
    "always", [{"overflows": (torch.float16, torch.float32)}, {"blank": (torch.float16, torch.float32)}]
)
def test_what_float32_does_not_mend_points_to_a_model_in_float32(always):
    vae = StubVae(torch.float16, **always)
    with pytest.raises(PictureError, match="computed in float32") as caught:
        decode(vae, pictures((10, 60, 200), spread=90).half(), refuse_plain=True)
    assert caught.value.hint == "--dtype float32"
    assert (vae.seen, vae.dtype) == ([torch.float16, torch.float32], torch.float16)


def test_latents_that_were_widened_on_the_way_are_judged_by_the_models_own_dtype():
    with pytest.raises(PictureError, match=r"own result is not made of numbers .* computed in float16") as caught:
        decode(StubVae(torch.float32), torch.tensor([NAN]), dtype=torch.float16)
    assert caught.value.hint == "--dtype float32"


def test_an_autoencoder_that_cannot_be_widened_for_want_of_memory_is_put_back():
    vae = StubVae(torch.float16, overflows=(torch.float16,))
    narrowed = []

    def to(dtype):
        if dtype == torch.float32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        narrowed.append(dtype)

    vae.to = to
    with pytest.raises(torch.OutOfMemoryError):
        decode(vae, torch.zeros(2, dtype=torch.float16))
    assert narrowed == [torch.float16]


class StubScheduler:
    """A scheduler whose step gives what it is given."""

    def step(self, made, generator=None):
        return (made,)


def drawn(*steps, **watched):
    scheduler = StubScheduler()
    with decoding.watched(scheduler, **watched):
        assert "generator" in inspect.signature(scheduler.step).parameters
        for each in steps:
            assert scheduler.step(each)[0] is each
    assert "step" not in vars(scheduler)


def test_of_what_draws_pixels_itself_the_last_step_counts():
    good = pictures((10, 60, 200), spread=90) + 1
    drawn(torch.full((1, 3, 4, 4), NAN), good, refuse_plain=True, dtype=torch.float16)
    with pytest.raises(PictureError, match=r"own result is not made of numbers .* computed in float16") as caught:
        drawn(good, torch.full((1, 3, 4, 4), NAN), dtype=torch.float16)
    assert caught.value.hint == "--dtype float32"


def test_what_draws_pixels_itself_draws_no_picture_of_one_colour():
    plain = pictures((0, 0, 0)) + 1
    with pytest.raises(PictureError, match=r"own result shows nothing: all of it is black \(0, 0, 0\)"):
        drawn(plain, refuse_plain=True)
    drawn(plain)
