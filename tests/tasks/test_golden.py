"""What each task makes of the same pictures with the built-in model: fixed seed, CPU, float32.

After new weights, GOLDEN=write makes the pictures anew, to be looked at and committed.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imggen.plan.schema.request import GenerateRequest
from imggen.tasks import generate

GOLDEN = Path(__file__).parent / "golden"
APPLE = Path(__file__).parents[1] / "engine" / "golden" / "builtin.png"

CHANGES = {
    "img2img": {"task": "image-to-image", "images": ("sketch.png",), "strength": 0.7},
    "inpaint": {"task": "inpaint", "images": ("apple.png",), "prompt": "a yellow star", "mask_box": "32,32,64,64"},
    "outpaint": {"task": "outpaint", "images": ("apple.png",), "prompt": "a teal background", "pad": "0,64,0,0"},
    "blend": {"task": "blend", "images": ("apple.png", "sketch.png"), "weights": "0.6,0.4", "mutate": 0.2},
    "style": {"task": "style", "images": ("apple.png",), "like": "sketch.png"},
    "tile": {"task": "text-to-image", "prompt": "a blue and white dotted background", "tile": "xy"},
}


@pytest.fixture(autouse=True)
def in_a_folder_with_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(APPLE, "apple.png")
    sketch = Image.new("RGB", (128, 128), (240, 200, 60))
    pen = ImageDraw.Draw(sketch)
    pen.ellipse((24, 32, 104, 112), fill=(200, 40, 30), outline=(60, 20, 20), width=4)
    pen.rectangle((60, 12, 68, 36), fill=(90, 60, 30))
    sketch.save("sketch.png")


@pytest.mark.parametrize("name", CHANGES)
def test_the_golden_picture_is_still_made(name):
    said = {"prompt": "a red apple on a teal background", "seed": "1", "steps": 8, "device": "cpu", "dtype": "float32"}
    list(generate.generate(GenerateRequest(**said | CHANGES[name], output="made.png")))
    with Image.open("made.png") as picture:
        made = np.asarray(picture.convert("RGB"))
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(made).save(GOLDEN / f"{name}.png")
    with Image.open(GOLDEN / f"{name}.png") as picture:
        wanted = np.asarray(picture)
    assert made.shape == wanted.shape
    assert np.abs(made.astype(int) - wanted).max() <= 1
