import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from imggen.engine import patching
from imggen.engine.sampling import seamless
from imggen.errors import RequestError
from tests import tiny_controls
from tests.engine import pipelines

PROMPTS = (
    "a blue and white dotted background",
    "a green to yellow gradient background",
    "a red apple on a teal background",
)
OPTIONS = {"steps": 10, "guidance_scale": 3.0, "width": 128, "height": 128}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return {name: pipelines.tiny(name, root) for name in (*pipelines.FAMILIES, "tiny-vae")}


def rolled(pipeline, latents, shift, **options):
    """The pictures of `latents`, and of `latents` rolled by `shift` (down, right) and rolled back as pictures."""
    scale = pipeline.vae_scale_factor
    options |= {"output_type": "pt", "width": latents.shape[3] * scale, "height": latents.shape[2] * scale}
    there = pipelines.drawn(pipeline, latents=latents.roll(shift, (2, 3)), **options)
    back = there.roll((-shift[0] * scale, -shift[1] * scale), (-2, -1))
    return pipelines.drawn(pipeline, latents=latents, **options), back


def start(pipeline, *, seed=3, size=8):
    return torch.randn(1, pipeline.unet.config.in_channels, size, size, generator=pipelines.generator(seed))


@pytest.mark.parametrize("family", ["sd", "sdxl", "tiny-vae"])
@pytest.mark.parametrize(
    ("axes", "shift", "other"), [("xy", (2, 4), None), ("x", (0, 2), (2, 0)), ("y", (2, 0), (0, 2))]
)
def test_rolled_noise_gives_the_rolled_picture_along_the_axes_and_not_along_the_other(tiny, family, axes, shift, other):
    pipeline = tiny[family]
    with seamless.seamless(pipeline, axes):
        torch.testing.assert_close(*rolled(pipeline, start(pipeline), shift), rtol=0, atol=1e-4)
        if other:
            picture, back = rolled(pipeline, start(pipeline), other)
            assert (picture - back).abs().max() > 1e-3
    picture, back = rolled(pipeline, start(pipeline), shift)
    assert (picture - back).abs().max() > 1e-3


def test_a_rolled_control_picture_and_rolled_noise_give_the_rolled_picture(tiny):
    network = tiny_controls.build("sd", tiny["sd"])
    parts = tiny["sd"].components | {"controlnet": network}
    pipeline = pipelines.silent(diffusers.StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False))
    latents, picture = start(pipeline), pipelines.noise_picture(seed=1)
    moved = Image.fromarray(np.roll(np.asarray(picture), 32, axis=1))

    def drawn(noise, control):
        return pipelines.drawn(pipeline, latents=noise, image=control, output_type="pt", width=64, height=64)

    with seamless.seamless(pipeline, "x"):
        still, back = drawn(latents, picture), drawn(latents.roll(4, 3), moved).roll(-32, -1)
        torch.testing.assert_close(still, back, rtol=0, atol=1e-4)
    assert (drawn(latents, picture) - drawn(latents.roll(4, 3), moved).roll(-32, -1)).abs().max() > 1e-3


def test_rolled_noise_gives_the_rolled_picture_of_the_built_in_model():
    pipeline = pipelines.builtin()
    with seamless.seamless(pipeline, "xy"):
        pictures = rolled(pipeline, start(pipeline, size=16), (4, 8), steps=6, guidance_scale=3.0)
    torch.testing.assert_close(*pictures, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["sd", "tiny-vae"])
def test_a_rolled_picture_is_encoded_to_rolled_latents(tiny, family):
    pipeline = tiny[family]
    pixels = torch.rand(1, 3, 64, 64, generator=pipelines.generator(1))

    def encode(given):
        encoded = pipeline.vae.encode(given)
        return encoded.latents if family == "tiny-vae" else encoded.latent_dist.mode()

    with torch.no_grad(), seamless.seamless(pipeline, "xy"):
        torch.testing.assert_close(encode(pixels.roll((8, 24), (2, 3))), encode(pixels).roll((1, 3), (2, 3)))
    with torch.no_grad():
        assert (encode(pixels.roll((8, 24), (2, 3))) - encode(pixels).roll((1, 3), (2, 3))).abs().max() > 1e-3


