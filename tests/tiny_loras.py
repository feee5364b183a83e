"""Small random LoRAs for tiny models, in the formats that trainers write, and what they mean: whole weights."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file

ATTENTION = ("to_q", "to_query", "to_k", "to_v", "to_out.0", "q_proj", "k_proj")
FEED_FORWARD = ("net.2", "fc1", "fc2", "proj_out", "add_q_proj", "linear_2", "proj_mlp", "w1", "to_qkv_mlp_proj")
PREFIXES = {"unet": "lora_unet", "transformer": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


@dataclass(frozen=True)
class Drawn:
    """What is added to one layer: scale * alpha / rank * up @ down."""

    component: str
    name: str
    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    def change(self, scale=1.0):
        rank = len(self.down)
        return scale * self.alpha / rank * torch.einsum("or...,ri...->oi...", self.up, self.down)


def layers_of(pipeline):
    """Yield component, name and shape of every layer of the pipeline that can have a LoRA."""
    for component in pipeline._lora_loadable_modules:
        module = getattr(pipeline, component, None)
        for name, layer in module.named_modules() if module is not None else ():
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                yield component, name, layer.weight.shape


def layers_in(model, component):
    """Yield the same for one component of a model of which only the headers are known."""
    for name, shape in model.shapes[component].items():
        if name.endswith(".weight") and len(shape) > 1:
            yield component, name.removesuffix(".weight"), shape


def draw(layers, *, seed=0, endings=(*ATTENTION, *FEED_FORWARD), strong=0.5):
    """Return a random LoRA for those of the layers that end so, of ranks and alphas that differ by layer."""
    generator, drawn = torch.Generator().manual_seed(seed), []
    for component, name, shape in layers:
        if name.endswith(endings):
            rank = 1 + len(drawn) % 3
            down = torch.randn(rank, *shape[1:], generator=generator) * strong
            up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator) * strong
            alpha = (0.5, 4.0, float(rank))[len(drawn) % 3]
            drawn.append(Drawn(component=component, name=name, down=down, up=up, alpha=alpha))
    return drawn


def diffusers(drawn):
    """Return the tensors as diffusers and PEFT write them, where alpha is the rank."""
    found = {}
    for each in drawn:
        found[f"{each.component}.{each.name}.lora_A.weight"] = each.down
        found[f"{each.component}.{each.name}.lora_B.weight"] = each.up * each.alpha / len(each.down)
    return found


def kohya(drawn, *, names=lambda each: each.name, prefixes=PREFIXES):
    """Return the tensors as kohya's sd-scripts write them."""
    found = {}
    for each in drawn:
        inner = names(each)
        if each.component.startswith("text_encoder") and not inner.startswith("text_model."):
            inner = f"text_model.{inner}"
        key = f"{prefixes[each.component]}_{inner.replace('.', '_')}"
        found |= {
            f"{key}.lora_down.weight": each.down,
            f"{key}.lora_up.weight": each.up,
            f"{key}.alpha": torch.tensor(each.alpha),
        }
    return found


def original_unet(each, *, layers=1):
    """Return a layer's name in the first U-Nets' own numbering, which trainers use for Stable Diffusion XL."""
    if each.component != "unet":
        return each.name
    block, *rest = each.name.split(".")
    if block == "mid_block":
        number = {"attentions": 1, "resnets": 2 * int(rest[1])}[rest[0]]
        return ".".join(("middle_block", str(number), *rest[2:]))
    at, kind, number, *inner = rest
    place = int(at) * (layers + 1) + int(number)
    column = {"resnets": "0", "attentions": "1"}[kind]
    if block == "down_blocks":
        return ".".join(("input_blocks", str(place + 1), column, *inner))
    return ".".join(("output_blocks", str(place), column, *inner))


def save(path, tensors, metadata=None):
    """Write the tensors, each on its own in memory, and return the path."""
    save_file({name: each.contiguous().clone() for name, each in tensors.items()}, path, metadata)
    return path


def merge(pipeline, drawn, scale=1.0):
    """Add the LoRA to the pipeline's own weights, by its definition and without peft."""
    for each in drawn:
        layer = getattr(pipeline, each.component).get_submodule(each.name)
        layer.weight.data += each.change(scale).to(layer.weight.dtype)
    return pipeline


def load(path):
    """Return the tensors in the file."""
    return load_file(path)
