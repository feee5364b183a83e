"""What an enlarged picture says: all that the smaller one said and that still holds, the step, and nothing more."""

import io
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from PIL import Image
from recipes import APPLE, ENLARGED, PEAR
from samples import FOREIGN, camera, picture, pillow, pixels, samples, saved, with_chunk, with_segment

from imggen.errors import RequestError
from imggen.output import writer
from imggen.output.formats import container, encoder, exif, xmp
from imggen.output.formats.carriers import Changes
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import fields, infotext, metadata, upscaled
from imggen.output.metadata.metadata import Facts, Marked
from imggen.plan.schema import recipe
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.request import OutputPlan
from tests.output.formats.test_exif import with_thumbnail
from tests.output.metadata.test_metadata import asked, needs_exiftool

WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
EDIT = replace(ENLARGED, width=96, height=72)
LARGE = (96, 72)
FORMATS = ("png", "jpeg", "webp", "avif", "tiff")
every_format = pytest.mark.parametrize("file_format", FORMATS)
STATED = metadata.SOURCE_TYPE


BARE = MarkingPlan(watermark="off")


def output(file_format: str = "jpeg", level: str = "full") -> OutputPlan:
    return OutputPlan(template="x", format=file_format, quality=100, if_exists="auto", metadata=level, marking=BARE)


def drawn(file_format: str, made: recipe.Recipe = APPLE, level: str = "full") -> bytes:
    """A picture of imggen's own."""
    return writer.encode(picture(), made, output(file_format, level), by=WriteContext(created=WHEN)).data


def enlarged(source: bytes, file_format: str = "jpeg", level: str = "full", **edit: object) -> Marked:
    told = upscaled.describe(source, replace(EDIT, **edit))
    return writer.encode(picture(size=LARGE), told, output(file_format, level), by=WriteContext(created=WHEN))


def facts(*given: object, **options: object) -> Facts:
    return metadata.read(enlarged(*given, **options).data)


def photo(*pairs: tuple[str, str], block: bytes | None = None, packet: bytes = FOREIGN) -> bytes:
    data = container.replace(samples()["jpeg"], Changes(exif=block or camera("II"), xmp=packet))
    return metadata.embed(data, fields.assign(pairs)).data


@every_format
@pytest.mark.parametrize("before", FORMATS)
def test_own_picture_keeps_its_record_with_the_step_behind_it(before, file_format):
    source = drawn(before)
    made = enlarged(source, file_format)
    read = metadata.read(made.data)
    assert read.found.recipe == recipe.edited(APPLE, EDIT)
    assert (read.fits, read.is_own, made.marks) == (True, True, ("iptc", "infotext", "recipe"))
    assert read.xmp[STATED] == metadata.GENERATED
    assert read.xmp[metadata.IDENTITY] == metadata.identity(read.found.recipe)
    assert read.xmp[metadata.DERIVED] == {
        "stRef:documentID": metadata.identity(APPLE),
        "imggen:sha256": EDIT.source_sha256,
        "imggen:role": "image",
        STATED: metadata.GENERATED,
    }
    told = infotext.parse(read.found.infotext).settings
    assert (told["Postprocess upscaler"], told["Seed"], told["Size-1"]) == ("builtin", "42", "128")
    assert read.xmp[metadata.PROMPT] == metadata.read(source).xmp[metadata.PROMPT]
    assert made.notes == ()


@every_format
def test_pixels_are_those_that_were_encoded(file_format):
    made = enlarged(drawn("png"), file_format)
    assert pixels(made.data) == pixels(encoder.encode(picture(size=LARGE), file_format, 100))


def test_step_is_in_the_history_behind_what_was_there():
    first = enlarged(drawn("jpeg")).data
    again = facts(first, engine="lanczos", model="", model_hash="", width=192, height=144)
    older, newer = again.xmp[metadata.HISTORY]
    assert older == {
        "stEvt:action": "resized",
        "stEvt:parameters": f"upscale to 96x72 px by network builtin {'4d' * 32}",
        "stEvt:softwareAgent": "imggen 0.2.0",
        "stEvt:when": "2026-11-21T12:00:00Z",
        "stEvt:instanceID": metadata.instance(container.read(first).image_sha256),
        "stEvt:changed": "/",
    }
    assert newer["stEvt:parameters"] == "upscale to 192x144 px by lanczos"
    assert [each.engine for each in again.found.recipe.edits] == ["network", "lanczos"]
    assert again.xmp[metadata.DERIVED]["stRef:documentID"] == metadata.read(first).xmp[metadata.IDENTITY]


