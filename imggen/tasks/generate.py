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
from imggen.inputs import kinds, photographs
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
from imggen.plan.models import prequantized, record
from imggen.plan.policy import policy
from imggen.plan.policy.policy import ModelIdentity, Refusal
from imggen.plan.schema import recipe as recipes
from imggen.plan.schema.adapter import AdapterFacts
from imggen.plan.schema.change import Role
from imggen.plan.schema.given import Given
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.progress import Progress, Report, ignore
from imggen.plan.schema.recipe import Ingredient, Recipe
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, ModelFacts
from imggen.plan.schema.tasks import TASKS
from imggen.plan.settings import naming
from imggen.store import aliases, lookup, paths, weights
from imggen.store.weights import AccessRules
from imggen.tasks.steps import adapters, forecast, governance, inputs, prompts, step_down
from imggen.tasks.steps.forecast import Forecast
from imggen.tasks.steps.given import OpenedPicture
from imggen.tasks.steps.governance import Governance, SourcePicture
from imggen.tasks.steps.inputs import Laid

_STARTED_FROM: Final = ("image", "parent", "style")
_STRANGE: Final = "pixels may differ from those of the recipe: {}"

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
        early_notes: list[str] = []
        prepared = _prepare(request, on_event, early_notes.append, fetch=fetch, sketch=sketch)
        prepared = replace(prepared, plan=replace(prepared.plan, notes=(*early_notes, *prepared.plan.notes)))
        costs = forecast.foresee(prepared.plan, prepared.machine, prepared.named, sketch=sketch)
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
        hooks = step_down.StepDownHooks(
            load=lambda decided, report: (load or loader.load)(decided, on_event=report),
            enter=partial(_enter, prepared.laid),
        )
        descent = step_down.Descent(prepared.plan, prepared.request, hooks, on_event=on_event, on_note=on_note)
        pipeline = descent.pipeline()
    prepared = replace(prepared, plan=descent.plan)
    digest = lookup.weights_sha256(prepared.plan.model, prepared.plan.dtype)
    for note in _late_notes(prepared, digest, sampler.cut_prompt(pipeline, prepared.plan)):
        on_note(note)
    # Where memory runs out, another one takes its place.
    del pipeline
    yield from _pictures(prepared, digest, descent)
    timings.keep(prepared.plan, watch.taken(prepared.plan.steps))


def _measured(prepared: _Prepared) -> _Prepared:
    """Return what was prepared with depths in place of photographs, for which no room is needed beside the model."""
    depth_adapter = next((adapter for adapter in prepared.plan.adapters if adapter.asked.kind == "depth"), None)
    if depth_adapter is None:
        return prepared
    with environment.importing():
        from imggen.engine.vision import depth
    return replace(prepared, laid=inputs.measured(prepared.plan, prepared.laid, partial(depth.measure, depth_adapter)))


def _enter(laid: Laid, pipeline: Any, decided: GeneratePlan, report: Report) -> Callable[[int], Any]:
    """Return what draws picture N of `decided`, with the pictures that it starts from."""
    from imggen.engine import failures
    from imggen.engine.sampling import methods, sampler

    opened = methods.Pictures(
        images=laid.images, mask=laid.mask, style=laid.style, controls=laid.controls, shown=laid.shown
    )
    with failures.memory_explained(decided):
        entrance = methods.prepare(pipeline, decided, opened)
    return partial(sampler.draw, pipeline, decided, entrance=entrance, on_event=report)


def _prepare(
    request: GenerateRequest, on_event: Report, on_note: Tell, *, fetch: bool = True, sketch: Path | None = None
) -> _Prepared:
    try:
        return _decided(request, on_event, on_note, fetch=fetch, sketch=sketch)
    except (RequestError, ModelError) as error:
        explained = resolve.with_origins(error, request)
        if explained is error:
            raise
        raise explained from error


