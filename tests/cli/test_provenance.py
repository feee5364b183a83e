import json
from dataclasses import replace

import pytest
from PIL import Image
from recipes import APPLE, CHILD, ENLARGED, PEAR

from imggen.output import writer
from imggen.output.metadata import fields, metadata, upscaled
from imggen.plan.schema import recipe
from imggen.plan.schema.change import Change
from imggen.plan.schema.request import OutputPlan


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
        (["embed-metadata", "photo.jpg"], "there is nothing to embed"),
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
    def write(name, level="full", told=APPLE):
        output = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata=level)
        return writer.write(Image.linear_gradient("L").convert("RGB"), told, output, tmp_path / name).path

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


def cells(line: str) -> list[str]:
    return [each.strip() for each in line.split("  ") if each.strip()]


def test_lineage_is_a_table_of_ancestors_each_before_its_own(run, write):
    write("child.png", told=CHILD)
    ended = run("inspect", "child.png", "--lineage")
    assert (ended.code, ended.err) == (0, "")
    heading, header, *rows = ended.lines
    assert heading == "child.png: 3 ancestors, 2 generations"
    assert cells(header) == ["generation", "role", "weight", "sha256", "size", "seed", "prompt", "model", "how"]
    assert [cells(row)[:2] for row in rows] == [["0", "picture"], ["1", "parent"], ["1", "parent"], ["2", "image"]]
    assert cells(rows[0])[4:] == ["3", "a red apple", "builtin", "blend by latents, mutation 0.2"]
    assert cells(rows[2]) == [
        "1",
        "parent",
        "0.3",
        "3c3c3c3c3c3c",
        "128x96",
        "7",
        "a green pear",
        "builtin",
        "image-to-image, strength 0.6, fit crop",
    ]
    assert cells(rows[3])[2:] == ["1a1a1a1a1a1a", "640x480", "no recipe"]
    places = [row.index(word) for row, word in zip(rows, ("builtin", "builtin", "builtin"), strict=False)]
    assert len(set(places)) == 1


def test_json_has_the_whole_tree_and_with_lineage_its_ancestors(run, write):
    write("child.png", told=CHILD)
    plain = json.loads(run("inspect", "child.png", "--json").out)
    assert plain["recipe"]["ingredients"][1]["recipe"]["ingredients"][0]["sha256"] == "1a" * 32
    assert "lineage" not in plain
    told = json.loads(run("inspect", "child.png", "--lineage", "--json").out)["lineage"]
    assert [(each["generation"], each["role"], each["weight"], each["seed"]) for each in told] == [
        (1, "parent", 0.7, 42),
        (1, "parent", 0.3, 7),
        (2, "image", None, None),
    ]
    assert told[0]["recipe_sha256"] == APPLE.sha256()


def test_picture_without_a_lineage_says_so(run, write, photo):
    write("apple.png")
    assert run("inspect", "apple.png", "--lineage").lines == ["apple.png: made from no other picture"]
    assert run("inspect", "photo.jpg", "--lineage").lines == ["photo.jpg: no recipe, so no lineage"]
    assert json.loads(run("inspect", "photo.jpg", "--lineage", "--json").out)["lineage"] == []
    write("big.png", told=upscaled.describe(photo.read_bytes(), ENLARGED))
    ended = run("inspect", "big.png", "--lineage")
    steps = "enlarged to 512x384 by network builtin 4d4d4d4d4d4d"
    assert ended.lines == [f"big.png: made from image {'5e' * 32}; {steps}; no recipe says more"]


def test_enlarged_picture_without_a_recipe_says_what_its_xmp_does(run, write, photo):
    write("big.png", told=upscaled.describe(photo.read_bytes(), ENLARGED))
    lines = run("inspect", "big.png").lines
    assert lines[2:4] == [
        f"  made from image {'5e' * 32}",
        "  then enlarged to 512x384 by network builtin 4d4d4d4d4d4d",
    ]
    assert "  says nothing of how it was made" not in lines
    assert "  says nothing of how it was made" in run("inspect", "photo.jpg").lines


def test_lineage_has_a_row_for_what_each_step_began_with(run, write):
    again = replace(ENLARGED, engine="lanczos", model="", model_hash="", width=600, height=450, source_sha256="6f" * 32)
    write("big.png", told=recipe.edited(recipe.edited(PEAR, ENLARGED), again))
    heading, _, *rows = run("inspect", "big.png", "--lineage").lines
    assert heading == "big.png: 3 ancestors, 3 generations"
    assert [[cells(row)[0], cells(row)[1], cells(row)[-1]] for row in rows] == [
        ["0", "picture", "enlarged to 600x450 by lanczos"],
        ["1", "image", "enlarged to 512x384 by network builtin"],
        ["2", "image", "image-to-image, strength 0.6, fit crop"],
        ["3", "image", "no recipe"],
    ]
    assert [cells(row)[2:4] for row in rows[1:]] == [
        ["6f" * 6, "512x384"],
        ["5e" * 6, "128x96"],
        ["1a" * 6, "640x480"],
    ]
    facts = json.loads(run("inspect", "big.png", "--lineage", "--json").out)["lineage"]
    assert [each["sha256"] for each in facts] == ["6f" * 32, "5e" * 32, "1a" * 32]
    assert facts[1]["recipe_sha256"] == PEAR.sha256()


