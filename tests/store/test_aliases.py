"""Names of the user's own for models."""

import json
from pathlib import Path

import pytest

from imggen.errors import ImggenError, RequestError
from imggen.store import aliases


def write(text):
    aliases.path().parent.mkdir(parents=True, exist_ok=True)
    aliases.path().write_text(text)


def test_without_a_file_there_are_none():
    assert aliases.read() == {}
    assert aliases.real("tiny") == "tiny"


def test_an_alias_is_added_replaced_and_removed():
    aliases.add("tiny", "org/old")
    aliases.add("tiny", "org/new")
    assert (aliases.real("tiny"), aliases.of("org/new"), aliases.of("org/old")) == ("org/new", ["tiny"], [])
    assert aliases.remove("tiny") == "org/new"
    assert aliases.read() == {}


def test_removing_an_unknown_alias_names_the_nearest():
    aliases.add("tiny", "org/tiny")
    with pytest.raises(RequestError, match="there is no alias 'tinny'") as caught:
        aliases.remove("tinny")
    assert caught.value.hint == "imggen models alias tiny --remove"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("builtin", "imggen has something of that name"),
        ("Lanczos", "imggen has something of that name"),
        ("a.safetensors", "it looks like a file"),
        ("A.GGUF", "it looks like a file"),
        ("org/name", "letters, digits"),
        ("-x", "letters, digits"),
        ("x" * 65, "letters, digits"),
    ],
)
def test_a_name_for_something_else_is_refused(name, reason):
    with pytest.raises(RequestError, match=reason):
        aliases.check_name(name)


def test_the_longest_name_is_taken():
    aliases.check_name("x" * 64)


def test_a_file_of_the_same_name_makes_it_ambiguous(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    aliases.add("tiny", "org/tiny")
    Path("tiny").touch()
    with pytest.raises(RequestError, match="also a file or folder here") as caught:
        aliases.real("tiny")
    assert caught.value.hint.startswith("./tiny for what is here")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "its schema is not 1"),
        ('{"schema": 2, "aliases": {}}', "its schema is not 1"),
        ('{"schema": 1, "alias": {}}', "unknown key 'alias'; did you mean 'aliases'"),
        ('{"schema": 1}', "it has no table of aliases"),
        ('{"schema": 1, "aliases": {"a b": "org/x"}}', "'a b' stands for 'org/x'"),
        ('{"schema": 1, "aliases": {"a": " "}}', "'a' stands for ' '"),
        ('{"schema": 1, "aliases": {"a": 3}}', "'a' stands for 3"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(text, reason):
    write(text)
    with pytest.raises(RequestError, match=reason) as caught:
        aliases.read()
    assert caught.value.hint == f"correct it, or delete {aliases.path()}"


def test_a_huge_file_is_not_read():
    write(" " * aliases.MAX_BYTES + "{}")
    with pytest.raises(RequestError, match="too big"):
        aliases.read()


def test_what_goes_wrong_leaves_the_file_as_it_was():
    aliases.add("tiny", "org/tiny")
    before = aliases.path().read_bytes()
    with pytest.raises(RequestError):
        aliases.remove("other")
    assert aliases.path().read_bytes() == before
    assert json.loads(before)["schema"] == aliases.SCHEMA


def test_a_folder_that_cannot_be_made_is_explained():
    aliases.path().parent.parent.mkdir(parents=True, exist_ok=True)
    aliases.path().parent.write_text("a file in its place")
    with pytest.raises(ImggenError, match="cannot be written"):
        aliases.add("tiny", "org/tiny")
