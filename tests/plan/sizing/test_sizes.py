import math

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


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size": "512x768"}, "--size 512x768"),
        ({}, "the model's own size"),
        ({"width": 256, "height": 320}, "--width 256 --height 320"),
        ({"height": 320}, "--height 320"),
        ({"aspect": "16:9", "width": 1024}, "--aspect 16:9 at --width 1024"),
        ({"aspect": "16:9", "height": 576}, "--aspect 16:9 at --height 576"),
        ({"aspect": "16:9"}, "--aspect 16:9 with the area of 512x512"),
    ],
)
def test_a_size_says_why(fields, reason):
    assert sizes.choose(GenerateRequest(**fields), LIMITS).reason == reason


WIDE = sizes.Limits(model="m", native=(768, 512), multiple_of=64, smallest=64, largest=2048)


@pytest.mark.parametrize(
    ("limits", "fields", "expected"),
    [
        (WIDE, {"height": 640}, (768, 640)),
        (WIDE, {"width": 640}, (640, 512)),
        (WIDE, {"size": "square"}, (768, 512)),
        (WIDE, {"size": "1024*768"}, (1024, 768)),
        # where the nearest multiples of the two edges are not the best pair
        (WIDE, {"aspect": "7:5"}, (704, 512)),
        (WIDE, {"aspect": "21:9"}, (896, 384)),
        (WIDE, {"aspect": "1:1"}, (640, 640)),
        (LIMITS, {"aspect": "5:4"}, (568, 456)),
        (LIMITS, {"aspect": "1:2"}, (360, 720)),
        (
            sizes.Limits(model="m", native=(1024, 1024), multiple_of=64, smallest=64, largest=2048),
            {"aspect": "7:5"},
            (1216, 896),
        ),
        (WIDE, {"aspect": "16:9", "width": 960}, (960, 512)),
        (WIDE, {"aspect": "20:1", "width": 640}, (640, 64)),
    ],
)
def test_sizes_of_a_model_that_draws_wide(limits, fields, expected):
    assert choose(limits, **fields) == expected


