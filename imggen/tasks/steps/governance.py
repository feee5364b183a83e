"""What holds for a run beyond its request: the organisation's keys, its policy, and the log of what was decided."""

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from imggen.errors import RequestError
from imggen.inputs import pictures
from imggen.output import writer
from imggen.output.formats import container
from imggen.output.governance import audit
from imggen.output.governance.audit import AuditEntry
from imggen.output.governance.means import Journal, WriteContext
from imggen.output.provenance import keys, signing
from imggen.output.provenance.keys import Identity
from imggen.output.provenance.signing import Parent, Relationship
from imggen.output.watermark import watermark
from imggen.plan.adapters import adaptation
from imggen.plan.case import COMMAND_LINE
from imggen.plan.generation import words
from imggen.plan.policy import policy as policies
from imggen.plan.policy.policy import ModelIdentity, Policy, Refusal
from imggen.plan.schema import toml
from imggen.plan.schema.adapter import AdapterFacts, ImageEncoder
from imggen.plan.schema.machine import Dtype
from imggen.plan.schema.marking import Signing
from imggen.plan.schema.request import GeneratePlan, GenerateRequest, ModelFacts, OutputPlan
from imggen.plan.settings import preset
from imggen.plan.upscaling.plans import UpscaleRequest
from imggen.store import lookup, paths
from imggen.tasks.steps.given import OpenedPicture

VARIABLE: Final = "IMGGEN_POLICY"

# Rules that ask for more than a name; `folder:` is for what is on this machine already.
_BY_FACTS: Final = re.compile("^sha256:|^license:|@")
_BY_HASH: Final = re.compile("^sha256:")
_PICKLES: Final = frozenset((".bin", ".pt", ".pth", ".ckpt"))

Request = TypeVar("Request", GenerateRequest, UpscaleRequest)


@dataclass(frozen=True, kw_only=True)
class SourcePicture:
    """A given picture: its file's name and bytes, what it is to the new one, and the source type that it states."""

    name: str
    data: bytes = field(repr=False)
    sha256: str
    relationship: Relationship | None
    source_type: str | None


@dataclass(frozen=True, kw_only=True)
class Governance:
    """Whom the run's pictures are signed as, and the rules that it keeps to.

    `path` is the policy's file, `text` what it holds. `action` is the command, as the log names it.
    """

    action: str
    identity: Identity | None = None
    policy: Policy | None = None
    path: Path | None = None
    text: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path | None:
        """Return the log that the policy wants, None where it wants none."""
        if self.policy is None or self.policy.audit.log is None or self.path is None:
            return None
        return self.path.parent / paths.at_home(self.policy.audit.log)

    def means(self, entry: AuditEntry | None = None) -> WriteContext:
        """Return by what means pictures are written; `entry` is what the log tells of them, by default of the run."""
        if self.policy is None or self.path is None:
            return WriteContext(identity=self.identity)
        log = self.log
        return WriteContext(
            identity=self.identity,
            policy=self.policy,
            subject=f"policy {self.path}",
            folder=self.path.parent,
            journal=Journal(path=log, entry=entry or self.entry()) if log else None,
        )

    def entry(self, prompt: str = "", negative_prompt: str = "") -> AuditEntry:
        """Return what the log tells of every picture of the run: who asked, and for what, as far as the policy says."""
        if self.policy is None:
            return AuditEntry(decision="allow", action=self.action)
        run = AuditEntry(
            decision="allow",
            action=self.action,
            policy_sha256=policies.sha256(self.text),
            user=policies.user(self.policy, self.environ),
        )
        return replace(run, **_words(policies.logged(self.policy), prompt, negative_prompt))


def read(
    named: str | None, action: str, *, sign: Signing | None = None, environ: Mapping[str, str] = os.environ
) -> Governance:
    """Return what holds for a run of `action`: `named` is `--policy`, which cannot take the place of IMGGEN_POLICY.

    The log is looked at, so that nothing is drawn in vain. Raises RequestError for a policy or a log that cannot be
    used, and where IMGGEN_KEYS names a folder without keys, MachineError for keys that cannot be used.
    """
    identity = keys.load(keys.folder(environ))
    stated = environ.get(keys.VARIABLE)
    if identity is None and stated and sign != "off":
        raise RequestError(
            f"{keys.VARIABLE} is {stated}, and no keys are there to sign with",
            hint='imggen keys init --organisation "Example Ltd", or --sign off',
        )
    path = _path(named, environ.get(VARIABLE))
    if path is None:
        return Governance(action=action, identity=identity)
    text = _text(path)
    policy = policies.parse(text, subject=f"the policy {path}")
    governed = Governance(action=action, identity=identity, policy=policy, path=path, text=text, environ=environ)
    if governed.log is not None:
        audit.check_writable(governed.log)
    means = governed.means()
    if named and environ.get(VARIABLE) and not _same(named, environ[VARIABLE]):
        message = f"--policy {named}: {VARIABLE} says {environ[VARIABLE]}, which holds"
        means.refuse(Refusal(rule=VARIABLE, message=message, hint="leave --policy out"))
    means.refuse(policies.check_user(policy, environ))
    return governed


