"""AVIF files (AV1 Image File Format 1.1): read and replace Exif and XMP, leave what is coded alone.

Metadata goes into a last `mdat` box of its own. What stands behind a `meta` box that grew has moved, and so have the
places that the file tells of it.
"""

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imggen.errors import RequestError
from imggen.output.formats import heif, isobmff, spans
from imggen.output.formats.carriers import MAX_TEXT_BYTES, Carriers, Changes, Picture, check_size
from imggen.output.formats.heif import CHUNK_PLACES, FULL_HEADER, IN_FILE, IN_META, XMP_TYPE, File, Item, Meta
from imggen.output.formats.isobmff import Box
from imggen.output.formats.spans import Span
from imggen.plan.schema.formats import FULL_COLOUR_QUALITY

_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_EXIF_PREFIX = b"Exif\0\0"
_TIFF_HEADERS = (b"II*\0", b"MM\0*")
# Items that decode to no pixels.
_SAYING = frozenset((b"Exif", b"mime", b"uri "))
# Boxes that tell no places in the file, or whose places are known to `replace`.
_MOVABLE = frozenset((b"ftyp", b"meta", b"moov", b"mdat", b"free", b"skip", b"uuid", b"jumb", b"pdin"))
_PLACE_BYTES = 4
_HEADER_BYTES = 8
_WIDEST_NUMBER = 0xFFFF
_MOST_OVERLAP = 2


def is_avif(data: bytes) -> bool:
    """Return whether the file begins as an AVIF does."""
    return bool(_brands(data) & _BRANDS)


def is_heic(data: bytes) -> bool:
    """Return whether the file begins as another picture in the same frame does, HEIC most of all."""
    return not is_avif(data) and bool(_brands(data) & _HEIC_BRANDS)


def options(quality: int, _mode: str, _pixels: int) -> dict[str, Any]:
    """Return what Pillow is told when it encodes the picture."""
    subsampling = "4:4:4" if quality >= FULL_COLOUR_QUALITY else "4:2:0"
    # How many threads there are would change the bytes.
    return {"quality": quality, "subsampling": subsampling, "max_threads": 1, "autotiling": False}


def read(data: bytes) -> Picture:
    """Return what the file's items say; raise RequestError where they are damaged."""
    file = heif.parse(data)
    width, height = _size(file)
    check_size(width, height)
    exifs, packets = (_of_primary(file.meta, _saying(file, role)) for role in ("exif", "xmp"))
    return Picture(
        format="avif",
        width=width,
        height=height,
        animated=data[8:12] == b"avis" and bool(file.tracks),
        image_sha256=_image_hash(file),
        carriers=Carriers(
            exif=_exif_block(_content(data, exifs[0])) if exifs else None,
            xmp=_content(data, packets[0]) if packets else None,
        ),
        signed=any(_is_manifest(data, box) for box in file.boxes),
        notes=tuple(_notes(file, {"Exif": len(exifs), "XMP": len(packets)})),
    )


def replace(data: bytes, changes: Changes) -> bytes:
    """Return the file with Exif and XMP in a last `mdat` box, linked to the picture, and everything else as it was.

    What was there before goes: the bytes of other programs' metadata become zeros. Raises RequestError where that would
    not be safe: boxes that imggen does not know may tell of places, and metadata may share its bytes with the picture.
    """
    new = {"exif": changes.exif, "xmp": changes.xmp}
    if "manifest" in changes.dropped:
        data = _unsigned(data)
    if all(block is None for block in new.values()):
        return data
    file = heif.parse(data)
    _check_movable(file)
    tail = _tail(file)
    blocks: dict[str, bytes] = {}
    gone: list[Item] = []
    for role, block in new.items():
        held = _saying(file, role)
        if block is not None:
            blocks |= {role: b"\0\0\0\0" + block if role == "exif" else block} if block else {}
            gone += held
        elif tail and any(_is_within(item, tail) for item in held):
            blocks[role] = _content(data, held[0])
            gone += held
    return _rewritten(file, blocks, gone, tail)


def _unsigned(data: bytes) -> bytes:
    """Return the file with zeros in place of its C2PA manifest, so that nothing moves."""
    bare = bytearray(data)
    file = heif.parse(data)
    held = spans.hold(_spans_but(file, ()))
    for box in file.boxes:
        if _is_manifest(data, box):
            if held.touches((box.start, box.end)):
                raise RequestError("the AVIF's picture overlaps its C2PA manifest, which cannot be taken out")
            bare[box.start + 4 : box.start + 8] = b"free"
            bare[box.body : box.end] = bytes(box.end - box.body)
    return bytes(bare)


