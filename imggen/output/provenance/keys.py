"""The key folder: what an organisation signs and marks with, and whom else it trusts.

`own/` holds the organisation's own set, which appears whole or not at all; `trusted/` what others gave.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from imggen.errors import ImggenError, MachineError, RequestError
from imggen.output import files
from imggen.output.files import WriteTarget
from imggen.output.provenance import certificates
from imggen.plan.schema import strict, toml

VARIABLE: Final = "IMGGEN_KEYS"
SCHEMA: Final = 1
COMMAND_SECONDS: Final = 30.0
WATERMARK_KEY_BYTES: Final = 32
# Without a time-stamp a signature dies with its certificate, so the usual life is long.
YEARS: Final = 10
MOST_YEARS: Final = 50

_OWN, _TRUSTED = "own", "trusted"
_KEY, _CHAIN, _ROOT, _WATERMARK, _IDENTITY = "signing.key", "chain.pem", "root.pem", "watermark.key", "identity.toml"
_PRIVATE: Final = frozenset((_KEY, _WATERMARK))
_MAX_BYTES: Final = 1 << 20
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{8,64}")
_USABLE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whom pictures are signed as, and with what: a key (PKCS8 PEM), or a command that signs what it is given.

    `chain_pem` holds the certificates, the signer's first and its root's last.
    """

    organisation: str
    chain_pem: bytes
    watermark_key: bytes = field(repr=False)
    key_pem: bytes | None = field(default=None, repr=False)
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The keys to make: for whom and how long, or the command and the chain of a key that is kept elsewhere."""

    organisation: str
    years: int = YEARS
    command: tuple[str, ...] | None = None
    chain_pem: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Outline:
    """An own set without its secrets; `created` is ISO 8601 in UTC."""

    organisation: str
    created: str
    command: tuple[str, ...] | None
    chain_pem: bytes
    root_pem: bytes


@dataclass(frozen=True, kw_only=True)
class _Record:
    """The file `identity.toml`."""

    schema: int
    organisation: str
    created: str
    command: tuple[str, ...] | None = None


def folder(environ: Mapping[str, str]) -> Path:
    """Return the key folder: `IMGGEN_KEYS`, else `keys` in the user's config folder for imggen."""
    if environ.get(VARIABLE):
        # Not Path.expanduser(), which raises for ~nobody.
        return Path(os.path.expanduser(environ[VARIABLE]))  # noqa: PTH111
    return user_config_path("imggen", appauthor=False) / "keys"


def own_folder(place: Path) -> Path:
    """Return where in the key folder `place` the organisation's own set is."""
    return place / _OWN


def load(place: Path) -> Identity | None:
    """Return whom pictures are signed as, None where no keys are set up in the key folder `place`.

    Raises MachineError where a private key can be read by others or a file of the set is missing; RequestError where
    `identity.toml` is not as imggen writes it.
    """
    own = outline(place)
    if own is None:
        return None
    return Identity(
        organisation=own.organisation,
        chain_pem=own.chain_pem,
        watermark_key=own_watermark_key(place),
        key_pem=None if own.command else _read_own(place, _KEY),
        command=own.command,
    )


def outline(place: Path) -> Outline | None:
    """Return what others may know of the own set, None where there is none; raise as `load` does."""
    if not _is_folder(own_folder(place)):
        return None
    record = _record(place)
    chain, root = _read_own(place, _CHAIN), _read_own(place, _ROOT)
    return Outline(
        organisation=record.organisation, created=record.created, command=record.command, chain_pem=chain, root_pem=root
    )


def create(place: Path, draft: Draft, *, check: Callable[[Identity], None]) -> Identity:
    """Make the organisation's own set of keys in the key folder `place`, whole or not at all.

    `check` is called with the new identity before anything is written and raises where it cannot sign.
    Raises RequestError where keys are there already, which are never overwritten, and for a draft that makes no sense.
    """
    if os.path.lexists(own_folder(place)):
        raise _taken(place)
    identity, root = _elsewhere(draft) if draft.command or draft.chain_pem else _fresh(draft)
    check(identity)
    _publish(place, dict(_set(identity, root)))
    return identity


