from random import Random

import numpy as np
import pytest

from imggen.data import drawing, scenes, vocabulary
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
        assert near > 0.1


def test_a_missing_font_says_how_to_get_it(tmp_path):
    with pytest.raises(MachineError) as caught:
        drawing.find_font((tmp_path,))
    assert "apt-get install fonts-noto-color-emoji" in str(caught.value.hint)
