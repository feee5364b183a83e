"""What a file says of its making: the same words in every format, never more than was asked, never a changed pixel."""

import hashlib
import hmac
import json
import shutil
import subprocess
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipes import APPLE, APPLE_GUID, CHILD, GENERATED, PEAR
from samples import FOREIGN, camera, pillow, pixels, samples, with_chunk, with_segment

from imggen.errors import RequestError
from imggen.output.formats import container, exif, jpeg, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.metadata import fields, infotext, metadata
from imggen.output.metadata.metadata import Facts, Marked, Metadata, Particulars
from imggen.plan.schema.change import Change
from imggen.plan.schema.recipe import Ingredient

WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
BASIC = ("png", "jpeg", "webp", "webp lossless alpha", "avif", "tiff", "tiff pages")
every_format = pytest.mark.parametrize("name", BASIC)


def marked(name: str, recipe: object = APPLE, level: str = "full") -> Marked:
    data = samples()[name]
    told = metadata.compose(recipe, level=level, created=WHEN, image_sha256=container.read(data).image_sha256)
    return metadata.embed(data, told)


def facts(name: str, recipe: object = APPLE, level: str = "full") -> Facts:
    return metadata.read(marked(name, recipe, level).data)


def saying(name: str, *pairs: tuple[str, str], data: bytes | None = None) -> Marked:
    return metadata.embed(samples()[name] if data is None else data, fields.assign(pairs))


@pytest.mark.parametrize("name", list(samples()))
def test_recipe_and_infotext_come_back_from_every_kind_of_file(name):
    read = facts(name)
    assert read.found.recipe == APPLE
    assert read.found.infotext == infotext.write(APPLE)
    assert read.fits is True
    assert pixels(marked(name).data) == pixels(samples()[name])
    assert set(marked(name).marks) == {"iptc", "infotext", "recipe"}


@every_format
def test_full_says_what_iptc_asks_for(name):
    read = facts(name, replace(APPLE, model="org/fine", model_revision="abc123")).xmp
    assert read["Iptc4xmpExt:DigitalSourceType"] == (
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    )
    assert read["Iptc4xmpExt:AISystemUsed"] == "imggen (org/fine)"
    assert read["Iptc4xmpExt:AISystemVersionUsed"] == "imggen 0.1.0; abc123"
    assert read["Iptc4xmpExt:AIPromptInformation"] == "a red apple\nNegative prompt: blurry"
    assert read["Iptc4xmpExt:DigImageGUID"].startswith("urn:uuid:")
    assert read["xmp:CreatorTool"] == "imggen 0.1.0"
    assert read["xmp:CreateDate"] == "2026-11-21T12:00:00Z"


@every_format
def test_minimal_says_that_a_model_made_it_and_nothing_of_the_prompt(name):
    secret = replace(APPLE, prompt="secret words", negative_prompt="hidden words", seed=987654321)
    data = marked(name, secret, "minimal").data
    read = metadata.read(data)
    assert read.xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
    assert read.xmp["xmp:CreatorTool"] == "imggen 0.1.0"
    assert read.found is None
    assert read.is_own
    for told in (b"secret", b"hidden", b"987654321", "secret".encode("utf-16-be"), secret.sha256().encode()):
        assert told not in data
    assert metadata.identity(secret).encode() not in data
    assert marked(name, secret, "minimal").marks == ("iptc",)


STYLED = replace(
    PEAR,
    task="style",
    change=Change(method="statistics", strength=0.6),
    ingredients=(
        replace(PEAR.ingredients[0], source_type=GENERATED),
        Ingredient(role="style", sha256="9f" * 32, width=8, height=8),
    ),
)