def sign(data: bytes, identity: Identity) -> bytes:
    """Return the ES256 signature of `data` that the identity's command gives, as 64 bytes: r, then s.

    The command gets `data` on its standard input, without a shell, and prints the signature as DER or as those 64
    bytes; it is checked against the signer's certificate.
    Raises ImggenError where it fails, takes longer than 30 seconds or prints something else.
    """
    command = identity.command or ()
    name = f"the signing command {shlex.join(command)!r}"
    return certificates.check_signature(_by_command(command, name, data), data, identity.chain_pem, name)


def check_dates(identity: Identity, now: datetime) -> None:
    """Raise MachineError that names the date where the signer's certificate does not hold at `now`."""
    leaf = certificates.read(identity.chain_pem, _CHAIN)[0]
    if leaf.begins <= now <= leaf.ends:
        return
    what = f"ended on {leaf.ends:%Y-%m-%d}" if now > leaf.ends else f"begins on {leaf.begins:%Y-%m-%d}"
    raise MachineError(
        f"the certificate that signs as {identity.organisation!r} {what}, so nothing is signed with it",
        hint="imggen keys show names the folder; move it away, then imggen keys init "
        f"--organisation {shlex.quote(identity.organisation)}",
    )


def own_root(place: Path) -> bytes:
    """Return the organisation's own root certificate as PEM; raise RequestError where no keys are set up."""
    if not _is_folder(own_folder(place)):
        raise _absent(place)
    return _read_own(place, _ROOT)


def own_watermark_key(place: Path) -> bytes:
    """Return the organisation's own watermark key; raise RequestError where no keys are set up."""
    if not _is_folder(own_folder(place)):
        raise _absent(place)
    return _watermark_key(own_folder(place) / _WATERMARK)


def trusted_roots(place: Path) -> tuple[bytes, ...]:
    """Return the roots that others gave, as PEM, in the order of their fingerprints."""
    return tuple(read(path) for path in _trusted(place, ".pem"))


def roots(place: Path) -> tuple[bytes, ...]:
    """Return every root whose signatures are trusted, as PEM: the own one first, then those that others gave."""
    own = (own_root(place),) if _is_folder(own_folder(place)) else ()
    return (*own, *trusted_roots(place))


def watermark_keys(place: Path) -> tuple[tuple[str, bytes], ...]:
    """Return the watermark keys to look for, each with the name of whom it is: the own one first."""
    own = ((_record(place).organisation, own_watermark_key(place)),) if _is_folder(own_folder(place)) else ()
    return (*own, *trusted_watermark_keys(place))


def trusted_watermark_keys(place: Path) -> tuple[tuple[str, bytes], ...]:
    """Return the watermark keys that others gave, each with its name."""
    return tuple((path.stem, _watermark_key(path)) for path in _trusted(place, ".watermark"))


def trust_root(place: Path, pem: bytes) -> bool:
    """Keep somebody's root among the trusted ones, under its fingerprint; return False where it was there already."""
    (certificate,) = certificates.read(pem, "the root")
    return _keep(place, f"{certificate.sha256}.pem", pem, private=False)


def trust_watermark_key(place: Path, path: Path) -> tuple[str, bool]:
    """Keep the watermark key in the file `path` under the file's name; return the name, and whether it is new.

    Raises RequestError where it is no watermark key, or where another one has that name.
    """
    key = read(path)
    _check_watermark_key(key, path)
    name = _USABLE_NAME.sub("-", path.stem).strip(".-")
    if not name:
        raise RequestError(f"{path} has no name to keep its key under", hint=f"cp {path} example-ltd.watermark")
    return name, _keep(place, f"{name}.watermark", key, private=True)


def distrust(place: Path, fingerprint: str) -> str:
    """Take the one trusted root whose fingerprint begins so away; return its whole fingerprint."""
    prefix = fingerprint.replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(prefix):
        raise RequestError(f"{fingerprint!r} is not a fingerprint: 8 to 64 hexadecimal digits", hint="imggen keys show")
    matches = [path for path in _trusted(place, ".pem") if path.stem.startswith(prefix)]
    if len(matches) != 1:
        what = "no trusted root has" if not matches else f"{len(matches)} trusted roots have"
        raise RequestError(f"{what} a fingerprint that begins with {prefix}", hint="imggen keys show")
    try:
        matches[0].unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(f"cannot remove {matches[0]}: {files.reason(error)}") from error
    return matches[0].stem


