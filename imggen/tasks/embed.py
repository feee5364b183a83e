"""Metadata into files that exist, their pictures untouched."""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

from imggen.errors import RequestError
from imggen.output import files
from imggen.output.files import WriteTarget
from imggen.output.formats import container, jpeg
from imggen.output.formats.carriers import Changes
from imggen.output.governance import audit
from imggen.output.governance.means import LoggedPicture
from imggen.output.metadata import fields, metadata, stripping
from imggen.output.metadata.metadata import Facts, Marked, Metadata
from imggen.output.provenance import claims, signing
from imggen.output.provenance.keys import Identity
from imggen.plan.policy import policy as policies
from imggen.plan.policy.policy import Policy, Refusal
from imggen.plan.schema.formats import FORMATS, ImageFormat
from imggen.plan.schema.marking import Signing
from imggen.plan.schema.request import IfExists
from imggen.plan.settings import naming
from imggen.tasks.inspect import raise_together
from imggen.tasks.steps import governance
from imggen.tasks.steps.governance import Governance

Stripping = Literal["prompt", "all"]

_TAKEN: Final = {"prompt": stripping.taken_with_prompt, "all": stripping.taken_with_all}


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Which files, what to say in them, and what to take out.

    `strip` comes first: the words that the picture was made from, or all that the file says. `source` is a picture
    whose record is copied. `pairs` are `KEY=VALUE` of `--set`, in order, and are applied after it. `sign` `auto` signs
    again a file that was signed, and no other; `off` leaves it without a signature. `output` None changes the targets
    themselves; otherwise it is the one target's new file, or a folder for all of them (it ends with a slash, exists, or
    there is more than one target), and the targets stay as they are.
    """

    targets: tuple[Path, ...]
    source: Path | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    strip: Stripping | None = None
    sign: Signing = "auto"
    policy: str | None = None
    output: str | None = None
    if_exists: IfExists = "auto"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """One file that was written, or was right already (`changed` False): its hash, its size, what did not fit."""

    path: Path
    target: Path
    sha256: str
    bytes: int
    marks: tuple[str, ...]
    changed: bool
    notes: tuple[str, ...] = ()


def embed(request: EmbedRequest) -> Iterator[Embedded]:
    """Yield one fact per file written; at the end, raise an error that names every file that could not be.

    Every file is written whole or not at all: one that fails is left as it was, bit for bit. Wrong fields, a source
    without a record and an output that cannot take all targets are refused before anything is touched. The error is a
    RequestError where nothing could be written, an ImggenError where some of many could.
    """
    governed = governance.read(request.policy, "embed-metadata", sign=request.sign)
    edit = _FileEdit(request=request, additions=_additions(request), governed=governed)
    _check_output(request)
    if request.sign == "on" and governed.identity is None:
        raise RequestError("--sign on, and no key is set up", hint='imggen keys init --organisation "Example Ltd"')
    if request.sign == "on" and request.strip == "all":
        message = "--strip all takes a signature out, and --sign on wants one"
        raise RequestError(message, hint="leave one of the two out")
    failures: list[RequestError] = []
    for target in request.targets:
        try:
            yield _embedded(edit, target)
        except RequestError as error:
            failures.append(_pastable(error, target))
    raise_together(failures, len(request.targets))


@dataclass(frozen=True, kw_only=True)
class _FileEdit:
    request: EmbedRequest
    additions: tuple[Metadata, ...]
    governed: Governance


def _pastable(error: RequestError, target: Path) -> RequestError:
    """Return the error with what helps here: nothing is drawn again in another format, but it can be converted."""
    if error.hint != jpeg.ANOTHER_FORMAT:
        return error
    names = (shlex.quote(str(path)) for path in (target, target.with_suffix(".png")))
    return RequestError(error.message, hint=f"shorter texts, or a file that holds more: magick {' '.join(names)}")


def pair(text: str) -> tuple[str, str]:
    """Return the name and value of `KEY=VALUE`; raise RequestError where there is no `=`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise RequestError(f"{text!r} is not KEY=VALUE", hint='--set artist="A. B."')
    return name.strip(), value


def _additions(request: EmbedRequest) -> tuple[Metadata, ...]:
    """Return what is to be added to every file, in the order in which it applies."""
    if not request.targets:
        raise RequestError("there is no file to embed metadata into")
    if request.source is None and not request.pairs and request.strip is None and request.sign == "auto":
        raise RequestError(
            "there is nothing to embed", hint='--from apple.png, --set artist="A. B.", --alt, or --strip'
        )
    additions = []
    if request.source is not None:
        facts = metadata.read(request.source)
        with files.blaming(request.source):
            additions.append(metadata.copied(facts))
    if request.pairs:
        additions.append(fields.assign(request.pairs))
    return tuple(additions)


