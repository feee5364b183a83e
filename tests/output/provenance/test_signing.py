"""Signatures: what is signed reads back as it was said, and nothing can be changed unseen."""

import builtins
import contextlib
import hashlib
import io
import json
import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from signers import COMPOSITE, FORMATS, SYNTHETIC, edit, identity, picture, pixels, statement, with_chunk

from imggen.errors import EXIT_MACHINE, ImggenError, MachineError, RequestError
from imggen.output.provenance import keys, signing
from imggen.output.provenance.signing import Parent, SignedIngredient


@pytest.fixture(scope="module")
def ours():
    return identity()


@pytest.fixture(scope="module")
def signed(ours):
    """Return a signed PNG, made once."""
    return signing.sign(picture("png"), "png", statement(), ours[0])


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def manifests(data: bytes) -> list[dict]:
    """Return every manifest in the file as the SDK itself tells them, the active one last."""
    import c2pa

    with (
        c2pa.Context.from_dict(signing._settings(())) as context,
        c2pa.Reader("image/png", io.BytesIO(data), context=context) as reader,
    ):
        store = json.loads(reader.json())
    return sorted(store["manifests"].values(), key=lambda each: each["label"] == store["active_manifest"])


class TestSigning:
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_signed_file_is_intact_and_its_picture_untouched(self, ours, file_format):
        plain = picture(file_format)
        data = signing.sign(plain, file_format, statement(), ours[0])
        assert pixels(data) == pixels(plain)
        assert len(data) - len(plain) < 6000
        assert signing.read(plain, file_format) is None
        found = signing.read(data, file_format)
        assert (found.state, found.codes) == ("valid", ("signingCredential.untrusted",))
        assert signing.read(data, file_format, [ours[1]]).state == "trusted"

    def test_everything_that_was_said_reads_back(self, ours):
        told = statement(
            guid="urn:uuid:6f1a",
            watermark_id="0011aabbccdd",
            prompt_sha256="ab" * 32,
            settings={"seed": 2**64 - 1, "steps": 4, "guidance": 2.5, "sampler": "euler", "odd": float("inf")},
            mining="notAllowed",
        )
        data = signing.sign(picture("png"), "png", told, ours[0])
        found = signing.read(data, "png")
        assert (found.signer, found.common_name, found.issuer) == ("Example Ltd", "Example Ltd", "Example Ltd root")
        assert (found.generator, found.title) == ("imggen 1.2.3", "apple.png")
        assert (found.source_type, found.model, found.when) == (SYNTHETIC, "org/model", "2026-11-26T12:00:00Z")
        assert (found.guid, found.watermark_id) == ("urn:uuid:6f1a", "0011aabbccdd")
        assert (found.prompt_sha256, found.mining) == ("ab" * 32, "notAllowed")
        assert found.actions == ("c2pa.created", "c2pa.watermarked.unbound")
        assert (found.ingredients, found.expired) == ((), False)
        (manifest,) = manifests(data)
        said = {each["label"]: each["data"] for each in manifest["assertions"]}
        assert said["dev.imggen.generation"]["settings"] == {
            "seed": str(2**64 - 1),
            "steps": 4,
            "guidance": 2.5,
            "sampler": "euler",
            "odd": "inf",
        }
        assert said["cawg.metadata"]["Iptc4xmpExt:AISystemUsed"] == "imggen (org/model)"
        assert said["cawg.metadata"]["Iptc4xmpExt:DigImageGUID"] == "urn:uuid:6f1a"
        names = ("ai_generative_training", "ai_training", "data_mining")
        assert said["cawg.training-mining"] == {"entries": {f"cawg.{name}": {"use": "notAllowed"} for name in names}}
        assert "thumbnail" not in json.dumps(manifest)

    def test_certificates_number_tells_signers_of_one_name_apart(self, ours, signed):
        (leaf, _root) = keys.certificates.read(ours[0].chain_pem, "chain")
        assert signing.read(signed, "png").serial == leaf.serial

    def test_nothing_is_said_of_mining_unless_it_is_asked_for(self, signed):
        assert signing.read(signed, "png").mining is None
        assert b"training-mining" not in signed

    @pytest.mark.parametrize("title", ["", "a\0b.png", "caf\udce9.png", "\u202eevil \U0001f34e\n.png", "x" * 5000])
    def test_any_name_of_a_file_can_be_a_title(self, ours, title):
        data = signing.sign(picture("png"), "png", statement(title=title), ours[0])
        found = signing.read(data, "png")
        assert found.state == "valid"
        assert len(found.title or "") <= 1000

    @pytest.mark.parametrize(
        "root", [b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
    )
    def test_root_that_is_no_certificate_is_refused(self, signed, root):
        with pytest.raises(RequestError, match="not a certificate"):
            signing.read(signed, "png", [root])

    def test_somebody_elses_root_trusts_nothing_of_ours(self, signed, ours):
        other = identity("Example Ltd")[1]
        assert signing.read(signed, "png", [other]).state == "valid"
        assert signing.read(signed, "png", [other, ours[1]]).state == "trusted"

    def test_manifest_of_the_file_itself_gives_way(self, ours, signed):
        again = signing.sign(signed, "png", statement(title="second.png"), ours[0])
        assert [each["title"] for each in manifests(again)] == ["second.png"]

    def test_many_threads_sign_at_once(self, ours):
        def one(number: int) -> str:
            data = signing.sign(picture("png"), "png", statement(title=f"{number}.png"), ours[0])
            return signing.read(data, "png", [ours[1]]).title

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(one, range(32))) == [f"{number}.png" for number in range(32)]

    def test_file_that_is_no_picture_is_an_error_and_not_a_crash(self, ours):
        with pytest.raises(ImggenError, match="could not be signed"):
            signing.sign(b"no picture", "png", statement(), ours[0])

    def test_broken_signature_is_never_handed_out(self, ours, monkeypatch):
        broken = signing.Validation(state="invalid", codes=("assertion.dataHash.mismatch",))
        monkeypatch.setattr(signing, "read", lambda *_args: broken)
        with pytest.raises(ImggenError, match=r"does not hold \(assertion.dataHash.mismatch\)"):
            signing.sign(picture("png"), "png", statement(), ours[0])

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_picture_that_signing_changed_is_never_handed_out(self, ours, file_format):
        data = signing.sign(picture(file_format), file_format, statement(), ours[0])
        signing._check_signed(picture(file_format), data, file_format)
        with pytest.raises(ImggenError, match="changed the picture"):
            signing._check_signed(picture(file_format, 141), data, file_format)

    def test_key_of_another_certificate_is_refused(self):
        wrong = identity(key_pem=identity()[0].key_pem)[0]
        with pytest.raises(MachineError, match="does not belong to the certificate"):
            signing.sign(picture("png"), "png", statement(), wrong)

    @pytest.mark.parametrize("key", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
    def test_key_that_is_none_is_refused(self, key):
        with pytest.raises(MachineError, match="cannot be read"):
            signing.sign(picture("png"), "png", statement(), identity(key_pem=key)[0])

    def test_failing_command_is_quoted_and_leaves_no_noise(self, ours, caplog):
        wrong = replace(ours[0], key_pem=None, command=("false",))
        with caplog.at_level(logging.DEBUG), pytest.raises(ImggenError, match="'false' failed with exit code 1"):
            signing.sign(picture("png"), "png", statement(), wrong)
        assert caplog.records == []

    def test_interruption_inside_the_sdk_is_not_lost(self, ours, monkeypatch):
        def interrupt(*_args: object) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(keys, "sign", interrupt)
        with pytest.raises(KeyboardInterrupt):
            signing.sign(picture("png"), "png", statement(), replace(ours[0], command=("never",)))


class TestTampering:
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_one_changed_byte_of_the_picture_is_seen(self, ours, file_format):
        plain = picture(file_format)
        data = signing.sign(plain, file_format, statement(), ours[0])
        # The picture's own bytes, found in the signed file: 16 of them from the middle of the plain one's picture.
        middle = plain.index(b"IDAT") + 30 if file_format == "png" else len(plain) * 2 // 3
        at = data.index(plain[middle : middle + 16])
        found = signing.read(flipped(data, at), file_format, [ours[1]])
        assert found.state == "invalid"
        assert any(code.endswith("Hash.mismatch") for code in found.codes), found.codes

    def test_added_text_is_seen(self, signed, ours):
        found = signing.read(with_chunk(signed), "png", [ours[1]])
        assert (found.state, found.codes) == ("invalid", ("assertion.dataHash.mismatch",))
        assert found.signer == "Example Ltd"

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_no_change_inside_the_manifest_passes_for_intact(self, ours, file_format):
        data = signing.sign(picture(file_format), file_format, statement(guid="urn:uuid:1"), ours[0])
        for word in (b"org/model", b"apple.png", b"urn:uuid:1", b"trainedAlgorithmicMedia"):
            found = signing.read(flipped(data, data.index(word)), file_format, [ours[1]])
            assert found.state == "invalid", word
            assert found.codes

    @pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9, 0.999])
    @pytest.mark.parametrize("file_format", FORMATS)
    def test_cut_file_is_never_intact(self, ours, file_format, share):
        data = signing.sign(picture(file_format), file_format, statement(), ours[0])
        found = signing.read(data[: int(len(data) * share)], file_format, [ours[1]])
        assert found is None or found.state == "invalid"

    def test_damaged_manifest_is_invalid_and_says_that_it_cannot_be_read(self, signed):
        found = signing.read(signed[: len(signed) // 2], "png")
        assert (found.state, found.codes) == ("invalid", (signing.UNREADABLE,))

    def test_cut_file_without_a_manifest_has_none(self):
        assert signing.read(picture("png")[:60], "png") is None
        assert signing.read(b"", "png") is None

    @settings(max_examples=150, deadline=None)
    @given(seed=st.integers(0, 2**32), file_format=st.sampled_from(FORMATS))
    def test_noise_in_a_signed_file_neither_crashes_nor_passes(self, seed, file_format):
        data = bytearray(_signed_once(file_format))
        chance = random.Random(seed)
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        started = time.monotonic()
        found = signing.read(bytes(data), file_format)
        assert time.monotonic() - started < 5
        # The signature has room to spare that nothing covers; what is said and shown is covered.
        if found is not None and found.state != "invalid":
            assert found == signing.read(_signed_once(file_format), file_format)
            # A checksum over that room makes some readers refuse the file.
            with contextlib.suppress(OSError):
                assert pixels(bytes(data)) == pixels(_signed_once(file_format))

    def test_manifest_moved_to_another_picture_is_seen(self, ours, signed):
        at, end = signed.index(b"caBX") - 4, signed.index(b"caBX") + 4
        end += int.from_bytes(signed[at : at + 4]) + 4
        other = picture("png", 99)
        found = signing.read(other[:33] + signed[at:end] + other[33:], "png", [ours[1]])
        assert found.state == "invalid"


_kept: dict[str, bytes] = {}


def _signed_once(file_format: str) -> bytes:
    if file_format not in _kept:
        _kept[file_format] = signing.sign(picture(file_format), file_format, statement(), identity()[0])
    return _kept[file_format]


class TestParents:
    def test_parents_manifest_is_kept(self, ours, signed):
        parent = Parent(data=signed, format="png", title="in.png")
        child = signing.sign(picture("jpeg"), "jpeg", edit(parent), ours[0])
        found = signing.read(child, "jpeg", [ours[1]])
        assert found.state == "trusted"
        assert found.actions == ("c2pa.opened", "c2pa.edited")
        assert found.source_type == COMPOSITE
        assert found.ingredients == (SignedIngredient(title="in.png", relationship="parentOf", state="trusted"),)
        assert [each["title"] for each in manifests(child)] == ["apple.png", "apple.png"]

    def test_parent_without_a_manifest_is_named_all_the_same(self, ours):
        parent = Parent(data=picture("webp"), format="webp", title="photo.webp")
        found = signing.read(signing.sign(picture("png"), "png", edit(parent), ours[0]), "png")
        assert found.state == "valid"
        assert found.ingredients == (SignedIngredient(title="photo.webp", relationship="parentOf", state="unsigned"),)

    def test_strangers_parent_is_valid_until_its_root_is_trusted(self, ours):
        other, root = identity("Stranger Ltd")
        parent = Parent(data=signing.sign(picture("png"), "png", statement(), other), format="png", title="in.png")
        child = signing.sign(picture("png"), "png", edit(parent), ours[0])
        assert signing.read(child, "png", [ours[1]]).ingredients[0].state == "valid"
        assert signing.read(child, "png", [ours[1], root]).ingredients[0].state == "trusted"

    def test_tampered_parent_is_kept_and_told_of(self, ours, signed):
        parent = Parent(data=with_chunk(signed), format="png", title="in.png")
        child = signing.sign(picture("png"), "png", edit(parent), ours[0])
        found = signing.read(child, "png", [ours[1]])
        assert found.state == "trusted"
        assert found.ingredients[0].state == "invalid"
        assert len(manifests(child)) == 2

    def test_change_of_the_parents_manifest_in_the_child_is_seen(self, ours, signed):
        parent = Parent(data=signed, format="png", title="in.png")
        child = signing.sign(picture("png"), "png", edit(parent, title="child.png"), ours[0])
        assert signing.read(flipped(child, child.index(b"apple.png")), "png", [ours[1]]).state == "invalid"

    def test_several_parents_are_one_opened_and_the_others_placed(self, ours, signed):
        parents = (
            Parent(data=signed, format="png", title="a.png"),
            Parent(data=picture("jpeg"), format="jpeg", title="b.jpg", relationship="componentOf"),
            Parent(data=signed, format="png", title="style.png", relationship="inputTo"),
        )
        found = signing.read(signing.sign(picture("png"), "png", edit(*parents), ours[0]), "png", [ours[1]])
        assert found.state == "trusted"
        assert found.actions == ("c2pa.opened", "c2pa.placed", "c2pa.edited")
        told = {(each.title, each.relationship, each.state) for each in found.ingredients}
        assert told == {
            ("a.png", "parentOf", "trusted"),
            ("b.jpg", "componentOf", "unsigned"),
            ("style.png", "inputTo", "trusted"),
        }

    def test_picture_that_was_only_looked_at_leaves_the_new_one_created(self, ours):
        parent = Parent(data=picture("png"), format="png", title="style.png", relationship="inputTo")
        found = signing.read(signing.sign(picture("png"), "png", statement(parents=(parent,)), ours[0]), "png")
        assert found.state == "valid"
        assert found.actions == ("c2pa.created",)

    @pytest.mark.parametrize("action", ["edited", "edited.metadata", "enhanced", "resized", "resized.proportional"])
    def test_every_action_is_one_that_holds(self, ours, signed, action):
        told = edit(
            Parent(data=signed, format="png", title="in.png"),
            action=action,
            watermark_id="00aa",
            description="enlarged 4 times",
        )
        found = signing.read(signing.sign(picture("png"), "png", told, ours[0]), "png", [ours[1]])
        assert found.state == "trusted"
        marked = () if action == "edited.metadata" else ("c2pa.watermarked.unbound",)
        assert found.actions == ("c2pa.opened", f"c2pa.{action}", *marked)

    def test_parents_of_every_format_are_taken(self, ours):
        for file_format in FORMATS:
            parent = Parent(data=picture(file_format), format=file_format, title="in")
            assert signing.read(signing.sign(picture("png"), "png", edit(parent), ours[0]), "png").state == "valid"

    @pytest.mark.parametrize("file_format", FORMATS)
    def test_parent_with_a_manifest_too_damaged_to_keep_is_told_of(self, ours, file_format):
        whole = signing.sign(picture(file_format), file_format, statement(), ours[0])
        damaged = flipped(whole, whole.index(b"c2pa.claim") - 12)
        parent = Parent(data=damaged, format=file_format, title="in")
        child = signing.sign(picture("png"), "png", edit(parent), ours[0])
        found = signing.read(child, "png", [ours[1]])
        assert found.state == "trusted"
        assert found.ingredients == (SignedIngredient(title="in", relationship="parentOf", state="invalid"),)
        assert hashlib.sha256(damaged).hexdigest() in json.dumps(manifests(child))

    def test_parent_that_only_other_readers_take_is_named_all_the_same(self, ours):
        parent = Parent(data=picture("avif") + b"trailing", format="avif", title="in.avif")
        found = signing.read(signing.sign(picture("png"), "png", edit(parent), ours[0]), "png")
        assert found.ingredients == (SignedIngredient(title="in.avif", relationship="parentOf", state="unsigned"),)

    def test_edit_of_a_picture_that_says_no_source_type_says_none(self, ours):
        parent = Parent(data=picture("png"), format="png", title="in.png")
        told = edit(parent, action="edited.metadata", source_type=None)
        found = signing.read(signing.sign(picture("png"), "png", told, ours[0]), "png")
        assert (found.state, found.source_type) == ("valid", None)
        with pytest.raises(ValueError, match="source type"):
            signing.sign(picture("png"), "png", statement(source_type=None), ours[0])

    def test_line_of_parents_grows_without_losing_one(self, ours):
        data = signing.sign(picture("png"), "png", statement(), ours[0])
        for number in range(6):
            parent = Parent(data=data, format="png", title=f"{number}.png")
            data = signing.sign(picture("png", number), "png", edit(parent), ours[0])
        assert len(manifests(data)) == 7
        assert signing.read(data, "png", [ours[1]]).state == "trusted"

    def test_source_type_is_found_up_the_line_of_parents(self):
        act = {"label": "c2pa.actions.v2", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": "x"}]}}
        cropped = {"ingredients": [{"relationship": "parentOf", "active_manifest": "a"}]}
        assert signing._source_type({"a": {"assertions": [act]}}, cropped) == "x"
        loop = {"ingredients": [{"relationship": "parentOf", "active_manifest": "loop"}]}
        assert signing._source_type({"loop": loop}, loop) is None

    @pytest.mark.parametrize("told", [edit(), statement(parents=(Parent(data=b"", format="png", title="a"),))])
    def test_created_has_no_parent_and_edited_has_one(self, ours, told):
        with pytest.raises(ValueError, match="parents"):
            signing.sign(picture("png"), "png", told, ours[0])


class TestDates:
    def test_certificate_that_ended_signs_nothing_and_says_since_when(self):
        ended = datetime.now(UTC) - timedelta(days=2)
        late = identity(begins=ended - timedelta(days=30), ends=ended)[0]
        with pytest.raises(MachineError, match=f"ended on {ended:%Y-%m-%d}") as caught:
            signing.sign(picture("png"), "png", statement(), late)
        assert caught.value.exit_code == EXIT_MACHINE
        assert 'imggen keys init --organisation "Example Ltd"' in caught.value.hint.replace("'", '"')

    def test_certificate_that_does_not_hold_yet_signs_nothing(self):
        begins = datetime.now(UTC) + timedelta(days=3)
        with pytest.raises(MachineError, match=f"begins on {begins:%Y-%m-%d}"):
            signing.sign(picture("png"), "png", statement(), identity(begins=begins)[0])

    def test_signature_dies_with_its_certificate(self):
        # Certificates count in whole seconds.
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
        brief, root = identity(ends=ends)
        data = signing.sign(picture("png"), "png", statement(), brief)
        time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds() + 1.1))
        found = signing.read(data, "png", [root])
        assert (found.state, found.expired) == ("invalid", True)


class _Counting(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hits.append(self.path)
        self.send_error(404)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server():
    """Serve nothing on this machine, and count who asks."""
    with HTTPServer(("127.0.0.1", 0), _Counting) as server:
        server.hits = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestNetwork:
    def remote(self, server) -> bytes:
        address = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
            f'dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>'
        )
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet)
        made = io.BytesIO()
        Image.new("RGB", (8, 8)).save(made, "PNG", pnginfo=text)
        return made.getvalue()

    def test_manifest_elsewhere_is_not_fetched(self, server, ours):
        data = self.remote(server)
        assert signing.read(data, "png", [ours[1]]) is None
        parent = Parent(data=data, format="png", title="in.png")
        signing.sign(picture("png"), "png", edit(parent), ours[0])
        assert server.hits == []

    def test_the_test_above_would_notice_a_fetch(self, server):
        import c2pa

        allowed = {"verify": {"remote_manifest_fetch": True}}
        with c2pa.Context.from_dict(allowed) as context, pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/png", io.BytesIO(self.remote(server)), context=context)
        assert server.hits == ["/manifest.c2pa"]


