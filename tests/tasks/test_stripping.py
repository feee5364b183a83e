"""What `embed-metadata` takes out, and what becomes of a signature when it changes a file."""

import hashlib
import io
import json
from dataclasses import replace

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from recipes import APPLE
from textures import textured

from imggen.errors import CheckError, ImggenError, RequestError
from imggen.output import writer
from imggen.output.formats import container
from imggen.output.formats.carriers import Changes
from imggen.output.governance import audit
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import metadata
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.plan.schema.request import OutputPlan
from imggen.tasks import embed
from imggen.tasks.embed import EmbedRequest

SECRET = replace(APPLE, prompt="a secret garden of Mrs Miller", negative_prompt="people of Ashford")
NAMES = {"png": "a.png", "jpeg": "a.jpg", "webp": "a.webp", "avif": "a.avif", "tiff": "a.tif"}
every_format = pytest.mark.parametrize("file_format", NAMES)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def identity(place, monkeypatch):
    monkeypatch.setenv("IMGGEN_KEYS", str(place))
    return keys.create(place, Draft(organisation="Example Ltd"), check=signing.prove)


def written(folder, file_format, *, told=SECRET, by=WriteContext()):  # noqa: B008
    output = OutputPlan(template="x", format=file_format, quality=95, if_exists="overwrite", metadata="full")
    return writer.write(textured(), told, output, folder / NAMES[file_format], by=by).path


def run(path, **options):
    (fact,) = embed.embed(EmbedRequest(targets=(path,), **options))
    return fact


def pixels(path):
    with Image.open(path) as opened:
        return opened.convert("RGB").tobytes()


def holds(data, words):
    """Return whether the file holds the words in any of the ways that metadata are written."""
    return any(words.encode(each) in data for each in ("utf-8", "utf-16-le", "utf-16-be"))


@every_format
def test_words_are_taken_out_of_the_very_bytes_and_the_rest_stays(tmp_path, place, file_format):
    path = written(tmp_path, file_format)
    before = pixels(path)
    assert holds(path.read_bytes(), "Miller")
    run(path, strip="prompt")
    data = path.read_bytes()
    assert not any(holds(data, each) for each in ("Miller", "Ashford", "secret"))
    read = metadata.read(path)
    assert read.xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
    assert (read.found.settings["seed"], read.found.settings["steps"], read.found.prompt) == (42, 20, "")
    assert read.fits is True
    assert pixels(path) == before


@every_format
def test_everything_is_taken_out_of_the_very_bytes_but_the_picture(tmp_path, identity, file_format):
    path = written(tmp_path, file_format, by=WriteContext(identity=identity))
    before = pixels(path)
    fact = run(path, strip="all")
    data = path.read_bytes()
    assert not any(holds(data, each) for each in ("Miller", "imggen", "trainedAlgorithmicMedia", "c2pa", "Example"))
    read = metadata.read(path)
    assert (dict(read.xmp), read.found, read.picture.signed) == ({}, None, False)
    assert pixels(path) == before
    assert any("in the pixels and stays" in each for each in fact.notes)


@every_format
def test_which_way_is_up_outlives_everything(tmp_path, place, file_format):
    path = tmp_path / NAMES[file_format]
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "Maker"
    textured((64, 48)).save(path, exif=tags)
    with Image.open(path) as opened:
        turned = opened.getexif().get(0x0112)
    run(path, strip="all")
    with Image.open(path) as opened:
        assert opened.getexif().get(0x0112) == turned
    assert b"Maker" not in path.read_bytes()


def test_words_of_other_programs_are_taken_out_too(tmp_path, place):
    path = tmp_path / "comfy.png"
    text = PngInfo()
    graph = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "Mrs Miller"}}}
    text.add_text("prompt", json.dumps(graph))
    text.add_text("workflow", json.dumps({"nodes": ["Mrs Miller"]}))
    text.add_text("Author", "A. B.")
    textured((64, 48)).save(path, pnginfo=text)
    run(path, strip="prompt")
    assert not holds(path.read_bytes(), "Miller")
    assert metadata.read(path).picture.carriers.texts == (("Author", "A. B."),)


