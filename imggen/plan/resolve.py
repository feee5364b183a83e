"""From a request with blanks, a model's facts and a machine to a plan without blanks."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Final

from imggen.errors import ImggenError, ModelError, RequestError
from imggen.plan import catalog, dtypes, memory, naming, record, samplers, seeds, signature, sizes
from imggen.plan.catalog import Family
from imggen.plan.dtypes import Chosen
from imggen.plan.machine import Device, Dtype, Machine
from imggen.plan.naming import Named
from imggen.plan.recipe import Recipe
from imggen.plan.record import ModelRecord
from imggen.plan.request import GeneratePlan, GenerateRequest, Lever, ModelFacts, OutputPlan, Scheduler, Task

TASK: Final[Task] = "text-to-image"

COMMAND_LINE: Final = "command line"
RECIPE: Final = "recipe"

_LONGEST_PROMPT: Final = 20_000
_MOST_STEPS: Final = 1000
_QUALITIES: Final = {"png": 100, "jpeg": 95, "webp": 90}
# Without this much more than the native edge a model still composes one picture; beyond, it repeats itself.
_STRETCH: Final = 2

Check = Callable[[Iterable[str], str], None]


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A request and what is known about the model and the machine: what every decision looks at."""

    request: GenerateRequest
    facts: ModelFacts
    family: Family
    record: ModelRecord
    machine: Machine

    def why(self, name: str, otherwise: str) -> str:
        """Return where the request's `name` came from, `otherwise` where it left it blank."""
        if getattr(self.request, name) is None:
            return otherwise
        return self.request.origin.get(name, "asked for")


@dataclass(frozen=True, kw_only=True)
class _Steering:
    """How the picture is steered: steps, guidance, negative prompt and sampler, with reasons."""

    steps: int
    guidance: float
    negative_prompt: str
    sampler: str
    scheduler: Scheduler | None
    reasons: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """Every decision of a plan, before it is one."""

    prompt: str
    size: sizes.Size
    steering: _Steering
    seeds: tuple[int, ...]
    device: Chosen[Device]
    dtype: Chosen[Dtype]
    levers: memory.Levers
    arguments: dict[str, object]
    output: OutputPlan
    output_reasons: dict[str, str]
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
    case = _Case(request=request, facts=facts, family=family, record=record.read(facts), machine=machine)
    decided = _decide(case, draw_seed)
    check_call(decided.arguments, family.pipelines[TASK])
    plan = _plan(case, decided)
    _check_names(plan)
    return plan


def _decide(case: _Case, draw_seed: Callable[[int], int]) -> _Decided:
    request = case.request
    prompt = _prompt(request)
    size = sizes.choose(request, _limits(case))
    steering = _steer(case)
    chosen = seeds.choose(request.seed, request.num_images, draw=draw_seed)
    device, dtype, fallbacks = _place(case)
    output, output_reasons = _output(case, len(chosen))
    return _Decided(
        prompt=prompt,
        size=size,
        steering=steering,
        seeds=chosen,
        device=device,
        dtype=dtype,
        levers=memory.choose(request, _job(case, size, steering, device.value, dtype.value, len(chosen))),
        arguments=_arguments(case.family, prompt, size, steering),
        output=output,
        output_reasons=output_reasons,
        notes=(*fallbacks, *_prompt_notes(prompt, case), *_size_notes(size, case)),
    )


def _plan(case: _Case, decided: _Decided) -> GeneratePlan:
    device, dtype, levers, steering = decided.device, decided.dtype, decided.levers, decided.steering
    return GeneratePlan(
        task=TASK,
        model=case.facts,
        family=case.family.name,
        prompt=decided.prompt,
        negative_prompt=steering.negative_prompt,
        width=decided.size.width,
        height=decided.size.height,
        steps=steering.steps,
        guidance=steering.guidance,
        seeds=decided.seeds,
        sampler=steering.sampler,
        scheduler=steering.scheduler,
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
        output=decided.output,
        reasons=_reasons(case, decided),
        notes=decided.notes,
    )


def _reasons(case: _Case, decided: _Decided) -> dict[str, str]:
    return {
        "prompt": case.why("prompt", ""),
        "model": case.why("model", "the model that comes with imggen"),
        "size": _size_reason(case, decided.size),
        **decided.steering.reasons,
        "seeds": case.why("seed", "drawn at random"),
        **decided.output_reasons,
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
    return json.dumps({"schema": 1, **values}, indent=2, ensure_ascii=False, allow_nan=False)


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


def _limits(case: _Case) -> sizes.Limits:
    family, own = case.family, case.record
    native = own.native_size or _configured_size(case) or (family.native_pixels, family.native_pixels)
    return sizes.Limits(
        model=case.facts.reference,
        native=native,
        multiple_of=catalog.multiple_of(family, case.facts),
        smallest=own.min_size or min(family.min_size, *native),
        largest=own.max_size or max(family.max_size, *native),
    )


def _configured_size(case: _Case) -> tuple[int, int] | None:
    """Return the size that the denoiser's config states in latents, in pixels."""
    value = case.facts.configs.get(case.family.denoiser, {}).get("sample_size")
    edges = value if isinstance(value, list) else [value, value]
    if len(edges) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in edges):  # noqa: PLR2004
        return None
    scale = catalog.vae_scale(case.facts)
    height, width = (edge * scale for edge in edges)
    return width, height


