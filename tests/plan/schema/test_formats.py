"""The table of formats: every name has its row, and suffixes lead to it and back."""

from typing import get_args

from imggen.plan.schema import formats
from imggen.plan.schema.formats import FORMATS, PICTURE_SUFFIXES, SUFFIXES, ImageFormat


def test_every_format_has_a_row():
    assert tuple(FORMATS) == get_args(ImageFormat)


def test_suffixes_lead_to_their_format_and_back():
    assert {name: SUFFIXES[row.suffix] for name, row in FORMATS.items()} == {name: name for name in FORMATS}
    assert (SUFFIXES[".jpeg"], SUFFIXES[".jfif"], SUFFIXES[".tiff"]) == ("jpeg", "jpeg", "tiff")
    assert (FORMATS["jpeg"].suffix, FORMATS["tiff"].suffix) == (".jpg", ".tif")
    assert {*SUFFIXES, ".gif"} < set(PICTURE_SUFFIXES)


def test_lossless_formats_have_one_quality_and_the_others_one_of_their_own():
    assert {name: row.quality for name, row in FORMATS.items() if row.lossless} == {"png": 100, "tiff": 100}
    assert {name: row.quality for name, row in FORMATS.items() if not row.lossless} == {
        "jpeg": 95,
        "webp": 90,
        "avif": 80,
    }


def test_only_a_jpeg_loses_transparency():
    assert [name for name, row in FORMATS.items() if not row.alpha] == ["jpeg"]


def test_a_sentence_lists_the_titles():
    assert formats.TITLES == "PNG, JPEG, WebP, AVIF or TIFF"
    assert formats.either(("one",)) == "one"
    assert formats.either(("a", "b", "c"), "and") == "a, b and c"
