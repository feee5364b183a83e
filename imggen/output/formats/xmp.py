"""XMP packets (ISO 16684-1): read strangers' without harm, add properties, keep everything else."""

import io
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from imggen.errors import RequestError

Struct = Mapping[str, str]
Value = str | Struct | tuple[str | Struct, ...]

MAX_PACKET_BYTES = 8 << 20
MAX_DEPTH = 100
MAX_PARTS = 100_000
MAX_NAMESPACES = 200

NAMESPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "GContainer": "http://ns.google.com/photos/1.0/container/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "imggen": "https://imggen.dev/ns/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "sdcpp": "https://github.com/leejet/stable-diffusion.cpp/ns/1.0/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
    "stRef": "http://ns.adobe.com/xap/1.0/sType/ResourceRef#",
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "xmpRights": "http://ns.adobe.com/xap/1.0/rights/",
}
CONTAINERS = {
    "dc:creator": "Seq",
    "dc:description": "Alt",
    "dc:rights": "Alt",
    "dc:subject": "Bag",
    "dc:title": "Alt",
    "Iptc4xmpCore:AltTextAccessibility": "Alt",
    "xmpMM:History": "Seq",
    "xmpMM:Ingredients": "Bag",
    "xmpRights:UsageTerms": "Alt",
}
STRUCTURES = frozenset(("xmpMM:DerivedFrom", "xmpMM:History", "xmpMM:Ingredients"))

_PREFIX_OF = {uri: prefix for prefix, uri in NAMESPACES.items()}
_XML = "http://www.w3.org/XML/1998/namespace"
_LANG = f"{{{_XML}}}lang"
_OF_RDF = (f"{{{NAMESPACES['rdf']}}}", f"{{{_XML}}}")
_LISTS = tuple(f"{{{NAMESPACES['rdf']}}}{kind}" for kind in ("Seq", "Bag"))
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_UNMAPPABLE = re.compile("[\ud800-\udfff\ufffe\uffff]")
# In the other encodings that the parser knows, the marks of a tag may be other bytes.
_ENCODING = re.compile(rb"<\?xml\b[^>]*?\sencoding\s*=\s*[\"']([^\"'>]{0,40})")
_ENCODINGS = (b"UTF-8", b"UTF-16", b"US-ASCII", b"ISO-8859-1")
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_BLANK = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_END = '\n<?xpacket end="w"?>'


def read(packet: bytes) -> dict[str, Value]:
    """Return the packet's simple properties and lists as `prefix:name`; RequestError where it is not safe, sound XMP.

    Prefixes are the usual ones of known namespaces, whatever the packet calls them; a stranger that takes one of
    those prefixes for a namespace of its own is listed by the namespace. Of texts in several languages, the default.
    Of structures, those of STRUCTURES, with the fields that are simple texts.
    """
    root, prefixes = _parse(packet)
    properties: dict[str, Value] = {}
    for description in _descriptions(_rdf(root)):
        for key, value in description.attrib.items():
            if not key.startswith(_OF_RDF):
                properties.setdefault(_name(key, prefixes), value)
        for child in description:
            name = _name(child.tag, prefixes)
            read_value = _structured(child, prefixes) if name in STRUCTURES else _value(child)
            if read_value is not None:
                properties.setdefault(name, read_value)
    return properties


def merge(
    packet: bytes | None, values: Mapping[str, Value | None], *, added: Mapping[str, Struct] = MappingProxyType({})
) -> bytes:
    """Return the packet with the properties set, None taking one away, and all others as they were.

    What `read` names can be removed, in any namespace; what is set is in one of NAMESPACES.
    `added` are put behind what a list of structures holds already, of which not a field changes. Text that XML cannot
    carry is dropped (control characters) or replaced by U+FFFD (half a surrogate pair). Raises RequestError where the
    packet is not XMP that can be read, so that nothing can be added to it safely.
    """
    root, prefixes = _parse(packet or _BLANK)
    rdf = _rdf(root)
    if not list(_descriptions(rdf)):
        ET.SubElement(rdf, _tag("rdf:Description"), {_tag("rdf:about"): ""})
    for name, value in values.items():
        translations = [taken for tag in _tags(name, prefixes) for taken in _take(rdf, tag)]
        if value is not None:
            next(_descriptions(rdf)).append(_element(name, value, translations))
    for name, item in added.items():
        _append(rdf, name, item)
    return (_BEGIN + ET.tostring(_prefixed(root, prefixes), encoding="unicode") + _END).encode()