def _steer(case: _Case) -> _Steering:
    family, own = case.family, case.record
    steps = _steps(case)
    guidance = _guidance(case)
    sampler, scheduler = _sampler(case)
    own_says = "the model's own record"
    family_says = f"what suits {family.title}"
    return _Steering(
        steps=steps,
        guidance=guidance,
        negative_prompt=_negative(case, guidance),
        sampler=sampler,
        scheduler=scheduler,
        reasons={
            "steps": case.why("steps", own_says if own.steps else family_says),
            "guidance": case.why("guidance", own_says if own.guidance is not None else family_says),
            "sampler": case.why("sampler", own_says if own.sampler else "the model's own"),
            "negative_prompt": case.why("negative_prompt", "none"),
        },
    )


def _steps(case: _Case) -> int:
    steps = case.request.steps
    if steps is None:
        return case.record.steps or case.family.steps
    trained = case.facts.configs.get("scheduler", {}).get("num_train_timesteps")
    most = trained if isinstance(trained, int) and trained > 0 else _MOST_STEPS
    if not 1 <= steps <= most:
        nearest = min(max(steps, 1), most)
        raise RequestError(f"--steps {steps}: a model takes 1 to {most} steps", hint=f"--steps {nearest}")
    return steps


def _guidance(case: _Case) -> float:
    family, guidance = case.family, case.request.guidance
    if guidance is None:
        return case.family.guidance if case.record.guidance is None else case.record.guidance
    if family.guidance_argument is None:
        raise RequestError(
            f"--guidance {guidance:g}: {family.title} takes no guidance; {family.guidance_refusal}",
            hint="leave --guidance out",
        )
    if not math.isfinite(guidance) or guidance < 0:
        raise RequestError(
            f"--guidance {guidance:g} is no strength of guidance", hint=f"--guidance {family.guidance:g}"
        )
    return float(guidance)


def _negative(case: _Case, guidance: float) -> str:
    negative = (case.request.negative_prompt or "").strip()
    if not negative:
        return ""
    reason = _negative_refusal(case, guidance)
    if reason:
        origin = case.why("negative_prompt", "")
        raise RequestError(
            f"--negative-prompt {negative!r} ({origin}): {case.family.title} {reason}",
            hint="leave --negative-prompt out",
        )
    return negative


def _negative_refusal(case: _Case, guidance: float) -> str | None:
    family = case.family
    if family.negative_refusal:
        return f"takes no negative prompt; {family.negative_refusal}"
    if not _has_two_passes(case, 2.0):
        return "takes no negative prompt when its guidance is distilled, as in this model"
    if guidance <= 1:
        return f"looks at a negative prompt only when guidance is above 1, and --guidance is {guidance:g}"
    return None


def _has_two_passes(case: _Case, guidance: float) -> bool:
    """Return whether every step runs the denoiser for the prompt and for the negative prompt."""
    family = case.family
    if family.negative_refusal or guidance <= 1:
        return False
    denoiser = case.facts.configs.get(family.denoiser, {})
    return family.distilled_key is None or denoiser.get(family.distilled_key) is None


def _sampler(case: _Case) -> tuple[str, Scheduler | None]:
    prediction = catalog.prediction(case.family, case.facts)
    asked = case.request.sampler
    name = asked or case.record.sampler or samplers.DEFAULT
    try:
        scheduler = samplers.find(name, prediction)
    except RequestError as error:
        if asked:
            raise
        raise ModelError(f"{case.facts.folder / record.FILE_NAME}: {error.message}", hint=error.hint) from error
    own_class = case.facts.components.get("scheduler", ("", ""))[1]
    own = samplers.recognise(own_class, case.facts.configs.get("scheduler", {}), prediction)
    if name in (own, samplers.DEFAULT):
        return own, None
    return name, scheduler


def _place(case: _Case) -> tuple[Chosen[Device], Chosen[Dtype], tuple[str, ...]]:
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
    return request.origin.get(name, reason) if reason == "asked for" else reason


def _job(case: _Case, size: sizes.Size, steering: _Steering, device: Device, dtype: Dtype, pictures: int) -> memory.Job:
    return memory.Job(
        family=case.family,
        facts=case.facts,
        machine=case.machine,
        device=device,
        dtype=dtype,
        width=size.width,
        height=size.height,
        pictures=pictures,
        passes=2 if _has_two_passes(case, steering.guidance) else 1,
    )


