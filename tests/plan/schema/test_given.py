"""A picture that a request starts from."""

import pytest

from imggen.plan.schema.given import starts
from tests.plan.cases import picture


@pytest.mark.parametrize(
    ("roles", "is_start"),
    [
        ((), False),
        (("control",), False),
        (("shown", "control"), False),
        (("image",), True),
        (("parent",), True),
        (("mask",), True),
        (("style",), True),
        (("control", "shown", "image"), True),
    ],
)
def test_a_picture_starts_from_all_but_what_stands_beside_the_words(roles, is_start):
    assert starts(tuple(map(picture, roles))) is is_start
