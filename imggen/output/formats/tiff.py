"""TIFF files (revision 6.0): read what they say, and put what is new behind everything else, so that nothing moves.

A new first directory is written at the end of the file, with values of its own, and the header points to it. The
next change finds that end and writes it again, so that files do not grow with every change. What is replaced in place
of another program's becomes zeros.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import replace as altered
from typing import Any

from imggen.errors import RequestError
from imggen.output.formats import exif, ifd, spans
from imggen.output.formats.carriers import MAX_PARTS, MAX_TEXT_BYTES, Carriers, Changes, Droppable, Picture, check_size
from imggen.output.formats.ifd import IfdEntry
from imggen.output.formats.spans import Span

_BIG = (b"II+\0", b"MM\0+")
_PREDICTOR, _DIFFERENCES = 317, 2
_WIDTH, _HEIGHT, _ORIENTATION = 0x0100, 0x0101, 0x0112
_XMP, _CAPTIONS, _PHOTOSHOP, _MANIFEST = 0x02BC, 0x83BB, 0x8649, 0xCD41
_EXIF, _GPS, _CHILDREN = 0x8769, 0x8825, 0x014A
_MAKER_NOTE, _INTEROPERABILITY, _USER_COMMENT = 0x927C, 0xA005, 0x9286
# Offsets and byte counts of strips, of tiles, and of the JPEG stream of revision 6.0's first try at JPEG.
_DATA = ((0x0111, 0x0117), (0x0144, 0x0145), (0x0201, 0x0202))
# What decides which pixels the data decodes to; resolution and colour profile do not.
_PIXEL_TAGS = frozenset(
    (
        *(_WIDTH, _HEIGHT, 0x0102, 0x0103, 0x0106, 0x010A, _ORIENTATION, 0x0115, 0x0116, 0x011C, 0x0124, 0x0125),
        *(0x012D, 0x013D, 0x013E, 0x013F, 0x0140, 0x0142, 0x0143, 0x014C, 0x0152, 0x0153, 0x0154, 0x0155, 0x015B),
        *(0x0200, 0x0203, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209, 0x0211, 0x0212, 0x0213, 0x0214),
    )
)
_RESOLUTION = frozenset((0x011A, 0x011B, 0x0128))
# The first directory's tags that an Exif block has too: words, times, and Windows' own words.
_WORDS = frozenset((0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298, *range(0x9C9B, 0x9CA0)))
_TELLING = _WORDS | _RESOLUTION | {_ORIENTATION}
_POINTERS = frozenset((_EXIF, _GPS))
_DROPPED: dict[Droppable, tuple[int, ...]] = {"captions": (_CAPTIONS, _PHOTOSHOP), "manifest": (_MANIFEST,)}
# What the Exif standard wants of compressed pictures only, and a TIFF says in tags of its own.
_COMPRESSED_ONLY = frozenset((0x9101, 0xA002, 0xA003))
# And what it wants of every Exif directory: its own version, and FlashPix'.
_VERSIONS = (
    IfdEntry(tag=0x9000, kind=ifd.UNDEFINED, count=4, payload=b"0232"),
    IfdEntry(tag=0xA000, kind=ifd.UNDEFINED, count=4, payload=b"0100"),
)
# Values with places of their own inside, which hold only where they are.
_STAYING = frozenset((_MAKER_NOTE, _INTEROPERABILITY))
_WHOLE = {ifd.BYTE: "B", ifd.SHORT: "H", ifd.LONG: "I"}
# Tags whose numbers are places.
_LEADING = frozenset((_CHILDREN, *_STAYING))
_DIRECTORY = 13
_MOST_OVERLAP = 2
_LARGEST_FILE = (1 << 32) - 1


@dataclass(frozen=True, kw_only=True)
class _Page:
    at: int
    entries: tuple[IfdEntry, ...]
    following: int

    def entry(self, tag: int) -> IfdEntry | None:
        return next((entry for entry in self.entries if entry.tag == tag), None)


@dataclass(frozen=True, kw_only=True)
class _File:
    data: bytes
    order: str
    pages: tuple[_Page, ...]

    @property
    def first(self) -> _Page:
        return self.pages[0]

    def raw(self, entry: IfdEntry) -> bytes:
        return ifd.raw(self.data, self.order, entry, what="TIFF")


@dataclass(frozen=True, kw_only=True)
class _Words:
    """What a first directory tells beside its picture: its own words, and those of the directories it points to."""

    main: tuple[IfdEntry, ...] = ()
    exif: tuple[IfdEntry, ...] = ()
    gps: tuple[IfdEntry, ...] = ()


def is_tiff(data: bytes) -> bool:
    """Return whether the file begins as a TIFF does, large ones included."""
    return ifd.order(data) is not None or data[:4] in _BIG


def options(_quality: int, mode: str, _pixels: int) -> dict[str, Any]:
    """Return what Pillow is told when it encodes the picture."""
    # Differences of neighbours take less room; there are none between bits or a palette's numbers.
    tags = {} if mode in ("1", "P") else {_PREDICTOR: _DIFFERENCES}
    return {"compression": "tiff_adobe_deflate", "tiffinfo": tags}


def read(data: bytes) -> Picture:
    """Return what the first page's directory says; the image hash is over all pages.

    Raises RequestError where the file is damaged, or a BigTIFF. The `exif` block is made of the words in the first
    directory and those it points to, without a maker's note, whose offsets hold only in the file.
    """
    file = _parse(data)
    width, height = (_number(file, tag) for tag in (_WIDTH, _HEIGHT))
    check_size(width, height)
    pages = len(file.pages)
    notes = [f"the TIFF has {pages} pages; the first one's metadata is read"] if pages > 1 else []
    packet = file.first.entry(_XMP)
    return Picture(
        format="tiff",
        width=width,
        height=height,
        animated=False,
        image_sha256=_image_hash(file),
        carriers=Carriers(
            exif=_block(file, notes), xmp=_bounded(file.raw(packet)) if packet else None, captions=_has_captions(file)
        ),
        signed=file.first.entry(_MANIFEST) is not None,
        notes=tuple(notes),
    )


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with a new first directory at its end, and every other byte where it was.

    Raises RequestError where the Exif of the file or of the change is damaged.
    """
    dropped = frozenset(tag for kind in changes.dropped for tag in _DROPPED.get(kind, ()))
    file = _parse(data)
    if changes.exif is None and changes.xmp is None and not any(entry.tag in dropped for entry in file.first.entries):
        return data
    for page in file.pages:
        for entry in page.entries:
            _check_value(file, entry)
    held = [span for page in file.pages for span in _spans(file, page)]
    end = _own_end(file, held)
    words = _words(file) if changes.exif is not None or end is not None else None
    if changes.exif is not None:
        words = _of_block(changes.exif, file.order) if changes.exif else _Words()
    packet = changes.xmp
    written = file.first.entry(_XMP)
    if packet is None and end is not None and written is not None:
        packet = file.raw(written)
    gone = dropped | (frozenset() if packet is None else {_XMP})
    base = memoryview(
        _blanked(file, held, gone | (frozenset() if words is None else _WORDS), telling=words is not None)
    )[:end]
    pad = b"\0" * (len(base) & 1)
    at = len(base) + len(pad)
    rest = _laid_out(file.order, at, _changed(file, words, packet, end, gone), file.first.following)
    if at + len(rest) > _LARGEST_FILE:
        raise RequestError("the TIFF would be larger than the 4 GiB that its offsets can address")
    return b"".join((base[:4], struct.pack(file.order + "I", at), base[8:], pad, rest))