def _saying(file: File, role: str) -> list[Item]:
    return [item for item in file.meta.items.values() if item.role == role]


def _brands(data: bytes) -> frozenset[bytes]:
    if data[4:8] != b"ftyp":
        return frozenset()
    size = min(int.from_bytes(data[:4]), len(data), 1024)
    return frozenset((data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))))


def _size(file: File) -> tuple[int, int]:
    for box in _properties(file.meta, file.meta.primary):
        if box.name == b"ispe":
            cursor, _, _ = isobmff.full(file.data, box)
            return cursor.number(4), cursor.number(4)
    raise RequestError("the AVIF does not say how large its picture is")


def _properties(meta: Meta, number: int) -> Iterator[Box]:
    for index in meta.associations.get(number, ()):
        if index > len(meta.properties):
            raise RequestError(f"the AVIF's item has a property {index}, of {len(meta.properties)}")
        if index:
            yield meta.properties[index - 1]


def _of_primary(meta: Meta, items: list[Item]) -> list[Item]:
    """Return the items with those that describe the picture itself at the front."""
    describing = {source for kind, source, targets in meta.references if kind == b"cdsc" and meta.primary in targets}
    return sorted(items, key=lambda item: item.number not in describing)


def _content(data: bytes, item: Item) -> bytes:
    if sum(end - start for start, end in item.spans) > MAX_TEXT_BYTES:
        raise RequestError(f"the AVIF's metadata is longer than the {MAX_TEXT_BYTES:,} bytes that are read")
    return b"".join(data[start:end] for start, end in item.spans)


def _exif_block(payload: bytes) -> bytes:
    # Four bytes tell how far behind them the block begins; some writers put a JPEG's prefix there and count it or not.
    block = payload[4 + int.from_bytes(payload[:4]) :]
    return block if block.startswith(_TIFF_HEADERS) else payload[4:].removeprefix(_EXIF_PREFIX)


def _is_manifest(data: bytes, box: Box) -> bool:
    return box.name == b"jumb" or (box.name == b"uuid" and data.startswith(_C2PA, box.body, box.end))


def _notes(file: File, counts: Mapping[str, int]) -> Iterator[str]:
    for what, count in counts.items():
        if count > 1:
            yield f"the AVIF has {count} {what} items; the first that describes the picture is read"
    names = {box.name for box in _properties(file.meta, file.meta.primary)}
    if names & {b"irot", b"imir"}:
        yield "the AVIF is turned or mirrored where it is shown"


def _image_hash(file: File) -> str:
    """Return the hash of what decides the pixels, each stretch of bytes read once."""
    digest = hashlib.sha256()
    known: dict[Span, bytes] = {}
    budget = _MOST_OVERLAP * len(file.data)
    for piece in _coded(file):
        if isinstance(piece, bytes):
            digest.update(piece)
            continue
        if piece not in known:
            start, end = piece
            budget -= end - start
            if budget < 0:
                raise RequestError("the AVIF's items overlap")
            known[piece] = hashlib.sha256(memoryview(file.data)[start:end]).digest()
        digest.update(known[piece])
    return digest.hexdigest()


def _coded(file: File) -> Iterator[bytes | Span]:
    """Yield what decides the pixels: items with their properties and relations, and an animation's samples."""
    meta = file.meta
    relations: dict[int, list[bytes]] = {}
    for kind, source, targets in meta.references:
        relations.setdefault(source, []).append(kind + struct.pack(f">{len(targets)}I", *targets))
    yield struct.pack(">I", meta.primary)
    for number, item in sorted(meta.items.items()):
        if item.kind in _SAYING or not (item.kind or item.spans):
            continue
        yield struct.pack(">I", number) + item.kind
        yield from ((box.start, box.end) for box in _properties(meta, number))
        yield from relations.get(number, ())
        yield from item.spans
    for track in file.tracks:
        yield from ((table.start, table.end) for table in track.tables)
        yield from track.spans


def _check_movable(file: File) -> None:
    """Raise RequestError where offsets that imggen does not know could point to what moves."""
    odd = [box for box in file.boxes if box.name not in _MOVABLE]
    if file.movie is not None:
        inner = isobmff.inside(file.data, file.movie)
        odd += [box for box in inner if box.name in (b"mvex", b"meta")]
        for track in (box for box in inner if box.name == b"trak"):
            odd += [box for box in isobmff.inside(file.data, track) if box.name == b"meta"]
    odd += [table for track in file.tracks for table in track.tables if table.name == b"saio"]
    if odd:
        raise RequestError(f"the AVIF has a box {odd[0].shown}, which may hold offsets that a change would break")
    starts = [box.start for box in file.boxes]
    for start, end in _spans_but(file, ()):
        home = file.boxes[bisect_right(starts, start) - 1]
        if start < end and (start < home.body or end > home.end or home is file.movie):
            raise RequestError("the AVIF's picture overlaps its structure, so its metadata cannot be changed")


