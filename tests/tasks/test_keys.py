"""Keys as tasks: what is made is shown, what is wrong is told, nothing secret leaves unasked."""

import os
import shlex
import sys
from datetime import UTC, datetime, timedelta

import pytest
from signers import identity, picture, statement

from imggen.errors import ImggenError, MachineError, RequestError
from imggen.output.provenance import keys as store
from imggen.output.provenance import signing
from imggen.tasks import keys
from imggen.tasks.keys import InitRequest


def init(place, **changes) -> keys.Shown:
    return keys.init(place, InitRequest(**({"organisation": "Example Ltd"} | changes)))


def replace_certificates(place, **dates) -> None:
    """Put certificates with other dates into the set."""
    made, root = identity(**dates)
    (place / "own" / "chain.pem").write_bytes(made.chain_pem)
    (place / "own" / "root.pem").write_bytes(root)
    (place / "own" / "signing.key").write_bytes(made.key_pem)


class TestInit:
    def test_what_is_made_is_shown(self, tmp_path):
        made = init(tmp_path, years=2)
        assert (made.organisation, made.signs_with, made.folder) == ("Example Ltd", "key", tmp_path)
        assert made.certificate.subject == "Example Ltd"
        assert made.certificate.issuer == made.root.subject == "Example Ltd, Example Ltd root"
        assert made.root.is_root
        assert not made.certificate.is_root
        assert 729 <= (made.certificate.ends - datetime.now(UTC)).days <= 731
        assert made.watermark_key == store.fingerprint(store.own_watermark_key(tmp_path))
        assert (made.trusted, made.notes, made.problems) == ((), (), ())
        assert keys.show(tmp_path) == made

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (InitRequest(), "an organisation's name"),
            (InitRequest(organisation="A", command=" "), "--command is empty"),
            (InitRequest(organisation="A", command="a 'b"), "cannot be read"),
            (InitRequest(organisation="A", command="sign"), "needs both"),
            (InitRequest(organisation="A", command="sign", years=3), "--years"),
        ],
    )
    def test_request_that_makes_no_sense_is_refused(self, tmp_path, request_, message):
        with pytest.raises(RequestError, match=message):
            keys.init(tmp_path / "keys", request_)
        assert list(tmp_path.iterdir()) == []

    def test_command_signs_once_before_anything_is_kept(self, tmp_path):
        made, _root = identity("Elsewhere Ltd")
        (tmp_path / "chain.pem").write_bytes(made.chain_pem)
        (tmp_path / "key.pem").write_bytes(made.key_pem)
        (tmp_path / "sign.py").write_text(
            "import sys\nfrom cryptography.hazmat.primitives import hashes, serialization\n"
            "from cryptography.hazmat.primitives.asymmetric import ec\n"
            "key = serialization.load_pem_private_key(open(sys.argv[1], 'rb').read(), None)\n"
            "sys.stdout.buffer.write(key.sign(sys.stdin.buffer.read(), ec.ECDSA(hashes.SHA256())))\n"
        )
        command = shlex.join((sys.executable, str(tmp_path / "sign.py"), str(tmp_path / "key.pem")))
        shown = keys.init(tmp_path / "keys", InitRequest(command=command, chain=tmp_path / "chain.pem"))
        assert (shown.organisation, shown.signs_with) == ("Elsewhere Ltd", command)
        with pytest.raises(ImggenError, match="exit code 1"):
            keys.init(tmp_path / "other", InitRequest(command="false", chain=tmp_path / "chain.pem"))
        assert not (tmp_path / "other").exists()

    def test_chain_that_cannot_be_read_is_named(self, tmp_path):
        with pytest.raises(RequestError, match="absent"):
            keys.init(tmp_path, InitRequest(command="false", chain=tmp_path / "absent.pem"))


