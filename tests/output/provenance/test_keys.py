"""The key folder: whole or not there, closed to others, and never overwritten."""

import contextlib
import multiprocessing
import os
import shlex
import stat
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from signers import identity, picture, private_pem, statement

from imggen.errors import EXIT_FAILED, EXIT_MACHINE, ImggenError, MachineError, RequestError
from imggen.output.provenance import certificates, keys, signing
from imggen.output.provenance.keys import Draft

SIGNER = """
import sys, time
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
way, key = sys.argv[1], serialization.load_pem_private_key(open(sys.argv[2], "rb").read(), None)
data = sys.stdin.buffer.read()
signature = key.sign(data, ec.ECDSA(hashes.SHA256()))
if way == "raw":
    r, s = utils.decode_dss_signature(signature)
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
if way == "fail":
    sys.stderr.write("\\nno token in slot 0\\nmore\\n")
    sys.exit(7)
if way == "slow":
    time.sleep(60)
wrong = {"empty": b"", "garbage": b"\\x30\\x06garbage", "zeros": bytes(64), "text": signature.hex().encode()}
if way == "other":
    signature = ec.generate_private_key(ec.SECP256R1()).sign(data, ec.ECDSA(hashes.SHA256()))
sys.stdout.buffer.write(wrong.get(way, signature))
"""


def nothing(_identity: object) -> None:
    """Check nothing."""


def make(place: Path, **changes) -> keys.Identity:
    return keys.create(place, Draft(**({"organisation": "Example Ltd"} | changes)), check=nothing)


@pytest.fixture
def command(tmp_path):
    """Return a function that makes an identity whose key a command holds, the way it signs named."""
    (tmp_path / "signer.py").write_text(SIGNER)
    made, _root = identity()
    (tmp_path / "elsewhere.pem").write_bytes(made.key_pem)

    def command(way: str) -> keys.Identity:
        words = (sys.executable, str(tmp_path / "signer.py"), way, str(tmp_path / "elsewhere.pem"))
        return replace(made, key_pem=None, command=words)

    return command


class TestFolder:
    def test_environment_names_it_or_else_it_is_the_users(self):
        assert keys.folder({"IMGGEN_KEYS": "/somewhere"}) == Path("/somewhere")
        assert keys.folder({"IMGGEN_KEYS": "~/k"}) == Path.home() / "k"
        assert keys.folder({"IMGGEN_KEYS": ""}) == keys.folder({})
        assert keys.folder({}).parts[-2:] == ("imggen", "keys")