def _check_output(request: EmbedRequest) -> None:
    """Raise RequestError where the place for the results does not suit the number of files."""
    if request.output is None:
        return
    named = naming.format_of(request.output) if _names_file(request.output) else None
    if len(request.targets) == 1:
        return
    if named:
        raise RequestError(
            f"{request.output} is the name of one file, and there are {len(request.targets)}", hint="-o marked/"
        )
    first: dict[str, Path] = {}
    for target in request.targets:
        other = first.setdefault(os.path.normcase(target.name), target)
        if other is not target and request.if_exists != "number":
            raise RequestError(
                f"{other} and {target} would both be {Path(request.output) / target.name}", hint="--if-exists number"
            )


def _names_file(output: str) -> bool:
    return not output.endswith(("/", "\\")) and not Path(output).is_dir()


def _embedded(edit: _FileEdit, target: Path) -> Embedded:
    """Change one file: read it, check it against the policy, write it, and log that."""
    request = edit.request
    data = files.read(target)
    path = _destination(request, target)
    with files.blaming(target):
        facts = metadata.read(data)
        _check_policy(edit, target, facts)
        marked = _marked(edit, data, facts, (path or target).name)
        notes = (*marked.notes, *_fit_notes(marked, request))
    if request.output is not None and path == Path(request.output):
        _check_format(path, facts.picture.format, target)
    changed = marked.data != data or path is not None
    if_exists = "overwrite" if path is None else request.if_exists
    place = files.settle(path or target, if_exists, is_own=metadata.is_own)
    sha256 = hashlib.sha256(marked.data).hexdigest()
    if changed and place is not None:
        governance.check_places(edit.governed, [place.path])
        _check_result(edit, target, facts, marked.data)
        _write(place, marked, target, partial(_log, edit, place, data, marked) if edit.governed.log else None)
    return Embedded(
        path=place.path if place else path or target,
        target=target,
        sha256=sha256,
        bytes=len(marked.data),
        marks=marked.marks,
        changed=changed and place is not None,
        notes=notes,
    )


def _check_policy(edit: _FileEdit, target: Path, facts: Facts) -> None:
    """Raise CheckError where the policy forbids what is to be embedded."""
    policy, request = edit.governed.policy, edit.request
    if policy is None:
        return
    taken = _TAKEN[request.strip](facts) if request.strip else ()
    if request.sign == "off" and facts.picture.signed:
        taken = (*taken, "c2pa")
    means = edit.governed.means()
    means.refuse(_of(target, policies.check_strip(policy, tuple(dict.fromkeys(taken)))))
    record = metadata.read(request.source).found if request.source else None
    if record is None:
        return
    means.refuse(_of(target, policies.check_prompt(policy, record.prompt, record.negative_prompt)))
    if policy.prompt.record != "full":
        kept = f"the policy's prompt.record is {policy.prompt.record!r}"
        message = f"--from {request.source} would copy a prompt, and {kept}"
        means.refuse(Refusal(rule="prompt.record", message=message, hint="leave --from out"))


def _marked(edit: _FileEdit, data: bytes, facts: Facts, title: str) -> Marked:
    request = edit.request
    if request.strip == "all":
        return _embed(_stripped(data, facts), edit.additions)
    additions = ((stripping.of_prompt(facts),) if request.strip else ()) + edit.additions
    marked = _embed(Marked(data=data, marks=(), notes=_oracle(facts) if request.strip else ()), additions)
    if marked.data == data and request.sign == "auto":
        return marked
    return _signed(edit, data, facts, marked, title)


def _oracle(facts: Facts) -> tuple[str, ...]:
    if metadata.stated_guid(facts.xmp) is None:
        return ()
    return ("the picture's id stays, by which someone who guesses the prompt and all settings can confirm the guess",)


def _stripped(data: bytes, facts: Facts) -> Marked:
    notes = []
    stated = facts.xmp.get(metadata.WATERMARK)
    if isinstance(stated, str) and not stated.startswith(metadata.UNMARKED):
        notes.append(f"the watermark {stated} is in the pixels and stays")
    if facts.picture.signed:
        notes.append("the C2PA manifest was taken out with the rest")
    return Marked(data=container.replace(data, stripping.of_all(facts)), marks=(), notes=tuple(notes))


def _embed(marked: Marked, additions: tuple[Metadata, ...]) -> Marked:
    for addition in additions:
        more = metadata.embed(marked.data, addition)
        marks = tuple(dict.fromkeys((*marked.marks, *more.marks)))
        marked = Marked(data=more.data, marks=marks, notes=(*marked.notes, *more.notes))
    return marked


