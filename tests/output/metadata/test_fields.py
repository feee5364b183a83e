"""What people say of pictures by name, and where it goes."""

import pytest

from imggen.errors import RequestError
from imggen.output.metadata import fields, metadata


def test_every_place_of_a_field_says_the_same():
    assigned = fields.assign([("Title ", " Hill "), ("artist", "A. B.")])
    assert assigned.properties == {"dc:title": "Hill", "dc:creator": ("A. B.",)}
    assert assigned.tags == {"Artist": "A. B."}
    assert assigned.texts == {"Title": "Hill", "Author": "A. B."}


def test_keywords_stand_between_commas():
    assert fields.assign([("keywords", "a, b c,, ")]).properties == {"dc:subject": ("a", "b c")}


def test_empty_value_takes_every_place_away():
    taken = fields.assign([("description", "")])
    assert (taken.properties, taken.tags) == ({"dc:description": None}, {"ImageDescription": None})
    assert taken.texts == {"Description": None}


def test_last_of_two_values_holds():
    assert fields.assign([("title", "a"), ("title", "b")]).properties == {"dc:title": "b"}


@pytest.mark.parametrize("value", ["composite", metadata.SOURCE_TYPES + "composite"])
def test_source_type_is_a_term_or_its_address(value):
    assert fields.assign([("source-type", value)]).properties == {
        metadata.SOURCE_TYPE: "http://cv.iptc.org/newscodes/digitalsourcetype/composite"
    }


@pytest.mark.parametrize(
    ("pair", "hint"),
    [(("titel", "x"), "--set title=..."), (("source-type", "composit"), "--set source-type=composite")],
)
def test_near_miss_names_what_was_meant(pair, hint):
    with pytest.raises(RequestError) as caught:
        fields.assign([pair])
    assert caught.value.hint == hint