@pytest.mark.parametrize(
    ("recipe", "composite"),
    [
        (APPLE, False),
        (PEAR, True),
        (CHILD, False),
        (replace(CHILD, ingredients=(CHILD.ingredients[0], replace(CHILD.ingredients[1], source_type=None))), True),
        (replace(PEAR, ingredients=(replace(PEAR.ingredients[0], source_type=GENERATED),)), False),
        (
            replace(
                PEAR, ingredients=(replace(PEAR.ingredients[0], source_type=GENERATED.replace("http:", "https:")),)
            ),
            False,
        ),
        (replace(PEAR, ingredients=(replace(PEAR.ingredients[0], source_type="trainedAlgorithmicMedia"),)), True),
        (
            replace(
                PEAR, ingredients=(replace(PEAR.ingredients[0], source_type=metadata.SOURCE_TYPES + "digitalCapture"),)
            ),
            True,
        ),
        (replace(PEAR, ingredients=(replace(PEAR.ingredients[0], role="mask"),)), False),
        (STYLED, False),
        (replace(STYLED, change=Change(method="ip-adapter")), True),
        (replace(STYLED, change=Change(method="reference")), True),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("level", ["full", "minimal"])
def test_composite_is_what_shows_a_picture_that_does_not_say_that_a_model_made_it(recipe, composite, level):
    term = "compositeWithTrainedAlgorithmicMedia" if composite else "trainedAlgorithmicMedia"
    told = facts("png", recipe, level).xmp[metadata.SOURCE_TYPE]
    assert told == f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}"


@every_format
def test_picture_that_was_changed_is_named_with_its_own_source_type(name):
    read = facts(name, STYLED)
    image = {"imggen:sha256": "1a" * 32, "imggen:role": "image", metadata.SOURCE_TYPE: GENERATED}
    assert read.xmp["xmpMM:DerivedFrom"] == image
    assert read.xmp["xmpMM:Ingredients"] == (image, {"imggen:sha256": "9f" * 32, "imggen:role": "style"})
    assert read.found.recipe == STYLED
    assert "xmpMM:Ingredients" not in facts(name, PEAR).xmp


def test_parents_of_a_child_are_named_by_the_identity_that_their_own_files_state():
    read = facts("jpeg", CHILD).xmp
    assert "xmpMM:DerivedFrom" not in read
    # The second stated none; it cannot be made up, because a name may tell who can guess the words.
    assert [each.get("stRef:documentID") for each in read["xmpMM:Ingredients"]] == [APPLE_GUID, None]
    assert [each["imggen:weight"] for each in read["xmpMM:Ingredients"]] == ["0.7", "0.3"]


@every_format
def test_minimal_names_no_picture_that_went_in(name):
    data = marked(name, CHILD, "minimal").data
    for each in CHILD.ingredients:
        assert each.sha256.encode() not in data
    assert APPLE_GUID.encode() not in data
    assert not {metadata.DERIVED, metadata.INGREDIENTS} & metadata.read(data).xmp.keys()


def test_copied_record_names_its_parents_and_a_photo_keeps_its_own_origin():
    own = {"stRef:documentID": "xmp.did:raw"}
    photo = container.replace(samples()["jpeg"], Changes(xmp=xmp.merge(None, {metadata.DERIVED: own})))
    assert metadata.read(metadata.embed(photo, metadata.copied(facts("png"))).data).xmp[metadata.DERIVED] == own
    read = metadata.read(metadata.embed(photo, metadata.copied(facts("png", PEAR))).data).xmp
    assert read[metadata.DERIVED] == {"imggen:sha256": "1a" * 32, "imggen:role": "image"}
    assert read[metadata.SOURCE_TYPE] == metadata.COMPOSITE


@every_format
def test_none_changes_no_byte(name):
    assert marked(name, level="none") == Marked(data=samples()[name], marks=())


@every_format
def test_same_recipe_at_the_same_time_is_the_same_file(name):
    assert marked(name).data == marked(name).data
    assert metadata.identity(APPLE) == metadata.identity(replace(APPLE))
    assert metadata.identity(APPLE) != metadata.identity(replace(APPLE, seed=43))


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("org/name", "org/name"),
        ("/home/me/secret/m", "m"),
        ("./runs/a", "a"),
        ("~/x/y", "y"),
        ("C:\\a\\b", "b"),
        ("builtin", "builtin"),
    ],
)
def test_path_on_somebodys_disk_is_not_told_in_the_iptc_field(model, named):
    told = metadata.compose(replace(APPLE, model=model), level="minimal", created=WHEN, image_sha256="")
    assert told.properties["Iptc4xmpExt:AISystemUsed"] == f"imggen ({named})"


@pytest.mark.parametrize(("given", "expected"), [("0", "1970-01-01"), ("1795262400", "2026-11-21")])
def test_time_of_a_repeatable_build_is_the_one_given(given, expected):
    assert metadata.now({"SOURCE_DATE_EPOCH": given}).date().isoformat() == expected