def test_extra_that_is_missing_is_named(monkeypatch, ours, signed):
    import sys

    monkeypatch.setitem(sys.modules, "c2pa", None)
    for act in (
        lambda: signing.read(signed, "png"),
        lambda: signing.sign(picture("png"), "png", statement(), ours[0]),
    ):
        with pytest.raises(MachineError, match="c2pa-python") as caught:
            act()
        assert caught.value.hint == "pip install 'imggen[c2pa]'"


def test_proof_says_why_an_identity_cannot_sign(ours):
    signing.prove(ours[0])
    with pytest.raises(ImggenError, match="does not belong"):
        signing.prove(identity(key_pem=identity()[0].key_pem)[0])


class _Sdk:
    """An SDK that reads the store that it is given, and keeps what it is asked to write."""

    class C2paError(Exception):
        pass

    class C2paSigningAlg:
        ES256 = "es256"

    def __init__(self, store=None, details=None, failure=None):
        self.store, self.details, self.failure = store, details, failure
        self.settings, self.definitions, self.ingredients, self.mimes = [], [], [], []
        self.Context = self.Signer = self

    def from_dict(self, chosen):
        self.settings.append(chosen)
        return contextlib.nullcontext()

    def C2paSignerInfo(self, **signer):  # noqa: N802
        return signer

    def from_info(self, signer):
        self.signer = signer
        return contextlib.nullcontext()

    def __enter__(self):
        return self

    def __exit__(self, *_failure):
        pass

    def Reader(self, mime, _stream, *, context):  # noqa: N802
        self.mimes.append(mime)
        if self.failure:
            raise self.failure
        return self

    def json(self):
        return json.dumps(self.store)

    def crjson(self):
        return json.dumps(self.details)

    def Builder(self, definition, _context):  # noqa: N802
        self.definitions.append(json.loads(definition))
        return self

    def add_ingredient(self, ingredient, mime, stream):
        self.ingredients.append((ingredient, mime))
        if stream.read() == b"damaged" and mime != "application/octet-stream":
            raise self.C2paError("damaged")

    def sign(self, _signer, mime, _data, _signed):
        self.mimes.append(mime)
        raise self.failure or self.C2paError("Other: the certificate is wrong\nand so on")


