"""From a request to pictures in files: from words, and from pictures that are given."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import imggen
from imggen.errors import CheckError, ImggenError, MachineError, ModelError, PictureError, RequestError
from imggen.host import environment, probe, timings
from imggen.output import writer
from imggen.output.governance import audit
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import metadata
from imggen.output.metadata.metadata import Facts
from imggen.output.provenance.signing import Relationship
from imggen.output.watermark import label
from imggen.output.writer import Finished, Written
from imggen.plan.adapters import adaptation
from imggen.plan.case import PARENTS, RECIPE
from imggen.plan.generation import alteration, destination, reproduce, resolve
from imggen.plan.models import prequantized
from imggen.plan.policy import policy
from imggen.plan.policy.policy import Refusal
from imggen.plan.schema import recipe as recipes
from imggen.plan.schema.change import Role, Task
from imggen.plan.schema.given import Given
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.progress import Progress, ignore
from imggen.plan.schema.recipe import Ingredient, Recipe
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, ModelFacts
from imggen.plan.settings import naming
from imggen.store import aliases, lookup, paths, weights
from imggen.store.weights import AccessRules
from imggen.tasks.steps import adapters, forecast, governance, inputs, prompts, step_down
from imggen.tasks.steps.forecast import Forecast
from imggen.tasks.steps.given import OpenedPicture
from imggen.tasks.steps.governance import Governance, SourcePicture
from imggen.tasks.steps.inputs import Laid

_ACTIONS: Final[dict[Task, str]] = {
    "text-to-image": "generate",
    "image-to-image": "img2img",
    "inpaint": "inpaint",
    "outpaint": "outpaint",
    "blend": "blend",
    "style": "style",
}
_STRANGE: Final = "pixels may differ from those of the recipe: {}"

Report = Callable[[Progress], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One picture: its seed, its place among the seeds counted from 1, and where it went.

    `written` is the file; a picture for standard output has `data`, its bytes, instead. Where the policy keeps the file
    that is at `path` already, nothing is drawn, and there is neither a recipe nor anything written.
    """

    seed: int
    index: int
    recipe: Recipe | None = None
    path: Path | None = None
    written: Written | None = None
    data: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A plan, the request that it answers, the machine it is for and the recipe that it came from.

    `named` has a path per picture, none for standard output; `kept` the numbers of the pictures, counted from 1, whose
    files are there and stay; `means` is who signs them and what is kept to.
    """

    plan: GeneratePlan
    request: GenerateRequest
    machine: Machine
    source: Recipe | None
    named: tuple[Path, ...]
    kept: frozenset[int]
    laid: Laid
    means: WriteContext


def plan(request: GenerateRequest, *, fetch: bool = True, on_event: Report = ignore) -> GeneratePlan:
    """Return what `generate` would do, everything that can fail without weights having been checked; write no picture.

    Without `fetch`, a model that would have to come from the hub first is a ModelError; with it, its descriptions and
    headers are asked for, and no weights.
    """
    return foresee(request, fetch=fetch, on_event=on_event)[0]


def foresee(
    request: GenerateRequest, *, fetch: bool = True, on_event: Report = ignore
) -> tuple[GeneratePlan, Forecast]:
    """Return what `plan` does, and what it will cost."""
    with TemporaryDirectory(prefix="imggen-", ignore_cleanup_errors=True) as name:
        # Not what a link of the system's stands for, so that paths within compare.
        sketch = Path(os.path.realpath(name)) if fetch else None
        told: list[str] = []
        prepared = _prepare(request, on_event, told.append, fetch=fetch, sketch=sketch)
        prepared = replace(prepared, plan=replace(prepared.plan, notes=(*told, *prepared.plan.notes)))
        costs = forecast.foresee(prepared.plan, prepared.machine, sketch=sketch)
        return (forecast.settled(prepared.plan, sketch) if sketch else prepared.plan), costs


def generate(
    request: GenerateRequest,
    *,
    on_event: Report = ignore,
    on_plan: Callable[[GeneratePlan], None] = lambda _: None,
    on_note: Tell = lambda _: None,
    load: Callable[..., Any] | None = None,
) -> Iterator[Generated]:
    """Make the pictures that `request` asks for and yield each as soon as it is written.

    `on_plan` hears what was decided, before any weights are loaded; `on_note` hears what the user should know before
    the pictures are there. One that cannot be drawn does not stop the others; at the end an ImggenError says which
    failed.
    """
    prepared = _prepare(request, on_event, on_note)
    on_event = watch = timings.Stopwatch(on_event)
    on_plan(prepared.plan)
    for note in prepared.plan.notes:
        on_note(note)
    if len(prepared.kept) == len(prepared.plan.seeds):
        yield from (_kept(prepared, number) for number in sorted(prepared.kept))
        return
    prepared = _measured(prepared)
    files = lookup.weight_files(prepared.plan.model, prepared.plan.dtype)
    files += [path for adapter in prepared.plan.adapters if adapter.asked.kind != "depth" for path in adapter.files]
    with weights.ReadAhead(files, budget_bytes=prepared.machine.free_bytes // 2):
        on_event(Progress(stage="load"))
        # The one import that waits: torch and diffusers take seconds, `--dry-run` shall not pay for them, and the disk
        # can deliver the weights meanwhile.
        with environment.importing():
            from imggen.engine.pipeline import loader
            from imggen.engine.sampling import sampler

            loader.import_classes(prepared.plan)
        held = step_down.Descent(
            prepared.plan,
            prepared.request,
            step_down.StepDownHooks(
                load=lambda decided, report: (load or loader.load)(decided, on_event=report),
                enter=partial(_enter, prepared.laid),
            ),
            on_event=on_event,
            on_note=on_note,
        )
        pipeline = held.pipeline()
    prepared = replace(prepared, plan=held.plan)
    digest = lookup.weights_sha256(prepared.plan.model, prepared.plan.dtype)
    for note in _late_notes(prepared, digest, sampler.cut_prompt(pipeline, prepared.plan)):
        on_note(note)
    # Where memory runs out, another one takes its place.
    del pipeline
    yield from _pictures(prepared, digest, held)
    timings.keep(prepared.plan, watch.taken(prepared.plan.steps))


def _measured(prepared: _Prepared) -> _Prepared:
    """Return what was prepared with depths in place of photographs, for which no room is needed beside the model."""
    found = next((adapter for adapter in prepared.plan.adapters if adapter.asked.kind == "depth"), None)
    if found is None:
        return prepared
    with environment.importing():
        from imggen.engine.vision import depth
    return replace(prepared, laid=inputs.measured(prepared.plan, prepared.laid, partial(depth.measure, found)))


def _enter(laid: Laid, pipeline: Any, decided: GeneratePlan, report: Report) -> Callable[[int], Any]:
    """Return what draws picture N of `decided`, with the pictures that it starts from."""
    from imggen.engine import failures
    from imggen.engine.sampling import methods, sampler

    given = methods.Pictures(
        images=laid.images, mask=laid.mask, style=laid.style, controls=laid.controls, shown=laid.shown
    )
    with failures.memory_explained(decided):
        entrance = methods.prepare(pipeline, decided, given)
    return partial(sampler.draw, pipeline, decided, entrance=entrance, on_event=report)


def _prepare(
    request: GenerateRequest, on_event: Report, on_note: Tell, *, fetch: bool = True, sketch: Path | None = None
) -> _Prepared:
    try:
        return _decided(request, on_event, on_note, fetch=fetch, sketch=sketch)
    except (RequestError, ModelError) as error:
        told = resolve.with_origins(error, request)
        if told is error:
            raise
        raise told from error


def _decided(
    request: GenerateRequest, on_event: Report, on_note: Tell, *, fetch: bool, sketch: Path | None
) -> _Prepared:
    environment.prepare(offline=bool(request.offline))
    governed = governance.read(request.policy, _ACTIONS[request.task], sign=request.sign)
    request, source = _from_file(prompts.with_loras(request))
    request = alteration.of_task(request)
    opened = inputs.read(request)
    given = inputs.facts(opened)
    request = governance.govern(reproduce.adopt(request, given), governed)
    governance.check_asked(governed, request, given=bool(opened))
    files = prompts.wildcards(request)
    governance.check_name(governed, aliases.real(request.model or lookup.BUILTIN))
    machine = probe.machine()
    half = probe.prefers_half(request.dtype, machine)
    terms = AccessRules(
        offline=bool(request.offline) or not fetch,
        allow_pickle=bool(request.allow_pickle),
        half=half,
        sketch=sketch,
        allow=partial(governance.check_name, governed),
    )
    asked = adapters.asked(request, terms)
    for note in _recalled(request):
        on_note(note)
    facts = _find(request, terms, on_event)
    found = adapters.find(asked, request, facts, terms, on_event)
    decided = resolve.resolve(request, facts, machine, given, found, wildcards=files, draw_seed=secrets.randbelow)
    _check_quantize(decided)
    decided = _keeping(governed, decided, opened)
    governance.check_words(governed, decided)
    means = _means(governed, decided, opened)
    laid = inputs.lay(decided, opened)
    named = _names(decided)
    destinations = writer.check(
        named,
        decided.output,
        size=(decided.width, decided.height),
        text=_longest(decided),
    )
    governance.check_places(governed, destinations)
    kept = frozenset(number for number, path in enumerate(destinations, start=1) if path is None)
    decided = replace(decided, notes=(*_early_notes(decided, opened, source), *decided.notes))
    means = replace(means, where=laid.kept if decided.change and decided.change.paste else None)
    return _Prepared(
        plan=decided,
        request=request,
        machine=machine,
        source=source,
        named=named,
        kept=kept,
        laid=laid,
        means=means,
    )


def _check_quantize(decided: GeneratePlan) -> None:
    prequantized.check(decided.model, decided.adapters, decided.device, probe.version)
    package = {"int8": "torchao", "nf4": "bitsandbytes"}.get(decided.quantize)
    if package is not None and probe.version(package) == "missing":
        raise MachineError(
            f"--quantize {decided.quantize} needs the package {package}, which is not installed",
            hint="pip install 'imggen[quantize]'",
        )


def _longest(decided: GeneratePlan) -> str:
    """Return all words that the longest of the pictures' recipes holds."""
    said = max(("".join(decided.words(seed)) for seed in decided.seeds), key=len)
    return said + decided.template + decided.negative_template


