"""Progress of long work: what is being done, on which cluster, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from mesh_fixtures.retries import Retry

Outcome = Literal["started", "done", "failed", "note", "retried", "command"]

Part = Literal["clusters", "mesh", "samples", "upgrade", "", "removal"]
"""Of a run, which phases belong to; what belongs to none is between them, such as tests."""

PARTS: Final[tuple[Part, ...]] = get_args(Part)
"""In their order."""


@dataclass(frozen=True)
class ProgressEvent:
    """One thing that happened.

    Attributes:
        subject: topology or artifact that the work belongs to.
        phase: e.g. "boot", "istiod", "teardown"; for what was retried, what was wanted.
        cluster: cluster name, empty when the phase spans the whole subject.
        outcome: start, end, a remark, a question that is asked again, or a command that is run.
        detail: one line more, empty when there is none; the command.
        seconds: duration for done and failed, 0.0 otherwise.
        at: seconds since the epoch.
        part: what the phase belongs to.
    """

    subject: str
    phase: str
    cluster: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0
    at: float = field(default_factory=time.time)
    part: Part = ""

    def as_json(self) -> dict[str, str | float]:
        return asdict(self)


Sink = Callable[[ProgressEvent], None]


def discard(event: ProgressEvent) -> None:
    """Sink for work that nobody watches."""


def both(*sinks: Sink) -> Sink:
    """A sink that passes each event to all of these, in order."""

    def fan_out(event: ProgressEvent) -> None:
        for sink in sinks:
            sink(event)

    return fan_out


@dataclass(frozen=True)
class Progress:
    """Reports events of one subject to a sink. Thread-safe when its sink is."""

    subject: str
    sink: Sink = discard
    part: Part = ""

    def within(self, part: Part) -> Progress:
        """The same, for phases of that part of a run."""
        return replace(self, part=part)

    @contextmanager
    def phase(self, phase: str, cluster: str = "", detail: str = "") -> Iterator[None]:
        """Time a phase: reports started, then done or failed with its seconds."""
        begun = time.monotonic()
        self._tell(phase, cluster, "started", detail)
        try:
            yield
        except BaseException as error:
            spent = time.monotonic() - begun
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._tell(phase, cluster, "failed", reason, spent)
            raise
        self._tell(phase, cluster, "done", detail, time.monotonic() - begun)

    def retried(self, retry: Retry) -> None:
        self._tell(retry.wanted, retry.where, "retried", retry.seen)

    def note(self, phase: str, detail: str, cluster: str = "") -> None:
        self._tell(phase, cluster, "note", detail)

    def command(self, phase: str, line: str, cluster: str = "") -> None:
        """Report that a command is run, as a person would type it."""
        self._tell(phase, cluster, "command", line)

    def _tell(
        self, phase: str, cluster: str, outcome: Outcome, detail: str, seconds: float = 0.0
    ) -> None:
        event = ProgressEvent(
            self.subject, phase, cluster, outcome, detail, seconds, part=self.part
        )
        self.sink(event)