@pytest.fixture
def sdk(monkeypatch):
    """Return a function that puts an SDK in the place of the installed one."""

    def put(*values, **named):
        fake = _Sdk(*values, **named)
        monkeypatch.setattr(signing, "_sdk", lambda: fake)
        return fake

    return put


def acts(*done, label="c2pa.actions.v2"):
    return {"label": label, "data": {"actions": list(done)}}


def store_of(manifest, **others):
    return {"active_manifest": "m", "manifests": {"m": manifest, **others.pop("manifests", {})}, **others}


GENERATION = "dev.imggen.generation"
FAILED = {"code": "assertion.dataHash.mismatch", "url": "self#jumbf=/c2pa/p/x"}
UNTRUSTED = {"code": "signingCredential.untrusted", "url": "self#jumbf=/c2pa/p/x"}
TRUSTED = {"code": "signingCredential.trusted", "url": "self#jumbf=/c2pa/p/x"}


def mined(owner, **uses):
    entries = {f"{owner}.{name}": {"use": use} for name, use in uses.items()}
    return {"label": f"{owner}.training-mining", "data": {"entries": entries}}


def found_then(**results):
    return {"active_manifest": "p", "validation_results": {"activeManifest": results}}


def found_since(**results):
    return {"validation_results": {"ingredientDeltas": [{"validationDeltas": results}]}}


