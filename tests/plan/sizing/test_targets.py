"""How large a picture shall become: typed, and for one picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.sizing import targets

EDGES = st.integers(1, 4000)


def sized(width, height, *, scale=None, to=None, fit=None):
    return targets.apply(targets.parse(scale, to, fit), width, height)


def size(width, height, **options):
    found = sized(width, height, **options)
    return found.width, found.height


@pytest.mark.parametrize("text", ["4", "4x", "x4", "4.0", " 4X ", "×4"])
def test_scale_is_taken_however_people_write_it(text):
    assert size(10, 7, scale=text) == (40, 28)


def test_without_a_word_a_picture_becomes_twice_as_large():
    assert size(10, 7) == (20, 14)
    assert sized(10, 7).scale == 2


def test_broken_scales_round_to_the_nearest_pixel():
    assert size(101, 3, scale="1.5") == (152, 5)
    assert size(1, 1, scale="1.4") == (1, 1)


@pytest.mark.parametrize("text", ["", "x", "2x2", "x2x", "two", "--2", "1e3", "nan", "inf", "2.", "٣"])
def test_what_is_no_scale_is_refused_with_examples(text):
    with pytest.raises(RequestError, match="is not a scale") as caught:
        targets.parse(text, None, None)
    assert "--scale 1.5" in caught.value.hint


@pytest.mark.parametrize("text", ["1", "0", "0.5", "1x", "1.0000", "-1", "-2x", "-0.5"])
def test_scale_that_enlarges_nothing_is_refused_with_one_that_does(text):
    with pytest.raises(RequestError, match="does not make a picture larger") as caught:
        targets.parse(text, None, None)
    assert caught.value.hint == "--scale 2"


def test_scale_beyond_the_limit_is_refused_with_the_limit():
    with pytest.raises(RequestError, match="too large") as caught:
        targets.parse("16.01", None, None)
    assert caught.value.hint == "--scale 16"
    assert size(4, 4, scale="16") == (64, 64)


@pytest.mark.parametrize(
    ("to", "expected"),
    [("1920x1080", (1920, 1080)), ("1080P", (1920, 1080)), ("1920x", (1920, 1080)), ("x1080", (1920, 1080))],
)
def test_target_is_given_by_both_edges_by_one_or_by_name(to, expected):
    assert size(480, 270, to=to) == expected


@pytest.mark.parametrize(
    ("to", "words"),
    [("1920", "--to 1920x"), ("x", "--to 1920x1080"), ("0x5", "--to 1920x1080"), ("1081p", "--to 1080p")],
)
def test_target_that_is_none_is_refused_with_one_that_is(to, words):
    with pytest.raises(RequestError) as caught:
        targets.parse(None, to, None)
    assert words in caught.value.hint


@pytest.mark.parametrize(
    ("scale", "to", "fit"), [("2", "100x", None), ("2", None, "crop"), (None, None, "pad"), (None, "100x", "crop")]
)
def test_options_that_contradict_each_other_are_refused(scale, to, fit):
    with pytest.raises(RequestError):
        targets.parse(scale, to, fit)


def test_other_shape_is_refused_until_somebody_says_how():
    with pytest.raises(RequestError, match="another shape") as caught:
        sized(100, 100, to="400x200")
    assert "--fit crop" in caught.value.hint


def test_other_shape_is_cropped_padded_or_stretched_to_the_very_size():
    crop = sized(100, 100, to="400x200", fit="crop")
    assert (crop.width, crop.height, crop.drawn_width, crop.drawn_height, crop.scale) == (400, 200, 400, 400, 4)
    pad = sized(100, 100, to="400x200", fit="pad")
    assert (pad.width, pad.height, pad.drawn_width, pad.drawn_height, pad.scale) == (400, 200, 200, 200, 2)
    stretch = sized(100, 100, to="400x200", fit="stretch")
    assert (stretch.width, stretch.height, stretch.drawn_width, stretch.drawn_height) == (400, 200, 400, 200)


@pytest.mark.parametrize("to", ["160x89", "160x90", "160x91", "159x90"])
def test_a_pixel_of_rounding_is_no_other_shape(to):
    found = sized(80, 45, to=to)
    assert f"{found.width}x{found.height}" == to
    assert (found.drawn_width, found.drawn_height) == (found.width, found.height)


@pytest.mark.parametrize(
    ("to", "fit"), [("100x", None), ("50x50", None), ("200x80", "pad"), ("100x100", "crop"), ("x20", None)]
)
def test_picture_that_would_not_grow_is_refused_with_its_size(to, fit):
    with pytest.raises(RequestError, match="has 100x100 pixels already"):
        sized(100, 100, to=to, fit=fit)


def test_icon_is_not_blown_up_without_limit():
    with pytest.raises(RequestError, match="240 times larger; at most 16 times"):
        sized(16, 9, to="4k")


def test_more_than_a_gigapixel_is_refused_with_what_there_is_room_for():
    with pytest.raises(RequestError, match=r"at most 1,073,741,824") as caught:
        sized(10_000, 10_000, scale="4")
    assert caught.value.hint == "--scale 3.27"
    assert sized(10_000, 10_000, scale="3.27").width == 32_700


@given(EDGES, EDGES, EDGES, EDGES, st.sampled_from([None, "crop", "pad", "stretch"]))
def test_every_target_is_met_to_the_pixel_or_refused(width, height, wanted_width, wanted_height, fit):
    try:
        found = sized(width, height, to=f"{wanted_width}x{wanted_height}", fit=fit)
    except RequestError:
        return
    assert (found.width, found.height) == (wanted_width, wanted_height)
    assert 1 < found.scale <= targets.MAX_SCALE
    if fit == "crop":
        assert found.drawn_width >= wanted_width
        assert found.drawn_height >= wanted_height
    if fit == "pad":
        assert found.drawn_width <= wanted_width
        assert found.drawn_height <= wanted_height
