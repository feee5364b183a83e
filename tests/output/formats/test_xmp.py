"""XMP: written as others read it, read whatever strangers send, changed without losing what is there."""

import contextlib
import time
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import FOREIGN

from imggen.errors import RequestError
from imggen.output.formats import xmp

SOURCE = "Iptc4xmpExt:DigitalSourceType"


def packet(inside: str, *, declared: str = "") -> bytes:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{xmp.NAMESPACES["rdf"]}" {declared}>'
        f"<rdf:Description>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def test_new_packet_reads_as_it_was_meant_under_the_usual_prefixes():
    values = {SOURCE: "http://x/y", "dc:creator": ("A. B.", "C"), "dc:title": "T", "imggen:Recipe": '{"a":"<&>]]>"}'}
    made = xmp.merge(None, values)
    assert made.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'.encode())
    assert made.endswith(b'<?xpacket end="w"?>')
    assert b"<Iptc4xmpExt:DigitalSourceType>http://x/y</Iptc4xmpExt:DigitalSourceType>" in made
    assert b'<dc:title><rdf:Alt><rdf:li xml:lang="x-default">T' in made
    assert b"ns0" not in made
    assert xmp.read(made) == values


@settings(deadline=None)
@given(st.text())
def test_any_text_is_carried_as_far_as_xml_can(text):
    made = xmp.merge(None, {"dc:title": text, "Iptc4xmpExt:AIPromptInformation": text, "dc:subject": (text,)})
    ET.fromstring(made.decode().partition("?>")[2].rpartition("<?")[0])
    read = xmp.read(made)
    assert read["Iptc4xmpExt:AIPromptInformation"] == xmp.clean(text)
    assert read["dc:subject"] == (xmp.clean(text),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\0b\x1fc", "abc"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\ud800x\uffff", "\ufffdx\ufffd"),
        ("🍎 \t りんご", "🍎 \t りんご"),
    ],
)
def test_what_xml_cannot_carry_is_dropped_or_marked(text, expected):
    assert xmp.clean(text) == expected
    assert xmp.read(xmp.merge(None, {"dc:title": text}))["dc:title"] == expected


def test_foreign_packet_is_read():
    assert xmp.read(FOREIGN) == {
        "crs:Exposure": "+0.50",
        "xmp:CreatorTool": "Camera 1.0",
        "dc:title": "Hill",
        "dc:subject": ("hill", "sky"),
        "q:key": "value",
    }


def test_foreign_packet_keeps_all_that_is_not_set():
    before = xmp.read(FOREIGN)
    made = xmp.merge(FOREIGN, {SOURCE: "http://x/y", "xmp:CreatorTool": "imggen"})
    assert xmp.read(made) == {**before, SOURCE: "http://x/y", "xmp:CreatorTool": "imggen"}
    assert b"<crs:Group>A &amp; B</crs:Group>" in made
    assert b'xmlns:q="urn:private:thing"' in made
    assert "Hügel".encode() in made
    assert made.count(b"CreatorTool") == 2


def test_setting_a_title_keeps_its_translations():
    made = xmp.merge(FOREIGN, {"dc:title": "Mount"})
    assert xmp.read(made)["dc:title"] == "Mount"
    assert made.index(b"Mount") < made.index("Hügel".encode())
    assert b"Hill" not in made


def test_property_goes_away_wherever_it_stands():
    made = xmp.merge(FOREIGN, {"xmp:CreatorTool": None, "dc:subject": None, "dc:rights": None})
    assert not {"xmp:CreatorTool", "dc:subject", "dc:rights"} & xmp.read(made).keys()


def test_strangers_property_goes_away_by_the_name_that_it_is_read_under():
    data = packet(
        '</rdf:Description><rdf:Description xmlns:q="urn:q" xmlns:xmp="urn:theirs" q:a="1" bare="2" xmp:c="3">'
        "<q:b>4</q:b>"
        '<d xmlns="urn:d">5</d><e xmlns="urn:(e)/*">6</e></rdf:Description>'
        '<rdf:Description xmlns:q="urn:q2" q:a="7" dc:source="kept">',
        declared=f'xmlns:dc="{xmp.NAMESPACES["dc"]}"',
    )
    names = xmp.read(data)
    assert set(names.values()) >= {"1", "2", "3", "4", "5", "6"}
    left = xmp.merge(data, dict.fromkeys(name for name, value in names.items() if value != "kept"))
    assert xmp.read(left) == {"dc:source": "kept"}
    assert not any(f'"{number}"'.encode() in left or f">{number}<".encode() in left for number in range(1, 8))


