"""Boxes of the ISO base media file format (ISO/IEC 14496-12): the frame of AVIF and HEIF files."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from imggen.errors import RequestError
from imggen.output.formats.carriers import MAX_PARTS

_HEADER_BYTES = 8
_LARGE = 1


@dataclass(frozen=True, kw_only=True)
class Box:
    """One box: its four letters, and where it, its payload and what follows it begin."""

    name: bytes
    start: int
    body: int
    end: int

    def payload(self, data: bytes) -> bytes:
        """Return what is in the box."""
        return data[self.body : self.end]

    def whole(self, data: bytes) -> bytes:
        """Return the box with its header."""
        return data[self.start : self.end]

    @cached_property
    def shown(self) -> str:
        """The name as messages have it."""
        return repr(self.name.decode("latin-1"))


def split(data: bytes, start: int, end: int) -> tuple[Box, ...]:
    """Return the boxes that fill those bytes; raise RequestError where one says more than is there."""
    boxes: list[Box] = []
    at = start
    while at < end:
        if len(boxes) >= MAX_PARTS:
            raise RequestError(f"the AVIF has more than {MAX_PARTS:,} boxes")
        boxes.append(_box(data, at, end))
        at = boxes[-1].end
    return tuple(boxes)


def inside(data: bytes, box: Box, *, skip: int = 0) -> tuple[Box, ...]:
    """Return the boxes in a box, behind `skip` bytes of its own."""
    return split(data, box.body + skip, box.end)


def frame(name: bytes, *pieces: bytes | memoryview) -> bytes:
    """Return a box with that name around the pieces."""
    size = _HEADER_BYTES + sum(len(piece) for piece in pieces)
    if size >= 1 << 32:
        raise RequestError(f"the AVIF's box {name.decode('latin-1')!r} would be larger than 4 GiB")
    return b"".join((struct.pack(">I4s", size, name), *pieces))


def _box(data: bytes, at: int, end: int) -> Box:
    """Return the box that begins at a byte; RequestError where it does not fit."""
    if at + _HEADER_BYTES > end:
        raise RequestError(f"the AVIF's last box at byte {at:,} has no room for its header")
    size, name = struct.unpack_from(">I4s", data, at)
    body = at + _HEADER_BYTES
    if size == _LARGE:
        size = struct.unpack_from(">Q", data, body)[0] if body + 8 <= end else 0
        body += 8
    elif size == 0 and end == len(data):
        # A box at the end may leave its size open.
        size = end - at
    if not body - at <= size <= end - at:
        raise RequestError(
            f"the AVIF's box {name.decode('latin-1')!r} at byte {at:,} says {size:,} bytes, more than are there"
        )
    return Box(name=name, start=at, body=body, end=at + size)


class Cursor:
    """A place in a box's payload that moves on with every number read; the end of the box is the end."""

    def __init__(self, data: bytes, box: Box) -> None:
        self._data, self._box, self.at = data, box, box.body

    def number(self, size: int) -> int:
        """Return the big-endian number of `size` bytes, 0 for none."""
        behind = self.at + size
        if behind > self._box.end:
            raise RequestError(f"the AVIF's box {self._box.shown} at byte {self._box.start:,} ends too early")
        value = int.from_bytes(self._data[self.at : behind])
        self.at = behind
        return value

    def text(self) -> bytes:
        """Return the bytes up to the next zero, or to the end of the box, and pass over both."""
        stop = self._data.find(b"\0", self.at, self._box.end)
        stop = self._box.end if stop < 0 else stop
        content = self._data[self.at : stop]
        self.at = min(stop + 1, self._box.end)
        return content

    def boxes(self) -> Iterator[Box]:
        """Yield the boxes that fill the rest."""
        yield from split(self._data, self.at, self._box.end)


def full(data: bytes, box: Box) -> tuple[Cursor, int, int]:
    """Return a cursor behind the version and the flags that full boxes begin with, and these."""
    cursor = Cursor(data, box)
    return cursor, cursor.number(1), cursor.number(3)