def _decided(
    request: GenerateRequest, on_event: Report, on_note: Tell, *, fetch: bool, sketch: Path | None
) -> _Prepared:
    """Return what `request` comes to: completed from files, its weights looked up, planned, and held to the policy."""
    environment.prepare(offline=bool(request.offline))
    governed = governance.read(request.policy, TASKS[request.task].command, sign=request.sign)
    recalled, source = _from_file(prompts.with_loras(request))
    fitting = alteration.of_task(recalled)
    opened = inputs.read(fitting)
    pictures = inputs.facts(opened)
    request = governance.govern(reproduce.adopt(fitting, pictures), governed, given=bool(opened))
    wildcards = prompts.wildcards(request)
    machine = probe.machine()
    terms = AccessRules(
        offline=bool(request.offline) or not fetch,
        allow_pickle=bool(request.allow_pickle),
        half=probe.prefers_half(request.dtype, machine),
        sketch=sketch,
        allow=partial(governance.check_name, governed),
    )
    facts, added = _looked_up(request, terms, on_event, on_note)
    planned = resolve.resolve(
        request, facts, machine, pictures, added, wildcards=wildcards, draw_seed=secrets.randbelow
    )
    _check_quantize(planned)
    settled, context = _settled(governed, planned, opened)
    laid = inputs.lay(settled, opened)
    named = _names(settled)
    destinations = writer.check(named, settled.output, size=(settled.width, settled.height), text=_longest(settled))
    governance.check_places(governed, destinations)
    notes = _early_notes(settled, opened, source)
    return _Prepared(
        plan=replace(settled, notes=(*notes, *settled.notes)),
        request=request,
        machine=machine,
        source=source,
        named=named,
        kept=frozenset(number for number, path in enumerate(destinations, start=1) if path is None),
        laid=laid,
        means=replace(context, where=laid.kept if settled.change and settled.change.paste else None),
    )


def _looked_up(
    request: GenerateRequest, terms: AccessRules, on_event: Report, on_note: Tell
) -> tuple[ModelFacts, tuple[AdapterFacts, ...]]:
    """Return the facts of the model and of the adapters; all names are held to the policy before one is looked up."""
    terms.allow(aliases.real(request.model or lookup.BUILTIN))
    requested = adapters.asked(request, terms)
    for note in _recalled(request):
        on_note(note)
    facts = _find(request, terms, on_event)
    return facts, adapters.find(requested, request, facts, terms, on_event)


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
    longest = max(("".join(decided.words(seed)) for seed in decided.seeds), key=len)
    return longest + decided.template + decided.negative_template


def _settled(
    governed: Governance, planned: GeneratePlan, opened: Sequence[OpenedPicture]
) -> tuple[GeneratePlan, WriteContext]:
    """Return the plan with the output that the policy wants, and by what means its pictures are written.

    Raise CheckError for marks that would be lost, a label that does not fit, words and weights that it refuses.
    """
    sources = _sources(opened)
    settled = replace(planned, output=governance.check_sources(governed, sources, planned.output))
    required_label = governed.policy.marking.visible_label if governed.policy else None
    if required_label:
        try:
            label.check((settled.width, settled.height), required_label)
        except RequestError as error:
            governed.means().refuse(Refusal(rule="marking.visible_label", message=error.message, hint=error.hint))
    governance.check_words(governed, settled)
    writer.signs(settled.output, governed.identity)
    entry = _entry(governed, settled, sources)
    return settled, replace(governed.means(entry), parents=governance.parents(sources))


def _entry(governed: Governance, settled: GeneratePlan, sources: Sequence[SourcePicture]) -> audit.AuditEntry:
    """Return what the log tells of every picture; raise CheckError for weights that the policy refuses."""
    asked, facts = governed.entry(settled.prompt, settled.negative_prompt), settled.model
    if governed.policy is None:
        return asked
    model, *lent = governance.of_model(facts, settled.dtype, hashed=policy.needs_hash(governed.policy))
    logged = audit.Model(reference=facts.reference, revision=facts.revision, sha256=model.sha256, license=model.license)
    inputs_logged = tuple(audit.Input(sha256=source.sha256, source_type=source.source_type) for source in sources)
    entry = replace(asked, model=logged, inputs=inputs_logged)
    added = [governance.of_adapter(adapter) for adapter in settled.adapters]
    encoders = [encoder for adapter in settled.adapters for encoder in _encoder(adapter)]
    governance.check_weights(governed, [model, *lent, *added, *encoders], entry)
    return entry


