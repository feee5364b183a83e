"""What an organisation allows and requires: a TOML file, and the questions that are put to it.

Governance, not DRM: whoever owns the machine can leave the policy out. What it keeps from happening is a mistake.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, Literal, get_args

from imggen.errors import RequestError
from imggen.plan.policy import safe_regex, text_folding
from imggen.plan.policy.text_folding import Look, Word
from imggen.plan.schema import strict, toml
from imggen.plan.schema.marking import Mining, PromptRecord, Signing, Watermarking
from imggen.plan.schema.request import Metadata
from imggen.plan.schema.strict import KeyPath, Limit

Layer = Literal["recipe", "infotext", "iptc", "watermark", "c2pa"]
Record = PromptRecord

SCHEMA: Final = 1
LONGEST_PROMPT: Final = 20_000
PATTERN: Final = "re:"

# One character can stand for up to 18 in its plain form, and a rule reads the plain form.
_GROWTH: Final = 2
_HASH: Final = "sha256:"
_LICENSE: Final = "license:"
_FOLDER: Final = "folder:"
_SHA256: Final = re.compile("[0-9a-f]{12,64}")
_REVISION: Final = re.compile("[0-9a-f]{7,64}")
_STRICTNESS: Final[tuple[Record, ...]] = get_args(Record)
_LIMITS: Final = {
    "max_length": Limit(least=1, most=LONGEST_PROMPT),
    "visible_label": Limit(pattern=r"\S(.{0,38}\S)?", called="text of 1 to 40 characters"),
    "user_variable": Limit(pattern="[A-Za-z_][A-Za-z0-9_]*", called="the name of an environment variable"),
}
_WITHOUT: Final[dict[Metadata, frozenset[str]]] = {
    "full": frozenset(),
    "minimal": frozenset(("recipe", "infotext")),
    "none": frozenset(("recipe", "infotext", "iptc")),
}


@dataclass(frozen=True, kw_only=True)
class PromptRules:
    """`deny` and `allow` hold terms (whole words) or, after `re:`, patterns; `record` is how a file has the prompt."""

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    max_length: int = LONGEST_PROMPT
    record: Record = "full"


@dataclass(frozen=True, kw_only=True)
class ModelRules:
    """Names with `*`, `NAME@COMMIT`, `sha256:HEX`, `license:ID` and `folder:PATH`; no `allow` allows all."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    require_safetensors: bool = False


@dataclass(frozen=True, kw_only=True)
class InputRules:
    """What holds for pictures that a task starts from."""

    require_consent: bool = False
    keep_provenance: bool = False


@dataclass(frozen=True, kw_only=True)
class MarkingRules:
    """The layers that every picture must carry, the label that is drawn on it, and what C2PA says of mining it."""

    require: tuple[Layer, ...] = ()
    visible_label: str | None = None
    training_mining: Mining | None = None


