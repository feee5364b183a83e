from random import Random

import numpy as np
import pytest

from imggen.data.drawn import drawing, scenes, vocabulary
from imggen.errors import MachineError
from imggen.evaluation import referee


@pytest.fixture(scope="module")
def painter(emoji_font):
    return drawing.Painter(128, emoji_font)


def test_the_same_scene_is_the_same_picture(painter):
    again = drawing.Painter(128)
    for index in range(50):
        scene = scenes.compose(3, index)
        assert painter.paint(scene).tobytes() == again.paint(scene).tobytes()


@pytest.mark.parametrize("name", [*vocabulary.OBJECTS, *vocabulary.SHAPES])
def test_every_subject_leaves_marks_and_keeps_the_background(painter, name):
    scene = scenes.single(name, "gray", Random(name))
    pixels = np.asarray(painter.paint(scene)).astype(int)
    differs = (np.abs(pixels - vocabulary.COLORS["gray"]).sum(axis=2) > 30).mean()
    assert 0.05 < differs < 0.7


def test_a_shape_has_its_colour_where_it_stands(painter):
    subject = scenes.Subject(name="circle", color="red", x=0.25, y=0.75, edge=0.3)
    background = scenes.Background(kind="plain", colors=("blue", "blue"), period=1.0, angle=0)
    picture = painter.paint(scenes.Scene(caption="", subjects=(subject,), background=background))
    assert picture.getpixel((32, 96)) == vocabulary.COLORS["red"]
    assert picture.getpixel((96, 32)) == vocabulary.COLORS["blue"]


def test_a_gradient_runs_from_its_first_colour_to_its_second(painter):
    background = scenes.Background(kind="gradient", colors=("black", "white"), period=1 / 4, angle=0)
    picture = painter.paint(scenes.Scene(caption="", subjects=(), background=background))
    column = [picture.getpixel((64, y))[0] for y in range(128)]
    assert column == sorted(column)
    assert column[0] < 30
    assert column[-1] > 220


@pytest.mark.parametrize("color", vocabulary.COLORS)
def test_the_referee_reads_the_background_of_a_drawn_picture(painter, color):
    picture = painter.paint(scenes.single("cat", color, Random(1)))
    assert referee.background_color(picture) == color


@pytest.mark.parametrize("kind", [each for each in vocabulary.BACKGROUNDS if each != "plain"])
@pytest.mark.parametrize("angle", [0, 90])
def test_patterns_show_both_of_their_colours(painter, kind, angle):
    background = scenes.Background(kind=kind, colors=("red", "blue"), period=1 / 8, angle=angle)
    pixels = np.asarray(painter.paint(scenes.Scene(caption="", subjects=(), background=background))).reshape(-1, 3)
    for name in background.colors:
        near = (np.abs(pixels.astype(int) - vocabulary.COLORS[name]).sum(axis=1) < 40).mean()
        assert near > 0.08


def test_a_missing_font_says_how_to_get_it(tmp_path):
    with pytest.raises(MachineError) as caught:
        drawing.find_font((tmp_path,))
    assert "apt-get install fonts-noto-color-emoji" in str(caught.value.hint)
