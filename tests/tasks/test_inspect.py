"""`inspect`: every file says its own, a bad one is named and does not hide the others."""

import hashlib
import subprocess
import sys

import pytest
from PIL import Image, PngImagePlugin
from recipes import APPLE

from imggen.errors import ImggenError, RequestError
from imggen.output import writer
from imggen.plan.schema.request import OutputPlan
from imggen.tasks import inspect

OUTPUT = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")


@pytest.fixture
def apple(tmp_path):
    image = Image.linear_gradient("L").resize((24, 18)).convert("RGB")
    return writer.write(image, APPLE, OUTPUT, tmp_path / "apple.png").path


def test_own_picture_tells_its_recipe(apple):
    (fact,) = inspect.inspect([apple])
    assert (fact.path, fact.format, fact.width, fact.height, fact.animated) == (apple, "png", 24, 18, False)
    assert (fact.dialect, fact.prompt, fact.negative_prompt) == ("imggen", "a red apple", "blurry")
    assert (fact.recipe, fact.fits) == (APPLE, True)
    assert fact.settings["seed"] == 42
    assert (fact.bytes, fact.sha256) == (apple.stat().st_size, hashlib.sha256(apple.read_bytes()).hexdigest())
    assert fact.xmp["xmp:CreatorTool"] == "imggen 0.1.0"


def test_picture_without_a_record_is_no_error(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "plain.jpg")
    (fact,) = inspect.inspect([tmp_path / "plain.jpg"])
    assert (fact.dialect, fact.prompt, fact.recipe, fact.fits, fact.settings) == (None, "", None, None, {})


def test_peers_picture_tells_what_it_can(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "cat\nSteps: 9, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 8x8, Model: fine")
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png", pnginfo=info)
    (fact,) = inspect.inspect([tmp_path / "cat.png"])
    assert (fact.dialect, fact.prompt, fact.settings["seed"], fact.recipe) == ("a1111", "cat", 5, None)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x04\0\0\0WEBP"])
def test_bad_file_is_named_and_left_alone(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"bad\.png: "):
        list(inspect.inspect([path]))
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["bad.png"]


def test_file_cut_in_half_is_named(apple):
    apple.write_bytes(apple.read_bytes()[: apple.stat().st_size // 2])
    with pytest.raises(RequestError, match=r"apple\.png: the PNG"):
        list(inspect.inspect([apple]))


def test_bad_files_do_not_hide_good_ones(tmp_path, apple):
    (tmp_path / "bad.png").write_bytes(b"hello")
    read = inspect.inspect([tmp_path / "absent.png", apple, tmp_path / "bad.png"])
    assert next(read).path == apple
    with pytest.raises(ImggenError, match="2 of 3 files failed") as caught:
        next(read)
    assert caught.value.exit_code == 1
    assert "absent.png" in caught.value.message
    assert "bad.png" in caught.value.message


def test_many_files_that_all_fail_are_a_wrong_request(tmp_path):
    with pytest.raises(RequestError, match="2 of 2 files failed"):
        list(inspect.inspect([tmp_path / "a.png", tmp_path / "b.png"]))


def test_nothing_heavy_is_imported(apple):
    code = (
        "import sys; from pathlib import Path; from imggen.tasks import inspect\n"
        "list(inspect.inspect([Path(sys.argv[1])]))\n"
        "print(*sorted({'torch', 'numpy', 'diffusers', 'transformers', 'PIL', 'c2pa'} & sys.modules.keys()))\n"
        "from imggen.tasks import embed, verify\n"
        "list(embed.embed(embed.EmbedRequest(targets=(Path(sys.argv[1]),), pairs=(('artist', 'A'),))))\n"
        "list(verify.verify(verify.VerifyRequest(files=(sys.argv[1],))))\n"
        "print(*sorted({'torch', 'diffusers', 'transformers', 'c2pa'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(apple)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
