import subprocess
import sys

import pytest

from imggen.data.drawn import scenes
from imggen.training import text

MAX_TOKENS = 32


@pytest.fixture(scope="module")
def tokenizer():
    return text.build_tokenizer(MAX_TOKENS)


def test_the_same_words_give_the_same_tokens_in_every_process(tokenizer):
    code = "from imggen.training import text; print(text.build_tokenizer(32).backend_tokenizer.to_str())"
    others = {subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()}
    assert others == {tokenizer.backend_tokenizer.to_str()}


def test_other_words_have_another_digest(tokenizer):
    assert text.digest(tokenizer) == text.digest(text.build_tokenizer(MAX_TOKENS))
    other = text.build_tokenizer(MAX_TOKENS)
    other.add_tokens(["zebra"])
    assert text.digest(other) != text.digest(tokenizer)


def test_every_word_of_the_captions_is_one_token(tokenizer):
    for word in text.words():
        assert len(tokenizer(word).input_ids) == 3, word


def test_every_caption_fits(tokenizer):
    assert max(len(tokenizer(scenes.compose(5, index).caption).input_ids) for index in range(2000)) <= MAX_TOKENS


def test_every_caption_uses_known_words_only():
    known = set(text.words())
    for index in range(2000):
        caption = scenes.compose(6, index).caption.replace(",", "")
        assert set(caption.split()) <= known


def test_unknown_text_has_tokens_of_its_own(tokenizer):
    unknown = tokenizer("zebra é 猫").input_ids
    assert len(unknown) > 5
    assert tokenizer.unk_token_id not in unknown[1:-1]


def test_case_does_not_matter(tokenizer):
    assert tokenizer("A RED Apple").input_ids == tokenizer("a red apple").input_ids
