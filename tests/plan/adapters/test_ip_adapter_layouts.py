"""Adapters by the names and shapes that are published, at full size: without any tensor."""

import pytest

from imggen.errors import ModelError
from imggen.plan.adapters.ip_adapter_layouts import FLUX, SD3, UNET, EncoderNeed, examine

DEV = {"num_layers": 19, "num_attention_heads": 24, "attention_head_dim": 128, "joint_attention_dim": 4096}
LARGE = {"num_layers": 38, "num_attention_heads": 38, "attention_head_dim": 64, "dual_attention_layers": []}
MEDIUM = {"num_layers": 24, "num_attention_heads": 24, "attention_head_dim": 64, "dual_attention_layers": [0, 1]}
SD15 = {
    "cross_attention_dim": 768,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}


def of_xlabs(tokens):
    shapes = {
        "ip_adapter_proj_model.proj.weight": (tokens * 4096, 768),
        "ip_adapter_proj_model.proj.bias": (tokens * 4096,),
        "ip_adapter_proj_model.norm.weight": (4096,),
        "ip_adapter_proj_model.norm.bias": (4096,),
    }
    for block in range(19):
        for layer in ("k", "v"):
            name = f"double_blocks.{block}.processor.ip_adapter_double_stream_{layer}_proj"
            shapes |= {f"{name}.weight": (3072, 4096), f"{name}.bias": (3072,)}
    return shapes


def of_instantx():
    hidden, width = 1280, 2432
    shapes = {"latents": (1, 64, hidden), "proj_in.weight": (hidden, 1152), "proj_in.bias": (hidden,)}
    shapes |= {"proj_out.weight": (width, hidden), "proj_out.bias": (width,)}
    shapes |= {"norm_out.weight": (width,), "norm_out.bias": (width,)}
    shapes |= {"time_embedding.linear_1.weight": (hidden, 320), "time_embedding.linear_1.bias": (hidden,)}
    shapes |= {"time_embedding.linear_2.weight": (hidden, hidden), "time_embedding.linear_2.bias": (hidden,)}
    for layer in range(4):
        norms = (f"layers.{layer}.{each}" for each in ("0.norm1", "0.norm2", "1.0"))
        shapes |= {f"{norm}.{part}": (hidden,) for norm in norms for part in ("weight", "bias")}
        shapes |= {
            f"layers.{layer}.0.to_q.weight": (hidden, hidden),
            f"layers.{layer}.0.to_kv.weight": (2 * hidden, hidden),
            f"layers.{layer}.0.to_out.weight": (hidden, hidden),
            f"layers.{layer}.1.1.weight": (4 * hidden, hidden),
            f"layers.{layer}.1.3.weight": (hidden, 4 * hidden),
            f"layers.{layer}.2.1.weight": (4 * hidden, hidden),
            f"layers.{layer}.2.1.bias": (4 * hidden,),
        }
    named = {f"image_proj.{name}": shape for name, shape in shapes.items()}
    for block in range(38):
        named |= {
            f"ip_adapter.{block}.norm_ip.linear.weight": (2 * width, hidden),
            f"ip_adapter.{block}.norm_ip.linear.bias": (2 * width,),
            f"ip_adapter.{block}.to_k_ip.weight": (width, width),
            f"ip_adapter.{block}.to_v_ip.weight": (width, width),
        }
        named |= {f"ip_adapter.{block}.{norm}.weight": (64,) for norm in ("norm_q", "norm_k", "norm_ip_k")}
    return named


@pytest.mark.parametrize(
    ("shapes", "layout", "config", "need"),
    [
        (of_xlabs(4), FLUX, DEV, EncoderNeed(setting="projection_dim", size=768)),
        (of_xlabs(16), FLUX, DEV, EncoderNeed(setting="projection_dim", size=768)),
        (of_instantx(), SD3, LARGE, EncoderNeed(setting="hidden_size", size=1152)),
    ],
    ids=["flux-ip-adapter", "flux-ip-adapter-v2", "SD3.5-Large-IP-Adapter"],
)
def test_published_adapters_fit_the_models_that_they_were_made_for(shapes, layout, config, need):
    assert examine("it", shapes, layout, config) == need
    named = {layout.renamed(each): shape for each, shape in shapes.items()}
    assert examine("it, saved by diffusers' names", named, layout, config) == need


def test_one_for_a_larger_model_is_refused():
    with pytest.raises(ModelError, match="it was made for 38 attentions; this model has 26"):
        examine("it", of_instantx(), SD3, MEDIUM)
    with pytest.raises(ModelError, match=r"image_proj.proj_out.weight is \(2432, 1280\), not \(1536, 1280\)"):
        examine("it", of_instantx(), SD3, LARGE | {"num_attention_heads": 24})


def test_another_number_of_tokens_than_diffusers_knows_is_refused():
    with pytest.raises(ModelError, match=r"image_proj.proj.weight is \(32768, 768\), not \(16384, 768\)"):
        examine("it", of_xlabs(8), FLUX, DEV)


def test_what_diffusers_has_no_place_for_is_refused_rather_than_left_out():
    deeper = of_instantx() | {"image_proj.layers.4.0.norm1.weight": (1280,)}
    with pytest.raises(ModelError, match=r"has the tensor image_proj.layers.4.ln0.weight, for which diffusers has no"):
        examine("it", deeper, SD3, LARGE)


def test_adapters_of_flux_for_siglip_are_unknown():
    shapes = {f"ip_adapter.{block}.to_{each}_ip.weight": (3072, 4096) for block in range(57) for each in "kv"}
    shapes |= {"image_proj.proj.0.weight": (2304, 1152), "image_proj.proj.2.weight": (524288, 2304)}
    with pytest.raises(ModelError, match="of a kind that imggen does not know"):
        examine("it", shapes, FLUX, DEV)


@pytest.mark.parametrize(("shapes", "layout"), [(of_xlabs(4), FLUX), (of_instantx(), SD3)])
def test_adapters_are_told_by_what_they_are_for(shapes, layout):
    with pytest.raises(ModelError, match=f"it is an IP-Adapter for {layout.title}, not for U-Nets"):
        examine("it", shapes, UNET, SD15)
