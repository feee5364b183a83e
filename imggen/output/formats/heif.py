"""The items of HEIF files (ISO/IEC 23008-12) and the samples of their animations: which there are, and where.

An item is a piece of the file with a number: the picture, its transparency, its metadata. The `meta` box lists them,
the properties that each has, what it has to do with others, and where its bytes are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from imggen.errors import RequestError
from imggen.output.formats import isobmff
from imggen.output.formats.carriers import MAX_PARTS
from imggen.output.formats.isobmff import Box, Cursor
from imggen.output.formats.spans import Span

FULL_HEADER = 4
IN_FILE, IN_META = 0, 1
XMP_TYPE = b"application/rdf+xml"
CHUNK_PLACES = {b"stco": 4, b"co64": 8}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One item; `spans` are the places of its bytes in the whole file, first byte and the one behind the last."""

    number: int
    kind: bytes = b""
    content_type: bytes = b""
    method: int = IN_FILE
    spans: tuple[Span, ...] = ()

    @property
    def role(self) -> str:
        """What the item says: `exif`, `xmp`, or nothing that is read."""
        if self.kind == b"Exif":
            return "exif"
        return "xmp" if self.kind == b"mime" and self.content_type == XMP_TYPE else ""


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What the `meta` box says; `references` are their kind, from which item, to which."""

    box: Box
    children: tuple[Box, ...]
    items: Mapping[int, Item]
    primary: int
    properties: tuple[Box, ...] = ()
    associations: Mapping[int, tuple[int, ...]]
    references: tuple[tuple[bytes, int, tuple[int, ...]], ...] = ()

    @property
    def names(self) -> Box:
        """The box that lists what there is."""
        return next(child for child in self.children if child.name == b"iinf")

    def child(self, name: bytes) -> Box | None:
        """Return the box of that name in the `meta` box."""
        return next((child for child in self.children if child.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Track:
    """The samples of one track of an animation: the boxes that tell how to decode them, and their chunks' places."""

    tables: tuple[Box, ...]
    places: tuple[Box, ...]
    spans: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True)
class File:
    """A file taken apart."""

    data: bytes
    boxes: tuple[Box, ...]
    meta: Meta
    movie: Box | None = None
    tracks: tuple[Track, ...] = ()


def parse(data: bytes) -> File:
    """Return what the file holds; raise RequestError where it is damaged or too large to be honest."""
    boxes = isobmff.split(data, 0, len(data))
    metas = [box for box in boxes if box.name == b"meta"]
    if len(metas) != 1:
        raise RequestError(f"the AVIF has {len(metas)} meta boxes where it needs one")
    movie = next((box for box in boxes if box.name == b"moov"), None)
    meta = _meta(data, metas[0])
    tracks = tuple(_tracks(data, movie)) if movie else ()
    return File(data=data, boxes=boxes, meta=meta, movie=movie, tracks=tracks)


def _meta(data: bytes, box: Box) -> Meta:
    """Return what the `meta` box says; RequestError where a box that it needs is missing or there twice."""
    children = isobmff.inside(data, box, skip=FULL_HEADER)
    by_name = {child.name: child for child in reversed(children)}
    for name in (b"pitm", b"iloc", b"iinf", b"iprp"):
        if name not in by_name:
            raise RequestError(f"the AVIF has no box {name.decode()!r}")
    if len(by_name) != len(children):
        raise RequestError("the AVIF has a box twice where it needs it once")
    properties, associations = _properties(data, by_name[b"iprp"])
    return Meta(
        box=box,
        children=children,
        items=_items(data, by_name),
        primary=_primary(data, by_name[b"pitm"]),
        properties=properties,
        associations=associations,
        references=tuple(_references(data, by_name[b"iref"])) if b"iref" in by_name else (),
    )


def _primary(data: bytes, box: Box) -> int:
    cursor, version, _ = isobmff.full(data, box)
    return cursor.number(4 if version else 2)


def _items(data: bytes, by_name: Mapping[bytes, Box]) -> dict[int, Item]:
    idat = by_name.get(b"idat")
    places = dict(_places(data, by_name[b"iloc"], idat))
    items: dict[int, Item] = {}
    for item in named(data, by_name[b"iinf"]):
        if item.number in items:
            raise RequestError(f"the AVIF has two items {item.number}")
        items[item.number] = replace(places.get(item.number, item), kind=item.kind, content_type=item.content_type)
    return items | {number: place for number, place in places.items() if number not in items}


def named(data: bytes, box: Box) -> Iterator[Item]:
    """Yield the items that the `iinf` box lists, without their places."""
    cursor, version, _ = isobmff.full(data, box)
    cursor.number(4 if version else 2)
    for child in cursor.boxes():
        entry, version, _ = isobmff.full(data, child)
        number = entry.number(4 if version > 2 else 2)
        if version < 2:
            yield Item(number=number)
            continue
        entry.number(2)
        kind = entry.number(4).to_bytes(4)
        entry.text()
        yield Item(number=number, kind=kind, content_type=entry.text() if kind == b"mime" else b"")


def _places(data: bytes, box: Box, idat: Box | None) -> Iterator[tuple[int, Item]]:
    """Yield the items that the `iloc` box locates, by their numbers."""
    cursor, version, _ = isobmff.full(data, box)
    sizes = cursor.number(2)
    place, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if any(size not in (0, 4, 8) for size in (place, length, base)) or version > 2:
        raise RequestError("the AVIF's box 'iloc' has an unknown form")
    seen: set[int] = set()
    parts = 0
    for _ in range(cursor.number(4 if version > 1 else 2)):
        number = cursor.number(4 if version > 1 else 2)
        method = cursor.number(2) & 15 if version else IN_FILE
        if cursor.number(2) or method not in (IN_FILE, IN_META):
            raise RequestError(f"the AVIF's item {number} is not in the file itself")
        start = cursor.number(base)
        extents = cursor.number(2)
        parts += extents + 1
        if parts > MAX_PARTS or number in seen:
            raise RequestError(f"the AVIF's box 'iloc' has item {number} twice, or more than {MAX_PARTS:,} pieces")
        seen.add(number)
        spans = []
        for _ in range(extents):
            cursor.number(index if version else 0)
            spans.append((start + cursor.number(place), cursor.number(length)))
        yield number, Item(number=number, method=method, spans=_absolute(data, number, spans, method, idat))


