"""What a file is, told by its first bytes, and what it is called where imggen does not read it."""

import pytest

from imggen.errors import RequestError
from imggen.inputs import kinds

BRAND = b"\0\0\0\x20ftyp"


@pytest.mark.parametrize(("data", "kind"), [
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF\0\0\0\nWEBP", "WEBP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"MM\0+", "TIFF"),
    (BRAND + b"avif", "AVIF"),
    (BRAND + b"avis", "AVIF"),
    (BRAND + b"mif1" + bytes(4) + b"avif", "AVIF"),
    (BRAND + b"abcd" * 12 + b"avif", "AVIF"),
    (b"P1 2 2", "PPM"),
    (b"P6\n# a note", "PPM"),
    (b"Pf 2 2", "PPM"),
    (b"\xef\xbb\xbfP3 2 2", "PPM"),
])  # fmt: skip
def test_formats_that_are_read_are_known_by_their_first_bytes(data, kind):
    assert kinds.find(data, "a.png") == kind
    assert kind in kinds.NAMES


@pytest.mark.parametrize(("data", "what"), [
    (BRAND + b"heic", "a HEIC picture"),
    (BRAND + b"hevc", "a HEIC picture"),
    (BRAND + b"mif1" + bytes(4) + b"heic", "a HEIC picture"),
    (BRAND + b"msf1", "a HEIC picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"8BPS\0\1", "a Photoshop file"),
    (b"\0\0\1\0", "an icon"),
    (b"\0\0\2\0", "an icon"),
    (b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (b"qoif", "a QOI picture"),
    (b"<svg>", "an SVG drawing"),
    (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
    (b"\xef\xbb\xbf <!-- one --> <!-- two -->\n<SVG>", "an SVG drawing"),
    (b"<!DOCTYPE svg PUBLIC '-//W3C' [ <!ENTITY a '>'> ]>\n<svg>", "an SVG drawing"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF-1.7\n", "a PDF"),
])  # fmt: skip
def test_pictures_of_other_kinds_are_named_with_a_way_out(data, what):
    with pytest.raises(RequestError) as caught:
        kinds.find(data, "my pic.png")
    assert caught.value.message == f"my pic.png is {what}, which imggen does not read"
    assert caught.value.hint == "convert it first: magick 'my pic.png' picture.png"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"hello world\n", "text"),
        ("déjà vu ".encode() * 600, "text"),
        # What is looked at ends in the middle of a letter.
        (b"a" * 4095 + "é".encode(), "text"),
        (b"\t\n\x0b\x0c\r\x1b text", "text"),
        (b"text\x00", "of an unknown kind"),
        (b"text\x1a", "of an unknown kind"),
        (b"caf\xe9 au lait", "of an unknown kind"),
        (b"a" * 4096 + b"\0", "text"),
        (bytes(range(256)), "of an unknown kind"),
        (b"<svgs>", "text"),
        (BRAND + b"abcd" * 13 + b"avif", "a film"),
        (b"P7 2 2", "text"),
        (b"P6 x", "text"),
        (b"\n <!DOCTYPE html><html>", "an HTML page"),
        (b"<body>", "an HTML page"),
        (b"<?xml version='1.0'?><!DOCTYPE html><html><body><svg width='9'>", "an HTML page"),
        # These once took seconds: every end of a part was looked for from every beginning of the one before.
        (b"<?xml" + b"<!--" * 300 + b"-->" * 300 + b"<!DOCTYPE svg" * 150, "text"),
        (b"<?xml?><!--" + b"--><!--" * 300 + b"<!DOCTYPE svg" * 150, "text"),
        (b"<!DOCTYPE svg [" + b"]  " * 1300, "text"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "a Git LFS pointer, which stands for a file that was not fetched",
        ),
        (b"PK\x03\x04" + b"\0" * 40, "a zip archive"),
        (b"PK\x05\x06", "a zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (BRAND + b"isom", "a film"),
        (b"\x1a\x45\xdf\xa3", "a film"),
        (b"RIFF\0\0\0\0AVI ", "a film"),
    ],
)
def test_what_is_no_picture_is_called_what_it_seems(data, what):
    with pytest.raises(RequestError) as caught:
        kinds.find(data, "a.png")
    assert caught.value.message == f"a.png is {what}, not a picture"
    assert caught.value.hint == "imggen reads PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF and PPM files"


def test_standard_input_is_called_so():
    assert (kinds.shown("-"), kinds.shown("a.png")) == ("standard input", "a.png")
    with pytest.raises(RequestError, match=r"^standard input is text, not a picture"):
        kinds.find(b"hello", "-")