@every_format
def test_signed_file_is_signed_anew_with_the_old_one_as_its_parent(tmp_path, identity, place, file_format):
    path = written(tmp_path, file_format, by=WriteContext(identity=identity))
    fact = run(path, pairs=(("alt", "A red apple"),))
    assert "c2pa" in fact.marks
    found = signing.read(path.read_bytes(), file_format, keys.roots(place))
    assert found.state == "trusted"
    assert found.actions == ("c2pa.opened", "c2pa.edited.metadata")
    assert [(each.relationship, each.state) for each in found.ingredients] == [("parentOf", "trusted")]
    read = metadata.read(path)
    assert read.xmp["Iptc4xmpCore:AltTextAccessibility"] == "A red apple"
    assert read.fits is True


@every_format
def test_signed_file_is_refused_where_nobody_can_sign_it_and_stays_bit_for_bit(
    tmp_path, identity, monkeypatch, file_format
):
    path = written(tmp_path, file_format, by=WriteContext(identity=identity))
    before = path.read_bytes()
    monkeypatch.delenv("IMGGEN_KEYS")
    with pytest.raises(RequestError, match="break the signature") as caught:
        run(path, pairs=(("alt", "A red apple"),))
    assert "keys init" in caught.value.hint
    assert path.read_bytes() == before


@every_format
def test_signature_goes_where_somebody_says_so(tmp_path, identity, monkeypatch, file_format):
    path = written(tmp_path, file_format, by=WriteContext(identity=identity))
    monkeypatch.delenv("IMGGEN_KEYS")
    fact = run(path, pairs=(("alt", "A red apple"),), sign="off")
    assert any("manifest was taken out" in each for each in fact.notes)
    read = metadata.read(path)
    assert not read.picture.signed
    assert signing.read(path.read_bytes(), file_format) is None
    assert read.xmp["Iptc4xmpCore:AltTextAccessibility"] == "A red apple"


def test_unsigned_file_is_signed_on_request_alone(tmp_path, identity, place):
    path = written(tmp_path, "png")
    run(path, pairs=(("alt", "A red apple"),))
    assert not metadata.read(path).picture.signed
    run(path, sign="on")
    assert signing.read(path.read_bytes(), "png", keys.roots(place)).state == "trusted"


def test_signing_without_a_key_is_refused(tmp_path, place):
    path = written(tmp_path, "png")
    with pytest.raises(RequestError, match="no key is set up"):
        run(path, sign="on")