@pytest.mark.parametrize("given", ["yesterday", "1.5", "9" * 30])
def test_time_that_is_none_is_refused(given):
    with pytest.raises(RequestError, match="SOURCE_DATE_EPOCH"):
        metadata.now({"SOURCE_DATE_EPOCH": given})


hostile = st.lists(
    st.text(max_size=10)
    | st.sampled_from(["\0", "\ud800", "]]>", "<!--", "&amp;", "</rdf:RDF>", "\nSteps: 1, Seed: 2, Size: 3x3", "🍎"]),
    max_size=5,
).map("".join)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=hostile, negative=hostile, name=st.sampled_from(BASIC))
def test_any_prompt_is_recorded_whole_and_forges_nothing(prompt, negative, name):
    recipe = replace(APPLE, prompt=prompt, negative_prompt=negative)
    read = facts(name, recipe)
    assert read.found.recipe == recipe
    assert read.xmp[metadata.SOURCE_TYPE] == metadata.GENERATED
    settled = infotext.parse(read.found.infotext).settings
    assert (settled["Seed"], settled["Steps"]) == ("42", "20")
    with_pillow = pixels(marked(name, recipe).data)
    assert with_pillow == pixels(samples()[name])


def test_long_prompt_is_shortened_in_a_jpeg_where_it_must_be_and_whole_in_the_recipe():
    recipe = replace(APPLE, prompt="word " * 9_000)
    made = marked("jpeg", recipe)
    read = metadata.read(made.data)
    assert read.found.recipe == recipe
    assert infotext.parse(read.found.infotext).settings["Seed"] == "42"
    assert read.found.infotext.count("word") > 5_000
    assert len(made.notes) == 2
    assert all("shortened" in note for note in made.notes)
    assert not marked("png", recipe).notes


def test_prompt_longer_than_a_jpeg_holds_is_refused_with_the_way_out():
    with pytest.raises(RequestError, match="the XMP would take") as caught:
        marked("jpeg", replace(APPLE, prompt="word " * 20_000))
    assert caught.value.hint == "--format png"


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "tiff"])
def test_camera_keeps_its_exif_and_its_xmp(name):
    photo = container.replace(samples()[name], Changes(exif=camera("II"), xmp=FOREIGN))
    made = metadata.embed(photo, metadata.copied(facts("png")))
    read = metadata.read(made.data)
    assert read.found.recipe == APPLE
    assert (read.exif["Make"], read.exif["Software"]) == ("Maker", "Firmware 1.0")
    # A TIFF's orientation belongs to its picture, and a maker's note to the file that it was written into.
    assert read.exif.get("Orientation") == (None if name == "tiff" else 6)
    note = pillow(read.picture.carriers.exif).get_ifd(0x8769).get(0x927C)
    assert note == (None if name == "tiff" else b"note" * 30)
    assert read.xmp["crs:Exposure"] == "+0.50"
    assert read.xmp["xmp:CreatorTool"] == "Camera 1.0"
    assert pixels(made.data) == pixels(photo)


def test_comment_of_a_person_is_told_before_it_is_replaced():
    photo = container.replace(samples()["jpeg"], Changes(exif=exif.merge(None, {"UserComment": "my holiday"})))
    made = metadata.embed(photo, metadata.copied(facts("png")))
    assert any("my holiday" in note for note in made.notes)


def test_exif_too_damaged_to_add_to_stays_and_the_xmp_is_written():
    broken = b"MM\0*\0\0\0\x08\xff\xff"
    photo = container.replace(samples()["jpeg"], Changes(exif=broken))
    made = metadata.embed(photo, metadata.copied(facts("png")))
    read = metadata.read(made.data)
    assert read.picture.carriers.exif == broken
    assert read.found.recipe == APPLE
    assert any("stays as it is" in note for note in made.notes)


def test_exif_too_full_to_add_to_stays_and_the_xmp_is_written():
    full = camera().ljust(65_000, b"\0")
    photo = container.replace(samples()["jpeg"], Changes(exif=full))
    made = metadata.embed(photo, metadata.copied(facts("png", replace(APPLE, prompt="word " * 100))))
    assert metadata.read(made.data).picture.carriers.exif == full
    assert any("stays as it is" in note for note in made.notes)