def _parse(data: bytes) -> _File:
    """Return the file's directories in their order; RequestError where they are damaged or run in a circle."""
    order = ifd.order(data)
    if order is None:
        raise RequestError("the file is a BigTIFF, which imggen does not read", hint="save it as a classic TIFF")
    at = ifd.number(order, data[4:8])
    pages: list[_Page] = []
    seen: set[int] = set()
    rows = 0
    while at or not pages:
        if at in seen:
            raise RequestError(f"the TIFF's directories lead back to the one at byte {at:,}")
        seen.add(at)
        entries, following = ifd.read(data, order, at, what="TIFF")
        if at + ifd.table_bytes(len(entries)) > len(data):
            raise RequestError(f"the TIFF ends at byte {len(data):,}, in its directory")
        rows += len(entries) + 1
        if rows > MAX_PARTS:
            raise RequestError(f"the TIFF has more than {MAX_PARTS:,} tags")
        pages.append(_Page(at=at, entries=entries, following=following))
        at = following
    return _File(data=data, order=order, pages=tuple(pages))


def _number(file: _File, tag: int) -> int:
    entry = file.first.entry(tag)
    numbers = _numbers(file, entry) if entry else ()
    if len(numbers) != 1:
        raise RequestError(f"the TIFF does not say its {'width' if tag == _WIDTH else 'height'}")
    return numbers[0]


