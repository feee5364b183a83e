"""Signatures after C2PA: what a picture's manifest says, made and checked through the C2PA SDK.

Nothing here reaches for the network: no manifest, certificate status or time-stamp is fetched.
"""

import hashlib
import io
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final, Literal

from PIL import Image

from imggen.errors import ImggenError, MachineError
from imggen.output.formats import container
from imggen.output.provenance import certificates, keys
from imggen.output.provenance.keys import Identity
from imggen.plan.schema.formats import FORMATS, ImageFormat

Action = Literal["created", "edited", "edited.metadata", "enhanced", "resized", "resized.proportional"]
Mining = Literal["notAllowed", "allowed", "constrained"]
Relationship = Literal["parentOf", "componentOf", "inputTo"]
State = Literal["trusted", "valid", "invalid"]
IngredientState = Literal["trusted", "valid", "invalid", "unsigned"]

# What the SDK says of these is no validation status of the C2PA specification.
UNREADABLE: Final = "imggen.manifest.unreadable"

_GENERATION: Final = "dev.imggen.generation"
_UNREADABLE_PARENTS: Final = "unreadable_parents"
_MINING: Final = ("cawg.training-mining", "c2pa.training-mining")
# What is asked for is about training and mining; what a trained model may look at is another question.
_MINING_ENTRIES: Final = ("ai_generative_training", "ai_training", "data_mining")
_IPTC: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_UNTRUSTED: Final = "signingCredential.untrusted"
_TRUSTED: Final = "signingCredential.trusted"
_CHANGED: Final = ("mismatch", "hashedURI", "missing", "unreadable", "inaccessible", "notRedacted")
_EXPIRED: Final = frozenset(("signingCredential.expired", "claimSignature.outsideValidity"))
# A JUMBF description box of type c2pa inside its superbox (ISO 19566-5; C2PA 2.x, "Embedding manifests").
_MANIFEST: Final = re.compile(rb"jumb.{4}jumdc2pa", re.DOTALL)
_LARGEST_WHOLE: Final = (1 << 63) - 1
_LONGEST_TEXT: Final = 1000
_DEEPEST: Final = 64


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A picture that went in: the bytes of its file, whose manifest is kept, and what it is to the new one.

    There is one `parentOf` at most, the picture that was changed; others are `componentOf` (placed into it) or
    `inputTo` (looked at).
    """

    data: bytes = field(repr=False)
    format: ImageFormat
    title: str
    relationship: Relationship = "parentOf"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a manifest says of a picture.

    `source_type` is an IPTC digital source type as a full URI, None where a picture that was not `created` here says
    none; `model` and `model_version` made the picture, `version`
    is that of imggen; `when` is in UTC. `action` is what was done: `created` without a parent, else something that was
    done to it. With a `watermark_id`, and unless only metadata were edited, it also says that a watermark was put in,
    one that the manifest is not bound to: the algorithm is in no public list. `mining` is said on request only.
    `description` says in words what was done.
    """

    title: str
    source_type: str | None
    model: str
    model_version: str
    version: str
    when: datetime
    action: Action = "created"
    guid: str | None = None
    watermark_id: str | None = None
    prompt_sha256: str | None = None
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    mining: Mining | None = None
    parents: tuple[Parent, ...] = ()
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class SignedIngredient:
    """A picture that went in, as the manifest tells it, and how its own manifest was found when it went in.

    It is `invalid` too where it was too damaged to be kept.
    """

    title: str | None
    relationship: str | None
    state: IngredientState


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a manifest is worth, and what it says.

    `trusted`: unchanged since it was signed, by somebody whose root was given. `valid`: unchanged, by somebody whom
    anyone could claim to be. `invalid`: changed since, or damaged, or signed with what does not hold any more (then
    `expired`). `codes` are the SDK's validation status codes. Everything else is what the file says of itself:
    `source_type` is that of the last step that gives one, `when` is the signer's own clock.
    """

    state: State
    codes: tuple[str, ...] = ()
    expired: bool = False
    signer: str | None = None
    common_name: str | None = None
    issuer: str | None = None
    serial: str | None = None
    generator: str | None = None
    title: str | None = None
    actions: tuple[str, ...] = ()
    source_type: str | None = None
    model: str | None = None
    when: str | None = None
    guid: str | None = None
    watermark_id: str | None = None
    prompt_sha256: str | None = None
    mining: str | None = None
    ingredients: tuple[SignedIngredient, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Return whether bytes are not as they were signed; else the trouble is the signer or the version."""
        return any(part in code for code in self.codes for part in _CHANGED)


