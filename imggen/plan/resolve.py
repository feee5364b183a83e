"""From a request with blanks, a model's facts and a machine to a plan without blanks."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final

from imggen.errors import ImggenError, RequestError
from imggen.plan import catalog, destination, dtypes, memory, record, seeds, signature, sizes, steering
from imggen.plan.case import ASKED, COMMAND_LINE, RECIPE, Case
from imggen.plan.catalog import Family
from imggen.plan.destination import Destination
from imggen.plan.dtypes import Chosen
from imggen.plan.machine import Device, Dtype, Machine
from imggen.plan.recipe import Recipe
from imggen.plan.request import GeneratePlan, GenerateRequest, Lever, ModelFacts, Task
from imggen.plan.steering import Steering

TASK: Final[Task] = "text-to-image"
SCHEMA: Final = 1

_LONGEST_PROMPT: Final = 20_000
# Up to twice the native edge a model still composes one picture; beyond, it repeats itself.
_STRETCH: Final = 2

Check = Callable[[Iterable[str], str], None]


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """Every decision of a plan, before it is one."""

    prompt: str
    size: sizes.Size
    steering: Steering
    seeds: tuple[int, ...]
    device: Chosen[Device]
    dtype: Chosen[Dtype]
    levers: memory.Levers
    arguments: dict[str, object]
    destination: Destination
    notes: tuple[str, ...]


def resolve(
    request: GenerateRequest,
    facts: ModelFacts,
    machine: Machine,
    *,
    draw_seed: Callable[[int], int],
    check_call: Check = signature.check,
) -> GeneratePlan:
    """Return the plan for `request`; raise the ImggenError that says which part cannot be done.

    `draw_seed(limit)` returns a random whole number in [0, limit), as `secrets.randbelow` does; `check_call(names,
    pipeline)` raises for the first name that the pipeline's call does not take.
    """
    family = catalog.find(facts)
    case = Case(request=request, facts=facts, family=family, record=record.read(facts), machine=machine)
    try:
        decided = _decide(case, draw_seed)
    except RequestError as error:
        raise _with_origins(error, request) from error
    check_call(decided.arguments, family.pipelines[TASK])
    plan = _plan(case, decided)
    destination.check_names(plan)
    return plan


def _with_origins(error: RequestError, request: GenerateRequest) -> RequestError:
    """Return `error` with the origin of every option that it names and that nobody typed."""
    origins = [
        f"{option} comes from the {origin}"
        for name, origin in request.origin.items()
        if origin != COMMAND_LINE and re.search(rf"{(option := '--' + name.replace('_', '-'))}(?![\w-])", error.message)
    ]
    return RequestError("; ".join((error.message, *origins)), hint=error.hint) if origins else error


def _decide(case: Case, draw_seed: Callable[[int], int]) -> _Decided:
    request = case.request
    prompt = _prompt(request)
    size = sizes.choose(request, limits(case))
    steered = steering.choose(case)
    chosen = seeds.choose(request.seed, request.num_images, draw=draw_seed)
    device, dtype, fallbacks = _place(case)
    job = memory.Job(
        family=case.family,
        facts=case.facts,
        machine=case.machine,
        device=device.value,
        dtype=dtype.value,
        width=size.width,
        height=size.height,
        pictures=len(chosen),
        passes=steered.passes,
    )
    where = destination.choose(case, len(chosen))
    return _Decided(
        prompt=prompt,
        size=size,
        steering=steered,
        seeds=chosen,
        device=device,
        dtype=dtype,
        levers=memory.choose(request, job),
        arguments=_arguments(case.family, prompt, size, steered),
        destination=where,
        notes=(*fallbacks, *record.unknown_words(prompt, case.record), *_size_notes(size, case)),
    )


def _plan(case: Case, decided: _Decided) -> GeneratePlan:
    device, dtype, levers, steered = decided.device, decided.dtype, decided.levers, decided.steering
    return GeneratePlan(
        task=TASK,
        model=case.facts,
        family=case.family.name,
        prompt=decided.prompt,
        negative_prompt=steered.negative_prompt,
        width=decided.size.width,
        height=decided.size.height,
        steps=steered.steps,
        guidance=steered.guidance,
        seeds=decided.seeds,
        sampler=steered.sampler,
        scheduler=steered.scheduler,
        device=device.value,
        dtype=dtype.value,
        component_dtypes=dict.fromkeys(case.facts.weight_bytes, dtype.value),
        attention_slicing=levers.attention_slicing,
        attention_chunk_bytes=levers.attention_chunk_bytes,
        offload=levers.offload,
        vae_slicing=levers.vae_slicing,
        vae_tile=levers.vae_tile,
        channels_last=_channels_last(case.family, device.value, dtype.value),
        allow_pickle=bool(case.request.allow_pickle),
        arguments=decided.arguments,
        initial=dict(case.family.initial),
        levers=(*_placement(device, dtype), *levers.reasons),
        output=decided.destination.output,
        reasons=_reasons(case, decided),
        notes=decided.notes,
    )


def _reasons(case: Case, decided: _Decided) -> dict[str, str]:
    return {
        "prompt": case.why("prompt", ""),
        "model": case.why("model", "the model that comes with imggen"),
        "size": _size_reason(case, decided.size),
        **decided.steering.reasons,
        "seeds": case.why("seed", "drawn at random"),
        **decided.destination.reasons,
    }


def to_json(plan: GeneratePlan) -> str:
    """Return the plan as indented strict JSON with its reasons; of the model only what names it."""
    values = asdict(plan)
    values["model"] = {
        "reference": plan.model.reference,
        "revision": plan.model.revision,
        "source": plan.model.source,
        "folder": str(plan.model.folder),
        "pipeline": plan.model.pipeline,
        "weight_bytes": sum(plan.model.weight_bytes.values()),
    }
    return json.dumps({"schema": SCHEMA, **values}, indent=2, ensure_ascii=False, allow_nan=False)


def explain(plan: GeneratePlan) -> list[str]:
    """Return the plan as lines for people: what was decided and why."""
    values = {
        "model": plan.model.reference,
        "size": f"{plan.width}x{plan.height}",
        "steps": str(plan.steps),
        "guidance": f"{plan.guidance:g}",
        "sampler": plan.sampler,
        "seeds": _shortened(plan.seeds),
    }
    decided = [f"{name}: {value} ({plan.reasons[name]})" for name, value in values.items()]
    return [*decided, *(f"{each.name}: {each.value} ({each.reason})" for each in plan.levers)]


def from_recipe(recipe: Recipe, request: GenerateRequest) -> GenerateRequest:
    """Return `request` with everything that the command line does not say taken from `recipe`.

    What the environment, a preset or the config says gives way: `--from` means the same picture again. Where a picture
    goes and in which format stays the request's.
    """
    if recipe.task != TASK:
        raise RequestError(f"the recipe is one for {recipe.task!r}; this command makes {TASK}")
    family = catalog.named(recipe.family)
    recorded: dict[str, object] = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt or None,
        "model": f"{recipe.model}@{recipe.model_revision}" if recipe.model_revision else recipe.model,
        "steps": recipe.steps,
        "guidance": recipe.guidance if family.guidance_argument else None,
        "seed": str(recipe.seed),
        "num_images": None,
        "sampler": recipe.sampler,
        "device": recipe.device,
        "dtype": recipe.dtype,
        "attention_slicing": {"off": "off", "diffusers": "on"}.get(recipe.attention_slicing, "auto"),
        **_recorded_size(recipe, request),
        **_recorded_tiling(recipe, request),
    }
    kept = {name: value for name, value in recorded.items() if not _was_said(request, name)}
    origin = request.origin | dict.fromkeys(kept, RECIPE)
    return replace(request, **kept, origin=origin)  # type: ignore[arg-type]  # the names are the request's own


def pin(request: GenerateRequest, plan: GeneratePlan) -> GenerateRequest:
    """Return `request` with the seeds of `plan`, so that resolving it again draws none."""
    seeds_said = ",".join(str(seed) for seed in plan.seeds)
    origin = request.origin | {"seed": COMMAND_LINE}
    return replace(request, seed=seeds_said, num_images=None, origin=origin)


def differences(recipe: Recipe, made: Recipe) -> tuple[str, ...]:
    """Return what a picture made from `recipe` was made with that changes pixels and that `recipe` did not say."""
    names = ("model_hash", "device", "dtype", "attention_slicing", "vae_tile")
    changed = [name for name in names if getattr(recipe, name) != getattr(made, name)]
    found = [f"{name} {getattr(recipe, name)} is now {getattr(made, name)}" for name in changed]
    libraries = sorted(recipe.versions.keys() & made.versions.keys() - {"imggen"})
    moved = [name for name in libraries if recipe.versions[name] != made.versions[name]]
    return (*found, *(f"{name} {recipe.versions[name]} is now {made.versions[name]}" for name in moved))


def _was_said(request: GenerateRequest, name: str) -> bool:
    return getattr(request, name) is not None and request.origin.get(name, COMMAND_LINE) == COMMAND_LINE


def _recorded_size(recipe: Recipe, request: GenerateRequest) -> dict[str, object]:
    if _was_said(request, "size") or _was_said(request, "aspect"):
        return {"width": None, "height": None, "size": None, "aspect": None}
    return {"width": recipe.width, "height": recipe.height, "size": None, "aspect": None}


def _recorded_tiling(recipe: Recipe, request: GenerateRequest) -> dict[str, object]:
    if _was_said(request, "vae_tiling"):
        return {"vae_tile": None}
    return {"vae_tile": recipe.vae_tile, "vae_tiling": None}


def _prompt(request: GenerateRequest) -> str:
    prompt = request.prompt
    if prompt is None or not prompt.strip():
        raise RequestError("the prompt is empty", hint='imggen generate "a red apple on a teal background"')
    for name, value in (("prompt", prompt), ("negative prompt", request.negative_prompt or "")):
        _check_text(name, value)
    return prompt


def _check_text(name: str, value: str) -> None:
    if len(value) > _LONGEST_PROMPT:
        raise RequestError(
            f"the {name} has {len(value):,} characters; at most {_LONGEST_PROMPT:,} are taken",
            hint=f"shorten the {name}",
        )
    if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in value):
        raise RequestError(f"the {name} holds bytes that are no text: {value[:40]!r}", hint="write it in UTF-8")


def limits(case: Case) -> sizes.Limits:
    """Return which sizes the model takes: its record before its configs before its family."""
    family, own = case.family, case.record
    native = own.native_size or _configured_size(case) or (family.native_pixels, family.native_pixels)
    return sizes.Limits(
        model=case.facts.reference,
        native=native,
        multiple_of=catalog.multiple_of(family, case.facts),
        smallest=own.min_size or min(family.min_size, *native),
        largest=own.max_size or max(family.max_size, *native),
    )


def _configured_size(case: Case) -> tuple[int, int] | None:
    """Return the size that the denoiser's config states in latents, in pixels."""
    value = case.facts.configs.get(case.family.denoiser, {}).get("sample_size")
    listed = value if isinstance(value, list) else [value, value]
    edges = [edge * catalog.vae_scale(case.facts) for edge in listed if isinstance(edge, int) and edge > 0]
    return (edges[1], edges[0]) if len(edges) == len(listed) == 2 else None