def _numbers(file: _File, entry: IfdEntry) -> tuple[int, ...]:
    if entry.kind not in _WHOLE:
        raise RequestError(f"the TIFF tag {entry.tag:#06x} is of type {entry.kind}, not a whole number")
    raw = file.raw(entry)
    return struct.unpack(f"{file.order}{entry.count}{_WHOLE[entry.kind]}", raw)


def _bounded(raw: bytes) -> bytes:
    if len(raw) > MAX_TEXT_BYTES:
        raise RequestError(f"the TIFF's metadata is longer than the {MAX_TEXT_BYTES:,} bytes that are read")
    return raw


def _has_captions(file: _File) -> bool:
    blocks = file.first.entry(_PHOTOSHOP)
    return file.first.entry(_CAPTIONS) is not None or (blocks is not None and b"8BIM\x04\x04" in file.raw(blocks))


def _spans(file: _File, page: _Page) -> Iterator[Span]:
    """Yield the places of the page's coded data; raise RequestError where there is none, or it is not all there."""
    is_coded = False
    for place, length in _DATA:
        starts, sizes = page.entry(place), page.entry(length)
        if starts is None:
            continue
        if sizes is None or sizes.count != starts.count:
            raise RequestError("the TIFF does not say how long each piece of its picture is")
        for start, size in zip(_numbers(file, starts), _numbers(file, sizes), strict=True):
            if start + size > len(file.data) or start < ifd.HEADER_BYTES:
                raise RequestError(
                    f"the TIFF's picture has {size:,} bytes at byte {start:,}, beyond the end of the file"
                )
            is_coded = True
            yield start, start + size
    if not is_coded and page is file.first:
        raise RequestError("the TIFF has no image data")


def _check_value(file: _File, entry: IfdEntry) -> None:
    start, end = entry.span(file.order)
    if entry.size_bytes > ifd.SLOT_BYTES and (start < ifd.HEADER_BYTES or end > len(file.data)):
        raise RequestError(
            f"the TIFF tag {entry.tag:#06x} says {end - start:,} bytes at {start:,}, beyond the end of the file"
        )


def _image_hash(file: _File) -> str:
    """Return the hash of the tags and coded data of all pages, each stretch of bytes read once."""
    digest = hashlib.sha256(file.order.encode())
    known: dict[Span, bytes] = {}
    budget = _MOST_OVERLAP * len(file.data)
    for page in file.pages:
        for entry in sorted(page.entries, key=lambda row: row.tag):
            if entry.tag in _PIXEL_TAGS and not _is_upright(file, entry):
                _check_value(file, entry)
                raw = file.raw(entry)
                budget -= len(raw)
                digest.update(struct.pack(">HHI", entry.tag, entry.kind, entry.count) + raw)
        for start, end in _spans(file, page):
            if (start, end) not in known:
                budget -= end - start
                known[start, end] = hashlib.sha256(memoryview(file.data)[start:end]).digest()
            digest.update(known[start, end])
            if budget < 0:
                raise RequestError("the TIFF's strips or tiles overlap")
    return digest.hexdigest()


def _is_upright(file: _File, entry: IfdEntry) -> bool:
    # What is taken for granted where nothing is said.
    return entry.tag == _ORIENTATION and entry.kind in _WHOLE and _numbers(file, entry) == (1,)


def _pointed(file: _File, tag: int) -> tuple[IfdEntry, ...]:
    entry = file.first.entry(tag)
    if entry is None:
        return ()
    return ifd.read(file.data, file.order, ifd.number(file.order, entry.slot), what="TIFF")[0]


