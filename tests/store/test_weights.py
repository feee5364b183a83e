import hashlib
import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imggen.errors import ModelError
from imggen.store import weights


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


GOOD = {"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {"format": "pt"}}


@pytest.fixture
def header_of(tmp_path):
    def read(content):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        return weights.read_header(path)

    return read


def test_a_header_tells_bytes_dtype_and_names(header_of):
    two = GOOD | {"b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]}}
    header = header_of(safetensors(two, bytes(16)))
    assert (header.tensor_bytes, header.dtype, header.names) == (16, "float16", {"a", "b"})


def span(dtype="F16", shape=(2, 3), offsets=(0, 12)):
    return {"a": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "does not fit"),
        (b"\0\0\0", "does not fit"),
        ((1 << 62).to_bytes(8, "little") + b"{}", "does not fit"),
        ((200).to_bytes(8, "little") + b"{}", "does not fit"),
        (safetensors(b"{}}"), "damaged header"),
        (safetensors(b"[1]"), "not an object"),
        (safetensors(b"[" * 100_000), "damaged header"),
        (safetensors(GOOD, bytes(11)), "cut short: 11 of 12 bytes"),
        (safetensors(GOOD, bytes(13)), "1 bytes that its header does not explain"),
        (safetensors({"a": 1}), "entry of 'a'"),
        (safetensors(span(shape=(2, 4)), bytes(12)), "entry of 'a'"),
        (safetensors(span(shape=(-2, -3)), bytes(12)), "entry of 'a'"),
        (safetensors(span(shape=(True, 6)), bytes(12)), "entry of 'a'"),
        (safetensors(span(offsets=(12, 0)), bytes(12)), "entry of 'a'"),
        (safetensors(span(offsets=(0, 12, 24)), bytes(12)), "entry of 'a'"),
        (safetensors(span(offsets=(4, 16)), bytes(16)), "leave holes at byte 0"),
        (safetensors(span() | {"b": GOOD["a"]}, bytes(12)), "overlap"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    ],
)
def test_a_damaged_or_lying_header_is_refused(header_of, content, reason):
    with pytest.raises(ModelError, match=reason):
        header_of(content)


@given(content=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_model_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        weights.read_header(path)


@given(
    entry=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_no_entry_raises_anything_but_a_model_error(tmp_path_factory, entry):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(safetensors({"a": entry}, bytes(4)))
    try:
        header = weights.read_header(path)
    except ModelError:
        return
    assert header.tensor_bytes == 4


def shards(folder, names, *, written=None, index="diffusion_pytorch_model.safetensors.index.json"):
    (folder / index).write_text(json.dumps({"weight_map": {f"layer{n}": name for n, name in enumerate(names)}}))
    for name in names if written is None else written:
        (folder / name).write_bytes(safetensors(GOOD, bytes(12)))


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_full_precision_runs_choose_full_files_and_half_runs_the_variant(tmp_path, variant):
    for name in ("model.safetensors", f"model.{variant}.safetensors"):
        (tmp_path / name).write_bytes(safetensors(GOOD, bytes(12)))
    assert weights.choose(tmp_path, half=False).files == (tmp_path / "model.safetensors",)
    half = weights.choose(tmp_path, half=True)
    assert (half.files, half.variant) == ((tmp_path / f"model.{variant}.safetensors",), variant)


def test_the_only_kind_of_file_is_chosen_whatever_is_preferred(tmp_path):
    (tmp_path / "diffusion_pytorch_model.fp16.safetensors").write_bytes(safetensors(GOOD, bytes(12)))
    assert weights.choose(tmp_path, half=False).variant == "fp16"


def test_shards_are_found_through_their_index(tmp_path):
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    shards(tmp_path, [*names, names[0]])
    assert weights.choose(tmp_path, half=True).files == tuple(tmp_path / name for name in names)


def test_a_missing_shard_is_named(tmp_path):
    shards(tmp_path, ["a.safetensors", "b.safetensors", "c.safetensors"], written=["a.safetensors"])
    with pytest.raises(ModelError, match=r"b\.safetensors and 1 more of 3 files missing"):
        weights.choose(tmp_path, half=True)


def test_an_index_without_its_shards_gives_way_to_a_variant_that_is_whole(tmp_path):
    shards(tmp_path, ["a.safetensors"], written=[])
    variant = tmp_path / "diffusion_pytorch_model.fp16.safetensors"
    variant.write_bytes(safetensors(GOOD, bytes(12)))
    assert weights.choose(tmp_path, half=False).files == (variant,)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "x.bin", "", ".", 7])
def test_a_shard_outside_the_folder_is_refused(tmp_path, name):
    shards(tmp_path, [name], written=[])
    with pytest.raises(ModelError, match="not a safetensors file beside it"):
        weights.choose(tmp_path, half=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000])