def _place(case: Case) -> tuple[Chosen[Device], Chosen[Dtype], tuple[str, ...]]:
    """Return device and dtype with reasons, and a note per thing that a recipe recorded and this machine lacks."""
    request, family, machine = case.request, case.family, case.machine
    notes = []
    try:
        device = dtypes.choose_device(request.device, machine)
    except ImggenError as error:
        if request.origin.get("device") != RECIPE:
            raise
        device = dtypes.choose_device(None, machine)
        notes.append(
            f"made on {request.device}, which this machine lacks; on {device.value} pixels may differ ({error})"
        )
    try:
        dtype = dtypes.choose_dtype(request.dtype, family, device.value, machine)
    except RequestError:
        if request.origin.get("dtype") != RECIPE:
            raise
        dtype = dtypes.choose_dtype(None, family, device.value, machine)
        notes.append(f"made in {request.dtype}, which {device.value} lacks here; in {dtype.value} pixels may differ")
    device = replace(device, reason=_origin(device.reason, request, "device"))
    return device, replace(dtype, reason=_origin(dtype.reason, request, "dtype")), tuple(notes)


def _origin(reason: str, request: GenerateRequest, name: str) -> str:
    return request.origin.get(name, reason) if reason == ASKED else reason


def _placement(device: Chosen[Device], dtype: Chosen[Dtype]) -> tuple[Lever, ...]:
    return (
        Lever(name="device", value=device.value, reason=device.reason),
        Lever(name="dtype", value=dtype.value, reason=dtype.reason),
    )