@dataclass(frozen=True, kw_only=True)
class SafetyRules:
    """`image_checker` is the program, with its arguments, that looks at every picture; none where it is empty."""

    image_checker: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AuditRules:
    """`log` is relative to the policy's file; `prompt` is how it has prompts (see `logged`)."""

    log: str | None = None
    user: str | None = None
    user_variable: str | None = None
    prompt: Record = "hash"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy file's rules; what it does not say is allowed."""

    schema: int
    name: str | None = None
    prompt: PromptRules = field(default_factory=PromptRules)
    models: ModelRules = field(default_factory=ModelRules)
    inputs: InputRules = field(default_factory=InputRules)
    marking: MarkingRules = field(default_factory=MarkingRules)
    safety: SafetyRules = field(default_factory=SafetyRules)
    audit: AuditRules = field(default_factory=AuditRules)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What a policy does not allow: its rule by place (`prompt.deny[0]`), what is so, and what can be done."""

    rule: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """What weights are asked for: a model's, an adapter's or an upscaler's.

    `folder` is the resolved absolute path, with `/`, of weights that lie in a folder of the user's: anyone can call a
    folder like a model of the hub, so names do not count for it. `revision` is the commit, `sha256` is None where it
    was not computed (see `needs_hash`), `license` what the weights' own card says.
    """

    reference: str
    folder: str | None = None
    revision: str | None = None
    sha256: str | None = None
    license: str | None = None
    pickles: bool = False


def parse(text: str, *, subject: str) -> Policy:
    """Return the policy in the TOML `text`; raise RequestError that names the place of what is wrong in it.

    `subject` is how messages call it, such as `the policy company.toml`. Unknown keys, other types and rules that can
    never match are refused.
    """
    values = toml.parse(text, subject=subject)
    place = KeyPath(subject=subject, limits=_LIMITS)
    strict.check_schema(values, place, SCHEMA)
    policy: Policy = strict.build(Policy, values, place)
    for name in ("deny", "allow"):
        for number, written in enumerate(getattr(policy.prompt, name)):
            _check_rule(written, place.member("prompt").member(name).item(number))
    for name in ("allow", "deny"):
        for number, entry in enumerate(getattr(policy.models, name)):
            _check_model(entry, place.member("models").member(name).item(number))
    _check_rest(policy, place)
    return policy


def sha256(text: str) -> str:
    """Return the hex SHA-256 of a policy's text, which is that of its file where line ends were read as they are."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_prompt(policy: Policy, prompt: str, negative_prompt: str = "") -> Refusal | None:
    """Return why the prompt is refused, None where it is not.

    Denied terms are looked for in the prompt alone, since the negative prompt asks not to show something; the greatest
    length holds for both. A denied match that lies inside an allowed one does not count. A pattern that takes too long
    over the prompt refuses it.
    """
    most = policy.prompt.max_length
    for name, text in (("prompt", prompt), ("negative prompt", negative_prompt)):
        if len(text) > most:
            message = f"the {name} has {len(text):,} characters; the policy takes at most {most:,}"
            return Refusal(rule="prompt.max_length", message=message, hint=f"shorten the {name}")
    if len(text_folding.fold(prompt)) > _GROWTH * LONGEST_PROMPT:
        message = f"the prompt is longer than {_GROWTH * LONGEST_PROMPT:,} characters in plain letters"
        return Refusal(rule="prompt.max_length", message=message, hint="shorten the prompt")
    try:
        return next(_denials(policy.prompt, prompt), None)
    except safe_regex.UnfinishedError as error:
        return _unfinished(policy.prompt, error.source)


def needs_hash(policy: Policy) -> bool:
    """Return whether a rule asks for the weights' hash, which takes time to compute."""
    return any(entry.startswith(_HASH) for entry in (*policy.models.allow, *policy.models.deny))


def check_model(policy: Policy, model: ModelIdentity) -> Refusal | None:
    """Return why the weights are refused, None where they are not. Ask for each file or model that is loaded.

    What is not known (a hash that was not computed, a licence that no card names) fits no rule, so that an `allow` that
    asks for it refuses; with a hash in `deny`, weights without a hash are refused as well.
    """
    rules = policy.models
    if rules.require_safetensors and model.pickles:
        message = f"{model.reference} has weights that can run code when they are read"
        hint = "take a model with safetensors weights"
        return Refusal(rule="models.require_safetensors", message=message, hint=hint)
    for number, entry in enumerate(rules.deny):
        unknown = entry.startswith(_HASH) and model.sha256 is None
        if unknown or _fits(entry, model):
            reason = "its hash is not known" if unknown else entry
            return Refusal(rule=f"models.deny[{number}]", message=f"the policy denies {_called(model)} ({reason})")
    if rules.allow and not any(_fits(entry, model) for entry in rules.allow):
        message = f"the policy does not allow {_called(model)}"
        return Refusal(rule="models.allow", message=message, hint=f"allowed: {_listed(rules.allow)}")
    return None


