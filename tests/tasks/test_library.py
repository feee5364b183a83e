"""The models on this machine as tasks: fetched, looked at, deleted and named, with the facts that each step yields."""

import os

import pytest

from imggen.errors import CheckError, ModelError, RequestError
from imggen.store import aliases
from imggen.tasks import library
from imggen.tasks.library import PullRequest
from tests.hub_server import COMMIT, fake_hub, hub_cache, small_model

__all__ = ["fake_hub", "hub_cache"]

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def small(fake_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fake_hub.add("org/small", small_model(tmp_path / "original"))


def pull(reference="org/small", **options):
    return library.pull(PullRequest(reference=reference, **options))


def raised(kind, step):
    with pytest.raises(kind) as caught:
        step()
    return caught.value.message, caught.value.hint


def test_what_comes_is_told_before_it_comes_and_counted_once(small, hub_cache):
    offers, here = [], []

    def hear(offer):
        offers.append(offer)
        here.append(offer.present_bytes())

    first = library.pull(PullRequest(reference="org/small"), on_offer=hear)
    again = library.pull(PullRequest(reference="org/small"), on_offer=hear)
    assert (first.reference, first.revision, first.file, first.prior) == ("org/small", COMMIT, None, None)
    assert first.folder == hub_cache / "models--org--small" / "snapshots" / COMMIT
    assert first.fetched_bytes == first.size_bytes > 0
    assert again.fetched_bytes == 0
    assert here == [0, first.size_bytes]
    assert (offers[0].licence, offers[0].gated, offers[0].size_bytes) == ("mit", False, first.size_bytes)


def test_offline_nothing_is_fetched(small, fake_hub):
    message = "org/small is not on this machine, and imggen is offline"
    assert raised(ModelError, lambda: pull(offline=True)) == (message, "while online: imggen models pull org/small")
    assert not fake_hub.asked


def test_offline_says_whether_all_of_it_is_here(small):
    pulled = pull()
    here = pull(offline=True)
    assert (here.folder, here.fetched_bytes, here.file) == (pulled.folder, 0, None)
    assert here.size_bytes == sum(path.stat().st_size for path in pulled.folder.rglob("*") if path.is_file())
    one = pull(f"org/small/{UNET}", offline=True)
    assert (one.file, one.size_bytes) == (pulled.folder / UNET, (pulled.folder / UNET).stat().st_size)
    (pulled.folder / UNET).unlink()
    assert raised(ModelError, lambda: pull(offline=True))[0] == "org/small lacks unet here, and imggen is offline"
    message = f"org/small lacks {UNET} here, and imggen is offline"
    assert raised(ModelError, lambda: pull(f"org/small/{UNET}", offline=True))[0] == message


def test_nothing_is_repaired_offline(small):
    message, hint = raised(RequestError, lambda: pull(offline=True, repair=True))
    assert message == "--repair fetches what is damaged, and imggen is offline"
    assert hint == "imggen models verify org/small"


@pytest.mark.parametrize(("reference", "message"), [
    ("", "the model reference is empty"),
    ("original", "original is a file or folder here, and only models of the hub are fetched"),
    ("builtin", "the built-in model came with imggen, and only models of the hub are fetched"),
    ("nope", "'nope' is no id of the hub, and only models of the hub are fetched"),
])  # fmt: skip
def test_only_models_of_the_hub_are_fetched(small, reference, message):
    assert raised(RequestError, lambda: pull(reference))[0] == message


def test_a_model_that_is_as_recorded_is_passed_and_the_first_fault_named(small):
    folder = pull().folder
    assert {checked.status for checked in library.verify("org/small")}.isdisjoint({"damaged", "missing"})
    for name in ("README.md", UNET):
        real = os.path.realpath(folder / name)
        with open(real, "r+b") as file:  # noqa: PTH123
            file.write(b"\xff\xfe")
    message, hint = raised(CheckError, lambda: list(library.verify("org/small")))
    assert message.startswith("org/small: README.md is damaged: ")
    assert message.endswith(" (1 more)")
    assert hint == f"imggen models pull org/small@{COMMIT} --repair"
    pull(repair=True)
    assert list(library.verify("org/small"))


def test_what_cannot_be_verified_is_told(small, tmp_path):
    message = "org/none is not on this machine"
    assert raised(ModelError, lambda: list(library.verify("org/none"))) == (message, "imggen models pull org/none")
    file = tmp_path / "ink.safetensors"
    file.write_bytes(b"ink")
    expected = (f"{file} is a single file", f"imggen models show {file}")
    assert raised(RequestError, lambda: list(library.verify(str(file)))) == expected
    (tmp_path / "original" / UNET).write_bytes(b"short")
    message, hint = raised(CheckError, lambda: list(library.verify("original")))
    assert message.startswith(f"original: {UNET} is damaged")
    assert "more)" not in message
    assert hint == "copy or fetch what is named there again"


def test_a_model_is_deleted_only_where_that_is_confirmed(small):
    folder, asked = pull().folder, []
    assert library.remove("org/small", confirm=lambda removed: bool(asked.append(removed))) is None
    assert folder.exists()
    assert library.remove("org/small", confirm=lambda _: True) == asked[0]
    assert (asked[0].reference, asked[0].revisions) == ("org/small", (COMMIT,))
    assert not folder.exists()


def test_an_alias_of_what_cannot_be_deleted_is_told_to_be_one(small):
    library.add_alias("mine", "original")
    message, hint = raised(RequestError, lambda: library.remove("mine", confirm=lambda _: True))
    assert message.startswith("mine is an alias of ")
    assert message.endswith("and imggen deletes from the hub's cache alone")
    assert hint == "imggen models alias mine --remove"
    message, _ = raised(RequestError, lambda: library.remove("original", confirm=lambda _: True))
    assert message == "original is a file or folder here, and imggen deletes from the hub's cache alone"


def test_models_are_listed_with_their_aliases_and_how_whole_they_are(small, tmp_path):
    folder = pull().folder
    (tmp_path / "ink.safetensors").write_bytes(b"ink")
    names = {"b": "org/small", "a": f"org/small@{COMMIT}", "dir": "original", "ink": "ink.safetensors", "gone": "org/x"}
    for name, reference in names.items():
        library.add_alias(name, reference)
    listed = {model.reference: model for model in library.list_all()}
    ink, original = str(tmp_path / "ink.safetensors"), str(tmp_path / "original")
    assert set(listed) == {"builtin", "org/small", original, ink}
    assert listed["org/small"].aliases == ("a", "b")
    assert (listed[ink].source, listed[ink].size_bytes, listed[ink].aliases) == ("file", 3, ("ink",))
    assert (listed[original].source, listed[original].incomplete) == ("folder", False)
    assert library.absent_aliases(listed.values()) == {"gone": "org/x"}
    (folder / UNET).unlink()
    assert [model.incomplete for model in library.list_all() if model.reference == "org/small"] == [True]


@pytest.mark.parametrize("reference", ["builtin", "org/model", "org/model@v1", "org/model@v1/a/x.safetensors"])
def test_an_alias_stands_for_what_could_be_there(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    assert library.add_alias("mine", reference) == reference
    assert library.add_alias("other", "mine") == reference
    assert aliases.read() == {"mine": reference, "other": reference}


def test_an_alias_of_a_file_keeps_its_links_and_means_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real.safetensors").write_bytes(b"x")
    (tmp_path / "link.safetensors").symlink_to("real.safetensors")
    assert library.add_alias("mine", "link.safetensors") == str(tmp_path / "link.safetensors")
    message = "'nowhere' is neither here, nor an id of the hub"
    hint = "imggen models alias NAME ORGANISATION/NAME"
    assert raised(RequestError, lambda: library.add_alias("none", "nowhere")) == (message, hint)