def test_what_a_diffusion_model_was_told_is_in_the_history():
    told = {"prompt": "an apple, red", "seed": 3, "steps": 20, "guidance": 7.5}
    read = facts(drawn("png"), engine="diffusion", model="org/x4", model_hash="", **told)
    (step,) = read.xmp[metadata.HISTORY]
    said = "upscale to 96x72 px by diffusion org/x4, seed 3, steps 20, guidance 7.5, prompt an apple, red"
    assert step["stEvt:parameters"] == said
    (edit,) = read.found.recipe.edits
    assert {name: getattr(edit, name) for name in told} == told


@every_format
def test_photo_keeps_what_people_and_camera_said_and_loses_what_told_of_its_pixels(file_format):
    sizes = {"tiff:ImageWidth": "24", "exif:PixelXDimension": "24", "tiff:Orientation": "6", "hdrgm:Version": "1.0"}
    source = photo(
        ("artist", "A. B."),
        ("copyright", "(c) A. B."),
        ("keywords", "hill, sky"),
        ("alt", "A hill"),
        packet=xmp.merge(FOREIGN, {**sizes, "xmpMM:DocumentID": "xmp.did:1", "xmpMM:InstanceID": "xmp.iid:1"}),
    )
    made = enlarged(source, file_format)
    read = metadata.read(made.data)
    before = metadata.read(source).xmp
    kept = ("dc:title", "dc:creator", "dc:rights", "dc:subject", "Iptc4xmpCore:AltTextAccessibility", "xmp:CreatorTool")
    assert {name: read.xmp[name] for name in (*kept, "crs:Exposure")} == {
        name: before[name] for name in (*kept, "crs:Exposure")
    }
    assert (read.xmp["tiff:ImageWidth"], read.xmp["exif:PixelXDimension"], read.xmp["tiff:Orientation"]) == (
        "96",
        "96",
        "1",
    )
    assert "hdrgm:Version" not in read.xmp
    assert "exif:PixelYDimension" not in read.xmp
    named = {read.xmp["xmpMM:DocumentID"], read.xmp["xmpMM:InstanceID"], read.xmp[metadata.IDENTITY]}
    assert named == {upscaled.name(upscaled.describe(source, EDIT))}
    assert read.xmp[metadata.DERIVED]["stRef:documentID"] == "xmp.did:1"
    assert read.xmp[metadata.DERIVED]["stRef:instanceID"] == "xmp.iid:1"
    assert (read.exif["Make"], read.exif["Orientation"], read.exif["Artist"]) == ("Maker", 1, "A. B.")
    block = pillow(read.picture.carriers.exif)
    is_kept = file_format != "tiff"
    assert block.get_ifd(0x8769).get(0x927C) == (b"note" * 30 if is_kept else None)
    assert any("maker's note" in each for each in made.notes) != is_kept
    assert block.get_ifd(0x8825)[1] == "N"
    assert (read.found, read.fits) == (None, None)
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.getexif()[0x0112] == 1


def test_own_enlargement_of_a_photo_may_be_replaced_and_a_retouched_one_may_not(tmp_path):
    path = tmp_path / "big.png"
    path.write_bytes(enlarged(photo(), "png").data)
    assert metadata.is_own(path)
    carriers = container.read(path.read_bytes()).carriers
    path.write_bytes(
        container.replace(saved(picture("L", LARGE), "png"), Changes(exif=carriers.exif, xmp=carriers.xmp))
    )
    assert not metadata.is_own(path)


