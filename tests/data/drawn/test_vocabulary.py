import unicodedata

from imggen.data.drawn import vocabulary


def test_every_object_is_one_code_point_with_a_name_of_its_own():
    assert len(vocabulary.OBJECTS) == len(vocabulary.GLYPHS) >= 120
    assert all(unicodedata.name(glyph) for glyph in vocabulary.OBJECTS.values())


def test_names_are_plain_words():
    for name in (*vocabulary.OBJECTS, *vocabulary.SHAPES, *vocabulary.COLORS):
        assert name.replace(" ", "").isalpha(), name
        assert name == name.lower()


def test_tables_speak_of_known_names_only():
    known = {*vocabulary.OBJECTS, *vocabulary.SHAPES}
    assert known >= {*vocabulary.PLURALS, *vocabulary.MASS_NOUNS, *vocabulary.SHORT_NAMES.values()}
    assert {*vocabulary.OBJECTS} >= {*vocabulary.OWN_COLORS}
    assert {*vocabulary.COLORS} >= {*vocabulary.OWN_COLORS.values()}


def test_articles_and_plurals_read_like_english():
    assert vocabulary.with_article("apple", "apple") == "an apple"
    assert vocabulary.with_article("red apple", "apple") == "a red apple"
    assert vocabulary.with_article("bread", "bread") == "bread"
    assert [vocabulary.plural(name) for name in ("dog", "fox", "strawberry", "die")] == [
        "dogs",
        "foxes",
        "strawberries",
        "dice",
    ]


def test_colours_are_far_enough_apart_to_tell():
    values = list(vocabulary.COLORS.values())
    for index, first in enumerate(values):
        for second in values[index + 1 :]:
            assert sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) > 40**2, (first, second)
