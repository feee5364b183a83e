"""What is done to the given pictures: the options of each task, checked and without blanks."""

import math
from dataclasses import replace
from typing import Final

from imggen.errors import RequestError
from imggen.plan.case import COMMAND_LINE, Case
from imggen.plan.generation.approach import Approach
from imggen.plan.schema import tasks
from imggen.plan.schema.change import BASES, Change
from imggen.plan.schema.given import Given
from imggen.plan.schema.request import GenerateRequest
from imggen.plan.schema.tasks import TASKS
from imggen.plan.sizing import borders

MUTATION: Final = 0.2
"""The share of fresh noise in a child when nobody says: siblings can be told apart, and so can their parents."""

_SUM_TOLERANCE: Final = 1e-3
MOST_PARENTS: Final = 16


def of_task(request: GenerateRequest) -> GenerateRequest:
    """Return `request` without what its task does not have, where a preset, the environment or the config said it.

    A preset serves several commands. What a person said at the command line is refused by a RequestError instead.
    """
    blanks: dict[str, object] = {}
    task = TASKS[request.task]
    for name in tasks.options():
        value = getattr(request, name)
        if value is None or name in task.options:
            continue
        if request.origin.get(name, COMMAND_LINE) == COMMAND_LINE:
            message = f"--{name.replace('_', '-')} {value}: imggen {task.command} has no such option"
            raise RequestError(message, hint=f"leave it out; it is an option of {', '.join(tasks.commands(name))}")
        blanks[name] = None
    return replace(request, **blanks) if blanks else request  # type: ignore[arg-type]  # the names are the request's own


def choose(case: Case, approach: Approach, image_guidance: float | None) -> tuple[Change | None, tuple[float, ...]]:
    """Return what is done to the given pictures, None where there are none, and the parents' shares.

    `image_guidance` is how much they hold against the words. Raise RequestError for options that make no sense.
    """
    request = case.request
    if approach.method is None:
        return None, ()
    change = Change(
        method=approach.method,
        strength=approach.strength,
        image_guidance=image_guidance,
        frame=request.frame,
        fit=request.fit or ("crop" if "fit" in TASKS[request.task].options else None),
    )
    if TASKS[request.task].repaints:
        return _repainting(case, change), ()
    if request.task == "blend":
        return replace(change, mutation=_mutation(case, change)), _weights(case)
    return change, ()


def _repainting(case: Case, change: Change) -> Change:
    """Return the change with what is repainted: the mask of inpaint, or the border of outpaint."""
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
        message = "inpaint needs to know what to repaint"
        raise RequestError(message, hint="--mask mask.png (white is repainted), or --mask-box x,y,width,height")
    if request.mask is not None and request.mask_box is not None:
        message = f"--mask {request.mask} and --mask-box {request.mask_box} both say what to repaint"
        raise RequestError(message, hint="leave one of the two out")


def picture(given: tuple[Given, ...]) -> Given:
    """Return the picture that is changed: the only one, or the first of the parents."""
    return next(picture for picture in given if picture.role in BASES)


def _mutation(case: Case, change: Change) -> float:
    mutate = case.request.mutate
    if mutate is None:
        return MUTATION if change.method == "noise-and-words" else 0.0
    if not math.isfinite(mutate) or not 0 <= mutate <= 1:
        raise RequestError(f"--mutate {mutate:g} is not in 0 to 1", hint=f"--mutate {MUTATION:g}")
    return mutate


def _weights(case: Case) -> tuple[float, ...]:
    """Return the parents' shares, which add up to 1: those of `--weights`, or equal ones."""
    parents = [picture for picture in case.given if picture.role == "parent"]
    if not 1 <= len(parents) <= MOST_PARENTS:
        raise RequestError(f"{len(parents)} parents; blend takes 1 to {MOST_PARENTS}")
    text = case.request.weights
    if text is None:
        return tuple(1 / len(parents) for _ in parents)
    try:
        weights = tuple(float(share) for share in text.split(","))
    except ValueError as error:
        message = f"--weights {text!r} is not a list of numbers, separated by commas"
        raise RequestError(message, hint="--weights 0.7,0.3") from error
    if len(weights) != len(parents):
        message = f"--weights {text} are {len(weights)}, and there are {len(parents)} parents"
        raise RequestError(message, hint=_even(len(parents)))
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise RequestError(f"--weights {text} has one that is negative or not a number", hint=_even(len(parents)))
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
    return "--weights " + ",".join(f"{share:g}" for share in (*shares, round(1 - sum(shares), 3)))
