"""Pictures that stand beside the words: those that ControlNets follow, through the flow of every command."""

import hashlib
import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from imggen.cli import lineage
from imggen.engine.pipeline import loader
from imggen.engine.sampling import methods, sampler
from imggen.errors import CheckError, ModelError, RequestError
from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.plan.models import catalog, samplers
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate, preprocess
from tests import tiny_controls, tiny_models
from tests.tiny_models import tiny_models as tiny_models_fixture

tiny_models_ = tiny_models
tiny_models = tiny_models_fixture

CHANGING = dict.fromkeys(("sd", "sdxl", "flux"), ("image-to-image", "inpaint"))
TASKS = [
    (family, task)
    for family in tiny_controls.BUILDERS
    if family != "z-image"
    for task in ("text-to-image", *CHANGING.get(family, ()))
]


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for seed, name in enumerate(("edges.png", "other.png", "photo.png")):
        levels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC).save(name)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 56))
    mask.save("mask.png")


@pytest.fixture(scope="module")
def control(tmp_path_factory, tiny_models):
    """Return a function from a family and the changes to its config to the folder of a tiny random ControlNet."""
    root = tmp_path_factory.mktemp("controls")

    def folder(family, **changes):
        name = family + "".join(f"-{key}-{value}" for key, value in changes.items()).replace(" ", "")
        if not (root / name).exists():
            with environment.quiet():
                pipeline = tiny_models_.BUILDERS[family](root)
                tiny_controls.save(root / name, family, pipeline, **changes)
        return str(root / name)

    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_models):
    """Return a function from a family to the folder of its tiny model, of one that control can have an effect on."""
    root = tmp_path_factory.mktemp("models")

    def folder(family):
        if family != "hunyuan-dit":
            return str(tiny_models(family))
        if not (root / family).exists():
            with environment.quiet():
                tiny_controls.deepened(tiny_models_.BUILDERS[family](root)).save_pretrained(root / family)
        return str(root / family)

    return folder


def request(**said):
    plain = {"prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu", "watermark": "off"}
    return GenerateRequest(**plain | said)


def make(**said):
    return list(generate.generate(request(**said)))


def publish(monkeypatch, **published):
    """Make the networks those that people usually take for Stable Diffusion 1.x, by kind of picture."""
    controls = replace(catalog.named("sd").controls, published=published, published_for={})
    rows = tuple(replace(row, controls=controls) if row.name == "sd" else row for row in catalog.FAMILIES)
    monkeypatch.setattr(catalog, "FAMILIES", rows)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def enlarge(edge):
    for path in Path().glob("*.png"):
        with Image.open(path) as picture:
            picture.resize((edge, edge), Image.Resampling.NEAREST).save(path)


def asked(family, task, model):
    """What is asked for of a task: for a small picture where the family can, else a larger one."""
    edge = {"sd": 64, "lcm": 64, "hunyuan-dit": 512}.get(family, 256)
    if edge != 64:
        enlarge(edge)
    said = {"task": task, "model": model, "steps": 1, "size": f"{edge}x{edge}"}
    if task == "image-to-image":
        return said | {"images": ("photo.png",), "steps": 2, "strength": 0.7}
    if task == "inpaint":
        return said | {"images": ("photo.png",), "mask": "mask.png", "steps": 2, "strength": 0.7, "paste": False}
    return said


