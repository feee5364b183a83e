"""From a request with blanks, a model's facts and a machine to a plan without blanks."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final, TypeVar

from imggen.errors import ImggenError, RequestError
from imggen.plan.adapters import adaptation, controlnets, controls, ip_adapters
from imggen.plan.case import ASKED, COMMAND_LINE, RECIPE, Case
from imggen.plan.generation import alteration, approach, call, captions, destination, overview, steering, words
from imggen.plan.generation.approach import Approach
from imggen.plan.generation.steering import Steering
from imggen.plan.generation.words import Words
from imggen.plan.memory import dtypes, memory
from imggen.plan.memory.dtypes import Chosen
from imggen.plan.models import catalog, checkpoint, priors, record, samplers, signature
from imggen.plan.schema import seeds, template
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.change import Axes, Change
from imggen.plan.schema.family import Family
from imggen.plan.schema.given import Given, starts
from imggen.plan.schema.machine import Device, Dtype, Machine
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, Lever, ModelFacts, OutputPlan
from imggen.plan.schema.tasks import TASKS
from imggen.plan.schema.template import Files
from imggen.plan.sizing import borders, canvas, sizes
from imggen.plan.sizing.canvas import Canvas

SCHEMA: Final = 2

_Error = TypeVar("_Error", bound=ImggenError)

# Up to twice the native edge a model still composes one picture; beyond, it repeats itself.
_STRETCH: Final = 2


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """Every decision of a plan, before it is one; `fallbacks` says what a recipe recorded and the machine lacks."""

    words: Words
    approach: Approach
    size: sizes.Size
    canvas: Canvas
    change: Change | None
    weights: tuple[float, ...]
    tile: Axes | None
    steering: Steering
    seeds: tuple[int, ...]
    device: Chosen[Device]
    dtype: Chosen[Dtype]
    levers: memory.Levers
    arguments: dict[str, object]
    output: OutputPlan
    output_reasons: dict[str, str]
    fallbacks: tuple[str, ...]


def resolve(  # noqa: PLR0913 - the last two are for tests to put something else in
    request: GenerateRequest,
    facts: ModelFacts,
    machine: Machine,
    given: tuple[Given, ...] = (),
    adapters: tuple[AdapterFacts, ...] = (),
    *,
    wildcards: Files | None = None,
    draw_seed: Callable[[int], int],
    check_call: call.Check = signature.check,
) -> GeneratePlan:
    """Return the plan for `request`; raise the ImggenError that says which part cannot be done.

    `given` are the pictures that it starts from, `adapters` what was found of those that it asks for, `wildcards` the
    lines that its prompts choose from.
    `draw_seed(limit)` returns a random whole number in [0, limit), as
    `secrets.randbelow` does; `check_call(names, pipeline)` raises for the first name that the pipeline does not take.
    """
    try:
        request = alteration.of_task(request)
        family = catalog.find(facts)
        own = record.read(facts)
        case = Case(
            request=request,
            facts=adaptation.changed(facts, adapters),
            family=family,
            record=own,
            machine=machine,
            given=controls.marked(request, family, given),
            adapters=adapters,
            wildcards=wildcards or {},
        )
        adaptation.check(case, facts)
        controlnets.check(case)
        decided = _decide(case, draw_seed)
    except RequestError as error:
        raise with_origins(error, request) from error
    call.check(case, decided.approach, decided.arguments, check_call)
    plan = replace(_plan(case, decided), model=facts)
    destination.check_names(plan)
    return plan


def with_origins(error: _Error, request: GenerateRequest) -> _Error:
    """Return `error` with the origin of every option that it names by itself or by its value, and that nobody typed."""
    origins = [
        clause
        for name, origin in request.origin.items()
        if origin != COMMAND_LINE and _is_named(name, request, error.message)
        if (clause := f"--{name.replace('_', '-')} comes from the {origin}") not in error.message
    ]
    return type(error)("; ".join((error.message, *origins)), hint=error.hint) if origins else error


def _is_named(name: str, request: GenerateRequest, message: str) -> bool:
    values = getattr(request, name) if name in _NAMING else ()
    listed = values if isinstance(values, tuple) else (values,)
    words = [f"--{name.replace('_', '-')}", *(value for value in listed if value)]
    # What an adapter's file or id is called stands before its scale or word.
    words += [value.rpartition(":")[0] for value in listed if value and name in ("lora", "embedding") and ":" in value]
    return any(re.search(rf"(?<![\w/.-]){re.escape(word)}(?![\w/-])", message) for word in words)


_NAMING: Final = ("model", "base", "vae", "lora", "embedding", "wildcards", "ip_adapter_weights")
"""The options that name files and ids, by which messages call what is wrong."""


def _decide(case: Case, draw_seed: Callable[[int], int]) -> _Decided:
    """Return all decisions, each after those that it rests on; raise the ImggenError of the first that cannot be."""
    request = case.request
    _check_prompt(case)
    taken = limits(case)
    steered = steering.choose(case)
    size = _size(case, taken)
    way = approach.choose(case, size, steered.steps)
    _check_sampler(case, way, steered)
    area = canvas.canvas(size, taken)
    chosen = seeds.choose(request.seed, request.num_images, draw=draw_seed)
    chosen_words = words.choose(case, chosen, instruction=way.words, negative=steered.negative_prompt)
    captions.check(case, (chosen_words.prompt, *chosen_words.prompts), looks=way.method in ("reference", "inpainting"))
    device, dtype, fallbacks = _place(case)
    tile = _tile(case, size, area)
    job = memory.Job(
        family=case.family,
        facts=case.facts,
        machine=case.machine,
        device=device.value,
        dtype=dtype.value,
        width=area.width,
        height=area.height,
        pictures=len(chosen),
        passes=steered.passes,
        seamless=tile is not None,
        seen=way.seen,
        channels_last=_channels_last(case.family, device.value, dtype.value),
        adapters=case.adapters,
    )
    change, weights = alteration.choose(case, way, steered.image_guidance)
    levers = memory.choose(request, job)
    _check_adapter(case, levers)
    arguments = call.arguments(case, way, chosen_words, area, steered)
    output, output_reasons = destination.choose(case, len(chosen))
    return _Decided(
        words=chosen_words,
        approach=way,
        size=size,
        canvas=area,
        change=change,
        weights=weights,
        tile=tile,
        steering=steered,
        seeds=chosen,
        device=device,
        dtype=dtype,
        levers=levers,
        arguments=arguments,
        output=output,
        output_reasons=output_reasons,
        fallbacks=fallbacks,
    )


def _notes(case: Case, decided: _Decided) -> tuple[str, ...]:
    """Return what people should know of the decisions, in the order in which they were made."""
    prompts = (decided.words.prompt, *decided.words.prompts)
    read = "\n".join(words.as_read(text, decided.words.reading) for text in dict.fromkeys(prompts))
    instruction = decided.approach.words
    return (
        *([case.family.unlisted] if case.family.unlisted else []),
        *decided.fallbacks,
        *(
            [f"no prompt says what to do with the pictures; the model is told: {instruction!r}"]
            if instruction is not None
            else []
        ),
        *captions.notes(case, prompts),
        *record.unknown_words(read, case.record, case.facts.reference),
        *adaptation.notes(case, read, decided.steering.negative_prompt),
        *_size_notes(decided.size, case),
        *_twin_notes(decided.change, len(decided.seeds)),
        *decided.levers.notes,
        *checkpoint.notes(case.facts),
    )


def _size(case: Case, taken: sizes.Limits) -> sizes.Size:
    if not starts(case.given):
        return sizes.choose(case.request, taken)
    start = alteration.picture(case.given)
    if case.request.task != "outpaint":
        return canvas.size(case.request, (start.width, start.height), taken)
    top, right, bottom, left = borders.parse_pad(case.request.pad) if case.request.pad else (0, 0, 0, 0)
    wide, tall = start.width + left + right, start.height + top + bottom
    size = canvas.size(case.request, (wide, tall), taken)
    return replace(size, reason="the given picture's size and what --pad adds")


def _check_sampler(case: Case, way: Approach, steered: Steering) -> None:
    """Raise RequestError for a sampler that cannot follow a control picture, or start from a picture, where it must."""
    followed = case.family.controls if controlnets.among(case) else None
    if followed is not None and followed.own_steps and steered.sampler not in samplers.names("flow_own"):
        message = f"--sampler {steered.sampler}: with {case.family.title} it cannot follow a control picture"
        raise RequestError(message, hint="--sampler euler, or leave it out")
    scheduler, prediction = steered.scheduler, catalog.prediction(case.family, case.facts)
    if way.strength is None or scheduler is None or samplers.starts_from_pictures(scheduler, prediction):
        return
    message = f"--sampler {steered.sampler}: with {case.family.title} it cannot start from a picture"
    raise RequestError(message, hint="--sampler euler, or leave it out")


def _check_adapter(case: Case, levers: memory.Levers) -> None:
    shown = ip_adapters.of(case.adapters)
    if shown is not None and levers.attention_slicing == "diffusers":
        message = f"{shown.asked.option} and --attention-slicing on both replace the attention processors"
        raise RequestError(message, hint="--attention-slicing auto")


def _tile(case: Case, size: sizes.Size, area: Canvas) -> Axes | None:
    axes, refusal = case.request.tile, case.family.tile_refusal
    if axes is not None and (size.width, size.height) != (area.width, area.height):
        cut = f"{size.width}x{size.height} would be cut out of {area.width}x{area.height}"
        hint = sizes.option(sizes.said(case.request), area.width, area.height)
        raise RequestError(f"--tile {axes}: {cut}, so its edges would not meet", hint=hint)
    if axes is not None and refusal is not None:
        message = f"--tile {axes}: {case.family.title} makes no seamless pictures; {refusal}"
        raise RequestError(message, hint="leave --tile out")
    return axes


def _plan(case: Case, decided: _Decided) -> GeneratePlan:
    """Return the decisions as a plan, field by field."""
    device, dtype, levers, steered = decided.device, decided.dtype, decided.levers, decided.steering
    return GeneratePlan(
        task=case.request.task,
        pipeline=decided.approach.pipeline,
        model=case.facts,
        family=case.family,
        **vars(decided.words),
        width=decided.size.width,
        height=decided.size.height,
        canvas=(decided.canvas.width, decided.canvas.height),
        given=case.given,
        weights=decided.weights,
        change=decided.change,
        control_argument=decided.approach.control_argument,
        picture_arguments=decided.approach.picture_arguments,
        adapters=case.adapters,
        tile=decided.tile,
        steps=steered.steps,
        guidance=steered.guidance,
        seeds=decided.seeds,
        sampler=steered.sampler,
        scheduler=steered.scheduler,
        device=device.value,
        dtype=dtype.value,
        component_dtypes=dict.fromkeys(case.facts.weight_bytes, dtype.value),
        **{name: value for name, value in vars(levers).items() if name not in ("reasons", "notes")},
        # What is turned cannot be written to the disk.
        channels_last=_channels_last(case.family, device.value, dtype.value) and levers.offload != "disk",
        allow_pickle=bool(case.request.allow_pickle),
        arguments=decided.arguments,
        initial=dict(case.family.initial),
        levers=(
            Lever(name="device", value=device.value, reason=device.reason),
            Lever(name="dtype", value=dtype.value, reason=dtype.reason),
            *levers.reasons,
        ),
        output=decided.output,
        reasons=_reasons(case, decided),
        notes=_notes(case, decided),
    )


def _reasons(case: Case, decided: _Decided) -> dict[str, str]:
    return {
        "prompt": case.why("prompt", "") if decided.approach.words is None else "what suits the model for this task",
        "model": case.why("model", "the model that comes with imggen"),
        "method": decided.approach.reason,
        "size": _size_reason(case, decided.size),
        **decided.steering.reasons,
        "seeds": case.why("seed", "drawn at random"),
        **decided.output_reasons,
    }


def to_json(plan: GeneratePlan, **beside: object) -> str:
    """Return the plan as indented strict JSON with its reasons; of the model only what names it.

    What is passed `beside` it stands there under its own key.
    """
    values = asdict(replace(plan, adapters=(), model=replace(plan.model, shapes={}, single=None, prior=None)))
    values["family"] = plan.family.name
    values["adapters"] = [adaptation.summary(adapter) for adapter in plan.adapters]
    values["model"] = {
        "reference": plan.model.reference,
        "revision": plan.model.revision,
        "source": plan.model.source,
        "folder": str(plan.model.folder),
        "pipeline": plan.model.pipeline,
        "weight_bytes": sum(plan.model.weight_bytes.values()),
        **checkpoint.summary(plan.model),
        **priors.summary(plan.model),
    }
    return json.dumps({"schema": SCHEMA, **values, **beside}, indent=2, ensure_ascii=False, allow_nan=False)


def explain(plan: GeneratePlan) -> list[str]:
    """Return the plan as lines for people: what was decided and why."""
    values = {
        "model": plan.model.reference,
        **_approach_lines(plan),
        "size": f"{plan.width}x{plan.height}",
        "steps": str(plan.steps),
        "guidance": f"{plan.guidance:g}",
        "sampler": plan.sampler,
        "seeds": overview.listed([str(seed) for seed in plan.seeds]),
    }
    decided = [f"{name}: {value} ({plan.reasons[name]})" for name, value in values.items()]
    decided.extend((*checkpoint.lines(plan.model), *priors.lines(plan.model)))
    decided.extend(adaptation.line(adapter) for adapter in plan.adapters)
    return [*decided, *(f"{lever.name}: {lever.value} ({lever.reason})" for lever in plan.levers)]


def _approach_lines(plan: GeneratePlan) -> dict[str, str]:
    if plan.change is None:
        return {}
    strength = "" if plan.change.strength is None else f", strength {plan.change.strength:g}"
    hold = "" if plan.change.image_guidance is None else f", image guidance {plan.change.image_guidance:g}"
    return {"method": f"{plan.change.method} by {plan.pipeline}{strength}{hold}"}


def _check_prompt(case: Case) -> None:
    request, prompt = case.request, case.request.prompt or ""
    if not prompt.strip() and not TASKS[request.task].wordless:
        raise RequestError("the prompt is empty", hint=TASKS[request.task].example)
    _check_text("prompt", prompt)
    _check_text("negative prompt", request.negative_prompt or "")


def _check_text(name: str, value: str) -> None:
    if len(value) > template.LONGEST:
        message = f"the {name} has {len(value):,} characters; at most {template.LONGEST:,} are taken"
        raise RequestError(message, hint=f"shorten the {name}")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise RequestError(f"the {name} is not valid text: {value[:40]!r}", hint="write it in UTF-8")


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
        listed=family.sizes,
    )


def _configured_size(case: Case) -> tuple[int, int] | None:
    """Return the size that the pipeline's options state in pixels, or the denoiser's config in latents, in pixels."""
    stated = case.facts.options.get(case.family.size_option or "")
    if isinstance(stated, int) and stated > 0:
        return stated, stated
    key = case.family.size_key
    value = case.facts.configs.get(case.family.denoiser, {}).get(key) if key else None
    listed = value if isinstance(value, list) else [value, value]
    edges = [edge * catalog.vae_scale(case.facts) for edge in listed if isinstance(edge, int) and edge > 0]
    return (edges[1], edges[0]) if len(edges) == len(listed) == 2 else None


def _place(case: Case) -> tuple[Chosen[Device], Chosen[Dtype], tuple[str, ...]]:
    """Return device and dtype with reasons, and a note per thing that a recipe recorded and this machine lacks."""
    request, family, machine = case.request, case.family, case.machine
    notes = []
    try:
        device = dtypes.choose_device(request.device, machine, request.origin.get("device", ASKED))
    except ImggenError as error:
        if request.origin.get("device") != RECIPE:
            raise
        device = dtypes.choose_device(None, machine)
        notes.append(
            f"made on {request.device}, which this machine lacks; on {device.value} pixels may differ ({error})"
        )
    try:
        dtype = dtypes.choose_dtype(request.dtype, family, device.value, machine, request.origin.get("dtype", ASKED))
    except RequestError:
        if request.origin.get("dtype") != RECIPE:
            raise
        dtype = dtypes.choose_dtype(None, family, device.value, machine)
        notes.append(f"made in {request.dtype}, which {device.value} lacks here; in {dtype.value} pixels may differ")
    return device, dtype, tuple(notes)


def _channels_last(family: Family, device: Device, dtype: Dtype) -> bool:
    """Return whether convolutions run faster with the channels innermost: in half precision, not measured on Metal."""
    return family.channels_last and device != "mps" and dtype != "float32"


def _size_reason(case: Case, size: sizes.Size) -> str:
    typed = [name for name in ("size", "aspect", "width", "height") if getattr(case.request, name) is not None]
    return f"{size.reason}, {case.why(typed[0], '')}" if typed else size.reason


def _size_notes(size: sizes.Size, case: Case) -> tuple[str, ...]:
    native = limits(case).native
    if size.width <= _STRETCH * native[0] and size.height <= _STRETCH * native[1]:
        return ()
    return (f"the model was trained on {native[0]}x{native[1]}; at {size.width}x{size.height} it may repeat things",)


def _twin_notes(change: Change | None, pictures: int) -> tuple[str, ...]:
    if pictures == 1 or change is None or change.method != "noise-and-words" or change.mutation:
        return ()
    return ("without a mutation the children are alike, unless the sampler adds noise of its own (euler_a)",)
