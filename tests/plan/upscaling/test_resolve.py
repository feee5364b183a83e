"""From a request for larger pictures to a plan: pure, so that what is wrong is told before anything is loaded."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from imggen.errors import MachineError, RequestError
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.upscaling import resolve
from imggen.plan.upscaling.plans import Enlarger, Refused, Surroundings, UpscaleRequest, UpscaleSource
from tests.plan.conftest import GIB, laptop, stable_diffusion, with_cuda

NETWORKS = Enlarger(engine="network", reference="builtin")
LANCZOS = Enlarger(engine="lanczos", reference="lanczos")


def source(name="small.png", width=100, height=80, *, number=1, file_format="png"):
    return UpscaleSource(number=number, name=name, width=width, height=height, format=file_format)


def plan(*sources, enlarger=NETWORKS, machine=None, folder=False, **said):
    request = UpscaleRequest(files=tuple(each.name for each in sources), **said)
    resolve.check(request)
    around = Surroundings(machine=machine or laptop(), folder=folder, today=date(2026, 11, 22))
    return resolve.resolve(request, sources or (source(),), enlarger, around, draw_seed=lambda limit: limit - 1)


def one(*sources, **said):
    return plan(*sources, **said).pictures[0]


def test_by_default_a_picture_becomes_twice_as_large_in_its_own_format_beside_us():
    picture = one(source("shots/cat.jpg", file_format="jpeg"))
    assert (picture.size.width, picture.size.height) == (200, 160)
    assert str(picture.path) == "cat-2x.jpg"
    assert (picture.output.format, picture.output.quality, picture.output.metadata) == ("jpeg", 95, "full")


def test_format_that_imggen_does_not_write_becomes_png():
    assert str(one(source("anim.gif", file_format=None)).path) == "anim-2x.png"


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"scale": "1.5"}, "small-1.5x.png"),
        ({"to": "x160"}, "small-200x160.png"),
        ({"output": "big/"}, "big/small-2x.png"),
        ({"output": "big", "folder": True}, "big/small-2x.png"),
        ({"output": "big/{stem}.webp"}, "big/small.webp"),
        ({"output": "{stem}_{index:03}_{width}x{height}.png"}, "small_001_200x160.png"),
        ({"output": "{scale}_{model}_{date}.png"}, "2_builtin_2026-11-22.png"),
        ({"format": "webp"}, "small-2x.webp"),
    ],
)
def test_result_is_named_after_its_source(said, path):
    assert one(**said).path.as_posix() == path


def test_weights_are_named_without_their_folder_and_suffix():
    enlarger = Enlarger(engine="network", reference="w/Nice_x4.pth", file=Path("w/Nice_x4.pth"))
    assert str(one(enlarger=enlarger, output="{stem}-{model}.png").path) == "small-nice-x4.png"


def test_standard_output_has_no_path_and_takes_one_picture():
    assert one(output="-").path is None
    with pytest.raises(RequestError, match="2 are given") as caught:
        plan(source("a.png"), source("b.png", number=2), output="-")
    assert "{stem}" in caught.value.hint


def test_file_called_like_standard_output_is_a_file():
    assert str(one(output="./-").path) == "-"


def test_two_pictures_of_one_name_are_refused_by_their_names():
    sources = source("a/x.png"), source("b/x.png", number=2)
    with pytest.raises(RequestError, match=r"a/x.png and b/x.png would both be big/x.png") as caught:
        plan(*sources, output="big/{stem}.png")
    assert "{index}" in caught.value.hint
    assert len(plan(*sources, output="big/{stem}-{index}.png").pictures) == 2
    assert len(plan(*sources, output="big/{stem}.png", if_exists="number").pictures) == 2


def test_one_bad_picture_does_not_cost_the_others():
    sources = source("a.png"), source("huge.png", 40_000, 40_000, number=2), source("c.png", number=3)
    found = plan(*sources, output="{stem}-{index}.png")
    assert [str(each.path) for each in found.pictures] == ["a-1.png", "c-3.png"]
    assert [(each.number, each.name) for each in found.refused] == [(2, "huge.png")]
    assert "1,073,741,824" in found.refused[0].error.message


def test_picture_that_was_refused_before_stays_refused():
    refused = Refused(number=1, name="gone.png", error=RequestError("there is no file gone.png"))
    assert plan(refused, source(number=2)).refused == (refused,)


@pytest.mark.parametrize(("scale", "network"), [("1.1", 2), ("2", 2), ("2.1", 4), ("4", 4), ("5", 4), ("16", 4)])
def test_built_in_network_is_the_smallest_that_is_enough(scale, network):
    assert one(scale=scale).network_scale == network
    assert one(scale=scale, enlarger=LANCZOS).network_scale == 0


def test_pictures_of_one_run_may_need_networks_of_their_own():
    found = plan(source("a.png", 960, 540), source("b.png", 480, 270, number=2), to="1920x1080")
    assert [each.network_scale for each in found.pictures] == [2, 4]


def test_network_that_draws_too_much_on_its_way_is_refused():
    large = source("a.png", 6000, 6000)
    assert one(large, scale="5", enlarger=LANCZOS).size.width == 30_000
    refused = plan(large, scale="5").refused[0]
    assert "draws 96000x96000 pixels on the way to 30000x30000" in refused.error.message
    assert refused.error.hint == "--scale 4"


def test_result_that_memory_does_not_hold_is_refused_before_it_is_tried():
    refused = plan(source("a.png", 8000, 8000), machine=laptop(free_bytes=GIB)).refused[0]
    assert isinstance(refused.error, MachineError)
    assert "1.0 GiB are free" in refused.error.message


@pytest.mark.parametrize("option", ["prompt", "seed", "steps", "guidance"])
@pytest.mark.parametrize("model", [None, "lanczos", "x4.pth"])
def test_words_for_a_network_are_refused_and_not_ignored(option, model):
    values = {"prompt": "a cat", "seed": "1", "steps": 5, "guidance": 2.0}
    with pytest.raises(RequestError, match=f"--{option} is for a diffusion model") as caught:
        plan(model=model, **{option: values[option]})
    assert caught.value.hint == f"leave --{option} out"


@pytest.mark.parametrize("said", [{"tile_size": "128"}, {"tile_overlap": 8}, {"dtype": "float16"}, {"device": "cuda"}])
def test_lanczos_takes_nothing_of_a_network(said):
    with pytest.raises(RequestError, match="Lanczos"):
        plan(model="lanczos", enlarger=LANCZOS, **said)


def test_what_the_config_says_of_networks_does_not_disturb_lanczos():
    below = GenerateRequest(dtype="float16", device="cuda", origin={"dtype": "config", "device": "config"})
    request = resolve.complete(UpscaleRequest(files=("a.png",), model="lanczos"), below)
    resolve.check(request)
    around = Surroundings(machine=laptop(), folder=False, today=date.min)
    assert resolve.resolve(request, (source(),), LANCZOS, around, draw_seed=int).device == "cpu"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"scale": "0.5"}, "larger"),
        ({"scale": "2", "to": "1080p"}, "contradict"),
        ({"tile_size": "big"}, "--tile-size 'big'"),
        ({"tile_overlap": -1}, "--tile-overlap -1"),
        ({"frame": 0}, "--frame 0"),
        ({"quality": 101, "format": "webp"}, "--quality 101"),
        ({"quality": 90}, "png is lossless"),
        ({"output": "x.png", "format": "webp"}, "--format says webp"),
        ({"output": "x.gif"}, ".gif"),
        ({"output": "{seed}.png"}, "unknown field"),
        ({"output": ""}, "not a name"),
        ({"model": "org/up", "steps": 0}, "--steps 0"),
        ({"model": "org/up", "guidance": float("nan")}, "--guidance nan"),
        ({"device": "gpu7"}, "gpu7"),
        ({"dtype": "float16"}, "--dtype float16 on cpu"),
    ],
)
def test_request_that_makes_no_sense_is_refused_by_name(said, words):
    with pytest.raises(RequestError, match=words):
        plan(**said)


def test_quality_is_for_the_pictures_that_have_one():
    found = plan(source("a.png"), source("b.jpg", number=2, file_format="jpeg"), quality=80)
    assert [each.output.quality for each in found.pictures] == [100, 80]


def test_config_fills_blanks_and_is_named_as_the_reason():
    below = GenerateRequest(
        quality=70,
        metadata="none",
        format="webp",
        steps=3,
        model="org/sd",
        output="{seed}.png",
        origin=dict.fromkeys(("quality", "metadata", "format", "steps", "model", "output"), "config"),
    )
    request = resolve.complete(UpscaleRequest(files=("a.png",), metadata="minimal"), below)
    assert (request.quality, request.format, request.metadata) == (70, "webp", "minimal")
    assert (request.steps, request.model, request.output) == (None, None, None)
    assert request.origin["quality"] == "config"
    assert "metadata" not in request.origin


def test_quality_of_the_config_does_not_speak_of_pngs():
    request = resolve.complete(
        UpscaleRequest(files=("a.png",)), GenerateRequest(quality=70, origin={"quality": "config"})
    )
    around = Surroundings(machine=laptop(), folder=False, today=date.min)
    found = resolve.resolve(request, (source(),), NETWORKS, around, draw_seed=int)
    assert found.pictures[0].output.quality == 100


def test_bad_quality_of_the_config_names_the_config():
    request = resolve.complete(
        UpscaleRequest(files=("a.png",)), GenerateRequest(quality=0, origin={"quality": "config"})
    )
    with pytest.raises(RequestError, match="comes from the config"):
        resolve.check(request)


def test_network_in_a_file_chooses_its_own_precision_on_a_gpu():
    enlarger = Enlarger(engine="network", reference="x4.pth", file=Path("x4.pth"))
    assert plan(enlarger=enlarger, machine=with_cuda()).dtype is None
    assert plan(enlarger=enlarger, machine=with_cuda(), dtype="fp16").dtype == "float16"
    assert plan(enlarger=enlarger).dtype == "float32"
    assert plan(machine=with_cuda()).dtype == "float32"


@pytest.mark.parametrize(
    ("tile", "overlap", "hint"),
    [
        ("1", None, "--tile-size 256"),
        ("1", 9999, "--tile-size 256"),
        ("64", 25, "--tile-overlap 16"),
        ("auto", 249, "--tile-overlap 16"),
        (None, 9999, "--tile-overlap 16"),
        ("32", 9, "--tile-overlap 8"),
        ("17", 1, "leave --tile-overlap out"),
    ],
)
def test_tile_without_pixels_of_its_own_is_refused_with_an_overlap_that_fits(tile, overlap, hint):
    with pytest.raises(RequestError, match="--tile-") as caught:
        plan(tile_size=tile, tile_overlap=overlap)
    assert caught.value.hint == hint


@pytest.mark.parametrize(("tile", "overlap"), [("64", 24), (None, 248), ("16", 0), ("0", 8), ("48", 16), ("32", 8)])
def test_tile_with_pixels_of_its_own_is_taken(tile, overlap):
    assert plan(tile_size=tile, tile_overlap=overlap).tile_overlap == overlap


def test_standard_input_is_one_picture():
    with pytest.raises(RequestError, match="standard input holds one picture"):
        resolve.check(UpscaleRequest(files=("-", "a.png", "-")))
    resolve.check(UpscaleRequest(files=("-", "a.png", "a.png")))


@pytest.mark.parametrize(("typed", "tile"), [(None, None), ("auto", None), ("256", 256), ("0", 0)])
def test_tile_is_a_number_or_left_to_the_network(typed, tile):
    assert plan(tile_size=typed).tile == tile


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        (None, "network"),
        ("builtin", "network"),
        ("lanczos", "lanczos"),
        ("w/RealESRGAN_x4.safetensors", "network"),
        ("W/4x.PTH", "network"),
        ("stabilityai/stable-diffusion-x4-upscaler", "diffusion"),
    ],
)
def test_name_of_a_model_says_which_engine_runs_it(model, engine):
    assert resolve.engine(model) == engine


def diffusion(**changes):
    facts = stable_diffusion(
        pipeline="StableDiffusionUpscalePipeline", configs={"vae": {"block_out_channels": [8] * 3}}
    )
    return Enlarger(engine="diffusion", reference="org/up", model=replace(facts, **changes))


def test_diffusion_has_one_seed_for_all_pictures():
    assert plan(enlarger=diffusion(), model="org/up", seed="42").seed == 42
    assert plan(enlarger=diffusion(), model="org/up").seed == 2**32 - 1
    assert plan().seed is None
    with pytest.raises(RequestError, match="one is for all pictures"):
        plan(enlarger=diffusion(), model="org/up", seed="1-3")


def test_diffusion_model_decides_what_is_left_blank():
    found = plan(enlarger=diffusion(), model="org/up", prompt="a cat")
    assert (found.steps, found.guidance, found.tile, found.pictures[0].network_scale) == (40, 9.0, 256, 4)
    found = plan(enlarger=diffusion(), model="org/up", prompt="a cat", steps=7, guidance=3, tile_size="128")
    assert (found.steps, found.guidance, found.tile) == (7, 3, 128)
    twice = plan(enlarger=diffusion(pipeline="StableDiffusionLatentUpscalePipeline"), model="org/up", scale="3")
    assert (twice.steps, twice.guidance, twice.pictures[0].network_scale) == (20, 0.0, 2)
    assert "steps: 20 (what suits the model)" in resolve.explain(twice)


def test_guidance_without_words_is_refused_and_not_ignored():
    assert plan(enlarger=diffusion(), model="org/up").guidance == 0
    with pytest.raises(RequestError, match="needs a prompt to guide to"):
        plan(enlarger=diffusion(), model="org/up", guidance=7.5)


def test_plan_is_strict_json_with_its_reasons():
    refused = Refused(number=2, name="gone.png", error=RequestError("there is no file gone.png"))
    told = json.loads(resolve.to_json(plan(source("a.png"), refused, scale="4")))
    assert (told["engine"], told["model"], told["device"], told["dtype"]) == ("network", "builtin", "cpu", "float32")
    assert told["pictures"][0]["source"] == "a.png"
    assert (told["pictures"][0]["width"], told["pictures"][0]["height"]) == (400, 320)
    assert told["pictures"][0]["output"] == "a-4x.png"
    assert told["refused"] == [{"path": "gone.png", "error": "there is no file gone.png"}]
    assert told["reasons"]["size"] == "asked for"
    assert {"model", "device", "dtype", "tile", "output"} <= told["reasons"].keys()


def test_plan_is_explained_line_by_line():
    lines = resolve.explain(plan(source("a.png"), model="builtin", tile_size="64"))
    assert "model: builtin (asked for)" in lines
    assert "tile: 64 (asked for)" in lines
    assert "a.png: 100x80 to 200x160 (2 times), a-2x.png as png" in lines
    assert not any(line.startswith("tile") for line in resolve.explain(plan(enlarger=LANCZOS, model="lanczos")))


def test_size_is_looked_at_for_every_picture_by_itself():
    found = plan(source("a.png"), replace(source("b.png"), number=2, width=300), to="200x")
    assert [each.source.name for each in found.pictures] == ["a.png"]
    assert "300x80 pixels already" in found.refused[0].error.message