def plainly(plan, networks, pictures):
    """The picture that a script without imggen makes with ControlNets."""
    with environment.quiet():
        loaded = diffusers.DiffusionPipeline.from_pretrained(plan.model.folder, dtype=torch.float32)
        nets = [
            getattr(diffusers, json.loads((Path(each) / "config.json").read_text())["_class_name"]).from_pretrained(
                each, dtype=torch.float32
            )
            for each in networks
        ]
        options = {"requires_safety_checker": False} if plan.family.name in ("sd", "lcm") else dict(plan.initial)
        added = {"controlnet": nets[0] if len(nets) == 1 else nets} if nets else {}
        task_class = getattr(diffusers, plan.pipeline)
        taken = inspect.signature(task_class).parameters
        parts = {name: each for name, each in loaded.components.items() if name in taken}
        task = task_class(**parts, **added, **options)
        task.set_progress_bar_config(disable=True)
        shown = {}
        for name, file in pictures.items():
            files = file if isinstance(file, list) else [file]
            opened = [Image.open(each).convert("L" if name == "mask_image" else "RGB") for each in files]
            shown[name] = opened if isinstance(file, list) else opened[0]
        torch.manual_seed(7)
        return np.asarray(task(**plan.arguments, **shown, generator=torch.Generator("cpu").manual_seed(7)).images[0])


def given(task):
    return {
        "text-to-image": {},
        "image-to-image": {"image": "photo.png"},
        "inpaint": {"image": "photo.png", "mask_image": "mask.png"},
    }[task]


@pytest.mark.parametrize(("family", "task"), TASKS)
def test_pixels_are_those_of_a_plain_diffusers_script(model, control, family, task):
    said, network = asked(family, task, model(family)), control(family)
    plan = generate.plan(request(**said, control=(f"{network}:edges.png:0.8",), output="x.png"))
    assert "ControlNet" in plan.pipeline
    make(**said, control=(f"{network}:edges.png:0.8",), output="out.png")
    shown = {plan.control_argument: "edges.png", **given(task)}
    np.testing.assert_array_equal(pixels("out.png"), plainly(plan, [network], shown))


@pytest.mark.parametrize("task", ["text-to-image", "image-to-image", "inpaint"])
def test_a_model_that_reads_the_picture_itself_draws_what_a_plain_diffusers_script_does(tiny_models, task):
    said = asked("flux-control", task, str(tiny_models("flux-control")))
    plan = generate.plan(request(**said, control=("canny:edges.png",), output="x.png"))
    assert plan.pipeline.startswith("FluxControl")
    assert "controlnet_conditioning_scale" not in plan.arguments
    make(**said, control=("canny:edges.png",), output="out.png")
    shown = {plan.control_argument: "edges.png", **given(task)}
    np.testing.assert_array_equal(pixels("out.png"), plainly(plan, [], shown))
    if task == "text-to-image":
        make(**said, control=("canny:other.png",), output="other-out.png")
        assert (pixels("out.png") != pixels("other-out.png")).any()


def test_a_model_that_reads_the_picture_itself_is_told_what_it_was_and_asks_for_it_again(tiny_models):
    cv2 = pytest.importorskip("cv2")
    model = str(tiny_models("flux-control"))
    enlarge(256)
    with Image.open("photo.png") as photo:
        Image.fromarray(cv2.Canny(np.asarray(photo.convert("RGB")), 100, 200)).save("lines.png")
    said = {"model": model, "steps": 1, "size": "256x256"}
    (made,) = make(**said, preprocess=True, control=("canny:photo.png",), output="first.png")
    make(**said, control=("canny:lines.png",), output="lines-out.png")
    np.testing.assert_array_equal(pixels("first.png"), pixels("lines-out.png"))
    (picture,) = made.recipe.ingredients
    assert (picture.role, picture.control, picture.preprocessor) == ("control", "canny", "canny")
    assert made.recipe.adapters == ()
    with pytest.raises(RequestError, match="a recipe holds no pictures") as caught:
        list(generate.generate(GenerateRequest(from_file="first.png", output="again.png")))
    assert caught.value.hint == "--control canny:PICTURE"
    assert caught.value.hint in lineage.again(made.recipe, Path("first.png"))
    list(generate.generate(GenerateRequest(from_file="first.png", control=("canny:photo.png",), output="again.png")))
    np.testing.assert_array_equal(pixels("first.png"), pixels("again.png"))