def _keeping(governed: Governance, decided: GeneratePlan, opened: Sequence[OpenedPicture]) -> GeneratePlan:
    """Return the plan such that it keeps what the policy wants of the given pictures' marks, and of its own label."""
    output = governance.check_sources(governed, _sources(opened), decided.output)
    wanted = governed.policy.marking.visible_label if governed.policy else None
    if wanted:
        try:
            label.check((decided.width, decided.height), wanted)
        except RequestError as error:
            governed.means().refuse(Refusal(rule="marking.visible_label", message=error.message, hint=error.hint))
    return replace(decided, output=output)


def _means(governed: Governance, decided: GeneratePlan, opened: Sequence[OpenedPicture]) -> WriteContext:
    """Return by what means the pictures are made; raise CheckError for a model or a loss that the policy refuses."""
    sources = _sources(opened)
    output, facts = decided.output, decided.model
    writer.signs(output, governed.identity)
    asked = governed.entry(decided.prompt, decided.negative_prompt)
    if governed.policy is None:
        return replace(governed.means(asked), parents=governance.parents(sources))
    model, *lent = governance.of_model(facts, decided.dtype, hashed=policy.needs_hash(governed.policy))
    logged = audit.Model(reference=facts.reference, revision=facts.revision, sha256=model.sha256, license=model.license)
    given = tuple(audit.Input(sha256=source.sha256, source_type=source.source_type) for source in sources)
    entry = replace(asked, model=logged, inputs=given)
    added = [governance.of_adapter(adapter) for adapter in decided.adapters]
    added += [
        governance.of_encoder(each.encoder, each.files[1])
        if each.encoder is not None
        else governance.of_file(each.files[1].parent, weights.file_sha256(each.files[1]))
        for each in decided.adapters
        if each.asked.kind == "ip-adapter" and (each.encoder is not None or not each.revision)
    ]
    governance.check_weights(governed, [model, *lent, *added], entry)
    return replace(governed.means(entry), parents=governance.parents(sources))


