"""A picture that is shown to the model beside the words, through the flow of every command."""

import hashlib
from dataclasses import replace
from pathlib import Path

import accelerate
import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection, SiglipImageProcessor, SiglipVisionModel

from imggen.engine.pipeline import loader
from imggen.errors import CheckError, ModelError, RequestError
from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.plan.models import catalog
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate
from tests import tiny_adapters, tiny_controls, tiny_loras, tiny_models
from tests.tiny_models import tiny_models as tiny_models_fixture

builders = tiny_models.BUILDERS
tiny_models = tiny_models_fixture

TASKS = {
    "text-to-image": {"size": "64x64"},
    "image-to-image": {"images": ("photo.png",), "strength": 0.7, "size": "64x64"},
    "inpaint": {"images": ("photo.png",), "mask": "mask.png", "paste": False},
}


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for seed, name in enumerate(("ref.png", "other.png", "photo.png", "edges.png")):
        levels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC).save(name)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 56))
    mask.save("mask.png")


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Return a function from a family to a folder with an adapter, a ControlNet and a LoRA for its tiny model."""
    root = tmp_path_factory.mktemp("beside")

    def folder(family):
        place = root / family
        if not place.exists():
            with environment.quiet():
                pipeline = builders[family](root)
                tiny_adapters.save(place / "adapter", family, pipeline)
                if family in tiny_controls.BUILDERS:
                    tiny_controls.save(place / "control", family, pipeline)
            layers = [each for each in tiny_loras.layers_of(pipeline) if each[0] in ("unet", "transformer")]
            for seed, name in enumerate(("lora", "other")):
                drawn = tiny_loras.draw(layers, strong=0.2, seed=seed)
                save_file(tiny_loras.diffusers(drawn), place / f"{name}.safetensors")
        return place

    return folder


def request(**said):
    plain = {"prompt": "a star", "seed": "7", "dtype": "float32", "device": "cpu", "watermark": "off", "steps": 3}
    return GenerateRequest(**plain | said)


def make(**said):
    return list(generate.generate(request(**said)))


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def plainly(plan, place, *, scale, beside=(), eye=CLIPVisionModelWithProjection):
    """The picture that a script without imggen makes with an IP-Adapter, and with a ControlNet and LoRAs besides."""
    with environment.quiet():
        loaded = diffusers.DiffusionPipeline.from_pretrained(plan.model.folder, dtype=torch.float32)
        options = {"requires_safety_checker": False} if plan.family.name == "sd" else dict(plan.initial)
        if "control" in beside:
            network = getattr(diffusers, plan.family.controls.network)
            options["controlnet"] = network.from_pretrained(place / "control")
        encoder = eye.from_pretrained(place / "adapter" / "image_encoder").eval()
        parts = loaded.components | {"image_encoder": encoder}
        if eye is SiglipVisionModel:
            parts["feature_extractor"] = SiglipImageProcessor.from_pretrained(place / "adapter" / "image_encoder")
        task = getattr(diffusers, plan.pipeline)(**parts, **options)
        scales = {name: each for name, each in {"lora": 0.6, "other": 0.4}.items() if name in beside}
        for name in scales:
            task.load_lora_weights(load_file(place / f"{name}.safetensors"), adapter_name=name)
        if scales:
            task.set_adapters(list(scales), adapter_weights=list(scales.values()))
        task.load_ip_adapter(str(place / "adapter"), subfolder="", weight_name="shown.safetensors")
        task.set_ip_adapter_scale(scale)
        task.set_progress_bar_config(disable=True)
        images = {} if plan.task == "text-to-image" else {"image": Image.open("photo.png").convert("RGB")}
        images |= {"mask_image": Image.open("mask.png")} if plan.task == "inpaint" else {}
        if "control" in beside:
            images[plan.control_argument] = Image.open("edges.png").convert("RGB")
        torch.manual_seed(7)
        drawn = task(
            **plan.arguments,
            **images,
            ip_adapter_image=Image.open("ref.png").convert("RGB"),
            generator=torch.Generator("cpu").manual_seed(7),
        )
        return np.asarray(drawn.images[0])


EDGES = {"sd": 64, "lcm": 64}


def laid(family, task):
    """What is said of a task for a tiny model of `family`; its pictures are made as large as that wants them."""
    edge = EDGES.get(family, 256)
    for name in ("photo.png", "mask.png", "edges.png"):
        with Image.open(name) as picture:
            picture.resize((edge, edge), Image.Resampling.NEAREST).save(name)
    return {"task": task, **TASKS[task]} | ({} if task == "inpaint" else {"size": f"{edge}x{edge}"})


@pytest.mark.parametrize(
    ("family", "task"),
    [
        *((family, task) for family in ("sd", "sdxl") for task in TASKS),
        # These two draw from words alone below, with all that can be added.
        *((family, task) for family in ("flux", "sd3") for task in ("image-to-image", "inpaint")),
        ("kolors", "image-to-image"),
        *((family, "text-to-image") for family in ("lcm", "chroma")),
    ],
)
def test_pixels_are_those_of_a_plain_diffusers_script(tiny_models, beside, family, task):
    place = beside(family)
    said = {"model": str(tiny_models(family)), "ip_adapter_weights": f"{place}/adapter", **laid(family, task)}
    plan = generate.plan(request(**said, ip_adapter="ref.png:0.5", output="x.png"))
    make(**said, ip_adapter="ref.png:0.5", output="out.png")
    eye = SiglipVisionModel if family == "sd3" else CLIPVisionModelWithProjection
    np.testing.assert_array_equal(pixels("out.png"), plainly(plan, place, scale=0.5, eye=eye))


@pytest.mark.parametrize("family", ["sd", "flux", "sd3"])
def test_a_scale_of_nothing_shows_nothing_and_another_picture_gives_another(tiny_models, beside, family):
    said = {"model": str(tiny_models(family)), "ip_adapter_weights": f"{beside(family)}/adapter", "steps": 1}
    said |= laid(family, "text-to-image")
    for name, shown in (("nothing", "ref.png:0"), ("one", "ref.png"), ("two", "other.png")):
        make(**said, ip_adapter=shown, output=f"{name}.png")
    make(**said | {"ip_adapter_weights": None}, output="without.png")
    np.testing.assert_array_equal(pixels("nothing.png"), pixels("without.png"))
    assert (pixels("one.png") != pixels("two.png")).any()
    assert (pixels("one.png") != pixels("nothing.png")).any()


@pytest.mark.parametrize(
    ("family", "task"),
    [("sd", "text-to-image"), ("sd", "image-to-image"), ("flux", "text-to-image"), ("sd3", "text-to-image")],
)
def test_an_adapter_a_control_net_and_loras_work_together(tiny_models, beside, family, task):
    place = beside(family)
    said = {
        "model": str(tiny_models(family)),
        "lora": (f"{place}/lora.safetensors:0.6", f"{place}/other.safetensors:0.4"),
        "control": (f"{place}/control:edges.png:0.8",),
        "ip_adapter": "ref.png:0.5",
        "ip_adapter_weights": f"{place}/adapter",
        **laid(family, task),
    }
    plan = generate.plan(request(**said, output="x.png"))
    (made,) = make(**said, output="out.png")
    eye = SiglipVisionModel if family == "sd3" else CLIPVisionModelWithProjection
    wanted = plainly(plan, place, scale=0.5, beside=("control", "lora", "other"), eye=eye)
    assert abs(pixels("out.png").astype(int) - wanted).max() <= 1
    assert [each.kind for each in made.recipe.adapters] == ["lora", "lora", "controlnet", "ip-adapter"]
    roles = {"text-to-image": ["control", "shown"], "image-to-image": ["image", "control", "shown"]}
    assert [each.role for each in made.recipe.ingredients] == roles[task]
    images = ("photo.png",) if task == "image-to-image" else ()
    again = GenerateRequest(
        task=task,
        images=images,
        from_file="out.png",
        control=said["control"],
        ip_adapter="ref.png",
        output="again.png",
    )
    list(generate.generate(again))
    np.testing.assert_array_equal(pixels("out.png"), pixels("again.png"))


@pytest.mark.parametrize("task", ["image-to-image", "inpaint"])
def test_a_pipeline_that_follows_a_control_picture_and_takes_no_other_is_refused(tiny_models, beside, task):
    place = beside("flux")
    said = {"model": str(tiny_models("flux")), "ip_adapter_weights": f"{place}/adapter", **laid("flux", task)}
    with pytest.raises(RequestError, match=r"--ip-adapter-weights with --control: FluxControlNetI\w+ of d") as caught:
        generate.plan(request(**said, ip_adapter="ref.png", control=(f"{place}/control:edges.png",), output="x.png"))
    assert "imggen generate may take both" in caught.value.hint


def test_what_is_added_and_the_weights_of_words_are_there_again_where_memory_ran_out(tiny_models, beside):
    place, left = beside("sd"), [True]
    said = {
        "model": str(tiny_models("sd")),
        "size": "64x64",
        "prompt": "a (red:1.4) apple",
        "lora": (f"{place}/lora.safetensors:0.6",),
        "control": (f"{place}/control:edges.png:0.8",),
        "ip_adapter": "ref.png:0.5",
        "ip_adapter_weights": f"{place}/adapter",
    }

    def load(plan, **options):
        pipeline = loader.load(plan, **options)
        whole = pipeline.vae.decode

        def full(*arguments, **named):
            if left:
                left.clear()
                raise torch.OutOfMemoryError("CUDA out of memory")
            return whole(*arguments, **named)

        pipeline.vae.decode = full
        return pipeline

    (down,) = generate.generate(request(**said, output="down.png"), load=load)
    make(**said, output="tiled.png", vae_tiling="on")
    assert down.recipe.vae_tile == 32
    np.testing.assert_array_equal(pixels("down.png"), pixels("tiled.png"))


@pytest.mark.parametrize(
    ("family", "quantize"), [("sd", "fp8"), ("sd", "int8"), ("flux", "fp8"), ("sd3", "fp8"), ("sd3", "int8")]
)
def test_adapters_keep_their_precision_in_a_model_that_is_stored_smaller(tiny_models, beside, family, quantize):
    pytest.importorskip("torchao")
    place = beside(family)
    said = {"model": str(tiny_models(family)), "quantize": quantize, "dtype": "bfloat16", "steps": 1}
    said |= laid(family, "text-to-image")
    shown = {"ip_adapter": "ref.png:0.5", "ip_adapter_weights": f"{place}/adapter"}
    control = {"control": (f"{place}/control:edges.png",), "lora": (f"{place}/lora.safetensors",)}
    make(**said, output="plain.png")
    make(**said, **shown, **control, output="shown.png")
    assert not np.array_equal(pixels("plain.png"), pixels("shown.png"))
    pipeline = loader.load(generate.plan(request(**said, **shown, output="x.png")))
    denoiser = pipeline.unet if family == "sd" else pipeline.transformer
    added = ("image_projection", "image_proj.", "_ip.", "processor.")
    kept = [each for name, each in denoiser.named_parameters() if any(part in name for part in added)]
    assert {each.dtype for each in kept} == {torch.bfloat16}
    assert {type(each) for each in kept} == {torch.nn.Parameter}


@pytest.mark.parametrize(("family", "offload"), [("flux", "group"), ("sd3", "sequential")])
def test_where_the_parts_rest_changes_no_pixel(tiny_models, beside, monkeypatch, family, offload):
    # As in the tests of placement: in main memory no device has a number.
    put_off = accelerate.cpu_offload
    monkeypatch.setattr(
        accelerate, "cpu_offload", lambda module, device, **options: put_off(module, torch.device("cpu"), **options)
    )
    said = {"model": str(tiny_models(family)), "ip_adapter_weights": f"{beside(family)}/adapter", "steps": 1}
    said |= laid(family, "text-to-image") | {"ip_adapter": "ref.png"}

    def load(plan, **options):
        return loader.load(replace(plan, offload=offload), **options)

    make(**said, output="resident.png")
    list(generate.generate(request(**said, output="put-off.png"), load=load))
    np.testing.assert_array_equal(pixels("resident.png"), pixels("put-off.png"))


def test_what_was_shown_is_recorded_and_must_be_named_again(tiny_models, beside):
    place = beside("sd")
    said = {"model": str(tiny_models("sd")), "ip_adapter_weights": f"{place}/adapter"}
    (made,) = make(**said, ip_adapter="ref.png:0.5", output="first.png")
    (adapter,), (picture,) = made.recipe.adapters, made.recipe.ingredients
    digest = hashlib.sha256(Path("ref.png").read_bytes()).hexdigest()
    weights = hashlib.sha256((place / "adapter" / "shown.safetensors").read_bytes()).hexdigest()
    assert (adapter.kind, adapter.scale, adapter.image, adapter.sha256) == ("ip-adapter", 0.5, digest, weights)
    assert (picture.role, picture.sha256) == ("shown", digest)
    facts = metadata.read(Path("first.png"))
    assert facts.found.recipe == made.recipe
    assert facts.xmp[metadata.SOURCE_TYPE] == metadata.COMPOSITE
    with pytest.raises(RequestError, match="made with a picture beside the words \\(--ip-adapter\\)") as caught:
        list(generate.generate(GenerateRequest(from_file="first.png", output="again.png")))
    assert caught.value.hint == "--ip-adapter PICTURE:0.5"


def test_a_policy_wants_consent_for_a_picture_that_is_shown(tiny_models, beside):
    Path("policy.toml").write_text("schema = 1\n[inputs]\nrequire_consent = true\n")
    said = {"model": str(tiny_models("sd")), "ip_adapter_weights": f"{beside('sd')}/adapter", "output": "x.png"}
    with pytest.raises(CheckError, match=r"inputs\.require_consent"):
        generate.plan(request(**said, ip_adapter="ref.png", policy="policy.toml"))
    assert generate.plan(request(**said, ip_adapter="ref.png", policy="policy.toml", consent=True)).adapters


def test_a_policy_knows_the_image_encoder_too(tiny_models, beside):
    place = beside("sd") / "adapter"
    said = {"model": str(tiny_models("sd")), "ip_adapter_weights": str(place), "output": "x.png"}
    Path("policy.toml").write_text(f'schema = 1\n[models]\ndeny = ["folder:{place}/image_encoder"]\n')
    with pytest.raises(CheckError, match=r"models\.deny"):
        generate.plan(request(**said, ip_adapter="ref.png", policy="policy.toml"))


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("sd", "sdxl", "was made for a model whose text has 64 channels; this one's has 32"),
        ("sdxl", "sd", "was made for a model whose text has 32 channels; this one's has 64"),
        ("flux", "sd", "is an IP-Adapter for U-Nets, not for the transformers of FLUX.1 and Chroma"),
        ("sd", "flux", "is an IP-Adapter for the transformers of FLUX.1 and Chroma, not for U-Nets"),
        ("flux", "sd3", "is an IP-Adapter for the transformers of Stable Diffusion 3, not for the transformers of FL"),
    ],
)
def test_an_adapter_for_another_model_is_refused_by_its_header(tiny_models, beside, model, weights, message):
    said = {"model": str(tiny_models(model)), "ip_adapter_weights": f"{beside(weights)}/adapter", "output": "x.png"}
    with pytest.raises(ModelError, match=message) as caught:
        generate.plan(request(**said, ip_adapter="ref.png"))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("family", ["flux-fill", "pixart-sigma"])
def test_a_family_without_adapters_is_refused_without_its_weights_being_read(tiny_models, family):
    with pytest.raises(RequestError, match=r"takes none; diffusers has no IP-Adapters for it"):
        generate.plan(request(model=str(tiny_models(family)), ip_adapter="ref.png", output="x.png"))


def test_the_usual_weights_are_looked_for_on_the_hub(tiny_models):
    with pytest.raises(
        ModelError, match=f"--ip-adapter {catalog.named('sd').ip_adapters.usual}: it is not on this machine"
    ):
        generate.plan(request(model=str(tiny_models("sd")), ip_adapter="ref.png", offline=True, output="x.png"))
