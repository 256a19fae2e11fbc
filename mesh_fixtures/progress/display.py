"""Shows progress events to a person: one short line for each phase that ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event as Signal
from threading import Lock, Thread

from mesh_fixtures.progress.events import Event

WriteLine = Callable[[str], None]

_FIRST_REMINDER = 5.0
_LONGEST_SILENCE = 30.0


class Display:
    """A sink that writes a line for each ended phase and each remark, and none for retries.

    While phases run and nothing was written for a while, it says what is still running, ever less
    often. Usable from several threads.

    Args:
        write_line: writes one line where a person reads it.
    """

    def __init__(self, write_line: WriteLine) -> None:
        self._write_line = write_line
        self._lock = Lock()
        self._begun: dict[str, float] = {}
        self._running: dict[tuple[str, str, str], float] = {}
        self._last_line = time.time()
        self._silence = _FIRST_REMINDER
        self._closed = Signal()
        self._reminder: Thread | None = None

    def __call__(self, event: Event) -> None:
        if event.outcome == "retried":
            return
        with self._lock:
            begun = self._begun.setdefault(event.subject, event.at)
            key = (event.subject, event.cluster, event.phase)
            if event.outcome == "started":
                self._running[key] = event.at
                self._ensure_reminder()
                return
            if event.outcome != "note":
                self._running.pop(key, None)
            self._last_line = time.time()
            self._silence = _FIRST_REMINDER
            self._write_line(render(event, event.at - begun))

    def close(self) -> None:
        """Stop reminding."""
        self._closed.set()
        if self._reminder is not None:
            self._reminder.join()

    def _ensure_reminder(self) -> None:
        if self._reminder is None:
            self._last_line = time.time()
            self._reminder = Thread(target=self._remind, name="mesh-progress", daemon=True)
            self._reminder.start()

    def _remind(self) -> None:
        while not self._closed.wait(1.0):
            with self._lock:
                now = time.time()
                if not self._running or now - self._last_line < self._silence:
                    continue
                self._last_line = now
                self._silence = min(self._silence * 2, _LONGEST_SILENCE)
                subjects = dict.fromkeys(subject for subject, _, _ in self._running)
                for subject in subjects:
                    running = ", ".join(
                        f"{title(phase, cluster)} {now - since:.0f}s"
                        for (owner, cluster, phase), since in self._running.items()
                        if owner == subject
                    )
                    elapsed = now - self._begun[subject]
                    self._write_line(f"[{subject} +{elapsed:.1f}s] still running: {running}")


def title(phase: str, cluster: str) -> str:
    """A phase's name, the cluster first."""
    return " ".join(part for part in (cluster, phase.removesuffix(f"/{cluster}")) if part)


def render(event: Event, elapsed: float) -> str:
    """One line about an event: topology, time since its start, cluster, phase, outcome."""
    what = title(event.phase, event.cluster)
    if event.outcome == "note":
        text = f"{what}: {event.detail}"
    else:
        text = f"{what} {event.outcome} {event.seconds:.1f}s"
        if event.outcome == "failed" and event.detail:
            text += f": {event.detail}"
    return f"[{event.subject} +{elapsed:.1f}s] {text}"