def _encoder(adapter: AdapterFacts) -> Iterator[ModelIdentity]:
    """Yield an IP-Adapter's image encoder as a policy sees it, where it is not the hub's own beside the adapter."""
    if adapter.asked.kind != "ip-adapter":
        return
    file = adapter.files[1]
    if adapter.encoder is not None:
        yield governance.of_encoder(adapter.encoder, file)
    elif not adapter.revision:
        yield governance.of_file(file.parent, weights.file_sha256(file))


def _sources(opened: Sequence[OpenedPicture]) -> tuple[SourcePicture, ...]:
    """Return the given pictures: the one that is changed, those that are mixed, and those that are looked at."""
    parents = [picture for picture in opened if picture.given.role == "parent"]
    relationships: dict[Role, Relationship | None] = {
        "image": "parentOf",
        "parent": "parentOf" if len(parents) == 1 else "componentOf",
        "style": "inputTo",
        "control": "inputTo",
        "shown": "inputTo",
        "mask": None,
    }
    return tuple(governance.source_picture(picture, relationships[picture.given.role]) for picture in opened)


def _recalled(request: GenerateRequest) -> Iterator[str]:
    """Yield what is said of weights that nobody typed, but a picture names, which may come from whoever made it.

    Those that are here are the user's own, and nothing is fetched for them; pickles are told even so.
    """
    for origin, whose in ((RECIPE, "the recipe asks"), (PARENTS, "the parents' recipes ask")):
        named = [name for name in _WEIGHTS if request.origin.get(name) == origin]
        strange = [written for name in named for written in _references(request, name) if _is_strange(request, written)]
        if strange:
            yield f"{whose} for {', '.join(strange)}; what is not on this machine is fetched from the hub, if it may be"


def _references(request: GenerateRequest, name: str) -> tuple[str, ...]:
    value = getattr(request, name) or ()
    return value if isinstance(value, tuple) else (value,)


def _is_strange(request: GenerateRequest, written: str) -> bool:
    if written == lookup.BUILTIN:
        return False
    return bool(request.allow_pickle) or not lookup.is_here(_reference(written))


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
    if decided.output.template == naming.STDOUT:
        return ()
    pictures = destination.named(decided, metadata.now().date())
    template = _suffixed(decided)
    names = naming.expand(template, pictures, decided.output.format, folder=Path(template).is_dir())
    return tuple(Path(name) for name in names)


def _suffixed(decided: GeneratePlan) -> str:
    """Return the template below the user's home, with a suffix where nothing has the very name that was typed."""
    # Only what was typed: `~` is a letter like others in a field. Not a Path, which loses the slash of a folder.
    template = os.path.expanduser(decided.output.template)  # noqa: PTH111
    return template if os.path.lexists(template) else naming.suffixed(template, decided.output.format)


def _early_notes(decided: GeneratePlan, opened: Sequence[OpenedPicture], source: Recipe | None) -> tuple[str, ...]:
    notes = (*_photograph_notes(decided, opened), *inputs.notes(decided, opened))
    suffix = Path(_suffixed(decided)).suffix
    if decided.output.template != naming.STDOUT and not decided.output.template.endswith(suffix):
        notes = (*notes, f"-o {decided.output.template} has no ending, so {suffix} is added")
    if decided.output.marking.prompt != "full" and "{prompt" in decided.output.template:
        notes = (*notes, f"the name {decided.output.template} tells the prompt, which the file does not")
    if source is None:
        return notes
    return (*notes, *(_STRANGE.format(change) for change in reproduce.strangers(source, _ingredients(decided))))