def fingerprint(key: bytes) -> str:
    """Return what tells keys apart without giving one away: 16 hex digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:16]


def write_new(path: Path, data: bytes, *, private: bool) -> None:
    """Write a new file, a private one such that only its owner can read it, from its first moment.

    Raises FileExistsError where it exists.
    """
    files.create(path, data, 0o600 if private else 0o666)


def read(path: Path) -> bytes:
    """Return the bytes of a small file; raise RequestError where it cannot be read or is no small file."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path}: {files.reason(error)}") from error
    if len(data) > _MAX_BYTES:
        raise RequestError(f"{path} is larger than 1 MiB, which no key or certificate is")
    return data


def problems(place: Path) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the key folder and who may read it, each with the command that puts it right."""
    for path in sorted(place.glob(f".{_OWN}-*.tmp")):
        yield f"{path} was left by a keys init that was interrupted", f"rm -r {_quoted(path)}"
    if os.name == "nt":
        return
    for path in (place, own_folder(place), place / _TRUSTED):
        if _is_folder(path) and stat.S_IMODE(path.stat().st_mode) & 0o022:
            yield f"{path} can be written by others, who could put their own keys there", f"chmod go-w {_quoted(path)}"
    for path in (*(own_folder(place) / name for name in sorted(_PRIVATE)), *_trusted(place, ".watermark")):
        if _exists(path) and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield f"{path} can be read by others", f"chmod 600 {_quoted(path)}"


def _fresh(draft: Draft) -> tuple[Identity, bytes]:
    """Return a new identity with a key of its own, and its root."""
    organisation = _organisation(draft.organisation)
    if not 1 <= draft.years <= MOST_YEARS:
        raise RequestError(
            f"--years {draft.years}: a certificate lasts 1 to {MOST_YEARS} years", hint=f"--years {YEARS}"
        )
    new = certificates.make(organisation, draft.years)
    chain, key = new.leaf_pem + new.root_pem, secrets.token_bytes(WATERMARK_KEY_BYTES)
    return Identity(organisation=organisation, chain_pem=chain, watermark_key=key, key_pem=new.key_pem), new.root_pem


def _elsewhere(draft: Draft) -> tuple[Identity, bytes]:
    """Return the identity of a key that a command signs with, and its root."""
    if not draft.command or not draft.chain_pem:
        raise RequestError(
            "a key that is kept elsewhere needs both the command that signs and the certificates",
            hint="imggen keys init --command 'openssl dgst -sha256 -sign key.pem' --chain chain.pem",
        )
    chain, root = certificates.read_chain(draft.chain_pem, "the chain")
    organisation, key = _organisation(draft.organisation), secrets.token_bytes(WATERMARK_KEY_BYTES)
    return Identity(organisation=organisation, chain_pem=chain, watermark_key=key, command=draft.command), root


def _organisation(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable():
        raise RequestError(f"{name!r} is not a name for an organisation", hint='--organisation "Example Ltd"')
    if len(name) > certificates.LONGEST_NAME:
        raise RequestError(
            f"{name!r} has {len(name)} characters; a certificate has room for {certificates.LONGEST_NAME}"
        )
    return name


def _by_command(command: tuple[str, ...], name: str, data: bytes) -> bytes:
    """Return the signature that the user's command prints for the data."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            command, input=data, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImggenError(f"{name} gave no signature within {COMMAND_SECONDS:g} seconds") from error
    except (OSError, ValueError) as error:
        raise ImggenError(f"{name} cannot be run: {files.reason(error)}") from error
    if done.returncode:
        first = next(iter(done.stderr.decode("utf-8", "replace").strip().splitlines()), "")
        raise ImggenError(f"{name} failed with exit code {done.returncode}" + (f": {first[:500]}" if first else ""))
    return done.stdout