@every_format
@pytest.mark.parametrize("level", ["full", "minimal"])
@pytest.mark.parametrize(
    ("stated", "engine", "expected"),
    [
        (None, "lanczos", None),
        (None, "network", "algorithmicallyEnhanced"),
        (None, "diffusion", "compositeWithTrainedAlgorithmicMedia"),
        ("digitalCapture", "lanczos", "digitalCapture"),
        ("digitalCapture", "network", "algorithmicallyEnhanced"),
        ("digitalCapture", "diffusion", "compositeWithTrainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", "lanczos", "trainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", "network", "trainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", "diffusion", "trainedAlgorithmicMedia"),
        ("compositeWithTrainedAlgorithmicMedia", "network", "compositeWithTrainedAlgorithmicMedia"),
        ("compositeSynthetic", "network", "compositeSynthetic"),
    ],
)
def test_source_type_tells_what_a_model_had_to_do_with_the_pixels(file_format, level, stated, engine, expected):
    source = photo(("source-type", stated)) if stated else photo()
    read = facts(source, file_format, level, engine=engine)
    assert read.xmp.get(STATED) == (metadata.SOURCE_TYPES + expected if expected else None)
    assert (metadata.SYSTEM in read.xmp) is (engine == "diffusion")


LONG = xmp.merge(None, {"dc:source": "x" * 70_000})
PEER = "cat\nSteps: 9, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 24x18, Model: fine"


def test_peers_picture_keeps_its_infotext_and_is_not_said_to_be_a_mere_enhancement():
    source = with_chunk(samples()["png"], b"tEXt", b"parameters\0" + PEER.encode())
    for file_format in FORMATS:
        read = facts(source, file_format)
        assert read.found.infotext == f"{PEER}, Postprocess upscale by: 4, Postprocess upscaler: builtin"
        assert (read.found.dialect, read.found.prompt, read.fits) == ("a1111", "cat", None)
        assert read.xmp[STATED] == metadata.COMPOSITE


def test_scale_is_that_of_the_upright_picture():
    source = container.replace(samples()["jpeg"], Changes(exif=exif.merge(camera(), {"UserComment": PEER})))
    assert facts(source, width=36, height=48).found.infotext.endswith(
        ", Postprocess upscale by: 2, Postprocess upscaler: builtin"
    )


def test_record_that_does_not_fit_its_picture_still_does_not():
    source = metadata.embed(samples()["jpeg"], metadata.copied(metadata.read(drawn("png")))).data
    read = facts(source)
    assert read.found.recipe.edits == (EDIT,)
    assert read.fits is False
    assert read.is_own


def test_embedded_thumbnail_and_preview_are_gone_to_the_last_byte():
    preview = b"maker\xff\xd8\xff" + b"old pixels" * 9
    block = with_thumbnail(camera("II"))
    read = facts(photo(block=block)).picture.carriers.exif
    assert b"thumb" not in read
    assert 0x0201 not in pillow(read).get_ifd(1)
    noted = Image.Exif()
    noted[0x010F] = "Maker"
    noted.get_ifd(0x8769)[0x927C] = preview
    source = photo(block=noted.tobytes().removeprefix(b"Exif\0\0"))
    assert b"old pixels" in source
    made = enlarged(source).data
    assert b"old pixels" not in made
    assert metadata.read(made).exif["Make"] == "Maker"


@every_format
def test_minimal_keeps_the_words_for_the_public_and_nothing_private(file_format):
    source = photo(("artist", "A. B."), ("title", "Hill"), ("keywords", "hill, sky"))
    made = enlarged(source, file_format, "minimal")
    read = metadata.read(made.data)
    assert read.xmp["dc:creator"] == ("A. B.",)
    assert (read.xmp["dc:title"], read.xmp["dc:subject"]) == ("Hill", ("hill", "sky"))
    for private in (b"Maker", b"Model 1", b"Firmware", b"2026:11:21", b"Exposure", EDIT.source_sha256.encode()):
        assert private not in made.data
    assert not {metadata.DERIVED, metadata.HISTORY} & read.xmp.keys()
    assert 0x8825 not in pillow(read.picture.carriers.exif or exif.merge(None, {"Software": "x"}))
    assert read.is_own


@every_format
def test_minimal_says_which_model_made_the_picture_and_no_word_of_its_prompt(file_format):
    made = enlarged(drawn("png"), file_format, "minimal")
    read = metadata.read(made.data)
    assert (read.xmp[metadata.SYSTEM], read.xmp[STATED]) == ("imggen (builtin)", metadata.GENERATED)
    assert read.xmp[metadata.CREATED] == "2026-11-21T12:00:00Z"
    assert (read.found, made.marks) == (None, ("iptc",))
    assert b"red apple" not in made.data


