"""Control pictures in a request: for which ControlNet, how strongly each is followed, and what it is made of."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from imggen.errors import RequestError
from imggen.plan.adapters import controlnets
from imggen.plan.adapters.controlnets import INPAINT
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterRequest
from imggen.plan.schema.family import Controls, Family
from imggen.plan.schema.formats import PICTURE_SUFFIXES
from imggen.plan.schema.given import Given
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.request import GenerateRequest, ModelFacts

OPTION: Final = "--control"
KINDS: Final = ("canny", "depth", "pose", "scribble", "lineart", "softedge", "tile", "normal", "seg")
"""What a control picture can be, by the names that people use for it."""

OTHER_NAMES: Final[dict[str, str]] = {"openpose": "pose", "hed": "softedge", "segmentation": "seg"}
STRONGEST: Final = 2.0
PREPROCESSED: Final = ("canny", "depth", "tile")
"""The kinds whose picture imggen makes out of a photograph."""

MEASURED: Final = ("depth",)
"""Those of them that take a model of their own, which is to be found first."""

# A drive's colon parts nothing: C:\nets\canny
_DRIVE: Final = re.compile(r"(?:^|(?<=:))[A-Za-z]$")

Exists = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Control:
    """One `--control`: a kind or the reference of a ControlNet, its picture's file, and how strongly it is followed.

    `image` is empty where the picture that is repainted is followed itself.
    `preprocessor` is the kind of picture that is made of that file first, None where it is one already.
    """

    name: str
    image: str
    scale: float
    preprocessor: str | None = None

    @property
    def kind(self) -> str | None:
        """Return which of the usual kinds is meant, None for a reference."""
        name = OTHER_NAMES.get(self.name, self.name)
        return name if name in KINDS else None


def of(request: GenerateRequest) -> tuple[Control, ...]:
    """Return the controls of `request`, in their order; raise RequestError for one that says no such thing."""
    repaints = request.task in ("inpaint", "outpaint")
    parsed = tuple(parse(written, alone=repaints) for written in request.control or ())
    if not request.preprocess:
        return parsed
    # A recipe names the ControlNet, and says beside it what was made of the photograph.
    recorded = (*(request.preprocessors or ()), *(None for _ in parsed))
    controls = tuple(
        replace(control, preprocessor=control.kind or other) for control, other in zip(parsed, recorded, strict=False)
    )
    _check_preprocessing(controls)
    return controls


def parse(written: str, *, alone: bool = False, exists: Exists = os.path.exists) -> Control:
    """Return what `NAME:IMAGE[:SCALE]` says; raise RequestError where a part is missing or out of range.

    What can be a ControlNet may stand `alone`, without a picture, where one is repainted.
    Names and files may have colons themselves: a drive's letter keeps its own, what stands behind the last one is the
    scale where it is a number, and of several ways to part the rest that one is taken in which the picture `exists`.
    """
    rest, scale = _scale(written)
    if not rest.strip():
        raise RequestError(f"{OPTION} is empty", hint=f"{OPTION} canny:edges.png")
    ways = [(rest[:place], rest[place + 1 :]) for place in _colons(rest)]
    whole = [(name, image) for name, image in ways if name.strip() and image.strip()]
    if rest.startswith(":"):
        raise RequestError(f"{OPTION} {written} names no ControlNet before its picture", hint=f"{OPTION} canny{rest}")
    if not whole:
        if alone and _may_be_alone(rest):
            return Control(name=rest, image="", scale=scale)
        raise _imageless(written, rest.rstrip(":"))
    name, image = next((way for way in whole if exists(os.path.expanduser(way[1]))), _likeliest(whole))  # noqa: PTH111
    if not exists(os.path.expanduser(image)):  # noqa: PTH111 - ~nobody is a name
        _refuse_wordy_scale(written, name, image, exists)
    return Control(name=name.strip(), image=image, scale=scale)


def _may_be_alone(name: str) -> bool:
    is_kind = OTHER_NAMES.get(name, name) in KINDS
    return not is_kind and not name.endswith(":") and not name.lower().endswith(PICTURE_SUFFIXES)


def _likeliest(ways: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the way to part a name from its picture where no file helps: kinds come first, else the last colon."""
    return next((way for way in ways if OTHER_NAMES.get(way[0], way[0]) in KINDS), ways[-1])


def _colons(text: str) -> list[int]:
    """Return where the colons stand that part something: not those of drives."""
    places = [colon.start() for colon in re.finditer(":", text)]
    return [
        place for place in places if not (_DRIVE.search(text[:place]) and text[place + 1 : place + 2] in ("\\", "/"))
    ]


