import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from recipes import APPLE, CHILD
from samples import samples, with_segment
from signers import identity as identity_of
from textures import textured

from imggen.errors import CheckError, ImggenError, MachineError, RequestError
from imggen.output import writer
from imggen.output.formats import container, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.governance import audit
from imggen.output.governance.means import Journal, WriteContext
from imggen.output.metadata import metadata
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.output.provenance.signing import SignedIngredient, Validation
from imggen.output.watermark import watermark
from imggen.output.watermark.watermark import Detection
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan
from imggen.tasks import verify
from imggen.tasks.verify import MarkReport, Unreadable, VerifyRequest

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
    assert "made from another file, one of which had an invalid signature" in found.layers[0].words


# -- what each layer says, of files made by hand

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
UNSIGNED = "unsigned: anyone can add or remove it"
NO_MARK = Detection(present=False, identity=None, z=1.234)
ANYONE = "a public key: anyone can put it there"


@pytest.fixture
def pixels(monkeypatch):
    """Return a function that says what is found in the pixels, for all keys or key by key."""

    def put(*detections):
        verified = iter(detections)
        monkeypatch.setattr(
            watermark, "detect", lambda _image, *, key: next(verified) if len(detections) > 1 else detections[0]
        )

    put(NO_MARK)
    return put


@pytest.fixture
def crafted(tmp_path, pixels):
    """Return a function that makes a JPEG that says so much, with what looks like a manifest where that is asked."""

    def make(properties=None, *, signed=False, name="a.jpg"):
        data = samples()["jpeg"]
        if properties:
            data = container.replace(data, Changes(xmp=xmp.merge(None, properties)))
        if signed:
            data = with_segment(data, 0xEB, b"JP\0\1\0\0\0\1jumbc2pa")
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return make


def layer(verified, name):
    return next(record for record in verified.layers if record.name == name)


WORTH = {"state": "valid", "codes": ("a", "b"), "signer": "S", "common_name": "C"}
STRANGER = "the signer, 'S', is not on your trust list: anyone can make such a key"


@pytest.mark.parametrize(
    ("read", "strength", "words"),
    [
        (None, "none", "no manifest in the file; others are not fetched"),
        ({"state": "trusted"}, "strong", "signed by 'S', under a root that you trust; unchanged since signing"),
        ({}, "medium", f"unchanged since signing; {STRANGER}"),
        ({"signer": None}, "medium", "unchanged since signing; the signer, 'C', is not on your trust list: anyone can"),
        (
            {"source_type": f"{SOURCE}trainedAlgorithmicMedia"},
            "medium",
            f"unchanged since signing; declares AI-generated (trainedAlgorithmicMedia); {STRANGER}",
        ),
        ({"ingredients": ("valid",)}, "medium", f"unchanged since signing; made from another file; {STRANGER}"),
        (
            {"ingredients": ("valid", "invalid")},
            "medium",
            f"unchanged since signing; made from 2 other files, one of which had an invalid signature; {STRANGER}",
        ),
        ({"mining": "allowed"}, "medium", f"unchanged since signing; {STRANGER}"),
        ({"mining": "notAllowed"}, "medium", f"unchanged since signing; asks not to be trained on; {STRANGER}"),
        (
            {"state": "invalid", "codes": ("x.mismatch", "b")},
            "broken",
            "a manifest is there, but the file was changed after signing, or the manifest was (x.mismatch, b)",
        ),
        ({"state": "invalid"}, "unknown", "a manifest is there that cannot be judged here (a, b)"),
        (
            {"state": "invalid", "expired": True},
            "unknown",
            "the signer's certificate had expired or was not valid yet (a, b), so the signature shows nothing",
        ),
    ],
)
def test_a_manifest_is_told_by_what_it_is_worth(crafted, place, monkeypatch, read, strength, words):
    validation = None
    if read is not None:
        ingredients = tuple(
            SignedIngredient(title="t", relationship="parentOf", state=state) for state in read.get("ingredients", ())
        )
        validation = Validation(**WORTH | read | {"ingredients": ingredients})
    monkeypatch.setattr(signing, "is_available", lambda: True)
    monkeypatch.setattr(signing, "read", lambda *_file: validation)
    path = crafted({metadata.SOURCE_TYPE: metadata.GENERATED}, signed=True)
    (verified,) = look(path, place=place, error=CheckError if strength == "broken" else None)
    signed = verified.layers[0]
    assert (signed.name, signed.strength) == ("c2pa", strength)
    assert signed.words.startswith(words)
    tail = {
        "unknown": "whether a signature binds it was not checked",
        "strong": "within what the signature binds",
        "medium": "within what the signature binds",
    }.get(strength, UNSIGNED)
    assert layer(verified, "iptc").words.endswith(f"; {tail}")
    if validation is None:
        assert signed.facts == {}
        return
    facts = dict(signed.facts)
    assert facts.pop("ingredients") == [
        {"title": "t", "relationship": "parentOf", "state": ingredient.state} for ingredient in validation.ingredients
    ]
    assert facts == {
        name: getattr(validation, name)
        for name in (
            *("state", "codes", "expired", "signer", "common_name", "issuer", "generator", "source_type", "model"),
            *("when", "guid", "watermark_id", "actions", "mining"),
        )
    }


