"""Lines at the bottom of a terminal that change, while others write above them.

Whatever others write has to pass by here (`LiveLines.passing`): the lines are taken away before,
and put back behind it, also where it ends within a line, as pytest's dots do. The terminal is
written to by a descriptor of its own, so that these lines neither get into what pytest captures
nor have to wait for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

if TYPE_CHECKING:
    from mesh_fixtures.progress.display import RunningPhase

_INVISIBLE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Control sequences, and commands to the terminal's window (ECMA-48: CSI, OSC)."""

_LEFT_TO_OTHERS: Final = 2
"""Rows of the terminal that always show what others write."""

_UNKNOWN_WIDTH: Final = 80
_UNKNOWN_HEIGHT: Final = 24
"""Of a terminal that does not say, as of a new pseudo-terminal."""


class LiveLines:
    """A line for each phase that runs. Usable from several threads.

    Args:
        descriptor: of a terminal; it is duplicated.
        color: whether styles are wanted.
    """

    def __init__(self, descriptor: int, *, color: bool) -> None:
        self._file = os.fdopen(os.dup(descriptor), "w", encoding="utf-8", errors="replace")
        self._console = Console(
            file=self._file,
            force_terminal=True,
            color_system="auto" if color else None,
            highlight=False,
        )
        self._lock = RLock()
        self._column = 0
        self._is_row_empty = True
        self._lines: tuple[Text, ...] = ()
        self._drawn: tuple[Text, ...] = ()
        self._width = 0
        self._paused = False
        self._closed = False

    def show(self, running: Sequence[RunningPhase], now: float) -> None:
        """Show these phases in place of those before.

        Args:
            now: seconds since the epoch.
        """
        with self._lock:
            width, height = self._size()
            lines = lines_of(running, now, max(height - _LEFT_TO_OTHERS, 1))
            if lines != self._drawn or width != self._width:
                with self._away():
                    self._lines = lines

    def passing(self, file: TextIO) -> TextIO:
        """A file that writes to another one, which is the same terminal."""
        return cast("TextIO", _Passing(file, self))

    def write(self, file: TextIO, text: str) -> int:
        """Write what somebody else has to say."""
        if self._closed:
            return file.write(text)
        with self._lock, self._away():
            written = file.write(text)
            file.flush()
            self._advance(_INVISIBLE.sub("", text))
        return written

    def _advance(self, visible: str) -> None:
        """Follow the cursor."""
        width, _ = self._size()
        for sign in visible:
            if sign in "\r\n":
                self._column = 0
                self._is_row_empty = sign == "\n"
                continue
            cells = cell_len(sign)
            left = width - self._column % width
            # a wide sign for which a row has no place goes to the next one
            self._column += cells + (left if cells > left else 0)
            self._is_row_empty = False

    def pause(self) -> None:
        """Leave the terminal to a debugger until `resume`. What is shown stays above what that has
        written already, past these lines.
        """
        with self._lock:
            self._drawn = ()
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            self._paused = False
            self._column, self._is_row_empty = 0, True
            self._draw()

    def close(self) -> None:
        """Take the lines away for good; what passes is still written."""
        with self._lock:
            if not self._closed:
                self._erase()
                self._closed = True
                self._file.close()

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._file.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or _UNKNOWN_WIDTH, rows or _UNKNOWN_HEIGHT

    @contextmanager
    def _away(self) -> Iterator[None]:
        """Without the lines for a moment."""
        self._erase()
        try:
            yield
        finally:
            self._draw()

    def _draw(self) -> None:
        width, _ = self._size()
        # At the very end of a row, terminals differ in where the cursor is.
        wraps = self._column > 0 and self._column % width == 0
        if not self._lines or self._paused or self._closed or wraps:
            return
        rendered = "\n".join(self._rendered(line, width - 1) for line in self._lines)
        self._put(rendered if self._is_row_empty else f"\n{rendered}")
        self._drawn, self._width = self._lines, width

    def _rendered(self, line: Text, width: int) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="", no_wrap=True, overflow="ellipsis", width=width)
        return captured.get()

    def _erase(self) -> None:
        if not self._drawn or self._closed:
            return
        width, _ = self._size()
        # Rows are broken anew where a terminal has become narrower since.
        lengths = (min(line.cell_len, self._width - 1) for line in self._drawn)
        rows = sum(max(1, -(-length // width)) for length in lengths)
        codes: list[Any] = [ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)]
        for _ in range(rows - 1):
            codes += [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)]
        if not self._is_row_empty:
            codes.append((ControlType.CURSOR_UP, 1))
        if within := self._column % width:
            codes.append((ControlType.CURSOR_FORWARD, within))
        self._put(Control(*codes).segment.text)
        self._drawn = ()

    def _put(self, text: str) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError:  # the terminal is gone, which ends the run by other means
            self._closed = True


class _Passing:
    """What `LiveLines.passing` returns."""

    def __init__(self, file: TextIO, live: LiveLines) -> None:
        self._file = file
        self._live = live

    def write(self, text: str) -> int:
        return self._live.write(self._file, text)

    def writelines(self, lines: Sequence[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def lines_of(running: Sequence[RunningPhase], now: float, most: int) -> tuple[Text, ...]:
    """A line for each phase: how long it takes, what it is, and of which topology.

    Args:
        now: seconds since the epoch.
        most: lines that there may be.
    """
    shown = running if len(running) <= most else running[: most - 1]
    titles = [each.title for each in shown]
    width = max(map(cell_len, titles), default=0)
    lines = [
        Text.assemble(
            (f"{max(now - each.since, 0):5.0f}s", "bold cyan"),
            f"  {title}{' ' * (width - cell_len(title))}",
            (f"  {each.subject}", "dim"),
        )
        for each, title in zip(shown, titles, strict=True)
    ]
    if len(shown) < len(running):
        lines.append(Text(f"        and {len(running) - len(shown)} more", "dim"))
    return tuple(lines)
