"""JPEG files as segments (ITU-T T.81): read and replace Exif and XMP, leave every other byte alone."""

import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from imggen.errors import RequestError
from imggen.output.formats.carriers import MAX_PARTS, Carriers, Changes, Droppable, Picture, check_size
from imggen.plan.schema.formats import FULL_COLOUR_QUALITY

SIGNATURE = b"\xff\xd8\xff"
EXIF_PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
MAX_PAYLOAD = 65_533
ANOTHER_FORMAT = "--format png"
MAX_EXIF_BYTES = MAX_PAYLOAD - len(EXIF_PREFIX)
MAX_XMP_BYTES = MAX_PAYLOAD - len(XMP_PREFIX)

_TWO_PASS_PIXELS = 1 << 24
_SOI, _EOI, _SOS, _COM, _TEM = 0xD8, 0xD9, 0xDA, 0xFE, 0x01
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE
_CAPTIONS = b"8BIM\x04\x04"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APPLICATION = frozenset(range(_APP0, 0xF0)) | {_COM}
_RESTARTS = frozenset(range(0xD0, 0xD8))
_NOT_FILL = re.compile(rb"[^\xff]", re.DOTALL)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)

_Kind = tuple[int, bytes]
"""What a segment is: its marker, and the bytes that its payload begins with."""
_EXIF: _Kind = (_APP1, EXIF_PREFIX)
_XMP: _Kind = (_APP1, XMP_PREFIX)
_EXTENDED_XMP: _Kind = (_APP1, b"http://ns.adobe.com/xmp/extension/\0")
_PICTURE_INDEX: _Kind = (_APP2, b"MPF\0")
_COMMENT: _Kind = (_COM, b"")
_DROPPED: dict[Droppable, _Kind] = {
    "comments": _COMMENT,
    "captions": (_APP13, b""),
    # A manifest that takes several segments is numbered through; only the first names it (ISO 19566-5, annex D).
    "manifest": (_APP11, b"JP"),
}


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """`end` is behind the payload; entropy-coded data follows a start of scan up to `tail`."""

    marker: int
    start: int
    payload_start: int
    end: int
    tail: int

    def payload(self, data: bytes) -> bytes:
        return data[self.payload_start : self.end]

    def holds(self, data: bytes, kind: _Kind) -> bool:
        marker, prefix = kind
        return self.marker == marker and data.startswith(prefix, self.payload_start, self.end)


def is_jpeg(data: bytes) -> bool:
    """Return whether the file begins as a JPEG does."""
    return data.startswith(SIGNATURE)


def options(quality: int, _mode: str, pixels: int) -> dict[str, Any]:
    """Return what Pillow is told when it encodes the picture."""
    return {
        "quality": quality,
        "subsampling": 0 if quality >= FULL_COLOUR_QUALITY else 2,
        # The best codes take a second pass, for which libjpeg holds six bytes per pixel; they save some hundredths.
        "optimize": pixels <= _TWO_PASS_PIXELS,
    }


