import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.data.drawn import scenes, vocabulary

MANY = [scenes.compose(7, index) for index in range(3000)]


def test_the_same_seed_and_index_give_the_same_scene():
    assert scenes.compose(7, 41) == MANY[41]
    assert scenes.compose(8, 41) != MANY[41]


def test_captions_name_every_subject_and_its_colour():
    for scene in MANY:
        for subject in scene.subjects:
            names = (subject.name, vocabulary.plural(subject.name))
            assert any(re.search(rf"\b{name}\b", scene.caption) for name in names), scene
            assert subject.color is None or f"{subject.color} " in scene.caption


def test_a_counted_scene_holds_as_many_as_it_says():
    counted = [scene for scene in MANY if re.search(r"\b(two|three|four)\b", scene.caption)]
    assert len(counted) > 100
    for scene in counted:
        (said,) = (count for count, word in vocabulary.COUNTS.items() if re.search(rf"\b{word}\b", scene.caption))
        assert len(scene.subjects) == said


@pytest.mark.parametrize(
    ("words", "holds"),
    [
        (" left of ", lambda first, second: first.x < second.x),
        (" right of ", lambda first, second: first.x > second.x),
        (" above ", lambda first, second: first.y < second.y),
        (" below ", lambda first, second: first.y > second.y),
    ],
)
def test_places_are_where_the_caption_says(words, holds):
    placed = [scene for scene in MANY if words in scene.caption]
    assert len(placed) > 30
    for scene in placed:
        first, second = scene.subjects
        before, after = scene.caption.split(words)
        assert first.name in before
        assert second.name in after
        assert holds(first, second)


def test_a_shape_never_has_the_colour_it_stands_on():
    for scene in MANY:
        assert all(subject.color not in scene.background.colors for subject in scene.subjects)


def test_every_object_shape_colour_and_background_occurs():
    names = Counter(subject.name for scene in MANY for subject in scene.subjects)
    assert set(names) == {*vocabulary.OBJECTS, *vocabulary.SHAPES}
    assert {scene.background.kind for scene in MANY} == set(vocabulary.BACKGROUNDS)
    assert {scene.background.colors[0] for scene in MANY} == set(vocabulary.COLORS)


@given(st.integers(), st.integers())
def test_single_subjects_stay_inside_the_picture(seed, index):
    scene = scenes.compose(seed, index)
    for subject in scene.subjects:
        for centre in (subject.x, subject.y):
            assert centre - subject.edge / 2 >= 0
            assert centre + subject.edge / 2 <= 1


def test_a_plain_single_scene_has_the_plainest_caption():
    scene = scenes.single("octopus", "orange", Random(1))
    assert scene.caption == "an octopus on an orange background"