def test_xmp_too_damaged_to_add_to_is_an_error():
    photo = container.replace(samples()["jpeg"], Changes(xmp=b"<not xmp"))
    with pytest.raises(RequestError, match="not well-formed"):
        metadata.embed(photo, metadata.copied(facts("png")))


def test_damaged_metadata_is_a_note_to_whoever_reads():
    photo = container.replace(samples()["jpeg"], Changes(xmp=b"<not xmp", exif=b"II*\0"))
    read = metadata.read(photo)
    assert (read.xmp, read.exif, read.found) == ({}, {}, None)
    assert len(read.notes) == 2


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("png", "jpeg"),
        ("jpeg", "webp"),
        ("webp", "avif"),
        ("avif", "tiff"),
        ("tiff", "png"),
        ("png", "jpeg camera"),
    ],
)
def test_copied_record_is_whole_and_does_not_claim_the_picture(source, target):
    made = metadata.embed(samples()[target], metadata.copied(facts(source)))
    read = metadata.read(made.data)
    assert read.found.recipe == APPLE
    assert read.found.infotext == infotext.write(APPLE)
    assert read.xmp[metadata.SYSTEM] == "imggen (builtin)"
    assert read.fits is False
    assert not read.is_own


def test_record_copied_back_to_its_own_picture_fits_again():
    read = metadata.read(metadata.embed(samples()["png"], metadata.copied(facts("png"))).data)
    assert read.fits is True


def test_copying_twice_is_copying_once():
    once = metadata.embed(samples()["jpeg camera"], metadata.copied(facts("png"))).data
    assert metadata.embed(once, metadata.copied(facts("png"))).data == once


def test_peers_infotext_is_copied_as_it_is_and_an_older_recipe_goes():
    peer = with_chunk(samples()["png"], b"tEXt", b"parameters\0cat\nSteps: 1, Sampler: x, Seed: 2, Size: 8x8")
    for name in BASIC:
        made = metadata.embed(marked(name).data, metadata.copied(metadata.read(peer)))
        read = metadata.read(made.data)
        assert (read.found.dialect, read.found.prompt, read.found.recipe) == ("a1111", "cat", None)
        assert metadata.RECIPE not in read.xmp
        assert b"red apple" not in made.data


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (samples()["png"], "no record"),
        (with_chunk(samples()["png"], b"tEXt", b'Comment\0{"uc": "", "scale": 1}'), "novelai record"),
    ],
)
def test_picture_without_a_record_that_can_be_copied_is_refused(source, fault):
    with pytest.raises(RequestError, match=fault):
        metadata.copied(metadata.read(source))


def test_minimal_picture_has_no_record_to_copy():
    with pytest.raises(RequestError, match="no record"):
        metadata.copied(facts("png", level="minimal"))


@every_format
def test_what_a_person_says_is_read_back(name):
    pairs = [
        ("artist", "A. B."),
        ("title", "Äpfel 🍎"),
        ("alt", "An apple"),
        ("keywords", "red, apple , "),
        ("copyright", "©"),
    ]
    made = saying(name, *pairs)
    read = metadata.read(made.data)
    assert read.xmp == {
        "dc:creator": ("A. B.",),
        "dc:title": "Äpfel 🍎",
        "Iptc4xmpCore:AltTextAccessibility": "An apple",
        "dc:subject": ("red", "apple"),
        "dc:rights": "©",
    }
    if name != "png":
        assert (read.exif["Artist"], read.exif["Copyright"]) == ("A. B.", "©")
    assert pixels(made.data) == pixels(samples()[name])


@every_format
def test_empty_value_takes_a_field_away_everywhere(name):
    said = saying(name, ("artist", "A. B."), ("title", "T")).data
    read = metadata.read(saying(name, ("artist", ""), data=said).data)
    assert read.xmp == {"dc:title": "T"}
    assert "Artist" not in read.exif


def test_taking_away_what_is_not_there_changes_nothing():
    assert saying("png", ("artist", "")).data == samples()["png"]


