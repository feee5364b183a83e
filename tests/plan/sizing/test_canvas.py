"""The size of a picture that is made from another one, and what the model computes for it."""

import pytest

from imggen.errors import RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.sizing import canvas
from imggen.plan.sizing.sizes import Limits, Size

LIMITS = Limits(model="Plain", native=(512, 512), multiple_of=16, smallest=64, largest=1024)
SIZES = ((512, 512), (640, 384), (384, 640))
LISTED = Limits(
    model="Plain",
    native=(512, 512),
    multiple_of=1,
    smallest=64,
    largest=1024,
    listed=SIZES,
)


def size(start=(300, 200), limits=LIMITS, **said):
    chosen = canvas.size(GenerateRequest(**said), start, limits)
    return (chosen.width, chosen.height), chosen.reason


def refusal(*arguments, **said):
    with pytest.raises(RequestError) as caught:
        size(*arguments, **said)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize(
    ("said", "edges", "reason"),
    [
        ({}, (300, 200), "the given picture's size"),
        ({"size": "101x99"}, (101, 99), "--size 101x99"),
        ({"size": "native"}, (512, 512), "--size native"),
        ({"width": 150}, (150, 100), "--width 150"),
        ({"height": 100}, (150, 100), "--height 100"),
        ({"height": 101}, (152, 101), "--height 101"),
        ({"width": 70, "height": 900}, (70, 900), "--width 70 --height 900"),
        ({"aspect": "1:1"}, (200, 200), "--aspect 1:1"),
        ({"aspect": "3:2"}, (300, 200), "--aspect 3:2"),
        ({"aspect": "3:1"}, (300, 100), "--aspect 3:1"),
        ({"aspect": "1:2"}, (100, 200), "--aspect 1:2"),
        ({"aspect": "2:1", "width": 128}, (128, 64), "--aspect 2:1 --width 128"),
        ({"aspect": "2:1", "height": 64}, (128, 64), "--aspect 2:1 --height 64"),
    ],
)
def test_a_picture_keeps_the_given_shape_unless_another_is_asked_for(said, edges, reason):
    assert size(**said) == (edges, reason)


@pytest.mark.parametrize("start", [(64, 1024), (1024, 64)])
def test_edges_on_the_models_limits_are_made(start):
    assert size(start) == (start, "the given picture's size")


@pytest.mark.parametrize(
    ("start", "said", "reason", "edges", "hint"),
    [
        ((63, 126), {}, "the given picture's size", "63x126", "--size 64x128"),
        ((126, 63), {}, "the given picture's size", "126x63", "--size 128x64"),
        ((1025, 512), {}, "the given picture's size", "1025x512", "--size 1024x512"),
        ((500, 1500), {}, "the given picture's size", "500x1500", "--size 336x1024"),
        ((20, 2000), {}, "the given picture's size", "20x2000", "--size 64x1024"),
        ((300, 200), {"width": 60}, "--width 60", "60x40", "--width 96 --height 64"),
        ((300, 200), {"size": "2048x1024"}, "--size 2048x1024", "2048x1024", "--size 1024x512"),
        (
            (300, 200),
            {"aspect": "1:1", "width": 2000},
            "--aspect 1:1 --width 2000",
            "2000x2000",
            "--width 1024 --height 1024, and no --aspect",
        ),
        (
            (2000, 1000),
            {"task": "outpaint"},
            "the given picture's size",
            "2000x1000",
            "a smaller picture or less --pad: at most 1024x512 in all",
        ),
    ],
)
def test_edges_beyond_the_models_limits_are_refused_with_the_nearest_of_the_shape(start, said, reason, edges, hint):
    message = f"{reason}: {edges} px; Plain makes edges of 64 to 1024 px"
    assert refusal(start, **said) == (message, hint)


@pytest.mark.parametrize(("aspect", "edges"), [("20:1", (300, 15)), ("1:20", (10, 200))])
def test_an_edge_has_a_pixel_at_least(aspect, edges):
    loose = Limits(model="Plain", native=(512, 512), multiple_of=8, smallest=1, largest=1024)
    assert size(limits=loose, aspect=aspect)[0] == edges
    assert size((3, 1), loose, aspect="20:1")[0] == (3, 1)
    assert size((1, 3), loose, aspect="1:20")[0] == (1, 3)
    assert size((300, 1), loose, width=10)[0] == (10, 1)
    assert size((1, 300), loose, height=10)[0] == (1, 10)
    assert size(limits=loose, aspect="20:1", width=5)[0] == (5, 1)
    assert size(limits=loose, aspect="1:20", height=5)[0] == (1, 5)


def test_a_size_that_is_said_twice_is_refused():
    assert "contradict each other" in refusal(size="64x64", width=64)[0]
    assert "contradict each other" in refusal(limits=LISTED, size="512x512", aspect="1:1")[0]


@pytest.mark.parametrize(
    ("start", "edges"),
    [((10, 10), (512, 512)), ((900, 500), (640, 384)), ((500, 900), (384, 640))],
)
def test_a_model_of_listed_sizes_makes_the_one_of_about_the_given_shape(start, edges):
    assert size(start, LISTED) == (edges, "of the sizes that the model makes, the given picture's shape")


@pytest.mark.parametrize("said", [{"size": "384x640"}, {"aspect": "3:5"}, {"width": 384, "height": 640}])
def test_a_listed_size_that_is_asked_for_comes_before_the_given_shape(said):
    assert size((900, 500), LISTED, **said)[0] == (384, 640)


@pytest.mark.parametrize(("edges", "computed"), [((64, 80), (64, 80)), ((65, 79), (80, 80)), ((81, 1), (96, 16))])
def test_the_canvas_is_the_smallest_of_multiples_that_holds_the_picture(edges, computed):
    made = canvas.canvas(Size(width=edges[0], height=edges[1], reason=""), LIMITS)
    assert (made.width, made.height) == computed
