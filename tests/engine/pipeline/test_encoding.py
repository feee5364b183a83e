import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from imggen.engine import patching
from imggen.engine.pipeline import encoding
from imggen.errors import PictureError
from tests.engine import pipelines

# Qwen-Image's autoencoder takes films.
FAMILIES = (*pipelines.FAMILIES, "qwen-image")
PICTURE = pipelines.noise_picture()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return {name: pipelines.img2img(pipelines.tiny(name, root)) for name in (*FAMILIES, "tiny-vae")}


def redrawn(pipeline, picture=PICTURE, **options):
    options |= pipelines.sized(pipeline, picture)
    return pipelines.pixels(pipelines.drawn(pipeline, image=picture, strength=0.67, **options))


def of_the_mode(self, generator=None):
    return self.mode()


@pytest.mark.parametrize("family", FAMILIES)
def test_encoded_latents_give_the_same_picture_as_the_posteriors_mode(tiny, family, monkeypatch):
    pipeline = tiny[family]
    with encoding.replaced(pipeline.vae, encoding.encode(pipeline, PICTURE)):
        through_latents = redrawn(pipeline)
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", of_the_mode)
    np.testing.assert_array_equal(through_latents, redrawn(pipeline))


def test_a_deterministic_autoencoder_gives_the_same_picture_through_latents(tiny):
    pipeline = tiny["tiny-vae"]
    with encoding.replaced(pipeline.vae, encoding.encode(pipeline, PICTURE)):
        through_latents = redrawn(pipeline)
    np.testing.assert_array_equal(through_latents, redrawn(pipeline))


def test_the_built_in_models_eight_channels_enter_its_image_to_image():
    pipeline = pipelines.img2img(pipelines.builtin())
    picture = pipelines.noise_picture(128, 96)
    latents = encoding.encode(pipeline, picture)
    assert latents.shape == (1, 8, 12, 16)
    with encoding.replaced(pipeline.vae, latents):
        through_latents = redrawn(pipeline, picture)
    np.testing.assert_array_equal(through_latents, redrawn(pipeline, picture))


def test_other_latents_give_another_picture(tiny):
    pipeline = tiny["sd"]
    latents = encoding.encode(pipeline, PICTURE)
    with encoding.replaced(pipeline.vae, 20 * latents.flip(3)):
        other = redrawn(pipeline)
    assert (other != redrawn(pipeline)).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_latents_are_raw_float32_and_the_same_every_time(tiny, family):
    pipeline = tiny[family]
    latents = encoding.encode(pipeline, PICTURE)
    assert latents.shape == (1, 16 if family == "sd3" else 4, 8, 8)
    assert latents.dtype == torch.float32
    assert not latents.requires_grad
    pixels = torch.from_numpy(np.asarray(PICTURE, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        film = pixels[:, :, None] if family == "qwen-image" else pixels
        expected = pipeline.vae.encode(film).latent_dist.mode().view_as(latents)
    torch.testing.assert_close(latents, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(latents, encoding.encode(pipeline, PICTURE), rtol=0, atol=0)


def test_every_kind_of_question_gets_the_latents_in_the_pixels_dtype(tiny):
    vae, latents = tiny["sd"].vae, torch.ones(1, 4, 2, 2)
    with encoding.replaced(vae, latents):
        encoded = vae.encode(torch.zeros(3, 3, 16, 16, dtype=torch.float16))
    for answer in (encoded.latents, encoded.latent_dist.mode(), encoded.latent_dist.sample(pipelines.generator(1))):
        assert answer.shape == (3, 4, 2, 2)
        assert answer.dtype == torch.float16


def test_a_block_that_fails_leaves_the_autoencoder_as_it_was(tiny):
    vae = tiny["sd"].vae
    with pytest.raises(KeyboardInterrupt), encoding.replaced(vae, torch.ones(1, 4, 2, 2)):
        raise KeyboardInterrupt
    assert "encode" not in vars(vae)


class HalfVae:
    """An autoencoder that overflows in float16, and says so or not."""

    def __init__(self, *, force_upcast, least=torch.float32):
        self.config = type("Config", (), {"force_upcast": force_upcast})
        self.dtype = torch.float16
        self.least = least
        self.seen = []

    def to(self, dtype):
        self.dtype = dtype

    def encode(self, pixels):
        assert pixels.dtype == self.dtype
        self.seen.append(self.dtype)
        sound = self.dtype.itemsize >= self.least.itemsize
        return type("Output", (), {"latents": pixels[:, :1] if sound else pixels / 0})


def through(vae):
    class Pipeline:
        _execution_device = "cpu"
        image_processor = type("Processor", (), {"preprocess": staticmethod(lambda _: torch.ones(1, 3, 8, 8))})

        def maybe_free_model_hooks(self):
            vae.freed = True

    pipeline = Pipeline()
    pipeline.vae = vae
    return pipeline


@pytest.mark.parametrize(("force_upcast", "seen"), [(True, [torch.float32]), (False, [torch.float16, torch.float32])])
def test_an_autoencoder_that_overflows_works_in_float32_and_goes_back(force_upcast, seen):
    vae = HalfVae(force_upcast=force_upcast)
    assert (encoding.encode(through(vae), PICTURE) == 1).all()
    assert vae.seen == seen
    assert vae.dtype == torch.float16
    assert vae.freed


def test_latents_that_are_not_numbers_in_float32_either_are_an_error():
    vae = HalfVae(force_upcast=False, least=torch.float64)
    with pytest.raises(PictureError, match="HalfVae encodes the given picture to values that are not finite"):
        encoding.encode(through(vae), PICTURE)
    assert vae.dtype == torch.float16


class Thing:
    def name(self):
        return "its own"


def test_replacements_may_be_stacked_and_are_taken_away_in_any_order():
    thing = Thing()
    with patching.replaced(thing, name=lambda: "outer"):
        with patching.replaced(thing, name=lambda: "inner"):
            assert thing.name() == "inner"
        assert thing.name() == "outer"
        del thing.name
    assert thing.name() == "its own"
    assert vars(thing) == {}
