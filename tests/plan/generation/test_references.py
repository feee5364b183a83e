from dataclasses import replace

import pytest

from imggen.errors import RequestError
from imggen.plan.memory import estimates, memory
from tests.plan.generation.test_approach import PHOTO, decide, klein

STYLE = replace(PHOTO, role="style", name="style.png")


def stylise(style=STYLE, **said):
    return decide("style", (PHOTO, style), klein(), like="style.png", **said)


@pytest.mark.parametrize(("width", "height"), [(63, 200), (200, 63), (64, 513), (900, 100)])
def test_a_style_picture_that_the_pipeline_would_not_look_at_is_refused(width, height):
    with pytest.raises(RequestError, match=rf"style.png has {width}x{height} px; FLUX.2 klein looks at") as caught:
        stylise(replace(STYLE, width=width, height=height))
    assert caught.value.hint == "crop or enlarge style.png"


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 512), (6000, 4000)])
def test_any_other_style_picture_is_taken(width, height):
    assert stylise(replace(STYLE, width=width, height=height)).change.method == "reference"


def test_a_content_too_narrow_to_be_looked_at_is_refused():
    with pytest.raises(RequestError, match="the picture to be made has 1024x112 px"):
        decide("image-to-image", model=klein(), size="1024x100")
    assert decide("text-to-image", (), klein(), size="1024x112").width == 1024


def test_repainting_a_picture_that_would_come_back_smaller_is_refused_with_a_size_that_would_not():
    large = replace(PHOTO, width=1600, height=1200)
    with pytest.raises(RequestError, match="1600x1200 px are 1,920,000") as caught:
        decide("inpaint", (large,), klein(), mask_box="0,0,64,64")
    assert caught.value.hint == "--size 1168x880"
    assert decide("inpaint", (large,), klein(), mask_box="0,0,64,64", size="1168x880").width == 1168
    with pytest.raises(RequestError) as caught:
        decide("outpaint", (replace(PHOTO, width=1024, height=1024),), klein(), pad="64")
    assert caught.value.hint == "a smaller picture or less --pad: at most 1024x1024 in all"
    assert decide("image-to-image", (large,), klein()).width == 1600


def need(task, given, **said):
    """What a task's plan needs, as the memory estimate hears of it."""
    heard = []

    def listen(request, job):
        heard.append(estimates.estimate(job))
        return chosen(request, job)

    chosen = memory.choose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "choose", listen)
        decide(task, given, klein(), size="512x512", **said)
    return heard[0]


def test_each_picture_that_is_looked_at_costs_memory():
    words = need("text-to-image", ())
    one = need("image-to-image", (PHOTO,))
    two = need("style", (PHOTO, replace(STYLE, width=512, height=512)), like="style.png")
    painted = need("inpaint", (PHOTO,), mask_box="0,0,64,64")
    # 512x512 pixels are 1024 tokens, and the prompt is half as many.
    assert one.denoising / words.denoising == pytest.approx(2.5 / 1.5)
    assert two.denoising / words.denoising == pytest.approx(3.5 / 1.5)
    assert painted.denoising == one.denoising
    large = need("style", (PHOTO, replace(STYLE, width=6000, height=4000)), like="style.png")
    assert large.denoising / words.denoising == pytest.approx(6.5 / 1.5)
    assert 3 * words.decoding < large.decoding < 4 * words.decoding


def test_decoding_in_tiles_is_on_offer():
    assert stylise(vae_tiling="on").vae_tile == 256
