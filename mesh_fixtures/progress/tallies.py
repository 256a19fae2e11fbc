"""Sinks of progress events that add them up: how long each phase took, and how often which question
had to be asked again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from mesh_fixtures.progress.events import PARTS, Part, ProgressEvent

if TYPE_CHECKING:
    from mesh_fixtures.retries import Retry


@dataclass(frozen=True)
class StepTime:
    """A phase.

    Attributes:
        cluster: empty when the phase spans the whole topology.
        failed: whether it ended with an error.
        began: seconds since the subject's first event.
        part: of a run, which the phase belongs to.
    """

    phase: str
    cluster: str
    seconds: float
    failed: bool
    began: float
    part: Part = ""


class StepTimes:
    """A sink that remembers ended phases by subject. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._steps: dict[str, list[StepTime]] = {}
        self._span: dict[str, tuple[float, float]] = {}
        self._running: dict[str, dict[tuple[str, str], float]] = {}

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            first, _ = self._span.get(event.subject, (event.at, event.at))
            self._span[event.subject] = (first, event.at)
            steps = self._steps.setdefault(event.subject, [])
            running = self._running.setdefault(event.subject, {})
            phase = event.phase.removesuffix(f"/{event.cluster}")
            if event.outcome == "started":
                running[phase, event.cluster] = event.at - first
            elif event.outcome in ("done", "failed"):
                running.pop((phase, event.cluster), None)
                began = max(event.at - event.seconds - first, 0.0)
                failed = event.outcome == "failed"
                steps.append(
                    StepTime(phase, event.cluster, event.seconds, failed, began, event.part)
                )

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one ended phase, in the order of their first event."""
        with self._lock:
            return tuple(subject for subject, steps in self._steps.items() if steps)

    def of(self, subject: str) -> tuple[StepTime, ...]:
        """Ended phases of one subject, in the order in which they ended."""
        with self._lock:
            return tuple(self._steps.get(subject, ()))

    def unfinished(self, subject: str) -> tuple[StepTime, ...]:
        """Phases of one subject that have not ended, as long as they have taken so far."""
        with self._lock:
            first, last = self._span.get(subject, (0.0, 0.0))
            return tuple(
                StepTime(phase, cluster, last - first - began, False, began)
                for (phase, cluster), began in self._running.get(subject, {}).items()
            )

    def total(self, subject: str) -> float:
        """Seconds from the subject's first event to its last; phases overlap, so no sum."""
        with self._lock:
            first, last = self._span.get(subject, (0.0, 0.0))
            return last - first

    def parts(self, subject: str) -> Mapping[Part, float]:
        """Seconds in which phases of each part ran, and what is left of the whole for what belongs
        to none. Parts may overlap.
        """
        steps = self.of(subject)
        names = dict.fromkeys(each.part for each in steps if each.part)
        found: dict[Part, float] = {
            name: _covered(each for each in steps if each.part == name) for name in names
        }
        rest = self.total(subject) - _covered(each for each in steps if each.part)
        found[""] = max(rest, 0.0)
        return found

    def summary(self, between: str = "tests") -> Sequence[str]:
        """Lines of a table: a row for each subject, a column for each part of a run, seconds.

        Args:
            between: title of what belongs to no part.
        """
        titles = {part: part or between for part in PARTS}
        rows = {subject: self.parts(subject) for subject in self.subjects}
        used = [part for part in PARTS if any(part in row for row in rows.values())]
        widths = [max(6, len(titles[part])) for part in used]
        first = max((len(subject) for subject in rows), default=0)
        heads = "".join(f"  {titles[p]:>{w}}" for p, w in zip(used, widths, strict=True))
        lines = [f"{'':<{first}}{heads}  {'total':>6}"]
        for subject, row in rows.items():
            cells = "".join(
                f"  {row[p]:>{w}.1f}" if p in row else f"  {'':>{w}}"
                for p, w in zip(used, widths, strict=True)
            )
            lines.append(f"{subject:<{first}}{cells}  {self.total(subject):>6.1f}")
        return lines

    def table(self, subject: str) -> Sequence[str]:
        """Lines of a table: a row for each phase, a column for each cluster, seconds."""
        cells: dict[str, dict[str, str]] = {}
        for step in self.of(subject):
            row = cells.setdefault(step.phase, {})
            row[step.cluster] = f"{step.seconds:.1f}" + ("!" if step.failed else "")
        clusters = sorted({cluster for row in cells.values() for cluster in row if cluster})
        columns = [*clusters, ""]
        widths = [max(8, len(column)) for column in columns]
        first = max(len(subject), *(len(phase) + 2 for phase in cells), 12) if cells else 12
        titles = [*clusters, "all"]
        lines = [
            f"{subject:<{first}}"
            + "".join(f"  {title:>{w}}" for title, w in zip(titles, widths, strict=True))
        ]
        for phase, row in cells.items():
            lines.append(
                f"{'  ' + phase:<{first}}"
                + "".join(f"  {row.get(c, ''):>{w}}" for c, w in zip(columns, widths, strict=True))
            )
        blank = "".join(f"  {'':>{w}}" for w in widths[:-1])
        lines.append(f"{'  total':<{first}}{blank}  {self.total(subject):>{widths[-1]}.1f}")
        return [line.rstrip() for line in lines]


class RetryCounts:
    """A sink that counts retries by subject. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counted: dict[str, Counter[Retry]] = {}

    def __call__(self, event: ProgressEvent) -> None:
        if event.outcome == "retried":
            from mesh_fixtures.retries import Retry

            with self._lock:
                counted = self._counted.setdefault(event.subject, Counter())
                counted[Retry(event.cluster, event.phase, event.detail)] += 1

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one retry, in the order of their first."""
        with self._lock:
            return tuple(self._counted)

    def of(self, subject: str) -> Mapping[Retry, int]:
        """How often, in the order of the first of each."""
        with self._lock:
            return dict(self._counted.get(subject, {}))


def _covered(steps: Iterable[StepTime]) -> float:
    """Seconds in which at least one of these ran."""
    covered = end = 0.0
    for step in sorted(steps, key=lambda each: each.began):
        over = step.began + step.seconds
        covered += max(over - max(step.began, end), 0.0)
        end = max(end, over)
    return covered
