"""What the table of families says of a family: by which method each task is done, or why not."""

import pytest

from imggen.plan.generation import capabilities
from imggen.plan.generation.capabilities import Ability
from imggen.plan.models import catalog
from imggen.plan.models.families.refusals import ONE_PASS
from imggen.plan.schema.family import Controls, IpAdapters, Stages
from tests.plan.cases import facts, family

WORDS = {"text-to-image": "WordsPipeline"}
PICTURES = {"image-to-image": "PicturePipeline"}


def methods(row, model=None):
    return {ability.task: ability.method for ability in capabilities.abilities(row, model) if ability.refusal is None}


def test_a_plain_family_does_every_task_in_the_order_of_the_tasks():
    assert [ability.task for ability in capabilities.abilities(family())] == list(capabilities.TASKS)
    assert methods(family()) == {
        "text-to-image": None,
        "image-to-image": "image-to-image",
        "inpaint": "inpainting",
        "outpaint": "inpainting",
        "blend": "noise-and-words",
        "style": "statistics",
    }


def test_a_family_without_words_mixes_pictures_and_says_what_it_lacks():
    row = family(pipelines=PICTURES)
    assert methods(row)["blend"] == "latents"
    first = capabilities.abilities(row)[0]
    assert (first.method, "Plain" in first.refusal) == (None, True)


def test_a_family_without_pictures_refuses_what_starts_from_them():
    assert set(methods(family(pipelines=WORDS))) == {"text-to-image", "blend"}


def test_the_usual_model_has_the_channels_that_inpainting_takes_and_another_may_not():
    row = family(inpaint_channels=(9, 16))
    assert methods(row)["inpaint"] == "inpainting"
    assert methods(row, facts(unet={"in_channels": 4}))["inpaint"] == "latent-blending"
    assert methods(row, facts(unet={"in_channels": 16}))["inpaint"] == "inpainting"


def test_a_family_that_needs_a_control_picture_is_given_one():
    row = family(controls=Controls(network=None, pipelines=WORDS))
    assert "needs a control picture" in next(
        ability.refusal for ability in capabilities.abilities(row) if ability.task == "blend"
    )


@pytest.mark.parametrize(
    ("method", "is_stand_in"),
    [
        (None, False),
        ("image-to-image", False),
        ("inpainting", False),
        ("reference", False),
        ("noise-and-words", False),
        ("latent-blending", True),
        ("latents", True),
        ("statistics", True),
        ("ip-adapter", True),
    ],
)
def test_a_stand_in_is_what_the_family_was_not_made_for(method, is_stand_in):
    assert Ability(task="style", method=method).is_stand_in is is_stand_in


@pytest.mark.parametrize(
    ("changes", "multiple"),
    [
        ({}, 8),
        ({"vae_scale": 1}, 8),
        ({"vae_scale": 9}, 9),
        ({"patch": 2}, 16),
        ({"patch": 2, "block": 4, "vae_scale": 16}, 128),
    ],
)
def test_edges_are_multiples_of_what_a_token_covers_and_at_least_8(changes, multiple):
    assert capabilities.multiple_of(family(**changes)) == multiple


@pytest.mark.parametrize(
    ("changes", "kind", "usual"),
    [
        ({}, "true", 7.5),
        ({"negative_refusal": "it reads none"}, "true", 7.5),
        ({"negative_refusal": ONE_PASS}, "distilled", 7.5),
        ({"guidance_argument": None}, "none", None),
        ({"guidance_argument": None, "negative_refusal": ONE_PASS}, "none", None),
        ({"guidance_argument": None, "guiders": ("guider",)}, "true", 7.5),
    ],
)
def test_guidance_is_told_by_how_it_works(changes, kind, usual):
    assert capabilities.guidance(family(**changes)) == kind
    described = capabilities.described(family(**changes))
    assert (described["guidance_kind"], described["guidance"]) == (kind, usual)


def test_a_family_is_described_by_values_for_json():
    described = capabilities.described(family(pipelines={**WORDS, "inpaint": "WordsPipeline"}, vae_class=None))
    tasks = described.pop("tasks")
    assert described == {
        "family": "plain",
        "title": "Plain",
        "model": None,
        "prior": None,
        "licence": None,
        "pipelines": ["WordsPipeline"],
        "native_size": 512,
        "multiple_of": 8,
        "min_size": 64,
        "max_size": 1024,
        "sizes": [],
        "steps": 30,
        "guidance": 7.5,
        "guidance_kind": "true",
        "negative_prompt": True,
        "max_tokens": 77,
        "dtypes": ["float32", "float16"],
        "tiles": False,
        "lora": False,
        "controlnet": False,
        "ip_adapter": False,
    }
    assert tasks["inpaint"] == {"possible": True, "method": "inpainting", "stand_in": False}
    assert tasks["image-to-image"].keys() == {"possible", "reason"}
    assert tasks["image-to-image"]["possible"] is False


def test_what_a_family_has_besides_is_described():
    described = capabilities.described(
        family(
            base="a/base",
            stages=Stages(decoders={}, prior="P", usual="a/prior", other_steps=""),
            sizes=((512, 512), (640, 384)),
            negative_refusal="no",
            controls=Controls(network="Net", pipelines={}),
            ip_adapters=IpAdapters(layout="unet"),
        )
    )
    assert (described["model"], described["prior"]) == ("a/base", "a/prior")
    assert described["sizes"] == [[512, 512], [640, 384]]
    assert (described["negative_prompt"], described["controlnet"], described["ip_adapter"]) == (False, True, True)


def test_loras_and_tiles_are_what_the_catalogue_knows():
    assert capabilities.described(catalog.named("sd"))["lora"] is True
    assert capabilities.described(catalog.named("sd"))["tiles"] is True