def is_available() -> bool:
    """Return whether the extra that signs and checks signatures is installed; imports nothing."""
    return find_spec("c2pa") is not None and find_spec("cryptography") is not None


def sign(data: bytes, file_format: ImageFormat, statement: Statement, identity: Identity) -> bytes:
    """Return the file with a signed manifest in it; its picture and its other metadata stay as they are.

    The result was read back and found intact. A manifest that `data` has gives way, unless it is a parent's. Those of
    parents are kept whatever they are worth; one that is too damaged for that is told of.
    Raises MachineError where the extra is missing or the certificate does not hold now, ImggenError where no good
    signature comes out.
    """
    sdk = _sdk()
    keys.check_dates(identity, datetime.now(UTC))
    signature = _Signature(identity)
    signed = io.BytesIO()
    try:
        with (
            sdk.Context.from_dict(_settings(())) as context,
            _signer(sdk, identity, signature) as signer,
            _builder(sdk, context, statement) as builder,
        ):
            builder.sign(signer, FORMATS[file_format].mime_type, io.BytesIO(data), signed)
    except sdk.C2paError as error:
        if signature.failure is not None:
            raise signature.failure from None
        reason = str(error).strip().partition("\n")[0][:_LONGEST_TEXT]
        raise ImggenError(f"the picture could not be signed: {reason}", hint=_signing_hint(error)) from error
    _check_signed(data, signed.getvalue(), file_format)
    return signed.getvalue()


def read(data: bytes, file_format: ImageFormat, roots: Sequence[bytes] = ()) -> Validation | None:
    """Return what the file's manifest says and is worth, None where it has none; `roots` (PEM) are trusted.

    A manifest that is too damaged to read is `invalid`, with the code `UNREADABLE`. One that is kept elsewhere, and
    only named by an address, counts as none: it is not fetched.
    Raises MachineError where the extra is missing, RequestError where a root is no certificate.
    """
    sdk = _sdk()
    anchors = tuple(certificates.root_pem(root, "a trusted root") for root in roots)
    try:
        with (
            sdk.Context.from_dict(_settings(anchors)) as context,
            sdk.Reader(FORMATS[file_format].mime_type, io.BytesIO(data), context=context) as reader,
        ):
            store, details = json.loads(reader.json()), json.loads(reader.crjson())
    except (sdk.C2paError, ValueError, RecursionError) as error:
        return _unreadable(data, error)
    return _validation(_table(store), _table(details))


def prove(identity: Identity) -> None:
    """Sign a picture of one pixel; raise ImggenError that says why where the identity cannot sign."""
    blank = io.BytesIO()
    Image.new("L", (1, 1)).save(blank, "PNG")
    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
    statement = Statement(
        title="proof", source_type=source_type, model="imggen", model_version="1", version="1", when=datetime.now(UTC)
    )
    sign(blank.getvalue(), "png", statement, identity)


class _Signature:
    """What the SDK calls for a signature. It cannot pass an error on, so the first one is kept for later."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.failure: BaseException | None = None

    def __call__(self, data: bytes) -> bytes:
        try:
            return keys.sign(data, self._identity)
        except BaseException as error:  # noqa: BLE001 - Ctrl-C too is lost in the SDK's callback
            self.failure = error
            return b""


def _signer(sdk: Any, identity: Identity, signature: _Signature) -> Any:
    """Return what the SDK signs with: a key, or a function, for which it keeps 10 kB free in the file."""
    algorithm = sdk.C2paSigningAlg.ES256
    if identity.command:
        return sdk.Signer.from_callback(signature, algorithm, identity.chain_pem.decode("ascii"))
    key_pem = identity.key_pem or b""
    certificates.check_key(key_pem, identity.chain_pem)
    info = sdk.C2paSignerInfo(alg=algorithm, sign_cert=identity.chain_pem, private_key=key_pem, ta_url=None)
    return sdk.Signer.from_info(info)


def _sdk() -> Any:
    """Return the C2PA SDK; MachineError where the extra is not installed."""
    try:
        import c2pa
    except ImportError as error:
        raise MachineError(
            "signatures need the package c2pa-python, which is not installed", hint="pip install 'imggen[c2pa]'"
        ) from error
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"the package c2pa-python cannot be loaded: {error}", hint="pip install --force-reinstall 'imggen[c2pa]'"
        ) from error
    return c2pa


def _settings(anchors: Sequence[bytes]) -> dict[str, object]:
    """Return the SDK's settings: its defaults would fetch from the network and put a thumbnail into every file."""
    chosen: dict[str, object] = {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    }
    if anchors:
        chosen["trust"] = {"user_anchors": b"".join(anchors).decode("ascii")}
    return chosen