def _channels_last(family: Family, device: Device, dtype: Dtype) -> bool:
    """Return whether convolutions run faster with the channels innermost: in half precision, not measured on Metal."""
    return family.channels_last and device != "mps" and dtype != "float32"


def _arguments(family: Family, prompt: str, size: sizes.Size, steered: Steering) -> dict[str, object]:
    arguments: dict[str, object] = {
        "prompt": prompt,
        "width": size.width,
        "height": size.height,
        "num_inference_steps": steered.steps,
        **family.extra_arguments,
    }
    if family.guidance_argument:
        arguments[family.guidance_argument] = steered.guidance
    if steered.negative_prompt:
        arguments["negative_prompt"] = steered.negative_prompt
    return arguments


def _size_reason(case: Case, size: sizes.Size) -> str:
    said = [name for name in ("size", "aspect", "width", "height") if getattr(case.request, name) is not None]
    return f"{size.reason}, {case.why(said[0], '')}" if said else size.reason


def _size_notes(size: sizes.Size, case: Case) -> tuple[str, ...]:
    native = limits(case).native
    if size.width <= _STRETCH * native[0] and size.height <= _STRETCH * native[1]:
        return ()
    return (f"the model was trained on {native[0]}x{native[1]}; at {size.width}x{size.height} it may repeat things",)


def _shortened(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:4])
    return f"{shown}, ... ({len(numbers)} in all)" if len(numbers) > 4 else shown
