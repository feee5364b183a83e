"""Adapters are found where they lie, fetched alone where they do not, and known before torch is there."""

import hashlib
import json
import subprocess
import sys

import pytest
import tiny_loras
import torch

from imggen.errors import ModelError
from imggen.plan.schema.adapter import AdapterRequest
from imggen.store import adapter_files
from imggen.store.weights import AccessRules
from tests.hub_server import COMMIT, fake_hub, hub_cache

__all__ = ["fake_hub", "hub_cache"]

TENSORS = {"unet.x.lora_A.weight": torch.ones(2, 3), "unet.x.lora_B.weight": torch.ones(3, 2)}


def find(reference, kind="lora", **terms):
    return adapter_files.find(
        AdapterRequest(kind=kind, option=f"--{kind}", reference=str(reference)), terms=AccessRules(**terms)
    )


@pytest.fixture
def lora(tmp_path):
    return tiny_loras.save(tmp_path / "style.safetensors", TENSORS, {"ss_base_model_version": "sd_v1"})


def test_a_file_is_known_by_its_header_and_its_own_hash(lora):
    facts = find(lora)
    assert facts.sha256 == hashlib.sha256(lora.read_bytes()).hexdigest()
    assert facts.shapes == {name: tuple(each.shape) for name, each in TENSORS.items()}
    assert (facts.metadata, facts.weight_bytes, facts.stored_dtype) == (
        {"ss_base_model_version": "sd_v1"},
        48,
        "float32",
    )
    assert (facts.files, facts.reference, facts.revision, facts.pickle) == ((lora,), str(lora), None, False)


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "anything.safetensors"])
def test_a_folder_has_one_of_the_usual_name_or_only_one(name, lora):
    lora.rename(lora.with_name(name))
    if name.startswith("pytorch"):
        tiny_loras.save(lora.with_name("older.safetensors"), TENSORS)
    assert find(lora.parent).files == (lora.with_name(name),)


def test_the_strength_that_peft_writes_beside_it_is_read(lora):
    lora.rename(lora.with_name("adapter_model.safetensors"))
    (lora.parent / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    assert find(lora.parent).config["lora_alpha"] == 8


def test_only_the_one_file_is_fetched_and_its_commit_is_known(fake_hub, lora):
    tiny_loras.save(lora.with_name("other.safetensors"), TENSORS)
    lora.with_name("readme.md").write_text("what it is")
    fake_hub.add("org/styles", lora.parent)
    facts = find("org/styles@main/style.safetensors")
    assert (facts.reference, facts.revision) == ("org/styles/style.safetensors", COMMIT)
    assert facts.sha256 == hashlib.sha256(lora.read_bytes()).hexdigest()
    assert [len(fake_hub.gets(each)) for each in ("style.safetensors", "other.safetensors", ".md")] == [1, 0, 0]
    fake_hub.asked.clear()
    again = find("org/styles/style.safetensors", offline=True)
    assert (again.sha256, again.files, again.revision) == (facts.sha256, facts.files, COMMIT)
    assert find(f"org/styles@{COMMIT}/style.safetensors").files == facts.files
    assert not fake_hub.gets(".safetensors")


def test_an_autoencoder_is_fetched_out_of_a_whole_pipeline(fake_hub, tmp_path):
    folder = tmp_path / "model" / "vae"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    tiny_loras.save(folder / "diffusion_pytorch_model.safetensors", {"encoder.x": torch.ones(4)})
    tiny_loras.save(folder.parent / "big.safetensors", {"x": torch.ones(4)})
    fake_hub.add("org/model", folder.parent)
    facts = find("org/model", kind="vae")
    assert (facts.config, facts.weight_bytes) == ({"_class_name": "AutoencoderKL"}, 16)
    assert not fake_hub.gets("big.safetensors")


def test_a_pickle_is_not_even_fetched(fake_hub, tmp_path):
    (tmp_path / "it").mkdir()
    torch.save(TENSORS, tmp_path / "it" / "pytorch_lora_weights.bin")
    fake_hub.add("org/old", tmp_path / "it")
    with pytest.raises(ModelError, match=r"pytorch_lora_weights\.bin is a pickle"):
        find("org/old")
    assert not fake_hub.gets(".bin")
    assert find("org/old", allow_pickle=True).pickle


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("org/styles/nowhere.safetensors", "--lora org/styles/nowhere.safetensors: the repository has no nowhere"),
        ("org/styles", "--lora org/styles has 2 files that could be meant: other.safetensors, style.safetensors"),
        ("org/style", "the hub has no model 'org/style' that you may see"),
    ],
)
def test_what_the_hub_does_not_have_is_told(reference, message, fake_hub, lora):
    tiny_loras.save(lora.with_name("other.safetensors"), TENSORS)
    fake_hub.add("org/styles", lora.parent)
    with pytest.raises(ModelError) as caught:
        find(reference)
    assert message in caught.value.message


def test_offline_nothing_is_asked(fake_hub):
    with pytest.raises(ModelError) as caught:
        find("org/styles@v1/style.safetensors", offline=True)
    assert caught.value.message.endswith("it is not on this machine, and imggen is offline")
    assert caught.value.hint == "while online: hf download org/styles style.safetensors --revision v1"
    assert fake_hub.asked == []


def test_torch_is_not_needed(lora):
    code = (
        "import sys; from imggen.store import adapter_files; from imggen.plan.schema.adapter import AdapterRequest;"
        f"adapter_files.find(AdapterRequest(kind='lora', option='--lora', reference={str(lora)!r}));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