@pytest.mark.parametrize(
    ("require", "error"),
    [
        ((), MachineError),
        (("c2pa", "trusted"), MachineError),
        (("trusted", "iptc"), MachineError),
        (("log",), CheckError),
    ],
)
def test_a_signature_that_cannot_be_checked_is_no_verdict(crafted, place, monkeypatch, require, error):
    monkeypatch.setattr(signing, "is_available", lambda: False)
    path = crafted({metadata.SOURCE_TYPE: metadata.GENERATED}, signed=True)
    asking = verify.verify(VerifyRequest(files=(str(path),), require=require), {"IMGGEN_KEYS": str(place)})
    verified = next(asking)
    words = "a manifest is there, and the package that checks it is not installed"
    assert verified.layers[0] == MarkReport(name="c2pa", strength="unknown", words=words)
    assert layer(verified, "iptc").words.endswith("; whether a signature binds it was not checked")
    assert verified.is_unchecked
    if not require:
        assert verified.verdict == "carries iptc; c2pa could not be checked"
    with pytest.raises(error) as caught:
        next(asking)
    if error is MachineError:
        assert caught.value.message == "a signature was not checked: the package c2pa-python is missing"
        assert caught.value.hint == "pip install 'imggen[c2pa]'"
    else:
        assert caught.value.message == f"{path}: lacks log"


def test_a_file_of_another_kind_is_looked_at_for_its_pixels_alone(tmp_path, place, pixels):
    PICTURE.save(tmp_path / "a.gif")
    (verified,) = look(tmp_path / "a.gif", place=place, error=ImggenError)
    assert verified.layers == (
        MarkReport(name="c2pa", strength="unknown", words="not looked for in a file of this kind"),
        MarkReport(
            name="watermark",
            strength="none",
            words="none that imggen knows",
            facts={"z": 1.23, "id": None, "key": "public"},
        ),
    )
    assert verified.notes == ("metadata is not read from a file of this kind; only its pixels were looked at",)
    assert verified.sha256 == hashlib.sha256((tmp_path / "a.gif").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("stated", "strength", "words"),
    [
        (None, "none", "states no digital source type"),
        (" ", "none", "states no digital source type"),
        (f"{SOURCE}trainedAlgorithmicMedia", "weak", "declares AI-generated (trainedAlgorithmicMedia); "),
        (f"{SOURCE.replace('http', 'https')}algorithmicMedia", "weak", "declares algorithmicMedia; "),
        (f"{SOURCE}compositeSynthetic", "weak", "declares compositeSynthetic; "),
        (f"{SOURCE}algorithmicallyEnhanced", "weak", "declares algorithmicallyEnhanced; "),
        (
            f"{SOURCE}compositeWithTrainedAlgorithmicMedia",
            "weak",
            "declares AI-generated in part (compositeWithTrainedAlgorithmicMedia); ",
        ),
        (f"{SOURCE}digitalCapture", "none", "declares digitalCapture, which does not mean that it is AI-generated; "),
        ("x", "none", "declares 'x', which does not mean that it is AI-generated; "),
    ],
)
def test_a_source_type_is_told_as_what_it_says(crafted, place, stated, strength, words):
    (verified,) = look(
        crafted(stated and {metadata.SOURCE_TYPE: stated}),
        place=place,
        error=None if strength == "weak" else ImggenError,
    )
    report = layer(verified, "iptc")
    whole = words + UNSIGNED if words.endswith("; ") else words
    assert (report.strength, report.words) == (strength, whole)
    assert report.facts == ({"source_type": stated} if stated and stated.strip() else {})
    assert verified.layers[0] == MarkReport(name="c2pa", strength="none", words="not signed")


