import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.sizing import borders

SIZE = (128, 96)


@pytest.mark.parametrize("text", ["10,20,30,40", " 10, 20 ,30,40 "])
def test_a_box_is_read_as_typed(text):
    assert borders.parse_box(text, SIZE) == (10, 20, 30, 40)


def test_the_whole_picture_is_a_box():
    assert borders.parse_box("0,0,128,96", SIZE) == (0, 0, 128, 96)


@pytest.mark.parametrize(
    "text", ["", "10", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1.5,2,3,4", "1 2 3 4", "1,2,3,", "٣,1,1,1"]
)
def test_what_is_not_four_whole_numbers_is_refused_with_an_example(text):
    with pytest.raises(RequestError, match="is not four whole numbers") as caught:
        borders.parse_box(text, SIZE)
    assert caught.value.message.startswith(f"--mask-box {text!r}")
    assert caught.value.hint.startswith("--mask-box 32,24,64,48 ")


@pytest.mark.parametrize("text", ["1,1,0,5", "1,1,5,0", "1,1,-5,5"])
def test_a_box_without_area_is_refused(text):
    with pytest.raises(RequestError, match="covers nothing"):
        borders.parse_box(text, SIZE)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("100,80,40,40", "--mask-box 100,80,28,16"),
        ("-8,0,16,16", "--mask-box 0,0,8,16"),
        ("0,0,129,96", "--mask-box 0,0,128,96"),
        ("500,500,10,10", "--mask-box 32,24,64,48"),
    ],
)
def test_a_box_that_leaves_the_picture_is_refused_with_one_that_does_not(text, hint):
    with pytest.raises(RequestError, match="the picture is 128x96") as caught:
        borders.parse_box(text, SIZE)
    assert caught.value.hint == hint


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.tuples(*[st.integers(-400, 400)] * 4))
def test_every_hint_for_a_box_is_a_good_box(size, box):
    text = ",".join(map(str, box))
    try:
        x, y, width, height = borders.parse_box(text, size)
    except RequestError as error:
        box = borders.parse_box(error.hint.split()[1], size)
        x, y, width, height = box
    assert 0 <= x < x + width <= size[0]
    assert 0 <= y < y + height <= size[1]


@pytest.mark.parametrize(
    ("text", "pad"),
    [
        ("64", (64, 64, 64, 64)),
        ("64,0", (64, 0, 64, 0)),
        ("1,2,3", (1, 2, 3, 2)),
        ("1,2,3,4", (1, 2, 3, 4)),
        (" 0, 8 ", (0, 8, 0, 8)),
    ],
)
def test_pads_are_read_in_the_order_of_css(text, pad):
    assert borders.parse_pad(text) == pad


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not one to four whole numbers"),
        ("1,2,3,4,5", "is not one to four whole numbers"),
        ("64px", "is not one to four whole numbers"),
        ("1.5", "is not one to four whole numbers"),
        ("9" * 5000, "is not one to four whole numbers"),
        ("8,-1", "has a negative side"),
        ("0", "adds nothing"),
        ("0,0,0,0", "adds nothing"),
        ("99999", "at most 16,384"),
    ],
)
def test_a_bad_pad_is_refused_in_words_and_with_a_good_one(text, problem):
    with pytest.raises(RequestError, match=problem) as caught:
        borders.parse_pad(text)
    option, value = caught.value.hint.split()[:2]
    assert option == "--pad"
    assert max(borders.parse_pad(value)) == 64
