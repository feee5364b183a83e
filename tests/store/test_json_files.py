"""Small JSON files."""

import pytest

from imggen.errors import ModelError
from imggen.store import json_files


def test_an_object_is_read(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert json_files.read(tmp_path / "x.json", most_bytes=8) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "holds list, not an object"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"aa": 1}', "too big to be what its name says"),
    ],
)
def test_anything_else_is_refused(tmp_path, text, reason):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ModelError, match=reason):
        json_files.read(tmp_path / "x.json", most_bytes=8 if "aa" in text else json_files.MOST_BYTES)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        json_files.read(tmp_path / "x.json")