def _signed(edit: _FileEdit, data: bytes, facts: Facts, marked: Marked, title: str) -> Marked:
    """Return the file signed where it has to be, with the old file as what it was made from."""
    sign, identity = edit.request.sign, edit.governed.identity
    if sign == "off":
        if not facts.picture.signed:
            return marked
        bare = container.replace(marked.data, Changes(dropped=frozenset(("manifest",))))
        return replace(marked, data=bare, notes=(*marked.notes, "the C2PA manifest was taken out: it would not hold"))
    if sign == "auto" and not facts.picture.signed:
        return marked
    if facts.picture.signed:
        _check_signature(data, facts, sign)
    if identity is None:
        raise RequestError(
            "the file is signed, and a change of its metadata would break the signature",
            hint='imggen keys init --organisation "Example Ltd", then it is signed again; or --sign off',
        )
    new = metadata.read(marked.data)
    statement = claims.of_edit(data, new, title=title, created=metadata.now())
    signed = signing.sign(marked.data, facts.picture.format, statement, identity)
    return replace(marked, data=signed, marks=(*marked.marks, "c2pa"))


def _check_signature(data: bytes, facts: Facts, sign: Signing) -> None:
    """Raise RequestError for a file that was tampered with: a new signature would vouch for it, unless that is said."""
    validation = signing.read(data, facts.picture.format) if signing.is_available() else None
    if sign == "on" or validation is None or validation.state != "invalid":
        return
    if validation.expired and not validation.is_changed:
        return
    codes = ", ".join(validation.codes)
    raise RequestError(
        f"the file was changed after it was signed ({codes}), and signing it again would vouch for it",
        hint="--sign on does that all the same, --sign off takes the signature out",
    )


def _check_result(edit: _FileEdit, target: Path, before: Facts, data: bytes) -> None:
    """Raise CheckError where the file would say less, or something else, than the policy wants."""
    policy, means = edit.governed.policy, edit.governed.means()
    if policy is None:
        return
    after = metadata.read(data)
    stated = [facts.xmp.get(metadata.SOURCE_TYPE) for facts in (before, after)]
    if stated[0] and stated[0] != stated[1]:
        means.refuse(_of(target, policies.check_strip(policy, ("iptc",))))
    means.refuse(_of(target, policies.check_marks(policy, _present(policy, after, data, edit.governed.identity))))


def _present(policy: Policy, facts: Facts, data: bytes, identity: Identity | None) -> tuple[str, ...]:
    marks = stripping.taken_with_all(facts)
    if "watermark" not in policy.marking.require:
        return marks
    return (*marks, *(["watermark"] if governance.is_watermarked(data, identity) else []))


def _of(target: Path, refusal: Refusal | None) -> Refusal | None:
    """Return the refusal with the file's name, and without the options that only commands have which draw."""
    if refusal is None:
        return None
    is_foreign = refusal.hint is not None and refusal.hint.startswith(("--metadata", "--watermark"))
    message = f"{target}: {refusal.message}"
    return replace(refusal, message=message, hint=None if is_foreign else refusal.hint)


def _log(edit: _FileEdit, place: WriteTarget, before: bytes, marked: Marked) -> None:
    facts = metadata.read(marked.data)
    stated = facts.xmp.get(metadata.SOURCE_TYPE)
    source = audit.Input(
        sha256=hashlib.sha256(before).hexdigest(), source_type=stated if isinstance(stated, str) else None
    )
    guid, sha256 = metadata.stated_guid(facts.xmp) or "", hashlib.sha256(marked.data).hexdigest()
    means = edit.governed.means(replace(edit.governed.entry(), inputs=(source,)))
    means.log(LoggedPicture(path=str(place.path), sha256=sha256, guid=guid, marks=marked.marks))


def _fit_notes(marked: Marked, request: EmbedRequest) -> tuple[str, ...]:
    if request.source is None or metadata.read(marked.data).fits is not False:
        return ()
    return (f"the record describes other image data, that of {request.source} or of its source",)


def _destination(request: EmbedRequest, target: Path) -> Path | None:
    if request.output is None:
        return None
    output = Path(request.output)
    if not _names_file(request.output) or len(request.targets) > 1:
        return output / target.name
    return output


def _check_format(path: Path, held: ImageFormat, target: Path) -> None:
    named = naming.format_of(path.name)
    if named and named != held:
        raise RequestError(
            f"{path} is the name of a {named} file and {target} is {held}, which is not converted",
            hint=f"-o {path.with_suffix(FORMATS[held].suffix)}",
        )


def _write(place: WriteTarget, marked: Marked, target: Path, settled: Callable[[], None] | None) -> None:
    try:
        files.write(place, marked.data, like=target, settled=settled)
    except FileExistsError as error:
        raise RequestError(
            f"{place.path} exists now; another program wrote it", hint="run the command again"
        ) from error
