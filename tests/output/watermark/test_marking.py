from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageChops
from recipes import APPLE, ENLARGED
from textures import textured

from imggen.errors import PictureError, RequestError
from imggen.output.metadata import metadata, upscaled
from imggen.output.watermark import marking, watermark
from imggen.output.watermark.marking import MarkRequest
from imggen.plan.schema.marking import MarkingPlan
from imggen.plan.schema.recipe import SCHEMA

KEY = b"k" * 32
PICTURE = textured()


def marked(image=PICTURE, told=APPLE, *, key=None, where=None, **plan):
    return marking.apply(image, told, MarkRequest(plan=MarkingPlan(**plan), key=key, where=where))


def test_mark_is_the_beginning_of_the_name_and_the_recipe_says_that_it_is_there():
    made = marked()
    assert made.origin == replace(APPLE, watermark=True, schema=SCHEMA)
    assert made.particulars.guid == metadata.identity(made.origin)
    assert made.particulars.watermark == made.particulars.guid.removeprefix("urn:uuid:").replace("-", "")[:12]
    assert watermark.detect(made.image).identity == made.particulars.watermark


def test_same_recipe_gives_the_same_pixels_and_another_key_another_mark():
    assert marked().image.tobytes() == marked().image.tobytes()
    own = marked(key=KEY)
    assert own.particulars.watermark != marked().particulars.watermark
    assert watermark.detect(own.image, key=KEY).identity == own.particulars.watermark
    assert watermark.detect(own.image).identity is None


def test_switched_off_it_leaves_every_pixel_and_says_so():
    made = marked(watermark="off")
    assert made.image.tobytes() == PICTURE.tobytes()
    assert (made.particulars.watermark, made.particulars.unmarked) == ("", "--watermark off")
    assert made.origin.watermark is False


@pytest.mark.parametrize("image", [PICTURE.resize((64, 64)), Image.new("RGB", (512, 512), (200, 30, 30))])
def test_picture_that_cannot_carry_a_mark_stays_as_it_is_and_the_reason_is_told(image):
    made = marked(image)
    assert made.image.tobytes() == image.tobytes()
    assert made.particulars.unmarked
    assert metadata.UNMARKED + made.particulars.unmarked == made.particulars.properties()[metadata.WATERMARK]


def test_mark_that_was_asked_for_and_cannot_be_is_an_error():
    with pytest.raises(PictureError, match="could not be read back"):
        marked(where=Image.new("L", PICTURE.size, 0), watermark="on")
    with pytest.raises(RequestError, match="16x16"):
        marked(PICTURE.resize((16, 16)), watermark="on")


def test_pixels_that_were_given_come_back_bit_for_bit():
    where = Image.new("L", PICTURE.size, 0)
    where.paste(255, (0, 0, PICTURE.width, 150))
    made = marked(where=where, watermark="on")
    changed = np.asarray(ImageChops.difference(made.image, PICTURE)).max(axis=2)
    assert changed[:150].any()
    assert not changed[150:].any()


def test_label_is_drawn_into_the_corner_and_recorded():
    made = marked(label="AI", watermark="off")
    changed = ImageChops.difference(made.image, PICTURE).getbbox()
    assert changed[0] > PICTURE.width / 2
    assert changed[1] > PICTURE.height / 2
    assert made.origin.label == "AI"
    assert made.particulars.properties()[metadata.LABEL] == "AI"
    plate = made.image.crop(changed).convert("L").getextrema()
    assert plate == (0, 255)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_labelled_picture_keeps_its_mode(mode):
    made = marked(PICTURE.convert(mode), label="AI", watermark="off")
    assert made.image.mode == mode


def test_label_that_does_not_fit_is_refused_before_anything_is_written():
    with pytest.raises(RequestError, match="40x20"):
        marked(PICTURE.resize((40, 20)), label="Made by a machine")


def test_enlarged_photo_is_marked_only_on_request():
    photo = upscaled.Upscaled(edit=replace(ENLARGED, engine="lanczos", width=PICTURE.width, height=PICTURE.height))
    assert marked(told=photo).particulars.unmarked == "no model drew what it shows"
    made = marked(told=photo, watermark="on")
    assert watermark.detect(made.image).identity == made.particulars.watermark
    assert made.particulars.guid == upscaled.name(photo)
