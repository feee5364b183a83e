"""Pictures to larger pictures: many files, one network, and no file that costs another."""

import hashlib
import os
import secrets
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import has_magic
from pathlib import Path, PurePath
from typing import Final

import imggen
from imggen.errors import ImggenError, ModelError, PictureError, RequestError
from imggen.host import environment, probe
from imggen.inputs import layout, pictures
from imggen.output import writer
from imggen.output.formats import encoder
from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry
from imggen.output.governance.means import WriteContext
from imggen.output.metadata import metadata, upscaled
from imggen.output.writer import Written
from imggen.plan.models import prequantized
from imggen.plan.policy import policy
from imggen.plan.policy.policy import ModelIdentity
from imggen.plan.schema.change import Edit
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.machine import Machine
from imggen.plan.schema.nearest import nearest
from imggen.plan.schema.progress import Progress, Report, ignore
from imggen.plan.schema.request import ModelFacts
from imggen.plan.settings import naming
from imggen.plan.upscaling import resolve as planning
from imggen.plan.upscaling import upscalers
from imggen.plan.upscaling.plans import (
    Enlarger,
    PicturePlan,
    Refused,
    Surroundings,
    UpscalePlan,
    UpscaleRequest,
    UpscaleSource,
)
from imggen.store import aliases, lookup, weights
from imggen.store.weights import AccessRules
from imggen.tasks.steps import engines, given, governance
from imggen.tasks.steps.engines import Draw, Load
from imggen.tasks.steps.governance import Governance

_BUILTIN_LICENSE: Final = "apache-2.0"
# The formats by their names in Pillow.
_FORMATS: Final[dict[str, ImageFormat]] = {name.upper(): name for name in FORMATS}


@dataclass(frozen=True, kw_only=True)
class Enlarged:
    """One picture that is larger now: where from, how, and where it went.

    `written` is the file; a picture for standard output has `data`, its bytes, instead. Where the policy keeps the file
    that is at `path` already, nothing is drawn, and there is neither an edit nor anything written.
    """

    planned: PicturePlan
    edit: Edit | None = None
    path: Path | None = None
    written: Written | None = None
    data: bytes | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """One picture, of how many, that could not become larger, and why."""

    name: str
    error: ImggenError
    of: int


@dataclass(frozen=True, kw_only=True)
class _PreparedUpscale:
    """A plan, the machine it is for, and the bytes of standard input where a picture comes from there.

    `governed` is whose rules are kept to, `entry` what the log tells of every picture. `kept` are the numbers of the
    pictures whose files are there and stay.
    """

    plan: UpscalePlan
    machine: Machine
    stdin: bytes | None
    kept: frozenset[int]
    governed: Governance
    entry: AuditEntry


def plan(request: UpscaleRequest, *, on_event: Report = ignore) -> UpscalePlan:
    """Return what `upscale` would do, everything that can fail without weights having been checked; write no picture.

    Pictures that cannot become larger are among the plan's refused ones.
    """
    return _prepare(request, on_event).plan


def upscale(
    request: UpscaleRequest,
    *,
    on_event: Report = ignore,
    on_plan: Callable[[UpscalePlan], None] = lambda _: None,
    load: Load | None = None,
) -> Iterator[Enlarged | Failed]:
    """Make the pictures of `request` larger and yield each as soon as it is written, or as soon as it has failed.

    Those that cannot be enlarged are told before the others are begun, and before any weights are loaded. A picture
    that fails does not stop the others; at the end an ImggenError names all that did. A machine without memory or disk
    stops the run: it would only fail again. `load(plan, scale)` returns the network, the built-in one of that scale.
    """
    prepared = _prepare(request, on_event)
    on_plan(prepared.plan)
    failures = _refused(prepared.plan)
    yield from failures
    if prepared.plan.pictures:
        load = load or partial(engines.load, on_event=on_event)
        draw = engines.choose(prepared.plan, prepared.machine, load, on_event)
        for result in _each(prepared, draw, on_event):
            if isinstance(result, Failed):
                failures.append(result)
            yield result
    _raise_together(failures)


def raise_refused(plan: UpscalePlan) -> None:
    """Raise the error that `upscale` would end with where nothing but the plan's refused pictures failed."""
    _raise_together(_refused(plan))


