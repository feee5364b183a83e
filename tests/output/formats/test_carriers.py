"""Bounds on what a file carries."""

import pytest

from imggen.errors import RequestError
from imggen.output.formats import carriers
from imggen.output.formats.carriers import Carriers

LIMIT = carriers.MAX_TEXT_BYTES


def test_first_text_of_a_keyword_counts():
    texts = (("a", "1"), ("b", "2"), ("a", "3"))
    assert [Carriers(texts=texts).text(keyword) for keyword in "abc"] == ["1", "2", None]


def test_all_blocks_together_are_bounded():
    carriers.check_text(Carriers(exif=bytes(LIMIT - 2), xmp=b"x", comments=(b"y",)))
    with pytest.raises(RequestError, match="at most"):
        carriers.check_text(Carriers(exif=bytes(LIMIT - 2), xmp=b"x", comments=(b"y", b"z")))


@pytest.mark.parametrize(
    ("size", "is_fine"),
    [((1, 1), True), ((1 << 15, 1 << 15), True), ((0, 1), False), ((1, 0), False), (((1 << 15) + 1, 1 << 15), False)],
)
def test_sizes_are_bounded(size, is_fine):
    if is_fine:
        carriers.check_size(*size)
        return
    with pytest.raises(RequestError, match=f"{size[0]}x{size[1]}"):
        carriers.check_size(*size)
