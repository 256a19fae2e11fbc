"""Latencies as bars on a logarithmic axis: what takes a millisecond and what takes seconds are both
seen on it, and twice as long is as far everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from math import floor, log10
from typing import Final

from mesh_fixtures.report.html.drawing import Tick
from mesh_fixtures.report.model import Latency

_STEPS: Final = (1, 2, 5)
_SHORTEST_MS: Final = 0.1
"""Where the axis begins at the earliest; what is shorter is drawn there."""

_MOST_TICKS: Final = 7


@dataclass(frozen=True)
class Row:
    """Answers of one version over one path; places in percent of the axis."""

    latency: Latency
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class LatencyPlot:
    """All rows of a topology, on one axis."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]

    @property
    def clusters(self) -> tuple[str, ...]:
        """Where clients are, each once."""
        return tuple(dict.fromkeys(each.latency.cluster for each in self.rows))

    def of(self, cluster: str) -> tuple[Row, ...]:
        """The rows of a cluster's clients."""
        return tuple(each for each in self.rows if each.latency.cluster == cluster)


def latency_plot(latencies: Sequence[Latency]) -> LatencyPlot:
    """Lay latencies out from the mark below the shortest to that above the longest."""
    shortest = min((each.p50_ms for each in latencies), default=1.0)
    longest = max((each.p99_ms for each in latencies), default=1.0)
    marks = _marks(max(shortest, _SHORTEST_MS), max(longest, _SHORTEST_MS))
    low, high = log10(marks[0]), log10(marks[-1])

    def place(milliseconds: float) -> float:
        at = log10(max(milliseconds, marks[0]))
        return 100 * (at - low) / (high - low)

    rows = tuple(
        Row(each, place(each.p50_ms), place(each.p90_ms), place(each.p99_ms)) for each in latencies
    )
    shown = marks if len(marks) <= _MOST_TICKS else _powers_of_ten(marks)
    return LatencyPlot(rows, tuple(Tick(f"{each:g}", place(each)) for each in shown))


def _marks(shortest: float, longest: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from one that is no more than the shortest to one that is no
    less than the longest: at least two.
    """
    first = floor(log10(shortest))
    every = (round(step * 10.0**power, 10) for power in count(first) for step in _STEPS)
    marks = list(takewhile(lambda mark: mark < longest * 5, every))
    while len(marks) > 2 and marks[1] <= shortest:
        del marks[0]
    while len(marks) > 2 and marks[-2] >= longest:
        del marks[-1]
    return marks


def _powers_of_ten(marks: Sequence[float]) -> list[float]:
    return [each for each in marks if log10(each).is_integer()]
