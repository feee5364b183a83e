"""A plain family, and cases of it: each test says only what differs."""

from dataclasses import replace
from pathlib import Path

from imggen.plan.case import Case
from imggen.plan.models.record import ModelRecord
from imggen.plan.schema.family import Family
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GenerateRequest, ModelFacts
from tests.plan.conftest import laptop

FAMILY = Family(
    name="plain",
    title="Plain",
    pipelines={"text-to-image": "WordsPipeline", "image-to-image": "PicturePipeline", "inpaint": "RepaintPipeline"},
    denoiser="unet",
    native_pixels=512,
    patch=1,
    min_size=64,
    max_size=1024,
    steps=30,
    guidance=7.5,
    max_tokens=77,
    half_dtypes=("float16",),
    mps_dtype="float16",
)


def family(**changes: object) -> Family:
    return replace(FAMILY, **changes)


def facts(own: str = "PNDMScheduler", /, *, options: dict | None = None, **configs: dict) -> ModelFacts:
    return ModelFacts(
        reference="a/model",
        source="folder",
        folder=Path("/models/a"),
        pipeline="WordsPipeline",
        options=options or {},
        components={"scheduler": ("diffusers", own)},
        configs=configs,
    )


def case(
    row: Family = FAMILY,
    model: ModelFacts | None = None,
    *,
    record: ModelRecord | None = None,
    given: tuple[Given, ...] = (),
    adapters: tuple = (),
    **request: object,
) -> Case:
    return Case(
        request=GenerateRequest(**request),
        facts=model or facts(),
        family=row,
        record=record or ModelRecord(),
        machine=laptop(),
        given=given,
        adapters=adapters,
    )


def picture(role: str = "image", name: str = "photos/cat.png", width: int = 100, height: int = 80) -> Given:
    return Given(role=role, name=name, sha256="ab" * 32, width=width, height=height)
