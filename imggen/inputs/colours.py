"""Pixels of any kind that Pillow decodes, as 8-bit sRGB."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from imggen.errors import RequestError

_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""The colour spaces that a profile may be for, and the modes that it then takes."""
_NOTHING = 2
"""Levels of 255 by which a profile may differ from sRGB and still be called sRGB."""
_GAMMA = 1 / 2.2
"""What a PNG says whose numbers are meant for screens as they are."""
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0


def to_srgb(image: Image.Image, raw: str, notes: list[str]) -> Image.Image:
    """Return a loaded picture as sRGB, mode RGB, or RGBA where a pixel is not opaque; it carries no metadata.

    `raw` names how the file stores its samples: Pillow's raw mode, known only before it is loaded. Profiles are applied
    by relative colorimetric intent with black point compensation. What is approximated or lost goes into `notes`.
    Raises RequestError for samples that do not say where black and white are.
    """
    profile = image.info.get("icc_profile")
    base, alpha = _split(_eight_bits(image, raw, notes), raw)
    gamma = image.info.get("gamma")
    if gamma and not profile and "srgb" not in image.info and abs(gamma - _GAMMA) > 0.01:
        notes.append(f"its gamma of {gamma:g} is not applied")
    converted = _converted(base, profile, notes)
    # What is left would speak of pixels as they were before: Pillow would write the old profile into the next file.
    converted.info.clear()
    if alpha is not None and alpha.getextrema()[0] != 255:
        converted.putalpha(alpha)
    return converted


def _eight_bits(image: Image.Image, raw: str, notes: list[str]) -> Image.Image:
    """Return the picture with 8 bits a channel, its transparent colour scaled alike."""
    if image.mode == "F":
        return _from_fractions(image, notes)
    if image.mode.startswith("I"):
        return _from_numbers(image, raw, notes)
    if ";16" in raw:
        notes.append("16 bits a channel are read as 8")
    key = image.info.get("transparency")
    if key is not None and ";" in raw:
        # Pillow leaves the transparent colour as the file has it, and scales the pixels.
        image = image.copy()
        image.info["transparency"] = _scaled(key, raw)
    return image


def _scaled(key: Any, raw: str) -> Any:
    if isinstance(key, tuple):
        return tuple(level >> 8 for level in key)
    return key * {"L;2": 85, "L;4": 17}.get(raw, 1) if isinstance(key, int) else key


def _from_numbers(image: Image.Image, raw: str, notes: list[str]) -> Image.Image:
    """Return whole numbers of up to 16 bits as a grey picture of 8."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise RequestError(
            f"its samples run from {low:,} to {high:,}, and the file does not say which is white",
            hint="save it with 8 or 16 bits a channel",
        )
    white = 0xFFF if raw == "I;12" else 0xFFFF
    levels = ((np.arange(0x10000) * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    tags = getattr(image, "tag_v2", {})
    if image.mode != "I" and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    notes.append("12 bits a channel are read as 8" if raw == "I;12" else "16 bits a channel are read as 8")
    grey = Image.fromarray(levels[values])
    key = image.info.get("transparency")
    if isinstance(key, int):
        return Image.merge("LA", (grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))
    return grey


def _from_fractions(image: Image.Image, notes: list[str]) -> Image.Image:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    # Written so that NaN, which is in no order with anything, is refused too.
    if not (low >= 0 and high <= 1):
        raise RequestError(
            f"its samples run from {low:g} to {high:g}; of fractions, only those from 0 to 1 are read",
            hint="save it with 8 or 16 bits a channel",
        )
    notes.append("fractions are read as 8 bits a channel, 1 as white")
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


def _split(image: Image.Image, raw: str) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours (mode L, RGB, CMYK or LAB) and the alpha channel, None where there is none."""
    if not image.has_transparency_data:
        is_read = image.mode in ("L", "RGB", "CMYK", "LAB")
        return image if is_read else image.convert("L" if image.mode == "1" else "RGB"), None
    whole = image.convert("RGBA")
    is_grey = image.mode in ("1", "L", "LA") or raw.startswith("LA")
    return Image.merge("RGB", whole.split()[:3]).convert("L" if is_grey else "RGB"), whole.getchannel("A")


def _converted(base: Image.Image, profile: Any, notes: list[str]) -> Image.Image:
    if base.mode == "LAB":
        return _applied(_transform("LAB", ImageCms.createProfile("LAB")), base)
    if profile:
        try:
            return _managed(base, profile, notes)
        except Exception as error:  # noqa: BLE001 - a stranger's profile, and little of what it can break has a type
            notes.append(f"its colour profile is not applied: {_printable(str(error) or type(error).__name__)}")
    if base.mode == "CMYK":
        notes.append("its inks (CMYK) have no colour profile, so its colours are approximate")
    return base.convert("RGB")


def _managed(base: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = opened.profile.xcolor_space.strip()
    mode = _SPACES.get(space)
    if mode is None or base.mode not in (mode, "L" if mode == "RGB" else mode):
        raise ValueError(f"it is for {space} and the picture is {base.mode}")
    transform = _transform(mode, opened)
    if mode != "CMYK" and _is_srgb(transform, mode):
        return base.convert("RGB")
    converted = _applied(transform, base.convert(mode))
    notes.append(f"its colours are converted to sRGB from {_printable(opened.profile.profile_description or space)}")
    return converted


def _transform(mode: str, profile: Any) -> Any:
    srgb = ImageCms.createProfile("sRGB")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(profile, srgb, mode, "RGB", renderingIntent=intent, flags=flags)


def _applied(transform: Any, image: Image.Image) -> Image.Image:
    converted: Image.Image = transform.apply(image)
    return converted


def _is_srgb(transform: Any, mode: str) -> bool:
    """Return whether the transform changes next to nothing, so that it is better left out: it would only round."""
    levels = np.linspace(0, 255, 256 if mode == "L" else 9).round().astype(np.uint8)
    if mode == "L":
        grid, expected = levels[None], np.stack([levels] * 3, axis=-1)[None]
    else:
        grid = expected = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    actual = np.asarray(_applied(transform, Image.fromarray(grid)))
    return int(np.abs(actual.astype(int) - expected).max()) <= _NOTHING


def _printable(text: str) -> str:
    return "".join(letter for letter in text.partition("\n")[0] if letter.isprintable()).strip()[:80]