def test_older_places_of_a_png_do_not_say_something_else():
    old = with_chunk(samples()["png"], b"tEXt", b"Author\0Old")
    old = container.replace(old, Changes(exif=exif.merge(None, {"Artist": "Old", "Software": "x"})))
    read = metadata.read(saying("png", ("artist", "New"), data=old).data)
    assert read.picture.carriers.text("Author") == "New"
    assert read.exif == {"Artist": "New", "Software": "x"}


def test_saying_something_keeps_the_record():
    read = metadata.read(saying("jpeg", ("artist", "A. B."), data=marked("jpeg").data).data)
    assert read.found.recipe == APPLE
    assert read.is_own


def test_source_type_is_one_of_iptcs():
    read = metadata.read(saying("jpeg", ("source-type", "digitalCapture")).data)
    assert read.xmp[metadata.SOURCE_TYPE] == metadata.SOURCE_TYPES + "digitalCapture"
    with pytest.raises(RequestError, match="compositedWith") as caught:
        fields.assign([("source-type", "compositedWithTrainedAlgorithmicMedia")])
    assert "compositeWithTrainedAlgorithmicMedia" in caught.value.hint


def test_changed_source_type_is_told():
    photo = saying("jpeg", ("source-type", "digitalCapture")).data
    assert any("digitalCapture" in note for note in metadata.embed(photo, metadata.copied(facts("png"))).notes)


def test_unknown_field_names_the_nearest_one():
    with pytest.raises(RequestError, match="'artits'") as caught:
        fields.assign([("artits", "x")])
    assert "artist" in caught.value.hint


def test_every_field_has_a_home_that_xmp_knows():
    pairs = [(each.name, "digitalCapture" if each.name == "source-type" else "x") for each in fields.FIELDS]
    read = metadata.read(saying("webp", *pairs).data).xmp
    assert read.keys() == {each.property for each in fields.FIELDS}


def test_edited_picture_no_longer_fits_its_record():
    other = samples()["jpeg progressive"]
    told = metadata.compose(
        APPLE, level="full", created=WHEN, image_sha256=container.read(samples()["jpeg"]).image_sha256
    )
    read = metadata.read(metadata.embed(other, told).data)
    assert (read.fits, read.is_own) == (False, False)
    assert metadata.read(samples()["jpeg"]).fits is None


def test_comment_of_a_jpeg_stays():
    data = with_segment(samples()["jpeg"], 0xFE, b"hello")
    assert metadata.read(metadata.embed(data, metadata.copied(facts("png"))).data).picture.carriers.comments == (
        b"hello",
    )


needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="exiftool, an independent reader, is not installed"
)


def asked(path: object, *options: str) -> dict[str, object]:
    line = ["exiftool", "-j", "-G1", "-struct", *options, str(path)]
    return json.loads(subprocess.run(line, capture_output=True, check=True, timeout=60).stdout)[0]


@needs_exiftool
@every_format
def test_exiftool_reads_every_field_and_has_nothing_to_warn_of(name, tmp_path):
    path = tmp_path / f"a.{name.split()[0]}"
    recipe = replace(APPLE, prompt="a red apple 🍎 りんご")
    path.write_bytes(saying(name, ("artist", "A. B."), ("alt", "An apple"), data=marked(name, recipe).data).data)
    read = asked(path)
    assert read["XMP-iptcExt:DigitalSourceType"].lower().replace(" ", "").startswith(("http", "trained"))
    assert read["XMP-dc:Creator"] in ("A. B.", ["A. B."])
    assert read["XMP-xmp:CreatorTool"] == "imggen 0.1.0"
    told = read["PNG:Parameters"] if name == "png" else read["ExifIFD:UserComment"]
    assert told == infotext.write(recipe)
    assert recipe.to_json() in read.values()
    checked = asked(path, "-validate", "-warning", "-error", "-a")
    assert not [
        value for key, value in checked.items() if key.endswith(("Warning", "Error")) and "Minor" not in str(value)
    ]


@needs_exiftool
@every_format
def test_exiftool_shows_the_parents_and_has_nothing_to_warn_of(name, tmp_path):
    path = tmp_path / f"a.{name.split()[0]}"
    path.write_bytes(marked(name, CHILD).data)
    first, second = asked(path)["XMP-xmpMM:Ingredients"]
    assert (first["DocumentID"], first["Sha256"], first["Weight"]) == (APPLE_GUID, "2b" * 32, 0.7)
    assert second["DigitalSourceType"] == GENERATED
    checked = asked(path, "-validate", "-warning", "-error", "-a")
    assert not [value for key, value in checked.items() if key.endswith(("Warning", "Error"))]


