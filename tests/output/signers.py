"""Pictures to sign and identities to sign them as; every key is made anew, none is stored."""

import io
import secrets
import zlib
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imggen.output.provenance import certificates
from imggen.output.provenance.keys import Identity
from imggen.output.provenance.signing import Parent, Statement

FORMATS = ("png", "jpeg", "webp", "avif", "tiff")
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHETIC = SOURCE + "trainedAlgorithmicMedia"
COMPOSITE = SOURCE + "compositeWithTrainedAlgorithmicMedia"


@cache
def picture(file_format: str, colour: int = 40) -> bytes:
    """Return a file of 48x32 pixels that are not all the same."""
    made = io.BytesIO()
    image = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
    image.paste((colour, 90, 200), (10, 10, 20, 20))
    text = PngInfo()
    text.add_text("parameters", "a red apple\nSteps: 4")
    options = {"pnginfo": text} if file_format == "png" else {}
    image.save(made, file_format.upper(), **options)
    return made.getvalue()


def identity(
    organisation: str = "Example Ltd", *, begins: datetime | None = None, ends: datetime | None = None, **changes
) -> tuple[Identity, bytes]:
    """Return an identity and its root (PEM), with a certificate that holds when the test wants it to."""
    now = datetime.now(UTC)
    span = begins or now - timedelta(days=1), ends or now + timedelta(days=400)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificates._root(organisation, root_key, span)
    leaf = certificates._leaf(organisation, key.public_key(), root_key, root, span)
    chain = certificates._pem(leaf) + certificates._pem(root)
    values = {
        "organisation": organisation,
        "chain_pem": chain,
        "key_pem": private_pem(key),
        "watermark_key": secrets.token_bytes(32),
    }
    return Identity(**(values | changes)), certificates._pem(root)


def private_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def statement(**changes) -> Statement:
    values = {
        "title": "apple.png",
        "source_type": SYNTHETIC,
        "model": "org/model",
        "model_version": "0123abcd",
        "version": "1.2.3",
        "when": datetime(2026, 11, 26, 12, 0, tzinfo=UTC),
    }
    return Statement(**(values | changes))


def edit(*parents: Parent, **changes) -> Statement:
    """Return what is said of a picture that was made from others."""
    return statement(**({"action": "edited", "source_type": COMPOSITE, "parents": parents} | changes))


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


def with_chunk(png: bytes) -> bytes:
    """Return the PNG with one more text chunk before its end, as an innocent editor would write it."""
    body = b"tEXt" + b"Comment\0harmless"
    chunk = (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    return png[:-12] + chunk + png[-12:]
