"""LoRAs by their headers: which layers they change, what they were made for, and whether they fit."""

from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import ModelError, RequestError
from imggen.plan.adapters import lora
from imggen.plan.models import catalog
from imggen.plan.schema.adapter import AdapterFacts, AdapterRequest
from tests.plan.conftest import flux, stable_diffusion, straight

SD, SDXL, FLUX = (catalog.named(name) for name in ("sd", "sdxl", "flux"))
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
MODEL = stable_diffusion(
    shapes={"unet": {f"{LAYER}.weight": (320, 768), "conv_in.weight": (320, 4, 3, 3)}},
    weight_bytes={"unet": 1},
    configs={"unet": {"cross_attention_dim": 768}},
)


def pair(layer=LAYER, rank=4, columns=768, rows=320):
    return {f"unet.{layer}.lora_A.weight": (rank, columns), f"unet.{layer}.lora_B.weight": (rows, rank)}


def found(shapes, **changes):
    asked = AdapterRequest(kind="lora", option="--lora", reference="style")
    return AdapterFacts(
        asked=asked, files=(Path("/loras/style.safetensors"),), sha256="0", reference="style", shapes=shapes, **changes
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lora_unet_mid_block_attn.lora_down.weight", (lora.DENOISER, "mid_block_attn", "kohya", "down")),
        ("lora_te2_text_model_q.lora_up.weight", ("text_encoder_2", "text_model_q", "kohya", "up")),
        ("lora_te_text_model_q.alpha", ("text_encoder", "text_model_q", "kohya", "alpha")),
        ("lycoris_transformer_a.hada_w1_a", (lora.DENOISER, "a", "kohya", "loha")),
        ("unet.a.b.lora_A.default.weight", (lora.DENOISER, "a.b", "diffusers", "down")),
        ("text_encoder_3.a.lora_B.weight", ("text_encoder_3", "a", "diffusers", "up")),
        ("unet.a.processor.to_out_lora.down.weight", (lora.DENOISER, "a.to_out.0", "diffusers", "down")),
        ("text_encoder.a.to_q_lora.up.weight", ("text_encoder", "a.q_proj", "diffusers", "up")),
        ("diffusion_model.single_blocks.1.lora_A.weight", (lora.DENOISER, "single_blocks.1", "original", "down")),
        ("base_model.model.a.lora_B.bias", (lora.DENOISER, "a", "original", "bias")),
        ("a.b.lokr_w1", (lora.DENOISER, "a.b", "bare", "lokr")),
    ],
)
def test_a_tensors_name_tells_component_layer_style_and_part(name, wanted):
    (layer,) = lora.read({name: (4, 8)})
    component, module, style, part = wanted
    assert (layer.component, layer.module, layer.style) == (component, module, style)
    assert (layer.shapes, layer.names) == ({part: (4, 8)}, {part: name})


def test_the_parts_of_a_layer_stand_together_and_other_tensors_are_left_out():
    layers = lora.read(pair() | {"unet.other.weight": (1, 1)})
    assert [set(layer.shapes) for layer in layers] == [{"down", "up"}]
    assert layers[0].flat == LAYER.replace(".", "_")


