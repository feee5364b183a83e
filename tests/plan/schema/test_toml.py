import os

import pytest

from imggen.errors import RequestError
from imggen.plan.schema import toml


def read(tmp_path, data):
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    return toml.read(path)


@pytest.mark.parametrize("data", [b"steps = 7\n", b"\xef\xbb\xbfsteps = 7\r\n", "steps = 7 # é".encode()])
def test_a_table_is_read_with_and_without_a_byte_order_mark(tmp_path, data):
    assert read(tmp_path, data) == {"steps": 7}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"steps =", "is not valid TOML"),
        (b"a = 1\na = 2", "is not valid TOML"),
        (b"a = " + b"9" * 5000, "is not valid TOML"),
        ("steps = 7".encode("utf-16"), "is not UTF-8 text"),
        (b"#" * (1 << 20) + b"\n", "is larger than 1 MiB"),
        (b"a = " + b"[" * 3000 + b"]" * 3000, "more than 16 deep"),
        (b"a = " + b"[" * 17 + b"]" * 17, "more than 16 deep"),
        (b".".join([b"a"] * 17) + b".b = 1", "more than 16 deep"),
        (b"[" + b".".join([b"a"] * 3000) + b"]", "more than 16 deep"),
    ],
)
def test_what_is_wrong_is_told_with_the_file(tmp_path, data, message):
    with pytest.raises(RequestError, match=message) as caught:
        read(tmp_path, data)
    assert caught.value.message.startswith(str(tmp_path / "a.toml"))


def test_the_greatest_depth_is_read(tmp_path):
    assert read(tmp_path, b"a = " + b"[" * 15 + b"]" * 15)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    with pytest.raises(RequestError, match="is a folder"):
        toml.read(tmp_path)
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        toml.read(tmp_path / "none.toml")
    with pytest.raises(RequestError, match="cannot be read: embedded null"):
        toml.read(tmp_path / "a\0.toml")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(RequestError, match="is not a regular file"):
        toml.read(tmp_path / "pipe.toml")


def test_the_subject_is_how_messages_call_the_file(tmp_path):
    with pytest.raises(RequestError, match="the policy cannot be read"):
        toml.read(tmp_path / "none.toml", subject="the policy")
