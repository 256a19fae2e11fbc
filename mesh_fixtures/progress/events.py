"""Progress of long work: what is being done, on which cluster, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mesh_fixtures.retries import Retry

Outcome = Literal["started", "done", "failed", "note", "retried"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        subject: topology or artifact that the work belongs to.
        phase: e.g. "boot", "istiod", "teardown"; for what was retried, what was wanted.
        cluster: cluster name, empty when the phase spans the whole subject.
        outcome: start, end, a remark, or a question that is asked again.
        detail: one line more, empty when there is none.
        seconds: duration for done and failed, 0.0 otherwise.
        at: seconds since the epoch.
    """

    subject: str
    phase: str
    cluster: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0
    at: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, str | float]:
        return asdict(self)


Sink = Callable[[Event], None]


def discard(event: Event) -> None:
    """Sink for work that nobody watches."""


def both(*sinks: Sink) -> Sink:
    """A sink that passes each event to all of these, in order."""

    def fan_out(event: Event) -> None:
        for sink in sinks:
            sink(event)

    return fan_out


@dataclass(frozen=True)
class Progress:
    """Reports events of one subject to a sink. Thread-safe when its sink is."""

    subject: str
    sink: Sink = discard

    @contextmanager
    def phase(self, phase: str, cluster: str = "", detail: str = "") -> Iterator[None]:
        """Time a phase: reports started, then done or failed with its seconds."""
        begun = time.monotonic()
        self.sink(Event(self.subject, phase, cluster, "started", detail))
        try:
            yield
        except BaseException as error:
            spent = time.monotonic() - begun
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.sink(Event(self.subject, phase, cluster, "failed", reason, spent))
            raise
        self.sink(Event(self.subject, phase, cluster, "done", detail, time.monotonic() - begun))

    def retried(self, retry: Retry) -> None:
        self.sink(Event(self.subject, retry.wanted, retry.where, "retried", retry.seen))

    def note(self, phase: str, detail: str, cluster: str = "") -> None:
        self.sink(Event(self.subject, phase, cluster, "note", detail))
