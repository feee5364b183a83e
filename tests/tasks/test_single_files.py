"""Pictures by single files: the same as by the folder that they were made of, and made again from their recipe."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from imggen.engine.pipeline import loader
from imggen.errors import CheckError, ModelError, RequestError
from imggen.host import environment
from imggen.output.metadata import metadata
from imggen.plan.generation import resolve
from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate, models
from tests import single_files
from tests.tiny_models import BUILDERS, tiny_models

__all__ = ["tiny_models"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A tiny Stable Diffusion and a tiny XL as single files, in their authors' format."""
    root = tmp_path_factory.mktemp("files")
    writers = {"sd": single_files.stable_diffusion, "sdxl": single_files.stable_diffusion_xl}
    with environment.quiet():
        return {
            name: single_files.save(write(BUILDERS[name](root)), root / f"{name}.safetensors")
            for name, write in writers.items()
        }


def ask(**changes):
    said = {"prompt": "a red apple", "steps": 2, "seed": "7", "dtype": "float32", "watermark": "off"}
    return GenerateRequest(**said | changes)


def draw(**changes):
    (made,) = generate.generate(ask(**changes))
    return made


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(("name", "size"), [("sd", "64x64"), ("sdxl", "64x64")])
def test_a_single_file_draws_the_same_picture_as_its_folder(name, size, files, tiny_models):
    draw(model=str(tiny_models(name)), size=size, output="folder.png")
    made = draw(model=str(files[name]), base=str(tiny_models(name)), size=size, output="file.png")
    np.testing.assert_array_equal(pixels("file.png"), pixels("folder.png"))
    assert (made.recipe.model, made.recipe.base) == (str(files[name]), str(tiny_models(name)))
    assert made.recipe.family == name


def test_a_picture_from_a_picture_is_the_same_too(files, tiny_models):
    draw(model=str(tiny_models("sd")), output="start.png")
    given = {"task": "image-to-image", "images": ("start.png",)}
    draw(**given, model=str(tiny_models("sd")), output="folder.png")
    draw(**given, model=str(files["sd"]), base=str(tiny_models("sd")), output="file.png")
    np.testing.assert_array_equal(pixels("file.png"), pixels("folder.png"))


def test_a_picture_is_made_again_from_its_recipe(files, tiny_models):
    draw(model=str(files["sd"]), base=str(tiny_models("sd")), output="apple.png")
    notes = []
    again = GenerateRequest(from_file="apple.png", output="again.png")
    (made,) = generate.generate(again, load=loader.load, on_note=notes.append)
    np.testing.assert_array_equal(pixels("again.png"), pixels("apple.png"))
    assert made.recipe == metadata.read(Path("apple.png")).found.recipe
    assert not [each for each in notes if "differ" in each]


def test_another_model_on_the_command_line_leaves_the_recorded_base_alone(files, tiny_models):
    draw(model=str(files["sd"]), base=str(tiny_models("sd")), output="apple.png")
    plan = generate.plan(GenerateRequest(from_file="apple.png", model=str(tiny_models("sd")), output="-"))
    assert plan.model.single is None


def test_the_plan_names_the_kind_and_the_base(files, tiny_models):
    plan = generate.plan(ask(model=str(files["sd"]), base=str(tiny_models("sd")), output="-"))
    told = json.loads(resolve.to_json(plan))["model"]
    assert (told["source"], told["kind"]) == ("file", "Stable Diffusion 1.x")
    assert told["from_file"] == ["text_encoder", "unet", "vae"]
    assert told["base"]["reference"] == str(tiny_models("sd"))
    lines = resolve.explain(plan)
    assert f"base: {tiny_models('sd')} (gives configs, tokenizers)" in lines
    assert "kind: Stable Diffusion 1.x (by the names of its tensors)" in lines


def test_a_model_that_is_shown_tells_the_kind_and_the_base(files, tiny_models):
    told = models.show(str(files["sdxl"]), base=str(tiny_models("sdxl")))
    assert (told["source"], told["kind"], told["family"]) == ("file", "Stable Diffusion XL", "sdxl")
    assert told["base"]["from_base"] == []
    assert told["components"]["unet"]["bytes"] > 0


