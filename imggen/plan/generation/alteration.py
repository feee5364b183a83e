"""What is done to the given pictures: the options of each task, checked and without blanks."""

import math
from dataclasses import dataclass, replace
from typing import Final, get_args

from imggen.errors import RequestError
from imggen.plan.adapters import controlnets
from imggen.plan.case import COMMAND_LINE, Case
from imggen.plan.generation.approach import Approach
from imggen.plan.schema.change import Change, Task
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.sizing import borders

_FROM_PICTURES: Final = tuple(each for each in get_args(Task) if each != "text-to-image")
_REPAINTING: Final = ("inpaint", "outpaint")

_OF_ANY_SIZE: Final = tuple(each for each in get_args(Task) if each != "outpaint")

BESIDE: Final = controlnets.TASKS
"""The tasks in which pictures may stand beside the words: one that is shown, and those of ControlNets."""

TASKS_OF: Final[dict[str, tuple[str, ...]]] = {
    "size": _OF_ANY_SIZE,
    "aspect": _OF_ANY_SIZE,
    "width": _OF_ANY_SIZE,
    "height": _OF_ANY_SIZE,
    "tile": ("text-to-image", "image-to-image"),
    "frame": _FROM_PICTURES,
    "strength": _FROM_PICTURES,
    "image_guidance": ("image-to-image",),
    "fit": ("image-to-image", "inpaint", "blend", "style"),
    "mask": ("inpaint",),
    "mask_box": ("inpaint",),
    "invert_mask": ("inpaint",),
    "feather": _REPAINTING,
    "paste": _REPAINTING,
    "pad": ("outpaint",),
    "weights": ("blend",),
    "mutate": ("blend",),
    "like": ("style",),
    "control": BESIDE,
    "preprocess": BESIDE,
    "depth_weights": BESIDE,
    "ip_adapter": BESIDE,
    "ip_adapter_weights": (*BESIDE, "style"),
    "ip_adapter_encoder": (*BESIDE, "style"),
}
"""The fields of a request that only some tasks have."""

MUTATION: Final = 0.2
"""The share of fresh noise in a child when nobody says: siblings can be told apart, and so can their parents."""

WORDLESS: Final = ("blend", "style")
"""The tasks that can do without a prompt."""

_SUM_TOLERANCE: Final = 1e-3
MOST_PARENTS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """The change to the given pictures, None where there are none, and the parents' shares."""

    change: Change | None
    weights: tuple[float, ...]


def of_task(request: GenerateRequest) -> GenerateRequest:
    """Return `request` without what its task does not have, where a preset, the environment or the config said it.

    A preset serves several commands. What a person said at the command line is refused by a RequestError instead.
    """
    blanks: dict[str, object] = {}
    for name, tasks in TASKS_OF.items():
        value = getattr(request, name)
        if value is None or request.task in tasks:
            continue
        if request.origin.get(name, COMMAND_LINE) == COMMAND_LINE:
            raise RequestError(
                f"--{name.replace('_', '-')} {value}: {request.task} has no such thing",
                hint=f"leave it out; {', '.join(tasks)} has it",
            )
        blanks[name] = None
    return replace(request, **blanks) if blanks else request  # type: ignore[arg-type]  # the names are the request's own


def choose(case: Case, approach: Approach, image_guidance: float | None) -> Alteration:
    """Return what is done to the given pictures; `image_guidance` is how much they hold against the words.

    Raise RequestError for options that make no sense.
    """
    request = case.request
    if approach.method is None:
        return Alteration(change=None, weights=())
    change = Change(
        method=approach.method,
        strength=approach.strength,
        image_guidance=image_guidance,
        frame=request.frame,
        fit=request.fit or ("crop" if "fit" in _fields(request.task) else None),
    )
    if request.task in _REPAINTING:
        return Alteration(change=_repainting(case, change), weights=())
    if request.task == "blend":
        return Alteration(change=replace(change, mutation=_mutation(case, change)), weights=_weights(case))
    return Alteration(change=change, weights=())


def _fields(task: Task) -> tuple[str, ...]:
    return tuple(name for name, tasks in TASKS_OF.items() if task in tasks)


def _repainting(case: Case, change: Change) -> Change:
    request = case.request
    feather = 0 if request.feather is None else request.feather
    if not 0 <= feather <= 512:
        raise RequestError(f"--feather {feather} is not in 0 to 512 pixels", hint="--feather 8")
    change = replace(change, feather=feather, paste=request.paste is not False)
    if request.task == "outpaint":
        if request.pad is None:
            raise RequestError("outpaint needs to know how far", hint="--pad 64,0,64,0 (top, right, bottom, left)")
        return replace(change, pad=borders.parse_pad(request.pad))
    _check_mask(request)
    image = picture(case.given)
    box = None if request.mask_box is None else borders.parse_box(request.mask_box, (image.width, image.height))
    return replace(change, mask_box=box, invert_mask=bool(request.invert_mask))


def _check_mask(request: GenerateRequest) -> None:
    if request.mask is None and request.mask_box is None:
        raise RequestError(
            "inpaint needs to know what to repaint",
            hint="--mask mask.png (white is repainted), or --mask-box x,y,width,height",
        )
    if request.mask is not None and request.mask_box is not None:
        raise RequestError(
            f"--mask {request.mask} and --mask-box {request.mask_box} both say what to repaint",
            hint="leave one of the two out",
        )


def picture(given: tuple[Given, ...]) -> Given:
    """Return the picture that is changed: the only one, or the first of the parents."""
    return next(each for each in given if each.role in ("image", "parent"))


def _mutation(case: Case, change: Change) -> float:
    mutate = case.request.mutate
    if mutate is None:
        return MUTATION if change.method == "noise-and-words" else 0.0
    if not math.isfinite(mutate) or not 0 <= mutate <= 1:
        raise RequestError(f"--mutate {mutate:g} is not in 0 to 1", hint=f"--mutate {MUTATION:g}")
    return mutate


def _weights(case: Case) -> tuple[float, ...]:
    parents = [each for each in case.given if each.role == "parent"]
    if not 1 <= len(parents) <= MOST_PARENTS:
        raise RequestError(f"{len(parents)} parents; blend takes 1 to {MOST_PARENTS}")
    text = case.request.weights
    if text is None:
        return tuple(1 / len(parents) for _ in parents)
    try:
        weights = tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise RequestError(
            f"--weights {text!r} are not numbers with commas between", hint="--weights 0.7,0.3"
        ) from error
    if len(weights) != len(parents):
        raise RequestError(
            f"--weights {text} are {len(weights)}, and there are {len(parents)} parents", hint=_even(len(parents))
        )
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise RequestError(f"--weights {text} has one that is below 0 or no number", hint=_even(len(parents)))
    if abs(sum(weights) - 1) > _SUM_TOLERANCE:
        raise RequestError(f"--weights {text} add up to {sum(weights):g}, not to 1", hint=_scaled(weights))
    return weights


def _even(count: int) -> str:
    shares = [f"{1 / count:.3f}"] * (count - 1)
    return "--weights " + ",".join([*shares, f"{1 - sum(map(float, shares)):.3f}"])


def _scaled(weights: tuple[float, ...]) -> str:
    total = sum(weights)
    if not total:
        return _even(len(weights))
    shares = [round(weight / total, 3) for weight in weights[:-1]]
    return "--weights " + ",".join(f"{each:g}" for each in (*shares, round(1 - sum(shares), 3)))