def test_all_that_is_said_of_the_system_is_kept(crafted, place):
    properties = {
        metadata.SYSTEM: "s" * 81,
        metadata.SYSTEM_VERSION: "v",
        metadata.CREDIT: "c",
        metadata.CREATED: "2026",
        metadata.IDENTITY: "urn:uuid:1",
        metadata.WATERMARK: "00aa",
        metadata.LABEL: "AI",
    }
    (verified,) = look(crafted({metadata.SOURCE_TYPE: metadata.GENERATED, **properties}), place=place)
    names = ("system", "system_version", "organisation", "created", "guid", "watermark", "label")
    report = layer(verified, "iptc")
    expected = dict(zip(names, properties.values(), strict=True))
    assert report.facts == {"source_type": metadata.GENERATED, **expected}
    assert f" by '{'s' * 79}…'; " in report.words
    (verified,) = look(crafted({metadata.SOURCE_TYPE: metadata.GENERATED, metadata.SYSTEM: "s" * 80}), place=place)
    assert f" by '{'s' * 80}'; " in layer(verified, "iptc").words


@pytest.mark.parametrize(
    ("fits", "words"),
    [
        ("same", "; it fits the pixels"),
        ("other", "; the picture was changed or encoded again since, or the record is from another one"),
        (None, ""),
    ],
)
def test_a_record_says_whether_it_fits(tmp_path, place, pixels, fits, words):
    data = samples()["png"]
    sha256 = container.read(data).image_sha256 if fits == "same" else "0" * 64
    composed = metadata.compose(APPLE, level="full", created=NOW, image_sha256=sha256)
    if fits is None:
        composed = replace(
            composed,
            properties={name: value for name, value in composed.properties.items() if name != metadata.IMAGE_HASH},
        )
    (tmp_path / "a.png").write_bytes(metadata.embed(data, composed).data)
    (verified,) = look(tmp_path / "a.png", place=place)
    report = layer(verified, "record")
    assert report.words == f"generation parameters as written by imggen{words}; {UNSIGNED}"
    facts = {
        "dialect": "imggen",
        "recipe": True,
        "infotext": True,
        "fits": {"same": True, "other": False, None: None}[fits],
    }
    assert (report.strength, report.facts) == ("weak", facts)
    for mark in ("record", "recipe", "infotext"):
        look(tmp_path / "a.png", place=place, require=(mark,), error=CheckError if fits == "other" else None)


@pytest.mark.parametrize(
    ("stated", "strength", "words", "facts"),
    [
        ({"Label": "1"}, "weak", "labelled: is AI-generated; ", {"Label": "1"}),
        ({"Label": "2"}, "weak", "labelled: may be AI-generated; ", {"Label": "2"}),
        ({"Label": "3"}, "weak", "labelled: is suspected of it; ", {"Label": "3"}),
        ({"Label": "4"}, "weak", "labelled: says nothing known; ", {"Label": "4"}),
        ({}, "weak", "labelled: says nothing known; ", {}),
        ({"ContentProducer": ""}, "weak", "labelled: says nothing known; ", {"ContentProducer": ""}),
        (
            {"Label": "1", "ContentProducer": "P", "ProduceID": "1", "Other": "x", "PropagateID": 5},
            "weak",
            "labelled: is AI-generated by 'P'; ",
            {"Label": "1", "ContentProducer": "P", "ProduceID": "1"},
        ),
        (
            dict.fromkeys(("ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"), "x"),
            "weak",
            "labelled: says nothing known; ",
            dict.fromkeys(("ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"), "x"),
        ),
        ([], "none", "a TC260 label that cannot be read", {}),
        ("{" + " " * 9_999, "none", "a TC260 label that cannot be read", {}),
        ("{" + " " * 9_998 + "}}", None, None, None),
    ],
)
def test_the_label_of_the_chinese_standard_is_read(crafted, place, stated, strength, words, facts):
    text = stated if isinstance(stated, str) else json.dumps(stated)
    path = crafted({metadata.SOURCE_TYPE: metadata.GENERATED, "TC260:AIGC": text})
    (verified,) = look(path, place=place)
    labels = [report for report in verified.layers if report.name == "tc260"]
    if strength is None:
        assert labels == []
        return
    expected = words + UNSIGNED if strength == "weak" else words
    assert labels == [MarkReport(name="tc260", strength=strength, words=expected, facts=facts)]