def _refused(plan: UpscalePlan) -> list[Failed]:
    count = len(plan.pictures) + len(plan.refused)
    return [Failed(name=picture.name, error=picture.error, of=count) for picture in plan.refused]


def _raise_together(failures: Sequence[Failed]) -> None:
    """Raise one error with a table of all failures; return where there are none.

    It is of the first failure's kind where no picture went well, and a plain ImggenError where some did.
    """
    if not failures:
        return
    count = failures[0].of
    if count == 1:
        raise failures[0].error
    kind = type(failures[0].error) if len(failures) == count else ImggenError
    width = max(len(failure.name) for failure in failures)
    rows = "\n".join(f"  {failure.name:<{width}}  {_reason(failure)}" for failure in failures)
    hints = {failure.error.hint for failure in failures}
    hint = hints.pop() if len(hints) == 1 else None
    raise kind(f"{len(failures)} of {count} pictures failed:\n{rows}", hint=hint)


def _reason(failure: Failed) -> str:
    """Return why it failed in one line that does not name it again."""
    message = failure.error.message.removeprefix(f"{failure.name}: ").removeprefix(f"{failure.name} ")
    return " ".join(message.split())


def _prepare(request: UpscaleRequest, on_event: Report) -> _PreparedUpscale:
    """Return the plan for `request`, held to the policy, with the places that its pictures go to looked at."""
    environment.prepare(offline=bool(request.offline))
    # Here and not once the pictures are named: a source may be called ~this.
    named = replace(
        request, output=request.output and _at_home(request.output), model=request.model and aliases.real(request.model)
    )
    governed = governance.read(named.policy, "upscale", sign=named.sign)
    planning.check(named)
    request = governance.govern(named, governed, given=True)
    if request.model != planning.LANCZOS:
        governance.check_name(governed, request.model or planning.BUILTIN)
    names = _names(request.files)
    stdin = given.load(given.STDIN) if given.STDIN in names else None
    sources = [_looked_at(number, name, stdin, request.frame) for number, name in enumerate(names, start=1)]
    # Where no picture is left to be enlarged, nothing shall be fetched for it.
    needed = any(isinstance(source, UpscaleSource) for source in sources)
    around = Surroundings(
        machine=probe.machine(),
        folder=request.output not in (None, naming.STDOUT) and Path(str(request.output)).is_dir(),
        today=metadata.now().date(),
        taken=request.output is not None and os.path.lexists(request.output),
    )
    enlarger = _enlarger(request, on_event, needed=needed)
    decided = planning.resolve(request, sources, enlarger, around, draw_seed=secrets.randbelow)
    if enlarger.model is not None:
        prequantized.check(enlarger.model, (), decided.device, probe.version)
    _check_sources(decided, names)
    entry = _checked(governed, decided)
    placed, kept = _settled(governed, decided)
    return _PreparedUpscale(plan=placed, machine=around.machine, stdin=stdin, kept=kept, governed=governed, entry=entry)


def _checked(governed: Governance, decided: UpscalePlan) -> AuditEntry:
    """Return what the log tells of every picture; raise CheckError for weights that the policy refuses."""
    for picture in decided.pictures:
        writer.signs(picture.output, governed.identity)
    entry = governed.entry(decided.prompt or "")
    model = _identity(governed, decided)
    # Lanczos has none.
    governance.check_weights(governed, [] if decided.enlarger.engine == "lanczos" else [model], entry)
    logged = audit.Model(reference=model.reference, revision=model.revision, sha256=model.sha256, license=model.license)
    return replace(entry, model=logged)


def _identity(governed: Governance, decided: UpscalePlan) -> ModelIdentity:
    """Return what enlarges as a policy sees it."""
    enlarger = decided.enlarger
    hashed = governed.policy is not None and policy.needs_hash(governed.policy)
    if enlarger.file is not None:
        return governance.of_file(enlarger.file, weights.hash_file(enlarger.file) if hashed else None)
    facts = enlarger.model
    if facts is None:
        return ModelIdentity(reference=enlarger.reference, license=_BUILTIN_LICENSE)
    return governance.of_model(facts, decided.dtype or "float32", hashed=hashed)[0]