def check_inputs(policy: Policy, *, given: bool, consent: bool) -> Refusal | None:
    """Return why a task may not go on: `given`: it has pictures to start from, `consent`: the user may use them."""
    if policy.inputs.require_consent and given and not consent:
        message = "the policy requires you to confirm that you may use the given pictures"
        return Refusal(rule="inputs.require_consent", message=message, hint="--i-have-rights, if that is so")
    return None


def check_request(
    policy: Policy,
    *,
    metadata: Metadata = "full",
    watermark: Watermarking = "auto",
    sign: Signing = "auto",
    label: str | None = None,
) -> Refusal | None:
    """Return which option contradicts the policy, before anything is drawn in vain; None says nothing of the result."""
    required = policy.marking.require
    for layer in required:
        option = _dropping(layer, metadata, watermark, sign)
        if option:
            message = f"{option} leaves out the layer {layer!r}, which the policy requires"
            return Refusal(rule="marking.require", message=message, hint=f"leave {option} out")
    required_label = policy.marking.visible_label
    if required_label is not None and label is not None and label != required_label:
        message = f"the label {label!r} is not the policy's, {required_label!r}"
        hint = "leave --label out: the policy draws its own"
        return Refusal(rule="marking.visible_label", message=message, hint=hint)
    return None


def check_marks(policy: Policy, marks: Collection[str]) -> Refusal | None:
    """Return which required layers an encoded picture lacks, of those that it carries (`marks`)."""
    lacking = [layer for layer in policy.marking.require if layer not in marks]
    if not lacking:
        return None
    message = f"the picture lacks what the policy requires: {', '.join(lacking)}"
    return Refusal(rule="marking.require", message=message, hint=_REMEDIES.get(lacking[0]))


def check_strip(policy: Policy, taken: Collection[str]) -> Refusal | None:
    """Return which of the layers to be `taken` out of a file must stay in it.

    Those are the required ones and, where inputs keep their provenance, whatever says where a picture is from: its C2PA
    manifest, its IPTC source type and its watermark.
    """
    hint = "--strip prompt takes the words alone"
    required = [layer for layer in policy.marking.require if layer in taken]
    if required:
        message = f"the policy requires what would be taken away: {', '.join(required)}"
        return Refusal(rule="marking.require", message=message, hint=hint)
    marks = [layer for layer in ("c2pa", "iptc", "watermark") if layer in taken]
    if policy.inputs.keep_provenance and marks:
        message = f"the policy keeps the marks of pictures that come in: {', '.join(marks)}"
        return Refusal(rule="inputs.keep_provenance", message=message, hint=hint)
    return None


def check_user(policy: Policy, environ: Mapping[str, str]) -> Refusal | None:
    """Return that the environment lacks the variable that names who asks, None where it has it or none is wanted."""
    name = policy.audit.user_variable
    if name is None or environ.get(name):
        return None
    message = f"the policy records ${name}, which is not set"
    return Refusal(rule="audit.user_variable", message=message, hint=f"export {name}=...")


def user(policy: Policy, environ: Mapping[str, str]) -> str | None:
    """Return who asks, as the log has it, None where the policy does not say."""
    name = policy.audit.user_variable
    return policy.audit.user if name is None else environ.get(name)


def stricter(*records: Record) -> Record:
    """Return the one of several ways to record a prompt that tells the least."""
    return max(records, key=_STRICTNESS.index)


def logged(policy: Policy) -> Record:
    """Return how the log has prompts: as `audit.prompt` says, and never with more than the picture's file."""
    return stricter(policy.prompt.record, policy.audit.prompt)


_REMEDIES: Final[dict[str, str]] = {
    "c2pa": 'imggen keys init --organisation "Example Ltd"',
    "watermark": "--watermark on",
    **dict.fromkeys(("recipe", "infotext", "iptc"), "--metadata full"),
}


