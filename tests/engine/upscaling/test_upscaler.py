import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from imggen.engine.upscaling import upscaler
from imggen.engine.upscaling.tiling import Rules, Tiling
from imggen.errors import RequestError


@dataclass
class Repeater:
    """A network as the upscaler knows it: it repeats pixels, and adds what it is told to each level."""

    scale: int = 2
    rules: Rules = field(default_factory=lambda: Rules(margin=3))
    bytes_per_pixel: int = 1000
    adds: tuple[float, float, float] = (0, 0, 0)
    seen: list[tuple[int, int]] = field(default_factory=list)

    def draw(self, pixels):
        self.seen.append((pixels.shape[1], pixels.shape[0]))
        drawn = pixels.repeat(self.scale, 0).repeat(self.scale, 1) + np.array(self.adds)
        return (drawn / 255).clip(0, 1).astype(np.float32)


def picture(width, height, mode="RGB", seed=0):
    return Image.frombytes(mode, (width, height), np.random.default_rng(seed).bytes(width * height * len(mode)))


def pixels(image):
    return np.asarray(image).astype(int)


def larger(image, scale):
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    ("scale", "factor", "times"), [(2, 2, 1), (2, 8, 3), (4, 8, 2), (4, 4, 1), (2, 1, 0), (4, 0.5, 0)]
)
def test_a_network_draws_as_often_as_the_size_asks_for(scale, factor, times):
    image, network = picture(12, 10), Repeater(scale=scale)
    size = (int(12 * factor), int(10 * factor))
    assert upscaler.passes(image.size, scale, size) == times
    drawn = upscaler.enlarge(image, network, size)
    assert (drawn.size, drawn.mode) == (size, "RGB")
    assert network.seen == [(12 * scale**each, 10 * scale**each) for each in range(times)]


def test_one_long_edge_is_enough_for_another_pass():
    assert upscaler.passes((100, 50), 2, (200, 101)) == 2
    assert upscaler.passes((100, 50), 2, (201, 10)) == 2
    assert upscaler.passes((100, 50), 2, (100, 50)) == 0


def test_a_factor_that_the_network_has_is_its_own_work_alone():
    image = picture(9, 7)
    assert np.array_equal(pixels(upscaler.enlarge(image, Repeater(), (36, 28))), pixels(larger(image, 4)))


