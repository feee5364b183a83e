"""Many files, one network, and no file that costs another."""

import io
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imggen.engine.upscaling.tiling import Rules
from imggen.errors import ImggenError, MachineError, ModelError, PictureError, RequestError
from imggen.output.metadata import metadata
from imggen.plan.upscaling.plans import UpscaleRequest
from imggen.tasks import upscale as task
from imggen.tasks.steps import engines
from imggen.tasks.upscale import Enlarged, Failed
from tests.engine.upscaling.test_diffusion_upscaler import four_times


@dataclass
class Repeating:
    """A network that repeats pixels, and fails at pictures of the widths in `failing`."""

    scale: int = 2
    name: str = "repeating"
    sha256: str = "ab" * 32
    rules: Rules = field(default_factory=Rules)
    bytes_per_pixel: int = 1
    failing: dict[int, Exception] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)

    def draw(self, pixels):
        self.seen.append(pixels.shape[1])
        if pixels.shape[1] in self.failing:
            raise self.failing[pixels.shape[1]]
        return pixels.repeat(self.scale, 0).repeat(self.scale, 1).astype(np.float32) / 255


@dataclass
class Loader:
    """What loads networks, and remembers which were asked for."""

    network: Repeating = field(default_factory=Repeating)
    scales: list[int] = field(default_factory=list)

    def __call__(self, plan, scale):
        self.scales.append(scale)
        return replace(self.network, scale=scale or self.network.scale)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def picture(name, size=(8, 6), mode="RGB"):
    image = Image.radial_gradient("L").resize(size).convert(mode)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    image.save(name)
    return name


def run(*names, load=None, **said):
    request = UpscaleRequest(files=names, **said)
    return list(task.upscale(request, load=load or Loader()))


def facts_and_error(*names, load=None, **said):
    facts = []
    with pytest.raises(ImggenError) as caught:
        facts.extend(task.upscale(UpscaleRequest(files=names, **said), load=load or Loader()))
    return facts, caught.value


def test_network_is_loaded_once_for_all_pictures():
    load = Loader()
    made = run(picture("a.png"), picture("b.png", (5, 4)), picture("c.png"), load=load)
    assert load.scales == [2]
    assert [each.path.name for each in made] == ["a-2x.png", "b-2x.png", "c-2x.png"]
    with Image.open("b-2x.png") as image, Image.open("b.png") as small:
        assert np.array_equal(np.asarray(image), np.asarray(small).repeat(2, 0).repeat(2, 1))


def test_every_built_in_network_is_loaded_when_the_first_picture_needs_it():
    load = Loader()
    run(picture("a.png", (8, 6)), picture("b.png", (4, 3)), picture("c.png", (8, 6)), to="16x", load=load)
    assert load.scales == [2, 4]


def test_what_a_diffusion_model_was_told_is_recorded(tmp_path):
    four_times(tmp_path).save_pretrained(tmp_path / "model")
    told = {"prompt": "a pear", "seed": "5", "steps": 2, "guidance": 3.0}
    made = run(picture("a.png", (16, 16)), load=engines.load, model=str(tmp_path / "model"), device="cpu", **told)[0]
    assert (made.edit.engine, made.edit.width, made.edit.height) == ("diffusion", 32, 32)
    assert (made.edit.prompt, made.edit.seed, made.edit.steps, made.edit.guidance) == ("a pear", 5, 2, 3.0)


def test_step_is_recorded_with_the_file_and_the_weights_that_it_was_made_from():
    made = run(picture("a.png"))[0]
    assert isinstance(made, Enlarged)
    assert (made.edit.engine, made.edit.model, made.edit.model_hash) == ("network", "repeating", "ab" * 32)
    assert (made.edit.width, made.edit.height) == (16, 12)
    assert (made.edit.prompt, made.edit.seed, made.edit.steps, made.edit.guidance) == ("", None, None, None)
    assert made.edit.source_sha256 in str(metadata.read(Path("a-2x.png")).xmp)


