"""Families that the catalogue does not list: what their pipelines' own signatures say of them, and no more.

What diffusers does not say is taken as narrowly as can be: no float16, no seamless picture, no adapters, only the
pipelines that diffusers' naming rule finds. A pipeline that wants what nobody gives is refused with that reason.
"""

import re
from collections.abc import Iterator
from typing import Final

from imggen.plan.models import signature
from imggen.plan.models.families import refusals
from imggen.plan.models.signature import Signature
from imggen.plan.schema.family import AUTOENCODERS, Family
from imggen.plan.schema.request import PRIOR
from imggen.plan.schema.tasks import Task

NOTE: Final = (
    "imggen does not know {}; its options were read from diffusers, and everything else is the pipeline's default"
)

_SISTERS: Final[dict[Task, str]] = {"text-to-image": "", "image-to-image": "Img2Img", "inpaint": "Inpaint"}
_TASK = re.compile(r"(Img2Img|Inpaint(ing)?)(?=Pipeline$)")
_SIZE: Final = ("width", "height")
_ALWAYS: Final = ("prompt", "num_inference_steps", "generator")
_GIVEN: Final[dict[Task, tuple[str, ...]]] = {
    "text-to-image": (),
    "image-to-image": ("image",),
    "inpaint": ("image", "mask_image"),
}
_GUIDANCES: Final = ("guidance_scale", "true_cfg_scale", "distilled_guidance_scale")
_DENOISERS: Final = ("transformer", "unet")
# What changes the words or the size that were asked for, where a pipeline has it.
_FREE_HAND: Final = ("use_resolution_binning", "clean_caption")
_FILMS: Final = frozenset(("frames", "video", "videos"))
_PICTURES: Final = frozenset(("image", "images", "video"))
# `num_images_per_prompt` counts, and adapters are not loaded for such a family.
_NO_PICTURES = re.compile(r"num_|ip_adapter_|negative_ip_adapter_")
_EDGE: Final = {"unet": 512, "transformer": 1024}
_PIXELS_PER_LATENT: Final = 8
_UNKNOWN: Final = "imggen does not know this family"


def family(pipeline: str) -> Family | str:
    """Return the family of a pipeline class that no row names, or why imggen cannot use it, in words.

    The family's name is one of its pipelines, the one that draws from words where it has one, so that each of them
    leads to the same family. Raise MachineError where diffusers is not installed.
    """
    own = signature.read(pipeline)
    if own is None:
        return "the installed diffusers does not know it either"
    if pipeline in refusals.PIPELINES:
        return refusals.PIPELINES[pipeline]
    base = _TASK.sub("", pipeline)
    sisters = {task: f"{base.removesuffix('Pipeline')}{part}Pipeline" for task, part in _SISTERS.items()}
    usable = {task: name for task, name in sisters.items() if _refusal(task, name, own) is None}
    if pipeline not in usable.values():
        task: Task = next((task for task, name in sisters.items() if name == pipeline), "text-to-image")
        return _refusal(task, pipeline, own) or "it does not follow diffusers' rule for names"
    return _family(usable)


def _refusal(task: Task, pipeline: str, folder: Signature) -> str | None:
    """Return why `pipeline` cannot do `task` with what imggen gives it, None where it can.

    `folder` is the signature of the class that the model's folder names: its parts are those that there are.
    """
    own = signature.read(pipeline)
    if own is None:
        return "the installed diffusers does not know it"
    if any(part.startswith(PRIOR) for part in own.parts):
        return "it draws in two stages, and imggen knows only the listed families of that kind"
    strange = sorted(own.must_have - {*folder.parts})
    return f"it needs the parts {', '.join(strange)}" if strange else next(_lacks(task, pipeline, own), None)


def _lacks(task: Task, pipeline: str, own: Signature) -> Iterator[str]:
    """Yield what keeps a pipeline from doing `task`, the most telling first."""
    pictures = _GIVEN[task]
    if _is_film(own):
        yield "it makes videos, and imggen makes pictures"
    if "audios" in own.gives:
        yield "it makes audio, and imggen makes pictures"
    if "Upscale" in pipeline or "SuperResolution" in pipeline:
        yield "it is an upscaler"
    if not own.gives & {"images", "image"}:
        yield "diffusers does not say that it returns a picture"
    strange = sorted(own.needs - {"prompt", *pictures})
    if strange:
        yield f"it needs {', '.join(strange)}, which imggen does not provide"
    looked_at = sorted(take for take in own.takes if _is_picture(take) and take not in pictures)
    if looked_at:
        yield f"it takes {', '.join(looked_at)}, and diffusers does not say what for, or whether it is required"
    lacking = [name for name in (*_ALWAYS, *pictures, *(("strength",) if pictures else _SIZE)) if name not in own.takes]
    if lacking:
        yield f"it takes no {lacking[0]}"
    if not isinstance(own.takes.get("num_inference_steps"), int):
        yield "it has no default number of steps"
    unmet = [names for names in (AUTOENCODERS, _DENOISERS) if not any(name in own.parts for name in names)]
    if unmet:
        yield f"it has no part called {' or '.join(unmet[0])}"