@pytest.mark.parametrize(
    ("name", "title", "fitting", "other"),
    [
        ("down_blocks.1.attentions.0.transformer_blocks.1.ff", "Stable Diffusion XL", "sdxl-turbo", "sd"),
        ("down_blocks.1.attentions.0.transformer_blocks.0.ff", "Stable Diffusion 1.x or 2.x", "lcm", "sdxl"),
        ("joint_transformer_blocks.0.attn", "AuraFlow", "auraflow", "sd3"),
        ("single_transformer_blocks.0.attn.to_qkv_mlp_proj", "FLUX.2", "flux2-klein", "flux"),
        ("single_blocks.0.linear1", "FLUX", "chroma", "sd3"),
        ("joint_blocks.0.x", "Stable Diffusion 3", "sd3", "flux"),
        ("transformer_blocks.0.ff_context.net", "Stable Diffusion 3 or FLUX", "flux-schnell", "qwen-image"),
        ("transformer_blocks.0.img_mod.1", "Qwen-Image", "qwen-image-edit", "flux"),
        ("transformer_blocks.0.ff.conv_point", "Sana", "sana-sprint", "pixart-sigma"),
        ("transformer_blocks.0.attn2.to_q", "PixArt or Sana", "pixart-alpha", "cogview4"),
        ("layers.0.attention.to_q", "Z-Image", "z-image-turbo", "lumina2"),
        ("layers.0.attn.to_q", "Lumina-Image 2.0", "lumina2", "lumina-next"),
        ("layers.0.self_attention.to_q", "ERNIE-Image", "ernie-image", "z-image"),
        ("text_fusion.a", "Krea 2", "krea2-turbo", "flux"),
        ("transformer_blocks.0.attn1.to_q", "CogView4, PixArt or Sana", "cogview4", "sd3"),
        ("double_stream_blocks.0.block", "HiDream", "hidream-distilled", "flux"),
        ("visual_transformer_blocks.0.a", "Kandinsky 5", "kandinsky5-edit", "kandinsky3"),
    ],
)
def test_names_of_layers_tell_what_a_lora_was_made_for(name, title, fitting, other):
    told, made_for = lora.made_for(lora.read({f"transformer.{name}.lora_A.weight": (4, 8)}))
    assert told == title
    assert catalog.named(fitting).lora_layers in made_for
    assert catalog.named(other).lora_layers not in made_for


def test_rows_name_layers_that_some_lora_can_tell_and_every_kind_is_a_rows():
    told = {name for sign in lora._SIGNS for name in sign.made_for}
    assert told == {family.lora_layers for family in catalog.FAMILIES} - {None}


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (768, "Stable Diffusion 1.x"),
        (1024, "Stable Diffusion 2.x"),
        (1280, "the refiner of Stable Diffusion XL"),
        (2048, "Stable Diffusion XL"),
        (99, "Stable Diffusion 1.x or 2.x"),
    ],
)
def test_the_text_that_a_u_net_reads_tells_its_version(columns, title):
    assert lora.made_for(lora.read(pair(columns=columns)))[0] == title


def test_a_second_encoder_alone_tells_stable_diffusion_xl():
    second = {"lora_te2_a.lora_down.weight": (4, 8)}
    assert lora.made_for(lora.read(second)) == ("Stable Diffusion XL", ("sdxl", "sd3"))
    assert lora.made_for(lora.read({"lora_te1_a.lora_down.weight": (4, 8)})) is None
    assert lora.made_for(lora.read(second | {"unet.a.lora_A.weight": (4, 8)})) is None


def test_a_lora_that_fits_is_taken_and_one_of_another_width_or_family_is_not():
    lora.check(found(pair()), MODEL, SD)
    with pytest.raises(ModelError, match=r"is a LoRA for Stable Diffusion 2\.x; .* is Stable Diffusion 1\.x") as caught:
        lora.check(found(pair(columns=1024)), MODEL, SD)
    assert caught.value.hint == "a LoRA for Stable Diffusion 1.x, or with -m a model that is Stable Diffusion 2.x"
    with pytest.raises(ModelError, match="is a LoRA for FLUX; "):
        lora.check(
            found({"single_blocks.0.a.lora_A.weight": (4, 8), "single_blocks.0.a.lora_B.weight": (8, 4)}), MODEL, SD
        )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (pair(rows=640), rf"it changes {LAYER} of 640x768, which is 320x768 there"),
        ({**pair(), f"unet.{LAYER}.lora_A.weight": (8, 768)}, r"its two weights for .* do not match: 8x768 and 320x4"),
        (pair("conv_in", columns=4), r"it changes conv_in of 320x4, which is 320x4x3x3 there"),
        (pair("mid_block.a"), r"of the 1 layers that it changes, 1 are not there \(mid_block\.a\)"),
    ],
)
def test_layers_that_the_model_has_otherwise_or_not_at_all_are_refused(shapes, message):
    with pytest.raises(ModelError, match=message):
        lora.check(found(shapes), MODEL, SD)


