"""The visible label: where it is, how large, and when it does not fit."""

import numpy as np
import pytest
from PIL import Image

from imggen.errors import RequestError
from imggen.output.watermark import label


def plate(size, text="AI", mode="RGB", colour="white"):
    """Return the picture's labelled box (left, top, right, bottom), and the picture."""
    image = Image.new(mode, size, colour)
    labelled = label.draw(image, text)
    changed = np.asarray(labelled.convert("RGB")) != np.asarray(image.convert("RGB"))
    rows, columns = np.nonzero(changed.any(axis=2))
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), labelled


@pytest.mark.parametrize("edge", [200, 400, 1000])
def test_letters_grow_with_the_short_edge_and_stay_near_the_corner(edge):
    letters = max(11, round(edge * 0.06))
    (_, top, right, bottom), _ = plate((edge + 100, edge))
    assert (edge + 100 - right, edge - bottom) == (round(letters / 2), round(letters / 2))
    assert 1.2 * letters < bottom - top < 1.8 * letters


def test_small_pictures_have_letters_that_can_be_read():
    small, _ = plate((100, 60))
    smaller, _ = plate((100, 50))
    assert small[3] - small[1] == smaller[3] - smaller[1]


@pytest.mark.parametrize(("mode", "colour"), [("L", 128), ("RGB", "red"), ("RGBA", (9, 9, 9, 0))])
def test_picture_keeps_its_mode_and_the_plate_is_opaque(mode, colour):
    (left, top, *_), labelled = plate((200, 200), mode=mode, colour=colour)
    assert labelled.mode == mode
    corner = labelled.convert("RGBA").getpixel((int(left), int(top)))
    assert corner == (0, 0, 0, 255)


def test_label_that_does_not_fit_is_refused_with_both_sizes():
    label.check((200, 40), "AI")
    with pytest.raises(RequestError, match=r"takes \d+x\d+ pixels, and the picture has 200x20") as caught:
        label.check((200, 20), "AI")
    assert caught.value.hint == "--label AI, or a larger picture"
    with pytest.raises(RequestError):
        label.draw(Image.new("RGB", (60, 200)), "made by a machine")