def _builder(sdk: Any, context: Any, statement: Statement) -> Any:
    unreadable = frozenset(at for at, parent in enumerate(statement.parents) if not _is_readable(sdk, context, parent))
    builder = sdk.Builder(_manifest(statement, unreadable), context)
    for at, parent in enumerate(statement.parents):
        mime = "application/octet-stream" if at in unreadable else FORMATS[parent.format].mime_type
        builder.add_ingredient(_named(parent, at), mime, io.BytesIO(parent.data))
    return builder


def _is_readable(sdk: Any, context: Any, parent: Parent) -> bool:
    """Return whether the SDK takes the parent's file in: not where its manifest is damaged, as a picture may well be.

    It is tried beforehand, because the manifest that tells of it is written before the parents are added.
    """
    with sdk.Builder("{}", context) as trial:
        try:
            trial.add_ingredient(_named(parent, 0), FORMATS[parent.format].mime_type, io.BytesIO(parent.data))
        except sdk.C2paError:
            return False
    return True


def _named(parent: Parent, at: int) -> dict[str, str]:
    title, label = _clean(parent.title), _label(at)
    return {"title": title, "relationship": parent.relationship, "instance_id": label, "label": label}


def _manifest(statement: Statement, unreadable: Collection[int]) -> str:
    """Return the manifest's definition as JSON, after C2PA 2.x and the CAWG's metadata and mining assertions."""
    generator = {"name": "imggen", "version": statement.version}
    assertions = list(_assertions(statement, unreadable))
    definition = {"claim_generator_info": [generator], "title": _clean(statement.title), "assertions": assertions}
    return json.dumps(definition, allow_nan=False)


def _assertions(statement: Statement, unreadable: Collection[int]) -> Iterator[dict[str, object]]:
    # `created` puts an assertion among those that the signer vouches for, not those that it passes on.
    yield {"label": "c2pa.actions.v2", "created": True, "data": {"actions": list(_actions(statement))}}
    yield {"label": _GENERATION, "created": True, "data": _generation(statement, unreadable)}
    yield {"label": "cawg.metadata", "kind": "Json", "data": _metadata(statement)}
    if statement.mining is not None:
        entries = {f"cawg.{name}": {"use": statement.mining} for name in _MINING_ENTRIES}
        yield {"label": _MINING[0], "data": {"entries": entries}}


def _actions(statement: Statement) -> Iterator[Mapping[str, object]]:
    """Yield what was done, in order: the first must be opened or created (C2PA 2.x, "Actions")."""
    labels: dict[str, list[str]] = {"parentOf": [], "componentOf": [], "inputTo": []}
    for at, parent in enumerate(statement.parents):
        labels[parent.relationship].append(_label(at))
    opened, placed, inputs = labels.values()
    if len(opened) > 1 or bool(opened) is (statement.action == "created"):
        raise ValueError(f"{statement.action} with {len(opened)} parents that it was done to")
    when = statement.when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if statement.source_type is None and not opened:
        raise ValueError("what is created has a source type")
    agent = {"name": _clean(statement.model), "version": _clean(statement.model_version)}
    done: dict[str, object] = {"action": f"c2pa.{statement.action}", "when": when, "softwareAgent": agent}
    if statement.source_type is not None:
        done["digitalSourceType"] = statement.source_type
    if statement.description is not None:
        done["description"] = _clean(statement.description)
    if inputs:
        done["parameters"] = {"ingredientIds": inputs}
    placing: list[Mapping[str, object]] = [
        {"action": "c2pa.placed", "when": when, "parameters": {"ingredientIds": [ingredient]}} for ingredient in placed
    ]
    opening = {"action": "c2pa.opened", "when": when, "parameters": {"ingredientIds": opened}}
    yield from [opening, *placing, done] if opened else [done, *placing]
    if statement.watermark_id is not None and statement.action != "edited.metadata":
        yield {"action": "c2pa.watermarked.unbound", "when": when}


def _label(at: int) -> str:
    return f"parent-{at + 1}"


