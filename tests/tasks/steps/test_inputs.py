"""The given pictures of a request, as a plan wants them."""

import numpy as np
import pytest
from PIL import Image

from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from imggen.tasks.steps import inputs


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (128, 128), (200, 40, 30)).save("photo.png")


def laid(**said):
    """The plan, and the pictures as it wants them."""
    request = GenerateRequest(
        **{"task": "style", "images": ("photo.png",), "like": "style.png", "prompt": "a star", "device": "cpu"} | said
    )
    plan, opened = generate.plan(request), inputs.read(request)
    return inputs.lay(plan, opened), inputs.notes(plan, opened)


@pytest.mark.parametrize("size", [(3000, 1500), (1500, 3000)])
def test_a_style_picture_is_as_large_as_the_canvas_at_most_and_keeps_its_shape(size):
    Image.new("RGB", size, (20, 90, 200)).save("style.png")
    style = laid()[0].style
    assert style.width * style.height == pytest.approx(128 * 128, rel=0.02)
    assert style.width / style.height == pytest.approx(size[0] / size[1], rel=0.02)
    assert style.getpixel((5, 5)) == (20, 90, 200)


def test_a_small_style_picture_stays_as_it_is():
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save("style.png")
    with Image.open("style.png") as style:
        np.testing.assert_array_equal(laid()[0].style, style)


@pytest.mark.parametrize("size", [(64, 64), (600, 600)])
def test_a_style_picture_keeps_its_transparency_and_a_note_says_what_it_means(size):
    Image.new("RGBA", size, (20, 90, 200, 100)).save("style.png")
    made, notes = laid()
    assert made.style.getpixel((5, 5)) == pytest.approx((20, 90, 200, 100), abs=2)
    assert notes == ("style.png: what is transparent in it counts as little as it shows",)


def test_what_is_transparent_in_a_picture_that_is_changed_is_laid_on_white():
    Image.new("RGBA", (128, 128), (20, 90, 200, 0)).save("clear.png")
    made, notes = laid(task="image-to-image", images=("clear.png",), like=None)
    assert made.images[0].getpixel((5, 5)) == (255, 255, 255)
    assert notes == ("clear.png: what is transparent in it was laid on white",)
