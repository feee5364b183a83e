"""Exif blocks (CIPA DC-008): build, read, and add to a camera's own without moving a byte of it."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imggen.errors import RequestError
from imggen.output.formats import ifd, spans
from imggen.output.formats.carriers import decoded
from imggen.output.formats.ifd import ENTRY_BYTES, HEADER_BYTES, LONG, RATIONAL, SHORT, SLOT_BYTES, UNDEFINED, IfdEntry
from imggen.output.formats.spans import Span

Value = str | int

_TEXTS = frozenset((ifd.BYTE, ifd.ASCII, UNDEFINED, 129))
_EXIF_POINTER, _USER_COMMENT, _THUMBNAIL = 0x8769, 0x9286, 0x0201
_POINTERS = frozenset((0x014A, 0x8825, 0xA005, _THUMBNAIL))

_MAIN_TAGS = {
    "ImageWidth": 0x0100,
    "ImageHeight": 0x0101,
    "ImageDescription": 0x010E,
    "Make": 0x010F,
    "Model": 0x0110,
    "Orientation": 0x0112,
    "Software": 0x0131,
    "DateTime": 0x0132,
    "Artist": 0x013B,
    "Copyright": 0x8298,
}
_EXIF_TAGS = {
    "DateTimeOriginal": 0x9003,
    "UserComment": _USER_COMMENT,
    "ColorSpace": 0xA001,
    "ExifImageWidth": 0xA002,
    "ExifImageHeight": 0xA003,
    "LensModel": 0xA434,
}
_MAKER_NOTE = 0x927C
_REMOVABLE = {**_EXIF_TAGS, "MakerNote": _MAKER_NOTE}
# A thumbnail's place and length: as a JPEG, and as strips.
_THUMBNAILS = ((_THUMBNAIL, 0x0202), (0x0111, 0x0117))
_JPEG = b"\xff\xd8\xff"
_WRITTEN_TEXTS = ("Software", "ImageDescription", "Artist", "Copyright", "UserComment")
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _YCBCR_POSITIONING = 0x011A, 0x011B, 0x0128, 0x0213
_MOVABLE = frozenset((_X_RESOLUTION, _Y_RESOLUTION, *({**_MAIN_TAGS, **_EXIF_TAGS}[name] for name in _WRITTEN_TEXTS)))
_LARGEST_SHORT = 0xFFFF
_DENSITY_TAGS = {"XResolution": _X_RESOLUTION, "YResolution": _Y_RESOLUTION, "ResolutionUnit": _RESOLUTION_UNIT}
_INCH, _CENTIMETRE = 2, 3


@dataclass(frozen=True, kw_only=True)
class _Block:
    data: bytes
    order: str
    at: int
    main: tuple[IfdEntry, ...] = ()
    next: int = 0
    exif_at: int = 0
    exif: tuple[IfdEntry, ...] = ()
    others: tuple[IfdEntry, ...] = ()

    def number(self, slot: bytes) -> int:
        return ifd.number(self.order, slot)


def read(block: bytes) -> dict[str, Value]:
    """Return the texts and whole numbers of the best-known tags by their standard names; RequestError if damaged.

    UserComment is decoded by its 8-byte prefix, the way that writers really fill it: Unicode in either byte order,
    `ASCII` that is UTF-8, or no prefix at all.
    """
    return _values(_parse(block))


def _values(parsed: _Block) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for entries, tags in ((parsed.main, _MAIN_TAGS), (parsed.exif, _EXIF_TAGS)):
        for name, tag in tags.items():
            entry = next((entry for entry in entries if entry.tag == tag), None)
            value = _value(parsed, entry) if entry else None
            if value is not None:
                values[name] = value
    return values


def merge(block: bytes | None, fields: Mapping[str, Value | None]) -> bytes:
    """Return the block with the fields set, None taking one away; None as a block makes a new, big-endian one.

    `XResolution` and `YResolution` are whole numbers of the `ResolutionUnit`, 2 for inches.
    Every byte of an existing block stays at its place, because makers' notes hold offsets into it; directories and
    texts that are new are put behind, where the next call finds and rewrites them. What they replace becomes zeros.
    Raises RequestError where the block is damaged, so that nothing can be added safely.
    """
    old = _parse(block) if block else _Block(data=b"MM\0*\0\0\0\0", order=">", at=HEADER_BYTES)
    # What is put into a block that cannot be read would not be read, either.
    _values(old)
    main = _edited(old, old.main, _MAIN_TAGS | _DENSITY_TAGS, fields)
    exif = _edited(old, old.exif, _REMOVABLE, fields)
    if not old.main:
        present = {entry.tag for entry in main}
        main = [*(entry for entry in _required_main(old.order) if entry.tag not in present), *main]
    if exif and not old.exif:
        exif = [*_required_exif(), *exif]
    return _written(old, main, exif)


def oriented(orientation: int) -> bytes:
    """Return a block that says which way the picture is up, and nothing else (TIFF 6.0, tag 274)."""
    entry = struct.pack(">HHIHH", _MAIN_TAGS["Orientation"], SHORT, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", HEADER_BYTES, 1) + entry + struct.pack(">I", 0)


def density(block: bytes) -> tuple[int, int] | None:
    """Return the pixels per inch along both axes, rounded; None where the block does not say, RequestError if damaged.

    Exif's 72 stands for what is not known, but is returned as it is.
    """
    parsed = _parse(block)
    held = {entry.tag: entry for entry in parsed.main}
    unit = _value(parsed, held[_RESOLUTION_UNIT]) if _RESOLUTION_UNIT in held else _INCH
    per_inch = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(unit if isinstance(unit, int) else 0, 0.0)
    x, y = (round(_ratio(parsed, held.get(tag)) * per_inch) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return (x, y) if 0 < x <= _LARGEST_SHORT and 0 < y <= _LARGEST_SHORT else None


def _ratio(parsed: _Block, entry: IfdEntry | None) -> float:
    if entry is None or (entry.kind, entry.count) != (RATIONAL, 1):
        return 0.0
    over, under = struct.unpack(parsed.order + "II", _raw(parsed, entry))
    return over / under if under else 0.0


def resized(block: bytes, width: int, height: int) -> bytes:
    """Return the block for a new picture that was made from the one it describes: upright, sRGB, of that many pixels.

    What shows the old pixels goes: thumbnails, and a maker's note that holds a picture. Every other byte stays at its
    place. Raises RequestError where the block is damaged.
    """
    parsed = _parse(block)
    note = next((entry for entry in parsed.exif if entry.tag == _MAKER_NOTE), None)
    shows = note is not None and _JPEG in _raw(parsed, note)
    spans = list(_thumbnails(parsed))
    if note is not None and shows:
        spans.append((parsed.number(note.slot), note.size_bytes))
    cleaned = _blanked(parsed, spans)
    present = read(cleaned)
    sizes = {"ImageWidth": width, "ImageHeight": height, "ExifImageWidth": width, "ExifImageHeight": height}
    values = {**sizes, "Orientation": 1, "ColorSpace": 1}
    changed: dict[str, Value | None] = {name: value for name, value in values.items() if name in present}
    return merge(cleaned, changed | ({"MakerNote": None} if shows else {}))


def has_note(block: bytes) -> bool:
    """Return whether the block has a maker's note, whose own places hold only where it is; RequestError if damaged."""
    return any(entry.tag == _MAKER_NOTE for entry in _parse(block).exif)