def test_a_base_of_another_family_is_refused_before_any_weights_are_read(files, tiny_models):
    with pytest.raises(ModelError, match=r"holds Stable Diffusion XL, and its base .* has no unet"):
        generate.plan(ask(model=str(files["sdxl"]), base=str(tiny_models("flux")), output="-"))
    with pytest.raises(ModelError, match=r"has cross_attention_dim 64, its base .* 32: they do not match"):
        generate.plan(ask(model=str(files["sdxl"]), base=str(tiny_models("sd")), output="-"))


def test_a_base_beside_a_whole_model_is_a_wrong_request(tiny_models):
    with pytest.raises(RequestError, match="only a single file and a decoder have a base"):
        generate.plan(ask(model=str(tiny_models("sd")), base=str(tiny_models("sd")), output="-"))


def policy(text):
    Path("rules.toml").write_text(f"schema = 1\n[models]\n{text}\n")
    return {"policy": "rules.toml"}


def test_a_policy_holds_for_the_file_and_for_the_base_whose_weights_are_used(tiny_models, tmp_path):
    with environment.quiet():
        transformer = BUILDERS["flux"](tmp_path).transformer
    file = single_files.save(transformer.state_dict(), tmp_path / "x.safetensors")
    base = Path(shutil.copytree(tiny_models("flux"), tmp_path / "base"))
    asked = {"model": str(file), "base": str(base), "output": "-"}
    for place in (file, base):
        with pytest.raises(CheckError, match="models"):
            generate.plan(ask(**asked, **policy(f'deny = ["folder:{place}"]')))
    assert generate.plan(ask(**asked, **policy(f'allow = ["folder:{tmp_path}/*"]'))).model.single is not None


def test_a_dry_run_of_a_single_file_imports_no_torch(files, tiny_models):
    code = (
        "import sys; from imggen.tasks import generate;"
        "from imggen.plan.schema.request import GenerateRequest as Request;"
        "generate.plan(Request(prompt='x', model=sys.argv[1], base=sys.argv[2], output='-'), fetch=False);"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(files["sd"]), str(tiny_models("sd"))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_base_that_nobody_named_is_held_to_the_policy_before_it_is_fetched(files):
    with pytest.raises(CheckError, match="stable-diffusion-v1-5"):
        generate.plan(ask(model=str(files["sd"]), output="-", **policy('deny = ["stable-diffusion-v1-5/*"]')))


def test_gguf_is_named_as_lossy_in_a_note_in_the_plan_and_in_the_recipe(tiny_models, tmp_path):
    with environment.quiet():
        transformer = BUILDERS["flux"](tmp_path).transformer
    writer = gguf.GGUFWriter("x.gguf", "flux")
    for name, each in transformer.state_dict().items():
        is_matrix = each.ndim == 2 and each.shape[-1] % 32 == 0
        kind = gguf.GGMLQuantizationType.Q8_0 if is_matrix else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(each.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    asked = {"model": "x.gguf", "base": str(tiny_models("flux")), "size": "256x256", "output": "apple.png"}
    plan = generate.plan(ask(**asked))
    assert "x.gguf stores weights as Q8_0, which lost some of their precision" in plan.notes
    assert "stored: transformer as Q8_0 (in the file; lossy)" in resolve.explain(plan)
    assert draw(**asked).recipe.stored == "Q8_0"
    with pytest.raises(RequestError, match=r"--quantize int8: x\.gguf .*Q8_0"):
        generate.plan(ask(**asked, quantize="int8"))


def test_a_pickle_that_is_allowed_is_told_of(tiny_models, files):
    torch.save(load_file(files["sd"]), "x.ckpt")
    plan = generate.plan(ask(model="x.ckpt", base=str(tiny_models("sd")), allow_pickle=True, output="-"))
    assert "x.ckpt is a pickle; only its weights are read, and nothing says whose they are" in plan.notes
