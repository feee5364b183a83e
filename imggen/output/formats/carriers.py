"""What a picture's file carries beside its pixels, and what can be changed there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from imggen.errors import RequestError
from imggen.plan.schema.formats import ImageFormat

Droppable = Literal["comments", "captions", "manifest"]

MAX_FILE_BYTES = 1 << 29
MAX_PIXELS = 1 << 30
MAX_TEXT_BYTES = 16 << 20
MAX_PARTS = 100_000


@dataclass(frozen=True, kw_only=True)
class Carriers:
    """The metadata blocks of one file, undecoded.

    `exif` is the TIFF block, without any `Exif` prefix; `xmp` is the packet; `texts` are a PNG's text chunks in file
    order, decoded; `comments` are a JPEG's COM segments. `captions` says that a JPEG has IPTC-IIM captions in its APP13
    segment, the form before XMP, which are not read.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    texts: tuple[tuple[str, str], ...] = ()
    comments: tuple[bytes, ...] = ()
    captions: bool = False

    def text(self, keyword: str) -> str | None:
        """Return the text of the first chunk with that keyword."""
        return next((text for key, text in self.texts if key == keyword), None)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a file's structure says, read without decoding a pixel.

    `image_sha256` is over the parts that decode to pixels and nothing else, so it outlives every change of metadata
    and no change of the picture. `signed` means that there is a C2PA manifest, which binds the file's bytes.
    `notes` say what is odd but did not stand in the way.
    """

    format: ImageFormat
    width: int
    height: int
    animated: bool
    image_sha256: str
    carriers: Carriers
    signed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What to put into a file. None leaves what is there, an empty block takes it out.

    Of texts, only the keywords named are replaced; one that is None goes away. `dropped` goes away whole: a JPEG's
    comments, captions in the form before XMP, the C2PA manifest.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    texts: Mapping[str, str | None] = field(default_factory=dict)
    dropped: frozenset[Droppable] = frozenset()


def decoded(raw: bytes) -> str:
    """Return the text of bytes that are UTF-8, or else Latin-1, which hardly ever is valid UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def check_text(carriers: Carriers) -> None:
    """Raise RequestError where the blocks take more bytes than are read; a PNG's texts are bounded as they are read."""
    size_bytes = sum(len(block) for block in (carriers.exif, carriers.xmp, *carriers.comments) if block)
    if size_bytes > MAX_TEXT_BYTES:
        raise RequestError(f"the metadata has {size_bytes:,} bytes; at most {MAX_TEXT_BYTES:,} are read")


def check_size(width: int, height: int) -> None:
    """Raise RequestError where no honest file has these dimensions."""
    if width < 1 or height < 1:
        raise RequestError(f"the header says {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise RequestError(f"the header says {width}x{height} pixels; at most {MAX_PIXELS:,} in all are accepted")