def _thumbnails(parsed: _Block) -> Iterator[tuple[int, int]]:
    """Yield place and length of everything that the second directory points to as a picture, and of itself."""
    if not parsed.next:
        return
    yield parsed.next, ifd.table_bytes(len(parsed.others))
    numbers = {other.tag: _value(parsed, other) for other in parsed.others if other.kind in (SHORT, LONG)}
    for place, length in _THUMBNAILS:
        start, size = numbers.get(place), numbers.get(length)
        if isinstance(start, int) and isinstance(size, int):
            yield start, size


def _blanked(parsed: _Block, spans: list[tuple[int, int]]) -> bytes:
    data = bytearray(parsed.data)
    for start, size in spans:
        end = min(start + size, len(data))
        data[start:end] = bytes(max(0, end - start))
    link = parsed.at + 2 + ENTRY_BYTES * len(parsed.main)
    data[link : link + 4] = bytes(len(data[link : link + 4]))
    cleaned = bytes(data)
    # A thumbnail that lies about its place must not take the rest with it.
    if len(cleaned) != len(parsed.data) or read(cleaned) != read(parsed.data):
        raise RequestError("the Exif thumbnail overlaps other values")
    return cleaned


def _required_main(order: str) -> Iterator[IfdEntry]:
    # What CIPA DC-008 asks of every first directory: 72 dots per inch where nothing is known, centred chroma.
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        yield IfdEntry(tag=tag, kind=RATIONAL, count=1, payload=struct.pack(order + "II", 72, 1))
    yield _entry(order, _RESOLUTION_UNIT, 2)
    yield _entry(order, _YCBCR_POSITIONING, 1)


