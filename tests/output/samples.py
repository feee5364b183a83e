"""Picture files of every kind, made by Pillow, and the means to take them apart."""

import io
import struct
import zlib
from functools import cache

from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import ImageFileDirectory_v2

FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF", "tiff": "TIFF"}


def picture(mode: str = "RGB", size: tuple[int, int] = (24, 18)) -> Image.Image:
    """A gradient with a shape on it, half transparent where the mode can be."""
    image = Image.linear_gradient("L").resize(size).convert("RGBA")
    draw = ImageDraw.Draw(image)
    draw.ellipse((4, 4, 15, 15), fill=(200, 30, 40, 128))
    return image.convert(mode)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, FORMATS[file_format], **options)
    return buffer.getvalue()


def _frames(mode: str) -> list[Image.Image]:
    return [picture(mode).rotate(angle) for angle in (90, 180)]


@cache
def samples() -> dict[str, bytes]:
    """Every kind of file that is in use, by name; the name begins with the format."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0131] = 6, "Camera 1.0"
    return {
        "png": saved(picture(), "png"),
        "png alpha": saved(picture("RGBA"), "png"),
        "png palette": saved(picture("P"), "png"),
        "png animated": saved(picture("RGBA"), "png", save_all=True, append_images=_frames("RGBA"), duration=50),
        "jpeg": saved(picture(), "jpeg"),
        "jpeg progressive": saved(picture(), "jpeg", progressive=True),
        "jpeg grey": saved(picture("L"), "jpeg"),
        "jpeg cmyk": saved(picture("RGB").convert("CMYK"), "jpeg"),
        "jpeg camera": saved(picture(), "jpeg", exif=exif, icc_profile=b"profile" * 20, comment=b"hello"),
        "webp": saved(picture(), "webp"),
        "webp lossless": saved(picture(), "webp", lossless=True),
        "webp lossless alpha": saved(picture("RGBA"), "webp", lossless=True),
        "webp lossy alpha": saved(picture("RGBA"), "webp"),
        "webp animated": saved(picture("RGBA"), "webp", save_all=True, append_images=_frames("RGBA"), duration=50),
        "webp profile": saved(picture(), "webp", icc_profile=b"profile" * 20, exif=exif),
        "avif": saved(picture(), "avif"),
        "avif alpha": saved(picture("RGBA"), "avif"),
        "avif animated": saved(picture("RGBA"), "avif", save_all=True, append_images=_frames("RGBA"), duration=50),
        "avif camera": saved(picture(), "avif", icc_profile=b"profile" * 20, exif=exif, xmp=FOREIGN),
        "tiff": saved(picture(), "tiff"),
        "tiff alpha": saved(picture("RGBA"), "tiff", compression="tiff_lzw"),
        "tiff deflate": saved(picture(), "tiff", compression="tiff_adobe_deflate", tiffinfo={317: 2}),
        "tiff bits": saved(picture("1"), "tiff", compression="group4"),
        "tiff palette": saved(picture("P"), "tiff"),
        "tiff cmyk": saved(picture("RGB").convert("CMYK"), "tiff", compression="packbits"),
        "tiff big endian": saved(picture(), "tiff", tiffinfo=ImageFileDirectory_v2(prefix=b"MM")),
        "tiff jpeg": saved(picture(), "tiff", compression="jpeg"),
        "tiff pages": saved(picture(), "tiff", save_all=True, append_images=_frames("L")).removesuffix(bytes(6)),
        "tiff camera": saved(picture(), "tiff", exif=exif, dpi=(300, 300), icc_profile=b"profile" * 20),
    }


def pixels(data: bytes) -> list[tuple[str, tuple[int, int], bytes]]:
    """Return every frame as Pillow decodes it."""
    with Image.open(io.BytesIO(data)) as image:
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append((image.mode, image.size, image.tobytes()))
        return frames


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks.append((name, data[at + 8 : at + 8 + length]))
        at += length + 12
    return chunks


def png_chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def with_chunk(data: bytes, name: bytes, payload: bytes, *, at: int = 33) -> bytes:
    """Return a PNG with one more chunk, behind its header unless `at` says where."""
    return data[:at] + png_chunk(name, payload) + data[at:]


def with_segment(data: bytes, marker: int, payload: bytes) -> bytes:
    """Return a JPEG with one more segment at its front."""
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload + data[2:]


def webp_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 12
    while at < len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        chunks.append((name, data[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)
    return chunks


def webp(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) & 1) for name, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def camera(order: str = "MM", **more: object) -> bytes:
    """A camera's block, by Pillow: directories, GPS, and a maker's note whose place must not change."""
    made = Image.Exif()
    made.endian = ">" if order == "MM" else "<"
    made[0x010F], made[0x0110], made[0x0112], made[0x0131] = "Maker", "Model 1", 6, "Firmware 1.0"
    directory = made.get_ifd(0x8769)
    directory[0x9003] = "2026:11:21 12:00:00"
    directory[0x927C] = b"note" * 30
    directory.update(more)
    made.get_ifd(0x8825)[1] = "N"
    return made.tobytes().removeprefix(b"Exif\0\0")


def pillow(block: bytes) -> Image.Exif:
    read = Image.Exif()
    read.load(b"Exif\0\0" + block)
    return read


FOREIGN = (
    b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Other 1.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    crs:Exposure="+0.50" xmp:CreatorTool="Camera 1.0">
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Hill</rdf:li>
     <rdf:li xml:lang="de">H\xc3\xbcgel</rdf:li></rdf:Alt></dc:title>
   <dc:subject><rdf:Bag><rdf:li>hill</rdf:li><rdf:li>sky</rdf:li></rdf:Bag></dc:subject>
   <crs:Look><rdf:Description crs:Name="Vivid"><crs:Group>A &amp; B</crs:Group></rdf:Description></crs:Look>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:q="urn:private:thing" q:key="value"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
    + b" " * 200
    + b"\0"
)