def _scale(written: str) -> tuple[str, float]:
    """Return what stands before the scale, and the scale: 1 where there is none, RequestError out of range."""
    rest, colon, last = written.rpartition(":")
    try:
        scale = float(last) if colon else None
    except ValueError:
        scale = None
    if scale is None:
        return written, 1.0
    if not math.isfinite(scale) or not 0 <= scale <= STRONGEST:
        raise RequestError(
            f"{OPTION} {written}: the scale {last} is not in 0 to {STRONGEST:g}", hint=f"{OPTION} {rest}:0.8"
        )
    return rest, scale


def _imageless(written: str, name: str) -> RequestError:
    if name == INPAINT:
        return RequestError(f"{OPTION} {written}: {_NO_INPAINT}", hint='imggen inpaint PICTURE "..." --mask MASK')
    if name.lower().endswith(PICTURE_SUFFIXES):
        return RequestError(
            f"{OPTION} {written} does not say what it is a picture of",
            hint=f"{OPTION} canny:{name}, or another of {', '.join(KINDS[1:])}",
        )
    return RequestError(
        f"{OPTION} {written} needs its picture", hint=f"{OPTION} {name or 'canny'}:{_EXAMPLES.get(name, 'picture.png')}"
    )


def _refuse_wordy_scale(written: str, name: str, image: str, exists: Exists) -> None:
    file, colon, last = image.rpartition(":")
    if colon and exists(os.path.expanduser(file)):  # noqa: PTH111
        raise RequestError(f"{OPTION} {written}: {last!r} is not a scale", hint=f"{OPTION} {name}:{file}:0.8")


_EXAMPLES: Final[dict[str, str]] = {"canny": "edges.png", "depth": "depth.png", "pose": "pose.png"}
_NO_INPAINT: Final = (
    "the picture of an inpainting ControlNet has holes, which no file can hold; imggen inpaint repaints without one"
)


def _check_preprocessing(controls: tuple[Control, ...]) -> None:
    if not controls:
        raise RequestError("--preprocess: there is no control picture to make", hint=f"{OPTION} canny:photo.png")
    for control in controls:
        if control.preprocessor not in PREPROCESSED:
            what = f"a picture for {control.name}" if control.kind is None else f"{control.name} pictures"
            raise RequestError(
                f"--preprocess: imggen cannot make {what}; it makes {', '.join(PREPROCESSED)}",
                hint=f"leave --preprocess out, and name a finished picture: {OPTION} {control.name}:{control.name}.png"
                if control.kind
                else "leave --preprocess out, and name finished pictures",
            )


def asked(request: GenerateRequest, family: Family, facts: ModelFacts) -> tuple[AdapterRequest, ...]:
    """Return which ControlNets are to be found for a model of `family`, in the order of their pictures.

    Raise RequestError where the family has none, or no usual one of a kind that is meant, or takes one at a time.
    """
    controls, taken = of(request), family.controls
    if not controls:
        return ()
    if taken is None:
        known = ", ".join(row.name for row in catalog.FAMILIES if row.controls)
        reason = family.control_refusal
        raise RequestError(
            f"{OPTION}: imggen knows no ControlNets for {family.title}" + (f"; {reason}" if reason else ""),
            hint=f"leave {OPTION} out, or a --model of one of these families: {known}",
        )
    if taken.network is None:
        check_own(request, family, facts)
        return ()
    _check_task(request, controls, taken, family)
    if len(controls) > 1 and not (taken.several and all(control.image for control in controls)):
        raise RequestError(
            f"{OPTION}: {family.title} follows one picture at a time, and {len(controls)} are given",
            hint=f"{OPTION} {_joined(controls[0])}",
        )
    return tuple(
        AdapterRequest(
            kind="controlnet",
            option=OPTION,
            reference=_reference(control, family, facts),
            scale=control.scale,
            image=control.image or None,
            preprocessor=control.preprocessor,
        )
        for control in controls
    )


def _check_task(request: GenerateRequest, controls: tuple[Control, ...], taken: Controls, family: Family) -> None:
    """Raise RequestError where the family's pipelines for the task do not follow what is asked for."""
    alone = next((control for control in controls if not control.image), None)
    if alone is not None and taken.repainting is None:
        raise _imageless(alone.name, alone.name)
    task = "inpaint" if request.task == "outpaint" else request.task
    if alone is None and task not in taken.pipelines:
        other = f"{OPTION} {INPAINT}, which follows the picture that is repainted"
        repaints = task == "inpaint" and taken.repainting is not None
        raise RequestError(
            f"{OPTION}: {family.title} follows control pictures for {', '.join(taken.pipelines)} only, not for "
            f"{request.task}",
            hint=other if repaints else f"leave {OPTION} out, or another --model",
        )


def _joined(control: Control) -> str:
    return f"{control.name}:{control.image}" if control.image else control.name


