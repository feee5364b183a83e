"""Certificates and ES256 signatures: made, read and held against each other, through the package cryptography."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from imggen.errors import ImggenError, MachineError, RequestError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

# X.520 (ub-organization-name) allows no longer one.
LONGEST_NAME: Final = 64

_RAW_BYTES: Final = 64
# A machine whose clock is behind can check at once what was signed here.
_CLOCK_SKEW: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class NewCertificate:
    """A signer's new key (PKCS8 PEM), its certificate and the root that issued it (PEM)."""

    key_pem: bytes = field(repr=False)
    leaf_pem: bytes
    root_pem: bytes


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a certificate says; `sha256` is over its DER bytes, in hex, and `is_root` means that it signed itself."""

    subject: str
    issuer: str
    serial: str
    begins: datetime
    ends: datetime
    sha256: str
    is_root: bool


def make(organisation: str, years: int) -> NewCertificate:
    """Return a new ES256 key for `organisation` and certificates that hold for so many years.

    The root's private key is thrown away once it has signed the one certificate. Kept, it could make further signers
    that nobody can tell from this one, and it would lie beside the key that it is to outlive; a leaf that lives as long
    as its root needs no renewal.
    """
    _x509()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    begins = datetime.now(UTC).replace(microsecond=0) - _CLOCK_SKEW
    span = begins, begins + timedelta(days=365.25 * years)
    root = _root(organisation, root_key, span)
    leaf = _leaf(organisation, leaf_key.public_key(), root_key, root, span)
    key_pem = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return NewCertificate(key_pem=key_pem, leaf_pem=_pem(leaf), root_pem=_pem(root))


def read_chain(data: bytes, name: str) -> tuple[bytes, bytes]:
    """Return the chain in `data` (PEM, the signer's certificate first), and its root, both as PEM.

    Raises RequestError, with `name`, where a certificate is not issued by the next one or the last one is no root.
    """
    chain = _parsed(data, name)
    _check_chain(chain, name)
    return b"".join(_pem(certificate) for certificate in chain), _pem(chain[-1])


def read(data: bytes, name: str) -> tuple[Certificate, ...]:
    """Return what the certificates in `data` (PEM, or one as DER) say; RequestError, with `name`, where it has none."""
    return tuple(_facts(certificate) for certificate in _parsed(data, name))


def root_pem(data: bytes, name: str) -> bytes:
    """Return the one root certificate in `data` as PEM; raise RequestError, with `name`, for anything else.

    A private key is refused loudly, so that nobody hands it around by mistake.
    """
    if b"PRIVATE KEY-----" in data:
        raise RequestError(
            f"{name} holds a PRIVATE KEY: whoever has it can sign as its owner, so it must not be shared",
            hint="imggen keys export -o root.pem, where the key is, writes what others may have",
        )
    certificates = _parsed(data, name)
    if len(certificates) > 1:
        raise RequestError(
            f"{name} holds {len(certificates)} certificates, not one root",
            hint="imggen keys export -o root.pem, where the key is, writes the root alone",
        )
    facts = _facts(certificates[0])
    if not facts.is_root:
        raise RequestError(
            f"{name} is the certificate of {facts.subject!r}, which {facts.issuer!r} issued, not a root",
            hint=f"trust the certificate of {facts.issuer!r}",
        )
    return _pem(certificates[0])


def check_key(key_pem: bytes, chain_pem: bytes) -> None:
    """Raise MachineError where the private key (PEM) cannot be used or is not that of the chain's first certificate."""
    public = _public_key(chain_pem)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MachineError("the signing key cannot be read: it is not an unencrypted private key in PEM") from error
    if key.public_key() != public:
        raise MachineError(
            "the signing key does not belong to the certificate",
            hint="the first certificate of the chain must be the one of the key that signs",
        )


def check_signature(signature: bytes, data: bytes, chain_pem: bytes, name: str) -> bytes:
    """Return the signature, given as DER or as 64 bytes, as 64 bytes: r, then s.

    Raises ImggenError that says what `name` did wrong, where it is no ES256 signature of `data` by the key of the
    chain's first certificate; RequestError where that key is of another kind.
    """
    public = _public_key(chain_pem)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    try:
        raw = _raw(signature)
        der = utils.encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    except (ValueError, OverflowError) as error:
        raise ImggenError(
            f"{name} gave {len(signature)} bytes, which are not an ES256 signature",
            hint="it must print the signature as DER, or as the 64 bytes of r and s, and nothing else",
        ) from error
    try:
        public.verify(der, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise ImggenError(
            f"{name} does not belong to the certificate: its signature does not verify",
            hint="the first certificate of the chain must be the one of the key that signs",
        ) from error
    return raw


def _check_chain(chain: Sequence["x509.Certificate"], name: str) -> None:
    """Raise RequestError where a certificate is not issued by the next, or the last is no root."""
    for below, above in itertools.pairwise(chain):
        if not _is_issued_by(below, above):
            raise RequestError(
                f"{name}: the certificate of {_named(below.subject)!r} is not issued by the next one, "
                f"{_named(above.subject)!r}",
                hint="cat leaf.pem intermediate.pem root.pem > chain.pem",
            )
    if not _is_issued_by(chain[-1], chain[-1]):
        raise RequestError(
            f"{name} ends with the certificate of {_named(chain[-1].subject)!r}, which is not a root",
            hint="cat leaf.pem root.pem > chain.pem",
        )


def _root(organisation: str, key: Any, span: tuple[datetime, datetime]) -> "x509.Certificate":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name(organisation, f"{organisation[: LONGEST_NAME - 5]} root")
    builder = _begun(name, name, key.public_key(), span)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
    signed: x509.Certificate = builder.sign(key, hashes.SHA256())
    return signed


def _leaf(
    organisation: str, public: Any, root_key: Any, root: "x509.Certificate", span: tuple[datetime, datetime]
) -> "x509.Certificate":
    """Return the signer's certificate with what C2PA 2.x, "X.509 Certificates", asks of one.

    Of the extended key usages allowed there, emailProtection is the one that validators take without being told.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    builder = _begun(_name(organisation, organisation), root.subject, public, span)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage("digital_signature"), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    builder = builder.add_extension(issuer, critical=False)
    signed: x509.Certificate = builder.sign(root_key, hashes.SHA256())
    return signed


def _begun(subject: "x509.Name", issuer: "x509.Name", public: Any, span: tuple[datetime, datetime]) -> Any:
    from cryptography import x509

    builder = x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public,
        serial_number=x509.random_serial_number(),
        not_valid_before=span[0],
        not_valid_after=span[1],
    )
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _name(organisation: str, common: str) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    values = {NameOID.ORGANIZATION_NAME: organisation, NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in values.items()])


def _usage(*allowed: str) -> Any:
    from cryptography import x509

    first = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    rest = ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in allowed for name in (*first, *rest)})


def _public_key(chain_pem: bytes) -> "EllipticCurvePublicKey":
    """Return the key of the chain's first certificate; RequestError where it is not for ES256."""
    leaf = _parsed(chain_pem, "the chain")[0]
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(f"the key in the certificate of {_named(leaf.subject)!r} cannot be read: {error}") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise RequestError(
            f"the certificate of {_named(leaf.subject)!r} has a key of another kind; imggen signs with ES256",
            hint="openssl ecparam -name prime256v1 -genkey makes a key of the right kind",
        )
    return public


def _parsed(data: bytes, name: str) -> list["x509.Certificate"]:
    """Return the certificates in PEM or DER; RequestError, with `name`, where there is none."""
    x509 = _x509()
    try:
        is_pem = b"-----BEGIN" in data
        with warnings.catch_warnings():
            # What the next version of cryptography refuses is refused now.
            warnings.simplefilter("error")
            certificates = (
                list(x509.load_pem_x509_certificates(data)) if is_pem else [x509.load_der_x509_certificate(data)]
            )
        # Names are parsed when they are first asked for, and only here is a bad one told from a bad file.
        for certificate in certificates:
            _ = certificate.subject, certificate.issuer
    except (ValueError, Warning) as error:
        raise RequestError(f"{name} is not a certificate", hint="give a certificate as PEM or DER") from error
    return certificates


def _x509() -> Any:
    """Return cryptography's module for certificates; raise MachineError where the extra is not installed."""
    try:
        from cryptography import x509
    except ImportError as error:
        raise MachineError(
            "keys and signatures need the package cryptography, which is not installed",
            hint="pip install 'imggen[c2pa]'",
        ) from error
    return x509


def _facts(certificate: "x509.Certificate") -> Certificate:
    """Return what the certificate says; RequestError where that cannot be read."""
    from cryptography.hazmat.primitives import hashes

    try:
        return Certificate(
            subject=_named(certificate.subject),
            issuer=_named(certificate.issuer),
            serial=f"{certificate.serial_number:x}",
            begins=certificate.not_valid_before_utc,
            ends=certificate.not_valid_after_utc,
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
            is_root=_is_issued_by(certificate, certificate),
        )
    except ValueError as error:
        raise RequestError(f"a certificate cannot be read: {error}") from error


def _is_issued_by(below: "x509.Certificate", above: "x509.Certificate") -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _named(name: "x509.Name") -> str:
    """Return the organisation and the common name that a certificate gives, once where they are the same."""
    from cryptography.x509.oid import NameOID

    firsts = (name.get_attributes_for_oid(oid)[:1] for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME))
    values = [attribute.value for first in firsts for attribute in first if isinstance(attribute.value, str)]
    return ", ".join(dict.fromkeys(values)) or name.rfc4514_string()


def _pem(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _raw(signature: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import utils

    if len(signature) == _RAW_BYTES:
        return signature
    r, s = utils.decode_dss_signature(signature)
    return r.to_bytes(32) + s.to_bytes(32)
