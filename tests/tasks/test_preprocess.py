"""Control pictures out of photographs, and what their files say of themselves."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from imggen.engine.vision import depth
from imggen.errors import CheckError, MachineError, RequestError
from imggen.inputs import preprocessing
from imggen.output import writer
from imggen.output.metadata import metadata
from imggen.plan.adapters import depths
from imggen.plan.schema.request import OutputPlan
from imggen.store import depth_files
from imggen.store.weights import AccessRules
from imggen.tasks import preprocess
from tests import tiny_controls
from tests.recipes import APPLE

OUTPUT = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")


@pytest.fixture(autouse=True)
def in_a_folder_with_a_photograph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    levels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((96, 64), Image.Resampling.BICUBIC).save("photo.png")
    return tmp_path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_edges_are_those_of_opencv_and_the_file_claims_no_more():
    made = preprocess.preprocess("canny", "photo.png")
    assert made.path.name == "photo-canny.png"
    wanted = cv2.Canny(pixels("photo.png"), 100, 200)
    assert wanted.any()
    np.testing.assert_array_equal(pixels(made.path), np.repeat(wanted[..., None], 3, axis=2))
    facts = metadata.read(made.path)
    assert (facts.found, facts.fits, facts.is_own) == (None, True, True)
    assert metadata.SOURCE_TYPE not in facts.xmp
    assert facts.xmp[metadata.DERIVED]["imggen:role"] == "control"


def test_a_tile_is_the_picture_without_its_fine_details():
    made = preprocess.preprocess("tile", "photo.png", "blurred.png")
    assert pixels(made.path).shape == (64, 96, 3)
    sharpness = [np.abs(np.diff(pixels(each).astype(int), axis=1)).mean() for each in ("photo.png", made.path)]
    assert sharpness[1] < sharpness[0]


def test_depths_are_measured_by_the_weights_that_are_named(tmp_path):
    weights = preprocess.Weights(reference=str(tiny_controls.save_depth(tmp_path / "net")))
    made = preprocess.preprocess("depth", "photo.png", weights=weights)
    assert made.path.name == "photo-depth.png"
    with Image.open("photo.png") as photo:
        facts = depth_files.find(depths.named(weights.reference), terms=AccessRules())
        (wanted,) = depth.measure(facts, [photo.convert("RGB")])
    np.testing.assert_array_equal(pixels(made.path), np.asarray(wanted))
    with pytest.raises(RequestError, match="canny pictures take no model"):
        preprocess.preprocess("canny", "photo.png", weights=weights)


def test_a_policy_knows_what_measures_depth(tmp_path, monkeypatch):
    folder = tiny_controls.save_depth(tmp_path / "net")
    (tmp_path / "policy.toml").write_text(f'schema = 1\n[models]\ndeny = ["folder:{folder}/**"]\n')
    monkeypatch.setenv("IMGGEN_POLICY", str(tmp_path / "policy.toml"))
    with pytest.raises(CheckError, match=r"models\.deny"):
        preprocess.preprocess("depth", "photo.png", weights=preprocess.Weights(reference=str(folder)))


def test_edges_of_a_models_picture_still_say_that_a_model_made_it():
    writer.write(Image.effect_noise((64, 48), 90).convert("RGB"), APPLE, OUTPUT, preprocess.Path("apple.png"))
    made = preprocess.preprocess("canny", "apple.png")
    facts = metadata.read(made.path)
    assert facts.xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
    assert facts.found is None


def test_it_takes_the_place_of_its_own_file_and_of_no_other():
    first = preprocess.preprocess("canny", "photo.png", "a.png").path.read_bytes()
    assert preprocess.preprocess("tile", "photo.png", "a.png").path.read_bytes() != first
    with pytest.raises(RequestError, match="exists and is not as imggen wrote it"):
        preprocess.preprocess("canny", "photo.png", "photo.png")


@pytest.mark.parametrize(
    ("kind", "output", "message", "hint"),
    [
        (
            "pose",
            None,
            "imggen cannot make pose pictures; it makes canny, depth, tile",
            "imggen preprocess canny IMAGE",
        ),
        ("cany", None, "there is no kind of control 'cany'", "imggen preprocess canny IMAGE"),
        ("canny", "edges.jpg", "written as PNG, which keeps every line", "-o edges.png"),
    ],
)
def test_what_it_cannot_make_is_refused(kind, output, message, hint):
    with pytest.raises(RequestError, match=message) as caught:
        preprocess.preprocess(kind, "photo.png", output)
    assert caught.value.hint == hint


def test_edges_without_opencv_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MachineError, match="canny edges need OpenCV") as caught:
        preprocessing.edges(Image.new("RGB", (8, 8)))
    assert (caught.value.exit_code, caught.value.hint) == (3, "pip install 'imggen[control]'")


def test_a_policy_wants_consent_and_a_line_in_its_log(tmp_path, monkeypatch):
    (tmp_path / "policy.toml").write_text('schema = 1\n[inputs]\nrequire_consent = true\n[audit]\nlog = "log.jsonl"\n')
    monkeypatch.setenv("IMGGEN_POLICY", str(tmp_path / "policy.toml"))
    with pytest.raises(CheckError, match=r"inputs\.require_consent"):
        preprocess.preprocess("canny", "photo.png")
    preprocess.preprocess("canny", "photo.png", consent=True)
    assert '"action":"preprocess"' in (tmp_path / "log.jsonl").read_text()
