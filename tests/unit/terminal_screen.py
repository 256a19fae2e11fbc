"""A terminal of a given size, and what is seen on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import pyte
from plugin_stub import PATIENCE


class TerminalScreen:
    """A pseudo-terminal, which programs or this process write to.

    Attributes:
        descriptor: the end that is written to.
        seen: the screen after each piece that was written, each a text of its lines.
        written: all that was written.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000, ratio=1.0)
        self._stream = pyte.ByteStream(self._screen)
        self._reader, self.descriptor = pty.openpty()
        self.written = b""
        self.seen: list[str] = []
        self.resize(columns, rows)

    def __enter__(self) -> TerminalScreen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._reader)
        with suppress(OSError):
            os.close(self.descriptor)

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)

    @property
    def now(self) -> str:
        """What is on the screen, without the empty rows at its end."""
        rows = (self._screen.buffer[at] for at in range(self._screen.lines))
        return "\n".join(map(self._text, rows)).rstrip()

    @property
    def whole(self) -> str:
        """The same, and what has left it at its top."""
        return "\n".join((*map(self._text, self._screen.history.top), self.now))

    def _text(self, row: Mapping[int, pyte.screens.Char]) -> str:
        return "".join(row[at].data for at in range(self._screen.columns)).rstrip()

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row."""
        return self._screen.cursor.x, self._screen.cursor.y

    def read(self, seconds: float = 0.0) -> bool:
        """Take in what was written; false where there was nothing."""
        if not select.select([self._reader], [], [], seconds)[0]:
            return False
        try:
            content = os.read(self._reader, 65536)
        except OSError:  # nobody has the other end open any more
            return False
        self.written += content
        self._stream.feed(content)
        self.seen.append(self.now)
        return bool(content)

    def read_all(self) -> None:
        while self.read():
            pass

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        interrupt_at: Callable[[str], bool] | None = None,
    ) -> int:
        """Run a program whose terminal this is, to its end.

        Args:
            interrupt_at: Ctrl-C is pressed once, when the screen is so.
        """
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "TERM": "xterm", **environment},
            stdin=self.descriptor,
            stdout=self.descriptor,
            stderr=self.descriptor,
            start_new_session=True,
        ) as process:
            deadline = time.monotonic() + PATIENCE
            while process.poll() is None or self.read():
                self.read(0.05)
                if interrupt_at is not None and interrupt_at(self.now):
                    interrupt_at = None
                    os.kill(process.pid, signal.SIGINT)
                if time.monotonic() > deadline:
                    os.killpg(process.pid, signal.SIGKILL)
            return process.returncode