MARKED = Detection(present=True, identity="0123456789ab", z=12.34)
ANOTHER = "the record names 00aa: it is another picture's, or a part of this one is"
OTHER = "urn:uuid:01234567-89ab-8000-8000-000000000000"


@pytest.mark.parametrize(
    ("detected", "said", "strength", "words"),
    [
        (NO_MARK, {}, "none", "none that imggen knows"),
        (
            NO_MARK,
            {metadata.WATERMARK: "none: too small"},
            "none",
            "none that imggen knows; the record says why: 'too small'",
        ),
        (
            NO_MARK,
            {metadata.WATERMARK: "00aa"},
            "none",
            "the record names the watermark 00aa, but it is not found: damaged, or of another key",
        ),
        (replace(MARKED, identity=None), {}, "medium", f"imggen watermark, its id unreadable, z = 12.3; {ANYONE}"),
        (MARKED, {}, "medium", f"imggen watermark, id 0123456789ab, z = 12.3; {ANYONE}"),
        (
            MARKED,
            {metadata.WATERMARK: "0123456789ab"},
            "medium",
            f"imggen watermark, id 0123456789ab, z = 12.3; {ANYONE}",
        ),
        (
            MARKED,
            {metadata.WATERMARK: "00aa"},
            "medium",
            f"imggen watermark, id 0123456789ab, z = 12.3; {ANYONE}; {ANOTHER}",
        ),
        *(
            (
                MARKED,
                {metadata.WATERMARK: "00aa", name: value},
                "medium",
                f"imggen watermark, id 0123456789ab, z = 12.3; {ANYONE}",
            )
            for name, value in (
                (metadata.DERIVED, {"stRef:documentID": OTHER}),
                (metadata.INGREDIENTS, ({"imggen:role": "image"}, {"stRef:documentID": OTHER})),
                (metadata.RECIPE, replace(CHILD, ingredients=(replace(CHILD.ingredients[0], guid=OTHER),)).to_json()),
            )
        ),
    ],
)
def test_a_watermark_is_told_with_what_the_record_says_of_it(crafted, pixels, place, detected, said, strength, words):
    path = crafted({metadata.SOURCE_TYPE: metadata.GENERATED, **said})
    pixels(detected)
    (verified,) = look(path, place=place)
    report = layer(verified, "watermark")
    assert (report.strength, report.words) == (strength, words)
    facts = {"z": round(detected.z, 2), "id": detected.identity, "key": "public"}
    assert report.facts == facts | ({"recorded": "00aa"} if "names" in words else {})
    missing = () if strength == "medium" else ("watermark",)
    (verified,) = look(path, place=place, require=("watermark",), error=CheckError if missing else None)
    assert verified.missing == missing


@pytest.mark.parametrize(
    ("detections", "key", "mark"),
    [
        ((MARKED, NO_MARK), "the key of Example Ltd", "0123456789ab"),
        ((NO_MARK, MARKED), ANYONE, "0123456789ab"),
        ((replace(MARKED, identity=None), MARKED), ANYONE, "0123456789ab"),
        ((replace(MARKED, identity=None), NO_MARK), "the key of Example Ltd", None),
        ((replace(MARKED, identity=None, z=5), replace(MARKED, identity=None, z=6)), ANYONE, None),
        ((replace(MARKED, identity=None, z=6), replace(MARKED, identity=None, z=6)), "the key of Example Ltd", None),
        ((replace(NO_MARK, z=9), replace(MARKED, identity=None, z=6)), ANYONE, None),
    ],
)
def test_the_mark_that_is_read_or_stands_out_most_is_told(crafted, pixels, place, identity, detections, key, mark):
    path = crafted()
    pixels(*detections)
    (verified,) = look(path, place=place)
    report = layer(verified, "watermark")
    assert report.words.endswith(key)
    assert report.facts["id"] == mark
    assert report.facts["key"] == ("public" if key == ANYONE else "Example Ltd")


