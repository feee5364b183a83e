"""Models as a person keeps them: fetched, listed, checked, deleted, named."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants

from imggen.store import aliases, lookup
from tests.hub_server import COMMIT, fake_hub, hub_cache, small_model

__all__ = ["fake_hub", "hub_cache"]

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def small(fake_hub, tmp_path):
    return fake_hub.add("org/small", small_model(tmp_path / "original"))


@pytest.fixture
def pulled(run, small, hub_cache):
    assert run("models", "pull", "org/small", "-q").code == 0
    return hub_cache / "models--org--small" / "snapshots" / COMMIT


def spoil(path: Path) -> None:
    real = Path(os.path.realpath(path))
    data = bytearray(real.read_bytes())
    data[-1] ^= 1
    real.write_bytes(data)


def test_pull_tells_what_comes_before_and_prints_what_is_here_then(run, small):
    first = run("models", "pull", "org/small@v1")
    assert (first.code, first.lines) == (0, [f"org/small@{COMMIT}"])
    assert "2 MiB of 2 MiB to fetch, licence mit" in first.err
    again = run("models", "pull", "org/small@v1", "--json")
    facts = json.loads(again.out)
    assert (facts["fetched_bytes"], facts["licence"], facts["revision"]) == (0, "mit", COMMIT)
    assert "all of it is here" in again.err


def test_one_file_is_pulled_and_its_path_printed(run, fake_hub):
    files = {"README.md": b"---\nlicense: mit\n---\n", "a/ink.safetensors": b"x" * 70_000, "old.ckpt": b"y"}
    fake_hub.add("org/files", files=files)
    fake_hub.add("org/fast", files={"fast_4step.safetensors": b"x", "fast_4step_lora.safetensors": b"y"})
    ended = run("models", "pull", "org/files@v1/a/ink.safetensors")
    assert ended.code == 0
    assert Path(ended.lines[0]).read_bytes() == b"x" * 70_000
    assert not fake_hub.gets("old.ckpt")
    for reference, words, hint in (
        ("org/files", "has no model_index.json", "imggen models pull org/files/a/ink.safetensors for one file"),
        (
            "org/fast",
            "has no model_index.json",
            "--lora org/fast/fast_4step_lora.safetensors beside a model",
        ),
        ("org/files/a/inc.safetensors", "has no a/inc.safetensors", "imggen models pull org/files/a/ink.safetensors"),
        ("org/files/old.ckpt", "org/files/old.ckpt is a pickle", "add --allow-pickle"),
    ):
        ended = run("models", "pull", reference)
        assert (ended.code, ended.out) == (4, b"")
        assert words in ended.err
        assert hint in ended.err


def test_only_models_of_the_hub_are_pulled(run, small, tmp_path):
    small_model(tmp_path / "mine")
    for name, words in {
        "mine": "is a file or folder here",
        "builtin": "came with imggen",
        "nope": "no id of the hub",
        "": "the model reference is empty",
    }.items():
        ended = run("models", "pull", name)
        assert (ended.code, ended.out) == (2, b"")
        assert words in ended.err


def test_nothing_is_pulled_offline(run, small, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ended = run("models", "pull", "org/small")
    assert ended.code == 4
    assert "org/small is not on this machine, and imggen is offline" in ended.err
    assert "hint: while online: imggen models pull org/small" in ended.err


def test_pull_says_offline_whether_the_model_is_here_and_whole(run, pulled, small, fake_hub):
    before = len(fake_hub.asked)
    ended = run("models", "pull", "org/small", "--offline", "--json")
    facts = json.loads(ended.out)
    assert (facts["revision"], facts["fetched_bytes"]) == (COMMIT, 0)
    assert Path(run("models", "pull", f"org/small/{UNET}", "--offline").lines[0]) == pulled / UNET
    ended = run("models", "pull", "org/small", "--offline", "--repair")
    assert (ended.code, ended.out) == (2, b"")
    assert "hint: imggen models verify org/small" in ended.err
    (pulled / UNET).unlink()
    ended = run("models", "pull", "org/small", "--offline")
    assert (ended.code, ended.out) == (4, b"")
    assert "org/small lacks unet here, and imggen is offline" in ended.err
    ended = run("models", "pull", f"org/small/{UNET}", "--offline")
    assert f"org/small lacks {UNET} here" in ended.err
    assert len(fake_hub.asked) == before


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('deny = ["license:mit"]', "rules.toml: models.deny[0]"),
        ('allow = ["license:apache-2.0"]', "rules.toml: models.allow"),
        (f'deny = ["org/small@{COMMIT[:12]}"]', "models.deny[0]"),
        ("require_safetensors = true", "models.require_safetensors"),
    ],
)
def test_a_policy_refuses_by_what_the_hub_says_before_weights_are_pulled(
    run, small, fake_hub, tmp_path, monkeypatch, rules, words
):
    small.files["unet/diffusion_pytorch_model.bin"] = small.files.pop(UNET)
    (tmp_path / "rules.toml").write_text(f"schema = 1\n[models]\n{rules}\n")
    monkeypatch.setenv("IMGGEN_POLICY", str(tmp_path / "rules.toml"))
    ended = run("models", "pull", "org/small", "--allow-pickle")
    assert (ended.code, ended.out) == (5, b"")
    assert words in ended.err
    assert not fake_hub.gets(".safetensors")
    assert not fake_hub.gets(".bin")


def test_a_policy_by_hash_holds_for_a_model_once_it_is_here_and_for_a_file_before(
    run, small, fake_hub, tmp_path, monkeypatch
):
    rules = tmp_path / "rules.toml"
    rules.write_text(f'schema = 1\n[models]\nallow = ["sha256:{"0" * 64}"]\n')
    monkeypatch.setenv("IMGGEN_POLICY", str(rules))
    ended = run("models", "pull", f"org/small/{UNET}")
    assert ended.code == 5
    assert not fake_hub.gets(UNET)
    ended = run("models", "pull", "org/small", "--dtype", "float32")
    assert (ended.code, ended.out) == (5, b"")
    assert "the policy does not allow org/small" in ended.err
    assert "hint: it is here now: imggen models rm org/small" in ended.err
    digest = lookup.weights_sha256(lookup.find("org/small"), "float32")
    rules.write_text(f'schema = 1\n[models]\nallow = ["sha256:{digest}"]\n')
    assert run("models", "pull", "org/small", "--dtype", "float32").code == 0
    rules.write_text(f'schema = 1\n[models]\ndeny = ["sha256:{small.etag(UNET)}"]\n')
    assert run("models", "pull", f"org/small/{UNET}").code == 5


def test_a_policy_refuses_a_model_before_it_is_pulled(run, small, hub_cache, tmp_path, monkeypatch):
    policy = tmp_path / "policy.toml"
    policy.write_text('schema = 1\n[models]\ndeny = ["org/*"]\n')
    monkeypatch.setenv("IMGGEN_POLICY", str(policy))
    run("models", "alias", "mine", "org/small")
    for name in ("org/small", "mine"):
        assert run("models", "pull", name).code == 5
    assert not list(hub_cache.iterdir())


def test_models_are_listed_with_their_names_and_how_whole_they_are(run, pulled, tmp_path):
    (tmp_path / "mine").mkdir()
    small_model(tmp_path / "mine" / "folder")
    run("models", "alias", "tiny", "org/small")
    run("models", "alias", "folder", "mine/folder")
    (tmp_path / "mine" / "ink.safetensors").write_bytes(b"ink")
    run("models", "alias", "ink", "mine/ink.safetensors")
    listed = {each["reference"]: each for each in map(json.loads, run("models", "list", "--json").lines)}
    folder = str(tmp_path / "mine" / "folder")
    ink = str(tmp_path / "mine" / "ink.safetensors")
    assert set(listed) == {"builtin", "org/small", folder, ink}
    assert (listed[folder]["source"], listed[ink]["source"], listed[ink]["size_bytes"]) == ("folder", "file", 3)
    assert (listed["org/small"]["aliases"], listed[folder]["aliases"]) == (["tiny"], ["folder"])
    assert listed["org/small"]["last_used"]
    assert not listed["org/small"]["incomplete"]
    run("models", "alias", "later", "org/absent")
    (pulled / UNET).unlink()
    lines = run("models", "list").lines
    assert any(each.startswith("org/absent") and each.endswith("alias later") for each in lines)
    line = next(each for each in lines if each.startswith("org/small"))
    assert line.endswith("alias tiny")
    assert "incomplete" in line
    assert "tiny" in line


def test_verify_holds_cached_files_to_the_hashes_of_the_hub_and_repair_mends_them(run, pulled, fake_hub):
    assert run("models", "verify", "org/small").lines == ["org/small: 11 files are as recorded"]
    spoil(pulled / UNET)
    spoil(pulled / "README.md")
    ended = run("models", "verify", "org/small")
    assert ended.code == 5
    assert [each.split(" (")[0] for each in ended.lines] == ["damaged: README.md", f"damaged: {UNET}"]
    assert f"hint: imggen models pull org/small@{COMMIT} --repair" in ended.err
    mended = run("models", "pull", f"org/small@{COMMIT}", "--repair", "-q")
    assert mended.code == 0
    assert run("models", "verify", "org/small").code == 0
    assert len(fake_hub.gets(UNET)) == 2
    assert len(fake_hub.gets("vae/diffusion_pytorch_model.safetensors")) == 1


def test_verify_names_what_is_cut_short_or_missing_in_a_folder(run, tmp_path):
    folder = small_model(tmp_path / "mine")
    assert run("models", "verify", "mine").code == 0
    data = (folder / UNET).read_bytes()
    (folder / UNET).write_bytes(data[:-5])
    ended = run("models", "verify", "mine")
    assert ended.code == 5
    assert "is cut short" in ended.lines[0]
    (folder / UNET).unlink()
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}})
    )
    ended = run("models", "verify", "mine", "--json")
    assert ended.code == 5
    bad = [each for each in map(json.loads, ended.lines) if each["status"] == "missing"]
    assert bad[0]["file"] == "unet"
    assert "diffusion_pytorch_model-00001-of-00001.safetensors" in bad[0]["reason"]


def test_verify_knows_the_built_in_model_and_says_what_is_not_here(run):
    assert run("models", "verify", "builtin").code == 0
    ended = run("models", "verify", "org/none")
    assert ended.code == 4
    assert "hint: imggen models pull org/none" in ended.err


def test_rm_asks_and_then_frees_what_it_said(run, pulled, hub_cache):
    ended = run("models", "rm", "org/small")
    assert ended.code == 2
    assert "nobody is there to answer: delete org/small" in ended.err
    assert "hint: --yes" in ended.err
    assert pulled.exists()
    size = sum(each.stat().st_size for each in (hub_cache / "models--org--small" / "blobs").iterdir())
    facts = json.loads(run("models", "rm", "org/small", "--yes", "--json").out)
    assert (facts["freed_bytes"], facts["revisions"]) == (size, [COMMIT])
    assert not (hub_cache / "models--org--small").exists()


def test_rm_deletes_one_revision_and_leaves_what_the_other_needs(run, pulled, small, hub_cache):
    other = "f" * 40
    small.commit = other
    small.files["README.md"] = b"# Another\n"
    assert run("models", "pull", "org/small", "-q").code == 0
    ended = run("models", "rm", f"org/small@{COMMIT[:8]}", "-y")
    assert ended.code == 0
    assert not pulled.exists()
    assert run("models", "verify", "org/small").code == 0
    wrong = run("models", "rm", "org/small@v7", "-y")
    assert wrong.code == 4
    assert other in wrong.err


def test_rm_also_takes_what_a_download_left(run, hub_cache):
    blobs = hub_cache / "models--org--part" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("a" * 64 + ".incomplete")).write_bytes(b"12345")
    assert json.loads(run("models", "rm", "org/part", "-y", "--json").out)["freed_bytes"] == 5
    assert not blobs.exists()


@pytest.mark.parametrize("name", ["./mine", "mine", "builtin"])
def test_rm_never_touches_what_is_not_in_the_cache(run, hub_cache, tmp_path, name):
    folder = small_model(tmp_path / "mine")
    ended = run("models", "rm", name, "--yes")
    assert ended.code == 2
    assert (folder / "model_index.json").exists()


def test_rm_leaves_files_that_a_link_leads_to_alone(run, pulled, small, hub_cache, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    for each in (pulled, hub_cache / "models--org--small" / "snapshots" / ("f" * 40)):
        each.mkdir(exist_ok=True)
        (each / "mine.txt").symlink_to(mine)
    before = json.loads(run("models", "list", "--json").lines[-1])["size_bytes"]
    freed = json.loads(run("models", "rm", f"org/small@{COMMIT}", "-y", "--json").out)["freed_bytes"]
    assert not pulled.exists()
    assert freed <= before
    assert run("models", "rm", "org/small", "-y", "--json").code == 0
    assert mine.read_text() == "precious"


def test_rm_of_a_linked_model_deletes_the_link(run, pulled, hub_cache, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "diary.txt").write_text("dear")
    link = hub_cache / "models--org--link"
    link.symlink_to(tmp_path / "elsewhere")
    assert run("models", "rm", "org/link", "-y").code == 0
    assert not link.is_symlink()
    assert (tmp_path / "elsewhere" / "diary.txt").exists()


def test_rm_of_one_revision_deletes_no_other_where_the_cache_is_damaged(run, pulled, hub_cache):
    (hub_cache / "models--org--small" / "refs" / "stale").write_text("e" * 40)
    ended = run("models", "rm", f"org/small@{COMMIT}", "-y")
    assert ended.code == 4
    assert "cannot be told apart" in ended.err
    assert pulled.exists()
    assert run("models", "rm", "org/small", "-y").code == 0
    assert not pulled.exists()


def test_rm_deletes_one_revision_where_the_cache_is_reached_by_a_link(run, pulled, small, hub_cache, monkeypatch):
    small.commit = "f" * 40
    small.files["README.md"] = b"# Another\n"
    assert run("models", "pull", "org/small", "-q").code == 0
    link = hub_cache.parent / "linked"
    link.symlink_to(hub_cache)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(link))
    assert run("models", "rm", f"org/small@{COMMIT}", "-y").code == 0
    assert not pulled.exists()
    assert pulled.with_name("f" * 40).exists()


def test_repair_deletes_no_file_outside_of_the_cache(run, pulled, tmp_path):
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"not one of those")
    (pulled / UNET).unlink()
    (pulled / UNET).symlink_to(mine)
    assert run("models", "pull", f"org/small@{COMMIT}", "--repair", "-q").code == 0
    assert mine.read_bytes() == b"not one of those"
    assert run("models", "verify", "org/small").code == 0


def test_policy_holds_for_a_file_of_a_repository_that_is_also_a_folder_here(run, fake_hub, tmp_path, monkeypatch):
    fake_hub.add("org/files", files={"ink.safetensors": b"x"})
    (tmp_path / "org" / "files").mkdir(parents=True)
    (tmp_path / "rules.toml").write_text('schema = 1\n[models]\ndeny = ["org/*"]\n')
    monkeypatch.setenv("IMGGEN_POLICY", str(tmp_path / "rules.toml"))
    ended = run("models", "pull", "org/files/ink.safetensors")
    assert ended.code == 5
    assert not fake_hub.gets("ink.safetensors")


def test_revision_that_leads_out_of_the_cache_is_none(run, pulled, hub_cache, tmp_path):
    small_model(tmp_path / "evil")
    away = os.path.relpath(tmp_path / "evil", hub_cache / "models--org--small" / "snapshots")
    (tmp_path / "ref").write_text(away)
    to_ref = os.path.relpath(tmp_path / "ref", hub_cache / "models--org--small" / "refs")
    for revision in (to_ref, away, str(tmp_path / "evil"), "a\nb"):
        for words in (("models", "show"), ("models", "rm", "-y"), ("generate", "cat", "--dry-run", "-m")):
            ended = run(*words, f"org/small@{revision}")
            assert ended.code == 4, ended.err
            assert "has no revision" in ended.err


def test_rm_of_what_is_not_here_names_the_nearest(run, pulled):
    ended = run("models", "rm", "org/smal", "-y")
    assert ended.code == 4
    assert "hint: imggen models rm org/small" in ended.err


def test_an_alias_stands_for_a_model_and_is_not_what_is_recorded(run, pulled):
    added = run("models", "alias", "tiny", f"org/small@{COMMIT}")
    assert added.lines == [f"tiny stands for org/small@{COMMIT}"]
    facts = lookup.find("tiny")
    assert (facts.reference, facts.revision) == ("org/small", COMMIT)
    assert run("models", "alias").lines == [f"tiny  org/small@{COMMIT}"]
    assert json.loads(run("models", "alias", "tiny", "--remove", "--json").out)["action"] == "removed"
    assert run("models", "alias").lines == []
    ended = run("models", "show", "tiny")
    assert (ended.code, "no model 'tiny'" in ended.err) == (4, True)


def test_what_is_no_model_of_the_cache_is_told_to_be_an_alias_with_what_removes_it(run, hub_cache, tmp_path):
    (tmp_path / "folder").mkdir()
    for meaning in ("builtin", "org/absent", "./folder"):
        run("models", "alias", "mine", meaning)
        ended = run("models", "rm", "mine", "-y")
        assert ended.code in (2, 4)
        assert "error: mine is an alias of " in ended.err
        assert ended.err.endswith("hint: imggen models alias mine --remove\n")
    assert run("models", "alias", "mine", "--remove").code == 0


def test_an_alias_of_a_model_that_is_deleted_stays_and_is_told(run, pulled):
    run("models", "alias", "mine", "org/small")
    ended = run("models", "rm", "mine", "-y")
    assert ended.code == 0
    assert ended.err == "note: mine still stands for it: imggen models alias mine --remove\n"


def test_what_an_alias_stands_for_is_planned_and_governed(run, tmp_path, monkeypatch):
    run("models", "alias", "mine", "builtin")
    plan = json.loads(run("generate", "a red apple", "-m", "mine", "--dry-run", "--json").out)
    assert (plan["model"]["reference"], plan["model"]["source"]) == ("builtin", "builtin")
    (tmp_path / "policy.toml").write_text('schema = 1\n[models]\ndeny = ["builtin"]\n')
    monkeypatch.setenv("IMGGEN_POLICY", str(tmp_path / "policy.toml"))
    ended = run("generate", "a red apple", "-m", "mine", "--dry-run")
    assert (ended.code, "builtin" in ended.err) == (5, True)


def test_names_that_are_given_at_the_same_time_are_all_kept():
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: aliases.add(f"name{each}", "builtin"), range(20)))
    assert aliases.read() == {f"name{each}": "builtin" for each in range(20)}


def test_an_alias_of_a_folder_means_the_same_from_everywhere(run, tmp_path, monkeypatch):
    small_model(tmp_path / "mine")
    run("models", "alias", "own", "./mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert lookup.find("own").folder == tmp_path / "mine"


def test_an_alias_of_an_alias_stands_for_what_that_did(run):
    run("models", "alias", "one", "org/small@v1")
    run("models", "alias", "two", "one")
    assert aliases.read() == {"one": "org/small@v1", "two": "org/small@v1"}


def test_a_name_that_is_also_a_folder_here_is_refused(run, tmp_path):
    run("models", "alias", "tiny", "builtin")
    assert lookup.find("tiny").reference == "builtin"
    small_model(tmp_path / "tiny")
    ended = run("models", "show", "tiny")
    assert ended.code == 2
    assert "'tiny' is an alias of builtin, and also a file or folder here" in ended.err
    assert run("models", "show", "./tiny").code == 0


@pytest.mark.parametrize(
    "name", ["org/name", "./here", "builtin", "Builtin", "a b", "~x", "x@1", "x:1", "x.safetensors", ""]
)
def test_a_name_that_could_be_something_else_is_no_alias(run, name):
    ended = run("models", "alias", name, "builtin")
    assert (ended.code, ended.out) == (2, b"")
    assert f"{name!r} cannot be an alias" in ended.err


def test_an_alias_stands_for_something_that_could_be_there(run):
    assert run("models", "alias", "x", "nowhere").code == 2
    assert run("models", "alias", "x").code == 2
    assert run("models", "alias", "x", "builtin", "--remove").code == 2
    ended = run("models", "alias", "x", "--remove")
    assert (ended.code, "there is no alias 'x'" in ended.err) == (2, True)
    assert run("models", "alias", "style", "org/lora/file.safetensors").code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "its schema is not 1"),
        ('{"schema": 2, "aliases": {}}', "its schema is not 1"),
        ('{"schema": 1, "aliasses": {}}', "did you mean 'aliases'"),
        ('{"schema": 1, "aliases": {"a b": "builtin"}}', "'a b' stands for 'builtin'"),
        ('{"schema": 1, "aliases": {"a": 1}}', "'a' stands for 1"),
    ],
)
def test_a_damaged_file_of_aliases_is_named_and_never_overwritten(run, text, words):
    file = aliases.path()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for arguments in (("alias",), ("alias", "new", "builtin")):
        ended = run("models", *arguments)
        assert ended.code == 2
        assert words in ended.err
    assert file.read_text() == text
    assert [each.name for each in file.parent.iterdir() if each.suffix != ".lock"] == ["aliases.json"]


def test_a_dry_run_of_a_model_that_is_not_here_tells_its_costs_and_fetches_no_weights(run, small, hub_cache, fake_hub):
    ended = run(
        "generate", "an apple", "-m", "org/small@v1", "--dry-run", "--json", "-v", "--size", "64x64", "--device", "cpu"
    )
    assert ended.code == 0, ended.err
    plan = json.loads(ended.out)
    costs = plan["forecast"]
    assert (costs["family"], costs["licence"]) == ("sd", "mit")
    assert costs["download_bytes"] == sum(map(len, small.files.values()))
    assert costs["free_bytes"] > 0
    assert costs["needed_bytes"] > 1_500_000
    assert (costs["seconds"], costs["basis"].startswith("not known: ")) == (None, True)
    assert plan["model"]["folder"] == str(hub_cache / "models--org--small" / "snapshots" / COMMIT)
    assert "to download: 2 MiB" in ended.err
    assert "licence: mit" in ended.err
    assert all(each and each.startswith("bytes=0-") for each in fake_hub.gets(".safetensors"))
    assert not (hub_cache / "models--org--small").exists()
    offline = run("generate", "an apple", "-m", "org/small@v1", "--dry-run", "--offline")
    assert (offline.code, "hint: while online: imggen models pull org/small@v1" in offline.err) == (4, True)


def test_a_model_for_a_picture_is_fetched_by_the_same_checks(run, small, fake_hub):
    fake_hub.sizes[UNET] = 3 << 40
    ended = run("generate", "an apple", "-m", "org/small")
    assert ended.code == 3
    assert "org/small takes 3072.0 GiB more of the disk" in ended.err


def test_a_model_is_converted_and_its_folder_printed(run, tmp_path):
    ended = run("models", "convert", "builtin", "-o", "new", "--dtype", "fp32", "-q")
    assert (ended.code, ended.lines) == (0, [str(tmp_path / "new")])
    again = run("models", "convert", "builtin", "-o", "new", "--dtype", "fp32")
    assert (again.code, "hint: -o" in again.err) == (2, True)
    assert run("models", "verify", "new").code == 0