def test_guidance_and_samplers_reach_a_model_that_reads_the_picture_itself(tiny_models):
    said = asked("flux-control", "text-to-image", str(tiny_models("flux-control"))) | {"control": ("canny:edges.png",)}
    plan = generate.plan(request(**said, output="x.png"))
    make(**said, output="out.png")
    make(**said, guidance=2.0, output="less.png")
    assert (pixels("out.png") != pixels("less.png")).any()
    with pytest.raises(RequestError, match="takes no negative prompt"):
        generate.plan(request(**said, negative_prompt="blue", output="x.png"))
    for each in samplers.names(catalog.prediction(catalog.named("flux-control"), plan.model)):
        make(**said, sampler=each, output="sampled.png")
        assert pixels("sampled.png").std() > 1, each
    with pytest.raises(RequestError, match="sampler 'dpmpp_2m' cannot drive this model"):
        generate.plan(request(**said, sampler="dpmpp_2m", output="x.png"))


@pytest.mark.parametrize(
    ("control", "message", "hint"),
    [
        (
            None,
            "needs a control picture: FLUX.1 Canny and Depth makes no picture without one",
            "--control depth:depth.png",
        ),
        (("canny:e.png",), "--control canny: .* was made for depth pictures", "--control depth:e.png"),
        (("./net:e.png",), "reads its picture itself, and takes no ControlNet", "--control depth:e.png"),
        (("depth:e.png:0.5",), "depth:e.png:0.5: .* always follows its picture fully", "--control depth:e.png"),
        (("depth:a.png", "depth:b.png"), "one picture at a time, and 2 are given", "--control depth:a.png"),
    ],
)
def test_what_a_model_that_reads_the_picture_itself_cannot_follow_is_refused(
    tiny_models, tmp_path, control, message, hint
):
    for each in ("e.png", "a.png", "b.png"):
        Path(each).write_bytes(Path("edges.png").read_bytes())
    (tmp_path / "FLUX.1-Depth-dev").symlink_to(tiny_models("flux-control"))
    with pytest.raises(RequestError, match=message) as caught:
        generate.plan(request(model=str(tmp_path / "FLUX.1-Depth-dev"), control=control, output="x.png"))
    assert caught.value.hint == hint


def repainting(tiny_models, control, family):
    latents = json.loads((tiny_models(family) / "transformer" / "config.json").read_text())["in_channels"]
    return control(family, control_in_dim=2 * latents + 1)


def test_z_image_repaints_by_a_network_that_sees_the_mask_as_a_plain_diffusers_script_does(tiny_models, control):
    said, network = asked("z-image-turbo", "inpaint", str(tiny_models("z-image-turbo"))), None
    said.pop("strength")
    network = repainting(tiny_models, control, "z-image-turbo")
    wanted = (f"{network}:edges.png:0.8",)
    plan = generate.plan(request(**said, control=wanted, output="x.png"))
    assert (plan.pipeline, plan.change.strength) == ("ZImageControlNetInpaintPipeline", None)
    make(**said, control=wanted, output="out.png")
    np.testing.assert_array_equal(
        pixels("out.png"), plainly(plan, [network], {"control_image": "edges.png", **given("inpaint")})
    )
    with pytest.raises(RequestError, match=r"--strength 0\.5: .*, which starts from noise"):
        generate.plan(request(**said, strength=0.5, control=wanted, output="x.png"))
    plain = f"{control('z-image-turbo')}:edges.png"
    with pytest.raises(ModelError, match=r"was not made for inpainting: it reads 4 channels, and .* have 9"):
        generate.plan(request(**said, control=(plain,), output="x.png"))


HOLES = {"sd3": {"extra_conditioning_channels": 1}, "qwen-image": {"extra_condition_channels": 4}}