def _names(files: Sequence[str]) -> tuple[str, ...]:
    """Return the files that names and globs stand for, each once; a name that is no file is told with the pictures."""
    names: dict[str, str] = {}
    for typed in files:
        for name in given.expand([typed]) if has_magic(typed) else (typed,):
            names.setdefault(name if name == given.STDIN else os.path.normcase(Path(name).absolute()), name)
    return tuple(names.values())


def _looked_at(number: int, name: str, stdin: bytes | None, frame: int | None) -> UpscaleSource | Refused:
    try:
        data = stdin if name == given.STDIN and stdin is not None else given.load(name)
        measured = pictures.measure(data, name=name, frame=frame)
    except RequestError as error:
        return Refused(number=number, name=name, error=_of_words(name, error))
    return UpscaleSource(
        number=number, name=name, width=measured.width, height=measured.height, format=_FORMATS.get(measured.kind)
    )


def _of_words(name: str, error: RequestError) -> RequestError:
    """Return the error; where words stand in place of a file, with the command that makes a picture of them."""
    if " " not in name.strip() or PurePath(name).suffix or os.path.lexists(name):
        return error
    return RequestError(error.message, hint=f"imggen generate {shlex.quote(name)}")


def _at_home(path: str) -> str:
    # Not a Path, which loses the slash of a folder. Nor Path.expanduser(), which raises for ~somebody who is not there.
    return os.path.expanduser(path)  # noqa: PTH111


def _enlarger(request: UpscaleRequest, on_event: Report, *, needed: bool) -> Enlarger:
    engine, reference = planning.engine(request.model), request.model or planning.BUILTIN
    if engine == "lanczos" or reference == planning.BUILTIN or not needed:
        return Enlarger(engine=engine, reference=reference)
    if engine == "network":
        return Enlarger(engine=engine, reference=reference, file=_weights(Path(_at_home(reference))))
    return Enlarger(engine=engine, reference=reference, model=_model(request, reference, on_event))


def _model(request: UpscaleRequest, reference: str, on_event: Report) -> ModelFacts:
    """Return the facts of a diffusion model that enlarges pictures; raise ModelError for a word that names nothing."""
    known = (planning.BUILTIN, planning.LANCZOS)
    if "/" not in reference and not Path(_at_home(reference)).exists():
        near = nearest(reference, known)
        raise ModelError(
            f"no upscaler is called {reference!r}",
            hint=f"--model {near[0] if near else planning.BUILTIN}, a file of weights, a folder or a hub id",
        )
    terms = AccessRules(offline=bool(request.offline), allow_pickle=bool(request.allow_pickle))
    facts = lookup.find(reference, terms=terms, on_event=on_event)
    upscalers.find(facts)
    return facts


def _weights(path: Path) -> Path:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        # Nobody shall be led to a pickle, which can run code.
        near = nearest(path.name, [entry.name for entry in folder.iterdir() if entry.suffix == ".safetensors"])
        raise ModelError(f"there is no file {path}", hint=f"--model {folder / near[0]}" if near else "--model builtin")
    if path.suffix.lower() == ".safetensors":
        weights.read_header(path)
    return path


def _check_sources(decided: UpscalePlan, names: Sequence[str]) -> None:
    """Raise RequestError where a larger picture would take the place of a source, unless somebody said so."""
    sources = {os.path.realpath(_at_home(name)): name for name in names if name != given.STDIN}
    for picture in decided.pictures:
        source = None if picture.path is None else sources.get(os.path.realpath(picture.path))
        if source is None or picture.output.if_exists in ("number", "skip"):
            continue
        if source != picture.source.name:
            raise RequestError(
                f"{source} would be replaced by what {picture.source.name} becomes", hint="-o 'big/{stem}.png'"
            )
        if picture.output.if_exists != "overwrite":
            raise RequestError(
                f"{source} would be replaced by what it becomes", hint="-o 'big/{stem}.png', or --if-exists overwrite"
            )


