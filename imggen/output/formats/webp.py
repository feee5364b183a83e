"""WebP files as RIFF chunks (RFC 9649): read and replace Exif and XMP, leave every other byte alone."""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from imggen.errors import RequestError
from imggen.output.formats.carriers import MAX_PARTS, Carriers, Changes, Picture, check_size

_ANIMATION, _XMP, _EXIF, _ALPHA = 0x02, 0x04, 0x08, 0x10
_PIXEL_CHUNKS = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"))
_EXIF_PREFIX = b"Exif\0\0"
_MAX_RIFF = 0xFFFFFFFF - 1
_LOSSLESS_QUALITY = 100


@dataclass(frozen=True, kw_only=True)
class _RiffChunk:
    name: bytes
    payload: bytes | memoryview

    def framed(self) -> tuple[bytes | memoryview, ...]:
        """Return the chunk in pieces, because joining them would copy the picture."""
        length = len(self.payload)
        return self.name + struct.pack("<I", length), self.payload, b"\0" * (length & 1)


def is_webp(data: bytes) -> bool:
    """Return whether the file begins as a WebP does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def options(quality: int, _mode: str, _pixels: int) -> dict[str, Any]:
    """Return what Pillow is told when it encodes the picture."""
    if quality == _LOSSLESS_QUALITY:
        # Pillow's quality is the effort here; exact keeps the colours of transparent pixels.
        return {"lossless": True, "exact": True, "quality": 80}
    return {"quality": quality, "method": 4}


def read(data: bytes) -> Picture:
    """Return what the file's chunks say; raise RequestError where they are damaged."""
    chunks = _split(data)
    width, height = _canvas(chunks)
    exifs = [bytes(chunk.payload) for chunk in chunks if chunk.name == b"EXIF"]
    packets = [bytes(chunk.payload) for chunk in chunks if chunk.name == b"XMP "]
    counts = (("Exif", len(exifs)), ("XMP", len(packets)))
    return Picture(
        format="webp",
        width=width,
        height=height,
        animated=any(chunk.name == b"ANMF" for chunk in chunks),
        image_sha256=_image_hash(chunks),
        carriers=Carriers(
            exif=exifs[0].removeprefix(_EXIF_PREFIX) if exifs else None, xmp=packets[0] if packets else None
        ),
        signed=any(chunk.name == b"C2PA" for chunk in chunks),
        notes=tuple(f"the WebP has {count} {what} chunks; the first is read" for what, count in counts if count > 1),
    )


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with Exif and XMP at its end, its flags telling of them, and every other chunk as it was.

    A file in the simple form gets the extended form's header, because only that one may carry metadata.
    """
    chunks = _split(data)
    gone = {b"C2PA"} if "manifest" in changes.dropped else set()
    if changes.exif is None and changes.xmp is None and not any(chunk.name in gone for chunk in chunks):
        return data
    new = {b"EXIF": changes.exif, b"XMP ": changes.xmp}
    gone |= {b"VP8X"} | {name for name, payload in new.items() if payload is not None}
    kept = [chunk for chunk in chunks if chunk.name not in gone]
    kept += [_RiffChunk(name=name, payload=payload) for name, payload in new.items() if payload]
    body = [piece for chunk in [_header(chunks, kept), *kept] for piece in chunk.framed()]
    size = sum(len(piece) for piece in body) + 4
    if size > _MAX_RIFF:
        raise RequestError("the WebP would be larger than the 4 GiB that its header can hold")
    return b"".join([b"RIFF", struct.pack("<I", size), b"WEBP", *body, memoryview(data)[_riff_end(data) :]])


def _riff_end(data: bytes) -> int:
    size = struct.unpack_from("<I", data, 4)[0]
    if size + 8 > len(data):
        raise RequestError(f"the WebP says {size + 8:,} bytes; {len(data):,} are there")
    return int(size) + 8


def _split(data: bytes) -> list[_RiffChunk]:
    """Return the chunks in the RIFF; RequestError where they do not fill it or are out of order."""
    end = _riff_end(data)
    view = memoryview(data)
    chunks: list[_RiffChunk] = []
    at = 12
    while at + 8 <= end:
        if len(chunks) >= MAX_PARTS:
            raise RequestError(f"the WebP has more than {MAX_PARTS:,} chunks")
        name, length = struct.unpack_from("<4sI", data, at)
        if at + 8 + length > end:
            raise RequestError(
                f"the WebP's chunk {name.decode('latin-1')!r} at byte {at:,} says {length:,} bytes, more than are there"
            )
        chunks.append(_RiffChunk(name=name, payload=view[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)
    _check_order(chunks)
    return chunks


def _check_order(chunks: list[_RiffChunk]) -> None:
    names = [chunk.name for chunk in chunks]
    if not any(name in (b"VP8 ", b"VP8L", b"ANMF") for name in names):
        raise RequestError("the WebP has no image data")
    if names[0] not in (b"VP8 ", b"VP8L", b"VP8X"):
        raise RequestError(f"the WebP begins with a chunk {names[0].decode('latin-1')!r}, not its header")
    if names.count(b"VP8X") > 1:
        raise RequestError("the WebP has more than one header")


def _canvas(chunks: list[_RiffChunk]) -> tuple[int, int]:
    width, height = _size(chunks[0])
    check_size(width, height)
    return width, height


def _size(chunk: _RiffChunk) -> tuple[int, int]:
    payload = chunk.payload
    if chunk.name == b"VP8X" and len(payload) >= 10:
        return int.from_bytes(payload[4:7], "little") + 1, int.from_bytes(payload[7:10], "little") + 1
    if chunk.name == b"VP8L" and len(payload) >= 5 and payload[0] == 0x2F:
        bits = int.from_bytes(payload[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk.name == b"VP8 " and payload[3:6] == b"\x9d\x01\x2a" and len(payload) >= 10:
        width, height = struct.unpack_from("<HH", payload, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise RequestError(f"the WebP's header chunk {chunk.name.decode('latin-1')!r} is damaged")


def _header(chunks: list[_RiffChunk], kept: Iterable[_RiffChunk]) -> _RiffChunk:
    first = chunks[0]
    width, height = _canvas(chunks)
    if first.name == b"VP8X":
        flags, rest = first.payload[0], bytes(first.payload[1:])
    else:
        has_alpha = first.name == b"VP8L" and int.from_bytes(first.payload[1:5], "little") >> 28 & 1
        flags = _ALPHA if has_alpha else 0
        rest = b"\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    names = {chunk.name for chunk in kept}
    flags &= ~(_EXIF | _XMP)
    flags |= (_EXIF if b"EXIF" in names else 0) | (_XMP if b"XMP " in names else 0)
    return _RiffChunk(name=b"VP8X", payload=bytes([flags]) + rest)


def _image_hash(chunks: Iterable[_RiffChunk]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        if chunk.name in _PIXEL_CHUNKS:
            for piece in chunk.framed():
                digest.update(piece)
    return digest.hexdigest()