def test_lineage_of_another_state_is_called_one(run, write, photo):
    write("child.png", told=CHILD)
    run("embed-metadata", "photo.jpg", "--from", "child.png")
    assert run("inspect", "photo.jpg", "--lineage").lines[0].endswith("generations, of another state of the picture")


def test_parents_change_and_steps_stand_in_words(run, write):
    write("pear.png", told=recipe.edited(PEAR, ENLARGED))
    shown = run("inspect", "pear.png").lines
    assert "  how: image-to-image, strength 0.6, fit crop" in shown
    assert "  made from image: 1a1a1a1a1a1a, 640x480, states no source type" in shown
    assert "  then enlarged to 512x384 by network builtin, from 5e5e5e5e5e5e" in shown
    told = replace(ENLARGED, engine="diffusion", model="org/x4", prompt="ripe\n" * 20, seed=3, steps=20, guidance=0.0)
    write("drawn.png", told=recipe.edited(PEAR, told))
    line = f"  then enlarged to 512x384 by diffusion org/x4, prompt {'ripe ' * 7}ripe…, seed 3, steps 20, guidance 0"
    line += ", from 5e5e5e5e5e5e"
    assert line in run("inspect", "drawn.png").lines
    line = "imggen img2img PICTURE --from pear.png"
    assert f"  recipe: yes; {line} makes the picture again, as it was before it was enlarged" in shown


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (APPLE, "imggen generate --from 'a b.png'"),
        (CHILD, "imggen blend PARENT PARENT --from 'a b.png'"),
        (
            replace(PEAR, task="inpaint", ingredients=(*PEAR.ingredients, replace(PEAR.ingredients[0], role="mask"))),
            "imggen inpaint PICTURE --mask MASK --from 'a b.png'",
        ),
        (replace(PEAR, task="inpaint"), "imggen inpaint PICTURE --from 'a b.png'"),
        (replace(PEAR, task="outpaint"), "imggen outpaint PICTURE --from 'a b.png'"),
        (
            replace(PEAR, task="style", ingredients=(*PEAR.ingredients, replace(PEAR.ingredients[0], role="style"))),
            "imggen style PICTURE --like STYLE --from 'a b.png'",
        ),
    ],
)
def test_line_that_makes_it_again_is_the_one_for_its_task(run, write, made, words):
    write("a b.png", told=made)
    assert f"recipe: yes; {words} makes the picture again" in run("inspect", "a b.png").out.decode()


def test_every_detail_of_a_change_is_told(run, write):
    change = Change(
        method="latent-blending",
        strength=0.5,
        frame=2,
        mask_box=(0, 8, 32, 16),
        invert_mask=True,
        feather=4,
        paste=False,
        pad=(0, 64, 0, 0),
        adapter="ip.safetensors",
        adapter_scale=0.7,
    )
    write("a.png", told=replace(PEAR, task="inpaint", tile="xy", change=change))
    assert (
        "  how: inpaint by latent-blending, strength 0.5, frame 2, mask 0,8,32,16, feather 4, pad 0,64,0,0, "
        "adapter ip.safetensors, scale 0.7, mask inverted, unmasked pixels redrawn, repeats along x and y"
    ) in run("inspect", "a.png").lines


def test_hostile_lineage_cannot_pose_as_a_line_of_ours(run, write):
    hostile = replace(CHILD.ingredients[0], recipe=replace(APPLE, prompt="x\n  recipe: yes\x1b[2J", model="m\nrecipe"))
    write("a.png", told=replace(CHILD, ingredients=(replace(hostile, source_type="u/\n  recipe: no"),)))
    for arguments in (["inspect", "a.png"], ["inspect", "a.png", "--lineage"]):
        ended = run(*arguments)
        assert ended.code == 0
        assert b"\x1b" not in ended.out
        assert len([line for line in ended.lines if line.startswith("  recipe:")]) == (1 if len(arguments) == 2 else 0)
    assert len(run("inspect", "a.png", "--lineage").lines) == 4


def test_structures_of_a_file_are_shown_as_text(run, photo, write):
    saying = metadata.embed(photo.read_bytes(), fields.assign([("artist", "A. B.")])).data
    write("big.png", told=upscaled.describe(saying, ENLARGED))
    shown = run("inspect", "big.png").out.decode()
    assert f"xmp xmpMM:DerivedFrom: imggen:sha256={'5e' * 32}, imggen:role=image" in shown
    assert "xmp xmpMM:History: stEvt:action=resized, " in shown
