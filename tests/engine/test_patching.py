"""Attributes of one object, replaced for as long as a block lasts."""

import pytest

from imggen.engine import patching


class Pipeline:
    def size(self, width, height=2, *, scale=1):
        return width, height, scale


def test_what_was_there_comes_back_even_after_an_error():
    pipeline = Pipeline()
    pipeline.own = 1
    with patching.replaced(pipeline, own=2, size=lambda: 3):
        assert (pipeline.own, pipeline.size()) == (2, 3)
    with pytest.raises(ValueError, match="inside"), patching.replaced(pipeline, own=2):
        raise ValueError("inside")
    assert vars(pipeline) == {"own": 1}
    assert pipeline.size(1) == (1, 2, 1)


def test_blocks_nest():
    pipeline = Pipeline()
    with patching.replaced(pipeline, size=1):
        with patching.replaced(pipeline, size=2):
            assert pipeline.size == 2
        assert pipeline.size == 1


def test_arguments_are_bound_by_the_class_whatever_stands_on_the_instance():
    pipeline = Pipeline()
    with patching.replaced(pipeline, size=lambda *_, **__: None):
        assert patching.bound(pipeline, "size", (5,), {"scale": 3}).arguments["width"] == 5


def test_a_call_changes_what_the_method_names_and_nothing_else():
    pipeline = Pipeline()
    bound = patching.bound(pipeline, "size", (5, 6), {})
    assert patching.call(pipeline.size, bound, {"height": 7, "scale": 8, "unknown": 9}) == (5, 7, 8)
    assert bound.arguments["height"] == 6
