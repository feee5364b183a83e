"""The items of HEIF files, by boxes made by hand: every version of them, and what is refused."""

import struct

import pytest

from imggen.errors import RequestError
from imggen.output.formats import heif
from imggen.output.formats.carriers import MAX_PARTS
from imggen.output.formats.isobmff import frame

META_AT = 8
PITM = frame(b"pitm", struct.pack(">IH", 0, 1))
IPRP = frame(b"iprp", frame(b"ipco"))


def full(version: int, flags: int = 0) -> bytes:
    return bytes([version]) + flags.to_bytes(3)


def infe(number: int, kind: bytes, more: bytes = b"", version: int = 2) -> bytes:
    return frame(b"infe", full(version), struct.pack(">IH" if version > 2 else ">HH", number, 0), kind, b"name\0", more)


def iinf(*entries: bytes, version: int = 0) -> bytes:
    return frame(b"iinf", full(version), struct.pack(">I" if version else ">H", len(entries)), *entries)


def iloc(*rows: bytes, version: int = 0, sizes: int = 0x4400) -> bytes:
    return frame(b"iloc", full(version), struct.pack(">HI" if version > 1 else ">HH", sizes, len(rows)), *rows)


def row(number: int, *extents: tuple[int, int], source: int = 0) -> bytes:
    """Return an item's places in a box of version 0 without a base."""
    return struct.pack(">HHH", number, source, len(extents)) + b"".join(struct.pack(">II", *pair) for pair in extents)


def method_row(number: int, method: int, *extents: tuple[int, int]) -> bytes:
    """Return an item's places in a box of version 1 without a base."""
    rest = b"".join(struct.pack(">II", *pair) for pair in extents)
    return struct.pack(">HHHH", number, method, 0, len(extents)) + rest


def file(*children: bytes, more: bytes = b"") -> bytes:
    return frame(b"ftyp") + frame(b"meta", bytes(4), *children) + more


def meta(*children: bytes, more: bytes = b"") -> heif.Meta:
    return heif.parse(file(*children, more=more)).meta


def items(iloc_box: bytes, *others: bytes, iinf_box: bytes | None = None) -> dict:
    return meta(PITM, iloc_box, iinf_box or iinf(), IPRP, *others).items


def test_a_file_without_or_with_two_metas_is_refused():
    for count in (0, 2):
        with pytest.raises(RequestError, match=f"has {count} meta boxes where it needs one"):
            heif.parse(frame(b"meta", bytes(4)) * count)


@pytest.mark.parametrize("lacking", [b"pitm", b"iloc", b"iinf", b"iprp"])
def test_a_meta_needs_four_boxes(lacking):
    boxes = [box for box in (PITM, iloc(), iinf(), IPRP) if box[4:8] != lacking]
    with pytest.raises(RequestError, match=f"the AVIF has no box '{lacking.decode()}'"):
        meta(*boxes)


def test_a_box_that_is_there_twice_is_refused():
    with pytest.raises(RequestError, match="a box twice where it needs it once"):
        meta(PITM, iloc(), iinf(), IPRP, frame(b"free"), frame(b"free"))


def test_children_of_a_meta_are_found_by_name():
    read = meta(PITM, iloc(), iinf(), IPRP)
    assert (read.names.name, read.child(b"iloc").name, read.child(b"idat")) == (b"iinf", b"iloc", None)
    assert read.references == ()


@pytest.mark.parametrize(("version", "number"), [(0, b"\1\2"), (1, b"\0\0\1\2")])
def test_the_primary_item_has_two_bytes_or_four(version, number):
    assert meta(frame(b"pitm", full(version), number), iloc(), iinf(), IPRP).primary == 258


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("list_version", [0, 1])
def test_items_have_kinds_and_roles(version, list_version):
    entries = (
        infe(1, b"av01", version=version),
        infe(2, b"Exif", version=version),
        infe(3, b"mime", b"application/rdf+xml\0", version=version),
        infe(4, b"mime", b"text/plain\0", version=version),
        infe(5, b"uri ", b"application/rdf+xml\0", version=version),
    )
    read = items(iloc(), iinf_box=iinf(*entries, version=list_version))
    assert [(number, item.kind, item.role) for number, item in read.items()] == [
        (1, b"av01", ""),
        (2, b"Exif", "exif"),
        (3, b"mime", "xmp"),
        (4, b"mime", ""),
        (5, b"uri ", ""),
    ]
    assert read[3].content_type == heif.XMP_TYPE
    assert read[5].content_type == b""


@pytest.mark.parametrize("version", [0, 1])
def test_old_entries_have_numbers_alone(version):
    read = items(iloc(row(1, (8, 4))), iinf_box=iinf(infe(1, b"mime", version=version)))
    assert read == {1: heif.Item(number=1, spans=((8, 12),))}


