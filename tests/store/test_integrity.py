"""Whether files are what they should be."""

import hashlib

import pytest

from imggen.errors import ModelError
from imggen.plan.schema.progress import ignore
from imggen.store import integrity


def check(folder, on_event=ignore):
    return {file.file: (file.status, file.reason) for file in integrity.check(folder, on_event=on_event)}


def sums(folder, **hashes):
    (folder / integrity.SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in hashes.items()))


def test_recorded_hashes_decide(tmp_path):
    for name in ("same", "other"):
        (tmp_path / name).write_bytes(name.encode())
    sums(tmp_path, same=hashlib.sha256(b"same").hexdigest(), other="0" * 64, gone="1" * 64)
    statuses = {name: status for name, (status, _) in check(tmp_path).items()}
    assert statuses == {"same": "same", "other": "damaged", "gone": "missing", "model_index.json": "missing"}


def test_a_line_that_is_no_hash_is_refused(tmp_path):
    (tmp_path / integrity.SUMS).write_text(f"{'0' * 64}  a\nnonsense\n")
    with pytest.raises(ModelError, match=r"SHA256SUMS line 2 is no hash and name: 'nonsense'"):
        check(tmp_path)


def test_files_without_a_hash_must_make_sense(tmp_path):
    (tmp_path / "good.json").write_text("{}")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 20)
    (tmp_path / "any.txt").write_text("{")
    found = check(tmp_path)
    assert found["good.json"][0] == found["any.txt"][0] == "sound"
    assert found["bad.json"][0] == found["bad.safetensors"][0] == "damaged"
    assert "it is not JSON" in found["bad.json"][1]


def test_the_hubs_blobs_are_named_by_their_hashes(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    small, large = b"small", b"large"
    hashes = {
        "small.txt": hashlib.sha1(b"blob 5\0" + small).hexdigest(),
        "large.bin": hashlib.sha256(large).hexdigest(),
        "wrong.txt": "a" * 40,
    }
    for (name, digest), data in zip(hashes.items(), (small, large, b"whatever"), strict=True):
        (blobs / digest).write_bytes(data)
        (snapshot / name).symlink_to(blobs / digest)
    (snapshot / "gone.txt").symlink_to(blobs / "nothing")
    found = check(snapshot)
    assert [found[name][0] for name in (*hashes, "gone.txt")] == ["same", "same", "damaged", "missing"]


def test_notes_of_git_and_the_hub_are_passed_over(tmp_path):
    for folder in (".git", ".cache"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.json").write_text("{")
    assert check(tmp_path).keys() == {"model_index.json"}


def test_progress_counts_the_bytes_of_all_files(tmp_path):
    events = []
    for name, size in (("a", 3), ("b", 5)):
        (tmp_path / name).write_bytes(bytes(size))
    sums(tmp_path, a=hashlib.sha256(bytes(3)).hexdigest(), b=hashlib.sha256(bytes(5)).hexdigest())
    check(tmp_path, events.append)
    beside = (tmp_path / integrity.SUMS).stat().st_size
    assert [(event.step, event.steps) for event in events] == [(3, 8 + beside), (8, 8 + beside)]
