"""Image file directories (TIFF 6.0, section 2): tables of tags, as Exif blocks and TIFF files have them."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from imggen.errors import RequestError
from imggen.output.formats.spans import Span

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
HEADER_BYTES = 8
ENTRY_BYTES = 12
SLOT_BYTES = 4

_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
# How many bytes are turned together where the byte order changes; types that are not named are bytes.
_TURNED_BYTES = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
_ORDERS = {b"MM\0*": ">", b"II*\0": "<"}


@dataclass(frozen=True, kw_only=True, slots=True)
class IfdEntry:
    """One row; `payload` is None where the value stays where it is and only `slot`, its 4 bytes, is copied."""

    tag: int
    kind: int
    count: int
    slot: bytes = b""
    payload: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """How many bytes the value has; 0 where its type is not known."""
        return _UNIT_BYTES.get(self.kind, 0) * self.count

    def span(self, order: str) -> Span:
        """Return the place of the value's bytes; (0, 0) where they stand in the row itself."""
        if self.size_bytes <= SLOT_BYTES:
            return 0, 0
        start = number(order, self.slot)
        return start, start + self.size_bytes


def order(data: bytes) -> str | None:
    """Return the byte order of the TIFF header, as `struct` has it; None where there is no such header."""
    return _ORDERS.get(data[:4]) if len(data) >= HEADER_BYTES else None


def number(order: str, slot: bytes) -> int:
    """Return the four bytes as a number."""
    return int(struct.unpack(order + "I", slot)[0])


def read(data: bytes, order: str, at: int, *, what: str = "Exif") -> tuple[tuple[IfdEntry, ...], int]:
    """Return the directory's rows and the place of the next one, 0 where it is the last.

    Raises RequestError where the table is not whole; `what` is the block's name in the message.
    """
    count = struct.unpack_from(order + "H", data, at)[0] if at + 2 <= len(data) else 0
    end = at + 2 + count * ENTRY_BYTES
    if at < HEADER_BYTES or at + 2 > len(data) or end > len(data):
        raise RequestError(f"the {what} directory at byte {at:,} does not fit into its {len(data):,} bytes")
    rows = struct.iter_unpack(order + "HHI4s", data[at + 2 : end])
    entries = tuple(IfdEntry(tag=tag, kind=kind, count=number, slot=slot) for tag, kind, number, slot in rows)
    following = struct.unpack_from(order + "I", data, end)[0] if end + 4 <= len(data) else 0
    return entries, following


def raw(data: bytes, order: str, entry: IfdEntry, *, what: str = "Exif") -> bytes:
    """Return the value's bytes; raise RequestError where they are not all there."""
    if entry.payload is not None:
        return entry.payload
    if entry.size_bytes <= SLOT_BYTES:
        return entry.slot[: entry.size_bytes]
    start = number(order, entry.slot)
    if start + entry.size_bytes > len(data):
        raise RequestError(f"the {what} tag {entry.tag:#06x} says {entry.size_bytes:,} bytes, more than are there")
    return data[start : start + entry.size_bytes]


def turned(entry: IfdEntry) -> IfdEntry:
    """Return the row with its payload in the other byte order."""
    unit = _TURNED_BYTES.get(entry.kind, 1)
    payload = entry.payload or b""
    parts = (payload[at : at + unit][::-1] for at in range(0, len(payload), unit))
    return replace(entry, payload=payload if unit == 1 else b"".join(parts))


def write(order: str, entries: Iterable[IfdEntry], following: int, values_at: int) -> tuple[bytes, bytes]:
    """Return the table, in the order of its tags, and the values behind it, which begin at the place `values_at`."""
    rows, values = [], bytearray()
    for entry in sorted(entries, key=lambda entry: entry.tag):
        slot = entry.slot
        if entry.payload is not None and len(entry.payload) <= SLOT_BYTES:
            slot = entry.payload.ljust(SLOT_BYTES, b"\0")
        elif entry.payload is not None:
            slot = struct.pack(order + "I", values_at + len(values))
            values += entry.payload + b"\0" * (len(entry.payload) & 1)
        rows.append(struct.pack(order + "HHI", entry.tag, entry.kind, entry.count) + slot)
    table = struct.pack(order + "H", len(rows)) + b"".join(rows) + struct.pack(order + "I", following)
    return table, bytes(values)


def table_bytes(rows: int) -> int:
    """Return how long a directory of so many rows is."""
    return 2 + ENTRY_BYTES * rows + 4


def lay_out(
    order: str, at: int, main: Iterable[IfdEntry], inner: Iterable[tuple[int, Sequence[IfdEntry]]], following: int
) -> bytes:
    """Return a directory for the place `at`, those in `inner` with pointers to them, and the values of all."""
    rows = list(main)
    inner = [(tag, entries) for tag, entries in inner if entries]
    place = at + table_bytes(len(rows) + len(inner))
    for tag, entries in inner:
        rows.append(IfdEntry(tag=tag, kind=LONG, count=1, payload=struct.pack(order + "I", place)))
        place += table_bytes(len(entries))
    tables, values = [], []
    for entries, link in ((rows, following), *((entries, 0) for _, entries in inner)):
        table, behind = write(order, entries, link, place)
        tables.append(table)
        values.append(behind)
        place += len(behind)
    return b"".join((*tables, *values))
