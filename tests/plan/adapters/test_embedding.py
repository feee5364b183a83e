"""Textual inversion embeddings by their headers: for which encoder, how wide, and by which word."""

from pathlib import Path

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import embedding
from imggen.plan.adapters.embedding import Vectors
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest


def found(shapes, token=None):
    asked = AdapterRequest(kind="embedding", option="--embedding", reference="cat", token=token)
    return AdapterFacts(asked=asked, files=(Path("/e/my-cat.safetensors"),), sha256="0", reference="cat", shapes=shapes)


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ({"<cat>": (3, 768)}, [("text_encoder", "<cat>", 3, 768)]),
        ({"<cat>": (768,)}, [("text_encoder", "<cat>", 1, 768)]),
        ({"emb_params": (2, 1024)}, [("text_encoder", "emb_params", 2, 1024)]),
        (
            {"clip_l": (2, 768), "clip_g": (2, 1280)},
            [("text_encoder", "clip_l", 2, 768), ("text_encoder_2", "clip_g", 2, 1280)],
        ),
        ({"clip_l": (2, 768), "other": (2, 768)}, []),
        ({"<cat>": (1, 2, 768)}, []),
        ({"<cat>": (0, 768)}, []),
        ({"a": (1, 768), "b": (1, 768)}, []),
        ({}, []),
    ],
)
def test_the_tensors_tell_the_encoder_and_how_many_vectors_of_which_width(shapes, wanted):
    rows = [Vectors(encoder=encoder, name=name, count=count, width=width) for encoder, name, count, width in wanted]
    assert embedding.read(shapes) == tuple(rows)


def test_the_word_is_what_was_asked_for_or_the_tensors_name_or_the_files():
    assert embedding.word(found({"<cat>": (1, 768)}, token="tom")) == "tom"
    assert embedding.word(found({"<cat>": (1, 768)})) == "<cat>"
    assert embedding.word(found({"emb_params": (1, 768)})) == "my-cat"
    assert embedding.word(found({"clip_l": (1, 768), "clip_g": (1, 1280)})) == "my-cat"


def test_vectors_are_as_wide_as_the_encoder_that_they_are_for():
    facts = found({"clip_g": (1, 1280)})
    vectors = embedding.read(facts.shapes)
    embedding.check_vectors(facts, vectors, {"text_encoder_2": 1280})
    embedding.check_vectors(facts, vectors, {"text_encoder_2": None})
    with pytest.raises(ModelError, match="its vectors have 1280 numbers, those of its text_encoder_2 768"):
        embedding.check_vectors(facts, vectors, {"text_encoder_2": 768})
    with pytest.raises(ModelError, match="has vectors for text_encoder_2, which the model does not have"):
        embedding.check_vectors(facts, vectors, {"text_encoder": 1280})


def test_what_is_none_is_told_by_its_tensors():
    lora = found({f"{letter}.lora_A.weight": (1, 1) for letter in "abcd"})
    with pytest.raises(ModelError, match=r"is no textual inversion embedding: it has 4 tensors \(.*, …\)") as caught:
        embedding.check_vectors(lora, (), {})
    assert caught.value.hint == "--lora cat"
    with pytest.raises(ModelError, match="there is no tensor in it") as caught:
        embedding.check_vectors(found({}), (), {})
    assert caught.value.hint is None


@pytest.mark.parametrize("known", ["cat", "Cat", "cat</w>"])
def test_a_word_of_the_tokenizer_is_refused(known):
    embedding.refuse_known(found({}), "Cat", ["dog</w>", "cats"])
    with pytest.raises(RequestError, match="'Cat' is already a word of the model's tokenizer") as caught:
        embedding.refuse_known(found({}), "Cat", ["dog", known])
    assert caught.value.hint == "--embedding cat:my-Cat"


def test_a_word_that_no_prompt_has_is_told():
    facts = found({"<Cat>": (1, 768)})
    assert embedding.unused(facts, "a dog", "a <cAT>") is None
    assert "the prompt does not have '<Cat>' in it, so the embedding has no effect" in embedding.unused(facts, "a cat")
