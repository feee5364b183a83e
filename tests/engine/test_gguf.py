"""GGUF: the header without any package, and a transformer that stays as small as the file has it."""

import struct
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import MachineError, ModelError
from imggen.host import environment
from imggen.plan.adapters.ip_adapter_layouts import FLUX
from imggen.plan.schema.adapter import AdapterRequest
from imggen.store import gguf_header, ip_adapter_files, lookup, single_file
from imggen.store.weights import AGAIN, AccessRules
from tests import single_files, tiny_adapters
from tests.tiny_models import BUILDERS


@pytest.fixture(scope="session")
def flux(tmp_path_factory):
    with environment.quiet():
        return BUILDERS["flux"](tmp_path_factory.mktemp("flux"))


def save(tensors, path, kind, architecture="flux"):
    """Write the tensors as GGUF: matrices in blocks of `kind`, the rest in float32."""
    quantization = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_array("general.tags", ["tiny", "random"])
    for name, each in tensors.items():
        values = each.float().numpy()
        if each.ndim == 2 and each.shape[-1] % 32 == 0:
            writer.add_tensor(name, gguf.quants.quantize(values, quantization), raw_dtype=quantization)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def file(flux, tmp_path):
    return save(flux.transformer.state_dict(), tmp_path / "x.gguf", "Q8_0")


def test_the_header_says_what_the_packages_own_reader_says(flux, file):
    header = gguf_header.read(file)
    found = {each.name: each for each in gguf.GGUFReader(str(file)).tensors}
    assert header.shapes == {name: tuple(each.shape) for name, each in flux.transformer.state_dict().items()}
    assert header.sizes == {name: each.n_bytes for name, each in found.items()}
    assert header.dtypes == {name: each.tensor_type.name for name, each in found.items()}
    assert header.metadata == {"general.architecture": "flux"}


LONG = 1 << 62
BROKEN = {
    "no GGUF": (lambda data: b"GGML" + data[4:], "is no GGUF file"),
    "old": (lambda data: data[:4] + struct.pack("<I", 1) + data[8:], "is GGUF of version 1"),
    "short header": (lambda data: data[:40], "its header does not fit in its 40 bytes"),
    "short weights": (lambda data: data[:-200], r"is cut short: \d+ of \d+ bytes are there"),
    "many tensors": (lambda data: data[:8] + struct.pack("<Q", LONG) + data[16:], f"says that it has {LONG} tensors"),
    "long name": (
        lambda data: data[:24] + struct.pack("<Q", LONG) + data[32:],
        f"a name says that it has {LONG} letters",
    ),
    "pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "empty": (lambda _: b"", "its header does not fit in its 0 bytes"),
}