@needs_exiftool
def test_exiftool_finds_a_changed_camera_file_sound(tmp_path):
    path = tmp_path / "photo.jpg"
    photo = container.replace(samples()["jpeg"], Changes(exif=camera("II"), xmp=FOREIGN))
    path.write_bytes(metadata.embed(photo, metadata.copied(facts("png"))).data)
    read = asked(path)
    assert read["IFD0:Make"] == "Maker"
    assert read["ExifIFD:UserComment"] == infotext.write(APPLE)
    assert read["XMP-crs:Exposure"] in ("+0.50", 0.5)
    assert "ExifTool:Warning" not in read
    assert "ExifTool:Error" not in read


def test_packets_of_other_programs_keep_their_prefixes():
    photo = container.replace(samples()["jpeg"], Changes(xmp=FOREIGN))
    packet = metadata.read(saying("jpeg", ("artist", "A"), data=photo).data).picture.carriers.xmp
    assert b"<crs:Look>" in packet
    assert xmp.read(packet)["dc:creator"] == ("A",)


@given(text=st.text(max_size=20), key=st.none() | st.binary(min_size=1, max_size=8))
def test_a_name_is_a_uuid_of_version_8_out_of_a_keyed_hash(text, key):
    urn = metadata.named(text, key)
    digest = hmac.new(key or b"imggen", text.encode(), hashlib.sha256).hexdigest()
    named = uuid.UUID(urn)
    assert (urn, named.version, named.variant) == (named.urn, 8, uuid.RFC_4122)
    drop = (0xF << 76) | (0x3 << 62)
    assert named.int & ~drop == int(digest[:32], 16) & ~drop
    assert metadata.watermark_of(urn) == digest[:12]
    assert metadata.instance(text, key) == metadata.named(f"image\n{text}", key)


def test_the_name_of_a_recipe_depends_on_it_and_on_the_key():
    assert metadata.identity(APPLE) == metadata.named(f"recipe\n{APPLE.to_json()}")
    assert metadata.identity(APPLE, b"key") == metadata.named(f"recipe\n{APPLE.to_json()}", b"key")
    assert metadata.identity(APPLE, b"key") != metadata.identity(APPLE)


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        (APPLE_GUID, APPLE_GUID),
        (APPLE_GUID.upper(), APPLE_GUID),
        (APPLE_GUID + "0", None),
        (APPLE_GUID.removeprefix("urn:"), None),
        (("x",), None),
        (None, None),
    ],
)
def test_a_stated_name_is_one_only_where_it_is_a_urn(stated, read):
    properties = {} if stated is None else {metadata.IDENTITY: stated}
    assert metadata.stated_guid(properties) == read


VOCABULARY = "http://ns.useplus.org/ldf/vocab/DMI-"


@pytest.mark.parametrize(
    ("values", "properties"),
    [
        ({}, {}),
        ({"watermark": "00aa", "unmarked": "x"}, {"imggen:Watermark": "00aa"}),
        ({"unmarked": "too small"}, {"imggen:Watermark": "none: too small"}),
        ({"label": "AI"}, {"imggen:Label": "AI"}),
        ({"organisation": "Example Ltd"}, {"photoshop:Credit": "Example Ltd"}),
        ({"alt": "a\0b"}, {"Iptc4xmpCore:AltTextAccessibility": xmp.clean("a\0b")}),
        ({"mining": "allowed"}, {"plus:DataMining": f"{VOCABULARY}ALLOWED"}),
        ({"mining": "constrained"}, {"plus:DataMining": f"{VOCABULARY}PROHIBITED-SEECONSTRAINT"}),
        ({"mining": "not-allowed"}, {"plus:DataMining": f"{VOCABULARY}PROHIBITED-AIMLTRAINING"}),
    ],
)
def test_what_is_said_beside_the_recipe_has_its_property(values, properties):
    particulars = Particulars(guid=APPLE_GUID, **values)
    assert particulars.properties() == properties
    for level in ("full", "minimal"):
        composed = metadata.compose(APPLE, level=level, created=WHEN, image_sha256="", particulars=particulars)
        assert properties.items() <= composed.properties.items()


