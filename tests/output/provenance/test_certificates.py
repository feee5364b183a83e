"""Certificates and ES256 signatures, held against each other."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from imggen.errors import ImggenError, MachineError, RequestError
from imggen.output.provenance import certificates

DATA = b"what is signed"


@pytest.fixture(scope="module")
def own():
    return certificates.make("Example Ltd", 10)


@pytest.fixture(scope="module")
def other():
    return certificates.make("Other Ltd", 1)


def signature(made, data=DATA):
    key = serialization.load_pem_private_key(made.key_pem, None)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def test_root_outlives_nothing_and_nothing_outlives_it(own):
    (leaf,), (root,) = (certificates.read(pem, "it") for pem in (own.leaf_pem, own.root_pem))
    assert (leaf.begins, leaf.ends) == (root.begins, root.ends)
    assert leaf.ends - leaf.begins == timedelta(days=3652.5)
    # Clocks differ: what is signed now can be checked at once.
    assert timedelta(minutes=59) < datetime.now(UTC) - leaf.begins < timedelta(minutes=62)
    assert (leaf.is_root, root.is_root) == (False, True)
    assert (leaf.subject, leaf.issuer) == ("Example Ltd", "Example Ltd, Example Ltd root")


def test_longest_name_has_room_for_its_root():
    made = certificates.make("x" * certificates.LONGEST_NAME, 1)
    names = x509.load_pem_x509_certificate(made.root_pem).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert len(names[0].value) == certificates.LONGEST_NAME
    assert names[0].value.endswith("x root")


def test_chain_leads_from_the_signer_to_a_root(own, other):
    chain = own.leaf_pem + own.root_pem
    assert certificates.read_chain(chain, "it") == (chain, own.root_pem)
    assert certificates.read_chain(own.root_pem, "it") == (own.root_pem, own.root_pem)
    with pytest.raises(RequestError, match="is not issued by the next one, 'Other Ltd"):
        certificates.read_chain(own.leaf_pem + other.root_pem, "it")
    with pytest.raises(RequestError, match="which is not a root"):
        certificates.read_chain(own.leaf_pem, "it")


def test_only_one_root_is_a_root(own):
    assert certificates.root_pem(own.root_pem, "it") == own.root_pem
    for data, message in (
        (own.leaf_pem, "issued, not a root"),
        (own.root_pem * 2, "holds 2 certificates"),
        (own.root_pem + own.key_pem, "PRIVATE KEY"),
    ):
        with pytest.raises(RequestError, match=message):
            certificates.root_pem(data, "it")


def test_key_belongs_to_the_first_certificate(own, other):
    certificates.check_key(own.key_pem, own.leaf_pem + own.root_pem)
    for key in (other.key_pem, own.leaf_pem, b""):
        with pytest.raises(MachineError):
            certificates.check_key(key, own.leaf_pem)


def test_signature_is_64_bytes_in_either_form(own):
    der = signature(own)
    raw = certificates.check_signature(der, DATA, own.leaf_pem, "it")
    assert len(raw) == 64
    assert tuple(int.from_bytes(half) for half in (raw[:32], raw[32:])) == utils.decode_dss_signature(der)
    assert certificates.check_signature(raw, DATA, own.leaf_pem, "it") == raw


def test_signature_of_something_else_is_refused(own, other):
    raw = certificates.check_signature(signature(own), DATA, own.leaf_pem, "it")
    for wrong, message in (
        (signature(other), "does not verify"),
        (signature(own, b"other"), "does not verify"),
        (raw[32:] + raw[:32], "does not verify"),
        (raw[:63], "63 bytes"),
        (b"", "0 bytes"),
    ):
        with pytest.raises(ImggenError, match=message):
            certificates.check_signature(wrong, DATA, own.leaf_pem, "it")