class TestCreating:
    def test_whole_set_appears_and_signs(self, tmp_path):
        made = keys.create(tmp_path / "a" / "keys", Draft(organisation="Example Ltd"), check=signing.prove)
        assert keys.load(tmp_path / "a" / "keys") == made
        own = tmp_path / "a" / "keys" / "own"
        assert sorted(path.name for path in own.iterdir()) == [
            "chain.pem",
            "identity.toml",
            "root.pem",
            "signing.key",
            "watermark.key",
        ]
        assert [path.name for path in own.parent.iterdir()] == ["own"]
        data = signing.sign(picture("png"), "png", statement(), made)
        assert signing.read(data, "png", keys.roots(own.parent)).state == "trusted"
        assert len(made.watermark_key) == 32

    @pytest.mark.skipif(os.name == "nt", reason="no such permissions")
    def test_private_files_are_their_owners_alone_whatever_the_umask(self, tmp_path):
        before = os.umask(0)
        try:
            make(tmp_path / "keys")
        finally:
            os.umask(before)
        for name in ("signing.key", "watermark.key"):
            assert stat.S_IMODE((tmp_path / "keys" / "own" / name).stat().st_mode) == 0o600
        for path in (tmp_path / "keys", tmp_path / "keys" / "own"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert list(keys.problems(tmp_path / "keys")) == []

    def test_certificates_are_what_validators_ask_for(self, tmp_path):
        made = make(tmp_path, years=3)
        leaf, root = x509.load_pem_x509_certificates(made.chain_pem)
        leaf.verify_directly_issued_by(root)
        extensions = {type(each.value): each for each in leaf.extensions}
        assert not extensions[x509.BasicConstraints].value.ca
        usage = extensions[x509.KeyUsage]
        assert usage.critical
        assert usage.value.digital_signature
        assert not usage.value.key_cert_sign
        assert list(extensions[x509.ExtendedKeyUsage].value) == [x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION]
        assert {x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier} <= extensions.keys()
        names = {each.oid: each.value for each in leaf.subject}
        assert set(names.values()) == {"Example Ltd"}
        assert 3 * 365 <= (leaf.not_valid_after_utc - datetime.now(UTC)).days <= 3 * 366
        assert root.not_valid_after_utc == leaf.not_valid_after_utc

    def test_no_secret_shows_in_what_is_printed_of_an_identity(self, tmp_path):
        made = make(tmp_path)
        assert "PRIVATE" not in repr(made)
        assert repr(made.watermark_key)[2:-1] not in repr(made)

    def test_keys_are_never_overwritten(self, tmp_path):
        first = make(tmp_path)
        with pytest.raises(RequestError, match="never overwritten") as caught:
            make(tmp_path, organisation="Other Ltd")
        assert "IMGGEN_KEYS=" in caught.value.hint
        assert keys.load(tmp_path) == first

    def test_trusted_roots_that_came_first_stay(self, tmp_path):
        keys.trust_root(tmp_path, identity()[1])
        make(tmp_path)
        assert len(keys.roots(tmp_path)) == 2

    def test_failed_check_leaves_nothing(self, tmp_path):
        def refuse(_identity: object) -> None:
            raise ImggenError("cannot sign")

        with pytest.raises(ImggenError, match="cannot sign"):
            keys.create(tmp_path / "keys", Draft(organisation="Example Ltd"), check=refuse)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
    @pytest.mark.parametrize("after", range(5))
    def test_interruption_between_two_files_leaves_none_of_them(self, tmp_path, monkeypatch, failure, after):
        real, calls = keys.write_new, []

        def write(path: Path, data: bytes, *, private: bool) -> None:
            calls.append(path)
            if len(calls) > after:
                raise failure
            real(path, data, private=private)

        monkeypatch.setattr(keys, "write_new", write)
        with pytest.raises((KeyboardInterrupt, RequestError)):
            make(tmp_path / "keys")
        assert list((tmp_path / "keys").iterdir()) == []
        assert keys.load(tmp_path / "keys") is None

    def test_two_at_once_make_one_whole_set(self, tmp_path):
        context = multiprocessing.get_context("spawn")
        with context.Pool(4) as pool:
            ended = pool.map(_attempt, [(tmp_path, number) for number in range(4)])
        assert sorted(each is None for each in ended) == [False, False, False, True]
        assert all("never overwritten" in each for each in ended if each)
        assert [path.name for path in tmp_path.iterdir()] == ["own"]
        made = keys.load(tmp_path)
        assert made.organisation == f"Example {ended.index(None)}"
        signing.prove(made)

    @pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[2J", "x" * 65])
    def test_name_that_no_certificate_has_room_for_is_refused(self, tmp_path, name):
        with pytest.raises(RequestError):
            make(tmp_path, organisation=name)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ['"Quoted" \\ Ltd', "Müller & Söhne", "日本 🍎", "x" * 64, "del\u00a1"])
    def test_any_honest_name_is_kept(self, tmp_path, name):
        make(tmp_path, organisation=name)
        assert keys.load(tmp_path).organisation == name

    @pytest.mark.parametrize("years", [0, -1, 51])
    def test_years_have_bounds(self, tmp_path, years):
        with pytest.raises(RequestError, match=f"--years {years}: "):
            make(tmp_path, years=years)

    def test_place_that_is_a_file_is_refused(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RequestError, match="cannot write keys"):
            make(tmp_path / "file" / "keys")
        with pytest.raises(RequestError):
            make(tmp_path / "file")


def _attempt(told: tuple[Path, int]) -> str | None:
    place, number = told
    try:
        make(place, organisation=f"Example {number}")
    except RequestError as error:
        return error.message
    return None


class TestLoading:
    def test_no_keys_are_none(self, tmp_path):
        assert keys.load(tmp_path) is None
        assert keys.load(tmp_path / "absent") is None
        assert keys.roots(tmp_path) == keys.watermark_keys(tmp_path) == ()

    @pytest.mark.skipif(os.name == "nt", reason="no such permissions")
    @pytest.mark.parametrize("name", ["signing.key", "watermark.key"])
    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602, 0o610])
    def test_private_file_that_others_can_read_is_not_used(self, tmp_path, name, mode):
        make(tmp_path)
        path = tmp_path / "own" / name
        path.chmod(mode)
        with pytest.raises(MachineError, match=f"mode {mode:04o}") as caught:
            keys.load(tmp_path)
        assert caught.value.exit_code == EXIT_MACHINE
        assert caught.value.hint == f"chmod 600 {shlex.quote(str(path))}"
        assert [hint for _message, hint in keys.problems(tmp_path)] == [caught.value.hint]
        path.chmod(0o600)
        assert keys.load(tmp_path) is not None

    @pytest.mark.parametrize("name", ["signing.key", "chain.pem", "root.pem", "watermark.key", "identity.toml"])
    def test_missing_file_is_named(self, tmp_path, name):
        make(tmp_path)
        (tmp_path / "own" / name).unlink()
        with pytest.raises(MachineError, match=name.replace(".", r"\.")):
            keys.load(tmp_path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("schema = 2", "schema 2"),
            ("schema = 1\norganisation = 'A'\ncreated = ''\nextra = 1", "unknown key 'extra'"),
            ("schema = 1\norganisation = 3\ncreated = ''", "organisation is 3"),
            ("schema = 1", "lacks"),
            ("schema = ", "not valid TOML"),
        ],
    )
    def test_identity_that_is_not_as_written_is_refused(self, tmp_path, text, message):
        make(tmp_path)
        (tmp_path / "own" / "identity.toml").write_text(text)
        with pytest.raises(RequestError, match=message):
            keys.load(tmp_path)

    def test_stored_first_schema_is_read(self, tmp_path):
        make(tmp_path)
        (tmp_path / "own" / "identity.toml").write_text(
            'schema = 1\norganisation = "Example Ltd"\ncreated = "2026-11-26T12:00:00Z"\n'
            'command = ["openssl", "dgst", "-sha256", "-sign", "key.pem"]\n'
        )
        found = keys.load(tmp_path)
        assert found.command == ("openssl", "dgst", "-sha256", "-sign", "key.pem")
        assert (found.organisation, found.key_pem) == ("Example Ltd", None)

    def test_watermark_key_of_another_length_is_refused(self, tmp_path):
        make(tmp_path)
        (tmp_path / "own" / "watermark.key").write_bytes(b"short")
        with pytest.raises(RequestError, match="5 bytes"):
            keys.load(tmp_path)

    def test_folder_of_somebody_else_is_an_error_that_says_so(self, tmp_path, monkeypatch):
        make(tmp_path)
        real = Path.stat

        def stat_(path: Path, **options) -> os.stat_result:
            if path.parent.name == "own":
                raise PermissionError(13, "Permission denied")
            return real(path, **options)

        monkeypatch.setattr(Path, "stat", stat_)
        for act in (keys.load, keys.roots, keys.watermark_keys, lambda place: list(keys.problems(place))):
            with pytest.raises(RequestError, match=r"cannot read .*own.*: Permission denied"):
                act(tmp_path)