def test_long_tag_is_read_in_no_time():
    start = time.process_time()
    assert xmp.read(packet(f'<a b="{"x" * 7_000_000}"/>')) == {"a": ""}
    assert time.process_time() - start < 2


def test_same_change_twice_is_the_same_packet():
    once = xmp.merge(FOREIGN, {SOURCE: "http://x/y", "dc:title": "Mount"})
    assert xmp.merge(once, {SOURCE: "http://x/y", "dc:title": "Mount"}) == once


def test_stranger_cannot_borrow_our_prefix():
    read = xmp.read(packet("<imggen:Recipe>{}</imggen:Recipe>", declared='xmlns:imggen="urn:evil"'))
    assert read == {"{urn:evil}Recipe": "{}"}
    again = xmp.merge(
        packet("<imggen:Recipe>{}</imggen:Recipe>", declared='xmlns:imggen="urn:evil"'), {"imggen:Recipe": "1"}
    )
    assert xmp.read(again)["imggen:Recipe"] == "1"
    assert "1" not in [value for key, value in xmp.read(again).items() if key != "imggen:Recipe"]


def test_our_properties_are_found_under_any_prefix():
    read = xmp.read(packet("<z:Recipe>{}</z:Recipe>", declared=f'xmlns:z="{xmp.NAMESPACES["imggen"]}"'))
    assert read == {"imggen:Recipe": "{}"}


def test_one_prefix_for_two_namespaces_stays_two():
    inside = '<a:one xmlns:a="urn:one">1</a:one><a:two xmlns:a="urn:two">2</a:two><ns1:x xmlns:ns1="urn:x">3</ns1:x>'
    made = ET.fromstring(xmp.merge(packet(inside), {"dc:title": "T"}).decode().partition("?>")[2].rpartition("<?")[0])
    found = {each.tag: each.text for each in made.iter() if each.text and each.tag.startswith("{urn:")}
    assert found == {"{urn:one}one": "1", "{urn:two}two": "2", "{urn:x}x": "3"}


def test_packet_in_utf_16_is_read():
    assert xmp.read(packet("<q>x</q>").decode().encode("utf-16")) == {"q": "x"}


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    ("hostile", "fault"),
    [
        (b"", "not well-formed"),
        (b"\xff\xfe\0", "not well-formed"),
        (b"<x", "not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><x/>', "not in UTF-8"),
        (b'<?xml version="1.0" encoding="cp037"?>' + packet("<a/>").decode().encode("cp037"), "not in UTF-8"),
        (b"<x/>", "no RDF"),
        (LAUGHS.encode(), "document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document type"),
        (packet("<a>" * 200 + "</a>" * 200), "nests"),
        (packet("<a>" * 90_000), "nests"),
        (packet("<a/>" * 100_001), "elements and attributes"),
        (packet("<a " + " ".join(f"a{number}=''" for number in range(100_001)) + "/>"), "elements and attributes"),
        (packet("".join(f"<a xmlns='u{number}'/>" for number in range(201))), "namespaces"),
        (b" " * (xmp.MAX_PACKET_BYTES + 1), "at most"),
    ],
    ids=range(14),
)
def test_hostile_packet_is_refused_by_reading_and_by_adding(hostile, fault):
    with pytest.raises(RequestError, match=fault):
        xmp.read(hostile)
    if hostile:
        with pytest.raises(RequestError, match=fault):
            xmp.merge(hostile, {"dc:title": "x"})


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0), st.binary(min_size=1, max_size=3)), max_size=5))
def test_damaged_packet_is_read_or_refused_and_never_more(edits):
    data = bytearray(FOREIGN)
    for at, put in edits:
        start = at % len(data)
        data[start : start + len(put)] = put
    with contextlib.suppress(RequestError):
        xmp.read(bytes(data))
        assert xmp.read(xmp.merge(bytes(data), {SOURCE: "y"}))[SOURCE] == "y"


