"""Samplers as data: the names that people know, and the scheduler behind each for each kind of model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from imggen.errors import RequestError
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.request import Scheduler

Prediction = Literal["noise", "flow", "flow_mu", "flow_fixed", "flow_own", "own"]
"""What a model's denoiser predicts, as far as samplers care.

noise       the noise or its velocity, at the steps of a beta schedule (Stable Diffusion, SDXL)
flow        flow matching, where the pipeline passes a number of steps only (imggen's own model)
flow_mu     flow matching, where the pipeline passes mu, a timestep shift by resolution (FLUX.1 dev)
flow_fixed  the same pipeline on a model without that shift (FLUX.1 schnell)
flow_own    flow matching whose timestep shift only the model's own scheduler knows (Stable Diffusion 3, Z-Image)
own         whatever its own scheduler makes of it, which no other one can replace (LCM, HiDream)
"""

DEFAULT = "default"
_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
_SHIFTED = _FLOW | {"use_dynamic_shifting": True, "time_shift_type": "exponential"}
_PLAIN = {"use_karras_sigmas": False}
_TRAILING = {"timestep_spacing": "trailing"}
_KARRAS = {"use_karras_sigmas": True}
_FIRST_ORDER = {"solver_order": 1, "algorithm_type": "dpmsolver++"}
_SECOND_ORDER = {"solver_order": 2, "algorithm_type": "dpmsolver++"}
_SECOND_ORDER_SDE = {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A sampler: its name on the command line, its name elsewhere, and its scheduler per kind of prediction.

    A kind that `schedulers` does not name cannot use the sampler; `max_steps` None leaves the limit to the model.
    `stumbles` says that its second half of a step is lost where a step is too long for float32.
    """

    name: str
    title: str
    schedulers: Mapping[Prediction, Scheduler]
    max_steps: int | None = None
    stumbles: bool = False


def _scheduler(class_name: str, *arguments: Mapping[str, object]) -> Scheduler:
    merged: dict[str, object] = {}
    for argument in arguments:
        merged.update(argument)
    return Scheduler(class_name=class_name, arguments=merged)


def _multistep(class_name: str, *arguments: Mapping[str, object]) -> dict[Prediction, Scheduler]:
    return {
        "noise": _scheduler(class_name, *arguments, _PLAIN),
        "flow": _scheduler(class_name, *arguments, _FLOW),
        "flow_mu": _scheduler(class_name, *arguments, _SHIFTED),
    }


def _of_noise(name: str, title: str, class_name: str, *arguments: Mapping[str, object]) -> Sampler:
    return Sampler(name=name, title=title, schedulers={"noise": _scheduler(class_name, *arguments)})


# In flow matching, first-order DPM-Solver++ is Euler's step exactly (arXiv:2211.01095 with
# alpha = 1 - sigma), and unlike diffusers' flow-matching Euler it has what a Stable Diffusion pipeline calls.
SAMPLERS: tuple[Sampler, ...] = (
    Sampler(
        name="euler",
        title="Euler",
        schedulers={
            "noise": _scheduler("EulerDiscreteScheduler", _PLAIN),
            "flow": _scheduler("DPMSolverMultistepScheduler", _FLOW, _FIRST_ORDER),
            "flow_mu": _scheduler("FlowMatchEulerDiscreteScheduler"),
            "flow_fixed": _scheduler("FlowMatchEulerDiscreteScheduler"),
            "flow_own": _scheduler("FlowMatchEulerDiscreteScheduler"),
        },
    ),
    # For models distilled to few steps, which begin at the last step of the training, where `leading` never is. Their
    # authors ask for it: ByteDance's card of SDXL-Lightning with Euler, that of Hyper-SD with DDIM.
    _of_noise("euler_trailing", "Euler SGM Uniform", "EulerDiscreteScheduler", _PLAIN, _TRAILING),
    _of_noise("euler_a", "Euler a", "EulerAncestralDiscreteScheduler"),
    _of_noise("heun", "Heun", "HeunDiscreteScheduler", _PLAIN),
    _of_noise("dpm2", "DPM2", "KDPM2DiscreteScheduler", _PLAIN),
    replace(_of_noise("dpm2_a", "DPM2 a", "KDPM2AncestralDiscreteScheduler", _PLAIN), stumbles=True),
    Sampler(name="dpmpp_2m", title="DPM++ 2M", schedulers=_multistep("DPMSolverMultistepScheduler", _SECOND_ORDER)),
    _of_noise("dpmpp_2m_karras", "DPM++ 2M Karras", "DPMSolverMultistepScheduler", _SECOND_ORDER, _KARRAS),
    Sampler(
        name="dpmpp_2m_sde",
        title="DPM++ 2M SDE",
        schedulers=_multistep("DPMSolverMultistepScheduler", _SECOND_ORDER_SDE),
    ),
    _of_noise("dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras", "DPMSolverMultistepScheduler", _SECOND_ORDER_SDE, _KARRAS),
    Sampler(
        name="unipc",
        title="UniPC",
        schedulers=_multistep("UniPCMultistepScheduler") | {"flow_fixed": _scheduler("UniPCMultistepScheduler", _FLOW)},
    ),
    _of_noise("ddim", "DDIM", "DDIMScheduler"),
    _of_noise("ddim_trailing", "DDIM SGM Uniform", "DDIMScheduler", _TRAILING),
    _of_noise("ddpm", "DDPM", "DDPMScheduler"),
    # With its Runge-Kutta steps it is another sampler, which needs four steps at least.
    _of_noise("pndm", "PLMS", "PNDMScheduler", {"skip_prk_steps": True}),
    # Distilled at 50 steps, of which it takes some; diffusers refuses more.
    Sampler(name="lcm", title="LCM", max_steps=50, schedulers={"noise": _scheduler("LCMScheduler")}),
)

_WANTS: dict[Prediction, str] = {"noise": "predicts noise", "own": "needs its own"}


def starts_from_pictures(scheduler: Scheduler, prediction: Prediction) -> bool:
    """Return whether the scheduler can noise a given picture in the way that the pipelines of such models ask for.

    Those that hand over a shift ask by a method (`scale_noise`) that of these schedulers only Euler's has.
    """
    return prediction in ("noise", "flow") or scheduler.class_name == "FlowMatchEulerDiscreteScheduler"


def names(prediction: Prediction | None = None) -> tuple[str, ...]:
    """Return the samplers' names, `default` first; only those for `prediction` where it is given."""
    usable = (sampler.name for sampler in SAMPLERS if prediction is None or prediction in sampler.schedulers)
    return (DEFAULT, *usable)


def recognise(class_name: str, config: Mapping[str, object], prediction: Prediction) -> str:
    """Return the name of the sampler that a model's own scheduler is, `default` where none is exactly that."""
    for sampler in SAMPLERS:
        own = sampler.schedulers.get(prediction)
        if own and own.class_name == class_name and own.arguments.items() <= config.items():
            return sampler.name
    return DEFAULT


def max_steps(name: str) -> int | None:
    """Return the most steps that the sampler `name` takes, None where that is up to the model."""
    return next((sampler.max_steps for sampler in SAMPLERS if sampler.name == name), None)


def stumbles(name: str, steps: int, config: Mapping[str, object]) -> bool:
    """Return whether the sampler `name` makes no numbers of `steps` steps with what a model's scheduler says.

    Two steps that are spaced as `linspace` go from the most noise to the least at once. What is left of the latter is
    its square less nearly all of it, in float32, whose last digit is 2**-23 of the first: nothing or NaN. PixArt's
    betas do that, those of Stable Diffusion do not.
    """
    sampler = next((row for row in SAMPLERS if row.name == name), None)
    spacing = config.get("timestep_spacing", "linspace")
    if sampler is None or not sampler.stumbles or steps != 2 or spacing != "linspace":
        return False
    noise = _noise(config)
    return noise is not None and (noise[0] / noise[1]) ** 2 < 2**-23


def _noise(config: Mapping[str, object]) -> tuple[float, float] | None:
    """Return the least and the most noise over signal of a beta schedule, None for one that is told in other ways."""
    kind, count = config.get("beta_schedule", "linear"), config.get("num_train_timesteps", 1000)
    # The defaults are those of diffusers' KDPM2 schedulers, which take over what they know of a model's own.
    first, last = config.get("beta_start", 0.00085), config.get("beta_end", 0.012)
    power = _POWERS.get(str(kind))
    if not (isinstance(first, float) and isinstance(last, float) and isinstance(count, int) and count > 1):
        return None
    if power is None or not 0 < first <= last < 1 or config.get("trained_betas") is not None:
        return None
    ends = first ** (1 / power), last ** (1 / power)
    kept = math.prod(1 - (ends[0] + (ends[1] - ends[0]) * step / (count - 1)) ** power for step in range(count))
    least = math.sqrt(first / (1 - first))
    return least, math.sqrt((1 - kept) / kept) if kept > 0 else math.inf


_POWERS: Final[Mapping[str, int]] = {"linear": 1, "scaled_linear": 2}


def title(name: str) -> str:
    """Return what AUTOMATIC1111's web UI calls the sampler `name`, and `name` itself where it has no such sampler."""
    return next((sampler.title for sampler in SAMPLERS if sampler.name == name), name)


def find(name: str, prediction: Prediction) -> Scheduler | None:
    """Return the scheduler of the sampler `name` for a model that predicts `prediction`; None means the model's own.

    Raise RequestError for an unknown name, which the nearest known one answers, and for a sampler that cannot follow
    the model's predictions.
    """
    if name == DEFAULT:
        return None
    sampler = next((row for row in SAMPLERS if row.name == name), None)
    usable = ", ".join(names(prediction))
    if sampler is None:
        guess = nearest(name, names(prediction))
        hint = f"--sampler {guess[0]}, or one of: {usable}" if guess else f"one of: {usable}"
        raise RequestError(f"unknown sampler {name!r}", hint=hint)
    if prediction not in sampler.schedulers:
        kind = _WANTS.get(prediction, "predicts a flow")
        raise RequestError(f"sampler {name!r} cannot drive this model, which {kind}", hint=f"one of: {usable}")
    return sampler.schedulers[prediction]
