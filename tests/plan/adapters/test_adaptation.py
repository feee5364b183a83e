"""What is typed for an adapter, what a recipe records of it, and what asks for it again."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes import APPLE

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import adaptation, autoencoder, lora
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import Adapter, AdapterFacts, AdapterRequest
from imggen.plan.schema.request import GenerateRequest
from tests.plan.conftest import flux, stable_diffusion, stable_diffusion_xl

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def asked(**fields):
    return adaptation.asked(GenerateRequest(prompt="a", **fields))


@pytest.mark.parametrize(
    ("written", "reference", "scale"),
    [
        ("style.safetensors", "style.safetensors", 1.0),
        ("style.safetensors:0.7", "style.safetensors", 0.7),
        ("style:-1", "style", -1.0),
        ("C:\\loras\\style.safetensors", "C:\\loras\\style.safetensors", 1.0),
        ("C:\\loras\\style.safetensors:0.5", "C:\\loras\\style.safetensors", 0.5),
        ("org/name@main", "org/name@main", 1.0),
        ("org/name@refs/pr/1/a.safetensors:1e-1", "org/name@refs/pr/1/a.safetensors", 0.1),
        ("a:b:0", "a:b", 0.0),
    ],
)
def test_the_number_behind_the_last_colon_is_the_scale(written, reference, scale):
    (found,) = asked(lora=(written,))
    assert (found.reference, found.scale) == (reference, scale)


@pytest.mark.parametrize(
    ("written", "reference", "token"),
    [
        ("cat.safetensors", "cat.safetensors", None),
        ("cat.safetensors:<my-cat>", "cat.safetensors", "<my-cat>"),
        ("C:\\words\\cat.safetensors", "C:\\words\\cat.safetensors", None),
        ("C:/words/cat.safetensors:1", "C:/words/cat.safetensors", "1"),
        ("sd-concepts-library/cat-toy", "sd-concepts-library/cat-toy", None),
    ],
)
def test_the_word_behind_the_last_colon_is_the_token(written, reference, token):
    (found,) = asked(embedding=(written,))
    assert (found.reference, found.token) == (reference, token)


@given(st.text(min_size=1), st.floats(-4, 4))
def test_any_name_comes_back_with_its_scale_or_is_refused(name, scale):
    try:
        (found,) = asked(lora=(f"{name}:{scale!r}",))
    except RequestError:
        assert not name.strip()
    else:
        assert (found.reference, found.scale) == (name, scale)


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("org/name", ("org/name", None, None)),
        ("org/name@main", ("org/name", "main", None)),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1", None)),
        ("org/name@refs/pr/1/a.safetensors", ("org/name", "refs/pr/1", "a.safetensors")),
        ("org/name@refs/pr/1/below/a.bin", ("org/name", "refs/pr/1", "below/a.bin")),
        ("org/name/a.safetensors", ("org/name", None, "a.safetensors")),
        (f"org/name@{COMMIT}/sub/a.safetensors", ("org/name", COMMIT, "sub/a.safetensors")),
        ("loras/style.safetensors", None),
        ("./org/name", None),
        ("style", None),
        ("a/b/c", None),
    ],
)
def test_what_can_be_of_the_hub_is_told_by_its_form(reference, parts):
    assert adaptation.split_hub(reference) == parts


RECORDED = (
    Adapter(kind="vae", reference="org/vae", sha256="1a" * 32, revision=COMMIT),
    Adapter(kind="lora", reference="org/name/a.safetensors", sha256="2b" * 32, revision=COMMIT, scale=0.1),
    Adapter(kind="lora", reference="C:\\b.safetensors", sha256="3c" * 32, scale=-1 / 3),
    Adapter(kind="embedding", reference="cat.safetensors", sha256="4d" * 32, token="<my-cat>"),
)


def test_what_a_recipe_asks_for_again_is_what_it_recorded():
    again = adaptation.again(replace(APPLE, adapters=RECORDED))
    found = asked(lora=again["lora"], embedding=again["embedding"], vae=again["vae"])
    assert [(each.kind, each.scale, each.token) for each in found] == [
        (each.kind, each.scale, each.token) for each in RECORDED
    ]
    assert found[1].reference == f"org/name@{COMMIT}/a.safetensors"
    assert found[0].reference == f"org/vae@{COMMIT}"


def test_a_recipe_without_adapters_asks_for_none():
    assert set(adaptation.again(APPLE).values()) == {None}


def test_another_hash_is_told_and_the_same_is_not():
    made = replace(APPLE, adapters=(replace(RECORDED[0], sha256="ff" * 32), *RECORDED[1:]))
    assert adaptation.differences(replace(APPLE, adapters=RECORDED), made) == (
        f"vae org/vae with sha256 {'1a' * 32} is now {'ff' * 32}",
    )


def facts(kind="lora", **changes):
    values = {"asked": AdapterRequest(kind=kind, option=f"--{kind}", reference="it.safetensors"), "sha256": "ab" * 32}
    return AdapterFacts(**(values | {"files": (Path("it.safetensors"),), "reference": "it.safetensors"} | changes))


def test_the_model_is_planned_with_the_other_autoencoder():
    config = {"_class_name": "AutoencoderTiny", "decoder_block_out_channels": [64] * 4, "latent_channels": 4}
    vae = facts("vae", config=config, weight_bytes=5_000_000, stored_dtype="float32")
    changed = adaptation.changed(stable_diffusion(), (vae,))
    assert (changed.weight_bytes["vae"], changed.stored_dtypes["vae"]) == (5_000_000, "float32")
    assert (changed.configs["vae"], changed.components["vae"]) == (config, ("diffusers", "AutoencoderTiny"))
    assert changed.weight_bytes["unet"] == stable_diffusion().weight_bytes["unet"]


def test_the_scaling_that_old_configs_do_not_say_is_that_of_the_first_models():
    model = stable_diffusion()
    config = {"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "scaling_factor": 0.18215}
    vae = facts("vae", config=config)
    case = type("Case", (), {"facts": adaptation.changed(model, (vae,))})
    autoencoder.check(vae, case, model)


def down_and_up(name, width, out=640):
    return {f"{name}.lora_down.weight": (4, width), f"{name}.lora_up.weight": (out, 4), f"{name}.alpha": ()}


@pytest.mark.parametrize("model", [stable_diffusion_xl(), flux()], ids=["sdxl", "flux"])
def test_a_lora_for_the_first_models_is_refused_for_later_ones_without_their_headers(model):
    shapes = down_and_up("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 768, 320)
    family = catalog.find(model)
    with pytest.raises(ModelError) as caught:
        lora.check(facts(shapes=shapes), model, family)
    assert caught.value.message == (
        f"it.safetensors is a LoRA for Stable Diffusion 1.x; {model.reference} is {family.title}"
    )


def test_the_two_first_versions_are_told_apart_by_their_width():
    model = stable_diffusion()
    unet = model.configs["unet"] | {"cross_attention_dim": 768}
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    model = replace(model, configs=model.configs | {"unet": unet}, shapes={"unet": {f"{name}.weight": (320, 768)}})
    key = f"lora_unet_{name.replace('.', '_')}"
    lora.check(facts(shapes=down_and_up(key, 768, 320)), model, catalog.find(model))
    with pytest.raises(ModelError) as caught:
        lora.check(facts(shapes=down_and_up(key, 1024, 320)), model, catalog.find(model))
    assert caught.value.message == (
        "it.safetensors is a LoRA for Stable Diffusion 2.x; sd-legacy/stable-diffusion-v1-5 is Stable Diffusion 1.x"
    )


def test_shapes_of_weights_that_are_stored_smaller_say_nothing_of_their_layers():
    model, name = stable_diffusion(), "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    unet = model.configs["unet"] | {"quantization_config": {"quant_method": "bitsandbytes"}}
    shapes = {"unet": {f"{name}.weight": (122_880, 1)}}
    model = replace(model, configs=model.configs | {"unet": unet}, shapes=shapes)
    lora.check(
        facts(shapes={f"unet.{name}.lora_A.weight": (4, 768), f"unet.{name}.lora_B.weight": (320, 4)}),
        model,
        catalog.find(model),
    )
    assert not lora.is_told(model)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", "text_encoder: encoder_layers_0_mlp_fc1"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", "text_encoder_2: encoder_layers_0_mlp_fc1"),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight",
            "text_encoder: encoder_layers_0_self_attn_out_proj",
        ),
        (
            "unet.mid_block.attentions.0.attn1.processor.to_out_lora.down.weight",
            "mid_block_attentions_0_attn1_to_out_0",
        ),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.default.weight", "transformer_blocks_0_attn_to_q"),
        ("base_model.model.layers.0.attention.to_q.lora_B.weight", "layers_0_attention_to_q"),
        ("diffusion_model.layers.0.attention.to_q.lora_down.weight", "layers_0_attention_to_q"),
        ("double_blocks.0.processor.qkv_lora2.up.weight", "double_blocks_0_qkv2"),
        ("transformer_blocks.0.attn.to_q.lora_A.weight", "transformer_blocks_0_attn_to_q"),
    ],
)
def test_a_layer_has_one_name_in_whichever_style_it_is_written(name, place):
    (layer,) = lora.read({name: (4, 4)})
    where = "" if layer.component == lora.DENOISER else f"{layer.component}: "
    assert f"{where}{layer.flat}" == place


@pytest.mark.parametrize(
    "reference",
    ["org/name/../../../x.safetensors", "org/name@../../x", "org/name@main/a/../x.safetensors", "org/name/./x.bin"],
)
def test_what_leads_out_of_a_repository_is_not_of_the_hub(reference):
    assert adaptation.split_hub(reference) is None
