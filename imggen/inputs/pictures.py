"""Strangers' pictures: looked at, and decoded to what models take."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from PIL import ExifTags, Image, UnidentifiedImageError

from imggen.errors import MachineError, RequestError
from imggen.inputs import colours, kinds
from imggen.plan.sizing.borders import MOST_PIXELS

MAX_PIXELS: Final = 178_000_000
FIRST_FRAME: Final = "--frame 1"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its Exif orientation."""
_SIDEWAYS = [turn for orientation, turn in _TURNS.items() if orientation > 4]
_SMALLER = f"make it smaller first: at most {MOST_PIXELS:,} pixels an edge and {MAX_PIXELS // 10**6} million in all"


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture as models take it: upright, 8-bit sRGB, mode RGB, or RGBA where a pixel is not opaque.

    It carries no metadata. `notes` say, in sentences that name the file, what was approximated, lost or left out.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the header of a picture's file says: the upright size in pixels, and the format by Pillow's name."""

    width: int
    height: int
    kind: str


def decode(data: bytes, *, name: str, frame: int | None = None) -> Decoded:
    """Return the picture in a file's bytes: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or PPM.

    `name` is the file's as typed (`-` is standard input), for messages; `frame` counts from 1. Orientation and colour
    profile are applied; of 16 bits a channel, 8 stay. Raises RequestError where the bytes are no such picture, damaged,
    or too large (looked at before a pixel is decoded); where there are several frames and none is named; where there is
    no such frame; MachineError where there is too little memory for it.
    """
    kind = kinds.find(data, name)
    shown, notes = kinds.shown(name), list[str]()
    with _explained(kind, shown, notes), _opened(data, kind, frame, notes) as opened:
        image = _decoded(opened, notes)
    return Decoded(image=image, notes=tuple(f"{shown}: {note}" for note in dict.fromkeys(notes)))


def measure(data: bytes, *, name: str, frame: int | None = None) -> Measured:
    """Return the size that `decode` would give a picture, and its format, without decoding more than that takes.

    Raises RequestError where the file's header says enough for `decode` to refuse it.
    """
    kind = kinds.find(data, name)
    notes = list[str]()
    with _explained(kind, kinds.shown(name), notes), _opened(data, kind, frame, notes) as opened:
        width, height = opened.size
        # Pillow turns TIFF files by itself, and says their size as it will be.
        is_sideways = kind != "TIFF" and _turn(opened, notes) in _SIDEWAYS
    if is_sideways:
        width, height = height, width
    return Measured(width=width, height=height, kind=kind)


@contextmanager
def _explained(kind: str, shown: str, notes: list[str]) -> Iterator[None]:
    """Turn what decoders raise into RequestError, and what they warn of into notes."""
    with warnings.catch_warnings(record=True) as heard:
        # Pillow warns of what it could not read beside the pixels, and of large pictures, which have their own check.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning)
        try:
            yield
        except RequestError as error:
            raise RequestError(f"{shown}: {error.message}", hint=error.hint) from error
        except Image.DecompressionBombError as error:
            raise RequestError(f"{shown} has too many pixels to be read", hint=_SMALLER) from error
        except Exception as error:
            # Pillow has its own words for a decoder that gets no memory.
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and "out of memory" in str(error)):
                raise MachineError(
                    f"{shown} does not fit into the memory that is left", hint="free some memory, or make it smaller"
                ) from error
            # Decoders raise whatever comes where bytes are bad; this is the seam.
            raise RequestError(
                f"{shown} looks like a {kinds.NAMES[kind]} file but cannot be read: {_reason(error)}",
                hint="the file is damaged or cut short; fetch it again",
            ) from error
    notes.extend(str(warning.message).strip() for warning in heard)


@contextmanager
def _opened(data: bytes, kind: str, frame: int | None, notes: list[str]) -> Iterator[Image.Image]:
    """Yield the picture at the frame that is wanted, undecoded, its size looked at."""
    if kind not in Image.OPEN:
        Image.init()
    if kind not in Image.OPEN:
        raise RequestError(f"this Pillow does not read {kinds.NAMES[kind]} files", hint="pip install --upgrade pillow")
    with Image.open(io.BytesIO(data), formats=(kind,)) as opened:
        _check_size(opened.size)
        _choose_frame(opened, frame, notes)
        _check_size(opened.size)
        yield opened


def _decoded(opened: Image.Image, notes: list[str]) -> Image.Image:
    raw = _raw_mode(opened)
    opened.load()
    turn = _turn(opened, notes)
    image = colours.to_srgb(opened, raw, notes)
    return image if turn is None else image.transpose(turn)


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise RequestError(f"its header says {width}x{height} pixels", hint="the file is damaged; fetch it again")
    if max(size) > MOST_PIXELS or width * height > MAX_PIXELS:
        raise RequestError(f"its header says {width}x{height} pixels, which is too large", hint=_SMALLER)


def _choose_frame(opened: Image.Image, frame: int | None, notes: list[str]) -> None:
    """Turn to the frame that was asked for; RequestError where it is missing or must be named."""
    count: int = getattr(opened, "n_frames", 1)
    if frame is None and count > 1:
        if opened.format != "MPO":
            raise RequestError(f"it has {count} frames, and one picture is needed", hint=FIRST_FRAME)
        # A camera's JPEG, with a preview or a map of brightness behind the picture.
        notes.append(f"it holds {count} pictures; the first is taken")
    if frame is None:
        return
    if not 1 <= frame <= count:
        held = f"frames 1 to {count}" if count > 1 else "one frame"
        raise RequestError(f"--frame {frame}: it has {held}", hint=f"--frame {min(max(frame, 1), count)}")
    if count > 1:
        opened.seek(frame - 1)


def _raw_mode(opened: Image.Image) -> str:
    """Return how the file stores its samples, with `;16` in it where they have more than 8 bits; may be empty."""
    tiles = getattr(opened, "tile", ())
    first = tiles[0][3] if tiles else ()
    first = first if isinstance(first, tuple) else (first,)
    raw = next((argument for argument in first if isinstance(argument, str)), "")
    # Of a PPM, the number that stands for white.
    is_deep = opened.format == "PPM" and any(isinstance(argument, int) and argument > 255 for argument in first)
    return f"{raw};16" if is_deep and ";" not in raw else raw


def _turn(opened: Image.Image, notes: list[str]) -> Image.Transpose | None:
    try:
        return _TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged Exif raises as much as damaged pixels, and is no reason to stop
        notes.append("its Exif block cannot be read, so whether it stands upright is not known")
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header is invalid"
    text = str(error).partition("\n")[0].rstrip(". ")
    return text[:100] if text and text.isprintable() else type(error).__name__
