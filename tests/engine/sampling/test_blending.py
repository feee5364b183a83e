import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from imggen.engine import patching
from imggen.engine.pipeline import encoding
from imggen.engine.sampling import blending
from imggen.host import environment
from imggen.plan.models import samplers
from tests.engine import pipelines

PICTURE = pipelines.noise_picture()
BLACK = Image.new("L", PICTURE.size)
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
# These add fresh noise of their own at every step, so their latents are at the right level but elsewhere.
FRESH = {"euler_a", "dpm2_a", "dpmpp_2m_sde", "dpmpp_2m_sde_karras", "ddpm", "lcm"}
DRIVEN = [(kind, each.name) for kind in ("noise", "flow") for each in samplers.SAMPLERS if kind in each.schedulers]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return {name: pipelines.img2img(pipelines.tiny(name, root)) for name in pipelines.FAMILIES}


def box(size, corners):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle(corners, fill=255)
    return mask


def with_sampler(pipeline, kind, name):
    scheduler = next(each for each in samplers.SAMPLERS if each.name == name).schedulers[kind]
    config = dict(pipeline.scheduler.config)
    if kind == "flow":
        config = dict(diffusers.DPMSolverMultistepScheduler(**FLOW).config)
    with environment.quiet():
        made = type(pipeline)(**pipeline.components, **pipelines.EXTRA["StableDiffusion"])
        made.scheduler = getattr(diffusers, scheduler.class_name).from_config(config, **scheduler.arguments)
    return pipelines.silent(made)


def levels(pipeline, denoiser, prediction, strength, **options):
    """The latents before and after each blending, while a denoiser that knows the picture and its noise is at work."""
    latents = encoding.encode(pipeline, PICTURE)
    seen = []
    with (
        encoding.replaced(pipeline.vae, latents),
        blending.masked(pipeline, BLACK) as on_step,
        patching.replaced(denoiser, forward=lambda *_, **__: (prediction,)),
    ):

        def watch(pipeline, step, timestep, tensors):
            blended = on_step(pipeline, step, timestep, tensors)
            if blended:
                seen.append((tensors["latents"], blended["latents"]))
            return blended

        pipelines.drawn(pipeline, image=PICTURE, steps=6, strength=strength, callback_on_step_end=watch, **options)
    return seen


@pytest.mark.parametrize("strength", [1.0, 0.7])
@pytest.mark.parametrize(("kind", "name"), DRIVEN)
def test_what_is_kept_is_noised_to_the_level_that_each_step_has_reached(tiny, kind, name, strength):
    pipeline = with_sampler(tiny["sd"], kind, name)
    original = encoding.encode(pipeline, PICTURE) * pipeline.vae.config.scaling_factor
    noise = torch.randn(original.shape, generator=pipelines.generator(1))
    prediction = noise if kind == "noise" else noise - original
    seen = levels(pipeline, pipeline.unet, prediction, strength, guidance_scale=1.0)
    assert len(seen) >= (6 if strength == 1.0 else 4)
    for before, after in seen[:-1]:
        if name in FRESH:
            residual = (each - original for each in (before, after))
            assert next(residual).std() == pytest.approx(float(next(residual).std()), rel=0.35)
        # In the middle of a picture diffusers' PLMS loses a step: its second one ends where the first one ended.
        elif (name, strength) != ("pndm", 0.7):
            # Of six steps DDIM goes 166 timesteps at a time, and those that end at the last lie 166.67 apart.
            near = {"rtol": 1e-3, "atol": 5e-3 if name == "ddim_trailing" else 1e-4}
            torch.testing.assert_close(before, after, **near)
    torch.testing.assert_close(seen[-1][1], original)


