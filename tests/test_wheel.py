"""The wheel, in a venv of its own, away from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from PIL import Image

CHECKOUT = Path(__file__).parents[1]
LARGEST_WHEEL = 45 * 2**20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (path,) = folder.glob("imggen-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh venv that holds imggen from the wheel, and sees this environment's libraries but not its imggen."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    pip = ["-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *pip], check=True, capture_output=True, text=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # a plain path line adds the folder without reading the .pth files in it, so an editable install stays out
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "imggen"


def run(command, folder, **environment):
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=surroundings)


def test_the_wheel_holds_the_presets_the_model_and_nothing_of_the_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"imggen/presets/icon.toml", "imggen/presets/train/builtin-diffusion.toml", "imggen/py.typed"} <= set(names)
    assert "imggen/builtin/model/model_index.json" in names
    assert {"imggen/builtin/upscale/x2.safetensors", "imggen/builtin/upscale/x4.safetensors"} <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "runs/"))]
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_the_installed_wheel_makes_a_picture_away_from_the_checkout(installed, tmp_path):
    where = run([installed.with_name("python"), "-c", "import imggen; print(imggen.__file__)"], tmp_path).stdout
    assert str(installed.parents[1]) in where
    made = run([installed, "generate", "a red apple on a teal background", "--steps", "2", "-o", "a.png"], tmp_path)
    assert made.stdout.split() == ["a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (128, 128)


def test_the_installed_wheel_knows_its_presets_and_its_model(installed, tmp_path):
    assert "icon" in run([installed, "presets", "list"], tmp_path).stdout
    facts = json.loads(run([installed, "models", "show", "builtin", "--json"], tmp_path).stdout)
    assert "apple" in facts["vocabulary"]["objects"]