def _check_rule(written: str, place: KeyPath) -> None:
    try:
        _rule(written)
    except RequestError as error:
        raise RequestError(f"{place}: {error.message}", hint=error.hint) from error


def _check_model(entry: str, place: KeyPath) -> None:
    problem = _model_problem(entry)
    if problem:
        what, hint = problem
        raise RequestError(f"{place} is {entry!r}: {what}", hint=hint)


def _model_problem(entry: str) -> tuple[str, str] | None:
    kind, colon, value = entry.partition(":")
    if kind + colon == _HASH:
        return None if _SHA256.fullmatch(value) else ("12 to 64 hexadecimal digits stand after sha256:", "sha256:0123…")
    if kind + colon in (_LICENSE, _FOLDER):
        return None if value.strip() else (f"nothing stands after {kind}:", f"{kind}:…")
    name, at, revision = entry.rpartition("@")
    if at and not _REVISION.fullmatch(revision):
        return "a branch or tag can move to other weights", f"write the commit: {name}@0123abc…"
    if not entry.strip() or colon:
        known = "builtin, organisation/*, organisation/name@commit, sha256:…, license:…, folder:…"
        return "not the name of a model", known
    return None


def _check_rest(policy: Policy, place: KeyPath) -> None:
    audit, checker = policy.audit, policy.safety.image_checker
    if audit.user is not None and audit.user_variable is not None:
        raise RequestError(f"{place.member('audit')} has both user and user_variable", hint="leave one of the two out")
    for name in ("log", "user"):
        if getattr(audit, name) is not None and not getattr(audit, name).strip():
            raise RequestError(f"{place.member('audit').member(name)} is empty", hint="leave it out")
    if checker and not checker[0].strip():
        raise RequestError(f"{place.member('safety').member('image_checker')} names no program")


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A pattern, or the words of a term."""

    pattern: Any = None
    words: tuple[str, ...] = ()
    symbols: bool = False


@lru_cache(maxsize=4096)
def _rule(written: str) -> _Rule:
    if not _is_term(written):
        return _Rule(pattern=_pattern(written.removeprefix(PATTERN)))
    folded = text_folding.fold(written)
    symbols = text_folding.has_symbols(folded)
    words = tuple(word.text for word in text_folding.words(folded, symbols=symbols))
    if not words:
        raise RequestError(f"the term {written!r} has no word in it", hint=r're:… for punctuation, such as "re:\\$"')
    return _Rule(words=words, symbols=symbols)


def _pattern(source: str) -> Any:
    """Return the compiled pattern; raise RequestError where it holds a character that no folded prompt can have."""
    for character in source:
        folded = text_folding.fold(character) or " "
        if folded not in (character, character.lower()):
            hint = f"write {folded}" if character.isprintable() and folded != " " else r"write a space, or \s"
            what = f"has {character!r}, which no prompt has once it is folded"
            raise RequestError(f"the pattern {source!r} {what}", hint=hint)
    return safe_regex.compile(source)


class _Spans:
    """Parts of a text, ready for the question whether one of them holds another part."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._furthest = list(accumulate((end for _, end in ordered), max))

    def hold(self, start: int, end: int) -> bool:
        before = bisect_right(self._starts, start)
        return before > 0 and self._furthest[before - 1] >= end


class _Read:
    """A look at a prompt, and its words, found once for all rules."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._found: dict[bool, tuple[tuple[Word, ...], dict[str, list[int]]]] = {}

    def spans(self, rule: _Rule) -> Iterator[tuple[int, int]]:
        """Yield from where to where the rule matches, in the look's text."""
        if rule.pattern is not None:
            yield from safe_regex.spans(rule.pattern, self.look.text)
            return
        words, places = self._words(symbols=rule.symbols)
        for first in places.get(rule.words[0], ()):
            phrase = words[first : first + len(rule.words)]
            if tuple(word.text for word in phrase) == rule.words:
                yield phrase[0].start, phrase[-1].end

    def _words(self, *, symbols: bool) -> tuple[tuple[Word, ...], dict[str, list[int]]]:
        if symbols not in self._found:
            words = text_folding.words(self.look.text, symbols=symbols)
            places: dict[str, list[int]] = {}
            for number, word in enumerate(words):
                places.setdefault(word.text, []).append(number)
            self._found[symbols] = words, places
        return self._found[symbols]