def test_items_that_are_only_listed_or_only_located_are_kept():
    read = items(iloc(row(2, (8, 4))), iinf_box=iinf(infe(1, b"av01")))
    assert read == {1: heif.Item(number=1, kind=b"av01"), 2: heif.Item(number=2, spans=((8, 12),))}


def test_two_items_of_one_number_are_refused():
    with pytest.raises(RequestError, match="two items 1"):
        items(iloc(), iinf_box=iinf(infe(1, b"av01"), infe(1, b"Exif")))


@pytest.mark.parametrize(("box", "spans"), [
    (iloc(row(1, (8, 4), (20, 1))), ((8, 12), (20, 21))),
    (iloc(struct.pack(">HHIHII", 1, 0, 10, 1, 8, 4), sizes=0x4440), ((18, 22),)),
    (iloc(struct.pack(">HHHQQ", 1, 0, 1, 8, 4), sizes=0x8800), ((8, 12),)),
    (iloc(struct.pack(">HHHI", 1, 0, 1, 4), sizes=0x0400), ((0, 4),)),
    (iloc(row(1, (8, 4)), sizes=0x4404), ((8, 12),)),
    (iloc(struct.pack(">HHHHIII", 1, 0, 0, 1, 9, 8, 4), version=1, sizes=0x4404), ((8, 12),)),
    (iloc(struct.pack(">IHHHII", 1, 0, 0, 1, 8, 4), version=2), ((8, 12),)),
    (iloc(method_row(1, 0x10, (8, 4)), version=1), ((8, 12),)),
])  # fmt: skip
def test_places_are_read_in_every_form(box, spans):
    assert items(box)[1].spans == spans


def test_places_in_the_meta_box_count_from_its_idat():
    idat = frame(b"idat", b"abcdef")
    box = iloc(method_row(1, 1, (2, 3), (1, 0)), version=1)
    data = file(PITM, box, iinf(), IPRP, idat)
    item = heif.parse(data).meta.items[1]
    assert item.method == heif.IN_META
    assert [data[start:end] for start, end in item.spans] == [b"cde", b"bcdef"]
    for extent in ((2, 5), (7, 0)):
        with pytest.raises(RequestError, match=r"item 1 says bytes .* beyond the end of its data"):
            items(iloc(method_row(1, 1, extent), version=1), idat)
    with pytest.raises(RequestError, match="item 1 is in a box 'idat' that is not there"):
        items(box)


def test_places_reach_up_to_the_end_of_the_file_and_no_further():
    size = len(file(PITM, iloc(row(1, (0, 0))), iinf(), IPRP))
    assert items(iloc(row(1, (8, size - 8))))[1].spans == ((8, size),)
    assert items(iloc(row(1, (8, 0))))[1].spans == ((8, size),)
    assert items(iloc(row(1, (size, 0))))[1].spans == ((size, size),)
    for extent in ((8, size - 7), (size + 1, 0)):
        with pytest.raises(RequestError, match=r"beyond the end of its data"):
            items(iloc(row(1, extent)))


@pytest.mark.parametrize(("box", "fault"), [
    (iloc(version=3), "'iloc' has an unknown form"),
    (iloc(sizes=0x3400), "'iloc' has an unknown form"),
    (iloc(sizes=0x4100), "'iloc' has an unknown form"),
    (iloc(sizes=0x4420), "'iloc' has an unknown form"),
    (iloc(row(1, (8, 4), source=1)), "item 1 is not in the file itself"),
    (iloc(method_row(1, 2, (8, 4)), version=1), "item 1 is not in the file itself"),
    (iloc(row(1, (8, 4)), row(1, (8, 4))), "'iloc' has item 1 twice"),
])  # fmt: skip
def test_places_of_another_form_are_refused(box, fault):
    with pytest.raises(RequestError, match=fault):
        items(box)


def test_an_item_of_as_many_pieces_as_there_may_be_is_read_and_no_more():
    def nothing(number, count):
        return struct.pack(">HHH", number, 0, count)

    rows = [nothing(number, 0xFFFF) for number in range(MAX_PARTS >> 16)]
    left = MAX_PARTS - (len(rows) << 16)
    if left:
        rows.append(nothing(len(rows), left - 1))
    assert len(items(iloc(*rows, sizes=0))) == len(rows)
    with pytest.raises(RequestError, match=f"more than {MAX_PARTS:,} pieces"):
        items(iloc(*rows, nothing(len(rows), 0), sizes=0))


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_needs_one_list_of_properties(count):
    with pytest.raises(RequestError, match=f"has {count} lists of properties where it needs one"):
        meta(PITM, iloc(), iinf(), frame(b"iprp", frame(b"ipco") * count))


