"""AVIF files: the items move, the picture does not, and what cannot be done safely is refused."""

import io
import struct
import time
from collections.abc import Callable

import pytest
from PIL import Image
from samples import FOREIGN, camera, picture, pixels, samples, saved

from imggen.errors import RequestError
from imggen.output.formats import avif, carriers, container, exif, heif, isobmff
from imggen.output.formats.carriers import Changes

PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
BLOCK = exif.merge(None, {"Software": "imggen", "UserComment": "a red apple 🍎"})
BOTH = Changes(exif=BLOCK, xmp=PACKET)
FULL_BOXES = {b"meta": 4, b"iinf": 6, b"iref": 4}
HOLDERS = (b"meta", b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl")


def names(data: bytes) -> list[bytes]:
    return [each.name for each in isobmff.split(data, 0, len(data))]


def listed(data: bytes) -> list[tuple[int, bytes]]:
    return sorted((each.number, each.kind) for each in heif.parse(data).meta.items.values())


def edited(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Return the file with one box's payload changed, and the sizes around it, but not the places of the items."""
    return b"".join(
        _edited(data, each, path, change) if each.name == path[0] else each.whole(data)
        for each in isobmff.split(data, 0, len(data))
    )


def _edited(data: bytes, box: isobmff.Box, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    if len(path) == 1:
        return isobmff.frame(box.name, change(box.payload(data)))
    skip = FULL_BOXES.get(box.name, 0)
    inner = b"".join(
        _edited(data, each, path[1:], change) if each.name == path[1] else each.whole(data)
        for each in isobmff.inside(data, box, skip=skip)
    )
    return isobmff.frame(box.name, data[box.body : box.body + skip] + inner)


def test_metadata_goes_into_a_last_box_of_its_own_and_is_linked_to_the_picture():
    data = container.replace(samples()["avif alpha"], BOTH)
    assert names(data) == [b"ftyp", b"meta", b"mdat", b"mdat"]
    assert listed(data) == [(1, b"av01"), (2, b"av01"), (3, b"Exif"), (4, b"mime")]
    meta = heif.parse(data).meta
    assert {(kind, source, targets) for kind, source, targets in meta.references} == {
        (b"auxl", 2, (1,)),
        (b"cdsc", 3, (1,)),
        (b"cdsc", 4, (1,)),
    }
    assert data.endswith(b"\0\0\0\0" + BLOCK + PACKET)


def test_only_one_of_two_is_changed_and_the_other_stays():
    first = container.replace(samples()["avif"], BOTH)
    again = container.replace(first, Changes(xmp=FOREIGN))
    read = container.read(again)
    assert (read.carriers.exif, read.carriers.xmp) == (BLOCK, FOREIGN)
    assert again == container.replace(samples()["avif"], Changes(exif=BLOCK, xmp=FOREIGN))


def test_metadata_of_others_leaves_no_byte_behind():
    before = samples()["avif camera"]
    assert b"Camera 1.0" in before
    assert b"Vivid" in before
    after = container.replace(before, BOTH)
    assert b"Camera 1.0" not in after
    assert b"Vivid" not in after
    assert pixels(after) == pixels(before)


def test_metadata_of_others_stays_where_it_is_not_replaced():
    after = container.replace(samples()["avif camera"], Changes(exif=BLOCK))
    assert container.read(after).carriers.xmp == FOREIGN


def test_size_of_a_file_does_not_depend_on_how_often_it_is_changed():
    data = container.replace(samples()["avif animated"], BOTH)
    for _ in range(5):
        data = container.replace(data, BOTH)
    assert data == container.replace(samples()["avif animated"], BOTH)


def test_frames_of_an_animation_are_found_after_the_move():
    before = samples()["avif animated"]
    after = container.replace(before, Changes(exif=BLOCK + bytes(100_000)))
    assert pixels(after) == pixels(before)
    assert container.read(after).animated


@pytest.mark.parametrize("quality", [10, 95])
@pytest.mark.parametrize("size", [(1, 1), (257, 130), (1200, 64)])
def test_any_size_and_quality_keeps_its_pixels(quality, size):
    before = saved(picture("RGBA", size), "avif", quality=quality)
    after = container.replace(before, BOTH)
    assert pixels(after) == pixels(before)
    assert (container.read(after).width, container.read(after).height) == size


def test_turned_picture_says_so():
    turned = Image.Exif()
    turned[0x0112] = 6
    read = container.read(saved(picture(), "avif", exif=turned))
    assert read.notes == ("the AVIF is turned or mirrored where it is shown",)
    assert (read.width, read.height) == (24, 18)


def test_open_size_at_the_end_is_told_when_something_follows():
    before = samples()["avif"]
    last = isobmff.split(before, 0, len(before))[-1]
    opened = before[: last.start] + bytes(4) + before[last.start + 4 :]
    after = container.replace(opened, BOTH)
    assert after == container.replace(before, BOTH)
    assert container.read(opened).image_sha256 == container.read(before).image_sha256


def test_large_sizes_are_read():
    before = samples()["avif"]
    *head, last = isobmff.split(before, 0, len(before))
    size = struct.pack(">I4sQ", 1, b"mdat", last.end - last.start + 8)
    # The picture stands eight bytes later now; an item's place is told from the file's beginning.
    free = b"".join(each.whole(before) for each in head)
    place = heif.parse(before).meta.items[1].spans[0][0]
    moved = free.replace(struct.pack(">I", place), struct.pack(">I", place + 8)) + size + last.payload(before)
    assert pixels(moved) == pixels(before)
    after = container.replace(moved, BOTH)
    assert pixels(after) == pixels(before)
    assert container.read(after).carriers.exif == BLOCK


def in_meta(data: bytes) -> bytes:
    """Return the file with its picture in the `meta` box itself, by construction method 1."""
    (start, end), *_ = heif.parse(data).meta.items[1].spans
    iloc = struct.pack(">IHHHHHHII", 1 << 24, 0x4400, 1, 1, 1, 0, 1, 0, end - start)
    idat = isobmff.frame(b"idat", data[start:end])
    found = isobmff.split(data, 0, len(data))
    children = b"".join(
        isobmff.frame(b"iloc", iloc) if each.name == b"iloc" else each.whole(data)
        for each in isobmff.inside(data, found[1], skip=4)
    )
    return found[0].whole(data) + isobmff.frame(b"meta", bytes(4), children, idat)


def test_picture_inside_of_the_meta_box_stays_there():
    before = in_meta(samples()["avif"])
    assert pixels(before) == pixels(samples()["avif"])
    after = container.replace(before, BOTH)
    assert pixels(after) == pixels(before)
    assert container.read(after).image_sha256 == container.read(before).image_sha256
    assert container.read(after).carriers.xmp == PACKET


def test_hash_is_of_the_picture_and_not_of_where_it_stands():
    first = container.read(samples()["avif"]).image_sha256
    assert container.read(in_meta(samples()["avif"])).image_sha256 == first
    assert container.read(container.replace(samples()["avif"], BOTH)).image_sha256 == first
    assert container.read(saved(picture().rotate(180), "avif")).image_sha256 != first
    assert container.read(saved(picture("RGBA"), "avif")).image_sha256 != first


@pytest.mark.parametrize("box", [b"uuid", b"jumb"])
def test_manifest_is_told(box):
    manifest = isobmff.frame(box, bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), b"manifest")
    data = container.replace(samples()["avif"], BOTH) + manifest
    assert container.read(data).signed
    assert not container.read(samples()["avif"]).signed
    assert not container.read(samples()["avif"] + isobmff.frame(b"uuid", bytes(16))).signed


@pytest.mark.parametrize("prefix", [b"\0\0\0\6Exif\0\0", b"\0\0\0\0Exif\0\0", b"\0\0\0\0"])
def test_prefix_that_some_writers_put_into_an_exif_item_is_passed_over(prefix):
    data = container.replace(samples()["avif"], Changes(exif=BLOCK))
    payload = prefix + BLOCK
    changed = edited(
        data[: -len(BLOCK) - 12], (b"meta", b"iloc"), lambda iloc: iloc[:-4] + struct.pack(">I", len(payload))
    )
    assert container.read(changed + isobmff.frame(b"mdat", payload)).carriers.exif == BLOCK


def test_box_that_nobody_knows_is_not_moved():
    odd = samples()["avif"] + isobmff.frame(b"mpvd", b"film")
    assert container.read(odd).width == 24
    with pytest.raises(RequestError, match="'mpvd'"):
        container.replace(odd, BOTH)


def test_metadata_in_tracks_is_left_alone():
    odd = edited(samples()["avif animated"], (b"moov", b"trak"), lambda trak: trak + isobmff.frame(b"meta", bytes(4)))
    with pytest.raises(RequestError, match="'meta'"):
        container.replace(odd, BOTH)


def test_metadata_that_lies_over_the_picture_is_not_blanked():
    data = samples()["avif camera"]
    (start, _), *_ = next(each for each in heif.parse(data).meta.items.values() if each.kind == b"av01").spans
    exif_place = next(each for each in heif.parse(data).meta.items.values() if each.kind == b"Exif").spans[0][0]
    lying = data.replace(struct.pack(">I", exif_place), struct.pack(">I", start), 1)
    with pytest.raises(RequestError, match="overlaps its picture"):
        container.replace(lying, BOTH)


def test_places_without_end_are_refused_in_no_time():
    # Extents of no bytes at all: sixty thousand of them cost the file nothing.
    iloc = struct.pack(">IHI", 2 << 24, 0, 40) + b"".join(
        struct.pack(">IHHH", number, 0, 0, 0xFFFF) for number in range(40)
    )
    data = edited(samples()["avif"], (b"meta", b"iloc"), lambda _: iloc)
    start = time.process_time()
    with pytest.raises(RequestError, match="pieces"):
        container.read(data)
    assert time.process_time() - start < 2


def test_items_that_all_hold_the_whole_file_are_refused():
    data = samples()["avif"] + isobmff.frame(b"free", bytes(100_000))
    rows = b"".join(struct.pack(">HHHII", number, 0, 1, number, 100_000) for number in range(1, 400))
    iloc = struct.pack(">IHH", 0, 0x4400, 399) + rows
    with pytest.raises(RequestError, match="items overlap"):
        container.read(edited(data, (b"meta", b"iloc"), lambda _: iloc))


def test_metadata_of_half_a_file_is_refused():
    data = container.replace(samples()["avif"], Changes(exif=BLOCK + bytes(carriers.MAX_TEXT_BYTES)))
    with pytest.raises(RequestError, match="longer than"):
        container.read(data)


@pytest.mark.parametrize(
    ("path", "change", "fault"),
    [
        ((b"meta", b"pitm"), lambda _: b"", "'pitm' at byte 77 ends too early"),
        ((b"meta", b"pitm"), lambda _: b"\0\0\0\0\0\7", "how large"),
        ((b"meta", b"iloc"), lambda old: b"\3" + old[1:], "unknown form"),
        ((b"meta", b"iloc"), lambda old: old[:4] + b"\x33" + old[5:], "unknown form"),
        ((b"meta", b"iloc"), lambda old: old[:-8] + b"\0\0\xff\xff" + old[-4:], "beyond the end of its data"),
        ((b"meta", b"iloc"), lambda old: b"\1" + old[1:8] + old[8:10] + b"\0\2" + old[10:], "not in the file itself"),
        ((b"meta", b"iloc"), lambda old: b"\1" + old[1:8] + old[8:10] + b"\0\1" + old[10:], "'idat' that is not there"),
        ((b"meta", b"iloc"), lambda old: old[:6] + b"\0\2" + old[8:] + old[8:], "item 1 twice"),
        ((b"meta", b"iinf"), lambda old: old + old[6:], "two items 1"),
        ((b"meta", b"iinf"), lambda old: old[:6] + b"\0\0\0\4infe", "says 4 bytes"),
        ((b"meta", b"iprp", b"ipco"), lambda _: b"", "a property 1, of 0"),
        ((b"meta", b"iprp", b"ipco", b"ispe"), lambda _: bytes(12), "0x0 pixels"),
        ((b"meta", b"iprp", b"ipco", b"ispe"), lambda _: bytes(4) + b"\x7f" * 8, "are accepted"),
        ((b"meta",), lambda old: old[:4], "no box 'pitm'"),
        ((b"meta",), lambda old: old + isobmff.frame(b"pitm"), "twice"),
    ],
)
def test_avif_that_is_none_inside_is_refused(path, change, fault):
    # Room behind, so that what became shorter does not cut the picture.
    data = samples()["avif"] + isobmff.frame(b"free", bytes(200))
    with pytest.raises(RequestError, match=fault):
        container.read(edited(data, path, change))


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        (b"stsz", lambda old: old[:8] + b"\xff\xff\xff\xff", "4,294,967,295 pieces"),
        (b"stsc", lambda old: old[:12] + b"\0\0\xff\xff" + old[16:], "more samples than there are"),
        (b"stco", lambda old: old[:8] + b"\x7f" + old[9:], "beyond the end of its data"),
        (b"stco", lambda old: old[:4] + b"\xff" * 4, "4,294,967,295 pieces"),
    ],
)
def test_track_that_lies_is_refused(name, change, fault):
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", name)
    with pytest.raises(RequestError, match=fault):
        container.read(edited(samples()["avif animated"], path, change))


