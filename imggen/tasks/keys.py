"""The keys that pictures are signed and marked with: made, shown, given to others and taken from them."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imggen.errors import ImggenError, RequestError
from imggen.output.provenance import certificates, keys, signing
from imggen.output.provenance.certificates import Certificate
from imggen.output.provenance.keys import Draft

_SOON = timedelta(days=90)


@dataclass(frozen=True, kw_only=True)
class InitRequest:
    """Whose keys to make, or, with `command` (as a shell would read it) and `chain`, whose keys are kept elsewhere.

    `organisation` may be None where the chain says it; `years` None is the usual life.
    """

    organisation: str | None = None
    years: int | None = None
    command: str | None = None
    chain: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with the keys, and what to do about it."""

    message: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What there is in the key folder; the fields of the own keys are None where none are set up.

    `signs_with` is `key`, or the command as a shell would read it. `watermark_key` is a fingerprint, as are those in
    `watermark_keys`, which has (name, fingerprint) of the trusted ones. `notes` say what will need doing.
    """

    folder: Path
    organisation: str | None = None
    created: str | None = None
    signs_with: str | None = None
    certificate: Certificate | None = None
    root: Certificate | None = None
    watermark_key: str | None = None
    trusted: tuple[Certificate, ...] = ()
    watermark_keys: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """What is trusted now (a root, or the watermark key with a name and a fingerprint); not `added`: it was before."""

    added: bool
    certificate: Certificate | None = None
    watermark_key: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()


def init(place: Path, request: InitRequest) -> Shown:
    """Make keys in the key folder `place`, whole or not at all, sign once to see that they work, and show them.

    Raises RequestError where keys are there already or the request makes no sense, MachineError where the extra is
    missing, ImggenError where a command does not sign as it should.
    """
    keys.create(place, _draft(request), check=signing.prove)
    return show(place)


def show(place: Path) -> Shown:
    """Return what is in the key folder, its problems included; no private key is in it."""
    problems = _closed(place)
    own: dict[str, object] = {}
    for look in (_outlined, _secrets, _trusted):
        try:
            own |= look(place)
        except ImggenError as error:
            problems += _unless_known(error, problems)
    shown = Shown(folder=place, **own)  # type: ignore[arg-type]  # names and types are those of the fields
    return replace(shown, notes=tuple(_notes(shown)), problems=(*problems, *_ended(shown)))


def trust_root(place: Path, path: Path) -> Trusted:
    """Trust what is signed under the root in the file `path` from now on.

    Raises RequestError where the file is no root certificate, and loudly where it is a private key.
    """
    pem = certificates.root_pem(keys.read(path), str(path))
    (certificate,) = certificates.read(pem, str(path))
    added = keys.trust_root(place, pem)
    return Trusted(added=added, certificate=certificate, notes=tuple(_ending(certificate, f"{path}")))


def trust_watermark_key(place: Path, path: Path) -> Trusted:
    """Look for the watermark of the key in the file `path` too from now on; its name is the file's.

    Raises RequestError where the file is no watermark key.
    """
    name, added = keys.trust_watermark_key(place, path)
    return Trusted(added=added, watermark_key=(name, keys.fingerprint(keys.read(path))))


def distrust(place: Path, fingerprint: str) -> str:
    """Trust the root whose fingerprint begins so no more; return its whole fingerprint."""
    return keys.distrust(place, fingerprint)


def export_root(place: Path) -> bytes:
    """Return the organisation's root certificate (PEM), which others may have; RequestError where there is none."""
    return keys.own_root(place)


def write_root(place: Path, path: Path) -> None:
    """Write the organisation's root certificate to the file `path`; one with other contents is never overwritten."""
    _write(path, keys.own_root(place), private=False)


def write_watermark_key(place: Path, path: Path) -> str:
    """Write the watermark key to the new file `path`, which its owner alone can read; return its fingerprint."""
    key = keys.own_watermark_key(place)
    _write(path, key, private=True)
    return keys.fingerprint(key)


