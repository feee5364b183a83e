"""`--embedding`: a word that was learnt means its vectors, for each text encoder that has some."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny_loras
import torch

from imggen.engine.pipeline import loader
from imggen.engine.sampling import sampler
from imggen.errors import ModelError, RequestError
from imggen.host import environment
from imggen.plan.schema.adapter import AdapterRequest
from imggen.store import adapter_files
from imggen.store.weights import AccessRules


def found(path, token=None, **terms):
    asked = AdapterRequest(kind="embedding", option="--embedding", reference=str(path), token=token)
    return adapter_files.find(asked, terms=AccessRules(**terms))


def vectors(count, width=32, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def asking(plan, prompt, *adapters):
    return replace(plan, prompt=prompt, arguments=plan.arguments | {"prompt": prompt}, adapters=adapters)


def drawn(pipeline, plan):
    return np.asarray(sampler.draw(pipeline, plan, 1).image).astype(int)


@pytest.fixture
def planned(tiny_models, make_plan):
    return lambda name: make_plan(tiny_models(name), steps=1)


@pytest.mark.parametrize("count", [1, 3])
def test_pixels_are_those_of_the_plain_diffusers_calls(count, planned, tmp_path):
    file = tiny_loras.save(tmp_path / "my-cat.safetensors", {"emb_params": vectors(count)})
    plan = asking(planned("sd"), "a my-cat on a mat", found(file))
    pipeline = loader.load(replace(plan, adapters=()))
    without = drawn(pipeline, plan)
    with environment.quiet():
        pipeline.load_textual_inversion({"my-cat": vectors(count)}, token="my-cat")
    assert np.array_equal(drawn(loader.load(plan), plan), drawn(pipeline, plan))
    assert not np.array_equal(drawn(pipeline, plan), without)


def test_each_encoder_of_two_learns_its_own_vectors(planned, tmp_path):
    tensors = {"clip_l": vectors(2, seed=1), "clip_g": vectors(2, seed=2)}
    plan = asking(planned("sdxl"), "my-cat", found(tiny_loras.save(tmp_path / "my-cat.safetensors", tensors)))
    pipeline = loader.load(plan)
    for name, encoder in (("clip_l", pipeline.text_encoder), ("clip_g", pipeline.text_encoder_2)):
        held = encoder.get_input_embeddings().weight[-2:]
        assert torch.equal(held.detach(), tensors[name])
    assert drawn(pipeline, plan).shape == (64, 64, 3)


def test_the_end_of_a_prompt_is_found_behind_a_learnt_word(tiny_models, make_plan, tmp_path):
    tensors = {"clip_l": vectors(1, seed=1), "clip_g": vectors(1, seed=2)}
    facts = found(tiny_loras.save(tmp_path / "my-cat.safetensors", tensors))
    right = asking(make_plan(tiny_models("sdxl"), steps=1), "a my-cat on a mat", facts)
    folder = tmp_path / "model"
    shutil.copytree(right.model.folder, folder)
    for name in ("text_encoder", "text_encoder_2"):
        config = folder / name / "config.json"
        # As those of the published model are.
        config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": 2}))
    wrong = asking(make_plan(folder, steps=1), right.prompt, facts)
    assert np.array_equal(drawn(loader.load(wrong), wrong), drawn(loader.load(right), right))


@pytest.mark.parametrize(
    ("name", "tensors", "asked", "word"),
    [
        ("my-cat.safetensors", {"emb_params": vectors(1)}, None, "my-cat"),
        ("my-cat.safetensors", {"emb_params": vectors(1)}, "<dog>", "<dog>"),
        ("learned_embeds.safetensors", {"<my-cat>": vectors(1)[0]}, None, "<my-cat>"),
    ],
)
def test_its_word_is_the_one_asked_for_or_its_own_or_the_files_name(name, tensors, asked, word, planned, tmp_path):
    tiny_loras.save(tmp_path / name, tensors)
    facts = found(tmp_path if name.startswith("learned") else tmp_path / name, asked)
    assert facts.asked.token == word
    plan = asking(planned("sd"), word, facts)
    assert word in loader.load(plan).tokenizer.get_vocab()


def test_a_pickle_is_read_where_it_may_be_and_without_its_code(planned, tmp_path):
    file = tmp_path / "my-cat.pt"
    torch.save({"string_to_param": {"*": vectors(2)}, "name": "whatever"}, file)
    with pytest.raises(ModelError, match="is a pickle"):
        found(file)
    plan = asking(planned("sd"), "my-cat", found(file, allow_pickle=True))
    held = loader.load(plan).text_encoder.get_input_embeddings().weight[-2:]
    assert torch.equal(held.detach(), vectors(2))
    torch.save({"string_to_param": {"*": vectors(2, 8)}}, file)
    with (
        environment.quiet(),
        pytest.raises(ModelError, match="its vectors have 8 numbers, those of"),
    ):
        loader.load(asking(planned("sd"), "my-cat", found(file, allow_pickle=True)))


def test_a_note_counts_a_word_of_several_vectors_as_that_many(planned, tmp_path):
    file = tiny_loras.save(tmp_path / "my-cat.safetensors", {"emb_params": vectors(70)})
    plan = asking(planned("sd"), "my-cat and a dog on a mat", found(file))
    assert sampler.cut_prompt(loader.load(plan), plan) is not None


def test_a_word_that_the_model_knows_is_refused_when_it_is_taught(planned, tmp_path):
    file = tiny_loras.save(tmp_path / "a.safetensors", {"emb_params": vectors(1)})
    with environment.quiet(), pytest.raises(RequestError, match="'a' is already a word of the model's tokenizer"):
        loader.load(asking(planned("sd"), "a", found(file)))