REFERENCE = {"stRef:documentID": "urn:uuid:1", "imggen:sha256": "ab", SOURCE: "http://x/y"}
EVENT = {"stEvt:action": "resized", "stEvt:when": "2026-11-21T12:00:00Z", "stEvt:parameters": "<&> \U0001f34e"}


def test_structures_come_back_as_they_went():
    values = {
        "xmpMM:DerivedFrom": REFERENCE,
        "xmpMM:Ingredients": (REFERENCE, {"imggen:sha256": "cd"}),
        "xmpMM:History": (EVENT, EVENT),
    }
    made = xmp.merge(None, values)
    assert b"ns0" not in made
    assert xmp.read(made) == values
    assert xmp.read(xmp.merge(made, {"xmpMM:Ingredients": None, "xmpMM:DerivedFrom": {"imggen:sha256": "ef"}})) == {
        "xmpMM:DerivedFrom": {"imggen:sha256": "ef"},
        "xmpMM:History": (EVENT, EVENT),
    }


@pytest.mark.parametrize(
    "inside",
    [
        '<xmpMM:DerivedFrom rdf:parseType="Resource"><stRef:documentID>1</stRef:documentID></xmpMM:DerivedFrom>',
        '<xmpMM:DerivedFrom stRef:documentID="1"/>',
        '<xmpMM:DerivedFrom><rdf:Description stRef:documentID="1"/></xmpMM:DerivedFrom>',
        "<xmpMM:DerivedFrom><rdf:Description><stRef:documentID>1</stRef:documentID></rdf:Description></xmpMM:DerivedFrom>",
    ],
)
def test_structure_is_read_in_every_way_that_it_is_written(inside):
    declared = " ".join(f'xmlns:{name}="{xmp.NAMESPACES[name]}"' for name in ("xmpMM", "stRef"))
    assert xmp.read(packet(inside, declared=declared)) == {"xmpMM:DerivedFrom": {"stRef:documentID": "1"}}
    listed = inside.replace("xmpMM:DerivedFrom", "rdf:li")
    listed = f"<xmpMM:Ingredients><rdf:Bag>{listed}</rdf:Bag></xmpMM:Ingredients>"
    assert xmp.read(packet(listed, declared=declared)) == {"xmpMM:Ingredients": ({"stRef:documentID": "1"},)}


def test_item_goes_behind_a_strangers_and_not_a_field_of_theirs_changes():
    theirs = (
        "<xmpMM:History><rdf:Seq><rdf:li stEvt:action='saved' q:own='1'><q:deep><rdf:Bag><rdf:li>x</rdf:li></rdf:Bag>"
        "</q:deep></rdf:li></rdf:Seq></xmpMM:History>"
    )
    declared = " ".join(f'xmlns:{name}="{xmp.NAMESPACES[name]}"' for name in ("xmpMM", "stEvt")) + ' xmlns:q="urn:q"'
    made = xmp.merge(packet(theirs, declared=declared), {"dc:title": "T"}, added={"xmpMM:History": EVENT})
    assert xmp.read(made)["xmpMM:History"] == ({"stEvt:action": "saved", "q:own": "1"}, EVENT)
    assert b"<q:deep><rdf:Bag><rdf:li>x</rdf:li></rdf:Bag></q:deep>" in made
    twice = xmp.read(xmp.merge(made, {}, added={"xmpMM:History": EVENT}))
    assert len(twice["xmpMM:History"]) == 3


@pytest.mark.parametrize(
    "old",
    [
        None,
        FOREIGN,
        packet("<xmpMM:History>odd</xmpMM:History>", declared='xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"'),
    ],
)
def test_item_makes_the_list_where_there_is_none(old):
    made = xmp.merge(old, {}, added={"xmpMM:History": EVENT})
    assert xmp.read(made)["xmpMM:History"] == (EVENT,)