def _set(identity: Identity, root: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a set, each with its name."""
    if identity.key_pem:
        yield _KEY, identity.key_pem
    yield _CHAIN, identity.chain_pem
    yield _ROOT, root
    yield _WATERMARK, identity.watermark_key
    lines = [f"schema = {SCHEMA}", f"organisation = {_toml(identity.organisation)}"]
    lines.append(f"created = {_toml(datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ'))}")
    if identity.command:
        lines.append(f"command = [{', '.join(_toml(word) for word in identity.command)}]")
    yield _IDENTITY, "".join(f"{line}\n" for line in lines).encode()


def _toml(text: str) -> str:
    # A JSON string is a TOML one, but for the one control character that JSON leaves alone.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _publish(place: Path, contents: Mapping[str, bytes]) -> None:
    """Put the files into the own folder, which appears whole: it is filled under another name, then renamed."""
    temporary = place / f".{_OWN}-{secrets.token_hex(8)}.tmp"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.mkdir(mode=0o700)
        try:
            for name, data in contents.items():
                write_new(temporary / name, data, private=name in _PRIVATE)
            _rename(temporary, place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RequestError(f"cannot write keys to {place}: {files.reason(error)}") from error


def _rename(temporary: Path, place: Path) -> None:
    try:
        temporary.rename(own_folder(place))
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise _taken(place) from error
        raise
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


def _keep(place: Path, name: str, data: bytes, *, private: bool) -> bool:
    """Put a file among the trusted ones; return False where the same is there, refuse another one of that name."""
    path = place / _TRUSTED / name
    if path.exists() and read(path) == data:
        return False
    if path.exists():
        raise RequestError(f"{path} holds another key", hint="give the file another name, and trust it again")
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if private:
            path.parent.mkdir(exist_ok=True)
            write_new(path, data, private=True)
        else:
            files.write(WriteTarget(path=path, replaces=False), data)
    except FileExistsError:
        # Somebody else put it there just now.
        return _keep(place, name, data, private=private) if path.exists() else False
    except OSError as error:
        raise RequestError(f"cannot write {path}: {files.reason(error)}") from error
    return True


def _record(place: Path) -> _Record:
    path = own_folder(place) / _IDENTITY
    if not _exists(path):
        raise _incomplete(path)
    table = toml.read(path)
    where = strict.KeyPath(subject=str(path), limits={})
    strict.check_schema(table, where, SCHEMA)
    return strict.build(_Record, table, where)


def _read_own(place: Path, name: str) -> bytes:
    path = own_folder(place) / name
    if not _exists(path):
        raise _incomplete(path)
    if name in _PRIVATE:
        _check_private(path)
    return read(path)


def _watermark_key(path: Path) -> bytes:
    if not _exists(path):
        raise _incomplete(path)
    _check_private(path)
    key = read(path)
    _check_watermark_key(key, path)
    return key


def _check_watermark_key(key: bytes, path: Path) -> None:
    if len(key) != WATERMARK_KEY_BYTES:
        raise RequestError(f"{path} has {len(key)} bytes; a watermark key has {WATERMARK_KEY_BYTES}")


def _check_private(path: Path) -> None:
    """Raise MachineError where others could read a private file: what they have read cannot be made private again."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name != "nt" and mode & 0o077:
        raise MachineError(
            f"{path} can be read by others (mode {mode:04o}), so it is not used", hint=f"chmod 600 {_quoted(path)}"
        )


def _trusted(place: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in (place / _TRUSTED).iterdir() if path.suffix == suffix)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RequestError(f"cannot read {place / _TRUSTED}: {files.reason(error)}") from error


def _is_folder(path: Path) -> bool:
    return _asked(path, path.is_dir)


def _exists(path: Path) -> bool:
    return _asked(path, path.exists)


def _asked(path: Path, question: Callable[[], bool]) -> bool:
    try:
        return question()
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path}: {files.reason(error)}") from error


def _taken(place: Path) -> RequestError:
    return RequestError(
        f"there are keys in {own_folder(place)} already; they are never overwritten",
        hint=f"imggen keys show, or IMGGEN_KEYS={_quoted(place.with_name(place.name + '-2'))} imggen keys init ...",
    )


def _absent(place: Path) -> RequestError:
    return RequestError(f"no keys are set up in {place}", hint='imggen keys init --organisation "Example Ltd"')


def _incomplete(path: Path) -> MachineError:
    return MachineError(
        f"{path} is missing, so the keys are incomplete", hint=f"put it back, or move {_quoted(path.parent)} away"
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
