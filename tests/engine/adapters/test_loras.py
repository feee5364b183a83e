"""A LoRA is added to the layers that it names, by its own strength, all of it or with an error."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_loras
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from imggen.engine.adapters import loras
from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import ModelError
from imggen.host import environment
from imggen.plan.schema.adapter import AdapterRequest
from imggen.store import adapter_files
from imggen.store.weights import AccessRules

# Families that differ from one of these by numbers alone, or need a picture to start from, are left out.
WITH_LOADER = (
    *("sd", "sdxl", "flux", "flux2", "flux2-klein", "sd3", "sana", "sana-sprint", "lumina2", "auraflow", "chroma"),
    *("qwen-image", "z-image", "lcm", "kolors", "hidream", "cogview4", "ernie-image", "kandinsky5", "krea2"),
)


def found(path, scale=1.0, **terms):
    asked = AdapterRequest(kind="lora", option="--lora", reference=str(path), scale=scale)
    return adapter_files.find(asked, terms=AccessRules(**terms))


def pixels(image):
    return np.asarray(image).astype(int)


def called(pipeline, plan):
    with environment.quiet():
        made = pipeline(**plan.arguments, generator=torch.Generator("cpu").manual_seed(plan.seeds[0]))
    # Kandinsky 5 calls them by another name.
    return pixels((made.images if hasattr(made, "images") else made.image)[0])


def drawn_with(plan, *adapters):
    plan = replace(plan, adapters=tuple(adapters))
    return pixels(sampler.draw(loader.load(plan), plan, 1).image)


def differ(one, other):
    return np.abs(one - other).max()


@pytest.fixture
def planned(tiny_models, make_plan):
    return lambda name: make_plan(tiny_models(name), steps=2)


@pytest.mark.parametrize("name", WITH_LOADER)
def test_pixels_are_those_of_the_plain_diffusers_calls_for_every_family(name, planned, tmp_path):
    plan = planned(name)
    denoiser = plan.family.denoiser
    drawn = tiny_loras.draw(tiny_loras.layers_in(plan.model, denoiser), strong=1.0)
    path = tiny_loras.save(tmp_path / "style.safetensors", tiny_loras.diffusers(drawn))
    plan = replace(plan, adapters=(found(path, 0.7),))
    pipeline = loader.load(plan)
    ours = pixels(sampler.draw(pipeline, plan, 1).image)
    pipeline.unload_lora_weights()
    without = tuple(getattr(pipeline, denoiser).parameters())
    with environment.quiet():
        pipeline.load_lora_weights(tmp_path, weight_name=path.name, adapter_name="style")
        pipeline.set_adapters(["style"], [0.7])
    assert len(tuple(getattr(pipeline, denoiser).parameters())) == len(without) + len(drawn) * 2
    assert differ(called(pipeline, plan), ours) == 0


def in_first_names(drawn):
    prefixes = tiny_loras.PREFIXES | {"text_encoder": "lora_te1"}
    return tiny_loras.kohya(drawn, names=tiny_loras.original_unet, prefixes=prefixes)


@pytest.mark.parametrize(
    ("name", "write"), [("sd", tiny_loras.kohya), ("sdxl", tiny_loras.kohya), ("sdxl", in_first_names)]
)
def test_a_file_of_kohya_adds_exactly_what_it_says_to_each_layer(name, write, planned, tmp_path):
    plan = planned(name)
    pipeline = loader.load(plan)
    endings = (*tiny_loras.ATTENTION, "net.2", "fc1", "proj_in", "conv1")
    drawn = tiny_loras.draw(tiny_loras.layers_of(pipeline), endings=endings, strong=0.3)
    assert {each.component for each in drawn} == set(pipeline._lora_loadable_modules)
    path = tiny_loras.save(tmp_path / "kohya.safetensors", write(drawn))
    expected = called(tiny_loras.merge(pipeline, drawn, 0.8), plan)
    assert differ(drawn_with(plan, found(path, 0.8)), expected) <= 1


def first_flux(drawn):
    """Return the tensors as kohya's trainer for FLUX writes them, which joins what diffusers keeps apart."""
    places = {"attn.to_out.0": "img_attn_proj", "ff.net.0.proj": "img_mlp_0", "ff.net.2": "img_mlp_2"}
    renamed = [replace(each, name=f"double_blocks_0_{places[each.name[21:]]}") for each in drawn]
    return tiny_loras.kohya(renamed)


def first_names_of_peft(drawn):
    """Return the same tensors as trainers write them that take FLUX as its authors published it."""
    renamed = {}
    for name, each in first_flux(drawn).items():
        module, _, part = name.removeprefix("lora_unet_double_blocks_0_").partition(".")
        place = f"base_model.model.double_blocks.0.{module.replace('_', '.', 2).replace('.', '_', 1)}"
        rank = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight", "alpha": "alpha"}[part]
        renamed[f"{place}.{rank}"] = each
    return renamed


@pytest.mark.parametrize("write", [first_flux, first_names_of_peft])
def test_a_file_for_flux_in_its_first_names_adds_exactly_what_it_says(write, planned, tmp_path):
    plan = planned("flux")
    pipeline = loader.load(plan)
    endings = ("transformer_blocks.0.attn.to_out.0", "transformer_blocks.0.ff.net.0.proj", "blocks.0.ff.net.2")
    drawn = tiny_loras.draw(tiny_loras.layers_of(pipeline), endings=endings)
    drawn = [each for each in drawn if each.name.startswith("transformer_blocks.")]
    path = tiny_loras.save(tmp_path / "first.safetensors", write(drawn))
    expected = called(tiny_loras.merge(pipeline, drawn, -0.5), plan)
    assert differ(drawn_with(plan, found(path, -0.5)), expected) <= 1