def read(data: bytes) -> Picture:
    """Return what the file's segments say; raise RequestError where they are damaged."""
    segments = _split(data)
    width, height = _frame_size(data, segments)
    check_size(width, height)
    exifs = [segment.payload(data)[len(EXIF_PREFIX) :] for segment in segments if segment.holds(data, _EXIF)]
    packets = [segment.payload(data)[len(XMP_PREFIX) :] for segment in segments if segment.holds(data, _XMP)]
    counts = (("Exif", len(exifs)), ("XMP", len(packets)))
    return Picture(
        format="jpeg",
        width=width,
        height=height,
        animated=False,
        image_sha256=_image_hash(data, segments),
        carriers=Carriers(
            exif=exifs[0] if exifs else None,
            xmp=packets[0] if packets else None,
            comments=tuple(segment.payload(data) for segment in segments if segment.holds(data, _COMMENT)),
            captions=any(segment.marker == _APP13 and _CAPTIONS in segment.payload(data) for segment in segments),
        ),
        signed=any(segment.marker == _APP11 and b"c2pa" in segment.payload(data) for segment in segments),
        notes=tuple(f"the JPEG has {count} {what} segments; the first is read" for what, count in counts if count > 1),
    )


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with Exif and XMP where readers expect them, at its front, and every other segment as it was.

    Raises RequestError where a block is larger than a segment, which holds 65,533 bytes.
    """
    segments = _split(data)
    kept = [segment for segment in segments if not _replaced(data, segment, changes)]
    _check_index(data, segments, changes)
    others = (at for at, segment in enumerate(kept) if segment.marker != _APP0 and not segment.holds(data, _EXIF))
    front = next(others, 0)
    new = []
    if changes.exif:
        new.append(_framed("Exif", EXIF_PREFIX + changes.exif))
    if changes.xmp:
        new.append(_framed("XMP", XMP_PREFIX + changes.xmp))
    view = memoryview(data)
    pieces = [view[segment.start : segment.tail] for segment in kept]
    return b"".join([data[:2], *pieces[:front], *new, *pieces[front:], view[segments[-1].tail :]])


def _replaced(data: bytes, segment: _Segment, changes: Changes) -> bool:
    kinds = [_DROPPED[name] for name in changes.dropped]
    if changes.exif is not None:
        kinds.append(_EXIF)
    if changes.xmp is not None:
        kinds.append(_XMP)
    if changes.xmp == b"":
        kinds.append(_EXTENDED_XMP)
    return any(segment.holds(data, kind) for kind in kinds)


def _check_index(data: bytes, segments: list[_Segment], changes: Changes) -> None:
    # A multi-picture index (CIPA DC-007) counts bytes from itself to the pictures behind: nothing between may move.
    index = next((at for at, segment in enumerate(segments) if segment.holds(data, _PICTURE_INDEX)), len(segments))
    if any(_replaced(data, segment, changes) for segment in segments[index:]):
        raise RequestError("the JPEG keeps metadata behind its multi-picture index; changing it would lose the others")


def _framed(what: str, payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD:
        raise RequestError(
            f"the {what} would take {len(payload):,} bytes; a JPEG holds {MAX_PAYLOAD:,}", hint=ANOTHER_FORMAT
        )
    return struct.pack(">BBH", 0xFF, _APP1, len(payload) + 2) + payload


def _split(data: bytes) -> list[_Segment]:
    """Return the segments up to the end of the picture."""
    segments: list[_Segment] = []
    at = 2
    while True:
        if len(segments) >= MAX_PARTS:
            raise RequestError(f"the JPEG has more than {MAX_PARTS:,} segments")
        segment = _segment(data, at)
        if segment.marker == _EOI:
            break
        segments.append(segment)
        at = segment.tail
    if not any(segment.marker == _SOS for segment in segments):
        raise RequestError("the JPEG has no image data")
    return segments


def _segment(data: bytes, at: int) -> _Segment:
    """Return the segment that begins at a byte, with its entropy-coded data where it has any."""
    if data[at : at + 1] not in (b"\xff", b""):
        raise RequestError(f"the JPEG has no marker at byte {at:,}")
    # Any number of fill bytes may stand before a marker's code.
    code = _find(_NOT_FILL, data, at + 1)
    marker = data[code]
    behind = code + 1
    if marker in (_EOI, _TEM) or marker in _RESTARTS:
        return _Segment(marker=marker, start=at, payload_start=behind, end=behind, tail=behind)
    if marker in (0x00, _SOI):
        raise RequestError(f"the JPEG has no segment at byte {at:,} but a marker {marker:#04x}")
    length = struct.unpack_from(">H", data, behind)[0] if behind + 2 <= len(data) else 0
    end = behind + length
    if length < 2 or end > len(data):
        raise RequestError(
            f"the JPEG's segment {marker:#04x} at byte {at:,} says {length:,} bytes, more than are there"
        )
    tail = _find(_MARKER, data, end) if marker == _SOS else end
    return _Segment(marker=marker, start=at, payload_start=behind + 2, end=end, tail=tail)


def _find(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    match = pattern.search(data, start)
    if not match:
        raise RequestError(f"the JPEG ends at byte {len(data):,}, in the middle of the picture")
    return match.start()


def _frame_size(data: bytes, segments: Iterable[_Segment]) -> tuple[int, int]:
    frame = next((segment.payload(data) for segment in segments if segment.marker in _FRAMES), b"")
    if len(frame) < 6:
        raise RequestError("the JPEG has no frame header")
    height, width = struct.unpack_from(">HH", frame, 1)
    return width, height


def _image_hash(data: bytes, segments: Iterable[_Segment]) -> str:
    # APP14 says how colours are stored; the other application segments and comments do not reach the pixels.
    digest = hashlib.sha256()
    view = memoryview(data)
    for segment in segments:
        if segment.marker not in _APPLICATION or segment.marker == _APP14:
            digest.update(view[segment.start : segment.tail])
    return digest.hexdigest()