def test_any_other_size_is_drawn_larger_and_resampled_once():
    image = picture(40, 30)
    drawn = upscaler.enlarge(image, Repeater(), (100, 75))
    assert np.array_equal(pixels(drawn), pixels(larger(image, 4).resize((100, 75), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize("size", [(20, 30), (40, 30), (7, 7)])
def test_a_size_that_is_not_larger_is_left_to_lanczos(size):
    image, network = picture(40, 30, "RGBA"), Repeater()
    assert np.array_equal(pixels(upscaler.enlarge(image, network, size)), pixels(upscaler.lanczos(image, size)))
    assert network.seen == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_tiles_change_nothing(mode):
    image = picture(50, 41, mode)
    whole = upscaler.enlarge(image, Repeater(), (100, 82), tiling=Tiling(tile=0))
    tiled = upscaler.enlarge(image, Repeater(), (100, 82), tiling=Tiling(tile=16, overlap=10))
    assert np.array_equal(pixels(whole), pixels(tiled))


def test_tiles_too_small_for_the_network_are_refused():
    with pytest.raises(RequestError, match="tiles of 6 px are too small"):
        upscaler.enlarge(picture(50, 41), Repeater(), (100, 82), tiling=Tiling(tile=6))


def test_every_tile_of_every_pass_is_told():
    events = []
    upscaler.enlarge(picture(24, 20), Repeater(), (96, 80), tiling=Tiling(tile=15), on_event=events.append)
    assert {each.stage for each in events} == {"enlarge"}
    assert [each.step for each in events] == list(range(events[0].steps + 1))
    assert events[0].steps == 2 * 2 + 5 * 4


def test_alpha_is_told_too():
    events, network = [], Repeater()
    upscaler.enlarge(picture(24, 20, "RGBA"), network, (48, 40), on_event=events.append)
    assert events[-1].step == events[-1].steps == len(network.seen) == 2


def test_an_opaque_picture_takes_the_plain_path():
    image, network = picture(10, 10), Repeater()
    image.putalpha(255)
    drawn = upscaler.enlarge(image, network, (20, 20))
    assert len(network.seen) == 1
    assert np.array_equal(pixels(drawn), pixels(larger(image, 2)))


def test_grey_stays_grey_though_the_network_tints():
    grey = Image.merge("RGB", [picture(10, 10, "L")] * 3)
    network = Repeater(adds=(6, 0, -6))
    drawn = upscaler.enlarge(grey, network, (20, 20))
    assert upscaler.is_grey(drawn)
    assert np.abs(pixels(drawn) - pixels(larger(grey, 2))).max() <= 2
    assert not upscaler.is_grey(upscaler.enlarge(picture(10, 10), network, (20, 20)))


def glyph(*, hidden=(0, 255, 0)):
    """A red disc with soft edges on nothing, where the colour of nothing is `hidden`."""
    alpha = Image.new("L", (160, 160))
    ImageDraw.Draw(alpha).ellipse((32, 32, 127, 127), fill=255)
    alpha = alpha.resize((40, 40), Image.Resampling.BOX)
    colours = Image.composite(
        Image.new("RGB", (40, 40), (220, 20, 30)),
        Image.new("RGB", (40, 40), hidden),
        alpha.point(lambda each: 255 * (each > 0)),
    )
    colours.putalpha(alpha)
    return colours


@pytest.mark.parametrize("hidden", [(0, 255, 0), (0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("size", [(80, 80), (57, 57), (20, 20)])
def test_what_lies_under_transparent_pixels_shows_nowhere(hidden, size):
    drawn = pixels(upscaler.enlarge(glyph(hidden=hidden), Repeater(), size))
    assert np.abs(drawn[drawn[..., 3] > 8][:, :3] - (220, 20, 30)).max() <= (6 if size[0] > 40 else 20)
    assert np.abs(drawn[drawn[..., 3] > 64][:, :3] - (220, 20, 30)).max() <= (1 if size[0] > 40 else 20)


def test_nothing_stays_nothing_and_solid_stays_solid_though_the_network_is_noisy():
    image = glyph()
    for adds in ((3, 3, 3), (-3, -3, -3)):
        alpha = pixels(upscaler.enlarge(image, Repeater(adds=adds), (80, 80)).getchannel("A"))
        assert (alpha[:8, :8] == 0).all()
        assert (alpha[36:44, 36:44] == 255).all()


def test_a_picture_of_nothing_at_all_can_be_enlarged():
    drawn = upscaler.enlarge(Image.new("RGBA", (5, 4), (9, 8, 7, 0)), Repeater(), (10, 8))
    assert drawn.getchannel("A").getextrema() == (0, 0)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_filling_leaves_visible_colours_alone_and_forgets_the_others(width, height, seed):
    image = picture(width, height, "RGBA", seed)
    image.putalpha(image.getchannel("A").point(lambda level: 0 if level < 128 else level))
    filled = pixels(upscaler.filled(image))
    visible = pixels(image)[..., 3] > 0
    assert np.array_equal(filled[visible], pixels(image)[visible][:, :3])
    other = picture(width, height, "RGB", seed + 1)
    other.paste(image.convert("RGB"), mask=image.getchannel("A").point(lambda level: 255 * (level > 0)))
    other.putalpha(image.getchannel("A"))
    assert not visible.any() or np.array_equal(pixels(upscaler.filled(other)), filled)


def test_colours_reach_far_into_what_is_transparent():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.putpixel((3, 3), (200, 100, 50, 255))
    assert np.abs(pixels(upscaler.filled(image)) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize("size", [(4, 4), (3, 8), (8, 8), (40, 40), (40, 7)])
def test_lanczos_lets_no_hidden_colour_through(size):
    image = Image.new("RGBA", (8, 8), (0, 255, 0, 0))
    image.paste((200, 0, 0, 255), (0, 0, 4, 8))
    drawn = pixels(upscaler.lanczos(image, size))
    assert drawn.shape[:2] == size[::-1]
    assert drawn[drawn[..., 3] > 0][:, 1].max() <= 2


def test_lanczos_gives_opaque_edges_no_bright_rim():
    drawn = pixels(upscaler.lanczos(glyph(), (160, 160)))
    assert drawn[drawn[..., 3] > 64][:, 0].max() <= 222


def test_lanczos_weighs_colours_by_their_alpha_where_a_picture_shrinks():
    image = Image.new("RGBA", (2, 2), (0, 0, 255, 40))
    image.paste((255, 0, 0, 255), (0, 0, 1, 2))
    red, _, blue, alpha = upscaler.lanczos(image, (1, 1)).getpixel((0, 0))
    assert abs(red - 255 * 255 / 295) <= 3
    assert abs(blue - 255 * 40 / 295) <= 3
    assert abs(alpha - 295 / 2) <= 2


@pytest.mark.parametrize(("free", "expected"), [(64 << 30, 512), (100 << 20, 228), (0, 64), (-5, 64)])
def test_the_suggested_tile_fits_into_half_of_the_free_memory(free, expected):
    network = Repeater(bytes_per_pixel=1000)
    assert upscaler.suggest_tile(network, free_bytes=free) == Tiling(tile=expected, overlap=6)


def test_the_suggested_tile_obeys_the_network():
    rules = Rules(margin=24, blend=16, minimum=16, multiple_of=48)
    tiling = upscaler.suggest_tile(Repeater(rules=rules), free_bytes=0)
    assert (tiling.tile, tiling.overlap) == (240, 64)
    assert tiling.tile % 48 == 0


def test_every_suggested_tile_works():
    for margin, blend, unit, window in itertools.product((0, 24), (0, 16), (1, 4, 48), (1, 32)):
        rules = Rules(margin=margin, blend=blend, multiple_of=unit, window=window)
        network = Repeater(rules=rules)
        tiling = upscaler.suggest_tile(network, free_bytes=0)
        assert upscaler.enlarge(picture(601, 90), network, (1202, 180), tiling=tiling).size == (1202, 180)
        assert len(network.seen) > 1
