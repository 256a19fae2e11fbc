"""Takes the pictures of README.md and docs/: the page of reports, and a run on a terminal.

    script -qec "mesh-conformance verify ..." /dev/null >run.ansi
    python -m tools.pictures mesh-report run.ansi

Chromium takes them; `script` keeps the colours that a terminal shows.
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from mesh_fixtures.patience import patient
from mesh_fixtures.report.html import page
from mesh_fixtures.report.merging import load

INTO: Final = Path(__file__).parents[1] / "docs" / "pictures"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
SECONDS: Final = 60

PAGE_SIZE: Final = (1100, 820)
COLUMNS: Final = 118
LINE_PIXELS: Final = 17
COLUMN_PIXELS: Final = 8
MARGIN: Final = 16

_TERMINAL: Final = (
    "<!DOCTYPE html><meta charset='utf-8'><style>body {{ margin: 0; padding: {margin}px; "
    "background: {background}; color: {foreground}; }} pre {{ margin: 0; font: 13px/{line}px "
    "'DejaVu Sans Mono', monospace; }}</style><body><pre>{code}</pre>"
)
_MOVES: Final = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlnsu]|\x1b\][^\x07]*\x07|[^\n]*\r(?!\n)")
"""What moves a terminal's cursor, and what is written over."""


def terminal(output: str) -> tuple[str, tuple[int, int]]:
    """A page that shows what a terminal did, and its width and height in pixels."""
    text = Text.from_ansi(_MOVES.sub("", output.replace("\r\n", "\n")).strip())
    console = Console(record=True, width=COLUMNS, file=StringIO(), color_system="truecolor")
    console.print(text, soft_wrap=False)
    code = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    lines = code.count("\n") + 1
    content = _TERMINAL.format(
        margin=MARGIN,
        line=LINE_PIXELS,
        background=MONOKAI.background_color.hex,
        foreground=MONOKAI.foreground_color.hex,
        code=code,
    )
    return content, (COLUMNS * COLUMN_PIXELS + 2 * MARGIN, lines * LINE_PIXELS + 2 * MARGIN)


def take(content: str, size: tuple[int, int], picture: Path) -> None:
    """Let a browser show a page and take its picture."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"tools.pictures: none of {', '.join(BROWSERS)} is in PATH")
    with tempfile.TemporaryDirectory() as folder:
        file, taken = Path(folder, "page.html"), Path(folder, "picture.png")
        file.write_text(content, encoding="utf-8")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", "--force-device-scale-factor=1",
             f"--window-size={size[0]},{size[1]}", f"--screenshot={taken}", file.as_uri()],
            check=True, capture_output=True, timeout=patient(SECONDS),
        )  # fmt: skip
        picture.write_bytes(smaller(taken.read_bytes()))


def smaller(picture: bytes) -> bytes:
    """A PNG of chromium's without what is no picture, compressed as far as it goes.

    Source: W3C, Portable Network Graphics, chunks IHDR, IDAT and IEND.
    """
    chunks, at = [], 8
    while at < len(picture):
        (length,) = struct.unpack_from(">I", picture, at)
        chunks.append((picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]))
        at += length + 12
    data = zlib.decompress(b"".join(each for kind, each in chunks if kind == b"IDAT"))
    (header,) = (each for kind, each in chunks if kind == b"IHDR")
    kept = ((b"IHDR", header), (b"IDAT", zlib.compress(data, 9)), (b"IEND", b""))
    return picture[:8] + b"".join(
        struct.pack(">I", len(each)) + kind + each + struct.pack(">I", zlib.crc32(kind + each))
        for kind, each in kept
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Take both."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__)
    parser.add_argument("reports", type=Path, help="a file, or a folder with reports")
    parser.add_argument("terminal", type=Path, help="what a run wrote to a terminal")
    parser.add_argument("--into", type=Path, default=INTO, help=f"default: {INTO}")
    parsed = parser.parse_args(arguments)
    parsed.into.mkdir(parents=True, exist_ok=True)
    take(page(load([parsed.reports])), PAGE_SIZE, parsed.into / "report.png")
    content, size = terminal(parsed.terminal.read_text(encoding="utf-8"))
    take(content, size, parsed.into / "terminal.png")


if __name__ == "__main__":
    main()