def _is_film(own: Signature) -> bool:
    return any(_FILMS & set(name.split("_")) for name in (*own.takes, *own.gives))


def _is_picture(name: str) -> bool:
    is_one = name == "mask" or name.rpartition("_")[2] in _PICTURES
    return is_one and not _NO_PICTURES.match(name)


def _family(usable: dict[Task, str]) -> Family:
    """Return the family of the pipelines that can do the tasks; the first of them says how it is called."""
    base = next(iter(usable.values()))
    own = {task: read for task, name in usable.items() if (read := signature.read(name)) is not None}
    first = next(iter(own.values()))
    denoiser = next(part for part in _DENOISERS if part in first.parts)
    guidance, strength = _guidance(first)
    guided = {task: sister for task, sister in own.items() if guidance is None or guidance in sister.takes}
    extra = _extra(list(guided.values()), guidance)
    native = _native(first, denoiser)
    return Family(
        name=base,
        title=base.removesuffix("Pipeline"),
        unlisted=NOTE.format(base),
        pipelines={task: usable[task] for task in guided},
        sized_by_image=tuple(task for task, sister in guided.items() if not sister.takes.keys() >= {*_SIZE}),
        denoiser=denoiser,
        native_pixels=native,
        size_key="sample_size" if "sample_size" in first.words and not _says_size(first) else None,
        patch=max(first.fold, -(-first.step // _PIXELS_PER_LATENT), 1 if denoiser == "unet" else 2),
        min_size=min(256, native),
        max_size=max(2048, native),
        steps=_whole(first.takes["num_inference_steps"]),
        guidance=strength,
        guidance_argument=guidance,
        guidance_refusal=None if guidance else "its pipeline has no guidance argument that imggen knows",
        negative_refusal=_negative_refusal(guided, guidance),
        max_tokens=_whole(extra.get("max_sequence_length", 77)),
        half_dtypes=("bfloat16",),
        mps_dtype="bfloat16",
        slicing_refusal=None if denoiser == "unet" else _UNKNOWN,
        tile_refusal=_UNKNOWN,
        adapter_refusal=_UNKNOWN,
        mixing_refusal=_UNKNOWN,
        breeding_refusal=f"how {base.removesuffix('Pipeline')} takes noise and embeddings is not known",
        # The pipelines of SDXL put an invisible watermark of their own where the package for it is installed.
        initial={"add_watermarker": False} if "add_watermarker" in first.parts else {},
        extra_arguments=extra,
    )


def _guidance(own: Signature) -> tuple[str | None, float]:
    """Return the argument that carries the guidance and its default.

    Where a pipeline has one that is distilled and one that is not, as FLUX.1's, the one is meant that is on by default.
    """
    numbers = {name: value for name in _GUIDANCES if isinstance(value := own.takes.get(name), int | float)}
    if numbers.get("true_cfg_scale", 0) > 1:
        return "true_cfg_scale", float(numbers["true_cfg_scale"])
    return next(((name, float(value)) for name, value in numbers.items()), (None, 0.0))


def _negative_refusal(own: dict[Task, Signature], guidance: str | None) -> str | None:
    if not all("negative_prompt" in sister.takes for sister in own.values()):
        return "its pipelines take none"
    if guidance is None:
        return "it runs without classifier-free guidance, which a negative prompt needs"
    both = guidance == "guidance_scale" and any("true_cfg_scale" in sister.takes for sister in own.values())
    return "its pipelines use one only with a guidance that imggen leaves off" if both else None


def _extra(own: list[Signature], guidance: str | None) -> dict[str, object]:
    """Return what goes to every call: how much of a prompt is read, and nothing that changes what was asked for."""
    first = own[0]
    shared = set.intersection(*(set(sister.takes) for sister in own))
    extra: dict[str, object] = {name: False for name in _FREE_HAND if name in shared}
    if guidance == "true_cfg_scale" and "negative_prompt" in shared:
        # Without one such pipelines drop the guidance.
        extra["negative_prompt"] = " "
    longest = first.takes.get("max_sequence_length")
    if isinstance(longest, int) and "max_sequence_length" in shared:
        extra["max_sequence_length"] = longest
    return extra


def _says_size(own: Signature) -> bool:
    return all(isinstance(own.takes.get(edge), int) for edge in _SIZE)


def _native(own: Signature, denoiser: str) -> int:
    if _says_size(own):
        return min(_whole(own.takes[edge]) for edge in _SIZE)
    return own.sample_size * _PIXELS_PER_LATENT if own.sample_size else _EDGE[denoiser]


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
