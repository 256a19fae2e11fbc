"""Shows progress events to a person: on a terminal in live lines, elsewhere in plain ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final, TextIO

from mesh_fixtures.progress.events import ProgressEvent

if TYPE_CHECKING:
    from mesh_fixtures.progress.live import LiveLines

WriteLine = Callable[[str], None]

_FIRST_REMINDER: Final = 5.0
_LONGEST_SILENCE: Final = 30.0
_PACE: Final = 1.0
_LIVE_PACE: Final = 0.25


@dataclass(frozen=True)
class RunningPhase:
    """A phase that has not ended.

    Attributes:
        since: seconds since the epoch.
    """

    subject: str
    cluster: str
    phase: str
    since: float

    @property
    def title(self) -> str:
        return title(self.phase, self.cluster)


def takes_live_lines(file: TextIO) -> bool:
    """Whether a file is a terminal on which lines can be taken away again."""
    return file.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class Display:
    """A sink that writes a line for each ended phase and each remark, and none for retries.

    With live lines, there is one for each phase that runs, and a phase that succeeds leaves none.
    Without, it says after a while what is still running, ever less often. Usable from several
    threads.

    Args:
        write_line: writes one line where a person reads it.
        live: lines that change; None where there are none.
        verbose: whether to write commands, and a line for each ended phase in any case.
    """

    def __init__(
        self, write_line: WriteLine, live: LiveLines | None = None, *, verbose: bool = False
    ) -> None:
        self._write_line = write_line
        self._live = live
        self._verbose = verbose
        self._lock = Lock()
        self._begun: dict[str, float] = {}
        self._running: dict[tuple[str, str, str], RunningPhase] = {}
        self._last_line = time.time()
        self._silence = _FIRST_REMINDER
        self._closed = Event()
        self._thread: Thread | None = None

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            begun = self._begun.setdefault(event.subject, event.at)
            key = (event.subject, event.cluster, event.phase)
            if event.outcome == "started":
                self._running[key] = RunningPhase(
                    event.subject, event.cluster, event.phase, event.at
                )
            elif event.outcome in ("done", "failed"):
                self._running.pop(key, None)
            self._ensure_thread()
            if self._is_shown(event):
                self._last_line = time.time()
                self._silence = _FIRST_REMINDER
                self._write_line(render(event, event.at - begun))
        if self._live is not None and event.outcome in ("started", "done", "failed"):
            self._update(self._live)

    def close(self) -> None:
        """Stop saying what is running."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        if self._live is not None:
            self._live.close()

    def _is_shown(self, event: ProgressEvent) -> bool:
        if event.outcome == "command":
            return self._verbose
        if event.outcome == "done":
            return self._live is None or self._verbose
        return event.outcome in ("failed", "note")

    def _ensure_thread(self) -> None:
        if self._thread is None and self._running:
            self._last_line = time.time()
            target = self._remind if self._live is None else self._tick
            self._thread = Thread(target=target, name="mesh-progress", daemon=True)
            self._thread.start()

    def _tick(self) -> None:
        while not self._closed.wait(_LIVE_PACE):
            if self._live is not None:
                self._update(self._live)

    def _update(self, live: LiveLines) -> None:
        with self._lock:
            running = tuple(self._running.values())
        live.show(running, time.time())

    def _remind(self) -> None:
        while not self._closed.wait(_PACE):
            with self._lock:
                now = time.time()
                if not self._running or now - self._last_line < self._silence:
                    continue
                self._last_line = now
                self._silence = min(self._silence * 2, _LONGEST_SILENCE)
                for line in self._reminders(tuple(self._running.values()), now):
                    self._write_line(line)

    def _reminders(self, running: Sequence[RunningPhase], now: float) -> list[str]:
        lines: list[str] = []
        for subject in dict.fromkeys(each.subject for each in running):
            titles = ", ".join(
                f"{each.title} {now - each.since:.0f}s"
                for each in running
                if each.subject == subject
            )
            elapsed = now - self._begun[subject]
            lines.append(f"[{subject} +{elapsed:.1f}s] still running: {titles}")
        return lines


def title(phase: str, cluster: str) -> str:
    """A phase's name, the cluster first."""
    return " ".join(part for part in (cluster, phase.removesuffix(f"/{cluster}")) if part)


def render(event: ProgressEvent, elapsed: float) -> str:
    """One line about an event: topology, time since its start, cluster, phase, outcome."""
    what = title(event.phase, event.cluster)
    if event.outcome == "note":
        text = f"{what}: {event.detail}"
    elif event.outcome == "command":
        text = f"{what}: $ {event.detail}"
    else:
        text = f"{what} {event.outcome} {event.seconds:.1f}s"
        if event.outcome == "failed" and event.detail:
            text += f": {event.detail}"
    return f"[{event.subject} +{elapsed:.1f}s] {text}"
