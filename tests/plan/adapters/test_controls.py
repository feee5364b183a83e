"""Control pictures as they are typed: names, files and scales, however many colons they have."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import RequestError
from imggen.plan.adapters import controlnets, controls
from imggen.plan.adapters.controls import Control
from imggen.plan.models import catalog
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import stable_diffusion

SD = catalog.named("sd")
EDGES = "--control canny:edges.png, or another of depth, pose, scribble, lineart, softedge, tile, normal, seg"


def parse(written, *there):
    return controls.parse(written, exists=lambda name: name in there)


@pytest.mark.parametrize(
    ("written", "there", "wanted"),
    [
        ("canny:edges.png", (), ("canny", "edges.png", 1.0)),
        ("canny:edges.png:0.8", (), ("canny", "edges.png", 0.8)),
        ("canny:-", (), ("canny", "-", 1.0)),
        ("org/name@rev:a.png:0", (), ("org/name@rev", "a.png", 0.0)),
        ("C:\\nets\\canny:D:\\p\\e.png:0.5", (), ("C:\\nets\\canny", "D:\\p\\e.png", 0.5)),
        ("canny:C:/p/e.png", (), ("canny", "C:/p/e.png", 1.0)),
        ("a:b:c.png", ("c.png",), ("a:b", "c.png", 1.0)),
        ("a:b:c.png", ("b:c.png",), ("a", "b:c.png", 1.0)),
        ("canny:x:y.png:1.5", (), ("canny", "x:y.png", 1.5)),
        ("net:x:y.png", (), ("net:x", "y.png", 1.0)),
    ],
)
def test_a_control_is_parted_from_both_ends(written, there, wanted):
    name, image, scale = wanted
    assert parse(written, *there) == Control(name=name, image=image, scale=scale)


@pytest.mark.parametrize(
    ("written", "wanted"), [("inpaint", ("inpaint", 1.0)), ("./net:0.8", ("./net", 0.8)), ("o/n@r", ("o/n@r", 1.0))]
)
def test_where_a_picture_is_repainted_a_control_net_may_stand_without_one(written, wanted):
    name, scale = wanted
    assert controls.parse(written, alone=True) == Control(name=name, image="", scale=scale)


@pytest.mark.parametrize("written", ["canny", "hed:0.5", "edges.png", "canny:", "./net:"])
def test_what_cannot_be_a_control_net_needs_its_picture_there_too(written):
    with pytest.raises(RequestError, match=r"needs its picture|does not say what it is"):
        controls.parse(written, alone=True)


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("canny", "--control canny needs its picture", "--control canny:edges.png"),
        ("canny:0.8", "--control canny:0.8 needs its picture", "--control canny:edges.png"),
        ("canny:", "--control canny: needs its picture", "--control canny:edges.png"),
        ("./net", "--control ./net needs its picture", "--control ./net:picture.png"),
        ("edges.png", "--control edges.png does not say what it is a picture of", EDGES),
        ("p/e.JPG:0.5", "--control p/e.JPG:0.5 does not say what it is", EDGES.replace("edges.png", "p/e.JPG")),
        (":e.png", "--control :e.png names no ControlNet before its picture", "--control canny:e.png"),
        ("", "--control is empty", "--control canny:edges.png"),
        ("canny:e.png:2.5", "the scale 2.5 is not in 0 to 2", "--control canny:e.png:0.8"),
        ("canny:e.png:-1", "the scale -1 is not in 0 to 2", "--control canny:e.png:0.8"),
        ("canny:e.png:nan", "the scale nan is not in 0 to 2", "--control canny:e.png:0.8"),
        ("canny:e.png:strong", "'strong' is not a scale", "--control canny:e.png:0.8"),
        ("inpaint", "has holes, which no file can hold", 'imggen inpaint PICTURE "..." --mask MASK'),
    ],
)
def test_a_control_that_says_no_such_thing_is_refused_with_one_that_does(written, message, hint):
    with pytest.raises(RequestError, match=message) as caught:
        parse(written, "e.png")
    assert (caught.value.exit_code, caught.value.hint) == (2, hint)


def asked(*written, family=SD, model=None, **said):
    return controls.asked(GenerateRequest(control=written, **said), family, model or of_width(768))


def of_width(width):
    facts = stable_diffusion()
    return replace(facts, configs=facts.configs | {"unet": facts.configs["unet"] | {"cross_attention_dim": width}})


def test_a_kind_is_the_familys_usual_network_and_another_name_for_it_too():
    assert [each.reference for each in asked("canny:a.png", "openpose:b.png:0.4")] == [
        "lllyasviel/control_v11p_sd15_canny",
        "lllyasviel/control_v11p_sd15_openpose",
    ]
    assert [each.scale for each in asked("canny:a.png", "openpose:b.png:0.4")] == [1.0, 0.4]


@pytest.mark.parametrize(
    ("written", "family", "message", "hint"),
    [
        ("cany:e.png", "sd", "there is no such kind of control, and no such file or folder", "--control canny:e.png"),
        (
            "scribble:e.png",
            "flux",
            "no usual ControlNet of this kind for FLUX.1; it knows canny, softedge, depth, pose",
            None,
        ),
        (
            "canny:e.png",
            "flux-schnell",
            "for FLUX.1 schnell; it knows none",
            "name one: --control ORGANISATION/NAME:e.png",
        ),
        ("inpaint:e.png", "sd", "has holes, which no file can hold", 'imggen inpaint PICTURE "..." --mask MASK'),
        ("inpaint:e.png", "sd3", "has holes", 'imggen inpaint PICTURE "..." --mask MASK --control inpaint'),
        ("canny:e.png", "auraflow", "imggen knows no ControlNets for AuraFlow", None),
    ],
)
def test_what_a_family_has_not_is_refused_with_what_it_has(written, family, message, hint):
    with pytest.raises(RequestError, match=message) as caught:
        asked(written, family=catalog.named(family))
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize("kind", ["pose", "lineart"])
def test_a_picture_that_imggen_cannot_make_is_refused_by_its_kind(kind):
    with pytest.raises(
        RequestError, match=f"--preprocess: imggen cannot make {kind} pictures; it makes canny, depth, tile"
    ):
        asked(f"{kind}:photo.png", preprocess=True)


def test_there_must_be_something_to_preprocess():
    with pytest.raises(RequestError, match="there is no control picture to make"):
        asked(preprocess=True)
    assert asked("canny:photo.png", preprocess=True)[0].preprocessor == "canny"
    assert asked("canny:photo.png")[0].preprocessor is None


def test_the_usual_networks_of_one_version_are_none_for_another_and_not_fetched():
    with pytest.raises(RequestError, match="are for models whose cross_attention_dim is 768, and it is 1024 here"):
        asked("canny:e.png", model=of_width(1024))


def test_the_documents_name_every_usual_network():
    told = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text(encoding="utf-8")
    for row in filter(None, (family.controls for family in catalog.FAMILIES)):
        assert [each for each in row.published.values() if f"`{each}`" not in told] == []


def test_the_table_names_families_kinds_and_places_on_the_hub():
    for family in (family for family in catalog.FAMILIES if family.controls):
        row = family.controls
        assert row.pipelines.keys() <= family.pipelines.keys()
        assert set(row.published) <= {*controls.KINDS, *([controlnets.INPAINT] if row.repainting else [])}
        assert all(len(each.split("/")) == 2 for each in row.published.values())
