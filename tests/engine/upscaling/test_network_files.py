"""Files of networks that enlarge: which are read, and what the others are called. No network is built here."""

import sys
import zipfile
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from imggen.engine.upscaling import network_files
from imggen.errors import MachineError, ModelError
from imggen.plan.upscaling.upscalers import NETWORK_SUFFIXES


class UnsupportedModelError(Exception):
    pass


@pytest.fixture
def spandrel(monkeypatch):
    """A spandrel that reads these `tensors` from any file, and makes the `descriptor` of them or raises `error`."""
    descriptor = SimpleNamespace(
        architecture=SimpleNamespace(name="Net"), purpose="SR", scale=2, input_channels=3, output_channels=3
    )
    fake = SimpleNamespace(
        UnsupportedModelError=UnsupportedModelError, descriptor=descriptor, tensors={"a": torch.zeros(1)}, error=None
    )

    def load(tensors):
        if fake.error:
            raise fake.error
        fake.loaded = tensors
        return fake.descriptor

    loader = SimpleNamespace(load_state_dict_from_file=lambda path: fake.tensors, load_from_state_dict=load)
    fake.ModelLoader = lambda: loader
    monkeypatch.setitem(sys.modules, "spandrel", fake)
    return fake


@pytest.fixture
def file(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def refused(path, *, allow_pickle=False):
    with pytest.raises(ModelError) as caught:
        network_files.describe(path, allow_pickle=allow_pickle)
    assert caught.value.message.startswith(str(path))
    return caught.value.message.removeprefix(f"{path} "), caught.value.hint


def test_a_network_is_described_from_its_tensors_alone(spandrel, file):
    spandrel.tensors = {"a": torch.zeros(1), "epoch": 3, 7: torch.ones(1)}
    assert network_files.describe(file, allow_pickle=False) is spandrel.descriptor
    assert spandrel.loaded.keys() == {"a", "7"}


@pytest.mark.parametrize(("facts", "message"), [
    ({}, None),
    ({"input_channels": 1, "output_channels": 1}, None),
    ({"purpose": "Restoration", "scale": 4}, None),
    ({"purpose": "Inpainting"}, "is a network for inpainting (Net): it needs a mask and does not upscale"),
    ({"purpose": "FaceSR"}, "is a network for cut-out faces (Net), and does not take pictures as they are"),
    ({"scale": 1}, "is a network that restores pictures (Net): it does not upscale them"),
    ({"input_channels": 4, "output_channels": 4}, "turns 4 channels into 4 (Net): networks of colour pictures (3 into"),
    ({"input_channels": 1}, "turns 1 channels into 3 (Net)"),
    ({"output_channels": 1}, "turns 3 channels into 1 (Net)"),
])  # fmt: skip
def test_networks_that_enlarge_colour_or_grey_pictures_are_taken_alone(spandrel, file, facts, message):
    vars(spandrel.descriptor).update(facts)
    if message is None:
        assert network_files.describe(file, allow_pickle=False)
    else:
        assert refused(file)[0].startswith(message)


def test_what_is_not_there_or_a_folder_is_refused(tmp_path):
    assert refused(tmp_path / "x.safetensors") == ("is not there", "a .safetensors file")
    assert refused(tmp_path) == ("is a folder", "a .safetensors file")


def test_a_name_that_ends_otherwise_is_refused_with_those_that_will_do(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"PK\x03\x04")
    known = ", ".join(NETWORK_SUFFIXES)
    message = f"is not an upscaler that imggen can read: its name ends in none of {known}"
    assert refused(tmp_path / "x.onnx", allow_pickle=True)[0] == message


@pytest.mark.parametrize("data", [b"", b"hello", b"PK", b"PK\x03", b"version https://git-lfs.github.com/spec/v1"])
def test_what_neither_is_a_zip_file_nor_a_pickle_is_not_called_one(tmp_path, data):
    (tmp_path / "x.pth").write_bytes(data)
    assert refused(tmp_path / "x.pth") == ("is not a file of weights", None)


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"\x80\x02", b"\x80"])
@pytest.mark.parametrize("name", ["x.pth", "x.PTH", "x.pt", "x.ckpt"])
def test_zip_file_and_pickle_ask_for_leave(spandrel, tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    message, hint = refused(path)
    assert message == "is a pickle, which can run code when it is read"
    assert hint.startswith("--allow-pickle if you trust it, or convert it: python -c ")
    assert str(path.with_suffix(".safetensors")) in hint
    assert network_files.describe(path, allow_pickle=True)


def test_a_program_is_not_read_at_all(spandrel, tmp_path):
    for member, is_read in (("x/data.pkl", True), ("constants.pkl", True), ("x/constants.pkl", False)):
        with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
            file.writestr(member, "")
        if is_read:
            assert network_files.describe(tmp_path / "x.pt", allow_pickle=True)
        else:
            message, hint = refused(tmp_path / "x.pt", allow_pickle=True)
            assert (message, hint) == ("is a TorchScript program, not weights", "take the model's weights instead")


@pytest.mark.parametrize(("count", "number", "is_read"), [
    (1, 256, True), (1, 257, False), (32, 256, True), (33, 264, True), (33, 265, False), (1, 9_999_999_999, False),
])  # fmt: skip
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_layer_number_out_of_all_proportion_builds_nothing(spandrel, tmp_path, count, number, is_read, suffix):
    path = tmp_path / f"x{suffix}"
    names = [f"body.{number}.bias", *(f"layer{'x' * place}" for place in range(count - 1))]
    spandrel.tensors = dict.fromkeys(names, torch.zeros(1))
    path.write_bytes(b"\x80")
    if suffix == ".safetensors":
        save_file({name: torch.zeros(1) for name in names}, path)
    if is_read:
        assert network_files.describe(path, allow_pickle=True)
    else:
        shown = str(number)[:9]
        message = f"is damaged: it has {count} tensors, and counts layers up to {shown}"
        assert refused(path, allow_pickle=True)[0] == message


@pytest.mark.parametrize(("keys", "what"), [
    (("lora_unet_down.lora_down.weight",), "seems to be a LoRA, which changes a model that draws pictures"),
    (("model.diffusion_model.input_blocks.0.0.weight",), "seems to be a Stable Diffusion checkpoint"),
    (("down_blocks.0.resnets.0.conv1.weight",), "seems to be a diffusion model's U-Net"),
    (("double_blocks.0.img_attn.qkv.weight",), "seems to be a diffusion transformer"),
    (("decoder.up_blocks.0.conv.weight",), "seems to be an autoencoder"),
    (("text_model.embeddings.token_embedding.weight",), "seems to be a text model"),
    (("emb_params",), "seems to be a textual inversion"),
    (("text_model.a", "down_blocks.a", "b.lora.c"), "seems to be a LoRA, which changes a model that draws pictures"),
    (("something.else", "b"), "holds 2 tensors, such as 'b'"),
    (("b" * 99,), f"holds 1 tensors, such as {'b' * 80!r}"),
    ((), "holds no tensors"),
])  # fmt: skip
def test_a_file_of_another_kind_is_named_for_what_it_seems_to_be(spandrel, file, keys, what):
    spandrel.tensors = dict.fromkeys(keys, torch.zeros(1))
    spandrel.error = UnsupportedModelError()
    assert refused(file)[0] == f"is not an upscaler: it {what}"
    spandrel.error = KeyError("body")
    assert refused(file)[0].startswith(f"{what}, and cannot be loaded as a network: ")


def test_running_out_of_memory_is_the_machines_fault(spandrel, file):
    spandrel.error = MemoryError()
    with pytest.raises(MachineError, match=r"out of memory while .* was read"):
        network_files.describe(file, allow_pickle=False)


def test_without_spandrel_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MachineError, match="spandrel is not installed") as caught:
        network_files.describe(file, allow_pickle=False)
    assert caught.value.hint == "pip install 'imggen[upscale]'"


@pytest.mark.parametrize("error", [ImportError("no"), RuntimeError("no"), OSError("no")])
def test_a_spandrel_that_cannot_be_imported_sends_to_the_doctor(file, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(network_files.importlib, "import_module", fail)
    with pytest.raises(MachineError, match="spandrel cannot be imported: no") as caught:
        network_files.describe(file, allow_pickle=False)
    assert caught.value.hint == "imggen doctor"