def test_packed_latents_of_a_straight_path_are_kept_at_their_level_too(tiny):
    pipeline = tiny["flux"]
    config = pipeline.vae.config
    original = (encoding.encode(pipeline, PICTURE) - config.shift_factor) * config.scaling_factor
    noise = torch.randn(original.shape, generator=pipelines.generator(1))
    prediction = pipeline._pack_latents(noise - original, *original.shape)
    seen = levels(pipeline, pipeline.transformer, prediction, 0.7, width=64, height=64)
    assert len(seen) == 5
    for before, after in seen:
        torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen[-1][1], pipeline._pack_latents(original, *original.shape))


@pytest.mark.parametrize("family", pipelines.FAMILIES)
def test_an_all_white_mask_is_plain_image_to_image(tiny, family):
    pipeline, size = tiny[family], pipelines.sized(tiny[family], PICTURE)
    plain = pipelines.pixels(pipelines.drawn(pipeline, image=PICTURE, strength=0.67, **size))
    with blending.masked(pipeline, Image.new("L", PICTURE.size, 255)) as on_step:
        blended = pipelines.drawn(pipeline, image=PICTURE, strength=0.67, callback_on_step_end=on_step, **size)
    # Equal numbers that lie elsewhere in memory may be convolved in another order.
    assert np.abs(pipelines.pixels(blended) - plain).max() <= 1
    assert not {"add_noise", "scale_noise"} & set(vars(pipeline.scheduler))


def last_latents(pipeline, mask):
    with blending.masked(pipeline, mask) as on_step:
        options = {"callback_on_step_end": on_step, "output_type": "latent"}
        return pipelines.drawn(pipeline, image=PICTURE, strength=0.67, **options)


def test_a_latent_is_repainted_where_any_of_its_pixels_is_marked(tiny):
    mask = BLACK.copy()
    mask.putpixel((15, 16), 1)
    mask.putpixel((63, 63), 255)
    kept, repainted = (last_latents(tiny["sd"], each) for each in (BLACK, mask))
    marked = torch.zeros(8, 8, dtype=torch.bool)
    marked[2, 1] = marked[7, 7] = True
    assert torch.equal((repainted != kept).any(dim=0), marked)


STAR = "a yellow star on a teal background"
OPTIONS = {"steps": 10, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def builtin():
    return pipelines.img2img(pipelines.builtin())


@pytest.fixture(scope="module")
def apple():
    words = "a red apple on a teal background"
    return pipelines.drawn(pipelines.builtin(), words, width=128, height=128, **OPTIONS)


@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_the_built_in_models_picture_changes_where_it_is_marked_and_nowhere_else(builtin, apple, strength):
    with torch.no_grad():
        decoded = builtin.vae.decode(encoding.encode(builtin, apple)).sample
    again = pipelines.pixels(builtin.image_processor.postprocess(decoded)[0])
    with blending.masked(builtin, box((128, 128), (64, 0, 127, 127))) as on_step:
        options = OPTIONS | {"callback_on_step_end": on_step}
        drawn = pipelines.drawn(builtin, STAR, image=apple, strength=strength, **options)
    change = np.abs(pipelines.pixels(drawn) - again).mean(axis=2)
    # The decoder looks a few latents beyond each pixel.
    assert change[:, :32].max() <= 2
    assert change[:, :64].mean() < 4
    assert change[:, 64:].mean() > 10
    assert pipelines.pixels(drawn)[:, 64:].std() > 10


@pytest.mark.parametrize("name", [each.name for each in samplers.SAMPLERS if "flow" in each.schedulers])
def test_every_sampler_of_the_built_in_model_repaints(builtin, apple, name):
    sampled = with_sampler(builtin, "flow", name)
    with blending.masked(sampled, box((128, 128), (40, 40, 87, 87))) as on_step:
        options = OPTIONS | {"steps": 6, "callback_on_step_end": on_step}
        drawn = pipelines.pixels(pipelines.drawn(sampled, STAR, image=apple, strength=1.0, **options))
    change = np.abs(drawn - pipelines.pixels(apple)).mean(axis=2)
    assert change[:16].max() <= 30
    assert change[:16].mean() < 4
    assert change[48:80, 48:80].mean() > 20