def _photograph_notes(decided: GeneratePlan, opened: Sequence[OpenedPicture]) -> tuple[str, ...]:
    """Return a note where a model that was taught words of drawings starts from photographs."""
    if not record.read(decided.model).words:
        return ()
    names = [
        kinds.shown(picture.given.name)
        for picture in opened
        if picture.given.role in _STARTED_FROM and picture.given.recipe is None
        if photographs.is_photograph(picture.image, picture.data)
    ]
    if not names:
        return ()
    look = "looks like a photograph" if len(names) == 1 else "look like photographs"
    taught = f"{decided.model.reference} was trained on small drawings and keeps little of one"
    return (f"{', '.join(names)} {look}; {taught}; -m takes a model for photographs",)


def _late_notes(prepared: _Prepared, digest: str, cut: str | None) -> Iterator[str]:
    if cut:
        yield cut
    if prepared.source is not None:
        recipe = _recipe(prepared.plan, prepared.plan.seeds[0], digest)
        for change in reproduce.differences(prepared.source, recipe):
            yield _STRANGE.format(change)


def _recipe(decided: GeneratePlan, seed: int, digest: str) -> Recipe:
    """Return the recipe of the picture of `seed`; `digest` is the hash of the weights that were loaded."""
    prompt, negative = decided.words(seed)
    recipe = Recipe(
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
    return recipes.bounded(recipe)


def _ingredients(decided: GeneratePlan) -> tuple[Ingredient, ...]:
    weights = iter(decided.weights)
    return tuple(_ingredient(picture, next(weights) if picture.role == "parent" else None) for picture in decided.given)


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


def _pictures(prepared: _Prepared, digest: str, descent: step_down.Descent) -> Iterator[Generated]:
    """Draw and write the pictures in their order; raise at the end, or at once where all others would fail too."""
    seeds = prepared.plan.seeds
    failures: list[str] = []
    done = 0
    for number, seed in enumerate(seeds, start=1):
        if number in prepared.kept:
            yield _kept(prepared, number)
            continue
        try:
            drawn = descent.draw(number)
            picture, lost = inputs.opaque(drawn.image, descent.plan.output.format)
            image = inputs.finish(descent.plan, prepared.laid, picture)
            descent.report(Progress(stage="write", image=number, images=len(seeds)))
            picture_made = _written(prepared, number, image, _recipe(descent.plan, seed, digest))
        except ImggenError as error:
            # One seed may fail by itself; a machine without memory or disk would only fail again, minutes later.
            if len(seeds) == 1:
                raise
            if not isinstance(error, PictureError):
                raise type(error)(f"{error} ({done} of {len(seeds)} pictures were written)", hint=error.hint) from error
            failures.append(f"seed {seed}: {error.message}")
            continue
        done += 1
        yield replace(picture_made, notes=(*drawn.notes, *lost, *picture_made.notes))
    if failures:
        raise ImggenError(f"{len(failures)} of {len(seeds)} pictures failed: {'; '.join(failures)}")


def _written(prepared: _Prepared, number: int, image: Any, recipe: Recipe) -> Generated:
    """Write the picture to its file, or encode it for standard output."""
    output = prepared.plan.output
    means = governance.worded(prepared.means, recipe.prompt, recipe.negative_prompt)
    if not prepared.named:
        finished = writer.emit(image, recipe, output, by=means)
        recorded = _told(finished)
        return Generated(seed=recipe.seed, index=number, recipe=recorded, data=finished.data, notes=finished.notes)
    written = writer.write(image, recipe, output, prepared.named[number - 1], by=means)
    return Generated(
        seed=recipe.seed,
        index=number,
        recipe=_told(written.finished) if written.finished else recipe,
        path=written.path,
        written=written,
        notes=(*written.notes, *_replacement(prepared, number, written, recipe)),
    )


def _replacement(prepared: _Prepared, number: int, written: Written, recipe: Recipe) -> Iterator[str]:
    if written.replaced is not None:
        place = str(prepared.named[number - 1]) if len(prepared.named) > 1 else None
        note = reproduce.replacement(written.replaced, recipe, place)
        if note:
            yield note


def _told(finished: Finished) -> Recipe | None:
    return finished.origin if isinstance(finished.origin, Recipe) else None


def _kept(prepared: _Prepared, number: int) -> Generated:
    return Generated(seed=prepared.plan.seeds[number - 1], index=number, path=prepared.named[number - 1])