def _tail(file: File) -> Box | None:
    """Return the last box where it holds metadata and nothing else, as `replace` leaves it."""
    last = file.boxes[-1]
    if last.name != b"mdat":
        return None
    within = [item for item in file.meta.items.values() if item.role and _is_within(item, last)]
    held = sorted(span for item in within for span in item.spans)
    reached = last.body
    for start, end in held:
        if start != reached:
            return None
        reached = end
    others = _spans_but(file, {item.number for item in within})
    if not held or reached != last.end or any(end > last.body for _, end in others):
        return None
    return last


def _is_within(item: Item, box: Box) -> bool:
    return bool(item.spans) and all(box.body <= start <= end <= box.end for start, end in item.spans)


def _spans_but(file: File, numbers: Iterable[int]) -> list[Span]:
    left_out = frozenset(numbers)
    held = [span for number, item in file.meta.items.items() if number not in left_out for span in item.spans]
    return held + [span for track in file.tracks for span in track.spans]


@dataclass(frozen=True, kw_only=True)
class _MetadataEdit:
    """A file on its way to new metadata: what stays, what is told, and under which numbers."""

    file: File
    data: bytes
    kept: tuple[Item, ...]
    blocks: Mapping[str, bytes]
    numbers: Mapping[str, int]


def _rewritten(file: File, blocks: Mapping[str, bytes], gone: Iterable[Item], tail: Box | None) -> bytes:
    """Return the file with a new `meta` box, `blocks` in a last `mdat` box, and the items in `gone` left out."""
    gone = list(gone)
    numbers = {item.number for item in gone}
    data = _blanked(file, [item for item in gone if tail is None or not _is_within(item, tail)], numbers)
    kept = tuple(item for number, item in sorted(file.meta.items.items()) if number not in numbers)
    told_of = (number for _, source, targets in file.meta.references if source not in numbers for number in targets)
    first = max((*(item.number for item in kept), *told_of, 0)) + 1
    if first + len(blocks) > _WIDEST_NUMBER:
        raise RequestError(f"the AVIF has an item {first - 1}, which leaves no number for metadata")
    named = {role: first + at for at, role in enumerate(blocks)}
    edit = _MetadataEdit(file=file, data=data, kept=kept, blocks=blocks, numbers=named)
    growth = len(_new_meta(edit, growth=0, place=0)) - (file.meta.box.end - file.meta.box.start)
    end = (tail.start if tail else len(data)) + growth
    pieces = [piece for box in file.boxes if box is not tail for piece in _piece(edit, box, growth, end)]
    return b"".join([*pieces, *([isobmff.frame(b"mdat", *blocks.values())] if blocks else [])])


def _piece(edit: _MetadataEdit, box: Box, growth: int, end: int) -> Iterator[bytes | memoryview]:
    view = memoryview(edit.data)
    if box is edit.file.meta.box:
        yield _new_meta(edit, growth=growth, place=end + _HEADER_BYTES)
    elif box is edit.file.movie:
        yield _new_movie(edit.file, box, growth)
    elif edit.data.startswith(b"\0" * 4, box.start):
        # A size that was left open must be told now that something follows.
        yield isobmff.frame(box.name, view[box.body : box.end])
    else:
        yield view[box.start : box.end]


def _blanked(file: File, gone: Iterable[Item], numbers: Iterable[int]) -> bytes:
    """Return the file's bytes with zeros for those of the items that go."""
    blanks = [span for item in gone for span in item.spans if span[0] < span[1]]
    if not blanks:
        return file.data
    held = spans.hold(_spans_but(file, numbers))
    idat = file.meta.child(b"idat")
    homes = [box for box in (*file.boxes, idat) if box is not None and box.name in (b"mdat", b"idat")]
    data = bytearray(file.data)
    for start, end in blanks:
        if held.touches((start, end)):
            raise RequestError("the AVIF's metadata overlaps its picture, so it cannot be changed")
        if not any(home.body <= start and end <= home.end for home in homes):
            raise RequestError("the AVIF's metadata overlaps its structure, so it cannot be changed")
        data[start:end] = bytes(end - start)
    return bytes(data)


