"""Downloads from a hub that runs on this machine."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from imggen.errors import MachineError, ModelError
from imggen.store import download, hub, lookup, model_folder
from imggen.store.weights import AccessRules
from tests.hub_server import COMMIT, PIECE, fake_hub, hub_cache, small_model

__all__ = ["fake_hub", "hub_cache"]

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tmp_path):
    return small_model(tmp_path / "small")


@pytest.fixture
def repository(fake_hub, model):
    return fake_hub.add("org/small", model)


def fetch(name="org/small", revision=None, on_event=lambda _: None):
    return hub.bring(hub.ask(name, revision, choose=hub.pipeline_files(name, AccessRules())), on_event=on_event)


def blob(hub_cache, repository, name):
    return hub_cache / "models--org--small" / "blobs" / repository.etag(name)


def same(folder: Path, repository) -> bool:
    return {
        each.relative_to(folder).as_posix(): each.read_bytes() for each in folder.rglob("*") if each.is_file()
    } == repository.files


def test_a_model_comes_whole_and_is_found_again_without_asking(fake_hub, repository, hub_cache):
    events = []
    folder = fetch(on_event=events.append)
    assert folder == hub_cache / "models--org--small" / "snapshots" / COMMIT
    assert same(folder, repository)
    assert {each.stage for each in events} == {"download"}
    total = sum(map(len, repository.files.values()))
    assert (events[-1].step, events[-1].steps) == (total, total)
    asked = len(fake_hub.asked)
    assert lookup.find("org/small").revision == COMMIT
    assert len(fake_hub.asked) == asked


def test_a_tag_is_found_by_its_name_and_by_its_commit(fake_hub, repository):
    fetch(revision="v1")
    asked = len(fake_hub.asked)
    assert lookup.find("org/small@v1").revision == lookup.find(f"org/small@{COMMIT}").revision == COMMIT
    assert len(fake_hub.asked) == asked


def test_a_cut_connection_is_taken_up_where_it_broke(fake_hub, repository):
    fake_hub.cuts.append((UNET, 2 * PIECE))
    assert same(fetch(), repository)
    first, second = fake_hub.gets(UNET)
    assert first is None
    assert second == f"bytes={2 * PIECE}-"


def test_what_an_earlier_try_left_is_not_fetched_again(fake_hub, repository, hub_cache):
    partial = blob(hub_cache, repository, UNET)
    partial.parent.mkdir(parents=True)
    partial.with_name(f"{partial.name}.incomplete").write_bytes(repository.files[UNET][:100_000])
    events = []
    assert same(fetch(on_event=events.append), repository)
    assert fake_hub.gets(UNET) == ["bytes=100000-"]
    assert not list(partial.parent.glob("*.incomplete"))


def test_a_hub_without_ranges_sends_it_all_again(fake_hub, repository):
    fake_hub.knows_ranges = False
    fake_hub.cuts.append((UNET, PIECE))
    assert same(fetch(), repository)


def test_damaged_bytes_are_refused_and_not_kept(fake_hub, repository, hub_cache):
    data = bytearray(repository.files[VAE])
    data[-1] ^= 1
    fake_hub.wrong[VAE] = bytes(data)
    with pytest.raises(ModelError, match="came damaged: its SHA-256 is"):
        fetch()
    assert not list(hub_cache.rglob(f"{repository.etag(VAE)}*[!k]"))
    fake_hub.wrong.clear()
    assert same(fetch(), repository)


def test_a_hub_that_sends_nothing_more_ends_in_an_error(fake_hub, repository, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    fake_hub.cuts += [(UNET, 0)] * 5
    with pytest.raises(ModelError, match=r"sends nothing more|could not be fetched"):
        fetch()


def test_a_disk_without_room_is_refused_before_the_first_byte(fake_hub, repository, hub_cache, monkeypatch):
    fake_hub.sizes[UNET] = 3 << 40
    with pytest.raises(
        MachineError, match=r"org/small takes 3072\.0 GiB more of the disk, and .* has .* free"
    ) as caught:
        fetch()
    assert caught.value.exit_code == 3
    assert not any(method == "GET" and "/resolve/" in path for method, path, _ in fake_hub.asked)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 50))
    offer = hub.ask("org/small", None, choose=hub.pipeline_files("org/small", AccessRules()))
    download.check_room(offer)


def test_only_what_is_still_to_come_needs_room(fake_hub, repository, monkeypatch):
    fetch()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert same(fetch(), repository)


# What is started in the background by a shell ignores Ctrl-C, and hands that on.
CHILD = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from imggen.cli.app import main; sys.argv[0] = 'imggen'; main()"
)


def start(*arguments, limit=None):
    def cap():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=cap if limit else None,  # noqa: PLW1509 - the server's threads take no lock that it needs
    )


def test_a_disk_that_fills_up_keeps_what_came_for_the_next_try(fake_hub, repository, hub_cache):
    process = start("models", "pull", "org/small", limit=300_000)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "")
    assert "is full" in err
    assert "imggen models pull org/small then goes on from there" in err
    left = {each.name.partition(".")[0]: each.stat().st_size for each in hub_cache.rglob("*.incomplete")}
    assert 0 < max(left.values()) <= 300_000
    before = len(fake_hub.asked)
    assert same(fetch(), repository)
    for path, wanted in ((path, each) for method, path, each in fake_hub.asked[before:] if method == "GET"):
        if path.endswith(".safetensors"):
            kept = left.get(repository.etag(path.partition(f"{COMMIT}/")[2]))
            assert wanted == (f"bytes={kept}-" if kept else None)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_download_that_is_stopped_goes_on_where_it_was(fake_hub, repository, hub_cache, how):
    fake_hub.held[UNET] = 3 * PIECE
    process = start("models", "pull", "org/small")
    assert fake_hub.holding.wait(60)
    partial = blob(hub_cache, repository, UNET)
    partial = partial.with_name(f"{partial.name}.incomplete")
    process.send_signal(how)
    # A reader that waits for bytes hears of Ctrl-C when its connection breaks; what it asks for then is not answered.
    fake_hub.down = True
    fake_hub.released.set()
    _, err = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[how], err
    fake_hub.held.clear()
    fake_hub.down = False
    kept = partial.stat().st_size if partial.exists() else 0
    before = len(fake_hub.asked)
    assert same(fetch(), repository)
    again = [each for method, path, each in fake_hub.asked[before:] if method == "GET" and path.endswith(UNET)]
    assert again == ([f"bytes={kept}-"] if kept else [None])


def test_two_pulls_at_once_fetch_each_file_once(fake_hub, repository):
    fake_hub.held[UNET] = PIECE
    other = start("models", "pull", "org/small")
    assert fake_hub.holding.wait(60)
    folder = fetch(on_event=lambda _: fake_hub.released.set())
    out, err = other.communicate(timeout=60)
    assert (other.returncode, out) == (0, f"org/small@{COMMIT}\n"), err
    assert len(fake_hub.gets(UNET)) == 1
    assert same(folder, repository)


@pytest.mark.parametrize(
    ("name", "is_good"),
    [
        ("model_index.json", True),
        ("unet/a..b.safetensors", True),
        ("unet/.hidden", True),
        ("../model.safetensors", False),
        ("unet/../../x", False),
        ("./x", False),
        ("/etc/x", False),
        ("a\\b", False),
        ("C:x", False),
        ("", False),
        ("..", False),
    ],
)
def test_names_of_a_hub_that_lead_elsewhere_are_refused(name, is_good):
    sibling = SimpleNamespace(rfilename=name, size=1, lfs=None)
    if is_good:
        assert hub._file(sibling).name == name
        return
    with pytest.raises(ModelError, match="which no hub does"):
        hub._file(sibling)


def test_hashes_and_commits_that_are_none_are_refused(fake_hub, repository, hub_cache):
    with pytest.raises(ModelError, match="which no hub does"):
        hub._file(SimpleNamespace(rfilename="x", size=1, lfs=SimpleNamespace(sha256="../../x")))
    repository.commit = "../../../x"
    with pytest.raises(ModelError, match="which no hub does"):
        fetch()
    assert not list(hub_cache.iterdir())


def test_a_hub_that_sends_more_than_it_said_is_not_listened_to(fake_hub, repository, hub_cache):
    fake_hub.wrong[UNET] = repository.files[UNET] + bytes(50 * PIECE)
    with pytest.raises(ModelError, match="came damaged"):
        fetch()
    assert not list(hub_cache.rglob(f"{repository.etag(UNET)}.incomplete"))


def test_where_links_cannot_be_made_huggingface_hub_fetches_all_by_itself(fake_hub, repository, monkeypatch):
    monkeypatch.setattr(download, "are_symlinks_supported", lambda _: False)
    events = []
    assert same(fetch(on_event=events.append), repository)
    assert events[-1].step == events[-1].steps


def test_a_cache_that_cannot_be_written_is_named(fake_hub, repository, hub_cache, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(MachineError, match=f"the hub's cache {hub_cache} cannot be written: Permission denied"):
        fetch()


def test_a_full_disk_is_told_from_other_faults():
    assert download.is_full(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert not download.is_full(OSError(errno.EACCES, "no"))
    assert not download.is_full(ValueError("no"))


def test_a_misspelt_model_gets_the_nearest_of_its_owner_or_of_its_name(fake_hub, repository):
    for name in ("org/smal", "orgg/small"):
        with pytest.raises(ModelError, match=r"did you mean org/small\?") as caught:
            fetch(name)
        assert caught.value.hint == "imggen models pull org/small"
    with pytest.raises(ModelError, match="has no model 'else/where'") as caught:
        fetch("else/where")
    assert "check the spelling" in caught.value.hint


def test_a_missing_revision_and_a_gated_model_are_told(fake_hub, repository):
    with pytest.raises(ModelError, match="org/small has no revision 'v9'"):
        fetch(revision="v9")
    repository.gated = True
    with pytest.raises(ModelError, match="is gated") as caught:
        fetch()
    assert f"accept it at {fake_hub.endpoint}/org/small" in caught.value.hint


def test_a_sketch_has_the_facts_of_the_model_and_none_of_its_weights(fake_hub, repository, model, tmp_path):
    place = tmp_path / "sketch"
    facts = lookup.find("org/small", terms=AccessRules(sketch=place))
    whole = model_folder.read(model, reference="org/small", source="folder")
    assert facts.weight_bytes == whole.weight_bytes
    assert (facts.revision, facts.configs, lookup.licence(facts)) == (COMMIT, whole.configs, "mit")
    assert hub.missing_bytes(facts.folder) == sum(map(len, repository.files.values()))
    assert all(each and each.startswith("bytes=0-") for each in fake_hub.gets(".safetensors"))
    assert not (hub.place() / "models--org--small").exists()
    assert lookup.weights_sha256(facts, "float32") == lookup.weights_sha256(whole, "float32")
    fetch()
    assert hub.missing_bytes(facts.folder) == 0
    assert hub.home(facts.folder) == lookup.find("org/small").folder