@pytest.mark.parametrize("family", HOLES)
def test_a_network_that_sees_the_holes_repaints_as_a_plain_diffusers_script_does(tiny_models, control, family):
    said, network = asked(family, "inpaint", str(tiny_models(family))), Path("network").resolve()
    shutil.copytree(control(family, **HOLES[family]), network)
    said |= {"strength": None, "steps": 1}
    wanted = (f"{network}:0.8",)
    plan = generate.plan(request(**said, control=wanted, output="x.png"))
    assert (plan.pipeline, plan.change.strength) == (catalog.named(family).controls.repainting, None)
    (made,) = make(**said, control=wanted, output="out.png")
    shown = {"control_image": "photo.png", "control_mask": "mask.png"}
    np.testing.assert_array_equal(pixels("out.png"), plainly(plan, [network], shown))
    (adapter,) = made.recipe.adapters
    assert (adapter.image, adapter.scale) == (None, 0.8)
    assert [each.role for each in made.recipe.ingredients] == ["image", "mask"]
    again = {"task": "inpaint", "images": ("photo.png",), "mask": "mask.png", "from_file": "out.png"}
    heard = []
    list(generate.generate(GenerateRequest(**again, output="again.png"), on_note=heard.append))
    np.testing.assert_array_equal(pixels("out.png"), pixels("again.png"))
    # Model and network are here, so there is nothing to be warned of.
    assert not any("the recipe asks for" in each for each in heard)
    network.rename("elsewhere")
    with pytest.raises(ModelError, match="network: there is no such file or folder"):
        list(generate.generate(GenerateRequest(**again, output="again.png"), on_note=heard.append))
    assert any(f"the recipe asks for {network}:0.8" in each for each in heard)


def test_what_repaints_by_its_picture_alone_is_told_from_what_follows_another(tiny_models, control):
    said, holes = asked("sd3", "inpaint", str(tiny_models("sd3"))), control("sd3", **HOLES["sd3"])
    said.pop("strength")

    def refused(error, *wanted, **more):
        with pytest.raises(error) as caught:
            generate.plan(request(**said | more, control=wanted, output="x.png"))
        return caught.value

    assert "was not made for repainting: it knows no mask" in refused(ModelError, control("sd3")).message
    assert "for text-to-image only, not for inpaint" in refused(RequestError, f"{control('sd3')}:edges.png").message
    assert refused(RequestError, "canny:edges.png").hint.startswith("--control inpaint, which follows the picture")
    assert "one picture at a time, and 2 are given" in refused(RequestError, holes, holes).message
    assert "--strength 0.5: " in refused(RequestError, holes, strength=0.5).message
    words = {"task": "text-to-image", "images": (), "mask": None, "paste": None}
    assert "needs its picture" in refused(RequestError, holes, **words).message
    error = refused(ModelError, f"{holes}:edges.png", **words)
    assert "is for repainting: it wants 1 channels of a mask" in error.message
    assert error.hint == f'imggen inpaint PICTURE "..." --mask MASK --control {holes}'
    other = refused(RequestError, "./net", model=str(tiny_models("sdxl")))
    assert other.message == "--control ./net needs its picture"


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux", "sd3", "z-image", "sana"])
def test_a_scale_of_nothing_is_no_control(model, control, family):
    said, network = asked(family, "text-to-image", model(family)), control(family)
    make(**said, control=(f"{network}:edges.png",), output="out.png")
    make(**said, control=(f"{network}:edges.png:0",), output="nothing.png")
    # Encoding a control picture by chance takes noise from the seed, so there it is not the picture without control.
    other = {"control": (f"{network}:other.png:0",)} if family == "flux" else {}
    make(**said, **other, output="without.png")
    assert (pixels("out.png") != pixels("nothing.png")).any()
    assert abs(pixels("nothing.png").astype(int) - pixels("without.png")).max() <= 1


