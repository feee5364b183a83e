from dataclasses import replace
from pathlib import Path

import pytest

from imggen.errors import ModelError
from imggen.plan.models import checkpoint
from imggen.plan.schema.request import ModelFacts
from tests.plan.conftest import flux, stable_diffusion_xl

PREFIX = "model.diffusion_model."


def prefixed(names):
    return {f"{PREFIX}{name}": shape for name, shape in names.items()}


SD = prefixed(
    {
        "input_blocks.0.0.weight": (320, 4, 3, 3),
        "time_embed.0.weight": (1280, 320),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    }
) | {
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
}
SD_2 = prefixed(
    {
        "input_blocks.0.0.weight": (320, 4, 3, 3),
        "time_embed.0.weight": (1280, 320),
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
    }
) | {"cond_stage_model.model.token_embedding.weight": (49408, 1024)}
SDXL = prefixed(
    {
        "input_blocks.0.0.weight": (320, 4, 3, 3),
        "time_embed.0.weight": (1280, 320),
        "label_emb.0.0.weight": (1280, 2816),
        "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
    }
) | {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (77, 768),
    "conditioner.embedders.1.model.text_projection": (1280, 1280),
}
REFINER = prefixed(
    {
        "input_blocks.0.0.weight": (384, 4, 3, 3),
        "label_emb.0.0.weight": (1536, 2560),
        "time_embed.0.weight": (1536, 384),
    }
) | {"conditioner.embedders.0.model.text_projection": (1280, 1280)}
FLUX = {
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "img_in.weight": (3072, 64),
    "guidance_in.in_layer.weight": (3072, 256),
}
SCHNELL = {name: shape for name, shape in FLUX.items() if not name.startswith("guidance_in")}
Z_IMAGE = {"layers.0.adaLN_modulation.0.weight": (15360, 256), "cap_embedder.0.weight": (2560,)}
PUBLISHED = {
    "Stable Diffusion 1.x": SD,
    "Stable Diffusion 1.x for inpainting": SD | {f"{PREFIX}input_blocks.0.0.weight": (320, 9, 3, 3)},
    "Stable Diffusion 2.x": SD_2,
    "Stable Diffusion 2.x for inpainting": SD_2 | {f"{PREFIX}input_blocks.0.0.weight": (320, 9, 3, 3)},
    "Stable Diffusion XL": SDXL,
    "Stable Diffusion XL for inpainting": SDXL | {f"{PREFIX}input_blocks.0.0.weight": (320, 9, 3, 3)},
    "Stable Diffusion XL that predicts velocities": SDXL | {"v_pred": (0,)},
    "Stable Diffusion XL's refiner": REFINER,
    "Playground v2.5": SDXL | {"edm_mean": (4,)},
    "FLUX.1": FLUX,
    "FLUX.1 Fill": FLUX | {"img_in.weight": (3072, 384)},
    "FLUX.1 Canny or Depth": FLUX | {"img_in.weight": (3072, 128)},
    "FLUX.1 schnell": SCHNELL,
    "FLUX.2": {"single_stream_modulation.lin.weight": (9216, 3072), "img_in.weight": (3072, 128)},
    "Chroma": SCHNELL | {"distilled_guidance_layer.in_proj.weight": (5120, 64)},
    "Stable Diffusion 3": prefixed({"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,)}),
    "Stable Diffusion 3.5 large": {"joint_blocks.37.x_block.mlp.fc1.weight": (9728, 2432)},
    "Stable Diffusion 3.5 medium": {"joint_blocks.0.x_block.attn2.qkv.weight": (4608, 1536)},
    "AuraFlow": {"double_layers.0.attn.w2q.weight": (3072, 3072), "cond_seq_linear.weight": (3072, 2048)},
    "Lumina-Image 2.0": {"layers.0.adaLN_modulation.1.weight": (9216, 1024), "cap_embedder.0.weight": (2304,)},
    "Z-Image": prefixed(Z_IMAGE),
    "Sana": {"blocks.0.mlp.inverted_conv.conv.weight": (11200, 2240, 1, 1)},
    "Qwen-Image": {"transformer_blocks.0.img_mod.1.weight": (18432, 3072), "txt_norm.weight": (3584,)},
    "Krea 2": {"txtfusion.projector.weight": (1, 12)},
    "ERNIE-Image": {"layers.0.adaLN_sa_ln.weight": (4096,), "text_proj.weight": (4096, 3072)},
    "HiDream-I1": {"double_stream_blocks.0.block.adaLN_modulation.1.bias": (30720,)},
}


@pytest.mark.parametrize(("title", "shapes"), PUBLISHED.items(), ids=PUBLISHED)
def test_a_published_file_is_told_by_the_names_of_its_tensors(title, shapes):
    assert checkpoint.tell("x.safetensors", shapes).title == title


OTHERS = {
    "LoRA of kohya": ({"lora_unet_mid_block_attn.lora_down.weight": (8, 320)}, "a LoRA", "--lora x.safetensors"),
    "LoRA of diffusers": ({"unet.mid_block.attn1.to_q.lora_A.weight": (8, 320)}, "a LoRA", "--lora x.safetensors"),
    "ControlNet": (
        {
            "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
            "conv_in.weight": (320, 4, 3, 3),
            "down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3),
            "time_embedding.linear_1.weight": (1280, 320),
        },
        "a ControlNet",
        "--control x.safetensors:PICTURE",
    ),
    "IP-Adapter": (
        {"image_proj.proj.weight": (3072, 1024)},
        "an IP-Adapter",
        "--ip-adapter PICTURE --ip-adapter-weights x.safetensors",
    ),
    "IP-Adapter of XLabs": (
        {"ip_adapter_proj_model.proj.weight": (16384, 768)},
        "an IP-Adapter",
        "--ip-adapter PICTURE --ip-adapter-weights x.safetensors",
    ),
    "embedding": ({"emb_params": (2, 768)}, "an embedding", "--embedding x.safetensors"),
    "VAE": (
        {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.conv_in.weight": (512, 4, 3, 3)},
        "an autoencoder",
        "--vae x.safetensors",
    ),
    "text encoder": (
        {"text_model.encoder.layers.0.mlp.fc1.weight": (3072, 768)},
        "a text encoder",
        "a text encoder comes with the base: --base REF",
    ),
    "ESRGAN": (
        {"body.0.rdb1.conv1.weight": (32, 64, 3, 3)},
        "an upscaler",
        "imggen upscale PICTURE --model x.safetensors",
    ),
}


@pytest.mark.parametrize(("shapes", "title", "hint"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_model_by_itself_is_told_with_the_option_that_takes_it(shapes, title, hint):
    with pytest.raises(ModelError) as caught:
        checkpoint.tell("x.safetensors", shapes)
    assert caught.value.message == f"x.safetensors is {title}, not a model by itself"
    assert caught.value.hint == hint


def test_an_unknown_file_is_refused_with_its_first_names_and_never_taken_for_another():
    with pytest.raises(ModelError) as caught:
        checkpoint.tell("x.safetensors", {"d.weight": (1,), "b.weight": (1,), "c.weight": (1,), "a.weight": (1,)})
    assert caught.value.message == (
        "x.safetensors holds no model that imggen knows; the first tensors of 4 are a.weight, b.weight, c.weight"
    )


def test_a_kind_without_a_loader_is_named():
    names = {"blocks.0.cross_attn.q_linear.weight": (1152, 1152), "blocks.0.mlp.fc1.weight": (4608, 1152)}
    with pytest.raises(ModelError, match="holds PixArt: diffusers has no loader for single files of it"):
        checkpoint.tell("x.safetensors", names)


@pytest.mark.parametrize("name", ["scaled_fp8", "double_blocks.0.img_attn.qkv.scale_weight", "img_in.weight_scale"])
def test_weights_with_factors_beside_them_are_refused(name):
    with pytest.raises(ModelError, match="holds low-bit weights with scale factors beside them"):
        checkpoint.tell("x.safetensors", FLUX | {name: ()})


def test_the_parts_of_a_file_are_told_by_their_prefixes():
    shapes = SDXL | {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3), "model_ema.decay": ()}
    held = checkpoint.parts(checkpoint.tell("x", shapes), shapes)
    assert {name: len(each) for name, each in held.items()} == {
        "unet": 4,
        "text_encoder": 1,
        "text_encoder_2": 1,
        "vae": 1,
    }


def test_a_file_of_a_denoiser_alone_has_that_part():
    assert checkpoint.parts(checkpoint.tell("x", FLUX), FLUX) == {"transformer": tuple(FLUX)}


def test_the_usual_base_is_that_of_the_kind_or_of_the_family():
    told = {title: checkpoint.tell("x", shapes) for title, shapes in PUBLISHED.items()}
    assert checkpoint.usual_base("x", told["Stable Diffusion XL"]) == "stabilityai/stable-diffusion-xl-base-1.0"
    assert checkpoint.usual_base("x", told["FLUX.1 schnell"]) == "black-forest-labs/FLUX.1-schnell"
    inpainting = "diffusers/stable-diffusion-xl-1.0-inpainting-0.1"
    assert checkpoint.usual_base("x", told["Stable Diffusion XL for inpainting"]) == inpainting


@pytest.mark.parametrize("title", ["Stable Diffusion 2.x", "FLUX.2", "Z-Image", "HiDream-I1"])
def test_where_the_names_do_not_tell_which_model_it_is_a_base_has_to(title):
    with pytest.raises(ModelError, match=rf"x holds {title}, and its header does not say which one") as caught:
        checkpoint.usual_base("x", checkpoint.tell("x", PUBLISHED[title]))
    assert caught.value.hint.startswith("--base ")


def unet(**config):
    facts = stable_diffusion_xl()
    return replace(
        facts,
        reference="b",
        components=facts.components
        | {
            "unet": ("diffusers", "UNet2DConditionModel"),
            "text_encoder": ("transformers", "CLIPTextModel"),
            "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        },
        configs={"unet": {"in_channels": 4, "cross_attention_dim": 2048} | config, "scheduler": {}},
    )


def test_a_base_of_the_same_kind_is_taken():
    checkpoint.check_base("x", checkpoint.tell("x", SDXL), unet(), SDXL)


WRONG = {
    "another class": (
        SDXL,
        replace(flux(), reference="b"),
        "x holds Stable Diffusion XL, and its base b has no unet in place of UNet2DConditionModel",
    ),
    "another encoder": (
        SDXL,
        unet(cross_attention_dim=768),
        "x has cross_attention_dim 2048, its base b 768: they do not match",
    ),
    "another task": (
        SDXL,
        unet(in_channels=9),
        "x has in_channels 4, its base b 9: they do not match",
    ),
    "another prediction": (
        SDXL | {"v_pred": (0,)},
        unet(),
        "x has prediction_type v_prediction, its base b nothing: they do not match",
    ),
    "no such part": (
        SDXL,
        replace(unet(), components={"unet": ("diffusers", "UNet2DConditionModel")}),
        "x brings text_encoder, for which its base b has no config",
    ),
    "guidance": (
        FLUX,
        ModelFacts(
            reference="b",
            source="folder",
            folder=Path("/b"),
            pipeline="FluxPipeline",
            components={"transformer": ("diffusers", "FluxTransformer2DModel")},
            configs={"transformer": {"guidance_embeds": False, "in_channels": 64}},
        ),
        "x has guidance_embeds True, its base b False: they do not match",
    ),
}


@pytest.mark.parametrize(("shapes", "base", "message"), WRONG.values(), ids=WRONG)
def test_a_base_of_another_kind_is_refused_by_the_header(shapes, base, message):
    with pytest.raises(ModelError) as caught:
        checkpoint.check_base("x", checkpoint.tell("x", shapes), base, shapes)
    assert caught.value.message == message