class TestReading:
    """What a stranger's manifest says is read for what it is, whatever stands where."""

    @pytest.mark.parametrize(
        ("store", "read"),
        [
            ({}, {"state": "invalid", "codes": (), "title": None, "ingredients": (), "actions": ()}),
            ([], {"state": "invalid", "generator": None, "mining": None}),
            ({"validation_state": "Trusted"}, {"state": "trusted"}),
            ({"validation_state": "Valid"}, {"state": "valid"}),
            ({"validation_state": "Invalid"}, {"state": "invalid"}),
            ({"active_manifest": 1, "manifests": {"m": {"title": "x"}}}, {"title": None}),
            (store_of({"title": "t" * 2000}), {"title": "t" * 1000}),
            (store_of({"title": 5}), {"title": None}),
            (
                {"validation_status": [{"code": "a"}, {"code": 1}, "x", {"code": "b"}, {"code": "a"}, {"code": ""}]},
                {"codes": ("a", "b"), "expired": False, "is_changed": False},
            ),
            ({"validation_status": [{"code": "signingCredential.expired"}]}, {"expired": True, "is_changed": False}),
            ({"validation_status": [{"code": "claimSignature.outsideValidity"}]}, {"expired": True}),
            *(
                ({"validation_status": [{"code": f"assertion.{code}"}]}, {"is_changed": True, "expired": False})
                for code in ("x.mismatch", "hashedURI.x", "missing", "unreadable", "inaccessible", "notRedacted")
            ),
            (store_of({"claim_generator_info": [{}, {"name": "n", "version": "1"}]}), {"generator": "n 1"}),
            (store_of({"claim_generator_info": [{"name": "n"}], "claim_generator": "c"}), {"generator": "n"}),
            (store_of({"claim_generator": "c"}), {"generator": "c"}),
            (
                store_of(
                    {
                        "assertions": [
                            acts({"action": "old"}, label="c2pa.actions"),
                            acts(
                                {"action": "a", "when": "1", "softwareAgent": {"name": "n"}, "digitalSourceType": "s"},
                                {"action": "b", "when": "2", "softwareAgent": "plain"},
                            ),
                            acts({"action": "second of a label"}),
                        ]
                    }
                ),
                {"actions": ("a", "b", "old"), "when": "2", "model": "n", "source_type": "s"},
            ),
            (
                store_of(
                    {
                        "assertions": [
                            {"label": GENERATION, "data": {"guid": "g", "watermark_id": "w", "prompt_sha256": "p"}}
                        ]
                    }
                ),
                {"guid": "g", "watermark_id": "w", "prompt_sha256": "p", "source_type": None, "model": None},
            ),
            *(
                (store_of({"assertions": [mined(owner, **{name: "u"})]}), {"mining": "u"})
                for owner in ("cawg", "c2pa")
                for name in ("ai_generative_training", "ai_training", "data_mining")
            ),
            (
                store_of({"assertions": [mined("c2pa", data_mining="2"), mined("cawg", data_mining="1")]}),
                {"mining": "1"},
            ),
            (store_of({"assertions": [mined("cawg", ai_inference="x")]}), {"mining": None}),
        ],
    )
    def test_what_the_manifest_says(self, sdk, store, read):
        sdk(store, {})
        validation = signing.read(b"", "png")
        assert {name: getattr(validation, name) for name in read} == read

    @pytest.mark.parametrize(
        ("certificate", "names"),
        [
            (
                {"subject": {"O": "o", "CN": "c"}, "issuer": {"O": "io", "CN": "ic"}, "serialNumber": "7"},
                ("o", "c", "ic", "7"),
            ),
            ({"subject": {"CN": "c"}, "issuer": {"O": "io"}}, ("c", "c", "io", None)),
            ({}, (None, None, None, None)),
        ],
    )
    def test_the_signer_is_the_one_of_the_active_manifest(self, sdk, certificate, names):
        def signed_by(label, info):
            return {"label": label, "signature": {"certificateInfo": info}}

        details = {"manifests": [signed_by("other", {"subject": {"O": "x"}}), signed_by("m", certificate)]}
        sdk(store_of({}), details)
        validation = signing.read(b"", "png")
        assert (validation.signer, validation.common_name, validation.issuer, validation.serial) == names

    @pytest.mark.parametrize(
        ("before", "since", "state"),
        [
            ({}, {}, "unsigned"),
            (found_then(), {}, "valid"),
            (found_then(success=[TRUSTED]), {}, "trusted"),
            (found_then(failure=[UNTRUSTED]), {}, "valid"),
            (found_then(failure=[UNTRUSTED]), found_since(success=[TRUSTED]), "trusted"),
            (found_then(failure=[FAILED], success=[TRUSTED]), {}, "invalid"),
            (found_then(success=[TRUSTED]), found_since(failure=[FAILED]), "invalid"),
            (found_then(failure=[FAILED | {"url": "self#jumbf=/c2pa/other"}]), {}, "valid"),
            (found_then(failure=[FAILED | {"url": None}, {"url": "/p"}]), {}, "valid"),
        ],
    )
    def test_an_ingredient_is_worth_what_its_manifest_was_found_to_be(self, sdk, before, since, state):
        ingredient = {"title": "t", "relationship": "inputTo", "instance_id": "parent-1", **before}
        sdk(store_of({"ingredients": [ingredient]}, **since), {})
        expected = SignedIngredient(title="t", relationship="inputTo", state=state)
        assert signing.read(b"", "png").ingredients == (expected,)

    @pytest.mark.parametrize(("signed", "state"), [(True, "invalid"), (False, "unsigned")])
    def test_an_ingredient_that_was_too_damaged_is_invalid_where_it_was_signed(self, sdk, signed, state):
        lost = {"unreadable_parents": [{"instance_id": "parent-2", "signed": signed}]}
        manifest = {
            "assertions": [{"label": GENERATION, "data": lost}],
            "ingredients": [{"instance_id": "parent-1"}, {"instance_id": "parent-2"}],
        }
        sdk(store_of(manifest), {})
        assert [entry.state for entry in signing.read(b"", "png").ingredients] == ["unsigned", state]

    @pytest.mark.parametrize(("parents", "source_type"), [(1, "s"), (63, "s"), (64, None)])
    def test_the_source_type_comes_from_the_nearest_parent_that_says_one(self, sdk, parents, source_type):
        line = {
            f"p{at}": {
                "ingredients": [
                    {"relationship": "inputTo", "active_manifest": "wrong"},
                    {"relationship": "parentOf", "active_manifest": f"p{at + 1}"},
                ]
            }
            for at in range(parents)
        }
        line[f"p{parents}"] = {"assertions": [acts({"digitalSourceType": "first"}, {"digitalSourceType": "s"}, {})]}
        line["wrong"] = {"assertions": [acts({"digitalSourceType": "wrong"})]}
        sdk({"active_manifest": "p0", "manifests": line}, {})
        assert signing.read(b"", "png").source_type == source_type

    @pytest.mark.parametrize(
        ("message", "data", "codes"),
        [
            ("ManifestNotFound: none", b"jumb\0\0\0\0jumdc2pa", None),
            ("RemoteManifestUrl: x", b"jumb\0\0\0\0jumdc2pa", None),
            ("Other: x", b"..jumb\n\0\0\0jumdc2pa..", ("imggen.manifest.unreadable",)),
            ("Other: x", b"jumb\0\0\0jumdc2pa", None),
            ("Other: x", b"", None),
        ],
    )
    def test_a_manifest_that_cannot_be_read_is_told_from_none(self, sdk, message, data, codes):
        sdk(failure=_Sdk.C2paError(message))
        validation = signing.read(data, "png")
        assert (validation and (validation.state, validation.codes)) == (codes and ("invalid", codes))

    def test_the_sdk_is_asked_for_nothing_from_the_network(self, sdk, ours):
        quiet = {
            "builder": {"thumbnail": {"enabled": False}},
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
        }
        fake = sdk({}, {})
        for file_format in FORMATS:
            signing.read(b"", file_format)
        signing.read(b"", "png", [ours[1], ours[1]])
        assert fake.settings == [quiet] * 5 + [quiet | {"trust": {"user_anchors": (ours[1] * 2).decode()}}]
        assert fake.mimes == ["image/png", "image/jpeg", "image/webp", "image/avif", "image/tiff", "image/png"]


