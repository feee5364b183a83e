"""How given pictures enter a pipeline's call; what comes of it is tested with the tasks."""

import numpy as np
import pytest
from PIL import Image

from imggen.engine.sampling import methods
from imggen.engine.sampling.methods import Pictures


def paper(least, most):
    levels = np.full((4, 4, 3), least, np.uint8)
    levels[0, 0] = most
    return Image.fromarray(levels)


@pytest.mark.parametrize(("most", "is_plain"), [(200, True), (208, True), (209, False)])
def test_a_sheet_of_paper_counts_as_plain(most, is_plain):
    assert methods._is_plain(Pictures(images=(paper(200, most),))) is is_plain


def test_every_picture_must_be_plain_and_there_must_be_one():
    assert not methods._is_plain(Pictures())
    assert not methods._is_plain(Pictures(images=(paper(9, 9), paper(9, 99))))


def test_what_a_mask_repaints_does_not_count():
    mask = Image.new("L", (4, 4))
    mask.putpixel((0, 0), 255)
    assert methods._is_plain(Pictures(images=(paper(9, 99),), mask=mask))
    assert not methods._is_plain(Pictures(images=(paper(9, 9),), mask=Image.new("L", (4, 4), 255)))


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    assert methods._on_white(clear).getpixel((0, 0)) == (255, 255, 255)
    opaque = Image.new("RGB", (2, 2), "red")
    assert methods._on_white(opaque) is opaque
