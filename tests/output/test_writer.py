"""Pictures to files: whole, marked, under the policy asked for, and refused before work is done for nothing."""

import hashlib
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from recipes import APPLE, ENLARGED
from samples import picture, pixels, samples, saved
from textures import textured

from imggen.errors import CheckError, RequestError
from imggen.output import files, writer
from imggen.output.formats import container, encoder, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.governance.audit import AuditEntry
from imggen.output.governance.means import Journal, WriteContext
from imggen.output.metadata import infotext, metadata, upscaled
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Draft
from imggen.output.watermark import label, watermark
from imggen.plan.policy import policy as policies
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan

WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)


def output(**values: object) -> OutputPlan:
    given = {"template": "x", "format": "png", "quality": 100, "if_exists": "auto", "metadata": "full"}
    return OutputPlan(**{**given, **values})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_written_file_is_the_picture_with_its_record(tmp_path, file_format):
    path = tmp_path / "out" / "apple"
    made = writer.write(picture(), APPLE, output(format=file_format), path, by=WriteContext(created=WHEN))
    data = path.read_bytes()
    assert (made.path, made.action, made.bytes) == (path, "new", len(data))
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert made.marks == ("iptc", "infotext", "recipe")
    read = metadata.read(path)
    assert (read.found.recipe, read.fits, read.picture.format) == (APPLE, True, file_format)
    assert names(tmp_path) == ["apple", "out"]