class TestManifest:
    def test_the_manifest_says_what_was_done_in_order(self, sdk, ours):
        fake = sdk()
        parents = [
            Parent(data=b"a", format="png", title="a.png", relationship="componentOf"),
            Parent(data=b"damaged", format="jpeg", title="b\0.jpg"),
            Parent(data=b"c", format="webp", title="c.webp", relationship="inputTo"),
        ]
        claims = edit(
            *parents,
            when=datetime(2026, 11, 26, 13, tzinfo=timezone(timedelta(hours=1))),
            description="made\0 larger",
            watermark_id="00aa",
            guid="urn:uuid:1",
            settings={"seed": 2**63 - 1, "other": -(2**63), "nothing": float("nan"), "a\0": "b\0"},
            mining="constrained",
        )
        with pytest.raises(ImggenError) as caught:
            signing.sign(b"", "tiff", claims, ours[0])
        assert caught.value.message == "the picture could not be signed: Other: the certificate is wrong"
        assert caught.value.hint == (
            "a C2PA signer's certificate needs: CA false, key usage digitalSignature, extended key usage "
            "emailProtection, an authority key identifier"
        )
        assert fake.mimes == ["image/tiff"]
        when = "2026-11-26T12:00:00Z"
        definition = fake.definitions[-1]
        assert definition["claim_generator_info"] == [{"name": "imggen", "version": claims.version}]
        done, generation, fields, mining = definition["assertions"]
        assert (done["label"], done["created"]) == ("c2pa.actions.v2", True)
        assert done["data"]["actions"] == [
            {"action": "c2pa.opened", "when": when, "parameters": {"ingredientIds": ["parent-2"]}},
            {"action": "c2pa.placed", "when": when, "parameters": {"ingredientIds": ["parent-1"]}},
            {
                "action": f"c2pa.{claims.action}",
                "when": when,
                "softwareAgent": {"name": claims.model, "version": claims.model_version},
                "digitalSourceType": claims.source_type,
                "description": "made larger",
                "parameters": {"ingredientIds": ["parent-3"]},
            },
            {"action": "c2pa.watermarked.unbound", "when": when},
        ]
        assert (generation["label"], generation["created"]) == (GENERATION, True)
        assert generation["data"] == {
            "guid": "urn:uuid:1",
            "watermark_id": "00aa",
            "settings": {"seed": 2**63 - 1, "other": str(-(2**63)), "nothing": "nan", "a": "b"},
            "unreadable_parents": [
                {"instance_id": "parent-2", "sha256": hashlib.sha256(b"damaged").hexdigest(), "signed": False}
            ],
        }
        assert fields == {
            "label": "cawg.metadata",
            "kind": "Json",
            "data": {
                "@context": {"Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"},
                "Iptc4xmpExt:AISystemUsed": f"imggen ({claims.model})",
                "Iptc4xmpExt:AISystemVersionUsed": f"{claims.version}; {claims.model_version}",
                "Iptc4xmpExt:DigitalSourceType": claims.source_type,
                "Iptc4xmpExt:DigImageGUID": "urn:uuid:1",
            },
        }
        assert mining["data"]["entries"]["cawg.ai_training"] == {"use": "constrained"}
        assert [
            (entry["title"], entry["relationship"], entry["label"], mime) for entry, mime in fake.ingredients[3:]
        ] == [
            ("a.png", "componentOf", "parent-1", "image/png"),
            ("b.jpg", "parentOf", "parent-2", "application/octet-stream"),
            ("c.webp", "inputTo", "parent-3", "image/webp"),
        ]
        assert all(entry["instance_id"] == entry["label"] for entry, _ in fake.ingredients)

    def test_what_is_created_is_told_before_what_is_placed(self, sdk, ours):
        fake = sdk(failure=_Sdk.C2paError("x" * 2000))
        placed = Parent(data=b"a", format="png", title="a.png", relationship="componentOf")
        with pytest.raises(ImggenError) as caught:
            signing.sign(b"", "png", statement(parents=(placed,)), ours[0])
        assert caught.value.message == f"the picture could not be signed: {'x' * 1000}"
        assert caught.value.hint is None
        done, generation, _ = fake.definitions[-1]["assertions"]
        assert [entry["action"] for entry in done["data"]["actions"]] == ["c2pa.created", "c2pa.placed"]
        assert "parameters" not in done["data"]["actions"][0]
        assert "unreadable_parents" not in generation["data"]
        assert fake.signer["ta_url"] is None
        assert fake.signer["sign_cert"] == ours[0].chain_pem

    def test_two_pictures_cannot_both_be_the_one_that_was_changed(self, sdk, ours):
        sdk()
        parent = Parent(data=b"a", format="png", title="a.png")
        with pytest.raises(ValueError, match="edited with 2 parents that it was done to"):
            signing.sign(b"", "png", edit(parent, parent), ours[0])


@pytest.mark.parametrize("missing", [None, "c2pa", "cryptography"])
def test_the_extra_is_there_where_both_packages_are(monkeypatch, missing):
    monkeypatch.setattr(signing, "find_spec", lambda name: None if name == missing else object())
    assert signing.is_available() == (missing is None)


def test_a_package_that_cannot_be_loaded_is_told(monkeypatch):
    def find(name, *rest, **more):
        if name == "c2pa":
            raise RuntimeError("no library here")
        return real(name, *rest, **more)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", find)
    with pytest.raises(MachineError) as caught:
        signing.read(b"", "png")
    assert caught.value.message == "the package c2pa-python cannot be loaded: no library here"
    assert caught.value.hint == "pip install --force-reinstall 'imggen[c2pa]'"


def test_a_signature_that_does_not_read_back_is_told(ours, monkeypatch):
    monkeypatch.setattr(signing, "read", lambda *_args: None)
    with pytest.raises(ImggenError) as caught:
        signing.sign(picture("png"), "png", statement(), ours[0])
    assert caught.value.message == "the signature that was made does not hold (no manifest), so it is not used"