def _sources(opened: Sequence[OpenedPicture]) -> tuple[SourcePicture, ...]:
    """Return the given pictures: the one that is changed, those that are mixed, and those that are looked at."""
    parents = [each for each in opened if each.given.role == "parent"]
    relationships: dict[Role, Relationship | None] = {
        "image": "parentOf",
        "parent": "parentOf" if len(parents) == 1 else "componentOf",
        "style": "inputTo",
        "control": "inputTo",
        "shown": "inputTo",
        "mask": None,
    }
    return tuple(
        SourcePicture(
            name=each.given.name,
            data=each.data,
            sha256=each.given.sha256,
            relationship=relationships[each.given.role],
            source_type=each.given.source_type,
        )
        for each in opened
    )


def _recalled(request: GenerateRequest) -> Iterator[str]:
    """Yield what is said of weights that nobody typed, but a picture names, which may come from whoever made it.

    Those that are here are the user's own, and nothing is fetched for them; pickles are told even so.
    """
    for origin, whose in ((RECIPE, "the recipe asks"), (PARENTS, "the parents' recipes ask")):
        named = [name for name in _WEIGHTS if request.origin.get(name) == origin]
        values = [getattr(request, name) for name in named]
        listed = [one for value in values if value for one in (value if isinstance(value, tuple) else (value,))]
        strange = [each for each in listed if request.allow_pickle or not lookup.is_here(_reference(each))]
        strange = [each for each in strange if each != lookup.BUILTIN]
        if strange:
            yield f"{whose} for {', '.join(strange)}; what is not on this machine is fetched from the hub, if it may be"


