"""A picture a strip at a time: each row once, and never many pixels at once."""

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imggen.output.watermark import strips

SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(size=SIZES)
def test_strips_are_all_rows_from_top_to_bottom_and_small(size):
    image = Image.new("1", size)
    found = list(strips.over(image))
    assert [row for rows in found for row in rows] == list(range(image.height))
    assert all(rows.start % 16 == 0 for rows in found)
    assert all(len(rows) * image.width <= strips.PIXELS for rows in found)


def test_strip_of_a_very_wide_picture_still_has_16_rows():
    assert list(strips.over(Image.new("1", (100_000, 40)))) == [range(16), range(16, 32), range(32, 40)]


def test_cut_rows_are_those_of_the_picture():
    image = Image.radial_gradient("L")
    assert strips.cut(image, range(20, 50)).tobytes() == image.tobytes()[20 * 256 : 50 * 256]


@given(size=SIZES, by=st.integers(0, 9))
def test_widened_rows_have_what_is_beside_them_as_far_as_there_is_any(size, by):
    image = Image.new("1", size)
    for rows in strips.over(image):
        wide, inner = strips.widened(rows, by, image)
        assert wide[inner] == rows
        assert wide.start == max(0, rows.start - by)
        assert wide.stop == min(image.height, rows.stop + by)