class TestShow:
    def test_folder_without_keys_has_none_and_is_no_problem(self, tmp_path):
        shown = keys.show(tmp_path / "absent")
        assert (shown.organisation, shown.trusted, shown.problems) == (None, (), ())

    def test_certificate_that_ends_soon_is_a_note(self, tmp_path):
        init(tmp_path)
        replace_certificates(tmp_path, ends=datetime.now(UTC) + timedelta(days=89))
        shown = keys.show(tmp_path)
        assert "in 88 days" in shown.notes[0]
        assert shown.problems == ()

    def test_certificate_that_ended_is_a_problem(self, tmp_path):
        init(tmp_path)
        now = datetime.now(UTC)
        replace_certificates(tmp_path, begins=now - timedelta(days=9), ends=now - timedelta(days=1))
        shown = keys.show(tmp_path)
        assert "ended on" in shown.problems[0].message
        assert shown.notes == ()

    @pytest.mark.skipif(os.name == "nt", reason="no such permissions")
    def test_key_that_others_can_read_is_told_once_beside_all_the_rest(self, tmp_path):
        init(tmp_path)
        (tmp_path / "own" / "signing.key").chmod(0o644)
        shown = keys.show(tmp_path)
        assert [each.hint for each in shown.problems] == [f"chmod 600 {tmp_path / 'own' / 'signing.key'}"]
        assert shown.organisation == "Example Ltd"

    def test_damaged_file_is_a_problem_and_hides_nothing_else(self, tmp_path):
        init(tmp_path)
        keys.trust_root(tmp_path, tmp_path / "own" / "root.pem")
        (tmp_path / "own" / "chain.pem").write_text("damaged")
        shown = keys.show(tmp_path)
        assert "not a certificate" in shown.problems[0].message
        assert len(shown.trusted) == 1
        (tmp_path / "own" / "identity.toml").unlink()
        assert "identity.toml" in keys.show(tmp_path).problems[0].message


class TestSharing:
    def test_exported_root_makes_signatures_trusted_elsewhere(self, tmp_path):
        init(tmp_path / "a")
        keys.write_root(tmp_path / "a", tmp_path / "root.pem")
        assert b"PRIVATE" not in (tmp_path / "root.pem").read_bytes()
        trusted = keys.trust_root(tmp_path / "b", tmp_path / "root.pem")
        assert trusted.added
        assert trusted.certificate == keys.show(tmp_path / "a").root == keys.show(tmp_path / "b").trusted[0]
        assert not keys.trust_root(tmp_path / "b", tmp_path / "root.pem").added
        data = signing.sign(picture("png"), "png", statement(), store.load(tmp_path / "a"))
        assert signing.read(data, "png", store.roots(tmp_path / "b")).state == "trusted"
        keys.distrust(tmp_path / "b", trusted.certificate.sha256)
        assert signing.read(data, "png", store.roots(tmp_path / "b")).state == "valid"

    def test_export_replaces_no_file_with_other_contents(self, tmp_path):
        init(tmp_path / "a")
        keys.write_root(tmp_path / "a", tmp_path / "root.pem")
        keys.write_root(tmp_path / "a", tmp_path / "root.pem")
        (tmp_path / "root.pem").write_text("theirs")
        with pytest.raises(RequestError, match="exists"):
            keys.write_root(tmp_path / "a", tmp_path / "root.pem")
        assert (tmp_path / "root.pem").read_text() == "theirs"
        with pytest.raises(RequestError, match="cannot write"):
            keys.write_root(tmp_path / "a", tmp_path / "absent" / "root.pem")

    def test_nothing_is_exported_where_no_keys_are(self, tmp_path):
        for act in (keys.export_root, lambda place: keys.write_watermark_key(place, tmp_path / "key")):
            with pytest.raises(RequestError, match="no keys") as caught:
                act(tmp_path)
            assert caught.value.hint == 'imggen keys init --organisation "Example Ltd"'

    def test_watermark_key_travels_closed_to_others(self, tmp_path):
        init(tmp_path / "a")
        fingerprint = keys.write_watermark_key(tmp_path / "a", tmp_path / "example.watermark")
        if os.name != "nt":
            assert (tmp_path / "example.watermark").stat().st_mode & 0o777 == 0o600
        with pytest.raises(RequestError, match="exists"):
            keys.write_watermark_key(tmp_path / "a", tmp_path / "example.watermark")
        trusted = keys.trust_watermark_key(tmp_path / "b", tmp_path / "example.watermark")
        assert trusted.watermark_key == ("example", fingerprint)
        assert keys.show(tmp_path / "b").watermark_keys == (("example", fingerprint),)
        assert store.watermark_keys(tmp_path / "b")[0][1] == store.own_watermark_key(tmp_path / "a")

    def test_root_that_ended_is_trusted_with_a_note(self, tmp_path):
        now = datetime.now(UTC)
        root = identity(begins=now - timedelta(days=9), ends=now - timedelta(days=1))[1]
        (tmp_path / "old.pem").write_bytes(root)
        trusted = keys.trust_root(tmp_path / "keys", tmp_path / "old.pem")
        assert "ended on" in trusted.notes[0]
        assert "ended on" in keys.show(tmp_path / "keys").notes[0]


def test_extra_that_is_missing_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MachineError, match="c2pa-python") as caught:
        init(tmp_path / "keys")
    assert caught.value.hint == "pip install 'imggen[c2pa]'"
    assert not (tmp_path / "keys").exists()