def _required_exif() -> Iterator[IfdEntry]:
    # And of every Exif directory: its version, the order of components (YCbCr), the FlashPix version.
    for tag, payload in ((0x9000, b"0232"), (0x9101, b"\1\2\3\0"), (0xA000, b"0100")):
        yield IfdEntry(tag=tag, kind=UNDEFINED, count=len(payload), payload=payload)


def _edited(
    old: _Block, entries: tuple[IfdEntry, ...], tags: Mapping[str, int], fields: Mapping[str, Value | None]
) -> list[IfdEntry]:
    named = {tags[name]: value for name, value in fields.items() if name in tags}
    kept = [_movable(old, entry) for entry in entries if entry.tag not in named and entry.tag != _EXIF_POINTER]
    return kept + [_entry(old.order, tag, value) for tag, value in named.items() if value is not None]


def _movable(old: _Block, entry: IfdEntry) -> IfdEntry:
    if entry.tag not in _MOVABLE or entry.size_bytes <= SLOT_BYTES:
        return entry
    return IfdEntry(tag=entry.tag, kind=entry.kind, count=entry.count, payload=_raw(old, entry))


def _entry(order: str, tag: int, value: Value) -> IfdEntry:
    if tag in (_X_RESOLUTION, _Y_RESOLUTION):
        return IfdEntry(tag=tag, kind=RATIONAL, count=1, payload=struct.pack(order + "II", int(value), 1))
    if isinstance(value, int):
        kind, code = (SHORT, "H") if value <= _LARGEST_SHORT else (LONG, "I")
        return IfdEntry(tag=tag, kind=kind, count=1, payload=struct.pack(order + code, value))
    if tag == _USER_COMMENT:
        # Readers take big-endian for granted here, whatever the block's own order is.
        payload = b"UNICODE\0" + value.encode("utf-16-be", "replace")
        return IfdEntry(tag=tag, kind=UNDEFINED, count=len(payload), payload=payload)
    payload = value.replace("\0", "").encode(errors="replace") + b"\0"
    return IfdEntry(tag=tag, kind=ifd.ASCII, count=len(payload), payload=payload)


def _written(old: _Block, main: list[IfdEntry], exif: list[IfdEntry]) -> bytes:
    """Return the block with new directories behind what has to stay at its place."""
    data = _without_leaving(old, (*main, *exif))
    base = data[: old.at] if _is_ours_from(old, old.at) else data
    base += b"\0" * (len(base) & 1)
    header = base[:4] + struct.pack(old.order + "I", len(base))
    return header + base[8:] + ifd.lay_out(old.order, len(base), main, ((_EXIF_POINTER, exif),), old.next)