def _settled(governed: Governance, decided: UpscalePlan) -> tuple[UpscalePlan, frozenset[int]]:
    """Return what is left of the plan when the places are looked at, and the numbers of the pictures that are there."""
    placed, refused, kept = [], list(decided.refused), set()
    for picture in decided.pictures:
        try:
            paths = [] if picture.path is None else [Path(picture.path)]
            settled = writer.check(paths, picture.output, size=(picture.size.width, picture.size.height))
            governance.check_places(governed, settled)
        except RequestError as error:
            refused.append(Refused(number=picture.source.number, name=picture.source.name, error=error))
            continue
        placed.append(picture)
        kept |= {picture.source.number} if settled == (None,) else set()
    refused.sort(key=lambda picture: picture.number)
    return replace(decided, pictures=tuple(placed), refused=tuple(refused)), frozenset(kept)


def _each(prepared: _PreparedUpscale, draw: Draw, on_event: Report) -> Iterator[Enlarged | Failed]:
    """Enlarge the pictures in their order; one that fails is yielded, and the others go on."""
    count, refused = len(prepared.plan.pictures), len(prepared.plan.refused)
    done = 0
    for number, picture in enumerate(prepared.plan.pictures, start=1):
        if picture.source.number in prepared.kept:
            yield Enlarged(planned=picture, path=Path(picture.path or ""))
            continue

        def report(event: Progress, image: int = number) -> None:
            on_event(replace(event, image=image, images=count))

        try:
            result: Enlarged | Failed = _made(prepared, picture, draw, report)
            done += 1
        except (RequestError, PictureError, planning.NoRoomError) as error:
            result = Failed(name=picture.source.name, error=error, of=count + refused)
        except ImggenError as error:
            if count + refused == 1:
                raise
            raise type(error)(f"{error} ({done} of {count} pictures were written)", hint=error.hint) from error
        yield result


def _made(prepared: _PreparedUpscale, picture: PicturePlan, draw: Draw, report: Report) -> Enlarged:
    """Return one picture enlarged and written; raise RequestError where its file was changed since it was planned."""
    source = picture.source
    data = prepared.stdin if source.name == given.STDIN and prepared.stdin is not None else given.load(source.name)
    decoded = pictures.decode(data, name=source.name, frame=prepared.plan.frame)
    if decoded.image.size != (source.width, source.height):
        raise RequestError(f"{source.name} was changed while imggen ran", hint="run the command again")
    if decoded.image.mode == "RGBA":
        encoder.check_alpha(picture.output.format)
    drawn = draw(decoded.image, picture, report)
    image = drawn.image
    size = (picture.size.width, picture.size.height)
    if prepared.plan.fit is not None:
        image = layout.fit(image, size, prepared.plan.fit)
    edit = Edit(
        action="upscale",
        engine=prepared.plan.enlarger.engine,
        model=drawn.model,
        model_hash=drawn.model_hash,
        width=image.width,
        height=image.height,
        source_sha256=hashlib.sha256(data).hexdigest(),
        imggen=imggen.__version__,
        prompt=prepared.plan.prompt or "",
        seed=prepared.plan.seed,
        steps=prepared.plan.steps,
        guidance=prepared.plan.guidance,
    )
    report(Progress(stage="write"))
    description = upscaled.describe(data, edit)
    given_file = _given_file(picture, description, data)
    picture = replace(picture, output=governance.check_sources(prepared.governed, [given_file], picture.output))
    means = _means(prepared, given_file)
    if picture.path is None:
        marked = writer.emit(image, description, picture.output, by=means)
        return Enlarged(planned=picture, edit=edit, data=marked.data, notes=(*decoded.notes, *marked.notes))
    written = writer.write(image, description, picture.output, Path(picture.path), by=means)
    return Enlarged(
        planned=picture, edit=edit, path=written.path, written=written, notes=(*decoded.notes, *written.notes)
    )


def _given_file(picture: PicturePlan, description: upscaled.Upscaled, data: bytes) -> governance.SourcePicture:
    stated = description.source.xmp.get(metadata.SOURCE_TYPE) if description.source else None
    return governance.SourcePicture(
        name=picture.source.name,
        data=data,
        sha256=description.edit.source_sha256,
        relationship="parentOf",
        source_type=stated if isinstance(stated, str) else None,
    )


def _means(prepared: _PreparedUpscale, source: governance.SourcePicture) -> WriteContext:
    source_logged = audit.Input(sha256=source.sha256, source_type=source.source_type)
    means = prepared.governed.means(replace(prepared.entry, inputs=(source_logged,)))
    return replace(means, parents=governance.parents([source]))