@pytest.mark.parametrize(
    ("record", "prompt"),
    [("hash", f"sha256:{hashlib.sha256(b'a red apple' + bytes(1) + b'blurry').hexdigest()}"), ("omit", None)],
)
def test_a_prompt_that_is_not_recorded_takes_recipe_and_words_with_it(record, prompt):
    particulars = Particulars(guid=APPLE_GUID, prompt=record)
    composed = metadata.compose(APPLE, level="full", created=WHEN, image_sha256="ab", particulars=particulars)
    assert composed.properties[metadata.PROMPT] == prompt
    assert (composed.recipe, metadata.RECIPE in composed.properties) == (None, False)
    assert composed.infotext == infotext.write(replace(APPLE, prompt="", negative_prompt=""))
    assert composed.properties[metadata.IDENTITY] == APPLE_GUID
    assert composed.properties[metadata.IMAGE_HASH] == "ab"


def test_what_is_said_of_a_recipe_without_versions_names_the_weights():
    bare = replace(APPLE, versions={}, negative_prompt="")
    composed = metadata.compose(bare, level="full", created=WHEN, image_sha256="ab")
    assert composed.properties[metadata.SYSTEM_VERSION] == f"imggen; {'ab' * 32}"
    assert composed.properties[metadata.PROMPT] == "a red apple"
    assert composed.properties[metadata.IDENTITY] == metadata.identity(bare)
    assert composed.defaults == {metadata.TOOL: "imggen", metadata.CREATED: "2026-11-21T12:00:00Z"}
    assert composed.tag_defaults == {"Software": "imggen", "ColorSpace": 1}
    little = metadata.compose(bare, level="minimal", created=WHEN, image_sha256="ab")
    assert (little.tag_defaults, little.recipe, little.infotext) == ({"Software": "imggen"}, None, None)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("\\\\host\\share\\m", "m"),
        (".m", ".m"),
        ("~m", "~m"),
        ("a/b/c", "c"),
        ("a/b", "a/b"),
        ("D:m", "m"),
        ("/m", "m"),
        ("ab:c", "ab:c"),
    ],
)
def test_only_the_end_of_a_path_is_told(model, named):
    assert metadata.public(model) == (named if named == model and model[0] not in ".~" else infotext.model_name(model))


def test_times_are_told_in_utc():
    assert (
        metadata.stamp(datetime(2026, 11, 21, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))) == "2026-11-20T23:02:03Z"
    )
    for environment in ({}, {"SOURCE_DATE_EPOCH": ""}):
        moment = metadata.now(environment)
        assert abs(moment - datetime.now(UTC)) < timedelta(seconds=60)
        assert moment.utcoffset() == timedelta(0)
    assert metadata.now({"SOURCE_DATE_EPOCH": "86399"}) == datetime(1970, 1, 1, 23, 59, 59, tzinfo=UTC)
    with pytest.raises(RequestError) as caught:
        metadata.now({"SOURCE_DATE_EPOCH": "x"})
    assert caught.value.message == "SOURCE_DATE_EPOCH is 'x', not a number of seconds since 1970"


def test_a_copied_record_says_which_program_wrote_it_where_nothing_does():
    read = metadata.read(metadata.embed(samples()["jpeg"], metadata.copied(facts("png"))).data)
    assert read.xmp[metadata.TOOL] == "imggen 0.1.0"
    assert metadata.CREATED not in read.xmp
    assert read.xmp[metadata.RECIPE] == APPLE.to_json()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            samples()["png"],
            "it holds no record of how it was made; imggen copies its own recipe and infotext",
        ),
        (
            with_chunk(samples()["png"], b"tEXt", b'Comment\0{"uc": "", "scale": 1}'),
            "its novelai record cannot be carried over; imggen copies its own recipe and infotext",
        ),
    ],
)
def test_a_record_that_cannot_be_copied_says_which_it_is(source, message):
    with pytest.raises(RequestError) as caught:
        metadata.copied(metadata.read(source))
    assert caught.value.message == message


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(samples()["png"][:60])
    with pytest.raises(RequestError, match=r"broken\.png"):
        metadata.read(path)
    assert not metadata.is_own(path)
    assert not metadata.is_own(tmp_path / "none.png")
    path.write_bytes(marked("png").data)
    assert metadata.is_own(path)
    assert metadata.read(path) == metadata.read(path.read_bytes())


