"""What people type, as a place on the disk."""

from pathlib import Path

from imggen.store import paths


def test_a_tilde_is_the_home_and_an_unknown_user_a_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.at_home("~/models") == tmp_path / "models"
    assert paths.at_home("~nobody-of-that-name/models") == Path("~nobody-of-that-name/models")
    assert paths.at_home("models") == Path("models")


def test_a_name_that_no_disk_can_have_is_not_there(tmp_path):
    assert paths.is_there(tmp_path)
    assert not paths.is_there(tmp_path / "gone")
    assert not paths.is_there(tmp_path / ("x" * 5000))
    assert not paths.is_there(Path("a\0b"))