@pytest.mark.parametrize("padding", [0, 1, (1, 2), "same", "valid"])
@pytest.mark.parametrize("axes", ["x", "y", "xy"])
def test_a_convolution_sees_the_opposite_edge_along_the_axes_and_zeros_along_the_other(padding, axes):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, (3, 5), padding=padding)
    pixels = torch.rand(1, 2, 8, 9)
    across, down = {0: (0, 0), 1: (1, 1), (1, 2): (2, 1), "same": (2, 1), "valid": (0, 0)}[padding]
    if "x" in axes and across:
        pixels_seen = torch.cat([pixels[..., -across:], pixels, pixels[..., :across]], dim=3)
    else:
        pixels_seen = nn.functional.pad(pixels, (across, across))
    if "y" in axes and down:
        pixels_seen = torch.cat([pixels_seen[:, :, -down:], pixels_seen, pixels_seen[:, :, :down]], dim=2)
    else:
        pixels_seen = nn.functional.pad(pixels_seen, (0, 0, down, down))
    wanted = nn.functional.conv2d(pixels_seen, conv.weight, conv.bias)
    methods = seamless._wrapping(conv, axes)
    with patching.replaced(conv, **methods):
        torch.testing.assert_close(conv(pixels), wanted)


def test_everything_is_as_before_after_the_block_and_after_an_interruption(tiny):
    pipeline = tiny["sd"]
    before = pipelines.pixels(pipelines.drawn(pipeline, width=64, height=64))
    with pytest.raises(KeyboardInterrupt), seamless.seamless(pipeline, "xy"):
        raise KeyboardInterrupt
    np.testing.assert_array_equal(pipelines.pixels(pipelines.drawn(pipeline, width=64, height=64)), before)
    for module in (*pipeline.unet.modules(), *pipeline.vae.modules()):
        assert not {"_conv_forward", "forward"} & set(vars(module))


def test_a_model_without_a_unet_is_refused(tiny):
    with pytest.raises(RequestError, match="FluxPipeline has no U-Net"), seamless.seamless(tiny["flux"], "xy"):
        pass


def test_an_autoencoder_in_tiles_is_refused(tmp_path):
    pipeline = pipelines.tiny("sd", tmp_path)
    pipeline.vae.enable_tiling()
    with pytest.raises(RequestError) as caught, seamless.seamless(pipeline, "x"):
        pass
    assert caught.value.hint == "--vae-tiling off"


def steps_within(image, axis):
    rows = pipelines.pixels(image) if axis == "y" else pipelines.pixels(image).swapaxes(0, 1)
    return np.abs(np.diff(rows, axis=0)).mean(axis=(1, 2))


@pytest.mark.parametrize("axes", ["xy", "x"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_built_in_models_pictures_have_no_seam(prompt, axes):
    pipeline = pipelines.builtin()
    with seamless.seamless(pipeline, axes):
        image = pipelines.drawn(pipeline, prompt, seed=3, **OPTIONS)
    assert pipelines.pixels(image).max() > 60
    for axis in axes:
        steps = steps_within(image, axis)
        # An object's own outline may lie on the edge; a seam would stand out among all the steps within.
        assert seamless.score(image, axis) <= max(1.5, steps.max() / max(1, np.median(steps)))


@pytest.mark.parametrize("axes", ["xy", "x"])
def test_without_wrapping_around_a_gradient_has_a_seam(axes):
    plain = pipelines.drawn(pipelines.builtin(), PROMPTS[1], **OPTIONS)
    with seamless.seamless(pipelines.builtin(), axes):
        wrapped = pipelines.drawn(pipelines.builtin(), PROMPTS[1], **OPTIONS)
    assert seamless.score(plain, axes) > 2
    assert seamless.score(wrapped, axes) < 1.2


def waves(width=64, height=48):
    across = np.sin(2 * np.pi * np.arange(width) / width * 2)[None, :]
    down = np.sin(2 * np.pi * np.arange(height) / height * 3)[:, None]
    return Image.fromarray((128 + 60 * (across + down)).astype(np.uint8)).convert("RGB")


def test_a_picture_that_repeats_scores_about_one_and_a_cut_one_much_more():
    assert seamless.score(waves(), "xy") < 1.8
    assert seamless.score(waves().crop((0, 0, 40, 48)), "x") > 5
    assert seamless.score(waves().crop((0, 0, 40, 48)), "y") < 1.8
    assert seamless.score(waves().crop((0, 0, 40, 48)), "xy") == seamless.score(waves().crop((0, 0, 40, 48)), "x")


def test_a_plain_picture_has_no_seam():
    assert seamless.score(Image.new("RGB", (8, 8), (9, 9, 9)), "xy") == 0
