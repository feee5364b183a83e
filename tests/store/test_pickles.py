"""The one place where pickles are read."""

import pytest
import torch

from imggen.errors import ModelError
from imggen.store import pickles


class Code:
    def __reduce__(self):
        return print, ("this ran",)


@pytest.fixture
def save(tmp_path):
    def save(held, **options):
        torch.save(held, tmp_path / "x.pt", **options)
        return tmp_path / "x.pt"

    return save


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_found_however_deep_it_lies(save, zipped):
    file = save({"state_dict": {"state_dict": {"x": torch.ones(2), "epoch": 3}}}, _use_new_zipfile_serialization=zipped)
    assert pickles.entries(file).keys() == {"x", "epoch"}
    assert torch.equal(pickles.tensors(file).pop("x"), torch.ones(2))


def test_what_is_no_table_is_refused_by_its_type(save):
    with pytest.raises(ModelError, match=r"x\.pt holds list, not weights by name"):
        pickles.tensors(save([1, 2]))


def test_code_is_refused_and_does_not_run(save, capsys):
    with pytest.raises(ModelError, match="holds more than weights"):
        pickles.read(save({"x": torch.zeros(1), "evil": Code()}))
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x02garbage", b"text"])
def test_a_damaged_file_is_a_model_error(tmp_path, data):
    (tmp_path / "x.pt").write_bytes(data)
    with pytest.raises(ModelError, match="or is damaged"):
        pickles.read(tmp_path / "x.pt")


def test_a_missing_file_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        pickles.read(tmp_path / "x.pt")


def test_grouped_tensors_have_both_names(save):
    file = save({"image_proj": {"w": torch.zeros(1)}, "ip_adapter": {"1.k": torch.zeros(2), "note": "text"}})
    assert pickles.grouped_tensors(file).keys() == {"image_proj.w", "ip_adapter.1.k"}


def test_a_group_that_is_no_table_is_refused(save):
    with pytest.raises(ModelError, match="holds Tensor as image_proj, not a table of weights"):
        pickles.grouped_tensors(save({"image_proj": torch.zeros(1)}))


def test_the_header_of_a_pickle_says_what_one_of_safetensors_would(save):
    held = {"half": torch.zeros(2, 3, dtype=torch.float16), "whole": torch.zeros(4), "other": torch.zeros(1)}
    header = pickles.header(save(held | {"odd": torch.zeros(1, dtype=torch.complex64)}))
    assert header.dtype_bytes == {"F16": 12, "F32": 20, "torch.complex64": 8}
    assert header.tensor_bytes == 40
    assert header.shapes["half"] == (2, 3)
    assert header.dtype == "float32"