def check_own(request: GenerateRequest, family: Family, facts: ModelFacts) -> None:
    """Raise RequestError for other controls than the one picture that a model of `family` reads by itself.

    That is one of a kind, which must be the model's own where its name says one.
    """
    controls, own = of(request), told_kind(facts)
    example = f"{OPTION} {own or 'canny'}:{_EXAMPLES.get(own or 'canny', 'picture.png')}"
    if not controls:
        raise RequestError(
            f"{facts.reference} needs a control picture: {family.title} makes no picture without one", hint=example
        )
    (control, *others) = controls
    if others:
        raise RequestError(
            f"{OPTION}: {family.title} follows one picture at a time, and {len(controls)} are given",
            hint=f"{OPTION} {control.name}:{control.image}",
        )
    if control.kind is None:
        raise RequestError(
            f"{OPTION} {control.name}: {family.title} reads its picture itself, and takes no ControlNet",
            hint=f"{OPTION} {own or 'canny'}:{control.image}" if control.image else example,
        )
    if own is not None and control.kind != own:
        raise RequestError(
            f"{OPTION} {control.name}: {facts.reference} was made for {own} pictures",
            hint=f"{OPTION} {own}:{control.image}",
        )
    if control.scale != 1:
        raise RequestError(
            f"{OPTION} {control.name}:{control.image}:{control.scale:g}: {family.title} always follows its picture "
            "fully and takes no scale",
            hint=f"{OPTION} {control.name}:{control.image}",
        )


def told_kind(facts: ModelFacts) -> str | None:
    """Return the kind of picture that the model's name says it was made for, None where it says none.

    No config does: FLUX.1 Canny and FLUX.1 Depth have the same.
    """
    words = re.findall(r"[a-z]+", re.split(r"[/\\]", facts.reference.rstrip("/\\"))[-1].lower())
    named = {OTHER_NAMES.get(word, word) for word in words} & set(KINDS)
    return named.pop() if len(named) == 1 else None


def marked(request: GenerateRequest, family: Family, given: tuple[Given, ...]) -> tuple[Given, ...]:
    """Return the given pictures, those of controls with what is made of them first, and what they show.

    The latter stands only where no ControlNet says it.
    """
    followed = iter(of(request))
    is_built_in = controlnets.is_built_in(family)
    pictures = []
    for picture in given:
        control = next(followed, None) if picture.role == "control" else None
        if control is None:
            pictures.append(picture)
        else:
            shown = control.kind if is_built_in else None
            pictures.append(replace(picture, control=shown, preprocessor=control.preprocessor))
    return tuple(pictures)


def _reference(control: Control, family: Family, facts: ModelFacts) -> str:
    """Return the ControlNet of a control: the reference, or the usual one of its kind for the model."""
    if control.name == INPAINT and control.image:
        taken = family.controls
        alone = f" {OPTION} {INPAINT}" if taken and taken.repainting else ""
        raise RequestError(
            f"{OPTION} {control.name}: {_NO_INPAINT}", hint=f'imggen inpaint PICTURE "..." --mask MASK{alone}'
        )
    if control.kind is None and control.name != INPAINT:
        return _plausible(control)
    published, lacks = _published(family, facts)
    reference = published.get(control.kind or control.name)
    if reference is None:
        known = lacks or (f"it knows {', '.join(published)}" if published else "it knows none")
        raise RequestError(
            f"{OPTION} {control.name}: imggen knows no usual ControlNet of this kind for {family.title}; {known}",
            hint=f"name one: {OPTION} {_joined(replace(control, name='ORGANISATION/NAME'))}",
        )
    return reference


def _published(family: Family, facts: ModelFacts) -> tuple[Mapping[str, str], str | None]:
    """Return the usual ControlNets for the model, and why the family's are none for it."""
    controls, denoiser = family.controls, facts.configs.get(family.denoiser, {})
    if controls is None:
        return {}, None
    for key, value in controls.published_for.items():
        if denoiser.get(key) != value:
            return {}, f"those that it knows are for models whose {key} is {value}, and it is {denoiser.get(key)} here"
    return controls.published, None


def _plausible(control: Control) -> str:
    """Return the reference; raise RequestError for a word that is neither a kind nor looks like a place."""
    if re.search(r"[./\\]", control.name) or os.path.exists(control.name):  # noqa: PTH110
        return control.name
    guess = nearest(control.name, (*KINDS, *OTHER_NAMES))
    raise RequestError(
        f"{OPTION} {control.name}: there is no such kind of control, and no such file or folder",
        hint=f"{OPTION} {guess[0]}:{control.image or 'picture.png'}"
        if guess
        else f"one of {', '.join(KINDS)}, or a ControlNet's folder",
    )
