"""Every sampler that is offered walks from noise to a picture, and the command line uses the one that it is told."""

import inspect
import json

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from imggen.host import environment
from imggen.plan.models import samplers
from tests.tiny_models import tiny_models

__all__ = ["tiny_models"]

NOISE = diffusers.PNDMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
)
FLOW = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
SHIFTED = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
FIXED = diffusers.FlowMatchEulerDiscreteScheduler()
OWN = {"noise": NOISE, "flow": FLOW, "flow_mu": SHIFTED, "flow_fixed": FIXED}
CASES = [(kind, name) for kind in OWN for name in samplers.names(kind) if name != "default"]


def prepare(kind, name, steps):
    """Return the sampler's scheduler, made as the loader makes it and set as the pipeline sets it."""
    chosen = samplers.find(name, kind)
    scheduler = getattr(diffusers, chosen.class_name).from_config(OWN[kind].config, **chosen.arguments)
    if kind in ("noise", "flow"):
        scheduler.set_timesteps(steps)
    elif scheduler.config.get("use_flow_sigmas"):
        scheduler.set_timesteps(steps, mu=0.8)
    else:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=0.8)
    return scheduler


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 50])
def test_a_sampler_walks_any_number_of_steps_to_finite_pixels(kind, name, steps):
    with environment.quiet():
        scheduler = prepare(kind, name, steps)
        generator = torch.Generator().manual_seed(0)
        target = torch.full((1, 2, 4, 4), 0.5)
        sample = torch.randn(target.shape, generator=generator) * getattr(scheduler, "init_noise_sigma", 1.0)
        taken = inspect.signature(scheduler.step).parameters
        extra = {"generator": generator} if "generator" in taken else {}
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(sample, timestep) if kind in ("noise", "flow") else sample
            sample = scheduler.step(scaled - target, timestep, sample, **extra).prev_sample
    assert torch.isfinite(sample).all()


def test_euler_on_a_straight_path_is_eulers_step():
    with environment.quiet():
        scheduler = prepare("flow", "euler", 5)
        generator = torch.Generator().manual_seed(0)
        sample = expected = torch.randn(1, 2, 4, 4, generator=generator, dtype=torch.float64)
        for number, timestep in enumerate(scheduler.timesteps):
            velocity = torch.randn(sample.shape, generator=generator, dtype=torch.float64)
            expected = expected + float(scheduler.sigmas[number + 1] - scheduler.sigmas[number]) * velocity
            sample = scheduler.step(velocity, timestep, sample).prev_sample
    torch.testing.assert_close(sample, expected, atol=1e-5, rtol=1e-5)


def test_the_sampler_that_is_told_is_used_and_recorded(run, tmp_path, tiny_models):
    made = set()
    for name in ("euler_a", "ddim", "dpmpp_2m_karras"):
        arguments = ("-m", tiny_models("sd"), "--size", "64x64", "--steps", 3, "--seed", 1, "--sampler", name)
        ended = run("generate", "a", "-o", f"{name}.png", "--json", *arguments)
        assert ended.code == 0
        assert json.loads(ended.out)["recipe"]["sampler"] == name
        with Image.open(tmp_path / f"{name}.png") as image:
            made.add(image.tobytes())
    assert len(made) == 3


def test_a_sampler_that_would_lose_its_numbers_is_refused_before_anything_is_drawn(run, tmp_path, tiny_models):
    arguments = ("generate", "a", "-m", tiny_models("sdxl"), "--size", "64x64", "--sampler", "dpm2_a", "--dry-run")
    ended = run(*arguments, "--steps", 2, "-o", tmp_path / "a.png")
    assert ended.code == 2
    assert "--sampler dpm2_a in 2 steps: a step from this model's most noise to its least ends in NaN" in ended.err
    assert "hint: --steps 3" in ended.err
    assert run(*arguments, "--steps", 3, "-o", tmp_path / "a.png").code == 0