@pytest.mark.parametrize(("damage", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused(damage, reason, file, tiny_models):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ModelError, match=reason) as caught:
        lookup.find(str(file), base=str(tiny_models("flux")))
    assert caught.value.exit_code == 4
    assert (caught.value.hint == AGAIN) == ("header" in reason or "cut short" in reason or "says that" in reason)


def test_a_changed_byte_of_a_header_leads_to_a_header_or_to_a_model_error(file, tmp_path):
    data = file.read_bytes()
    broken = tmp_path / "broken.gguf"
    for place in range(0, 2000, 7):
        broken.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            gguf_header.read(broken)
        except ModelError:
            continue


def facts_of(file, tiny_models):
    return lookup.find(str(file), base=str(tiny_models("flux")))


def test_the_facts_count_the_bytes_as_they_are_stored(file, flux, tiny_models):
    facts = facts_of(file, tiny_models)
    whole = lookup.find(str(tiny_models("flux")))
    assert facts.quantised == {"transformer": "Q8_0"}
    assert facts.weight_bytes["transformer"] == sum(gguf_header.read(file).sizes.values())
    assert facts.weight_bytes["transformer"] < 0.4 * whole.weight_bytes["transformer"]
    assert {name: each for name, each in facts.weight_bytes.items() if name != "transformer"} == {
        name: each for name, each in whole.weight_bytes.items() if name != "transformer"
    }


def drawn(plan):
    pipeline = loader.load(plan)
    return pipeline, np.asarray(next(sampler.sample(pipeline, plan)).image).astype(int)


@pytest.mark.parametrize(("kind", "most"), [("Q8_0", 3), ("Q4_0", 40)])
def test_a_picture_by_quantised_weights_is_near_that_of_the_whole_ones(
    kind, most, flux, tiny_models, make_plan, tmp_path
):
    plan = make_plan(tiny_models("flux"))
    file = save(flux.transformer.state_dict(), tmp_path / "x.gguf", kind)
    pipeline, picture = drawn(replace(plan, model=facts_of(file, tiny_models)))
    assert {each.dtype for each in pipeline.transformer.parameters()} == {torch.uint8, torch.float32}
    _, whole = drawn(plan)
    assert 0 < np.abs(picture - whole).mean() < most


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_quantised_is_computed_with_in_the_runs_dtype(dtype, file, tiny_models, make_plan):
    plan = replace(make_plan(tiny_models("flux"), dtype=dtype), model=facts_of(file, tiny_models))
    transformer = loader.load(plan).transformer
    assert transformer.context_embedder.compute_dtype == getattr(torch, dtype)


def test_an_ip_adapter_beside_quantised_weights_has_the_runs_dtype(file, flux, tiny_models, make_plan, tmp_path):
    with environment.quiet():
        place = tiny_adapters.save(tmp_path / "adapter", "flux", flux)
    facts = facts_of(file, tiny_models)
    asked = AdapterRequest(kind="ip-adapter", option="--ip-adapter-weights", reference=str(place), image="ref.png")
    worn = ip_adapter_files.AdapterTarget(layout=FLUX, config=facts.configs["transformer"])
    found = ip_adapter_files.find(asked, worn, terms=AccessRules())
    plan = make_plan(tiny_models("flux"), dtype="bfloat16", adapters=(found,))
    transformer = loader.load(replace(plan, model=facts)).transformer
    added = [each for name, each in transformer.named_parameters() if "processor." in name or "_proj.image" in name]
    assert {each.dtype for each in added} == {torch.bfloat16}


def test_names_of_the_authors_are_converted(flux, tiny_models, make_plan, tmp_path, monkeypatch):
    single_files.narrow_flux(monkeypatch, 32)
    file = save(single_files.flux(flux.transformer), tmp_path / "x.gguf", "Q8_0")
    facts = facts_of(file, tiny_models)
    assert facts.single.kind == "FLUX.1"
    _, picture = drawn(replace(make_plan(tiny_models("flux")), model=facts))
    assert picture.shape == (64, 64, 3)


@pytest.mark.parametrize(("name", "title"), [("sd", "Stable Diffusion 1.x and 2.x"), ("sdxl", "Stable Diffusion XL")])
def test_a_family_without_a_loader_is_refused(name, title, tiny_models, tmp_path):
    with environment.quiet():
        unet = pipeline_of(name, tmp_path).unet
    tensors = {key.removeprefix("model.diffusion_model."): each for key, each in single_files.unet(unet).items()}
    file = save(tensors, tmp_path / "x.gguf", "Q8_0", architecture=name)
    with pytest.raises(ModelError) as caught:
        lookup.find(str(file), base=str(tiny_models(name)))
    assert caught.value.message == f"{file}: diffusers has no GGUF loader for {title}"


def pipeline_of(name, root):
    return BUILDERS[name](root)


def test_a_type_that_diffusers_cannot_compute_with_is_refused(file, tiny_models, monkeypatch):
    monkeypatch.setattr(single_file, "_COMPUTED", frozenset(("F32",)))
    with pytest.raises(ModelError, match="is quantised as Q8_0, with which diffusers cannot compute"):
        facts_of(file, tiny_models)


def test_the_missing_package_is_named(file, tiny_models, monkeypatch):
    monkeypatch.setattr(single_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="is GGUF, and the package that reads it is missing") as caught:
        facts_of(file, tiny_models)
    assert caught.value.hint == "pip install 'imggen[gguf]'"
    assert caught.value.exit_code == 3