def test_the_log_is_told_by_its_line_and_its_time(crafted, pixels, place, tmp_path):
    log, path = tmp_path / "audit.jsonl", crafted()
    output = audit.Output(path="x", sha256=hashlib.sha256(b"other").hexdigest(), watermark="0123456789ab")
    entry = audit.AuditEntry(decision="allow", action="generate", output=output)
    audit.append(log, entry, clock=lambda: datetime(2026, 11, 26, tzinfo=UTC))
    pixels(MARKED)
    (verified,) = look(path, place=place, log=log)
    start = f"as far as {log} can be relied on, its line"
    words = (
        f"{start} 1 tells of another file, with the watermark 0123456789ab that is in this one, 2026-11-26T00:00:00.0"
    )
    assert verified.layers[-1].words.startswith(words)
    assert (verified.layers[-1].strength, verified.layers[-1].facts) == ("weak", {"line": 1, "same_file": False})
    same = replace(output, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    audit.append(log, replace(entry, output=same), clock=lambda: datetime(2026, 11, 27, tzinfo=UTC))
    (verified,) = look(path, place=place, log=log, require=("log",))
    assert verified.layers[-1].words == f"{start} 2 tells of this very file, 2026-11-27T00:00:00.000000Z"
    assert (verified.layers[-1].strength, verified.layers[-1].facts) == ("medium", {"line": 2, "same_file": True})
    pixels(replace(MARKED, identity="ffffffffffff"))
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    (verified,) = look(path, place=place, log=log)
    assert verified.layers[-1] == MarkReport(name="log", strength="none", words=f"{log} has no line about it")
    log.write_bytes(log.read_bytes().replace(b"generate", b"generale"))
    (verified,) = look(path, place=place, log=log, error=CheckError)
    why = "was changed: it does not match its own hash"
    assert verified.layers[-1].words == f"the chain of {log} does not hold: line 1 {why}"


def report(name, strength):
    return MarkReport(name=name, strength=strength, words="")


@pytest.mark.parametrize(
    ("layers", "missing", "verdict"),
    [
        ({"log": "broken"}, ("iptc",), "the log that it was looked up in is broken"),
        ({"c2pa": "broken", "iptc": "weak", "log": "broken"}, (), "not as it was made: c2pa"),
        ({"c2pa": "none", "iptc": "weak"}, ("c2pa", "log"), "lacks c2pa, log"),
        ({"c2pa": "none", "iptc": "unknown"}, (), verify.NOTHING),
        (
            {"c2pa": "strong", "iptc": "weak", "record": "none", "watermark": "medium"},
            (),
            "carries c2pa, iptc, watermark",
        ),
    ],
)
def test_a_verdict_says_the_worst_first(layers, missing, verdict):
    verified = verify.Verified(
        path="a", sha256="", layers=tuple(report(*pair) for pair in layers.items()), missing=missing
    )
    assert verified.verdict == verdict
    assert verified.is_marked == any(strength in ("strong", "medium", "weak") for strength in layers.values())


def test_errors_name_each_file_and_the_worst_comes_first(crafted, place, tmp_path):
    good = crafted({metadata.SOURCE_TYPE: metadata.GENERATED})
    bare, broken = crafted(name="bare.jpg"), tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    none = str(tmp_path / "none.png")

    def raised(*names, **asked):
        request = VerifyRequest(files=tuple(map(str, names)), **asked)
        with pytest.raises(ImggenError) as caught:
            list(verify.verify(request, {"IMGGEN_KEYS": str(place)}))
        return type(caught.value), caught.value.message

    assert raised(bare) == (ImggenError, f"{bare}: {verify.NOTHING}")
    assert raised(good, bare) == (ImggenError, f"1 of 2 files:\n{bare}: {verify.NOTHING}")
    kind, message = raised(good, bare, broken, none)
    assert (kind, message.splitlines()[0], len(message.splitlines())) == (RequestError, "2 of 4 files:", 3)
    assert all(line.count(name) == 1 for line, name in zip(message.splitlines()[1:], (str(broken), none), strict=True))
    kind, message = raised(good, bare, broken, require=("iptc",))
    assert (kind, message) == (CheckError, f"1 of 3 files:\n{bare}: lacks iptc")


@pytest.mark.parametrize(
    ("text", "problem"), [("", "no mark is named"), (" , ", "no mark is named"), ("iptc,x", "'x' is not a mark")]
)
def test_marks_that_can_be_required_are_named(text, problem):
    with pytest.raises(RequestError) as caught:
        verify.require(text)
    assert caught.value.message == f"--require {text!r}: {problem}"
    assert caught.value.hint == "known: c2pa, trusted, iptc, record, recipe, infotext, watermark, log"


def test_names_are_taken_once_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.JPG", "c.txt", "deep/d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e.png").mkdir()
    assert verify.expand(["none.png", "b.png", ".", "b.png"]) == ("none.png", "b.png", "a.JPG", "deep/d.webp")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError) as caught:
        verify.expand(["empty"])
    assert caught.value.message == "there is no picture in the folder empty"
