"""From latents to a picture: the guard that lets no picture out that is not made of numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from imggen.errors import PictureError


@contextmanager
def guarded(vae: Any, *, on_decode: Callable[[], None]) -> Iterator[None]:
    """Watch the decoding of `vae` within the block; `on_decode` is called as each begins.

    Latents are cast to the autoencoder's dtype, which several pipelines forget. A picture that is not finite is decoded
    once more in float32; where that does not help, or the latents themselves are not finite, a PictureError says so:
    the libraries would save a black picture.
    """
    plain, own = vae.decode, vars(vae).get("decode")

    def decode(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        on_decode()
        if not is_finite(latents):
            raise _not_numbers("the model's own result", latents.dtype)
        decoded = plain(latents.to(vae.dtype), *arguments, **options)
        if is_finite(_sample(decoded)):
            return decoded
        return _in_float32(vae, plain, latents, arguments, options)

    vae.decode = decode
    try:
        yield
    finally:
        # What hid the class's method is taken away again, so that nothing of this outlives the block.
        if own is None:
            del vae.decode
        else:
            vae.decode = own


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether every element is a number: no NaN, no infinity."""
    return bool(torch.isfinite(tensor).all())


def _in_float32(
    vae: Any, plain: Callable[..., Any], latents: torch.Tensor, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    dtype = vae.dtype
    if dtype == torch.float32:
        raise _not_numbers("the autoencoder's picture", dtype)
    vae.to(torch.float32)
    try:
        decoded = plain(latents.to(torch.float32), *arguments, **options)
    finally:
        vae.to(dtype)
    if not is_finite(_sample(decoded)):
        raise _not_numbers("the autoencoder's picture", torch.float32)
    return decoded


def _sample(decoded: Any) -> torch.Tensor:
    sample: torch.Tensor = decoded[0] if isinstance(decoded, tuple) else decoded.sample
    return sample


def _not_numbers(what: str, dtype: torch.dtype) -> PictureError:
    name = str(dtype).removeprefix("torch.")
    hint = "--dtype float32" if name != "float32" else "another --seed, --sampler or --guidance"
    return PictureError(f"{what} is not made of numbers (NaN or infinity, computed in {name})", hint=hint)