def _generation(statement: Statement, unreadable: Collection[int]) -> dict[str, object]:
    values: dict[str, object] = {
        "guid": statement.guid,
        "watermark_id": statement.watermark_id,
        "prompt_sha256": statement.prompt_sha256,
        "settings": {_clean(name): _scalar(value) for name, value in statement.settings.items()},
        _UNREADABLE_PARENTS: [_fingerprint(statement.parents[at], at) for at in sorted(unreadable)],
    }
    return {name: value for name, value in values.items() if value not in (None, {}, [])}


def _fingerprint(parent: Parent, at: int) -> dict[str, object]:
    """Return which file it was that could not be taken in, and whether a manifest was in it."""
    sha256 = hashlib.sha256(parent.data).hexdigest()
    return {"instance_id": _label(at), "sha256": sha256, "signed": bool(_MANIFEST.search(parent.data))}


def _scalar(value: str | float) -> str | int | float:
    """Return a value that CBOR and the SDK carry: a whole number beyond 64 bits, or no number, becomes text."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_WHOLE else str(value)
    return value if math.isfinite(value) else str(value)


def _metadata(statement: Statement) -> dict[str, object]:
    """Return the IPTC fields (Photo Metadata 2025.1) that tell the system; C2PA's own metadata has no room for them."""
    values: dict[str, object] = {
        "@context": {"Iptc4xmpExt": _IPTC},
        "Iptc4xmpExt:AISystemUsed": _clean(f"imggen ({statement.model})"),
        "Iptc4xmpExt:AISystemVersionUsed": _clean(f"{statement.version}; {statement.model_version}"),
    }
    others = {"DigitalSourceType": statement.source_type, "DigImageGUID": statement.guid}
    return values | {f"Iptc4xmpExt:{name}": value for name, value in others.items() if value}


def _clean(text: str) -> str:
    """Return text that JSON in UTF-8 can carry: a file's name may hold bytes that are none."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _check_signed(data: bytes, signed: bytes, file_format: ImageFormat) -> None:
    """Raise ImggenError where the signed file does not read back intact: a broken signature is worse than none."""
    validation = read(signed, file_format)
    if validation is None or validation.state == "invalid":
        codes = ", ".join(validation.codes) if validation else "no manifest"
        raise ImggenError(f"the signature that was made does not hold ({codes}), so it is not used")
    if container.read(signed).image_sha256 != container.read(data).image_sha256:
        raise ImggenError("signing changed the picture, so the signed file is not used")


def _signing_hint(error: Exception) -> str | None:
    if "certificate" not in str(error):
        return None
    return (
        "a C2PA signer's certificate needs: CA false, key usage digitalSignature, extended key usage emailProtection, "
        "an authority key identifier"
    )


def _unreadable(data: bytes, error: Exception) -> Validation | None:
    """Return what is to say of a file that the SDK cannot read: None where nothing in it looks like a manifest."""
    if str(error).startswith(("ManifestNotFound", "Remote")) or not _MANIFEST.search(data):
        return None
    return Validation(state="invalid", codes=(UNREADABLE,))


def _validation(store: Mapping[str, Any], details: Mapping[str, Any]) -> Validation:
    """Return what the active manifest of a store says, and what the SDK found of it."""
    manifests, active = _table(store.get("manifests")), store.get("active_manifest")
    manifest = _table(manifests.get(active)) if isinstance(active, str) else {}
    stated = [_text(status.get("code")) for status in _tables(store.get("validation_status"))]
    codes = tuple(dict.fromkeys(code for code in stated if code))
    actions = _acts(manifest)
    generation = _assertion(manifest, _GENERATION)
    unreadable = _tables(generation.get(_UNREADABLE_PARENTS))
    lost = {_text(ingredient.get("instance_id")) for ingredient in unreadable if ingredient.get("signed")}
    state = {"Trusted": "trusted", "Valid": "valid"}.get(str(store.get("validation_state")), "invalid")
    return Validation(
        state=state,  # type: ignore[arg-type]  # one of the three above
        codes=codes,
        expired=not _EXPIRED.isdisjoint(codes),
        **_names(active, details),
        generator=_generator(manifest),
        title=_text(manifest.get("title")),
        actions=tuple(name for action in actions if (name := _text(action.get("action")))),
        source_type=_source_type(manifests, manifest),
        model=_last(_text(_table(action.get("softwareAgent")).get("name")) for action in actions),
        when=_last(_text(action.get("when")) for action in actions),
        guid=_text(generation.get("guid")),
        watermark_id=_text(generation.get("watermark_id")),
        prompt_sha256=_text(generation.get("prompt_sha256")),
        mining=_mining(manifest),
        ingredients=tuple(_ingredient(ingredient, store, lost) for ingredient in _tables(manifest.get("ingredients"))),
    )


def _names(active: object, details: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the signer's names and its certificate's number, as the certificate in the file has them."""
    manifests = _tables(details.get("manifests"))
    signed = next((manifest for manifest in manifests if manifest.get("label") == active), {})
    certificate = _table(_table(signed.get("signature")).get("certificateInfo"))
    subject, issuer = _table(certificate.get("subject")), _table(certificate.get("issuer"))
    return {
        "signer": _text(subject.get("O")) or _text(subject.get("CN")),
        "common_name": _text(subject.get("CN")),
        "issuer": _text(issuer.get("CN")) or _text(issuer.get("O")),
        "serial": _text(certificate.get("serialNumber")),
    }