@pytest.mark.parametrize("family", ["sd", "flux", "sd3"])
def test_two_controls_are_those_of_a_plain_diffusers_script(tiny_models, control, family):
    said = asked(family, "text-to-image", str(tiny_models(family)))
    networks = [control(family), control(family, seed=1)]
    wanted = (f"{networks[0]}:edges.png:0.8", f"{networks[1]}:other.png:0.5")
    plan = generate.plan(request(**said, control=wanted, output="x.png"))
    make(**said, control=wanted, output="out.png")
    shown = {plan.control_argument: ["edges.png", "other.png"]}
    np.testing.assert_array_equal(pixels("out.png"), plainly(plan, networks, shown))
    make(**said, control=wanted[:1], output="one.png")
    assert (pixels("out.png") != pixels("one.png")).any()


@pytest.mark.parametrize("family", ["qwen-image", "sana", "z-image"])
def test_a_family_that_follows_one_picture_refuses_two(tiny_models, control, family):
    networks = (f"{control(family)}:edges.png", f"{control(family)}:other.png")
    with pytest.raises(RequestError, match="follows one picture at a time, and 2 are given"):
        generate.plan(request(model=str(tiny_models(family)), control=networks, output="x.png"))


def test_outpainting_and_the_built_in_models_way_of_repainting_follow_a_picture_too(tiny_models, control):
    said = {"model": str(tiny_models("sd")), "images": ("photo.png",), "steps": 2}
    network = control("sd")
    for scale, name in (("1", "followed"), ("0", "free")):
        make(task="outpaint", pad="0,8", control=(f"{network}:edges.png:{scale}",), output=f"{name}.png", **said)
    assert pixels("followed.png").shape == (64, 80, 3)
    np.testing.assert_array_equal(pixels("followed.png")[:, 8:72], pixels("photo.png"))
    assert (pixels("followed.png") != pixels("free.png")).any()


def test_a_control_is_recorded_with_its_picture_and_comes_back_when_that_is_named(tiny_models, control):
    network, model = control("sd"), str(tiny_models("sd"))
    (made,) = make(model=model, steps=2, control=(f"{network}:edges.png:0.8",), output="first.png")
    recipe = metadata.read(Path("first.png")).found.recipe
    assert recipe == made.recipe
    (adapter,), (picture,) = recipe.adapters, recipe.ingredients
    digest = hashlib.sha256(Path("edges.png").read_bytes()).hexdigest()
    weights = hashlib.sha256((Path(network) / "diffusion_pytorch_model.safetensors").read_bytes()).hexdigest()
    assert (adapter.kind, adapter.reference, adapter.scale) == ("controlnet", network, 0.8)
    assert (adapter.image, adapter.sha256) == (digest, weights)
    assert (picture.role, picture.sha256) == ("control", digest)
    with pytest.raises(RequestError, match="a recipe holds no pictures") as caught:
        list(generate.generate(GenerateRequest(from_file="first.png", output="again.png")))
    assert caught.value.hint == f"--control {network}:PICTURE:0.8"
    assert caught.value.hint in lineage.again(recipe, Path("first.png"))
    wanted = caught.value.hint.removeprefix("--control ").replace("PICTURE", "edges.png")
    list(generate.generate(GenerateRequest(from_file="first.png", control=(wanted,), output="again.png")))
    np.testing.assert_array_equal(pixels("first.png"), pixels("again.png"))
    heard = []
    other = GenerateRequest(from_file="first.png", control=(f"{network}:other.png:0.8",), output="other-again.png")
    list(generate.generate(other, on_note=heard.append))
    assert any("the control is another file" in each for each in heard)


def test_a_picture_from_words_is_named_by_them_whatever_it_follows(tiny_models, control):
    said = {"model": str(tiny_models("sd")), "steps": 1, "control": (f"{control('sd')}:edges.png",)}
    (made,) = make(**said)
    (plain,) = make(model=said["model"], steps=1, seed="8")
    assert made.path.name.replace("7", "8") == plain.path.name


