"""Stretches of bytes: what they hold is what each of them holds."""

from hypothesis import given
from hypothesis import strategies as st

from imggen.output.formats import spans

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


@given(held=SPANS, asked=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_span_touches_what_any_of_its_bytes_is_in(held, asked):
    inside = {byte for start, end in held for byte in range(start, end)}
    assert spans.hold(held).touches(asked) == bool(inside & set(range(*asked)))


@given(SPANS)
def test_joined_spans_hold_the_same_bytes_once(held):
    found = [byte for start, end in spans.joined(held) for byte in range(start, end)]
    assert found == sorted({byte for start, end in held for byte in range(start, end)})
