import json

import pytest
from PIL import Image
from recipes import APPLE

from imggen.output import writer
from imggen.plan.request import OutputPlan


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (20, 10), (200, 30, 30)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def test_a_field_that_is_set_is_shown_again(run, photo):
    ended = run("embed-metadata", "photo.jpg", "--set", "artist=A. B.")
    assert (ended.code, ended.lines, ended.err) == (0, ["photo.jpg"], "")
    ended = run("inspect", "photo.jpg")
    assert ended.code == 0
    assert ended.lines[0].startswith("photo.jpg: jpeg 20x10")
    assert any("A. B." in line for line in ended.lines)


def test_json_has_one_object_per_file(run, photo, tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "b.png")
    ended = run("inspect", "photo.jpg", "b.png", "--json")
    shown = [json.loads(line) for line in ended.lines]
    assert [(each["path"], each["format"], each["width"]) for each in shown] == [
        ("photo.jpg", "jpeg", 20),
        ("b.png", "png", 3),
    ]
    assert shown[0]["recipe"] is None


def test_a_new_file_leaves_the_old_one_alone(run, photo):
    before = photo.read_bytes()
    made = json.loads(run("embed-metadata", "photo.jpg", "--set", "artist=A", "-o", "new.jpg", "--json").out)
    assert (made["path"], made["target"], made["changed"]) == ("new.jpg", "photo.jpg", True)
    assert photo.read_bytes() == before


def test_a_file_that_fails_does_not_hide_the_others(run, photo, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    ended = run("inspect", "broken.png", "photo.jpg")
    assert ended.code == 1
    assert ended.lines[0].startswith("photo.jpg")
    assert "broken.png" in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["embed-metadata", "photo.jpg"], "nothing is named to embed"),
        (["embed-metadata", "photo.jpg", "--set", "artist"], "KEY=VALUE"),
        (["embed-metadata", "photo.jpg", "--from", "photo.jpg"], "photo.jpg"),
        (["inspect", "nothing.png"], "nothing.png"),
        (["generate", "--from", "photo.jpg"], "no record"),
    ],
)
def test_what_cannot_be_done_exits_with_2_and_changes_nothing(run, photo, arguments, words):
    before = photo.read_bytes()
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert words in ended.err
    assert photo.read_bytes() == before


def test_a_hostile_text_cannot_pose_as_a_line_of_ours_or_command_the_terminal(run, photo):
    hostile = "x\n  recipe: yes\x1b[2J"
    assert run("embed-metadata", "photo.jpg", "--set", f"description={hostile}").code in (0, 2)
    ended = run("inspect", "photo.jpg")
    assert "  recipe: yes" not in [line[:13] for line in ended.lines]
    assert b"\x1b" not in ended.out


@pytest.fixture
def write(tmp_path):
    def write(name, level="full"):
        output = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata=level)
        return writer.write(Image.linear_gradient("L").convert("RGB"), APPLE, output, tmp_path / name).path

    return write


def test_a_copied_recipe_is_not_said_to_make_this_picture(run, photo, write):
    write("apple.png")
    assert "makes the picture again" in run("inspect", "apple.png").out.decode()
    run("embed-metadata", "photo.jpg", "--from", "apple.png")
    shown = run("inspect", "photo.jpg").out.decode()
    assert "recipe: yes, of another state of the picture" in shown
    assert "makes the picture again" not in shown


def test_a_picture_with_minimal_metadata_is_said_to_be_one(run, write):
    write("icon.png", "minimal")
    ended = run("generate", "--from", "icon.png")
    assert ended.code == 2
    assert "icon.png was written by imggen with --metadata minimal" in ended.err