def test_a_picture_that_only_follows_lines_is_still_one_that_a_model_made(tiny_models, control):
    make(model=str(tiny_models("sd")), steps=2, control=(f"{control('sd')}:edges.png",), output="out.png")
    said = metadata.read(Path("out.png")).xmp
    assert said[metadata.SOURCE_TYPE] == metadata.GENERATED
    assert [each["imggen:role"] for each in said[metadata.INGREDIENTS]] == ["control"]


def test_a_policy_wants_consent_for_a_control_picture_and_knows_its_network(tiny_models, control):
    network, model = control("sd"), str(tiny_models("sd"))
    Path("policy.toml").write_text("schema = 1\n[inputs]\nrequire_consent = true\n")
    said = {
        "model": model,
        "steps": 2,
        "control": (f"{network}:edges.png",),
        "policy": "policy.toml",
        "output": "x.png",
    }
    with pytest.raises(CheckError, match=r"inputs\.require_consent"):
        generate.plan(request(**said))
    assert generate.plan(request(**said, consent=True)).adapters
    Path("policy.toml").write_text(f'schema = 1\n[models]\ndeny = ["folder:{Path(network).parent}/**"]\n')
    with pytest.raises(CheckError, match=r"models\.deny"):
        generate.plan(request(**said))


def test_a_control_of_another_shape_is_fitted_and_told(tiny_models, control):
    with Image.open("edges.png") as edges:
        edges.resize((96, 64)).save("wide.png")
        edges.resize((96, 64)).crop((16, 0, 80, 64)).save("cut.png")
    said = {"model": str(tiny_models("sd")), "steps": 2, "size": "64x64"}
    plan = generate.plan(request(**said, control=(f"{control('sd')}:wide.png",), output="x.png"))
    assert any(
        "wide.png is 96x64, another aspect ratio than 64x64: what does not fit is cut off" in each
        for each in plan.notes
    )
    for name in ("wide", "cut"):
        make(**said, control=(f"{control('sd')}:{name}.png",), output=f"{name}-out.png")
    np.testing.assert_array_equal(pixels("wide-out.png"), pixels("cut-out.png"))


def test_a_single_file_with_its_config_is_a_control_net_too(tiny_models, control, tmp_path):
    (tmp_path / "one").mkdir()
    network = Path(control("sd"))
    (tmp_path / "one" / "lines.safetensors").write_bytes((network / "diffusion_pytorch_model.safetensors").read_bytes())
    said = {"model": str(tiny_models("sd")), "steps": 2}
    alone = f"{tmp_path}/one/lines.safetensors:edges.png"
    with pytest.raises(ModelError, match=r"lines\.safetensors has no config\.json beside it"):
        generate.plan(request(**said, control=(alone,), output="x.png"))
    (tmp_path / "one" / "config.json").write_text((network / "config.json").read_text())
    make(**said, control=(alone,), output="file.png")
    make(**said, control=(f"{network}:edges.png",), output="folder.png")
    np.testing.assert_array_equal(pixels("file.png"), pixels("folder.png"))


