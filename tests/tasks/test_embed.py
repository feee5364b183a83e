"""`embed-metadata`: words into files, pixels untouched, and a failure that changes nothing."""

import errno
import io
import os
import stat

import pytest
from PIL import Image
from recipes import APPLE

from imggen.errors import ImggenError, RequestError
from imggen.output import writer
from imggen.output.metadata import metadata
from imggen.plan.schema.request import OutputPlan
from imggen.tasks import embed
from imggen.tasks.embed import EmbedRequest

OUTPUT = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")


def decoded(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


def run(*targets: object, **options: object) -> list[embed.Embedded]:
    return list(embed.embed(EmbedRequest(targets=tuple(targets), **options)))


@pytest.fixture
def image():
    return Image.linear_gradient("L").resize((24, 18)).convert("RGB")


@pytest.fixture
def apple(tmp_path, image):
    return writer.write(image, APPLE, OUTPUT, tmp_path / "apple.png").path


@pytest.fixture
def photo(tmp_path, image):
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    image.rotate(180).save(path, exif=exif, quality=80)
    return path


def test_record_of_a_picture_goes_into_a_photo(apple, photo):
    before = photo.read_bytes()
    (fact,) = run(photo, source=apple)
    after = photo.read_bytes()
    assert (fact.path, fact.changed, fact.bytes) == (photo, True, len(after))
    assert decoded(after) == decoded(before)
    read = metadata.read(photo)
    assert read.found.recipe == APPLE
    assert (read.exif["Make"], read.exif["Orientation"]) == ("Maker", 6)


def test_copied_record_does_not_claim_the_photo(apple, photo):
    (fact,) = run(photo, source=apple)
    assert any("describes other image data" in note for note in fact.notes)
    assert metadata.read(photo).fits is False
    with pytest.raises(RequestError, match="exists"):
        writer.check([photo], OUTPUT)


def test_fields_are_set_after_the_record_and_stay_with_it(apple, photo):
    run(photo, source=apple, pairs=(("artist", "A. B."), ("title", "Hill")))
    read = metadata.read(photo)
    assert (read.xmp["dc:creator"], read.xmp["dc:title"], read.exif["Artist"]) == (("A. B.",), "Hill", "A. B.")
    assert read.found.recipe == APPLE


def test_same_line_again_changes_no_byte(apple, photo):
    run(photo, source=apple, pairs=(("artist", "A. B."),))
    before = photo.stat()
    (fact,) = run(photo, source=apple, pairs=(("artist", "A. B."),))
    assert not fact.changed
    assert photo.stat().st_mtime_ns == before.st_mtime_ns


def test_permissions_stay(photo):
    photo.chmod(0o640)
    run(photo, pairs=(("artist", "A"),))
    assert stat.S_IMODE(photo.stat().st_mode) == 0o640


def test_link_is_followed_and_stays_a_link(tmp_path, photo):
    (tmp_path / "link.jpg").symlink_to(photo)
    run(tmp_path / "link.jpg", pairs=(("artist", "A"),))
    assert (tmp_path / "link.jpg").is_symlink()
    assert metadata.read(photo).xmp["dc:creator"] == ("A",)


def test_new_file_leaves_the_target_alone(tmp_path, photo):
    before = photo.read_bytes()
    (fact,) = run(photo, pairs=(("artist", "A"),), output=str(tmp_path / "new.jpg"))
    assert fact.path == tmp_path / "new.jpg"
    assert photo.read_bytes() == before
    assert metadata.read(fact.path).xmp["dc:creator"] == ("A",)


def test_folder_takes_all_targets_under_their_names(tmp_path, photo, apple):
    facts = run(photo, apple, pairs=(("artist", "A"),), output=str(tmp_path / "out"))
    assert [fact.path for fact in facts] == [tmp_path / "out" / "photo.jpg", tmp_path / "out" / "apple.png"]


def test_foreign_file_at_the_output_stays(tmp_path, photo):
    (tmp_path / "new.jpg").write_bytes(b"theirs")
    with pytest.raises(RequestError, match="exists"):
        run(photo, pairs=(("artist", "A"),), output=str(tmp_path / "new.jpg"))
    assert (tmp_path / "new.jpg").read_bytes() == b"theirs"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "nothing to embed"),
        ({"pairs": (("artits", "x"),)}, "artits"),
        ({"pairs": (("artist", "x"), ("source-type", "nonsense"))}, "nonsense"),
    ],
)
def test_wrong_request_is_refused_before_any_file_is_touched(photo, options, fault):
    before = photo.read_bytes()
    with pytest.raises(RequestError, match=fault):
        run(photo, **options)
    assert photo.read_bytes() == before