def _generator(manifest: Mapping[str, Any]) -> str | None:
    for generator in _tables(manifest.get("claim_generator_info")):
        if name := _text(generator.get("name")):
            return f"{name} {_text(generator.get('version')) or ''}".strip()
    return _text(manifest.get("claim_generator"))


def _acts(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    labels = ("c2pa.actions.v2", "c2pa.actions")
    return [act for label in labels for act in _tables(_assertion(manifest, label).get("actions"))]


def _source_type(manifests: Mapping[str, Any], manifest: Mapping[str, Any]) -> str | None:
    """Return the source type that the manifest's last step gives, or else the nearest one up the line of parents."""
    for _ in range(_DEEPEST):
        stated = _last(_text(action.get("digitalSourceType")) for action in _acts(manifest))
        if stated is not None:
            return stated
        ingredients = _tables(manifest.get("ingredients"))
        parent = next((ingredient for ingredient in ingredients if ingredient.get("relationship") == "parentOf"), {})
        manifest = _table(manifests.get(str(parent.get("active_manifest"))))
    return None


def _mining(manifest: Mapping[str, Any]) -> str | None:
    for label in _MINING:
        entries = _table(_assertion(manifest, label).get("entries"))
        for name in _MINING_ENTRIES:
            for owner in ("cawg", "c2pa"):
                if use := _text(_table(entries.get(f"{owner}.{name}")).get("use")):
                    return use
    return None


def _ingredient(
    ingredient: Mapping[str, Any], store: Mapping[str, Any], lost: Collection[str | None]
) -> SignedIngredient:
    title, relationship = _text(ingredient.get("title")), _text(ingredient.get("relationship"))
    is_lost = _text(ingredient.get("instance_id")) in lost
    state = "invalid" if is_lost else _ingredient_state(ingredient, store)
    return SignedIngredient(title=title, relationship=relationship, state=state)


def _ingredient_state(ingredient: Mapping[str, Any], store: Mapping[str, Any]) -> IngredientState:
    """Return how the ingredient's manifest was found when it went in, and since: its own file is not at hand."""
    if not isinstance(ingredient.get("active_manifest"), str):
        return "unsigned"
    here = f"/{ingredient['active_manifest']}"
    deltas = _tables(_table(store.get("validation_results")).get("ingredientDeltas"))
    results = [_table(_table(ingredient.get("validation_results")).get("activeManifest"))]
    results += [_table(delta.get("validationDeltas")) for delta in deltas]
    failures = {code for result in results for code in _result_codes(result.get("failure"), here)}
    if failures - {_UNTRUSTED}:
        return "invalid"
    successes = {code for report in results for code in _result_codes(report.get("success"), here)}
    return "trusted" if _TRUSTED in successes else "valid"


def _result_codes(results: object, manifest: str) -> Iterator[str]:
    for status in _tables(results):
        code, url = _text(status.get("code")), status.get("url")
        if code and isinstance(url, str) and manifest in url:
            yield code


def _assertion(manifest: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    matching = (assertion for assertion in _tables(manifest.get("assertions")) if assertion.get("label") == label)
    return _table(next(matching, {}).get("data"))


def _last(values: Iterator[str | None]) -> str | None:
    present = [value for value in values if value is not None]
    return present[-1] if present else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [table for table in value if isinstance(table, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    """Return a stranger's text, cut where it is longer than anybody would read."""
    return value[:_LONGEST_TEXT] if isinstance(value, str) else None