@pytest.mark.parametrize(
    ("history", "own"), [("last", True), ("first", False), ("none", False), ("words", False), ("other", False)]
)
def test_a_picture_that_imggen_changed_last_is_its_own(history, own):
    data = samples()["jpeg"]
    ours = {"stEvt:instanceID": metadata.instance(container.read(data).image_sha256)}
    other = {"stEvt:instanceID": metadata.instance("other")}
    steps = {"last": (other, ours), "first": (ours, other), "none": (), "words": "x", "other": (other,)}[history]
    packet = xmp.merge(None, {metadata.HISTORY: steps}) if steps else None
    assert metadata.read(container.replace(data, Changes(xmp=packet))).is_own is own


def test_a_picture_that_another_program_made_is_not_imggens_even_where_it_fits():
    data = marked("jpeg").data
    packet = xmp.merge(container.read(data).carriers.xmp, {metadata.TOOL: "Camera imggen"})
    read = metadata.read(container.replace(data, Changes(xmp=packet)))
    assert (read.fits, read.is_own) == (True, False)


def test_what_is_shortened_keeps_its_head_and_its_last_line():
    prompt = "".join(f"{number:05} " for number in range(8_000))
    composed = marked("jpeg", replace(APPLE, prompt=prompt))
    assert composed.notes == (
        "the prompt in the Exif comment is shortened, because a JPEG holds 65,533 bytes there",
        "the prompt in the XMP is shortened, because a JPEG holds 65,533 bytes there; the recipe has it whole",
    )
    read = metadata.read(composed.data)
    assert read.xmp[metadata.PROMPT] == prompt[:1000] + "…"
    head, _, last = read.exif["UserComment"].rpartition("\n")
    assert prompt.startswith(head.removesuffix("…"))
    assert head.endswith("…")
    assert last == infotext.write(APPLE).rpartition("\n")[2]
    size = len(container.read(composed.data).carriers.exif)
    assert jpeg.MAX_EXIF_BYTES - 4 <= size <= jpeg.MAX_EXIF_BYTES
    assert marked("webp", replace(APPLE, prompt=prompt)).notes == ()


@pytest.mark.parametrize("room", [390, 410])
def test_an_exif_without_room_for_some_words_stays(room):
    full = camera().ljust(jpeg.MAX_EXIF_BYTES - room - len(infotext.write(APPLE)) * 2, b"\0")
    photo = container.replace(samples()["jpeg"], Changes(exif=full))
    composed = metadata.embed(photo, metadata.copied(facts("png", replace(APPLE, prompt="word " * 900))))
    kept = [note for note in composed.notes if "it stays as it is, and only the XMP is written" in note]
    assert kept
    assert kept[0].startswith("the Exif would take ")
    assert kept[0].removeprefix("the Exif would take ")[:2].isdigit()


def test_a_comment_is_told_by_its_first_letters():
    photo = container.replace(samples()["jpeg"], Changes(exif=exif.merge(None, {"UserComment": "h" * 100})))
    composed = metadata.embed(photo, metadata.copied(facts("png")))
    assert composed.notes == (f"the Exif comment was '{'h' * 80}'",)
    blank = container.replace(samples()["jpeg"], Changes(exif=exif.merge(None, {"UserComment": "  "})))
    assert metadata.embed(blank, metadata.copied(facts("png"))).notes == ()
    assert metadata.embed(marked("jpeg").data, metadata.copied(facts("png", PEAR))).notes == (
        f"the digital source type was {GENERATED}",
    )


def test_a_new_exif_block_tells_the_size_and_a_kept_one_is_left_alone():
    assert {"ExifImageWidth": 24, "ExifImageHeight": 18, "ColorSpace": 1}.items() <= facts("jpeg").exif.items()
    changed = metadata.embed(marked("jpeg").data, Metadata(properties={metadata.ALT: "x"}))
    assert metadata.read(changed.data).exif == facts("jpeg").exif
    assert changed.marks == ()
    assert facts("png").exif == {}
