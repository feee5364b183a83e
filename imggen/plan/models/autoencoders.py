"""The classes of autoencoders: what each can do, and the memory that it decodes in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class AutoencoderKind:
    """What is known of a class of autoencoders; the defaults are those of a class that no row names."""

    tiles: bool = False
    """Whether it can decode a picture in tiles."""
    slices: bool = True
    """Whether it can be told to decode pictures one after the other."""
    exchangeable: bool = False
    """Whether it decodes the same latents as the other classes that are, each its own way."""
    scales_latents: bool = False
    """Whether it scales its latents itself, so that `scaling_factor` in its config means nothing."""
    decode_copies: float | None = None
    """How many copies of its last level's activations decoding holds; None where it takes what AutoencoderKL does."""
    decode_mib: int = 0
    """What decoding takes besides, whatever the size, in MiB."""


KINDS: Final[Mapping[str, AutoencoderKind]] = {
    "AutoencoderKL": AutoencoderKind(tiles=True, exchangeable=True),
    "AutoencoderTiny": AutoencoderKind(tiles=True, exchangeable=True, scales_latents=True),
    "AsymmetricAutoencoderKL": AutoencoderKind(slices=False, exchangeable=True),
    "AutoencoderKLFlux2": AutoencoderKind(tiles=True),
    # Sana's, which makes 32 pixels of each latent.
    "AutoencoderDC": AutoencoderKind(decode_copies=6.0, decode_mib=50),
    # Qwen-Image's, which are ones for films.
    "AutoencoderKLQwenImage": AutoencoderKind(decode_copies=17.2, decode_mib=150),
    "AutoencoderKLQwenImage21": AutoencoderKind(tiles=True, decode_copies=24.5, decode_mib=240),
    # Built as Qwen-Image's first one; not measured.
    "AutoencoderKLWan": AutoencoderKind(decode_copies=17.2, decode_mib=150),
    # Measured at 512 and 768 pixels, in copies of 128 channels, which it does not have.
    "PaellaVQModel": AutoencoderKind(slices=False, decode_copies=2.7, decode_mib=430),
    "VQModel": AutoencoderKind(slices=False),
}
"""What is known of each class, by its name in diffusers."""


def kind(class_name: str | None) -> AutoencoderKind:
    """Return what is known of a class of autoencoders, None for no autoencoder."""
    return KINDS.get(class_name or "", AutoencoderKind())
