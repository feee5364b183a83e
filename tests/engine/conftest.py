from dataclasses import replace
from pathlib import Path

import pytest

from imggen.plan.models import catalog
from imggen.plan.schema.request import GeneratePlan, OutputPlan
from imggen.store import model_folder
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]


@pytest.fixture(scope="session")
def make_plan():
    """Return a function that plans a small picture with the model in a folder, on the CPU in float32."""

    def plan(folder: Path, *, seeds=(7,), size=64, steps=3, guidance=4.0, **changes) -> GeneratePlan:
        facts = model_folder.read(folder, reference=str(folder), source="folder")
        family = catalog.find(facts)
        made = GeneratePlan(
            task="text-to-image",
            pipeline=family.pipelines["text-to-image"],
            canvas=(size, size),
            model=facts,
            family=family,
            prompt="a red apple",
            negative_prompt="",
            width=size,
            height=size,
            steps=steps,
            guidance=guidance,
            seeds=tuple(seeds),
            sampler="default",
            device="cpu",
            dtype="float32",
            component_dtypes={},
            attention_slicing="off",
            attention_chunk_bytes=0,
            offload="none",
            vae_slicing=False,
            vae_tile=0,
            channels_last=False,
            allow_pickle=False,
            arguments={
                "prompt": "a red apple",
                "width": size,
                "height": size,
                "num_inference_steps": steps,
            }
            | dict(family.extra_arguments)
            | ({family.guidance_argument: guidance} if family.guidance_argument else {}),
            levers=(),
            output=OutputPlan(template="-", format="png", quality=90, if_exists="auto", metadata="full"),
            initial=dict(family.initial),
        )
        return replace(made, **changes)

    return plan