def clean(text: str) -> str:
    """Return the text as far as XML 1.0 can carry it, with line feeds for line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _UNMAPPABLE.sub("\ufffd", _FORBIDDEN.sub("", text))


def _parse(packet: bytes) -> tuple[ET.Element, dict[str, str]]:
    if len(packet) > MAX_PACKET_BYTES:
        raise RequestError(f"the XMP has {len(packet):,} bytes; at most {MAX_PACKET_BYTES:,} are read")
    try:
        # Padding may be zeros, which in UTF-16 are halves of letters.
        return _build(packet if packet.startswith(_WIDE) else packet.strip(b"\0 \t\r\n"))
    except DefusedXmlException as error:
        raise RequestError("the XMP has a document type or entities, which are not allowed") from error
    except (ET.ParseError, ValueError, LookupError) as error:
        raise RequestError(f"the XMP is not well-formed: {error}") from error


def _build(packet: bytes) -> tuple[ET.Element, dict[str, str]]:
    """Return the packet's root and its namespaces' prefixes, within the limits on size and depth."""
    # A tag is built whole before it is told of, so its parts are counted by their marks before that.
    _check_parts(packet.count(b"<") + packet.count(b"="), 0)
    if (declared := _ENCODING.match(packet)) and declared[1].upper() not in _ENCODINGS:
        raise RequestError(f"the XMP is in {declared[1].decode('latin-1')!r}, not in UTF-8 or UTF-16")
    prefixes: dict[str, str] = {}
    depth = parts = 0
    events = iterparse(_Whole(packet), events=("start-ns", "start", "end"), forbid_dtd=True)
    for event, value in events:
        if event == "start-ns":
            prefixes.setdefault(value[1], value[0])
        elif event == "start":
            depth += 1
            parts += 1 + len(value.attrib)
        else:
            depth -= 1
        if depth > MAX_DEPTH:
            raise RequestError(f"the XMP nests elements more than {MAX_DEPTH} deep")
        _check_parts(parts, len(prefixes))
    return events.root, prefixes


class _Whole(io.BytesIO):
    """A packet that is read at once: the parser starts a tag over with each piece of it, however long it is by then."""

    def read(self, _size: int | None = -1, /) -> bytes:
        return super().read()


def _check_parts(parts: int, namespaces: int) -> None:
    if parts > MAX_PARTS:
        raise RequestError(f"the XMP has more than {MAX_PARTS:,} elements and attributes")
    if namespaces > MAX_NAMESPACES:
        raise RequestError(f"the XMP has more than {MAX_NAMESPACES:,} namespaces")


def _rdf(root: ET.Element) -> ET.Element:
    rdf = next(root.iter(_tag("rdf:RDF")), None)
    if rdf is None:
        raise RequestError("the XMP holds no RDF")
    return rdf


def _descriptions(rdf: ET.Element) -> Iterator[ET.Element]:
    return iter(rdf.findall(_tag("rdf:Description")))


def _value(element: ET.Element) -> Value | None:
    """Return a property's text or list, the default one of several languages; None for other structures."""
    resource = element.get(_tag("rdf:resource"))
    if resource is not None:
        return resource
    if not len(element):
        return element.text or ""
    container = element[0]
    if container.tag == _tag("rdf:Alt"):
        items = container.findall(_tag("rdf:li"))
        default = next((item for item in items if item.get(_LANG) == "x-default"), items[0] if items else None)
        return None if default is None else default.text or ""
    if container.tag in _LISTS:
        return tuple(item.text or "" for item in container.findall(_tag("rdf:li")))
    return None


def _structured(element: ET.Element, prefixes: Mapping[str, str]) -> Value | None:
    items = element.findall("*/" + _tag("rdf:li"))
    if items:
        return tuple(_struct(item, prefixes) for item in items)
    return _struct(element, prefixes) or None


def _struct(element: ET.Element, prefixes: Mapping[str, str]) -> dict[str, str]:
    """Return the fields, which stand in the element itself or in a description within, as attributes or as elements."""
    values: dict[str, str] = {}
    for holder in (element, *element.findall(_tag("rdf:Description"))):
        fields = [(key, value) for key, value in holder.attrib.items() if not key.startswith(_OF_RDF)]
        leaves = (child for child in holder if not len(child) and not child.tag.startswith(_OF_RDF))
        fields += [(leaf.tag, leaf.text or "") for leaf in leaves]
        values |= {_name(key, prefixes): value for key, value in fields}
    return values