class TestCommand:
    @pytest.mark.parametrize("way", ["der", "raw"])
    def test_signature_of_a_command_is_taken_in_both_forms(self, command, way):
        made = command(way)
        data = signing.sign(picture("jpeg"), "jpeg", statement(), made)
        found = signing.read(data, "jpeg")
        assert (found.state, found.signer) == ("valid", "Example Ltd")

    @pytest.mark.parametrize(
        ("way", "message"),
        [
            ("fail", "failed with exit code 7: no token in slot 0$"),
            ("empty", "gave 0 bytes, which are not an ES256 signature"),
            ("garbage", "gave 9 bytes, which are not an ES256 signature"),
            ("text", "which are not an ES256 signature"),
            ("zeros", "does not belong to the certificate"),
            ("other", "does not belong to the certificate"),
        ],
    )
    def test_command_that_does_not_sign_is_quoted_with_what_it_did(self, command, way, message):
        made = command(way)
        with pytest.raises(ImggenError, match=message) as caught:
            signing.sign(picture("png"), "png", statement(), made)
        assert shlex.join(made.command) in caught.value.message
        assert caught.value.exit_code == EXIT_FAILED

    def test_slow_command_is_given_up(self, command, monkeypatch):
        monkeypatch.setattr(keys, "COMMAND_SECONDS", 0.5)
        with pytest.raises(ImggenError, match=r"no signature within 0\.5 seconds"):
            signing.sign(picture("png"), "png", statement(), command("slow"))

    @pytest.mark.parametrize("words", [("/nothing/here",), (".",), ("a\0b",)])
    def test_command_that_cannot_be_run_is_quoted(self, words):
        made = replace(identity()[0], key_pem=None, command=words)
        with pytest.raises(ImggenError, match="cannot be run"):
            keys.sign(b"data", made)

    def test_no_shell_reads_the_command(self, tmp_path):
        made = replace(identity()[0], key_pem=None, command=("echo", f"; touch {tmp_path / 'hacked'}"))
        with pytest.raises(ImggenError):
            keys.sign(b"data", made)
        assert list(tmp_path.iterdir()) == []

    def test_set_with_a_command_holds_no_signing_key(self, tmp_path, command):
        made = command("der")
        draft = Draft(organisation="Example Ltd", command=made.command, chain_pem=made.chain_pem)
        keys.create(tmp_path / "keys", draft, check=signing.prove)
        assert not (tmp_path / "keys" / "own" / "signing.key").exists()
        assert keys.load(tmp_path / "keys").command == made.command
        assert (
            signing.read(
                signing.sign(picture("png"), "png", statement(), keys.load(tmp_path / "keys")),
                "png",
                [keys.own_root(tmp_path / "keys")],
            ).state
            == "trusted"
        )

    def test_command_and_chain_come_together(self, tmp_path):
        for half in ({"command": ("a",)}, {"chain_pem": identity()[0].chain_pem}):
            with pytest.raises(RequestError, match="needs both"):
                make(tmp_path, **half)

    def test_chain_that_does_not_reach_a_root_is_refused(self, tmp_path):
        whole = identity()[0].chain_pem
        end = whole.index(b"-----END CERTIFICATE-----\n") + 26
        with pytest.raises(RequestError, match="not a root"):
            make(tmp_path, command=("a",), chain_pem=whole[:end])
        with pytest.raises(RequestError, match="not issued by the next one"):
            make(tmp_path, command=("a",), chain_pem=whole[end:] + whole[:end])

    def test_key_of_another_kind_is_refused(self, tmp_path):
        for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
            name = certificates._name("Example Ltd", "Example Ltd")
            span = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
            leaf = certificates._begun(name, name, key.public_key(), span).sign(key, hashes.SHA256())
            made = replace(identity()[0], chain_pem=certificates._pem(leaf), key_pem=private_pem(key))
            with pytest.raises(RequestError, match="ES256"):
                signing.sign(picture("png"), "png", statement(), made)