@given(st.integers(1, 20), st.integers(1, 20), st.integers(64, 1024), st.sampled_from([8, 16, 64]))
def test_of_the_sizes_around_an_aspect_none_fits_it_better(width, height, native, multiple):
    limits = sizes.Limits(model="m", native=(native, native), multiple_of=multiple, smallest=1, largest=10**5)
    ratio, area = width / height, native**2

    def miss(size):
        return 2 * abs(math.log(size[0] / size[1] / ratio)) + abs(math.log(size[0] * size[1] / area))

    size = choose(limits, aspect=f"{width}:{height}")
    below = [int(math.sqrt(area * share) // multiple) * multiple for share in (ratio, 1 / ratio)]
    corners = [(below[0] + x, below[1] + y) for x in (0, multiple) for y in (0, multiple)]
    assert miss(size) == min(miss(corner) for corner in corners if min(corner) > 0)


@pytest.mark.parametrize(("native", "taken"), [(64, (64, 64)), (2048, (2048, 2048))])
def test_an_aspect_takes_the_models_smallest_and_largest_edge(native, taken):
    limits = sizes.Limits(model="m", native=(native, native), multiple_of=64, smallest=64, largest=2048)
    assert choose(limits, aspect="1:1") == taken
    assert choose(limits, size="64x2048") == (64, 2048)


@pytest.mark.parametrize(("aspect", "ratio"), [("20:1", 20), ("1:20", 0.05), ("19.5:1", 19.5)])
def test_the_most_extreme_aspects_are_ratios(aspect, ratio):
    assert sizes.parse_aspect(aspect) == ratio


TOO_EXTREME = "is too extreme: at most 20:1"
NO_RATIO = ("is not an aspect ratio", "--aspect 16:9, --aspect 3:2 or --aspect 1:1")
ONE_OUT = "leave one of the two out"
ERRORS = [
    ({"aspect": "20.01:1"}, f"--aspect 20.01:1 {TOO_EXTREME}", "--aspect 16:9"),
    ({"aspect": "1:20.01"}, f"--aspect 1:20.01 {TOO_EXTREME}", "--aspect 16:9"),
    ({"aspect": "0:9"}, f"--aspect '0:9' {NO_RATIO[0]}", NO_RATIO[1]),
    ({"aspect": "wide"}, f"--aspect 'wide' {NO_RATIO[0]}", NO_RATIO[1]),
    ({"size": "512", "aspect": "1:1"}, "--size 512 and --aspect 1:1 contradict each other", ONE_OUT),
    ({"size": "512", "width": 8, "height": 9}, "--size 512 and --width 8 contradict each other", ONE_OUT),
    (
        {"aspect": "1:1", "width": 8, "height": 9},
        "--aspect 1:1 and --width 8 --height 9 contradict each other",
        "give the aspect with one edge, or both edges alone",
    ),
    (
        {"size": "@"},
        "--size '@' is not a size",
        f"WIDTHxHEIGHT such as 512x768, or one of: native, square, {', '.join(sizes.NAMES)}",
    ),
    ({"size": "0x512"}, "--size 0x512: 0x512 has a width of 0 px; m makes edges of 64 to 2048 px", "--size 64x512"),
    ({"size": "512x63"}, "--size 512x63: 512x63 has a height of 63 px; m makes edges of 64", "--size 512x64"),
    ({"size": "66x512"}, "--size 66x512: 66x512 has a width of 66 px; 66 px is not a multiple of 8", "--size 64x512"),
    (
        {"width": 2049},
        "--width 2049: 2049x512 has a width of 2049 px; m makes edges of 64 to",
        "--width 2048 --height 512",
    ),
    (
        {"width": 2047},
        "--width 2047: 2047x512 has a width of 2047 px; 2047 px is not a mult",
        "--width 2048 --height 512",
    ),
    (
        {"height": 100},
        "--height 100: 512x100 has a height of 100 px; 100 px is not a multiple of 8",
        "--width 512 --height 104",
    ),
]


@pytest.mark.parametrize(("fields", "message", "hint"), ERRORS)
def test_a_refused_size_says_what_is_wrong_and_what_would_do(fields, message, hint):
    with pytest.raises(RequestError) as caught:
        choose(**fields)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("edges", "wrong", "hint"),
    [
        ((100, 512), "100 px is not a multiple of 64", "--size 128x512"),
        ((96, 512), "100 to 1000 px", "--size 128x512"),
        ((1000, 512), "1000 px is not a multiple of 64", "--size 960x512"),
        ((512, 1001), "100 to 1000 px", "--size 512x960"),
    ],
)
def test_limits_that_are_no_multiples_are_told_from_edges_beyond_them(edges, wrong, hint):
    limits = sizes.Limits(model="m", native=(512, 512), multiple_of=64, smallest=100, largest=1000)
    with pytest.raises(RequestError, match=wrong) as caught:
        choose(limits, size="{}x{}".format(*edges))
    assert caught.value.hint == hint


def test_a_long_list_of_sizes_is_cut_short():
    listed = tuple((512 + 16 * number, 512) for number in range(10))
    limits = sizes.Limits(model="m", native=(512, 512), multiple_of=16, smallest=64, largest=2048, listed=listed)
    shown = ", ".join(f"{width}x512" for width in range(512, 640, 16))
    with pytest.raises(RequestError) as caught:
        choose(limits, size="0x0")
    assert caught.value.message == f"--size 0x0: m makes pictures of {shown} and 2 more sizes, not of 0x0"
    assert caught.value.hint == "--size 512x512"


def test_an_aspect_of_no_listed_size_keeps_the_native_area():
    listed = ((1024, 1024), (1280, 640))
    limits = sizes.Limits(model="m", native=(1024, 1024), multiple_of=16, smallest=64, largest=2048, listed=listed)
    assert choose(limits, aspect="2:1") == choose(limits, aspect="2.2:1") == (1280, 640)
    for aspect, missed in (("2.203:1", "1520x690"), ("4:1", "2048x512"), ("1:4", "512x2048")):
        with pytest.raises(RequestError, match=f"not of {missed}"):
            choose(limits, aspect=aspect)


def test_an_aspect_of_no_listed_size_keeps_the_ratio_where_the_native_size_is_not_square():
    limits = sizes.Limits(
        model="m", native=(1280, 640), multiple_of=16, smallest=64, largest=2048, listed=((1280, 640), (640, 1280))
    )
    with pytest.raises(RequestError, match="not of 1810x453"):
        choose(limits, aspect="4:1")


@pytest.mark.parametrize("largest", [1250, 1216])
@pytest.mark.parametrize(("aspect", "size"), [("3:2", (1216, 832)), ("2:3", (832, 1216))])
def test_an_aspect_stays_within_the_largest_edge(largest, aspect, size):
    limits = sizes.Limits(model="m", native=(1024, 1024), multiple_of=64, smallest=64, largest=largest)
    assert choose(limits, aspect=aspect) == size


@pytest.mark.parametrize("size", ["0x1", "1x0", "1x1"])
def test_the_likest_of_the_listed_sizes_is_that_of_the_ratio(size):
    with pytest.raises(RequestError) as caught:
        choose(LISTED, size=size)
    assert caught.value.hint == "--size 1024x1024"