@pytest.mark.parametrize(
    ("model", "network", "changes", "message"),
    [
        ("sd", "sdxl", {}, "its cross_attention_dim is 64, and that of .* is 32"),
        ("sd", "sd", {"block_out_channels": (16, 64)}, "its block_out_channels is 16, 64, and that of .* is 32, 64"),
        ("sd", "flux", {}, "is a FluxControlNetModel; Stable Diffusion 1.x and 2.x takes a ControlNetModel"),
        ("sd", "sd", {"conditioning_embedding_out_channels": (4, 8, 8)}, "makes a latent of 4 pixels, and .* of 8"),
        ("flux", "flux", {"num_mode": 3}, "holds several ControlNets"),
        ("flux", "flux", {"joint_attention_dim": 48}, "its joint_attention_dim is 48"),
        ("qwen-image", "qwen-image", {"extra_condition_channels": 4}, "is for repainting"),
    ],
)
def test_a_control_net_for_another_model_is_refused_by_its_config(
    tiny_models, control, monkeypatch, model, network, changes, message
):
    folder = control(network, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        generate.plan(request(model=str(tiny_models(model)), control=(f"{folder}:edges.png",), output="x.png"))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("family", ["flux", "flux-schnell"])
def test_a_sampler_that_the_pipelines_with_control_cannot_take_is_refused(tiny_models, control, family):
    model = str(tiny_models(family))
    said = {"model": model, "control": (f"{control('flux')}:edges.png",), "output": "x.png"}
    other = "unipc"
    assert other in samplers.names(catalog.prediction(catalog.named(family), generate.plan(request(**said)).model))
    with pytest.raises(RequestError, match=f"--sampler {other}: with FLUX.1.* it cannot follow a control picture"):
        generate.plan(request(**said, sampler=other))
    assert generate.plan(request(**said, sampler="euler")).sampler == "euler"


def test_networks_of_unlike_depth_are_not_added_up(tiny_models, control):
    wanted = (f"{control('flux')}:edges.png", f"{control('flux', num_layers=2)}:other.png")
    with pytest.raises(ModelError, match=r"does not go with .*: its num_layers is 2, and that of the other 1"):
        generate.plan(request(model=str(tiny_models("flux")), control=wanted, output="x.png"))


@pytest.mark.parametrize(
    ("family", "title"),
    [
        ("lumina2", "Lumina-Image 2.0"),
        ("chroma", "Chroma"),
        ("kolors", "Kolors; diffusers has no pipeline for the ones"),
    ],
)
def test_a_family_without_control_nets_says_so(tiny_models, family, title):
    with pytest.raises(RequestError, match=f"--control: imggen knows no ControlNets for {title}"):
        generate.plan(request(model=str(tiny_models(family)), control=("canny:edges.png",), output="x.png"))


def test_a_task_that_the_family_does_not_do_with_control_is_refused(tiny_models, control):
    said = {"task": "image-to-image", "images": ("photo.png",), "model": str(tiny_models("sd3")), "output": "x.png"}
    with pytest.raises(RequestError, match="follows control pictures for text-to-image only, not for image-to-image"):
        generate.plan(request(**said, control=(f"{control('sd3')}:edges.png",)))
    with pytest.raises(RequestError, match=r"--control .*: imggen blend has no such option"):
        generate.plan(request(task="blend", images=("photo.png",), control=("canny:edges.png",), output="x.png"))


def test_a_control_picture_that_is_not_there_is_named_with_the_nearest(tiny_models, control):
    with pytest.raises(RequestError, match=r"there is no file edgs\.png") as caught:
        generate.plan(request(model=str(tiny_models("sd")), control=(f"{control('sd')}:edgs.png",), output="x.png"))
    assert "edges.png" in caught.value.hint


def test_a_network_with_weights_missing_is_refused(tiny_models, control, tmp_path):
    network = Path(control("sd"))
    (tmp_path / "gap").mkdir()
    tensors = load_file(network / "diffusion_pytorch_model.safetensors")
    tensors.pop("conv_in.weight")
    save_file(tensors, tmp_path / "gap" / "diffusion_pytorch_model.safetensors")
    (tmp_path / "gap" / "config.json").write_text((network / "config.json").read_text())
    with pytest.raises(ModelError, match=r"--control .*gap lacks 1 of its weights, conv_in.weight among them"):
        make(model=str(tiny_models("sd")), steps=2, control=(f"{tmp_path}/gap:edges.png",), output="x.png")


def test_edges_of_a_photograph_are_made_before_they_are_followed(tiny_models, control, monkeypatch):
    cv2 = pytest.importorskip("cv2")
    said = {"model": str(tiny_models("sd")), "steps": 2, "size": "64x64"}
    with pytest.raises(RequestError, match="--preprocess: imggen cannot make a picture for"):
        generate.plan(request(**said, preprocess=True, control=(f"{control('sd')}:photo.png",), output="x.png"))
    with Image.open("photo.png") as photo:
        Image.fromarray(cv2.Canny(np.asarray(photo.convert("RGB")), 100, 200)).save("lines.png")
    publish(monkeypatch, canny=control("sd"))
    (made,) = make(**said, preprocess=True, control=("canny:photo.png",), output="made.png")
    make(**said, control=("canny:lines.png",), output="given.png")
    np.testing.assert_array_equal(pixels("made.png"), pixels("given.png"))
    assert made.recipe.adapters[0].preprocessor == "canny"


def test_depths_in_a_photograph_are_measured_and_the_recipe_measures_them_again(
    tiny_models, control, monkeypatch, tmp_path
):
    weights = str(tiny_controls.save_depth(tmp_path / "depth-net"))
    said = {"model": str(tiny_models("sd")), "steps": 2, "size": "64x64", "depth_weights": weights}
    publish(monkeypatch, depth=control("sd"))
    wanted = ("depth:photo.png:0.8",)
    plan = generate.plan(request(**said, preprocess=True, control=wanted, output="x.png"))
    assert [each.asked.kind for each in plan.adapters] == ["controlnet", "depth"]
    (made,) = make(**said, preprocess=True, control=wanted, output="made.png")
    preprocess.preprocess("depth", "photo.png", "depths.png", weights=preprocess.Weights(reference=weights))
    del said["depth_weights"]
    make(**said, control=("depth:depths.png:0.8",), output="given.png")
    np.testing.assert_array_equal(pixels("made.png"), pixels("given.png"))
    network, measuring = made.recipe.adapters
    digest = hashlib.sha256((Path(weights) / "model.safetensors").read_bytes()).hexdigest()
    assert (network.preprocessor, measuring.kind) == ("depth", "depth")
    assert (measuring.reference, measuring.sha256) == (weights, digest)
    with pytest.raises(RequestError, match="a recipe holds no pictures") as caught:
        list(generate.generate(GenerateRequest(from_file="made.png", output="again.png")))
    again = caught.value.hint.removeprefix("--control ").replace("PICTURE", "photo.png")
    assert again == f"{control('sd')}:photo.png:0.8"
    list(generate.generate(GenerateRequest(from_file="made.png", control=(again,), output="again.png")))
    np.testing.assert_array_equal(pixels("made.png"), pixels("again.png"))


def test_depths_are_not_measured_where_nothing_asks_for_them(tiny_models, control):
    said = {"model": str(tiny_models("sd")), "control": (f"{control('sd')}:edges.png",), "output": "x.png"}
    with pytest.raises(RequestError, match="--depth-weights net: there is no depth picture to make") as caught:
        generate.plan(request(**said, depth_weights="net"))
    assert caught.value.hint == "--control depth:photo.png --preprocess"
    by_preset = request(**said, depth_weights="net", origin={"depth_weights": "preset icon"})
    assert len(generate.plan(by_preset).adapters) == 1


@pytest.mark.parametrize("offload", ["model", "group", "disk"])
def test_where_layers_rest_that_a_network_shares_with_the_denoiser_changes_no_pixel(tiny_models, control, offload):
    said = asked("z-image", "text-to-image", str(tiny_models("z-image")))
    plan = generate.plan(request(**said, control=(f"{control('z-image')}:edges.png",), output="x.png"))
    with Image.open("edges.png") as edges:
        pictures = methods.Pictures(controls=(edges.convert("RGB"),))
    drawn = []
    for each in ("none", offload):
        placed = replace(plan, offload=each)
        pipeline = loader.load(placed)
        drawn.append(sampler.draw(pipeline, placed, 1, entrance=methods.prepare(pipeline, placed, pictures)).image)
    np.testing.assert_array_equal(*map(np.asarray, drawn))
