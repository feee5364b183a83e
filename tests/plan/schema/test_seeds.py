import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.schema import seeds

SEED = st.integers(0, seeds.LIMIT - 1)


def never(limit: int) -> int:
    raise AssertionError("nothing random was asked for")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", (42,)),
        ("0", (0,)),
        ("1,2", (1, 2)),
        ("3,1,2", (3, 1, 2)),
        ("1-4", (1, 2, 3, 4)),
        ("1..3", (1, 2, 3)),
        ("1-4,9", (1, 2, 3, 4, 9)),
        (" 1 - 2 , 5 ", (1, 2, 5)),
        (str(2**63 - 1), (2**63 - 1,)),
    ],
)
def test_seeds_are_read_in_the_order_in_which_they_are_written(text, expected):
    assert seeds.choose(text, None, draw=never) == expected


@given(SEED, st.integers(1, 500))
def test_one_seed_and_a_count_give_the_numbers_that_follow(first, count):
    if first + count > seeds.LIMIT:
        with pytest.raises(RequestError, match="past the largest seed"):
            seeds.choose(str(first), count, draw=never)
    else:
        assert seeds.choose(str(first), count, draw=never) == tuple(range(first, first + count))


@given(st.lists(SEED, min_size=1, max_size=20, unique=True))
def test_a_list_comes_back_as_it_was_typed(numbers):
    assert seeds.choose(",".join(map(str, numbers)), len(numbers), draw=never) == tuple(numbers)


@given(SEED, st.integers(0, 300))
def test_a_range_has_both_of_its_ends(first, length):
    last = min(first + length, seeds.LIMIT - 1)
    assert seeds.choose(f"{first}-{last}", None, draw=never) == tuple(range(first, last + 1))


@given(st.text(max_size=30))
def test_any_text_gives_seeds_in_range_or_a_request_error(text):
    try:
        found = seeds.choose(text, None, draw=lambda limit: 0)
    except RequestError:
        return
    assert found
    assert all(0 <= seed < seeds.LIMIT for seed in found)
    assert len(found) <= seeds.MOST


@given(st.integers(1, seeds.MOST), st.floats(0, 1, exclude_max=True))
def test_random_seeds_are_short_and_never_run_past_the_largest(count, where):
    found = seeds.choose("random", count, draw=lambda limit: int(where * limit))
    assert len(found) == count
    assert found[-1] < seeds.DRAWN_LIMIT


def test_no_seed_is_a_random_one():
    assert seeds.choose(None, 2, draw=lambda limit: 7) == (7, 8)
    assert seeds.choose("RANDOM", None, draw=lambda limit: 7) == (7,)


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "a", "-1", "1.5", "0x10", "1-", "-", "1--4", "٣", "1e3", "1 2", "random,1"]
)
def test_what_is_no_seed_is_refused_with_examples(text):
    with pytest.raises(RequestError, match="is not a seed") as caught:
        seeds.choose(text, None, draw=never)
    assert "--seed random" in caught.value.hint


def test_a_backward_range_is_refused_with_the_forward_one():
    with pytest.raises(RequestError, match="runs backwards") as caught:
        seeds.choose("4-1", None, draw=never)
    assert caught.value.hint == "--seed 1-4"


def test_a_seed_beyond_the_limit_is_refused_with_the_limit():
    with pytest.raises(RequestError, match=str(2**63)) as caught:
        seeds.choose(str(2**63), None, draw=never)
    assert str(2**63 - 1) in caught.value.hint


def test_a_list_and_another_count_contradict_each_other():
    with pytest.raises(RequestError, match=r"--seed 1-4 .* --num-images asks for 3"):
        seeds.choose("1-4", 3, draw=never)


@pytest.mark.parametrize("text", ["1,1", "1-4,3"])
def test_a_seed_that_occurs_twice_is_refused(text):
    with pytest.raises(RequestError, match="occurs twice"):
        seeds.choose(text, None, draw=never)


@pytest.mark.parametrize(("text", "count"), [("1-10001", None), (None, 10_001), ("1-6000,7000-12000", None)])
def test_more_than_ten_thousand_pictures_are_refused(text, count):
    with pytest.raises(RequestError, match="at most 10,000"):
        seeds.choose(text, count, draw=lambda limit: 0)


def test_a_huge_range_is_refused_without_being_listed():
    with pytest.raises(RequestError, match="at most 10,000"):
        seeds.choose(f"0-{2**63 - 1}", None, draw=never)


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_picture_is_refused(count):
    with pytest.raises(RequestError, match="nothing to make"):
        seeds.choose("1", count, draw=never)
