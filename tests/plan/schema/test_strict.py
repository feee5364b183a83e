"""JSON held against a dataclass: what fits is built, what does not is named with its place."""

import math
from dataclasses import dataclass, field
from typing import Literal

import pytest

from imggen.errors import RequestError
from imggen.plan.schema import strict
from imggen.plan.schema.strict import KeyPath, Limit


@dataclass(frozen=True, kw_only=True)
class Leaf:
    share: float


@dataclass(frozen=True, kw_only=True)
class Tree:
    name: str
    count: int = 1
    share: float = 0.5
    flag: bool = False
    kind: Literal["oak", "elm"] = "oak"
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[int, int] | None = None
    notes: dict[str, str] = field(default_factory=dict)


LIMITS = {
    "count": Limit(least=1, most=3),
    "share": Limit(above=0.0, most=1.0),
    "name": Limit(pattern="[a-z]*", longest=5, called="small letters"),
    "pair": Limit(most=9),
    "pair[1]": Limit(most=4),
}
PLACE = KeyPath(subject="the file", limits=LIMITS)


def build(**values):
    return strict.build(Tree, {"name": "a"} | values, PLACE)


def refusal(function, *arguments, **values):
    with pytest.raises(RequestError) as caught:
        function(*arguments, **values)
    return caught.value.message, caught.value.hint


def test_what_fits_is_built_with_lists_as_tuples_and_objects_as_dataclasses():
    tree = build(leaf={"share": 1}, leaves=[{"share": 0.1}, {"share": 1}], pair=[9, 4], notes={"a": "b"}, flag=True)
    assert tree == Tree(
        name="a",
        leaf=Leaf(share=1.0),
        leaves=(Leaf(share=0.1), Leaf(share=1.0)),
        pair=(9, 4),
        notes={"a": "b"},
        flag=True,
    )
    assert isinstance(tree.leaf.share, float)
    assert build(leaf=None, pair=None, leaves=[]) == Tree(name="a")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 1}, "name is 1, not text"),
        ({"name": None}, "name is None, not text"),
        ({"count": 1.0}, "count is 1.0, not a whole number"),
        ({"count": True}, "count is True, not a whole number"),
        ({"share": True}, "share is True, not a number"),
        ({"share": "1"}, "share is '1', not a number"),
        ({"flag": 1}, "flag is 1, not true or false"),
        ({"leaf": []}, "leaf is [], not an object or null"),
        ({"leaf": {"share": "x"}}, "leaf.share is 'x', not a number"),
        ({"leaves": {}}, "leaves is {}, not a list"),
        ({"leaves": [{"share": 1}, 2]}, "leaves[1] is 2, not an object"),
        ({"leaves": [{"share": 2}]}, "leaves[0].share is 2.0; the most is 1.0"),
        ({"pair": 1}, "pair is 1, not a list or null"),
        ({"pair": [1, "a"]}, "pair[1] is 'a', not a whole number"),
        ({"pair": [10, 1]}, "pair[0] is 10; the most is 9"),
        ({"pair": [9, 5]}, "pair[1] is 5; the most is 4"),
        ({"notes": []}, "notes is [], not an object"),
        ({"count": 0}, "count is 0; the least is 1"),
        ({"count": 4}, "count is 4; the most is 3"),
        ({"share": 0}, "share is 0.0, not above 0.0"),
        ({"share": 1.01}, "share is 1.01; the most is 1.0"),
        ({"share": math.inf}, "share is inf, not a finite number"),
        ({"share": math.nan}, "share is nan, not a finite number"),
        ({"name": "aB"}, "name is 'aB', not small letters"),
        ({"name": "a\n"}, "name is 'a\\n', not small letters"),
        ({"name": 7 * "a"}, "name has 7 characters; at most 5 are read"),
        ({"count": "a" * 58}, f"count is '{'a' * 58}', not a whole number"),
        ({"count": "a" * 59}, f"count is '{'a' * 56}..., not a whole number"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(values, message):
    assert refusal(build, **values) == (f"the file's {message}", None)


@pytest.mark.parametrize("pair", [[1], [1, 2, 3], []])
def test_a_list_of_another_length_is_refused(pair):
    assert refusal(build, pair=pair) == (f"the file's pair has {len(pair)} values, not 2", None)


def test_an_object_of_texts_holds_nothing_else():
    assert refusal(build, notes={"a": "b", "c": 1}) == ("the file's notes holds something that is not text", None)


@pytest.mark.parametrize(
    "values", [{"count": 1}, {"count": 3}, {"share": 1}, {"share": 0.001}, {"name": "abcde"}, {"name": ""}]
)
def test_a_value_on_its_limit_is_taken(values):
    assert build(**values) == Tree(**{"name": "a"} | values)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_whole_number_is_a_float_only_where_a_float_is_exact(sign):
    free = KeyPath(subject="it", limits={})
    assert strict.read(float, sign * ((1 << 53) - 1), free) == float(sign * ((1 << 53) - 1))
    assert "not a number" in refusal(strict.read, float, sign * (1 << 53), free)[0]


def test_a_choice_that_is_not_known_gets_the_nearest():
    assert refusal(build, kind="oka") == (
        "the file's kind is 'oka', which this imggen does not know",
        "the nearest known one is oak; known: oak, elm",
    )
    assert refusal(build, kind="zzz")[1] == refusal(build, kind=3)[1] == "known: oak, elm"
    assert build(kind="elm").kind == "elm"


def test_keys_are_known_and_required_ones_are_there():
    assert refusal(build, zzz=1, nmae=2) == ("the file has an unknown key 'nmae'", "the nearest known key is name")
    known = ("the file has an unknown key 'zzz'", "known keys: b, a, c")
    assert refusal(strict.check_keys, PLACE, {"zzz": 1}, {"b": True, "a": True, "c": False}) == known
    assert refusal(strict.check_keys, PLACE, {}, {"b": True, "a": True, "c": False}) == ("the file lacks a, b", None)
    assert refusal(strict.build, Tree, {}, PLACE) == ("the file lacks name", None)
    assert refusal(build, leaf={}) == ("the file's leaf lacks share", None)


@pytest.mark.parametrize(
    ("schema", "message", "hint"),
    [
        (None, "the file has no schema number", "schema = 2"),
        (True, "the file's schema is True, not a whole number from 1 up", None),
        ("1", "the file's schema is '1', not a whole number from 1 up", None),
        (1.0, "the file's schema is 1.0, not a whole number from 1 up", None),
        (0, "the file's schema is 0, not a whole number from 1 up", None),
        (3, "the file has schema 3; this imggen reads up to 2", "pip install --upgrade imggen"),
    ],
)
def test_a_schema_number_is_one_that_this_imggen_reads(schema, message, hint):
    assert [strict.check_schema({"schema": good, "else": 1}, PLACE, 2) for good in (1, 2)] == [1, 2]
    assert refusal(strict.check_schema, {"schema": schema}, PLACE, 2) == (message, hint)


def test_a_place_is_written_as_people_would():
    inner = PLACE.member("change").member("pad").item(2)
    assert (str(PLACE), str(inner)) == ("the file", "the file's change.pad[2]")
    assert inner.limit == Limit()
    assert [PLACE.member("pair").item(number).limit.most for number in (0, 1)] == [9, 4]
    assert PLACE.member("deep").member("count").limit == LIMITS["count"]