class TestTrusting:
    def test_root_is_kept_once_under_its_fingerprint(self, tmp_path):
        root = identity("Stranger Ltd")[1]
        assert keys.trust_root(tmp_path, root)
        assert not keys.trust_root(tmp_path, root)
        (found,) = certificates.read(root, "root")
        assert [path.name for path in (tmp_path / "trusted").iterdir()] == [f"{found.sha256}.pem"]
        assert keys.trusted_roots(tmp_path) == keys.roots(tmp_path) == (root,)

    def test_root_is_read_as_pem_and_as_der(self):
        root = identity()[1]
        der = x509.load_pem_x509_certificate(root).public_bytes(serialization.Encoding.DER)
        assert certificates.root_pem(root, "r") == certificates.root_pem(der, "r") == root

    def test_private_key_is_refused_loudly_even_beside_a_certificate(self):
        made, root = identity()
        for data in (made.key_pem, root + made.key_pem):
            with pytest.raises(RequestError, match="PRIVATE KEY"):
                certificates.root_pem(data, "file.pem")

    @pytest.mark.parametrize("data", [b"", b"hello", b"\x30\x82\x01\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
    def test_what_is_no_certificate_is_refused(self, data):
        with pytest.raises(RequestError, match=r"file\.pem is not a certificate"):
            certificates.root_pem(data, "file.pem")

    @given(st.binary(max_size=400), st.integers(0, 500))
    def test_damaged_certificate_is_refused_and_never_a_crash(self, noise, at):
        der = x509.load_pem_x509_certificate(_ROOT).public_bytes(serialization.Encoding.DER)
        with contextlib.suppress(RequestError):
            certificates.root_pem(der[:at] + noise + der[at + len(noise) :], "file.der")

    def test_certificate_that_another_issued_is_no_root(self):
        leaf = identity()[0].chain_pem.split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
        with pytest.raises(RequestError, match=r"'Example Ltd, Example Ltd root' issued, not a root"):
            certificates.root_pem(leaf, "leaf.pem")
        with pytest.raises(RequestError, match="2 certificates"):
            certificates.root_pem(identity()[0].chain_pem, "chain.pem")

    def test_root_is_forgotten_by_the_start_of_its_fingerprint(self, tmp_path):
        for name in ("A Ltd", "B Ltd"):
            keys.trust_root(tmp_path, identity(name)[1])
        first, second = keys.trusted_roots(tmp_path)
        wanted = certificates.read(first, "root")[0].sha256
        assert keys.distrust(tmp_path, wanted[:12].upper()) == wanted
        assert keys.trusted_roots(tmp_path) == (second,)
        with pytest.raises(RequestError, match="no trusted root"):
            keys.distrust(tmp_path, wanted)
        for bad in ("", "ab", "../../own/signing", "zz" * 8):
            with pytest.raises(RequestError, match="not a fingerprint"):
                keys.distrust(tmp_path, bad)

    def test_watermark_keys_of_others_are_looked_for_after_the_own_one(self, tmp_path):
        own = make(tmp_path / "keys")
        (tmp_path / "partner ltd.watermark").write_bytes(b"k" * 32)
        assert keys.trust_watermark_key(tmp_path / "keys", tmp_path / "partner ltd.watermark") == ("partner-ltd", True)
        assert keys.trust_watermark_key(tmp_path / "keys", tmp_path / "partner ltd.watermark") == ("partner-ltd", False)
        expected = (("Example Ltd", own.watermark_key), ("partner-ltd", b"k" * 32))
        assert keys.watermark_keys(tmp_path / "keys") == expected
        assert list(keys.problems(tmp_path / "keys")) == []
        (tmp_path / "partner ltd.watermark").write_bytes(b"x" * 32)
        with pytest.raises(RequestError, match="holds another key"):
            keys.trust_watermark_key(tmp_path / "keys", tmp_path / "partner ltd.watermark")

    def test_watermark_key_has_32_bytes(self, tmp_path):
        (tmp_path / "short").write_bytes(b"k" * 31)
        with pytest.raises(RequestError, match="31 bytes"):
            keys.trust_watermark_key(tmp_path / "keys", tmp_path / "short")
        assert not (tmp_path / "keys").exists()

    def test_giant_or_absent_file_is_refused(self, tmp_path):
        with (tmp_path / "giant").open("wb") as file:
            file.truncate(1 << 30)
        with pytest.raises(RequestError, match="1 MiB"):
            keys.read(tmp_path / "giant")
        for path in (tmp_path / "absent", tmp_path, Path("a\0b")):
            with pytest.raises(RequestError, match="cannot read"):
                keys.read(path)

    def test_what_a_killed_init_left_is_a_problem(self, tmp_path):
        (tmp_path / ".own-0123.tmp").mkdir()
        ((message, hint),) = keys.problems(tmp_path)
        assert "interrupted" in message
        assert hint == f"rm -r {shlex.quote(str(tmp_path / '.own-0123.tmp'))}"
        make(tmp_path)

    @pytest.mark.skipif(os.name == "nt", reason="no such permissions")
    def test_folder_that_others_can_write_is_a_problem(self, tmp_path):
        make(tmp_path / "keys")
        (tmp_path / "keys" / "own").chmod(0o777)
        ((message, hint),) = keys.problems(tmp_path / "keys")
        assert "written by others" in message
        assert hint.startswith("chmod go-w ")


_ROOT = identity()[1]


def test_extra_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MachineError, match="cryptography") as caught:
        make(tmp_path)
    assert caught.value.hint == "pip install 'imggen[c2pa]'"
    assert list(tmp_path.iterdir()) == []