def test_layers_of_a_component_without_a_header_are_left_to_the_reading():
    lora.check(found(pair("anything.at.all")), replace(MODEL, shapes={}), SD)
    assert not lora.is_told(replace(MODEL, shapes={}))
    assert lora.is_told(MODEL)
    quantised = {"unet": MODEL.configs["unet"] | {"quantization_config": {}}}
    assert not lora.is_told(replace(MODEL, configs=quantised))


def test_a_pickle_is_not_known_before_it_is_read():
    lora.check(found({}, pickle=True), MODEL, SD)
    with pytest.raises(ModelError, match=r"style\.safetensors is empty"):
        lora.check(found({}), MODEL, SD)


@pytest.mark.parametrize(
    ("tensor", "hint"),
    [
        ("emb_params", "--embedding style"),
        ("image_proj.weight", "--ip-adapter IMAGE --ip-adapter-weights style"),
        ("model.diffusion_model.a", "-m style"),
        ("something", None),
    ],
)
def test_what_is_no_lora_is_refused_with_the_option_for_it(tensor, hint):
    with pytest.raises(ModelError, match="is no LoRA: none of its 2 tensors is part of one") as caught:
        lora.check(found({tensor: (4, 8), "zz": (4, 8)}), MODEL, SD)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "part", ["hada_w1_a", "oft_blocks", "diff", "on_input", "lora_mid.weight", "dora_scale", "lokr_w1"]
)
def test_kinds_that_diffusers_cannot_load_are_refused(part):
    with pytest.raises(ModelError, match=r"which diffusers cannot load into Stable Diffusion 1\.x and 2\.x") as caught:
        lora.check(found(pair() | {f"unet.{LAYER}.{part}": (4, 4)}), MODEL, SD)
    assert caught.value.hint == "look for the same adapter as a plain LoRA"


def test_a_lokr_is_read_where_diffusers_converts_it():
    layers = lora.read({"a.lokr_w1": (4, 4)})
    for name in ("flux2", "flux2-klein", "z-image-turbo"):
        lora.check_kind(found({"a.lokr_w1": (4, 4)}), layers, catalog.named(name))
    with pytest.raises(ModelError, match="is a LoKr of LyCORIS"):
        lora.check_kind(found({"a.lokr_w1": (4, 4)}), layers, FLUX)


def test_half_a_layer_is_refused():
    down = {f"unet.{LAYER}.lora_A.weight": (4, 768)}
    with pytest.raises(ModelError, match=r"is incomplete: .* has no up weights"):
        lora.check(found(down), MODEL, SD)


@pytest.mark.parametrize("key", ["use_rslora", "use_dora", "alpha_pattern"])
def test_what_peft_multiplies_in_another_way_is_refused(key):
    with pytest.raises(ModelError, match=f"asks for what diffusers does not read: {key}"):
        lora.check(found(pair(), config={key: True}), MODEL, SD)
    lora.check(found(pair(), config={key: False}), MODEL, SD)


def test_a_family_takes_loras_where_its_pipelines_load_them():
    assert lora.takes_lora(SD)
    assert not lora.takes_lora(replace(SD, loads_adapters=False))
    with pytest.raises(RequestError, match="diffusers cannot load LoRAs into PixArt-Sigma"):
        lora.check(found(pair()), straight("PixArtSigmaPipeline"), catalog.named("pixart-sigma"))


def test_a_model_is_called_by_its_version_where_its_family_has_several():
    assert lora.title_of(MODEL, SD) == "Stable Diffusion 1.x"
    second = replace(MODEL, configs={"unet": {"cross_attention_dim": 1024}})
    assert lora.title_of(second, SD) == "Stable Diffusion 2.x"
    assert lora.title_of(replace(MODEL, configs={}), SD) == SD.title
    assert lora.title_of(flux(), FLUX) == "FLUX.1"


def test_a_strength_is_that_of_the_layer_that_it_is_called_by():
    assert lora.strength_of(f"unet.{LAYER}.alpha") == (lora.DENOISER, LAYER.replace(".", "_"))
    assert lora.strength_of("lora_te1_text_model_a.alpha") == ("text_encoder", "a")
