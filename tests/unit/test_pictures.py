"""Pictures of README.md and the guide, as far as they are made without a browser."""

from __future__ import annotations

import struct
import zlib

from hypothesis import given
from hypothesis import strategies as st

from tools.pictures import COLUMNS, LINE_PIXELS, smaller, terminal


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@given(st.binary(min_size=1), st.integers(1, 4))
def test_a_smaller_picture_is_the_same_picture(pixels: bytes, parts: int) -> None:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 6, 0, 0, 0)
    data = zlib.compress(pixels, 0)
    size = -(-len(data) // parts)
    split = [data[at : at + size] for at in range(0, len(data), size)]
    signature = b"\x89PNG\r\n\x1a\n"
    picture = signature + chunk(b"IHDR", header) + chunk(b"tEXt", b"Software\0browser")
    picture += b"".join(chunk(b"IDAT", each) for each in split) + chunk(b"IEND", b"")
    made = smaller(picture)
    assert made == signature + chunk(b"IHDR", header) + chunk(
        b"IDAT", zlib.compress(pixels, 9)
    ) + chunk(b"IEND", b"")


def test_a_terminal_shows_colours_and_what_was_written_last() -> None:
    content, (_, height) = terminal("\x1b[32mpassed\x1b[0m\r\nold\rnew\r\n\x1b[2Klast <b>\r\n")
    assert "passed</span>" in content
    assert "color: #" in content
    assert "old" not in content
    assert "new" in content
    assert "last &lt;b&gt;" in content
    lines = height // LINE_PIXELS
    _, (_, higher) = terminal("\n".join(["x" * (COLUMNS + 1)] * 3))
    assert higher // LINE_PIXELS > lines
