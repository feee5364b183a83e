"""The default upscaler: the compact VGG-style generator of Real-ESRGAN.

All convolutions work at the small picture's size, and the last one's channels become pixels, which makes it several
times cheaper than the large ESRGAN networks (SRVGGNetCompact, github.com/xinntao/Real-ESRGAN; arXiv 2107.10833).
Weights are named as there, so that other programs and spandrel read the same file.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

COLOURS = 3


class Compact(nn.Module):
    """Enlarges RGB in 0..1 of shape (n, 3, h, w) to (n, 3, h * scale, w * scale).

    `margin` is how many pixels around an input pixel its result depends on.
    """

    def __init__(self, *, features: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.margin = convolutions + 2
        layers: list[nn.Module] = [nn.Conv2d(COLOURS, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, COLOURS * scale * scale, 3, padding=1))
        self.body = nn.ModuleList(layers)

    def forward(self, small: Tensor) -> Tensor:
        """Return the picture enlarged: what the network adds to its plain repetition of pixels."""
        features = small
        for layer in self.body:
            features = layer(features)
        return F.pixel_shuffle(features, self.scale) + F.interpolate(small, scale_factor=self.scale, mode="nearest")


def build(features: int, convolutions: int, scale: int) -> Compact:
    """Return a new network with random weights, `convolutions` of them between the first and the last."""
    return Compact(features=features, convolutions=convolutions, scale=scale)


def read(path: Path) -> Compact:
    """Return the network in a safetensors file, in float32 on the CPU; its shape is told by its tensors."""
    weights = load_file(path)
    last = max(int(name.split(".")[1]) for name in weights)
    features = weights["body.0.weight"].shape[0]
    scale = round((weights[f"body.{last}.weight"].shape[0] / COLOURS) ** 0.5)
    with torch.device("meta"):
        network = build(features, last // 2 - 1, scale)
    network.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
    return network.eval().requires_grad_(requires_grad=False)