def _draft(request: InitRequest) -> Draft:
    """Return the keys to make from the request; RequestError where it contradicts itself."""
    chain = keys.read(request.chain) if request.chain is not None else None
    if request.years is not None and (request.command or chain):
        raise RequestError("--years is for a new certificate, and --command and --chain come with one")
    organisation = request.organisation
    if organisation is None and chain is not None:
        organisation = certificates.read(chain, str(request.chain))[0].subject.partition(", ")[0]
    if organisation is None:
        raise RequestError("the keys need an organisation's name", hint='imggen keys init --organisation "Example Ltd"')
    return Draft(
        organisation=organisation,
        years=keys.YEARS if request.years is None else request.years,
        command=_words(request.command) if request.command is not None else None,
        chain_pem=chain,
    )


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise RequestError(f"--command {command!r} cannot be read: {error}") from error
    if not words:
        raise RequestError("--command is empty", hint="--command 'openssl dgst -sha256 -sign key.pem'")
    return words


def _closed(place: Path) -> list[Problem]:
    try:
        return [Problem(message=message, hint=hint) for message, hint in keys.problems(place)]
    except ImggenError as error:
        return [Problem(message=error.message, hint=error.hint)]


def _outlined(place: Path) -> dict[str, object]:
    own = keys.outline(place)
    if own is None:
        return {}
    return {
        "organisation": own.organisation,
        "created": own.created,
        "signs_with": shlex.join(own.command) if own.command else "key",
        "certificate": certificates.read(own.chain_pem, "the chain")[0],
        "root": certificates.read(own.root_pem, "the root")[0],
    }


def _secrets(place: Path) -> dict[str, object]:
    identity = keys.load(place)
    return {"watermark_key": keys.fingerprint(identity.watermark_key)} if identity else {}


def _trusted(place: Path) -> dict[str, object]:
    named = tuple((name, keys.fingerprint(key)) for name, key in keys.trusted_watermark_keys(place))
    roots = tuple(certificates.read(root, "a trusted root")[0] for root in keys.trusted_roots(place))
    return {"trusted": roots, "watermark_keys": named}


def _notes(shown: Shown) -> Iterator[str]:
    """Yield a note for every certificate that ends soon, and every trusted one that ended."""
    if shown.certificate is not None and not _is_over(shown.certificate):
        yield from _ending(shown.certificate, "the certificate")
    for root in shown.trusted:
        yield from _ending(root, f"the trusted root {root.sha256[:16]}")


def _ended(shown: Shown) -> Iterator[Problem]:
    if shown.certificate is not None and _is_over(shown.certificate):
        yield Problem(
            message=f"the certificate ended on {shown.certificate.ends:%Y-%m-%d}, so nothing is signed with it",
            hint=f"move {shlex.quote(str(keys.own_folder(shown.folder)))} away, then "
            'imggen keys init --organisation "Example Ltd"',
        )


def _is_over(certificate: Certificate) -> bool:
    return certificate.ends < datetime.now(UTC)


def _unless_known(error: ImggenError, problems: list[Problem]) -> list[Problem]:
    """Return the error as a problem, none where the same command is what another one already asks for."""
    if error.hint is not None and any(problem.hint == error.hint for problem in problems):
        return []
    return [Problem(message=error.message, hint=error.hint)]


def _ending(certificate: Certificate, name: str) -> Iterator[str]:
    left = certificate.ends - datetime.now(UTC)
    if _is_over(certificate):
        yield f"{name} ended on {certificate.ends:%Y-%m-%d}: what was signed with it is no longer valid"
    elif left < _SOON:
        yield f"{name} ends on {certificate.ends:%Y-%m-%d}, in {left.days} days, and so does what was signed with it"


def _write(path: Path, data: bytes, *, private: bool) -> None:
    try:
        keys.write_new(path, data, private=private)
    except FileExistsError as error:
        if not private and keys.read(path) == data:
            return
        raise RequestError(f"{path} exists, and is not overwritten", hint="another name after -o") from error
    except OSError as error:
        raise RequestError(f"cannot write {path}: {error.strerror}") from error
