"""What a file is, by its first bytes."""

import re
import shlex
from typing import Final

from imggen.errors import RequestError

_LOOKED_AT = 1 << 12
# What may stand before a document's first element: possessive, so that a stranger's bytes are read once and not again.
_PROLOGUE = rb"\s*+(?>(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE\s++svg\b[^\[>]*+(?:\[.*?\]\s*+)?>)\s*+)*+"
_READ = {
    "PNG": ("PNG", rb"\x89PNG\r\n\x1a\n"),
    "JPEG": ("JPEG", rb"\xff\xd8\xff"),
    "WEBP": ("WebP", rb"RIFF.{4}WEBP"),
    "GIF": ("GIF", rb"GIF8[79]a"),
    "BMP": ("BMP", rb"BM"),
    "TIFF": ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    "AVIF": ("AVIF", rb".{4}ftyp(.{4}){0,12}?avi[fs]"),
    "PPM": ("PPM", rb"P[1-6f]\s+[#0-9]"),
}
NAMES: Final = {kind: title for kind, (title, _) in _READ.items()}
"""The formats that are read, as Pillow calls them and as people do."""
_SIGNATURES = {kind: signature for kind, (_, signature) in _READ.items()}
_CONVERTIBLE = {
    "a HEIC picture": rb".{4}ftyp(hei|hev|mif1|msf1)",
    "a JPEG XL picture": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "a JPEG 2000 picture": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ",
    "a Photoshop file": rb"8BPS",
    "an icon": rb"\0\0[\1\2]\0",
    "an OpenEXR picture": rb"\x76\x2f\x31\x01",
    "a QOI picture": rb"qoif",
    "an SVG drawing": _PROLOGUE + rb"<svg\b",
    "a PostScript file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "a PDF": rb"%PDF",
}
_OTHERS = {
    "an HTML page": _PROLOGUE + rb"<(!doctype html|html|head|body)\b",
    "a Git LFS pointer, which stands for a file that was not fetched": rb"version https://git-lfs",
    "a zip archive": rb"PK[\3\5]",
    "a gzip archive": rb"\x1f\x8b",
    "a film": rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ",
}
_TEXT = re.compile(r"[^\x00-\x08\x0e-\x1a\x1c-\x1f]+")


def find(data: bytes, name: str) -> str:
    """Return Pillow's name of the format; raise RequestError, saying what the file seems to be, where it is none.

    `name` is the file's as typed, `-` for standard input.
    """
    start = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf")
    known = _first(_SIGNATURES, start)
    if known:
        return known
    convertible = _first(_CONVERTIBLE, start)
    if convertible:
        raise RequestError(
            f"{shown(name)} is {convertible}, which imggen does not read",
            hint=f"convert it first: magick {shlex.quote(name)} picture.png",
        )
    *others, last = NAMES.values()
    raise RequestError(
        f"{shown(name)} is {_other(start)}, not a picture", hint=f"imggen reads {', '.join(others)} and {last} files"
    )


def shown(name: str) -> str:
    """Return what messages call a file that was named so on the command line."""
    return "standard input" if name == "-" else name


def _first(signatures: dict[str, bytes], start: bytes) -> str | None:
    matching = (kind for kind, pattern in signatures.items() if re.match(pattern, start, re.DOTALL | re.IGNORECASE))
    return next(matching, None)


def _other(start: bytes) -> str:
    if not start:
        return "empty"
    # A character that is cut in half at the end of what was looked at is no sign of anything.
    text = start.decode(errors="replace").rstrip("\ufffd")
    is_text = "\ufffd" not in text and _TEXT.fullmatch(text)
    return _first(_OTHERS, start) or ("text" if is_text else "of an unknown kind")