@pytest.mark.parametrize(
    ("rules", "options", "named"),
    [
        ('[marking]\nrequire = ["iptc"]', {"strip": "all"}, "iptc"),
        ('[marking]\nrequire = ["recipe"]', {"strip": "prompt"}, "recipe"),
        ("[inputs]\nkeep_provenance = true", {"strip": "all"}, "iptc, c2pa|c2pa, iptc"),
        ("[inputs]\nkeep_provenance = true", {"sign": "off"}, "c2pa"),
        ("[inputs]\nkeep_provenance = true", {"pairs": (("source-type", "digitalCapture"),)}, "iptc"),
    ],
)
def test_what_a_policy_keeps_is_not_taken_out_and_the_refusal_is_logged(tmp_path, identity, rules, options, named):
    path = written(tmp_path, "png", by=WriteContext(identity=identity))
    before = path.read_bytes()
    (tmp_path / "policy.toml").write_text(f'schema = 1\n{rules}\n[audit]\nlog = "audit.jsonl"\n')
    with pytest.raises(CheckError, match=named):
        run(path, policy=str(tmp_path / "policy.toml"), **options)
    assert path.read_bytes() == before
    (line,) = (json.loads(each) for each in (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (line["action"], line["decision"]) == ("embed-metadata", "deny")


def test_what_a_policy_allows_is_logged_with_the_file_before_and_after(tmp_path, place):
    path = written(tmp_path, "png")
    before = path.read_bytes()
    (tmp_path / "policy.toml").write_text('schema = 1\n[audit]\nlog = "audit.jsonl"\n')
    fact = run(path, policy=str(tmp_path / "policy.toml"), strip="prompt")
    (line,) = (json.loads(each) for each in (tmp_path / "audit.jsonl").read_text().splitlines())
    assert line["output"]["sha256"] == fact.sha256
    assert line["inputs"][0]["sha256"] == hashlib.sha256(before).hexdigest()


def test_stripped_twice_is_stripped_once(tmp_path, place):
    path = written(tmp_path, "jpeg")
    run(path, strip="all")
    before = path.read_bytes()
    assert run(path, strip="all").changed is False
    assert path.read_bytes() == before
    assert container.read(before).format == "jpeg"
    assert Image.open(io.BytesIO(before)).info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("file_format", ["jpeg", "webp", "avif", "tiff"])
def test_words_in_the_exif_of_another_program_leave_no_trace(tmp_path, place, file_format):
    path = tmp_path / NAMES[file_format]
    text = "a secret garden of Mrs Miller\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 42, Size: 64x48, Model: x"
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Maker", 1
    tags.get_ifd(0x8769).update({0x9286: b"UNICODE\0" + text.encode("utf-16-be"), 0x9003: "2026:01:01 00:00:00"})
    textured((64, 48)).save(path, exif=tags.tobytes())
    assert holds(path.read_bytes(), "Miller")
    run(path, strip="prompt")
    assert not holds(path.read_bytes(), "Miller")
    read = metadata.read(path)
    assert (read.found.settings["seed"], read.exif["Make"]) == (42, "Maker")


def test_comment_of_a_jpeg_that_holds_the_words_goes(tmp_path, place):
    path = tmp_path / "a.jpg"
    text = "parameters\0a secret garden\nSteps: 20, Sampler: euler, CFG scale: 7.0, Seed: 42"
    textured((64, 48)).save(path, comment=text.encode())
    assert metadata.read(path).found.prompt == "a secret garden"
    run(path, strip="prompt")
    assert not holds(path.read_bytes(), "secret")


def ruled(folder, rules):
    path = folder / "policy.toml"
    path.write_text(f'schema = 1\n{rules}\n[audit]\nlog = "audit.jsonl"\n')
    return str(path)


def test_file_that_was_tampered_with_is_not_signed_anew_unless_that_is_said(tmp_path, identity, place):
    path = written(tmp_path, "png", by=WriteContext(identity=identity))
    path.write_bytes(container.replace(path.read_bytes(), Changes(texts={"Comment": "later"})))
    before = path.read_bytes()
    with pytest.raises(RequestError, match="was changed after it was signed"):
        run(path, pairs=(("alt", "A red apple"),))
    assert path.read_bytes() == before
    run(path, pairs=(("alt", "A red apple"),), sign="on")
    found = signing.read(path.read_bytes(), "png", keys.roots(place))
    assert (found.state, [each.state for each in found.ingredients]) == ("trusted", ["invalid"])


@pytest.mark.parametrize(
    ("rules", "rule"),
    [('[prompt]\ndeny = ["garden"]', r"prompt\.deny"), ('[prompt]\nrecord = "hash"', r"prompt\.record")],
)
def test_record_of_another_picture_brings_in_no_words_that_the_policy_keeps_out(tmp_path, place, rules, rule):
    source = written(tmp_path, "png")
    target = tmp_path / "photo.jpg"
    textured((64, 48)).save(target)
    before = target.read_bytes()
    with pytest.raises(CheckError, match=rule):
        run(target, source=source, policy=ruled(tmp_path, rules))
    assert target.read_bytes() == before


def test_source_type_of_a_file_is_not_replaced_by_that_of_another(tmp_path, place):
    source = written(tmp_path, "png")
    target = tmp_path / "photo.jpg"
    textured((64, 48)).save(target)
    run(target, pairs=(("source-type", "digitalCapture"),))
    with pytest.raises(CheckError, match="keep_provenance"):
        run(target, source=source, policy=ruled(tmp_path, "[inputs]\nkeep_provenance = true"))


def test_edited_file_needs_the_marks_that_the_policy_requires(tmp_path, place):
    path = written(tmp_path, "png")
    with pytest.raises(CheckError, match="lacks what the policy requires: c2pa"):
        run(path, pairs=(("alt", "A"),), policy=ruled(tmp_path, '[marking]\nrequire = ["iptc", "c2pa"]'))
    run(path, pairs=(("alt", "A"),), policy=ruled(tmp_path, '[marking]\nrequire = ["iptc", "watermark"]'))


def test_edit_that_cannot_be_logged_is_undone(tmp_path, place, monkeypatch):
    path = written(tmp_path, "png")
    before = path.read_bytes()

    def full(*_args, **_options):
        raise ImggenError("the disk is full")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(ImggenError, match="could not be logged"):
        run(path, pairs=(("alt", "A"),), policy=ruled(tmp_path, ""))
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".imggen*"))


def test_taking_all_out_and_signing_are_not_done_in_one_go(tmp_path, identity, place):
    path = written(tmp_path, "png", by=WriteContext(identity=identity))
    before = path.read_bytes()
    with pytest.raises(RequestError, match="--strip all takes a signature out"):
        run(path, strip="all", sign="on")
    assert path.read_bytes() == before
