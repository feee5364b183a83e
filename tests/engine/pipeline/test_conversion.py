"""Weights written anew, tensor by tensor."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from imggen.engine.pipeline import conversion
from imggen.engine.pipeline.conversion import TensorEntry
from imggen.errors import ModelError
from imggen.plan.schema.progress import ignore
from imggen.store.weights import WeightFiles


def entries(path, dtype="float16", *, pickle=False):
    return conversion.entries(WeightFiles(files=(path,), pickle=pickle), dtype)


def of_sizes(path, *sizes):
    return [
        TensorEntry(name=str(at), source=path, shape=(size,), kind="U8", size=size) for at, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [((), [[]]), ((4, 6), [[4, 6]]), ((4, 7), [[4], [7]]), ((11, 1), [[11], [1]]), ((5, 5, 1), [[5, 5], [1]])],
)
def test_a_file_takes_as_many_tensors_as_fit(tmp_path, sizes, parts):
    shards = conversion.shards(of_sizes(tmp_path, *sizes), most=10)
    assert [[tensor.size for tensor in part] for part in shards] == parts


def test_real_numbers_change_and_whole_ones_stay(tmp_path):
    tensors = {"half": torch.ones(3), "count": torch.tensor([1, 2]), "empty": torch.zeros(0)}
    save_file(tensors, tmp_path / "x.safetensors")
    told = []
    (written,) = conversion.write(tmp_path, "model", entries(tmp_path / "x.safetensors"), tell=told.append)
    assert written.path == tmp_path / "model.safetensors"
    new = load_file(written.path)
    assert {name: tensor.dtype for name, tensor in new.items()} == {
        "half": torch.float16, "count": torch.int64, "empty": torch.float16
    }  # fmt: skip
    assert torch.equal(new["half"], torch.ones(3, dtype=torch.float16))
    assert sum(told) == 3 * 2 + 2 * 8


def test_several_files_get_an_index(tmp_path):
    save_file({"a": torch.ones(4), "b": torch.ones(4)}, tmp_path / "x.safetensors")
    files = conversion.write(tmp_path, "model", entries(tmp_path / "x.safetensors"), tell=ignore, most=8)
    assert [file.path.name for file in files] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 16}
    assert index["weight_map"] == {"a": files[0].path.name, "b": files[1].path.name}


@pytest.mark.parametrize(("largest", "fits"), [(65504.0, True), (65536.0, False), (float("inf"), True)])
def test_a_number_that_float16_cannot_hold_is_refused(tmp_path, largest, fits):
    save_file({"a": torch.tensor([largest])}, tmp_path / "x.safetensors")
    work = lambda: conversion.write(tmp_path, "model", entries(tmp_path / "x.safetensors"), tell=ignore)  # noqa: E731
    if fits:
        assert work()
        return
    with pytest.raises(ModelError, match="holds 65,536, and float16 ends at 65,504") as caught:
        work()
    assert caught.value.hint == "--dtype bfloat16"


def test_numbers_that_need_a_scale_are_refused(tmp_path):
    save_file({"a": torch.ones(2).to(torch.float8_e4m3fn)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="a is stored as F8_E4M3, which is not a plain number type"):
        entries(tmp_path / "x.safetensors")


def test_a_pickle_of_anything_but_tensors_is_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "x.bin")
    assert [entry.kind for entry in entries(tmp_path / "x.bin", pickle=True)] == ["F16"]
    torch.save({"a": torch.ones(2), "epoch": 3}, tmp_path / "x.bin")
    with pytest.raises(ModelError, match="is not a table of tensors"):
        entries(tmp_path / "x.bin", pickle=True)