def test_two_meta_boxes_are_refused():
    data = samples()["avif"]
    with pytest.raises(RequestError, match="2 meta boxes"):
        container.read(data + isobmff.split(data, 0, len(data))[1].whole(data))


def test_camera_block_of_another_program_is_merged_and_stays_whole():
    block = camera()
    merged = exif.merge(block, {"Software": "imggen"})
    read = container.read(container.replace(samples()["avif"], Changes(exif=merged)))
    assert read.carriers.exif == merged
    with Image.open(
        io.BytesIO(container.replace(samples()["avif"], Changes(exif=exif.merge(block, {"Orientation": 1}))))
    ) as image:
        assert image.getexif()[0x0110] == "Model 1"


def test_sequence_brand_and_still_brand_are_both_avif():
    assert avif.is_avif(samples()["avif"])
    assert avif.is_avif(samples()["avif animated"])
    assert avif.is_avif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif")
    assert not avif.is_avif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")


@pytest.mark.parametrize("more", [1, 4, 8])
def test_picture_that_reaches_into_the_next_box_is_left_as_it_is(more):
    data = container.replace(samples()["avif"], BOTH)
    ((start, end),) = heif.parse(data).meta.items[1].spans
    place = struct.pack(">II", start, end - start)
    assert data.count(place) == 1
    lying = data.replace(place, struct.pack(">II", start, end - start + more))
    assert container.read(lying).image_sha256 != container.read(data).image_sha256
    for change in (BOTH, Changes(exif=b"", xmp=b"")):
        with pytest.raises(RequestError, match="overlaps its structure"):
            container.replace(lying, change)


def test_picture_within_the_manifest_is_not_blanked_with_it():
    manifest = isobmff.frame(b"uuid", bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), bytes(4000))
    data = samples()["avif"] + manifest
    ((start, end),) = heif.parse(data).meta.items[1].spans
    lying = data.replace(struct.pack(">II", start, end - start), struct.pack(">II", len(data) - 2000, end - start))
    assert lying != data
    assert container.read(lying).signed
    with pytest.raises(RequestError, match="overlaps its C2PA manifest"):
        container.replace(lying, Changes(dropped=frozenset(["manifest"])))
    assert not container.read(container.replace(data, Changes(dropped=frozenset(["manifest"])))).signed


def test_million_items_are_refused_in_no_time():
    rows = b"".join(struct.pack(">IHHH", number, 0, 0, 0) for number in range(1_000_000))
    iloc = struct.pack(">IHI", 2 << 24, 0, 1_000_000) + rows
    start = time.process_time()
    with pytest.raises(RequestError, match="pieces"):
        container.read(edited(samples()["avif"], (b"meta", b"iloc"), lambda _: iloc))
    assert time.process_time() - start < 4
