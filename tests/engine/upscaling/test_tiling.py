from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imggen.engine.upscaling import tiling
from imggen.engine.upscaling.tiling import Grid, Rules, Tiling
from imggen.errors import RequestError


@st.composite
def layouts(draw):
    unit = draw(st.sampled_from([1, 2, 4, 8]))
    rules = Rules(
        margin=draw(st.integers(0, 20)),
        minimum=draw(st.integers(1, 48)),
        multiple_of=unit,
        window=draw(st.sampled_from([1, 4, 16])),
    )
    if draw(st.booleans()):
        rules = replace(rules, window=1, square=True)
    overlap = draw(st.integers(0, 64))
    least = max(overlap, 2 * rules.margin) + 2 * max(unit, rules.window)
    tile = draw(st.one_of(st.just(0), st.integers(least, least + 100)))
    return draw(st.integers(1, 700)), Tiling(tile=tile, overlap=overlap), rules


@given(layouts())
def test_pieces_cover_an_axis_once_but_for_their_ramps(layout):
    length, tiles, rules = layout
    pieces = tiling.lay_out(length, tiles, rules)
    assert (pieces[0].first, pieces[0].ramp, pieces[-1].tail) == (0, 0, 0)
    assert pieces[-1].first + pieces[-1].ramp < length <= pieces[-1].last
    for before, after in pairwise(pieces):
        assert before.last - before.tail == after.first
        assert before.tail == after.ramp
        assert before.start < after.start


@given(layouts())
def test_pieces_obey_the_networks_rules(layout):
    length, tiles, rules = layout
    pieces = tiling.lay_out(length, tiles, rules)
    for piece in pieces:
        edge = piece.stop - piece.start
        assert edge >= rules.minimum
        assert edge % rules.multiple_of == piece.start % rules.multiple_of == piece.start % rules.window == 0
        assert piece.ramp + piece.tail <= piece.last - piece.first
        assert len(pieces) == 1 or edge <= max(tiles.tile, rules.minimum + 2 * max(rules.multiple_of, rules.window))


@given(layouts())
def test_pieces_are_equally_long_but_for_a_last_one_cut_short_by_a_window(layout):
    length, tiles, rules = layout
    *others, last = tiling.lay_out(length, tiles, rules)
    edges = {each.stop - each.start for each in others}
    assert len(edges) <= 1
    assert all(0 <= edge - (last.stop - last.start) < max(rules.window, rules.multiple_of) for edge in edges)
    assert last.stop - length < rules.multiple_of or not others


@given(layouts())
def test_the_margin_of_every_seam_is_thrown_away(layout):
    length, tiles, rules = layout
    pieces = tiling.lay_out(length, tiles, rules)
    for number, piece in enumerate(pieces):
        assert number == 0 or piece.first - piece.start >= rules.margin
        assert number == len(pieces) - 1 or piece.stop - piece.last >= rules.margin


@given(layouts(), st.integers(1, 700))
def test_square_tiles_are_square(layout, height):
    width, tiles, rules = layout
    grid = tiling.grid((width, height), tiles, rules)
    if rules.square:
        assert {each.row.stop - each.row.start for each in grid} == {
            each.column.stop - each.column.start for each in grid
        }


def test_what_overlaps_beyond_the_margins_becomes_the_ramp():
    pieces = tiling.lay_out(200, Tiling(tile=110, overlap=20), Rules(margin=4))
    assert [(each.start, each.stop, each.first, each.last) for each in pieces] == [(0, 110, 0, 106), (90, 200, 94, 200)]
    assert [(each.ramp, each.tail) for each in pieces] == [(0, 12), (12, 0)]


def test_a_picture_no_larger_than_a_tile_is_one_piece():
    assert len(tiling.lay_out(64, Tiling(tile=64, overlap=8), Rules())) == 1
    assert len(tiling.lay_out(65, Tiling(tile=64, overlap=8), Rules())) == 2
    assert len(tiling.lay_out(5000, Tiling(tile=0), Rules(margin=9))) == 1


def test_tiles_that_are_all_overlap_are_refused_with_an_edge_that_works():
    with pytest.raises(RequestError, match=r"tiles of 24 px are too small: they overlap by 24 px") as caught:
        tiling.lay_out(200, Tiling(tile=24), Rules(margin=12))
    assert caught.value.hint == "--tile-size 64"
    assert len(tiling.lay_out(200, Tiling(tile=64), Rules(margin=12))) > 1


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def repeated(pixels, scale):
    return (pixels.repeat(scale, 0).repeat(scale, 1) / 255).astype(np.float32)


def test_what_lies_beyond_the_picture_is_its_mirror_image():
    image = picture(5, 4)
    (tile,) = tiling.grid(image.size, Tiling(tile=0), Rules(multiple_of=8))
    pixels = tiling.cut(image, tile)
    assert pixels.shape == (8, 8, 3)
    assert np.array_equal(pixels[:4, :5], np.asarray(image))
    assert np.array_equal(pixels[:4, 5:], np.asarray(image)[:, 3:0:-1])
    assert np.array_equal(pixels[4:7], pixels[2::-1])


def test_one_pixel_can_fill_a_tile():
    (tile,) = tiling.grid((1, 1), Tiling(tile=0), Rules(minimum=16))
    assert (tiling.cut(Image.new("RGB", (1, 1), "red"), tile) == [255, 0, 0]).all()


@given(layouts(), st.integers(1, 90), st.sampled_from([1, 2, 3]))
def test_tiles_put_together_are_the_picture(layout, height, scale):
    width, tiles, rules = layout
    image = picture(width // 4 + 1, height)
    grid = tiling.grid(image.size, tiles, rules)
    whole = tiling.assemble(image, grid, scale, lambda pixels, _: repeated(pixels, scale))
    assert np.array_equal(np.asarray(whole), np.asarray(image).repeat(scale, 0).repeat(scale, 1))


def test_neighbours_that_disagree_meet_in_a_linear_ramp():
    image = Image.new("RGB", (100, 100))
    grid = tiling.grid(image.size, Tiling(tile=60, overlap=20), Rules())
    levels = {(0, 0): 0.0, (40, 0): 0.2, (0, 40): 0.4, (40, 40): 1.0}

    def draw(pixels, tile):
        return np.full(pixels.shape, levels[tile.column.start, tile.row.start], np.float32)

    drawn = np.asarray(tiling.assemble(image, grid, 1, draw))[..., 0].astype(int)
    first, ramp = grid.columns[1].first, grid.columns[1].ramp
    assert ramp == 20
    assert (drawn[:first, :first] == 0).all()
    assert (drawn[first + ramp :, first + ramp :] == 255).all()
    for line in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1], drawn[first + 7], drawn[:, first + 7]):
        steps = np.diff(line[first - 1 : first + ramp + 1])
        assert np.ptp(steps) <= 1
        assert np.abs(np.diff(line)[: first - 1]).max() == np.abs(np.diff(line)[first + ramp :]).max() == 0


def test_tiles_are_drawn_in_rows():
    grid = tiling.grid((100, 100), Tiling(tile=60, overlap=4), Rules())
    assert isinstance(grid, Grid)
    assert [(each.row.start, each.column.start) for each in grid] == [(0, 0), (0, 48), (48, 0), (48, 48)]
    assert len(grid) == 4
