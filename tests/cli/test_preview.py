import base64
import io
import re
from io import BytesIO

import pytest
from PIL import Image

from imggen.cli import preview


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def picture(width=4, height=4):
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 0, 255), (0, height // 2, width, height))
    return image


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({}, "blocks"),
        ({"TERM": "screen", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, "blocks"),
    ],
)
def test_the_protocol_is_what_the_terminal_says_of_itself(environ, expected):
    assert preview.protocol(environ) == expected


def test_kitty_gets_the_picture_as_png_in_chunks():
    noise = Image.effect_noise((128, 128), 100)
    text = "".join(preview.render(noise, "kitty", 80))
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert len(chunks) > 1
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [control.rpartition("m=")[2] for control, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    data = base64.b64decode("".join(data for _, data in chunks))
    assert list(Image.open(BytesIO(data)).tobytes()) == list(noise.tobytes())


def test_iterm2_gets_the_picture_as_png():
    (text,) = preview.render(picture(), "iterm2", 80)
    data = re.fullmatch(r"\x1b\]1337;File=inline=1;size=\d+:(.*)\a\n", text)[1]
    assert Image.open(BytesIO(base64.b64decode(data))).size == (4, 4)


def test_other_terminals_get_two_pixels_per_character():
    lines = list(preview.render(picture(40, 40), "blocks", 40))
    assert len(lines) == 20
    assert lines[0].startswith("\x1b[38;2;255;0;0;48;2;255;0;0m▀")
    assert lines[-1].startswith("\x1b[38;2;0;0;255;48;2;0;0;255m▀")
    assert all(line.endswith("\x1b[0m\n") for line in lines)
    assert all(line.count("▀") == 40 for line in lines)


@pytest.mark.parametrize("size", [(1, 1000), (1000, 1), (3, 3), (512, 768)])
def test_any_shape_fits_the_terminal(size):
    lines = list(preview.render(Image.new("L", size), "blocks", 30))
    assert 1 <= len(lines) <= 24
    assert all(1 <= line.count("▀") <= 30 for line in lines)


def test_a_preview_goes_to_the_stream():
    terminal = Terminal()
    preview.show(picture(), {}, stream=terminal)
    assert "▀" in terminal.getvalue()


def test_what_is_no_terminal_shows_nothing():
    assert preview.refusal(io.StringIO(), {}) == "standard error is no terminal"
    assert "dumb" in preview.refusal(Terminal(), {"TERM": "dumb"})
    plain = Terminal()
    plain.encoding = "ascii"
    assert "ascii" in preview.refusal(plain, {})
    assert preview.refusal(Terminal(), {"TERM": "xterm"}) is None


def test_a_picture_is_read_from_a_file_or_from_bytes(tmp_path):
    buffer = BytesIO()
    picture().save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    assert preview.read(tmp_path / "a.png").size == preview.read(buffer.getvalue()).size == (4, 4)