@pytest.mark.parametrize(("file_format", "quality"), [("png", 1), ("webp", 100)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_files_hold_the_very_pixels(file_format, quality, mode):
    image = picture(mode)
    if mode == "RGBA":
        image.putpixel((0, 0), (9, 8, 7, 0))
    data = writer.encode(image, APPLE, output(format=file_format, quality=quality)).data
    assert pixels(data) == [(mode, image.size, image.tobytes())]


def test_same_picture_and_recipe_are_the_same_bytes(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795262400")
    first, second = (writer.encode(picture(), APPLE, output(format="webp")).data for _ in range(2))
    assert first == second


def test_transparency_is_not_dropped_in_silence():
    with pytest.raises(RequestError, match="transparency") as caught:
        encoder.encode(picture("RGBA"), "jpeg", 90)
    assert caught.value.hint == "-o x.png, or --format png"
    with pytest.raises(RequestError, match="transparency"):
        writer.check([], output(format="jpeg"), alpha=True)
    for file_format in ("png", "webp"):
        writer.check([], output(format=file_format), alpha=True)


@pytest.mark.parametrize(("file_format", "edge"), [("webp", 16_384), ("jpeg", 65_501)])
def test_picture_too_large_for_its_format_is_refused_before_it_is_made(tmp_path, file_format, edge):
    with pytest.raises(RequestError, match=f"{edge}x8"):
        writer.check([tmp_path / "a"], output(format=file_format), size=(edge, 8))
    writer.check([tmp_path / "a"], output(format=file_format), size=(edge - 1, 8))
    assert names(tmp_path) == []


def test_prompt_too_long_for_its_format_is_refused_before_it_is_made(tmp_path):
    long = "り" * 11_000
    with pytest.raises(RequestError, match="the prompt takes") as caught:
        writer.check([tmp_path / "a"], output(format="jpeg"), text=long)
    assert "--format png" in caught.value.hint
    writer.check([tmp_path / "a"], output(), text=long)
    writer.check([tmp_path / "a"], output(format="jpeg", metadata="minimal"), text=long)


@pytest.mark.parametrize("prompt", ["り" * 9_900, "&" * 11_000, "word " * 11_900, "\0" * 9_900])
def test_prompt_that_passes_the_check_fits(tmp_path, prompt):
    writer.check([tmp_path / "a.jpg"], output(format="jpeg"), text=prompt)
    recipe = replace(APPLE, prompt=prompt, negative_prompt="")
    made = writer.write(picture(), recipe, output(format="jpeg"), tmp_path / "a.jpg")
    assert metadata.read(made.path).found.recipe == recipe


class TestPolicy:
    def test_own_picture_is_replaced(self, tmp_path):
        for level in ("full", "minimal"):
            path = tmp_path / level
            writer.write(picture(), APPLE, output(metadata=level), path)
            again = writer.write(picture("L"), replace(APPLE, seed=43), output(metadata=level), path)
            assert again.action == "replaced"

    @pytest.mark.parametrize(
        "foreign",
        [
            b"",
            b"notes",
            samples()["png"],
            metadata.embed(
                samples()["jpeg"], metadata.copied(metadata.read(writer.encode(picture(), APPLE, output()).data))
            ).data,
            writer.encode(picture(), APPLE, output(metadata="none")).data,
        ],
        ids=["empty", "text", "plain picture", "photo with a copied record", "own picture without marks"],
    )
    def test_file_that_imggen_did_not_make_stays_bit_for_bit(self, tmp_path, foreign):
        path = tmp_path / "a.png"
        path.write_bytes(foreign)
        for attempt in (
            lambda: writer.check([path], output()),
            lambda: writer.write(picture(), APPLE, output(), path),
        ):
            with pytest.raises(RequestError, match="exists") as caught:
                attempt()
            assert caught.value.hint == "--if-exists overwrite"
        assert path.read_bytes() == foreign
        assert writer.write(picture(), APPLE, output(if_exists="overwrite"), path).action == "replaced"

    def test_own_picture_that_was_retouched_stays(self, tmp_path):
        path = tmp_path / "a.png"
        marked = writer.encode(picture(), APPLE, output()).data
        other = metadata.copied(metadata.read(marked))
        path.write_bytes(metadata.embed(saved(picture().rotate(90), "png"), other).data)
        with pytest.raises(RequestError, match="not as imggen wrote it"):
            writer.write(picture(), APPLE, output(), path)

    def test_number_keeps_both(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"theirs")
        made = writer.write(picture(), APPLE, output(if_exists="number"), tmp_path / "a.png")
        assert made.path.name == "a-2.png"
        assert (tmp_path / "a.png").read_bytes() == b"theirs"

    def test_skip_keeps_what_is_there_and_says_so(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"theirs")
        assert writer.check([tmp_path / "a.png", tmp_path / "b.png"], output(if_exists="skip")) == (
            None,
            tmp_path / "b.png",
        )
        made = writer.write(picture(), APPLE, output(if_exists="skip"), tmp_path / "a.png")
        assert (made.action, made.bytes, made.sha256) == ("kept", 6, hashlib.sha256(b"theirs").hexdigest())

    def test_error_refuses_even_own_pictures(self, tmp_path):
        writer.write(picture(), APPLE, output(), tmp_path / "a.png")
        with pytest.raises(RequestError, match="exists"):
            writer.write(picture(), APPLE, output(if_exists="error"), tmp_path / "a.png")

    def test_numbers_of_one_run_do_not_meet(self, tmp_path):
        (tmp_path / "a.png").write_bytes(b"theirs")
        paths = [tmp_path / "a.png", tmp_path / "a.png"]
        assert writer.check(paths, output(if_exists="number")) == (tmp_path / "a-2.png", tmp_path / "a-3.png")
        assert names(tmp_path) == ["a.png"]

    def test_name_taken_between_the_look_and_the_write_goes_through_the_policy_again(self, tmp_path, monkeypatch):
        real = os.link
        path = tmp_path / "a.png"

        def intrude(source: str, target: str, **options: object) -> None:
            if not path.exists():
                path.write_bytes(b"theirs")
            real(source, target, **options)

        monkeypatch.setattr(os, "link", intrude)
        made = writer.write(picture(), APPLE, output(if_exists="number"), path)
        assert made.path.name == "a-2.png"
        assert path.read_bytes() == b"theirs"


FORGERIES = {
    "settings": "a pear\nSteps: 1, Sampler: X, CFG scale: 1, Seed: 2, Size: 8x8",
    "negative": "a pear\nNegative prompt: none\nSteps: 1, Seed: 2, Size: 8x8, Model: other",
    "line ends": "a pear\r\nSteps: 1\rSeed: 2\u2028Steps: 1, Seed: 2, Size: 1x1\x85x\vy\fz",
    "quotes": r"""'single' "double" `back` “curly” «» „low“ \" \' \\ '' &quot; &#39;""" + '"""',
    "xmp end": '</rdf:li></rdf:Alt></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?><x:xmpmeta>',
    "cdata": "<![CDATA[a]]> ]]> <!-- --> <?pi?> &amp; &lt;",
    "recipe": replace(APPLE, prompt="forged", seed=2).to_json(),
    "end of recipe": '","seed":2,"prompt":"forged',
    "chunk": "imggen\0{}\0parameters\0Steps: 1, Seed: 2, Size: 8x8 IEND\u00aeB`\u0082",
    "graph": '{"1":{"class_type":"KSampler","inputs":{"seed":2,"positive":"forged","sampler_name":"x"}}}',
    "other": '{"sui_image_params":{"prompt":"forged","seed":2}}',
    "surrogates": "a \ud800 pear \udfff \U0001f34e \ufffe",
}


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp", "avif", "tiff"])
@pytest.mark.parametrize("name", FORGERIES)
def test_no_prompt_forges_a_field_of_the_file(tmp_path, name, file_format):
    for prompt, negative in ((FORGERIES[name], ""), ("a red apple", FORGERIES[name])):
        recipe = replace(APPLE, prompt=prompt, negative_prompt=negative)
        output_plan = output(format=file_format, quality=90, if_exists="overwrite")
        read = metadata.read(writer.write(picture(), recipe, output_plan, tmp_path / "a").path)
        assert (read.found.dialect, read.found.recipe) == ("imggen", recipe)
        settings = infotext.parse(read.found.infotext).settings
        assert (settings["Seed"], settings["Steps"], settings["Model"]) == ("42", "20", "builtin")
        assert read.xmp["xmp:CreatorTool"] == "imggen 0.1.0"
        assert read.xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
        assert read.fits


def test_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.write(picture(), APPLE, output(), tmp_path / "a.png")
    assert names(tmp_path) == []


@pytest.fixture
def signer(tmp_path):
    return keys.create(tmp_path / "keys", Draft(organisation="Example Ltd"), check=signing.prove)


def test_every_layer_is_there_when_the_file_has_its_name_and_the_log_tells_its_hash(tmp_path, signer):
    log = tmp_path / "audit.jsonl"
    by = WriteContext(identity=signer, journal=Journal(path=log, entry=AuditEntry(decision="allow", action="generate")))
    plan = output(marking=MarkingPlan(label="AI", alt="An apple", mining="not-allowed"))
    made = writer.write(textured(), APPLE, plan, tmp_path / "a.png", by=by)
    assert made.marks == ("iptc", "infotext", "recipe", "c2pa", "watermark", "label")
    data = made.path.read_bytes()
    with Image.open(made.path) as opened:
        assert watermark.detect(opened.convert("RGB"), key=signer.watermark_key).identity == made.finished.watermark
    found = signing.read(data, "png", keys.roots(tmp_path / "keys"))
    assert (found.state, found.watermark_id, found.guid) == ("trusted", made.finished.watermark, made.finished.guid)
    assert found.mining == "notAllowed"
    (line,) = [json.loads(each) for each in log.read_text().splitlines()]
    assert line["output"]["sha256"] == hashlib.sha256(data).hexdigest() == made.sha256
    assert line["output"]["watermark"] == made.finished.watermark
    said = metadata.read(made.path).xmp
    assert (said[metadata.CREDIT], said[metadata.ALT], said[metadata.LABEL]) == ("Example Ltd", "An apple", "AI")


def test_picture_whose_line_cannot_be_logged_does_not_stay(tmp_path):
    log = tmp_path / "audit.jsonl"
    log.write_text("no log\n")
    by = WriteContext(journal=Journal(path=log, entry=AuditEntry(decision="allow", action="generate")))
    with pytest.raises(RequestError, match="could not be logged"):
        writer.write(textured(), APPLE, output(), tmp_path / "a.png", by=by)
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".png"] == []


def test_label_that_does_not_fit_is_refused_before_anything_is_drawn(tmp_path):
    plan = output(marking=MarkingPlan(label="Made by a machine"))
    with pytest.raises(RequestError, match=r"--label 'Made by a machine' takes \d+x\d+ pixels"):
        writer.check([tmp_path / "a.png"], plan, size=(64, 64))


@pytest.mark.parametrize("record", ["hash", "omit"])
@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp", "avif", "tiff"])
def test_prompt_that_is_not_to_be_recorded_stands_nowhere_in_the_file(tmp_path, signer, record, file_format):
    plan = output(format=file_format, marking=MarkingPlan(prompt=record))
    secret = replace(APPLE, prompt="secret garden of Mrs Miller", negative_prompt="Ashford")
    finished = writer.encode(textured(), secret, plan, by=WriteContext(identity=signer))
    for words in ("Miller", "secret", "Ashford"):
        assert not any(words.encode(each) in finished.data for each in ("utf-8", "utf-16-le", "utf-16-be"))
    read = metadata.read(finished.data)
    assert read.found.settings["seed"] == 42
    assert read.found.recipe is None
    stated = read.xmp.get(metadata.PROMPT)
    assert stated == (f"sha256:{metadata.prompt_sha256(secret)}" if record == "hash" else None)


def test_without_metadata_nothing_is_signed_unless_that_is_asked_for(signer):
    by = WriteContext(identity=signer)
    assert "c2pa" not in writer.encode(textured(), APPLE, output(metadata="none"), by=by).marks
    asked = output(metadata="none", marking=MarkingPlan(sign="on"))
    assert "c2pa" in writer.encode(textured(), APPLE, asked, by=by).marks
    with pytest.raises(RequestError, match="no key is set up"):
        writer.encode(textured(), APPLE, asked)


LOGGED = AuditEntry(decision="allow", action="generate")


def ruled(text, **more):
    return WriteContext(policy=policies.parse(f"schema = 1\n{text}", subject="it"), subject="the policy p", **more)


def lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_picture_for_standard_output_is_logged_without_a_path(tmp_path):
    by = WriteContext(created=WHEN, journal=Journal(path=tmp_path / "log", entry=LOGGED))
    finished = writer.emit(picture(), APPLE, output(), by=by)
    assert finished.data == writer.encode(picture(), APPLE, output(), by=WriteContext(created=WHEN)).data
    (line,) = lines(tmp_path / "log")
    assert line["output"] == {"path": "-", "sha256": finished.sha256, "guid": finished.guid}
    assert (line["marks"], line["unmarked"]) == (list(finished.marks), finished.unmarked)
    assert line["recipe_sha256"] == finished.origin.sha256()
    assert finished.unmarked.startswith("24x18 is smaller")


def test_a_picture_in_a_file_is_logged_with_its_path(tmp_path):
    by = WriteContext(journal=Journal(path=tmp_path / "log", entry=LOGGED))
    written = writer.write(picture(), APPLE, output(), tmp_path / "a.png", by=by)
    (line,) = lines(tmp_path / "log")
    assert line["output"]["path"] == str(tmp_path / "a.png")
    assert written.finished == replace(writer.encode(picture(), APPLE, output()), data=b"")
    assert (written.notes, written.finished.sha256) == ((), hashlib.sha256(b"").hexdigest())


@pytest.mark.skipif(os.name == "nt", reason="no scripts that start themselves")
@pytest.mark.parametrize(("code", "message"), [(0, None), (1, "the image checker refuses the picture: seen")])
def test_the_policys_program_sees_the_pixels_that_would_be_written(tmp_path, code, message):
    script = tmp_path / "look"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/seen.png\necho seen\nexit {code}\n")
    script.chmod(0o755)
    journal = Journal(path=tmp_path / "log", entry=LOGGED)
    by = ruled('safety.image_checker = ["./look"]', folder=tmp_path, journal=journal)
    image, plan = textured(), output(format="jpeg", marking=MarkingPlan(label="AI", watermark="off"))
    if message is None:
        marks = writer.encode(image, APPLE, plan, by=by).marks
        assert marks == ("iptc", "infotext", "recipe", "label")
    else:
        with pytest.raises(CheckError) as caught:
            writer.write(image, APPLE, plan, tmp_path / "a.jpg", by=by)
        assert caught.value.message == f"{message} (the policy p: safety.image_checker)"
        assert [(line["decision"], line["reason"]) for line in lines(tmp_path / "log")] == [("deny", message)]
        assert not (tmp_path / "a.jpg").exists()
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.format == "PNG"
        assert seen.convert("RGB").tobytes() == label.draw(image, "AI").convert("RGB").tobytes()


def test_a_mark_that_the_policy_wants_and_the_picture_cannot_have_is_its_refusal(tmp_path):
    plan = output(marking=MarkingPlan(watermark="on"))
    reason = "24x18 is smaller than the 64x64"
    journal = Journal(path=tmp_path / "log", entry=LOGGED)
    with pytest.raises(CheckError, match=rf"^{reason}.* \(the policy p: marking\.require\)$"):
        writer.encode(picture(), APPLE, plan, by=ruled('marking.require = ["watermark"]', journal=journal))
    assert [line["rule"] for line in lines(tmp_path / "log")] == ["marking.require"]
    for by in (WriteContext(), ruled('marking.require = ["iptc"]')):
        with pytest.raises(RequestError, match=f"^{reason}"):
            writer.encode(picture(), APPLE, plan, by=by)
    with pytest.raises(CheckError, match="the picture lacks what the policy requires: watermark"):
        writer.encode(picture(), APPLE, output(), by=ruled('marking.require = ["iptc", "watermark"]'))
    assert writer.encode(picture(), APPLE, output(), by=ruled('marking.require = ["iptc"]')).marks


def test_an_enlarged_picture_says_no_more_than_fits():
    packet = xmp.merge(None, {metadata.CREDIT: "Someone", "photoshop:Instructions": "x" * 70_000})
    plain = container.replace(samples()["png"], Changes(xmp=packet))
    enlargement = upscaled.describe(plain, ENLARGED)
    plan = output(format="jpeg", marking=MarkingPlan(alt="An apple"))
    written = writer.encode(picture(), enlargement, plan, by=WriteContext(created=WHEN))
    (note,) = written.notes
    assert note.startswith("no more than --metadata minimal is written: ")
    assert written.marks == ("iptc",)
    properties = metadata.read(written.data).xmp
    assert properties[metadata.CREATED] == "2026-11-21T12:00:00Z"
    assert properties[metadata.ALT] == "An apple"
    whole = writer.encode(picture(), enlargement, replace(plan, format="png"), by=WriteContext(created=WHEN))
    assert whole.notes == ()
    assert metadata.read(whole.data).xmp[metadata.ALT] == "An apple"
    assert metadata.read(whole.data).xmp[metadata.HISTORY][0]["stEvt:when"] == "2026-11-21T12:00:00Z"
    assert writer.encode(picture(), enlargement, output(metadata="none")).marks == ()


def test_an_enlarged_picture_is_logged_without_a_recipe(tmp_path):
    by = WriteContext(journal=Journal(path=tmp_path / "log", entry=LOGGED))
    writer.emit(picture(), upscaled.describe(samples()["png"], ENLARGED), output(), by=by)
    (line,) = lines(tmp_path / "log")
    assert "recipe_sha256" not in line


def test_a_manifest_that_is_not_kept_is_noted_where_the_larger_picture_is_not_signed(signer):
    source = writer.encode(picture(), APPLE, output(), by=WriteContext(identity=signer)).data
    enlargement = upscaled.describe(source, ENLARGED)
    assert writer.encode(picture(), enlargement, output()).notes == (upscaled.MANIFEST_LOST,)
    signed = writer.encode(picture(), enlargement, output(), by=WriteContext(identity=signer))
    assert (signed.notes, "c2pa" in signed.marks) == ((), True)


@pytest.mark.parametrize(
    ("sign", "level", "identity", "signs"),
    [
        ("auto", "full", True, True),
        ("auto", "minimal", True, True),
        ("auto", "none", True, False),
        ("auto", "full", False, False),
        ("on", "none", True, True),
        ("off", "full", True, False),
        ("off", "full", False, False),
    ],
)
def test_a_picture_is_signed_where_a_key_is_set_up_and_metadata_is_written(sign, level, identity, signs):
    who = keys.Identity(organisation="x", chain_pem=b"", key_pem=b"", watermark_key=b"") if identity else None
    assert writer.signs(output(metadata=level, marking=MarkingPlan(sign=sign)), who) is signs


def test_a_signature_without_a_key_says_how_to_make_one():
    with pytest.raises(RequestError) as caught:
        writer.signs(output(marking=MarkingPlan(sign="on")), None)
    assert caught.value.message == "--sign on, and no key is set up"
    assert caught.value.hint == 'imggen keys init --organisation "Example Ltd"'


def test_a_name_that_others_keep_taking_is_given_up(tmp_path, monkeypatch):
    tried = []

    def taken(place, data, **options):
        tried.append(place)
        raise FileExistsError

    monkeypatch.setattr(files, "write", taken)
    with pytest.raises(RequestError) as caught:
        writer.write(picture(), APPLE, output(), tmp_path / "a.png")
    assert caught.value.message == f"cannot write {tmp_path / 'a.png'}: other processes keep taking the name"
    assert len(tried) == 100


def test_what_was_kept_says_nothing_of_its_marks(tmp_path):
    (tmp_path / "a.png").write_bytes(b"theirs")
    written = writer.write(picture(), APPLE, output(if_exists="skip"), tmp_path / "a.png")
    assert (written.path, written.marks, written.notes, written.finished) == (tmp_path / "a.png", (), (), None)


def test_a_prompt_fits_a_jpeg_up_to_its_last_byte():
    plan = output(format="jpeg")
    writer.check([], plan, text="a" * 59_998)
    with pytest.raises(RequestError) as caught:
        writer.check([], plan, text="a" * 59_999)
    assert caught.value.message == "the prompt takes 60,001 bytes, more than a JPEG's metadata holds"
    assert caught.value.hint == "--format png, or --metadata minimal"


def test_names_that_are_skipped_leave_the_others_free(tmp_path):
    (tmp_path / "a.png").write_bytes(b"theirs")
    paths = [tmp_path / name for name in ("a.png", "a.png", "b.png")]
    assert writer.check(paths, output(if_exists="skip"), size=(8, 8)) == (None, None, paths[2])
    with pytest.raises(RequestError, match=r"two pictures of this run would both be .*b\.png"):
        writer.check([*paths, paths[2]], output(if_exists="skip"))


def test_without_a_size_nothing_is_held_against_it(tmp_path):
    plan = output(format="webp", marking=MarkingPlan(label="AI"))
    assert writer.check([tmp_path / "a"], plan) == (tmp_path / "a",)
