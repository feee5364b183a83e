"""PNG files as chunks (W3C PNG, third edition): read and replace metadata, leave every other byte alone."""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from imggen.errors import RequestError
from imggen.output.formats.carriers import MAX_PARTS, MAX_TEXT_BYTES, Carriers, Changes, Picture, check_size, decoded

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = "XML:com.adobe.xmp"

_MANIFEST = b"caBX"
_MAX_CHUNK = 0x7FFFFFFF
_FRAME_BYTES = 12
_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"))
_TEXT_CHUNKS = frozenset((b"tEXt", b"zTXt", b"iTXt", b"comf"))


@dataclass(frozen=True, kw_only=True)
class _PngChunk:
    name: bytes
    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length + _FRAME_BYTES

    def payload(self, data: bytes) -> bytes:
        return data[self.start + 8 : self.start + 8 + self.length]


def is_png(data: bytes) -> bool:
    """Return whether the file begins as a PNG does."""
    return data.startswith(SIGNATURE)


def options(_quality: int, _mode: str, _pixels: int) -> dict[str, Any]:
    """Return what Pillow is told when it encodes the picture: nothing, for the best of all qualities."""
    return {}


def read(data: bytes) -> Picture:
    """Return what the file's chunks say; raise RequestError where they are damaged."""
    chunks = _split(data)
    width, height = struct.unpack(">II", chunks[0].payload(data)[:8])
    check_size(width, height)
    texts = tuple(_texts(data, chunks))
    # Some writers put the prefix in that only a JPEG has.
    exifs = [chunk.payload(data).removeprefix(b"Exif\0\0") for chunk in chunks if chunk.name == b"eXIf"]
    packets = [text for keyword, text in texts if keyword == XMP_KEYWORD]
    return Picture(
        format="png",
        width=width,
        height=height,
        animated=any(chunk.name == b"acTL" for chunk in chunks),
        image_sha256=_image_hash(data, chunks),
        carriers=Carriers(
            exif=exifs[0] if exifs else None,
            xmp=packets[0].encode() if packets else None,
            texts=tuple(text for text in texts if text[0] != XMP_KEYWORD),
        ),
        signed=any(chunk.name == _MANIFEST for chunk in chunks),
        notes=tuple(_repeats(exifs=len(exifs), keywords=[keyword for keyword, _ in texts])),
    )


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with the changes made, right behind its header, and every other chunk as it was."""
    chunks = _split(data)
    packet = None if changes.xmp is None else changes.xmp.decode() or None
    texts = {**changes.texts, **({} if changes.xmp is None else {XMP_KEYWORD: packet})}
    new = [_text_chunk(keyword, text) for keyword, text in texts.items() if text is not None]
    if changes.exif:
        new.append(_framed(b"eXIf", changes.exif))
    kept = (chunk for chunk in chunks[1:] if not _replaced(data, chunk, changes, texts))
    view = memoryview(data)
    pieces = [view[chunk.start : chunk.end] for chunk in kept]
    return b"".join([SIGNATURE, view[chunks[0].start : chunks[0].end], *new, *pieces, view[chunks[-1].end :]])


def _replaced(data: bytes, chunk: _PngChunk, changes: Changes, texts: Iterable[str]) -> bool:
    if chunk.name == b"eXIf":
        return changes.exif is not None
    if chunk.name == _MANIFEST:
        return "manifest" in changes.dropped
    return chunk.name in _TEXT_CHUNKS and _keyword(chunk.payload(data))[0] in texts


def _split(data: bytes) -> list[_PngChunk]:
    """Return the chunks up to the last; RequestError where they are no PNG's."""
    chunks: list[_PngChunk] = []
    at = len(SIGNATURE)
    while not chunks or chunks[-1].name != b"IEND":
        if len(chunks) >= MAX_PARTS:
            raise RequestError(f"the PNG has more than {MAX_PARTS:,} chunks")
        chunks.append(_chunk(data, at))
        at = chunks[-1].end
    names = [chunk.name for chunk in chunks]
    if names[0] != b"IHDR" or chunks[0].length != 13:
        raise RequestError(
            f"the PNG begins with a chunk {_shown(names[0])} of {chunks[0].length} bytes, not its header"
        )
    if names.count(b"IHDR") > 1:
        raise RequestError("the PNG has more than one header")
    if b"IDAT" not in names:
        raise RequestError("the PNG has no image data")
    return chunks