def _reference(written: str) -> str:
    """Return what is asked for without a scale or a word behind it."""
    reference, colon, _ = written.rpartition(":")
    return reference if colon and not paths.is_there(paths.at_home(written)) else written


_WEIGHTS: Final = (
    *("model", "base", "vae", "lora", "embedding"),
    *("control", "ip_adapter_weights", "ip_adapter_encoder", "depth_weights"),
)


def _find(request: GenerateRequest, terms: AccessRules, on_event: Report) -> ModelFacts:
    try:
        return lookup.find(request.model or lookup.BUILTIN, base=request.base, terms=terms, on_event=on_event)
    except ImggenError as error:
        if request.origin.get("model") != PARENTS or isinstance(error, CheckError):
            raise
        raise type(error)(
            f"the parents' recipes need the model {request.model}: {error.message}",
            hint=f"-m {lookup.BUILTIN}, or another model that is here: the parents then enter as pictures",
        ) from error


def _from_file(request: GenerateRequest) -> tuple[GenerateRequest, Recipe | None]:
    if request.from_file is None:
        return request, None
    facts = metadata.read(Path(request.from_file))
    if facts.found is None or facts.found.recipe is None:
        raise RequestError(f"{request.from_file} {_lacking(facts)}", hint=f"imggen inspect {request.from_file}")
    return reproduce.from_recipe(facts.found.recipe, request), facts.found.recipe


def _lacking(facts: Facts) -> str:
    if facts.found is not None:
        if facts.found.dialect == "imggen":
            return "holds no recipe: it was written by imggen, and without the words the recipe is left out"
        return f"holds a {facts.found.dialect} record, and no recipe of imggen"
    system = facts.xmp.get(metadata.SYSTEM)
    if isinstance(system, str) and system.startswith("imggen ") and metadata.IMAGE_HASH in facts.xmp:
        return "was written by imggen with --metadata minimal, so its settings were left out"
    return "holds no record of how it was made"


def _names(decided: GeneratePlan) -> tuple[Path, ...]:
    template = decided.output.template
    if template == naming.STDOUT:
        return ()
    pictures = destination.named(decided, metadata.now().date())
    # Only what was typed: `~` is a letter like others in a field. Not a Path, which loses the slash of a folder.
    template = os.path.expanduser(template)  # noqa: PTH111
    is_folder = Path(template).is_dir()
    names = naming.expand(template, pictures, decided.output.format, folder=is_folder)
    return tuple(Path(name) for name in names)


def _early_notes(decided: GeneratePlan, opened: Sequence[OpenedPicture], source: Recipe | None) -> tuple[str, ...]:
    notes = inputs.notes(decided, opened)
    if decided.output.marking.prompt != "full" and "{prompt" in decided.output.template:
        notes = (*notes, f"the name {decided.output.template} tells the prompt, which the file does not")
    if source is None:
        return notes
    return (*notes, *(_STRANGE.format(each) for each in reproduce.strangers(source, _ingredients(decided))))


def _late_notes(prepared: _Prepared, digest: str, cut: str | None) -> Iterator[str]:
    if cut:
        yield cut
    if prepared.source is not None:
        made = _recipe(prepared.plan, prepared.plan.seeds[0], digest)
        for each in reproduce.differences(prepared.source, made):
            yield _STRANGE.format(each)