def _absolute(
    data: bytes, number: int, spans: Iterable[tuple[int, int]], method: int, idat: Box | None
) -> tuple[Span, ...]:
    """Return an item's extents as places in the whole file; RequestError where they are not in it."""
    if method == IN_META and idat is None:
        raise RequestError(f"the AVIF's item {number} is in a box 'idat' that is not there")
    first, behind = (idat.body, idat.end) if method == IN_META and idat else (0, len(data))
    absolute = []
    for place, length in spans:
        start = first + place
        # No length is all that follows.
        end = start + length if length else behind
        if start > behind or end > behind:
            raise RequestError(f"the AVIF's item {number} says bytes {start:,} to {end:,}, beyond the end of its data")
        absolute.append((start, end))
    return tuple(absolute)


def _properties(data: bytes, box: Box) -> tuple[tuple[Box, ...], dict[int, tuple[int, ...]]]:
    inner = isobmff.inside(data, box)
    lists = [child for child in inner if child.name == b"ipco"]
    if len(lists) != 1:
        raise RequestError(f"the AVIF has {len(lists)} lists of properties where it needs one")
    associations: dict[int, tuple[int, ...]] = {}
    for child in inner:
        if child.name == b"ipma":
            for number, indices in _associations(data, child):
                associations[number] = associations.get(number, ()) + indices
    return isobmff.inside(data, lists[0]), associations


def _associations(data: bytes, box: Box) -> Iterator[tuple[int, tuple[int, ...]]]:
    cursor, version, flags = isobmff.full(data, box)
    wide = flags & 1
    for _ in range(cursor.number(4)):
        number = cursor.number(4 if version else 2)
        count = cursor.number(1)
        yield number, tuple(cursor.number(2 if wide else 1) & (0x7FFF if wide else 0x7F) for _ in range(count))


def _references(data: bytes, box: Box) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    cursor, version, _ = isobmff.full(data, box)
    width = 4 if version else 2
    for child in cursor.boxes():
        inner = Cursor(data, child)
        source = inner.number(width)
        count = inner.number(2)
        yield child.name, source, tuple(inner.number(width) for _ in range(count))


def _tracks(data: bytes, movie: Box) -> Iterator[Track]:
    for track in isobmff.inside(data, movie):
        if track.name == b"trak":
            tables = isobmff.inside(data, _down(data, track, b"mdia", b"minf", b"stbl"))
            places = tuple(table for table in tables if table.name in CHUNK_PLACES)
            others = tuple(table for table in tables if table.name not in CHUNK_PLACES)
            yield Track(tables=others, places=places, spans=tuple(_chunks(data, others, places)))


def _down(data: bytes, box: Box, *names: bytes) -> Box:
    for name in names:
        inner = next((child for child in isobmff.inside(data, box) if child.name == name), None)
        if inner is None:
            raise RequestError(f"the AVIF has a track without a box {name.decode()!r}")
        box = inner
    return box


def _chunks(data: bytes, tables: Iterable[Box], places: Iterable[Box]) -> Iterator[Span]:
    """Yield the places of a track's chunks, from their starts and the sizes of their samples."""
    by_name = {table.name: table for table in tables}
    if b"stsz" not in by_name or b"stsc" not in by_name:
        raise RequestError("the AVIF has a track that does not say the sizes of its samples")
    ends = _sample_ends(data, by_name[b"stsz"])
    runs = _runs(data, by_name[b"stsc"])
    starts = [start for place in places for start in chunk_places(data, place)]
    done, run = 0, 0
    for chunk, start in enumerate(starts, start=1):
        while run + 1 < len(runs) and runs[run + 1][0] <= chunk:
            run += 1
        following = done + (runs[run][1] if runs else 0)
        if following >= len(ends):
            raise RequestError(f"the AVIF's chunk {chunk} has more samples than there are")
        end = start + ends[following] - ends[done]
        if end > len(data):
            raise RequestError(f"the AVIF's chunk {chunk} says bytes {start:,} to {end:,}, beyond the end of its data")
        yield start, end
        done = following


def _sample_ends(data: bytes, box: Box) -> list[int]:
    cursor, _, _ = isobmff.full(data, box)
    size = cursor.number(4)
    ends = [0]
    for _ in range(_count(cursor)):
        ends.append(ends[-1] + (size or cursor.number(4)))
    return ends


def _runs(data: bytes, box: Box) -> list[tuple[int, int]]:
    cursor, _, _ = isobmff.full(data, box)
    return [(cursor.number(4), cursor.number(4) + 0 * cursor.number(4)) for _ in range(_count(cursor))]


def chunk_places(data: bytes, box: Box) -> list[int]:
    """Return where the chunks of a track begin, as the box tells."""
    cursor, _, _ = isobmff.full(data, box)
    return [cursor.number(CHUNK_PLACES[box.name]) for _ in range(_count(cursor))]


def _count(cursor: Cursor) -> int:
    count = cursor.number(4)
    if count > MAX_PARTS:
        raise RequestError(f"the AVIF says that it has {count:,} pieces; at most {MAX_PARTS:,} are read")
    return count