def _without_leaving(old: _Block, new: Iterable[IfdEntry]) -> bytes:
    """Return the block with zeros for the values that are written elsewhere or taken away, where nothing else is."""
    kept = {(entry.tag, entry.slot) for entry in new if entry.payload is None}
    staying: list[Span] = [(0, HEADER_BYTES)]
    leaving: list[Span] = []
    for entries, at in ((old.main, old.at), (old.exif, old.exif_at), (old.others, old.next)):
        staying.append((at, at + ifd.table_bytes(len(entries))))
        for entry in entries:
            goes = entries is not old.others and (entry.tag, entry.slot) not in kept
            (leaving if goes else staying).append(entry.span(old.order))
    held = spans.hold(staying)
    data = bytearray(old.data)
    for start, end in leaving:
        if end <= len(data) and not held.touches((start, end)):
            data[start:end] = bytes(end - start)
    return bytes(data)


def _is_ours_from(old: _Block, at: int) -> bool:
    # Whether what stands behind `at` is what `_written` put there, and nothing that any other entry points to.
    both = (*old.main, *old.exif)
    staying = [entry for entry in both if entry.tag not in _MOVABLE]
    if old.next >= at or (old.exif and old.exif_at < at):
        return False
    if any(_end(old, entry) > at for entry in (*staying, *old.others)):
        return False
    behind = [entry.size_bytes for entry in both if entry.tag in _MOVABLE and entry.span(old.order)[0] >= at]
    moved = sum(size + (size & 1) for size in behind)
    directories = 6 * (1 + bool(old.exif)) + ENTRY_BYTES * (len(old.main) + len(old.exif))
    return not old.main or len(old.data) == at + directories + moved


def _end(old: _Block, entry: IfdEntry) -> int:
    return old.number(entry.slot) + 1 if entry.tag in _POINTERS else entry.span(old.order)[1]


def _parse(block: bytes) -> _Block:
    order = ifd.order(block)
    if order is None:
        raise RequestError("the Exif block has no TIFF header")
    at = struct.unpack_from(order + "I", block, 4)[0]
    main, following = ifd.read(block, order, at)
    pointer = next((entry.slot for entry in main if entry.tag == _EXIF_POINTER), None)
    exif_at = struct.unpack(order + "I", pointer)[0] if pointer else 0
    exif = ifd.read(block, order, exif_at)[0] if pointer else ()
    others = ifd.read(block, order, following)[0] if following else ()
    return _Block(data=block, order=order, at=at, main=main, next=following, exif_at=exif_at, exif=exif, others=others)


def _raw(parsed: _Block, entry: IfdEntry) -> bytes:
    return ifd.raw(parsed.data, parsed.order, entry)


def _value(parsed: _Block, entry: IfdEntry) -> Value | None:
    raw = _raw(parsed, entry)
    if entry.tag == _USER_COMMENT:
        return comment(raw)
    if entry.kind in _TEXTS:
        return decoded(raw.split(b"\0", 1)[0])
    if entry.kind in (SHORT, LONG) and entry.count == 1:
        return int(struct.unpack(parsed.order + ("H" if entry.kind == SHORT else "I"), raw)[0])
    return None


def comment(raw: bytes) -> str:
    """Return the text of a UserComment's bytes, prefix included."""
    prefix, rest = raw[:8], raw[8:]
    if prefix == b"UNICODE\0":
        return rest.decode(_wide_order(rest), errors="replace").strip("\0\ufeff")
    if prefix in (b"ASCII\0\0\0", b"\0" * 8):
        return decoded(rest.rstrip(b"\0"))
    return decoded(raw.strip(b"\0"))


def _wide_order(raw: bytes) -> str:
    # Half of the bytes of most texts are zero: the high ones, which stand first in big-endian.
    first, second = raw[::2].count(0), raw[1::2].count(0)
    little = second > first or (raw.startswith(b"\xff\xfe") and not first)
    return "utf-16-le" if little else "utf-16-be"