def _denials(rules: PromptRules, prompt: str) -> Iterator[Refusal]:
    if not rules.deny:
        return
    reads = [_Read(look) for look in text_folding.looks(prompt)]
    allowed = [_exceptions(rules, read) for read in reads]
    for number, written in enumerate(rules.deny):
        rule = _rule(written)
        for read, inside in zip(reads, allowed, strict=True):
            if not _reads(rule, read.look):
                continue
            for first, last in read.spans(rule):
                if not inside.hold(first, last):
                    yield _denied(number, read.look.text[first:last])


def _reads(rule: _Rule, look: Look) -> bool:
    """Return whether a denying rule is looked for there: a pattern says itself what stands between letters."""
    if rule.pattern is not None:
        return not look.joined
    return not look.weighted or any(letter.isdigit() for word in rule.words for letter in word)


def _exceptions(rules: PromptRules, read: _Read) -> _Spans:
    """Return what is allowed of a look; in one without accents, the exceptions have none either."""
    terms = (
        text_folding.bare(text_folding.fold(term)) if read.look.bare and _is_term(term) else term
        for term in rules.allow
    )
    return _Spans(span for term in terms for span in read.spans(_rule(term)))


def _is_term(written: str) -> bool:
    return not written.startswith(PATTERN)


def _denied(number: int, text: str) -> Refusal:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return Refusal(rule=f"prompt.deny[{number}]", message=f"the prompt holds {shown!r}, which the policy denies")


def _unfinished(rules: PromptRules, source: str) -> Refusal:
    """Return that the pattern, a denied or an allowed one, could not be looked for to the end of the prompt."""
    written = PATTERN + source
    name = "deny" if written in rules.deny else "allow"
    return Refusal(
        rule=f"prompt.{name}[{getattr(rules, name).index(written)}]",
        message=f"the pattern {source!r} takes more than {safe_regex.SECONDS:g} s over this prompt, which is refused",
        hint="shorten the prompt, or write the pattern without repeats inside repeats",
    )


def _fits(entry: str, model: ModelIdentity) -> bool:
    if entry.startswith(_HASH):
        return model.sha256 is not None and model.sha256.startswith(entry.removeprefix(_HASH))
    if entry.startswith(_LICENSE):
        return model.license is not None and model.license.casefold() == entry.removeprefix(_LICENSE).casefold()
    if entry.startswith(_FOLDER):
        return model.folder is not None and fnmatchcase(model.folder, entry.removeprefix(_FOLDER))
    if model.folder is not None:
        return False
    name, at, revision = entry.rpartition("@")
    if at and not (model.revision or "").startswith(revision):
        return False
    return fnmatchcase(model.reference.casefold(), (name if at else entry).casefold())


def _called(model: ModelIdentity) -> str:
    return model.reference + (f"@{model.revision}" if model.revision else "")


def _listed(entries: tuple[str, ...]) -> str:
    shown = ", ".join(entries[:5])
    return shown if len(entries) <= 5 else f"{shown} and {len(entries) - 5} more"


def _dropping(layer: Layer, metadata: Metadata, watermark: Watermarking, sign: Signing) -> str | None:
    if layer in _WITHOUT[metadata]:
        return f"--metadata {metadata}"
    if layer == "watermark" and watermark == "off":
        return "--watermark off"
    return "--sign off" if layer == "c2pa" and sign == "off" else None