def test_older_places_speak_where_there_is_no_xmp():
    block = exif.merge(camera(), {"Artist": "A. B.", "Copyright": "(c)"})
    source = container.replace(samples()["jpeg"], Changes(exif=block))
    read = facts(source, "png", "minimal").xmp
    assert (read["dc:creator"], read["dc:rights"]) == (("A. B.",), "(c)")
    titled = with_chunk(with_chunk(samples()["png"], b"tEXt", b"Title\0Hill"), b"tEXt", b"Author\0A. B.")
    assert facts(titled, "jpeg").xmp["dc:title"] == "Hill"
    assert facts(titled, "webp", "minimal").xmp["dc:creator"] == ("A. B.",)
    assert facts(titled, "png").picture.carriers.text("Title") == "Hill"


@every_format
def test_none_says_nothing(file_format):
    made = enlarged(photo(), file_format, "none")
    assert (made.data, made.marks) == (encoder.encode(picture(size=LARGE), file_format, 100), ())


@pytest.mark.parametrize(
    ("source", "file_format", "told"),
    [
        (with_segment(samples()["jpeg"], 0xEB, b"JP\0\1\0\0\0\1jumbc2pa"), "png", "C2PA"),
        (with_segment(samples()["jpeg"], 0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"), "jpeg", "IPTC-IIM"),
        (with_segment(samples()["jpeg"], 0xFE, b"hello"), "jpeg", "comment"),
        (with_chunk(samples()["png"], b"tEXt", b"workflow\0{}"), "webp", "the PNG's text chunks 'workflow'"),
        (b"GIF89a", "png", "AVIF or TIFF only"),
        (samples()["png"][:60], "png", "not carried over: the PNG"),
        (container.replace(samples()["jpeg"], Changes(xmp=b"<not xmp")), "jpeg", "the XMP is not well-formed"),
        (container.replace(samples()["jpeg"], Changes(exif=b"II*\0")), "jpeg", "Exif"),
        (container.replace(samples()["webp"], Changes(exif=camera() + b"x" * 70_000)), "jpeg", "than a JPEG holds"),
        (container.replace(samples()["png"], Changes(xmp=LONG)), "jpeg", "no more than --metadata minimal"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_left_out_is_told_and_the_picture_is_written(source, file_format, told):
    made = enlarged(source, file_format)
    assert any(told in note for note in made.notes), made.notes
    assert metadata.read(made.data).picture.width == 96


def test_nothing_is_said_to_be_left_out_where_it_is_not():
    source = with_chunk(drawn("png"), b"tEXt", b"workflow\0{}")
    assert enlarged(source, "png").notes == ()
    assert facts(source, "png").picture.carriers.text("workflow") == "{}"
    assert enlarged(drawn("png"), "jpeg").notes == ()


def test_recipe_of_a_newer_imggen_stays_as_it_is():
    newer = APPLE.to_json().replace(f'"schema":{APPLE.schema}', '"schema":99')
    source = container.replace(samples()["jpeg"], Changes(xmp=xmp.merge(None, {metadata.RECIPE: newer})))
    assert facts(source).xmp[metadata.RECIPE] == newer


def test_same_enlargement_at_the_same_time_is_the_same_file():
    assert enlarged(photo(), "png") == enlarged(photo(), "png")


@every_format
def test_transparency_is_kept_or_refused(file_format):
    told = upscaled.describe(drawn("png", PEAR), EDIT)
    image = picture("RGBA", LARGE)
    if file_format == "jpeg":
        with pytest.raises(RequestError, match="transparency") as caught:
            writer.encode(image, told, output(file_format))
        assert "-o x.png" in caught.value.hint
        return
    made = writer.encode(image, told, output(file_format))
    assert pixels(made.data) == [("RGBA", LARGE, image.tobytes())]
    assert metadata.read(made.data).found.recipe.edits == (EDIT,)


@every_format
def test_what_came_with_the_picture_is_there_again_after_it_was_written(file_format):
    image = picture("RGBA")
    image.info = {"comment": "x", "dpi": (7, 7)}
    for _ in range(2):
        if file_format == "jpeg":
            with pytest.raises(RequestError):
                encoder.encode(image, file_format, 90)
        else:
            encoder.encode(image, file_format, 90)
        assert image.info == {"comment": "x", "dpi": (7, 7)}


@every_format
def test_large_file_is_held_in_memory_no_more_than_twice(file_format):
    noise = Image.effect_noise((1500, 1500), 90).convert("RGB")
    told = upscaled.describe(drawn("jpeg"), replace(EDIT, width=1500, height=1500))
    tracemalloc.start()
    try:
        size = len(writer.encode(noise, told, output(file_format)).data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 2_000_000
    # Pillow hands libavif a copy of the pixels.
    assert peak < 2.4 * size + (1500 * 1500 * 3 if file_format == "avif" else 0)


VALIDATED = ("-validate", "-warning", "-error", "-a")


@needs_exiftool
@every_format
def test_exiftool_reads_the_step_and_has_nothing_to_warn_of(file_format, tmp_path):
    path = tmp_path / f"a.{file_format}"
    path.write_bytes(enlarged(photo(("artist", "A. B.")), file_format).data)
    read = asked(path)
    (event,) = read["XMP-xmpMM:History"]
    assert (event["Action"], event["SoftwareAgent"], event["When"]) == (
        "resized",
        "imggen 0.2.0",
        "2026:11:21 12:00:00Z",
    )
    assert read["XMP-xmpMM:DerivedFrom"]["Sha256"] == EDIT.source_sha256
    assert read["IFD0:Make"] == "Maker"
    assert read["IFD0:Orientation"] == "Horizontal (normal)"
    original = tmp_path / "photo.jpg"
    original.write_bytes(photo())
    told = asked(path, *VALIDATED), asked(original, *VALIDATED)
    found, before = ({value for key, value in each.items() if key.endswith(("Warning", "Error"))} for each in told)
    # In a TIFF, the camera's directory of places is asked for more than this camera has.
    assert not {each for each in found - before if "inor" not in each and "TIFF GPS" not in each}


def dense(file_format: str, dpi: tuple[int, int] = (300, 300), **saving: object) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, file_format, dpi=dpi, **saving)
    return buffer.getvalue()


def density_of(data: bytes) -> tuple[int, int] | None:
    return exif.density(container.read(data).carriers.exif or b"")


@pytest.mark.parametrize("level", ["full", "minimal"])
@pytest.mark.parametrize("file_format", ["jpeg", "webp", "avif", "tiff"])
@pytest.mark.parametrize("before", ["jpeg", "png"])
def test_density_of_the_source_is_kept_in_the_exif(before, file_format, level):
    made = enlarged(dense(before, (300, 240)), file_format, level)
    assert density_of(made.data) == (300, 240)
    assert not any("density" in note for note in made.notes)


@pytest.mark.parametrize("level", ["full", "minimal"])
def test_density_that_a_png_has_no_exif_for_is_a_note(level):
    made = enlarged(dense("png"), "png", level)
    assert "the source's density of 300 pixels per inch is not carried over" in made.notes
    assert not any("density" in note for note in enlarged(dense("png", (72, 72)), "png", level).notes)


@pytest.mark.parametrize(("unit", "expected"), [(2, (118, 118)), (3, (300, 300))])
def test_density_of_the_exif_stays_and_outlives_minimal_metadata(unit, expected):
    tags = Image.Exif()
    tags[0x011A], tags[0x011B], tags[0x0128] = 118.11, 118.11, unit
    source = saved(picture(), "jpeg", exif=tags)
    for level in ("full", "minimal"):
        assert density_of(enlarged(source, "jpeg", level).data) == expected
    assert not any("density" in note for note in enlarged(source, "png").notes)


def test_density_that_is_none_is_not_made_one():
    tags = Image.Exif()
    tags[0x011A], tags[0x0128] = 300, 2
    assert upscaled.describe(saved(picture(), "jpeg", exif=tags), EDIT).density is None
    assert upscaled.describe(saved(picture(), "jpeg"), EDIT).density is None
    assert upscaled.describe(dense("jpeg", (72, 72)), EDIT).density is None


def test_density_out_of_all_proportion_is_not_believed():
    tags = Image.Exif()
    tags[0x011A], tags[0x011B], tags[0x0128] = 4e9, 4e9, 3
    assert density_of(enlarged(saved(picture(), "jpeg", exif=tags), "jpeg", "minimal").data) == (72, 72)
