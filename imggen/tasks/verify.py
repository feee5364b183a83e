"""What a picture's marks are worth: each layer by itself, in words, and never a percentage."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Final, Literal, get_args

from PIL import Image

from imggen.errors import CheckError, ImggenError, MachineError, RequestError
from imggen.inputs import pictures
from imggen.output import files
from imggen.output.formats import container
from imggen.output.governance import audit
from imggen.output.metadata import fields, metadata
from imggen.output.metadata.metadata import Facts
from imggen.output.provenance import certificates, keys, signing
from imggen.output.provenance.signing import Validation
from imggen.output.watermark import watermark
from imggen.output.watermark.watermark import Detection
from imggen.plan.schema import formats
from imggen.plan.schema import recipe as recipes
from imggen.store import paths
from imggen.tasks.steps import given

Strength = Literal["strong", "medium", "weak", "none", "unknown", "broken"]
"""How much a layer shows: `weak` what anyone can write, `medium` what can be forged with effort, `strong` what only
the holder of a trusted key can make; `unknown` where a package is missing, `broken` where it is not as it was."""
Requirable = Literal["c2pa", "trusted", "iptc", "record", "recipe", "infotext", "watermark", "log"]

NOTHING: Final = "no known marks found; this does not show that the picture is not AI-generated"

_PUBLIC: Final = "public"
_EXTRA: Final = "pip install 'imggen[c2pa]'"
_UNCHECKED: Final = "the package that checks it is not installed"
_SHOWS: Final[tuple[Strength, ...]] = ("strong", "medium", "weak")
_TC260: Final = "TC260:AIGC"
_TC260_LABELS: Final = {"1": "is AI-generated", "2": "may be AI-generated", "3": "is suspected of it"}
_TC260_FIELDS: Final = (
    *("Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"),
)
_LONGEST_LABEL: Final = 10_000
_LONGEST_NAME: Final = 80
_SYNTHETIC: Final = frozenset(
    metadata.SOURCE_TYPES + term
    for term in (
        *("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"),
        *("algorithmicMedia", "algorithmicallyEnhanced"),
    )
)


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """Which files (names, folders, globs, `-`), whom to trust, and which marks must be there.

    `roots` are PEM files besides those in the key folder; `log` is an audit log to look the pictures up in.
    """

    files: tuple[str, ...]
    roots: tuple[Path, ...] = ()
    require: tuple[Requirable, ...] = ()
    log: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MarkReport:
    """One kind of mark: how much it shows, in words, and the facts behind these."""

    name: str
    strength: Strength
    words: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What one file's marks are worth. `missing` names the required marks that are not there, or do not hold."""

    path: str
    sha256: str
    layers: tuple[MarkReport, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_marked(self) -> bool:
        """Return whether at least one mark is there and holds."""
        return any(layer.strength in _SHOWS for layer in self.layers)

    @property
    def broken(self) -> tuple[MarkReport, ...]:
        """Return the layers that are not as they were made."""
        return tuple(layer for layer in self.layers if layer.strength == "broken")

    @property
    def verdict(self) -> str:
        """Return what it comes to, in words."""
        broken = [report.name for report in self.broken]
        if broken == ["log"]:
            return "the log that it was looked up in is broken"
        if broken:
            return f"not as it was made: {', '.join(name for name in broken if name != 'log')}"
        if self.missing:
            return f"lacks {', '.join(self.missing)}"
        if not self.is_marked:
            return NOTHING
        unchecked = "; c2pa could not be checked" if self.is_unchecked else ""
        return "carries " + ", ".join(layer.name for layer in self.layers if layer.strength in _SHOWS) + unchecked

    @property
    def is_unchecked(self) -> bool:
        """Return whether a manifest is there that could not be checked, because a package is missing."""
        return any(layer.name == "c2pa" and layer.words.endswith(_UNCHECKED) for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file that could not be looked at, and why."""

    path: str
    error: ImggenError


@dataclass(frozen=True, kw_only=True)
class _Means:
    request: VerifyRequest
    roots: tuple[bytes, ...]
    watermark_keys: tuple[tuple[str, bytes], ...]
    log_problem: str | None


def verify(request: VerifyRequest, environ: Mapping[str, str] = os.environ) -> Iterator[Verified | Unreadable]:
    """Yield what each file's marks are worth; at the end, raise an error where not all of them are well.

    A mark that was tampered with, or a required one that is missing, is a CheckError; a file that cannot be read a
    RequestError; a file without any mark an ImggenError. The first of these that holds for any file is raised.
    """
    place = keys.folder(environ)
    means = _Means(
        request=request,
        log_problem=_log_problem(request.log),
        roots=(*keys.roots(place), *(certificates.root_pem(keys.read(root), str(root)) for root in request.roots)),
        watermark_keys=keys.watermark_keys(place),
    )
    seen: list[Verified | Unreadable] = []
    for name in expand(request.files):
        try:
            seen.append(_verified(name, given.load(name), means))
        except ImggenError as error:
            seen.append(Unreadable(path=name, error=error))
        yield seen[-1]
    _raise_for(seen)


def expand(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the files that names, globs and folders stand for; of a folder, the pictures in it and below.

    Raises RequestError where one of them stands for no file.
    """
    typed: list[str] = []
    for pattern in patterns:
        folder = paths.at_home(pattern)
        if folder.is_dir():
            typed += _within(folder)
        else:
            # A name that is no file is told with the others, as one that cannot be read.
            typed += given.expand([pattern]) if has_magic(pattern) else [pattern]
    return tuple(dict.fromkeys(typed))


def _within(folder: Path) -> list[str]:
    names = sorted(path for path in folder.rglob("*") if path.suffix.lower() in formats.SUFFIXES and path.is_file())
    if not names:
        raise RequestError(f"there is no picture in the folder {folder}")
    return [str(path) for path in names]


def require(text: str) -> tuple[Requirable, ...]:
    """Return the marks that `text` lists between commas; raise RequestError for one that is none."""
    known = get_args(Requirable)
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    strange = next((name for name in names if name not in known), None)
    if strange is not None or not names:
        what = f"{strange!r} is not a mark" if strange else "no mark is named"
        raise RequestError(f"--require {text!r}: {what}", hint=f"known: {', '.join(known)}")
    return tuple(dict.fromkeys(names))  # type: ignore[arg-type]  # each is one of the known


def _verified(name: str, data: bytes, means: _Means) -> Verified:
    facts, notes = _facts(data, name)
    decoded = pictures.decode(data, name=name, frame=1)
    sha256 = hashlib.sha256(data).hexdigest()
    signed = _c2pa(data, facts, means)
    mark = _watermark(decoded.image, facts, means)
    log = means.request.log
    logged = [_logged(log, means.log_problem, sha256, mark)] if log else []
    layers = (signed, *(_declared(facts, signed) if facts else ()), mark, *logged)
    missing = tuple(mark for mark in means.request.require if not _is_there(mark, layers, facts))
    return Verified(path=name, sha256=sha256, layers=layers, missing=missing, notes=notes)


def _facts(data: bytes, name: str) -> tuple[Facts | None, tuple[str, ...]]:
    if container.format_of(data) is None:
        return None, ("metadata is not read from a file of this kind; only its pixels were looked at",)
    with files.blaming(Path(name)):
        facts = metadata.read(data)
    return facts, facts.notes


def _c2pa(data: bytes, facts: Facts | None, means: _Means) -> MarkReport:
    if facts is None:
        return MarkReport(name="c2pa", strength="unknown", words="not looked for in a file of this kind")
    if not facts.picture.signed:
        return MarkReport(name="c2pa", strength="none", words="not signed")
    if not signing.is_available():
        return MarkReport(name="c2pa", strength="unknown", words=f"a manifest is there, and {_UNCHECKED}")
    validation = signing.read(data, facts.picture.format, means.roots)
    if validation is None:
        return MarkReport(name="c2pa", strength="none", words="no manifest in the file; others are not fetched")
    return _judged(validation)


def _judged(validation: Validation) -> MarkReport:
    """Return what a signature is worth, in words."""
    facts = {
        name: getattr(validation, name)
        for name in (
            *("state", "codes", "expired", "signer", "common_name", "issuer", "generator", "source_type", "model"),
            *("when", "guid", "watermark_id", "actions", "mining"),
        )
    }
    facts["ingredients"] = [
        {"title": ingredient.title, "relationship": ingredient.relationship, "state": ingredient.state}
        for ingredient in validation.ingredients
    ]
    declared = f"; declares {_term(validation.source_type)}" if validation.source_type else ""
    if validation.ingredients:
        declared += f"; made from {_counted(len(validation.ingredients))}"
    if any(ingredient.state == "invalid" for ingredient in validation.ingredients):
        declared += ", one of which had an invalid signature"
    if validation.mining is not None and validation.mining != "allowed":
        declared += "; asks not to be trained on"
    if validation.state == "trusted":
        signer = f"signed by {_quoted(validation.signer)}, under a root that you trust"
        words = f"{signer}; unchanged since signing{declared}"
        return MarkReport(name="c2pa", strength="strong", words=words, facts=facts)
    if validation.state == "valid":
        signer = f"the signer, {_quoted(validation.signer or validation.common_name)}, is not on your trust list"
        words = f"unchanged since signing{declared}; {signer}: anyone can make such a key"
        return MarkReport(name="c2pa", strength="medium", words=words, facts=facts)
    codes = ", ".join(validation.codes)
    if validation.is_changed:
        words = f"a manifest is there, but the file was changed after signing, or the manifest was ({codes})"
        return MarkReport(name="c2pa", strength="broken", words=words, facts=facts)
    words = f"a manifest is there that cannot be judged here ({codes})"
    if validation.expired:
        words = f"the signer's certificate had expired or was not valid yet ({codes}), so the signature shows nothing"
    return MarkReport(name="c2pa", strength="unknown", words=words, facts=facts)


def _counted(files: int) -> str:
    return "another file" if files == 1 else f"{files} other files"


def _declared(facts: Facts, signed: MarkReport) -> Iterator[MarkReport]:
    """Yield what the metadata declares, and what its signature makes of that."""
    tail = "unsigned: anyone can add or remove it"
    if signed.strength == "unknown":
        tail = "whether a signature binds it was not checked"
    elif signed.strength in ("strong", "medium"):
        # What a signature binds was there when the file was signed; whether it is true is the signer's word.
        tail = "within what the signature binds"
    yield from filter(None, (_iptc(facts, tail), _record(facts, tail), _tc260(facts, tail)))


def _iptc(facts: Facts, tail: str) -> MarkReport:
    stated = facts.xmp.get(metadata.SOURCE_TYPE)
    if not isinstance(stated, str) or not stated.strip():
        return MarkReport(name="iptc", strength="none", words="states no digital source type")
    values = {"source_type": stated, **_system(facts)}
    uri = stated.strip().replace("https:", "http:", 1)
    if uri in _SYNTHETIC:
        words = f"declares {_term(uri)}{_by(values)}; {tail}"
        return MarkReport(name="iptc", strength="weak", words=words, facts=values)
    words = f"declares {_term(uri)}, which does not mean that it is AI-generated; {tail}"
    return MarkReport(name="iptc", strength="none", words=words, facts=values)


def _system(facts: Facts) -> dict[str, object]:
    named = {
        "system": metadata.SYSTEM,
        "system_version": metadata.SYSTEM_VERSION,
        "organisation": metadata.CREDIT,
        "created": metadata.CREATED,
        "guid": metadata.IDENTITY,
        "watermark": metadata.WATERMARK,
        "label": metadata.LABEL,
    }
    return {name: facts.xmp[source] for name, source in named.items() if source in facts.xmp}


def _by(values: Mapping[str, object]) -> str:
    system = values.get("system")
    return f" by {_quoted(system)}" if isinstance(system, str) and system else ""


def _quoted(text: str | None) -> str:
    """Return a stranger's words such that nobody takes them for ours."""
    shown = text or ""
    return repr(shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…")


def _term(uri: str | None) -> str:
    term = (uri or "").removeprefix(metadata.SOURCE_TYPES)
    words = {"trainedAlgorithmicMedia": "AI-generated", "compositeWithTrainedAlgorithmicMedia": "AI-generated in part"}
    if term in words:
        return f"{words[term]} ({term})"
    return term if term in fields.TERMS else repr(uri)


def _record(facts: Facts, tail: str) -> MarkReport | None:
    """Return what a generator wrote of how it made the picture, None where none did."""
    record = facts.found
    if record is None:
        return None
    values = {
        "dialect": record.dialect,
        "recipe": record.recipe is not None,
        "infotext": record.infotext is not None,
        "fits": facts.fits,
    }
    fit = {
        True: "; it fits the pixels",
        False: "; the picture was changed or encoded again since, or the record is from another one",
        None: "",
    }[facts.fits]
    words = f"generation parameters as written by {record.dialect}{fit}; {tail}"
    return MarkReport(name="record", strength="weak", words=words, facts=values)


def _tc260(facts: Facts, tail: str) -> MarkReport | None:
    """Return the label of China's GB 45438-2025, None where there is none."""
    stated = facts.xmp.get(_TC260)
    if not isinstance(stated, str) or len(stated) > _LONGEST_LABEL:
        return None
    try:
        values = json.loads(stated)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return MarkReport(name="tc260", strength="none", words="a TC260 label that cannot be read")
    label = {name: text for name in _TC260_FIELDS if isinstance(text := values.get(name), str)}
    meaning = _TC260_LABELS.get(label.get("Label", ""), "says nothing known")
    producer = f" by {_quoted(label['ContentProducer'])}" if label.get("ContentProducer") else ""
    return MarkReport(name="tc260", strength="weak", words=f"labelled: {meaning}{producer}; {tail}", facts=label)


def _watermark(image: Image.Image, facts: Facts | None, means: _Means) -> MarkReport:
    """Return what the pixels carry, held against the watermark that the record names."""
    whose, detection = _detected(image, means.watermark_keys)
    values = {"z": round(detection.z, 2), "id": detection.identity, "key": whose}
    recorded = _recorded(facts)
    if not detection.present:
        if recorded is None:
            return MarkReport(name="watermark", strength="none", words=_absent(facts), facts=values)
        words = f"the record names the watermark {recorded}, but it is not found: damaged, or of another key"
        return MarkReport(name="watermark", strength="none", words=words, facts=values | {"recorded": recorded})
    key = "a public key: anyone can put it there" if whose == _PUBLIC else f"the key of {whose}"
    if detection.identity is None:
        words = f"imggen watermark, its id unreadable, z = {detection.z:.1f}; {key}"
        return MarkReport(name="watermark", strength="medium", words=words, facts=values)
    words = f"imggen watermark, id {detection.identity}, z = {detection.z:.1f}; {key}"
    if recorded is not None and detection.identity not in _known(facts, recorded):
        words += f"; the record names {recorded}: it is another picture's, or a part of this one is"
        values["recorded"] = recorded
    return MarkReport(name="watermark", strength="medium", words=words, facts=values)


def _detected(image: Image.Image, known: Sequence[tuple[str, bytes]]) -> tuple[str, Detection]:
    """Return the first mark that is found, and whose; where there is none, what came nearest."""
    best: tuple[str, Detection] | None = None
    for whose, key in (*known, (_PUBLIC, watermark.PUBLIC_KEY)):
        detection = watermark.detect(image, key=key)
        if detection.identity is not None:
            return whose, detection
        if best is None or (detection.present, detection.z) > (best[1].present, best[1].z):
            best = whose, detection
    if best is None:
        raise ValueError("there is always the public key")
    return best


def _absent(facts: Facts | None) -> str:
    stated = facts.xmp.get(metadata.WATERMARK) if facts else None
    if not isinstance(stated, str):
        return "none that imggen knows"
    return f"none that imggen knows; the record says why: {_quoted(stated.removeprefix(metadata.UNMARKED))}"


def _recorded(facts: Facts | None) -> str | None:
    stated = facts.xmp.get(metadata.WATERMARK) if facts else None
    return stated if isinstance(stated, str) and not stated.startswith(metadata.UNMARKED) else None


def _known(facts: Facts | None, recorded: str) -> frozenset[str]:
    """Return the ids that the pixels may carry: the recorded one, and those of what the picture was made from."""
    stated = (facts.xmp.get(name) for name in (metadata.DERIVED, metadata.INGREDIENTS)) if facts else ()
    references = [reference for value in stated for reference in (value if isinstance(value, tuple) else (value,))]
    named = [reference.get("stRef:documentID", "") for reference in references if isinstance(reference, Mapping)]
    recipe = facts.found.recipe if facts and facts.found else None
    named += [ancestor.guid or "" for _, ancestor in recipes.ancestors(recipe)] if recipe else []
    return frozenset((recorded, *(guid.removeprefix("urn:uuid:").replace("-", "")[:12] for guid in named)))


def _log_problem(log: Path | None) -> str | None:
    """Return what is wrong with the log, None where nothing is; raise RequestError where it cannot be read."""
    checked = audit.verify(log) if log else None
    if checked is None or checked.first_bad is None:
        return None
    number, why = checked.first_bad
    return f"the chain of {log} does not hold: line {number} {why}"


def _logged(log: Path, problem: str | None, sha256: str, mark: MarkReport) -> MarkReport:
    """Return what the log knows of the file, or of another one with its watermark."""
    if problem:
        return MarkReport(name="log", strength="broken", words=problem)
    identity = mark.facts.get("id")
    line = audit.find(log, sha256) or (audit.find_mark(log, identity) if isinstance(identity, str) else None)
    if line is None:
        return MarkReport(name="log", strength="none", words=f"{log} has no line about it")
    output = line.values.get("output")
    same = isinstance(output, Mapping) and output.get("sha256") == sha256
    how = "this very file" if same else f"another file, with the watermark {identity} that is in this one"
    words = f"as far as {log} can be relied on, its line {line.number} tells of {how}, {line.values.get('time')}"
    strength: Strength = "medium" if same else "weak"
    return MarkReport(name="log", strength=strength, words=words, facts={"line": line.number, "same_file": same})


def _is_there(name: Requirable, layers: Sequence[MarkReport], facts: Facts | None) -> bool:
    """Return whether the mark that was asked for is there."""
    strengths = {layer.name: layer.strength for layer in layers}
    record = facts.found if facts else None
    fits = facts is not None and facts.fits is not False
    holds = {
        "c2pa": strengths.get("c2pa") in ("strong", "medium"),
        "trusted": strengths.get("c2pa") == "strong",
        "iptc": strengths.get("iptc") in _SHOWS,
        "record": fits and record is not None,
        "recipe": fits and record is not None and record.recipe is not None,
        "infotext": fits and record is not None and record.infotext is not None,
        "watermark": strengths.get("watermark") in _SHOWS,
        # A watermark can be copied; a hash cannot.
        "log": strengths.get("log") == "medium",
    }
    return holds[name]


def _raise_for(seen: Sequence[Verified | Unreadable]) -> None:
    """Raise the error that the results add up to: a check that failed before a file that could not be read."""
    verified = [result for result in seen if isinstance(result, Verified)]
    bad = [result for result in verified if result.broken or _lacking(result)]
    if bad:
        raise CheckError(_listed([f"{result.path}: {result.verdict}" for result in bad], seen))
    if any(result.is_unchecked for result in verified):
        raise MachineError("a signature was not checked: the package c2pa-python is missing", hint=_EXTRA)
    unread = [result for result in seen if isinstance(result, Unreadable)]
    if unread:
        raise RequestError(_listed([_blamed(result) for result in unread], seen), hint=unread[0].error.hint)
    bare = [result for result in verified if not result.is_marked]
    if bare:
        raise ImggenError(_listed([f"{result.path}: {result.verdict}" for result in bare], seen))


def _lacking(result: Verified) -> set[str]:
    return set(result.missing) - ({"c2pa", "trusted"} if result.is_unchecked else set())


def _blamed(result: Unreadable) -> str:
    message = result.error.message
    return message if result.path in message else f"{result.path}: {message}"


def _listed(lines: Sequence[str], seen: Sequence[object]) -> str:
    return lines[0] if len(seen) == 1 else "\n".join([f"{len(lines)} of {len(seen)} files:", *lines])