def test_nothing_is_loaded_where_every_picture_is_kept_or_refused():
    load = Loader()
    run(picture("a.png"), load=load)
    kept = run("a.png", if_exists="skip", load=load)[0]
    assert (kept.path.name, kept.written, kept.edit) == ("a-2x.png", None, None)
    facts_and_error("gone.png", load=load)
    assert load.scales == [2]


def test_pictures_that_cannot_be_enlarged_are_told_before_anything_is_loaded():
    load = Loader()
    Path("torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    running = task.upscale(UpscaleRequest(files=(picture("a.png"), "torn.png", "gone.png")), load=load)
    told = [next(running), next(running)]
    assert [each.name for each in told] == ["torn.png", "gone.png"]
    assert load.scales == []
    assert isinstance(next(running), Enlarged)


def test_some_of_many_failing_costs_the_others_nothing_and_ends_with_a_table():
    network = Repeating(failing={7: PictureError("what it drew is not made of numbers")})
    facts, error = facts_and_error(
        picture("a.png"), "gone.png", picture("longer.png", (7, 7)), picture("d.png"), load=Loader(network=network)
    )
    assert [type(each) for each in facts] == [Failed, Enlarged, Failed, Enlarged]
    assert type(error) is ImggenError
    lines = error.message.splitlines()
    assert lines[0] == "2 of 4 pictures failed:"
    assert lines[1].startswith("  gone.png    there is no file")
    assert lines[2] == "  longer.png  what it drew is not made of numbers"
    assert error.hint is None
    assert Path("d-2x.png").is_file()


def test_where_all_fail_the_first_one_says_how():
    _, error = facts_and_error("gone.png", "lost.png")
    assert type(error) is RequestError
    assert "2 of 2" in error.message
    _, alone = facts_and_error("gone.png")
    assert alone.message.startswith("there is no file gone.png")


def test_machine_without_memory_stops_the_run_and_says_how_far_it_came():
    network = Repeating(failing={7: MachineError("out of memory", hint="smaller tiles")})
    facts, error = facts_and_error(
        picture("a.png"), picture("b.png", (7, 7)), picture("c.png"), load=Loader(network=network)
    )
    assert [each.path.name for each in facts] == ["a-2x.png"]
    assert type(error) is MachineError
    assert (error.message, error.hint) == ("out of memory (1 of 3 pictures were written)", "smaller tiles")


def test_weights_that_are_no_network_stop_the_run():
    def load(plan, scale):
        raise ModelError("a.safetensors is no network")

    facts, error = facts_and_error(picture("a.png"), load=load)
    assert (facts, type(error)) == ([], ModelError)


def test_network_in_a_file_that_draws_too_much_fails_at_that_picture_alone():
    Path("x.pth").write_bytes(b"")
    load = Loader(network=Repeating(scale=64))
    facts, error = facts_and_error(picture("a.png", (4, 4)), picture("b.png", (600, 600)), load=load, model="x.pth")
    assert [type(each) for each in facts] == [Enlarged, Failed]
    assert "draws 38400x38400 pixels on the way" in error.message


def test_same_file_by_two_names_is_enlarged_once():
    picture("shots/a.png")
    made = run("shots/*.png", "./shots/a.png", str(Path("shots/a.png").absolute()))
    assert len(made) == 1


def test_source_is_never_replaced_unless_somebody_says_so():
    before = Path(picture("a.png")).read_bytes()
    for said in ({}, {"if_exists": "error"}):
        _, error = facts_and_error("a.png", output="a.png", **said)
        assert isinstance(error, RequestError)
    assert Path("a.png").read_bytes() == before
    run("a.png", output="{stem}.png", if_exists="overwrite")
    with Image.open("a.png") as image:
        assert image.size == (16, 12)


def test_own_picture_is_no_exception_when_it_is_the_source():
    run(picture("a.png"))
    _, error = facts_and_error("a-2x.png", output="{stem}.png")
    assert "a-2x.png would be replaced by what it becomes" in error.message
    run("a.png")


@pytest.mark.parametrize("if_exists", [None, "overwrite", "error"])
def test_source_that_is_still_to_be_read_is_never_replaced_by_another(if_exists):
    picture("a.png")
    before = Path(picture("a-2x.png", (5, 5))).read_bytes()
    facts, error = facts_and_error("a.png", "a-2x.png", if_exists=if_exists)
    assert facts == []
    assert "a-2x.png would be replaced by what a.png becomes" in error.message
    assert Path("a-2x.png").read_bytes() == before


def test_file_that_changes_between_look_and_work_fails():
    running = task.upscale(UpscaleRequest(files=(picture("a.png"), picture("b.png"))), load=Loader())
    next(running)
    picture("b.png", (9, 9))
    assert isinstance(next(running), Failed)
    with pytest.raises(ImggenError, match="was changed while imggen ran"):
        next(running)


def test_standard_input_is_enlarged(monkeypatch):
    data = Path(picture("a.png")).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    made = run("-", output="-")
    assert len(made) == 1
    with Image.open(io.BytesIO(made[0].data)) as image:
        assert (image.format, image.size) == ("PNG", (16, 12))


def test_transparency_is_refused_by_a_jpeg_before_anything_is_drawn():
    load = Loader()
    image = Image.new("RGBA", (8, 6), (200, 0, 0, 128))
    image.save("a.png")
    _, error = facts_and_error("a.png", output="a.jpg", load=load)
    assert "transparency" in error.message
    assert load.scales == []
    run("a.png")
    with Image.open("a-2x.png") as larger:
        assert larger.mode == "RGBA"


@pytest.mark.parametrize(("fit", "size"), [("crop", (40, 20)), ("pad", (40, 20)), ("stretch", (40, 20))])
def test_other_shape_is_met_to_the_pixel(fit, size):
    run(picture("a.png", (8, 8)), to="40x20", fit=fit, output="b.png")
    with Image.open("b.png") as image:
        assert image.size == size


def test_plan_decides_everything_and_writes_nothing():
    decided = task.plan(UpscaleRequest(files=(picture("a.png"), "gone.png"), model="lanczos"))
    assert [str(each.path) for each in decided.pictures] == ["a-2x.png"]
    assert [each.name for each in decided.refused] == ["gone.png"]
    assert not Path("a-2x.png").exists()
    with pytest.raises(ImggenError, match="1 of 2 pictures failed"):
        task.raise_refused(decided)


def test_progress_counts_pictures_and_tiles():
    events = []
    request = UpscaleRequest(files=(picture("a.png"), picture("b.png")))
    list(task.upscale(request, load=Loader(), on_event=events.append))
    assert {(each.image, each.images) for each in events if each.stage == "enlarge"} == {(1, 2), (2, 2)}
    assert [each.image for each in events if each.stage == "write"] == [1, 2]


def test_weights_that_are_not_there_name_the_nearest_that_are():
    for name in ("RealESRGAN_x4.safetensors", "RealESRGAN_x2.pt"):
        Path(name).write_bytes(b"")
    with pytest.raises(ModelError, match="there is no file") as caught:
        run(picture("a.png"), model="RealESRGAN_x2.pth")
    assert caught.value.hint == "--model RealESRGAN_x4.safetensors"


def test_pickle_is_never_recommended():
    Path("RealESRGAN_x4.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="there is no file") as caught:
        run(picture("a.png"), model="RealESRGAN_x2.pth")
    assert caught.value.hint == "--model builtin"


def test_tilde_is_home_in_what_is_typed_and_a_letter_in_the_name_of_a_source(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert [each.path.name for each in run(picture("~me.png"))] == ["~me-2x.png"]
    assert run("~me.png", output="~/{stem}.png")[0].path == tmp_path / "home" / "~me.png"


@pytest.mark.parametrize(
    ("said", "widths"),
    [({}, [150]), ({"tile_size": "64"}, [50, 50, 50]), ({"tile_size": "64", "tile_overlap": 20}, [64, 64, 64])],
)
def test_tiles_are_as_wide_as_asked_for(said, widths):
    load = Loader()
    run(picture("a.png", (150, 10)), load=load, **said)
    assert load.network.seen == widths
