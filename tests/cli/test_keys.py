"""`imggen keys`: made once, shown without a secret, given to others."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from imggen.output.provenance import certificates


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep keys in the test's own folder."""
    monkeypatch.setenv("IMGGEN_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


@pytest.fixture
def made(run):
    ended = run("keys", "init", "--organisation", "Example Ltd")
    assert ended.code == 0
    return ended


def test_init_shows_what_it_made_and_how_others_trust_it(made, folder):
    assert made.lines[0] == f"folder: {folder}"
    assert any(line.startswith("organisation: Example Ltd, since ") for line in made.lines)
    assert "imggen keys trust root.pem" in made.err
    assert (folder / "own" / "signing.key").exists()


def test_second_init_is_refused_and_changes_nothing(made, run, folder):
    before = {path.name: path.read_bytes() for path in (folder / "own").iterdir()}
    ended = run("keys", "init", "--organisation", "Other Ltd")
    assert (ended.code, ended.out) == (2, b"")
    assert "never overwritten" in ended.err
    assert before == {path.name: path.read_bytes() for path in (folder / "own").iterdir()}


def test_show_tells_no_secret(made, run, folder):
    secret = (folder / "own" / "signing.key").read_text().splitlines()[1]
    for arguments in ((), ("--json",)):
        ended = run("keys", "show", *arguments)
        assert ended.code == 0
        assert secret not in ended.out.decode()
        assert (folder / "own" / "watermark.key").read_bytes().hex() not in ended.out.decode()
    facts = json.loads(ended.out)
    assert (facts["organisation"], facts["signs_with"], facts["folder"]) == ("Example Ltd", "key", str(folder))
    assert facts["certificate"]["ends"].endswith("+00:00")
    assert len(facts["root"]["sha256"]) == 64
    assert (facts["trusted"], facts["watermark_keys"], facts["problems"]) == ([], [], [])


def test_show_without_keys_says_how_to_make_some(run):
    ended = run("keys", "show")
    assert ended.code == 0
    assert 'imggen keys init --organisation "Example Ltd"' in ended.lines[1]
    assert json.loads(run("keys", "show", "--json").out)["organisation"] is None


@pytest.mark.skipif(os.name == "nt", reason="no such permissions")
def test_key_that_others_can_read_ends_show_with_5_and_what_to_paste(made, run, folder):
    (folder / "own" / "signing.key").chmod(0o644)
    ended = run("keys", "show")
    assert ended.code == 5
    assert f"hint: chmod 600 {folder / 'own' / 'signing.key'}" in ended.err
    assert json.loads(run("keys", "show", "--json").out)["problems"]


def test_root_goes_from_one_to_another(made, run, tmp_path, monkeypatch):
    pem = run("keys", "export").out
    assert pem.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in pem
    assert run("keys", "export", "-o", "root.pem").lines == ["root.pem"]
    assert (tmp_path / "root.pem").read_bytes() == pem
    monkeypatch.setenv("IMGGEN_KEYS", str(tmp_path / "theirs"))
    facts = json.loads(run("keys", "trust", "root.pem", "--json").out)
    assert facts["added"]
    assert facts["certificate"]["subject"] == "Example Ltd, Example Ltd root"
    assert run("keys", "trust", "root.pem").lines[0].startswith("trusted already: Example Ltd")
    fingerprint = facts["certificate"]["sha256"]
    assert run("keys", "trust", "--remove", fingerprint[:10]).lines == [f"not trusted any more: {fingerprint}"]
    assert run("keys", "trust", "--remove", fingerprint[:10]).code == 2


def test_private_key_is_never_trusted(made, run, folder):
    ended = run("keys", "trust", folder / "own" / "signing.key")
    assert ended.code == 2
    assert "PRIVATE KEY" in ended.err
    assert not (folder / "trusted").exists()


def test_watermark_key_is_given_on_request_only(made, run, tmp_path, monkeypatch):
    ended = run("keys", "export", "--watermark-key", "example.watermark")
    assert ended.lines == ["example.watermark"]
    assert "forge" in ended.err
    assert run("keys", "export", "--watermark-key", "b", "-o", "a").code == 2
    monkeypatch.setenv("IMGGEN_KEYS", str(tmp_path / "theirs"))
    assert (
        run("keys", "trust", "--watermark-key", "example.watermark")
        .lines[0]
        .startswith("trusted: the watermark key example, ")
    )


@pytest.mark.parametrize("arguments", [(), ("a.pem", "--remove", "aa"), ("a.pem", "--watermark-key", "b")])
def test_trust_wants_one_thing(run, arguments):
    ended = run("keys", "trust", *arguments)
    assert ended.code == 2
    assert "one thing" in ended.err


def test_names_of_strangers_cannot_command_the_terminal(run, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = certificates._name("Evil\x1b[2J Ltd", "Evil")
    span = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=400)
    root = certificates._begun(name, name, key.public_key(), span).sign(key, hashes.SHA256())
    (tmp_path / "evil.pem").write_bytes(certificates._pem(root))
    assert run("keys", "trust", "evil.pem").code == 0
    for arguments in (("trust", "evil.pem"), ("show",)):
        printed = run("keys", *arguments).out
        assert b"\x1b" not in printed
        assert b"Evil\\x1b[2J Ltd" in printed


def test_help_loads_neither_the_sdk_nor_cryptography():
    code = (
        "import sys\nfrom imggen.cli.app import main\nsys.argv[1:] = sys.argv[1].split()\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(str([name for name in ('c2pa', 'cryptography', 'PIL') if name in sys.modules]))"
    )
    for words in ("keys --help", "keys init --help", "keys trust --help"):
        done = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, check=True)
        assert done.stderr == "[]"
        assert done.stdout.startswith("Usage: imggen keys")
