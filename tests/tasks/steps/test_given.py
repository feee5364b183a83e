"""Given pictures: found by name, read whole, and asked where they come from without believing them."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from recipes import APPLE

from imggen.errors import RequestError
from imggen.output import writer
from imggen.output.metadata import metadata
from imggen.plan.schema.request import OutputPlan
from imggen.tasks.steps import given

OUTPUT = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")
CAMERA = metadata.SOURCE_TYPES + "digitalCapture"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def apple(folder):
    image = Image.linear_gradient("L").resize((24, 18)).convert("RGB")
    writer.write(image, APPLE, OUTPUT, folder / "apple.png")
    return "apple.png"


def plain(path, file_format=None, size=(4, 3), colour=(200, 10, 20)):
    image = Image.new("RGB", size, colour)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, file_format)
    return str(path)


def standard_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_own_picture_brings_its_recipe_and_its_source(apple):
    read = given.read(apple, "parent")
    data = Path(apple).read_bytes()
    assert (read.given.role, read.given.name) == ("parent", apple)
    assert read.given.sha256 == hashlib.sha256(data).hexdigest()
    assert (read.given.width, read.given.height) == read.image.size == (24, 18)
    assert read.given.recipe == APPLE
    assert read.given.source_type == metadata.GENERATED
    assert read.notes == ()


def test_a_recipe_of_other_pixels_does_not_count(apple):
    facts = metadata.read(Path(apple))
    other = metadata.embed(Path(plain("other.png")).read_bytes(), metadata.copied(facts))
    Path("other.png").write_bytes(other.data)
    assert metadata.read(other.data).found.recipe == APPLE
    assert given.read("other.png", "image").given.recipe is None


def test_a_recipe_without_the_hash_of_its_picture_does_not_count(apple):
    texts = PngImagePlugin.PngInfo()
    with Image.open(apple) as image:
        for name, text in image.text.items():
            if not name.startswith("XML:"):
                texts.add_text(name, text)
        Image.new("RGB", image.size).save("other.png", pnginfo=texts)
    assert metadata.read(Path("other.png")).found.recipe == APPLE
    assert given.read("other.png", "image").given.recipe is None


def test_a_photo_keeps_its_own_source_type(folder):
    marked = metadata.embed(
        Path(plain("photo.jpg")).read_bytes(), metadata.Metadata(properties={metadata.SOURCE_TYPE: CAMERA})
    )
    Path("photo.jpg").write_bytes(marked.data)
    read = given.read("photo.jpg", "image")
    assert (read.given.source_type, read.given.recipe) == (CAMERA, None)


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "PPM"])
def test_formats_without_known_metadata_say_nothing_of_themselves(folder, file_format):
    read = given.read(plain("a.pic", file_format), "image")
    assert (read.given.recipe, read.given.source_type, read.notes) == (None, None, ())
    assert read.image.getpixel((0, 0)) == (200, 10, 20)


def test_metadata_that_cannot_be_read_is_a_note_and_no_error(folder):
    image = Image.new("RGB", (4, 3))
    image.save("bad.jpg", exif=b"Exif\0\0nonsense", xmp=b"<x:xmpmeta")
    read = given.read("bad.jpg", "image")
    assert read.given.source_type is None
    assert any("XMP" in each for each in read.notes)
    assert all(each.startswith("bad.jpg: ") for each in read.notes)


def test_a_file_whose_structure_only_the_decoder_forgives_is_a_note(folder):
    data = Path(plain("odd.png")).read_bytes()
    Path("odd.png").write_bytes(data[:-12])
    read = given.read("odd.png", "image")
    assert read.image.size == (4, 3)
    assert "odd.png: where it comes from is not known: " in read.notes[0]


def test_the_size_is_that_of_the_upright_picture(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save("turned.jpg", exif=exif)
    read = given.read("turned.jpg", "image")
    assert (read.given.width, read.given.height) == read.image.size == (4, 8)


def test_a_frame_is_chosen(folder):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    frames[0].save("clip.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(RequestError, match=r"clip\.gif: it has 2 frames"):
        given.read("clip.gif", "image")
    assert given.read("clip.gif", "image", frame=2).image.getpixel((0, 0)) == (0, 0, 255)


def test_standard_input_is_a_picture(folder, apple, monkeypatch):
    standard_input(monkeypatch, Path(apple).read_bytes())
    read = given.read("-", "image")
    assert (read.given.name, read.given.recipe) == ("-", APPLE)
    assert read.given.sha256 == given.read(apple, "image").given.sha256


@pytest.mark.parametrize(("data", "problem"), [(b"", "standard input is empty"), (b"hello", "standard input is text")])
def test_standard_input_without_a_picture_is_refused(monkeypatch, data, problem):
    standard_input(monkeypatch, data)
    with pytest.raises(RequestError, match=problem) as caught:
        given.read("-", "image")
    assert caught.value.hint


def test_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(RequestError, match="standard input is closed"):
        given.read("-", "image")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_a_terminal_is_not_waited_for(monkeypatch):
    master, terminal = os.openpty()
    with open(master, "rb"), open(terminal) as stdin:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(RequestError, match="standard input is a terminal"):
            given.read("-", "image")


def test_a_missing_file_is_refused_with_the_nearest_name(apple):
    with pytest.raises(RequestError, match=r"there is no file aple\.png") as caught:
        given.read("aple.png", "image")
    assert caught.value.hint == "did you mean apple.png?"
    with pytest.raises(RequestError, match=r"there is no file zzz") as caught:
        given.read("zzz", "image")
    assert caught.value.hint == "pictures that are there: apple.png"
    with pytest.raises(RequestError, match=r"there is no folder nowhere"):
        given.read("nowhere/a.png", "image")


@pytest.mark.parametrize("name", ["", "a\0.png"])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(RequestError, match="is not a name for a file"):
        given.read(name, "image")
    with pytest.raises(RequestError, match="is not a name for a file"):
        given.expand([name])


def test_a_folder_is_refused_with_a_picture_in_it(folder):
    plain("shots/a.png")
    with pytest.raises(RequestError, match="shots is a folder") as caught:
        given.read("shots", "image")
    assert caught.value.hint == "name one in it: shots/a.png"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_named_pipe_is_not_waited_for(folder):
    os.mkfifo("pipe")
    with pytest.raises(RequestError, match="pipe is not a regular file") as caught:
        given.read("pipe", "image")
    assert "-" in caught.value.hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(apple):
    Path(apple).chmod(0)
    with pytest.raises(RequestError, match=r"cannot read apple\.png: Permission denied"):
        given.read(apple, "image")


def test_more_bytes_than_the_limit_are_refused(folder, monkeypatch):
    plain("a.png")
    monkeypatch.setattr(given, "MAX_BYTES", 50)
    with pytest.raises(RequestError, match=r"a\.png has [0-9]+ bytes; at most 50 are read"):
        given.read("a.png", "image")
    standard_input(monkeypatch, Path("a.png").read_bytes())
    with pytest.raises(RequestError, match="standard input has more than 50 bytes"):
        given.read("-", "image")


def test_the_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "home"))
    plain("home/a.png")
    read = given.read("~/a.png", "image")
    assert (read.given.name, read.image.size) == ("~/a.png", (4, 3))
    assert given.expand(["~/*.png"]) == (str(folder / "home/a.png"),)


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_a_glob_finds_files_in_natural_order(folder):
    touch("shots/s10.png", "shots/s2.png", "shots/s1.png", "shots/note.txt", "shots/S3.png")
    Path("shots/folder.png").mkdir()
    assert given.expand(["shots/*.png"]) == ("shots/s1.png", "shots/s2.png", "shots/S3.png", "shots/s10.png")


def test_globs_know_classes_and_folders_below(folder):
    touch("a1.png", "a2.png", "b1.png", "x/a3.png", "x/y/a4.png")
    assert given.expand(["[ab]1.png"]) == ("a1.png", "b1.png")
    assert given.expand(["a?.png"]) == ("a1.png", "a2.png")
    assert given.expand(["**/a*.png"]) == ("a1.png", "a2.png", "x/a3.png", "x/y/a4.png")


def test_patterns_keep_their_order_and_files_come_once(folder):
    touch("a.png", "b.png", "c.png")
    assert given.expand(["c.png", "*.png", "./a.png", "-", "-"]) == ("c.png", "a.png", "b.png", "-")
    assert given.expand([]) == ()


def test_a_file_that_looks_like_a_glob_is_itself(folder):
    touch("[1].png", "1.png", "a*.png", "ab.png")
    assert given.expand(["[1].png", "a*.png"]) == ("[1].png", "a*.png")


def test_a_glob_that_matches_nothing_is_refused_by_name(folder):
    touch("shots/a.jpg")
    with pytest.raises(RequestError, match=r"no file matches shots/\*\.png") as caught:
        given.expand(["shots/a.jpg", "shots/*.png"])
    assert (caught.value.exit_code, caught.value.hint) == (2, "name one in it: shots/a.jpg")
    with pytest.raises(RequestError, match=r"no file matches none/\*\.png") as caught:
        given.expand(["none/*.png"])
    assert caught.value.hint == "there is no folder none"


def test_a_plain_name_that_is_missing_is_refused_with_the_nearest(folder):
    touch("apple.png")
    with pytest.raises(RequestError, match=r"there is no file appel\.png") as caught:
        given.expand(["appel.png"])
    assert caught.value.hint == "did you mean apple.png?"


def test_a_folder_is_refused_with_a_glob(folder):
    touch("shots/a.png")
    with pytest.raises(RequestError, match="shots is a folder") as caught:
        given.expand(["shots"])
    assert caught.value.hint == "'shots/*.png'"


def test_torch_is_not_imported(apple):
    code = (
        "import sys; from imggen.tasks.steps import given; given.read(sys.argv[1], 'image')\n"
        "print(*sorted({'torch', 'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, apple],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == ""