def test_source_without_a_record_is_named(photo, tmp_path, image):
    image.save(tmp_path / "plain.png")
    with pytest.raises(RequestError, match=r"plain\.png: it holds no record"):
        run(photo, source=tmp_path / "plain.png")
    with pytest.raises(RequestError, match=r"absent\.png"):
        run(photo, source=tmp_path / "absent.png")


def test_bad_target_is_named_stays_and_does_not_stop_the_others(tmp_path, photo):
    bad = tmp_path / "bad.png"
    cut = photo.read_bytes()[:200]
    bad.write_bytes(cut)
    with pytest.raises(ImggenError, match="1 of 2 files failed") as caught:
        run(bad, photo, pairs=(("artist", "A"),))
    assert caught.value.exit_code == 1
    assert "bad.png" in caught.value.message
    assert bad.read_bytes() == cut
    assert metadata.read(photo).xmp["dc:creator"] == ("A",)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_failure_while_writing_leaves_the_old_file_bit_for_bit(photo, monkeypatch, failure):
    def fail(_descriptor: int) -> None:
        raise failure

    before = photo.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((ImggenError, KeyboardInterrupt)):
        run(photo, pairs=(("artist", "A"),))
    assert photo.read_bytes() == before
    assert [each.name for each in photo.parent.iterdir()] == ["photo.jpg"]


def test_pair_is_split_at_its_first_equals_sign():
    assert embed.pair("title=a=b ") == ("title", "a=b ")
    assert embed.pair(" artist =") == ("artist", "")
    for text in ("artist", "=x", ""):
        with pytest.raises(RequestError, match="KEY=VALUE"):
            embed.pair(text)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("x.jpg", r"x\.jpg is the name of a jpeg file .* is png"), ("x.gif", r"does not write \.gif")],
)
def test_name_of_another_format_is_refused_before_anything_is_written(tmp_path, apple, name, fault):
    with pytest.raises(RequestError, match=fault):
        run(apple, pairs=(("artist", "B"),), output=str(tmp_path / name))
    assert [each.name for each in tmp_path.iterdir()] == ["apple.png"]


@pytest.mark.parametrize("name", ["x.png", "x.gif"])
def test_name_of_one_file_is_refused_for_several(tmp_path, apple, photo, name):
    with pytest.raises(RequestError, match=name if name == "x.png" else "gif"):
        run(apple, photo, pairs=(("artist", "B"),), output=str(tmp_path / name))
    assert not (tmp_path / name).exists()


def test_folder_with_the_name_of_a_picture_is_a_folder_where_it_exists(tmp_path, apple, photo):
    (tmp_path / "x.png").mkdir()
    facts = run(apple, photo, pairs=(("artist", "B"),), output=str(tmp_path / "x.png"))
    assert {fact.path.parent for fact in facts} == {tmp_path / "x.png"}


def test_two_targets_of_one_name_are_refused_unless_they_are_numbered(tmp_path, apple):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "apple.png"
    twin.write_bytes(apple.read_bytes())
    said = {"pairs": (("artist", "B"),), "output": str(tmp_path / "out")}
    with pytest.raises(RequestError, match="would both be"):
        run(apple, twin, **said)
    assert not (tmp_path / "out").exists()
    facts = run(apple, twin, **said, if_exists="number")
    assert [fact.path.name for fact in facts] == ["apple.png", "apple-2.png"]
