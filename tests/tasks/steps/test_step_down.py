"""Memory runs out at a chosen point, and the picture is that of a plan with the lever from the start."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imggen.engine.pipeline import loader
from imggen.engine.sampling import methods, sampler
from imggen.errors import MemoryShortageError
from imggen.output.metadata import metadata
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from imggen.tasks.steps import step_down
from tests.engine.conftest import make_plan
from tests.tiny_models import tiny_models

__all__ = ["make_plan", "tiny_models"]

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def failing(times, part="vae", method="decode"):
    """Return a loader whose pipelines run out of memory in a method of a part, so many times in all."""
    left = [times]

    def load(plan, **options):
        pipeline = loader.load(plan, **options)
        whole = getattr(getattr(pipeline, part), method)

        def full(*arguments, **named):
            if left[0]:
                left[0] -= 1
                raise FULL
            return whole(*arguments, **named)

        setattr(getattr(pipeline, part), method, full)
        return pipeline

    return load


@pytest.fixture
def ask(tiny_models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def request(output, **changes):
        said = {"prompt": "a red apple", "model": str(tiny_models("sd")), "steps": 2, "seed": "7", "dtype": "float32"}
        return GenerateRequest(**said | {"output": output, "watermark": "off"} | changes)

    return request


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def made(request, load=None):
    notes = []
    pictures = list(generate.generate(request, load=load, on_note=notes.append))
    return [each.recipe for each in pictures], [each for each in notes if "memory ran out" in each]


def test_a_picture_that_is_too_large_to_decode_is_decoded_in_tiles(ask):
    (recipe,), notes = made(ask("down.png"), failing(1))
    (expected,), _ = made(ask("tiled.png", vae_tiling="on"))
    assert notes == ["memory ran out (decoding); trying again with decoding in tiles of 32 px"]
    assert recipe.vae_tile == expected.vae_tile == 32
    np.testing.assert_array_equal(pixels("down.png"), pixels("tiled.png"))
    assert metadata.read(Path("down.png")).found.recipe == recipe


def test_a_given_picture_is_there_again_after_the_way_down(ask):
    made(ask("start.png", seed="3"))
    changes = {"task": "image-to-image", "images": ("start.png",), "strength": 0.6}
    _, notes = made(ask("down.png", **changes), failing(1, method="encode"))
    made(ask("tiled.png", vae_tiling="on", **changes))
    assert len(notes) == 1
    np.testing.assert_array_equal(pixels("down.png"), pixels("tiled.png"))


def test_the_pictures_after_it_stay_on_the_lower_rung(ask):
    recipes, notes = made(ask("{seed}.png", seed="7,8"), failing(1))
    made(ask("tiled-{seed}.png", seed="7,8", vae_tiling="on"))
    assert [each.vae_tile for each in recipes] == [32, 32]
    assert len(notes) == 1
    for seed in (7, 8):
        np.testing.assert_array_equal(pixels(f"{seed}.png"), pixels(f"tiled-{seed}.png"))


def test_where_the_ladder_ends_an_error_says_what_was_tried(ask):
    with pytest.raises(MemoryShortageError, match=r"with tiles of 32 px and --offload none") as caught:
        made(ask("a.png"), failing(99))
    assert caught.value.exit_code == 3
    assert caught.value.hint == "--size 64x64"


def test_tiles_are_of_no_use_while_denoising(ask):
    with pytest.raises(MemoryShortageError, match="with no tiles"):
        made(ask("a.png"), failing(99, part="unet", method="forward"))


def test_what_the_user_insists_on_stays(ask):
    with pytest.raises(MemoryShortageError, match="with no tiles") as caught:
        made(ask("a.png", vae_tiling="off"), failing(1))
    assert caught.value.hint == "--vae-tiling on"


@pytest.mark.parametrize(("times", "offload"), [(1, "model"), (2, "group")])
def test_an_accelerator_that_is_full_gets_one_part_and_then_one_layer_at_a_time(tiny_models, make_plan, times, offload):
    plan = make_plan(tiny_models("sdxl"), device="cuda")
    load = failing(times, part="unet", method="forward")
    here = partial(replace, device="cpu")
    notes = []
    held = step_down.Descent(
        plan,
        GenerateRequest(),
        step_down.StepDownHooks(
            load=lambda decided, report: load(here(decided), on_event=report),
            enter=lambda pipeline, decided, report: partial(
                sampler.draw, pipeline, here(decided), entrance=methods.WORDS_ALONE, on_event=report
            ),
        ),
        on_event=lambda _: None,
        on_note=notes.append,
    )
    drawn = held.draw(1)
    expected = make_plan(tiny_models("sdxl"), offload=offload)
    np.testing.assert_array_equal(
        np.asarray(drawn.image), np.asarray(next(sampler.sample(loader.load(expected), expected)).image)
    )
    assert held.plan.offload == offload
    assert len(notes) == times
    assert notes[0].startswith("memory ran out (denoising); trying again with --offload model")
