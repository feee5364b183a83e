"""Models, machines and requests to plan with; nothing here needs torch."""

from pathlib import Path

import pytest

from imggen.plan.generation import resolve
from imggen.plan.schema.machine import Accelerator, Machine
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, ModelFacts

GIB = 2**30


def laptop(**changes: object) -> Machine:
    values = {
        "system": "Linux",
        "architecture": "x86_64",
        "cpu_name": "a processor",
        "cpu_cores": 8,
        "cpu_bfloat16": False,
        "cpu_reason": "the x86_64 processor has neither AMX nor AVX512-BF16",
        "memory_bytes": 16 * GIB,
        "free_bytes": 12 * GIB,
        "torch": "2.14.1",
    }
    return Machine(**(values | changes))


def with_cuda(*, free: int = 22 * GIB, bfloat16: bool = True, **changes: object) -> Machine:
    gpu = Accelerator(
        device="cuda",
        name="A GPU",
        total_bytes=24 * GIB,
        free_bytes=free,
        capability=(8, 9) if bfloat16 else (7, 5),
        bfloat16=bfloat16,
    )
    return laptop(accelerators=(gpu,), memory_bytes=64 * GIB, **changes)


def with_mps(*, bfloat16: bool = True, **changes: object) -> Machine:
    gpu = Accelerator(device="mps", name="Apple GPU", total_bytes=16 * GIB, free_bytes=12 * GIB, bfloat16=bfloat16)
    return laptop(accelerators=(gpu,), system="Darwin", architecture="arm64", **changes)


def stable_diffusion(**changes: object) -> ModelFacts:
    values = {
        "reference": "sd-legacy/stable-diffusion-v1-5",
        "source": "hub",
        "folder": Path("/models/sd15"),
        "pipeline": "StableDiffusionPipeline",
        "revision": "abc",
        "components": {
            "unet": ("diffusers", "UNet2DConditionModel"),
            "vae": ("diffusers", "AutoencoderKL"),
            "text_encoder": ("transformers", "CLIPTextModel"),
            "scheduler": ("diffusers", "PNDMScheduler"),
        },
        "configs": {
            "unet": {
                "sample_size": 64,
                "block_out_channels": [320, 640, 1280, 1280],
                "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
                "attention_head_dim": 8,
                "time_cond_proj_dim": None,
            },
            "vae": {"block_out_channels": [128, 256, 512, 512]},
            "scheduler": {"prediction_type": "epsilon", "num_train_timesteps": 1000},
        },
        "weight_bytes": {"unet": 1_720_000_000, "vae": 167_000_000, "text_encoder": 246_000_000},
        "stored_dtypes": {"unet": "float16", "vae": "float16", "text_encoder": "float16"},
    }
    return ModelFacts(**(values | changes))


def stable_diffusion_xl() -> ModelFacts:
    return ModelFacts(
        reference="stabilityai/stable-diffusion-xl-base-1.0",
        source="hub",
        folder=Path("/models/sdxl"),
        pipeline="StableDiffusionXLPipeline",
        components={"vae": ("diffusers", "AutoencoderKL"), "scheduler": ("diffusers", "EulerDiscreteScheduler")},
        configs={
            "unet": {
                "sample_size": 128,
                "block_out_channels": [320, 640, 1280],
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                "attention_head_dim": [5, 10, 20],
            },
            "vae": {"block_out_channels": [128, 256, 512, 512]},
            "scheduler": {"prediction_type": "epsilon", "num_train_timesteps": 1000, "use_karras_sigmas": False},
        },
        weight_bytes={"unet": 5_140_000_000, "vae": 167_000_000, "text_encoder": 1_640_000_000},
        stored_dtypes={"unet": "float16", "vae": "float16", "text_encoder": "float16"},
    )


def flux(*, schnell: bool = False) -> ModelFacts:
    return ModelFacts(
        reference="black-forest-labs/FLUX.1-dev",
        source="hub",
        folder=Path("/models/flux"),
        pipeline="FluxPipeline",
        components={
            "vae": ("diffusers", "AutoencoderKL"),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
        },
        configs={
            "transformer": {"guidance_embeds": not schnell, "num_attention_heads": 24, "attention_head_dim": 128},
            "vae": {"block_out_channels": [128, 256, 512, 512]},
            "scheduler": {"use_dynamic_shifting": not schnell, "num_train_timesteps": 1000},
        },
        weight_bytes={"transformer": 23_800_000_000, "text_encoder_2": 9_520_000_000, "vae": 168_000_000},
        stored_dtypes={"transformer": "bfloat16", "text_encoder_2": "bfloat16", "vae": "bfloat16"},
    )


def straight(pipeline, shift=3.0, **configs):
    """Facts of a model of the pipeline, which follows a straight path that its scheduler shifts."""
    return ModelFacts(
        reference="m",
        source="folder",
        folder=Path("/models/m"),
        pipeline=pipeline,
        components={
            "vae": ("diffusers", "AutoencoderKL"),
            "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
        },
        configs={"scheduler": {"shift": shift}, **configs},
    )


def builtin(**record: object) -> ModelFacts:
    return ModelFacts(
        reference="builtin",
        source="builtin",
        folder=Path("/imggen/builtin/model"),
        pipeline="StableDiffusionPipeline",
        components={
            "unet": ("diffusers", "UNet2DConditionModel"),
            "vae": ("diffusers", "AutoencoderTiny"),
            "text_encoder": ("transformers", "CLIPTextModel"),
            "scheduler": ("diffusers", "DPMSolverMultistepScheduler"),
        },
        configs={
            "unet": {"sample_size": 16, "block_out_channels": [96, 160, 224], "attention_head_dim": 8},
            "vae": {"block_out_channels": [48, 48, 48, 48]},
            "scheduler": {
                "prediction_type": "flow_prediction",
                "use_flow_sigmas": True,
                "use_karras_sigmas": False,
                "solver_order": 2,
                "algorithm_type": "dpmsolver++",
                "num_train_timesteps": 1000,
            },
        },
        weight_bytes={"unet": 30_000_000, "vae": 2_000_000, "text_encoder": 4_000_000},
        stored_dtypes={"unet": "float16", "vae": "float16", "text_encoder": "float16"},
        record={
            "schema": 1,
            "name": "builtin",
            "native_size": 128,
            "steps": 20,
            "guidance": 3.0,
            "max_size": 256,
            "vocabulary": {
                "objects": ["apple", "hot dog", "crescent moon"],
                "shapes": ["triangle", "star"],
                "colors": ["red", "teal", "yellow"],
                "backgrounds": ["plain", "striped"],
                "words": ["a", "an", "on", "and", "background", "two", "apples"],
            },
        }
        | record,
    )


def _any_call(names: object, pipeline: str) -> None:
    """Accept every argument: most tests are not about diffusers' signatures."""


@pytest.fixture
def make_plan():
    """Return a function that resolves a request, given as fields, for a model and a machine."""

    def plan(
        model: ModelFacts | None = None,
        machine: Machine | None = None,
        *,
        origin: dict[str, str] | None = None,
        **fields,
    ) -> GeneratePlan:
        request = GenerateRequest(**({"prompt": "a red apple"} | fields), origin=origin or {})
        return resolve.resolve(
            request, model or builtin(), machine or laptop(), draw_seed=lambda limit: 7, check_call=_any_call
        )

    return plan
