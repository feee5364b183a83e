import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from imggen.engine.pipeline import conversion
from imggen.errors import CheckError, MachineError, ModelError, RequestError
from imggen.host import environment
from imggen.plan.schema.request import GenerateRequest
from imggen.store import integrity, lookup
from imggen.tasks import convert as task
from imggen.tasks import generate
from tests import single_files
from tests.tiny_models import BUILDERS, tiny_models

__all__ = ["tiny_models"]

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tiny_models, tmp_path):
    return Path(shutil.copytree(tiny_models("sd"), tmp_path / "model"))


def convert(model, folder, dtype="bfloat16", **options):
    return task.convert(task.Wanted(reference=str(model), folder=str(folder), dtype=dtype, **options))


def test_a_model_is_written_anew_in_one_precision_and_is_as_it_says(model, tmp_path):
    (model / "README.md").write_text("---\nlicense: mit\n---\n# A model")
    (model / "LICENSE").write_text("MIT")
    (model / "imggen.json").write_text('{"schema": 1, "steps": 2}')
    events = []
    made = task.convert(
        task.Wanted(reference=str(model), folder=str(tmp_path / "new"), dtype="bf16"), on_event=events.append
    )
    before, after = load_file(model / UNET), load_file(made.folder / UNET)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], each.to(torch.bfloat16)) for name, each in before.items())
    facts = lookup.find(str(made.folder))
    assert set(facts.stored_dtypes.values()) == {"bfloat16"}
    assert facts.record == {"schema": 1, "steps": 2}
    assert lookup.licence(facts) == "mit"
    assert (made.folder / "LICENSE").read_text() == "MIT"
    assert (made.folder / "README.md").read_text().endswith("the weights are stored in bfloat16.\n")
    assert {each.status for each in integrity.check(made.folder, on_event=lambda _: None)} == {"same"}
    converting = [each for each in events if each.stage == "convert"]
    assert converting[-1].step == converting[-1].steps == made.bytes_after < made.bytes_before
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("rule", ['deny = ["license:mit"]', f'allow = ["sha256:{"0" * 64}"]'])
def test_a_policy_refuses_by_licence_and_hash_before_anything_is_written(model, tmp_path, monkeypatch, rule):
    (model / "README.md").write_text("---\nlicense: other\nlicense_name: mit\n---\n")
    rules = tmp_path / "rules.toml"
    monkeypatch.setenv("IMGGEN_POLICY", str(rules))
    rules.write_text(f"schema = 1\n[models]\n{rule}\n")
    with pytest.raises(CheckError, match="the policy d"):
        convert(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    digest = lookup.weights_sha256(lookup.find(str(model)), "bfloat16")
    rules.write_text(f'schema = 1\n[models]\nallow = ["sha256:{digest}"]\n')
    assert convert(model, tmp_path / "new").folder == tmp_path / "new"


def test_the_new_folder_draws_what_the_old_one_drew(model, tmp_path):
    made = convert(model, tmp_path / "new", dtype="float32")

    def draw(folder):
        request = GenerateRequest(
            prompt="a red apple", model=str(folder), steps=1, seed="7", width=64, height=64, dtype="float32",
            device="cpu", output=str(tmp_path / f"{folder.name}.png"), watermark="off", metadata="none", sign="off",
        )  # fmt: skip
        (one,) = generate.generate(request)
        return one.path.read_bytes()

    assert draw(made.folder) == draw(model)


def test_large_components_are_cut_into_files_with_an_index(model, tmp_path):
    choice = lookup.files(lookup.find(str(model)), "float16")["unet"]
    tensors = conversion.entries(choice, "float16")
    place = tmp_path / "unet"
    place.mkdir()
    written = conversion.write(place, "diffusion_pytorch_model", tensors, tell=lambda _: None, most=200_000)
    assert len(written) > 2
    index = json.loads((place / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == {each.name for each in tensors}
    merged = {}
    for each in written:
        part = load_file(each.path)
        assert sum(one.nbytes for one in part.values()) <= 200_000 or len(part) == 1
        merged |= part
    before = load_file(choice.files[0])
    assert all(torch.equal(merged[name], each.half()) for name, each in before.items())


def change(model, **tensors):
    save_file(load_file(model / UNET) | tensors, model / UNET)


def test_a_number_beyond_float16_is_refused_and_nothing_is_left(model, tmp_path):
    change(model, **{"conv_in.bias": torch.full((32,), 70_000.0)})
    with pytest.raises(ModelError, match=r"unet: conv_in\.bias holds 70,000, and float16 ends at 65,504") as caught:
        convert(model, tmp_path / "new", dtype="float16")
    assert caught.value.hint == "--dtype bfloat16"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model"]
    assert convert(model, tmp_path / "new", dtype="bfloat16").folder.is_dir()


def test_whole_numbers_and_what_is_no_number_stay_as_they_are(model, tmp_path):
    change(model, positions=torch.arange(5), odd=torch.tensor([float("inf"), float("nan")]), none=torch.zeros(0, 3))
    made = load_file(convert(model, tmp_path / "new", dtype="fp16").folder / UNET)
    assert torch.equal(made["positions"], torch.arange(5))
    assert torch.isinf(made["odd"][0])
    assert made["none"].shape == (0, 3)


def test_what_is_there_is_not_overwritten(model, tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(RequestError, match="new exists, and nothing is overwritten"):
        convert(model, tmp_path / "new")
    with pytest.raises(RequestError, match="unknown dtype 'bfloat61'") as caught:
        convert(model, tmp_path / "other", dtype="bfloat61")
    assert caught.value.hint == "--dtype bfloat16"


def test_pickles_are_converted_only_where_they_are_allowed(model, tmp_path):
    torch.save(load_file(model / UNET), model / "unet" / "diffusion_pytorch_model.bin")
    before = load_file(model / UNET)
    (model / UNET).unlink()
    with pytest.raises(ModelError, match="is a pickle"):
        convert(model, tmp_path / "new")
    made = load_file(convert(model, tmp_path / "new", allow_pickle=True).folder / UNET)
    assert all(torch.equal(made[name], each.bfloat16()) for name, each in before.items())


def test_what_is_quantised_or_in_eight_bits_is_refused(model, tmp_path):
    change(model, **{"conv_in.bias": torch.zeros(32).to(torch.float8_e4m3fn)})
    with pytest.raises((ModelError, RequestError), match=r"F8_E4M3|quantised"):
        convert(model, tmp_path / "new")
    config = model / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"load_in_4bit": True}}))
    with pytest.raises(RequestError, match="unet is quantised"):
        convert(model, tmp_path / "new")


