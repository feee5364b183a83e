"""The header of GGUF files: what it says of the tensors, and which headers are refused, and why."""

import struct
from pathlib import Path

import gguf
import pytest

from imggen.errors import ModelError
from imggen.store import gguf_header
from imggen.store.weights import AGAIN, MAX_HEADER_BYTES

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, LIST = 8, 9
KNOWN = sorted(set(range(31)) - {4, 5})


def text(letters: bytes) -> bytes:
    return struct.pack("<Q", len(letters)) + letters


def tensor(name: bytes = b"a", stored_shape=(2,), kind: int = 0, offset: int = 0) -> bytes:
    """Return a tensor's entry; `stored_shape` is innermost first."""
    sizes = struct.pack(f"<I{len(stored_shape)}Q", len(stored_shape), *stored_shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def value(name: bytes, kind: int, content: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + content


def nested(depth: int) -> bytes:
    """Return the content of a list in a list, `depth` lists in all, the innermost of one byte."""
    return struct.pack("<IQ", 0, 1) + b"x" if depth == 1 else struct.pack("<IQ", LIST, 1) + nested(depth - 1)


def head(tensors=(), values=(), *, version: int = 3, counts: tuple[int, int] | None = None) -> bytes:
    counts = counts or (len(tensors), len(values))
    return b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join((*values, *tensors))


def padded(header: bytes, alignment: int = 32) -> bytes:
    return header + bytes(-len(header) % alignment)


@pytest.fixture
def read(tmp_path):
    def read(data: bytes):
        path = tmp_path / "x.gguf"
        path.write_bytes(data)
        return gguf_header.read(path)

    return read


@pytest.mark.parametrize(
    ("name", "expected"), [("x.gguf", True), ("x.GGUF", True), ("x.gguf.part", False), ("gguf", False)]
)
def test_a_gguf_file_is_known_by_the_end_of_its_name(name, expected):
    assert gguf_header.is_gguf(Path(name)) is expected


def test_header_says_names_shapes_types_and_bytes(read):
    tensors = (
        tensor(b"a", (64, 2), 8),
        tensor(b"b", (3, 2), 1, 160),
        tensor(b"c", (), 0, 192),
        tensor(b"d", (32,), 8, 224),
    )
    header = read(padded(head(tensors, [value(b"general.name", TEXT, text(b"tiny"))])) + bytes(258))
    assert header.shapes == {"a": (2, 64), "b": (2, 3), "c": (), "d": (32,)}
    assert header.dtypes == {"a": "Q8_0", "b": "F16", "c": "F32", "d": "Q8_0"}
    assert header.sizes == {"a": 136, "b": 12, "c": 4, "d": 34}
    assert header.dtype_bytes == {"Q8_0": 170, "F16": 12, "F32": 4}
    assert header.tensor_bytes == 186
    assert header.metadata == {"general.name": "tiny"}


@pytest.mark.parametrize("number", KNOWN)
def test_names_and_sizes_of_blocks_are_those_of_the_package(number, read):
    kind = gguf.GGMLQuantizationType(number)
    weights, size = gguf.constants.GGML_QUANT_SIZES[kind]
    header = read(padded(head([tensor(b"a", (weights, 3), number)])) + bytes(3 * 300))
    assert header.dtypes == {"a": kind.name}
    # The package counts two floats more in a block of Q8_1 than ggml, or the other way round, by its version.
    assert header.sizes == {"a": 3 * size} or number == 9


@pytest.mark.parametrize("number", [4, 5, 31, 1 << 31])
def test_an_unknown_type_is_refused(number, read):
    with pytest.raises(ModelError, match=f"damaged header: 'a' is of the unknown type {number}"):
        read(padded(head([tensor(b"a", (32,), number)])) + bytes(999))


@pytest.mark.parametrize(
    ("stored_shape", "shape"), [((16,), (16,)), ((2, 32), (32, 2)), ((33,), (33,)), ((16, 2), (2, 16))]
)
def test_a_tensor_that_cannot_be_cut_into_blocks_is_refused(stored_shape, shape, read):
    with pytest.raises(ModelError) as caught:
        read(padded(head([tensor(b"a", stored_shape, 8)])) + bytes(999))
    assert f"'a' of shape {shape} cannot be in blocks of 32" in caught.value.message


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(version, read):
    assert read(padded(head([tensor()], version=version)) + bytes(8)).shapes == {"a": (2,)}


@pytest.mark.parametrize("version", [0, 1, 4])
def test_other_versions_are_refused(version, read):
    with pytest.raises(ModelError, match=f"is GGUF of version {version}; versions 2 and 3 are read"):
        read(head(version=version))


@pytest.mark.parametrize(("counts", "reason"), [
    ((1_000_000, 0), "is no whole GGUF file: its header does not fit in its 24 bytes"),
    ((1_000_001, 0), "it says that it has 1000001 tensors and 0 values"),
    ((0, 1_000_000), "is no whole GGUF file: its header does not fit in its 24 bytes"),
    ((0, 1_000_001), "it says that it has 0 tensors and 1000001 values"),
])  # fmt: skip
def test_more_than_a_million_tensors_or_values_are_refused(counts, reason, read):
    with pytest.raises(ModelError) as caught:
        read(head(counts=counts))
    assert reason in caught.value.message
    assert caught.value.hint == AGAIN


@pytest.mark.parametrize(("data", "reason", "hint"), [
    (b"GGML" + head()[4:], "is no GGUF file: it does not begin with GGUF", None),
    (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the weights", "git lfs pull"),
    (b"", "its header does not fit in its 0 bytes", AGAIN),
    (head([tensor()])[:-1], "its header does not fit in its 56 bytes", AGAIN),
])  # fmt: skip
def test_what_is_no_header_is_called_what_it_is(data, reason, hint, read):
    with pytest.raises(ModelError) as caught:
        read(data)
    assert reason in caught.value.message
    assert caught.value.hint == hint


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"x\.gguf cannot be read: No such file"):
        gguf_header.read(tmp_path / "x.gguf")


def test_eight_dimensions_are_read_and_nine_refused(read):
    assert read(padded(head([tensor(b"a", (1,) * 8)])) + bytes(4)).shapes == {"a": (1,) * 8}
    with pytest.raises(ModelError, match="'a' has 9 dimensions"):
        read(padded(head([tensor(b"a", (1,) * 9)])) + bytes(4))


def test_two_tensors_of_one_name_are_refused(read):
    with pytest.raises(ModelError, match="a tensor's name comes twice"):
        read(padded(head([tensor(), tensor()])) + bytes(8))


@pytest.mark.parametrize("alignment", [1, 32, 64, 1 << 16])
def test_weights_begin_at_the_alignment_and_must_all_be_there(alignment, read):
    values = [] if alignment == 32 else [value(b"general.alignment", 4, struct.pack("<I", alignment))]
    data = padded(head([tensor(b"b", (1,)), tensor(b"a", (2,), 0, 4)], values), alignment) + bytes(12)
    assert read(data).tensor_bytes == 12
    with pytest.raises(ModelError, match=f"is cut short: {len(data) - 1} of {len(data)} bytes are there") as caught:
        read(data[:-1])
    assert caught.value.hint == AGAIN


@pytest.mark.parametrize(("kind", "content", "shown"), [
    (4, struct.pack("<I", 0), "0"),
    (4, struct.pack("<I", (1 << 16) + 1), "65537"),
    (5, struct.pack("<i", -1), "-1"),
    (TEXT, text(b"32"), "'32'"),
])  # fmt: skip
def test_an_alignment_out_of_range_is_refused(kind, content, shown, read):
    with pytest.raises(ModelError, match=f"its alignment is {shown}$"):
        read(head(values=[value(b"general.alignment", kind, content)]))


@pytest.mark.parametrize(("kind", "size"), SCALAR_BYTES.items())
def test_numbers_and_lists_of_them_are_passed_over_in_their_size(kind, size, read):
    values = [
        value(b"number", kind, bytes(size)),
        value(b"list", LIST, struct.pack("<IQ", kind, 3) + bytes(3 * size)),
        value(b"texts", LIST, struct.pack("<IQ", TEXT, 2) + text(b"one") + text(b"two")),
        value(b"name", TEXT, text(b"last")),
    ]
    assert read(head(values=values)).metadata == {"name": "last"}


@pytest.mark.parametrize(("kind", "content", "reason"), [
    (13, b"", "a value is of the unknown type 13"),
    (LIST, struct.pack("<IQ", 13, 1) + b"x", "a value is of the unknown type 13"),
    (LIST, struct.pack("<IQ", TEXT, 3) + b"xx", "a list says that it has 3 entries"),
    (LIST, struct.pack("<IQ", 0, 3) + b"xx", "its header does not fit"),
    (TEXT, struct.pack("<Q", 11) + b"xx", "a name says that it has 11 letters"),
    (LIST, nested(9), "a value is of the unknown type 9"),
])  # fmt: skip
def test_a_value_that_lies_is_refused(kind, content, reason, read):
    with pytest.raises(ModelError, match=reason):
        read(head(values=[value(b"a", kind, content)]))


def test_lists_are_read_eight_deep(read):
    values = [value(b"a", LIST, nested(8)), value(b"name", TEXT, text(b"last"))]
    assert read(head(values=values)).metadata == {"name": "last"}


def test_names_have_a_longest_length_and_need_not_be_utf8(read):
    assert set(read(padded(head([tensor(b"x" * (1 << 16)), tensor(b"\xff")])) + bytes(8)).shapes) == {
        "x" * (1 << 16),
        "\ufffd",
    }
    with pytest.raises(ModelError, match="a name says that it has 65537 letters"):
        read(padded(head([tensor(b"x" * ((1 << 16) + 1))])) + bytes(8))


def test_header_that_is_longer_than_any_or_has_nothing_in_it_is_no_accident(tmp_path):
    file = tmp_path / "x.gguf"
    start = head(counts=(0, 1)) + text(b"a") + struct.pack("<I", TEXT)
    with file.open("wb") as out:
        out.write(start + struct.pack("<Q", 1 << 32))
        # A hole, which takes no room.
        out.truncate((1 << 32) + 100)
    with pytest.raises(ModelError, match=f"more than {MAX_HEADER_BYTES:,} bytes"):
        gguf_header.read(file)
    file.write_bytes(start + text(b"b"))
    assert not gguf_header.read(file).shapes