@pytest.mark.parametrize(("version", "flags", "entries", "numbers"), [
    (0, 0, b"\0\1\2\x81\x02", (1, 2)),
    (0, 1, b"\0\1\2\x81\x02\0\3", (0x102, 3)),
    (1, 0, b"\0\0\0\1\1\xff", (127,)),
    (1, 1, b"\0\0\0\1\1\xff\xff", (0x7FFF,)),
])  # fmt: skip
def test_properties_are_tied_to_items_in_every_form(version, flags, entries, numbers):
    ipma = frame(b"ipma", full(version, flags), struct.pack(">I", 1), entries)
    read = meta(PITM, iloc(), iinf(), frame(b"iprp", frame(b"ipco", frame(b"ispe"), frame(b"irot")), ipma))
    assert [box.name for box in read.properties] == [b"ispe", b"irot"]
    assert read.associations == {1: numbers}
    more = frame(b"ipma", full(0), struct.pack(">I", 1), b"\0\1\1\5")
    both = meta(PITM, iloc(), iinf(), frame(b"iprp", frame(b"ipco"), ipma, more))
    assert both.associations == {1: (*numbers, 5)}


@pytest.mark.parametrize(("version", "code"), [(0, "H"), (1, "I")])
def test_references_are_read_with_all_their_targets(version, code):
    inner = frame(b"auxl", struct.pack(f">{code}H{code}{code}", 2, 2, 1, 3))
    read = meta(PITM, iloc(), iinf(), IPRP, frame(b"iref", full(version), inner))
    assert read.references == ((b"auxl", 2, (1, 3)),)


def table(name: bytes, *numbers: int, head: tuple[int, ...] = ()) -> bytes:
    """Return a table of a track: numbers of its own, how many rows follow, and those."""
    count = len(numbers) // 3 if name == b"stsc" else len(numbers)
    return frame(name, struct.pack(f">I{len(head)}II{len(numbers)}I", 0, *head, count, *numbers))


def track(*tables: bytes) -> bytes:
    return frame(b"trak", frame(b"mdia", frame(b"minf", frame(b"stbl", *tables))))


def animated(*tracks: bytes) -> bytes:
    return file(PITM, iloc(), iinf(), IPRP, more=frame(b"moov", frame(b"mvhd"), *tracks))


SIZES = table(b"stsz", 5, 6, 7, head=(0,))
RUNS = table(b"stsc", 1, 2, 1, 2, 1, 1)


def test_chunks_of_a_track_begin_at_their_places_and_hold_their_runs_of_samples():
    data = animated(track(SIZES, RUNS, table(b"stco", 10, 40)), frame(b"udta"), track(SIZES, RUNS))
    read = heif.parse(data)
    assert read.movie.name == b"moov"
    first, second = read.tracks
    assert first.spans == ((10, 21), (40, 47))
    assert ([box.name for box in first.tables], [box.name for box in first.places]) == ([b"stsz", b"stsc"], [b"stco"])
    assert second.spans == ()
    assert heif.chunk_places(data, first.places[0]) == [10, 40]


def test_places_of_eight_bytes_and_samples_of_one_size_are_read():
    places = frame(b"co64", struct.pack(">IIQQ", 0, 2, 10, 40))
    same = frame(b"stsz", struct.pack(">III", 0, 9, 3))
    (only,) = heif.parse(animated(track(same, RUNS, places))).tracks
    assert only.spans == ((10, 28), (40, 49))


def test_a_still_has_no_tracks():
    read = heif.parse(file(PITM, iloc(), iinf(), IPRP))
    assert (read.movie, read.tracks) == (None, ())


def test_a_chunk_may_end_with_the_file_and_not_behind_it():
    size = len(animated(track(SIZES, RUNS, table(b"stco", 0))))
    (only,) = heif.parse(animated(track(SIZES, RUNS, table(b"stco", size - 11)))).tracks
    assert only.spans == ((size - 11, size),)
    with pytest.raises(RequestError, match=f"chunk 1 says bytes {size - 10:,} to {size + 1:,}, beyond the end"):
        heif.parse(animated(track(SIZES, RUNS, table(b"stco", size - 10))))


MANY = MAX_PARTS + 1


@pytest.mark.parametrize(("broken", "fault"), [
    (frame(b"trak"), "a track without a box 'mdia'"),
    (frame(b"trak", frame(b"mdia")), "a track without a box 'minf'"),
    (frame(b"trak", frame(b"mdia", frame(b"minf"))), "a track without a box 'stbl'"),
    (track(SIZES), "does not say the sizes of its samples"),
    (track(RUNS), "does not say the sizes of its samples"),
    (track(SIZES, RUNS, table(b"stco", 8, 8, 8)), "chunk 3 has more samples than there are"),
    (track(frame(b"stsz", struct.pack(">III", 0, 1, MANY)), RUNS), f"{MANY:,} pieces; at most {MAX_PARTS:,} are read"),
    (track(SIZES, frame(b"stsc", struct.pack(">II", 0, MANY))), f"{MANY:,} pieces"),
    (track(SIZES, RUNS, frame(b"stco", struct.pack(">II", 0, MANY))), f"{MANY:,} pieces"),
])  # fmt: skip
def test_a_track_that_lies_is_refused(broken, fault):
    with pytest.raises(RequestError, match=fault):
        heif.parse(animated(broken))