def test_a_disk_without_room_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(MachineError, match=r"takes .* in bfloat16, and .* has 1 MiB free"):
        convert(model, tmp_path / "new")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_single_file_becomes_a_folder_of_the_same_numbers(name, tiny_models, tmp_path):
    write = {"sd": single_files.stable_diffusion, "sdxl": single_files.stable_diffusion_xl}[name]
    with environment.quiet():
        file = single_files.save(write(BUILDERS[name](tmp_path)), tmp_path / "one.safetensors")
    made = convert(file, tmp_path / "new", dtype="bfloat16", base=str(tiny_models(name)))
    whole = convert(tiny_models(name), tmp_path / "whole", dtype="bfloat16")
    for path in sorted(whole.folder.rglob("*.safetensors")):
        after = load_file(made.folder / path.relative_to(whole.folder))
        before = load_file(path)
        shared = before.keys() & after.keys()
        # What is no weight, such as the places of words, is not in a single file.
        assert all("position_ids" in each for each in before.keys() ^ after.keys())
        assert all(torch.equal(after[each], before[each]) for each in shared)
    assert f"from {file}, with the rest of {tiny_models(name)}" in (made.folder / "README.md").read_text()
    assert lookup.find(str(made.folder)).single is None
    assert {each.status for each in integrity.check(made.folder, on_event=lambda _: None)} == {"same"}


def test_a_single_files_number_beyond_float16_is_refused(tiny_models, tmp_path):
    with environment.quiet():
        file = single_files.save(single_files.stable_diffusion(BUILDERS["sd"](tmp_path)), tmp_path / "one.safetensors")
    tensors = load_file(file)
    name = next(each for each in tensors if each.startswith("model.diffusion_model.") and each.endswith("bias"))
    save_file(tensors | {name: torch.full_like(tensors[name], 1e5)}, file)
    with pytest.raises(ModelError, match="holds 100,000, and float16 ends at 65,504"):
        convert(file, tmp_path / "new", dtype="float16", base=str(tiny_models("sd")))
    assert not (tmp_path / "new").exists()
