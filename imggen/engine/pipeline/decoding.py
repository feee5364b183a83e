"""From latents to a picture: the guard that lets no picture out that is not made of numbers, or that shows nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final

import torch

from imggen.engine import patching
from imggen.errors import PictureError
from imggen.host import heap

# By how many of 255 levels the pixels of one colour may differ: rounding alone makes one.
_PLAIN_LEVELS: Final = 1
# Autoencoders draw from -1 to 1 and overshoot: the built-in model's draws "a white background" between 1.09 and 1.27
# (six seeds), which is a picture although the file cuts it off to pure white. As far out as this, nothing is drawn.
_OVERSHOT: Final = 2.0
_PICTURE: Final = "the autoencoder's picture"
_NOT_NUMBERS: Final = "is not made of numbers (NaN or infinity)"
_NAMED: Final[dict[tuple[int, ...], str]] = {(0, 0, 0): "black", (255, 255, 255): "white"}


@contextmanager
def guarded(
    vae: Any,
    *,
    on_decode: Callable[[], None],
    on_note: Callable[[str], None] = lambda _: None,
    refuse_plain: bool = False,
    dtype: torch.dtype | None = None,
) -> Iterator[None]:
    """Watch the decoding of `vae` within the block; `on_decode` is called as each begins.

    Latents are cast to the autoencoder's dtype, which several pipelines forget, and pixels besides are brought to where
    it computes. A picture that is not finite, or with `refuse_plain` one whose pixels all have the same colour, is
    decoded once more in float32, which `on_note` hears of; where that does not help, or the latents themselves are not
    finite, a PictureError says so: the libraries would save a black picture. `dtype` is the model's where its latents
    may come in another.
    """
    plain = vae.decode
    # What looks tokens up, as aMUSEd's does, draws from 0 to 1.
    black = 0.0 if getattr(getattr(vae, "config", None), "lookup_from_codebook", False) else -1.0

    def decode(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if latents.device.type == "cpu":
            heap.trim()
        on_decode()
        model, own = dtype or latents.dtype, vae.dtype
        if not is_finite(latents):
            raise _failure("the model's own result", _NOT_NUMBERS, model, model)
        decoded = plain(_cast(latents, own), *arguments, **options)
        fault = _fault(decoded, refuse_plain=refuse_plain, black=black)
        if fault is None:
            return decoded
        if own == torch.float32:
            raise _failure(_PICTURE, fault, own, model)
        # Gone before the larger one is made.
        del decoded
        decoded = _in_float32(vae, plain, latents, arguments, options)
        second = _fault(decoded, refuse_plain=refuse_plain, black=black)
        if second is not None:
            raise _failure(_PICTURE, second, torch.float32, model)
        on_note(f"{_PICTURE} {fault} in {_name(own)}, so it was decoded once more, in float32")
        return decoded

    def encode(pixels: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        # Where parts rest in main memory, LongCat's pipeline takes that for the place where they compute.
        place = getattr(getattr(vae, "_hf_hook", None), "execution_device", None)
        return look(pixels.to(pixels.device if place is None else place, vae.dtype), *arguments, **options)

    look: Any = getattr(vae, "encode", None)
    with patching.replaced(vae, decode=decode, **({"encode": encode} if look else {})):
        yield


@contextmanager
def watched(scheduler: Any, *, refuse_plain: bool = False, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Look at what the last step of `scheduler` within the block gives: the picture, where there is no autoencoder.

    Raise PictureError at the end of the block for one that is not finite, or with `refuse_plain` for one whose pixels
    all have the same colour. `dtype` is the model's.
    """
    step = scheduler.step
    latest: list[torch.Tensor] = []

    # Others ask the method for its parameters.
    @wraps(step)
    def watch(*arguments: Any, **options: Any) -> Any:
        result = step(*arguments, **options)
        latest[:] = [result[0]]
        return result

    with patching.replaced(scheduler, step=watch):
        yield
    for picture in latest:
        fault = _fault((picture,), refuse_plain=refuse_plain)
        if fault is not None:
            raise _failure("the model's own result", fault, dtype, dtype)


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether every element is a number: no NaN, no infinity."""
    return bool(torch.isfinite(tensor).all())


def _in_float32(
    vae: Any, plain: Callable[..., Any], latents: torch.Tensor, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    # The weights that are there are widened and narrowed again, tensor by tensor, which loses nothing. That a picture
    # was decoded twice stands in no recipe: whether it is follows from the latents and the dtype, which the recipe
    # gives, so the same line on the same kind of device decodes twice again and makes the same pixels.
    dtype = vae.dtype
    try:
        vae.to(torch.float32)
        return plain(_cast(latents, torch.float32), *arguments, **options)
    finally:
        vae.to(dtype)


def _cast(latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    # Tokens are whole numbers, and stay so.
    return latents.to(dtype) if latents.is_floating_point() else latents


def _fault(decoded: Any, *, refuse_plain: bool, black: float = -1.0) -> str | None:
    sample: torch.Tensor = decoded[0] if isinstance(decoded, tuple) else decoded.sample
    if not is_finite(sample):
        return _NOT_NUMBERS
    colour = _only_colour(sample, black) if refuse_plain else None
    if colour is None:
        return None
    return f"shows nothing: all of it is {_NAMED.get(colour, 'one colour')} {colour}"


def _only_colour(sample: torch.Tensor, black: float) -> tuple[int, ...] | None:
    """Return the colour of the first picture of (batch, channels, ..., height, width) that has one only, else None.

    What an autoencoder draws beyond white or black still tells pixels apart, as long as it is not far beyond.
    """
    low, high = (_levels(extreme, black) for extreme in (sample.amin(dim=(-2, -1)), sample.amax(dim=(-2, -1))))
    for darkest, lightest in zip(low, high, strict=True):
        if bool((lightest - darkest <= _PLAIN_LEVELS).all()):
            colour = darkest.reshape(len(darkest), -1)[:3, 0].clamp(0, 255)
            return tuple(int(level) for level in colour)
    return None


def _levels(values: torch.Tensor, black: float) -> torch.Tensor:
    """Return values that mean black at `black` and white at 1 as levels from 0 to 255, and some beyond."""
    levels = (values.float() - black) * 2 / (1 - black) - 1
    return ((levels.clamp(-_OVERSHOT, _OVERSHOT) + 1) * 127.5).round()


def _failure(what: str, fault: str, computed: torch.dtype, model: torch.dtype) -> PictureError:
    hint = "another --seed, --sampler or --guidance, or more --steps"
    if fault != _NOT_NUMBERS:
        hint = "another --seed or prompt; what img2img makes of a plain picture may be plain"
    if model != torch.float32:
        hint = "--dtype float32"
    return PictureError(f"{what} {fault}, computed in {_name(computed)}", hint=hint)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