def _words(record: policies.Record, prompt: str, negative_prompt: str) -> dict[str, Any]:
    texts = {name: text for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)) if text}
    if record == "omit":
        return {}
    return texts if record == "full" else {f"{name}_sha256": _hash(text) for name, text in texts.items()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _path(named: str | None, stated: str | None) -> Path | None:
    for option, value in (("--policy", named), (VARIABLE, stated)):
        # A variable that a script forgot to set must not switch the rules off.
        if value is not None and not value.strip():
            raise RequestError(f"{option} is empty, and names no policy", hint=f"name a file, or leave {option} out")
    chosen = stated or named
    return Path(os.path.abspath(paths.at_home(chosen))) if chosen else None  # noqa: PTH100 - links stay as they are


def _same(first: str, second: str) -> bool:
    return os.path.realpath(paths.at_home(first)) == os.path.realpath(paths.at_home(second))


def _text(path: Path) -> str:
    if not path.exists():
        example = preset.shipped() / "policy/example.toml"
        raise RequestError(
            f"there is no policy {path}", hint=f"cp {shlex.quote(str(example))} {shlex.quote(str(path))}"
        )
    return toml.text(path, subject=f"the policy {path}")


def govern(request: Request, governed: Governance, *, given: bool) -> Request:
    """Return the request with what the policy decides, before anything is looked up for it.

    What a preset, the environment or a recipe says gives way to the policy. Raise CheckError where what was typed says
    otherwise, for denied words, and for `given` pictures without the consent that the policy wants.
    """
    policy = governed.policy
    if policy is None:
        return request
    means = governed.means()
    typed = {name: getattr(request, name) if _was_typed(request, name) else None for name in _GOVERNED}
    means.refuse(
        policies.check_request(
            policy,
            metadata=request.metadata or "full",
            watermark=typed["watermark"] or "auto",
            sign=typed["sign"] or "auto",
            label=typed["label"],
        )
    )
    means.refuse(_loosened(policy, typed))
    means.refuse(_unkeepable(policy, request, governed))
    prompt, negative = request.prompt or "", getattr(request, "negative_prompt", None) or ""
    worded_means = governed.means(governed.entry(prompt, negative))
    worded_means.refuse(policies.check_prompt(policy, prompt, negative))
    worded_means.refuse(policies.check_inputs(policy, given=given, consent=bool(request.consent)))
    changed = {name: value for name, value in _decisions(policy, request) if value != getattr(request, name)}
    origin = request.origin | dict.fromkeys(changed, f"policy {governed.path}")
    return replace(request, **changed, origin=origin)  # type: ignore[arg-type]  # the names are a request's own


_GOVERNED: Final = ("watermark", "sign", "label", "record_prompt", "training_mining")


def _decisions(policy: Policy, request: GenerateRequest | UpscaleRequest) -> Iterator[tuple[str, str | None]]:
    marking = policy.marking
    yield "record_prompt", policies.stricter(policy.prompt.record, request.record_prompt or "full")
    yield "label", marking.visible_label or request.label
    yield "training_mining", marking.training_mining or request.training_mining
    if "watermark" in marking.require:
        yield "watermark", "on"
    if "c2pa" in marking.require:
        yield "sign", "on"


def _was_typed(request: GenerateRequest | UpscaleRequest, name: str) -> bool:
    return getattr(request, name) is not None and request.origin.get(name, COMMAND_LINE) == COMMAND_LINE


def _unkeepable(policy: Policy, request: GenerateRequest | UpscaleRequest, governed: Governance) -> Refusal | None:
    """Return what the policy wants and this run cannot do, before anything is drawn in vain."""
    if "c2pa" in policy.marking.require and governed.identity is None:
        message = "the policy requires a signature, and no key is set up"
        return Refusal(rule="marking.require", message=message, hint='imggen keys init --organisation "Example Ltd"')
    signed = "c2pa" in policy.marking.require or request.sign == "on"
    if policy.marking.training_mining and request.metadata == "none" and not signed:
        message = "--metadata none leaves out what the policy says of training on the picture"
        return Refusal(rule="marking.training_mining", message=message, hint="--metadata minimal")
    named = (request.output or "") if policy.prompt.record != "full" else ""
    if "{prompt" in named:
        message = f"-o {named} would show the prompt, of which the policy records {policy.prompt.record!r}"
        return Refusal(rule="prompt.record", message=message, hint="-o 'out/{seed}.png'")
    return None


def _loosened(policy: Policy, typed: Mapping[str, str | None]) -> Refusal | None:
    """Return which typed option is laxer than the policy."""
    record, mining = typed["record_prompt"], typed["training_mining"]
    required = policy.prompt.record
    if record is not None and policies.stricter(required, record) != record:  # type: ignore[arg-type]  # a record's own
        message = f"--record-prompt {record} tells more than the policy's {required!r}"
        return Refusal(rule="prompt.record", message=message, hint="leave --record-prompt out")
    stated = policy.marking.training_mining
    if mining is not None and stated is not None and mining != stated:
        message = f"--training-mining {mining} is not the policy's {stated!r}"
        return Refusal(rule="marking.training_mining", message=message, hint="leave --training-mining out")
    return None


def check_words(governed: Governance, decided: GeneratePlan) -> None:
    """Raise CheckError for words that the policy denies in any picture's prompt, as it came out and as it is read."""
    policy = governed.policy
    if policy is None:
        return
    for prompt, negative in dict.fromkeys(map(decided.words, decided.seeds)):
        means = governed.means(governed.entry(prompt, negative))
        read = (words.as_read(prompt, decided.reading), words.as_read(negative, decided.reading))
        for pair in dict.fromkeys(((prompt, negative), read)):
            means.refuse(policies.check_prompt(policy, *pair))


def worded(means: WriteContext, prompt: str, negative_prompt: str) -> WriteContext:
    """Return the means of a run for the picture with these words, which the log tells as far as the policy says."""
    if means.journal is None or means.policy is None:
        return means
    recorded = _words(policies.logged(means.policy), prompt, negative_prompt)
    blanks: dict[str, Any] = dict.fromkeys(("prompt", "prompt_sha256", "negative_prompt", "negative_prompt_sha256"))
    entry = replace(means.journal.entry, **(blanks | recorded))
    return replace(means, journal=replace(means.journal, entry=entry))


def check_name(governed: Governance, reference: str) -> None:
    """Raise CheckError for weights that the policy refuses by their name alone, before they are looked for or fetched.

    `reference` is the whole of it, with its revision and file.
    """
    policy = governed.policy
    if policy is None or paths.is_there(paths.at_home(reference)):
        return
    name = adaptation.repository(reference).partition("@")[0]
    governed.means().refuse(policies.check_model(_without(_BY_FACTS, policy), ModelIdentity(reference=name)))


def check_offered(governed: Governance, model: ModelIdentity) -> None:
    """Raise CheckError for weights that the policy refuses by what the hub says of them, before they are fetched.

    Where their hash is not known yet, no rule about hashes refuses them.
    """
    policy = governed.policy
    if policy is None:
        return
    known = policy if model.sha256 is not None else _without(_BY_HASH, policy)
    governed.means().refuse(policies.check_model(known, model))


def _without(rule: re.Pattern[str], policy: Policy) -> Policy:
    """Return the policy without the `rule`s for models; where one of them allows, whatever else it allows is open."""
    rules = policy.models
    deny = tuple(entry for entry in rules.deny if not rule.search(entry))
    allow = () if any(rule.search(entry) for entry in rules.allow) else rules.allow
    return replace(policy, models=replace(rules, allow=allow, deny=deny))


def check_weights(governed: Governance, weights: Sequence[ModelIdentity], entry: AuditEntry) -> None:
    """Raise CheckError for the first model, adapter or network that the policy does not allow."""
    if governed.policy is None:
        return
    means = governed.means(entry)
    for weight in weights:
        means.refuse(policies.check_model(governed.policy, weight))


def of_file(path: Path, sha256: str | None = None) -> ModelIdentity:
    """Return weights that lie in one file or folder of the user's."""
    whole = paths.at_home(str(path)).resolve()
    named = [whole] if whole.is_file() else [file for file in whole.rglob("*") if file.is_file()]
    return ModelIdentity(
        reference=str(path),
        folder=whole.as_posix(),
        sha256=sha256,
        pickles=any(file.suffix in _PICKLES for file in named),
    )


def of_model(facts: ModelFacts, dtype: Dtype, *, hashed: bool) -> list[ModelIdentity]:
    """Return a model as a policy sees it, and what completes it, whose weights may be refused as any other model's.

    `hashed` has their files read, which takes time. A decoder and its prior are seen one by one.
    """
    base = facts.base if facts.base is not None and facts.base.weight_bytes else None
    return [_of_model(model, dtype, hashed=hashed) for model in (lookup.own(facts), base) if model is not None]


def _of_model(facts: ModelFacts, dtype: Dtype, *, hashed: bool) -> ModelIdentity:
    lies = {"file": facts.single.path if facts.single else facts.folder, "folder": facts.folder}
    place = lies.get(facts.source)
    return ModelIdentity(
        reference=facts.reference,
        folder=place.resolve().as_posix() if place else None,
        revision=facts.revision,
        sha256=lookup.weights_sha256(facts, dtype) if hashed else None,
        license=lookup.licence(facts),
        pickles=bool(facts.pickles),
    )


def of_adapter(facts: AdapterFacts) -> ModelIdentity:
    """Return an adapter as a policy sees it."""
    return ModelIdentity(
        reference=adaptation.repository(facts.reference) if facts.revision else facts.reference,
        folder=None if facts.revision else facts.files[0].resolve().as_posix(),
        revision=facts.revision,
        sha256=facts.sha256,
        pickles=facts.pickle,
    )


def of_encoder(encoder: ImageEncoder, file: Path) -> ModelIdentity:
    """Return an IP-Adapter's image encoder as a policy sees it; `file` are its weights."""
    if encoder.revision is None:
        return of_file(file.parent, encoder.sha256)
    return ModelIdentity(
        reference=encoder.reference, revision=encoder.revision, sha256=encoder.sha256, pickles=file.suffix in _PICKLES
    )


def check_sources(governed: Governance, sources: Sequence[SourcePicture], output: OutputPlan) -> OutputPlan:
    """Return the output such that marks of given pictures are kept where the policy says so; CheckError where not."""
    policy = governed.policy
    if policy is None or not policy.inputs.keep_provenance:
        return output
    lost = {
        "iptc": output.metadata == "none",
        "c2pa": not writer.signs(output, governed.identity),
        "watermark": output.marking.watermark == "off",
    }
    kept: set[str] = set()
    for source in sources:
        marks = _marks(source, governed)
        kept |= marks
        gone = sorted(name for name in marks if lost[name])
        if gone:
            message = f"{source.name} carries marks that the new picture would lose: {', '.join(gone)}"
            refusal = Refusal(rule="inputs.keep_provenance", message=message, hint=_KEEPING[gone[0]])
            governed.means().refuse(refusal)
    if "watermark" not in kept:
        return output
    return replace(output, marking=replace(output.marking, watermark="on"))


_KEEPING: Final = {
    "iptc": "--metadata full",
    "c2pa": 'imggen keys init --organisation "Example Ltd", or --metadata full',
    "watermark": "--watermark on",
}


def _marks(source: SourcePicture, governed: Governance) -> frozenset[str]:
    signed = container.format_of(source.data) is not None and container.read(source.data).signed
    marked = is_watermarked(source.data, governed.identity)
    has = {"iptc": bool(source.source_type), "c2pa": signed, "watermark": marked}
    return frozenset(name for name, there in has.items() if there)


def is_watermarked(data: bytes, identity: Identity | None) -> bool:
    """Return whether the picture in the file carries a watermark, the organisation's or a public one."""
    image = pictures.decode(data, name="the picture", frame=1).image
    known = (identity.watermark_key,) if identity else ()
    return any(watermark.detect(image, key=key).present for key in (*known, watermark.PUBLIC_KEY))


def source_picture(opened: OpenedPicture, relationship: Relationship | None) -> SourcePicture:
    """Return a given picture as what it is to the new one."""
    picture = opened.given
    return SourcePicture(
        name=picture.name,
        data=opened.data,
        sha256=picture.sha256,
        relationship=relationship,
        source_type=picture.source_type,
    )


def check_places(governed: Governance, destinations: Iterable[Path | None]) -> None:
    """Raise RequestError where a picture would take the place of the policy, of its log or of the log's lock."""
    log = governed.log
    own = [path for path in (governed.path, log, log and log.with_name(f"{log.name}.lock")) if path is not None]
    for destination in destinations:
        if destination is not None and os.path.realpath(destination) in {os.path.realpath(path) for path in own}:
            raise RequestError(f"{destination} is the policy's own file, or its log; no picture goes there")


def parents(sources: Sequence[SourcePicture]) -> tuple[Parent, ...]:
    """Return the given pictures as a signature names them; of kinds that C2PA has no place for, none."""
    return tuple(
        signing.Parent(
            data=source.data,
            format=file_format,
            title=os.path.basename(source.name) or source.name,  # noqa: PTH119 - a name, not always a path
            relationship=source.relationship,
        )
        for source in sources
        if source.relationship is not None and (file_format := container.format_of(source.data)) is not None
    )