def test_a_broken_index_is_a_model_error(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index of weights|names no weights"):
        weights.choose(tmp_path, half=True)


def test_a_link_to_nothing_says_what_to_do(tmp_path):
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(ModelError, match="points at a file that is gone"):
        weights.choose(tmp_path, half=True)


def test_the_hash_depends_on_names_and_contents_and_not_on_order_or_place(tmp_path):
    def total(root, files):
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return weights.sha256(root, [root / name for name in files], memory=tmp_path / "memory")

    first = total(tmp_path / "a", {"unet/x": b"1", "vae/x": b"2"})
    assert first == total(tmp_path / "b", {"vae/x": b"2", "unet/x": b"1"})
    assert first != total(tmp_path / "c", {"unet/x": b"2", "vae/x": b"1"})
    line = f"x\0{hashlib.sha256(b'1').hexdigest()}\n"
    assert total(tmp_path / "d", {"x": b"1"}) == hashlib.sha256(line.encode()).hexdigest()


def test_a_blob_of_the_hub_is_not_read_again(tmp_path):
    digest = "ab" * 32
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / digest).write_bytes(b"whatever")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "x").symlink_to(tmp_path / "blobs" / digest)
    linked, memory = tmp_path / "snapshot" / "x", tmp_path / "memory"
    found = weights.sha256(tmp_path / "snapshot", [linked], cached=True, memory=memory)
    assert found == hashlib.sha256(f"x\0{digest}\n".encode()).hexdigest()
    assert weights.file_sha256(linked, cached=True, memory=memory) == digest


def test_a_name_proves_nothing_of_a_file_outside_of_the_cache(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ("ab" * 32)).write_bytes(b"whatever")
    (tmp_path / "x").symlink_to(tmp_path / "blobs" / ("ab" * 32))
    real, memory = hashlib.sha256(b"whatever").hexdigest(), tmp_path / "memory"
    assert weights.file_sha256(tmp_path / "x", memory=memory) == real
    found = weights.sha256(tmp_path, [tmp_path / "x"], memory=memory)
    assert found == hashlib.sha256(f"x\0{real}\n".encode()).hexdigest()


def test_a_big_file_is_hashed_once_and_again_when_it_changes(tmp_path):
    path, memory = tmp_path / "big", tmp_path / "cache" / "memory.json"
    with path.open("wb") as file:
        file.truncate(weights.REMEMBERED_BYTES)
    first = weights.sha256(tmp_path, [path], memory=memory)
    ((key, entry),) = json.loads(memory.read_text()).items()
    assert key == str(path)
    memory.write_text(json.dumps({key: [*entry[:2], "0" * 64]}))
    assert weights.sha256(tmp_path, [path], memory=memory) != first
    os.utime(path, ns=(1, 1))
    assert weights.sha256(tmp_path, [path], memory=memory) == first


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', "nonsense"])
def test_a_broken_memory_counts_as_forgotten(tmp_path, text):
    (tmp_path / "x").write_bytes(b"1")
    clean = weights.sha256(tmp_path, [tmp_path / "x"], memory=tmp_path / "none")
    (tmp_path / "memory").write_text(text)
    assert weights.sha256(tmp_path, [tmp_path / "x"], memory=tmp_path / "memory") == clean


def test_reading_ahead_stops_when_its_block_ends(tmp_path):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(1 << 34)
    before = threading.active_count()
    with weights.ReadAhead([path], budget_bytes=1 << 40):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_reading_ahead_leaves_a_missing_file_to_the_loader(tmp_path):
    with weights.ReadAhead([tmp_path / "missing"], budget_bytes=1 << 40):
        pass


def test_reading_ahead_leaves_files_alone_that_memory_cannot_hold(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    (tmp_path / "big").write_bytes(bytes(100))
    # Opening the pipe would block for ever, so coming back at all shows that nothing was opened.
    with weights.ReadAhead([tmp_path / "big", path], budget_bytes=99):
        pass


def test_a_header_longer_than_any_models_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "long.safetensors"
    length = weights.MAX_HEADER_BYTES + 1
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little"))
        # Nothing but a hole, which is no JSON.
        file.truncate(8 + length)
    with pytest.raises(ModelError, match=r"long.safetensors has a header of 30,000,001 bytes; at most 30,000,000"):
        weights.read_header(path)