def _new_meta(edit: _MetadataEdit, *, growth: int, place: int) -> bytes:
    """Return the `meta` box with the kept items and the new ones, whose bytes begin at `place` one behind the other."""
    meta = edit.file.meta
    new = {b"iinf": _new_names(edit), b"iloc": _new_places(edit, growth, place), b"iref": _new_references(edit)}
    body = [edit.data[meta.box.body : meta.box.body + FULL_HEADER]]
    for child in meta.children:
        body.append(new.get(child.name) or child.whole(edit.data))
        if child.name == b"iinf" and meta.child(b"iref") is None:
            body.append(new[b"iref"])
    return isobmff.frame(b"meta", *body)


def _new_names(edit: _MetadataEdit) -> bytes:
    """Return the `iinf` box: the names of the items that stay, then those of the new ones."""
    box = edit.file.meta.names
    staying = {item.number for item in edit.kept}
    cursor, version, flags = isobmff.full(edit.file.data, box)
    cursor.number(4 if version else 2)
    pairs = zip(cursor.boxes(), heif.named(edit.file.data, box), strict=True)
    rows = [entry.whole(edit.file.data) for entry, item in pairs if item.number in staying]
    for role, number in edit.numbers.items():
        kind = b"Exif\0" if role == "exif" else b"mime\0" + XMP_TYPE + b"\0"
        rows.append(isobmff.frame(b"infe", struct.pack(">IHH", 2 << 24, number, 0), kind))
    head = struct.pack(">II" if version else ">IH", version << 24 | flags, len(rows))
    return isobmff.frame(b"iinf", head, *rows)


def _new_places(edit: _MetadataEdit, growth: int, place: int) -> bytes:
    """Return the `iloc` box: where the items' bytes are once the file has grown."""
    idat = edit.file.meta.child(b"idat")
    version = 1 if any(item.method for item in edit.kept) else 0
    rows = []
    for item in edit.kept:
        base = idat.body if item.method == IN_META and idat else None
        pieces = [
            (start - base if base is not None else _moved(edit.file, start, end, growth), end - start)
            for start, end in item.spans
        ]
        if pieces:
            rows.append(_location(item.number, item.method if version else None, pieces))
    for role, number in edit.numbers.items():
        rows.append(_location(number, IN_FILE if version else None, [(place, len(edit.blocks[role]))]))
        place += len(edit.blocks[role])
    sizes = _PLACE_BYTES << 12 | _PLACE_BYTES << 8
    return isobmff.frame(b"iloc", struct.pack(">IHH", version << 24, sizes, len(rows)), *rows)


def _location(number: int, method: int | None, places: list[tuple[int, int]]) -> bytes:
    how = b"" if method is None else struct.pack(">H", method)
    pieces = b"".join(struct.pack(">II", *place) for place in places)
    return struct.pack(">H", number) + how + struct.pack(">HH", 0, len(places)) + pieces


def _moved(file: File, start: int, end: int, growth: int) -> int:
    box = file.meta.box
    if start < box.end and end > box.start:
        raise RequestError("the AVIF's picture overlaps its structure, so its metadata cannot be changed")
    return start + growth if start >= box.end else start


def _new_references(edit: _MetadataEdit) -> bytes:
    """Return the `iref` box without what leads to items that go, the new items linked to the picture."""
    meta = edit.file.meta
    box = meta.child(b"iref")
    version = edit.file.data[box.body] if box else 0
    code = "I" if version else "H"
    gone = meta.items.keys() - {item.number for item in edit.kept}
    rows = []
    for kind, source, targets in meta.references:
        if source not in gone:
            rows.append((kind, source, [target for target in targets if target not in gone]))
    # Not looked up among those that go: a new item may have the number of one of them.
    rows += [(b"cdsc", number, [meta.primary]) for number in edit.numbers.values()]
    framed = (
        isobmff.frame(kind, struct.pack(f">{code}H{len(targets)}{code}", source, len(targets), *targets))
        for kind, source, targets in rows
    )
    return isobmff.frame(b"iref", struct.pack(">I", version << 24), *framed)


def _new_movie(file: File, movie: Box, growth: int) -> bytes:
    changed = bytearray(movie.whole(file.data))
    for track in file.tracks:
        for box in track.places:
            code = "I" if CHUNK_PLACES[box.name] == _PLACE_BYTES else "Q"
            places = [_moved(file, place, place + 1, growth) for place in heif.chunk_places(file.data, box)]
            struct.pack_into(f">{len(places)}{code}", changed, box.body + 8 - movie.start, *places)
    return bytes(changed)
