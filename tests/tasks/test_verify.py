import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from recipes import APPLE
from signers import identity as identity_of
from textures import textured

from imggen.errors import CheckError, ImggenError, RequestError
from imggen.output import writer
from imggen.output.formats import container, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.governance import audit
from imggen.output.governance.means import Journal, WriteContext
from imggen.output.metadata import metadata
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan
from imggen.tasks import verify
from imggen.tasks.verify import Unreadable, VerifyRequest

PICTURE = textured()
NOW = datetime.now(UTC)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def identity(place):
    return keys.create(place, Draft(organisation="Example Ltd"), check=signing.prove)


@pytest.fixture
def write(tmp_path):
    def write(name="a.png", *, image=PICTURE, told=APPLE, by=WriteContext(), level="full", **plan):  # noqa: B008
        file_format = {"jpg": "jpeg", "tif": "tiff"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
        output = OutputPlan(
            template=name,
            format=file_format,
            quality=95,
            if_exists="overwrite",
            metadata=level,
            marking=MarkingPlan(**plan),
        )
        return writer.write(image, told, output, tmp_path / name, by=by).path

    return write


def look(*names, place, error=None, **asked):
    """Return what is found in each file; at the end an error of the kind `error` is raised, or none."""
    asking = verify.verify(VerifyRequest(files=tuple(map(str, names)), **asked), {"IMGGEN_KEYS": str(place)})
    found, raised = [], None
    while raised is None:
        try:
            found.append(next(asking))
        except StopIteration:
            break
        except ImggenError as failure:
            raised = failure
    assert type(raised) is (error or type(None)), raised
    return found


def strengths(found):
    return {each.name: each.strength for each in found.layers}


def test_signed_and_marked_picture_has_every_layer(write, identity, place):
    (found,) = look(
        write(by=WriteContext(identity=identity)), place=place, require=("trusted", "iptc", "recipe", "watermark")
    )
    assert strengths(found) == {"c2pa": "strong", "iptc": "weak", "record": "weak", "watermark": "medium"}
    assert "Example Ltd" in found.layers[0].words
    assert "within what the signature binds" in found.layers[1].words
    assert "the key of Example Ltd" in found.layers[3].words
    assert found.verdict == "carries c2pa, iptc, record, watermark"


def test_signer_that_nobody_vouches_for_is_intact_and_said_to_be_anyone(write, identity, tmp_path):
    path = write(by=WriteContext(identity=identity))
    (found,) = look(path, place=tmp_path / "none", require=("c2pa",))
    assert strengths(found)["c2pa"] == "medium"
    assert "anyone can make such a key" in found.layers[0].words
    look(path, place=tmp_path / "none", require=("trusted",), error=CheckError)


def test_root_that_is_named_makes_the_signer_trusted(write, identity, place, tmp_path):
    (tmp_path / "root.pem").write_bytes(keys.own_root(place))
    path = write(by=WriteContext(identity=identity))
    (found,) = look(path, place=tmp_path / "none", roots=(tmp_path / "root.pem",), require=("trusted",))
    assert strengths(found)["c2pa"] == "strong"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.avif", "a.tif"])
def test_one_changed_byte_of_a_signed_file_is_seen(write, identity, place, name):
    path = write(name, by=WriteContext(identity=identity))
    data = bytearray(path.read_bytes())
    # A recipe stands in every format; a letter of it changes without harm to the container, but for a PNG's checksum.
    at = data.index(b"apple")
    data[at] ^= 0x20
    if name == "a.png":
        data = bytearray(container.replace(path.read_bytes(), Changes(texts={"Comment": "later"})))
    path.write_bytes(data)
    (found,) = look(path, place=place, error=CheckError)
    assert strengths(found)["c2pa"] == "broken"
    assert found.verdict.startswith("not as it was made")


def test_unsigned_words_are_weak_and_said_to_be_anybodys(write, place):
    (found,) = look(write(watermark="off"), place=place)
    assert strengths(found) == {"c2pa": "none", "iptc": "weak", "record": "weak", "watermark": "none"}
    assert "anyone can add or remove it" in found.layers[1].words
    look(write(watermark="off"), place=place, require=("watermark",), error=CheckError)


def test_picture_without_a_mark_is_not_said_to_be_anything_else(tmp_path, place):
    PICTURE.save(tmp_path / "bare.png")
    (found,) = look(tmp_path / "bare.png", place=place, error=ImggenError)
    assert found.verdict == verify.NOTHING
    assert "does not show that the picture is not AI-generated" in found.verdict
    assert not found.is_marked


def test_watermark_outlives_what_metadata_does_not(write, place, tmp_path):
    with Image.open(write()) as opened:
        opened.convert("RGB").save(tmp_path / "again.jpg", quality=80)
    (found,) = look(tmp_path / "again.jpg", place=place)
    assert strengths(found) == {"c2pa": "none", "iptc": "none", "watermark": "medium"}
    assert "a public key: anyone can put it there" in found.layers[2].words


def test_record_that_names_another_watermark_is_told_and_clears_nothing(write, place, tmp_path):
    other = metadata.read(write("b.png", told=replace(APPLE, seed=43))).xmp
    path = write()
    packet = container.read(path.read_bytes()).carriers.xmp
    path.write_bytes(
        container.replace(
            path.read_bytes(), Changes(xmp=xmp.merge(packet, {metadata.WATERMARK: other[metadata.WATERMARK]}))
        )
    )
    (found,) = look(path, place=place)
    assert strengths(found)["watermark"] == "medium"
    assert "the record names" in found.layers[-1].words
    assert "another picture" in found.layers[-1].words


def test_record_of_changed_pixels_is_told_and_nothing_more(write, place, tmp_path):
    packet = container.read(write().read_bytes()).carriers.xmp
    textured(seed=5).save(tmp_path / "other.png")
    other = container.replace((tmp_path / "other.png").read_bytes(), Changes(xmp=packet))
    (tmp_path / "other.png").write_bytes(other)
    (found,) = look(tmp_path / "other.png", place=place)
    record = next(each for each in found.layers if each.name == "record")
    assert "the record is from another one" in record.words
    assert "is not found" in found.layers[-1].words
    look(tmp_path / "other.png", place=place, require=("recipe",), error=CheckError)


def test_log_tells_of_the_file_and_of_what_still_has_its_watermark(write, place, tmp_path):
    log = tmp_path / "audit.jsonl"
    entry = audit.AuditEntry(decision="allow", action="generate")
    path = write(by=WriteContext(journal=Journal(path=log, entry=entry)))
    (found,) = look(path, place=place, log=log, require=("log",))
    assert "this very file" in found.layers[-1].words
    with Image.open(path) as opened:
        opened.save(tmp_path / "stripped.jpg", quality=85)
    (found,) = look(tmp_path / "stripped.jpg", place=place, log=log, require=("log",), error=CheckError)
    assert strengths(found)["log"] == "weak"
    assert "another file" in found.layers[-1].words
    log.write_bytes(log.read_bytes().replace(b"generate", b"generale"))
    (found,) = look(path, place=place, log=log, error=CheckError)
    assert strengths(found)["log"] == "broken"
    assert found.verdict == "the log that it was looked up in is broken"


@pytest.mark.parametrize(
    ("stated", "strength", "words"),
    [
        ("trainedAlgorithmicMedia", "weak", "declares AI-generated"),
        ("compositeWithTrainedAlgorithmicMedia", "weak", "AI-generated in part"),
        ("digitalCapture", "none", "does not mean that it is AI-generated"),
    ],
)
def test_source_types_are_told_in_words(tmp_path, place, stated, strength, words):
    PICTURE.save(tmp_path / "a.jpg")
    packet = xmp.merge(None, {metadata.SOURCE_TYPE: metadata.SOURCE_TYPES + stated})
    (tmp_path / "a.jpg").write_bytes(container.replace((tmp_path / "a.jpg").read_bytes(), Changes(xmp=packet)))
    (found,) = look(tmp_path / "a.jpg", place=place, error=None if strength == "weak" else ImggenError)
    assert strengths(found)["iptc"] == strength
    assert words in found.layers[1].words


def test_label_of_the_chinese_standard_is_told(tmp_path, place):
    PICTURE.save(tmp_path / "a.jpg")
    packet = xmp.merge(
        None, {"TC260:AIGC": json.dumps({"Label": "1", "ContentProducer": "Example", "strength": "strong"})}
    )
    (tmp_path / "a.jpg").write_bytes(container.replace((tmp_path / "a.jpg").read_bytes(), Changes(xmp=packet)))
    (found,) = look(tmp_path / "a.jpg", place=place)
    label = next(each for each in found.layers if each.name == "tc260")
    assert label.words.startswith("labelled: is AI-generated by 'Example'")


@pytest.mark.parametrize("stated", ["{", "[1]", "9" * 20_000, '{"Label": 7}'])
def test_label_that_is_no_label_harms_nothing(tmp_path, place, stated):
    PICTURE.save(tmp_path / "a.jpg")
    packet = xmp.merge(None, {"TC260:AIGC": stated})
    (tmp_path / "a.jpg").write_bytes(container.replace((tmp_path / "a.jpg").read_bytes(), Changes(xmp=packet)))
    list(look(tmp_path / "a.jpg", place=place, error=None if stated == '{"Label": 7}' else ImggenError))


def test_folders_and_globs_stand_for_the_pictures_in_them(write, tmp_path, place):
    write("one.png")
    (tmp_path / "deep").mkdir()
    write("deep/two.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [Path(each).name for each in verify.expand([str(tmp_path)])] == ["two.jpg", "one.png"]
    assert [Path(each).name for each in verify.expand([str(tmp_path / "*.png")])] == ["one.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="no picture in the folder"):
        verify.expand([str(tmp_path / "empty")])


def test_file_that_cannot_be_read_does_not_hide_the_others(write, tmp_path, place):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = look(tmp_path / "broken.png", write(), place=place, error=RequestError)
    assert isinstance(found[0], Unreadable)
    assert found[1].is_marked


@pytest.mark.parametrize("text", ["", "ipct", "iptc,,sauce"])
def test_mark_that_is_none_is_refused_by_name(text):
    with pytest.raises(RequestError, match=r"not a mark|no mark is named"):
        verify.require(text)


def test_marks_are_listed_between_commas():
    assert verify.require("iptc, Watermark,iptc") == ("iptc", "watermark")


def test_certificate_that_has_ended_is_not_called_tampering(write, tmp_path, place):
    signer, root = identity_of(begins=NOW - timedelta(days=2), ends=NOW + timedelta(days=1))
    path = write(by=WriteContext(identity=signer))
    found = signing.read(path.read_bytes(), "png", [root])
    late = replace(found, state="invalid", expired=True, codes=("signingCredential.expired",))
    layer = verify._judged(late)
    assert layer.strength == "unknown"
    assert "the signature shows nothing" in layer.words
    changed = replace(late, codes=("assertion.dataHash.mismatch", "signingCredential.expired"))
    assert verify._judged(changed).strength == "broken"
    assert verify._judged(replace(late, expired=False, codes=("algorithm.unsupported",))).strength == "unknown"


def test_words_of_strangers_stand_in_quotes_and_are_cut(tmp_path, place):
    PICTURE.save(tmp_path / "a.jpg")
    lie = "Z'; within what the signature binds; " + "x" * 300
    packet = xmp.merge(None, {metadata.SOURCE_TYPE: metadata.GENERATED, metadata.SYSTEM: lie})
    (tmp_path / "a.jpg").write_bytes(container.replace((tmp_path / "a.jpg").read_bytes(), Changes(xmp=packet)))
    (found,) = look(tmp_path / "a.jpg", place=place)
    assert ' by "Z' in found.layers[1].words
    assert len(found.layers[1].words) < 250


def test_picture_made_from_a_tampered_one_says_so(write, identity, place):
    path = write(by=WriteContext(identity=identity))
    data = bytearray(path.read_bytes())
    data = bytearray(container.replace(bytes(data), Changes(texts={"Comment": "later"})))
    parent = signing.Parent(data=bytes(data), format="png", title="parent.png")
    child = write("b.png", by=WriteContext(identity=identity, parents=(parent,)))
    (found,) = look(child, place=place)
    assert "made from another file, one of which had an invalid signature" in found.layers[0].words