def _recipe(decided: GeneratePlan, seed: int, digest: str) -> Recipe:
    prompt, negative = decided.words(seed)
    made = Recipe(
        task=decided.task,
        prompt=prompt,
        negative_prompt=negative,
        reading=decided.reading,
        template=decided.template,
        negative_template=decided.negative_template,
        model=decided.model.reference,
        model_revision=decided.model.revision,
        model_hash=digest,
        base=decided.model.base.reference if decided.model.base else None,
        base_revision=decided.model.base.revision if decided.model.base else None,
        stored=", ".join(sorted(set(decided.model.quantised.values()))),
        family=decided.family.name,
        width=decided.width,
        height=decided.height,
        steps=decided.steps,
        guidance=decided.guidance,
        seed=seed,
        sampler=decided.sampler,
        device=decided.device,
        dtype=decided.dtype,
        attention_slicing=decided.attention_slicing,
        vae_tile=decided.vae_tile,
        offload=decided.offload,
        quantize=decided.quantize,
        versions={"imggen": imggen.__version__} | {name: probe.version(name) for name in ("torch", "diffusers")},
        tile=decided.tile,
        change=decided.change,
        ingredients=_ingredients(decided),
        adapters=adaptation.recorded(decided.adapters, decided.given),
    )
    return recipes.bounded(made)


def _ingredients(decided: GeneratePlan) -> tuple[Ingredient, ...]:
    weights = iter(decided.weights)
    return tuple(_ingredient(each, next(weights) if each.role == "parent" else None) for each in decided.given)


def _ingredient(given: Given, weight: float | None) -> Ingredient:
    return Ingredient(
        role=given.role,
        sha256=given.sha256,
        width=given.width,
        height=given.height,
        weight=weight,
        source_type=given.source_type,
        recipe=given.recipe,
        guid=given.guid,
        control=given.control,
        preprocessor=given.preprocessor if given.control else None,
    )


def _pictures(prepared: _Prepared, digest: str, held: step_down.Descent) -> Iterator[Generated]:
    seeds = prepared.plan.seeds
    failures: list[str] = []
    done = 0
    for number, seed in enumerate(seeds, start=1):
        if number in prepared.kept:
            yield _kept(prepared, number)
            continue
        try:
            drawn = held.draw(number)
            picture, lost = inputs.opaque(drawn.image, held.plan.output.format)
            image = inputs.finish(held.plan, prepared.laid, picture)
            held.report(Progress(stage="write", image=number, images=len(seeds)))
            made = _written(prepared, number, image, _recipe(held.plan, seed, digest))
        except ImggenError as error:
            # One seed may fail by itself; a machine without memory or disk would only fail again, minutes later.
            if len(seeds) == 1:
                raise
            if not isinstance(error, PictureError):
                raise type(error)(f"{error} ({done} of {len(seeds)} pictures were written)", hint=error.hint) from error
            failures.append(f"seed {seed}: {error.message}")
            continue
        done += 1
        yield replace(made, notes=(*drawn.notes, *lost, *made.notes))
    if failures:
        raise ImggenError(f"{len(failures)} of {len(seeds)} pictures failed: {'; '.join(failures)}")


def _written(prepared: _Prepared, number: int, image: Any, recipe: Recipe) -> Generated:
    output = prepared.plan.output
    means = governance.worded(prepared.means, recipe.prompt, recipe.negative_prompt)
    if not prepared.named:
        finished = writer.emit(image, recipe, output, by=means)
        return Generated(
            seed=recipe.seed, index=number, recipe=_told(finished), data=finished.data, notes=finished.notes
        )
    written = writer.write(image, recipe, output, prepared.named[number - 1], by=means)
    return Generated(
        seed=recipe.seed,
        index=number,
        recipe=_told(written.finished) if written.finished else recipe,
        path=written.path,
        written=written,
        notes=written.notes,
    )


def _told(finished: Finished) -> Recipe | None:
    return finished.told if isinstance(finished.told, Recipe) else None


def _kept(prepared: _Prepared, number: int) -> Generated:
    return Generated(seed=prepared.plan.seeds[number - 1], index=number, path=prepared.named[number - 1])
