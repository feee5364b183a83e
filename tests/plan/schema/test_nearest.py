import pytest

from imggen.plan.schema import nearest


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("appel", "apple"),
        ("aple", "apple"),
        ("appple", "apple"),
        ("APPLE", None),
        ("abble", None),
        ("mouse", None),
        ("hause", "house"),
        ("stir", None),
        ("cup", None),
    ],
)
def test_only_a_slip_of_one_letter_is_a_misspelling(word, meant):
    assert nearest.misspelt(word, ("apple", "house", "star", "tulip", "cut")) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sketch.png", None),
        ("x", None),
        ("aple.png", "apple.png"),
        ("apple.jpg", "apple.png"),
        ("apple", "apple.png"),
        ("m.jpg", "m.png"),
    ],
)
def test_a_file_is_near_by_its_name_and_not_by_its_ending(name, meant):
    assert nearest.nearest_file(name, ("apple.png", "m.png", "x4")) == meant