def _placement(device: Chosen[Device], dtype: Chosen[Dtype]) -> tuple[Lever, ...]:
    return (
        Lever(name="device", value=device.value, reason=device.reason),
        Lever(name="dtype", value=dtype.value, reason=dtype.reason),
    )


def _channels_last(family: Family, device: Device, dtype: Dtype) -> bool:
    """Return whether convolutions run faster with the channels innermost: in half precision, not measured on Metal."""
    return family.channels_last and device != "mps" and dtype != "float32"


def _arguments(family: Family, prompt: str, size: sizes.Size, steering: _Steering) -> dict[str, object]:
    arguments: dict[str, object] = {
        "prompt": prompt,
        "width": size.width,
        "height": size.height,
        "num_inference_steps": steering.steps,
        **family.extra_arguments,
    }
    if family.guidance_argument:
        arguments[family.guidance_argument] = steering.guidance
    if steering.negative_prompt:
        arguments["negative_prompt"] = steering.negative_prompt
    return arguments


def _output(case: _Case, pictures: int) -> tuple[OutputPlan, dict[str, str]]:
    request = case.request
    if request.output == naming.STDOUT and pictures > 1:
        raise RequestError(
            f"-o - writes one picture to standard output, and {pictures} are asked for", hint="-o 'out/{seed}.png'"
        )
    named = None if request.output in (None, naming.STDOUT) else naming.format_of(str(request.output))
    if named and request.format and named != request.format:
        raise RequestError(
            f"-o {request.output} names {named} and --format says {request.format}", hint="leave --format out"
        )
    chosen = named or request.format or "png"
    quality, quality_reason = _quality(case, chosen)
    suffix = next(suffix for suffix, kind in naming.SUFFIXES.items() if kind == chosen)
    output = OutputPlan(
        template=request.output if request.output is not None else naming.DEFAULT + suffix,
        format=chosen,
        quality=quality,
        if_exists=request.if_exists or "auto",
        metadata=request.metadata or "full",
    )
    reasons = {
        "output": case.why("output", "the prompt and the seed, in this folder"),
        "format": "the file's name" if named else case.why("format", "lossless, and read everywhere"),
        "quality": quality_reason,
        "if_exists": case.why("if_exists", "replace what imggen made, keep what it did not"),
        "metadata": case.why("metadata", "so that the picture can be made again"),
    }
    return output, reasons


def _quality(case: _Case, chosen: str) -> tuple[int, str]:
    quality = case.request.quality
    if quality is None:
        return _QUALITIES[chosen], f"what suits {chosen}"
    if not 1 <= quality <= 100:  # noqa: PLR2004 - a percentage
        raise RequestError(f"--quality {quality} is not in 1 to 100", hint=f"--quality {min(max(quality, 1), 100)}")
    origin = case.why("quality", "")
    if chosen != "png":
        return quality, origin
    if origin in (COMMAND_LINE, "asked for"):
        raise RequestError(
            f"--quality {quality}: png is lossless and has no quality", hint="leave --quality out, or --format webp"
        )
    return _QUALITIES["png"], f"png is lossless; the {quality} of the {origin} is for other formats"


def _check_names(plan: GeneratePlan) -> None:
    """Raise for a template that cannot name the pictures, before anything is loaded."""
    if plan.output.template == naming.STDOUT:
        return
    pictures = [
        Named(
            seed=seed,
            index=index,
            prompt=plan.prompt,
            model=plan.model.reference,
            width=plan.width,
            height=plan.height,
            steps=plan.steps,
            sampler=plan.sampler,
            date=date.min,
        )
        for index, seed in enumerate(plan.seeds, start=1)
    ]
    naming.expand(plan.output.template, pictures, plan.output.format)


def _size_reason(case: _Case, size: sizes.Size) -> str:
    said = [name for name in ("size", "aspect", "width", "height") if getattr(case.request, name) is not None]
    return f"{size.reason}, {case.why(said[0], '')}" if said else size.reason


def _prompt_notes(prompt: str, case: _Case) -> tuple[str, ...]:
    words = len(prompt.split())
    # Every word is at least one token, and two tokens mark the beginning and the end.
    room = case.family.max_tokens - 2
    cut = (
        (f"the model reads about {room} words at most; the prompt has {words}, and its end is lost",)
        if words > room
        else ()
    )
    return (*cut, *record.unknown_words(prompt, case.record))


def _size_notes(size: sizes.Size, case: _Case) -> tuple[str, ...]:
    native = _limits(case).native
    if size.width <= _STRETCH * native[0] and size.height <= _STRETCH * native[1]:
        return ()
    return (
        f"the model was trained on {native[0]}x{native[1]}; at {size.width}x{size.height} it is likely to repeat things",
    )


def _shortened(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:4])
    return f"{shown}, ... ({len(numbers)} in all)" if len(numbers) > 4 else shown  # noqa: PLR2004 - what a line holds
