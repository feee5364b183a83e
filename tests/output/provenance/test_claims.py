"""What a signature vouches for: no more of the prompt than the file says, and what was done to what."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from PIL import Image
from recipes import APPLE, ENLARGED, GENERATED, PEAR
from samples import samples

from imggen.output.metadata import metadata, upscaled
from imggen.output.metadata.metadata import Particulars
from imggen.output.provenance import claims
from imggen.output.provenance.signing import Parent
from imggen.output.watermark.marking import MarkedPixels
from imggen.plan.schema.request import OutputPlan

WHEN = datetime(2026, 11, 21, tzinfo=UTC)
OUTPUT = OutputPlan(template="x", format="png", quality=100, if_exists="auto", metadata="full")
PARENT = Parent(data=samples()["png"], format="png", title="in.png")


def claim(origin=APPLE, *, level="full", parents=(), **particulars):
    said = Particulars(**{"guid": "urn:uuid:1", "watermark": "0123456789ab", **particulars})
    pixels = MarkedPixels(image=Image.new("L", (1, 1)), origin=origin, particulars=said)
    return claims.of_picture(pixels, replace(OUTPUT, metadata=level), title="a.png", created=WHEN, parents=parents)


@pytest.mark.parametrize(
    ("level", "prompt", "hashed", "settings"),
    [
        ("full", "full", True, True),
        ("full", "hash", True, False),
        ("full", "omit", False, False),
        ("minimal", "full", False, False),
        ("none", "full", False, False),
    ],
)
def test_manifest_says_no_more_of_the_prompt_than_the_file(level, prompt, hashed, settings):
    made = claim(level=level, prompt=prompt)
    assert (made.prompt_sha256 is not None, bool(made.settings)) == (hashed, settings)
    assert (made.guid is not None) is (level == "full")
    assert (made.watermark_id, made.source_type, made.model) == ("0123456789ab", GENERATED, "builtin")


def test_settings_are_those_of_the_recipe_without_its_words():
    assert claim().settings["seed"] == 42
    assert "prompt" not in claim().settings


def test_picture_is_edited_where_it_had_a_parent_and_created_where_one_was_looked_at():
    looked_at = replace(PARENT, relationship="inputTo")
    assert [claim(parents=parents).action for parents in ((), (looked_at,), (looked_at, PARENT))] == [
        "created",
        "created",
        "edited",
    ]
    assert [claim(recipe).description for recipe in (APPLE, PEAR)] == [None, "image-to-image"]


def test_mining_is_said_in_the_words_of_the_standard():
    values = {None: None, "allowed": "allowed", "constrained": "constrained", "not-allowed": "notAllowed"}
    assert {mining: claim(mining=mining).mining for mining in values} == values


@pytest.mark.parametrize(
    ("engine", "action"), [("lanczos", "resized"), ("network", "enhanced"), ("diffusion", "enhanced")]
)
def test_enlargement_says_what_enlarged(engine, action):
    origin = upscaled.describe(samples()["png"], replace(ENLARGED, engine=engine))
    made = claim(origin, parents=(PARENT,))
    assert (made.action, made.description) == (action, "enlarged to 512x384 pixels")
    assert (made.model, made.model_version, made.version) == ("builtin", "4d" * 32, "0.2.0")
    # A parent that C2PA cannot take in leaves nothing to open.
    assert claim(origin).action == "created"


@pytest.mark.parametrize(("stated", "expected"), [(GENERATED, GENERATED), ("urn:mine", None), (None, None)])
def test_edit_of_metadata_keeps_the_source_type_that_is_one(stated, expected):
    data = metadata.embed(samples()["png"], metadata.Metadata(properties={metadata.SOURCE_TYPE: stated})).data
    made = claims.of_edit(data, metadata.read(data), title="a.png", created=WHEN)
    assert (made.source_type, made.action, made.parents[0].relationship) == (expected, "edited.metadata", "parentOf")