def _take(rdf: ET.Element, tag: str) -> list[ET.Element]:
    translations: list[ET.Element] = []
    for description in _descriptions(rdf):
        description.attrib.pop(tag, None)
        # Not by `findall`, which reads a path: a stranger's namespace may hold what means something there.
        for child in [child for child in description if child.tag == tag]:
            items = child.findall(f"{_tag('rdf:Alt')}/{_tag('rdf:li')}")
            translations += [item for item in items if item.get(_LANG) not in (None, "x-default")]
            description.remove(child)
    return translations


def _append(rdf: ET.Element, name: str, item: Struct) -> None:
    lists = (description.find(_tag(name) + "/*") for description in _descriptions(rdf))
    held = next((container for container in lists if container is not None and container.tag in _LISTS), None)
    if held is not None:
        _fill(ET.SubElement(held, _tag("rdf:li")), item)
        return
    _take(rdf, _tag(name))
    next(_descriptions(rdf)).append(_element(name, (item,), []))


def _element(name: str, value: Value, translations: list[ET.Element]) -> ET.Element:
    """Return a property's element in the container that its name asks for."""
    element = ET.Element(_tag(name))
    kind = CONTAINERS.get(name)
    if kind is None:
        _fill(element, value if isinstance(value, str | Mapping) else ", ".join(str(item) for item in value))
        return element
    container = ET.SubElement(element, _tag(f"rdf:{kind}"))
    for part in (value,) if isinstance(value, str | Mapping) else value:
        item = ET.SubElement(container, _tag("rdf:li"), {_LANG: "x-default"} if kind == "Alt" else {})
        _fill(item, part)
    if kind == "Alt":
        container.extend(translations)
    return element


def _fill(element: ET.Element, value: str | Struct) -> None:
    if isinstance(value, str):
        element.text = clean(value)
        return
    element.set(_tag("rdf:parseType"), "Resource")
    for name, text in value.items():
        ET.SubElement(element, _tag(name)).text = clean(text)


def _tag(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"


def _tags(name: str, prefixes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the tags that `read` calls by that name: several where the packet has one prefix for many namespaces."""
    prefix, colon, local = name.partition(":")
    if name.startswith("{") or not colon:
        return (name,)
    if prefix in NAMESPACES:
        return (_tag(name),)
    return tuple(f"{{{uri}}}{local}" for uri, used in prefixes.items() if used == prefix)


def _name(tag: str, prefixes: Mapping[str, str]) -> str:
    uri, closed, local = tag.removeprefix("{").rpartition("}")
    if not closed:
        return tag
    prefix = _PREFIX_OF.get(uri) or prefixes.get(uri)
    if not prefix or (prefix in NAMESPACES and NAMESPACES[prefix] != uri):
        return tag
    return f"{prefix}:{local}"


def _prefixed(root: ET.Element, prefixes: Mapping[str, str]) -> ET.Element:
    # ElementTree invents prefixes (ns0) unless told so for the whole process; readers that match text need the usual.
    chosen: dict[str, str] = {}
    copied = _copied(root, prefixes, chosen)
    for uri, prefix in chosen.items():
        copied.set(f"xmlns:{prefix}", uri)
    return copied


def _copied(element: ET.Element, prefixes: Mapping[str, str], chosen: dict[str, str]) -> ET.Element:
    attributes = {_qualified(key, prefixes, chosen): value for key, value in element.attrib.items()}
    copied = ET.Element(_qualified(element.tag, prefixes, chosen), attributes)
    copied.text, copied.tail = element.text, element.tail
    copied.extend(_copied(child, prefixes, chosen) for child in element)
    return copied


def _qualified(tag: str, prefixes: Mapping[str, str], chosen: dict[str, str]) -> str:
    """Return a tag as `prefix:name`, and add its namespace to `chosen`."""
    uri, closed, local = tag.removeprefix("{").rpartition("}")
    if not closed:
        return tag
    if uri == _XML:
        return f"xml:{local}"
    if uri not in chosen:
        usual = _PREFIX_OF.get(uri) or prefixes.get(uri) or ""
        foreign = usual in NAMESPACES and NAMESPACES[usual] != uri
        invented = (f"ns{number}" for number in itertools.count(1))
        offered = itertools.chain([] if foreign or not usual else [usual], invented)
        chosen[uri] = next(prefix for prefix in offered if prefix not in chosen.values())
    return f"{chosen[uri]}:{local}"
