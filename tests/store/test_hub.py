from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from imggen.errors import ModelError
from imggen.store import hub
from imggen.store.weights import AccessRules

REPOSITORY = [
    ".gitattributes",
    "README.md",
    "model_index.json",
    "pipeline.py",
    "sd-v1.ckpt",
    "sd-v1.safetensors",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "tokenizer/chat_template.jinja",
    "tokenizer/merges.txt",
    "tokenizer/spiece.model",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_flax_model.msgpack",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae/model.onnx",
    "vae/deep/diffusion_pytorch_model.safetensors",
]
TEXTS = [
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/chat_template.jinja",
    "tokenizer/merges.txt",
    "tokenizer/spiece.model",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
]


def test_half_runs_fetch_the_variant_where_there_is_one():
    wanted = hub.wanted(REPOSITORY, AccessRules(half=True))
    assert set(wanted) - set(TEXTS) == {
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert set(TEXTS) <= set(wanted)


def test_half_runs_fetch_bfloat16_where_that_is_the_variant():
    names = ["decoder/diffusion_pytorch_model.safetensors", "decoder/diffusion_pytorch_model.bf16.safetensors"]
    assert hub.wanted(names, AccessRules(half=True)) == names[1:]
    assert hub.wanted(names, AccessRules(half=False)) == names[:1]


def test_full_runs_fetch_full_weights_and_no_code_or_pickles():
    wanted = hub.wanted(REPOSITORY, AccessRules(half=False))
    assert set(wanted) - set(TEXTS) == {
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }


def test_allowed_pickles_are_fetched_only_where_there_is_nothing_else():
    names = [
        "model_index.json",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.safetensors",
        "vae/x.bin",
    ]
    assert "unet/diffusion_pytorch_model.bin" in hub.wanted(names, AccessRules(allow_pickle=True))
    assert "vae/x.bin" not in hub.wanted(names, AccessRules(allow_pickle=True))


def api(names=(), error=None):
    def model_info(repository, **_):
        if error is not None:
            raise error
        return SimpleNamespace(sha="0" * 40, siblings=[SimpleNamespace(rfilename=each) for each in names])

    return SimpleNamespace(model_info=model_info)


def fetch(**options):
    choose = hub.pipeline_files("org/name", AccessRules())
    return hub.bring(hub.ask("org/name", "v1", choose=choose, api=api(**options)), on_event=lambda event: None)


def test_a_repository_without_a_pipeline_is_refused_before_anything_is_fetched():
    with pytest.raises(ModelError, match=r"not a diffusers pipeline: it has no model_index\.json"):
        fetch(names=["config.json", "model.safetensors"])


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched():
    with pytest.raises(ModelError, match=r"unet/diffusion_pytorch_model\.bin is a pickle") as caught:
        fetch(names=["model_index.json", "unet/diffusion_pytorch_model.bin"])
    assert "--allow-pickle" in caught.value.hint


RESPONSE = httpx2.Response(403, request=httpx2.Request("GET", "http://localhost"))
ERRORS = [
    (GatedRepoError("x", response=RESPONSE), "org/name is gated", "hf auth login"),
    (RepositoryNotFoundError("x", response=RESPONSE), "has no model 'org/name'", "check the spelling"),
    (RevisionNotFoundError("x", response=RESPONSE), "has no revision 'v1'", "models pull org/name"),
    (
        HfHubHTTPError("502 Bad Gateway", response=RESPONSE),
        "could not be fetched",
        "the same line again",
    ),
    (HFValidationError("bad id"), "is not a model's id", "models list"),
    (ConnectionError("no route"), "could not be fetched from the hub: no route", "the same line again"),
    (httpx2.ConnectError("no route"), "could not be fetched", "the same line again"),
]


@pytest.mark.parametrize(("error", "message", "hint"), ERRORS, ids=lambda each: type(each).__name__)
def test_what_the_hub_raises_becomes_a_model_error_that_says_what_to_do(error, message, hint):
    with pytest.raises(ModelError, match=message) as caught:
        fetch(error=error)
    assert hint in caught.value.hint
    assert caught.value.__cause__ is error


def test_an_empty_or_missing_cache_has_no_models(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    assert hub.place() == tmp_path / "none"
    assert hub.cached("org/name", None) is None
    assert hub.cached("not an id", None) is None
