import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.sizing import sizes

LIMITS = sizes.Limits(model="m", native=(512, 512), multiple_of=8, smallest=64, largest=2048)


def choose(limits: sizes.Limits = LIMITS, **fields):
    found = sizes.choose(GenerateRequest(**fields), limits)
    return found.width, found.height


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (512, 512)),
        ({"size": "512x768"}, (512, 768)),
        ({"size": "512X768"}, (512, 768)),
        ({"size": " 512 x 768 "}, (512, 768)),
        ({"size": "640"}, (640, 640)),
        ({"size": "720p"}, (1280, 720)),
        ({"size": "native"}, (512, 512)),
        ({"width": 768}, (768, 512)),
        ({"height": 768}, (512, 768)),
        ({"width": 256, "height": 320}, (256, 320)),
        ({"aspect": "1:1"}, (512, 512)),
        ({"aspect": "16:9", "width": 1024}, (1024, 576)),
        ({"aspect": "16:9", "height": 576}, (1024, 576)),
        ({"aspect": "16/9", "width": 1024}, (1024, 576)),
    ],
)
def test_sizes_are_what_was_said_and_the_models_own_for_the_rest(fields, expected):
    assert choose(**fields) == expected


@pytest.mark.parametrize("aspect", ["16:9", "9:16", "3:2", "4:3", "21:9", "1:2", "1.85:1"])
def test_an_aspect_keeps_the_native_area(aspect):
    width, height = choose(aspect=aspect)
    assert width % 8 == height % 8 == 0
    assert abs(width * height / 512**2 - 1) < 0.05
    assert abs(width / height / sizes.parse_aspect(aspect) - 1) < 0.02


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16, 32, 64]), st.sampled_from([128, 512, 1024]))
def test_every_aspect_is_a_size_that_the_model_takes_or_an_error_that_names_one(width, height, multiple, native):
    limits = sizes.Limits(model="m", native=(native, native), multiple_of=multiple, smallest=64, largest=4 * native)
    try:
        found = choose(limits, aspect=f"{width}:{height}")
    except RequestError as error:
        hint = error.hint or ""
        found = (
            choose(limits, size=hint.removeprefix("--size ").partition(",")[0])
            if hint.startswith("--size")
            else (native, native)
        )
    assert all(edge % multiple == 0 and 64 <= edge <= 4 * native for edge in found)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_refused_size_names_one_that_is_taken(width, height):
    try:
        found = choose(size=f"{width}x{height}")
    except RequestError as error:
        hint = error.hint.removeprefix("--size ").partition(",")[0]
        near = choose(size=hint)
        assert near != (width, height)
        assert all(abs(a - b) <= 4 or a in (64, 2048) for a, b in zip(near, (width, height), strict=True))
        return
    assert found == (width, height)


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_a_request_error(text):
    try:
        found = choose(size=text)
    except RequestError:
        return
    assert all(64 <= edge <= 2048 for edge in found)


@given(st.text(max_size=20))
def test_any_text_is_an_aspect_or_a_request_error(text):
    try:
        ratio = sizes.parse_aspect(text)
    except RequestError:
        return
    assert 1 / 20 <= ratio <= 20


def test_odd_width_names_the_nearest_good_one():
    with pytest.raises(RequestError, match="1001 px is not a multiple of 8") as caught:
        choose(width=1001)
    assert caught.value.hint == "--width 1000 --height 512"


def test_an_edge_beyond_the_model_names_its_limits():
    with pytest.raises(RequestError, match="edges of 64 to 2048 px") as caught:
        choose(size="4k")
    assert caught.value.hint == "--size 2048x2048"
    with pytest.raises(RequestError, match="edges of 64 to 2048 px"):
        choose(height=-8)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"size": "512x512", "aspect": "1:1"}, ("--size 512x512", "--aspect 1:1")),
        ({"size": "512x512", "width": 512}, ("--size 512x512", "--width 512")),
        ({"size": "512x512", "height": 512}, ("--size 512x512", "--height 512")),
        ({"aspect": "1:1", "width": 512, "height": 512}, ("--aspect 1:1", "--width 512 --height 512")),
    ],
)
def test_contradictions_are_refused_and_both_sides_named(fields, named):
    with pytest.raises(RequestError, match="contradict") as caught:
        choose(**fields)
    assert all(each in caught.value.message for each in named)


@pytest.mark.parametrize("text", ["16", "16:0", "0:9", "a:b", "-16:9", "16:9:4", "", "inf:1", "nan:1", "99999:1"])
def test_an_aspect_that_makes_no_sense_is_refused(text):
    with pytest.raises(RequestError, match="--aspect"):
        choose(aspect=text)


def test_an_unknown_size_name_gets_the_nearest():
    with pytest.raises(RequestError, match="1081p") as caught:
        choose(size="1081p")
    assert caught.value.hint.startswith("--size 1080p")


LISTED = sizes.Limits(
    model="m",
    native=(1024, 1024),
    multiple_of=16,
    smallest=640,
    largest=1408,
    listed=((1024, 1024), (768, 1280), (1280, 768)),
)


@pytest.mark.parametrize(("said", "size"), [({}, (1024, 1024)), ({"aspect": "16:9"}, (1280, 768))])
def test_of_listed_sizes_the_likest_is_taken(said, size):
    found = sizes.choose(GenerateRequest(**said), LISTED)
    assert (found.width, found.height) == size


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ({"size": "1024x768"}, "--size 1280x768"),
        ({"width": 512}, "--width 768 --height 1280"),
        ({"aspect": "4:1"}, "--size 1280x768, and no --aspect"),
        ({"aspect": "4:1", "width": 512}, "--width 1280 --height 768, and no --aspect"),
    ],
)
def test_a_size_that_is_not_listed_is_refused_with_the_list(said, hint):
    with pytest.raises(RequestError, match="m makes pictures of 1024x1024, 768x1280, 1280x768, not of") as caught:
        sizes.choose(GenerateRequest(**said), LISTED)
    assert caught.value.hint == hint
