"""What makes a picture larger: which engine, loaded when and how often, with which tiles."""

from types import SimpleNamespace

import pytest
from PIL import Image

from imggen.engine.upscaling import upscaler
from imggen.engine.upscaling.tiling import Tiling
from imggen.errors import MachineError
from imggen.tasks.steps import engines

IMAGE = Image.new("RGB", (4, 3))


def plan_of(engine, *, model=None, file=None, tile=None, tile_overlap=None, device="cpu", dtype="float32"):
    return SimpleNamespace(
        enlarger=SimpleNamespace(engine=engine, model=model, file=file),
        tile=tile,
        tile_overlap=tile_overlap,
        device=device,
        dtype=dtype,
        allow_pickle=False,
    )


def picture_of(width=8, height=6, network_scale=2):
    size = SimpleNamespace(drawn_width=width, drawn_height=height)
    return SimpleNamespace(size=size, source="source", network_scale=network_scale)


def machine(gpu_bytes=None):
    gpu = None if gpu_bytes is None else SimpleNamespace(free_bytes=gpu_bytes)
    return SimpleNamespace(free_bytes=7, accelerator=lambda device: gpu)


@pytest.fixture
def calls(monkeypatch):
    """What the upscaler was asked for, by name; it draws nothing."""
    calls = {}

    def enlarge(image, network, size, *, tiling, on_event):
        calls.update(size=size, tiling=tiling)
        return image.resize(size)

    def suggest(network, *, free_bytes):
        calls["free_bytes"] = free_bytes
        return Tiling(tile=64, overlap=8)

    monkeypatch.setattr(upscaler, "enlarge", enlarge)
    monkeypatch.setattr(upscaler, "suggest_tile", suggest)
    monkeypatch.setattr(engines.planning, "check_room", lambda *facts: calls.update(room=facts))
    return calls


def network(scale):
    return SimpleNamespace(name=f"x{scale}", sha256="abc", scale=scale)


def test_lanczos_needs_no_network():
    draw = engines.choose(plan_of("lanczos"), machine(), lambda *_: pytest.fail("loaded"), lambda _: None)
    drawn = draw(IMAGE, picture_of(), lambda _: None)
    assert (drawn.image.size, drawn.model, drawn.model_hash) == ((8, 6), "", "")


def test_lanczos_out_of_memory_names_the_size(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(upscaler, "lanczos", fail)
    draw = engines.choose(plan_of("lanczos"), machine(), None, lambda _: None)
    with pytest.raises(MachineError, match="out of memory at 8x6 pixels") as caught:
        draw(IMAGE, picture_of(), lambda _: None)
    assert caught.value.hint == "--scale 2"


def test_a_network_is_loaded_once_a_scale_when_the_first_picture_needs_it(calls):
    plan, loaded, events = plan_of("network"), [], []

    def load(asked, scale):
        loaded.append((asked is plan, scale))
        return network(scale)

    draw = engines.choose(plan, machine(), load, events.append)
    assert (loaded, events) == ([], [])
    names = [draw(IMAGE, picture_of(network_scale=scale), lambda _: None).model for scale in (2, 2, 4, 2)]
    assert names == ["x2", "x2", "x4", "x2"]
    assert loaded == [(True, 2), (True, 4)]
    assert [event.stage for event in events] == ["load", "load"]


def test_a_picture_by_a_network_names_it_and_has_room(calls):
    picture, own = picture_of(), machine()
    draw = engines.choose(plan_of("network"), own, lambda _, scale: network(scale), lambda _: None)
    drawn = draw(IMAGE, picture, lambda _: None)
    assert (drawn.image.size, drawn.model, drawn.model_hash) == ((8, 6), "x2", "abc")
    assert calls["room"] == ("source", picture.size, 2, own)


@pytest.mark.parametrize(("gpu_bytes", "free_bytes"), [(None, 7), (0, 0), (99, 99)])
def test_tiles_go_by_the_memory_of_the_device(calls, gpu_bytes, free_bytes):
    draw = engines.choose(plan_of("network"), machine(gpu_bytes), lambda _, scale: network(scale), lambda _: None)
    draw(IMAGE, picture_of(), lambda _: None)
    assert calls["free_bytes"] == free_bytes


@pytest.mark.parametrize(("tile", "overlap", "tiling"), [
    (None, None, Tiling(tile=64, overlap=8)),
    (32, None, Tiling(tile=32, overlap=8)),
    (None, 4, Tiling(tile=64, overlap=4)),
    (0, 0, Tiling(tile=0, overlap=0)),
])  # fmt: skip
def test_tiles_that_are_asked_for_come_before_those_that_suit(calls, tile, overlap, tiling):
    plan = plan_of("network", tile=tile, tile_overlap=overlap)
    engines.choose(plan, machine(), lambda _, scale: network(scale), lambda _: None)(
        IMAGE, picture_of(), lambda _: None
    )
    assert calls["tiling"] == tiling


def test_a_plan_for_diffusion_needs_a_dtype():
    with pytest.raises(ValueError, match="names a model and a dtype"):
        engines.choose(plan_of("diffusion", model="facts", dtype=None), machine(), None, lambda _: None)