def _words(file: _File) -> _Words:
    """Return what the first directory tells, with every value in hand."""
    words = _Words(
        main=tuple(entry for entry in file.first.entries if entry.tag in _TELLING),
        exif=tuple(entry for entry in _pointed(file, _EXIF) if entry.tag not in _STAYING),
        gps=_pointed(file, _GPS),
    )
    return _in_hand(file.data, file.order, words, "TIFF")


def _of_block(block: bytes, order: str) -> _Words:
    """Return what an Exif block tells, in that byte order."""
    its = ifd.order(block)
    if its is None:
        raise RequestError("the Exif block has no TIFF header")
    main = ifd.read(block, its, ifd.number(its, block[4:8]))[0]
    places = {entry.tag: ifd.number(its, entry.slot) for entry in main if entry.tag in _POINTERS}
    inner = {tag: ifd.read(block, its, at)[0] for tag, at in places.items()}
    words = _Words(
        main=tuple(entry for entry in main if entry.tag in _TELLING),
        exif=tuple(entry for entry in inner.get(_EXIF, ()) if entry.tag not in _STAYING | _COMPRESSED_ONLY),
        gps=inner.get(_GPS, ()),
    )
    held = _in_hand(block, its, words, "Exif")
    if its != order:
        main, own, gps = (tuple(map(ifd.turned, entries)) for entries in (held.main, held.exif, held.gps))
        held = _Words(main=main, exif=own, gps=gps)
    return altered(held, exif=tuple(_ordered(entry, order) for entry in held.exif))


def _ordered(entry: IfdEntry, order: str) -> IfdEntry:
    """Return a comment in the file's byte order, which strict readers want, where that cannot be mistaken."""
    if entry.tag != _USER_COMMENT or order == ">" or entry.payload is None:
        return entry
    text = exif.comment(entry.payload)
    payload = b"UNICODE\0" + text.encode("utf-16-le", "replace")
    is_safe = entry.payload.startswith(b"UNICODE\0") and exif.comment(payload) == text
    return altered(entry, payload=payload, count=len(payload)) if is_safe else entry


def _in_hand(data: bytes, order: str, words: _Words, what: str) -> _Words:
    if sum(entry.size_bytes for entry in (*words.main, *words.exif, *words.gps)) > MAX_TEXT_BYTES:
        raise RequestError(f"the {what} metadata is longer than the {MAX_TEXT_BYTES:,} bytes that are read")
    # A value of a type that nobody knows has no length, so it cannot be carried.

    def held(entries: Iterable[IfdEntry]) -> tuple[IfdEntry, ...]:
        known = (entry for entry in entries if entry.size_bytes)
        return tuple(altered(entry, payload=ifd.raw(data, order, entry, what=what)) for entry in known)

    return _Words(main=held(words.main), exif=held(words.exif), gps=held(words.gps))


def _block(file: _File, notes: list[str]) -> bytes | None:
    try:
        words = _words(file)
    except RequestError as error:
        notes.append(error.message)
        return None
    if words == _Words():
        return None
    header = file.data[:4] + struct.pack(file.order + "I", ifd.HEADER_BYTES)
    return header + _laid_out(file.order, ifd.HEADER_BYTES, words, 0)


def _laid_out(order: str, at: int, words: _Words, following: int) -> bytes:
    return ifd.lay_out(order, at, words.main, ((_EXIF, words.exif), (_GPS, words.gps)), following)