def test_layers_that_the_converter_for_flux_forgets_are_changed_too(planned, tmp_path):
    plan = planned("flux")
    pipeline = loader.load(plan)
    drawn = tiny_loras.draw(tiny_loras.layers_of(pipeline), endings=("context_embedder",))
    tensors = tiny_loras.kohya([replace(each, name="txt_in") for each in drawn])
    path = tiny_loras.save(tmp_path / "kohya.safetensors", tensors)
    expected = called(tiny_loras.merge(pipeline, drawn), plan)
    assert differ(drawn_with(plan, found(path)), expected) <= 1


@pytest.fixture
def pair(planned, tmp_path):
    """A plan, and two LoRAs for its model: one that also changes the text encoder, and one that does not."""
    plan = planned("sd")
    layers = [each for name in ("unet", "text_encoder") for each in tiny_loras.layers_in(plan.model, name)]
    words = tiny_loras.draw(layers, seed=1)
    plain = tiny_loras.draw(tiny_loras.layers_in(plan.model, "unet"), seed=2)
    one = tiny_loras.save(tmp_path / "one.safetensors", tiny_loras.diffusers(words))
    return plan, one, tiny_loras.save(tmp_path / "two.safetensors", tiny_loras.kohya(plain))


def test_several_add_up_each_at_its_weight_and_in_any_order(pair):
    plan, one, two = pair
    both = drawn_with(plan, found(one, 0.6), found(two, -0.3))
    assert differ(drawn_with(plan, found(two, -0.3), found(one, 0.6)), both) == 0
    assert differ(drawn_with(plan, found(one, 0.6), found(two, 0)), drawn_with(plan, found(one, 0.6))) == 0


def test_scale_0_is_as_if_there_were_none(pair):
    plan, one, two = pair
    assert differ(drawn_with(plan, found(one, 0), found(two, 0)), drawn_with(plan)) == 0


def test_attention_slicing_and_offloading_change_nothing_of_it(pair):
    plan, one, _ = pair
    plan = replace(plan, adapters=(found(one, 0.6),))
    plainly = drawn_with(plan, *plan.adapters)
    sliced = replace(plan, attention_slicing="diffusers")
    assert differ(drawn_with(sliced, *plan.adapters), plainly) <= 1
    assert differ(drawn_with(replace(plan, offload="model"), *plan.adapters), plainly) == 0


def test_one_that_cannot_be_added_leaves_nothing_behind(pair):
    plan, one, two = pair
    plan = replace(plan, adapters=(found(one), found(two)))
    pipeline = loader.load(replace(plan, adapters=()))
    ready = loras.read(plan)
    broken = replace(ready[1], given={"unet.conv_in.lora_A.weight": torch.zeros(2, 2)})
    with environment.quiet(), pytest.raises(ModelError, match="cannot be added"):
        loras.add(pipeline, (ready[0], broken))
    assert not any(isinstance(each, BaseTunerLayer) for each in pipeline.unet.modules())
    assert differ(called(pipeline, plan), drawn_with(replace(plan, adapters=()))) == 0


def test_what_diffusers_drops_without_a_word_is_an_error(pair):
    plan, one, _ = pair
    plan = replace(plan, adapters=(found(one),))
    pipeline = loader.load(replace(plan, adapters=()))
    (ready,) = loras.read(plan)
    less = {name: each for name, each in tiny_loras.load(one).items() if "attn1.to_q" not in name}
    with environment.quiet(), pytest.raises(ModelError, match="attn1_to_q of its denoiser is unchanged"):
        loras.add(pipeline, (replace(ready, given=less),))


def test_a_folder_of_peft_counts_by_the_alpha_beside_it(planned, tmp_path):
    plan = planned("sd")
    drawn = [replace(each, alpha=8.0) for each in tiny_loras.draw(tiny_loras.layers_in(plan.model, "unet"))]
    plainly = tiny_loras.diffusers([replace(each, alpha=float(len(each.down))) for each in drawn])
    (tmp_path / "peft").mkdir()
    tensors = {name.replace("unet.", "base_model.model.", 1): each for name, each in plainly.items()}
    tiny_loras.save(tmp_path / "peft" / "adapter_model.safetensors", tensors)
    (tmp_path / "peft" / "adapter_config.json").write_text('{"lora_alpha": 8}')
    kohya = tiny_loras.save(tmp_path / "kohya.safetensors", tiny_loras.kohya(drawn))
    assert differ(drawn_with(plan, found(tmp_path / "peft")), drawn_with(plan, found(kohya))) <= 1


def test_matrices_are_computed_in_the_models_own_precision(planned, tmp_path):
    plan = planned("sd")
    drawn = tiny_loras.draw(tiny_loras.layers_in(plan.model, "unet"))
    tensors = {name: each.half() for name, each in tiny_loras.diffusers(drawn).items()}
    plan = replace(plan, adapters=(found(tiny_loras.save(tmp_path / "half.safetensors", tensors)),))
    unet = loader.load(plan).unet
    assert {each.dtype for each in unet.parameters()} == {torch.float32}
