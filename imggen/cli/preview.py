"""Pictures in the terminal: real ones where it has a protocol for them, half blocks of colour elsewhere."""

import base64
import shutil
import sys
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO

if TYPE_CHECKING:
    from PIL.Image import Image

Protocol = Literal["kitty", "iterm2", "blocks"]

_CHUNK: Final = 4096
_MOST_COLUMNS: Final = 60
_MOST_ROWS: Final = 24
_KITTY_PROGRAMS: Final = ("ghostty",)
_ITERM2_PROGRAMS: Final = ("iTerm.app", "WezTerm", "mintty", "vscode")
_MULTIPLEXERS: Final = ("screen", "tmux")


def refusal(stream: TextIO, environ: Mapping[str, str]) -> str | None:
    """Return why nothing can be shown on `stream`, None where something can."""
    if not stream.isatty():
        return "standard error is no terminal"
    if environ.get("TERM", "") == "dumb":
        return "the terminal is a dumb one"
    if not (stream.encoding or "").lower().replace("-", "").startswith("utf8"):
        return f"the terminal writes {stream.encoding}, which has no half blocks"
    return None


def protocol(environ: Mapping[str, str]) -> Protocol:
    """Return how the terminal that `environ` describes shows pictures."""
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    # A multiplexer passes on neither protocol without being told to, whatever terminal it runs in.
    if term.startswith(_MULTIPLEXERS) or environ.get("TMUX"):
        return "blocks"
    if "kitty" in term or environ.get("KITTY_WINDOW_ID") or program in _KITTY_PROGRAMS:
        return "kitty"
    return "iterm2" if program in _ITERM2_PROGRAMS else "blocks"


def read(source: "bytes | Path") -> "Image":
    """Return the picture in a file that imggen just wrote, or in its bytes."""
    from PIL import Image

    with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
        image.load()
        return image


def show(image: "Image", environ: Mapping[str, str], *, stream: TextIO | None = None) -> None:
    """Show `image` on standard error, which must be a terminal (see `refusal`)."""
    target = stream or sys.stderr
    for part in render(image, protocol(environ), shutil.get_terminal_size().columns):
        target.write(part)
    target.flush()


def render(image: "Image", how: Protocol, columns: int) -> Iterator[str]:
    """Yield the text that shows `image` in a terminal of `columns` columns."""
    if how == "blocks":
        yield from _blocks(image, columns)
        return
    data = base64.standard_b64encode(_png(image)).decode("ascii")
    if how == "iterm2":
        yield f"\x1b]1337;File=inline=1;size={len(data)}:{data}\a\n"
        return
    yield from _kitty(data)
    yield "\n"


def _png(image: "Image") -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _kitty(data: str) -> Iterator[str]:
    """Yield the graphics commands; https://sw.kovidgoyal.net/kitty/graphics-protocol, "remote client"."""
    for start in range(0, len(data), _CHUNK):
        more = int(start + _CHUNK < len(data))
        control = f"a=T,f=100,q=2,m={more}" if start == 0 else f"m={more}"
        yield f"\x1b_G{control};{data[start : start + _CHUNK]}\x1b\\"


def _blocks(image: "Image", columns: int) -> Iterator[str]:
    """Yield lines in which each character shows two pixels, one above the other."""
    width, height = _fit(image.size, columns)
    pixels = image.convert("RGB").resize((width, height)).tobytes()
    stride = 3 * width
    for row in range(0, height, 2):
        upper = pixels[row * stride : (row + 1) * stride]
        lower = pixels[(row + 1) * stride : (row + 2) * stride]
        yield "".join(_cell(upper[at : at + 3], lower[at : at + 3]) for at in range(0, stride, 3)) + "\x1b[0m\n"


def _cell(upper: bytes, lower: bytes) -> str:
    above, below = (";".join(map(str, colour)) for colour in (upper, lower))
    return f"\x1b[38;2;{above};48;2;{below}m▀"


def _fit(size: tuple[int, int], columns: int) -> tuple[int, int]:
    """Return width and height in half blocks, the height even."""
    width, height = size
    scale = min(min(columns, _MOST_COLUMNS) / width, 2 * _MOST_ROWS / height)
    return max(1, int(width * scale)), max(2, int(height * scale) // 2 * 2)