def _changed(
    file: _File, words: _Words | None, packet: bytes | None, end: int | None, dropped: frozenset[int]
) -> _Words:
    """Return the first directory with the changes; values behind `end`, where imggen's own stand, are in hand."""
    gone = set(dropped)
    if words is not None:
        gone |= _WORDS | _POINTERS | {entry.tag for entry in words.main if entry.tag in _RESOLUTION}
    main = [entry for entry in _own(file, file.first.entries, end) if entry.tag not in gone]
    if packet:
        main.append(IfdEntry(tag=_XMP, kind=ifd.BYTE, count=len(packet), payload=packet))
    if words is None:
        return _Words(main=tuple(main))
    held = {entry.tag for entry in main}
    upright = (ifd.SHORT, struct.pack(file.order + "H", 1))
    main += [
        entry
        for entry in words.main
        if entry.tag != _ORIENTATION or (_ORIENTATION not in held and (entry.kind, entry.payload) == upright)
    ]
    inner = [*words.exif, *(entry for entry in _pointed(file, _EXIF) if entry.tag in _STAYING)]
    present = {entry.tag for entry in inner}
    inner += [entry for entry in _VERSIONS if inner and entry.tag not in present]
    return _Words(main=tuple(main), exif=tuple(inner), gps=words.gps)


def _own(file: _File, entries: Iterable[IfdEntry], end: int | None) -> Iterator[IfdEntry]:
    """Yield the entries, those with their values in hand that have them behind `end`."""
    for entry in entries:
        is_behind = end is not None and entry.span(file.order)[0] >= end
        yield altered(entry, payload=file.raw(entry)) if is_behind else entry


def _own_end(file: _File, held: Iterable[Span]) -> int | None:
    """Return where the first directory begins if all that follows is what `replace` would write there."""
    at = file.first.at
    pointers = {entry.tag: ifd.number(file.order, entry.slot) for entry in file.first.entries if entry.tag in _POINTERS}
    inner = {tag: _pointed(file, tag) for tag, place in pointers.items() if place >= at}
    entries = (*file.first.entries, *(entry for some in inner.values() for entry in some))
    values = [entry.span(file.order) for entry in entries]
    if sum(end - start for start, end in values if start >= at) > len(file.data) - at:
        return None
    reached = [end for _, end in held] + [end for start, end in values if start < at]
    reached += [number + 1 for entry in entries if entry.tag in _LEADING for number in _places(file, entry)]
    for page in file.pages[1:]:
        reached += [
            page.at + ifd.table_bytes(len(page.entries)),
            *(entry.span(file.order)[1] for entry in page.entries),
        ]
    if max(reached) > at:
        return None
    rebuilt = _Words(
        main=tuple(_own(file, (entry for entry in file.first.entries if entry.tag not in inner), at)),
        exif=tuple(_own(file, inner.get(_EXIF, ()), at)),
        gps=tuple(_own(file, inner.get(_GPS, ()), at)),
    )
    table = _laid_out(file.order, at, rebuilt, file.first.following)
    return at if len(table) == len(file.data) - at and file.data.endswith(table) else None


def _places(file: _File, entry: IfdEntry) -> tuple[int, ...]:
    if entry.tag == _MAKER_NOTE:
        return entry.span(file.order)[:1]
    # Type 13 is a number that is the place of a directory.
    return _numbers(file, altered(entry, kind=ifd.LONG) if entry.kind == _DIRECTORY else entry)


def _blanked(file: _File, held: Iterable[Span], going: frozenset[int], *, telling: bool) -> bytes:
    """Return the file's bytes with zeros for values that are going to be replaced, where nothing else holds them."""
    gone: list[Span] = []
    taken = [*held, (0, ifd.HEADER_BYTES)]
    for page in file.pages:
        taken.append((page.at, page.at + ifd.table_bytes(len(page.entries))))
        for entry in page.entries:
            (gone if page is file.first and entry.tag in going else taken).append(entry.span(file.order))
    for pointer in (entry for entry in file.first.entries if entry.tag in _POINTERS):
        at, inner = ifd.number(file.order, pointer.slot), _pointed(file, pointer.tag)
        taken.append((at, at + ifd.table_bytes(len(inner))))
        for entry in inner:
            (gone if telling and entry.tag not in _STAYING else taken).append(entry.span(file.order))
    return _zeroed(file.data, gone, spans.hold(taken))


def _zeroed(data: bytes, gone: Iterable[Span], taken: spans.Held) -> bytes:
    blanks = [(start, end) for start, end in gone if start < end <= len(data) and not taken.touches((start, end))]
    if not blanks:
        return data
    changed = bytearray(data)
    for start, end in spans.joined(blanks):
        changed[start:end] = bytes(end - start)
    return bytes(changed)
