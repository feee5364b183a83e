"""What was done to pictures that were given: the vocabulary that requests, plans and recipes share."""

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["image", "mask", "parent", "style", "control", "shown"]
"""What a given picture is for: changed, a mask, mixed, its style taken; followed by a ControlNet; or shown to the model
beside the words."""

BASES: Final[tuple[Role, ...]] = ("image", "parent")
"""The roles of pictures that a new one is made from; the others only help."""

Fit = Literal["crop", "pad", "stretch"]
Axes = Literal["x", "y", "xy"]
Method = Literal[
    "image-to-image",
    "inpainting",
    "latent-blending",
    "noise-and-words",
    "latents",
    "statistics",
    "ip-adapter",
    "reference",
]
"""How a picture was made from others.

`image-to-image` is the pipeline of that name (SDEdit, arXiv 2108.01073); `inpainting` the family's own inpainting
pipeline, `latent-blending` its stand-in (arXiv 2206.02779); `noise-and-words` mixes the noise and the prompts of the
recipes that parents carry, `latents` their encoded pictures; `statistics` matches a style picture's latents and colours
(AdaIN, arXiv 1703.06868), `ip-adapter` and `reference` show it to the model.
"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a picture was made from those that were given; what a method does not know stays at its default.

    `strength` is diffusers': the share of the noising that is done and undone, 1 = nothing of the picture is kept, None
    where the method starts from noise. `image_guidance` is how much the given picture holds against the words, None for
    a model that knows no such number. `frame` counts from 1. `mask_box` is x, y, width, height in pixels of the
    picture; `feather` the width in pixels over which a mask's edge runs out. `paste` says whether what the mask leaves
    out comes back bit for bit. `pad` is what outpainting adds: top, right, bottom, left, in pixels. `mutation` is the
    share of fresh noise in a child, from 0 to 1. `adapter` names the weights of an IP-Adapter; `adapter_hash` is the
    sha256 of their file.
    """

    method: Method
    strength: float | None = None
    image_guidance: float | None = None
    fit: Fit | None = None
    frame: int | None = None
    mask_box: tuple[int, int, int, int] | None = None
    invert_mask: bool = False
    feather: int = 0
    paste: bool = True
    pad: tuple[int, int, int, int] | None = None
    mutation: float = 0.0
    adapter: str | None = None
    adapter_hash: str | None = None
    adapter_scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A step that came after a picture was made: enlarged, by what, and from which file.

    `engine` is `lanczos`, `network` or `diffusion`; `model` and `model_hash` (sha256) name the weights, empty where
    there are none; `width` and `height` are the result's, in pixels; `source_sha256` is the file that it was made from.
    `prompt`, `seed`, `steps` and `guidance` are what a diffusion model was told.
    """

    action: Literal["upscale"]
    engine: str
    model: str
    model_hash: str
    width: int
    height: int
    source_sha256: str
    imggen: str
    prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