def _chunk(data: bytes, at: int) -> _PngChunk:
    if at + _FRAME_BYTES > len(data):
        raise RequestError(f"the PNG ends at byte {len(data):,}, before its last chunk")
    length, name = struct.unpack_from(">I4s", data, at)
    if length > _MAX_CHUNK or at + length + _FRAME_BYTES > len(data):
        raise RequestError(f"the PNG's chunk {_shown(name)} at byte {at:,} says {length:,} bytes, more than are there")
    if not name.isalpha():
        raise RequestError(f"the PNG has no chunk at byte {at:,} but {_shown(name)}")
    end = at + 8 + length
    if zlib.crc32(memoryview(data)[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
        raise RequestError(f"the PNG's chunk {_shown(name)} at byte {at:,} has a wrong checksum")
    return _PngChunk(name=name, start=at, length=length)


def _shown(name: bytes) -> str:
    return repr(name.decode("latin-1"))


def _image_hash(data: bytes, chunks: Iterable[_PngChunk]) -> str:
    """Return the hash of the chunks that decide the pixels."""
    # How the compressed data is cut into IDAT chunks does not matter to the pixels, so names are hashed once per run.
    digest = hashlib.sha256()
    view = memoryview(data)
    before = b""
    for chunk in chunks:
        if chunk.name not in _PIXEL_CHUNKS:
            continue
        if chunk.name != before or chunk.name != b"IDAT":
            digest.update(chunk.name)
        digest.update(view[chunk.start + 8 : chunk.start + 8 + chunk.length])
        before = chunk.name
    return digest.hexdigest()


def _repeats(*, exifs: int, keywords: list[str]) -> Iterator[str]:
    if exifs > 1:
        yield f"the PNG has {exifs} Exif chunks; the first is read"
    for keyword in dict.fromkeys(keywords):
        if keywords.count(keyword) > 1 and keyword in (XMP_KEYWORD, "parameters", "imggen", "prompt"):
            yield f"the PNG has {keywords.count(keyword)} text chunks {keyword!r}; the first is read"


def _texts(data: bytes, chunks: Iterable[_PngChunk]) -> Iterator[tuple[str, str]]:
    budget = MAX_TEXT_BYTES
    for chunk in chunks:
        if chunk.name not in _TEXT_CHUNKS:
            continue
        if chunk.length > budget:
            raise RequestError(f"the PNG's text is longer than the {MAX_TEXT_BYTES:,} bytes that are read")
        keyword, rest = _keyword(chunk.payload(data))
        raw = _unpacked(chunk.name, keyword, rest, budget)
        budget -= len(raw)
        # Writers that know no better put UTF-8 where the standard wants Latin-1.
        yield keyword, raw.decode(errors="replace") if chunk.name == b"iTXt" else decoded(raw)


def _keyword(payload: bytes) -> tuple[str, bytes]:
    keyword, _, rest = payload.partition(b"\0")
    return keyword[:80].decode("latin-1"), rest


def _unpacked(name: bytes, keyword: str, rest: bytes, budget: int) -> bytes:
    if name == b"zTXt":
        return _inflated(keyword, rest[1:], budget)
    if name != b"iTXt":
        return rest
    compressed = rest[:1] == b"\1"
    fields = rest[2:].split(b"\0", 2)
    if len(fields) < 3:
        raise RequestError(f"the PNG's text chunk {keyword!r} ends before its text")
    return _inflated(keyword, fields[2], budget) if compressed else fields[2]


def _inflated(keyword: str, packed: bytes, budget: int) -> bytes:
    try:
        stream = zlib.decompressobj()
        text = stream.decompress(packed, budget + 1)
    except zlib.error as error:
        raise RequestError(f"the PNG's compressed text {keyword!r} cannot be unpacked: {error}") from error
    if len(text) > budget:
        raise RequestError(f"the PNG's compressed text {keyword!r} unpacks to more than {MAX_TEXT_BYTES:,} bytes")
    if not stream.eof:
        raise RequestError(f"the PNG's compressed text {keyword!r} ends too early")
    return text


def _text_chunk(keyword: str, text: str) -> bytes:
    # Compressed text is never written: some readers refuse a file that has much of it.
    if text.isascii() and keyword == "parameters":
        return _framed(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("ascii"))
    return _framed(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode())


def _framed(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
